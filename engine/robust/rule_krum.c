/* Krum, Multi-Krum, Bulyan, MoNNA, CGE and AKSEL: rows ranked by distances. */
#include "aggregation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of each row the others that are left, by ascending distance, and the sums of their squared
 * distances up to each: the first `count` of a row of [m][m]. */
typedef struct neighbour_lists {
    const double *distance;
    uint32_t m;
    uint32_t count;
    uint32_t *index;
    double *sum;
} neighbour_lists;

static void close_lists(neighbour_lists *lists)
{
    free(lists->index);
    free(lists->sum);
}

/* Sums of row i from place `from` to before `end`, always one after the other: what is left of a
 * list has the same sums as a list of what is left. */
static void add_up(neighbour_lists *lists, uint32_t i, uint32_t from, uint32_t end)
{
    const uint32_t *index = lists->index + (size_t)i * lists->m;
    const double *distance = lists->distance + (size_t)i * lists->m;
    double *sum = lists->sum + (size_t)i * lists->m;
    double before = from > 0 ? sum[from - 1] : 0;
    for (uint32_t k = from; k < end; k++) {
        before += distance[index[k]];
        sum[k] = before;
    }
}

/* With sums of the first `neighbours`. On failure nothing is to be closed. */
static csl_status
open_lists(const double *distance, uint32_t m, uint32_t neighbours, neighbour_lists *lists)
{
    *lists = (neighbour_lists){.distance = distance, .m = m, .count = m - 1};
    lists->index = calloc((size_t)m * m, sizeof *lists->index);
    lists->sum = csl_numbers(m, m);
    csl_status status = lists->index && lists->sum
                            ? CSL_OK
                            : csl_fail(CSL_E_NO_MEMORY, "krum: neighbours of %u rows", m);
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        uint32_t *index = lists->index + (size_t)i * m;
        status = csl_rank(distance + (size_t)i * m, m, index);
        for (uint32_t k = 0, at = 0; status == CSL_OK && k < m; k++) { /* itself leaves */
            index[at] = index[k];
            at += index[k] != i;
        }
        add_up(lists, i, 0, neighbours < lists->count ? neighbours : lists->count);
    }
    if (status != CSL_OK) {
        close_lists(lists);
    }
    return status;
}

/* Takes row `gone` out of the lists of rows that are not taken. neighbours: no more than before;
 * sums beyond are not kept. */
static void
leave_lists(neighbour_lists *lists, const bool *taken, uint32_t gone, uint32_t neighbours)
{
    lists->count--;
    uint32_t end = neighbours < lists->count ? neighbours : lists->count;
    for (uint32_t i = 0; i < lists->m; i++) {
        uint32_t *index = lists->index + (size_t)i * lists->m;
        if (taken[i]) {
            continue;
        }
        uint32_t place = 0;
        while (index[place] != gone) {
            place++;
        }
        memmove(index + place, index + place + 1, (lists->count - place) * sizeof *index);
        add_up(lists, i, place, end);
    }
}

/* Each row's sum of the squared distances to its `neighbours` closest others that are left. */
static void krum_scores(const neighbour_lists *lists, uint32_t neighbours, double *score)
{
    uint32_t count = neighbours < lists->count ? neighbours : lists->count;
    for (uint32_t i = 0; i < lists->m; i++) {
        score[i] = count > 0 ? lists->sum[(size_t)i * lists->m + count - 1] : 0;
    }
}

/* n - f - 2 in the paper; ByzFL sums n - f - 1. Never less than one where there are two rows. */
static uint32_t neighbour_count(const csl_aggregation *a, uint32_t m)
{
    uint32_t less = a->f + (a->spec->preset == CSL_PRESET_BYZFL ? 1 : 2);
    return csl_whole_value(a, CSL_PARAMETER_NEIGHBOURS, m > less ? m - less : 1);
}

