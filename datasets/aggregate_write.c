/* Writing an aggregate: HDF5 or .npy, in pieces, whole or not at all. */
#include <consilium/atomic_file.h>
#include <consilium/updates.h>

#include "hdf5_support.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NPY_ALIGNMENT = 64 };
static const char AGGREGATE[] = "/aggregate";

/* A file of bytes that appears whole or not at all. */
typedef struct stream_file {
    FILE *stream;
    const char *path;
    char temporary[CSL_PATH_MAX];
} stream_file;

static csl_status stream_open(const char *path, stream_file *file)
{
    file->path = path;
    CSL_TRY(csl_atomic_begin(path, file->temporary));
    file->stream = fopen(file->temporary, "wb");
    return file->stream ? CSL_OK : csl_fail(CSL_E_IO, "%s: %s", path, strerror(errno));
}

static csl_status stream_write(stream_file *file, const void *bytes, size_t size)
{
    return size == 0 || fwrite(bytes, 1, size, file->stream) == size
               ? CSL_OK
               : csl_fail(CSL_E_IO, "%s: %s", file->path, strerror(errno));
}

static csl_status stream_close(stream_file *file, csl_status status)
{
    if (fclose(file->stream) != 0 && status == CSL_OK) {
        status = csl_fail(CSL_E_IO, "%s: %s", file->path, strerror(errno));
    }
    if (status != CSL_OK) {
        csl_atomic_abandon(file->temporary);
        return status;
    }
    return csl_atomic_commit(file->temporary, file->path);
}

csl_status csl_bytes_write(const char *path, const void *bytes, size_t size)
{
    stream_file file;
    CSL_TRY(stream_open(path, &file));
    return stream_close(&file, stream_write(&file, bytes, size));
}

struct csl_aggregate_writer {
    bool is_npy;
    stream_file npy;
    csl_h5_file file;
    uint64_t count;
    uint64_t written;
    char path[CSL_PATH_MAX];
};

/* Version 1.0; the header ends in a newline, the data begin on a multiple of 64 bytes. */
static csl_status write_npy_head(stream_file *file, uint64_t count)
{
    char head[4 * NPY_ALIGNMENT + 1];
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\x01\x00", 8);
    int length =
        snprintf(head + 10, sizeof head - 10,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ",), }", count);
    size_t used = 10 + (size_t)length;
    size_t size = (used + 1 + NPY_ALIGNMENT - 1) / NPY_ALIGNMENT * NPY_ALIGNMENT;
    head[used] = ' '; /* snprintf's closing zero */
    head[size - 1] = '\n';
    head[8] = (char)(size - 10);
    head[9] = 0;
    return stream_write(file, head, size);
}

csl_status csl_aggregate_create(const char *path, uint64_t count, csl_aggregate_writer **writer_out)
{
    size_t length = strlen(path);
    if (length >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "%.200s: name too long", path);
    }
    csl_aggregate_writer *writer = calloc(1, sizeof *writer);
    if (!writer) {
        return csl_fail(CSL_E_NO_MEMORY, "%s", path);
    }
    memcpy(writer->path, path, length + 1);
    writer->count = count;
    writer->is_npy = length > 4 && strcmp(path + length - 4, ".npy") == 0;
    csl_status status = writer->is_npy ? stream_open(writer->path, &writer->npy)
                                       : csl_h5_create(writer->path, &writer->file);
    if (status != CSL_OK) {
        free(writer);
        return status;
    }
    status = writer->is_npy ? write_npy_head(&writer->npy, count)
                            : csl_h5_vector_create(&writer->file, AGGREGATE, count);
    if (status != CSL_OK) {
        return csl_aggregate_finish(writer, status);
    }
    *writer_out = writer;
    return CSL_OK;
}

csl_status csl_aggregate_append(csl_aggregate_writer *writer, size_t count, const float *values)
{
    if (count > writer->count - writer->written) {
        return csl_fail(CSL_E_RANGE, "%s: more than %" PRIu64 " values", writer->path,
                        writer->count);
    }
    if (count == 0) {
        return CSL_OK;
    }
    CSL_TRY(writer->is_npy
                ? stream_write(&writer->npy, values, count * sizeof *values)
                : csl_h5_vector_write(&writer->file, AGGREGATE, writer->written, count, values));
    writer->written += count;
    return CSL_OK;
}

csl_status
csl_aggregate_describe(csl_aggregate_writer *writer, const char *rule, const char *report)
{
    if (writer->is_npy) {
        return CSL_OK;
    }
    CSL_TRY(csl_h5_write_text(&writer->file, AGGREGATE, "rule", rule));
    /* HDF5 keeps attributes below 64 KiB; longer reports are for --report alone. */
    return strlen(report) < 60000 ? csl_h5_write_text(&writer->file, AGGREGATE, "report", report)
                                  : CSL_OK;
}

csl_status csl_aggregate_finish(csl_aggregate_writer *writer, csl_status status)
{
    if (status == CSL_OK && writer->written != writer->count) {
        status = csl_fail(CSL_E_STATE, "%s: %" PRIu64 " of %" PRIu64 " values were written",
                          writer->path, writer->written, writer->count);
    }
    status =
        writer->is_npy ? stream_close(&writer->npy, status) : csl_h5_finish(&writer->file, status);
    free(writer);
    return status;
}
