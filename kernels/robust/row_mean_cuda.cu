/*
 * Sums over rows, column by column: means, W X, statistics, the sign filter, gathering.
 *
 * One thread owns a column and takes the rows in ascending order, so the order of additions is the
 * definition's; neighbouring threads read neighbouring floats of a row. Bytes, operations and
 * registers: docs/PERFORMANCE.md.
 */
#include "robust_cuda.h"

#include <cstdlib>
#include <cstring>

enum {
    MIX_COLUMNS = 2 * CSL_CUDA_WARP, /* of a block of the mixing kernel: each lane has two */
    SUMS_AHEAD = 8                   /* rows whose loads are on their way at once */
};

/* divisor: 0, or the sum is divided by it. */
static __global__ void sum_kernel(const float *const *__restrict__ rows,
                                  const double *__restrict__ weights,
                                  uint32_t row_count,
                                  double divisor,
                                  size_t count,
                                  float *out,
                                  uint32_t *largest)
{
    uint32_t magnitude = 0;
    for (size_t j = csl_cuda_first(); j < count; j += csl_cuda_step()) {
        double sum = 0.0;
#pragma unroll SUMS_AHEAD
        for (uint32_t i = 0; i < row_count; i++) {
            float value = rows[i][j];
            uint32_t bits = csl_cuda_magnitude(value);
            magnitude = bits > magnitude ? bits : magnitude;
            sum = fma(weights[i], (double)value, sum);
        }
        if (divisor != 0.0) {
            sum /= divisor;
        }
        out[j] = csl_cuda_narrow(sum);
    }
    csl_cuda_raise(largest, magnitude);
}

static csl_status sum_rows(csl_device *device,
                           const float *const *host_rows,
                           const double *host_weights,
                           uint32_t row_count,
                           double divisor,
                           size_t count,
                           float *out,
                           uint32_t *host_magnitude)
{
    if (count == 0) {
        return CSL_OK;
    }
    csl_scratch scratch = csl_scratch_begin(device);
    const float *const *rows = NULL;
    void *weights = NULL;
    uint32_t *largest = NULL;
    CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &rows));
    CSL_TRY(csl_scratch_upload(device, &scratch, host_weights, row_count * sizeof *host_weights,
                               &weights));
    CSL_TRY(csl_cuda_magnitude_begin(device, &scratch, host_magnitude, &largest));
    CSL_LAUNCH(sum_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), rows, static_cast<const double *>(weights), row_count,
               divisor, count, out, largest);
    CSL_TRY(csl_cuda_launched("row_mean"));
    return csl_cuda_magnitude_end(device, largest, host_magnitude);
}

/* Drops the rows of weight zero and sums. */
static csl_status sum_weighted(csl_device *device,
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
    return sum_rows(device, rows, weights, used, 0.0, count, out, host_magnitude);
}

csl_status csl_cuda_row_weighted_mean(csl_device *device,
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
    return sum_weighted(device, host_rows, host_weights, row_count, count, out, host_magnitude);
}

csl_status csl_cuda_row_mean(csl_device *device,
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
    return sum_rows(device, host_rows, ones, row_count, (double)row_count, count, out,
                    host_magnitude);
}

/* ---- W X ---- */

/* One value of X into the sums of a group. A weight of zero must not touch its sum, which
 * fma(0, x, s) does only where x is not finite. */
static __device__ __forceinline__ void mix_step(const double *weights, float value, double *sum)
{
    double x = (double)value;
    if (fabsf(value) < csl_cuda_infinity()) {
#pragma unroll
        for (int r = 0; r < CSL_MIX_HEIGHT; r++) {
            sum[r] = fma(weights[r], x, sum[r]);
        }
    } else {
#pragma unroll
        for (int r = 0; r < CSL_MIX_HEIGHT; r++) {
            sum[r] = weights[r] != 0.0 ? fma(weights[r], x, sum[r]) : sum[r];
        }
    }
}

