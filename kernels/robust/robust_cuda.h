/*
 * What the CUDA files of this folder share. Every operation works in the device's scratch memory,
 * which is the same for all of them in stream order; none allocates device memory.
 */
#ifndef CSL_ROBUST_CUDA_H
#define CSL_ROBUST_CUDA_H

#include "device/cuda_device.h"
#include "robust_host.h"

enum {
    CSL_CUDA_WARP = 32,
    CSL_CUDA_WARPS = CSL_CUDA_BLOCK / CSL_CUDA_WARP, /* of a block of CSL_CUDA_BLOCK threads */
    CSL_SCRATCH_ALIGNMENT = 256
};

/* The scratch memory, handed out from its start. */
typedef struct csl_scratch {
    char *next;
    size_t left; /* bytes */
} csl_scratch;

static inline csl_scratch csl_scratch_begin(csl_device *device)
{
    csl_scratch scratch = {static_cast<char *>(csl_cuda_scratch(device)),
                           csl_cuda_scratch_size(device)};
    return scratch;
}

/* The next `size` bytes. Sizes are chosen to fit CSL_CUDA_SCRATCH_MIN; E_INTERNAL if they do not.
 */
static inline csl_status csl_scratch_take(csl_scratch *scratch, size_t size, void **memory_out)
{
    size_t padded =
        (size + CSL_SCRATCH_ALIGNMENT - 1) / CSL_SCRATCH_ALIGNMENT * CSL_SCRATCH_ALIGNMENT;
    if (padded > scratch->left) {
        return csl_fail(CSL_E_INTERNAL, "cuda: expected at most %zu bytes of scratch, found %zu",
                        scratch->left, padded);
    }
    *memory_out = scratch->next;
    scratch->next += padded;
    scratch->left -= padded;
    return CSL_OK;
}

/* Copies ordinary host memory to the device in stream order; the source is free on return. */
static inline csl_status
csl_cuda_upload(csl_device *device, void *target, const void *source, size_t size)
{
    return csl_cuda_check(
        cudaMemcpyAsync(target, source, size, cudaMemcpyHostToDevice, csl_cuda_stream(device)),
        "upload");
}

/* Copies to ordinary host memory and waits until it is there. */
static inline csl_status
csl_cuda_download(csl_device *device, void *target, const void *source, size_t size)
{
    cudaStream_t stream = csl_cuda_stream(device);
    CSL_TRY(csl_cuda_check(cudaMemcpyAsync(target, source, size, cudaMemcpyDeviceToHost, stream),
                           "download"));
    return csl_cuda_check(cudaStreamSynchronize(stream), "download");
}

/* Takes scratch memory for `size` bytes and uploads them. */
static inline csl_status csl_scratch_upload(
    csl_device *device, csl_scratch *scratch, const void *source, size_t size, void **memory_out)
{
    CSL_TRY(csl_scratch_take(scratch, size, memory_out));
    return size ? csl_cuda_upload(device, *memory_out, source, size) : CSL_OK;
}

/* Takes scratch memory for the row pointers and uploads them. */
static inline csl_status csl_scratch_rows(csl_device *device,
                                          csl_scratch *scratch,
                                          const float *const *host_rows,
                                          uint32_t row_count,
                                          const float *const **rows_out)
{
    void *memory = NULL;
    CSL_TRY(csl_scratch_upload(device, scratch, host_rows, row_count * sizeof *host_rows, &memory));
    *rows_out = static_cast<const float *const *>(memory);
    return CSL_OK;
}

static __device__ __forceinline__ float csl_cuda_infinity()
{
    return __uint_as_float(0x7f800000u);
}

/* v, and +infinity where v is a NaN. */
static __device__ __forceinline__ float csl_cuda_order_nan(float v)
{
    return v < csl_cuda_infinity() ? v : csl_cuda_infinity();
}

