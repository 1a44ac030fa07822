/* Private to mpi: one aggregation of a file. */
#ifndef CSL_AGGREGATE_FILE_INTERNAL_H
#define CSL_AGGREGATE_FILE_INTERNAL_H

#include <consilium/aggregate_file.h>
#include <consilium/distribute.h>
#include <consilium/hash.h>
#include <consilium/kept.h>
#include <consilium/updates.h>

typedef struct csl_file_aggregation {
    csl_communicator *communicator;
    const csl_aggregate_job *job;
    uint32_t rank;
    uint32_t rank_count;
    csl_updates *updates;
    uint32_t row_count;
    size_t total;
    csl_sharding sharding;
    csl_coordinate_shard own;
    double *weights; /* [row_count], or NULL */
    csl_device *device;
    bool is_host;
    size_t piece_count;
    float *host_block;   /* [row_count][piece_count] */
    float *device_block; /* the same on the device; host_block on the host */
    float *root;         /* device [own.count], or NULL */
    float *aggregate;    /* host [own.count]; the first row of host_block where it can */
    float *room;     /* on rank 0, for what others send: what is left of host_block, or own_room */
    float *own_room; /* or NULL */
    csl_aggregate_memory *memory; /* or NULL */
    bool keeps_histories;         /* of each institution; else one centre */
    uint32_t kept_count;          /* rows in memory, 0 without */
    csl_aggregate_report *report;
} csl_file_aggregation;

/* aggregate_file_check.c. Rank 0, before any work: outputs can be written, and none overwrites what
 * is read or another. Not collective. */
CSL_MUST_CHECK csl_status csl_file_check_outputs(const csl_aggregate_job *job);
/* What the job names and the rule has no use for, or the rule needs and the job lacks; the updates
 * are open. Not collective. */
CSL_MUST_CHECK csl_status csl_file_check_sources(const csl_file_aggregation *a);
/* The report of the aggregation as one JSON object on one line; digest: of the whole aggregate. */
CSL_MUST_CHECK csl_status csl_file_report(const csl_file_aggregation *a,
                                          const uint8_t digest[CSL_SHA256_SIZE],
                                          csl_text *text);
/* The same for people. */
CSL_MUST_CHECK csl_status csl_file_table(const csl_file_aggregation *a, csl_text *text);

/* aggregate_file_memory.c. Refuses a memory for a rule that keeps nothing. Not collective. */
CSL_MUST_CHECK csl_status csl_file_memory_prepare(csl_file_aggregation *a);
/* Own columns of what was kept, if there is a file; uses host_block. Collective. */
CSL_MUST_CHECK csl_status csl_file_memory_read(csl_file_aggregation *a);
/* Replaces the file, one row at a time through `aggregate`, which is lost. Collective. */
CSL_MUST_CHECK csl_status csl_file_memory_write(csl_file_aggregation *a);

#endif
