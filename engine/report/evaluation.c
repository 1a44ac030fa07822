/* Scores with what is true of them: made from a split, merged, sent as bytes. */
#include "base/bytes.h"

#include <consilium/metrics.h>

#include <stdlib.h>

static const char magic_[8] = {'C', 'S', 'L', 'E', 'V', 'A', 'L', '1'};
enum { HEADER_SIZE = 40 };

static bool has_labels(csl_task task)
{
    return task == CSL_TASK_BINARY || task == CSL_TASK_MULTICLASS;
}

csl_status csl_evaluation_create_empty(csl_task task,
                                       uint32_t class_count,
                                       uint64_t count,
                                       bool has_known,
                                       csl_evaluation **evaluation_out)
{
    if (class_count == 0 || class_count > CSL_CLASSES_MAX || task > CSL_TASK_REGRESSION ||
        count > (UINT64_C(1) << 32)) {
        return csl_fail(CSL_E_RANGE, "evaluation of %llu images and %u classes",
                        (unsigned long long)count, class_count);
    }
    csl_evaluation *evaluation = calloc(1, sizeof *evaluation);
    if (!evaluation) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for an evaluation");
    }
    size_t values = (size_t)count * class_count;
    values = values ? values : 1;
    *evaluation = (csl_evaluation){.task = task, .class_count = class_count, .count = count};
    evaluation->scores = calloc(values, sizeof(float));
    bool complete = evaluation->scores != NULL;
    if (has_labels(task)) {
        evaluation->labels = calloc((size_t)count + 1, sizeof(int32_t));
        complete = complete && evaluation->labels;
    } else {
        evaluation->targets = calloc(values, sizeof(float));
        complete = complete && evaluation->targets;
    }
    if (has_known) {
        evaluation->known = calloc(values, 1);
        complete = complete && evaluation->known;
    }
    if (!complete) {
        csl_evaluation_destroy(evaluation);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for scores of %llu images",
                        (unsigned long long)count);
    }
    *evaluation_out = evaluation;
    return CSL_OK;
}

csl_status
csl_evaluation_create(const csl_dataset *dataset, csl_split split, csl_evaluation **evaluation_out)
{
    csl_evaluation *evaluation = NULL;
    CSL_TRY(csl_evaluation_create_empty(
        dataset->task, dataset->class_count, csl_dataset_split_count(dataset, split),
        dataset->known != NULL && !has_labels(dataset->task), &evaluation));
    size_t width = dataset->class_count;
    size_t row = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (dataset->split[i] != (uint8_t)split) {
            continue;
        }
        if (evaluation->labels) {
            evaluation->labels[row] = dataset->labels[i];
        } else {
            memcpy(evaluation->targets + row * width, dataset->targets + i * width,
                   width * sizeof(float));
        }
        if (evaluation->known) {
            memcpy(evaluation->known + row * width, dataset->known + i * width, width);
        }
        row++;
    }
    *evaluation_out = evaluation;
    return CSL_OK;
}

void csl_evaluation_destroy(csl_evaluation *evaluation)
{
    if (evaluation) {
        free(evaluation->scores);
        free(evaluation->labels);
        free(evaluation->targets);
        free(evaluation->known);
        free(evaluation);
    }
}

static void copy_part(const csl_evaluation *part, uint64_t first, csl_evaluation *whole)
{
    size_t width = whole->class_count;
    size_t start = (size_t)first * width;
    size_t values = (size_t)part->count * width;
    if (values == 0) {
        return;
    }
    memcpy(whole->scores + start, part->scores, values * sizeof(float));
    if (whole->labels) {
        memcpy(whole->labels + first, part->labels, (size_t)part->count * sizeof(int32_t));
    } else {
        memcpy(whole->targets + start, part->targets, values * sizeof(float));
    }
    if (whole->known && part->known) {
        memcpy(whole->known + start, part->known, values);
    } else if (whole->known) {
        memset(whole->known + start, 1, values);
    }
}

