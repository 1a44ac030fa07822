/*
 * Column sums of one range on one thread; included once per instruction set, after its simd_*.h.
 *
 * Rows are taken in groups: a group is read one vector of each row at a time, so that at most
 * CSL_SUM_GROUP streams are open, and its float64 sums wait in a block of columns that stays in the
 * first-level cache until the next group adds to them. The order over rows is ascending in any
 * case.
 */
#ifndef CSL_ROBUST_COLUMNS_BODY_H
#define CSL_ROBUST_COLUMNS_BODY_H

#include "robust_host.h"

enum { CSL_SUM_GROUP = 16 };

/* Sum over one group of rows for one vector of columns. */
SIMD_INLINE simd_double sum_group(const float *const *rows,
                                  const double *weights,
                                  uint32_t count,
                                  size_t column,
                                  size_t lane_count,
                                  simd_double sum)
{
    for (uint32_t i = 0; i < count; i++) {
        const float *row = rows[i] + column;
        simd_float x = lane_count == SIMD_LANES ? simd_load(row) : simd_load_part(row, lane_count);
        sum = simd_double_fma(simd_double_set(weights[i]), simd_widen(x), sum);
    }
    return sum;
}

static void sum_block(const float *const *rows,
                      const double *weights,
                      uint32_t row_count,
                      size_t begin,
                      size_t end,
                      double divisor,
                      float *out)
{
    double kept[CSL_COLUMN_BLOCK + SIMD_LANES];
    for (uint32_t first = 0; first == 0 || first < row_count; first += CSL_SUM_GROUP) {
        uint32_t left = row_count - first;
        uint32_t count = left < CSL_SUM_GROUP ? left : CSL_SUM_GROUP;
        bool last = left <= CSL_SUM_GROUP;
        for (size_t j = begin; j < end; j += SIMD_LANES) {
            size_t lanes = end - j < SIMD_LANES ? end - j : SIMD_LANES;
            simd_double sum = first ? simd_double_load(kept + (j - begin)) : simd_double_set(0.0);
            if (lanes == SIMD_LANES) {
                sum = sum_group(rows + first, weights + first, count, j, SIMD_LANES, sum);
            } else {
                sum = sum_group(rows + first, weights + first, count, j, lanes, sum);
            }
            if (!last) {
                simd_double_store(kept + (j - begin), sum);
                continue;
            }
            if (divisor != 0.0) {
                sum = simd_double_div(sum, simd_double_set(divisor));
            }
            simd_store_part(out + j, simd_narrow(sum), lanes);
        }
    }
}

static void weighted_sum(const float *const *rows,
                         const double *weights,
                         uint32_t row_count,
                         size_t begin,
                         size_t end,
                         double divisor,
                         float *out)
{
    for (size_t j = begin; j < end; j += CSL_COLUMN_BLOCK) {
        size_t stop = end - j < CSL_COLUMN_BLOCK ? end : j + CSL_COLUMN_BLOCK;
        sum_block(rows, weights, row_count, j, stop, divisor, out);
    }
}

#endif
