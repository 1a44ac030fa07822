#include "nn/trainer.h"

#include <stdlib.h>

struct csl_evaluator {
    csl_device *device; /* lent */
    csl_model *model;
    csl_batch_layout layout;
    csl_batch host;
    csl_batch batch; /* on the device */
    float *host_loss;
    bool has_batches;
};

static void destroy_batches(csl_evaluator *evaluator)
{
    csl_batch_destroy(evaluator->device, false, &evaluator->host);
    csl_batch_destroy(evaluator->device, true, &evaluator->batch);
    evaluator->has_batches = false;
}

/* Room for images of a data set's element type. */
static csl_status prepare_batches(csl_evaluator *evaluator, csl_element_type type)
{
    if (evaluator->has_batches && evaluator->layout.type == type) {
        return CSL_OK;
    }
    destroy_batches(evaluator);
    evaluator->layout.type = type;
    CSL_TRY(csl_batch_create(evaluator->device, &evaluator->layout, false, &evaluator->host));
    csl_status status =
        csl_batch_create(evaluator->device, &evaluator->layout, true, &evaluator->batch);
    if (status != CSL_OK) {
        destroy_batches(evaluator);
        return status;
    }
    evaluator->has_batches = true;
    return CSL_OK;
}

csl_status csl_evaluator_create(csl_device *device,
                                const csl_model_spec *spec,
                                uint32_t batch,
                                csl_evaluator **evaluator_out)
{
    csl_evaluator *evaluator = calloc(1, sizeof *evaluator);
    if (!evaluator) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for an evaluator");
    }
    evaluator->device = device;
    csl_status status = csl_model_create(device, spec, batch, false, &evaluator->model);
    if (status == CSL_OK) {
        evaluator->layout =
            (csl_batch_layout){spec->input, spec->task, spec->class_count, CSL_U8, batch};
        evaluator->host_loss = malloc(batch * sizeof *evaluator->host_loss);
        if (!evaluator->host_loss) {
            status = csl_fail(CSL_E_NO_MEMORY, "no memory for the losses of a batch");
        }
    }
    if (status != CSL_OK) {
        csl_evaluator_destroy(evaluator);
        return status;
    }
    *evaluator_out = evaluator;
    return CSL_OK;
}

csl_status csl_evaluator_memory_size(const csl_model_spec *spec,
                                     csl_element_type type,
                                     uint32_t batch,
                                     uint64_t *size_out)
{
    uint64_t model_size = 0;
    CSL_TRY(csl_model_memory_size(spec, batch, false, &model_size));
    csl_batch_layout layout = {spec->input, spec->task, spec->class_count, type, batch};
    *size_out = model_size + csl_batch_size(&layout);
    return CSL_OK;
}

void csl_evaluator_destroy(csl_evaluator *evaluator)
{
    if (!evaluator) {
        return;
    }
    destroy_batches(evaluator);
    csl_model_destroy(evaluator->model);
    free(evaluator->host_loss);
    free(evaluator);
}

/* Runs the batch gathered in evaluator->host. scores: [count][class_count]. */
static csl_status
run_batch(csl_evaluator *evaluator, const csl_dataset *dataset, float *scores, double *loss_sum)
{
    csl_device *device = evaluator->device;
    csl_batch *batch = &evaluator->batch;
    uint32_t count = evaluator->host.count;
    CSL_TRY(csl_batch_upload(device, &evaluator->layout, dataset, &evaluator->host, false, batch,
                             csl_model_input(evaluator->model)));
    CSL_TRY(csl_model_forward(evaluator->model, count, CSL_PASS_INFER, 0, 0));
    CSL_TRY(csl_batch_loss(device, &evaluator->layout, &evaluator->host, batch,
                           csl_model_output(evaluator->model), 1.0f, NULL, true));
    CSL_TRY(csl_device_copy(device, evaluator->host_loss, batch->loss,
                            count * sizeof *evaluator->host_loss, CSL_COPY_TO_HOST));
    CSL_TRY(csl_device_copy(device, scores, batch->probabilities,
                            (size_t)count * dataset->class_count * sizeof *scores,
                            CSL_COPY_TO_HOST));
    for (uint32_t i = 0; i < count; i++) {
        *loss_sum += (double)evaluator->host_loss[i];
    }
    return CSL_OK;
}

csl_status csl_evaluator_run(csl_evaluator *evaluator,
                             const float *parameters,
                             const csl_dataset *dataset,
                             const csl_normalisation *normalisation,
                             csl_split split,
                             float *scores_out,
                             double *loss_sum_out)
{
    CSL_TRY(csl_batch_check_dataset(evaluator->model->graph->spec, dataset, normalisation));
    CSL_TRY(prepare_batches(evaluator, dataset->type));
    CSL_TRY(csl_batch_set_normalisation(evaluator->device, normalisation, &evaluator->batch));
    CSL_TRY(csl_model_set_parameters(evaluator->model, parameters));
    double loss_sum = 0.0;
    uint64_t done = 0;
    evaluator->host.count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (dataset->split[i] == (uint8_t)split) {
            csl_batch_set(dataset, i, evaluator->host.count++, &evaluator->host);
        }
        bool is_last = i + 1 == dataset->count;
        if (evaluator->host.count < evaluator->layout.batch_max && !is_last) {
            continue;
        }
        if (evaluator->host.count > 0) {
            CSL_TRY(
                run_batch(evaluator, dataset, scores_out + done * dataset->class_count, &loss_sum));
            done += evaluator->host.count;
            evaluator->host.count = 0;
        }
    }
    *loss_sum_out = loss_sum;
    return CSL_OK;
}
