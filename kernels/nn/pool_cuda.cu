/*
 * Max and average pooling, channels last. Forward: one thread per output. Backward: one thread per
 * input gathers from the windows that hold it, so nothing is added concurrently.
 */
#include "device/cuda_device.h"

/* Position of an element of a channels-last map [batch][D][H][W][C]. */
typedef struct place {
    uint32_t at[3];
    uint32_t channel;
    size_t image;
} place;

static __device__ __forceinline__ place place_of(const csl_shape &shape, size_t element)
{
    place p;
    p.channel = (uint32_t)(element % shape.channels);
    element /= shape.channels;
    for (int i = 2; i >= 0; i--) {
        p.at[i] = (uint32_t)(element % shape.extent[i]);
        element /= shape.extent[i];
    }
    p.image = element;
    return p;
}

static __device__ __forceinline__ size_t
offset_of(const csl_shape &shape, uint32_t d, uint32_t h, uint32_t w, uint32_t channel)
{
    return (((size_t)d * shape.extent[1] + h) * shape.extent[2] + w) * shape.channels + channel;
}

static __device__ __forceinline__ bool is_inside(int64_t position, uint32_t extent)
{
    return position >= 0 && position < (int64_t)extent;
}

static __global__ void max_kernel(
    csl_pool_spec spec, size_t input_count, size_t count, const float *x, float *y, uint32_t *index)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        place p = place_of(spec.output, i);
        const float *image = x + p.image * input_count;
        float best = 0.0f;
        uint32_t where = UINT32_MAX;
        for (uint32_t a = 0; a < spec.window.size[0]; a++) {
            int64_t d = csl_cuda_tap(spec.window, 0, p.at[0], a);
            for (uint32_t b = 0; is_inside(d, spec.input.extent[0]) && b < spec.window.size[1];
                 b++) {
                int64_t h = csl_cuda_tap(spec.window, 1, p.at[1], b);
                for (uint32_t c = 0; is_inside(h, spec.input.extent[1]) && c < spec.window.size[2];
                     c++) {
                    int64_t w = csl_cuda_tap(spec.window, 2, p.at[2], c);
                    if (!is_inside(w, spec.input.extent[2])) {
                        continue;
                    }
                    size_t at =
                        offset_of(spec.input, (uint32_t)d, (uint32_t)h, (uint32_t)w, p.channel);
                    if (where == UINT32_MAX || image[at] > best) {
                        best = image[at];
                        where = (uint32_t)at;
                    }
                }
            }
        }
        y[i] = best;
        index[i] = where;
    }
}

/* index NULL: average, dy times factor; else dy of the windows whose largest value was here. */
static __global__ void gather_kernel(csl_pool_spec spec,
                                     size_t input_count,
                                     size_t output_count,
                                     size_t count,
                                     const float *dy,
                                     const uint32_t *index,
                                     float factor,
                                     float *dx)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        place p = place_of(spec.input, i);
        uint32_t self = (uint32_t)(i - p.image * input_count);
        double sum = 0.0;
        uint32_t d, h, w;
        for (uint32_t a = spec.window.size[0]; a-- > 0;) {
            if (!csl_cuda_window_of(spec.window, 0, spec.output.extent[0], p.at[0], a, &d)) {
                continue;
            }
            for (uint32_t b = spec.window.size[1]; b-- > 0;) {
                if (!csl_cuda_window_of(spec.window, 1, spec.output.extent[1], p.at[1], b, &h)) {
                    continue;
                }
                for (uint32_t c = spec.window.size[2]; c-- > 0;) {
                    if (!csl_cuda_window_of(spec.window, 2, spec.output.extent[2], p.at[2], c,
                                            &w)) {
                        continue;
                    }
                    size_t at = p.image * output_count + offset_of(spec.output, d, h, w, p.channel);
                    if (!index || index[at] == self) {
                        sum += (double)dy[at];
                    }
                }
            }
        }
        dx[i] = index ? (float)sum : (float)(sum * (double)factor);
    }
}

static __global__ void average_kernel(
    csl_pool_spec spec, size_t input_count, size_t count, double factor, const float *x, float *y)
{
    for (size_t i = csl_cuda_first(); i < count; i += csl_cuda_step()) {
        place p = place_of(spec.output, i);
        const float *image = x + p.image * input_count;
        double sum = 0.0;
        for (uint32_t a = 0; a < spec.window.size[0]; a++) {
            int64_t d = csl_cuda_tap(spec.window, 0, p.at[0], a);
            for (uint32_t b = 0; is_inside(d, spec.input.extent[0]) && b < spec.window.size[1];
                 b++) {
                int64_t h = csl_cuda_tap(spec.window, 1, p.at[1], b);
                for (uint32_t c = 0; is_inside(h, spec.input.extent[1]) && c < spec.window.size[2];
                     c++) {
                    int64_t w = csl_cuda_tap(spec.window, 2, p.at[2], c);
                    if (is_inside(w, spec.input.extent[2])) {
                        sum += (double)image[offset_of(spec.input, (uint32_t)d, (uint32_t)h,
                                                       (uint32_t)w, p.channel)];
                    }
                }
            }
        }
        y[i] = (float)(sum * factor);
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

static double average_factor(const csl_pool_spec *spec)
{
    const uint32_t *size = spec->window.size;
    return 1.0 / ((double)size[0] * size[1] * size[2]);
}

csl_status csl_cuda_max_pool_forward(csl_device *device,
                                     const csl_pool_spec *spec,
                                     const float *x,
                                     uint32_t batch,
                                     float *y,
                                     uint32_t *index)
{
    CSL_TRY(check_pool(spec));
    size_t count = csl_shape_count(spec->output) * batch;
    CSL_LAUNCH(max_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), *spec, csl_shape_count(spec->input), count, x, y, index);
    return csl_cuda_launched("max_pool_forward");
}

static csl_status gather(csl_device *device,
                         const csl_pool_spec *spec,
                         const float *dy,
                         const uint32_t *index,
                         uint32_t batch,
                         float *dx,
                         const char *name)
{
    CSL_TRY(check_pool(spec));
    size_t count = csl_shape_count(spec->input) * batch;
    CSL_LAUNCH(gather_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), *spec, csl_shape_count(spec->input),
               csl_shape_count(spec->output), count, dy, index, (float)average_factor(spec), dx);
    return csl_cuda_launched(name);
}

csl_status csl_cuda_max_pool_backward(csl_device *device,
                                      const csl_pool_spec *spec,
                                      const float *dy,
                                      const uint32_t *index,
                                      uint32_t batch,
                                      float *dx)
{
    return gather(device, spec, dy, index, batch, dx, "max_pool_backward");
}

csl_status csl_cuda_average_pool_forward(
    csl_device *device, const csl_pool_spec *spec, const float *x, uint32_t batch, float *y)
{
    CSL_TRY(check_pool(spec));
    size_t count = csl_shape_count(spec->output) * batch;
    CSL_LAUNCH(average_kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), *spec, csl_shape_count(spec->input), count,
               average_factor(spec), x, y);
    return csl_cuda_launched("average_pool_forward");
}

csl_status csl_cuda_average_pool_backward(
    csl_device *device, const csl_pool_spec *spec, const float *dy, uint32_t batch, float *dx)
{
    return gather(device, spec, dy, NULL, batch, dx, "average_pool_backward");
}
