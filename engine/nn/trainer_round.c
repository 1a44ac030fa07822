/* One round of local training, and the optimiser's state between rounds. */
#include "nn/trainer.h"

#include <math.h>
#include <string.h>
#include <time.h>

uint64_t csl_trainer_step_count(const csl_trainer *trainer)
{
    if (trainer->options.local_steps > 0) {
        return trainer->options.local_steps;
    }
    return trainer->options.local_epochs * csl_pipeline_steps_per_epoch(trainer->pipeline);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static csl_status upload(csl_trainer *trainer, float *target, const float *values)
{
    return csl_device_copy(trainer->device, target, values,
                           trainer->model->graph->parameter_count * sizeof *values,
                           CSL_COPY_TO_DEVICE);
}

static csl_status
prepare_round(csl_trainer *trainer, const float *parameters, const float *correction)
{
    size_t size = trainer->model->graph->parameter_count * sizeof(float);
    CSL_TRY(csl_model_set_parameters(trainer->model, parameters));
    if (trainer->reference) {
        CSL_TRY(upload(trainer, trainer->reference, parameters));
    }
    if (correction && !trainer->correction) {
        void *memory = NULL;
        CSL_TRY(csl_device_alloc(trainer->device, size, &memory));
        trainer->correction = memory;
    }
    if (correction) {
        CSL_TRY(upload(trainer, trainer->correction, correction));
    }
    if (trainer->options.keep_optimizer_state) {
        return CSL_OK;
    }
    trainer->optimizer_steps = 0;
    size_t count = trainer->model->graph->parameter_count;
    if (trainer->first) {
        CSL_TRY(trainer->kernels->fill(trainer->device, 0.0f, count, trainer->first));
    }
    return trainer->second ? trainer->kernels->fill(trainer->device, 0.0f, count, trainer->second)
                           : CSL_OK;
}

/* Gradient and loss of this shard's part of a batch, which may be empty. */
static csl_status differentiate(
    csl_trainer *trainer, uint32_t round, uint64_t step, const csl_batch *source, double *loss_out)
{
    csl_model *model = trainer->model;
    *loss_out = 0.0;
    if (source->count == 0) {
        return trainer->kernels->fill(trainer->device, 0.0f, model->graph->parameter_count,
                                      model->gradient);
    }
    CSL_TRY(csl_batch_upload(trainer->device, &trainer->layout, trainer->dataset, source,
                             csl_augmentation_is_active(&trainer->options.augmentation),
                             &trainer->batch, csl_model_input(model)));
    uint64_t seed =
        csl_random_derive(trainer->options.seed, CSL_RANDOM_DROPOUT, round, (uint32_t)step);
    csl_pass pass = trainer->options.freeze_batch_norm ? CSL_PASS_FROZEN : CSL_PASS_TRAIN;
    CSL_TRY(csl_model_forward(model, source->count, pass, seed, source->first_image));
    CSL_TRY(csl_trainer_loss(trainer, source, loss_out));
    return csl_model_backward(model);
}

/* Sums the gradient over the shards. */
static csl_status exchange_gradient(csl_trainer *trainer, double *loss_sum)
{
    if (trainer->exchange.shard_count == 1) {
        return CSL_OK;
    }
    size_t count = trainer->model->graph->parameter_count;
    CSL_TRY(csl_model_get_gradient(trainer->model, trainer->host_gradient));
    CSL_TRY(
        trainer->exchange.sum(trainer->exchange.context, trainer->host_gradient, count, loss_sum));
    return upload(trainer, trainer->model->gradient, trainer->host_gradient);
}

/* Every shard saw other images, so their running statistics differ; all take the mean. */
static csl_status average_running_values(csl_trainer *trainer)
{
    if (trainer->exchange.shard_count == 1 || !trainer->has_state_entries ||
        trainer->options.freeze_batch_norm) {
        return CSL_OK;
    }
    size_t count = trainer->model->graph->parameter_count;
    float *values = trainer->host_gradient;
    double unused = 0.0;
    CSL_TRY(csl_model_get_parameters(trainer->model, values));
    /* Trained entries hold the same bits everywhere; r equal parts would sum to other bits. */
    for (uint32_t i = 0; i < trainer->range_count; i++) {
        memset(values + trainer->ranges[i].offset, 0, trainer->ranges[i].count * sizeof *values);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] /= (float)trainer->exchange.shard_count;
    }
    CSL_TRY(trainer->exchange.sum(trainer->exchange.context, values, count, &unused));
    size_t end = 0; /* of what has been dealt with */
    for (uint32_t i = 0; i <= trainer->range_count; i++) {
        size_t next = i < trainer->range_count ? trainer->ranges[i].offset : count;
        if (next > end) {
            CSL_TRY(csl_device_copy(trainer->device, trainer->model->parameters + end, values + end,
                                    (next - end) * sizeof *values, CSL_COPY_TO_DEVICE));
        }
        end = i < trainer->range_count ? next + trainer->ranges[i].count : count;
    }
    return CSL_OK;
}

