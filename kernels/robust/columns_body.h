/*
 * Column sums of one range on one thread; included once per instruction set, after its simd_*.h.
 *
 * Rows are taken in groups: a group is read two vectors of each row at a time, so that at most
 * CSL_SUM_GROUP streams are open, and its float64 sums wait in a block of columns that stays in the
 * first-level cache until the next group adds to them. The order over rows is ascending in any
 * case.
 */
#ifndef CSL_ROBUST_COLUMNS_BODY_H
#define CSL_ROBUST_COLUMNS_BODY_H

#include "robust_host.h"

enum {
    CSL_SUM_GROUP = 16,
    CSL_SUM_VECTORS = 2, /* of columns at a time: a weight is then loaded once for both */
    CSL_SUM_AHEAD = 192, /* columns from those in work to those whose cache lines are asked for */
    CSL_LINE_COLUMNS = CSL_CACHE_LINE / sizeof(float)
};

SIMD_INLINE void store_columns(float *row, simd_float value, size_t lane_count)
{
    if (lane_count < SIMD_LANES) {
        simd_store_part(row, value, lane_count);
    } else {
        simd_store(row, value); /* AVX2's store of a part takes a dozen cycles */
    }
}

/* What one group adds to a block of columns. */
typedef struct sum_group {
    const float *const *rows;
    const double *weights;
    uint32_t count;
    bool begins;
    bool ends;
    double divisor;
} sum_group;

/* Some vectors of columns; kept: their sums before the group and, where it is not the last, after
 * it. A part of a vector stands alone. */
SIMD_INLINE void sum_columns(const sum_group *group,
                             size_t column,
                             size_t vectors,
                             size_t lane_count,
                             simd_magnitude *magnitude,
                             double *kept,
                             float *out)
{
    simd_double sum[CSL_SUM_VECTORS];
    bool whole = lane_count == SIMD_LANES;
#pragma GCC unroll 2
    for (size_t v = 0; v < vectors; v++) {
        sum[v] = group->begins ? simd_double_set(0.0) : simd_double_load(kept + v * SIMD_LANES);
    }
    for (uint32_t i = 0; i < group->count; i++) {
        const float *row = group->rows[i] + column;
#pragma GCC unroll 2
        for (size_t v = 0; v < vectors; v++) {
            const float *at = row + v * SIMD_LANES;
            if (v * SIMD_LANES % CSL_LINE_COLUMNS == 0) {
                simd_prefetch(at + CSL_SUM_AHEAD);
            }
            simd_float value = whole ? simd_load(at) : simd_load_part(at, lane_count);
            simd_double x = whole ? simd_widen_load(at) : simd_widen(value);
            *magnitude = simd_magnitude_with(*magnitude, value);
            sum[v] = simd_double_fma(simd_double_set(group->weights[i]), x, sum[v]);
        }
    }
#pragma GCC unroll 2
    for (size_t v = 0; v < vectors; v++) {
        if (!group->ends) {
            simd_double_store(kept + v * SIMD_LANES, sum[v]);
            continue;
        }
        if (group->divisor != 0.0) {
            sum[v] = simd_double_div(sum[v], simd_double_set(group->divisor));
        }
        store_columns(out + column + v * SIMD_LANES, simd_narrow(sum[v]), lane_count);
    }
}

static void sum_block(const float *const *rows,
                      const double *weights,
                      uint32_t row_count,
                      size_t begin,
                      size_t end,
                      double divisor,
                      simd_magnitude *magnitude,
                      float *out)
{
    enum { WIDTH = CSL_SUM_VECTORS * SIMD_LANES };
    simd_magnitude most = *magnitude;
    double kept[CSL_COLUMN_BLOCK + SIMD_LANES];
    for (uint32_t first = 0; first == 0 || first < row_count; first += CSL_SUM_GROUP) {
        uint32_t left = row_count - first;
        sum_group group = {.rows = rows + first,
                           .weights = weights + first,
                           .count = left < CSL_SUM_GROUP ? left : CSL_SUM_GROUP,
                           .begins = first == 0,
                           .ends = left <= CSL_SUM_GROUP,
                           .divisor = divisor};
        size_t j = begin;
        for (; end - j >= WIDTH; j += WIDTH) {
            sum_columns(&group, j, CSL_SUM_VECTORS, SIMD_LANES, &most, kept + (j - begin), out);
        }
        for (; end - j >= SIMD_LANES; j += SIMD_LANES) {
            sum_columns(&group, j, 1, SIMD_LANES, &most, kept + (j - begin), out);
        }
        if (j < end) {
            sum_columns(&group, j, 1, end - j, &most, kept + (j - begin), out);
        }
    }
    *magnitude = most;
}

