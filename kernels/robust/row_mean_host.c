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
                     float *out,
                     uint32_t *host_magnitude)
{
    const csl_robust_variant *variant = csl_robust_variant_get();
    uint32_t largest = 0;
#pragma omp parallel for schedule(dynamic, 1)                                                      \
    num_threads(csl_host_threads(device)) if (count > COLUMN_CHUNK) reduction(max                  \
                                                                              : largest)
    for (size_t begin = 0; begin < count; begin += COLUMN_CHUNK) {
        csl_float_state state = csl_float_enter();
        uint32_t found = variant->weighted_sum(rows, weights, row_count, begin,
                                               chunk_end(begin, count), divisor, out);
        csl_float_leave(state);
        largest = found > largest ? found : largest;
    }
    csl_magnitude_raise(host_magnitude, largest);
}

/* Drops the rows of weight zero and sums. */
static void sum_weighted(csl_device *device,
                         const float *const *host_rows,
                         const double *host_weights,
                         uint32_t row_count,
                         size_t count,
                         float *out,
                         uint32_t *host_magnitude)
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
    sum_rows(device, rows, weights, used, count, 0.0, out, host_magnitude);
}

csl_status csl_host_row_weighted_mean(csl_device *device,
                                      const float *const *host_rows,
                                      const double *host_weights,
                                      uint32_t row_count,
                                      size_t count,
                                      float *out,
                                      uint32_t *host_magnitude)
{
    CSL_TRY(csl_robust_check_rows("row_weighted_mean", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (!host_weights || (count && !out)) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "row_weighted_mean: expected weights and a result, found NULL");
    }
    sum_weighted(device, host_rows, host_weights, row_count, count, out, host_magnitude);
    return CSL_OK;
}

