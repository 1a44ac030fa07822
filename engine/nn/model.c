#include "nn/model.h"

#include <stdlib.h>

enum { ALIGNMENT = 64 };

static uint64_t vector_size(size_t count)
{
    return (4 * (uint64_t)count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static uint64_t arena_size(const csl_graph *graph, const csl_plan *plan)
{
    return vector_size(graph->parameter_count) * (plan->training ? 2 : 1) + plan->arena_size;
}

csl_status csl_model_memory_size(const csl_model_spec *spec,
                                 uint32_t batch_max,
                                 bool training,
                                 uint64_t *size_out)
{
    csl_graph *graph = NULL;
    csl_plan *plan = NULL;
    CSL_TRY(csl_graph_create(spec, &graph));
    csl_status status = csl_plan_create(graph, batch_max, training, &plan);
    if (status == CSL_OK) {
        *size_out = arena_size(graph, plan);
    }
    csl_plan_destroy(plan);
    csl_graph_destroy(graph);
    return status;
}

csl_status csl_model_card_memory_size(const csl_model_spec *spec,
                                      uint32_t batch_max,
                                      uint64_t *kept_out,
                                      uint64_t *scratch_out)
{
    csl_graph *graph = NULL;
    CSL_TRY(csl_graph_create(spec, &graph));
    uint64_t kept = 0;
    uint64_t scratch = CSL_CUDA_SCRATCH_MIN;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        if (graph->nodes[n].kind == CSL_LAYER_CONV) {
            csl_conv_spec conv = csl_node_conv_spec(&graph->nodes[n], batch_max);
            csl_conv_memory memory = csl_cuda_conv_memory(&conv);
            kept += memory.kept_size;
            scratch = memory.columns_size > scratch ? memory.columns_size : scratch;
        }
    }
    csl_graph_destroy(graph);
    *kept_out = kept;
    *scratch_out = scratch;
    return CSL_OK;
}

static csl_status create_convs(csl_model *model)
{
    for (uint32_t n = 0; n < model->graph->node_count; n++) {
        const csl_node *node = &model->graph->nodes[n];
        if (node->kind != CSL_LAYER_CONV) {
            continue;
        }
        csl_conv_spec spec = csl_node_conv_spec(node, model->plan->batch_max);
        spec.block = model->blocks[n];
        csl_status status = model->kernels->conv_create(model->device, &spec, &model->convs[n]);
        if (status != CSL_OK) {
            return csl_fail_context(status, "layer '%s'", node->layer->name);
        }
    }
    return CSL_OK;
}

static csl_status
build_model(csl_model *model, const csl_model_spec *spec, uint32_t batch_max, bool training)
{
    CSL_TRY(csl_graph_create(spec, &model->graph));
    CSL_TRY(csl_plan_create(model->graph, batch_max, training, &model->plan));
    model->convs = calloc(model->graph->node_count, sizeof(csl_conv *));
    model->blocks = calloc(model->graph->node_count, sizeof *model->blocks);
    if (!model->convs || !model->blocks) {
        return csl_fail(CSL_E_NO_MEMORY, "model %s: no memory for its convolutions", spec->name);
    }
    uint64_t size = arena_size(model->graph, model->plan);
    void *arena = NULL;
    CSL_TRY(csl_device_alloc(model->device, size, &arena));
    model->arena = arena;
    uint64_t parameter_size = vector_size(model->graph->parameter_count);
    model->parameters = (float *)arena;
    model->buffers = model->arena + parameter_size;
    if (training) {
        model->gradient = (float *)(void *)(model->arena + parameter_size);
        model->buffers += parameter_size;
        /* Entries of running statistics stay 0 for ever. */
        CSL_TRY(model->kernels->fill(model->device, 0.0f, model->graph->parameter_count,
                                     model->gradient));
    }
    CSL_TRY(csl_layout_choose(model->device, model->graph, batch_max, model->blocks));
    return create_convs(model);
}

csl_status csl_model_create(csl_device *device,
                            const csl_model_spec *spec,
                            uint32_t batch_max,
                            bool training,
                            csl_model **model_out)
{
    csl_model *model = calloc(1, sizeof *model);
    if (!model) {
        return csl_fail(CSL_E_NO_MEMORY, "model: no memory");
    }
    model->device = device;
    model->kernels = csl_device_kernels(device);
    model->weights_changed = true;
    csl_status status = build_model(model, spec, batch_max, training);
    if (status != CSL_OK) {
        csl_model_destroy(model);
        return status;
    }
    *model_out = model;
    return CSL_OK;
}

void csl_model_destroy(csl_model *model)
{
    if (!model) {
        return;
    }
    for (uint32_t n = 0; model->convs && n < model->graph->node_count; n++) {
        if (model->convs[n]) {
            /* Nothing can be done about a failure here, and its cause was reported before. */
            csl_status ignored = model->kernels->conv_destroy(model->device, model->convs[n]);
            (void)ignored;
        }
    }
    free(model->convs);
    free(model->blocks);
    csl_device_free(model->device, model->arena);
    csl_plan_destroy(model->plan);
    csl_graph_destroy(model->graph);
    free(model);
}

size_t csl_model_parameter_count(const csl_model *model)
{
    return model->graph->parameter_count;
}

csl_status csl_model_set_parameters(csl_model *model, const float *values)
{
    model->weights_changed = true;
    return csl_device_copy(model->device, model->parameters, values,
                           model->graph->parameter_count * sizeof *values, CSL_COPY_TO_DEVICE);
}

csl_status csl_model_get_parameters(csl_model *model, float *values_out)
{
    return csl_device_copy(model->device, values_out, model->parameters,
                           model->graph->parameter_count * sizeof *values_out, CSL_COPY_TO_HOST);
}

csl_status csl_model_get_gradient(csl_model *model, float *gradient_out)
{
    if (!model->gradient) {
        return csl_fail(CSL_E_STATE, "model %s was created without training",
                        model->graph->spec->name);
    }
    return csl_device_copy(model->device, gradient_out, model->gradient,
                           model->graph->parameter_count * sizeof *gradient_out, CSL_COPY_TO_HOST);
}

float *csl_model_input(csl_model *model)
{
    return csl_model_buffer(model, model->plan->input);
}

float *csl_model_output(csl_model *model)
{
    return csl_model_buffer(model, model->plan->output);
}

float *csl_model_output_gradient(csl_model *model)
{
    return model->plan->training ? csl_model_buffer(model, model->plan->output_gradient) : NULL;
}

float *csl_model_device_parameters(csl_model *model)
{
    return model->parameters;
}

float *csl_model_device_gradient(csl_model *model)
{
    return model->gradient;
}

void csl_model_changed(csl_model *model)
{
    model->weights_changed = true;
}
