#include "nn/spec_builder.h"

#include <stdio.h>
#include <stdlib.h>

/* A layer with harmless settings, or a spare one nobody reads once memory has run out. */
static csl_layer *
add_layer(csl_spec_builder *builder, const char *name, csl_layer_kind kind, int32_t input)
{
    static _Thread_local csl_layer spare;
    csl_model_spec *spec = builder->spec;
    if (!spec) {
        return &spare;
    }
    if (spec->layer_count == builder->capacity) {
        uint32_t capacity = builder->capacity ? 2 * builder->capacity : 32;
        csl_layer *layers = realloc(spec->layers, capacity * sizeof *layers);
        if (!layers) {
            csl_model_spec_destroy(spec);
            builder->spec = NULL;
            return &spare;
        }
        spec->layers = layers;
        builder->capacity = capacity;
    }
    csl_layer *layer = &spec->layers[spec->layer_count++];
    *layer = (csl_layer){.kind = kind, .input = input, .from = -2, .groups = 1};
    for (int axis = 0; axis < 3; axis++) {
        layer->window.size[axis] = 1;
        layer->window.stride[axis] = 1;
        layer->window.dilation[axis] = 1;
    }
    int length = snprintf(layer->name, sizeof layer->name, "%s%s", builder->prefix, name);
    (void)length; /* names of the zoo are short */
    return layer;
}

static int32_t last_index(const csl_spec_builder *builder)
{
    return builder->spec ? (int32_t)builder->spec->layer_count - 1 : 0;
}

static void set_window(const csl_spec_builder *builder,
                       csl_layer *layer,
                       uint32_t size,
                       uint32_t stride,
                       uint32_t padding)
{
    for (int axis = builder->is_3d ? 0 : 1; axis < 3; axis++) {
        layer->window.size[axis] = size;
        layer->window.stride[axis] = stride;
        layer->window.padding[axis] = padding;
    }
}

int32_t csl_build_conv(csl_spec_builder *builder,
                       const char *name,
                       int32_t input,
                       uint32_t channels,
                       uint32_t size,
                       uint32_t stride,
                       uint32_t padding,
                       bool bias)
{
    csl_layer *layer = add_layer(builder, name, CSL_LAYER_CONV, input);
    layer->channels = channels;
    layer->bias = bias;
    set_window(builder, layer, size, stride, padding);
    return last_index(builder);
}

int32_t
csl_build_linear(csl_spec_builder *builder, const char *name, int32_t input, uint32_t outputs)
{
    csl_layer *layer = add_layer(builder, name, CSL_LAYER_LINEAR, input);
    layer->channels = outputs;
    layer->bias = true;
    return last_index(builder);
}

int32_t
csl_build_norm(csl_spec_builder *builder, const char *name, int32_t input, uint32_t channels)
{
    if (builder->norm == CSL_NORM_NONE) {
        return input;
    }
    csl_layer *layer = add_layer(
        builder, name,
        builder->norm == CSL_NORM_BATCH ? CSL_LAYER_BATCH_NORM : CSL_LAYER_GROUP_NORM, input);
    uint32_t groups = builder->group_count;
    while (channels % groups) {
        groups /= 2;
    }
    layer->groups = groups;
    return last_index(builder);
}

int32_t csl_build_pool(csl_spec_builder *builder,
                       const char *name,
                       csl_layer_kind kind,
                       int32_t input,
                       uint32_t size,
                       uint32_t stride,
                       uint32_t padding)
{
    csl_layer *layer = add_layer(builder, name, kind, input);
    set_window(builder, layer, size, stride, padding);
    return last_index(builder);
}

int32_t csl_build_dropout(csl_spec_builder *builder, const char *name, int32_t input, float rate)
{
    add_layer(builder, name, CSL_LAYER_DROPOUT, input)->rate = rate;
    return last_index(builder);
}

int32_t csl_build_add(csl_spec_builder *builder, const char *name, int32_t input, int32_t from)
{
    add_layer(builder, name, CSL_LAYER_ADD, input)->from = from;
    return last_index(builder);
}

int32_t
csl_build_simple(csl_spec_builder *builder, const char *name, csl_layer_kind kind, int32_t input)
{
    add_layer(builder, name, kind, input);
    return last_index(builder);
}
