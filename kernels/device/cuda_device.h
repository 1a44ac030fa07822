/* Private to the .cu files: the stream, cuBLAS, scratch memory and errors of a CUDA device. */
#ifndef CSL_CUDA_DEVICE_H
#define CSL_CUDA_DEVICE_H

#include "device/cublas_calls.h"
#include "device/kernel_table.h"
#include "device/launch.h"

enum {
    CSL_CUDA_BLOCK = 128, /* threads of a block, in every kernel with one axis */
    CSL_CUDA_BLOCKS_PER_PROCESSOR = 16
};

/* The device's stream and cuBLAS handle; they make its GPU the calling thread's current one. */
cudaStream_t csl_cuda_stream(csl_device *device);
cublasHandle_t csl_cuda_blas(csl_device *device);
/* Scratch memory, at least CSL_CUDA_SCRATCH_MIN bytes, shared by all operations in stream order. */
void *csl_cuda_scratch(csl_device *device);
size_t csl_cuda_scratch_size(const csl_device *device);
/* Grows the scratch memory, whose contents are lost; only where a prepared object is created. */
csl_status csl_cuda_reserve_scratch(csl_device *device, size_t size);
/* Blocks for a grid-stride loop over `count` elements, at least 1. */
unsigned csl_cuda_blocks(const csl_device *device, size_t count);

/* CSL_OK, or CSL_E_DEVICE (CSL_E_NO_MEMORY) with CUDA's text. */
csl_status csl_cuda_check(cudaError_t error, const char *what);
csl_status csl_cuda_check_blas(cublasStatus_t status, const char *what);
/* After launches: what the driver refused at once. */
csl_status csl_cuda_launched(const char *what);

/* First element and step of a grid-stride loop. */
static __device__ __forceinline__ size_t csl_cuda_first()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}
static __device__ __forceinline__ size_t csl_cuda_step()
{
    return (size_t)gridDim.x * blockDim.x;
}

/*
 * Sum over the block of CSL_CUDA_BLOCK threads in a fixed tree; every thread gets the sum. `lanes`
 * is shared memory of CSL_CUDA_BLOCK values, free again on return.
 */
static __device__ __forceinline__ double csl_cuda_block_sum(double value, double *lanes)
{
    lanes[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = CSL_CUDA_BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            lanes[threadIdx.x] += lanes[threadIdx.x + half];
        }
        __syncthreads();
    }
    double sum = lanes[0];
    __syncthreads();
    return sum;
}

/*
 * The range of windows along one axis that hold input position i by tap t: at most one. True, and
 * the output position, if there is one.
 */
static __device__ __forceinline__ bool csl_cuda_window_of(const csl_window &window,
                                                          int axis,
                                                          uint32_t output_extent,
                                                          uint32_t position,
                                                          uint32_t tap,
                                                          uint32_t *output_out)
{
    uint64_t shifted = (uint64_t)position + window.padding[axis];
    uint64_t reach = (uint64_t)tap * window.dilation[axis];
    if (shifted < reach || (shifted - reach) % window.stride[axis] != 0) {
        return false;
    }
    uint64_t output = (shifted - reach) / window.stride[axis];
    *output_out = (uint32_t)output;
    return output < output_extent;
}

/* Input position of a tap, which may lie in the padding (then negative or beyond the extent). */
static __device__ __forceinline__ int64_t csl_cuda_tap(const csl_window &window,
                                                       int axis,
                                                       uint32_t output,
                                                       uint32_t tap)
{
    return (int64_t)output * window.stride[axis] - (int64_t)window.padding[axis] +
           (int64_t)tap * window.dilation[axis];
}

#endif