typedef struct round_call {
    uint32_t round;
    bool has_correction;
    int (*progress)(void *context, uint64_t step, uint64_t step_count, double loss);
    void *context;
} round_call;

static csl_status run_steps(csl_trainer *trainer, const round_call *call, csl_train_result *result)
{
    uint64_t step_count = csl_trainer_step_count(trainer);
    double loss_sum = 0.0;
    for (uint64_t step = 0; step < step_count; step++) {
        const csl_batch *source = csl_pipeline_next(trainer->pipeline);
        double loss = 0.0;
        CSL_TRY(differentiate(trainer, call->round, step, source, &loss));
        CSL_TRY(exchange_gradient(trainer, &loss));
        if (!isfinite(loss)) {
            return csl_fail(CSL_E_DIVERGED,
                            "step %llu of %llu: the loss is not finite; a smaller training.lr or "
                            "training.clip_norm may help",
                            (unsigned long long)step + 1, (unsigned long long)step_count);
        }
        result->rate_last = csl_train_rate(&trainer->options, call->round, step, step_count);
        CSL_TRY(csl_trainer_apply_gradient(trainer, call->has_correction, result->rate_last));
        result->step_count++;
        result->image_count += source->whole_count;
        loss_sum += loss;
        if (call->progress &&
            call->progress(call->context, step, step_count, loss / source->whole_count)) {
            return csl_fail(CSL_E_STATE, "training was stopped in round %u after step %llu",
                            call->round + 1, (unsigned long long)step);
        }
    }
    result->loss_mean = loss_sum / (double)result->image_count;
    return average_running_values(trainer);
}

csl_status
csl_trainer_round(csl_trainer *trainer,
                  uint32_t round,
                  float *parameters,
                  const float *correction,
                  int (*progress)(void *context, uint64_t step, uint64_t step_count, double loss),
                  void *context,
                  csl_train_result *result_out)
{
    double start = seconds_now();
    const round_call call = {round, correction != NULL, progress, context};
    csl_train_result result = {0};
    CSL_TRY(prepare_round(trainer, parameters, correction));
    CSL_TRY(csl_pipeline_start(trainer->pipeline, round, csl_trainer_step_count(trainer)));
    csl_status status = run_steps(trainer, &call, &result);
    csl_pipeline_stop(trainer->pipeline);
    if (status == CSL_OK) {
        status = csl_model_get_parameters(trainer->model, parameters);
    }
    if (status != CSL_OK) {
        return status;
    }
    result.seconds = seconds_now() - start;
    *result_out = result;
    return CSL_OK;
}

size_t csl_trainer_state_count(const csl_trainer *trainer)
{
    return csl_train_state_count(&trainer->options, trainer->model->graph->parameter_count);
}

enum { STEPS_LOW_BITS = 20 }; /* each part of the step count is exact in a float */

csl_status csl_trainer_get_state(csl_trainer *trainer, float *state_out)
{
    size_t count = trainer->model->graph->parameter_count;
    if (csl_trainer_state_count(trainer) == 0) {
        return CSL_OK;
    }
    CSL_TRY(csl_device_copy(trainer->device, state_out, trainer->first, count * sizeof *state_out,
                            CSL_COPY_TO_HOST));
    if (!trainer->second) {
        return CSL_OK;
    }
    CSL_TRY(csl_device_copy(trainer->device, state_out + count, trainer->second,
                            count * sizeof *state_out, CSL_COPY_TO_HOST));
    uint64_t low_mask = (1u << STEPS_LOW_BITS) - 1;
    state_out[2 * count] = (float)(trainer->optimizer_steps >> STEPS_LOW_BITS);
    state_out[2 * count + 1] = (float)(trainer->optimizer_steps & low_mask);
    return CSL_OK;
}

csl_status csl_trainer_set_state(csl_trainer *trainer, const float *state)
{
    size_t count = trainer->model->graph->parameter_count;
    if (csl_trainer_state_count(trainer) == 0) {
        return CSL_OK;
    }
    if (trainer->second) {
        float high = state[2 * count];
        float low = state[2 * count + 1];
        float bound = (float)(1u << STEPS_LOW_BITS);
        if (!(high >= 0.0f && high < bound && low >= 0.0f && low < bound)) {
            return csl_fail(CSL_E_RANGE, "optimiser state: %g and %g are no step count",
                            (double)high, (double)low);
        }
        trainer->optimizer_steps = ((uint64_t)high << STEPS_LOW_BITS) + (uint64_t)low;
        CSL_TRY(upload(trainer, trainer->second, state + count));
    }
    return upload(trainer, trainer->first, state);
}
