/* ReLU, residual addition and dropout. */
#include "device/kernel_table.h"
#include "nn_host.h"

CSL_CLONES static void relu_range(const float *x, size_t count, float *y)
{
    for (size_t i = 0; i < count; i++) {
        y[i] = x[i] > 0.0F ? x[i] : 0.0F;
    }
}

CSL_CLONES static void relu_gradient_range(const float *y, const float *dy, size_t count, float *dx)
{
    for (size_t i = 0; i < count; i++) {
        dx[i] = y[i] > 0.0F ? dy[i] : 0.0F;
    }
}

CSL_CLONES static void add_range(const float *a, const float *b, size_t count, float *y)
{
    for (size_t i = 0; i < count; i++) {
        y[i] = a[i] + b[i];
    }
}

CSL_CLONES static void add_relu_range(const float *a, const float *b, size_t count, float *y)
{
    for (size_t i = 0; i < count; i++) {
        float value = a[i] + b[i];
        y[i] = value > 0.0F ? value : 0.0F;
    }
}

csl_status csl_host_relu_forward(csl_device *device, const float *x, size_t count, float *y)
{
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        relu_range(x + first, end - first, y + first);
    }
    return CSL_OK;
}

csl_status
csl_host_relu_backward(csl_device *device, const float *y, const float *dy, size_t count, float *dx)
{
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        relu_gradient_range(y + first, dy + first, end - first, dx + first);
    }
    return CSL_OK;
}

csl_status csl_host_add_relu(
    csl_device *device, const float *a, const float *b, size_t count, bool relu, float *y)
{
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        if (relu) {
            add_relu_range(a + first, b + first, end - first, y + first);
        } else {
            add_range(a + first, b + first, end - first, y + first);
        }
    }
    return CSL_OK;
}

csl_status csl_host_accumulate(csl_device *device, const float *x, size_t count, float *y)
{
    return csl_host_add_relu(device, y, x, count, false, y);
}

csl_status csl_host_dropout(csl_device *device,
                            const float *x,
                            size_t count,
                            float rate,
                            uint64_t seed,
                            uint64_t offset,
                            float *y)
{
    if (!(rate >= 0.0F && rate < 1.0F)) {
        return csl_fail(CSL_E_RANGE, "dropout: expected a rate in [0, 1), found %g", (double)rate);
    }
    uint32_t threshold = (uint32_t)((double)rate * 4294967296.0);
    float factor = 1.0F / (1.0F - rate);
    const csl_lane_functions *lanes = csl_lanes();
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        lanes->dropout(x, first, end - first, threshold, factor, seed, offset, y);
    }
    return CSL_OK;
}
