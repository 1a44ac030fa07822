/*
 * Local training in float64, slow and obvious, written from the formulas and not from the engine:
 * what csl_trainer_round is compared with. No augmentation, no dropout, one shard, softmax loss.
 *
 * A step takes g = gradient of the mean loss + mu (w - w0) + c, scaled to clip_norm if it is
 * longer. SGD (Sutskever et al. 2013 in the form with velocity v): u = g + decay w, v = momentum v
 * + u, w -= rate v, or with Nesterov w -= rate (u + momentum v). AdamW: Loshchilov & Hutter 2019,
 * algorithm 2. Decay concerns weights of convolutions and linear layers only.
 */
#ifndef CSL_REFERENCE_TRAINER_H
#define CSL_REFERENCE_TRAINER_H

#include "oracle_network.h"

#include <consilium/train.h>

typedef struct reference_trainer {
    oracle_network network;
    const csl_dataset *data; /* lent; CSL_U8 images, one class per image */
    csl_train_options options;
    uint64_t train_count;
    double *images;    /* [train_count] normalised, as the network reads them */
    int32_t *labels;   /* [train_count] */
    double *weighting; /* [train_count] class weights; 1 without */
    double *first;     /* [parameter_count] momentum or first moment */
    double *second;    /* [parameter_count] second moment */
    uint64_t steps;    /* since the state was zero */
    uint64_t clipped_steps, unclipped_steps;
    double kink; /* smallest oracle_network_margin so far */
} reference_trainer;

/* All arguments but options are lent until close. */
void reference_trainer_open(reference_trainer *trainer,
                            const csl_model_spec *spec,
                            const csl_dataset *data,
                            const csl_train_options *options);
void reference_trainer_close(reference_trainer *trainer);
/* One round: weights [parameter_count] in and out, correction [parameter_count] or NULL. Returns
 * the mean loss over the images seen. */
double reference_trainer_round(reference_trainer *trainer,
                               uint32_t round,
                               const double *correction,
                               double *weights);

#endif
