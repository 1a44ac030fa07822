/* Means over rows: row_weighted_mean and row_mean. */
#include "robust_host.h"

#include <string.h>

enum { MEAN_CHUNK = 8192 }; /* columns that a thread takes at a time */

static void run(csl_device *device,
                const float *const *rows,
                const double *weights,
                uint32_t row_count,
                size_t count,
                double divisor,
                float *out)
{
    const csl_robust_variant *variant = csl_robust_variant_get();
    int threads = (int)csl_device_threads(device);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (count > MEAN_CHUNK)
    for (size_t begin = 0; begin < count; begin += MEAN_CHUNK) {
        size_t end = count - begin < MEAN_CHUNK ? count : begin + MEAN_CHUNK;
        variant->weighted_sum(rows, weights, row_count, begin, end, divisor, out);
    }
}

csl_status csl_host_row_weighted_mean(csl_device *device,
                                      const float *const *host_rows,
                                      const double *host_weights,
                                      uint32_t row_count,
                                      size_t count,
                                      float *out)
{
    CSL_TRY(csl_robust_check_rows("row_weighted_mean", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (!host_weights || (count && !out)) {
        return csl_fail(CSL_E_INVALID_ARG, "row_weighted_mean: expected weights and a result, "
                                           "found NULL");
    }
    const float *rows[CSL_KERNEL_ROWS_MAX];
    double weights[CSL_KERNEL_ROWS_MAX];
    uint32_t used = 0;
    for (uint32_t i = 0; i < row_count; i++) {
        if (host_weights[i] != 0.0) {
            rows[used] = host_rows[i];
            weights[used++] = host_weights[i];
        }
    }
    run(device, rows, weights, used, count, 0.0, out);
    return CSL_OK;
}

csl_status csl_host_row_mean(
    csl_device *device, const float *const *host_rows, uint32_t row_count, size_t count, float *out)
{
    CSL_TRY(csl_robust_check_rows("row_mean", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (count && !out) {
        return csl_fail(CSL_E_INVALID_ARG, "row_mean: expected a result, found NULL");
    }
    double ones[CSL_KERNEL_ROWS_MAX]; /* fma(1, x, s) is s + x */
    for (uint32_t i = 0; i < row_count; i++) {
        ones[i] = 1.0;
    }
    run(device, host_rows, ones, row_count, count, (double)row_count, out);
    return CSL_OK;
}
