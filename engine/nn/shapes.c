/* Checks the layers of a network one by one and infers their shapes. */
#include "nn/graph.h"

#include <string.h>

static csl_status check_name(const csl_model_spec *spec, uint32_t index)
{
    const char *name = spec->layers[index].name;
    size_t length = strnlen(name, CSL_NAME_MAX);
    if (length == 0 || length == CSL_NAME_MAX) {
        return csl_fail(CSL_E_RANGE, "model %s: name of layer %u has %zu bytes, expected 1..%d",
                        spec->name, index, length, CSL_NAME_MAX - 1);
    }
    size_t plain =
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    if (plain != length) {
        return csl_fail(
            CSL_E_RANGE,
            "model %s: name of layer %u may hold letters, digits and ._- only, byte %zu "
            "is 0x%02x",
            spec->name, index, plain, (unsigned char)name[plain]);
    }
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(spec->layers[i].name, name) == 0) {
            return csl_fail(CSL_E_RANGE, "model %s: layers %u and %u are both named '%s'",
                            spec->name, i, index, name);
        }
    }
    return CSL_OK;
}

static csl_status check_references(const csl_model_spec *spec, uint32_t index)
{
    const csl_layer *layer = &spec->layers[index];
    if (layer->input < -1 || layer->input >= (int32_t)index) {
        return csl_fail(CSL_E_RANGE,
                        "model %s: layer '%s' reads layer %d, expected -1 (image) to %d (earlier)",
                        spec->name, layer->name, layer->input, (int)index - 1);
    }
    if (layer->kind != CSL_LAYER_ADD) {
        return CSL_OK;
    }
    if (layer->from < -1 || layer->from >= (int32_t)index) {
        return csl_fail(CSL_E_RANGE,
                        "model %s: layer '%s' adds layer %d, expected -1 (image) to %d (earlier)",
                        spec->name, layer->name, layer->from, (int)index - 1);
    }
    if (layer->from == layer->input) {
        return csl_fail(CSL_E_RANGE, "model %s: layer '%s' adds layer %d to itself", spec->name,
                        layer->name, layer->from);
    }
    return CSL_OK;
}

csl_window csl_layer_window(const csl_layer *layer, csl_shape in)
{
    csl_window window = layer->window;
    if (layer->kind == CSL_LAYER_GLOBAL_MAX_POOL || layer->kind == CSL_LAYER_GLOBAL_AVERAGE_POOL) {
        for (int axis = 0; axis < 3; axis++) {
            window.size[axis] = in.extent[axis];
            window.stride[axis] = 1;
            window.padding[axis] = 0;
            window.dilation[axis] = 1;
        }
    }
    return window;
}

/* Extents after the window, which must be sound and fit. */
static csl_status
slide(const csl_model_spec *spec, const csl_layer *layer, csl_shape in, csl_shape *out)
{
    csl_window window = csl_layer_window(layer, in);
    for (int axis = 0; axis < 3; axis++) {
        uint32_t size = window.size[axis];
        uint32_t stride = window.stride[axis];
        uint32_t dilation = window.dilation[axis];
        uint32_t padding = window.padding[axis];
        if (size == 0 || stride == 0 || dilation == 0 || size > CSL_EXTENT_MAX ||
            stride > CSL_EXTENT_MAX || dilation > CSL_EXTENT_MAX) {
            return csl_fail(CSL_E_RANGE,
                            "model %s: layer '%s', axis %d: size %u, stride %u, dilation %u must "
                            "each be in 1..%d",
                            spec->name, layer->name, axis, size, stride, dilation, CSL_EXTENT_MAX);
        }
        /* A larger padding makes windows that see nothing of the image. */
        uint64_t padding_max =
            layer->kind == CSL_LAYER_CONV ? (uint64_t)dilation * (size - 1) : (uint64_t)size / 2;
        if (padding > padding_max) {
            return csl_fail(
                CSL_E_RANGE,
                "model %s: layer '%s', axis %d: padding %u exceeds %llu for a window of "
                "%u",
                spec->name, layer->name, axis, padding, (unsigned long long)padding_max, size);
        }
        out->extent[axis] = csl_window_output(in.extent[axis], &window, axis);
        if (out->extent[axis] == 0) {
            return csl_fail(
                CSL_E_SHAPE,
                "model %s: layer '%s': a window of %u (dilation %u) does not fit extent "
                "%u with padding %u along axis %d",
                spec->name, layer->name, size, dilation, in.extent[axis], padding, axis);
        }
    }
    return CSL_OK;
}

static csl_status check_channels(const csl_model_spec *spec, const csl_layer *layer)
{
    if (layer->channels == 0 || layer->channels > CSL_CHANNELS_MAX) {
        return csl_fail(CSL_E_RANGE, "model %s: layer '%s' has %u outputs, expected 1..%d",
                        spec->name, layer->name, layer->channels, CSL_CHANNELS_MAX);
    }
    return CSL_OK;
}

static csl_status
infer_conv(const csl_model_spec *spec, const csl_layer *layer, csl_shape in, csl_shape *out)
{
    CSL_TRY(check_channels(spec, layer));
    if (layer->groups == 0 || in.channels % layer->groups || layer->channels % layer->groups) {
        return csl_fail(CSL_E_SHAPE,
                        "model %s: layer '%s': %u groups do not divide %u inputs and %u outputs",
                        spec->name, layer->name, layer->groups, in.channels, layer->channels);
    }
    CSL_TRY(slide(spec, layer, in, out));
    out->channels = layer->channels;
    return CSL_OK;
}

