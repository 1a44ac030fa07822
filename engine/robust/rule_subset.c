/* MDA and SMEA: the best of all subsets of n - f rows. */
#include "aggregation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows that are too far apart to be kept together form a graph; a subset of n - f rows of diameter
 * at most `limit` exists if f rows cover all its edges. */
typedef struct cover_search {
    const double *distance;
    uint32_t m;
    double limit;
    uint64_t steps;
} cover_search;

static bool too_far(const cover_search *s, uint32_t i, uint32_t j)
{
    return s->distance[(size_t)i * s->m + j] > s->limit;
}

static uint32_t busiest(const cover_search *s, const bool *removed, uint32_t *degree_out)
{
    uint32_t best = 0;
    uint32_t best_degree = 0;
    for (uint32_t i = 0; i < s->m; i++) {
        uint32_t degree = 0;
        for (uint32_t j = 0; !removed[i] && j < s->m; j++) {
            degree += !removed[j] && j != i && too_far(s, i, j);
        }
        if (degree > best_degree) {
            best = i;
            best_degree = degree;
        }
    }
    *degree_out = best_degree;
    return best;
}

/* Whether `budget` more rows can be removed so that no edge is left. Depth at most f. removed is
 * restored. */
static csl_status coverable(cover_search *s, bool *removed, uint32_t budget, bool *answer_out)
{
    if (++s->steps > CSL_SEARCH_STEPS_MAX) {
        return csl_fail(CSL_E_RANGE, "mda: search takes more than %d steps", CSL_SEARCH_STEPS_MAX);
    }
    uint32_t degree = 0;
    uint32_t vertex = busiest(s, removed, &degree);
    if (degree == 0 || budget == 0) {
        *answer_out = degree == 0;
        return CSL_OK;
    }
    bool answer = false;
    removed[vertex] = true;
    csl_status status = coverable(s, removed, budget - 1, &answer);
    removed[vertex] = false;
    if (status == CSL_OK && !answer && degree <= budget) {
        bool *without = malloc(s->m * sizeof *without);
        if (!without) {
            return csl_fail(CSL_E_NO_MEMORY, "mda: no memory for %u rows", s->m);
        }
        memcpy(without, removed, s->m * sizeof *without);
        for (uint32_t j = 0; j < s->m; j++) {
            without[j] = without[j] || (j != vertex && too_far(s, vertex, j));
        }
        status = coverable(s, without, budget - degree, &answer);
        free(without);
    }
    *answer_out = answer;
    return status;
}

/* Least diameter by bisection over the distances that occur. */
static csl_status least_diameter(cover_search *s, uint32_t f, bool *removed)
{
    uint32_t m = s->m;
    uint32_t count = m * (m - 1) / 2;
    double *values = csl_numbers(count + 1, 1);
    uint32_t *order = calloc((size_t)count + 1, sizeof *order);
    csl_status status = values && order ? CSL_OK : CSL_E_NO_MEMORY;
    uint32_t at = 1; /* values[0] = 0 */
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        for (uint32_t j = i + 1; j < m; j++) {
            values[at++] = s->distance[(size_t)i * m + j];
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
        s->limit = values[order[middle]];
        status = coverable(s, removed, f, &answer);
        if (answer) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (status == CSL_OK) {
        s->limit = values[order[low]];
    }
    free(values);
    free(order);
    return status;
}

/* The first in lexicographic order of the subsets within the limit. */
static csl_status first_subset(cover_search *s, uint32_t f, bool *removed)
{
    bool *trial = calloc(s->m, sizeof *trial);
    bool *kept = calloc(s->m, sizeof *kept);
    csl_status status = trial && kept ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "mda: %u rows", s->m);
    uint32_t gone = 0;
    for (uint32_t i = 0; status == CSL_OK && i < s->m; i++) {
        if (removed[i]) {
            continue;
        }
        /* Keep i: whatever is too far from it goes. */
        uint32_t more = 0;
        memcpy(trial, removed, s->m * sizeof *trial);
        for (uint32_t j = 0; j < s->m; j++) {
            if (j != i && !trial[j] && too_far(s, i, j)) {
                trial[j] = true;
                more++;
            }
        }
        bool answer = false;
        if (gone + more <= f) {
            status = coverable(s, trial, f - gone - more, &answer);
        }
        if (answer) {
            memcpy(removed, trial, s->m * sizeof *trial);
            gone += more;
        } else {
            removed[i] = true;
            gone++;
        }
    }
    for (uint32_t i = s->m; status == CSL_OK && i-- > 0 && gone < f;) {
        if (!removed[i]) { /* fewer than f had to go: the last in order go too */
            removed[i] = true;
            gone++;
        }
    }
    free(trial);
    free(kept);
    return status;
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
    cover_search search = {a->row_distance, a->row_count, 0, 0};
    bool *removed = calloc(a->row_count, sizeof *removed);
    csl_status status = removed ? least_diameter(&search, a->f, removed) : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        status = first_subset(&search, a->f, removed);
    }
    if (status == CSL_OK) {
        status = score_kept(a, removed);
    }
    if (status == CSL_OK) {
        status =
            answer_kept(a, removed, a->row_count - a->f, "as many others are no further apart");
    }
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
