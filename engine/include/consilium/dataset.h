/*
 * An institution's images and labels in host memory, however they were stored.
 *
 * The engine reads data sets only through this structure; datasets/ fills it from HDF5, and tests
 * fill it by hand.
 */
#ifndef CONSILIUM_DATASET_H
#define CONSILIUM_DATASET_H

#include <consilium/status.h>
#include <consilium/types.h>

typedef enum csl_task {
    CSL_TASK_BINARY,     /* labels 0 or 1; two softmax outputs; AUC of class 1 */
    CSL_TASK_MULTICLASS, /* labels 0..class_count-1 */
    CSL_TASK_MULTILABEL, /* targets 0 or 1 per label, may be unknown */
    CSL_TASK_REGRESSION  /* targets are real numbers */
} csl_task;

typedef enum csl_split {
    CSL_SPLIT_TRAIN = 0,
    CSL_SPLIT_VALIDATION = 1,
    CSL_SPLIT_TEST = 2
} csl_split;

typedef struct csl_dataset {
    char site[CSL_NAME_MAX]; /* identity of the institution, "" for a pool */
    csl_task task;
    uint32_t class_count; /* classes, labels of a multi-label task, or regression targets */
    char (*class_names)[CSL_NAME_MAX]; /* [class_count] or NULL */
    csl_shape shape;
    csl_element_type type;
    double slope; /* value = raw * slope + intercept */
    double intercept;
    uint64_t count;    /* images */
    void *images;      /* [count][channels][depth][height][width] of type, C order */
    int32_t *labels;   /* [count], binary and multi-class tasks; else NULL */
    float *targets;    /* [count][class_count], multi-label and regression tasks; else NULL */
    uint8_t *known;    /* [count][class_count] 1 where a multi-label target is known, or NULL */
    uint8_t *split;    /* [count] of csl_split */
    uint64_t *subject; /* [count] patient, keyed hash; NULL if unknown */
    int32_t *group;    /* [count] what must stay together (photograph, scan); NULL if none */
    uint16_t *scanner; /* [count] or NULL */
    uint8_t source_sha256[32];
} csl_dataset;

/* Frees the arrays and the structure; NULL is allowed. */
CSL_API void csl_dataset_destroy(csl_dataset *dataset);

/* Allocates a data set with all-zero images, labels or targets (by task) and split; the optional
 * arrays stay NULL. Errors: E_RANGE (shape, class_count, count), E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_create(csl_task task,
                                                     csl_shape shape,
                                                     csl_element_type type,
                                                     uint32_t class_count,
                                                     uint64_t count,
                                                     csl_dataset **dataset_out);

/* Number of images in one split. */
CSL_API uint64_t csl_dataset_split_count(const csl_dataset *dataset, csl_split split);
/* Bytes of one image as stored. */
CSL_API size_t csl_dataset_image_size(const csl_dataset *dataset);

#endif
