#include <consilium/dataset.h>

#include <stdlib.h>

void csl_dataset_destroy(csl_dataset *dataset)
{
    if (!dataset) {
        return;
    }
    free(dataset->class_names);
    free(dataset->images);
    free(dataset->labels);
    free(dataset->targets);
    free(dataset->known);
    free(dataset->split);
    free(dataset->subject);
    free(dataset->group);
    free(dataset->scanner);
    free(dataset);
}

static csl_status check_shape(csl_shape shape, uint32_t class_count, uint64_t count)
{
    for (int axis = 0; axis < 3; axis++) {
        if (shape.extent[axis] == 0 || shape.extent[axis] > CSL_EXTENT_MAX) {
            return csl_fail(CSL_E_RANGE, "image extent %u along axis %d is outside 1..%d",
                            shape.extent[axis], axis, CSL_EXTENT_MAX);
        }
    }
    if (shape.channels == 0 || shape.channels > CSL_IMAGE_CHANNELS_MAX) {
        return csl_fail(CSL_E_RANGE, "image has %u channels, expected 1..%d", shape.channels,
                        CSL_IMAGE_CHANNELS_MAX);
    }
    if (class_count == 0 || class_count > CSL_CLASSES_MAX) {
        return csl_fail(CSL_E_RANGE, "data set has %u classes, expected 1..%d", class_count,
                        CSL_CLASSES_MAX);
    }
    if (count == 0 || count > UINT64_MAX / 4 / csl_shape_count(shape)) {
        return csl_fail(CSL_E_RANGE, "data set has %llu images of %zu elements",
                        (unsigned long long)count, csl_shape_count(shape));
    }
    return CSL_OK;
}

csl_status csl_dataset_create(csl_task task,
                              csl_shape shape,
                              csl_element_type type,
                              uint32_t class_count,
                              uint64_t count,
                              csl_dataset **dataset_out)
{
    CSL_TRY(check_shape(shape, class_count, count));
    csl_dataset *dataset = calloc(1, sizeof *dataset);
    if (!dataset) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a data set");
    }
    dataset->task = task;
    dataset->shape = shape;
    dataset->type = type;
    dataset->class_count = class_count;
    dataset->count = count;
    dataset->slope = 1.0;
    size_t image_size = csl_dataset_image_size(dataset);
    dataset->images = calloc(count, image_size);
    dataset->split = calloc(count, 1);
    if (task == CSL_TASK_BINARY || task == CSL_TASK_MULTICLASS) {
        dataset->labels = calloc(count, sizeof *dataset->labels);
    } else {
        dataset->targets = calloc(count, class_count * sizeof *dataset->targets);
    }
    if (!dataset->images || !dataset->split || (!dataset->labels && !dataset->targets)) {
        csl_dataset_destroy(dataset);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %llu images of %zu bytes",
                        (unsigned long long)count, image_size);
    }
    *dataset_out = dataset;
    return CSL_OK;
}

uint64_t csl_dataset_split_count(const csl_dataset *dataset, csl_split split)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        count += dataset->split[i] == (uint8_t)split;
    }
    return count;
}

size_t csl_dataset_image_size(const csl_dataset *dataset)
{
    return csl_shape_count(dataset->shape) * csl_element_size(dataset->type);
}