static __device__ __forceinline__ void
mix_store(const double *sum, uint32_t height, size_t column, float *const *out)
{
#pragma unroll
    for (uint32_t r = 0; r < CSL_MIX_HEIGHT; r++) {
        if (r < height) {
            out[r][column] = csl_cuda_narrow(sum[r]);
        }
    }
}

/*
 * A block has 64 columns; its warps take the groups of W in turn, so that what one warp has read
 * of X the others find in the first-level cache. A lane keeps 8 rows x 2 columns of sums.
 */
static __global__ void __launch_bounds__(CSL_CUDA_BLOCK)
    mix_kernel(csl_mix_groups groups,
               const float *const *__restrict__ rows,
               size_t begin,
               size_t count,
               float *const *__restrict__ out)
{
    for (size_t base = (size_t)blockIdx.x * MIX_COLUMNS; base < count;
         base += (size_t)gridDim.x * MIX_COLUMNS) {
        size_t j = base + threadIdx.x;
        size_t k = j + CSL_CUDA_WARP;
        for (uint32_t g = threadIdx.y; g < groups.group_count; g += CSL_CUDA_WARPS) {
            double near[CSL_MIX_HEIGHT] = {0.0};
            double far[CSL_MIX_HEIGHT] = {0.0};
            for (uint32_t e = groups.start[g]; e < groups.start[g + 1]; e++) {
                const float *row = rows[groups.row[e]] + begin;
                const double *weights = groups.weights + (size_t)e * CSL_MIX_HEIGHT;
                mix_step(weights, j < count ? row[j] : 0.0f, near);
                mix_step(weights, k < count ? row[k] : 0.0f, far);
            }
            uint32_t first = g * CSL_MIX_HEIGHT;
            uint32_t height = groups.mix_count - first;
            if (j < count) {
                mix_store(near, height, j, out + first);
            }
            if (k < count) {
                mix_store(far, height, k, out + first);
            }
        }
    }
}

/* Bytes of one entry: eight weights and the number of the row. */
static const size_t mix_entry_size = CSL_MIX_HEIGHT * sizeof(double) + sizeof(uint32_t);

uint32_t csl_cuda_mix_rows_max(uint32_t row_count, size_t size)
{
    size_t reserve = 4 * CSL_SCRATCH_ALIGNMENT + sizeof(uint32_t);
    size_t group_size = row_count * mix_entry_size + sizeof(uint32_t);
    size_t groups = size > reserve ? (size - reserve) / group_size : 0;
    size_t most = CSL_KERNEL_ROWS_MAX / CSL_MIX_HEIGHT;
    groups = groups < most ? groups : most;
    return (groups ? (uint32_t)groups : 1) * CSL_MIX_HEIGHT;
}

/* The entries of one group of W; returns their number. */
static uint32_t pack_group(
    const double *matrix, uint32_t height, uint32_t row_count, uint32_t *row, double *weights)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < row_count; i++) {
        double column[CSL_MIX_HEIGHT] = {0.0};
        bool any = false;
        for (uint32_t r = 0; r < height; r++) {
            column[r] = matrix[(size_t)r * row_count + i];
            any = any || column[r] != 0.0;
        }
        if (any) {
            memcpy(weights + (size_t)used * CSL_MIX_HEIGHT, column, sizeof column);
            row[used++] = i;
        }
    }
    return used;
}

