#include "nn/model.h"

static float *tensor_at(float *vector, size_t offset)
{
    return offset == CSL_NO_TENSOR ? NULL : vector + offset;
}

uint64_t csl_dropout_offset(const csl_model *model, uint32_t node)
{
    /* A node's stretch of the stream holds 2^40 blocks of four elements, more than any batch. */
    uint64_t count = csl_shape_count(model->graph->nodes[node].out);
    return ((uint64_t)node << 40) + (count * model->first_image + 3) / 4;
}

static csl_status run_batch_norm(
    csl_model *model, const csl_node *node, const csl_node_plan *plan, const float *x, float *y)
{
    csl_norm_spec spec = {node->in, 0, CSL_NORM_EPSILON, csl_node_block(model, node)};
    float *parameters = model->parameters;
    float *saved_mean = csl_model_buffer(model, plan->aux);
    float *saved_inverse = saved_mean + node->in.channels;
    float *running_mean = parameters + node->running_mean;
    float *running_variance = parameters + node->running_variance;
    if (model->pass == CSL_PASS_TRAIN) {
        return model->kernels->batch_norm_train(model->device, &spec, x, parameters + node->weight,
                                                parameters + node->bias, model->batch, node->relu,
                                                CSL_BATCH_NORM_MOMENTUM, running_mean,
                                                running_variance, saved_mean, saved_inverse, y);
    }
    return model->kernels->batch_norm_infer(model->device, &spec, x, parameters + node->weight,
                                            parameters + node->bias, running_mean, running_variance,
                                            model->batch, node->relu, saved_mean, saved_inverse, y);
}

static csl_status run_group_norm(
    csl_model *model, const csl_node *node, const csl_node_plan *plan, const float *x, float *y)
{
    csl_norm_spec spec = {node->in, node->layer->groups, CSL_NORM_EPSILON,
                          csl_node_block(model, node)};
    float *saved_mean = csl_model_buffer(model, plan->aux);
    float *saved_inverse = saved_mean + (size_t)model->plan->batch_max * node->layer->groups;
    return model->kernels->group_norm_forward(
        model->device, &spec, x, model->parameters + node->weight, model->parameters + node->bias,
        model->batch, node->relu, saved_mean, saved_inverse, y);
}

static csl_status run_dropout(csl_model *model, uint32_t n, const float *x, float *y)
{
    const csl_node *node = &model->graph->nodes[n];
    size_t count = csl_shape_count(node->out) * model->batch;
    if (model->pass != CSL_PASS_INFER) {
        return model->kernels->dropout(model->device, x, count, node->layer->rate,
                                       model->dropout_seed, csl_dropout_offset(model, n), y);
    }
    if (x == y) {
        return CSL_OK;
    }
    return csl_device_copy(model->device, y, x, count * sizeof *y, CSL_COPY_WITHIN_DEVICE);
}

static csl_status run_node(csl_model *model, uint32_t n)
{
    const csl_kernels *kernels = model->kernels;
    csl_device *device = model->device;
    const csl_node *node = &model->graph->nodes[n];
    const csl_node_plan *plan = &model->plan->nodes[n];
    uint32_t pool_batch = 0;
    const csl_pool_spec pool = csl_node_pool_spec(model, node, &pool_batch);
    const float *x = csl_model_buffer(model, plan->x);
    float *y = csl_model_buffer(model, plan->y);
    uint32_t batch = model->batch;
    size_t count = csl_shape_count(node->out) * batch;
    switch (node->kind) {
    case CSL_LAYER_CONV:
        return kernels->conv_forward(device, model->convs[n], x,
                                     tensor_at(model->parameters, node->bias), batch, y);
    case CSL_LAYER_LINEAR:
        return kernels->linear_forward(
            device, x, model->parameters + node->weight, tensor_at(model->parameters, node->bias),
            batch, (uint32_t)csl_shape_count(node->in), node->out.channels, node->relu, y);
    case CSL_LAYER_BATCH_NORM:
        return run_batch_norm(model, node, plan, x, y);
    case CSL_LAYER_GROUP_NORM:
        return run_group_norm(model, node, plan, x, y);
    case CSL_LAYER_RELU:
        return kernels->relu_forward(device, x, count, y);
    case CSL_LAYER_MAX_POOL:
    case CSL_LAYER_GLOBAL_MAX_POOL:
        return kernels->max_pool_forward(device, &pool, x, pool_batch, y,
                                         (uint32_t *)(void *)csl_model_buffer(model, plan->aux));
    case CSL_LAYER_AVERAGE_POOL:
    case CSL_LAYER_GLOBAL_AVERAGE_POOL:
        return kernels->average_pool_forward(device, &pool, x, pool_batch, y);
    case CSL_LAYER_DROPOUT:
        return run_dropout(model, n, x, y);
    case CSL_LAYER_ADD:
        return kernels->add_relu(device, x, csl_model_buffer(model, plan->other), count, node->relu,
                                 y);
    }
    return csl_fail(CSL_E_INTERNAL, "layer of unknown kind %d", (int)node->kind);
}

static csl_status update_convs(csl_model *model)
{
    for (uint32_t n = 0; n < model->graph->node_count; n++) {
        if (model->convs[n]) {
            CSL_TRY(model->kernels->conv_update_weights(
                model->device, model->convs[n], model->parameters + model->graph->nodes[n].weight));
        }
    }
    model->weights_changed = false;
    return CSL_OK;
}

csl_status csl_model_forward(
    csl_model *model, uint32_t batch, csl_pass pass, uint64_t dropout_seed, uint32_t first_image)
{
    const char *name = model->graph->spec->name;
    if (batch == 0 || batch > model->plan->batch_max) {
        return csl_fail(CSL_E_RANGE, "model %s: batch of %u images, expected 1..%u", name, batch,
                        model->plan->batch_max);
    }
    if (pass != CSL_PASS_INFER && !model->plan->training) {
        return csl_fail(CSL_E_STATE, "model %s was created without training", name);
    }
    if (model->weights_changed) {
        CSL_TRY(update_convs(model));
    }
    model->batch = batch;
    model->pass = pass;
    model->dropout_seed = dropout_seed;
    model->first_image = first_image;
    for (uint32_t n = 0; n < model->graph->node_count; n++) {
        csl_status status = run_node(model, n);
        if (status != CSL_OK) {
            model->batch = 0;
            return csl_fail_context(status, "layer '%s', forward",
                                    model->graph->nodes[n].layer->name);
        }
    }
    return CSL_OK;
}
