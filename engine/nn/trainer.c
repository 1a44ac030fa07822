/* Building a trainer, binding it to an institution, its state and its memory. */
#include "nn/trainer.h"

#include <stdlib.h>
#include <string.h>

static uint32_t part_max(const csl_train_options *options, uint32_t shard_count)
{
    return (uint32_t)(((uint64_t)options->batch + shard_count - 1) / shard_count);
}

static bool is_trained(csl_tensor_role role)
{
    return role != CSL_ROLE_RUNNING_MEAN && role != CSL_ROLE_RUNNING_VARIANCE;
}

/* Neighbouring tensors that are treated alike become one range. */
static csl_status list_ranges(csl_trainer *trainer)
{
    const csl_graph *graph = trainer->model->graph;
    trainer->ranges = calloc(graph->tensor_count + 1, sizeof *trainer->ranges);
    if (!trainer->ranges) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the ranges of the optimiser");
    }
    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        const csl_tensor *tensor = &graph->tensors[i];
        if (!is_trained(tensor->role)) {
            trainer->has_state_entries = true;
            continue;
        }
        bool decays = tensor->role == CSL_ROLE_WEIGHT;
        csl_range *last = trainer->range_count ? &trainer->ranges[trainer->range_count - 1] : NULL;
        bool decay_matters = trainer->options.weight_decay > 0.0f;
        if (last && last->offset + last->count == tensor->offset &&
            (last->decays == decays || !decay_matters)) {
            last->count += tensor->count;
            continue;
        }
        trainer->ranges[trainer->range_count++] =
            (csl_range){tensor->offset, tensor->count, decays};
    }
    return CSL_OK;
}

static bool has_first(const csl_train_options *options)
{
    return options->optimizer == CSL_OPTIMIZER_ADAMW || options->momentum > 0.0f;
}

static csl_status alloc_vector(csl_trainer *trainer, bool is_needed, float **vector_out)
{
    void *memory = NULL;
    if (is_needed) {
        CSL_TRY(csl_device_alloc(trainer->device,
                                 trainer->model->graph->parameter_count * sizeof(float), &memory));
        *vector_out = memory;
    }
    return CSL_OK;
}

csl_status csl_trainer_memory_size(const csl_model_spec *spec,
                                   const csl_train_options *options,
                                   csl_element_type type,
                                   uint32_t shard_count,
                                   bool correction,
                                   uint64_t *size_out)
{
    CSL_TRY(csl_train_options_check(options));
    if (shard_count == 0) {
        return csl_fail(CSL_E_RANGE, "an institution has 0 shards, expected 1 or more");
    }
    csl_graph *graph = NULL;
    CSL_TRY(csl_graph_create(spec, &graph));
    uint64_t vector = 4 * (uint64_t)graph->parameter_count;
    csl_graph_destroy(graph);
    uint64_t vector_count = (has_first(options) ? 1u : 0u) +
                            (options->optimizer == CSL_OPTIMIZER_ADAMW ? 1u : 0u) +
                            (options->proximal_mu > 0.0f ? 1u : 0u) + (correction ? 1u : 0u);
    uint64_t model_size = 0;
    uint32_t batch_max = part_max(options, shard_count);
    CSL_TRY(csl_model_memory_size(spec, batch_max, true, &model_size));
    csl_batch_layout layout = {spec->input, spec->task, spec->class_count, type, batch_max};
    *size_out = model_size + vector_count * vector + csl_batch_size(&layout);
    return CSL_OK;
}

/* Inverse frequency, so that the mean weight of a training image is 1. */
static void measure_class_weights(const csl_dataset *dataset, float *weights)
{
    uint64_t counts[CSL_CLASSES_MAX] = {0};
    uint64_t total = 0;
    uint32_t present = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (dataset->split[i] == CSL_SPLIT_TRAIN) {
            present += counts[dataset->labels[i]]++ == 0;
            total++;
        }
    }
    for (uint32_t c = 0; c < dataset->class_count; c++) {
        double expected = (double)total / (present ? present : 1);
        weights[c] = counts[c] ? (float)(expected / (double)counts[c]) : 1.0f;
    }
}

