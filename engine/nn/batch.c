#include "nn/batch.h"

#include <string.h>

enum { ALIGNMENT = 64 };

/* Takes `size` bytes of the block at *offset; NULL where the array is not needed. */
static void *carve(char *base, uint64_t size, uint64_t *offset)
{
    uint64_t at = *offset;
    *offset += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return size && base ? base + at : NULL;
}

static bool has_labels(csl_task task)
{
    return task == CSL_TASK_BINARY || task == CSL_TASK_MULTICLASS;
}

/* Lays the arrays out from `base`, or only counts if it is NULL; returns the bytes. */
static uint64_t
lay_out(const csl_batch_layout *layout, bool on_device, char *base, csl_batch *batch)
{
    uint64_t images = layout->batch_max;
    uint64_t outputs = images * layout->class_count;
    uint64_t raw = images * csl_shape_count(layout->shape) * csl_element_size(layout->type);
    bool labels = has_labels(layout->task);
    uint64_t channels_size = on_device ? layout->shape.channels * sizeof(float) : 0;
    uint64_t offset = 0;
    *batch = (csl_batch){.memory = base};
    batch->raw = carve(base, raw, &offset);
    batch->augment = carve(base, images * sizeof(csl_augment), &offset);
    batch->labels = carve(base, labels ? images * sizeof(int32_t) : 0, &offset);
    batch->targets = carve(base, labels ? 0 : outputs * sizeof(float), &offset);
    batch->known = carve(base, layout->task == CSL_TASK_MULTILABEL ? outputs : 0, &offset);
    batch->loss = carve(base, on_device ? images * sizeof(float) : 0, &offset);
    batch->probabilities = carve(base, on_device ? outputs * sizeof(float) : 0, &offset);
    batch->mean = carve(base, channels_size, &offset);
    batch->inverse_deviation = carve(base, channels_size, &offset);
    return offset;
}

uint64_t csl_batch_size(const csl_batch_layout *layout)
{
    csl_batch unused;
    return lay_out(layout, true, NULL, &unused);
}

csl_status csl_batch_create(csl_device *device,
                            const csl_batch_layout *layout,
                            bool on_device,
                            csl_batch *batch_out)
{
    csl_batch batch;
    uint64_t size = lay_out(layout, on_device, NULL, &batch);
    void *memory = NULL;
    if (on_device) {
        CSL_TRY(csl_device_alloc(device, size, &memory));
    } else {
        CSL_TRY(csl_device_alloc_host(device, size, &memory));
    }
    lay_out(layout, on_device, memory, batch_out);
    return CSL_OK;
}

void csl_batch_destroy(csl_device *device, bool on_device, csl_batch *batch)
{
    if (on_device) {
        csl_device_free(device, batch->memory);
    } else {
        csl_device_free_host(device, batch->memory);
    }
    *batch = (csl_batch){0};
}

void csl_batch_set(const csl_dataset *dataset, uint64_t index, uint32_t position, csl_batch *batch)
{
    size_t size = csl_dataset_image_size(dataset);
    uint32_t outputs = dataset->class_count;
    memcpy((char *)batch->raw + position * size, (const char *)dataset->images + index * size,
           size);
    if (batch->labels) {
        batch->labels[position] = dataset->labels[index];
    }
    if (batch->targets) {
        memcpy(batch->targets + (size_t)position * outputs, dataset->targets + index * outputs,
               outputs * sizeof(float));
    }
    batch->has_known = batch->known && dataset->known;
    if (batch->has_known) {
        memcpy(batch->known + (size_t)position * outputs, dataset->known + index * outputs,
               outputs);
    }
}

