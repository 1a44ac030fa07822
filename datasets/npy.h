/* Arrays of NumPy's .npy format, versions 1 to 3, taken as one dimension and read by ranges. */
#ifndef CSL_NPY_H
#define CSL_NPY_H

#include <consilium/status.h>
#include <consilium/types.h>

typedef struct csl_npy {
    const char *path; /* lent */
    uint64_t offset;  /* bytes before the first value */
    uint64_t count;
    uint32_t rank;
    uint64_t extent[5];
    size_t element_size; /* 4 or 8: float32 or float64, little-endian */
} csl_npy;

/* Accepts '<f4' and '<f8', C order, 1 to 5 dimensions taken as one. Keeps no file open, so that as
 * many files as there may be rows can be read in turn. Errors: E_NOT_FOUND, E_FORMAT, E_IO,
 * E_NO_MEMORY. */
CSL_MUST_CHECK csl_status csl_npy_look(const char *path, csl_npy *npy_out);
/* Values [begin, begin + count) as they are stored: float32 or float64. Errors: E_RANGE,
 * E_NOT_FOUND, E_IO. */
CSL_MUST_CHECK csl_status csl_npy_read(const csl_npy *npy, uint64_t begin, size_t count, void *out);
/* The same as float32; values beyond its range become infinities. Errors: also E_NO_MEMORY. */
CSL_MUST_CHECK csl_status csl_npy_read_float(const csl_npy *npy,
                                             uint64_t begin,
                                             size_t count,
                                             float *out);

#endif
