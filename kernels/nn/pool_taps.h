/* Which input voxels a pooling window covers. */
#ifndef CSL_POOL_TAPS_H
#define CSL_POOL_TAPS_H

#include "device/kernel_table.h"

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
    if (start >= 0 && start + ((int64_t)window->size[axis] - 1) * dilation < (int64_t)extent) {
        return (tap_range){window->size[axis], (size_t)start, (size_t)dilation};
    }
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

#endif
