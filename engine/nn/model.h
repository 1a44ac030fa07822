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

/* Stream position of a dropout node's mask; the same in forward and backward. */
uint64_t csl_dropout_offset(const csl_model *model, uint32_t node);

#endif
