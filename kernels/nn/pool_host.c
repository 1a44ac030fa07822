/* Max and average pooling, channels last: sixteen channels at a time, every tap one load. */
#include "device/kernel_table.h"
#include "nn_host.h"

#include <string.h>

/* The window's taps along one axis that fall inside the input. */
typedef struct tap_range {
    uint32_t count;
    size_t first; /* input position of the first tap */
    size_t step;
} tap_range;

static inline tap_range
taps_of(const csl_window *window, int axis, uint32_t extent, uint32_t position)
{
    int64_t start = (int64_t)position * window->stride[axis] - (int64_t)window->padding[axis];
    int64_t dilation = window->dilation[axis];
    int64_t skipped = start < 0 ? (-start + dilation - 1) / dilation : 0;
    int64_t first = start + skipped * dilation;
    int64_t inside = first < (int64_t)extent ? ((int64_t)extent - 1 - first) / dilation + 1 : 0;
    int64_t left = (int64_t)window->size[axis] - skipped;
    left = left < 0 ? 0 : left;
    return (tap_range){(uint32_t)(inside < left ? inside : left), (size_t)first, (size_t)dilation};
}

/* The taps of one output voxel, as offsets of elements in the image's input. */
typedef struct tap_box {
    tap_range axis[3];
    size_t stride[3]; /* elements per voxel step along each axis */
} tap_box;

static inline size_t tap_offset(const tap_box *box, uint32_t d, uint32_t h, uint32_t w)
{
    return (box->axis[0].first + d * box->axis[0].step) * box->stride[0] +
           (box->axis[1].first + h * box->axis[1].step) * box->stride[1] +
           (box->axis[2].first + w * box->axis[2].step) * box->stride[2];
}

static inline bool is_empty(const tap_box *box)
{
    return box->axis[0].count == 0 || box->axis[1].count == 0 || box->axis[2].count == 0;
}

static inline tap_box box_for_row(const csl_pool_spec *spec, uint32_t d, uint32_t h)
{
    const csl_shape *input = &spec->input;
    tap_box box;
    box.stride[2] = input->channels;
    box.stride[1] = box.stride[2] * input->extent[2];
    box.stride[0] = box.stride[1] * input->extent[1];
    box.axis[0] = taps_of(&spec->window, 0, input->extent[0], d);
    box.axis[1] = taps_of(&spec->window, 1, input->extent[1], h);
    box.axis[2] = (tap_range){0};
    return box;
}

static inline __attribute__((always_inline)) void
max16(const tap_box *box, const float *x, uint32_t channel, float *y, uint32_t *index)
{
    csl_lane_mask lane;
    for (int i = 0; i < CSL_LANES; i++) {
        lane[i] = (int32_t)channel + i;
    }
    size_t origin = tap_offset(box, 0, 0, 0);
    csl_lanes best = *(const csl_lanes *)(x + origin + channel);
    csl_lane_mask where = lane + (int32_t)(uint32_t)origin;
    for (uint32_t d = 0; d < box->axis[0].count; d++) {
        for (uint32_t h = 0; h < box->axis[1].count; h++) {
            for (uint32_t w = 0; w < box->axis[2].count; w++) {
                size_t offset = tap_offset(box, d, h, w);
                csl_lanes value = *(const csl_lanes *)(x + offset + channel);
                csl_lane_mask larger = value > best;
                csl_lane_mask here = lane + (int32_t)(uint32_t)offset;
                best =
                    (csl_lanes)(((csl_lane_mask)value & larger) | ((csl_lane_mask)best & ~larger));
                where = (here & larger) | (where & ~larger);
            }
        }
    }
    *(csl_lanes *)y = best;
    *(csl_lane_mask *)index = where;
}

static inline void
max1(const tap_box *box, const float *x, uint32_t channel, float *y, uint32_t *index)
{
    size_t where = tap_offset(box, 0, 0, 0) + channel;
    for (uint32_t d = 0; d < box->axis[0].count; d++) {
        for (uint32_t h = 0; h < box->axis[1].count; h++) {
            for (uint32_t w = 0; w < box->axis[2].count; w++) {
                size_t offset = tap_offset(box, d, h, w) + channel;
                where = x[offset] > x[where] ? offset : where;
            }
        }
    }
    *y = x[where];
    *index = (uint32_t)where;
}

/* One row of output voxels along the width of one image. */
CSL_CLONES static void max_row(
    const csl_pool_spec *spec, const float *x, uint32_t d, uint32_t h, float *y, uint32_t *index)
{
    uint32_t channels = spec->output.channels;
    tap_box box = box_for_row(spec, d, h);
    for (uint32_t w = 0; w < spec->output.extent[2]; w++, y += channels, index += channels) {
        box.axis[2] = taps_of(&spec->window, 2, spec->input.extent[2], w);
        if (is_empty(&box)) {
            for (uint32_t c = 0; c < channels; c++) {
                y[c] = 0.0F;
                index[c] = UINT32_MAX;
            }
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            max16(&box, x, c, y + c, index + c);
        }
        for (; c < channels; c++) {
            max1(&box, x, c, y + c, index + c);
        }
    }
}

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
#pragma omp parallel for num_threads(csl_nn_threads(device, input_count *batch)) schedule(static)
    for (size_t i = 0; i < row_count * batch; i++) {
        size_t in_image = i % row_count;
        max_row(spec, x + i / row_count * input_count, (uint32_t)(in_image / extent[1]),
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

static inline __attribute__((always_inline)) void
store_max16(const tap_box *box, const float *dy, const uint32_t *index, uint32_t channel, float *dx)
{
    csl_lane_mask lane;
    for (int i = 0; i < CSL_LANES; i++) {
        lane[i] = (int32_t)channel + i;
    }
    const csl_lane_mask where = *(const csl_lane_mask *)(index + channel) - lane;
    const csl_lane_mask value = *(const csl_lane_mask *)(dy + channel);
    for (uint32_t d = 0; d < box->axis[0].count; d++) {
        for (uint32_t h = 0; h < box->axis[1].count; h++) {
            for (uint32_t w = 0; w < box->axis[2].count; w++) {
                size_t offset = tap_offset(box, d, h, w);
                *(csl_lane_mask *)(dx + offset + channel) =
                    value & (where == (int32_t)(uint32_t)offset);
            }
        }
    }
}

/* dx of one row of windows that share no voxel: every tap is stored once. */
CSL_CLONES static void max_gradient_row(const csl_pool_spec *spec,
                                        const float *dy,
                                        const uint32_t *index,
                                        uint32_t d,
                                        uint32_t h,
                                        float *dx)
{
    uint32_t channels = spec->output.channels;
    tap_box box = box_for_row(spec, d, h);
    for (uint32_t w = 0; w < spec->output.extent[2]; w++, dy += channels, index += channels) {
        box.axis[2] = taps_of(&spec->window, 2, spec->input.extent[2], w);
        if (is_empty(&box)) {
            continue;
        }
        for (uint32_t c = 0; c + CSL_LANES <= channels; c += CSL_LANES) {
            store_max16(&box, dy, index, c, dx);
        }
    }
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
    bool store = windows_are_apart(&spec->window) && spec->input.channels % CSL_LANES == 0;
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
            max_gradient_row(spec, gradient + i * row, where + i * row, (uint32_t)(i / extent[1]),
                             (uint32_t)(i % extent[1]), target);
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
