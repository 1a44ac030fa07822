/*
 * Batch and group normalisation, fused with ReLU. Statistics are sums of float32 blocks in
 * float64, taken around the first row so that a large mean does not cancel the variance.
 * Backward: Ioffe & Szegedy 2015, section 3; Wu & He 2018 for groups.
 */
#include "device/kernel_table.h"
#include "nn_host.h"

#include <math.h>
#include <string.h>

static size_t row_count_of(const csl_norm_spec *spec)
{
    return (size_t)spec->shape.extent[0] * spec->shape.extent[1] * spec->shape.extent[2];
}

/* A thread's part of a batch, cut into `row_count` rows at a time: all of them at once if
 * channels-last, an image's in blocks. */
typedef struct batch_share {
    size_t first; /* element */
    size_t end;
    size_t row_count;
    size_t step; /* elements */
} batch_share;

/* Of the calling thread of a parallel region. */
static batch_share share_batch(const csl_norm_spec *spec, uint32_t batch)
{
    size_t rows = row_count_of(spec);
    size_t channels = spec->shape.channels;
    size_t first, end;
    csl_nn_part(rows * batch, spec->block ? rows : 1, omp_get_thread_num(), omp_get_num_threads(),
                &first, &end);
    size_t row_count = spec->block ? rows : end - first;
    return (batch_share){first * channels, end * channels, row_count, row_count * channels};
}

/* The channels of an image's first row: x itself unless it lies in blocks. */
static const float *first_row(const csl_norm_spec *spec, const float *x, float *room)
{
    if (!spec->block) {
        return x;
    }
    size_t rows = row_count_of(spec);
    for (uint32_t c = 0; c < spec->shape.channels; c++) {
        uint32_t lane = c % spec->block;
        room[c] = x[(c - lane) * rows + lane];
    }
    return room;
}

/* Bytes of one thread's float64 and float32 columns, a multiple of 64 so that threads share no
 * cache line. */
static size_t columns_size(uint32_t channels, size_t double_count, size_t float_count)
{
    return (channels * (8 * double_count + 4 * float_count) + 63) / 64 * 64;
}

/* Adds the float64 columns of all threads, in order of thread, into those of thread 0. */
static void add_threads(char *scratch, size_t stride, int thread_count, size_t count)
{
    double *total = (double *)scratch;
    for (int thread = 1; thread < thread_count; thread++) {
        const double *part = (const double *)(scratch + (size_t)thread * stride);
        for (size_t i = 0; i < count; i++) {
            total[i] += part[i];
        }
    }
}

/* Moments of all rows of a batch around its first row, which goes to *base_out: sum[C], square[C]
 * at the scratch's start, and after them room for two float columns, the second for that row. */
static csl_status batch_moments(const csl_device *device,
                                const csl_norm_spec *spec,
                                const float *x,
                                uint32_t batch,
                                double **sums_out,
                                const float **base_out)
{
    uint32_t channels = spec->shape.channels;
    int thread_count = csl_nn_threads(device, row_count_of(spec) * batch * channels);
    size_t stride = columns_size(channels, 2, 2);
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(stride * (size_t)thread_count, &memory));
    char *scratch = memory;
    for (int thread = 0; thread < thread_count; thread++) {
        memset(scratch + (size_t)thread * stride, 0, (size_t)2 * channels * sizeof(double));
    }
    float *room = (float *)((double *)memory + (size_t)2 * channels) + channels;
    const float *base = first_row(spec, x, room);
#pragma omp parallel num_threads(thread_count)
    {
        double *sum = (double *)(scratch + (size_t)omp_get_thread_num() * stride);
        batch_share share = share_batch(spec, batch);
        for (size_t at = share.first; at < share.end; at += share.step) {
            csl_map_moments(x + at, share.row_count, channels, spec->block, base, sum,
                            sum + channels);
        }
    }
    add_threads(scratch, stride, thread_count, (size_t)2 * channels);
    *sums_out = memory;
    *base_out = base;
    return CSL_OK;
}

static void batch_affine(const csl_device *device,
                         const csl_norm_spec *spec,
                         const float *x,
                         uint32_t batch,
                         const float *mean,
                         const float *factor,
                         const float *shift,
                         bool relu,
                         float *y)
{
    uint32_t channels = spec->shape.channels;
#pragma omp parallel num_threads(csl_nn_threads(device, row_count_of(spec) * batch * channels))
    {
        batch_share share = share_batch(spec, batch);
        for (size_t at = share.first; at < share.end; at += share.step) {
            csl_map_affine(x + at, share.row_count, channels, spec->block, mean, factor, shift,
                           relu, y + at);
        }
    }
}

