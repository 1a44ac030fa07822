/* Random data sets for tests of files and partitions. */
#ifndef CSL_RANDOM_DATASET_H
#define CSL_RANDOM_DATASET_H

#include <consilium/dataset.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_support.h"

static inline void csl_test_fill_values(csl_dataset *dataset)
{
    size_t size = (size_t)dataset->count * csl_dataset_image_size(dataset);
    for (size_t i = 0; i < size && dataset->type != CSL_F32; i++) {
        ((uint8_t *)dataset->images)[i] = (uint8_t)csl_test_random();
    }
    for (size_t i = 0; i < size / 4 && dataset->type == CSL_F32; i++) {
        ((float *)dataset->images)[i] = (float)csl_test_normal();
    }
    for (uint64_t i = 0; i < dataset->count; i++) {
        dataset->split[i] = (uint8_t)(csl_test_random() % 3);
        if (dataset->labels) {
            dataset->labels[i] = (int32_t)(csl_test_random() % dataset->class_count);
        }
        for (uint32_t k = 0; dataset->targets && k < dataset->class_count; k++) {
            dataset->targets[i * dataset->class_count + k] = dataset->task == CSL_TASK_MULTILABEL
                                                                 ? (float)(csl_test_random() & 1)
                                                                 : (float)csl_test_normal();
        }
    }
}

/* A data set with every optional array present; the caller destroys it. */
static inline csl_dataset *csl_test_random_dataset(
    csl_task task, csl_shape shape, csl_element_type type, uint32_t class_count, uint64_t count)
{
    csl_dataset *dataset = NULL;
    if (csl_dataset_create(task, shape, type, class_count, count, &dataset) != CSL_OK) {
        fprintf(stderr, "%s\n", csl_error_message());
        abort();
    }
    csl_test_fill_values(dataset);
    snprintf(dataset->site, sizeof dataset->site, "site-%u", (unsigned)(csl_test_random() % 100));
    dataset->slope = 0.5 + csl_test_uniform();
    dataset->intercept = csl_test_normal();
    dataset->class_names = calloc(class_count, sizeof *dataset->class_names);
    dataset->subject = calloc(count, sizeof *dataset->subject);
    dataset->group = calloc(count, sizeof *dataset->group);
    dataset->scanner = calloc(count, sizeof *dataset->scanner);
    for (uint32_t k = 0; k < class_count; k++) {
        snprintf(dataset->class_names[k], sizeof dataset->class_names[k], "class %u", k);
    }
    for (uint64_t i = 0; i < count; i++) {
        dataset->subject[i] = 0x8000000000000000u + csl_test_random() % (count / 2 + 1);
        dataset->group[i] = (int32_t)(dataset->subject[i] % 7);
        dataset->scanner[i] = (uint16_t)(dataset->subject[i] % 5);
    }
    if (task == CSL_TASK_MULTILABEL) {
        dataset->known = calloc(count, class_count);
        for (uint64_t i = 0; i < count * class_count; i++) {
            dataset->known[i] = csl_test_random() % 4 != 0;
        }
    }
    for (size_t i = 0; i < sizeof dataset->source_sha256; i++) {
        dataset->source_sha256[i] = (uint8_t)csl_test_random();
    }
    return dataset;
}

/* Removes the arrays a file may lack. */
static inline void csl_test_strip_dataset(csl_dataset *dataset)
{
    free(dataset->class_names);
    free(dataset->subject);
    free(dataset->group);
    free(dataset->scanner);
    free(dataset->known);
    dataset->class_names = NULL;
    dataset->subject = NULL;
    dataset->group = NULL;
    dataset->scanner = NULL;
    dataset->known = NULL;
    dataset->site[0] = 0;
}

#endif
