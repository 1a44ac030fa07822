/* The inner functions in plain C: the reference, and what runs where no vector variant does. */

#include "simd_portable.h"

#include "columns_body.h"
#include "exact_body.h"
#include "select_body.h"

const csl_robust_variant csl_robust_portable = {
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
