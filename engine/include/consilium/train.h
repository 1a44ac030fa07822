/*
 * Training and evaluating one institution's copy of the model.
 *
 * A trainer holds a model, an optimiser and the input pipeline for one institution at a time; a
 * rank with several institutions holds one trainer and binds it to each in turn (csl_trainer_bind),
 * so its memory does not grow with their number. Everything random (order of images, augmentation,
 * dropout) is a function of (seed, round, step), never of history, so a run can be resumed and
 * moved to another rank. Deterministic for given seed, device and threads.
 */
#ifndef CONSILIUM_TRAIN_H
#define CONSILIUM_TRAIN_H

#include <consilium/model.h>
#include <consilium/random.h>

typedef enum csl_optimizer { CSL_OPTIMIZER_SGD, CSL_OPTIMIZER_ADAMW } csl_optimizer;
typedef enum csl_schedule {
    CSL_SCHEDULE_CONSTANT,
    CSL_SCHEDULE_STEP,
    CSL_SCHEDULE_COSINE
} csl_schedule;

typedef struct csl_augmentation {
    bool flip_horizontal; /* with probability 1/2 */
    bool flip_vertical;
    bool flip_depth;
    float shift; /* crop: up to this many voxels along height, width (and depth in 3-D) */
    float rotation_degrees; /* uniform +- */
    float scale;            /* zoom uniform in [1 - scale, 1 + scale] */
    float intensity; /* gain uniform in [1 - intensity, 1 + intensity], offset +- intensity */
} csl_augmentation;

typedef struct csl_train_options {
    csl_optimizer optimizer;
    float rate;     /* base learning rate */
    float momentum; /* SGD */
    bool nesterov;
    float weight_decay;          /* norm scales, shifts and biases are exempt */
    float beta1, beta2, epsilon; /* AdamW */
    csl_schedule schedule;
    float schedule_gamma;          /* STEP: factor */
    uint32_t schedule_step_rounds; /* STEP: every so many rounds */
    uint32_t round_count;          /* COSINE: length */
    uint32_t warmup_rounds;        /* linear from 0 */
    float clip_norm;               /* gradient clipping; 0 is off */
    uint32_t batch;
    uint32_t local_epochs;     /* passes per round, if local_steps is 0 */
    uint32_t local_steps;      /* optimiser steps per round */
    float proximal_mu;         /* FedProx (Li et al. 2020, equation 2); 0 is off */
    bool freeze_batch_norm;    /* running statistics are used and never changed */
    bool keep_optimizer_state; /* across rounds; default: a fresh optimiser each round */
    csl_augmentation augmentation;
    bool class_weights; /* weight the loss by inverse class frequency, mean weight 1; not for
                           multi-label and regression */
    uint64_t seed;
} csl_train_options;

/* The change of one image of that shape, drawn from a stream; the same number of draws whatever is
 * switched on. Cannot fail. */
CSL_API void csl_augmentation_draw(const csl_augmentation *augmentation,
                                   csl_shape shape,
                                   csl_random *random,
                                   csl_augment *augment_out);

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
 * `sum` gets this shard's gradient [count] (host memory) already scaled by its share of the batch
 * and must leave the same bits in every shard. NULL functions: the institution has one shard.
 */
typedef struct csl_gradient_exchange {
    void *context;
    uint32_t shard_index;
    uint32_t shard_count;
    csl_status (*sum)(void *context, float *gradient, size_t count, double *loss_sum);
} csl_gradient_exchange;

/* Builds a trainer over the training split of a data set. The data set, the context of `exchange`
 * and the device are lent and must outlive it or the next bind; spec, normalisation and options are
 * copied. exchange: NULL for one shard; shard i of r takes images B i / r to B (i + 1) / r of every
 * batch of B. (With class_weights a shard's images are reordered by class, so dropout masks then
 * depend on shard_count.) Errors: E_SHAPE (data set and network differ), E_RANGE (no training
 * images, bad options). */
CSL_API CSL_MUST_CHECK csl_status csl_trainer_create(csl_device *device,
                                                     const csl_model_spec *spec,
                                                     const csl_dataset *dataset,
                                                     const csl_normalisation *normalisation,
                                                     const csl_train_options *options,
                                                     const csl_gradient_exchange *exchange,
                                                     csl_trainer **trainer_out);
CSL_API void csl_trainer_destroy(csl_trainer *trainer);
/*
 * Turns the trainer to another institution: its data set, its normalisation, its shard of it, its
 * seed (replaces options.seed). The optimiser's state is as after create; csl_trainer_set_state
 * puts a kept one back. On failure the trainer stays with the institution it had. Errors as create.
 */