static csl_status check_binding(const csl_trainer *trainer,
                                const csl_dataset *dataset,
                                const csl_normalisation *normalisation,
                                const csl_gradient_exchange *exchange)
{
    CSL_TRY(csl_batch_check_dataset(trainer->model->graph->spec, dataset, normalisation));
    if (trainer->options.class_weights && !dataset->labels) {
        return csl_fail(CSL_E_RANGE,
                        "training.class_weights needs a task with one class per image");
    }
    if (exchange->shard_count == 0 || exchange->shard_index >= exchange->shard_count ||
        (exchange->shard_count > 1 && !exchange->sum)) {
        return csl_fail(CSL_E_RANGE, "shard %u of %u is impossible or has no exchange",
                        exchange->shard_index, exchange->shard_count);
    }
    uint32_t part = part_max(&trainer->options, exchange->shard_count);
    if (part > trainer->model->plan->batch_max) {
        return csl_fail(CSL_E_RANGE, "a shard's part of %u images exceeds the model's batch of %u",
                        part, trainer->model->plan->batch_max);
    }
    return CSL_OK;
}

/* What a binding allocates; swapped in only when all of it exists. */
typedef struct binding {
    csl_batch_layout layout;
    csl_pipeline *pipeline;
    csl_batch batch;
    float *host_gradient;
} binding;

static csl_status create_binding(csl_trainer *trainer,
                                 const csl_dataset *dataset,
                                 const csl_normalisation *normalisation,
                                 const csl_gradient_exchange *exchange,
                                 uint64_t seed,
                                 binding *made)
{
    const csl_train_options *options = &trainer->options;
    const csl_pipeline_options pipeline = {.augmentation = options->augmentation,
                                           .seed = seed,
                                           .batch = options->batch,
                                           .shard_index = exchange->shard_index,
                                           .shard_count = exchange->shard_count,
                                           .sort_by_label = options->class_weights};
    made->layout = (csl_batch_layout){dataset->shape, dataset->task, dataset->class_count,
                                      dataset->type, trainer->model->plan->batch_max};
    CSL_TRY(
        csl_pipeline_create(trainer->device, dataset, &made->layout, &pipeline, &made->pipeline));
    /* The old block serves again if it is of the same size. */
    if (trainer->batch.memory &&
        csl_batch_size(&trainer->layout) == csl_batch_size(&made->layout)) {
        made->batch = trainer->batch;
    } else {
        CSL_TRY(csl_batch_create(trainer->device, &made->layout, true, &made->batch));
    }
    if (exchange->shard_count > 1 && !trainer->host_gradient) {
        void *memory = NULL;
        CSL_TRY(csl_device_alloc_host(
            trainer->device, trainer->model->graph->parameter_count * sizeof(float), &memory));
        made->host_gradient = memory;
    }
    return csl_batch_set_normalisation(trainer->device, normalisation, &made->batch);
}

static void destroy_binding(csl_trainer *trainer, binding *made)
{
    csl_pipeline_destroy(made->pipeline);
    if (made->batch.memory != trainer->batch.memory) {
        csl_batch_destroy(trainer->device, true, &made->batch);
    }
    csl_device_free_host(trainer->device, made->host_gradient);
}

static csl_status clear_state(csl_trainer *trainer)
{
    size_t count = trainer->model->graph->parameter_count;
    trainer->optimizer_steps = 0;
    if (trainer->first) {
        CSL_TRY(trainer->kernels->fill(trainer->device, 0.0f, count, trainer->first));
    }
    return trainer->second ? trainer->kernels->fill(trainer->device, 0.0f, count, trainer->second)
                           : CSL_OK;
}

