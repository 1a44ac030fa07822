#include "nccl_exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The same sentence on every rank: that of the first one that cannot. */
static csl_status
share_reason(csl_communicator *communicator, char *reason, size_t reason_size, bool *able_out)
{
    uint32_t rank = csl_communicator_rank(communicator);
    uint32_t size = csl_communicator_size(communicator);
    int64_t *unable = calloc(size, sizeof *unable);
    csl_status status =
        csl_agree(communicator, unable ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "NCCL"));
    if (status == CSL_OK) {
        unable[rank] = *reason != 0;
        status = csl_sum_integers(communicator, unable, size);
    }
    uint32_t first = 0;
    while (status == CSL_OK && first < size && unable[first] == 0) {
        first++;
    }
    free(unable);
    CSL_TRY(status);
    *able_out = first == size;
    return *able_out ? CSL_OK : csl_broadcast(communicator, reason, reason_size, first);
}

#if defined(CSL_HAVE_NCCL)

#include "nccl_library.h"

struct csl_nccl {
    const csl_nccl_calls *calls;
    ncclComm_t communicator;
    csl_device *device;
    uint32_t rank;
    bool broken;
};

static csl_status check(csl_nccl *nccl, ncclResult_t result, const char *call)
{
    if (result == ncclSuccess) {
        return CSL_OK;
    }
    nccl->broken = true;
    return csl_fail(CSL_E_COMM, "NCCL: %s: %s", call, nccl->calls->ncclGetErrorString(result));
}

/* Every GPU's identity, all ranks': two ranks on one card would make NCCL refuse or hang. */
static csl_status
compare_cards(csl_communicator *communicator, const char *own, char *reason, size_t reason_size)
{
    uint32_t size = csl_communicator_size(communicator);
    uint32_t rank = csl_communicator_rank(communicator);
    char(*cards)[CSL_NAME_MAX] = calloc(size, sizeof *cards);
    uint64_t *parts = calloc(size + 1, sizeof *parts);
    csl_status status =
        csl_agree(communicator, cards && parts ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "NCCL"));
    if (status == CSL_OK) {
        for (uint32_t r = 0; r <= size; r++) {
            parts[r] = r * sizeof *cards;
        }
        snprintf(cards[rank], sizeof cards[rank], "%s", own);
        status = csl_gather_all(communicator, cards, parts);
    }
    for (uint32_t r = 0; status == CSL_OK && r < size && !*reason; r++) {
        if (r != rank && *own && strcmp(cards[r], own) == 0) {
            snprintf(reason, reason_size, "ranks %u and %u share a GPU", r < rank ? r : rank,
                     r < rank ? rank : r);
        }
    }
    free(cards);
    free(parts);
    return status;
}

static csl_status connect(csl_nccl *nccl, csl_communicator *communicator)
{
    ncclUniqueId id;
    memset(&id, 0, sizeof id);
    csl_status status = CSL_OK;
    if (nccl->rank == 0) {
        status = check(nccl, nccl->calls->ncclGetUniqueId(&id), "ncclGetUniqueId");
    }
    CSL_TRY(csl_agree(communicator, status));
    CSL_TRY(csl_broadcast(communicator, &id, sizeof id, 0));
    (void)csl_device_stream(nccl->device); /* makes its GPU the current one */
    status = check(nccl,
                   nccl->calls->ncclCommInitRank(&nccl->communicator,
                                                 (int)csl_communicator_size(communicator), id,
                                                 (int)nccl->rank),
                   "ncclCommInitRank");
    return csl_agree(communicator, status);
}

csl_status csl_nccl_create(csl_communicator *communicator,
                           csl_device *device,
                           char *reason,
                           size_t reason_size,
                           csl_nccl **nccl_out)
{
    *nccl_out = NULL;
    memset(reason, 0, reason_size);
    const csl_device_info *info = csl_device_get_info(device);
    const csl_nccl_calls *calls = NULL;
    if (!csl_device_stream(device)) {
        snprintf(reason, reason_size, "rank %u aggregates on %s",
                 csl_communicator_rank(communicator), info->resource);
    } else {
        calls = csl_nccl_load(reason, reason_size);
    }
    CSL_TRY(compare_cards(communicator, info->identity, reason, reason_size));
    bool able = false;
    CSL_TRY(share_reason(communicator, reason, reason_size, &able));
    if (!able) {
        return CSL_OK;
    }
    csl_nccl *nccl = calloc(1, sizeof *nccl);
    csl_status status = nccl ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "NCCL");
    if (nccl) {
        nccl->calls = calls;
        nccl->rank = csl_communicator_rank(communicator);
        status = csl_device_open(info->resource, 1, &nccl->device);
    }
    status = csl_agree(communicator, status);
    status = status == CSL_OK ? connect(nccl, communicator) : status;
    if (status != CSL_OK) {
        csl_nccl_destroy(nccl);
        return status;
    }
    *nccl_out = nccl;
    return CSL_OK;
}

void csl_nccl_destroy(csl_nccl *nccl)
{
    if (!nccl) {
        return;
    }
    if (nccl->communicator) {
        (void)(nccl->broken ? nccl->calls->ncclCommAbort(nccl->communicator)
                            : nccl->calls->ncclCommDestroy(nccl->communicator));
    }
    csl_device_close(nccl->device);
    free(nccl);
}

csl_device *csl_nccl_device(const csl_nccl *nccl)
{
    return nccl->device;
}

csl_status csl_nccl_exchange(csl_nccl *nccl, const csl_nccl_message *messages, size_t message_count)
{
    const csl_nccl_calls *calls = nccl->calls;
    cudaStream_t stream = csl_device_stream(nccl->device);
    CSL_TRY(check(nccl, calls->ncclGroupStart(), "ncclGroupStart"));
    csl_status status = CSL_OK;
    for (size_t i = 0; i < message_count && status == CSL_OK; i++) {
        const csl_nccl_message *m = &messages[i];
        status = m->sends ? check(nccl,
                                  calls->ncclSend(m->values, m->count, ncclFloat, (int)m->peer,
                                                  nccl->communicator, stream),
                                  "ncclSend")
                          : check(nccl,
                                  calls->ncclRecv(m->values, m->count, ncclFloat, (int)m->peer,
                                                  nccl->communicator, stream),
                                  "ncclRecv");
    }
    csl_status ended = check(nccl, calls->ncclGroupEnd(), "ncclGroupEnd");
    return status != CSL_OK ? status : ended;
}

#else

csl_status csl_nccl_create(csl_communicator *communicator,
                           csl_device *device,
                           char *reason,
                           size_t reason_size,
                           csl_nccl **nccl_out)
{
    bool able = false;
    (void)device;
    *nccl_out = NULL;
    memset(reason, 0, reason_size);
    snprintf(reason, reason_size, "this program was built without NCCL");
    return share_reason(communicator, reason, reason_size, &able);
}

void csl_nccl_destroy(csl_nccl *nccl)
{
    (void)nccl;
}

csl_device *csl_nccl_device(const csl_nccl *nccl)
{
    (void)nccl;
    return NULL;
}

csl_status csl_nccl_exchange(csl_nccl *nccl, const csl_nccl_message *messages, size_t message_count)
{
    (void)nccl;
    (void)messages;
    (void)message_count;
    return csl_fail(CSL_E_UNSUPPORTED, "this program was built without NCCL");
}

#endif
