/* What the parts of the trainer share. */
#ifndef CSL_NN_TRAINER_H
#define CSL_NN_TRAINER_H

#include "nn/batch.h"
#include "nn/model.h"
#include "nn/pipeline.h"

/* A stretch of the flat vector that the optimiser treats alike. */
typedef struct csl_range {
    size_t offset;
    size_t count;
    bool decays; /* weight decay applies */
} csl_range;

struct csl_trainer {
    csl_device *device; /* lent */
    const csl_kernels *kernels;
    csl_train_options options;
    csl_model *model;
    csl_range *ranges; /* [range_count] all that is trained, ascending */
    uint32_t range_count;
    bool has_state_entries; /* running statistics, between the ranges */
    /* Vectors in device memory, [parameter_count], NULL where the options need none. */
    float *first;             /* momentum, or AdamW's first moment */
    float *second;            /* AdamW */
    float *reference;         /* the round's starting weights, for FedProx */
    float *correction;        /* SCAFFOLD; made at its first use */
    uint64_t optimizer_steps; /* since the state was zero */
    /* The institution it is bound to. */
    const csl_dataset *dataset;     /* lent */
    csl_gradient_exchange exchange; /* shard_count 1 without shards */
    csl_batch_layout layout;
    csl_pipeline *pipeline;
    csl_batch batch;      /* on the device */
    float *host_loss;     /* [batch_max] */
    float *host_gradient; /* [parameter_count] page-locked; NULL without shards */
    float class_weights[CSL_CLASSES_MAX];
};

/* From the model's gradient to new weights: exchange was done before. */
csl_status csl_trainer_apply_gradient(csl_trainer *trainer, bool has_correction, double rate);
/* Loss of the batch on the device, into the model's output gradient; *loss_out: sum over this
 * shard's images. */
csl_status csl_trainer_loss(csl_trainer *trainer, const csl_batch *source, double *loss_out);
/* The same without gradient or weights, and with probabilities (raw outputs for regression). */
csl_status csl_batch_loss(csl_device *device,
                          const csl_batch_layout *layout,
                          const csl_batch *source,
                          csl_batch *batch,
                          const float *logits,
                          float scale,
                          float *gradient,
                          bool wants_probabilities);

#endif
