#include "test_support.h"

#include <consilium/metrics.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pairs counted one by one. */
static double oracle_auc(const float *scores,
                         size_t stride,
                         const uint8_t *positive,
                         const uint8_t *used,
                         uint64_t count)
{
    double above = 0.0;
    double pairs = 0.0;
    for (uint64_t i = 0; i < count; i++) {
        for (uint64_t j = 0; j < count; j++) {
            if ((used && (!used[i] || !used[j])) || !positive[i] || positive[j]) {
                continue;
            }
            float a = scores[i * stride];
            float b = scores[j * stride];
            above += a > b ? 1.0 : a < b ? 0.0 : 0.5;
            pairs += 1.0;
        }
    }
    return pairs > 0.0 ? above / pairs : NAN;
}

static void auc_equals_counting_every_pair_with_ties(void)
{
    enum { COUNT = 300 };
    float scores[2 * COUNT];
    uint8_t positive[COUNT];
    uint8_t used[COUNT];
    for (int trial = 0; trial < 60; trial++) {
        uint64_t count = csl_test_random() % COUNT;
        uint64_t levels = 1 + csl_test_random() % 40;
        for (uint64_t i = 0; i < count; i++) {
            scores[2 * i] = (float)(csl_test_random() % levels) / 7.0f;
            positive[i] = csl_test_random() % 3 == 0;
            used[i] = csl_test_random() % 4 != 0;
        }
        const uint8_t *mask = trial % 2 ? used : NULL;
        double auc = 0.0;
        CHECK_OK(csl_auc(scores, 2, positive, mask, count, &auc));
        double expected = oracle_auc(scores, 2, positive, mask, count);
        if (isnan(expected)) {
            CU_ASSERT(isnan(auc));
        } else {
            CHECK_NEAR(auc, expected, 1e-14);
        }
    }
}

static csl_evaluation *new_evaluation(csl_task task, uint32_t classes, uint64_t count, bool known)
{
    csl_evaluation *evaluation = NULL;
    CHECK_OK(csl_evaluation_create_empty(task, classes, count, known, &evaluation));
    CU_ASSERT_PTR_NOT_NULL_FATAL(evaluation);
    return evaluation;
}

static void a_small_binary_evaluation_gives_hand_computed_values(void)
{
    csl_evaluation *evaluation = new_evaluation(CSL_TASK_BINARY, 2, 4, false);
    static const float of_one[4] = {0.1f, 0.6f, 0.8f, 0.3f};
    static const int32_t labels[4] = {0, 0, 1, 1};
    for (int i = 0; i < 4; i++) {
        evaluation->scores[2 * i] = 1.0f - of_one[i];
        evaluation->scores[2 * i + 1] = of_one[i];
        evaluation->labels[i] = labels[i];
    }
    evaluation->loss_sum = 2.0;
    csl_metrics metrics;
    CHECK_OK(csl_metrics_compute(evaluation, &metrics));
    CHECK_NEAR(metrics.loss, 0.5, 0.0);
    CHECK_NEAR(metrics.accuracy, 0.5, 0.0);
    CHECK_NEAR(metrics.balanced_accuracy, 0.5, 0.0);
    CHECK_NEAR(metrics.auc, 0.75, 0.0);
    CHECK_NEAR(csl_metrics_selection_score(&metrics), 0.75, 0.0);
    CHECK_U64(metrics.confusion[1], 1);
    CHECK_U64(metrics.confusion[2], 1);
    /* Bins: 0.9 right, 0.6 wrong, 0.8 right, 0.7 wrong; each alone. */
    CHECK_NEAR(metrics.calibration_error, (0.1 + 0.6 + 0.2 + 0.7) / 4.0, 1e-6);
    csl_metrics_clear(&metrics);
    CU_ASSERT(isnan(metrics.auc) && !metrics.confusion);
    csl_evaluation_destroy(evaluation);
}

static void one_class_alone_leaves_the_auc_undefined(void)
{
    csl_evaluation *evaluation = new_evaluation(CSL_TASK_BINARY, 2, 3, false);
    csl_metrics metrics;
    CHECK_OK(csl_metrics_compute(evaluation, &metrics));
    CU_ASSERT(isnan(metrics.auc));
    CHECK_NEAR(csl_metrics_selection_score(&metrics), 1.0, 0.0);
    csl_metrics_clear(&metrics);
    csl_evaluation_destroy(evaluation);
    evaluation = new_evaluation(CSL_TASK_MULTICLASS, 5, 0, false);
    CHECK_OK(csl_metrics_compute(evaluation, &metrics));
    CU_ASSERT(isnan(metrics.accuracy) && isnan(metrics.loss));
    csl_metrics_clear(&metrics);
    csl_evaluation_destroy(evaluation);
    csl_evaluation_destroy(NULL);
}

