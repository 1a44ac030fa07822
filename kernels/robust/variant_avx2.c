/* The inner functions for processors with avx2; compiled with its flags, called only if it is
 * there. */
#if defined(__x86_64__)

#include "simd_avx2.h"

#include "columns_body.h"
#include "exact_body.h"
#include "select_body.h"

const csl_robust_variant csl_robust_avx2 = {
    .name = SIMD_NAME,
    .weighted_sum = weighted_sum,
    .mix = mix_range,
    .mix_height = MIX_HEIGHT,
    .mix_columns = MIX_COLUMNS,
    .mix_alone = MIX_ALONE,
    .select = select_range,
    .statistics = statistics_range,
    .sign_filter = sign_filter,
    .pack_panel = pack_panel,
    .add_block = add_block,
    .lane_sums = lane_sums,
    .pair_tile = pair_tile,
    .lanes = SIMD_LANES,
    .pair_edge = PAIR_EDGE,
};
#else
typedef int csl_no_avx2; /* a translation unit may not be empty */
#endif
