/*
 * Convolutions as matrix products: im2col of some images, then cuBLAS, one product per group.
 *
 * A row of the columns belongs to one output voxel: [groups][taps][C/groups]; the weights are kept
 * in the matching order [O][taps][C/groups], made by conv_update_weights. Images go through in
 * chunks, so that the columns stay within what conv_memory.c allows. A dense 1x1 convolution needs
 * no columns: its input is them.
 */
#include "nn_cuda.h"

#include <climits>
#include <cstdlib>

static const float one = 1.0f;
static const float zero = 0.0f;

struct csl_conv {
    csl_conv_spec spec;
    uint32_t taps;
    uint32_t terms;       /* of one product: taps * C / groups */
    size_t column_count;  /* of one row of the columns: taps * C */
    size_t voxels;        /* output voxels of one image */
    uint32_t image_chunk; /* images whose columns fit into the scratch memory */
    bool is_pointwise;    /* the input is the columns */
    float *weights;       /* [O][taps][C/groups] */
    float *dweights;      /* the same */
};

/* to_taps: [O][channels][taps] -> [O][taps][channels]; else the way back. */
static __global__ void reorder_kernel(const float *source,
                                      size_t count,
                                      uint32_t channels,
                                      uint32_t taps,
                                      bool to_taps,
                                      float *target)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        size_t tap = i % taps;
        size_t channel = i / taps % channels;
        size_t output = i / taps / channels;
        size_t other = (output * taps + tap) * channels + channel;
        target[to_taps ? other : i] = source[to_taps ? i : other];
    }
}

/* columns[row][group][tap][channel of the group]; zero where a tap lies in the padding. */
static __global__ void
columns_kernel(csl_conv_spec spec, size_t count, const float *x, float *columns)
{
    const csl_window &window = spec.window;
    uint32_t width = spec.input.channels / spec.groups;
    uint32_t size2 = window.size[2], size1 = window.size[1], size0 = window.size[0];
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        size_t rest = i;
        uint32_t channel = (uint32_t)(rest % width);
        rest /= width;
        uint32_t tap2 = (uint32_t)(rest % size2);
        rest /= size2;
        uint32_t tap1 = (uint32_t)(rest % size1);
        rest /= size1;
        uint32_t tap0 = (uint32_t)(rest % size0);
        rest /= size0;
        channel += (uint32_t)(rest % spec.groups) * width;
        rest /= spec.groups;
        int64_t w = csl_cuda_tap(window, 2, (uint32_t)(rest % spec.output.extent[2]), tap2);
        rest /= spec.output.extent[2];
        int64_t h = csl_cuda_tap(window, 1, (uint32_t)(rest % spec.output.extent[1]), tap1);
        rest /= spec.output.extent[1];
        int64_t d = csl_cuda_tap(window, 0, (uint32_t)(rest % spec.output.extent[0]), tap0);
        size_t image = rest / spec.output.extent[0];
        bool inside = d >= 0 && d < (int64_t)spec.input.extent[0] && h >= 0 &&
                      h < (int64_t)spec.input.extent[1] && w >= 0 &&
                      w < (int64_t)spec.input.extent[2];
        size_t voxel =
            ((image * spec.input.extent[0] + (size_t)d) * spec.input.extent[1] + (size_t)h) *
                spec.input.extent[2] +
            (size_t)w;
        columns[i] = inside ? x[voxel * spec.input.channels + channel] : 0.0f;
    }
}

