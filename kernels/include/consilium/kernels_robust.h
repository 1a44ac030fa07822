/* Operations of robust aggregation: [n][d] rows in, one row or an n x n matrix out. All EXACT. */
#ifndef CONSILIUM_KERNELS_ROBUST_H
#define CONSILIUM_KERNELS_ROBUST_H

#include <consilium/device.h>

/*
 * row_weighted_mean: out[j] = sum_i weights[i] * rows[i][j] over i ascending in float64 (product
 * and sum each rounded), one rounding to float32 at the end; -0.0 becomes +0.0.
 * host_rows: host array [row_count] of device pointers to rows of `count` float32; host_weights:
 * host array [row_count] float64, already normalised by the caller. out: [count] float32.
 */
#define CSL_ROBUST_OP_LIST(X)                                                                      \
    X(row_weighted_mean, CSL_EXACT, 0, 0,                                                          \
      (csl_device * device, const float *const *host_rows, const double *host_weights,             \
       uint32_t row_count, size_t count, float *out),                                              \
      (device, host_rows, host_weights, row_count, count, out))

#endif
