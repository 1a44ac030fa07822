/*
 * Exact sums over one tile on one thread; included once per instruction set. The sequence of
 * operations is in <consilium/kernels_robust.h>: 32 lanes of float32, whatever the vector width.
 *
 * Pairs of rows are taken from panels: columns, copied so that what a block of PAIR_EDGE rows needs
 * of one group of SIMD_LANES lanes at one step lies together, [group][block][step][row][lane]. A
 * block of PAIR_EDGE x PAIR_EDGE pairs keeps its sums in registers over the steps. Zeros behind the
 * last column of a tile change no sum.
 */
#ifndef CSL_ROBUST_EXACT_BODY_H
#define CSL_ROBUST_EXACT_BODY_H

#include "robust_host.h"

enum {
    PAIR_EDGE = SIMD_LANES == 16  ? 4
                : SIMD_LANES == 8 ? 3
                                  : 2,
    LANE_GROUPS = CSL_EXACT_LANES / SIMD_LANES
};

SIMD_INLINE simd_float pair_step(csl_pair_kind kind, simd_float a, simd_float b, simd_float sum)
{
    if (kind == CSL_PAIR_DISTANCE) {
        simd_float e = simd_sub(a, b);
        return simd_fma(e, e, sum);
    }
    return simd_fma(a, b, sum);
}

/* Is this pair of a block wanted? On the diagonal only i < k, and i = k for inner products. */
SIMD_INLINE bool pair_wanted(csl_pair_kind kind, bool diagonal, int i, int k)
{
    return !diagonal || i < k || (i == k && kind == CSL_PAIR_PRODUCT);
}

/* The vector at column `first`; zeros behind the last of `count` columns. */
SIMD_INLINE simd_float load_step(const float *row, size_t first, size_t count)
{
    if (first + SIMD_LANES <= count) {
        return simd_load(row + first);
    }
    return first < count ? simd_load_part(row + first, count - first) : simd_set(0.0f);
}

/* The rows of one block into a panel, and into the lane sums of their norms; `next`: the same
 * columns of the rows that come after them. */
static void pack_block(const csl_panel *panel,
                       const float *const *rows,
                       const float *const *next,
                       float *target,
                       float *norm_lanes)
{
    simd_float norm[PAIR_EDGE * LANE_GROUPS];
    const float *row[PAIR_EDGE];
    const float *ahead[PAIR_EDGE];
    size_t steps = panel->steps;
    size_t count = panel->count;
    size_t group_count = panel->group_count;
    bool goes_on = norm_lanes && !panel->begins;
#pragma GCC unroll 4
    for (int i = 0; i < PAIR_EDGE; i++) {
        row[i] = rows[i];
        ahead[i] = next[i];
    }
#pragma GCC unroll 64
    for (int k = 0; k < PAIR_EDGE * LANE_GROUPS; k++) {
        norm[k] = goes_on ? simd_load(norm_lanes + k * SIMD_LANES) : simd_set(0.0f);
    }
    for (size_t step = 0; step < steps; step++) {
        size_t first = step * CSL_EXACT_LANES;
        float *to = target + step * PAIR_EDGE * SIMD_LANES;
        bool whole = first + CSL_EXACT_LANES <= count;
#pragma GCC unroll 4
        for (int i = 0; i < PAIR_EDGE; i++) { /* a page ends before the hardware sees a stream */
            simd_prefetch(ahead[i] + first);
            simd_prefetch(ahead[i] + first + CSL_EXACT_LANES / 2);
        }
#pragma GCC unroll 32
        for (size_t g = 0; g < LANE_GROUPS; g++) {
#pragma GCC unroll 4
            for (int i = 0; i < PAIR_EDGE; i++) {
                size_t at = first + g * SIMD_LANES;
                int k = i * LANE_GROUPS + (int)g;
                simd_float x = whole ? simd_load(row[i] + at) : load_step(row[i], at, count);
                simd_store(to + g * group_count + i * SIMD_LANES, x);
                norm[k] = simd_fma(x, x, norm[k]);
            }
        }
    }
    if (norm_lanes) {
#pragma GCC unroll 64
        for (int k = 0; k < PAIR_EDGE * LANE_GROUPS; k++) {
            simd_store(norm_lanes + k * SIMD_LANES, norm[k]);
        }
    }
}

static void pack_panel(const csl_panel *panel,
                       const float *const *rows,
                       uint32_t block_count,
                       float *norm_lanes)
{
    for (uint32_t block = 0; block < block_count; block++) {
        const float *const *first = rows + block * PAIR_EDGE;
        pack_block(panel, first, block + 1 < block_count ? first + PAIR_EDGE : rows,
                   panel->values + block * PAIR_EDGE * panel->steps * SIMD_LANES,
                   norm_lanes ? norm_lanes + (size_t)block * PAIR_EDGE * CSL_EXACT_LANES : NULL);
    }
}

/* Adds a lane group of a panel to its lane sums of height x width pairs,
 * [height][PAIR_EDGE][CSL_EXACT_LANES], or begins them. a, b: blocks of that group. */