/* One thread per input element gathers what its taps gave: nothing is added concurrently. */
static __global__ void
gather_kernel(csl_conv_spec spec, size_t count, const float *columns, float *dx)
{
    const csl_window &window = spec.window;
    uint32_t width = spec.input.channels / spec.groups;
    size_t row_size =
        (size_t)window.size[0] * window.size[1] * window.size[2] * spec.input.channels;
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        size_t rest = i / spec.input.channels;
        uint32_t channel = (uint32_t)(i % spec.input.channels);
        uint32_t at2 = (uint32_t)(rest % spec.input.extent[2]);
        rest /= spec.input.extent[2];
        uint32_t at1 = (uint32_t)(rest % spec.input.extent[1]);
        rest /= spec.input.extent[1];
        uint32_t at0 = (uint32_t)(rest % spec.input.extent[0]);
        size_t image = rest / spec.input.extent[0];
        double sum = 0.0;
        uint32_t d, h, w;
        for (uint32_t a = 0; a < window.size[0]; a++) {
            if (!csl_cuda_window_of(window, 0, spec.output.extent[0], at0, a, &d)) {
                continue;
            }
            for (uint32_t b = 0; b < window.size[1]; b++) {
                if (!csl_cuda_window_of(window, 1, spec.output.extent[1], at1, b, &h)) {
                    continue;
                }
                for (uint32_t c = 0; c < window.size[2]; c++) {
                    if (!csl_cuda_window_of(window, 2, spec.output.extent[2], at2, c, &w)) {
                        continue;
                    }
                    size_t row = ((image * spec.output.extent[0] + d) * spec.output.extent[1] + h) *
                                     spec.output.extent[2] +
                                 w;
                    size_t tap = ((size_t)a * window.size[1] + b) * window.size[2] + c;
                    size_t taps = (size_t)window.size[0] * window.size[1] * window.size[2];
                    size_t group = channel / width;
                    sum += (double)
                        columns[row * row_size + (group * taps + tap) * width + channel % width];
                }
            }
        }
        dx[i] = (float)sum;
    }
}

static __global__ void
bias_kernel(const float *bias, size_t count, uint32_t channels, bool relu, float *y)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        float value = y[i] + (bias ? bias[i % channels] : 0.0f);
        y[i] = !relu || value > 0.0f ? value : 0.0f;
    }
}

static csl_status check_spec(const csl_conv_spec *spec)
{
    static const char *const axes[3] = {"depth", "height", "width"};
    if (spec->batch_max == 0 || spec->batch_max > CSL_BATCH_MAX) {
        return csl_fail(CSL_E_RANGE, "convolution: expected batch_max 1..%d, found %u",
                        CSL_BATCH_MAX, spec->batch_max);
    }
    if (spec->groups == 0 || spec->input.channels == 0 || spec->output.channels == 0 ||
        spec->input.channels % spec->groups != 0 || spec->output.channels % spec->groups != 0) {
        return csl_fail(CSL_E_SHAPE,
                        "convolution: expected groups that divide %u and %u channels, found %u",
                        spec->input.channels, spec->output.channels, spec->groups);
    }
    for (int i = 0; i < 3; i++) {
        const csl_window *window = &spec->window;
        if (window->size[i] == 0 || window->stride[i] == 0 || window->dilation[i] == 0 ||
            window->size[i] > CSL_EXTENT_MAX || window->dilation[i] > CSL_EXTENT_MAX ||
            window->padding[i] > CSL_EXTENT_MAX) {
            return csl_fail(CSL_E_RANGE, "convolution: window of axis %s is not valid", axes[i]);
        }
        uint32_t expected = csl_window_output(spec->input.extent[i], window, i);
        if (expected == 0 || expected != spec->output.extent[i]) {
            return csl_fail(CSL_E_SHAPE, "convolution: expected output %s %u, found %u", axes[i],
                            expected, spec->output.extent[i]);
        }
    }
    return CSL_OK;
}

static size_t weight_count_of(const csl_conv *conv)
{
    return (size_t)conv->spec.output.channels * conv->terms;
}

/* Sizes that follow from the specification; refuses what cuBLAS's int cannot count. */
static csl_status measure(csl_conv *conv)
{
    const csl_window *window = &conv->spec.window;
    double taps = (double)window->size[0] * window->size[1] * window->size[2];
    double voxels = (double)csl_shape_count(conv->spec.output) / conv->spec.output.channels;
    if (taps * conv->spec.input.channels > INT_MAX || voxels > INT_MAX) {
        return csl_fail(CSL_E_RANGE, "convolution: %g terms or %g voxels are more than %d",
                        taps * conv->spec.input.channels, voxels, INT_MAX);
    }
    conv->taps = (uint32_t)taps;
    conv->terms = conv->taps * (conv->spec.input.channels / conv->spec.groups);
    conv->column_count = (size_t)conv->taps * conv->spec.input.channels;
    conv->voxels = (size_t)voxels;
    csl_conv_memory memory = csl_cuda_conv_memory(&conv->spec);
    conv->is_pointwise = memory.columns_size == 0;
    conv->image_chunk = memory.image_chunk;
    return CSL_OK;
}