/* Canonical bits: -0.0 to +0.0, any NaN to 0x7fc00000. */
static __device__ __forceinline__ float csl_cuda_canonical(float v)
{
    return v != v ? __uint_as_float(0x7fc00000u) : v + 0.0f;
}

/* A value's bits without its sign, a NaN as infinity: see row_mean. */
static __device__ __forceinline__ uint32_t csl_cuda_magnitude(float v)
{
    uint32_t bits = __float_as_uint(v) & 0x7fffffffu;
    return bits < CSL_MAGNITUDE_INFINITY ? bits : CSL_MAGNITUDE_INFINITY;
}

/* Raises *largest, unless it is NULL, to the threads' magnitudes; all threads of a warp call it. */
static __device__ __forceinline__ void csl_cuda_raise(uint32_t *largest, uint32_t magnitude)
{
    if (!largest) {
        return;
    }
#pragma unroll
    for (int lane = CSL_CUDA_WARP / 2; lane > 0; lane /= 2) {
        uint32_t other = __shfl_xor_sync(0xffffffffu, magnitude, lane);
        magnitude = other > magnitude ? other : magnitude;
    }
    if (threadIdx.x % CSL_CUDA_WARP == 0) {
        atomicMax(largest, magnitude);
    }
}

/* A word of scratch memory for csl_cuda_raise, NULL where nobody asks. */
static inline csl_status csl_cuda_magnitude_begin(csl_device *device,
                                                  csl_scratch *scratch,
                                                  const uint32_t *host_magnitude,
                                                  uint32_t **largest_out)
{
    void *memory = NULL;
    *largest_out = NULL;
    if (!host_magnitude) {
        return CSL_OK;
    }
    CSL_TRY(csl_scratch_take(scratch, sizeof **largest_out, &memory));
    *largest_out = static_cast<uint32_t *>(memory);
    return csl_cuda_check(cudaMemsetAsync(memory, 0, sizeof **largest_out, csl_cuda_stream(device)),
                          "magnitude");
}

static inline csl_status
csl_cuda_magnitude_end(csl_device *device, const uint32_t *largest, uint32_t *host_magnitude)
{
    uint32_t found = 0;
    if (largest) {
        CSL_TRY(csl_cuda_download(device, &found, largest, sizeof found));
        csl_magnitude_raise(host_magnitude, found);
    }
    return CSL_OK;
}

static __device__ __forceinline__ float csl_cuda_narrow(double v)
{
    return csl_cuda_canonical((float)v);
}

enum { CSL_MIX_HEIGHT = 8 }; /* rows of W X whose sums stay in registers */

/*
 * Rows of a matrix W on the device, in groups of CSL_MIX_HEIGHT. Only the rows of X that a group
 * has a weight for are listed, so that a W which scales, picks or averages few rows costs what its
 * nonzeros cost; the fma with a weight of zero that is left out would change no bit.
 */
typedef struct csl_mix_groups {
    const uint32_t *start; /* [group_count + 1]: each group's first entry */
    const uint32_t *row;   /* [entries]: row of X */
    const double *weights; /* [entries][CSL_MIX_HEIGHT] */
    uint32_t group_count;
    uint32_t mix_count; /* rows of W */
} csl_mix_groups;

/* Rows of W that fit into `size` bytes of scratch memory whatever they hold; at least one group. */
uint32_t csl_cuda_mix_rows_max(uint32_t row_count, size_t size);
/* Packs host_matrix [mix_count][row_count] and uploads it into scratch memory. */
csl_status csl_cuda_mix_prepare(csl_device *device,
                                csl_scratch *scratch,
                                const double *host_matrix,
                                uint32_t mix_count,
                                uint32_t row_count,
                                csl_mix_groups *groups_out);
/* out[r][j] = row_mix of columns begin + j of the rows; rows and out are device arrays. */
csl_status csl_cuda_mix_launch(csl_device *device,
                               const csl_mix_groups *groups,
                               const float *const *rows,
                               size_t begin,
                               size_t count,
                               float *const *out);

#endif
