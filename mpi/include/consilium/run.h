/*
 * A federated run from a study file to a run directory: what `consilium run` does.
 *
 * The library prints nothing: tables and progress go through the functions in csl_run_options, on
 * rank 0 only.
 */
#ifndef CONSILIUM_RUN_H
#define CONSILIUM_RUN_H

#include <consilium/communicator.h>
#include <consilium/distribute.h>

#include <signal.h>

/* Where a run stands, for a progress line. */
typedef struct csl_run_progress {
    csl_phase phase;
    uint32_t round; /* 1 for the first */
    uint32_t round_count;
    double round_fraction;      /* of this round's training, 0..1 */
    uint32_t institutions_done; /* of this round */
    uint32_t institutions;      /* that train in this round */
    double loss;                /* mean of the latest losses, NaN if none yet */
    double seconds;             /* since the first round began */
    double seconds_left;        /* estimate, NaN before the first step */
} csl_run_progress;

/* How updates get from institutions to the ranks that aggregate. */
typedef enum csl_transport {
    CSL_TRANSPORT_AUTO,     /* NCCL between GPUs, else memory shared on one node, else messages */
    CSL_TRANSPORT_MEMORY,   /* memory shared on one node, messages between nodes */
    CSL_TRANSPORT_MESSAGES, /* MPI's messages also between ranks of one node */
    CSL_TRANSPORT_NCCL      /* from card to card, or the run is refused */
} csl_transport;

typedef struct csl_run_options {
    const char *study_path;
    const char *const *overrides; /* [override_count] "training.lr=0.1" */
    size_t override_count;
    bool *refused;               /* set where study or options are the failure; may be NULL */
    const char *directory;       /* run directory; NULL: "runs/" and the study's name */
    bool overwrite;              /* an existing run in it is replaced when this one is complete */
    bool verbose;                /* also the table of ranks */
    const uint32_t *aggregators; /* [aggregator_count] ranks that aggregate, ascending */
    uint32_t aggregator_count;   /* 0: all */
    bool aggregate_on_host;      /* also where ranks train on GPUs */
    csl_transport transport;
    /* Bytes of a round's updates at a time, on the GPU that aggregates or else in a rank's memory;
     * 0: half of what is free on the GPU, half of the node's memory over its ranks. */
    uint64_t memory_limit;
    const volatile sig_atomic_t *stop; /* not zero: end as soon as possible; NULL: never */
    csl_aggregate_function *aggregate; /* NULL: the study's rule */
    void *aggregate_context;
    void *context;
    void (*table)(void *context, const char *text); /* whole lines */
    void (*progress)(void *context, const csl_run_progress *progress);
} csl_run_options;

/*
 * Collective. Every rank returns the same status; csl_agreed_rank found it.
 *
 * With `overwrite` an earlier run's results stay as they are until this run has all of its own:
 * they are written into the directory's folder `unfinished` and take their places by renaming. A
 * run that ends early leaves them there.
 *
 * Errors: those of the study, the data, training and files; E_STATE (stopped, or the run directory
 * is taken); E_INVALID_ARG (the run would write over its study or data).
 */
CSL_API CSL_MUST_CHECK csl_status csl_run(csl_communicator *communicator,
                                          const csl_run_options *options);

/* Collective. Checks the study and data as a run would, measures one training step, and gives the
 * plan as text (rank 0): memory per rank, bytes per round, time. Writes nothing. */
CSL_API CSL_MUST_CHECK csl_status csl_run_plan(csl_communicator *communicator,
                                               const csl_run_options *options);

#endif