static csl_evaluation *random_evaluation(csl_task task, uint32_t classes, uint64_t count)
{
    csl_evaluation *evaluation = new_evaluation(task, classes, count, task == CSL_TASK_MULTILABEL);
    for (uint64_t i = 0; i < count * classes; i++) {
        evaluation->scores[i] = (float)(csl_test_random() % 64) / 64.0f;
        if (evaluation->targets) {
            evaluation->targets[i] = (float)(csl_test_random() % 2);
        }
        if (evaluation->known) {
            evaluation->known[i] = csl_test_random() % 3 != 0;
        }
    }
    for (uint64_t i = 0; evaluation->labels && i < count; i++) {
        evaluation->labels[i] = (int32_t)(csl_test_random() % classes);
    }
    evaluation->loss_sum = csl_test_uniform();
    return evaluation;
}

static void multi_class_auc_is_the_mean_of_one_against_the_rest(void)
{
    csl_evaluation *evaluation = random_evaluation(CSL_TASK_MULTICLASS, 4, 200);
    csl_metrics metrics;
    CHECK_OK(csl_metrics_compute(evaluation, &metrics));
    double sum = 0.0;
    double recalls = 0.0;
    uint8_t positive[200];
    for (uint32_t k = 0; k < 4; k++) {
        uint64_t right = 0, row = 0;
        for (uint64_t i = 0; i < 200; i++) {
            positive[i] = evaluation->labels[i] == (int32_t)k;
            row += positive[i];
        }
        for (uint32_t j = 0; j < 4; j++) {
            right += j == k ? metrics.confusion[k * 4 + j] : 0;
        }
        sum += oracle_auc(evaluation->scores + k, 4, positive, NULL, 200);
        recalls += (double)right / (double)row;
    }
    CHECK_NEAR(metrics.auc, sum / 4.0, 1e-13);
    CHECK_NEAR(metrics.balanced_accuracy, recalls / 4.0, 1e-13);
    csl_metrics_clear(&metrics);
    csl_evaluation_destroy(evaluation);
}

static void unknown_labels_count_nowhere(void)
{
    csl_evaluation *evaluation = random_evaluation(CSL_TASK_MULTILABEL, 3, 150);
    csl_metrics before;
    csl_metrics after;
    CHECK_OK(csl_metrics_compute(evaluation, &before));
    uint64_t known = 0;
    for (int i = 0; i < 450; i++) {
        known += evaluation->known[i];
        if (!evaluation->known[i]) {
            evaluation->targets[i] = 1.0f - evaluation->targets[i];
            evaluation->scores[i] = 1.0f - evaluation->scores[i];
        }
    }
    CHECK_OK(csl_metrics_compute(evaluation, &after));
    uint64_t cells = 0;
    for (int i = 0; i < 12; i++) {
        cells += after.confusion[i];
        CHECK_U64(after.confusion[i], before.confusion[i]);
    }
    CHECK_U64(cells, known);
    CHECK_NEAR(after.auc, before.auc, 0.0);
    CHECK_NEAR(after.accuracy, before.accuracy, 0.0);
    csl_metrics_clear(&before);
    csl_metrics_clear(&after);
    csl_evaluation_destroy(evaluation);
}

static void regression_errors_are_those_of_the_definition(void)
{
    csl_evaluation *evaluation = new_evaluation(CSL_TASK_REGRESSION, 1, 3, false);
    static const float scores[3] = {1.0f, 2.0f, 4.0f};
    static const float targets[3] = {1.0f, 3.0f, 2.0f};
    memcpy(evaluation->scores, scores, sizeof scores);
    memcpy(evaluation->targets, targets, sizeof targets);
    csl_metrics metrics;
    CHECK_OK(csl_metrics_compute(evaluation, &metrics));
    CHECK_NEAR(metrics.mean_squared_error, 5.0 / 3.0, 1e-15);
    CHECK_NEAR(metrics.mean_absolute_error, 1.0, 1e-15);
    CHECK_NEAR(metrics.r_squared, 1.0 - 5.0 / 2.0, 1e-15);
    CU_ASSERT(csl_metrics_selection_score(&metrics) < 0.0);
    csl_metrics_clear(&metrics);
    csl_evaluation_destroy(evaluation);
}