static csl_status upload_groups(csl_device *device,
                                csl_scratch *scratch,
                                const double *host_matrix,
                                uint32_t row_count,
                                double *weights,
                                uint32_t *row,
                                uint32_t *start,
                                csl_mix_groups *groups)
{
    uint32_t entries = 0;
    for (uint32_t g = 0; g < groups->group_count; g++) {
        uint32_t first = g * CSL_MIX_HEIGHT;
        uint32_t left = groups->mix_count - first;
        start[g] = entries;
        entries += pack_group(host_matrix + (size_t)first * row_count,
                              left < CSL_MIX_HEIGHT ? left : (uint32_t)CSL_MIX_HEIGHT, row_count,
                              row + entries, weights + (size_t)entries * CSL_MIX_HEIGHT);
    }
    start[groups->group_count] = entries;
    void *memory[3] = {NULL, NULL, NULL};
    CSL_TRY(csl_scratch_upload(device, scratch, weights, entries * CSL_MIX_HEIGHT * sizeof *weights,
                               &memory[0]));
    CSL_TRY(csl_scratch_upload(device, scratch, row, entries * sizeof *row, &memory[1]));
    CSL_TRY(csl_scratch_upload(device, scratch, start, (groups->group_count + 1) * sizeof *start,
                               &memory[2]));
    groups->weights = static_cast<const double *>(memory[0]);
    groups->row = static_cast<const uint32_t *>(memory[1]);
    groups->start = static_cast<const uint32_t *>(memory[2]);
    return CSL_OK;
}

csl_status csl_cuda_mix_prepare(csl_device *device,
                                csl_scratch *scratch,
                                const double *host_matrix,
                                uint32_t mix_count,
                                uint32_t row_count,
                                csl_mix_groups *groups_out)
{
    csl_mix_groups groups = {NULL, NULL, NULL, 0, mix_count};
    groups.group_count = (mix_count + CSL_MIX_HEIGHT - 1) / CSL_MIX_HEIGHT;
    size_t most = (size_t)groups.group_count * row_count;
    double *weights = static_cast<double *>(malloc(most * CSL_MIX_HEIGHT * sizeof *weights));
    uint32_t *row = static_cast<uint32_t *>(malloc(most * sizeof *row));
    uint32_t *start = static_cast<uint32_t *>(malloc((groups.group_count + 1) * sizeof *start));
    csl_status status =
        weights && row && start
            ? upload_groups(device, scratch, host_matrix, row_count, weights, row, start, &groups)
            : csl_fail(CSL_E_NO_MEMORY, "row_mix: no memory for a matrix of %u by %u", mix_count,
                       row_count);
    free(weights);
    free(row);
    free(start);
    if (status == CSL_OK) {
        *groups_out = groups;
    }
    return status;
}

csl_status csl_cuda_mix_launch(csl_device *device,
                               const csl_mix_groups *groups,
                               const float *const *rows,
                               size_t begin,
                               size_t count,
                               float *const *out)
{
    size_t strips = (count + MIX_COLUMNS - 1) / MIX_COLUMNS;
    CSL_LAUNCH(mix_kernel, csl_cuda_blocks(device, strips * CSL_CUDA_BLOCK),
               dim3(CSL_CUDA_WARP, CSL_CUDA_WARPS), 0, csl_cuda_stream(device), *groups, rows,
               begin, count, out);
    return csl_cuda_launched("row_mix");
}

csl_status csl_cuda_row_mix(csl_device *device,
                            const float *const *host_rows,
                            uint32_t row_count,
                            const double *host_matrix,
                            uint32_t mix_count,
                            size_t count,
                            float *const *host_out_rows)
{
    CSL_TRY(csl_robust_check_rows("row_mix", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    CSL_TRY(csl_robust_check_rows("row_mix results", (const float *const *)host_out_rows, mix_count,
                                  CSL_KERNEL_ROWS_MAX));
    if (!host_matrix) {
        return csl_fail(CSL_E_INVALID_ARG, "row_mix: expected a matrix, found NULL");
    }
    if (mix_count == 1) {
        return sum_weighted(device, host_rows, host_matrix, row_count, count, host_out_rows[0],
                            NULL);
    }
    if (count == 0) {
        return CSL_OK;
    }
    csl_scratch scratch = csl_scratch_begin(device);
    const float *const *rows = NULL;
    void *out = NULL;
    CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &rows));
    CSL_TRY(csl_scratch_upload(device, &scratch, host_out_rows, mix_count * sizeof *host_out_rows,
                               &out));
    uint32_t part = csl_cuda_mix_rows_max(row_count, scratch.left);
    for (uint32_t first = 0; first < mix_count; first += part) {
        csl_scratch rest = scratch;
        csl_mix_groups groups;
        CSL_TRY(csl_cuda_mix_prepare(device, &rest, host_matrix + (size_t)first * row_count,
                                     mix_count - first < part ? mix_count - first : part, row_count,
                                     &groups));
        CSL_TRY(csl_cuda_mix_launch(device, &groups, rows, 0, count,
                                    static_cast<float *const *>(out) + first));
    }
    return CSL_OK;
}

