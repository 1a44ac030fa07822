/*
 * Training and evaluating one institution's copy of the model.
 *
 * A trainer holds a model, an optimiser and the input pipeline. Everything random (order of images,
 * augmentation, dropout) is a function of (seed, round, step), never of history, so a run can be
 * resumed and moved to another rank. Deterministic for given seed, device and threads.
 */
#ifndef CONSILIUM_TRAIN_H
#define CONSILIUM_TRAIN_H

#include <consilium/model.h>

typedef enum csl_optimizer { CSL_OPTIMIZER_SGD, CSL_OPTIMIZER_ADAMW } csl_optimizer;
typedef enum csl_schedule { CSL_SCHEDULE_CONSTANT, CSL_SCHEDULE_STEP, CSL_SCHEDULE_COSINE } csl_schedule;

typedef struct csl_augmentation {
    bool flip_horizontal;     /* with probability 1/2 */
    bool flip_vertical;
    bool flip_depth;
    float shift;              /* crop: up to this many voxels along height, width (and depth in 3-D) */
    float rotation_degrees;   /* uniform +- */
    float scale;              /* zoom uniform in [1 - scale, 1 + scale] */
    float intensity;          /* gain uniform in [1 - intensity, 1 + intensity], offset +- intensity */
} csl_augmentation;

typedef struct csl_train_options {
    csl_optimizer optimizer;
    float rate;         /* base learning rate */
    float momentum;     /* SGD */
    bool nesterov;
    float weight_decay; /* norm scales, shifts and biases are exempt */
    float beta1, beta2, epsilon; /* AdamW */
    csl_schedule schedule;
    float schedule_gamma;          /* STEP: factor */
    uint32_t schedule_step_rounds; /* STEP: every so many rounds */
    uint32_t round_count;          /* COSINE: length */
    uint32_t warmup_rounds;        /* linear from 0 */
    float clip_norm;               /* gradient clipping; 0 is off */
    uint32_t batch;
    uint32_t local_epochs; /* passes per round, if local_steps is 0 */
    uint32_t local_steps;  /* optimiser steps per round */
    float proximal_mu;     /* FedProx (Li et al. 2020, equation 2); 0 is off */
    bool freeze_batch_norm; /* running statistics are used and never changed */
    bool keep_optimizer_state; /* across rounds; default: a fresh optimiser each round */
    csl_augmentation augmentation;
    bool class_weights;    /* weight the loss by inverse class frequency */
    uint64_t seed;
} csl_train_options;

/* Normalisation per channel; computed once from the institution's own training split. */
typedef struct csl_normalisation {
    uint32_t channel_count;
    float mean[CSL_IMAGE_CHANNELS_MAX];
    float deviation[CSL_IMAGE_CHANNELS_MAX]; /* never 0: a constant channel gets 1 */
} csl_normalisation;

CSL_API CSL_MUST_CHECK csl_status csl_normalisation_measure(const csl_dataset *dataset,
                                                            csl_normalisation *normalisation_out);

typedef struct csl_trainer csl_trainer;

/*
 * How the gradient of a step is summed over the shards of one institution (data parallelism).
 * `sum` gets this shard's gradient [count] (host memory) already scaled by its share of the batch and must leave the same
 * bits in every shard. NULL functions: the institution has one shard.
 */
typedef struct csl_gradient_exchange {
    void *context;
    uint32_t shard_index;
    uint32_t shard_count;
    csl_status (*sum)(void *context, float *gradient, size_t count, double *loss_sum);
} csl_gradient_exchange;

/* Builds a trainer over the training split of a data set (lent, must outlive it). The device is
 * lent. Errors: E_SHAPE (data set and network differ), E_RANGE (no training images, bad options). */
CSL_API CSL_MUST_CHECK csl_status csl_trainer_create(csl_device *device, const csl_model_spec *spec,
                                                     const csl_dataset *dataset,
                                                     const csl_normalisation *normalisation,
                                                     const csl_train_options *options,
                                                     const csl_gradient_exchange *exchange,
                                                     csl_trainer **trainer_out);
CSL_API void csl_trainer_destroy(csl_trainer *trainer);

typedef struct csl_train_result {
    uint64_t step_count;
    uint64_t image_count;  /* images seen, repeats counted */
    double loss_mean;      /* over images seen, before each step */
    double seconds;
    double rate_last; /* learning rate of the last step */
} csl_train_result;

/*
 * One round of local training. parameters: [parameter_count] host, in: the round's starting weights
 * (also FedProx's reference), out: the new weights. correction: [parameter_count] added to every
 * gradient (SCAFFOLD's c - c_i) or NULL. progress(context, step, step_count, loss) or NULL; a non-zero return stops with
 * E_STATE. Errors: E_RANGE when the loss is not finite (message names round and step), device errors.
 */
CSL_API CSL_MUST_CHECK csl_status csl_trainer_round(
    csl_trainer *trainer, uint32_t round, float *parameters, const float *correction,
    int (*progress)(void *context, uint64_t step, uint64_t step_count, double loss), void *context,
    csl_train_result *result_out);
/* Steps that one round takes. */
CSL_API uint64_t csl_trainer_step_count(const csl_trainer *trainer);
/* Optimiser state for a checkpoint: 0 with a fresh optimiser each round. */
CSL_API size_t csl_trainer_state_count(const csl_trainer *trainer);
CSL_API CSL_MUST_CHECK csl_status csl_trainer_get_state(csl_trainer *trainer, float *state_out);
CSL_API CSL_MUST_CHECK csl_status csl_trainer_set_state(csl_trainer *trainer, const float *state);

typedef struct csl_evaluator csl_evaluator;
/* Inference over whole splits, without gradients or augmentation. */
CSL_API CSL_MUST_CHECK csl_status csl_evaluator_create(csl_device *device,
                                                       const csl_model_spec *spec, uint32_t batch,
                                                       csl_evaluator **evaluator_out);
CSL_API void csl_evaluator_destroy(csl_evaluator *evaluator);
/*
 * scores_out: [images of the split][class_count] probabilities (raw outputs for regression), in the order
 * of the data set; loss_sum_out: sum of the loss. Both owned by the caller.
 */
CSL_API CSL_MUST_CHECK csl_status csl_evaluator_run(csl_evaluator *evaluator,
                                                    const float *parameters,
                                                    const csl_dataset *dataset,
                                                    const csl_normalisation *normalisation,
                                                    csl_split split, float *scores_out,
                                                    double *loss_sum_out);

#endif