static void parts_merge_in_order_and_survive_the_way_as_bytes(void)
{
    static const csl_task tasks[] = {CSL_TASK_BINARY, CSL_TASK_MULTILABEL, CSL_TASK_REGRESSION};
    for (int t = 0; t < 3; t++) {
        csl_evaluation *parts[3];
        csl_evaluation *decoded[3] = {NULL};
        for (int i = 0; i < 3; i++) {
            parts[i] = random_evaluation(tasks[t], 2, i == 1 ? 0 : 20 + (uint64_t)i);
            uint8_t *bytes = NULL;
            size_t size = 0;
            CHECK_OK(csl_evaluation_encode(parts[i], &bytes, &size));
            CHECK_OK(csl_evaluation_decode(bytes, size, &decoded[i]));
            csl_evaluation *broken = NULL;
            CHECK_STATUS(csl_evaluation_decode(bytes, size - 1, &broken), CSL_E_FORMAT);
            bytes[i == 1 ? 0 : 12] ^= 0x40; /* without images any number of classes fits */
            CHECK_STATUS(csl_evaluation_decode(bytes, size, &broken), CSL_E_FORMAT);
            CU_ASSERT_PTR_NULL(broken);
            free(bytes);
        }
        csl_evaluation *whole = NULL;
        CHECK_OK(csl_evaluation_merge((const csl_evaluation *const *)decoded, 3, &whole));
        CHECK_U64(whole->count, 42);
        CU_ASSERT(memcmp(whole->scores, parts[0]->scores, 20 * 2 * sizeof(float)) == 0);
        CU_ASSERT(memcmp(whole->scores + 40, parts[2]->scores, 22 * 2 * sizeof(float)) == 0);
        CHECK_NEAR(whole->loss_sum, parts[0]->loss_sum + parts[1]->loss_sum + parts[2]->loss_sum,
                   0.0);
        csl_evaluation_destroy(whole);
        for (int i = 0; i < 3; i++) {
            csl_evaluation_destroy(parts[i]);
            csl_evaluation_destroy(decoded[i]);
        }
    }
}

static void scores_and_labels_that_cannot_be_are_refused(void)
{
    csl_evaluation *evaluation = random_evaluation(CSL_TASK_BINARY, 2, 5);
    csl_metrics metrics;
    evaluation->labels[3] = 2;
    CHECK_STATUS(csl_metrics_compute(evaluation, &metrics), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "label 2 of image 3");
    evaluation->labels[3] = 1;
    evaluation->scores[8] = NAN;
    CHECK_STATUS(csl_metrics_compute(evaluation, &metrics), CSL_E_DIVERGED);
    CHECK_CONTAINS(csl_error_message(), "image 4");
    csl_evaluation *other = random_evaluation(CSL_TASK_MULTICLASS, 3, 5);
    csl_evaluation *whole = NULL;
    const csl_evaluation *parts[2] = {evaluation, other};
    CHECK_STATUS(csl_evaluation_merge(parts, 2, &whole), CSL_E_SHAPE);
    CHECK_STATUS(csl_evaluation_merge(parts, 0, &whole), CSL_E_RANGE);
    csl_evaluation_destroy(evaluation);
    csl_evaluation_destroy(other);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"AUC equals counting every pair", auc_equals_counting_every_pair_with_ties},
        {"hand-computed values", a_small_binary_evaluation_gives_hand_computed_values},
        {"one class alone leaves the AUC undefined", one_class_alone_leaves_the_auc_undefined},
        {"multi-class AUC is a mean", multi_class_auc_is_the_mean_of_one_against_the_rest},
        {"unknown labels count nowhere", unknown_labels_count_nowhere},
        {"regression errors", regression_errors_are_those_of_the_definition},
        {"parts merge in order", parts_merge_in_order_and_survive_the_way_as_bytes},
        {"impossible scores and labels", scores_and_labels_that_cannot_be_are_refused},
    };
    return csl_test_main("metrics", cases, sizeof cases / sizeof *cases);
}
