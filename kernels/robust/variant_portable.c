/* The inner functions in plain C: the reference, and what runs where no vector variant does. */

#include "simd_portable.h"

#include "columns_body.h"

const csl_robust_variant csl_robust_portable = {
    .name = SIMD_NAME,
    .weighted_sum = weighted_sum,
};
