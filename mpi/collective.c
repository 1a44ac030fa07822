/* Waiting, agreeing on failures, and moving data: every wait serves the watch of communicator.c. */
#include "communicator_internal.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MESSAGE_SIZE = 2048,  /* bytes of an error message that travels */
    PIECE_SIZE = 1 << 30, /* bytes of one MPI message at most: MPI counts in int */
    EAGER_POLLS = 200,    /* looks before the first sleep */
    SLEEP_NANOSECONDS = 20000,
    SLEEP_NANOSECONDS_MAX = 500000
};

csl_status csl_wait(csl_communicator *communicator, MPI_Request *requests, size_t request_count)
{
    if (request_count > INT_MAX) {
        return csl_fail(CSL_E_RANGE, "%zu messages at once", request_count);
    }
    long sleep = SLEEP_NANOSECONDS;
    for (uint64_t poll = 0;; poll++) {
        int done = 0;
        CSL_MPI(communicator,
                MPI_Testall((int)request_count, requests, &done, MPI_STATUSES_IGNORE));
        if (done) {
            return CSL_OK;
        }
        /* Ranks often share cores: the one that waits must leave them to the one that computes. */
        if (poll < EAGER_POLLS) {
            sched_yield();
            continue;
        }
        CSL_TRY(csl_communicator_serve(communicator));
        nanosleep(&(struct timespec){.tv_nsec = sleep}, NULL);
        sleep = sleep * 5 / 4 < SLEEP_NANOSECONDS_MAX ? sleep * 5 / 4 : SLEEP_NANOSECONDS_MAX;
    }
}

void csl_cancel(MPI_Request *requests, size_t request_count)
{
    for (size_t i = 0; i < request_count; i++) {
        if (requests[i] != MPI_REQUEST_NULL) {
            MPI_Cancel(&requests[i]);
            MPI_Request_free(&requests[i]);
        }
    }
}

/* What a rank says when it arrives at an agreement, and what rank 0 answers. */
typedef struct verdict {
    int32_t status;
    uint32_t rank;
} verdict;

/* Rank 0 hears all ranks one by one, so that it knows who is missing, and picks the failure. */
static csl_status collect_verdicts(csl_communicator *communicator, verdict own, verdict *worst_out)
{
    uint32_t size = communicator->size;
    verdict *all = calloc(size, sizeof *all);
    MPI_Request *requests = calloc(size, sizeof *requests);
    if (!all || !requests) {
        free(all);
        free(requests);
        communicator->broken = true;
        return csl_fail(CSL_E_NO_MEMORY, "agreement of %u ranks", size);
    }
    all[0] = own;
    requests[0] = MPI_REQUEST_NULL;
    csl_status status = CSL_OK;
    for (uint32_t rank = 1; rank < size && status == CSL_OK; rank++) {
        int code = MPI_Irecv(&all[rank], (int)sizeof *all, MPI_BYTE, (int)rank, CSL_TAG_AGREE,
                             communicator->data, &requests[rank]);
        if (code != MPI_SUCCESS) {
            status = csl_communicator_mpi_error(communicator, code, "MPI_Irecv");
        }
    }
    if (status == CSL_OK) {
        status = csl_wait(communicator, requests, size);
    }
    for (uint32_t rank = 0; rank < size && status == CSL_OK; rank++) {
        bool fails = all[rank].status != CSL_OK;
        bool echo = all[rank].status == CSL_E_COMM;
        bool worst_echo = worst_out->status == CSL_E_COMM;
        if (fails && (worst_out->status == CSL_OK || (worst_echo && !echo))) {
            *worst_out = all[rank];
        }
    }
    /* On failure the receives stay posted: their memory must outlive them, and the run ends. */
    if (status == CSL_OK) {
        free(all);
        free(requests);
    }
    return status;
}

static csl_status exchange_verdicts(csl_communicator *communicator, verdict own, verdict *worst)
{
    if (communicator->rank == 0) {
        CSL_TRY(collect_verdicts(communicator, own, worst));
    } else {
        MPI_Request sending = MPI_REQUEST_NULL;
        CSL_MPI(communicator, MPI_Isend(&own, (int)sizeof own, MPI_BYTE, 0, CSL_TAG_AGREE,
                                        communicator->data, &sending));
        CSL_TRY(csl_wait(communicator, &sending, 1));
    }
    return csl_broadcast(communicator, worst, sizeof *worst, 0);
}

csl_status(csl_agree)(csl_communicator *communicator, csl_status status)
{
    if (communicator->broken) {
        return status != CSL_OK ? status : csl_fail(CSL_E_COMM, "communication failed earlier");
    }
    if (communicator->size == 1) {
        communicator->agreed_rank = 0;
        return status;
    }
    verdict own = {.status = status, .rank = communicator->rank};
    verdict worst = {.status = CSL_OK, .rank = 0};
    char message[MESSAGE_SIZE] = "";
    if (status != CSL_OK) {
        strncpy(message, csl_error_message(), sizeof message - 1);
    }
    csl_status exchange = exchange_verdicts(communicator, own, &worst);
    if (exchange != CSL_OK) {
        communicator->broken = true;
        return exchange;
    }
    if (worst.status == CSL_OK) {
        return CSL_OK;
    }
    communicator->agreed_rank = worst.rank;
    exchange = csl_broadcast(communicator, message, sizeof message, worst.rank);
    if (exchange != CSL_OK) {
        return exchange;
    }
    return csl_fail((csl_status)worst.status, "[rank %u %s] %s", worst.rank,
                    communicator->hosts[worst.rank], message);
}

