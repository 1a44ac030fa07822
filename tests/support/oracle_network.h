/* Whole networks in float64, forward and backward, layer by layer with the oracle's operations. */
#ifndef CSL_ORACLE_NETWORK_H
#define CSL_ORACLE_NETWORK_H

#include "oracle_nn.h"

#include <consilium/model.h>

enum { ORACLE_LAYERS_MAX = 64 };

/* What a layer keeps of the last pass; arrays belong to the network. */
typedef struct oracle_layer {
    csl_shape in, out;
    csl_window window; /* of a global pool: the whole input */
    double *y;         /* [batch] feature maps of shape out */
    double *dy;        /* their gradient */
    double *mean;      /* statistics of a norm, as oracle_norm_forward orders them */
    double *inverse_deviation;
    uint32_t *index; /* of a maximum */
} oracle_layer;

/* spec is lent. Zeroed fields otherwise: oracle_network_open fills them. */
typedef struct oracle_network {
    const csl_model_spec *spec;
    csl_tensor *tensors;
    uint32_t tensor_count;
    size_t parameter_count;
    bool frozen; /* batch norm by the running values in theta */
    uint32_t batch;
    const double *theta;  /* [parameter_count] of the last forward, lent */
    const double *images; /* [batch] of the last forward, lent */
    oracle_layer layers[ORACLE_LAYERS_MAX];
} oracle_network;

void oracle_network_open(oracle_network *network, const csl_model_spec *spec);
void oracle_network_close(oracle_network *network);
/* The tensor of a layer with a role, or NULL. */
const csl_tensor *
oracle_network_tensor(const oracle_network *network, uint32_t layer, csl_tensor_role role);
/* A training pass without dropout; the logits are the last layer's y. */
void oracle_network_forward(oracle_network *network,
                            const double *theta,
                            const double *images,
                            uint32_t batch);
/* How far the last forward stayed from where the gradient jumps: the smallest |input of a ReLU| and
 * the smallest lead of a maximum over the next value in its window. Zeros that a ReLU left are
 * equal and pass no gradient on: they do not count. Infinite where nothing jumps. */
double oracle_network_margin(const oracle_network *network);
/* Mean over the batch of weight * softmax cross-entropy, and its gradient into the last layer's dy.
 * weights: [batch] or NULL for 1. */
double oracle_network_loss(oracle_network *network, const int32_t *labels, const double *weights);
/* After oracle_network_loss. gradient: [parameter_count], running values get 0. */
void oracle_network_backward(oracle_network *network, double *gradient);

#endif
