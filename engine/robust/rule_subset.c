/* MDA and SMEA: the best of all subsets of n - f rows. */
#include "cover.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The least diameter by bisection over the distances that occur; the cover's limit in the end. */
static csl_status least_diameter(csl_cover *cover, const double *distance, uint32_t m, uint32_t f)
{
    uint32_t count = m * (m - 1) / 2;
    double *values = csl_numbers(count + 1, 1);
    uint32_t *order = calloc((size_t)count + 1, sizeof *order);
    uint64_t *all = csl_cover_all(cover);
    csl_status status = values && order && all ? CSL_OK : CSL_E_NO_MEMORY;
    uint32_t at = 1; /* values[0] = 0 */
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        for (uint32_t j = i + 1; j < m; j++) {
            values[at++] = distance[(size_t)i * m + j];
        }
    }
    if (status == CSL_OK) {
        status = csl_rank(values, count + 1, order);
    }
    uint32_t low = 0;
    uint32_t high = count;
    while (status == CSL_OK && low < high) {
        uint32_t middle = low + (high - low) / 2;
        bool answer = false;
        csl_cover_limit(cover, distance, values[order[middle]]);
        status = csl_cover_exists(cover, all, f, &answer);
        if (answer) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (status == CSL_OK) {
        csl_cover_limit(cover, distance, values[order[low]]);
    }
    free(values);
    free(order);
    free(all);
    return status;
}

/* The first in lexicographic order of the subsets within the limit. kept: all rows at first. */
static csl_status
first_subset(csl_cover *cover, uint32_t m, uint32_t f, uint64_t *kept, uint64_t *trial)
{
    uint32_t words = csl_cover_words(cover);
    uint32_t gone = 0;
    for (uint32_t i = 0; i < m; i++) {
        if (!csl_has_row(kept, i)) {
            continue;
        }
        /* Keep i: whatever is too far from it goes. */
        memcpy(trial, kept, words * sizeof *trial);
        uint32_t more = csl_cover_isolate(cover, i, trial);
        bool answer = false;
        if (gone + more <= f) {
            CSL_TRY(csl_cover_exists(cover, trial, f - gone - more, &answer));
        }
        if (answer) {
            memcpy(kept, trial, words * sizeof *kept);
            gone += more;
        } else {
            csl_drop_row(kept, i);
            gone++;
        }
    }
    for (uint32_t i = m; i-- > 0 && gone < f;) {
        if (csl_has_row(kept, i)) { /* fewer than f had to go: the last in order go too */
            csl_drop_row(kept, i);
            gone++;
        }
    }
    return CSL_OK;
}

static csl_status
answer_kept(csl_aggregation *a, const bool *removed, uint32_t keep, const char *despite)
{
    double *weight = csl_numbers(a->row_count, 1);
    if (!weight) {
        return CSL_E_NO_MEMORY;
    }
    for (uint32_t i = 0; i < a->row_count; i++) {
        weight[i] = removed[i] ? 0 : 1.0 / keep;
    }
    csl_set_margin(a, a->score, weight, false);
    a->despite = despite;
    csl_status status = csl_answer_rows(a, weight);
    free(weight);
    return status;
}

/* Distance to the farthest of the kept rows: what a reader wants to see of each row. */
static csl_status score_kept(csl_aggregation *a, const bool *removed)
{
    uint32_t m = a->row_count;
    double *score = csl_numbers(m, 1);
    if (!score) {
        return CSL_E_NO_MEMORY;
    }
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t j = 0; j < m; j++) {
            if (!removed[j]) {
                score[i] = fmax(score[i], a->row_distance[(size_t)i * m + j]);
            }
        }
    }
    csl_set_scores(a, "largest squared distance to a row kept", score);
    free(score);
    return CSL_OK;
}