csl_status csl_host_row_mean(csl_device *device,
                             const float *const *host_rows,
                             uint32_t row_count,
                             size_t count,
                             float *out,
                             uint32_t *host_magnitude)
{
    CSL_TRY(csl_robust_check_rows("row_mean", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (count && !out) {
        return csl_fail(CSL_E_INVALID_ARG, "row_mean: expected a result, found NULL");
    }
    double ones[CSL_KERNEL_ROWS_MAX]; /* fma(1, x, s) is s + x */
    for (uint32_t i = 0; i < row_count; i++) {
        ones[i] = 1.0;
    }
    sum_rows(device, host_rows, ones, row_count, count, (double)row_count, out, host_magnitude);
    return CSL_OK;
}

/* Lists the rows that group has a weight for, and returns their number; weights may be NULL. */
static uint32_t
list_group(const csl_mix *mix, const double *matrix, uint32_t group, uint32_t *row, double *weights)
{
    uint32_t height = mix->height;
    uint32_t entries = 0;
    uint32_t first = group * height;
    uint32_t end = mix->mix_count - first < height ? mix->mix_count : first + height;
    for (uint32_t i = 0; i < mix->row_count; i++) {
        bool used = false;
        for (uint32_t r = first; r < end; r++) {
            double weight = matrix[(size_t)r * mix->row_count + i];
            used = used || weight != 0.0;
            if (weights) {
                weights[(size_t)entries * height + (r - first)] = weight;
            }
        }
        if (used && row) {
            row[entries] = i;
        }
        entries += used;
    }
    return entries;
}

static uint32_t group_count(const csl_mix *mix)
{
    return (mix->mix_count + mix->height - 1) / mix->height;
}

/* Weights that are taken, zeros in groups among them. */
static size_t count_weights(const csl_mix *mix, const double *matrix)
{
    size_t entries = 0;
    for (uint32_t group = 0; group < group_count(mix); group++) {
        entries += list_group(mix, matrix, group, NULL, NULL);
    }
    return entries * mix->height;
}

/* A row alone loads a value for each of its products, where several share it: a quarter more. */
static bool is_cheaper_alone(const csl_mix *groups, const double *matrix)
{
    csl_mix alone = *groups;
    alone.height = 1;
    return 5 * count_weights(&alone, matrix) < 4 * count_weights(groups, matrix);
}

csl_mix *csl_mix_create(const csl_robust_variant *variant,
                        const double *matrix,
                        uint32_t mix_count,
                        uint32_t row_count)
{
    csl_mix *mix = calloc(1, sizeof *mix);
    if (!mix) {
        return NULL;
    }
    *mix = (csl_mix){.height = variant->mix_height, .row_count = row_count, .mix_count = mix_count};
    if (variant->mix_alone && row_count <= CSL_MIX_ALONE_ROWS && is_cheaper_alone(mix, matrix)) {
        mix->height = 1;
    }
    mix->group_count = group_count(mix);
    mix->start = calloc(mix->group_count + 1, sizeof *mix->start);
    if (!mix->start) {
        csl_mix_destroy(mix);
        return NULL;
    }
    for (uint32_t g = 0; g < mix->group_count; g++) {
        mix->start[g + 1] = mix->start[g] + list_group(mix, matrix, g, NULL, NULL);
    }
    /* One more entry: list_group writes a column of weights before it knows that all are zero. */
    size_t entries = (size_t)mix->start[mix->group_count] + 1;
    mix->row = calloc(entries, sizeof *mix->row);
    mix->weights = calloc(entries * mix->height, sizeof *mix->weights);
    if (!mix->row || !mix->weights) {
        csl_mix_destroy(mix);
        return NULL;
    }
    for (uint32_t g = 0; g < mix->group_count; g++) {
        list_group(mix, matrix, g, mix->row + mix->start[g],
                   mix->weights + (size_t)mix->start[g] * mix->height);
    }
    return mix;
}

double *csl_mix_panels_create(const csl_robust_variant *variant,
                              uint32_t row_count,
                              size_t threads,
                              size_t *count_out)
{
    size_t line = CSL_CACHE_LINE / sizeof(double);
    *count_out = ((size_t)row_count * variant->mix_columns + line - 1) / line * line;
    return aligned_alloc(CSL_CACHE_LINE, *count_out * threads * sizeof(double));
}

void csl_mix_destroy(csl_mix *mix)
{
    if (mix) {
        free(mix->start);
        free(mix->row);
        free(mix->weights);
        free(mix);
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
    enum { MIX_CHUNK = 960 }; /* columns that a thread takes at a time */
    CSL_TRY(csl_robust_check_rows("row_mix", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    CSL_TRY(csl_robust_check_rows("row_mix results", (const float *const *)host_out_rows, mix_count,
                                  CSL_KERNEL_ROWS_MAX));
    if (!host_matrix) {
        return csl_fail(CSL_E_INVALID_ARG, "row_mix: expected a matrix, found NULL");
    }
    if (mix_count == 1) {
        sum_weighted(device, host_rows, host_matrix, row_count, count, host_out_rows[0], NULL);
        return CSL_OK;
    }
    const csl_robust_variant *variant = csl_robust_variant_get();
    int threads = csl_host_threads(device);
    size_t panel_count = 0;
    csl_mix *mix = csl_mix_create(variant, host_matrix, mix_count, row_count);
    double *panels = csl_mix_panels_create(variant, row_count, (size_t)threads, &panel_count);
    if (!mix || !panels) {
        csl_mix_destroy(mix);
        free(panels);
        return csl_fail(CSL_E_NO_MEMORY, "row_mix: no memory for a matrix of %u by %u", mix_count,
                        row_count);
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (count > MIX_CHUNK)
    for (size_t begin = 0; begin < count; begin += MIX_CHUNK) {
        size_t end = count - begin < MIX_CHUNK ? count : begin + MIX_CHUNK;
        csl_float_state state = csl_float_enter();
        variant->mix(mix, host_rows, begin, end,
                     panels + panel_count * (size_t)omp_get_thread_num(), host_out_rows);
        csl_float_leave(state);
    }
    csl_mix_destroy(mix);
    free(panels);
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
#pragma omp parallel for schedule(dynamic, 1)                                                      \
    num_threads(csl_host_threads(device)) if (count > COLUMN_CHUNK)
    for (size_t begin = 0; begin < count; begin += COLUMN_CHUNK) {
        csl_float_state state = csl_float_enter();
        variant->statistics(host_rows, row_count, begin, chunk_end(begin, count), statistics);
        csl_float_leave(state);
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
#pragma omp parallel for schedule(dynamic, 1)                                                      \
    num_threads(csl_host_threads(device)) if (count > COLUMN_CHUNK)
    for (size_t begin = 0; begin < count; begin += COLUMN_CHUNK) {
        csl_float_state state = csl_float_enter();
        variant->sign_filter(host_rows, row_count, threshold, begin, chunk_end(begin, count),
                             inout);
        csl_float_leave(state);
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
