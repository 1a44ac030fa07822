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

static csl_status check_classes(const csl_dataset *dataset, csl_findings *findings)
{
    uint64_t bad_count = 0;
    for (uint64_t i = 0; dataset->labels && i < dataset->count; i++) {
        bool good = dataset->labels[i] >= 0 && (uint32_t)dataset->labels[i] < dataset->class_count;
        if (!good && bad_count++ < CSL_FINDINGS_LISTED_MAX) {
            CSL_TRY(
                csl_finding(findings, csl_fail(CSL_E_RANGE,
                                               "/labels: image %" PRIu64
                                               ": expected a class in 0..%u, found %d",
                                               i, dataset->class_count - 1, dataset->labels[i])));
        }
    }
    return csl_finding_others(findings, "/labels", bad_count);
}

static csl_status check_targets(const csl_dataset *dataset, csl_findings *findings)
{
    uint64_t target_count = dataset->count * dataset->class_count, bad_count = 0;
    bool multilabel = dataset->task == CSL_TASK_MULTILABEL;
    for (uint64_t i = 0; dataset->targets && i < target_count; i++) {
        bool known = !dataset->known || dataset->known[i];
        float value = dataset->targets[i];
        bool good = multilabel ? value == 0.0f || value == 1.0f : isfinite(value);
        if (known && !good && bad_count++ < CSL_FINDINGS_LISTED_MAX) {
            CSL_TRY(csl_finding(
                findings,
                csl_fail(CSL_E_RANGE,
                         "/labels: image %" PRIu64 " target %" PRIu64 ": expected %s, found %g",
                         i / dataset->class_count, i % dataset->class_count,
                         multilabel ? "0 or 1" : "a finite number", (double)value)));
        }
    }
    return csl_finding_others(findings, "/labels", bad_count);
}

static csl_status check_known(const csl_dataset *dataset, csl_findings *findings)
{
    uint64_t target_count = dataset->count * dataset->class_count, bad_count = 0;
    for (uint64_t i = 0; dataset->known && i < target_count; i++) {
        if (dataset->known[i] > 1 && bad_count++ < CSL_FINDINGS_LISTED_MAX) {
            CSL_TRY(csl_finding(findings, csl_fail(CSL_E_RANGE,
                                                   "/labels_valid: image %" PRIu64
                                                   ": expected 0 or 1, found %u",
                                                   i / dataset->class_count, dataset->known[i])));
        }
    }
    return csl_finding_others(findings, "/labels_valid", bad_count);
}

static csl_status check_splits(const csl_dataset *dataset, csl_findings *findings)
{
    uint64_t bad_count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (dataset->split[i] > CSL_SPLIT_TEST && bad_count++ < CSL_FINDINGS_LISTED_MAX) {
            CSL_TRY(csl_finding(findings,
                                csl_fail(CSL_E_RANGE,
                                         "/split: image %" PRIu64 ": expected 0, 1 or 2, found %u",
                                         i, dataset->split[i])));
        }
    }
    return csl_finding_others(findings, "/split", bad_count);
}

static csl_status check_images(const csl_dataset *dataset, csl_findings *findings)
{
    if (!isfinite(dataset->slope) || dataset->slope == 0.0 || !isfinite(dataset->intercept)) {
        CSL_TRY(csl_finding(findings, csl_fail(CSL_E_RANGE,
                                               "/images: expected a finite slope other than 0 and "
                                               "a finite intercept, found %g and %g",
                                               dataset->slope, dataset->intercept)));
    }
    if (dataset->type != CSL_F32) {
        return CSL_OK;
    }
    size_t voxel_count = csl_shape_count(dataset->shape);
    uint64_t bad_count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        const float *image = (const float *)dataset->images + i * voxel_count;
        size_t at = 0;
        while (at < voxel_count && isfinite(image[at])) {
            at++;
        }
        if (at < voxel_count && bad_count++ < CSL_FINDINGS_LISTED_MAX) {
            CSL_TRY(csl_finding(findings, csl_fail(CSL_E_RANGE,
                                                   "/images: image %" PRIu64
                                                   ": expected finite values, found %g",
                                                   i, (double)image[at])));
        }
    }
    return csl_finding_others(findings, "/images", bad_count);
}

csl_status csl_dataset_check_all(const csl_dataset *dataset, csl_findings *findings)
{
    bool classes = dataset->task == CSL_TASK_BINARY || dataset->task == CSL_TASK_MULTICLASS;
    if (!csl_task_name(dataset->task) || !dataset->images || !dataset->split ||
        (classes ? !dataset->labels : !dataset->targets)) {
        return csl_fail(CSL_E_RANGE, "data set lacks images, labels or splits");
    }
    if (dataset->task == CSL_TASK_BINARY && dataset->class_count != 2) {
        CSL_TRY(csl_finding(findings, csl_fail(CSL_E_RANGE, "a binary task has 2 classes, found %u",
                                               dataset->class_count)));
    }
    CSL_TRY(check_classes(dataset, findings));
    CSL_TRY(check_targets(dataset, findings));
    CSL_TRY(check_known(dataset, findings));
    CSL_TRY(check_splits(dataset, findings));
    return check_images(dataset, findings);
}

csl_status csl_dataset_check(const csl_dataset *dataset)
{
    return csl_dataset_check_all(dataset, NULL);
}
