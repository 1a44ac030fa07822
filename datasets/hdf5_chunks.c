/*
 * Packed chunks, looked at before HDF5 unpacks them: libhdf5 1.10 takes for granted that a chunk
 * unpacks to the size its layout declares, and reads beyond its memory where a file lies.
 */
#include "hdf5_support.h"

#include <inttypes.h>
#include <stdlib.h>
#define ZLIB_CONST /* input of const bytes */
#include <zlib.h>

enum { FILTERS_MAX = 3, PIECE_SIZE = 65536 };

typedef struct chunk_layout {
    uint32_t rank;
    hsize_t extent[H5S_MAX_RANK];
    uint64_t size; /* bytes of an unpacked chunk */
    int filter_count;
    H5Z_filter_t filters[FILTERS_MAX]; /* in the order of packing */
} chunk_layout;

static csl_status
chunk_fails(const csl_h5_file *file, const char *name, const char *expected, const char *found)
{
    return csl_fail(CSL_E_FORMAT, "%s: %s: expected %s, found %s", file->path, name, expected,
                    found);
}

/* Deflate, shuffle and fletcher32, each at most once, deflate after shuffle as all writers have it:
 * then the sizes tell whether a chunk is sound. */
static csl_status
look_at_filters(const csl_h5_file *file, const char *name, hid_t creation, chunk_layout *layout)
{
    static const H5Z_filter_t known[] = {H5Z_FILTER_SHUFFLE, H5Z_FILTER_DEFLATE,
                                         H5Z_FILTER_FLETCHER32};
    int count = H5Pget_nfilters(creation);
    for (int i = 0, next = 0; i < count; i++, next++) {
        unsigned flags = 0, configuration = 0;
        size_t value_count = 0;
        H5Z_filter_t filter = H5Pget_filter2(creation, (unsigned)i, &flags, &value_count, NULL, 0,
                                             NULL, &configuration);
        while (next < FILTERS_MAX && known[next] != filter) {
            next++;
        }
        if (next == FILTERS_MAX) {
            return chunk_fails(file, name,
                               "no filter or shuffle, deflate, fletcher32 in this order",
                               "another filter or order");
        }
        layout->filters[layout->filter_count++] = filter;
    }
    return count >= 0 ? CSL_OK : chunk_fails(file, name, "readable filters", "damaged ones");
}

static csl_status look_at_layout(const csl_h5_file *file,
                                 const char *name,
                                 hid_t creation,
                                 const csl_h5_array *array,
                                 chunk_layout *layout)
{
    int rank = H5Pget_chunk(creation, H5S_MAX_RANK, layout->extent);
    if (rank < 0 || (uint32_t)rank != array->rank) {
        return chunk_fails(file, name, "chunks of the array's rank", "another rank");
    }
    layout->rank = array->rank;
    layout->size = array->size;
    uint64_t chunk_count = 1;
    for (uint32_t axis = 0; axis < layout->rank; axis++) {
        hsize_t extent = layout->extent[axis];
        if (extent == 0 || layout->size > UINT32_MAX / extent) {
            return chunk_fails(file, name, "chunks below 4 GiB", "larger or empty ones");
        }
        layout->size *= extent;
        chunk_count *= (array->extent[axis] + extent - 1) / extent; /* at most array->count */
    }
    if (chunk_count > file->size / sizeof(haddr_t)) { /* each has an address in the file */
        return csl_fail(CSL_E_FORMAT,
                        "%s: %s: expected at most %" PRIu64 " chunks in a file of %" PRIu64
                        " bytes, found %" PRIu64,
                        file->path, name, file->size / sizeof(haddr_t), file->size, chunk_count);
    }
    unsigned options = 0;
    if (H5Pget_chunk_opts(creation, &options) < 0 ||
        (layout->filter_count > 0 && (options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS))) {
        return chunk_fails(file, name, "all chunks packed alike", "chunks at the edge left out");
    }
    return look_at_filters(file, name, creation, layout);
}

