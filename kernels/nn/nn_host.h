/*
 * What the host operations of kernels/nn share: variants by instruction set, scratch memory, and
 * loops over the columns (channels) of a channels-last tensor.
 */
#ifndef CSL_NN_HOST_H
#define CSL_NN_HOST_H

#include "device/kernel_table.h"

#include <consilium/clones.h>

/* Sixteen lanes, one AVX-512 register or two or four smaller ones; may lie at any float. */
typedef float csl_lanes __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t csl_lane_mask __attribute__((vector_size(64), aligned(4), may_alias));
enum { CSL_LANES = 16 };

/* Elements below which a second thread costs more than it gives. */
enum { CSL_PARALLEL_COUNT_MIN = 8192 };

/* Scratch memory of the calling thread, 64-byte aligned, kept until the thread ends and shared by
 * all operations: valid until the next call. Errors: E_NO_MEMORY. */
csl_status csl_nn_scratch(size_t size, void **memory_out);

/* Threads for a loop over `count` elements. */
static inline int csl_nn_threads(const csl_device *device, size_t count)
{
    return count < CSL_PARALLEL_COUNT_MIN ? 1 : csl_host_threads(device);
}

/* The part [*first_out, *end_out) of `count` items that falls to thread `part` of `part_count`,
 * cut at multiples of `grain`. */
static inline void csl_nn_part(
    size_t count, size_t grain, int part, int part_count, size_t *first_out, size_t *end_out)
{
    size_t grains = (count + grain - 1) / grain;
    size_t first = grains * (size_t)part / (size_t)part_count * grain;
    size_t end = grains * ((size_t)part + 1) / (size_t)part_count * grain;
    *first_out = first < count ? first : count;
    *end_out = end < count ? end : count;
}

/*
 * Maps x [row_count][channels], or [channels / block][row_count][block] with a block that is not 0.
 * Column sums, added to float64: sum[c] += x - shift[c] and square[c] += (x - shift[c])^2. Rows go
 * through float32 accumulators in blocks.
 */
void csl_map_moments(const float *x,
                     size_t row_count,
                     uint32_t channels,
                     uint32_t block,
                     const float *shift,
                     double *sum,
                     double *square);
/* sum[c] += dy and product[c] += dy * (x - mean[c]), with dy masked by y > 0 unless y is NULL. */
void csl_map_gradients(const float *x,
                       const float *y,
                       const float *dy,
                       size_t row_count,
                       uint32_t channels,
                       uint32_t block,
                       const float *mean,
                       double *sum,
                       double *product);
/* out = (x - mean[c]) * factor[c] + shift[c], then max(0, .) if relu. */
void csl_map_affine(const float *x,
                    size_t row_count,
                    uint32_t channels,
                    uint32_t block,
                    const float *mean,
                    const float *factor,
                    const float *shift,
                    bool relu,
                    float *out);
/* dx = factor[c] * (dy * gain[c] + ((x - mean[c]) * slope[c] + offset[c])), with dy masked by y > 0
 * unless y is NULL. The factor, 1 / deviation, stands outside: it may be large where the terms
 * inside cancel. */
void csl_map_affine_gradient(const float *x,
                             const float *y,
                             const float *dy,
                             size_t row_count,
                             uint32_t channels,
                             uint32_t block,
                             const float *mean,
                             const float *factor,
                             const float *gain,
                             const float *slope,
                             const float *offset,
                             float *dx);

#endif
