/*
 * What the host operations of kernels/nn share: variants by instruction set, scratch memory, and
 * loops over the columns (channels) of a channels-last tensor.
 */
#ifndef CSL_NN_HOST_H
#define CSL_NN_HOST_H

#include "device/kernel_table.h"

#include <consilium/clones.h>

enum { CSL_LANES = 16 }; /* values in one AVX-512 register or in several smaller ones */

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
 * The inner functions whose bodies (columns_body.h, pool_body.h, dropout_body.h, loss_body.h) are
 * compiled once for each width of registers, because they are written in registers or because GCC
 * needs other options for them; the bits of their results are the same in all.
 */
typedef struct csl_lane_functions {
    const char *name; /* of the instruction set, as csl_instruction_set_select knows it */
    uint32_t width;   /* float32 values in a register */
    /* What csl_map_moments and so on do, for CSL_LANES channels of rows that are `stride` apart. */
    void (*moments)(const float *x,
                    size_t row_count,
                    size_t stride,
                    const float *shift,
                    double *sum,
                    double *square);
    void (*gradients)(const float *x,
                      const float *y,
                      const float *dy,
                      size_t row_count,
                      size_t stride,
                      const float *mean,
                      double *sum,
                      double *product);
    void (*affine)(const float *x,
                   size_t row_count,
                   size_t stride,
                   const float *mean,
                   const float *factor,
                   const float *shift,
                   bool relu,
                   float *out);
    void (*affine_gradient)(const float *x,
                            const float *y,
                            const float *dy,
                            size_t row_count,
                            size_t stride,
                            const float *mean,
                            const float *factor,
                            const float *gain,
                            const float *slope,
                            const float *offset,
                            float *dx);
    /* One row of output voxels along the width of one image. */
    void (*max_row)(const csl_pool_spec *spec,
                    const float *x,
                    uint32_t d,
                    uint32_t h,
                    float *y,
                    uint32_t *index);
    /* dx of one row of windows that share no voxel: every tap is stored once. The channels are a
     * multiple of `width`. */
    void (*max_gradient_row)(const csl_pool_spec *spec,
                             const float *dy,
                             const uint32_t *index,
                             uint32_t d,
                             uint32_t h,
                             float *dx);
    /* Elements [first, first + count) of x and y, which begin there; first is a multiple of 4. */
    void (*dropout)(const float *x,
                    size_t first,
                    size_t count,
                    uint32_t threshold,
                    float factor,
                    uint64_t seed,
                    uint64_t offset,
                    float *y);
    float (*largest)(const float *values, uint32_t count);
    /* sum of exp(logits - largest); the terms to kept, unless that is NULL. */
    double (*exponentials)(const float *logits, uint32_t class_count, double largest, float *kept);
    /* Divides the terms in kept, which is one of the two results; either may be NULL. */
    void (*finish_softmax)(const float *kept,
                           double sum,
                           uint32_t class_count,
                           float scale,
                           float *dlogits,
                           float *probabilities);
    /* The loss of one image whose targets are known where known[k] is not 0, or all for NULL. */
    double (*sigmoid_image)(const float *logits,
                            const float *targets,
                            const uint8_t *known,
                            uint32_t label_count,
                            float scale,
                            float *dlogits,
                            float *probabilities);
    double (*squared_image)(
        const float *y, const float *targets, uint32_t output_count, float scale, float *dy);
} csl_lane_functions;

/* Those of csl_instruction_set_name, or the next narrower that the processor runs. */
const csl_lane_functions *csl_lanes(void);

extern const csl_lane_functions csl_lanes_portable;
#if defined(__x86_64__)
extern const csl_lane_functions csl_lanes_avx2;
extern const csl_lane_functions csl_lanes_avx512;
#endif

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
