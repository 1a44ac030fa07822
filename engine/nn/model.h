/* A network on a device. */
#ifndef CSL_NN_MODEL_H
#define CSL_NN_MODEL_H

#include "nn/plan.h"

/* PyTorch's defaults, which published results use. */
#define CSL_NORM_EPSILON        1e-5f
#define CSL_BATCH_NORM_MOMENTUM 0.1f

struct csl_model {
    csl_device *device; /* lent */
    const csl_kernels *kernels;
    csl_graph *graph;
    csl_plan *plan;
    csl_conv **convs; /* [node_count], NULL where the node is none */
    uint32_t *blocks; /* [node_count] channels of a block of the node's maps, 0: channels-last */
    char *arena;      /* device: parameters, gradient, then the plan's buffers */
    float *parameters;
    float *gradient; /* NULL without training */
    char *buffers;
    bool weights_changed; /* the convolutions have not seen the parameters yet */
    /* The last training pass, for backward. */
    uint32_t batch; /* 0: none */
    csl_pass pass;
    uint64_t dropout_seed;
    uint32_t first_image;
};

/* Address of a buffer of the plan. */
static inline float *csl_model_buffer(const csl_model *model, uint32_t buffer)
{
    return (float *)(void *)(model->buffers + model->plan->buffers[buffer].offset);
}

/*
 * Chooses the order of every feature map, once for a network: in blocks of channels from the first
 * convolution to the last map of more than one pixel if all its layers can, channels-last
 * elsewhere; no map is ever reordered. blocks_out [node_count]. Errors: E_NO_MEMORY.
 */
csl_status csl_layout_choose(csl_device *device,
                             const csl_graph *graph,
                             uint32_t batch_max,
                             uint32_t *blocks_out);
static inline uint32_t csl_node_block(const csl_model *model, const csl_node *node)
{
    return model->blocks[node - model->graph->nodes];
}

/* A pool's operation and the images it runs on: a block of channels is an image of its own. */
csl_pool_spec csl_node_pool_spec(const csl_model *model, const csl_node *node, uint32_t *batch_out);
/* What a convolution's node asks of its device, channels-last. */
csl_conv_spec csl_node_conv_spec(const csl_node *node, uint32_t batch_max);

/* Stream position of a dropout node's mask; the same in forward and backward. */
uint64_t csl_dropout_offset(const csl_model *model, uint32_t node);

#endif
