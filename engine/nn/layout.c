/* In which order feature maps lie: channels-last, or in the blocks that convolutions like best. */
#include "nn/model.h"

#include <stdlib.h>

csl_conv_spec csl_node_conv_spec(const csl_node *node, uint32_t batch_max)
{
    return (csl_conv_spec){.input = node->in,
                           .output = node->out,
                           .window = node->window,
                           .groups = node->layer->groups,
                           .has_bias = node->layer->bias,
                           .fuse_relu = node->relu,
                           .batch_max = batch_max};
}

csl_pool_spec csl_node_pool_spec(const csl_model *model, const csl_node *node, uint32_t *batch_out)
{
    csl_pool_spec pool = {node->in, node->out, node->window};
    uint32_t block = csl_node_block(model, node);
    *batch_out = model->batch;
    if (block != 0) {
        *batch_out *= node->in.channels / block;
        pool.input.channels = pool.output.channels = block;
    }
    return pool;
}

/* Both orders of a map of one pixel are the same. */
static bool is_pixel(const csl_graph *graph, uint32_t value)
{
    csl_shape shape = csl_value_shape(graph, value);
    return shape.extent[0] == 1 && shape.extent[1] == 1 && shape.extent[2] == 1;
}

/* Values that a node reads and writes, but those whose order does not matter to it. */
static uint32_t list_values(const csl_graph *graph, uint32_t n, uint32_t values[3])
{
    const csl_node *node = &graph->nodes[n];
    bool plain_image = node->kind == CSL_LAYER_CONV && node->input == 0 && node->in.channels == 1;
    uint32_t all[3] = {node->input, n + 1, node->other};
    uint32_t count = 0;
    for (int i = 0; i < (node->kind == CSL_LAYER_ADD ? 3 : 2); i++) {
        if (!is_pixel(graph, all[i]) && !(i == 0 && plain_image)) {
            values[count++] = all[i];
        }
    }
    return count;
}

/* The block that a node could work in: its convolution's own, any where nothing depends on it. */
static csl_status node_block(csl_device *device,
                             const csl_node *node,
                             uint32_t batch_max,
                             uint32_t wanted,
                             uint32_t *block_out)
{
    switch (node->kind) {
    case CSL_LAYER_CONV: {
        csl_conv_spec spec = csl_node_conv_spec(node, batch_max);
        return csl_device_kernels(device)->conv_block(device, &spec, block_out);
    }
    case CSL_LAYER_LINEAR:  /* its weights count inputs channels-last */
    case CSL_LAYER_DROPOUT: /* its mask does */
        *block_out = 0;
        return CSL_OK;
    default:
        *block_out = wanted;
        return CSL_OK;
    }
}

/* One pass over the nodes: what one of a node's values cannot be, none of them is. */
static bool spread_channels_last(const csl_graph *graph, const uint32_t *blocks, bool *blocked)
{
    bool changed = false;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        uint32_t values[3];
        uint32_t count = list_values(graph, n, values);
        bool all = blocks[n] != 0;
        for (uint32_t i = 0; i < count; i++) {
            all = all && blocked[values[i]];
        }
        for (uint32_t i = 0; i < count && !all; i++) {
            changed = changed || blocked[values[i]];
            blocked[values[i]] = false;
        }
    }
    return changed;
}

static csl_status
ask_nodes(csl_device *device, const csl_graph *graph, uint32_t batch_max, uint32_t *blocks_out)
{
    uint32_t wanted = 0;
    for (uint32_t n = 0; n < graph->node_count && wanted == 0; n++) {
        CSL_TRY(node_block(device, &graph->nodes[n], batch_max, 0, &wanted));
    }
    for (uint32_t n = 0; n < graph->node_count; n++) {
        CSL_TRY(node_block(device, &graph->nodes[n], batch_max, wanted, &blocks_out[n]));
    }
    return CSL_OK;
}

csl_status csl_layout_choose(csl_device *device,
                             const csl_graph *graph,
                             uint32_t batch_max,
                             uint32_t *blocks_out)
{
    CSL_TRY(ask_nodes(device, graph, batch_max, blocks_out));
    bool *blocked = calloc(graph->node_count + 1, sizeof *blocked);
    if (!blocked) {
        return csl_fail(CSL_E_NO_MEMORY, "model %s: no memory for its layout", graph->spec->name);
    }
    /* The image comes channels-last; so does what the caller reads. */
    for (uint32_t n = 0; n + 1 < graph->node_count; n++) {
        uint32_t block = blocks_out[n];
        blocked[n + 1] = block != 0 && graph->nodes[n].out.channels % block == 0;
    }
    while (spread_channels_last(graph, blocks_out, blocked)) {
    }
    for (uint32_t n = 0; n < graph->node_count; n++) {
        uint32_t values[3];
        uint32_t count = list_values(graph, n, values);
        if (count == 0 || !blocked[values[0]]) {
            blocks_out[n] = 0;
        }
    }
    free(blocked);
    return CSL_OK;
}
