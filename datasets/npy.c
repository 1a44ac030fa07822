/* NumPy's .npy files (NEP 1): the header is checked before anything is believed. */
#include "npy.h"

#include "npy_header.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PREFIX_SIZE = 12, BLOCK_COUNT = 4096 };

static csl_status open_file(const char *path, FILE **stream_out, uint64_t *size_out)
{
    FILE *stream = fopen(path, "rb");
    if (!stream) {
        return csl_fail(errno == ENOENT || errno == ENOTDIR ? CSL_E_NOT_FOUND : CSL_E_IO, "%s: %s",
                        path, strerror(errno));
    }
    struct stat information;
    if (fstat(fileno(stream), &information) != 0 || !S_ISREG(information.st_mode)) {
        fclose(stream);
        return csl_fail(CSL_E_FORMAT, "%s: expected a file, found something else", path);
    }
    *stream_out = stream;
    *size_out = (uint64_t)information.st_size;
    return CSL_OK;
}

static csl_status read_header(FILE *stream, uint64_t size, csl_npy *npy)
{
    size_t most = (size_t)CSL_NPY_HEADER_SIZE_MAX + PREFIX_SIZE;
    size_t wanted = size < most ? (size_t)size : most;
    uint8_t *bytes = malloc(wanted + 1);
    if (!bytes) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: header of %zu bytes", npy->path, wanted);
    }
    static const char accepted[] = "float32 or float64 (f4 or f8)";
    csl_npy_header header;
    csl_status status = fread(bytes, 1, wanted, stream) == wanted
                            ? csl_npy_header_parse(bytes, wanted, npy->path, accepted, &header)
                            : csl_fail(CSL_E_IO, "%s: cannot be read", npy->path);
    free(bytes);
    CSL_TRY(status);
    if (header.kind != 'f') {
        return csl_fail(CSL_E_FORMAT, "%s: expected %s, found %u-byte integers", npy->path,
                        accepted, header.item_size);
    }
    npy->offset = header.data_offset;
    npy->count = header.count;
    npy->rank = header.rank;
    memcpy(npy->extent, header.extent, sizeof npy->extent);
    npy->element_size = header.item_size;
    if (size - npy->offset != npy->count * npy->element_size) {
        return csl_fail(CSL_E_FORMAT, "%s: expected %llu bytes of values, found %llu", npy->path,
                        (unsigned long long)(npy->count * npy->element_size),
                        (unsigned long long)(size - npy->offset));
    }
    return CSL_OK;
}

csl_status csl_npy_look(const char *path, csl_npy *npy_out)
{
    csl_npy npy = {.path = path};
    FILE *stream = NULL;
    uint64_t size = 0;
    CSL_TRY(open_file(path, &stream, &size));
    csl_status status = read_header(stream, size, &npy);
    fclose(stream);
    CSL_TRY(status);
    *npy_out = npy;
    return CSL_OK;
}

csl_status csl_npy_read(const csl_npy *npy, uint64_t begin, size_t count, void *out)
{
    if (begin > npy->count || count > npy->count - begin) {
        return csl_fail(CSL_E_RANGE, "%s: values beyond the end", npy->path);
    }
    FILE *stream = NULL;
    uint64_t size = 0;
    CSL_TRY(open_file(npy->path, &stream, &size));
    off_t place = (off_t)(npy->offset + begin * npy->element_size);
    bool good = fseeko(stream, place, SEEK_SET) == 0 &&
                fread(out, npy->element_size, count, stream) == count;
    fclose(stream);
    return good ? CSL_OK : csl_fail(CSL_E_IO, "%s: cannot be read", npy->path);
}

csl_status csl_npy_read_float(const csl_npy *npy, uint64_t begin, size_t count, float *out)
{
    if (npy->element_size == sizeof(float)) {
        return csl_npy_read(npy, begin, count, out);
    }
    double *block = malloc(BLOCK_COUNT * sizeof *block);
    csl_status status =
        block ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s: a block of values", npy->path);
    for (size_t done = 0; status == CSL_OK && done < count; done += BLOCK_COUNT) {
        size_t step = count - done < BLOCK_COUNT ? count - done : BLOCK_COUNT;
        status = csl_npy_read(npy, begin + done, step, block);
        for (size_t i = 0; status == CSL_OK && i < step; i++) {
            out[done + i] = (float)block[i];
        }
    }
    free(block);
    return status;
}
