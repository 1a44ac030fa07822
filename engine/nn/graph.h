/*
 * A checked network with its shapes, its tensors, and ReLUs folded into the operation before them.
 *
 * Value 0 is the image; value n + 1 is what node n gives.
 */
#ifndef CSL_NN_GRAPH_H
#define CSL_NN_GRAPH_H

#include <consilium/model.h>

#define CSL_NO_TENSOR SIZE_MAX

typedef struct csl_node {
    const csl_layer *layer; /* in the graph's spec */
    csl_layer_kind kind;
    bool relu;      /* max(0, .) is applied to the result by the same operation */
    uint32_t input; /* value */
    uint32_t other; /* ADD: second value */
    csl_shape in;
    csl_shape out;
    csl_window window; /* of global pools too */
    /* Offsets in the flat vector, CSL_NO_TENSOR where there is none. */
    size_t weight; /* or norm scale */
    size_t bias;   /* or norm shift */
    size_t running_mean;
    size_t running_variance;
} csl_node;

typedef struct csl_graph {
    csl_model_spec *spec; /* own copy */
    csl_node *nodes;
    uint32_t node_count;
    csl_tensor *tensors;
    uint32_t tensor_count;
    size_t parameter_count;
} csl_graph;

/* Checks a spec and builds its graph. Errors: E_RANGE, E_SHAPE, E_NO_MEMORY; the message names the
 * layer. */
csl_status csl_graph_create(const csl_model_spec *spec, csl_graph **graph_out);
void csl_graph_destroy(csl_graph *graph);

/* Checks each layer alone and infers its output: shapes_out [layer_count]. */
csl_status csl_infer_shapes(const csl_model_spec *spec, csl_shape *shapes_out);
/* Fills tensors, their offsets in the nodes, and parameter_count. */
csl_status csl_graph_list_tensors(csl_graph *graph);
/* The window of a pool; a global pool's covers the whole of `in`. */
csl_window csl_layer_window(const csl_layer *layer, csl_shape in);

static inline csl_shape csl_value_shape(const csl_graph *graph, uint32_t value)
{
    return value == 0 ? graph->spec->input : graph->nodes[value - 1].out;
}

#endif