csl_status csl_host_batch_norm_train(csl_device *device,
                                     const csl_norm_spec *spec,
                                     const float *x,
                                     const float *scale,
                                     const float *shift,
                                     uint32_t batch,
                                     bool relu,
                                     float momentum,
                                     float *running_mean,
                                     float *running_variance,
                                     float *saved_mean,
                                     float *saved_inverse_deviation,
                                     float *y)
{
    uint32_t channels = spec->shape.channels;
    size_t row_count = row_count_of(spec) * batch;
    double *sums = NULL;
    const float *base = NULL;
    CSL_TRY(batch_moments(device, spec, x, batch, &sums, &base));
    double count = (double)row_count;
    float *factor = (float *)(sums + (size_t)2 * channels);
    for (uint32_t c = 0; c < channels; c++) {
        double offset = sums[c] / count;
        double variance = sums[channels + c] / count - offset * offset;
        variance = variance > 0.0 ? variance : 0.0;
        double mean = (double)base[c] + offset;
        double unbiased = row_count > 1 ? variance * count / (count - 1.0) : variance;
        running_mean[c] += momentum * ((float)mean - running_mean[c]);
        running_variance[c] += momentum * ((float)unbiased - running_variance[c]);
        saved_mean[c] = (float)mean;
        saved_inverse_deviation[c] = (float)(1.0 / sqrt(variance + (double)spec->epsilon));
        factor[c] = saved_inverse_deviation[c] * scale[c];
    }
    batch_affine(device, spec, x, batch, saved_mean, factor, shift, relu, y);
    return CSL_OK;
}

csl_status csl_host_batch_norm_infer(csl_device *device,
                                     const csl_norm_spec *spec,
                                     const float *x,
                                     const float *scale,
                                     const float *shift,
                                     const float *running_mean,
                                     const float *running_variance,
                                     uint32_t batch,
                                     bool relu,
                                     float *saved_mean,
                                     float *saved_inverse_deviation,
                                     float *y)
{
    uint32_t channels = spec->shape.channels;
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(2 * channels * sizeof(float), &memory));
    float *factor = memory;
    for (uint32_t c = 0; c < channels; c++) {
        double variance = (double)running_variance[c] + (double)spec->epsilon;
        float inverse_deviation = (float)(1.0 / sqrt(variance));
        factor[c] = inverse_deviation * scale[c];
        if (saved_mean) {
            saved_mean[c] = running_mean[c];
            saved_inverse_deviation[c] = inverse_deviation;
        }
    }
    batch_affine(device, spec, x, batch, running_mean, factor, shift, relu, y);
    return CSL_OK;
}

/* Sums of dy and of dy (x - mean) over all rows of a batch, at the scratch's start; after them
 * there is room for two float columns. */
static csl_status batch_gradients(const csl_device *device,
                                  const csl_norm_spec *spec,
                                  const float *x,
                                  const float *y,
                                  const float *dy,
                                  uint32_t batch,
                                  const float *mean,
                                  double **sums_out)
{
    uint32_t channels = spec->shape.channels;
    int thread_count = csl_nn_threads(device, row_count_of(spec) * batch * channels);
    size_t stride = columns_size(channels, 2, 2);
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(stride * (size_t)thread_count, &memory));
    char *scratch = memory;
#pragma omp parallel num_threads(thread_count)
    {
        double *sum = (double *)(scratch + (size_t)omp_get_thread_num() * stride);
        memset(sum, 0, stride);
        batch_share share = share_batch(spec, batch);
        for (size_t at = share.first; at < share.end; at += share.step) {
            csl_map_gradients(x + at, y ? y + at : NULL, dy + at, share.row_count, channels,
                              spec->block, mean, sum, sum + channels);
        }
    }
    add_threads(scratch, stride, thread_count, (size_t)2 * channels);
    *sums_out = memory;
    return CSL_OK;
}

