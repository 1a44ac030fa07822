#include "nn/model.h"

/* What the backward of one node works on. */
typedef struct node_state {
    const csl_node *node;
    const csl_node_plan *plan;
    const float *x;
    const float *y;
    const float *dy; /* masked by the ReLU, except for norms, which mask by themselves */
    float *dx;       /* NULL if nobody needs it */
    float *dweight;
    float *dbias;
} node_state;

static float *gradient_at(const csl_model *model, size_t offset)
{
    return offset == CSL_NO_TENSOR ? NULL : model->gradient + offset;
}

static csl_status back_conv(csl_model *model, uint32_t n, const node_state *s)
{
    CSL_TRY(model->kernels->conv_backward_weights(model->device, model->convs[n], s->x, s->dy,
                                                  model->batch, s->dweight, s->dbias));
    if (!s->dx) {
        return CSL_OK;
    }
    return model->kernels->conv_backward_data(model->device, model->convs[n], s->dy, model->batch,
                                              s->dx);
}

static csl_status back_linear(csl_model *model, const node_state *s)
{
    uint32_t in_count = (uint32_t)csl_shape_count(s->node->in);
    uint32_t out_count = s->node->out.channels;
    CSL_TRY(model->kernels->linear_backward_weights(model->device, s->x, s->dy, model->batch,
                                                    in_count, out_count, s->dweight, s->dbias));
    if (!s->dx) {
        return CSL_OK;
    }
    return model->kernels->linear_backward_data(model->device, s->dy,
                                                model->parameters + s->node->weight, model->batch,
                                                in_count, out_count, s->dx);
}

static csl_status back_norm(csl_model *model, const node_state *s)
{
    const csl_node *node = s->node;
    bool is_batch = node->kind == CSL_LAYER_BATCH_NORM;
    csl_norm_spec spec = {node->in, is_batch ? 0 : node->layer->groups, CSL_NORM_EPSILON,
                          csl_node_block(model, node)};
    const float *scale = model->parameters + node->weight;
    const float *saved_mean = csl_model_buffer(model, s->plan->aux);
    if (is_batch) {
        return model->kernels->batch_norm_backward(
            model->device, &spec, s->x, s->y, s->dy, scale, saved_mean,
            saved_mean + node->in.channels, model->batch, node->relu,
            model->pass == CSL_PASS_FROZEN, s->dx, s->dweight, s->dbias);
    }
    const float *saved_inverse = saved_mean + (size_t)model->plan->batch_max * node->layer->groups;
    return model->kernels->group_norm_backward(model->device, &spec, s->x, s->y, s->dy, scale,
                                               saved_mean, saved_inverse, model->batch, node->relu,
                                               s->dx, s->dweight, s->dbias);
}

static csl_status back_add(csl_model *model, const node_state *s)
{
    size_t count = csl_shape_count(s->node->out) * model->batch;
    for (int which = 0; which < 2; which++) {
        if (s->plan->sum[which] == CSL_NO_BUFFER) {
            continue; /* the summand's gradient is dy itself */
        }
        float *addend = csl_model_buffer(model, s->plan->sum_addend[which]);
        float *sum = csl_model_buffer(model, s->plan->sum[which]);
        if (sum == addend) {
            CSL_TRY(model->kernels->accumulate(model->device, s->dy, count, sum));
        } else {
            CSL_TRY(model->kernels->add_relu(model->device, s->dy, addend, count, false, sum));
        }
    }
    return CSL_OK;
}

static csl_status back_pool(csl_model *model, const node_state *s)
{
    const csl_node *node = s->node;
    uint32_t batch = 0;
    const csl_pool_spec pool = csl_node_pool_spec(model, node, &batch);
    if (!s->dx) {
        return CSL_OK;
    }
    if (node->kind == CSL_LAYER_AVERAGE_POOL || node->kind == CSL_LAYER_GLOBAL_AVERAGE_POOL) {
        return model->kernels->average_pool_backward(model->device, &pool, s->dy, batch, s->dx);
    }
    const float *index = csl_model_buffer(model, s->plan->aux);
    return model->kernels->max_pool_backward(model->device, &pool, s->dy,
                                             (const uint32_t *)(const void *)index, batch, s->dx);
}

static csl_status run_kind(csl_model *model, uint32_t n, const node_state *s)
{
    switch (s->node->kind) {
    case CSL_LAYER_CONV:
        return back_conv(model, n, s);
    case CSL_LAYER_LINEAR:
        return back_linear(model, s);
    case CSL_LAYER_BATCH_NORM:
    case CSL_LAYER_GROUP_NORM:
        return back_norm(model, s);
    case CSL_LAYER_RELU:
        return CSL_OK; /* the mask was all of it */
    case CSL_LAYER_MAX_POOL:
    case CSL_LAYER_GLOBAL_MAX_POOL:
    case CSL_LAYER_AVERAGE_POOL:
    case CSL_LAYER_GLOBAL_AVERAGE_POOL:
        return back_pool(model, s);
    case CSL_LAYER_DROPOUT:
        if (!s->dx) {
            return CSL_OK;
        }
        return model->kernels->dropout(
            model->device, s->dy, csl_shape_count(s->node->out) * model->batch,
            s->node->layer->rate, model->dropout_seed, csl_dropout_offset(model, n), s->dx);
    case CSL_LAYER_ADD:
        return back_add(model, s);
    }
    return csl_fail(CSL_E_INTERNAL, "layer of unknown kind %d", (int)s->node->kind);
}

static csl_status back_node(csl_model *model, uint32_t n)
{
    const csl_node *node = &model->graph->nodes[n];
    const csl_node_plan *plan = &model->plan->nodes[n];
    bool is_norm = node->kind == CSL_LAYER_BATCH_NORM || node->kind == CSL_LAYER_GROUP_NORM;
    float *dy = csl_model_buffer(model, plan->dy);
    float *masked = csl_model_buffer(model, plan->masked_dy);
    node_state state = {.node = node,
                        .plan = plan,
                        .x = csl_model_buffer(model, plan->x),
                        .y = csl_model_buffer(model, plan->y),
                        .dy = masked,
                        .dweight = gradient_at(model, node->weight),
                        .dbias = gradient_at(model, node->bias)};
    if (plan->dx != CSL_NO_BUFFER) {
        state.dx = csl_model_buffer(model, plan->dx);
    }
    if (node->kind == CSL_LAYER_RELU || (node->relu && !is_norm)) {
        CSL_TRY(model->kernels->relu_backward(model->device, state.y, dy,
                                              csl_shape_count(node->out) * model->batch, masked));
    }
    CSL_TRY(run_kind(model, n, &state));
    if (plan->dx_addend == CSL_NO_BUFFER) {
        return CSL_OK;
    }
    return model->kernels->accumulate(model->device, csl_model_buffer(model, plan->dx_addend),
                                      csl_shape_count(node->in) * model->batch, state.dx);
}

csl_status csl_model_backward(csl_model *model)
{
    if (model->batch == 0 || model->pass == CSL_PASS_INFER) {
        return csl_fail(CSL_E_STATE, "model %s: backward without a training pass before it",
                        model->graph->spec->name);
    }
    for (uint32_t n = model->graph->node_count; n-- > 0;) {
        csl_status status = back_node(model, n);
        if (status != CSL_OK) {
            model->batch = 0;
            return csl_fail_context(status, "layer '%s', backward",
                                    model->graph->nodes[n].layer->name);
        }
    }
    model->batch = 0; /* activations are spent */
    return CSL_OK;
}
