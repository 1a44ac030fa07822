/* The inner functions in plain C: the reference, and what runs where no vector variant does. */

#include "simd_portable.h"

#include "columns_body.h"
#include "exact_body.h"
#include "select_body.h"

const csl_robust_variant csl_robust_portable = {
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
