/* The inner functions for processors with avx512; compiled with its flags, called only if it is
 * there. */
#if defined(__x86_64__)

#include "simd_avx512.h"

#include "columns_body.h"
#include "exact_body.h"
#include "select_body.h"

const csl_robust_variant csl_robust_avx512 = {
    .name = SIMD_NAME,
    .weighted_sum = weighted_sum,
    .mix = mix_range,
    .select = select_range,
    .statistics = statistics_range,
    .sign_filter = sign_filter,
    .distance_strip = distance_strip,
    .product_strip = product_strip,
    .lane_sums = lane_sums,
    .norm_tile = norm_tile,
    .pair_edge = PAIR_EDGE,
};
#else
typedef int csl_no_avx512; /* a translation unit may not be empty */
#endif
