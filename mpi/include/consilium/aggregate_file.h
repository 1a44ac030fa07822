/*
 * Aggregation of a file of updates, outside a run: any number of ranks, each of which reads its own
 * coordinates only, in pieces where they do not fit.
 *
 * Memory of a rank that holds `own` of the d coordinates of n updates, in bytes:
 *
 *     4 n piece k + 4 own k + [root] 4 own k + [memory] 4 own m + [rank 0 of several] 4 d
 *     + 4096 n + 352 n^2
 *
 * with k = 1 on the device "host", 2 on others (host and device copies); m = 1 row for a rule that
 * keeps a centre, n for one that keeps histories. `piece` is `own` where
 * that stays below the limit; else the largest multiple of CSL_TILE that does, and the file is read
 * once per pass. The program and its libraries come on top.
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
} csl_aggregate_job;

/* What was done, on every rank; table is for people, on rank 0. */
typedef struct csl_aggregate_outcome {
    csl_text table;
    uint64_t memory_size; /* bytes by the formula above */
    uint64_t piece_count; /* columns at a time */
} csl_aggregate_outcome;

/* Bytes by the formula above. */
CSL_API uint64_t csl_aggregate_memory_size(uint32_t row_count,
                                           uint64_t own_count,
                                           uint64_t piece_count,
                                           uint64_t gathered_count,
                                           uint32_t kept_count,
                                           bool has_root,
                                           bool is_host);

/* Collective. Refuses what can be refused before values are read; nothing is at `out` unless it is
 * complete, and `memory` is replaced last, after the other files are there: a call that fails can
 * be repeated. Errors: those of csl_updates_open, csl_numbers_read, csl_kept_open, csl_aggregate;
 * E_INVALID_ARG (a memory for a rule that keeps nothing, outputs that would replace each other or
 * what is read), E_RANGE (limit too small), E_IO, E_NO_MEMORY, E_NO_DEVICE. The caller clears the
 * outcome's table. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_file(csl_communicator *communicator,
                                                     const csl_aggregate_job *job,
                                                     csl_aggregate_outcome *outcome_out);

#endif
