/* The flat parameter vector: which tensors it holds, their initial values, and operation counts. */
#include "nn/graph.h"

#include <consilium/random.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Appends a tensor; its extents are set by the caller. */
static csl_status add_tensor(csl_graph *graph,
                             const csl_node *node,
                             const char *suffix,
                             csl_tensor_role role,
                             const uint32_t *extent,
                             uint32_t rank,
                             size_t *offset_out)
{
    csl_tensor *tensor = &graph->tensors[graph->tensor_count];
    uint64_t count = 1;
    for (uint32_t i = 0; i < rank; i++) {
        tensor->extent[i] = extent[i];
        count *= extent[i]; /* at most 2^30 before, 2^16 more: no overflow */
        if (count > CSL_PARAMETERS_MAX) {
            return csl_fail(CSL_E_RANGE, "model %s: layer '%s' has more than %d weights",
                            graph->spec->name, node->layer->name, CSL_PARAMETERS_MAX);
        }
    }
    if (graph->parameter_count + count > CSL_PARAMETERS_MAX) {
        return csl_fail(CSL_E_RANGE, "model %s has more than %d parameters by layer '%s'",
                        graph->spec->name, CSL_PARAMETERS_MAX, node->layer->name);
    }
    snprintf(tensor->name, sizeof tensor->name, "%s.%s", node->layer->name, suffix);
    tensor->role = role;
    tensor->layer_kind = node->kind;
    tensor->rank = rank;
    tensor->offset = graph->parameter_count;
    tensor->count = (size_t)count;
    graph->parameter_count += tensor->count;
    graph->tensor_count++;
    *offset_out = tensor->offset;
    return CSL_OK;
}

static csl_status add_weights(csl_graph *graph, csl_node *node)
{
    const uint32_t *size = node->window.size;
    uint32_t channels = node->out.channels;
    if (node->kind == CSL_LAYER_CONV) {
        uint32_t extent[5] = {channels, node->in.channels / node->layer->groups, size[0], size[1],
                              size[2]};
        CSL_TRY(add_tensor(graph, node, "weight", CSL_ROLE_WEIGHT, extent, 5, &node->weight));
    } else {
        uint32_t extent[2] = {channels, (uint32_t)csl_shape_count(node->in)};
        CSL_TRY(add_tensor(graph, node, "weight", CSL_ROLE_WEIGHT, extent, 2, &node->weight));
    }
    if (node->layer->bias) {
        CSL_TRY(add_tensor(graph, node, "bias", CSL_ROLE_BIAS, &channels, 1, &node->bias));
    }
    return CSL_OK;
}

static csl_status add_norm(csl_graph *graph, csl_node *node)
{
    const uint32_t *channels = &node->out.channels;
    CSL_TRY(add_tensor(graph, node, "scale", CSL_ROLE_NORM_SCALE, channels, 1, &node->weight));
    CSL_TRY(add_tensor(graph, node, "shift", CSL_ROLE_NORM_SHIFT, channels, 1, &node->bias));
    if (node->kind == CSL_LAYER_BATCH_NORM) {
        CSL_TRY(add_tensor(graph, node, "running_mean", CSL_ROLE_RUNNING_MEAN, channels, 1,
                           &node->running_mean));
        CSL_TRY(add_tensor(graph, node, "running_variance", CSL_ROLE_RUNNING_VARIANCE, channels, 1,
                           &node->running_variance));
    }
    return CSL_OK;
}

csl_status csl_graph_list_tensors(csl_graph *graph)
{
    graph->tensors = calloc((size_t)graph->node_count * 4, sizeof *graph->tensors);
    if (!graph->tensors) {
        return csl_fail(CSL_E_NO_MEMORY, "model %s: no memory for its tensors", graph->spec->name);
    }
    for (uint32_t i = 0; i < graph->node_count; i++) {
        csl_node *node = &graph->nodes[i];
        if (node->kind == CSL_LAYER_CONV || node->kind == CSL_LAYER_LINEAR) {
            CSL_TRY(add_weights(graph, node));
        } else if (node->kind == CSL_LAYER_BATCH_NORM || node->kind == CSL_LAYER_GROUP_NORM) {
            CSL_TRY(add_norm(graph, node));
        }
    }
    return CSL_OK;
}

