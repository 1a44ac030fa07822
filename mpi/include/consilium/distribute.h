/*
 * Updates to coordinate shards: the ranks that aggregate each take a range of coordinates of all
 * updates. The rule is EXACT, so the aggregate has the same bits whichever ranks these are.
 *
 * Where all ranks sit on one node, an update is written once, into memory that the others read in
 * place, or, where the updates of a round are larger than a limit, into a file that they map and of
 * which a part is in memory at a time. Between nodes it leaves its institution in pieces as soon as
 * it is there, while the rank goes on training, and the rule begins with the coordinates that have
 * arrived while the others are under way. Each rank holds one receive buffer of [updates][its
 * coordinates].
 */
#ifndef CONSILIUM_DISTRIBUTE_H
#define CONSILIUM_DISTRIBUTE_H

#include <consilium/communicator.h>
#include <consilium/device.h>

/*
 * Who aggregates what: the T tiles (CSL_TILE) of a vector of `total` coordinates go to the A ranks
 * that aggregate, in order; the k-th of them takes tiles [k T / A, (k + 1) T / A).
 */
typedef struct csl_sharding {
    size_t total;
    uint32_t rank_count;
    uint32_t aggregator_count;   /* 0: all ranks */
    const uint32_t *aggregators; /* [aggregator_count] ranks, ascending; lent */
} csl_sharding;

/* Coordinates [begin, begin + count) that a rank aggregates; begin ascends with the rank. */
typedef struct csl_coordinate_shard {
    size_t begin;
    size_t count;
} csl_coordinate_shard;
CSL_API csl_coordinate_shard csl_shard_of(const csl_sharding *sharding, uint32_t rank);

/* What a rule gets: a range of coordinates of all updates of a round, in order of institution. */
typedef struct csl_update_block {
    csl_communicator *communicator; /* csl_sum_integers for what needs all coordinates */
    const float *const *rows;       /* [row_count] each [shard.count], host memory */
    const double *weights;          /* [row_count] normalised */
    const uint32_t *institutions;   /* [row_count] ascending */
    uint32_t row_count;
    csl_coordinate_shard shard;
    size_t total; /* coordinates of a whole update */
    uint32_t round;
} csl_update_block;

/*
 * An aggregation rule on this rank's coordinates: aggregate_out [shard.count]. Collective: every
 * rank calls it, also one with an empty shard, and what decides (a selection, a weight) must come
 * out of exact sums over ranks, so that every rank decides the same.
 */
typedef csl_status
csl_aggregate_function(void *context, const csl_update_block *block, float *aggregate_out);

/* The weighted mean; context: a csl_device that computes on host memory ("host"). */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_mean(void *context,
                                                     const csl_update_block *block,
                                                     float *aggregate_out);

typedef struct csl_collector csl_collector;
typedef struct csl_nccl csl_nccl;
typedef struct csl_collector_options {
    uint32_t row_count_max; /* updates of a round at most */
    uint32_t own_count_max; /* those that this rank submits at most */
    uint32_t channel;       /* 0..3, to tell collectors apart that work at the same time */
    csl_nccl *nccl; /* updates go from card to card (csl_nccl_create); NULL: over the host */
    /* Bytes that a rank's coordinates of a round's updates may take in host memory at a time, the
     * same on all ranks; 0: all of them. Larger ones lie in a file where all ranks sit on one node;
     * elsewhere they are refused if must_fit, or else kept in memory. */
    uint64_t memory_limit;
    bool must_fit;
    const char *folder; /* of the file, which has no name there */
} csl_collector_options;

/*
 * Collects the updates of one round after the other. Collective. Memory is shared where it can be
 * and takes no more than messages would need: where few of many institutions take part in a round,
 * a place for each costs more than a receive buffer. Errors: E_RANGE (memory_limit too), E_IO (no
 * such file in the folder), E_NO_MEMORY, E_TIMEOUT, E_COMM.
 */
CSL_API CSL_MUST_CHECK csl_status csl_collector_create(csl_communicator *communicator,
                                                       const csl_sharding *sharding,
                                                       const csl_collector_options *options,
                                                       csl_collector **collector_out);
CSL_API void csl_collector_destroy(csl_collector *collector);
/* Whether updates stay where they are written. */
CSL_API bool csl_collector_is_shared(const csl_collector *collector);
/* Whether they stay in files. */
CSL_API bool csl_collector_is_in_files(const csl_collector *collector);
/* Bytes that a rank keeps of a round's updates in host memory, its own on their way included, for a
 * plan; in_files: where they lie in files if they are larger than options->memory_limit. */
CSL_API uint64_t csl_collector_size(const csl_sharding *sharding,
                                    const csl_collector_options *options,
                                    bool in_files,
                                    uint32_t rank);

/* Opens a round: owners[i] is the rank that will submit row i. To be called only after all ranks
 * agreed that they are done with the rows of the round before. */