static csl_status allocate(csl_device *device, csl_conv *conv)
{
    size_t size = weight_count_of(conv) * sizeof(float);
    void *memory = NULL;
    CSL_TRY(csl_device_alloc(device, size, &memory));
    conv->weights = static_cast<float *>(memory);
    CSL_TRY(csl_device_alloc(device, size, &memory));
    conv->dweights = static_cast<float *>(memory);
    return csl_cuda_reserve_scratch(device, csl_cuda_conv_memory(&conv->spec).columns_size);
}

/* im2col reads whole pixels: channels-last. */
csl_status csl_cuda_conv_block(csl_device *device, const csl_conv_spec *spec, uint32_t *block_out)
{
    (void)device;
    CSL_TRY(check_spec(spec));
    *block_out = 0;
    return CSL_OK;
}

csl_status csl_cuda_conv_create(csl_device *device, const csl_conv_spec *spec, csl_conv **conv_out)
{
    CSL_TRY(check_spec(spec));
    if (spec->block != 0) {
        return csl_fail(CSL_E_UNSUPPORTED, "convolution: blocks of %u channels on a GPU",
                        spec->block);
    }
    csl_conv *conv = static_cast<csl_conv *>(calloc(1, sizeof *conv));
    if (!conv) {
        return csl_fail(CSL_E_NO_MEMORY, "convolution: no memory for %zu bytes", sizeof *conv);
    }
    conv->spec = *spec;
    csl_status status = measure(conv);
    if (status == CSL_OK) {
        status = allocate(device, conv);
    }
    if (status != CSL_OK) {
        (void)csl_cuda_conv_destroy(device, conv);
        return status;
    }
    *conv_out = conv;
    return CSL_OK;
}

csl_status csl_cuda_conv_destroy(csl_device *device, csl_conv *conv)
{
    if (conv) {
        csl_device_free(device, conv->weights);
        csl_device_free(device, conv->dweights);
        free(conv);
    }
    return CSL_OK;
}

csl_status csl_cuda_conv_update_weights(csl_device *device, csl_conv *conv, const float *weights)
{
    size_t count = weight_count_of(conv);
    CSL_LAUNCH(reorder_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), weights, count, conv->terms / conv->taps, conv->taps, true,
               conv->weights);
    return csl_cuda_launched("conv_update_weights");
}

static csl_status check_batch(const csl_conv *conv, uint32_t batch)
{
    if (batch == 0 || batch > conv->spec.batch_max) {
        return csl_fail(CSL_E_RANGE, "convolution: expected a batch of 1..%u, found %u",
                        conv->spec.batch_max, batch);
    }
    return CSL_OK;
}

/* Columns of some images, made in the scratch memory unless the input already is them. */
static const float *
make_columns(csl_device *device, const csl_conv *conv, const float *x, uint32_t image_count)
{
    if (conv->is_pointwise) {
        return x;
    }
    float *columns = static_cast<float *>(csl_cuda_scratch(device));
    size_t count = image_count * conv->voxels * conv->column_count;
    CSL_LAUNCH(columns_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), conv->spec, count, x, columns);
    return columns;
}

