/*
 * The input pipeline: a thread that fills the next batch while the device works on this one.
 *
 * Which images make up a step, and how they are changed, is a function of (seed, round, step).
 */
#ifndef CSL_NN_PIPELINE_H
#define CSL_NN_PIPELINE_H

#include "nn/batch.h"

typedef struct csl_pipeline csl_pipeline;

typedef struct csl_pipeline_options {
    csl_augmentation augmentation;
    uint64_t seed;
    uint32_t batch; /* of the whole institution */
    uint32_t shard_index;
    uint32_t shard_count;
    bool sort_by_label; /* within the shard's part, so that each class is one stretch */
} csl_pipeline_options;

/* dataset is lent. layout.batch_max: images of this shard's part. */
csl_status csl_pipeline_create(csl_device *device,
                               const csl_dataset *dataset,
                               const csl_batch_layout *layout,
                               const csl_pipeline_options *options,
                               csl_pipeline **pipeline_out);
void csl_pipeline_destroy(csl_pipeline *pipeline);
/* Steps of one pass over the training split. */
uint64_t csl_pipeline_steps_per_epoch(const csl_pipeline *pipeline);
/* Starts the thread on the steps 0..step_count-1 of a round. */
csl_status csl_pipeline_start(csl_pipeline *pipeline, uint32_t round, uint64_t step_count);
/* The next step's batch, lent until the following call; waits for it. */
const csl_batch *csl_pipeline_next(csl_pipeline *pipeline);
/* Ends the thread, wherever it is; nothing if none runs. */
void csl_pipeline_stop(csl_pipeline *pipeline);

/* Images of shard `index` in a batch of `whole`: [first, end). */
static inline uint32_t csl_shard_begin(uint32_t whole, uint32_t index, uint32_t shard_count)
{
    return (uint32_t)((uint64_t)whole * index / shard_count);
}

#endif
