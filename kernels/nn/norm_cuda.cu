/*
 * Batch norm and group norm. Sums run in float64 in a fixed order: rows of a chunk over the lanes
 * of a block, then a tree, then the chunks one after the other; no atomics.
 */
#include "nn_cuda.h"

#include <cmath>

enum { TILE_CHANNELS = 32, TILE_ROWS = 4, CHUNKS_MAX = 64 };

/* What is summed over rows for each channel: a first and a second value per element. */
typedef enum column_kind {
    COLUMN_PLAIN,    /* dy, 0 */
    COLUMN_MOMENTS,  /* x - x[first row], its square */
    COLUMN_GRADIENTS /* dy masked by y > 0, that times (x - mean) * inverse */
} column_kind;

typedef struct column_source {
    column_kind kind;
    const float *x;
    const float *y; /* NULL: no mask */
    const float *dy;
    const float *mean;    /* [group_count of each chunk]; batch norm: [channels] */
    const float *inverse; /* as mean */
    uint32_t channels;
    uint32_t groups; /* group norm: chunk is an image, mean is [chunk][groups]; else 0 */
    size_t row_count;
    size_t chunk_rows;
} column_source;

static __device__ __forceinline__ float masked(const float *y, const float *dy, size_t at)
{
    return !y || y[at] > 0.0f ? dy[at] : 0.0f;
}

static __device__ void add_element(const column_source &source,
                                   size_t row,
                                   uint32_t channel,
                                   size_t statistic,
                                   double *first,
                                   double *second)
{
    size_t at = row * source.channels + channel;
    if (source.kind == COLUMN_PLAIN) {
        *first += (double)source.dy[at];
    } else if (source.kind == COLUMN_MOMENTS) {
        double value = (double)source.x[at] - (double)source.x[channel];
        *first += value;
        *second += value * value;
    } else {
        double gradient = (double)masked(source.y, source.dy, at);
        *first += gradient;
        *second += gradient * (((double)source.x[at] - (double)source.mean[statistic]) *
                               (double)source.inverse[statistic]);
    }
}

/* Block (channel tile, chunk): partial[chunk][2][channels]. */
static __global__ void columns_kernel(column_source source, double *partial)
{
    CSL_SHARED(double, sums, 2 * TILE_ROWS * TILE_CHANNELS);
    uint32_t channel = blockIdx.x * TILE_CHANNELS + threadIdx.x;
    size_t chunk = blockIdx.y;
    size_t begin = chunk * source.chunk_rows;
    size_t end = begin + source.chunk_rows;
    end = end < source.row_count ? end : source.row_count;
    double first = 0.0, second = 0.0;
    if (channel < source.channels) {
        size_t statistic = source.groups
                               ? chunk * source.groups + channel / (source.channels / source.groups)
                               : channel;
        for (size_t row = begin + threadIdx.y; row < end; row += TILE_ROWS) {
            add_element(source, row, channel, statistic, &first, &second);
        }
    }
    double *lane = sums + threadIdx.y * TILE_CHANNELS + threadIdx.x;
    lane[0] = first;
    lane[TILE_ROWS * TILE_CHANNELS] = second;
    __syncthreads();
    if (threadIdx.y == 0 && channel < source.channels) {
        for (int row = 1; row < TILE_ROWS; row++) {
            first += lane[row * TILE_CHANNELS];
            second += lane[(TILE_ROWS + row) * TILE_CHANNELS];
        }
        partial[(2 * chunk) * source.channels + channel] = first;
        partial[(2 * chunk + 1) * source.channels + channel] = second;
    }
}

/* Adds the chunks in order; totals[2][channels], kept over calls unless `fresh`. */
static __global__ void totals_kernel(
    const double *partial, unsigned chunk_count, uint32_t channels, bool fresh, double *totals)
{
    for (size_t i = csl_cuda_first(); i < 2 * (size_t)channels; i += csl_cuda_step()) {
        double sum = fresh ? 0.0 : totals[i];
        for (unsigned chunk = 0; chunk < chunk_count; chunk++) {
            sum += partial[2 * (size_t)chunk * channels + i];
        }
        totals[i] = sum;
    }
}

static __global__ void to_float_kernel(const double *values, size_t count, float *out)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        out[i] = (float)values[i];
    }
}

/* The start of the scratch memory: [2][channels] totals, then the chunks' partial sums. */
static double *totals_of(csl_device *device)
{
    return static_cast<double *>(csl_cuda_scratch(device));
}

/* Chunks whose partial sums fit into what every scratch memory has. */
static size_t chunks_that_fit(uint32_t channels)
{
    size_t fitting = CSL_CUDA_SCRATCH_MIN / (2 * sizeof(double) * channels) - 2;
    return fitting < 65535 ? fitting : 65535;
}

