/* What a convolution takes of a CUDA device: plain C, so that a plan needs no card. */
#include <consilium/kernels.h>

#include <limits.h>

enum { COLUMNS_SIZE = 64 << 20 /* bytes of im2col columns, unless one image needs more */ };

csl_conv_memory csl_cuda_conv_memory(const csl_conv_spec *spec)
{
    const csl_window *window = &spec->window;
    uint64_t taps = (uint64_t)window->size[0] * window->size[1] * window->size[2];
    bool pointwise = taps == 1;
    for (int i = 0; i < 3; i++) {
        pointwise = pointwise && window->stride[i] == 1 && window->padding[i] == 0;
    }
    uint64_t voxels = csl_shape_count(spec->output) / spec->output.channels;
    uint64_t image_size = voxels * taps * spec->input.channels * sizeof(float);
    uint64_t chunk = pointwise ? spec->batch_max : COLUMNS_SIZE / image_size;
    chunk = chunk < spec->batch_max ? chunk : spec->batch_max;
    chunk = chunk < INT_MAX / voxels ? chunk : INT_MAX / voxels; /* cuBLAS counts rows in int */
    chunk = chunk > 0 ? chunk : 1;
    uint64_t weights = spec->output.channels * taps * (spec->input.channels / spec->groups);
    return (csl_conv_memory){.kept_size = 2 * weights * sizeof(float),
                             .columns_size = pointwise ? 0 : chunk * image_size,
                             .image_chunk = (uint32_t)chunk};
}
