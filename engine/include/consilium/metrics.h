/*
 * What an evaluation says: loss, accuracy, AUC, confusion, calibration. EXACT given the scores:
 * counts are integers, and sums run in float64 in the order of the images, institutions in
 * ascending order. A value that does not exist (AUC of one class only) is NaN and printed
 * "undefined".
 */
#ifndef CONSILIUM_METRICS_H
#define CONSILIUM_METRICS_H

#include <consilium/dataset.h>

enum { CSL_CALIBRATION_BINS = 15 };

/* Scores of the images of one split, with what is true of them. Arrays are [count] or
 * [count][class_count]; by task, labels or targets are NULL; known is NULL if all targets are. */
typedef struct csl_evaluation {
    csl_task task;
    uint32_t class_count;
    uint64_t count;
    double loss_sum; /* over images */
    float *scores;   /* probabilities; raw outputs for regression */
    int32_t *labels;
    float *targets;
    uint8_t *known;
} csl_evaluation;

/* An empty evaluation with room for the images of one split, truth filled in from the data set; the
 * caller then fills scores [count][class_count] and loss_sum (csl_evaluator_run). Errors:
 * E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_evaluation_create(const csl_dataset *dataset,
                                                        csl_split split,
                                                        csl_evaluation **evaluation_out);
/* The same with truth left zero, for scores that arrive from elsewhere. has_known: multi-label
 * only. */
CSL_API CSL_MUST_CHECK csl_status csl_evaluation_create_empty(csl_task task,
                                                              uint32_t class_count,
                                                              uint64_t count,
                                                              bool has_known,
                                                              csl_evaluation **evaluation_out);
CSL_API void csl_evaluation_destroy(csl_evaluation *evaluation);
/* One evaluation of all parts in their order (of institutions). Errors: E_SHAPE (tasks or classes
 * differ), E_RANGE (no part), E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_evaluation_merge(const csl_evaluation *const *parts,
                                                       uint32_t part_count,
                                                       csl_evaluation **evaluation_out);
/* As bytes for a message (little endian, self-describing), malloc'ed, owned by the caller; and
 * back. Errors of decode: E_FORMAT. */
CSL_API CSL_MUST_CHECK csl_status csl_evaluation_encode(const csl_evaluation *evaluation,
                                                        uint8_t **bytes_out,
                                                        size_t *size_out);
CSL_API CSL_MUST_CHECK csl_status csl_evaluation_decode(const void *bytes,
                                                        size_t size,
                                                        csl_evaluation **evaluation_out);

typedef struct csl_metrics {
    csl_task task;
    uint32_t class_count;
    uint64_t count;           /* images; 0 makes everything else undefined */
    double loss;              /* mean over images */
    double accuracy;          /* multi-label: over known targets, threshold 1/2 */
    double balanced_accuracy; /* mean recall of the classes that occur; multi-label: of both
                                 answers, over labels */
    double auc; /* of class 1; macro one-vs-rest over classes, or labels, that have both sides */
    double calibration_error;  /* expected, CSL_CALIBRATION_BINS equal bins of the top probability
                                  (Guo et al. 2017) */
    double mean_squared_error; /* regression: over all targets */
    double mean_absolute_error;
    double r_squared;                  /* regression: mean over targets */
    double class_auc[CSL_CLASSES_MAX]; /* one-vs-rest per class or label */
    double class_recall[CSL_CLASSES_MAX];
    uint64_t *confusion; /* [class_count true][class_count predicted]; multi-label [label][2 true][2
                            predicted]; regression NULL. Owned: csl_metrics_clear */
} csl_metrics;

/* Errors: E_DIVERGED (a score that is not finite), E_RANGE (a label outside the classes),
 * E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_metrics_compute(const csl_evaluation *evaluation,
                                                      csl_metrics *metrics_out);
/* Frees confusion and makes every value undefined. */
CSL_API void csl_metrics_clear(csl_metrics *metrics);
/* What the best model is chosen by, larger is better: AUC if defined, else balanced accuracy; minus
 * the mean squared error for regression. */
CSL_API double csl_metrics_selection_score(const csl_metrics *metrics);

/*
 * Area under the ROC curve, exact with ties: pairs (positive above negative) + ties / 2, over all
 * pairs. scores at `stride` elements, positive [count] 0 or 1, used [count] or NULL. NaN unless
 * both sides occur. Errors: E_NO_MEMORY.
 */
CSL_API CSL_MUST_CHECK csl_status csl_auc(const float *scores,
                                          size_t stride,
                                          const uint8_t *positive,
                                          const uint8_t *used,
                                          uint64_t count,
                                          double *auc_out);

#endif