static void
launch_columns(csl_device *device, const column_source *source, unsigned chunk_count, bool fresh)
{
    uint32_t channels = source->channels;
    double *partial = totals_of(device) + 2 * (size_t)channels;
    dim3 grid((channels + TILE_CHANNELS - 1) / TILE_CHANNELS, chunk_count);
    CSL_LAUNCH(columns_kernel, grid, dim3(TILE_CHANNELS, TILE_ROWS), 0, csl_cuda_stream(device),
               *source, partial);
    CSL_LAUNCH(totals_kernel, csl_cuda_blocks(device, 2 * (size_t)channels), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), partial, chunk_count, channels, fresh, totals_of(device));
}

/* Totals over all rows, cut into chunks of equal height. */
static csl_status sum_columns(csl_device *device, column_source source)
{
    size_t most = chunks_that_fit(source.channels);
    size_t chunk_count = (source.row_count + TILE_ROWS - 1) / TILE_ROWS;
    chunk_count = chunk_count < CHUNKS_MAX ? chunk_count : (size_t)CHUNKS_MAX;
    chunk_count = chunk_count < most ? chunk_count : most;
    source.chunk_rows = (source.row_count + chunk_count - 1) / chunk_count;
    chunk_count = (source.row_count + source.chunk_rows - 1) / source.chunk_rows;
    launch_columns(device, &source, (unsigned)chunk_count, true);
    return csl_cuda_launched("column sums");
}

csl_status csl_cuda_column_sums(
    csl_device *device, const float *x, size_t row_count, uint32_t channels, float *out)
{
    column_source source = {};
    source.kind = COLUMN_PLAIN;
    source.dy = x;
    source.channels = channels;
    source.row_count = row_count;
    CSL_TRY(sum_columns(device, source));
    CSL_LAUNCH(to_float_kernel, csl_cuda_blocks(device, channels), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), totals_of(device), (size_t)channels, out);
    return csl_cuda_launched("column sums");
}

static __global__ void batch_statistics_kernel(const float *x,
                                               const double *totals,
                                               size_t row_count,
                                               uint32_t channels,
                                               float epsilon,
                                               float momentum,
                                               float *running_mean,
                                               float *running_variance,
                                               float *saved_mean,
                                               float *saved_inverse)
{
    double count = (double)row_count;
    for (size_t c = csl_cuda_first(); c < channels; c += csl_cuda_step()) {
        double offset = totals[c] / count;
        double variance = totals[channels + c] / count - offset * offset;
        variance = variance > 0.0 ? variance : 0.0;
        double mean = (double)x[c] + offset;
        double unbiased = row_count > 1 ? variance * count / (count - 1.0) : variance;
        running_mean[c] += momentum * ((float)mean - running_mean[c]);
        running_variance[c] += momentum * ((float)unbiased - running_variance[c]);
        saved_mean[c] = (float)mean;
        saved_inverse[c] = (float)(1.0 / sqrt(variance + (double)epsilon));
    }
}

/* variance NULL: `statistic` is the inverse deviation, else it is worked out from the variance. */
static __global__ void batch_affine_kernel(const float *x,
                                           size_t count,
                                           uint32_t channels,
                                           const float *mean,
                                           const float *inverse,
                                           const float *variance,
                                           float epsilon,
                                           const float *scale,
                                           const float *shift,
                                           bool relu,
                                           float *y)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        uint32_t c = (uint32_t)(i % channels);
        float deviation =
            variance ? (float)(1.0 / sqrt((double)variance[c] + (double)epsilon)) : inverse[c];
        float value = (x[i] - mean[c]) * (deviation * scale[c]) + shift[c];
        y[i] = !relu || value > 0.0f ? value : 0.0f;
    }
}

static __global__ void batch_saved_kernel(const float *mean,
                                          const float *variance,
                                          float epsilon,
                                          uint32_t channels,
                                          float *saved_mean,
                                          float *saved_inverse)
{
    for (size_t c = csl_cuda_first(); c < channels; c += csl_cuda_step()) {
        saved_mean[c] = mean[c];
        saved_inverse[c] = (float)(1.0 / sqrt((double)variance[c] + (double)epsilon));
    }
}

static size_t row_count_of(const csl_norm_spec *spec)
{
    return csl_shape_count(spec->shape) / spec->shape.channels;
}

csl_status csl_cuda_batch_norm_train(csl_device *device,
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
    column_source source = {};
    source.kind = COLUMN_MOMENTS;
    source.x = x;
    source.channels = channels;
    source.row_count = row_count_of(spec) * batch;
    CSL_TRY(sum_columns(device, source));
    cudaStream_t stream = csl_cuda_stream(device);
    CSL_LAUNCH(batch_statistics_kernel, csl_cuda_blocks(device, channels), CSL_CUDA_BLOCK, 0,
               stream, x, totals_of(device), source.row_count, channels, spec->epsilon, momentum,
               running_mean, running_variance, saved_mean, saved_inverse_deviation);
    size_t count = source.row_count * channels;
    const float *none = NULL;
    CSL_LAUNCH(batch_affine_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0, stream, x,
               count, channels, saved_mean, saved_inverse_deviation, none, spec->epsilon, scale,
               shift, relu, y);
    return csl_cuda_launched("batch_norm_train");
}