/* Bytes that deflated data unpacks to; limit + 1 if it is more than the limit, 0 if damaged. */
static uint64_t inflated_size(const uint8_t *bytes, uint64_t size, uint64_t limit, uint8_t *piece)
{
    z_stream unpacker = {0};
    if (inflateInit(&unpacker) != Z_OK) {
        return 0;
    }
    uint64_t read = 0, written = 0;
    int verdict = Z_OK;
    while (verdict == Z_OK && written <= limit) {
        if (unpacker.avail_in == 0 && read < size) {
            uint64_t left = size - read;
            unpacker.next_in = (const Bytef *)(bytes + read);
            unpacker.avail_in = left < PIECE_SIZE ? (uInt)left : PIECE_SIZE;
            read += unpacker.avail_in;
        }
        unpacker.next_out = piece;
        unpacker.avail_out = PIECE_SIZE;
        verdict = inflate(&unpacker, Z_NO_FLUSH);
        written += PIECE_SIZE - unpacker.avail_out;
    }
    inflateEnd(&unpacker);
    return written > limit ? limit + 1 : verdict == Z_STREAM_END ? written : 0;
}

/* The size that HDF5 will get by undoing the filters that `skipped` does not name. */
static uint64_t unpacked_size(const chunk_layout *layout,
                              const uint8_t *bytes,
                              uint64_t stored,
                              uint32_t skipped,
                              uint8_t *piece)
{
    uint64_t size = stored;
    for (int i = layout->filter_count - 1; i >= 0; i--) {
        if (skipped >> i & 1) {
            continue;
        }
        if (layout->filters[i] == H5Z_FILTER_FLETCHER32) {
            if (size < 4) {
                return 0;
            }
            size -= 4; /* the checksum, which HDF5 verifies */
        } else if (layout->filters[i] == H5Z_FILTER_DEFLATE) {
            size = inflated_size(bytes, size, layout->size, piece);
        }
    }
    return size;
}

static csl_status check_chunk(const csl_h5_file *file,
                              const char *name,
                              hid_t array,
                              const chunk_layout *layout,
                              const hsize_t *offset,
                              uint8_t *piece)
{
    hsize_t stored = 0;
    if (H5Dget_chunk_storage_size(array, offset, &stored) < 0 || stored > file->size) {
        return chunk_fails(file, name, "chunks inside the file", "a damaged or truncated one");
    }
    if (stored == 0) {
        return CSL_OK; /* never written: fill values */
    }
    uint8_t *bytes = malloc(stored);
    if (!bytes) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: %s: no memory for a chunk of %llu bytes", file->path,
                        name, (unsigned long long)stored);
    }
    uint32_t skipped = 0;
    bool readable = H5Dread_chunk(array, H5P_DEFAULT, offset, &skipped, bytes) >= 0;
    uint64_t size = readable ? unpacked_size(layout, bytes, stored, skipped, piece) : 0;
    free(bytes);
    if (size != layout->size) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: %s: chunk at image %llu: expected %" PRIu64
                        " bytes when unpacked, found %s",
                        file->path, name, (unsigned long long)offset[0], layout->size,
                        size > layout->size ? "more"
                        : size == 0         ? "damaged data"
                                            : "fewer");
    }
    return CSL_OK;
}

csl_status csl_h5_check_chunks(const csl_h5_file *file,
                               const char *name,
                               hid_t array,
                               hid_t creation,
                               const csl_h5_array *found)
{
    chunk_layout layout = {0};
    CSL_TRY(look_at_layout(file, name, creation, found, &layout));
    if (layout.filter_count == 0 || found->count == 0) {
        return CSL_OK;
    }
    uint8_t *piece = malloc(PIECE_SIZE);
    csl_status status =
        piece ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s: %s: no memory", file->path, name);
    hsize_t offset[H5S_MAX_RANK] = {0};
    bool more = true;
    while (status == CSL_OK && more) {
        status = check_chunk(file, name, array, &layout, offset, piece);
        uint32_t axis = layout.rank;
        more = false;
        while (axis-- > 0 && !more) { /* the next chunk, the last axis fastest */
            offset[axis] += layout.extent[axis];
            more = offset[axis] < found->extent[axis];
            offset[axis] = more ? offset[axis] : 0;
        }
    }
    free(piece);
    return status;
}
