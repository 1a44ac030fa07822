#include "nn/graph.h"

#include <stdlib.h>
#include <string.h>

/* What the passes over a spec share while the graph is built. */
typedef struct build {
    csl_shape *shapes;        /* [layer_count] */
    uint32_t *consumer_count; /* [layer_count] */
    uint32_t *value;          /* [layer_count] the value a layer's output is */
} build;

static bool can_fuse_relu(csl_layer_kind kind)
{
    return kind == CSL_LAYER_CONV || kind == CSL_LAYER_LINEAR || kind == CSL_LAYER_BATCH_NORM ||
           kind == CSL_LAYER_GROUP_NORM || kind == CSL_LAYER_ADD;
}

static csl_status check_uses(const csl_model_spec *spec, const build *state)
{
    for (uint32_t i = 0; i < spec->layer_count; i++) {
        const csl_layer *layer = &spec->layers[i];
        if (layer->input >= 0) {
            state->consumer_count[layer->input]++;
        }
        if (layer->kind == CSL_LAYER_ADD && layer->from >= 0) {
            state->consumer_count[layer->from]++;
        }
    }
    uint32_t last = spec->layer_count - 1;
    for (uint32_t i = 0; i < last; i++) {
        if (state->consumer_count[i] == 0) {
            return csl_fail(CSL_E_SHAPE, "model %s: nothing reads layer '%s'", spec->name,
                            spec->layers[i].name);
        }
    }
    if (csl_shape_count(state->shapes[last]) != spec->class_count) {
        return csl_fail(CSL_E_SHAPE,
                        "model %s: the last layer '%s' gives %zu outputs, expected %u (one per "
                        "class)",
                        spec->name, spec->layers[last].name, csl_shape_count(state->shapes[last]),
                        spec->class_count);
    }
    return CSL_OK;
}

static uint32_t value_of(const build *state, int32_t layer)
{
    return layer < 0 ? 0 : state->value[layer];
}

static void list_nodes(csl_graph *graph, build *state)
{
    const csl_model_spec *spec = graph->spec;
    for (uint32_t i = 0; i < spec->layer_count; i++) {
        const csl_layer *layer = &spec->layers[i];
        uint32_t input = value_of(state, layer->input);
        if (layer->kind == CSL_LAYER_RELU && input > 0 &&
            state->consumer_count[layer->input] == 1 && !graph->nodes[input - 1].relu &&
            can_fuse_relu(graph->nodes[input - 1].kind)) {
            graph->nodes[input - 1].relu = true;
            state->value[i] = input;
            continue;
        }
        csl_node *node = &graph->nodes[graph->node_count++];
        node->layer = layer;
        node->kind = layer->kind;
        node->input = input;
        node->other = layer->kind == CSL_LAYER_ADD ? value_of(state, layer->from) : 0;
        node->in = layer->input < 0 ? spec->input : state->shapes[layer->input];
        node->out = state->shapes[i];
        node->window = csl_layer_window(layer, node->in);
        node->weight = node->bias = CSL_NO_TENSOR;
        node->running_mean = node->running_variance = CSL_NO_TENSOR;
        state->value[i] = graph->node_count;
    }
}

static csl_status copy_spec(const csl_model_spec *spec, csl_model_spec **copy_out)
{
    csl_model_spec *copy = malloc(sizeof *copy);
    csl_layer *layers = malloc(spec->layer_count * sizeof *layers);
    if (!copy || !layers) {
        free(copy);
        free(layers);
        return csl_fail(CSL_E_NO_MEMORY, "model %s: no memory for its layers", spec->name);
    }
    *copy = *spec;
    memcpy(layers, spec->layers, spec->layer_count * sizeof *layers);
    copy->layers = layers;
    *copy_out = copy;
    return CSL_OK;
}

static csl_status build_graph(csl_graph *graph, build *state)
{
    uint32_t count = graph->spec->layer_count;
    state->shapes = calloc(count, sizeof *state->shapes);
    state->consumer_count = calloc(count, sizeof *state->consumer_count);
    state->value = calloc(count, sizeof *state->value);
    graph->nodes = calloc(count, sizeof *graph->nodes);
    if (!state->shapes || !state->consumer_count || !state->value || !graph->nodes) {
        return csl_fail(CSL_E_NO_MEMORY, "model %s: no memory for its graph", graph->spec->name);
    }
    CSL_TRY(csl_infer_shapes(graph->spec, state->shapes));
    CSL_TRY(check_uses(graph->spec, state));
    list_nodes(graph, state);
    return csl_graph_list_tensors(graph);
}

csl_status csl_graph_create(const csl_model_spec *spec, csl_graph **graph_out)
{
    if (spec->layer_count == 0 || spec->layer_count > CSL_LAYERS_MAX || !spec->layers) {
        return csl_fail(CSL_E_RANGE, "model %.*s has %u layers, expected 1..%d", CSL_NAME_MAX - 1,
                        spec->name, spec->layer_count, CSL_LAYERS_MAX);
    }
    csl_graph *graph = calloc(1, sizeof *graph);
    if (!graph) {
        return csl_fail(CSL_E_NO_MEMORY, "model: no memory for its graph");
    }
    build state = {0};
    csl_status status = copy_spec(spec, &graph->spec);
    if (status == CSL_OK) {
        status = build_graph(graph, &state);
    }
    free(state.shapes);
    free(state.consumer_count);
    free(state.value);
    if (status != CSL_OK) {
        csl_graph_destroy(graph);
        return status;
    }
    *graph_out = graph;
    return CSL_OK;
}

void csl_graph_destroy(csl_graph *graph)
{
    if (!graph) {
        return;
    }
    csl_model_spec_destroy(graph->spec);
    free(graph->nodes);
    free(graph->tensors);
    free(graph);
}

csl_status csl_model_spec_check(const csl_model_spec *spec)
{
    csl_graph *graph = NULL;
    CSL_TRY(csl_graph_create(spec, &graph));
    csl_graph_destroy(graph);
    return CSL_OK;
}

void csl_model_spec_destroy(csl_model_spec *spec)
{
    if (spec) {
        free(spec->layers);
        free(spec);
    }
}
