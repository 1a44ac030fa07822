/*
 * From stored images to the network's input: normalisation, channels last, and the geometric and
 * intensity change that the caller drew. The intensity change and the normalisation are one affine
 * map, which commutes with interpolation because its weights add to 1.
 */
#include "device/kernel_table.h"
#include "nn_host.h"

#include <math.h>
#include <string.h>

/* out[i * stride] = raw[i] * slope + offset */
#define CSL_DEFINE_CONVERT(suffix, type)                                                           \
    CSL_CLONES static void convert_##suffix(const type *raw, size_t count, float slope,            \
                                            float offset, size_t stride, float *out)               \
    {                                                                                              \
        if (stride == 1) {                                                                         \
            for (size_t i = 0; i < count; i++) {                                                   \
                out[i] = (float)raw[i] * slope + offset;                                           \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
        for (size_t i = 0; i < count; i++) {                                                       \
            out[i * stride] = (float)raw[i] * slope + offset;                                      \
        }                                                                                          \
    }
CSL_DEFINE_CONVERT(u8, uint8_t)
CSL_DEFINE_CONVERT(i16, int16_t)
CSL_DEFINE_CONVERT(u16, uint16_t)
CSL_DEFINE_CONVERT(f32, float)

static void convert(csl_element_type type,
                    const void *raw,
                    size_t count,
                    float slope,
                    float offset,
                    size_t stride,
                    float *out)
{
    switch (type) {
    case CSL_U8:
        convert_u8(raw, count, slope, offset, stride, out);
        break;
    case CSL_I16:
        convert_i16(raw, count, slope, offset, stride, out);
        break;
    case CSL_U16:
        convert_u16(raw, count, slope, offset, stride, out);
        break;
    case CSL_F32:
        convert_f32(raw, count, slope, offset, stride, out);
        break;
    }
}

static bool moves_voxels(const csl_augment *augment)
{
    static const float identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    for (int i = 0; i < 9; i++) {
        if (augment->matrix[i] != identity[i]) {
            return true;
        }
    }
    return augment->shift[0] != 0.0F || augment->shift[1] != 0.0F || augment->shift[2] != 0.0F;
}

/* Two neighbours along one axis and the weight of the second. */
typedef struct axis_sample {
    size_t low, high;
    float weight;
} axis_sample;

static inline axis_sample sample_axis(double position, uint32_t extent)
{
    double last = (double)extent - 1.0;
    double inside = position > 0.0 ? (position < last ? position : last) : 0.0;
    size_t low = (size_t)inside;
    return (axis_sample){low, low + 1 < extent ? low + 1 : low, (float)(inside - (double)low)};
}

static inline float blend(float a, float b, float weight)
{
    return a + (b - a) * weight;
}

/* Bilinear value in one plane [height][width]. */
static inline float sample_plane(const float *plane, size_t width, axis_sample h, axis_sample w)
{
    const float *top = plane + h.low * width;
    const float *bottom = plane + h.high * width;
    return blend(blend(top[w.low], top[w.high], w.weight),
                 blend(bottom[w.low], bottom[w.high], w.weight), h.weight);
}

/* image [depth][height][width] -> out with a stride of channels. */
static void
resample(const csl_shape *shape, const csl_augment *augment, const float *image, float *out)
{
    const uint32_t *extent = shape->extent;
    size_t plane = (size_t)extent[1] * extent[2];
    double centre[3];
    for (int i = 0; i < 3; i++) {
        centre[i] = ((double)extent[i] - 1.0) / 2.0;
    }
    for (uint32_t d = 0; d < extent[0]; d++) {
        for (uint32_t h = 0; h < extent[1]; h++) {
            double start[3];
            for (int i = 0; i < 3; i++) {
                const float *row = augment->matrix + (ptrdiff_t)3 * i;
                start[i] = (double)row[0] * (d - centre[0]) + (double)row[1] * (h - centre[1]) -
                           (double)row[2] * centre[2] + centre[i] + (double)augment->shift[i];
            }
            for (uint32_t w = 0; w < extent[2]; w++, out += shape->channels) {
                axis_sample at_h =
                    sample_axis(start[1] + (double)augment->matrix[5] * w, extent[1]);
                axis_sample at_w =
                    sample_axis(start[2] + (double)augment->matrix[8] * w, extent[2]);
                if (extent[0] == 1) {
                    *out = sample_plane(image, extent[2], at_h, at_w);
                    continue;
                }
                axis_sample at_d =
                    sample_axis(start[0] + (double)augment->matrix[2] * w, extent[0]);
                *out = blend(sample_plane(image + at_d.low * plane, extent[2], at_h, at_w),
                             sample_plane(image + at_d.high * plane, extent[2], at_h, at_w),
                             at_d.weight);
            }
        }
    }
}

csl_status csl_host_input_prepare(csl_device *device,
                                  const csl_input_spec *spec,
                                  const void *raw,
                                  const float *mean,
                                  const float *inverse_deviation,
                                  const csl_augment *augment,
                                  uint32_t batch,
                                  float *y)
{
    uint32_t channels = spec->shape.channels;
    size_t image_count = csl_shape_count(spec->shape);
    size_t plane_count = image_count / channels;
    size_t element_size = csl_element_size(spec->type);
    int thread_count = csl_nn_threads(device, image_count * batch);
    size_t stride = (plane_count + CSL_LANES) / CSL_LANES * CSL_LANES;
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(augment ? stride * sizeof(float) * (size_t)thread_count : 0, &memory));
#pragma omp parallel for num_threads(thread_count) schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        float *copy = memory ? (float *)memory + (size_t)omp_get_thread_num() * stride : NULL;
        const csl_augment *change = augment ? &augment[image] : NULL;
        bool moves = change && moves_voxels(change);
        for (uint32_t c = 0; c < channels; c++) {
            double slope = (double)spec->slope * (double)inverse_deviation[c];
            double offset =
                ((double)spec->intercept - (double)mean[c]) * (double)inverse_deviation[c];
            if (change) {
                slope *= (double)change->gain;
                offset = offset * (double)change->gain + (double)change->offset;
            }
            const char *source =
                (const char *)raw + (image * image_count + c * plane_count) * element_size;
            float *target = y + image * image_count + c;
            convert(spec->type, source, plane_count, (float)slope, (float)offset,
                    moves ? 1 : channels, moves ? copy : target);
            if (moves) {
                resample(&spec->shape, change, copy, target);
            }
        }
    }
    return CSL_OK;
}