static uint32_t weighted_sum(const float *const *rows,
                             const double *weights,
                             uint32_t row_count,
                             size_t begin,
                             size_t end,
                             double divisor,
                             float *out)
{
    simd_magnitude magnitude = simd_magnitude_none();
    for (size_t j = begin; j < end; j += CSL_COLUMN_BLOCK) {
        size_t stop = end - j < CSL_COLUMN_BLOCK ? end : j + CSL_COLUMN_BLOCK;
        sum_block(rows, weights, row_count, j, stop, divisor, &magnitude, out);
    }
    return simd_magnitude_largest(magnitude);
}

SIMD_INLINE simd_float load_columns(const float *row, size_t lane_count)
{
    return lane_count == SIMD_LANES ? simd_load(row) : simd_load_part(row, lane_count);
}

/*
 * W X by blocks of MIX_COLUMNS columns: their values are widened once, [row][column], and stay in
 * the first-level cache, while in registers lie the sums either of MIX_HEIGHT rows of W for one
 * vector of columns, or of one row of W for all columns of the block: the latter where W has so
 * many zeros that the rows of a group do not share them (mixing of nearest neighbours).
 */
enum {
    MIX_HEIGHT = SIMD_LANES == 8 ? 6 : 8,
    MIX_COLUMNS = SIMD_LANES == 8 ? 48 : 32,
    MIX_VECTORS = MIX_COLUMNS / SIMD_LANES,
    MIX_ALONE = SIMD_LANES == 8 /* two vectors of 16 are too few sums at a time */
};

/* Widens up to MIX_COLUMNS columns, zeros behind them; gives the largest magnitude. */
SIMD_INLINE simd_magnitude widen_block(
    const float *const *rows, uint32_t row_count, size_t column, size_t count, double *panel)
{
    simd_magnitude magnitude = simd_magnitude_none();
    for (uint32_t i = 0; i < row_count; i++) {
        const float *row = rows[i] + column;
        double *widened = panel + i * (size_t)MIX_COLUMNS;
#pragma GCC unroll 6
        for (size_t j = 0; j < MIX_COLUMNS; j += SIMD_LANES) {
            if (count == MIX_COLUMNS) {
                magnitude = simd_magnitude_with(magnitude, simd_load(row + j));
                simd_double_store(widened + j, simd_widen_load(row + j));
                continue;
            }
            size_t left = count > j ? count - j : 0;
            simd_float value = left ? load_columns(row + j, left < SIMD_LANES ? left : SIMD_LANES)
                                    : simd_set(0.0f);
            magnitude = simd_magnitude_with(magnitude, value);
            simd_double_store(widened + j, simd_widen(value));
        }
    }
    return magnitude;
}

/* MIX_HEIGHT rows of W X for one vector of columns. A weight of zero must not touch its sum, which
 * fma(0, x, s) does only where x is not finite. */
SIMD_INLINE void
mix_vector(const csl_mix *mix, uint32_t group, const double *panel, bool finite, simd_double *sum)
{
#pragma GCC unroll 8
    for (int r = 0; r < MIX_HEIGHT; r++) {
        sum[r] = simd_double_set(0.0);
    }
    for (uint32_t e = mix->start[group]; e < mix->start[group + 1]; e++) {
        simd_double x = simd_double_load(panel + (size_t)mix->row[e] * MIX_COLUMNS);
        const double *weight = mix->weights + (size_t)e * MIX_HEIGHT;
#pragma GCC unroll 8
        for (int r = 0; r < MIX_HEIGHT; r++) {
            if (finite || weight[r] != 0.0) {
                sum[r] = simd_double_fma(simd_double_set(weight[r]), x, sum[r]);
            }
        }
    }
}

