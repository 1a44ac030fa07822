/*
 * Where every feature map and gradient lies, decided before anything runs.
 *
 * Time counts operations: forward node n runs at n, the loss at node_count, backward of node n at
 * 2 node_count - n. A buffer lives from its first to its last use; two buffers may share bytes only
 * if their lives do not meet. Forward results live on only where backward needs them.
 */
#ifndef CSL_NN_PLAN_H
#define CSL_NN_PLAN_H

#include "nn/graph.h"

#define CSL_NO_BUFFER UINT32_MAX

typedef struct csl_buffer {
    uint64_t image_count; /* 4-byte elements for each image of the batch */
    uint64_t fixed_count; /* 4-byte elements besides */
    uint32_t first;       /* life, both ends included */
    uint32_t last;
    uint64_t offset; /* bytes from the start of the arena */
} csl_buffer;

/* Buffers of one node's forward and backward. */
typedef struct csl_node_plan {
    uint32_t x;
    uint32_t other; /* ADD */
    uint32_t y;     /* may be x or other: in place */
    uint32_t aux;   /* saved statistics, or positions of maxima */
    /* backward */
    uint32_t dy;        /* gradient of the node's value */
    uint32_t masked_dy; /* dy where y > 0; may be dy itself: in place */
    uint32_t dx;        /* fresh result, CSL_NO_BUFFER if nobody needs it */
    uint32_t dx_addend; /* what other readers of x gave already; added to dx */
    /* ADD passes its dy on; a summand that had a gradient before gets the sum, else a share. */
    uint32_t sum_addend[2]; /* earlier gradient of input, other; or CSL_NO_BUFFER */
    uint32_t sum[2];        /* where dy + addend goes; may be the addend itself */
} csl_node_plan;

typedef struct csl_plan {
    const csl_graph *graph; /* lent */
    uint32_t batch_max;
    bool training;
    csl_node_plan *nodes; /* [node_count] */
    csl_buffer *buffers;
    uint32_t buffer_count;
    uint32_t input;
    uint32_t output;
    uint32_t output_gradient;
    uint64_t arena_size; /* bytes */
} csl_plan;

/* graph must outlive the plan. Errors: E_RANGE (batch_max), E_NO_MEMORY. */
csl_status
csl_plan_create(const csl_graph *graph, uint32_t batch_max, bool training, csl_plan **plan_out);
void csl_plan_destroy(csl_plan *plan);

#endif