csl_status csl_host_batch_norm_backward(csl_device *device,
                                        const csl_norm_spec *spec,
                                        const float *x,
                                        const float *y,
                                        const float *dy,
                                        const float *scale,
                                        const float *saved_mean,
                                        const float *saved_inverse_deviation,
                                        uint32_t batch,
                                        bool relu,
                                        bool frozen,
                                        float *dx,
                                        float *dscale,
                                        float *dshift)
{
    uint32_t channels = spec->shape.channels;
    size_t row_count = row_count_of(spec) * batch;
    const float *gate = relu ? y : NULL;
    double *sums = NULL;
    CSL_TRY(batch_gradients(device, spec, x, gate, dy, batch, saved_mean, &sums));
    float *slope = (float *)(sums + (size_t)2 * channels);
    float *offset = slope + channels;
    for (uint32_t c = 0; c < channels; c++) {
        double inverse = (double)saved_inverse_deviation[c];
        double share = frozen ? 0.0 : (double)scale[c] / (double)row_count;
        double dsum = sums[c];
        double product = sums[channels + c] * inverse;
        dshift[c] = (float)dsum;
        dscale[c] = (float)product;
        slope[c] = (float)(-inverse * product * share);
        offset[c] = (float)(-dsum * share);
    }
#pragma omp parallel num_threads(csl_nn_threads(device, row_count *channels))
    {
        batch_share share = share_batch(spec, batch);
        for (size_t at = share.first; at < share.end; at += share.step) {
            csl_map_affine_gradient(x + at, gate ? gate + at : NULL, dy + at, share.row_count,
                                    channels, spec->block, saved_mean, saved_inverse_deviation,
                                    scale, slope, offset, dx + at);
        }
    }
    return CSL_OK;
}

static csl_status check_groups(const csl_norm_spec *spec)
{
    if (spec->groups == 0 || spec->shape.channels % spec->groups != 0) {
        return csl_fail(CSL_E_SHAPE,
                        "group norm: expected groups that divide %u channels, found %u",
                        spec->shape.channels, spec->groups);
    }
    return CSL_OK;
}

/* Mean and variance of each group from the channels' moments around the first row (Chan et al.
 * 1983: parts are joined by their means), spread over the group's channels. */
static void join_groups(const csl_norm_spec *spec,
                        const float *first_row,
                        const double *sum,
                        const double *square,
                        const float *scale,
                        float *saved_mean,
                        float *saved_inverse_deviation,
                        float *mean,
                        float *factor)
{
    uint32_t width = spec->shape.channels / spec->groups;
    double rows = (double)row_count_of(spec);
    for (uint32_t g = 0; g < spec->groups; g++) {
        uint32_t first = g * width;
        double total = 0.0;
        for (uint32_t c = first; c < first + width; c++) {
            total += (double)first_row[c] + sum[c] / rows;
        }
        double group_mean = total / width;
        double squares = 0.0;
        for (uint32_t c = first; c < first + width; c++) {
            double offset = sum[c] / rows;
            double away = (double)first_row[c] + offset - group_mean;
            double within = square[c] - rows * offset * offset;
            squares += (within > 0.0 ? within : 0.0) + rows * away * away;
        }
        double inverse = 1.0 / sqrt(squares / (rows * width) + (double)spec->epsilon);
        saved_mean[g] = (float)group_mean;
        saved_inverse_deviation[g] = (float)inverse;
        for (uint32_t c = first; c < first + width; c++) {
            mean[c] = (float)group_mean;
            factor[c] = (float)(inverse * (double)scale[c]);
        }
    }
}

csl_status csl_host_group_norm_forward(csl_device *device,
                                       const csl_norm_spec *spec,
                                       const float *x,
                                       const float *scale,
                                       const float *shift,
                                       uint32_t batch,
                                       bool relu,
                                       float *saved_mean,
                                       float *saved_inverse_deviation,
                                       float *y)
{
    CSL_TRY(check_groups(spec));
    uint32_t channels = spec->shape.channels;
    size_t row_count = row_count_of(spec);
    size_t image_count = row_count * channels;
    int thread_count = csl_nn_threads(device, image_count * batch);
    size_t stride = columns_size(channels, 2, 3);
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(stride * (size_t)thread_count, &memory));
    char *scratch = memory;
#pragma omp parallel for num_threads(thread_count) schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        double *sum = (double *)(scratch + (size_t)omp_get_thread_num() * stride);
        double *square = sum + channels;
        float *mean = (float *)(square + channels);
        float *factor = mean + channels;
        const float *input = x + image * image_count;
        const float *base = first_row(spec, input, factor + channels);
        size_t at = (size_t)image * spec->groups;
        memset(sum, 0, (size_t)2 * channels * sizeof *sum);
        csl_map_moments(input, row_count, channels, spec->block, base, sum, square);
        join_groups(spec, base, sum, square, scale, saved_mean + at, saved_inverse_deviation + at,
                    mean, factor);
        csl_map_affine(input, row_count, channels, spec->block, mean, factor, shift, relu,
                       y + image * image_count);
    }
    return CSL_OK;
}