CSL_API CSL_MUST_CHECK csl_status csl_trainer_bind(csl_trainer *trainer,
                                                   const csl_dataset *dataset,
                                                   const csl_normalisation *normalisation,
                                                   const csl_gradient_exchange *exchange,
                                                   uint64_t seed);
/* Device bytes that a trainer takes, by the formula in docs/ARCHITECTURE.md: the model for
 * ceil(batch / shard_count) images, the optimiser, FedProx's reference, one batch of input; and
 * with `correction` (SCAFFOLD) one more vector. */
CSL_API CSL_MUST_CHECK csl_status csl_trainer_memory_size(const csl_model_spec *spec,
                                                          const csl_train_options *options,
                                                          csl_element_type type,
                                                          uint32_t shard_count,
                                                          bool correction,
                                                          uint64_t *size_out);
/* Learning rate of a step; `round` counts from 0. Warm-up rises linearly over the first
 * warmup_rounds; cosine falls from there to 0 at round_count. Both move at every step. */
CSL_API double csl_train_rate(const csl_train_options *options,
                              uint32_t round,
                              uint64_t step,
                              uint64_t step_count);
/* Checks every option; the message names it as the study file does ("training.lr"). E_RANGE. */
CSL_API CSL_MUST_CHECK csl_status csl_train_options_check(const csl_train_options *options);

typedef struct csl_train_result {
    uint64_t step_count;
    uint64_t image_count; /* images seen, repeats counted */
    double loss_mean;     /* over images seen, before each step */
    double seconds;
    double rate_last; /* learning rate of the last step */
} csl_train_result;

/*
 * One round of local training; `round` counts from 0. A step takes the gradient of the mean loss,
 * adds proximal_mu (w - w0) and the correction, scales the sum to clip_norm if it is longer, and
 * hands it to the optimiser: SGD adds weight_decay w to it, AdamW decays apart. parameters:
 * [parameter_count] host, in: the round's starting weights (also FedProx's reference), out: the new
 * weights. correction: [parameter_count] added to every gradient (SCAFFOLD's c - c_i) or NULL.
 * progress(context, step, step_count, loss) or NULL; a non-zero return stops with E_STATE. Errors:
 * E_DIVERGED when the loss is not finite (message names the round, there from 1, and the step),
 * device errors.
 */
CSL_API CSL_MUST_CHECK csl_status
csl_trainer_round(csl_trainer *trainer,
                  uint32_t round,
                  float *parameters,
                  const float *correction,
                  int (*progress)(void *context, uint64_t step, uint64_t step_count, double loss),
                  void *context,
                  csl_train_result *result_out);
/* Steps that one round takes. */
CSL_API uint64_t csl_trainer_step_count(const csl_trainer *trainer);
/* Optimiser state for a checkpoint: 0 with a fresh optimiser each round. The second form needs no
 * trainer. */
CSL_API size_t csl_trainer_state_count(const csl_trainer *trainer);
CSL_API size_t csl_train_state_count(const csl_train_options *options, size_t parameter_count);
CSL_API CSL_MUST_CHECK csl_status csl_trainer_get_state(csl_trainer *trainer, float *state_out);
CSL_API CSL_MUST_CHECK csl_status csl_trainer_set_state(csl_trainer *trainer, const float *state);

typedef struct csl_evaluator csl_evaluator;
/* Inference over whole splits, without gradients or augmentation. */
CSL_API CSL_MUST_CHECK csl_status csl_evaluator_create(csl_device *device,
                                                       const csl_model_spec *spec,
                                                       uint32_t batch,
                                                       csl_evaluator **evaluator_out);
CSL_API void csl_evaluator_destroy(csl_evaluator *evaluator);
/* Device bytes that an evaluator takes for images of a type: the model and one batch of input. */
CSL_API CSL_MUST_CHECK csl_status csl_evaluator_memory_size(const csl_model_spec *spec,
                                                            csl_element_type type,
                                                            uint32_t batch,
                                                            uint64_t *size_out);
/*
 * scores_out: [images of the split][class_count] probabilities (raw outputs for regression), in the
 * order of the data set; loss_sum_out: sum of the loss. Both owned by the caller.
 */
CSL_API CSL_MUST_CHECK csl_status csl_evaluator_run(csl_evaluator *evaluator,
                                                    const float *parameters,
                                                    const csl_dataset *dataset,
                                                    const csl_normalisation *normalisation,
                                                    csl_split split,
                                                    float *scores_out,
                                                    double *loss_sum_out);

#endif
