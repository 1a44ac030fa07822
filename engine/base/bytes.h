/* Little-endian bytes: a writer into a buffer of known size, and a reader that never reads past the
 * end. */
#ifndef CSL_BYTES_H
#define CSL_BYTES_H

#include <consilium/status.h>
#include <consilium/types.h>

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "stored arrays are copied as they lie in memory");

typedef struct csl_byte_writer {
    uint8_t *bytes; /* large enough, as computed by the caller */
    size_t position;
} csl_byte_writer;

static inline void csl_put(csl_byte_writer *writer, const void *bytes, size_t size)
{
    if (size > 0) {
        memcpy(writer->bytes + writer->position, bytes, size);
        writer->position += size;
    }
}

static inline void csl_put_u32(csl_byte_writer *writer, uint32_t value)
{
    csl_put(writer, &value, sizeof value);
}

static inline void csl_put_u64(csl_byte_writer *writer, uint64_t value)
{
    csl_put(writer, &value, sizeof value);
}

static inline void csl_put_f64(csl_byte_writer *writer, double value)
{
    csl_put(writer, &value, sizeof value);
}

typedef struct csl_byte_reader {
    const uint8_t *bytes;
    size_t size;
    size_t position;
    bool failed; /* something was asked for beyond the end; everything read since is 0 */
} csl_byte_reader;

static inline void csl_get(csl_byte_reader *reader, void *bytes_out, size_t size)
{
    if (reader->failed || size > reader->size - reader->position) {
        reader->failed = true;
        memset(bytes_out, 0, size);
    } else if (size > 0) {
        memcpy(bytes_out, reader->bytes + reader->position, size);
        reader->position += size;
    }
}

static inline uint32_t csl_get_u32(csl_byte_reader *reader)
{
    uint32_t value;
    csl_get(reader, &value, sizeof value);
    return value;
}

static inline uint64_t csl_get_u64(csl_byte_reader *reader)
{
    uint64_t value;
    csl_get(reader, &value, sizeof value);
    return value;
}

static inline double csl_get_f64(csl_byte_reader *reader)
{
    double value;
    csl_get(reader, &value, sizeof value);
    return value;
}

#endif
