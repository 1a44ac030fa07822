/*
 * Linear layers on oneDNN's SGEMM: OpenBLAS brings threads of its own that would fight with
 * OpenMP's for the same cores.
 */
#include "device/kernel_table.h"
#include "nn_host.h"
#include "onednn_compat.h"

#include <string.h>

/* c [m][n] = op(a) op(b), k terms each; rows of b and c are ldb and ldc apart. */
static csl_status multiply(const csl_device *device,
                           char transpose_a,
                           char transpose_b,
                           uint32_t m,
                           uint32_t n,
                           uint32_t k,
                           const float *a,
                           const float *b,
                           uint32_t ldb,
                           float *c,
                           uint32_t ldc)
{
    dnnl_dim_t lda = transpose_a == 'T' ? m : k;
    int threads = omp_get_max_threads();
    csl_host_use_threads(device);
    dnnl_status_t status =
        dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0F, a, lda, b, ldb, 0.0F, c, ldc);
    omp_set_num_threads(threads);
    return csl_onednn_status(status, "dnnl_sgemm");
}

CSL_CLONES static void add_bias(const float *bias, uint32_t out_count, bool relu, float *y)
{
    for (uint32_t i = 0; i < out_count; i++) {
        float value = y[i] + (bias ? bias[i] : 0.0F);
        y[i] = relu && !(value > 0.0F) ? 0.0F : value;
    }
}

csl_status csl_host_linear_forward(csl_device *device,
                                   const float *x,
                                   const float *weights,
                                   const float *bias,
                                   uint32_t batch,
                                   uint32_t in_count,
                                   uint32_t out_count,
                                   bool relu,
                                   float *y)
{
    CSL_TRY(
        multiply(device, 'N', 'T', batch, out_count, in_count, x, weights, in_count, y, out_count));
    if (!bias && !relu) {
        return CSL_OK;
    }
#pragma omp parallel for num_threads(csl_nn_threads(device, (size_t)batch *out_count))             \
    schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        add_bias(bias, out_count, relu, y + (size_t)image * out_count);
    }
    return CSL_OK;
}

/*
 * Weights whose rows are a multiple of 1 KiB apart fall into few sets of the first-level cache,
 * where oneDNN's AVX2 kernel, which reads down their columns in place, displaces its own lines: it
 * runs at half its speed. (With AVX-512 it does not.) So panels of columns are copied to rows
 * farther apart.
 */
enum { ROW_OF_ONE_SET = 256, PANEL = 128, PANEL_ROW = PANEL + 16 };

static csl_status multiply_by_panels(const csl_device *device,
                                     const float *dy,
                                     const float *weights,
                                     uint32_t batch,
                                     uint32_t in_count,
                                     uint32_t out_count,
                                     float *dx)
{
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(sizeof(float) * PANEL_ROW * out_count, &memory));
    float *panel = memory;
    for (uint32_t first = 0; first < in_count; first += PANEL) {
#pragma omp parallel for num_threads(csl_nn_threads(device, (size_t)PANEL *out_count))             \
    schedule(static)
        for (uint32_t i = 0; i < out_count; i++) {
            memcpy(panel + (size_t)i * PANEL_ROW, weights + (size_t)i * in_count + first,
                   PANEL * sizeof *panel);
        }
        CSL_TRY(multiply(device, 'N', 'N', batch, PANEL, out_count, dy, panel, PANEL_ROW,
                         dx + first, in_count));
    }
    return CSL_OK;
}

csl_status csl_host_linear_backward_data(csl_device *device,
                                         const float *dy,
                                         const float *weights,
                                         uint32_t batch,
                                         uint32_t in_count,
                                         uint32_t out_count,
                                         float *dx)
{
    if (in_count % ROW_OF_ONE_SET == 0 && csl_lanes()->width < CSL_LANES) {
        return multiply_by_panels(device, dy, weights, batch, in_count, out_count, dx);
    }
    return multiply(device, 'N', 'N', batch, in_count, out_count, dy, weights, in_count, dx,
                    in_count);
}

csl_status csl_host_linear_backward_weights(csl_device *device,
                                            const float *x,
                                            const float *dy,
                                            uint32_t batch,
                                            uint32_t in_count,
                                            uint32_t out_count,
                                            float *dweights,
                                            float *dbias)
{
    CSL_TRY(multiply(device, 'T', 'N', out_count, in_count, batch, dy, x, in_count, dweights,
                     in_count));
    if (!dbias) {
        return CSL_OK;
    }
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(out_count * sizeof(double), &memory));
    double *sum = memory;
    memset(sum, 0, out_count * sizeof *sum);
    for (uint32_t image = 0; image < batch; image++) {
        for (uint32_t i = 0; i < out_count; i++) {
            sum[i] += (double)dy[(size_t)image * out_count + i];
        }
    }
    for (uint32_t i = 0; i < out_count; i++) {
        dbias[i] = (float)sum[i];
    }
    return CSL_OK;
}
