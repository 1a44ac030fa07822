/*
 * Exact sums over one tile on one thread; included once per instruction set. The sequence of
 * operations is in <consilium/kernels_robust.h>: 32 lanes of float32, whatever the vector width. A
 * width of SIMD_LANES plays the lanes in 32 / SIMD_LANES passes over a strip, so that a block of
 * PAIR_EDGE x PAIR_EDGE pairs keeps all its sums in registers.
 */
#ifndef CSL_ROBUST_EXACT_BODY_H
#define CSL_ROBUST_EXACT_BODY_H

#include "robust_host.h"

enum { PAIR_EDGE = SIMD_LANES == 16 ? 4 : SIMD_LANES == 8 ? 3 : 2 };

typedef enum pair_kind { PAIR_DISTANCE, PAIR_PRODUCT } pair_kind;

SIMD_INLINE simd_float pair_step(pair_kind kind, simd_float a, simd_float b, simd_float sum)
{
    if (kind == PAIR_DISTANCE) {
        simd_float e = simd_sub(a, b);
        return simd_fma(e, e, sum);
    }
    return simd_fma(a, b, sum);
}

/* Is this pair of a block wanted? On the diagonal only i < k, and i = k for inner products. */
SIMD_INLINE bool pair_wanted(pair_kind kind, bool diagonal, int i, int k)
{
    return !diagonal || i < k || (i == k && kind == PAIR_PRODUCT);
}

/* Adds a strip of columns to the lane sums of height x PAIR_EDGE pairs, [pair][CSL_EXACT_LANES],
 * or begins them. count is a multiple of CSL_EXACT_LANES except at the end of a tile. */
SIMD_INLINE void pair_strip(pair_kind kind,
                            bool diagonal,
                            int height,
                            const float *const *a,
                            const float *const *b,
                            size_t count,
                            bool begins,
                            float *lane)
{
    for (size_t first = 0; first < CSL_EXACT_LANES; first += SIMD_LANES) {
        simd_float sum[PAIR_EDGE * PAIR_EDGE];
#pragma GCC unroll 16
        for (int k = 0; k < height * PAIR_EDGE; k++) {
            sum[k] = begins ? simd_set(0.0f) : simd_load(lane + k * CSL_EXACT_LANES + first);
        }
        size_t j = first;
        for (; j + SIMD_LANES <= count; j += CSL_EXACT_LANES) {
            simd_float left[PAIR_EDGE];
#pragma GCC unroll 4
            for (int i = 0; i < height; i++) {
                left[i] = simd_load(a[i] + j);
            }
#pragma GCC unroll 4
            for (int k = 0; k < PAIR_EDGE; k++) {
                simd_float right = simd_load(b[k] + j);
#pragma GCC unroll 4
                for (int i = 0; i < height; i++) {
                    if (pair_wanted(kind, diagonal, i, k)) {
                        sum[i * PAIR_EDGE + k] =
                            pair_step(kind, left[i], right, sum[i * PAIR_EDGE + k]);
                    }
                }
            }
        }
        if (j < count) { /* the lanes that the last row of 32 still has; zeros change no sum */
            for (int k = 0; k < height * PAIR_EDGE; k++) {
                sum[k] = pair_step(kind, simd_load_part(a[k / PAIR_EDGE] + j, count - j),
                                   simd_load_part(b[k % PAIR_EDGE] + j, count - j), sum[k]);
            }
        }
#pragma GCC unroll 16
        for (int k = 0; k < height * PAIR_EDGE; k++) {
            simd_store(lane + k * CSL_EXACT_LANES + first, sum[k]);
        }
    }
}

static void distance_strip(uint32_t height,
                           const float *const *a,
                           const float *const *b,
                           size_t count,
                           bool diagonal,
                           bool begins,
                           float *lane)
{
    if (height == 1) {
        pair_strip(PAIR_DISTANCE, false, 1, a, b, count, begins, lane);
    } else if (diagonal) {
        pair_strip(PAIR_DISTANCE, true, PAIR_EDGE, a, a, count, begins, lane);
    } else {
        pair_strip(PAIR_DISTANCE, false, PAIR_EDGE, a, b, count, begins, lane);
    }
}

static void product_strip(uint32_t height,
                          const float *const *a,
                          const float *const *b,
                          size_t count,
                          bool diagonal,
                          bool begins,
                          float *lane)
{
    if (height == 1) {
        pair_strip(PAIR_PRODUCT, false, 1, a, b, count, begins, lane);
    } else if (diagonal) {
        pair_strip(PAIR_PRODUCT, true, PAIR_EDGE, a, a, count, begins, lane);
    } else {
        pair_strip(PAIR_PRODUCT, false, PAIR_EDGE, a, b, count, begins, lane);
    }
}

static void lane_sums(const float *lane, uint32_t sum_count, double *sums)
{
    for (uint32_t k = 0; k < sum_count; k++) {
        sums[k] = simd_tree(lane + k * CSL_EXACT_LANES);
    }
}

/* sum of squares of one row of a tile, all lanes at once. */
static double norm_tile(const float *row, size_t count)
{
    enum { PARTS = CSL_EXACT_LANES / SIMD_LANES };
    simd_float sum[PARTS];
    float lane[CSL_EXACT_LANES];
    size_t j = 0;
#pragma GCC unroll 32
    for (int k = 0; k < PARTS; k++) {
        sum[k] = simd_set(0.0f);
    }
    for (; j + CSL_EXACT_LANES <= count; j += CSL_EXACT_LANES) {
#pragma GCC unroll 32
        for (size_t k = 0; k < PARTS; k++) {
            simd_float x = simd_load(row + j + k * SIMD_LANES);
            sum[k] = simd_fma(x, x, sum[k]);
        }
    }
    for (size_t k = 0; k < PARTS && j < count; k++, j += SIMD_LANES) {
        size_t lanes = count - j < SIMD_LANES ? count - j : SIMD_LANES;
        simd_float x = simd_load_part(row + j, lanes);
        sum[k] = simd_fma(x, x, sum[k]);
    }
#pragma GCC unroll 32
    for (int k = 0; k < PARTS; k++) {
        simd_store(lane + k * SIMD_LANES, sum[k]);
    }
    return simd_tree(lane);
}

#endif