csl_status csl_trainer_bind(csl_trainer *trainer,
                            const csl_dataset *dataset,
                            const csl_normalisation *normalisation,
                            const csl_gradient_exchange *exchange,
                            uint64_t seed)
{
    static const csl_gradient_exchange alone = {.shard_count = 1};
    exchange = exchange && exchange->sum ? exchange : &alone;
    CSL_TRY(check_binding(trainer, dataset, normalisation, exchange));
    binding made = {0};
    csl_status status = create_binding(trainer, dataset, normalisation, exchange, seed, &made);
    if (status == CSL_OK) {
        status = clear_state(trainer);
    }
    if (status != CSL_OK) {
        destroy_binding(trainer, &made);
        return status;
    }
    csl_pipeline_destroy(trainer->pipeline);
    if (trainer->batch.memory != made.batch.memory) {
        csl_batch_destroy(trainer->device, true, &trainer->batch);
    }
    trainer->pipeline = made.pipeline;
    trainer->batch = made.batch;
    trainer->layout = made.layout;
    trainer->host_gradient = made.host_gradient ? made.host_gradient : trainer->host_gradient;
    trainer->dataset = dataset;
    trainer->exchange = *exchange;
    trainer->options.seed = seed;
    if (trainer->options.class_weights) {
        measure_class_weights(dataset, trainer->class_weights);
    }
    return CSL_OK;
}

static csl_status
build_trainer(csl_trainer *trainer, const csl_model_spec *spec, uint32_t shard_count)
{
    const csl_train_options *options = &trainer->options;
    uint32_t batch_max = part_max(options, shard_count ? shard_count : 1);
    CSL_TRY(csl_model_create(trainer->device, spec, batch_max, true, &trainer->model));
    CSL_TRY(list_ranges(trainer));
    trainer->host_loss = malloc(batch_max * sizeof *trainer->host_loss);
    if (!trainer->host_loss) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the losses of a batch");
    }
    CSL_TRY(alloc_vector(trainer, has_first(options), &trainer->first));
    CSL_TRY(alloc_vector(trainer, options->optimizer == CSL_OPTIMIZER_ADAMW, &trainer->second));
    return alloc_vector(trainer, options->proximal_mu > 0.0f, &trainer->reference);
}

csl_status csl_trainer_create(csl_device *device,
                              const csl_model_spec *spec,
                              const csl_dataset *dataset,
                              const csl_normalisation *normalisation,
                              const csl_train_options *options,
                              const csl_gradient_exchange *exchange,
                              csl_trainer **trainer_out)
{
    CSL_TRY(csl_train_options_check(options));
    csl_trainer *trainer = calloc(1, sizeof *trainer);
    if (!trainer) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a trainer");
    }
    trainer->device = device;
    trainer->kernels = csl_device_kernels(device);
    trainer->options = *options;
    csl_status status = build_trainer(trainer, spec, exchange ? exchange->shard_count : 1);
    if (status == CSL_OK) {
        status = csl_trainer_bind(trainer, dataset, normalisation, exchange, options->seed);
    }
    if (status != CSL_OK) {
        csl_trainer_destroy(trainer);
        return status;
    }
    *trainer_out = trainer;
    return CSL_OK;
}

void csl_trainer_destroy(csl_trainer *trainer)
{
    if (!trainer) {
        return;
    }
    csl_pipeline_destroy(trainer->pipeline);
    csl_batch_destroy(trainer->device, true, &trainer->batch);
    csl_device_free(trainer->device, trainer->first);
    csl_device_free(trainer->device, trainer->second);
    csl_device_free(trainer->device, trainer->reference);
    csl_device_free(trainer->device, trainer->correction);
    csl_device_free_host(trainer->device, trainer->host_gradient);
    csl_model_destroy(trainer->model);
    free(trainer->host_loss);
    free(trainer->ranges);
    free(trainer);
}
