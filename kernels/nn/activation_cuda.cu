/* ReLU, residual addition and dropout: one thread per element, or per four random words. */
#include "device/cuda_device.h"

static __global__ void relu_kernel(const float *x, size_t count, float *y)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        float value = x[i];
        y[i] = value > 0.0f ? value : 0.0f;
    }
}

static __global__ void
relu_gradient_kernel(const float *y, const float *dy, size_t count, float *dx)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
    }
}

static __global__ void add_kernel(const float *a, const float *b, size_t count, bool relu, float *y)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        float value = a[i] + b[i];
        y[i] = !relu || value > 0.0f ? value : 0.0f;
    }
}

/* Philox4x32-10 (Salmon et al. 2011, section 3.3); counter {low, high, 0, 0}, key {low, high}. */
static __device__ void philox(uint64_t counter, uint64_t key, uint32_t word[4])
{
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
    word[0] = (uint32_t)counter;
    word[1] = (uint32_t)(counter >> 32);
    word[2] = 0;
    word[3] = 0;
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * word[0];
        uint64_t product1 = (uint64_t)0xCD9E8D57u * word[2];
        uint32_t next0 = (uint32_t)(product1 >> 32) ^ word[1] ^ key0;
        uint32_t next2 = (uint32_t)(product0 >> 32) ^ word[3] ^ key1;
        word[1] = (uint32_t)product1;
        word[3] = (uint32_t)product0;
        word[0] = next0;
        word[2] = next2;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

static __global__ void dropout_kernel(const float *x,
                                      size_t count,
                                      uint32_t threshold,
                                      float factor,
                                      uint64_t seed,
                                      uint64_t offset,
                                      float *y)
{
    size_t block_count = (count + 3) / 4;
    for (size_t i = csl_cuda_first(); i < block_count; i += csl_cuda_step()) {
        uint32_t word[4];
        philox(i + offset, seed, word);
        for (size_t lane = 0; lane < 4 && 4 * i + lane < count; lane++) {
            float value = x[4 * i + lane];
            y[4 * i + lane] = word[lane] >= threshold ? value * factor : 0.0f;
        }
    }
}

csl_status csl_cuda_relu_forward(csl_device *device, const float *x, size_t count, float *y)
{
    CSL_LAUNCH(relu_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), x, count, y);
    return csl_cuda_launched("relu_forward");
}

csl_status
csl_cuda_relu_backward(csl_device *device, const float *y, const float *dy, size_t count, float *dx)
{
    CSL_LAUNCH(relu_gradient_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), y, dy, count, dx);
    return csl_cuda_launched("relu_backward");
}

csl_status csl_cuda_add_relu(
    csl_device *device, const float *a, const float *b, size_t count, bool relu, float *y)
{
    CSL_LAUNCH(add_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), a, b, count, relu, y);
    return csl_cuda_launched("add_relu");
}

csl_status csl_cuda_accumulate(csl_device *device, const float *x, size_t count, float *y)
{
    return csl_cuda_add_relu(device, y, x, count, false, y);
}

csl_status csl_cuda_dropout(csl_device *device,
                            const float *x,
                            size_t count,
                            float rate,
                            uint64_t seed,
                            uint64_t offset,
                            float *y)
{
    if (!(rate >= 0.0f && rate < 1.0f)) {
        return csl_fail(CSL_E_RANGE, "dropout: expected a rate in [0, 1), found %g", (double)rate);
    }
    uint32_t threshold = (uint32_t)((double)rate * 4294967296.0);
    CSL_LAUNCH(dropout_kernel, csl_cuda_blocks(device, (count + 3) / 4), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), x, count, threshold, 1.0f / (1.0f - rate), seed, offset, y);
    return csl_cuda_launched("dropout");
}
