/* Optimiser steps and the vector operations around them; the same IEEE operations as the host. */
#include "device/cuda_device.h"

#include <cmath>

static __global__ void
sgd_kernel(csl_sgd_spec spec, const float *gradient, size_t count, float *momentum, float *weights)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        float g = gradient[i] + spec.weight_decay * weights[i];
        float step = g;
        if (momentum) {
            float m = spec.momentum * momentum[i] + g;
            momentum[i] = m;
            step = spec.nesterov ? g + spec.momentum * m : m;
        }
        weights[i] = weights[i] - spec.rate * step;
    }
}

/* The step's constants, worked out once in float64. */
typedef struct adamw_constants {
    float shrink; /* 1 - rate * weight_decay */
    float beta1, beta2;
    float rest1, rest2; /* 1 - beta */
    float rate;         /* rate / (1 - beta1^step) */
    float inverse_root; /* 1 / sqrt(1 - beta2^step) */
    float epsilon;
} adamw_constants;

static __global__ void adamw_kernel(adamw_constants k,
                                    const float *gradient,
                                    size_t count,
                                    float *first,
                                    float *second,
                                    float *weights)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        float g = gradient[i];
        float m = k.beta1 * first[i] + k.rest1 * g;
        float v = k.beta2 * second[i] + k.rest2 * g * g;
        first[i] = m;
        second[i] = v;
        weights[i] = weights[i] * k.shrink - k.rate * m / (sqrtf(v) * k.inverse_root + k.epsilon);
    }
}

static __global__ void axpy_kernel(float a, const float *x, size_t count, float *y)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        y[i] = y[i] + a * x[i];
    }
}

static __global__ void scale_kernel(float a, size_t count, float *x)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        x[i] = x[i] * a;
    }
}

static __global__ void fill_kernel(float a, size_t count, float *x)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        x[i] = a;
    }
}

static __global__ void proximal_kernel(
    float mu, const float *weights, const float *reference, size_t count, float *gradient)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        gradient[i] = gradient[i] + mu * (weights[i] - reference[i]);
    }
}

static __global__ void squares_kernel(const float *x, size_t count, double *partial)
{
    CSL_SHARED(double, lanes, CSL_CUDA_BLOCK);
    double sum = 0.0;
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        double value = (double)x[i];
        sum += value * value;
    }
    sum = csl_cuda_block_sum(sum, lanes);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
    }
}

/* One block: partial[0] becomes the sum of all. */
static __global__ void partials_kernel(double *partial, unsigned partial_count)
{
    CSL_SHARED(double, lanes, CSL_CUDA_BLOCK);
    double sum = 0.0;
    for (unsigned i = threadIdx.x; i < partial_count; i += blockDim.x) {
        sum += partial[i];
    }
    sum = csl_cuda_block_sum(sum, lanes);
    if (threadIdx.x == 0) {
        partial[0] = sum;
    }
}

csl_status csl_cuda_sgd_step(csl_device *device,
                             const csl_sgd_spec *spec,
                             const float *gradient,
                             size_t count,
                             float *momentum,
                             float *weights)
{
    if (!momentum && spec->momentum != 0.0f) {
        return csl_fail(CSL_E_INVALID_ARG, "sgd step: expected a momentum array for momentum %g",
                        (double)spec->momentum);
    }
    CSL_LAUNCH(sgd_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), *spec, gradient, count, momentum, weights);
    return csl_cuda_launched("sgd_step");
}

csl_status csl_cuda_adamw_step(csl_device *device,
                               const csl_adamw_spec *spec,
                               const float *gradient,
                               size_t count,
                               float *first,
                               float *second,
                               float *weights)
{
    if (spec->step == 0) {
        return csl_fail(CSL_E_RANGE, "adamw step: expected a step of at least 1, found 0");
    }
    double step = (double)spec->step;
    double beta1 = (double)spec->beta1, beta2 = (double)spec->beta2;
    adamw_constants constants;
    constants.shrink = (float)(1.0 - (double)spec->rate * (double)spec->weight_decay);
    constants.beta1 = spec->beta1;
    constants.beta2 = spec->beta2;
    constants.rest1 = (float)(1.0 - beta1);
    constants.rest2 = (float)(1.0 - beta2);
    constants.rate = (float)((double)spec->rate / (1.0 - pow(beta1, step)));
    constants.inverse_root = (float)(1.0 / sqrt(1.0 - pow(beta2, step)));
    constants.epsilon = spec->epsilon;
    CSL_LAUNCH(adamw_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), constants, gradient, count, first, second, weights);
    return csl_cuda_launched("adamw_step");
}

csl_status csl_cuda_axpy(csl_device *device, float a, const float *x, size_t count, float *y)
{
    CSL_LAUNCH(axpy_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), a, x, count, y);
    return csl_cuda_launched("axpy");
}

csl_status csl_cuda_scale(csl_device *device, float a, size_t count, float *x)
{
    CSL_LAUNCH(scale_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), a, count, x);
    return csl_cuda_launched("scale");
}

csl_status csl_cuda_fill(csl_device *device, float a, size_t count, float *x)
{
    CSL_LAUNCH(fill_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), a, count, x);
    return csl_cuda_launched("fill");
}

csl_status csl_cuda_proximal(csl_device *device,
                             float mu,
                             const float *weights,
                             const float *reference,
                             size_t count,
                             float *gradient)
{
    CSL_LAUNCH(proximal_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), mu, weights, reference, count, gradient);
    return csl_cuda_launched("proximal");
}

csl_status
csl_cuda_sum_of_squares(csl_device *device, const float *x, size_t count, double *host_out)
{
    unsigned blocks = csl_cuda_blocks(device, count);
    double *partial = static_cast<double *>(csl_cuda_scratch(device));
    CSL_LAUNCH(squares_kernel, blocks, CSL_CUDA_BLOCK, 0, csl_cuda_stream(device), x, count,
               partial);
    CSL_LAUNCH(partials_kernel, 1, CSL_CUDA_BLOCK, 0, csl_cuda_stream(device), partial, blocks);
    CSL_TRY(csl_cuda_launched("sum_of_squares"));
    return csl_device_copy(device, host_out, partial, sizeof *host_out, CSL_COPY_TO_HOST);
}
