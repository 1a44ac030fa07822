/* One optimiser step: loss, clipping, FedProx, SCAFFOLD, SGD or AdamW. */
#include "nn/trainer.h"

#include <math.h>

csl_status csl_batch_loss(csl_device *device,
                          const csl_batch_layout *layout,
                          const csl_batch *source,
                          csl_batch *batch,
                          const float *logits,
                          float scale,
                          float *gradient,
                          bool wants_probabilities)
{
    const csl_kernels *kernels = csl_device_kernels(device);
    float *probabilities = wants_probabilities ? batch->probabilities : NULL;
    if (layout->task == CSL_TASK_MULTILABEL) {
        return kernels->sigmoid_loss(
            device, logits, batch->targets, source->has_known ? batch->known : NULL, source->count,
            layout->class_count, scale, batch->loss, gradient, probabilities);
    }
    if (layout->task == CSL_TASK_REGRESSION) {
        if (probabilities) {
            CSL_TRY(csl_device_copy(device, probabilities, logits,
                                    (size_t)source->count * layout->class_count * sizeof *logits,
                                    CSL_COPY_WITHIN_DEVICE));
        }
        return kernels->squared_loss(device, logits, batch->targets, source->count,
                                     layout->class_count, scale, batch->loss, gradient);
    }
    return kernels->softmax_loss(device, logits, batch->labels, source->count, layout->class_count,
                                 scale, batch->loss, gradient, probabilities);
}

/* With class weights the images lie in order of labels (csl_pipeline_options), and each class is
 * one call with its own scale. */
static csl_status weighted_loss(csl_trainer *trainer,
                                const csl_batch *source,
                                float scale,
                                const float *logits,
                                float *gradient)
{
    uint32_t classes = trainer->layout.class_count;
    uint32_t first = 0;
    while (first < source->count) {
        int32_t label = source->labels[first];
        uint32_t end = first + 1;
        while (end < source->count && source->labels[end] == label) {
            end++;
        }
        size_t offset = (size_t)first * classes;
        CSL_TRY(trainer->kernels->softmax_loss(
            trainer->device, logits + offset, trainer->batch.labels + first, end - first, classes,
            scale * trainer->class_weights[label], trainer->batch.loss + first, gradient + offset,
            NULL));
        first = end;
    }
    return CSL_OK;
}

csl_status csl_trainer_loss(csl_trainer *trainer, const csl_batch *source, double *loss_out)
{
    const float *logits = csl_model_output(trainer->model);
    float *gradient = csl_model_output_gradient(trainer->model);
    /* The mean is over the whole batch, so the gradients of its shards simply add up. */
    float scale = 1.0f / (float)source->whole_count;
    if (trainer->options.class_weights) {
        CSL_TRY(weighted_loss(trainer, source, scale, logits, gradient));
    } else {
        CSL_TRY(csl_batch_loss(trainer->device, &trainer->layout, source, &trainer->batch, logits,
                               scale, gradient, false));
    }
    CSL_TRY(csl_device_copy(trainer->device, trainer->host_loss, trainer->batch.loss,
                            source->count * sizeof *trainer->host_loss, CSL_COPY_TO_HOST));
    double sum = 0.0;
    for (uint32_t i = 0; i < source->count; i++) {
        double weight = trainer->options.class_weights
                            ? (double)trainer->class_weights[source->labels[i]]
                            : 1.0;
        sum += weight * (double)trainer->host_loss[i];
    }
    *loss_out = sum;
    return CSL_OK;
}

/* Scales the gradient so that its norm is clip_norm at most (Pascanu et al. 2013). */
static csl_status clip_gradient(csl_trainer *trainer)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < trainer->range_count; i++) {
        const csl_range *range = &trainer->ranges[i];
        double part = 0.0;
        CSL_TRY(trainer->kernels->sum_of_squares(
            trainer->device, trainer->model->gradient + range->offset, range->count, &part));
        sum += part;
    }
    double norm = sqrt(sum);
    if (!(norm > (double)trainer->options.clip_norm)) {
        return CSL_OK;
    }
    /* Running statistics have gradient 0, so the whole vector may be scaled. */
    return trainer->kernels->scale(
        trainer->device, (float)((double)trainer->options.clip_norm / norm),
        trainer->model->graph->parameter_count, trainer->model->gradient);
}

static csl_status correct_gradient(csl_trainer *trainer, bool has_correction)
{
    const csl_kernels *kernels = trainer->kernels;
    float *gradient = trainer->model->gradient;
    for (uint32_t i = 0; i < trainer->range_count; i++) {
        size_t at = trainer->ranges[i].offset;
        size_t count = trainer->ranges[i].count;
        if (trainer->options.proximal_mu > 0.0f) {
            CSL_TRY(kernels->proximal(trainer->device, trainer->options.proximal_mu,
                                      trainer->model->parameters + at, trainer->reference + at,
                                      count, gradient + at));
        }
        if (has_correction) {
            CSL_TRY(kernels->axpy(trainer->device, 1.0f, trainer->correction + at, count,
                                  gradient + at));
        }
    }
    return trainer->options.clip_norm > 0.0f ? clip_gradient(trainer) : CSL_OK;
}

static csl_status step_range(csl_trainer *trainer, const csl_range *range, double rate)
{
    const csl_train_options *options = &trainer->options;
    size_t at = range->offset;
    float decay = range->decays ? options->weight_decay : 0.0f;
    float *weights = trainer->model->parameters + at;
    const float *gradient = trainer->model->gradient + at;
    if (options->optimizer == CSL_OPTIMIZER_ADAMW) {
        csl_adamw_spec spec = {(float)rate,      options->beta1, options->beta2,
                               options->epsilon, decay,          trainer->optimizer_steps};
        return trainer->kernels->adamw_step(trainer->device, &spec, gradient, range->count,
                                            trainer->first + at, trainer->second + at, weights);
    }
    csl_sgd_spec spec = {(float)rate, options->momentum, decay, options->nesterov};
    return trainer->kernels->sgd_step(trainer->device, &spec, gradient, range->count,
                                      trainer->first ? trainer->first + at : NULL, weights);
}

csl_status csl_trainer_apply_gradient(csl_trainer *trainer, bool has_correction, double rate)
{
    CSL_TRY(correct_gradient(trainer, has_correction));
    trainer->optimizer_steps++;
    for (uint32_t i = 0; i < trainer->range_count; i++) {
        CSL_TRY(step_range(trainer, &trainer->ranges[i], rate));
    }
    csl_model_changed(trainer->model);
    return CSL_OK;
}
