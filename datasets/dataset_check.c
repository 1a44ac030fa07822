#include "dataset_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "dataset_schema.h"

const char *csl_task_name(csl_task task)
{
    static const char *const names[] = {"binary", "multiclass", "multilabel", "regression"};
    return (unsigned)task < sizeof names / sizeof *names ? names[task] : NULL;
}

static csl_status check_labels(const csl_dataset *dataset)
{
    if (dataset->task == CSL_TASK_BINARY && dataset->class_count != 2) {
        return csl_fail(CSL_E_RANGE, "a binary task has 2 classes, found %u", dataset->class_count);
    }
    for (uint64_t i = 0; dataset->labels && i < dataset->count; i++) {
        if (dataset->labels[i] < 0 || (uint32_t)dataset->labels[i] >= dataset->class_count) {
            return csl_fail(CSL_E_RANGE,
                            "/labels: image %" PRIu64 ": expected a class in 0..%u, found %d", i,
                            dataset->class_count - 1, dataset->labels[i]);
        }
    }
    uint64_t target_count = dataset->count * dataset->class_count;
    for (uint64_t i = 0; dataset->targets && i < target_count; i++) {
        bool known = !dataset->known || dataset->known[i];
        float value = dataset->targets[i];
        bool good =
            dataset->task == CSL_TASK_MULTILABEL ? value == 0.0f || value == 1.0f : isfinite(value);
        if (known && !good) {
            return csl_fail(
                CSL_E_RANGE, "/labels: image %" PRIu64 " target %" PRIu64 ": expected %s, found %g",
                i / dataset->class_count, i % dataset->class_count,
                dataset->task == CSL_TASK_MULTILABEL ? "0 or 1" : "a finite number", (double)value);
        }
    }
    for (uint64_t i = 0; dataset->known && i < target_count; i++) {
        if (dataset->known[i] > 1) {
            return csl_fail(CSL_E_RANGE,
                            "/labels_valid: image %" PRIu64 ": expected 0 or 1, found %u",
                            i / dataset->class_count, dataset->known[i]);
        }
    }
    return CSL_OK;
}

static csl_status check_images(const csl_dataset *dataset)
{
    if (!isfinite(dataset->slope) || dataset->slope == 0.0 || !isfinite(dataset->intercept)) {
        return csl_fail(CSL_E_RANGE,
                        "/images: expected a finite slope other than 0 and a finite "
                        "intercept, found %g and %g",
                        dataset->slope, dataset->intercept);
    }
    if (dataset->type != CSL_F32) {
        return CSL_OK;
    }
    const float *values = dataset->images;
    size_t image_count = csl_shape_count(dataset->shape);
    uint64_t count = dataset->count * image_count;
    for (uint64_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return csl_fail(CSL_E_RANGE,
                            "/images: image %" PRIu64 ": expected finite values, found %g",
                            i / image_count, (double)values[i]);
        }
    }
    return CSL_OK;
}

csl_status csl_dataset_check(const csl_dataset *dataset)
{
    bool classes = dataset->task == CSL_TASK_BINARY || dataset->task == CSL_TASK_MULTICLASS;
    if (!csl_task_name(dataset->task) || !dataset->images || !dataset->split ||
        (classes ? !dataset->labels : !dataset->targets)) {
        return csl_fail(CSL_E_RANGE, "data set lacks images, labels or splits");
    }
    CSL_TRY(check_labels(dataset));
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (dataset->split[i] > CSL_SPLIT_TEST) {
            return csl_fail(CSL_E_RANGE, "/split: image %" PRIu64 ": expected 0, 1 or 2, found %u",
                            i, dataset->split[i]);
        }
    }
    return check_images(dataset);
}