/* ---- statistics and signs ---- */

static __device__ __forceinline__ int32_t sum_of_signs(const float *const *__restrict__ rows,
                                                       uint32_t row_count,
                                                       size_t column)
{
    int32_t sum = 0;
#pragma unroll SUMS_AHEAD
    for (uint32_t i = 0; i < row_count; i++) {
        float x = rows[i][column];
        sum += (x > 0.0f) - (x < 0.0f);
    }
    return sum;
}

static __global__ void sign_filter_kernel(const float *const *__restrict__ rows,
                                          uint32_t row_count,
                                          uint32_t threshold,
                                          size_t count,
                                          float *inout)
{
    for (size_t j = csl_cuda_first(); j < count; j += csl_cuda_step()) {
        int32_t sum = sum_of_signs(rows, row_count, j);
        uint32_t magnitude = (uint32_t)(sum < 0 ? -sum : sum);
        float x = inout[j];
        inout[j] = csl_cuda_canonical(magnitude >= threshold ? x : 0.0f - x);
    }
}

csl_status csl_cuda_row_sign_filter(csl_device *device,
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
    if (count == 0) {
        return CSL_OK;
    }
    csl_scratch scratch = csl_scratch_begin(device);
    const float *const *rows = NULL;
    CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &rows));
    CSL_LAUNCH(sign_filter_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), rows, row_count, threshold, count, inout);
    return csl_cuda_launched("row_sign_filter");
}

/* The first reading of a column: sum, extremes and signs at once. */
typedef struct column_reading {
    double sum;
    float smallest;
    float largest;
    int32_t signs;
} column_reading;

static __device__ __forceinline__ column_reading read_column(const float *const *__restrict__ rows,
                                                             uint32_t row_count,
                                                             size_t column)
{
    column_reading c = {0.0, csl_cuda_infinity(), -csl_cuda_infinity(), 0};
#pragma unroll SUMS_AHEAD
    for (uint32_t i = 0; i < row_count; i++) {
        float x = rows[i][column];
        float ordered = csl_cuda_order_nan(x);
        c.sum += (double)x;
        c.smallest = fminf(c.smallest, ordered);
        c.largest = fmaxf(c.largest, ordered);
        c.signs += (x > 0.0f) - (x < 0.0f);
    }
    return c;
}

static __device__ __forceinline__ float
deviation_of(const float *const *__restrict__ rows, uint32_t row_count, size_t column, double mean)
{
    double square = 0.0;
#pragma unroll SUMS_AHEAD
    for (uint32_t i = 0; i < row_count; i++) {
        double e = (double)rows[i][column] - mean;
        square = fma(e, e, square);
    }
    return row_count > 1 ? csl_cuda_narrow(sqrt(square / (double)(row_count - 1))) : 0.0f;
}

