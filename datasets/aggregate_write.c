/* Writing an aggregate: HDF5 or .npy, whole or not at all. */
#include <consilium/atomic_file.h>
#include <consilium/updates.h>

#include "hdf5_support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { NPY_ALIGNMENT = 64 };

static csl_status
write_parts(const char *path, const void *head, size_t head_size, const void *bytes, size_t size)
{
    char temporary[CSL_PATH_MAX];
    CSL_TRY(csl_atomic_begin(path, temporary));
    FILE *stream = fopen(temporary, "wb");
    if (!stream) {
        return csl_fail(CSL_E_IO, "%s: %s", path, strerror(errno));
    }
    bool good = (head_size == 0 || fwrite(head, 1, head_size, stream) == head_size) &&
                (size == 0 || fwrite(bytes, 1, size, stream) == size);
    int cause = errno;
    if (fclose(stream) != 0 && good) {
        good = false;
        cause = errno;
    }
    if (!good) {
        csl_atomic_abandon(temporary);
        return csl_fail(CSL_E_IO, "%s: %s", path, strerror(cause));
    }
    return csl_atomic_commit(temporary, path);
}

csl_status csl_bytes_write(const char *path, const void *bytes, size_t size)
{
    return write_parts(path, NULL, 0, bytes, size);
}

/* Version 1.0; the header ends in a newline, the data begin on a multiple of 64 bytes. */
static csl_status write_npy(const char *path, const float *aggregate, size_t count)
{
    char head[4 * NPY_ALIGNMENT + 1];
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\x01\x00", 8);
    int length = snprintf(head + 10, sizeof head - 10,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu,), }", count);
    size_t used = 10 + (size_t)length;
    size_t size = (used + 1 + NPY_ALIGNMENT - 1) / NPY_ALIGNMENT * NPY_ALIGNMENT;
    head[used] = ' '; /* snprintf's closing zero */
    head[size - 1] = '\n';
    head[8] = (char)(size - 10);
    head[9] = 0;
    return write_parts(path, head, size, aggregate, count * sizeof *aggregate);
}

csl_status csl_aggregate_write(
    const char *path, const float *aggregate, size_t count, const char *rule, const char *report)
{
    size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, ".npy") == 0) {
        return write_npy(path, aggregate, count);
    }
    csl_h5_file file;
    uint64_t extent = count;
    CSL_TRY(csl_h5_create(path, &file));
    csl_status status =
        csl_h5_write(&file, "/aggregate", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, &extent, aggregate);
    if (status == CSL_OK) {
        status = csl_h5_write_text(&file, "/aggregate", "rule", rule);
    }
    /* HDF5 keeps attributes below 64 KiB; longer reports are for --report alone. */
    if (status == CSL_OK && strlen(report) < 60000) {
        status = csl_h5_write_text(&file, "/aggregate", "report", report);
    }
    return csl_h5_finish(&file, status);
}
