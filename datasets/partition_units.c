#include "partition_units.h"

#include <inttypes.h>
#include <stdlib.h>

uint32_t csl_stratum_count(const csl_dataset *dataset)
{
    return dataset->task == CSL_TASK_MULTILABEL   ? dataset->class_count + 1
           : dataset->task == CSL_TASK_REGRESSION ? 1
                                                  : dataset->class_count;
}

uint32_t csl_image_stratum(const csl_dataset *dataset, uint64_t image)
{
    if (dataset->labels) {
        return (uint32_t)dataset->labels[image];
    }
    if (dataset->task == CSL_TASK_REGRESSION) {
        return 0;
    }
    for (uint32_t label = 0; label < dataset->class_count; label++) {
        uint64_t at = image * dataset->class_count + label;
        if ((!dataset->known || dataset->known[at]) && dataset->targets[at] > 0.5f) {
            return label;
        }
    }
    return dataset->class_count;
}

static double mean_intensity(const csl_dataset *dataset, uint64_t image)
{
    size_t count = csl_shape_count(dataset->shape);
    size_t base = (size_t)image * count;
    double sum = 0.0;
    for (size_t i = base; i < base + count; i++) {
        sum += dataset->type == CSL_U8    ? ((const uint8_t *)dataset->images)[i]
               : dataset->type == CSL_I16 ? ((const int16_t *)dataset->images)[i]
               : dataset->type == CSL_U16 ? ((const uint16_t *)dataset->images)[i]
                                          : (double)((const float *)dataset->images)[i];
    }
    return sum / (double)count;
}

typedef struct keyed {
    uint64_t key, image;
} keyed;

static int compare_keyed(const void *left, const void *right)
{
    const keyed *a = left, *b = right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return (a->image > b->image) - (a->image < b->image);
}

static int compare_units(const void *left, const void *right)
{
    const csl_unit *a = left, *b = right;
    return (a->first > b->first) - (a->first < b->first);
}

static uint64_t key_of(const csl_dataset *dataset, const csl_study_split *split, uint64_t image)
{
    return split->force       ? image
           : dataset->subject ? dataset->subject[image]
           : dataset->group   ? (uint64_t)(int64_t)dataset->group[image]
                              : image;
}

static uint32_t
majority(const csl_dataset *dataset, const uint64_t *images, uint64_t count, uint32_t stratum_count)
{
    uint64_t votes[CSL_CLASSES_MAX + 1] = {0};
    uint32_t best = 0;
    for (uint64_t i = 0; i < count; i++) {
        votes[csl_image_stratum(dataset, images[i])]++;
    }
    for (uint32_t k = 1; k < stratum_count; k++) {
        best = votes[k] > votes[best] ? k : best;
    }
    return best;
}

static csl_status describe(const csl_dataset *dataset,
                           const csl_study_split *split,
                           csl_unit *unit,
                           const uint64_t *images,
                           uint32_t stratum_count)
{
    bool redraw = split->holdout == CSL_HOLDOUT_REDRAW;
    uint64_t image = images[0];
    unit->split = redraw ? CSL_SPLIT_TRAIN : dataset->split[image];
    for (uint64_t i = 1; i < unit->count && !redraw; i++) {
        if (dataset->split[images[i]] != unit->split) {
            return csl_fail(CSL_E_RANGE,
                            "%s of images %" PRIu64 " and %" PRIu64 " lies in two splits; "
                            "redraw the splits or force",
                            dataset->subject ? "subject" : "group", image, images[i]);
        }
    }
    unit->stratum = majority(dataset, images, unit->count, stratum_count);
    unit->site = dataset->group     ? dataset->group[image]
                 : dataset->scanner ? dataset->scanner[image]
                                    : 0;
    for (uint64_t i = 1; split->scheme == CSL_SPLIT_SCHEME_NATURAL && i < unit->count; i++) {
        int64_t other = dataset->group     ? dataset->group[images[i]]
                        : dataset->scanner ? dataset->scanner[images[i]]
                                           : 0;
        if (other != unit->site) {
            return csl_fail(CSL_E_RANGE,
                            "a subject has images at two sites (images %" PRIu64 " and %" PRIu64
                            "); force breaks it up",
                            image, images[i]);
        }
    }
    if (split->scheme == CSL_SPLIT_SCHEME_FEATURE_SCANNER) {
        unit->property =
            dataset->scanner ? dataset->scanner[image] : mean_intensity(dataset, image);
    }
    return CSL_OK;
}

static csl_status
fill(const csl_dataset *dataset, const csl_study_split *split, keyed *keys, csl_units *units)
{
    for (uint64_t i = 0; i < dataset->count; i++) {
        keys[i] = (keyed){key_of(dataset, split, i), i};
    }
    qsort(keys, (size_t)dataset->count, sizeof *keys, compare_keyed);
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (i == 0 || keys[i].key != keys[i - 1].key) {
            units->units[units->count++] = (csl_unit){.key = keys[i].key, .first = i};
        }
        units->units[units->count - 1].count++;
        units->images[i] = keys[i].image;
    }
    for (uint64_t u = 0; u < units->count; u++) {
        csl_unit *unit = &units->units[u];
        CSL_TRY(describe(dataset, split, unit, units->images + unit->first, units->stratum_count));
    }
    qsort(units->units, (size_t)units->count, sizeof *units->units, compare_units);
    return CSL_OK;
}

csl_status
csl_units_create(const csl_dataset *dataset, const csl_study_split *split, csl_units **units_out)
{
    csl_units *units = calloc(1, sizeof *units);
    keyed *keys = calloc((size_t)dataset->count, sizeof *keys);
    csl_status status = CSL_E_NO_MEMORY;
    if (units) {
        units->units = calloc((size_t)dataset->count, sizeof *units->units);
        units->images = calloc((size_t)dataset->count, sizeof *units->images);
        units->stratum_count = csl_stratum_count(dataset);
    }
    if (!units || !keys || !units->units || !units->images) {
        status =
            csl_fail(CSL_E_NO_MEMORY, "no memory to partition %" PRIu64 " images", dataset->count);
    } else {
        status = fill(dataset, split, keys, units);
    }
    free(keys);
    if (status != CSL_OK) {
        csl_units_destroy(units);
        return status;
    }
    *units_out = units;
    return CSL_OK;
}

void csl_units_destroy(csl_units *units)
{
    if (units) {
        free(units->units);
        free(units->images);
        free(units);
    }
}
