#include "nn/pipeline.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SLOT_COUNT = 2 };

struct csl_pipeline {
    csl_device *device;
    const csl_dataset *dataset;
    csl_batch_layout layout;
    csl_pipeline_options options;
    bool augments;
    uint64_t image_count;
    uint64_t *images;      /* [image_count] training images of the data set */
    uint64_t *permutation; /* [image_count] order of the current epoch */
    uint32_t *positions;   /* [batch_max] positions in the batch, in order of labels */
    csl_batch slots[SLOT_COUNT];
    uint32_t round;
    uint64_t step_count;
    uint64_t epoch; /* whose order `permutation` holds, UINT64_MAX: none */
    bool running;
    pthread_t thread;
    /* Guarded by the mutex. Step t lies in slot t % SLOT_COUNT. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t filled_count;   /* steps filled */
    uint64_t released_count; /* steps whose slot may be filled again */
    bool stopping;
    uint64_t taken_count; /* steps handed out; the caller's thread only */
};

uint64_t csl_pipeline_steps_per_epoch(const csl_pipeline *pipeline)
{
    return (pipeline->image_count + pipeline->options.batch - 1) / pipeline->options.batch;
}

/* Positions [first, first + count) of the epoch, by label where that is asked for (stable). */
static void order_positions(csl_pipeline *p, uint64_t first, uint32_t count)
{
    uint32_t start[CSL_CLASSES_MAX + 1] = {0};
    if (!p->options.sort_by_label) {
        for (uint32_t i = 0; i < count; i++) {
            p->positions[i] = i;
        }
        return;
    }
    const int32_t *labels = p->dataset->labels;
    for (uint32_t i = 0; i < count; i++) {
        start[labels[p->images[p->permutation[first + i]]] + 1]++;
    }
    for (uint32_t c = 0; c < p->dataset->class_count; c++) {
        start[c + 1] += start[c];
    }
    for (uint32_t i = 0; i < count; i++) {
        p->positions[start[labels[p->images[p->permutation[first + i]]]]++] = i;
    }
}

static void fill_slot(csl_pipeline *p, uint64_t step, csl_batch *slot)
{
    uint64_t steps_per_epoch = csl_pipeline_steps_per_epoch(p);
    uint64_t epoch = step / steps_per_epoch;
    if (epoch != p->epoch) {
        csl_random random =
            csl_random_stream(p->options.seed, CSL_RANDOM_SHUFFLE, p->round, (uint32_t)epoch);
        csl_random_permutation(&random, p->image_count, p->permutation);
        p->epoch = epoch;
    }
    uint64_t first = step % steps_per_epoch * p->options.batch;
    uint64_t left = p->image_count - first;
    uint32_t whole = left < p->options.batch ? (uint32_t)left : p->options.batch;
    uint32_t begin = csl_shard_begin(whole, p->options.shard_index, p->options.shard_count);
    uint32_t end = csl_shard_begin(whole, p->options.shard_index + 1, p->options.shard_count);
    slot->count = end - begin;
    slot->first_image = begin;
    slot->whole_count = whole;
    order_positions(p, first + begin, slot->count);
    uint64_t seed =
        csl_random_derive(p->options.seed, CSL_RANDOM_AUGMENT, p->round, (uint32_t)step);
    for (uint32_t i = 0; i < slot->count; i++) {
        uint32_t position = begin + p->positions[i];
        csl_batch_set(p->dataset, p->images[p->permutation[first + position]], i, slot);
        if (p->augments) {
            csl_random random = csl_random_stream(seed, CSL_RANDOM_AUGMENT, 0, position);
            csl_augmentation_draw(&p->options.augmentation, p->layout.shape, &random,
                                  &slot->augment[i]);
        }
    }
}