csl_status csl_evaluation_merge(const csl_evaluation *const *parts,
                                uint32_t part_count,
                                csl_evaluation **evaluation_out)
{
    if (part_count == 0) {
        return csl_fail(CSL_E_RANGE, "no evaluation to merge");
    }
    uint64_t count = 0;
    bool has_known = false;
    for (uint32_t i = 0; i < part_count; i++) {
        if (parts[i]->task != parts[0]->task || parts[i]->class_count != parts[0]->class_count) {
            return csl_fail(CSL_E_SHAPE,
                            "evaluation %u has another task or %u classes, the first %u", i,
                            parts[i]->class_count, parts[0]->class_count);
        }
        count += parts[i]->count;
        has_known = has_known || parts[i]->known;
    }
    csl_evaluation *whole = NULL;
    CSL_TRY(csl_evaluation_create_empty(parts[0]->task, parts[0]->class_count, count, has_known,
                                        &whole));
    uint64_t first = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        copy_part(parts[i], first, whole);
        first += parts[i]->count;
        whole->loss_sum += parts[i]->loss_sum;
    }
    *evaluation_out = whole;
    return CSL_OK;
}

static uint64_t encoded_size(csl_task task, uint32_t class_count, uint64_t count, bool has_known)
{
    uint64_t values = count * class_count;
    uint64_t truth = has_labels(task) ? count * 4 : values * 4;
    return HEADER_SIZE + values * 4 + truth + (has_known ? values : 0);
}

csl_status
csl_evaluation_encode(const csl_evaluation *evaluation, uint8_t **bytes_out, size_t *size_out)
{
    size_t values = (size_t)evaluation->count * evaluation->class_count;
    size_t size = (size_t)encoded_size(evaluation->task, evaluation->class_count, evaluation->count,
                                       evaluation->known != NULL);
    csl_byte_writer writer = {.bytes = malloc(size)};
    if (!writer.bytes) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %zu bytes of scores", size);
    }
    csl_put(&writer, magic_, sizeof magic_);
    csl_put_u32(&writer, (uint32_t)evaluation->task);
    csl_put_u32(&writer, evaluation->class_count);
    csl_put_u64(&writer, evaluation->count);
    csl_put_f64(&writer, evaluation->loss_sum);
    csl_put_u64(&writer, evaluation->known != NULL);
    csl_put(&writer, evaluation->scores, values * sizeof(float));
    if (evaluation->labels) {
        csl_put(&writer, evaluation->labels, (size_t)evaluation->count * sizeof(int32_t));
    } else {
        csl_put(&writer, evaluation->targets, values * sizeof(float));
    }
    if (evaluation->known) {
        csl_put(&writer, evaluation->known, values);
    }
    *bytes_out = writer.bytes;
    *size_out = size;
    return CSL_OK;
}

csl_status csl_evaluation_decode(const void *bytes, size_t size, csl_evaluation **evaluation_out)
{
    csl_byte_reader reader = {.bytes = bytes, .size = size};
    char magic[sizeof magic_];
    csl_get(&reader, magic, sizeof magic);
    uint32_t task = csl_get_u32(&reader);
    uint32_t class_count = csl_get_u32(&reader);
    uint64_t count = csl_get_u64(&reader);
    double loss_sum = csl_get_f64(&reader);
    uint64_t has_known = csl_get_u64(&reader);
    /* Bounds first: afterwards the size cannot overflow. */
    if (reader.failed || memcmp(magic, magic_, sizeof magic) != 0 || task > CSL_TASK_REGRESSION ||
        class_count == 0 || class_count > CSL_CLASSES_MAX || count > (UINT64_C(1) << 32) ||
        has_known > (task == CSL_TASK_MULTILABEL) ||
        size != encoded_size((csl_task)task, class_count, count, has_known != 0)) {
        return csl_fail(CSL_E_FORMAT, "evaluation: %zu bytes are not scores of %llu images", size,
                        (unsigned long long)count);
    }
    csl_evaluation *evaluation = NULL;
    CSL_TRY(csl_evaluation_create_empty((csl_task)task, class_count, count, has_known != 0,
                                        &evaluation));
    size_t values = (size_t)count * class_count;
    evaluation->loss_sum = loss_sum;
    csl_get(&reader, evaluation->scores, values * sizeof(float));
    if (evaluation->labels) {
        csl_get(&reader, evaluation->labels, (size_t)count * sizeof(int32_t));
    } else {
        csl_get(&reader, evaluation->targets, values * sizeof(float));
    }
    if (evaluation->known) {
        csl_get(&reader, evaluation->known, values);
    }
    *evaluation_out = evaluation;
    return CSL_OK;
}