csl_status csl_model_spec_tensors(const csl_model_spec *spec,
                                  csl_tensor **tensors_out,
                                  uint32_t *tensor_count_out,
                                  size_t *parameter_count_out)
{
    csl_graph *graph = NULL;
    CSL_TRY(csl_graph_create(spec, &graph));
    *tensors_out = graph->tensors;
    *tensor_count_out = graph->tensor_count;
    *parameter_count_out = graph->parameter_count;
    graph->tensors = NULL; /* the caller's now */
    csl_graph_destroy(graph);
    return CSL_OK;
}

void csl_model_spec_operations(const csl_model_spec *spec,
                               double *forward_out,
                               double *training_out)
{
    *forward_out = 0.0;
    *training_out = 0.0;
    csl_graph *graph = NULL;
    if (csl_graph_create(spec, &graph) != CSL_OK) {
        return;
    }
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const csl_node *node = &graph->nodes[i];
        if (node->kind != CSL_LAYER_CONV && node->kind != CSL_LAYER_LINEAR) {
            continue;
        }
        /* One multiplication and one addition for each weight at each output position. */
        double products = (double)csl_shape_count(node->out) * (double)csl_shape_count(node->in);
        if (node->kind == CSL_LAYER_CONV) {
            const uint32_t *size = node->window.size;
            uint32_t inputs = node->in.channels / node->layer->groups;
            products = (double)csl_shape_count(node->out) * size[0] * size[1] * size[2] * inputs;
        }
        *forward_out += 2.0 * products;
        /* The first layer needs no gradient of its input. */
        *training_out += 2.0 * products * (node->input == 0 ? 2.0 : 3.0);
    }
    csl_graph_destroy(graph);
}

/* Inputs of one output: the product of all extents but the first. */
static double fan_in(const csl_tensor *tensor)
{
    size_t inputs = tensor->count / tensor->extent[0];
    return (double)inputs;
}

static void draw_weights(const csl_tensor *tensor, bool is_last, csl_random *random, float *values)
{
    if (is_last) {
        double bound = 1.0 / sqrt(fan_in(tensor));
        for (size_t i = 0; i < tensor->count; i++) {
            values[i] = (float)((2.0 * csl_random_uniform(random) - 1.0) * bound);
        }
        return;
    }
    /* He et al. 2015, equation 10: variance 2 / fan_in keeps the scale through ReLUs. */
    double deviation = sqrt(2.0 / fan_in(tensor));
    for (size_t i = 0; i < tensor->count; i++) {
        values[i] = (float)(csl_random_normal(random) * deviation);
    }
}

csl_status csl_model_initialise(const csl_model_spec *spec, uint64_t seed, float *parameters_out)
{
    csl_graph *graph = NULL;
    CSL_TRY(csl_graph_create(spec, &graph));
    size_t last_weight = graph->nodes[graph->node_count - 1].weight;
    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        const csl_tensor *tensor = &graph->tensors[i];
        float *values = parameters_out + tensor->offset;
        if (tensor->role == CSL_ROLE_WEIGHT) {
            csl_random random = csl_random_stream(seed, CSL_RANDOM_WEIGHTS, 0, i);
            draw_weights(tensor, tensor->offset == last_weight, &random, values);
            continue;
        }
        bool is_one =
            tensor->role == CSL_ROLE_NORM_SCALE || tensor->role == CSL_ROLE_RUNNING_VARIANCE;
        for (size_t k = 0; k < tensor->count; k++) {
            values[k] = is_one ? 1.0f : 0.0f;
        }
    }
    csl_graph_destroy(graph);
    return CSL_OK;
}