SIMD_INLINE void mix_group(const csl_mix *mix,
                           uint32_t group,
                           const double *panel,
                           bool finite,
                           size_t column,
                           size_t count,
                           float *const *out)
{
    uint32_t first = group * MIX_HEIGHT;
    uint32_t height = mix->mix_count - first;
    for (size_t j = 0; j < count; j += SIMD_LANES) {
        simd_double sum[MIX_HEIGHT];
        size_t left = count - j;
        mix_vector(mix, group, panel + j, finite, sum);
#pragma GCC unroll 8
        for (uint32_t r = 0; r < MIX_HEIGHT; r++) {
            if (r < height) {
                store_columns(out[first + r] + column + j, simd_narrow(sum[r]), left);
            }
        }
    }
}

/* One row of W X; only its nonzeros are listed. */
SIMD_INLINE void mix_alone(
    const csl_mix *mix, uint32_t r, const double *panel, size_t column, size_t count, float *out)
{
    simd_double sum[MIX_VECTORS];
#pragma GCC unroll 32
    for (int v = 0; v < MIX_VECTORS; v++) {
        sum[v] = simd_double_set(0.0);
    }
    for (uint32_t e = mix->start[r]; e < mix->start[r + 1]; e++) {
        const double *x = panel + (size_t)mix->row[e] * MIX_COLUMNS;
        simd_double weight = simd_double_set(mix->weights[e]);
#pragma GCC unroll 32
        for (int v = 0; v < MIX_VECTORS; v++) {
            sum[v] = simd_double_fma(weight, simd_double_load(x + v * SIMD_LANES), sum[v]);
        }
    }
#pragma GCC unroll 32
    for (size_t v = 0; v < MIX_VECTORS; v++) {
        size_t at = v * SIMD_LANES;
        if (at < count) {
            store_columns(out + column + at, simd_narrow(sum[v]), count - at);
        }
    }
}

SIMD_INLINE void mix_block(const csl_mix *mix,
                           const float *const *rows,
                           size_t column,
                           size_t count,
                           double *panel,
                           float *const *out)
{
    simd_magnitude magnitude = widen_block(rows, mix->row_count, column, count, panel);
    bool finite = simd_magnitude_largest(magnitude) < CSL_MAGNITUDE_INFINITY;
    for (uint32_t group = 0; group < mix->group_count; group++) {
        if (MIX_ALONE && mix->height == 1) {
            mix_alone(mix, group, panel, column, count, out[group]);
        } else if (finite) {
            mix_group(mix, group, panel, true, column, count, out);
        } else {
            mix_group(mix, group, panel, false, column, count, out);
        }
    }
}

static void mix_range(const csl_mix *mix,
                      const float *const *rows,
                      size_t begin,
                      size_t end,
                      double *panel,
                      float *const *out)
{
    size_t j = begin;
    for (; end - j >= MIX_COLUMNS; j += MIX_COLUMNS) {
        mix_block(mix, rows, j, MIX_COLUMNS, panel, out);
    }
    if (j < end) {
        mix_block(mix, rows, j, end - j, panel, out);
    }
}

/* sum_i sign(x_i) as small integers in float32, exact up to 2^24 rows; sign(NaN) = 0. */
SIMD_INLINE simd_float sum_of_signs(const float *const *rows,
                                    uint32_t row_count,
                                    size_t column,
                                    size_t lane_count)
{
    simd_float zero = simd_set(0.0f);
    simd_float sum = zero;
    for (uint32_t i = 0; i < row_count; i++) {
        simd_float x = load_columns(rows[i] + column, lane_count);
        sum = simd_add(sum, simd_where(simd_greater(x, zero), simd_set(1.0f), zero));
        sum = simd_sub(sum, simd_where(simd_greater(zero, x), simd_set(1.0f), zero));
    }
    return sum;
}