CSL_API CSL_MUST_CHECK csl_status csl_collector_begin(csl_collector *collector,
                                                      const uint32_t *owners,
                                                      uint32_t row_count);
/* Where row `row` of this rank is best written before it is submitted: place_out [total], lent
 * until the submit. One place at a time. */
CSL_API CSL_MUST_CHECK csl_status csl_collector_place(csl_collector *collector,
                                                      uint32_t row,
                                                      float **place_out);
/* Sends row `row` of this rank. update: [total], the row's place, or copied before the return. */
CSL_API CSL_MUST_CHECK csl_status csl_collector_submit(csl_collector *collector,
                                                       uint32_t row,
                                                       const float *update);
/* What follows is to be called only after all ranks agreed that every row was submitted. */
/* Collective. Puts on their way what is still here. */
CSL_API CSL_MUST_CHECK csl_status csl_collector_start(csl_collector *collector);
/* The device whose memory the rows lie in, NULL: host memory. */
CSL_API const csl_device *csl_collector_device(const csl_collector *collector);
/* This rank's coordinates of each row: [row_count], lent until the next begin. A value is there
 * once csl_collector_wait has returned for its column. */
CSL_API const float *const *csl_collector_rows(const csl_collector *collector);
/* Columns that best are waited for at a time, a multiple of CSL_TILE. */
CSL_API size_t csl_collector_step(const csl_collector *collector);
/* Waits until columns [begin, begin + count) of this rank's shard are here, of all rows. Of rows in
 * files the columns that were waited for before leave memory. */
CSL_API CSL_MUST_CHECK csl_status csl_collector_wait(csl_collector *collector,
                                                     size_t begin,
                                                     size_t count);
/* Of rows in files: whatever of them this rank has read leaves memory. */
CSL_API void csl_collector_release(csl_collector *collector);
/* Waits until all rows are here and this rank's own are away. */
CSL_API CSL_MUST_CHECK csl_status csl_collector_finish(csl_collector *collector);
/* Collective. Gives a round up after a failure that all ranks agreed on: waits for what was
 * submitted and no longer for rows that will never come. */
CSL_API CSL_MUST_CHECK csl_status csl_collector_abandon(csl_collector *collector);

/* Collective. vector [total] holds this rank's coordinates; afterwards it holds all. */
CSL_API CSL_MUST_CHECK csl_status csl_gather_coordinates(csl_communicator *communicator,
                                                         const csl_sharding *sharding,
                                                         float *vector);
/* Collective. own: this rank's coordinates; vector: [total] on rank 0, which afterwards has all in
 * it; not used elsewhere. */
CSL_API CSL_MUST_CHECK csl_status csl_collect_coordinates(csl_communicator *communicator,
                                                          const csl_sharding *sharding,
                                                          const float *own,
                                                          float *vector);
/* Coordinates of a message. */
enum { CSL_STREAM_COUNT = 256 * CSL_TILE };
/* Takes the next coordinates [begin, begin + count) of a vector, in ascending order. */
typedef csl_status
csl_take_coordinates(void *context, size_t begin, size_t count, const float *values);
/* Coordinates of others that rank 0 holds at a time in csl_stream_coordinates. */
CSL_API size_t csl_stream_room(const csl_sharding *sharding);
/* Collective. The same in pieces, to rank 0, which takes others' coordinates through room
 * [csl_stream_room], not used on other ranks nor on a single one. What take fails with, rank 0
 * returns after all is received; the others know nothing of it: csl_agree follows. */
CSL_API CSL_MUST_CHECK csl_status csl_stream_coordinates(csl_communicator *communicator,
                                                         const csl_sharding *sharding,
                                                         const float *own,
                                                         float *room,
                                                         csl_take_coordinates *take,
                                                         void *context);

/*
 * A vector of which every rank writes its coordinates and reads all: the global model. One for a
 * node where memory can be shared, else a copy on every rank.
 */
typedef struct csl_global_vector csl_global_vector;
/* Collective. values [total]: the vector at the start, rank 0's count. Errors: E_NO_MEMORY,
 * E_TIMEOUT, E_COMM. */
CSL_API CSL_MUST_CHECK csl_status csl_global_vector_create(csl_communicator *communicator,
                                                           const csl_sharding *sharding,
                                                           const float *values,
                                                           csl_global_vector **vector_out);
CSL_API void csl_global_vector_destroy(csl_global_vector *vector);
/* [total] lent. Between two calls of complete all may be read and nothing written, until all ranks
 * agreed that they are done with it. */
CSL_API float *csl_global_vector_values(const csl_global_vector *vector);
/* Collective, after every rank wrote its coordinates: all have all. */
CSL_API CSL_MUST_CHECK csl_status csl_global_vector_complete(csl_global_vector *vector);

#endif
