/* Updates from card to card: every rank has a GPU of its own and NCCL knows the way between them.
 */
#ifndef CSL_NCCL_EXCHANGE_H
#define CSL_NCCL_EXCHANGE_H

#include <consilium/distribute.h>

/*
 * Collective. device: the one that a rank aggregates on. Where NCCL cannot be used (not in this
 * build, not on this machine, a rank without a GPU, two ranks on one) *nccl_out is NULL on all
 * ranks, CSL_OK is returned, and reason [reason_size] says why. Errors: E_COMM, E_TIMEOUT,
 * E_DEVICE, E_NO_MEMORY.
 */
CSL_MUST_CHECK csl_status csl_nccl_create(csl_communicator *communicator,
                                          csl_device *device,
                                          char *reason,
                                          size_t reason_size,
                                          csl_nccl **nccl_out);
/* Not collective; after a failure what is under way is given up. NULL is allowed. */
void csl_nccl_destroy(csl_nccl *nccl);
/* A device of its own stream on the same GPU: what is put on it comes before what is sent from it
 * later. */
csl_device *csl_nccl_device(const csl_nccl *nccl);

/* What goes from one rank to another, all of it on device memory. */
typedef struct csl_nccl_message {
    float *values;
    size_t count;
    uint32_t peer;
    bool sends; /* else receives */
} csl_nccl_message;

/*
 * Puts messages on the way that may overtake each other in any order. Every rank calls it equally
 * often, and what one sends to another in the k-th call the other receives in its k-th, in order.
 * Errors: E_COMM.
 */
CSL_MUST_CHECK csl_status csl_nccl_exchange(csl_nccl *nccl,
                                            const csl_nccl_message *messages,
                                            size_t message_count);

#endif