static void sign_filter(const float *const *rows,
                        uint32_t row_count,
                        uint32_t threshold,
                        size_t begin,
                        size_t end,
                        float *inout)
{
    simd_float zero = simd_set(0.0f);
    for (size_t j = begin; j < end; j += SIMD_LANES) {
        size_t lanes = end - j < SIMD_LANES ? end - j : SIMD_LANES;
        simd_float sum = sum_of_signs(rows, row_count, j, lanes);
        simd_float magnitude = simd_max(sum, simd_sub(zero, sum));
        simd_float x = load_columns(inout + j, lanes);
        simd_float flipped = simd_sub(zero, x);
        simd_mask below = simd_greater(simd_set((float)threshold), magnitude);
        simd_store_part(inout + j, simd_canonical(simd_where(below, flipped, x)), lanes);
    }
}

static void extremes(const float *const *rows,
                     uint32_t row_count,
                     size_t column,
                     size_t lanes,
                     const csl_column_statistics *target)
{
    simd_float smallest = simd_set(INFINITY);
    simd_float largest = simd_set(-INFINITY);
    for (uint32_t i = 0; i < row_count; i++) {
        simd_float x = simd_order_nan(load_columns(rows[i] + column, lanes));
        smallest = simd_min(smallest, x);
        largest = simd_max(largest, x);
    }
    if (target->minimum) {
        simd_store_part(target->minimum + column, simd_canonical(smallest), lanes);
    }
    if (target->maximum) {
        simd_store_part(target->maximum + column, simd_canonical(largest), lanes);
    }
}

static void mean_and_deviation(const float *const *rows,
                               uint32_t row_count,
                               size_t column,
                               size_t lanes,
                               const csl_column_statistics *target)
{
    simd_double sum = simd_double_set(0.0);
    for (uint32_t i = 0; i < row_count; i++) {
        sum = simd_double_add(sum, simd_widen(load_columns(rows[i] + column, lanes)));
    }
    simd_double mean = simd_double_div(sum, simd_double_set((double)row_count));
    simd_float rounded = simd_narrow(mean);
    if (target->mean) {
        simd_store_part(target->mean + column, rounded, lanes);
    }
    if (target->sign_of_mean) {
        simd_float zero = simd_set(0.0f);
        simd_float sign = simd_where(simd_greater(rounded, zero), simd_set(1.0f), zero);
        sign = simd_where(simd_greater(zero, rounded), simd_set(-1.0f), sign);
        simd_store_part(target->sign_of_mean + column, sign, lanes);
    }
    if (target->deviation) {
        simd_double square = simd_double_set(0.0);
        for (uint32_t i = 0; i < row_count; i++) {
            simd_double e =
                simd_double_sub(simd_widen(load_columns(rows[i] + column, lanes)), mean);
            square = simd_double_fma(e, e, square);
        }
        double freedom = row_count > 1 ? (double)(row_count - 1) : 1.0;
        square = simd_double_div(square, simd_double_set(freedom));
        simd_float result = row_count > 1 ? simd_narrow(simd_double_sqrt(square)) : simd_set(0.0f);
        simd_store_part(target->deviation + column, result, lanes);
    }
}

static void statistics_range(const float *const *rows,
                             uint32_t row_count,
                             size_t begin,
                             size_t end,
                             const csl_column_statistics *target)
{
    for (size_t j = begin; j < end; j += SIMD_LANES) {
        size_t lanes = end - j < SIMD_LANES ? end - j : SIMD_LANES;
        if (target->mean || target->deviation || target->sign_of_mean) {
            mean_and_deviation(rows, row_count, j, lanes, target);
        }
        if (target->minimum || target->maximum) {
            extremes(rows, row_count, j, lanes, target);
        }
        if (target->sign_sum) {
            float sums[SIMD_LANES];
            simd_store(sums, sum_of_signs(rows, row_count, j, lanes));
            for (size_t lane = 0; lane < lanes; lane++) {
                target->sign_sum[j + lane] = (int32_t)sums[lane];
            }
        }
    }
}

#endif