/* One thread's columns in the backward pass of group norm. */
typedef struct group_columns {
    double *dscale, *dshift; /* over the thread's images */
    double *sum, *product;   /* of one image */
    float *mean, *factor, *slope, *offset;
} group_columns;

static group_columns group_columns_at(char *memory, uint32_t channels)
{
    double *base = (double *)memory;
    float *tail = (float *)(base + (size_t)4 * channels);
    return (group_columns){.dscale = base,
                           .dshift = base + channels,
                           .sum = base + (size_t)2 * channels,
                           .product = base + (size_t)3 * channels,
                           .mean = tail,
                           .factor = tail + channels,
                           .slope = tail + (size_t)2 * channels,
                           .offset = tail + (size_t)3 * channels};
}

/* From an image's column sums to the coefficients of its dx, and into dscale and dshift. */
static void group_coefficients(const csl_norm_spec *spec,
                               const float *scale,
                               const float *saved_inverse_deviation,
                               group_columns *columns)
{
    uint32_t width = spec->shape.channels / spec->groups;
    double count = (double)row_count_of(spec) * width;
    for (uint32_t g = 0; g < spec->groups; g++) {
        double inverse = (double)saved_inverse_deviation[g];
        double sum = 0.0, product = 0.0;
        for (uint32_t c = g * width; c < (g + 1) * width; c++) {
            sum += (double)scale[c] * columns->sum[c];
            product += (double)scale[c] * columns->product[c] * inverse;
            columns->dshift[c] += columns->sum[c];
            columns->dscale[c] += columns->product[c] * inverse;
        }
        for (uint32_t c = g * width; c < (g + 1) * width; c++) {
            columns->factor[c] = saved_inverse_deviation[g];
            columns->slope[c] = (float)(-inverse * product / count);
            columns->offset[c] = (float)(-sum / count);
        }
    }
}

csl_status csl_host_group_norm_backward(csl_device *device,
                                        const csl_norm_spec *spec,
                                        const float *x,
                                        const float *y,
                                        const float *dy,
                                        const float *scale,
                                        const float *saved_mean,
                                        const float *saved_inverse_deviation,
                                        uint32_t batch,
                                        bool relu,
                                        float *dx,
                                        float *dscale,
                                        float *dshift)
{
    CSL_TRY(check_groups(spec));
    uint32_t channels = spec->shape.channels;
    uint32_t width = channels / spec->groups;
    size_t row_count = row_count_of(spec);
    size_t image_count = row_count * channels;
    int thread_count = csl_nn_threads(device, image_count * batch);
    size_t stride = columns_size(channels, 4, 4);
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(stride * (size_t)thread_count, &memory));
    char *scratch = memory;
    memset(scratch, 0, stride * (size_t)thread_count);
#pragma omp parallel for num_threads(thread_count) schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        group_columns columns =
            group_columns_at(scratch + (size_t)omp_get_thread_num() * stride, channels);
        size_t at = image * image_count;
        size_t group_at = (size_t)image * spec->groups;
        const float *gate = relu ? y + at : NULL;
        memset(columns.sum, 0, (size_t)2 * channels * sizeof(double));
        for (uint32_t c = 0; c < channels; c++) {
            columns.mean[c] = saved_mean[group_at + c / width];
        }
        csl_map_gradients(x + at, gate, dy + at, row_count, channels, spec->block, columns.mean,
                          columns.sum, columns.product);
        group_coefficients(spec, scale, saved_inverse_deviation + group_at, &columns);
        csl_map_affine_gradient(x + at, gate, dy + at, row_count, channels, spec->block,
                                columns.mean, columns.factor, scale, columns.slope, columns.offset,
                                dx + at);
    }
    add_threads(scratch, stride, thread_count, (size_t)2 * channels);
    group_columns total = group_columns_at(scratch, channels);
    for (uint32_t c = 0; c < channels; c++) {
        dscale[c] = (float)total.dscale[c];
        dshift[c] = (float)total.dshift[c];
    }
    return CSL_OK;
}
