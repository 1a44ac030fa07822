/*
 * Aggregation of a file of updates, outside a run: any number of ranks, each of which reads its own
 * coordinates only, in pieces where they do not fit.
 *
 * Memory of a rank that holds `own` of the d coordinates of n updates, in bytes:
 *
 *     4 n piece k + [pieces, or read once] 4 own + [else, or k = 2] 4 min(piece, 2^18)
 *     + [root] 4 own + [memory] 4 own m + [rank 0, see below] 4 min(d, 2^20) + 4096 n + 352 n^2
 *
 * with k = 1 on the device "host", 2 on others (host and device copies); m = 1 row for a rule that
 * keeps a centre, n for one that keeps histories. `piece` is `own`, or a part of it for rules that
 * read once, where that stays below the limit; else the largest multiple of CSL_TILE that does, and
 * the file is read once per pass. Rules that read twice put the aggregate into the place of the
 * first update's values, which are not needed any more; and rank 0 takes what the others send
 * through the other updates' place, if that is large enough: only else through min(d, 2^20) values
 * more. The program and its libraries come on top.
 */
#ifndef CONSILIUM_AGGREGATE_FILE_H
#define CONSILIUM_AGGREGATE_FILE_H

#include <consilium/communicator.h>
#include <consilium/robust.h>

typedef struct csl_aggregate_job {
    const char *in;           /* HDF5 file or folder of .npy */
    const char *dataset;      /* NULL: "updates" */
    const char *out;          /* ".h5" or ".npy" */
    const char *report;       /* JSON, or NULL */
    const char *memory;       /* what the rule keeps (kept.h), read and replaced; or NULL */
    const char *weights_from; /* csl_numbers_read, or NULL: `weights` of the file */
    int64_t root;             /* index of the row that is the trusted update; -1: none */
    uint32_t round;
    const char *device;    /* resource; "auto": a GPU of this node's in turn, else the host */
    uint32_t threads;      /* 0: the node's cores over its ranks */
    uint64_t memory_limit; /* bytes of a rank; 0: half of the node's memory over its ranks */
    csl_aggregate_spec spec;
    bool *refused; /* set where this job is the failure, not a file or the machine; may be NULL */
} csl_aggregate_job;

/* What was done, on every rank; table is for people, on rank 0. */
typedef struct csl_aggregate_outcome {
    csl_text table;
    uint64_t memory_size; /* bytes by the formula above */
    uint64_t piece_count; /* columns at a time */
    bool empty;           /* the rule trusted no update: the aggregate is zero */
} csl_aggregate_outcome;

/* Collective. Refuses what can be refused before values are read; nothing is at `out` unless it is
 * complete, and `memory` is replaced last, after the other files are there: a call that fails can
 * be repeated. Errors: those of csl_updates_open, csl_numbers_read, csl_kept_open, csl_aggregate;
 * E_INVALID_ARG (a memory for a rule that keeps nothing, a root for one that trusts no row or none
 * for one that does, weights for one that uses none, a dataset of a folder, outputs that would
 * replace each other or what is read), E_RANGE (limit too small), E_IO, E_NO_MEMORY, E_NO_DEVICE.
 * The caller clears the outcome's table. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_file(csl_communicator *communicator,
                                                     const csl_aggregate_job *job,
                                                     csl_aggregate_outcome *outcome_out);

#endif