csl_status csl_cuda_conv_forward(
    csl_device *device, csl_conv *conv, const float *x, const float *bias, uint32_t batch, float *y)
{
    CSL_TRY(check_batch(conv, batch));
    const csl_conv_spec *spec = &conv->spec;
    int outputs = (int)(spec->output.channels / spec->groups), terms = (int)conv->terms;
    size_t in_count = csl_shape_count(spec->input), out_count = csl_shape_count(spec->output);
    for (uint32_t image = 0; image < batch; image += conv->image_chunk) {
        uint32_t left = batch - image;
        uint32_t image_count = left < conv->image_chunk ? left : conv->image_chunk;
        const float *columns = make_columns(device, conv, x + image * in_count, image_count);
        CSL_TRY(csl_cuda_check_blas(
            csl_cublas()->sgemm_batched(
                csl_cuda_blas(device), CUBLAS_OP_T, CUBLAS_OP_N, outputs,
                (int)(image_count * conv->voxels), terms, &one, conv->weights, terms,
                (long long)outputs * terms, columns, (int)conv->column_count, terms, &zero,
                y + image * out_count, (int)spec->output.channels, outputs, (int)spec->groups),
            "conv_forward"));
    }
    if (spec->has_bias || spec->fuse_relu) {
        size_t count = out_count * batch;
        CSL_LAUNCH(bias_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
                   csl_cuda_stream(device), spec->has_bias ? bias : NULL, count,
                   spec->output.channels, spec->fuse_relu, y);
    }
    return csl_cuda_launched("conv_forward");
}

csl_status csl_cuda_conv_backward_data(
    csl_device *device, csl_conv *conv, const float *dy, uint32_t batch, float *dx)
{
    CSL_TRY(check_batch(conv, batch));
    const csl_conv_spec *spec = &conv->spec;
    int outputs = (int)(spec->output.channels / spec->groups), terms = (int)conv->terms;
    size_t in_count = csl_shape_count(spec->input), out_count = csl_shape_count(spec->output);
    for (uint32_t image = 0; image < batch; image += conv->image_chunk) {
        uint32_t left = batch - image;
        uint32_t image_count = left < conv->image_chunk ? left : conv->image_chunk;
        float *columns = conv->is_pointwise ? dx + image * in_count
                                            : static_cast<float *>(csl_cuda_scratch(device));
        CSL_TRY(csl_cuda_check_blas(
            csl_cublas()->sgemm_batched(
                csl_cuda_blas(device), CUBLAS_OP_N, CUBLAS_OP_N, terms,
                (int)(image_count * conv->voxels), outputs, &one, conv->weights, terms,
                (long long)outputs * terms, dy + image * out_count, (int)spec->output.channels,
                outputs, &zero, columns, (int)conv->column_count, terms, (int)spec->groups),
            "conv_backward_data"));
        if (!conv->is_pointwise) {
            size_t count = image_count * in_count;
            CSL_LAUNCH(gather_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
                       csl_cuda_stream(device), *spec, count, columns, dx + image * in_count);
        }
    }
    return csl_cuda_launched("conv_backward_data");
}

csl_status csl_cuda_conv_backward_weights(csl_device *device,
                                          csl_conv *conv,
                                          const float *x,
                                          const float *dy,
                                          uint32_t batch,
                                          float *dweights,
                                          float *dbias)
{
    CSL_TRY(check_batch(conv, batch));
    const csl_conv_spec *spec = &conv->spec;
    int outputs = (int)(spec->output.channels / spec->groups), terms = (int)conv->terms;
    size_t in_count = csl_shape_count(spec->input), out_count = csl_shape_count(spec->output);
    for (uint32_t image = 0; image < batch; image += conv->image_chunk) {
        uint32_t left = batch - image;
        uint32_t image_count = left < conv->image_chunk ? left : conv->image_chunk;
        const float *columns = make_columns(device, conv, x + image * in_count, image_count);
        CSL_TRY(csl_cuda_check_blas(
            csl_cublas()->sgemm_batched(csl_cuda_blas(device), CUBLAS_OP_N, CUBLAS_OP_T, terms,
                                        outputs, (int)(image_count * conv->voxels), &one, columns,
                                        (int)conv->column_count, terms, dy + image * out_count,
                                        (int)spec->output.channels, outputs,
                                        image == 0 ? &zero : &one, conv->dweights, terms,
                                        (long long)outputs * terms, (int)spec->groups),
            "conv_backward_weights"));
    }
    size_t count = weight_count_of(conv);
    CSL_LAUNCH(reorder_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), conv->dweights, count, conv->terms / conv->taps, conv->taps,
               false, dweights);
    CSL_TRY(csl_cuda_launched("conv_backward_weights"));
    return dbias && spec->has_bias ? csl_cuda_column_sums(device, dy, conv->voxels * batch,
                                                          spec->output.channels, dbias)
                                   : CSL_OK;
}
