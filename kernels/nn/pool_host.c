/* Max and average pooling, channels last: sixteen channels at a time, every tap one load. */
#include "device/kernel_table.h"
#include "nn_host.h"
#include "pool_taps.h"

#include <string.h>

static csl_status check_pool(const csl_pool_spec *spec)
{
    for (int i = 0; i < 3; i++) {
        if (spec->window.stride[i] == 0 || spec->window.dilation[i] == 0 ||
            spec->window.size[i] == 0) {
            return csl_fail(CSL_E_SHAPE,
                            "pooling: expected size, stride and dilation above 0 on axis %d", i);
        }
        uint32_t expected = csl_window_output(spec->input.extent[i], &spec->window, i);
        if (spec->output.extent[i] != expected) {
            return csl_fail(CSL_E_SHAPE, "pooling: expected %u outputs on axis %d, found %u",
                            expected, i, spec->output.extent[i]);
        }
    }
    if (spec->input.channels != spec->output.channels) {
        return csl_fail(CSL_E_SHAPE, "pooling: expected %u channels out, found %u",
                        spec->input.channels, spec->output.channels);
    }
    if (csl_shape_count(spec->input) >= UINT32_MAX) {
        return csl_fail(CSL_E_RANGE, "pooling: expected fewer than 2^32 - 1 inputs, found %zu",
                        csl_shape_count(spec->input));
    }
    return CSL_OK;
}

csl_status csl_host_max_pool_forward(csl_device *device,
                                     const csl_pool_spec *spec,
                                     const float *x,
                                     uint32_t batch,
                                     float *y,
                                     uint32_t *index)
{
    CSL_TRY(check_pool(spec));
    const uint32_t *extent = spec->output.extent;
    size_t row = (size_t)extent[2] * spec->output.channels;
    size_t row_count = (size_t)extent[0] * extent[1];
    size_t input_count = csl_shape_count(spec->input);
    const csl_lane_functions *lanes = csl_lanes();
#pragma omp parallel for num_threads(csl_nn_threads(device, input_count *batch)) schedule(static)
    for (size_t i = 0; i < row_count * batch; i++) {
        size_t in_image = i % row_count;
        lanes->max_row(spec, x + i / row_count * input_count, (uint32_t)(in_image / extent[1]),
                       (uint32_t)(in_image % extent[1]), y + i * row, index + i * row);
    }
    return CSL_OK;
}

/* Whether no input voxel belongs to two windows, so that dx can be stored instead of summed. */
static bool windows_are_apart(const csl_window *window)
{
    for (int i = 0; i < 3; i++) {
        if (window->stride[i] < (uint64_t)window->dilation[i] * (window->size[i] - 1) + 1) {
            return false;
        }
    }
    return true;
}

/* Whether every input voxel belongs to exactly one window. */
static bool windows_tile(const csl_pool_spec *spec)
{
    for (int i = 0; i < 3; i++) {
        const csl_window *window = &spec->window;
        if (window->stride[i] != window->size[i] || window->dilation[i] != 1 ||
            window->padding[i] != 0 ||
            spec->input.extent[i] != spec->output.extent[i] * window->size[i]) {
            return false;
        }
    }
    return true;
}

static void scatter_max(const float *dy, const uint32_t *index, size_t count, float *dx)
{
    for (size_t i = 0; i < count; i++) {
        if (index[i] != UINT32_MAX) {
            dx[index[i]] += dy[i];
        }
    }
}

csl_status csl_host_max_pool_backward(csl_device *device,
                                      const csl_pool_spec *spec,
                                      const float *dy,
                                      const uint32_t *index,
                                      uint32_t batch,
                                      float *dx)
{
    CSL_TRY(check_pool(spec));
    const uint32_t *extent = spec->output.extent;
    size_t input_count = csl_shape_count(spec->input);
    size_t output_count = csl_shape_count(spec->output);
    size_t row = (size_t)extent[2] * spec->output.channels;
    size_t row_count = (size_t)extent[0] * extent[1];
    const csl_lane_functions *lanes = csl_lanes();
    bool store = windows_are_apart(&spec->window) && spec->input.channels % lanes->width == 0;
    bool clear = !store || !windows_tile(spec);
#pragma omp parallel for num_threads(csl_nn_threads(device, input_count *batch)) schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        const float *gradient = dy + image * output_count;
        const uint32_t *where = index + image * output_count;
        float *target = dx + image * input_count;
        if (clear) {
            memset(target, 0, input_count * sizeof *target);
        }
        if (!store) {
            scatter_max(gradient, where, output_count, target);
            continue;
        }
        for (size_t i = 0; i < row_count; i++) {
            lanes->max_gradient_row(spec, gradient + i * row, where + i * row,
                                    (uint32_t)(i / extent[1]), (uint32_t)(i % extent[1]), target);
        }
    }
    return CSL_OK;
}