/* The paper adds up squared distances; programs that add up distances or their fourth powers are
 * about. Square roots and products only, which are the same everywhere. */
static const char *raise_distances(csl_aggregation *a)
{
    static const char *const names[] = {
        "sum of distances to neighbours", "sum of squared distances to neighbours",
        "sum of cubed distances to neighbours", "sum of fourth powers of distances to neighbours"};
    uint32_t power = csl_whole_value(a, CSL_PARAMETER_POWER, 2);
    size_t pairs = (size_t)a->row_count * a->row_count;
    for (size_t k = 0; power != 2 && k < pairs; k++) {
        double root = power % 2 == 0 ? 1 : sqrt(a->row_distance[k]);
        a->row_distance[k] =
            power == 1 ? root : a->row_distance[k] * (power == 3 ? root : a->row_distance[k]);
    }
    return names[power - 1];
}

static csl_status krum(csl_aggregation *a, uint32_t keep)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    const char *score_name = raise_distances(a);
    uint32_t m = a->row_count;
    uint32_t neighbours = neighbour_count(a, m);
    neighbour_lists lists;
    CSL_TRY(open_lists(a->row_distance, m, neighbours, &lists));
    double *score = csl_numbers(m, 1);
    csl_status status = score ? CSL_OK : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        krum_scores(&lists, neighbours, score);
        csl_set_scores(a, score_name, score);
        status = csl_answer_best(a, score, keep);
    }
    free(score);
    close_lists(&lists);
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

/* Krum's neighbours among `left` rows in one of Bulyan's picks. */
static uint32_t pick_neighbours(const csl_aggregation *a, uint32_t left)
{
    return left > a->f + 2 ? left - a->f - 2 : 1;
}

/* What the last pick, of row best, says of the rows that were never picked. */
static void
explain_last_pick(csl_aggregation *a, const bool *taken, const double *score, uint32_t best)
{
    for (uint32_t i = 0; i < a->row_count; i++) {
        if (!taken[i]) {
            double more = score[i] - score[best];
            a->report->margin = isnan(a->report->margin) ? more : fmin(a->report->margin, more);
            csl_explain_score(a, i, "last Krum score", score[i], score[best]);
        }
    }
}

/* Picks rows by Krum, each removed before the next. first [m]: scores before any pick. */
static void pick(csl_aggregation *a,
                 neighbour_lists *lists,
                 uint32_t picks,
                 bool *taken,
                 double *first,
                 double *score)
{
    uint32_t m = lists->m;
    for (uint32_t k = 0; k < picks; k++) {
        krum_scores(lists, pick_neighbours(a, m - k), score);
        if (k == 0) {
            memcpy(first, score, m * sizeof *first);
        }
        uint32_t best = m;
        for (uint32_t i = 0; i < m; i++) {
            if (!taken[i] && (best == m || score[i] < score[best])) {
                best = i;
            }
        }
        taken[best] = true;
        if (k + 1 == picks) {
            explain_last_pick(a, taken, score, best);
        } else {
            leave_lists(lists, taken, best, pick_neighbours(a, m - k - 1));
        }
    }
}

/* El Mhamdi et al. 2018, section 4: n - 2f picks by Krum, then per coordinate the mean of the
 * n - 4f values closest to the median of the picks. */
csl_status csl_rule_bulyan(csl_aggregation *a)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    uint32_t m = a->row_count;
    uint32_t picks = m - 2 * a->f;
    neighbour_lists lists;
    CSL_TRY(open_lists(a->row_distance, m, pick_neighbours(a, m), &lists));
    double *score = csl_numbers(m, 1);
    double *first = csl_numbers(m, 1);
    bool *taken = calloc((size_t)m + 1, sizeof *taken);
    csl_status status = score && first && taken ? CSL_OK : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        pick(a, &lists, picks, taken, first, score);
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
    close_lists(&lists);
    free(score);
    free(first);
    free(taken);
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