csl_status csl_cuda_batch_norm_infer(csl_device *device,
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
    size_t count = csl_shape_count(spec->shape) * batch;
    cudaStream_t stream = csl_cuda_stream(device);
    if (saved_mean) {
        CSL_LAUNCH(batch_saved_kernel, csl_cuda_blocks(device, channels), CSL_CUDA_BLOCK, 0, stream,
                   running_mean, running_variance, spec->epsilon, channels, saved_mean,
                   saved_inverse_deviation);
    }
    const float *none = NULL;
    CSL_LAUNCH(batch_affine_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0, stream, x,
               count, channels, running_mean, none, running_variance, spec->epsilon, scale, shift,
               relu, y);
    return csl_cuda_launched("batch_norm_infer");
}

static __global__ void batch_gradient_kernel(const float *x,
                                             const float *y,
                                             const float *dy,
                                             size_t row_count,
                                             uint32_t channels,
                                             const float *scale,
                                             const float *mean,
                                             const float *inverse,
                                             const double *totals,
                                             bool frozen,
                                             float *dx)
{
    size_t count = row_count * channels;
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        uint32_t c = (uint32_t)(i % channels);
        double factor = (double)inverse[c] * (double)scale[c];
        double gradient = (double)masked(y, dy, i);
        if (!frozen) {
            double normal = ((double)x[i] - (double)mean[c]) * (double)inverse[c];
            gradient -= (totals[c] + normal * totals[channels + c]) / (double)row_count;
        }
        dx[i] = (float)(gradient * factor);
    }
}

/* totals[0] is dshift, totals[1] is dscale, for batch norm and for group norm. */
static void store_parameters(csl_device *device, uint32_t channels, float *dscale, float *dshift)
{
    double *totals = totals_of(device);
    unsigned blocks = csl_cuda_blocks(device, channels);
    CSL_LAUNCH(to_float_kernel, blocks, CSL_CUDA_BLOCK, 0, csl_cuda_stream(device), totals,
               (size_t)channels, dshift);
    CSL_LAUNCH(to_float_kernel, blocks, CSL_CUDA_BLOCK, 0, csl_cuda_stream(device),
               totals + channels, (size_t)channels, dscale);
}

csl_status csl_cuda_batch_norm_backward(csl_device *device,
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
    column_source source = {};
    source.kind = COLUMN_GRADIENTS;
    source.x = x;
    source.y = relu ? y : NULL;
    source.dy = dy;
    source.mean = saved_mean;
    source.inverse = saved_inverse_deviation;
    source.channels = spec->shape.channels;
    source.row_count = row_count_of(spec) * batch;
    CSL_TRY(sum_columns(device, source));
    store_parameters(device, source.channels, dscale, dshift);
    CSL_LAUNCH(batch_gradient_kernel, csl_cuda_blocks(device, source.row_count * source.channels),
               CSL_CUDA_BLOCK, 0, csl_cuda_stream(device), x, source.y, dy, source.row_count,
               source.channels, scale, saved_mean, saved_inverse_deviation, totals_of(device),
               frozen, dx);
    return csl_cuda_launched("batch_norm_backward");
}

/* One group of one image: element i of it lies at base + i / width * channels + i % width. */
typedef struct group_place {
    size_t base;
    uint32_t width;
    uint32_t channels;
    uint32_t first_channel;
    size_t count;
} group_place;

static __device__ group_place group_of(const csl_norm_spec &spec, size_t row_count, size_t block)
{
    group_place place;
    place.channels = spec.shape.channels;
    place.width = place.channels / spec.groups;
    place.first_channel = (uint32_t)(block % spec.groups) * place.width;
    place.count = row_count * place.width;
    place.base = block / spec.groups * row_count * place.channels + place.first_channel;
    return place;
}

static __device__ __forceinline__ size_t element_of(const group_place &place, size_t i)
{
    return place.base + i / place.width * place.channels + i % place.width;
}

