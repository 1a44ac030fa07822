/* Sums over rows, column by column: means, W X, statistics, the sign filter. */
#include "robust_host.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMN_CHUNK = 8192 }; /* columns that a thread takes at a time */

static size_t chunk_end(size_t begin, size_t count)
{
    return count - begin < COLUMN_CHUNK ? count : begin + COLUMN_CHUNK;
}

static void sum_rows(csl_device *device,
                     const float *const *rows,
                     const double *weights,
                     uint32_t row_count,
                     size_t count,
                     double divisor,
                     float *out)
{
    const csl_robust_variant *variant = csl_robust_variant_get();
    int threads = csl_host_threads(device);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (count > COLUMN_CHUNK)
    for (size_t begin = 0; begin < count; begin += COLUMN_CHUNK) {
        variant->weighted_sum(rows, weights, row_count, begin, chunk_end(begin, count), divisor,
                              out);
    }
}

/* Drops the rows of weight zero and sums. */
static void sum_weighted(csl_device *device,
                         const float *const *host_rows,
                         const double *host_weights,
                         uint32_t row_count,
                         size_t count,
                         float *out)
{
    const float *rows[CSL_KERNEL_ROWS_MAX];
    double weights[CSL_KERNEL_ROWS_MAX];
    uint32_t used = 0;
    for (uint32_t i = 0; i < row_count; i++) {
        if (host_weights[i] != 0.0) {
            rows[used] = host_rows[i];
            weights[used++] = host_weights[i];
        }
    }
    sum_rows(device, rows, weights, used, count, 0.0, out);
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
        return csl_fail(CSL_E_INVALID_ARG,
                        "row_weighted_mean: expected weights and a result, found NULL");
    }
    sum_weighted(device, host_rows, host_weights, row_count, count, out);
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
    sum_rows(device, host_rows, ones, row_count, count, (double)row_count, out);
    return CSL_OK;
}

double *csl_robust_pack_mix(const double *matrix, uint32_t mix_count, uint32_t row_count)
{
    size_t groups = (mix_count + CSL_MIX_HEIGHT - 1) / CSL_MIX_HEIGHT;
    double *packed = calloc(groups * row_count * CSL_MIX_HEIGHT, sizeof *packed);
    for (size_t r = 0; packed && r < mix_count; r++) {
        double *group = packed + r / CSL_MIX_HEIGHT * row_count * CSL_MIX_HEIGHT;
        for (size_t i = 0; i < row_count; i++) {
            group[i * CSL_MIX_HEIGHT + r % CSL_MIX_HEIGHT] = matrix[r * row_count + i];
        }
    }
    return packed;
}

void csl_robust_mix_range(const csl_robust_variant *variant,
                          const double *packed,
                          const float *const *rows,
                          uint32_t row_count,
                          uint32_t mix_count,
                          size_t begin,
                          size_t end,
                          float *const *out)
{
    for (uint32_t r = 0; r < mix_count; r += CSL_MIX_HEIGHT) {
        uint32_t height = mix_count - r < CSL_MIX_HEIGHT ? mix_count - r : CSL_MIX_HEIGHT;
        variant->mix(rows, row_count, packed + (size_t)r * row_count, height, begin, end, out + r);
    }
}

csl_status csl_host_row_mix(csl_device *device,
                            const float *const *host_rows,
                            uint32_t row_count,
                            const double *host_matrix,
                            uint32_t mix_count,
                            size_t count,
                            float *const *host_out_rows)
{
    enum {
        MIX_CHUNK = 512
    }; /* columns whose rows stay in the second-level cache over all groups */
    CSL_TRY(csl_robust_check_rows("row_mix", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    CSL_TRY(csl_robust_check_rows("row_mix results", (const float *const *)host_out_rows, mix_count,
                                  CSL_KERNEL_ROWS_MAX));
    if (!host_matrix) {
        return csl_fail(CSL_E_INVALID_ARG, "row_mix: expected a matrix, found NULL");
    }
    if (mix_count == 1) {
        sum_weighted(device, host_rows, host_matrix, row_count, count, host_out_rows[0]);
        return CSL_OK;
    }
    double *packed = csl_robust_pack_mix(host_matrix, mix_count, row_count);
    if (!packed) {
        return csl_fail(CSL_E_NO_MEMORY, "row_mix: no memory for a matrix of %u by %u", mix_count,
                        row_count);
    }
    const csl_robust_variant *variant = csl_robust_variant_get();
    int threads = csl_host_threads(device);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (count > MIX_CHUNK)
    for (size_t begin = 0; begin < count; begin += MIX_CHUNK) {
        size_t end = count - begin < MIX_CHUNK ? count : begin + MIX_CHUNK;
        csl_robust_mix_range(variant, packed, host_rows, row_count, mix_count, begin, end,
                             host_out_rows);
    }
    free(packed);
    return CSL_OK;
}

csl_status csl_host_row_statistics(csl_device *device,
                                   const float *const *host_rows,
                                   uint32_t row_count,
                                   size_t count,
                                   const csl_column_statistics *statistics)
{
    CSL_TRY(csl_robust_check_rows("row_statistics", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (!statistics) {
        return csl_fail(CSL_E_INVALID_ARG, "row_statistics: expected results, found NULL");
    }
    const csl_robust_variant *variant = csl_robust_variant_get();
    int threads = csl_host_threads(device);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (count > COLUMN_CHUNK)
    for (size_t begin = 0; begin < count; begin += COLUMN_CHUNK) {
        variant->statistics(host_rows, row_count, begin, chunk_end(begin, count), statistics);
    }
    return CSL_OK;
}

csl_status csl_host_row_sign_filter(csl_device *device,
                                    const float *const *host_rows,
                                    uint32_t row_count,
                                    uint32_t threshold,
                                    size_t count,
                                    float *inout)
{
    CSL_TRY(csl_robust_check_rows("row_sign_filter", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (count && !inout) {
        return csl_fail(CSL_E_INVALID_ARG, "row_sign_filter: expected a row, found NULL");
    }
    const csl_robust_variant *variant = csl_robust_variant_get();
    int threads = csl_host_threads(device);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (count > COLUMN_CHUNK)
    for (size_t begin = 0; begin < count; begin += COLUMN_CHUNK) {
        variant->sign_filter(host_rows, row_count, threshold, begin, chunk_end(begin, count),
                             inout);
    }
    return CSL_OK;
}

csl_status csl_host_row_gather(csl_device *device,
                               const float *const *host_rows,
                               uint32_t row_count,
                               size_t count,
                               const uint64_t *host_index,
                               size_t index_count,
                               float *host_out)
{
    (void)device;
    CSL_TRY(csl_robust_check_rows("row_gather", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (index_count && (!host_index || !host_out)) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "row_gather: expected positions and a result, found NULL");
    }
    for (size_t k = 0; k < index_count; k++) {
        if (host_index[k] >= count) {
            return csl_fail(CSL_E_RANGE, "row_gather: expected positions below %zu, found %llu",
                            count, (unsigned long long)host_index[k]);
        }
    }
    for (size_t i = 0; i < row_count; i++) {
        for (size_t k = 0; k < index_count; k++) {
            host_out[i * index_count + k] = host_rows[i][host_index[k]];
        }
    }
    return CSL_OK;
}
