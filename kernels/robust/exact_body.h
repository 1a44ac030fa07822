/*
 * Exact sums over one tile on one thread; included once per instruction set. The sequence of
 * operations is in <consilium/kernels_robust.h>: 32 lanes of float32, whatever the vector width. A
 * width of SIMD_LANES plays the lanes in 32 / SIMD_LANES passes over the tile, so that a block of
 * PAIR_EDGE x PAIR_EDGE pairs keeps all its sums in registers.
 */
#ifndef CSL_ROBUST_EXACT_BODY_H
#define CSL_ROBUST_EXACT_BODY_H

#include "robust_host.h"

enum {
    EXACT_LANES = 32,
    PAIR_EDGE = SIMD_LANES == 16  ? 4
                : SIMD_LANES == 8 ? 3
                                  : 2,
    NORM_ROWS = 4
};

typedef enum pair_kind { PAIR_DISTANCE, PAIR_PRODUCT } pair_kind;

SIMD_INLINE simd_float pair_step(pair_kind kind, simd_float a, simd_float b, simd_float sum)
{
    if (kind == PAIR_DISTANCE) {
        simd_float e = simd_sub(a, b);
        return simd_fma(e, e, sum);
    }
    return simd_fma(a, b, sum);
}

/* Tile sums of the height x PAIR_EDGE pairs of rows a and b; sums: [height][PAIR_EDGE]. */
SIMD_INLINE void pair_block(pair_kind kind,
                            int height,
                            const float *const *a,
                            const float *const *b,
                            size_t count,
                            double *sums)
{
    float lane[PAIR_EDGE * PAIR_EDGE][EXACT_LANES];
    for (size_t first = 0; first < EXACT_LANES; first += SIMD_LANES) {
        simd_float sum[PAIR_EDGE * PAIR_EDGE];
#pragma GCC unroll 16
        for (int k = 0; k < height * PAIR_EDGE; k++) {
            sum[k] = simd_set(0.0f);
        }
        size_t j = first;
        for (; j + SIMD_LANES <= count; j += EXACT_LANES) {
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
                    sum[i * PAIR_EDGE + k] =
                        pair_step(kind, left[i], right, sum[i * PAIR_EDGE + k]);
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
            simd_store(lane[k] + first, sum[k]);
        }
    }
    for (int k = 0; k < height * PAIR_EDGE; k++) {
        sums[k] = simd_tree(lane[k]);
    }
}

static void pair_tile(pair_kind kind,
                      const float *const *rows,
                      uint32_t row_count,
                      uint32_t first,
                      uint32_t height,
                      uint32_t other,
                      size_t count,
                      double *sums)
{
    const float *a[PAIR_EDGE];
    const float *b[PAIR_EDGE];
    for (uint32_t k = 0; k < PAIR_EDGE; k++) { /* past the end: the last row again, not used */
        a[k] = rows[first + k < row_count ? first + k : row_count - 1];
        b[k] = rows[other + k < row_count ? other + k : row_count - 1];
    }
    if (kind == PAIR_DISTANCE && height == 1) {
        pair_block(PAIR_DISTANCE, 1, a, b, count, sums);
    } else if (kind == PAIR_DISTANCE) {
        pair_block(PAIR_DISTANCE, PAIR_EDGE, a, b, count, sums);
    } else if (height == 1) {
        pair_block(PAIR_PRODUCT, 1, a, b, count, sums);
    } else {
        pair_block(PAIR_PRODUCT, PAIR_EDGE, a, b, count, sums);
    }
}

static void distance_tile(const float *const *rows,
                          uint32_t row_count,
                          uint32_t first,
                          uint32_t height,
                          uint32_t other,
                          size_t count,
                          double *sums)
{
    pair_tile(PAIR_DISTANCE, rows, row_count, first, height, other, count, sums);
}

static void product_tile(const float *const *rows,
                         uint32_t row_count,
                         uint32_t first,
                         uint32_t height,
                         uint32_t other,
                         size_t count,
                         double *sums)
{
    pair_tile(PAIR_PRODUCT, rows, row_count, first, height, other, count, sums);
}

/* sum of squares of one row of a tile, all lanes at once. */
static double norm_tile(const float *row, size_t count)
{
    enum { PARTS = EXACT_LANES / SIMD_LANES };
    simd_float sum[PARTS];
    float lane[EXACT_LANES];
    size_t j = 0;
#pragma GCC unroll 32
    for (int k = 0; k < PARTS; k++) {
        sum[k] = simd_set(0.0f);
    }
    for (; j + EXACT_LANES <= count; j += EXACT_LANES) {
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