/* Two passes: the mean, then the squares around it. Block = (image, group). */
static __global__ void group_forward_kernel(csl_norm_spec spec,
                                            size_t row_count,
                                            size_t group_count,
                                            const float *x,
                                            const float *scale,
                                            const float *shift,
                                            bool relu,
                                            float *saved_mean,
                                            float *saved_inverse,
                                            float *y)
{
    CSL_SHARED(double, lanes, CSL_CUDA_BLOCK);
    for (size_t block = blockIdx.x; block < group_count; block += gridDim.x) {
        group_place place = group_of(spec, row_count, block);
        double sum = 0.0;
        for (size_t i = threadIdx.x; i < place.count; i += blockDim.x) {
            sum += (double)x[element_of(place, i)];
        }
        double mean = csl_cuda_block_sum(sum, lanes) / (double)place.count;
        double squares = 0.0;
        for (size_t i = threadIdx.x; i < place.count; i += blockDim.x) {
            double away = (double)x[element_of(place, i)] - mean;
            squares += away * away;
        }
        squares = csl_cuda_block_sum(squares, lanes);
        double inverse = 1.0 / sqrt(squares / (double)place.count + (double)spec.epsilon);
        if (threadIdx.x == 0) {
            saved_mean[block] = (float)mean;
            saved_inverse[block] = (float)inverse;
        }
        for (size_t i = threadIdx.x; i < place.count; i += blockDim.x) {
            size_t at = element_of(place, i);
            uint32_t c = place.first_channel + (uint32_t)(i % place.width);
            float value = (x[at] - (float)mean) * (float)(inverse * (double)scale[c]) + shift[c];
            y[at] = !relu || value > 0.0f ? value : 0.0f;
        }
    }
}

static __global__ void group_backward_kernel(csl_norm_spec spec,
                                             size_t row_count,
                                             size_t group_count,
                                             const float *x,
                                             const float *y,
                                             const float *dy,
                                             const float *scale,
                                             const float *saved_mean,
                                             const float *saved_inverse,
                                             float *dx)
{
    CSL_SHARED(double, lanes, CSL_CUDA_BLOCK);
    for (size_t block = blockIdx.x; block < group_count; block += gridDim.x) {
        group_place place = group_of(spec, row_count, block);
        double mean = (double)saved_mean[block], inverse = (double)saved_inverse[block];
        double sum = 0.0, product = 0.0;
        for (size_t i = threadIdx.x; i < place.count; i += blockDim.x) {
            size_t at = element_of(place, i);
            double gradient = (double)masked(y, dy, at) *
                              (double)scale[place.first_channel + (uint32_t)(i % place.width)];
            sum += gradient;
            product += gradient * (((double)x[at] - mean) * inverse);
        }
        sum = csl_cuda_block_sum(sum, lanes) / (double)place.count;
        product = csl_cuda_block_sum(product, lanes) / (double)place.count;
        for (size_t i = threadIdx.x; i < place.count; i += blockDim.x) {
            size_t at = element_of(place, i);
            double gradient = (double)masked(y, dy, at) *
                              (double)scale[place.first_channel + (uint32_t)(i % place.width)];
            double normal = ((double)x[at] - mean) * inverse;
            dx[at] = (float)(inverse * (gradient - sum - normal * product));
        }
    }
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

static unsigned group_blocks(const csl_device *device, size_t group_count)
{
    return csl_cuda_blocks(device, group_count * CSL_CUDA_BLOCK);
}

csl_status csl_cuda_group_norm_forward(csl_device *device,
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
    size_t group_count = (size_t)batch * spec->groups;
    CSL_LAUNCH(group_forward_kernel, group_blocks(device, group_count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), *spec, row_count_of(spec), group_count, x, scale, shift,
               relu, saved_mean, saved_inverse_deviation, y);
    return csl_cuda_launched("group_norm_forward");
}

csl_status csl_cuda_group_norm_backward(csl_device *device,
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
    size_t row_count = row_count_of(spec);
    size_t most = chunks_that_fit(spec->shape.channels);
    /* An image is a chunk; as many images at a time as have room for their sums. */
    for (size_t image = 0; image < batch; image += most) {
        size_t image_count = batch - image < most ? batch - image : most;
        size_t at = image * row_count * spec->shape.channels;
        column_source source = {};
        source.kind = COLUMN_GRADIENTS;
        source.x = x + at;
        source.y = relu ? y + at : NULL;
        source.dy = dy + at;
        source.mean = saved_mean + image * spec->groups;
        source.inverse = saved_inverse_deviation + image * spec->groups;
        source.channels = spec->shape.channels;
        source.groups = spec->groups;
        source.row_count = row_count * image_count;
        source.chunk_rows = row_count;
        launch_columns(device, &source, (unsigned)image_count, image == 0);
    }
    store_parameters(device, spec->shape.channels, dscale, dshift);
    size_t group_count = (size_t)batch * spec->groups;
    CSL_LAUNCH(group_backward_kernel, group_blocks(device, group_count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), *spec, row_count, group_count, x, relu ? y : NULL, dy,
               scale, saved_mean, saved_inverse_deviation, dx);
    return csl_cuda_launched("group_norm_backward");
}