csl_status csl_rule_mda(csl_aggregation *a)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    uint32_t m = a->row_count;
    csl_cover *cover = NULL;
    uint64_t work_max = (uint64_t)1 << csl_whole_value(a, CSL_PARAMETER_SEARCH, 32);
    CSL_TRY(csl_cover_create(m, work_max, &cover));
    uint64_t *kept = csl_cover_all(cover);
    uint64_t *trial = csl_cover_all(cover);
    bool *removed = calloc(m, sizeof *removed);
    csl_status status = kept && trial && removed ? least_diameter(cover, a->row_distance, m, a->f)
                                                 : csl_fail(CSL_E_NO_MEMORY, "mda: %u rows", m);
    if (status == CSL_OK) {
        status = first_subset(cover, m, a->f, kept, trial);
    }
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        removed[i] = !csl_has_row(kept, i);
    }
    if (status == CSL_OK) {
        status = score_kept(a, removed);
    }
    if (status == CSL_OK) {
        status = answer_kept(a, removed, m - a->f, "as many others are no further apart");
    }
    csl_cover_destroy(cover);
    free(kept);
    free(trial);
    free(removed);
    return status;
}

typedef struct smea_search {
    const double *distance;
    uint32_t m;
    uint32_t keep;
    uint32_t *chosen; /* ascending */
    uint32_t *best;
    double best_value; /* top eigenvalue of the scatter matrix; infinite at first */
    double *weight;
    double *sub;
    double *gram;
    double *room; /* [m] */
} smea_search;

static const double SMEA_TIE = 0x1p-40;

static csl_status smea_leaf(smea_search *s)
{
    uint32_t k = s->keep;
    for (uint32_t i = 0; i < k; i++) {
        s->weight[i] = 1.0 / k;
        for (uint32_t j = 0; j < k; j++) {
            s->sub[(size_t)i * k + j] = s->distance[(size_t)s->chosen[i] * s->m + s->chosen[j]];
        }
    }
    csl_centred_products(s->weight, s->sub, k, s->room, s->gram);
    double value = 0;
    CSL_TRY(csl_top_eigenpair(s->gram, k, &value, NULL));
    /* Subsets that differ only in rounding tie, and the first in lexicographic order stays. */
    if (value < s->best_value * (1 - SMEA_TIE)) {
        s->best_value = value;
        memcpy(s->best, s->chosen, k * sizeof *s->best);
    }
    return CSL_OK;
}

/* Depth first in lexicographic order. Adding a row never lowers the top eigenvalue of the scatter
 * matrix, and two rows alone have D/2: a pair that far apart ends a branch. */
static csl_status smea_walk(smea_search *s)
{
    uint32_t depth = 0;
    uint32_t next = 0;
    for (;;) {
        if (depth == s->keep) {
            CSL_TRY(smea_leaf(s));
        } else if (next + (s->keep - depth) <= s->m) {
            bool open = true;
            for (uint32_t i = 0; i < depth; i++) {
                double pair = s->distance[(size_t)s->chosen[i] * s->m + next];
                open = open && !(pair / 2 > s->best_value);
            }
            if (open) {
                s->chosen[depth++] = next++;
            } else {
                next++;
            }
            continue;
        }
        if (depth == 0) {
            return CSL_OK;
        }
        next = s->chosen[--depth] + 1;
    }
}

csl_status csl_rule_smea(csl_aggregation *a)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    uint32_t m = a->row_count;
    uint32_t keep = m - a->f;
    smea_search s = {a->row_distance,
                     m,
                     keep,
                     calloc(m, sizeof(uint32_t)),
                     calloc(m, sizeof(uint32_t)),
                     INFINITY,
                     csl_numbers(m, 1),
                     csl_numbers(m, m),
                     csl_numbers(m, m),
                     csl_numbers(m, 1)};
    bool *removed = calloc(m, sizeof *removed);
    bool complete = s.chosen && s.best && s.weight && s.sub && s.gram && s.room && removed;
    csl_status status = complete ? smea_walk(&s) : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        memset(removed, 1, m * sizeof *removed);
        for (uint32_t i = 0; i < keep; i++) {
            removed[s.best[i]] = false;
        }
        status = score_kept(a, removed);
    }
    if (status == CSL_OK) {
        status = answer_kept(a, removed, keep, "as many others scatter no more");
    }
    free(s.chosen);
    free(s.best);
    free(s.weight);
    free(s.sub);
    free(s.gram);
    free(s.room);
    free(removed);
    return status;
}
