/* One-dimensional arrays of NumPy's .npy format, versions 1 to 3, read by ranges. */
#ifndef CSL_NPY_H
#define CSL_NPY_H

#include <consilium/status.h>
#include <consilium/types.h>

#include <stdio.h>

typedef struct csl_npy {
    FILE *stream;
    const char *path; /* lent */
    uint64_t offset;  /* bytes before the first value */
    uint64_t count;
    size_t element_size; /* 4 or 8: float32 or float64, little-endian */
} csl_npy;

/* Accepts '<f4' and '<f8', C order, any number of dimensions taken as one. Errors: E_NOT_FOUND,
 * E_FORMAT, E_IO. */
CSL_MUST_CHECK csl_status csl_npy_open(const char *path, csl_npy *npy_out);
void csl_npy_close(csl_npy *npy);
/* Values [begin, begin + count) as they are stored: float32 or float64. */
CSL_MUST_CHECK csl_status csl_npy_read(csl_npy *npy, uint64_t begin, size_t count, void *out);

#endif
