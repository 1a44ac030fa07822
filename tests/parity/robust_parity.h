/* Random rows, and the same rows in the memory of any device. */
#ifndef CSL_ROBUST_PARITY_H
#define CSL_ROBUST_PARITY_H

#include "test_devices.h"
#include "test_support.h"

#include <consilium/kernels.h>

#ifdef __SANITIZE_THREAD__
enum { ROBUST_THREAD_SANITIZER = 1 }; /* bears about 1,000 CUDA threads a launch, slowly */
#else
enum { ROBUST_THREAD_SANITIZER = 0 };
#endif

/* Scratch memory that a CUDA device takes when it is opened (docs/PERFORMANCE.md). */
static const size_t ROBUST_CUDA_SCRATCH_SIZE = 8 << 20;

typedef enum robust_kind {
    ROBUST_NORMAL,
    ROBUST_SHIFTED, /* a large common part */
    ROBUST_TIES,    /* few distinct values, both zeros */
    ROBUST_WILD,    /* any exponent, denormals, infinities and NaN */
    ROBUST_KIND_COUNT
} robust_kind;

typedef struct robust_sample {
    uint32_t n;
    size_t d;
    robust_kind kind;
    size_t gap;     /* floats before the first row, so that rows are not aligned */
    uint32_t twice; /* this row is given as the last one too */
    float *x;       /* [n][d] */
} robust_sample;

/* A device with the sample in its memory. */
typedef struct robust_place {
    csl_device *device;
    const csl_kernels *ops;
    uint32_t n;
    float *block;       /* device: gap, then [n][d] */
    const float **rows; /* [n], device */
    float *out;         /* device [d] */
} robust_place;

/* csl_test_devices, under the thread sanitizer without those of several OpenMP threads: OpenMP's
 * library is not instrumented, so that its barriers look like races. */
size_t robust_devices(const csl_test_device **devices_out);
uint32_t robust_below(uint32_t bound);
robust_sample robust_draw(uint32_t n, size_t d, robust_kind kind);
void robust_free(robust_sample *sample);
robust_place robust_open(const char *resource, uint32_t threads, const robust_sample *sample);
void robust_close(robust_place *place);
/* Bytes of device memory that robust_open takes. */
size_t robust_place_size(const robust_sample *sample);

#endif
