/*
 * What the host operations of this folder share. Each operation is an entry point that checks its
 * arguments and deals column ranges out to threads, and an inner function per instruction set that
 * works through one range on one thread. The inner functions are written once (the *_body.h files)
 * and compiled in variant_<set>.c.
 */
#ifndef CSL_ROBUST_HOST_H
#define CSL_ROBUST_HOST_H

#include <consilium/kernels.h>

#define CSL_HOST_PROTOTYPE(name, exactness, absolute, relative, parameters, arguments)             \
    csl_status csl_host_##name parameters;
CSL_ROBUST_OP_LIST(CSL_HOST_PROTOTYPE)
#undef CSL_HOST_PROTOTYPE

enum {
    CSL_COLUMN_BLOCK = 1024, /* columns whose float64 sums stay in the first-level cache */
    CSL_PAIR_BLOCK = 8       /* largest edge of a block of pairs */
};

typedef struct csl_robust_variant {
    const char *name;
    /* out[begin..end) of row_weighted_mean; divisor: 0, or the sum is divided by it (row_mean). */
    void (*weighted_sum)(const float *const *rows,
                         const double *weights,
                         uint32_t row_count,
                         size_t begin,
                         size_t end,
                         double divisor,
                         float *out);
} csl_robust_variant;

/* The variant in use; chosen once, see csl_instruction_set_select. */
const csl_robust_variant *csl_robust_variant_get(void);

extern const csl_robust_variant csl_robust_portable;
#if defined(__x86_64__)
extern const csl_robust_variant csl_robust_avx2;
extern const csl_robust_variant csl_robust_avx512;
#endif

csl_status csl_robust_check_rows(const char *operation,
                                 const float *const *host_rows,
                                 uint32_t row_count,
                                 uint32_t row_max);

#endif