static __global__ void statistics_kernel(const float *const *__restrict__ rows,
                                         uint32_t row_count,
                                         size_t count,
                                         csl_column_statistics target)
{
    for (size_t j = csl_cuda_first(); j < count; j += csl_cuda_step()) {
        column_reading c = read_column(rows, row_count, j);
        double mean = c.sum / (double)row_count;
        float rounded = csl_cuda_narrow(mean);
        if (target.mean) {
            target.mean[j] = rounded;
        }
        if (target.sign_of_mean) {
            target.sign_of_mean[j] = (float)((rounded > 0.0f) - (rounded < 0.0f));
        }
        if (target.minimum) {
            target.minimum[j] = csl_cuda_canonical(c.smallest);
        }
        if (target.maximum) {
            target.maximum[j] = csl_cuda_canonical(c.largest);
        }
        if (target.sign_sum) {
            target.sign_sum[j] = c.signs;
        }
        if (target.deviation) {
            target.deviation[j] = deviation_of(rows, row_count, j, mean);
        }
    }
}

csl_status csl_cuda_row_statistics(csl_device *device,
                                   const float *const *host_rows,
                                   uint32_t row_count,
                                   size_t count,
                                   const csl_column_statistics *statistics)
{
    CSL_TRY(csl_robust_check_rows("row_statistics", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (!statistics) {
        return csl_fail(CSL_E_INVALID_ARG, "row_statistics: expected results, found NULL");
    }
    if (count == 0) {
        return CSL_OK;
    }
    csl_scratch scratch = csl_scratch_begin(device);
    const float *const *rows = NULL;
    CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &rows));
    CSL_LAUNCH(statistics_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), rows, row_count, count, *statistics);
    return csl_cuda_launched("row_statistics");
}

/* ---- gathering ---- */

static __global__ void gather_kernel(const float *const *__restrict__ rows,
                                     const uint64_t *__restrict__ index,
                                     size_t index_count,
                                     size_t count,
                                     float *out)
{
    for (size_t e = csl_cuda_first(); e < count; e += csl_cuda_step()) {
        out[e] = rows[e / index_count][index[e % index_count]];
    }
}

/* Gathers `part` positions of every row into scratch memory and from there into host_out. */
static csl_status gather_part(csl_device *device,
                              csl_scratch scratch,
                              const float *const *rows,
                              uint32_t row_count,
                              const uint64_t *host_index,
                              size_t part,
                              size_t index_count,
                              float *staging,
                              float *host_out)
{
    size_t count = part * row_count;
    void *index = NULL;
    void *gathered = NULL;
    CSL_TRY(csl_scratch_upload(device, &scratch, host_index, part * sizeof *host_index, &index));
    CSL_TRY(csl_scratch_take(&scratch, count * sizeof(float), &gathered));
    CSL_LAUNCH(gather_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), rows, static_cast<const uint64_t *>(index), part, count,
               static_cast<float *>(gathered));
    CSL_TRY(csl_cuda_launched("row_gather"));
    CSL_TRY(csl_cuda_download(device, staging, gathered, count * sizeof(float)));
    for (size_t i = 0; i < row_count; i++) {
        memcpy(host_out + i * index_count, staging + i * part, part * sizeof(float));
    }
    return CSL_OK;
}

csl_status csl_cuda_row_gather(csl_device *device,
                               const float *const *host_rows,
                               uint32_t row_count,
                               size_t count,
                               const uint64_t *host_index,
                               size_t index_count,
                               float *host_out)
{
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
    csl_scratch scratch = csl_scratch_begin(device);
    const float *const *rows = NULL;
    CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &rows));
    size_t part =
        (scratch.left - 2 * CSL_SCRATCH_ALIGNMENT) / (sizeof(uint64_t) + row_count * sizeof(float));
    part = part < index_count ? part : index_count;
    float *staging = static_cast<float *>(malloc(part * row_count * sizeof *staging + 1));
    if (!staging) {
        return csl_fail(CSL_E_NO_MEMORY, "row_gather: no memory for %zu values", part * row_count);
    }
    csl_status status = CSL_OK;
    for (size_t at = 0; status == CSL_OK && at < index_count; at += part) {
        size_t left = index_count - at;
        status = gather_part(device, scratch, rows, row_count, host_index + at,
                             left < part ? left : part, index_count, staging, host_out + at);
    }
    free(staging);
    return status;
}
