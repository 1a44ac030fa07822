/*
 * A communicator that cannot hang.
 *
 * MPI waits for ever for a rank that failed or was killed. Here every wait polls: it passes on the
 * news of this rank, listens to the news of others, and ends with E_TIMEOUT (the message names the
 * rank) when one has been silent for longer than the deadline. Failures are agreed on before the
 * next data exchange, so every rank leaves a round with the same status.
 *
 * Functions marked Collective must be called by all ranks in the same order. One thread of a
 * process at a time (MPI_THREAD_SERIALIZED).
 */
#ifndef CONSILIUM_COMMUNICATOR_H
#define CONSILIUM_COMMUNICATOR_H

#include <consilium/status.h>
#include <consilium/types.h>

#include <mpi.h>

typedef struct csl_communicator csl_communicator;

/* One line that names the MPI library; static storage. Not collective. */
CSL_API const char *csl_mpi_library(void);

/*
 * Collective. Works on duplicates of `parent`, whose error handler is not touched; on the
 * duplicates MPI's errors come back as E_COMM. silence_seconds_max: how long a rank may send no
 * news before the run is given up. Errors: E_RANGE (silence_seconds_max), E_COMM, E_NO_MEMORY.
 */
CSL_API CSL_MUST_CHECK csl_status csl_communicator_create(MPI_Comm parent,
                                                          double silence_seconds_max,
                                                          csl_communicator **communicator_out);
/* Collective, unless the communicator is broken (see below). NULL is allowed. */
CSL_API void csl_communicator_destroy(csl_communicator *communicator);

CSL_API uint32_t csl_communicator_rank(const csl_communicator *communicator);
CSL_API uint32_t csl_communicator_size(const csl_communicator *communicator);
/* Position among the ranks of the same node, and how many these are. */
CSL_API uint32_t csl_communicator_local_rank(const csl_communicator *communicator);
CSL_API uint32_t csl_communicator_local_size(const csl_communicator *communicator);
/* Cores that the ranks of this node may use together, by affinity and control groups; at least 1.
 */
CSL_API uint32_t csl_communicator_local_cores(const csl_communicator *communicator);
/* Name of the node of a rank; lent until destroy. */
CSL_API const char *csl_communicator_host(const csl_communicator *communicator, uint32_t rank);

/* Ranks of one node share memory from the first use on, unless this was called before: then they
 * send messages, as between nodes. All ranks must do the same. */
CSL_API void csl_communicator_keep_memory_apart(csl_communicator *communicator);

/* What a rank is doing, for the progress line and for the message about a silent rank. */
typedef struct csl_news {
    uint32_t phase; /* of csl_phase */
    uint32_t round;
    uint32_t institution;
    uint32_t institutions_done; /* of this rank in this phase */
    uint64_t step;
    uint64_t step_count;
    double loss;
} csl_news;

typedef enum csl_phase {
    CSL_PHASE_START,
    CSL_PHASE_TRAIN,
    CSL_PHASE_AGGREGATE,
    CSL_PHASE_EVALUATE,
    CSL_PHASE_WRITE
} csl_phase;

/* Passes on what this rank does (at most every half second, or when the phase changes) and listens
 * to others. Cheap enough for every optimiser step. Errors: E_TIMEOUT, E_COMM. */
CSL_API CSL_MUST_CHECK csl_status csl_communicator_report(csl_communicator *communicator,
                                                          const csl_news *news);
/* Latest news of a rank, as rank 0 knows them. */
CSL_API const csl_news *csl_communicator_news(const csl_communicator *communicator, uint32_t rank);
/* Called on rank 0 whenever it waits, at most every tenth of a second; NULL removes it. */
CSL_API void csl_communicator_on_wait(csl_communicator *communicator,
                                      void (*show)(void *context),
                                      void *context);

/*
 * Collective. All ranks learn whether any of them failed, and all return the same status: that of
 * the lowest failing rank that found the error itself (E_COMM, the echo of someone else's failure,
 * counts only when nobody has another one). Every rank's error message becomes the finder's,
 * prefixed "[rank 3 host] ". Errors: also E_TIMEOUT when a rank is silent.
 */
CSL_API CSL_MUST_CHECK csl_status csl_agree(csl_communicator *communicator, csl_status status);
#ifdef __clang_analyzer__ /* a failure of this rank is never answered with CSL_OK */
static inline csl_status csl_agree_seen(csl_communicator *communicator, csl_status status)
{
    csl_status agreed = csl_agree(communicator, status);
    return status == CSL_OK ? agreed : status;
}
#define csl_agree(communicator, status) csl_agree_seen(communicator, status)
#endif
/* The rank whose failure the last csl_agree reported: the one that prints it. */
CSL_API uint32_t csl_agreed_rank(const csl_communicator *communicator);
/* After E_TIMEOUT or an MPI error no collective can be trusted: only csl_communicator_abort. */
CSL_API bool csl_communicator_is_broken(const csl_communicator *communicator);
/* Ends all ranks at once. Only a program may call this, after it printed the reason. */
CSL_API void csl_communicator_abort(csl_communicator *communicator, int exit_code);

/* Collective data movement; all poll and give up like csl_agree. Errors: E_TIMEOUT, E_COMM. */
CSL_API CSL_MUST_CHECK csl_status csl_broadcast(csl_communicator *communicator,
                                                void *buffer,
                                                size_t size,
                                                uint32_t root);
/* Sums integers over ranks in place: exact, so the same in any order. */
CSL_API CSL_MUST_CHECK csl_status csl_sum_integers(csl_communicator *communicator,
                                                   int64_t *values,
                                                   size_t count);
/* parts: byte offsets [size + 1] into buffer; rank r's bytes lie at parts[r]; afterwards every rank
 * has all of them (gather_all), or rank 0 has (gather). */
CSL_API CSL_MUST_CHECK csl_status csl_gather_all(csl_communicator *communicator,
                                                 void *buffer,
                                                 const uint64_t *parts);
CSL_API CSL_MUST_CHECK csl_status csl_gather(csl_communicator *communicator,
                                             void *buffer,
                                             const uint64_t *parts);

/* Point to point, for exchanges whose partners only the caller knows. tag: 0..CSL_TAG_MAX. The
 * request must be completed with csl_wait, or given up with csl_cancel. */
enum { CSL_TAG_MAX = 16383 };
CSL_API CSL_MUST_CHECK csl_status csl_send_begin(csl_communicator *communicator,
                                                 const void *buffer,
                                                 size_t size,
                                                 uint32_t rank,
                                                 uint32_t tag,
                                                 MPI_Request *request_out);
CSL_API CSL_MUST_CHECK csl_status csl_receive_begin(csl_communicator *communicator,
                                                    void *buffer,
                                                    size_t size,
                                                    uint32_t rank,
                                                    uint32_t tag,
                                                    MPI_Request *request_out);
CSL_API CSL_MUST_CHECK csl_status csl_wait(csl_communicator *communicator,
                                           MPI_Request *requests,
                                           size_t request_count);
CSL_API void csl_cancel(MPI_Request *requests, size_t request_count);

#endif