csl_status csl_batch_upload(csl_device *device,
                            const csl_batch_layout *layout,
                            const csl_dataset *dataset,
                            const csl_batch *source,
                            bool augmented,
                            csl_batch *target,
                            float *x)
{
    size_t count = source->count;
    size_t outputs = count * layout->class_count;
    CSL_TRY(csl_device_copy(device, target->raw, source->raw,
                            count * csl_dataset_image_size(dataset), CSL_COPY_TO_DEVICE));
    if (augmented) {
        CSL_TRY(csl_device_copy(device, target->augment, source->augment,
                                count * sizeof *source->augment, CSL_COPY_TO_DEVICE));
    }
    if (source->labels) {
        CSL_TRY(csl_device_copy(device, target->labels, source->labels,
                                count * sizeof *source->labels, CSL_COPY_TO_DEVICE));
    }
    if (source->targets) {
        CSL_TRY(csl_device_copy(device, target->targets, source->targets,
                                outputs * sizeof *source->targets, CSL_COPY_TO_DEVICE));
    }
    if (source->has_known) {
        CSL_TRY(csl_device_copy(device, target->known, source->known, outputs, CSL_COPY_TO_DEVICE));
    }
    csl_input_spec spec = {layout->shape, dataset->type, (float)dataset->slope,
                           (float)dataset->intercept};
    return csl_device_kernels(device)->input_prepare(
        device, &spec, target->raw, target->mean, target->inverse_deviation,
        augmented ? target->augment : NULL, source->count, x);
}

csl_status csl_batch_set_normalisation(csl_device *device,
                                       const csl_normalisation *normalisation,
                                       csl_batch *batch)
{
    float inverse[CSL_IMAGE_CHANNELS_MAX];
    size_t size = normalisation->channel_count * sizeof *inverse;
    for (uint32_t c = 0; c < normalisation->channel_count; c++) {
        inverse[c] = 1.0f / normalisation->deviation[c];
    }
    CSL_TRY(csl_device_copy(device, batch->mean, normalisation->mean, size, CSL_COPY_TO_DEVICE));
    return csl_device_copy(device, batch->inverse_deviation, inverse, size, CSL_COPY_TO_DEVICE);
}

static csl_status check_labels(const csl_dataset *dataset)
{
    if (!has_labels(dataset->task)) {
        return CSL_OK;
    }
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (dataset->labels[i] < 0 || (uint32_t)dataset->labels[i] >= dataset->class_count) {
            return csl_fail(CSL_E_RANGE, "data set '%s': label of image %llu is %d, expected 0..%u",
                            dataset->site, (unsigned long long)i, dataset->labels[i],
                            dataset->class_count - 1);
        }
    }
    return CSL_OK;
}

csl_status csl_batch_check_dataset(const csl_model_spec *spec,
                                   const csl_dataset *dataset,
                                   const csl_normalisation *normalisation)
{
    if (memcmp(&spec->input, &dataset->shape, sizeof spec->input) != 0) {
        return csl_fail(CSL_E_SHAPE,
                        "model %s takes images of %ux%ux%u with %u channels, data set '%s' has "
                        "%ux%ux%u with %u",
                        spec->name, spec->input.extent[0], spec->input.extent[1],
                        spec->input.extent[2], spec->input.channels, dataset->site,
                        dataset->shape.extent[0], dataset->shape.extent[1],
                        dataset->shape.extent[2], dataset->shape.channels);
    }
    if (spec->task != dataset->task || spec->class_count != dataset->class_count) {
        return csl_fail(CSL_E_SHAPE,
                        "model %s is for task %d with %u classes, data set '%s' is of task %d with "
                        "%u",
                        spec->name, (int)spec->task, spec->class_count, dataset->site,
                        (int)dataset->task, dataset->class_count);
    }
    if (normalisation->channel_count != spec->input.channels) {
        return csl_fail(CSL_E_SHAPE, "normalisation has %u channels, images have %u",
                        normalisation->channel_count, spec->input.channels);
    }
    for (uint32_t c = 0; c < normalisation->channel_count; c++) {
        if (!(normalisation->deviation[c] > 0.0f)) {
            return csl_fail(CSL_E_RANGE, "normalisation: deviation of channel %u is %g", c,
                            (double)normalisation->deviation[c]);
        }
    }
    return check_labels(dataset);
}
