/* The inner functions for processors with avx2; compiled with its flags, called only if it is
 * there. */
#if defined(__x86_64__)

#include "simd_avx2.h"

#include "columns_body.h"

const csl_robust_variant csl_robust_avx2 = {
    .name = SIMD_NAME,
    .weighted_sum = weighted_sum,
};
#else
typedef int csl_no_avx2; /* a translation unit may not be empty */
#endif
