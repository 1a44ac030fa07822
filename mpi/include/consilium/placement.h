/*
 * Where the shards of institutions run, and how the shards of one institution stay equal.
 *
 * An institution trains as `ranks_each` data-parallel shards. All shards of all institutions stand
 * in one line (institution 0's first) and the ranks take contiguous stretches of it, as equal as
 * possible. So there may be several institutions on a rank, one institution over several ranks, or
 * both; results never depend on it, because nothing that is computed asks where it runs.
 */
#ifndef CONSILIUM_PLACEMENT_H
#define CONSILIUM_PLACEMENT_H

#include <consilium/communicator.h>
#include <consilium/train.h>

typedef struct csl_placement {
    uint32_t institution_count;
    uint32_t ranks_each; /* shards of one institution */
    uint32_t rank_count;
} csl_placement;

/* Shards [first, end) of a rank; empty where there are more ranks than shards. */
CSL_API void csl_placement_shards(const csl_placement *placement,
                                  uint32_t rank,
                                  uint32_t *first_out,
                                  uint32_t *end_out);
CSL_API uint32_t csl_placement_rank(const csl_placement *placement, uint32_t shard);
/* The rank of an institution's first shard: it speaks for the institution. */
CSL_API uint32_t csl_placement_owner(const csl_placement *placement, uint32_t institution);
/*
 * Institutions with a shard on this rank in the order in which they must train here:
 * institutions_out [csl_placement_count]. First those that lie here whole, then those that straddle
 * ranks, every second one before the others: neighbours that wait for each other then wait once
 * instead of in a chain, and, every rank following one common order, never in a circle.
 */
CSL_API uint32_t csl_placement_count(const csl_placement *placement, uint32_t rank);
CSL_API void
csl_placement_order(const csl_placement *placement, uint32_t rank, uint32_t *institutions_out);

/*
 * The gradient exchange of one institution's shards on this process: a rendezvous of threads, and
 * messages where the institution straddles ranks. The sum runs in shard order in float64 with one
 * rounding at the end, so every shard gets the same bits wherever the shards lie.
 *
 * Every local shard runs on its own thread, calls `sum` of its own csl_gradient_exchange the same
 * number of times, and csl_shard_group_leave once at its end. When a shard leaves with a failure
 * the others' `sum` returns E_COMM ("another shard of institution 3 failed") instead of waiting.
 */
typedef struct csl_shard_group csl_shard_group;
CSL_API CSL_MUST_CHECK csl_status csl_shard_group_create(csl_communicator *communicator,
                                                         const csl_placement *placement,
                                                         uint32_t institution,
                                                         csl_shard_group **group_out);
CSL_API void csl_shard_group_destroy(csl_shard_group *group);
/* Shards of the institution here: local 0..count-1 is shard first + local of the institution. */
CSL_API uint32_t csl_shard_group_local_count(const csl_shard_group *group);
CSL_API csl_gradient_exchange csl_shard_group_exchange(csl_shard_group *group, uint32_t local);
/* The end of a shard's round with its status. All local shards must call it; returns the status, or
 * E_COMM if another shard failed, or E_INTERNAL if shards took different numbers of steps. */
CSL_API CSL_MUST_CHECK csl_status csl_shard_group_leave(csl_shard_group *group,
                                                        uint32_t local,
                                                        csl_status status);
/* For a shard that could not even start: it counts as having left with `status`, nobody waits here.
 * To be called before any local shard runs on this thread. */
CSL_API void csl_shard_group_fail(csl_shard_group *group, uint32_t local, csl_status status);

#endif
