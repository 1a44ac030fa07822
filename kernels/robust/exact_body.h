/*
 * Exact sums over one tile on one thread; included once per instruction set. The sequence of
 * operations is in <consilium/kernels_robust.h>: 32 lanes of float32, whatever the vector width.
 *
 * Pairs of rows are taken from panels: columns, copied so that what a block of PAIR_EDGE rows needs
 * of one group of SIMD_LANES lanes at one step lies together, [group][block][step][row][lane]. Of
 * the PAIR_EDGE x PAIR_EDGE pairs of two blocks, as many rows of the first are taken at a time as
 * have registers for their sums over the steps. Zeros behind the last column of a tile change no
 * sum.
 */
#ifndef CSL_ROBUST_EXACT_BODY_H
#define CSL_ROBUST_EXACT_BODY_H

#include "robust_host.h"

/* With 16 registers, two rows against six at a time: twelve sums, so that no multiply-add waits for
 * the one before, and eight loads for twelve pairs. Two rows fill a cache line. */
enum {
    PAIR_EDGE = SIMD_LANES == 16  ? 4
                : SIMD_LANES == 8 ? 6
                                  : 2,
    PACK_ROWS = SIMD_LANES == 8 ? 3 : PAIR_EDGE, /* whose norms' sums stay in registers */
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

/* PACK_ROWS rows into their places in a panel, and into the lane sums of their norms; `next`: the
 * same columns of the rows that come after them. */
static void pack_rows(const csl_panel *panel,
                      const float *const *rows,
                      const float *const *next,
                      float *target,
                      float *norm_lanes)
{
    simd_float norm[PACK_ROWS * LANE_GROUPS];
    const float *row[PACK_ROWS];
    const float *ahead[PACK_ROWS];
    size_t steps = panel->steps;
    size_t count = panel->count;
    size_t group_count = panel->group_count;
    bool goes_on = norm_lanes && !panel->begins;
#pragma GCC unroll 4
    for (int i = 0; i < PACK_ROWS; i++) {
        row[i] = rows[i];
        ahead[i] = next[i];
    }
#pragma GCC unroll 64
    for (int k = 0; k < PACK_ROWS * LANE_GROUPS; k++) {
        norm[k] = goes_on ? simd_load(norm_lanes + k * SIMD_LANES) : simd_set(0.0f);
    }
    for (size_t step = 0; step < steps; step++) {
        size_t first = step * CSL_EXACT_LANES;
        float *to = target + step * PAIR_EDGE * SIMD_LANES;
        bool whole = first + CSL_EXACT_LANES <= count;
#pragma GCC unroll 4
        for (int i = 0; i < PACK_ROWS; i++) { /* a page ends before the hardware sees a stream */
            simd_prefetch(ahead[i] + first);
            simd_prefetch(ahead[i] + first + CSL_EXACT_LANES / 2);
        }
#pragma GCC unroll 32
        for (size_t g = 0; g < LANE_GROUPS; g++) {
#pragma GCC unroll 4
            for (int i = 0; i < PACK_ROWS; i++) {
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
        for (int k = 0; k < PACK_ROWS * LANE_GROUPS; k++) {
            simd_store(norm_lanes + k * SIMD_LANES, norm[k]);
        }
    }
}

static void
pack_panel(const csl_panel *panel, const float *const *rows, uint32_t row_count, float *norm_lanes)
{
    for (uint32_t i = 0; i < row_count; i += PACK_ROWS) {
        size_t block = i / PAIR_EDGE;
        size_t place = block * PAIR_EDGE * panel->steps + i % PAIR_EDGE;
        pack_rows(panel, rows + i, i + PACK_ROWS < row_count ? rows + i + PACK_ROWS : rows,
                  panel->values + place * SIMD_LANES,
                  norm_lanes ? norm_lanes + (size_t)i * CSL_EXACT_LANES : NULL);
    }
}

/* Adds a lane group of a panel to its lane sums of the pairs of `height` rows of block a, from row
 * `first` on, and the first `width` rows of block b, [PAIR_EDGE][PAIR_EDGE][SIMD_LANES], or begins
 * them. */
SIMD_INLINE void pair_slice(csl_pair_kind kind,
                            bool diagonal,
                            int first,
                            int height,
                            int width,
                            const csl_panel *panel,
                            const float *a,
                            const float *b,
                            float *lane)
{
    simd_float sum[PAIR_EDGE * PAIR_EDGE];
    a += first * SIMD_LANES;
    lane += first * PAIR_EDGE * SIMD_LANES;
#pragma GCC unroll 6
    for (int i = 0; i < height; i++) {
#pragma GCC unroll 6
        for (int k = 0; k < width; k++) {
            sum[i * PAIR_EDGE + k] =
                panel->begins ? simd_set(0.0f) : simd_load(lane + (i * PAIR_EDGE + k) * SIMD_LANES);
        }
    }
    for (size_t step = 0; step < panel->steps; step++) {
        simd_float left[PAIR_EDGE];
#pragma GCC unroll 6
        for (int i = 0; i < height; i++) {
            left[i] = simd_load(a + (step * PAIR_EDGE + (size_t)i) * SIMD_LANES);
        }
#pragma GCC unroll 6
        for (int k = 0; k < width; k++) {
            simd_float right =
                simd_held(simd_load(b + (step * PAIR_EDGE + (size_t)k) * SIMD_LANES));
#pragma GCC unroll 6
            for (int i = 0; i < height; i++) {
                if (pair_wanted(kind, diagonal, first + i, k)) {
                    sum[i * PAIR_EDGE + k] =
                        pair_step(kind, left[i], right, sum[i * PAIR_EDGE + k]);
                }
            }
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < height; i++) {
#pragma GCC unroll 6
        for (int k = 0; k < width; k++) {
            if (pair_wanted(kind, diagonal, first + i, k)) {
                simd_store(lane + (i * PAIR_EDGE + k) * SIMD_LANES, sum[i * PAIR_EDGE + k]);
            }
        }
    }
}

/* Rows of block a at a time: as many as there are registers for, with their sums. */
SIMD_INLINE int slice_height(int width)
{
    if (SIMD_LANES != 8) {
        return PAIR_EDGE;
    }
    return width > 3 ? 2 : width > 1 ? 3 : PAIR_EDGE;
}

SIMD_INLINE void pair_block(csl_pair_kind kind,
                            bool diagonal,
                            int width,
                            const csl_panel *panel,
                            const float *a,
                            const float *b,
                            float *lane)
{
    if (diagonal) {
        const int height = SIMD_LANES == 8 && width > 4 ? 2 : width;
        pair_slice(kind, true, 0, height, width, panel, a, b, lane);
        if (height < width) {
            pair_slice(kind, true, height, width - height, width, panel, a, b, lane);
        }
        return;
    }
    const int height = slice_height(width);
    for (int first = 0; first < PAIR_EDGE; first += height) {
        pair_slice(kind, false, first, height, width, panel, a, b, lane);
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
        pair_block(kind, true, width, panel, a, b, lane);
    } else {
        pair_block(kind, false, width, panel, a, b, lane);
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
    } else if (PAIR_EDGE > 4 && width == 3) {
        pair_block_of(kind, diagonal, 3, panel, a, b, lane);
    } else if (PAIR_EDGE > 5 && width == 4) {
        pair_block_of(kind, diagonal, 4, panel, a, b, lane);
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

static void lane_sums(const float *lane, size_t group_count, uint32_t sum_count, double *sums)
{
    for (uint32_t k = 0; k < sum_count; k++) {
        sums[k] = simd_tree(lane + k * SIMD_LANES, group_count);
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
    return simd_tree(lane, SIMD_LANES);
}

static double pair_tile(csl_pair_kind kind, const float *a, const float *b, size_t count)
{
    return kind == CSL_PAIR_DISTANCE ? pair_tile_of(CSL_PAIR_DISTANCE, a, b, count)
                                     : pair_tile_of(CSL_PAIR_PRODUCT, a, b, count);
}

#endif