uint32_t csl_agreed_rank(const csl_communicator *communicator)
{
    return communicator->agreed_rank;
}

csl_status csl_broadcast(csl_communicator *communicator, void *buffer, size_t size, uint32_t root)
{
    for (size_t begin = 0; begin < size && communicator->size > 1; begin += PIECE_SIZE) {
        size_t piece = size - begin < PIECE_SIZE ? size - begin : PIECE_SIZE;
        MPI_Request request = MPI_REQUEST_NULL;
        CSL_MPI(communicator, MPI_Ibcast((char *)buffer + begin, (int)piece, MPI_BYTE, (int)root,
                                         communicator->data, &request));
        CSL_TRY(csl_wait(communicator, &request, 1));
    }
    return CSL_OK;
}

csl_status csl_sum_integers(csl_communicator *communicator, int64_t *values, size_t count)
{
    const size_t piece_count = PIECE_SIZE / sizeof *values;
    for (size_t begin = 0; begin < count && communicator->size > 1; begin += piece_count) {
        size_t piece = count - begin < piece_count ? count - begin : piece_count;
        MPI_Request request = MPI_REQUEST_NULL;
        CSL_MPI(communicator, MPI_Iallreduce(MPI_IN_PLACE, values + begin, (int)piece, MPI_INT64_T,
                                             MPI_SUM, communicator->data, &request));
        CSL_TRY(csl_wait(communicator, &request, 1));
    }
    return CSL_OK;
}

static csl_status check_size(size_t size)
{
    return size <= INT_MAX
               ? CSL_OK
               : csl_fail(CSL_E_RANGE, "a message of %zu bytes, at most %d", size, INT_MAX);
}

csl_status csl_send_begin(csl_communicator *communicator,
                          const void *buffer,
                          size_t size,
                          uint32_t rank,
                          uint32_t tag,
                          MPI_Request *request_out)
{
    CSL_TRY(check_size(size));
    CSL_MPI(communicator, MPI_Isend(buffer, (int)size, MPI_BYTE, (int)rank, (int)tag,
                                    communicator->data, request_out));
    return CSL_OK;
}

csl_status csl_receive_begin(csl_communicator *communicator,
                             void *buffer,
                             size_t size,
                             uint32_t rank,
                             uint32_t tag,
                             MPI_Request *request_out)
{
    CSL_TRY(check_size(size));
    CSL_MPI(communicator, MPI_Irecv(buffer, (int)size, MPI_BYTE, (int)rank, (int)tag,
                                    communicator->data, request_out));
    return CSL_OK;
}

/* One collective for all parts; its counts are ints, so it is for less than PIECE_SIZE together. */
static csl_status
gather_at_once(csl_communicator *communicator, char *buffer, const uint64_t *parts)
{
    uint32_t size = communicator->size;
    int *counts = malloc(2 * size * sizeof *counts);
    if (!counts) {
        communicator->broken = true; /* the others are in the collective already */
        return csl_fail(CSL_E_NO_MEMORY, "gather of %u ranks", size);
    }
    int *places = counts + size;
    for (uint32_t rank = 0; rank < size; rank++) {
        counts[rank] = (int)(parts[rank + 1] - parts[rank]);
        places[rank] = (int)(parts[rank] - parts[0]);
    }
    MPI_Request request = MPI_REQUEST_NULL;
    int code = MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, buffer, counts, places, MPI_BYTE,
                               communicator->data, &request);
    csl_status status = code == MPI_SUCCESS
                            ? csl_wait(communicator, &request, 1)
                            : csl_communicator_mpi_error(communicator, code, "MPI_Iallgatherv");
    /* After a failure MPI may still read them; the run ends. */
    if (status == CSL_OK) {
        free(counts);
    }
    return status;
}

csl_status csl_gather_all(csl_communicator *communicator, void *buffer, const uint64_t *parts)
{
    uint64_t total = parts[communicator->size] - parts[0];
    if (total <= PIECE_SIZE && communicator->size > 1) {
        return gather_at_once(communicator, (char *)buffer + parts[0], parts);
    }
    for (uint32_t rank = 0; rank < communicator->size; rank++) {
        CSL_TRY(csl_broadcast(communicator, (char *)buffer + parts[rank],
                              parts[rank + 1] - parts[rank], rank));
    }
    return CSL_OK;
}

csl_status csl_gather(csl_communicator *communicator, void *buffer, const uint64_t *parts)
{
    uint32_t first = communicator->rank == 0 ? 1 : communicator->rank;
    uint32_t end = communicator->rank == 0 ? communicator->size : communicator->rank + 1;
    for (uint32_t rank = first; rank < end; rank++) {
        for (uint64_t begin = parts[rank]; begin < parts[rank + 1]; begin += PIECE_SIZE) {
            uint64_t left = parts[rank + 1] - begin;
            MPI_Request request = MPI_REQUEST_NULL;
            size_t piece = left < PIECE_SIZE ? left : PIECE_SIZE;
            char *place = (char *)buffer + begin;
            CSL_TRY(
                communicator->rank == 0
                    ? csl_receive_begin(communicator, place, piece, rank, CSL_TAG_GATHER, &request)
                    : csl_send_begin(communicator, place, piece, 0, CSL_TAG_GATHER, &request));
            CSL_TRY(csl_wait(communicator, &request, 1));
        }
    }
    return CSL_OK;
}
