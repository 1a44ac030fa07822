/* From stored images to the network's input: one thread per voxel and channel of the output. */
#include "device/cuda_device.h"

/* Two neighbours along one axis and the weight of the second. */
typedef struct axis_sample {
    size_t low, high;
    float weight;
} axis_sample;

typedef struct input_arguments {
    csl_input_spec spec;
    const void *raw;
    const float *mean;
    const float *inverse_deviation;
    const csl_augment *augment;
    size_t count;
    float *y;
} input_arguments;

static __device__ float raw_value(const void *raw, csl_element_type type, size_t at)
{
    switch (type) {
    case CSL_U8:
        return (float)static_cast<const uint8_t *>(raw)[at];
    case CSL_I16:
        return (float)static_cast<const int16_t *>(raw)[at];
    case CSL_U16:
        return (float)static_cast<const uint16_t *>(raw)[at];
    default:
        return static_cast<const float *>(raw)[at];
    }
}

/* The affine map of one image and channel: normalisation, then gain and offset. */
typedef struct affine {
    float slope, offset;
} affine;

static __device__ affine affine_of(const input_arguments &a,
                                   uint32_t channel,
                                   const csl_augment *change)
{
    double inverse = (double)a.inverse_deviation[channel];
    double slope = (double)a.spec.slope * inverse;
    double offset = ((double)a.spec.intercept - (double)a.mean[channel]) * inverse;
    if (change) {
        slope *= (double)change->gain;
        offset = offset * (double)change->gain + (double)change->offset;
    }
    affine map;
    map.slope = (float)slope;
    map.offset = (float)offset;
    return map;
}

/* Where output voxel `at` reads along one axis; voxels beyond the edge repeat it. */
static __device__ axis_sample sample_axis(const csl_augment &change,
                                          const uint32_t extent[3],
                                          const uint32_t at[3],
                                          int axis)
{
    double position = (double)change.shift[axis] + ((double)extent[axis] - 1.0) / 2.0;
    for (int i = 0; i < 3; i++) {
        position +=
            (double)change.matrix[3 * axis + i] * ((double)at[i] - ((double)extent[i] - 1.0) / 2.0);
    }
    double last = (double)extent[axis] - 1.0;
    double inside = position > 0.0 ? (position < last ? position : last) : 0.0;
    axis_sample sample;
    sample.low = (size_t)inside;
    sample.high = sample.low + 1 < extent[axis] ? sample.low + 1 : sample.low;
    sample.weight = (float)(inside - (double)sample.low);
    return sample;
}

static __device__ __forceinline__ float blend(float a, float b, float weight)
{
    return a + (b - a) * weight;
}

static __device__ float
sample_plane(const input_arguments &a, affine map, size_t plane, axis_sample h, axis_sample w)
{
    size_t width = a.spec.shape.extent[2];
    float corner[4];
    for (int i = 0; i < 4; i++) {
        size_t at = plane + (i < 2 ? h.low : h.high) * width + (i % 2 ? w.high : w.low);
        corner[i] = raw_value(a.raw, a.spec.type, at) * map.slope + map.offset;
    }
    return blend(blend(corner[0], corner[1], w.weight), blend(corner[2], corner[3], w.weight),
                 h.weight);
}

static __global__ void input_kernel(input_arguments a)
{
    const uint32_t *extent = a.spec.shape.extent;
    uint32_t channels = a.spec.shape.channels;
    size_t plane = (size_t)extent[1] * extent[2];
    for (size_t i = csl_cuda_first(); i < a.count; i += csl_cuda_step()) {
        uint32_t channel = (uint32_t)(i % channels);
        size_t voxel = i / channels;
        uint32_t at[3];
        size_t rest = voxel;
        for (int axis = 2; axis >= 0; axis--) {
            at[axis] = (uint32_t)(rest % extent[axis]);
            rest /= extent[axis];
        }
        size_t image = rest;
        size_t volume = (image * channels + channel) * extent[0] * plane;
        const csl_augment *change = a.augment ? &a.augment[image] : NULL;
        affine map = affine_of(a, channel, change);
        if (!change) {
            size_t inside = at[0] * plane + (size_t)at[1] * extent[2] + at[2];
            a.y[i] = raw_value(a.raw, a.spec.type, volume + inside) * map.slope + map.offset;
            continue;
        }
        axis_sample d = sample_axis(*change, extent, at, 0);
        axis_sample h = sample_axis(*change, extent, at, 1);
        axis_sample w = sample_axis(*change, extent, at, 2);
        a.y[i] = blend(sample_plane(a, map, volume + d.low * plane, h, w),
                       sample_plane(a, map, volume + d.high * plane, h, w), d.weight);
    }
}

csl_status csl_cuda_input_prepare(csl_device *device,
                                  const csl_input_spec *spec,
                                  const void *raw,
                                  const float *mean,
                                  const float *inverse_deviation,
                                  const csl_augment *augment,
                                  uint32_t batch,
                                  float *y)
{
    input_arguments arguments = {};
    arguments.spec = *spec;
    arguments.raw = raw;
    arguments.mean = mean;
    arguments.inverse_deviation = inverse_deviation;
    arguments.augment = augment;
    arguments.count = csl_shape_count(spec->shape) * batch;
    arguments.y = y;
    CSL_LAUNCH(input_kernel, csl_cuda_blocks(device, arguments.count), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), arguments);
    return csl_cuda_launched("input_prepare");
}
