/* Private to engine/robust: walking over the local columns. */
#ifndef CSL_PASSES_H
#define CSL_PASSES_H

#include "aggregation.h"

/* A squared norm from which float32 lanes of distances could overflow: such a row is refused. */
#define CSL_NORM_LIMIT 0x1p124

/* One range of columns: live rows and, where asked for, one more row after them. */
typedef struct csl_block {
    size_t begin; /* within the local columns */
    size_t count;
    const float **rows;
} csl_block;

typedef csl_status (*csl_block_work)(csl_aggregation *a, const csl_block *columns, void *context);

/* Calls work on all local columns in order, in blocks of at most `step` columns (0: as large as
 * the input brings them). extra: a row of local columns that follows the live rows, or NULL. */
csl_status
csl_visit(csl_aggregation *a, size_t step, const float *extra, csl_block_work work, void *context);

/* Columns of a block that stays in cache between two operations. */
size_t csl_cache_step(const csl_aggregation *a);

/* The virtual rows (all, or those chosen) as coefficients of the live rows: [count][live_count];
 * the origin needs none. Owned by the caller; NULL where there is no memory. */
double *csl_live_mix(const csl_aggregation *a, const uint32_t *chosen, uint32_t chosen_count);

/* refused.c: non_finite and first_non_finite of the live rows, for the report. Collective. */
csl_status csl_count_non_finite(csl_aggregation *a);

/* The last pass, one block at a time. */
typedef struct csl_answer_pass csl_answer_pass;
csl_status csl_answer_prepare(csl_aggregation *a, csl_answer_pass **pass_out);
/* The step of csl_visit for a pass that writes the answer: `step`, or less where it is stored. */
size_t csl_answer_step(const csl_aggregation *a, size_t step);
csl_status csl_answer_block(csl_aggregation *a, const csl_block *columns, void *context);
void csl_answer_finish(csl_answer_pass *pass);

#endif