SIMD_INLINE void pair_block(csl_pair_kind kind,
                            bool diagonal,
                            int height,
                            int width,
                            const csl_panel *panel,
                            const float *a,
                            const float *b,
                            float *lane)
{
    simd_float sum[PAIR_EDGE * PAIR_EDGE];
#pragma GCC unroll 4
    for (int i = 0; i < height; i++) {
#pragma GCC unroll 4
        for (int k = 0; k < width; k++) {
            sum[i * PAIR_EDGE + k] = panel->begins
                                         ? simd_set(0.0f)
                                         : simd_load(lane + (i * PAIR_EDGE + k) * CSL_EXACT_LANES);
        }
    }
    for (size_t step = 0; step < panel->steps; step++) {
        simd_float left[PAIR_EDGE];
#pragma GCC unroll 4
        for (int i = 0; i < height; i++) {
            left[i] = simd_load(a + (step * PAIR_EDGE + (size_t)i) * SIMD_LANES);
        }
#pragma GCC unroll 4
        for (int k = 0; k < width; k++) {
            simd_float right = simd_load(b + (step * PAIR_EDGE + (size_t)k) * SIMD_LANES);
#pragma GCC unroll 4
            for (int i = 0; i < height; i++) {
                if (pair_wanted(kind, diagonal, i, k)) {
                    sum[i * PAIR_EDGE + k] =
                        pair_step(kind, left[i], right, sum[i * PAIR_EDGE + k]);
                }
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < height; i++) {
#pragma GCC unroll 4
        for (int k = 0; k < width; k++) {
            simd_store(lane + (i * PAIR_EDGE + k) * CSL_EXACT_LANES, sum[i * PAIR_EDGE + k]);
        }
    }
}

SIMD_INLINE void pair_block_of(csl_pair_kind kind,
                               bool diagonal,
                               int width,
                               const csl_panel *panel,
                               const float *a,
                               const float *b,
                               float *lane)
{
    if (diagonal) {
        pair_block(kind, true, width, width, panel, a, b, lane);
    } else {
        pair_block(kind, false, PAIR_EDGE, width, panel, a, b, lane);
    }
}

SIMD_INLINE void pair_block_kind(csl_pair_kind kind,
                                 bool diagonal,
                                 uint32_t width,
                                 const csl_panel *panel,
                                 const float *a,
                                 const float *b,
                                 float *lane)
{
    if (width == PAIR_EDGE) {
        pair_block_of(kind, diagonal, PAIR_EDGE, panel, a, b, lane);
    } else if (width == 1) {
        pair_block_of(kind, diagonal, 1, panel, a, b, lane);
    } else if (width == 2) {
        pair_block_of(kind, diagonal, 2, panel, a, b, lane);
    } else {
        pair_block_of(kind, diagonal, PAIR_EDGE - 1, panel, a, b, lane);
    }
}

static void add_block(csl_pair_kind kind,
                      bool diagonal,
                      uint32_t width,
                      const csl_panel *panel,
                      const float *a,
                      const float *b,
                      float *lane)
{
    if (kind == CSL_PAIR_DISTANCE) {
        pair_block_kind(CSL_PAIR_DISTANCE, diagonal, width, panel, a, b, lane);
    } else {
        pair_block_kind(CSL_PAIR_PRODUCT, diagonal, width, panel, a, b, lane);
    }
}

static void lane_sums(const float *lane, uint32_t sum_count, double *sums)
{
    for (uint32_t k = 0; k < sum_count; k++) {
        sums[k] = simd_tree(lane + k * CSL_EXACT_LANES);
    }
}

/* The sum of one pair of rows over a tile, all lanes at once. */
SIMD_INLINE double pair_tile_of(csl_pair_kind kind, const float *a, const float *b, size_t count)
{
    simd_float sum[LANE_GROUPS];
    float lane[CSL_EXACT_LANES];
    size_t j = 0;
#pragma GCC unroll 32
    for (int k = 0; k < LANE_GROUPS; k++) {
        sum[k] = simd_set(0.0f);
    }
    for (; j + CSL_EXACT_LANES <= count; j += CSL_EXACT_LANES) {
#pragma GCC unroll 32
        for (size_t k = 0; k < LANE_GROUPS; k++) {
            sum[k] = pair_step(kind, simd_load(a + j + k * SIMD_LANES),
                               simd_load(b + j + k * SIMD_LANES), sum[k]);
        }
    }
    for (size_t k = 0; k < LANE_GROUPS; k++) {
        sum[k] = pair_step(kind, load_step(a, j + k * SIMD_LANES, count),
                           load_step(b, j + k * SIMD_LANES, count), sum[k]);
    }
#pragma GCC unroll 32
    for (int k = 0; k < LANE_GROUPS; k++) {
        simd_store(lane + k * SIMD_LANES, sum[k]);
    }
    return simd_tree(lane);
}

static double pair_tile(csl_pair_kind kind, const float *a, const float *b, size_t count)
{
    return kind == CSL_PAIR_DISTANCE ? pair_tile_of(CSL_PAIR_DISTANCE, a, b, count)
                                     : pair_tile_of(CSL_PAIR_PRODUCT, a, b, count);
}

#endif