/* Sum over the taps of `width` <= 16 channels: float32 along a row of taps, float64 over rows. */
static inline __attribute__((always_inline)) void
average_block(const tap_box *box, const float *x, uint32_t width, double factor, float *y)
{
    double sum[CSL_LANES] = {0};
    for (uint32_t d = 0; d < box->axis[0].count; d++) {
        for (uint32_t h = 0; h < box->axis[1].count; h++) {
            float row[CSL_LANES] = {0};
            for (uint32_t w = 0; w < box->axis[2].count; w++) {
                const float *tap = x + tap_offset(box, d, h, w);
                for (uint32_t i = 0; i < width; i++) {
                    row[i] += tap[i];
                }
            }
            for (uint32_t i = 0; i < width; i++) {
                sum[i] += (double)row[i];
            }
        }
    }
    for (uint32_t i = 0; i < width; i++) {
        y[i] = (float)(sum[i] * factor);
    }
}

static double average_factor(const csl_pool_spec *spec)
{
    const uint32_t *size = spec->window.size;
    return 1.0 / ((double)size[0] * size[1] * size[2]);
}

CSL_CLONES static void
average_row(const csl_pool_spec *spec, const float *x, uint32_t d, uint32_t h, float *y)
{
    uint32_t channels = spec->output.channels;
    double factor = average_factor(spec);
    tap_box box = box_for_row(spec, d, h);
    for (uint32_t w = 0; w < spec->output.extent[2]; w++, y += channels) {
        box.axis[2] = taps_of(&spec->window, 2, spec->input.extent[2], w);
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            average_block(&box, x + c, CSL_LANES, factor, y + c);
        }
        if (c < channels) {
            average_block(&box, x + c, channels - c, factor, y + c);
        }
    }
}

csl_status csl_host_average_pool_forward(
    csl_device *device, const csl_pool_spec *spec, const float *x, uint32_t batch, float *y)
{
    CSL_TRY(check_pool(spec));
    const uint32_t *extent = spec->output.extent;
    size_t row = (size_t)extent[2] * spec->output.channels;
    size_t row_count = (size_t)extent[0] * extent[1];
    size_t input_count = csl_shape_count(spec->input);
#pragma omp parallel for num_threads(csl_nn_threads(device, input_count *batch)) schedule(static)
    for (size_t i = 0; i < row_count * batch; i++) {
        size_t in_image = i % row_count;
        average_row(spec, x + i / row_count * input_count, (uint32_t)(in_image / extent[1]),
                    (uint32_t)(in_image % extent[1]), y + i * row);
    }
    return CSL_OK;
}

CSL_CLONES static void
average_gradient_row(const csl_pool_spec *spec, const float *dy, uint32_t d, uint32_t h, float *dx)
{
    uint32_t channels = spec->output.channels;
    float factor = (float)average_factor(spec);
    tap_box box = box_for_row(spec, d, h);
    for (uint32_t w = 0; w < spec->output.extent[2]; w++, dy += channels) {
        box.axis[2] = taps_of(&spec->window, 2, spec->input.extent[2], w);
        for (uint32_t i = 0; i < box.axis[0].count; i++) {
            for (uint32_t j = 0; j < box.axis[1].count; j++) {
                for (uint32_t k = 0; k < box.axis[2].count; k++) {
                    float *target = dx + tap_offset(&box, i, j, k);
                    for (uint32_t c = 0; c < channels; c++) {
                        target[c] += dy[c] * factor;
                    }
                }
            }
        }
    }
}

csl_status csl_host_average_pool_backward(
    csl_device *device, const csl_pool_spec *spec, const float *dy, uint32_t batch, float *dx)
{
    CSL_TRY(check_pool(spec));
    const uint32_t *extent = spec->output.extent;
    size_t input_count = csl_shape_count(spec->input);
    size_t row = (size_t)extent[2] * spec->output.channels;
    size_t row_count = (size_t)extent[0] * extent[1];
#pragma omp parallel for num_threads(csl_nn_threads(device, input_count *batch)) schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        float *target = dx + image * input_count;
        memset(target, 0, input_count * sizeof *target);
        for (size_t i = 0; i < row_count; i++) {
            average_gradient_row(spec, dy + (image * row_count + i) * row,
                                 (uint32_t)(i / extent[1]), (uint32_t)(i % extent[1]), target);
        }
    }
    return CSL_OK;
}
