/* Rows that are refused: how many of their values are not finite, and where the first one is. Asked
 * only where there are such rows, since it costs more passes. */
#include "passes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CENSUS_WORDS = sizeof(csl_row_census) / sizeof(int64_t) };

typedef struct census_pass {
    csl_row_census *census; /* [live_count] */
    csl_exact_sum *spare;   /* [live_count] what else the pass gives */
    int64_t *first;         /* [live_count] column of all, or -1 */
    int64_t *votes;         /* [live_count] */
} census_pass;

static csl_status census_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    census_pass *pass = context;
    return a->kernels->row_squared_norms(a->input->device, columns->rows, a->live_count,
                                         columns->count, pass->census, pass->spare);
}

static csl_status first_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    census_pass *pass = context;
    float tile[CSL_TILE];
    for (uint32_t i = 0; i < a->live_count; i++) {
        if (pass->census[i].non_finite == 0 || pass->first[i] >= 0) {
            continue;
        }
        CSL_TRY(csl_device_copy(a->input->device, tile, columns->rows[i],
                                columns->count * sizeof *tile, CSL_COPY_TO_HOST));
        for (size_t j = 0; j < columns->count && pass->first[i] < 0; j++) {
            if (!isfinite(tile[j])) {
                pass->first[i] = (int64_t)(a->input->column_begin + columns->begin + j);
            }
        }
    }
    return CSL_OK;
}

/* The least over the ranks, bit by bit from above, since ranks only add: where any rank that is
 * still in has a 0, those with a 1 leave. */
static csl_status least_over_ranks(csl_aggregation *a, census_pass *pass)
{
    uint32_t n = a->live_count;
    int top = 0;
    while (top < 62 && a->input->column_total >> top > 1) {
        top++;
    }
    for (uint32_t i = 0; i < n; i++) {
        a->report->rows[a->live[i]].first_non_finite = pass->census[i].non_finite > 0 ? 0 : -1;
    }
    for (int bit = top; bit >= 0; bit--) {
        for (uint32_t i = 0; i < n; i++) {
            pass->votes[i] = pass->first[i] >= 0 && (pass->first[i] >> bit & 1) == 0;
        }
        CSL_TRY(csl_share(a, CSL_OK, pass->votes, n));
        for (uint32_t i = 0; i < n; i++) {
            csl_row_report *row = &a->report->rows[a->live[i]];
            if (row->first_non_finite < 0) {
                continue;
            }
            if (pass->votes[i] == 0) {
                row->first_non_finite |= (int64_t)1 << bit;
            } else if (pass->first[i] >> bit & 1) {
                pass->first[i] = -1;
            }
        }
    }
    return CSL_OK;
}

csl_status csl_count_non_finite(csl_aggregation *a)
{
    uint32_t n = a->live_count;
    census_pass pass = {calloc(n, sizeof *pass.census), calloc(n, sizeof *pass.spare),
                        calloc(n, sizeof *pass.first), calloc(n, sizeof *pass.votes)};
    csl_status status = pass.census && pass.spare && pass.first && pass.votes
                            ? csl_visit(a, 0, NULL, census_block, &pass)
                            : csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for %u rows", n);
    status = csl_share(a, status, (int64_t *)pass.census, n * CENSUS_WORDS);
    for (uint32_t i = 0; status == CSL_OK && i < n; i++) {
        a->report->rows[a->live[i]].non_finite = pass.census[i].non_finite;
        pass.first[i] = -1;
    }
    if (status == CSL_OK) {
        status = csl_share(a, csl_visit(a, CSL_TILE, NULL, first_block, &pass), NULL, 0);
    }
    if (status == CSL_OK) {
        status = least_over_ranks(a, &pass);
    }
    free(pass.census);
    free(pass.spare);
    free(pass.first);
    free(pass.votes);
    return status;
}