static void *fill_all(void *argument)
{
    csl_pipeline *p = argument;
    for (uint64_t step = 0; step < p->step_count; step++) {
        pthread_mutex_lock(&p->mutex);
        while (!p->stopping && step >= p->released_count + SLOT_COUNT) {
            pthread_cond_wait(&p->changed, &p->mutex);
        }
        bool stopping = p->stopping;
        pthread_mutex_unlock(&p->mutex);
        if (stopping) {
            return NULL;
        }
        fill_slot(p, step, &p->slots[step % SLOT_COUNT]);
        pthread_mutex_lock(&p->mutex);
        p->filled_count = step + 1;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mutex);
    }
    return NULL;
}

csl_status csl_pipeline_start(csl_pipeline *p, uint32_t round, uint64_t step_count)
{
    csl_pipeline_stop(p);
    p->round = round;
    p->step_count = step_count;
    p->epoch = UINT64_MAX;
    p->filled_count = p->released_count = p->taken_count = 0;
    p->stopping = false;
    int error = pthread_create(&p->thread, NULL, fill_all, p);
    if (error) {
        return csl_fail(CSL_E_NO_MEMORY, "no thread for the input pipeline: %s", strerror(error));
    }
    p->running = true;
    return CSL_OK;
}

const csl_batch *csl_pipeline_next(csl_pipeline *p)
{
    pthread_mutex_lock(&p->mutex);
    p->released_count = p->taken_count; /* the batch handed out before is done with */
    pthread_cond_broadcast(&p->changed);
    while (p->filled_count <= p->taken_count) {
        pthread_cond_wait(&p->changed, &p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return &p->slots[p->taken_count++ % SLOT_COUNT];
}

void csl_pipeline_stop(csl_pipeline *p)
{
    if (!p->running) {
        return;
    }
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    pthread_join(p->thread, NULL);
    p->running = false;
}

static csl_status build_pipeline(csl_pipeline *p)
{
    p->image_count = csl_dataset_split_count(p->dataset, CSL_SPLIT_TRAIN);
    if (p->image_count == 0) {
        return csl_fail(CSL_E_RANGE, "data set '%s' has no training images", p->dataset->site);
    }
    p->images = malloc(p->image_count * sizeof *p->images);
    p->permutation = malloc(p->image_count * sizeof *p->permutation);
    p->positions = malloc(p->layout.batch_max * sizeof *p->positions);
    if (!p->images || !p->permutation || !p->positions) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the order of %llu images",
                        (unsigned long long)p->image_count);
    }
    uint64_t next = 0;
    for (uint64_t i = 0; i < p->dataset->count; i++) {
        if (p->dataset->split[i] == CSL_SPLIT_TRAIN) {
            p->images[next++] = i;
        }
    }
    for (int i = 0; i < SLOT_COUNT; i++) {
        CSL_TRY(csl_batch_create(p->device, &p->layout, false, &p->slots[i]));
    }
    return CSL_OK;
}

csl_status csl_pipeline_create(csl_device *device,
                               const csl_dataset *dataset,
                               const csl_batch_layout *layout,
                               const csl_pipeline_options *options,
                               csl_pipeline **pipeline_out)
{
    csl_pipeline *p = calloc(1, sizeof *p);
    if (!p) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the input pipeline");
    }
    p->device = device;
    p->dataset = dataset;
    p->layout = *layout;
    p->options = *options;
    p->augments = csl_augmentation_is_active(&options->augmentation);
    pthread_mutex_init(&p->mutex, NULL); /* cannot fail with default attributes on Linux */
    pthread_cond_init(&p->changed, NULL);
    csl_status status = build_pipeline(p);
    if (status != CSL_OK) {
        csl_pipeline_destroy(p);
        return status;
    }
    *pipeline_out = p;
    return CSL_OK;
}

void csl_pipeline_destroy(csl_pipeline *p)
{
    if (!p) {
        return;
    }
    csl_pipeline_stop(p);
    for (int i = 0; i < SLOT_COUNT; i++) {
        csl_batch_destroy(p->device, false, &p->slots[i]);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    free(p->images);
    free(p->permutation);
    free(p->positions);
    free(p);
}
