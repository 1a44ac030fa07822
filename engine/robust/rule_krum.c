/* Krum, Multi-Krum, Bulyan, MoNNA, CGE and AKSEL: rows ranked by distances. */
#include "aggregation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Of each row all rows by ascending distance: [m][m], once for all picks. NULL: no memory, or a
 * message that says what is wrong. */
static uint32_t *neighbour_orders(const double *distance, uint32_t m)
{
    uint32_t *order = calloc((size_t)m * m, sizeof *order);
    if (!order) {
        (void)csl_fail(CSL_E_NO_MEMORY, "krum: neighbours of %u rows", m);
    }
    for (size_t i = 0; order && i < m; i++) {
        if (csl_rank(distance + i * m, m, order + i * m) != CSL_OK) {
            free(order);
            order = NULL;
        }
    }
    return order;
}

/* Each row's sum of the squared distances to its `neighbours` closest others that are not taken;
 * NaN for those that are. */
static void krum_scores(const double *distance,
                        const uint32_t *order,
                        uint32_t m,
                        const bool *taken,
                        uint32_t neighbours,
                        double *score)
{
    for (uint32_t i = 0; i < m; i++) {
        uint32_t count = 0;
        double sum = 0;
        for (uint32_t k = 0; k < m && count < neighbours; k++) {
            uint32_t j = order[(size_t)i * m + k];
            if (j != i && !taken[j]) {
                sum += distance[(size_t)i * m + j];
                count++;
            }
        }
        score[i] = taken[i] ? NAN : sum;
    }
}

/* n - f - 2 in the paper; ByzFL sums n - f - 1. Never less than one where there are two rows. */
static uint32_t neighbour_count(const csl_aggregation *a, uint32_t m)
{
    uint32_t less = a->f + (a->spec->preset == CSL_PRESET_BYZFL ? 1 : 2);
    return csl_whole_value(a, CSL_PARAMETER_NEIGHBOURS, m > less ? m - less : 1);
}

static csl_status krum(csl_aggregation *a, uint32_t keep)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    uint32_t m = a->row_count;
    double *score = csl_numbers(m, 1);
    bool *taken = calloc(m, sizeof *taken);
    uint32_t *order = neighbour_orders(a->row_distance, m);
    csl_status status = score && taken && order ? CSL_OK : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        krum_scores(a->row_distance, order, m, taken, neighbour_count(a, m), score);
        csl_set_scores(a, "sum of squared distances to neighbours", score);
        status = csl_answer_best(a, score, keep);
    }
    free(score);
    free(taken);
    free(order);
    return status;
}

csl_status csl_rule_krum(csl_aggregation *a)
{
    return krum(a, 1);
}

csl_status csl_rule_multi_krum(csl_aggregation *a)
{
    uint32_t less = a->f + (a->spec->preset == CSL_PRESET_BYZFL ? 0 : 2);
    uint32_t keep = a->row_count > less ? a->row_count - less : 1;
    return krum(a, csl_whole_value(a, CSL_PARAMETER_SELECT, keep));
}

/* El Mhamdi et al. 2018, section 4: n - 2f picks by Krum, each removed before the next, then per
 * coordinate the mean of the n - 4f values closest to the median of the picks. */
csl_status csl_rule_bulyan(csl_aggregation *a)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    uint32_t m = a->row_count;
    uint32_t picks = m - 2 * a->f;
    double *score = csl_numbers(m, 1);
    double *first = csl_numbers(m, 1);
    bool *taken = calloc(m, sizeof *taken);
    uint32_t *order = neighbour_orders(a->row_distance, m);
    csl_status status = score && first && taken && order ? CSL_OK : CSL_E_NO_MEMORY;
    for (uint32_t k = 0; status == CSL_OK && k < picks; k++) {
        uint32_t left = m - k;
        uint32_t neighbours = left > a->f + 2 ? left - a->f - 2 : 1;
        krum_scores(a->row_distance, order, m, taken, neighbours, score);
        uint32_t best = m;
        for (uint32_t i = 0; i < m; i++) {
            first[i] = k == 0 ? score[i] : first[i];
            if (!taken[i] && (best == m || score[i] < score[best])) {
                best = i;
            }
        }
        taken[best] = true;
        for (uint32_t i = 0; k + 1 == picks && i < m; i++) {
            double more = taken[i] ? INFINITY : score[i] - score[best];
            a->report->margin = isnan(a->report->margin) ? more : fmin(a->report->margin, more);
            if (!taken[i]) {
                csl_explain_score(a, i, "last Krum score", score[i], score[best]);
            }
        }
    }
    if (status == CSL_OK && !isfinite(a->report->margin)) {
        a->report->margin = NAN; /* nobody was left */
    }
    if (status == CSL_OK) {
        csl_set_scores(a, "first Krum score", first);
        a->kind = CSL_ANSWER_SELECT;
        a->chosen_count = 0;
        for (uint32_t i = 0; i < m; i++) {
            if (taken[i]) {
                a->chosen[a->chosen_count++] = i;
            }
        }
        a->select.kind = CSL_SELECT_MEAMED;
        a->select.keep = picks - 2 * a->f;
    }
    free(score);
    free(first);
    free(taken);
    free(order);
    return status;
}

static csl_status nearest(csl_aggregation *a, const char *name, const double *score, uint32_t keep)
{
    csl_set_scores(a, name, score);
    return csl_answer_best(a, score, keep);
}

/* Farhadkhani et al. 2023: the trusted row and the n - f - 1 others closest to it. */
csl_status csl_rule_monna(csl_aggregation *a)
{
    uint32_t pivot = csl_whole_value(a, CSL_PARAMETER_PIVOT, 0);
    uint32_t place = a->live_count;
    for (uint32_t i = 0; i < a->live_count; i++) {
        if (a->report->rows[a->live[i]].institution == pivot) {
            place = a->row_of[i];
        }
    }
    if (place == a->live_count) {
        return csl_fail(CSL_E_NO_QUORUM,
                        "monna: the update of institution %u, which is trusted, was refused",
                        pivot);
    }
    const char *name = "squared distance to the trusted row";
    uint32_t keep = a->row_count - a->f;
    if (a->centre_distance) {
        return nearest(a, name, a->centre_distance, keep);
    }
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    return nearest(a, name, a->row_distance + (size_t)place * a->row_count, keep);
}

csl_status csl_rule_cge(csl_aggregation *a)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_NORMS));
    return nearest(a, "squared norm", a->row_norm, a->row_count - a->f);
}

csl_status csl_rule_aksel(csl_aggregation *a)
{
    csl_frame frame;
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES)); /* products first, where they are needed */
    CSL_TRY(csl_gather_median(a));
    CSL_TRY(csl_frame_open(a, CSL_POINT_MEDIAN, false, &frame));
    uint32_t m = a->row_count;
    uint32_t keep = csl_whole_value(a, CSL_PARAMETER_SELECT, (m + 1) / 2);
    const double *score = frame.distance + (size_t)m * (m + 1);
    csl_status status = nearest(a, "squared distance to the coordinate median", score, keep);
    csl_frame_close(&frame);
    return status;
}
