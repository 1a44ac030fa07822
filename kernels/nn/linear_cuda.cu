/* Linear layers by cuBLAS, which is column-major: a row-major [m][n] is its n x m transpose. */
#include "nn_cuda.h"

static const float one = 1.0f;
static const float zero = 0.0f;

static __global__ void
bias_kernel(const float *bias, size_t count, uint32_t out_count, bool relu, float *y)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        float value = y[i] + (bias ? bias[i % out_count] : 0.0f);
        y[i] = !relu || value > 0.0f ? value : 0.0f;
    }
}

csl_status csl_cuda_linear_forward(csl_device *device,
                                   const float *x,
                                   const float *weights,
                                   const float *bias,
                                   uint32_t batch,
                                   uint32_t in_count,
                                   uint32_t out_count,
                                   bool relu,
                                   float *y)
{
    int in = (int)in_count, out = (int)out_count;
    CSL_TRY(csl_cuda_check_blas(csl_cublas()->sgemm(csl_cuda_blas(device), CUBLAS_OP_T, CUBLAS_OP_N,
                                                    out, (int)batch, in, &one, weights, in, x, in,
                                                    &zero, y, out),
                                "linear_forward"));
    if (bias || relu) {
        size_t count = (size_t)batch * out_count;
        CSL_LAUNCH(bias_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
                   csl_cuda_stream(device), bias, count, out_count, relu, y);
    }
    return csl_cuda_launched("linear_forward");
}

csl_status csl_cuda_linear_backward_data(csl_device *device,
                                         const float *dy,
                                         const float *weights,
                                         uint32_t batch,
                                         uint32_t in_count,
                                         uint32_t out_count,
                                         float *dx)
{
    int in = (int)in_count, out = (int)out_count;
    return csl_cuda_check_blas(csl_cublas()->sgemm(csl_cuda_blas(device), CUBLAS_OP_N, CUBLAS_OP_N,
                                                   in, (int)batch, out, &one, weights, in, dy, out,
                                                   &zero, dx, in),
                               "linear_backward_data");
}

csl_status csl_cuda_linear_backward_weights(csl_device *device,
                                            const float *x,
                                            const float *dy,
                                            uint32_t batch,
                                            uint32_t in_count,
                                            uint32_t out_count,
                                            float *dweights,
                                            float *dbias)
{
    int in = (int)in_count, out = (int)out_count;
    CSL_TRY(csl_cuda_check_blas(csl_cublas()->sgemm(csl_cuda_blas(device), CUBLAS_OP_N, CUBLAS_OP_T,
                                                    in, out, (int)batch, &one, x, in, dy, out,
                                                    &zero, dweights, in),
                                "linear_backward_weights"));
    return dbias ? csl_cuda_column_sums(device, dy, batch, out_count, dbias) : CSL_OK;
}
