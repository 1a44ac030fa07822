/* Private to bench/aggregate*.c: one row of the table, from its name to its floor. */
#ifndef CSL_AGGREGATE_CASE_H
#define CSL_AGGREGATE_CASE_H

#include <consilium/distribute.h>
#include <consilium/kernels.h>
#include <consilium/robust.h>

enum { CSL_GATHER_COUNT = 4096 }; /* coordinates of a sketch */

typedef struct csl_aggregate_case {
    csl_communicator *communicator;
    csl_device *device;
    const csl_kernels *kernels;
    const float **rows;      /* device */
    const float *const *see; /* the same on the host, where results are checked */
    uint32_t row_count;
    size_t count; /* this rank's coordinates */
    size_t begin; /* the first of them */
    size_t total;
    float *out;          /* device, one row */
    float *many;         /* device, as many rows as there are, where the work wants them; or NULL */
    csl_exact_sum *sums; /* of all products, distances and norms */
    float *gathered;     /* host, row_count * CSL_GATHER_COUNT */
    double *mix;         /* a dense W */
    csl_aggregate_report *report;
} csl_aggregate_case;

/* What a row measures: "kernel:NAME", or "rule" or "pre+rule" of the registry. */
typedef struct csl_aggregate_work csl_aggregate_work;

typedef struct csl_aggregate_floor {
    double bytes;         /* read and written by all ranks together */
    double multiply_adds; /* in float32, one in float64 counted twice */
    double differences;   /* in float32, each squared and added to a sum */
} csl_aggregate_floor;

/* Errors: E_NOT_FOUND with the nearest name. */
CSL_MUST_CHECK csl_status csl_aggregate_work_create(const char *name,
                                                    csl_aggregate_work **work_out);
void csl_aggregate_work_destroy(csl_aggregate_work *work);
/* f: that of the papers' tables, (n - 3) / 4, or the largest that the rule allows if that is less.
 * false: the rule takes no such number of rows. */
bool csl_aggregate_work_suits(csl_aggregate_work *work, uint32_t row_count, uint32_t *f_out);
bool csl_aggregate_work_wants_many(const csl_aggregate_work *work);
/* Once. Collective for rules. */
CSL_MUST_CHECK csl_status csl_aggregate_work_run(const csl_aggregate_work *work,
                                                 csl_aggregate_case *c);
/* Of the run before: which rows the aggregate was made of is in its report. */
csl_aggregate_floor csl_aggregate_work_floor(const csl_aggregate_work *work,
                                             const csl_aggregate_case *c);
/* Compares the aggregate of the run before with a slow, plain computation at some coordinates.
 * Errors: E_INTERNAL naming rule, coordinate, expected and found. */
CSL_MUST_CHECK csl_status csl_aggregate_work_check(const csl_aggregate_work *work,
                                                   csl_aggregate_case *c);

#endif