static csl_status infer_layer(const csl_model_spec *spec,
                              const csl_layer *layer,
                              csl_shape in,
                              csl_shape other,
                              csl_shape *out)
{
    *out = in;
    switch (layer->kind) {
    case CSL_LAYER_CONV:
        return infer_conv(spec, layer, in, out);
    case CSL_LAYER_LINEAR:
        *out = (csl_shape){{1, 1, 1}, layer->channels};
        return check_channels(spec, layer);
    case CSL_LAYER_GROUP_NORM:
        if (layer->groups == 0 || in.channels % layer->groups) {
            return csl_fail(CSL_E_SHAPE,
                            "model %s: layer '%s': %u groups do not divide %u channels", spec->name,
                            layer->name, layer->groups, in.channels);
        }
        return CSL_OK;
    case CSL_LAYER_MAX_POOL:
    case CSL_LAYER_AVERAGE_POOL:
    case CSL_LAYER_GLOBAL_MAX_POOL:
    case CSL_LAYER_GLOBAL_AVERAGE_POOL:
        return slide(spec, layer, in, out);
    case CSL_LAYER_DROPOUT:
        if (!(layer->rate >= 0.0f && layer->rate < 1.0f)) {
            return csl_fail(CSL_E_RANGE, "model %s: layer '%s': rate %g is outside [0, 1)",
                            spec->name, layer->name, (double)layer->rate);
        }
        return CSL_OK;
    case CSL_LAYER_ADD:
        if (memcmp(&in, &other, sizeof in) != 0) {
            return csl_fail(CSL_E_SHAPE,
                            "model %s: layer '%s' adds %ux%ux%u with %u channels and %ux%ux%u with "
                            "%u",
                            spec->name, layer->name, in.extent[0], in.extent[1], in.extent[2],
                            in.channels, other.extent[0], other.extent[1], other.extent[2],
                            other.channels);
        }
        return CSL_OK;
    case CSL_LAYER_BATCH_NORM:
    case CSL_LAYER_RELU:
        return CSL_OK;
    }
    return csl_fail(CSL_E_RANGE, "model %s: layer '%s' is of unknown kind %d", spec->name,
                    layer->name, (int)layer->kind);
}

static csl_status check_header(const csl_model_spec *spec)
{
    if (strnlen(spec->name, CSL_NAME_MAX) == CSL_NAME_MAX) {
        return csl_fail(CSL_E_RANGE, "model: its name has more than %d bytes", CSL_NAME_MAX - 1);
    }
    if (spec->layer_count == 0 || spec->layer_count > CSL_LAYERS_MAX) {
        return csl_fail(CSL_E_RANGE, "model %s has %u layers, expected 1..%d", spec->name,
                        spec->layer_count, CSL_LAYERS_MAX);
    }
    if (spec->task < CSL_TASK_BINARY || spec->task > CSL_TASK_REGRESSION) {
        return csl_fail(CSL_E_RANGE, "model %s: unknown task %d", spec->name, (int)spec->task);
    }
    uint32_t class_min = spec->task <= CSL_TASK_MULTICLASS ? 2 : 1;
    uint32_t class_max = spec->task == CSL_TASK_BINARY ? 2 : CSL_CLASSES_MAX;
    if (spec->class_count < class_min || spec->class_count > class_max) {
        return csl_fail(CSL_E_RANGE, "model %s has %u classes, expected %u..%u for its task",
                        spec->name, spec->class_count, class_min, class_max);
    }
    for (int axis = 0; axis < 3; axis++) {
        if (spec->input.extent[axis] == 0 || spec->input.extent[axis] > CSL_EXTENT_MAX) {
            return csl_fail(CSL_E_RANGE, "model %s: image extent %u along axis %d is outside 1..%d",
                            spec->name, spec->input.extent[axis], axis, CSL_EXTENT_MAX);
        }
    }
    if (spec->input.channels == 0 || spec->input.channels > CSL_IMAGE_CHANNELS_MAX) {
        return csl_fail(CSL_E_RANGE, "model %s: images have %u channels, expected 1..%d",
                        spec->name, spec->input.channels, CSL_IMAGE_CHANNELS_MAX);
    }
    return CSL_OK;
}

/* csl_shape_count without overflow: each factor is at most 2^16. */
static bool is_too_large(csl_shape shape)
{
    uint64_t plane = (uint64_t)shape.extent[1] * shape.extent[2];
    return plane > CSL_FEATURES_MAX || plane * shape.extent[0] > CSL_FEATURES_MAX ||
           plane * shape.extent[0] * shape.channels > CSL_FEATURES_MAX;
}

csl_status csl_infer_shapes(const csl_model_spec *spec, csl_shape *shapes_out)
{
    CSL_TRY(check_header(spec));
    if (is_too_large(spec->input)) {
        return csl_fail(CSL_E_RANGE, "model %s: an image has more than %d elements", spec->name,
                        CSL_FEATURES_MAX);
    }
    for (uint32_t i = 0; i < spec->layer_count; i++) {
        const csl_layer *layer = &spec->layers[i];
        CSL_TRY(check_name(spec, i));
        CSL_TRY(check_references(spec, i));
        csl_shape in = layer->input < 0 ? spec->input : shapes_out[layer->input];
        csl_shape other = in;
        if (layer->kind == CSL_LAYER_ADD && layer->from >= 0) {
            other = shapes_out[layer->from];
        } else if (layer->kind == CSL_LAYER_ADD) {
            other = spec->input;
        }
        CSL_TRY(infer_layer(spec, layer, in, other, &shapes_out[i]));
        if (is_too_large(shapes_out[i])) {
            return csl_fail(CSL_E_RANGE,
                            "model %s: layer '%s' gives more than %d elements an image", spec->name,
                            layer->name, CSL_FEATURES_MAX);
        }
    }
    return CSL_OK;
}
