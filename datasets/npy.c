/* NumPy's .npy files (NEP 1): the header is checked before anything is believed. */
#include "npy.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_SIZE = 10, HEADER_SIZE_MAX = 65536 };

/* Text after a key of the header's dictionary, or NULL. */
static const char *value_of(const char *header, const char *key)
{
    const char *place = strstr(header, key);
    if (!place) {
        return NULL;
    }
    place += strlen(key);
    while (*place == ' ' || *place == ':') {
        place++;
    }
    return place;
}

/* The product of a shape such as (3, 4) or (5,). */
static bool read_shape(const char *text, uint64_t *count_out)
{
    uint64_t count = 1;
    if (*text++ != '(') {
        return false;
    }
    while (*text != ')') {
        if (*text == ' ' || *text == ',') {
            text++;
            continue;
        }
        if (!isdigit((unsigned char)*text)) {
            return false;
        }
        char *end = NULL;
        errno = 0;
        unsigned long long extent = strtoull(text, &end, 10);
        if (errno != 0 || (extent != 0 && count > UINT64_MAX / 16 / extent)) {
            return false;
        }
        count *= extent;
        text = end;
    }
    *count_out = count;
    return true;
}

static csl_status parse_header(const char *header, csl_npy *npy)
{
    const char *kind = value_of(header, "'descr'");
    const char *order = value_of(header, "'fortran_order'");
    const char *shape = value_of(header, "'shape'");
    if (!kind || !order || !shape) {
        return csl_fail(CSL_E_FORMAT, "%s: header without descr, fortran_order and shape",
                        npy->path);
    }
    bool single = strncmp(kind, "'<f4'", 5) == 0;
    bool twice = strncmp(kind, "'<f8'", 5) == 0;
    if (!single && !twice) {
        return csl_fail(CSL_E_FORMAT, "%s: expected type '<f4' or '<f8', found %.12s", npy->path,
                        kind);
    }
    if (strncmp(order, "False", 5) != 0) {
        return csl_fail(CSL_E_FORMAT, "%s: expected C order", npy->path);
    }
    npy->element_size = single ? 4 : 8;
    if (!read_shape(shape, &npy->count)) {
        return csl_fail(CSL_E_FORMAT, "%s: shape %.24s is not valid", npy->path, shape);
    }
    return CSL_OK;
}

static csl_status read_header(csl_npy *npy)
{
    unsigned char prefix[PREFIX_SIZE + 2] = {0};
    if (fread(prefix, 1, PREFIX_SIZE, npy->stream) != PREFIX_SIZE ||
        memcmp(prefix, "\x93NUMPY", 6) != 0) {
        return csl_fail(CSL_E_FORMAT, "%s: not a .npy file", npy->path);
    }
    size_t size = (size_t)prefix[8] | (size_t)prefix[9] << 8;
    size_t start = PREFIX_SIZE;
    if (prefix[6] < 1 || prefix[6] > 3) {
        return csl_fail(CSL_E_FORMAT, "%s: .npy version %d", npy->path, prefix[6]);
    }
    if (prefix[6] > 1) {
        if (fread(prefix + PREFIX_SIZE, 1, 2, npy->stream) != 2) {
            return csl_fail(CSL_E_FORMAT, "%s: ends in its header", npy->path);
        }
        size |= (size_t)prefix[10] << 16 | (size_t)prefix[11] << 24;
        start += 2;
    }
    if (size > HEADER_SIZE_MAX) {
        return csl_fail(CSL_E_FORMAT, "%s: header of %zu bytes", npy->path, size);
    }
    char *header = calloc(size + 1, 1);
    if (!header) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: header of %zu bytes", npy->path, size);
    }
    csl_status status = fread(header, 1, size, npy->stream) == size
                            ? parse_header(header, npy)
                            : csl_fail(CSL_E_FORMAT, "%s: ends in its header", npy->path);
    free(header);
    npy->offset = start + size;
    return status;
}

csl_status csl_npy_open(const char *path, csl_npy *npy_out)
{
    csl_npy npy = {.path = path};
    npy.stream = fopen(path, "rb");
    if (!npy.stream) {
        return csl_fail(CSL_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    csl_status status = read_header(&npy);
    if (status == CSL_OK && fseeko(npy.stream, 0, SEEK_END) == 0) {
        uint64_t size = (uint64_t)ftello(npy.stream);
        if (size < npy.offset || size - npy.offset < npy.count * npy.element_size) {
            status = csl_fail(CSL_E_FORMAT, "%s: expected %llu values, file ends before them", path,
                              (unsigned long long)npy.count);
        }
    }
    if (status != CSL_OK) {
        csl_npy_close(&npy);
        return status;
    }
    *npy_out = npy;
    return CSL_OK;
}

void csl_npy_close(csl_npy *npy)
{
    if (npy && npy->stream) {
        fclose(npy->stream);
        npy->stream = NULL;
    }
}

csl_status csl_npy_read(csl_npy *npy, uint64_t begin, size_t count, void *out)
{
    if (begin > npy->count || count > npy->count - begin) {
        return csl_fail(CSL_E_RANGE, "%s: values beyond the end", npy->path);
    }
    off_t place = (off_t)(npy->offset + begin * npy->element_size);
    if (fseeko(npy->stream, place, SEEK_SET) != 0 ||
        fread(out, npy->element_size, count, npy->stream) != count) {
        return csl_fail(CSL_E_IO, "%s: cannot be read", npy->path);
    }
    return CSL_OK;
}
