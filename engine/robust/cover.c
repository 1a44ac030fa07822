/*
 * Whether few rows cover all pairs that are too far apart: vertex cover, by branch and bound. The
 * rows are the bits of words. Before it branches, a step takes what some smallest cover has anyway,
 * the neighbour of a row with one neighbour and rows with more neighbours than may be removed, and
 * gives up where disjoint pairs, or the pairs over the most that one row covers, are too many. That
 * alone solves what sparse random graphs are: updates that differ by chance.
 */
#include "cover.h"

#include <consilium/clones.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = CSL_COVER_WORD };

struct csl_cover {
    uint32_t m;
    uint32_t words;
    uint64_t work; /* words looked at */
    uint64_t work_max;
    uint64_t *far;  /* [m][words]: neighbours */
    uint64_t *room; /* [m + 2][words]: of the matching, and a set for each level of branches */
};

csl_status csl_cover_create(uint32_t m, uint64_t work_max, csl_cover **cover_out)
{
    csl_cover *cover = calloc(1, sizeof *cover);
    uint32_t words = (m + WORD - 1) / WORD;
    uint64_t *far = calloc((size_t)m * words, sizeof *far);
    uint64_t *room = calloc((size_t)(m + 2) * words, sizeof *room);
    if (!cover || !far || !room) {
        free(cover);
        free(far);
        free(room);
        return csl_fail(CSL_E_NO_MEMORY, "mda: no memory for %u rows", m);
    }
    *cover = (csl_cover){.m = m, .words = words, .work_max = work_max, .far = far, .room = room};
    *cover_out = cover;
    return CSL_OK;
}

void csl_cover_destroy(csl_cover *cover)
{
    if (cover) {
        free(cover->far);
        free(cover->room);
        free(cover);
    }
}

void csl_cover_limit(csl_cover *cover, const double *distance, double limit)
{
    uint32_t m = cover->m;
    memset(cover->far, 0, (size_t)m * cover->words * sizeof *cover->far);
    for (uint32_t i = 0; i < m; i++) {
        uint64_t *far = cover->far + (size_t)i * cover->words;
        for (uint32_t j = 0; j < m; j++) {
            if (j != i && distance[(size_t)i * m + j] > limit) {
                far[j / WORD] |= (uint64_t)1 << j % WORD;
            }
        }
    }
}

static const uint64_t *neighbours(const csl_cover *cover, uint32_t row)
{
    return cover->far + (size_t)row * cover->words;
}

static inline uint32_t degree_of(csl_cover *cover, const uint64_t *rows, uint32_t row)
{
    const uint64_t *far = neighbours(cover, row);
    uint32_t degree = 0;
    for (uint32_t w = 0; w < cover->words; w++) {
        degree += (uint32_t)__builtin_popcountll(far[w] & rows[w]);
    }
    cover->work += cover->words;
    return degree;
}

uint32_t csl_cover_words(const csl_cover *cover)
{
    return cover->words;
}

uint64_t *csl_cover_all(const csl_cover *cover)
{
    uint64_t *rows = calloc(cover->words, sizeof *rows);
    if (!rows) {
        (void)csl_fail(CSL_E_NO_MEMORY, "mda: no memory for %u rows", cover->m);
    }
    for (uint32_t i = 0; rows && i < cover->m; i++) {
        rows[i / WORD] |= (uint64_t)1 << i % WORD;
    }
    return rows;
}

uint32_t csl_cover_isolate(const csl_cover *cover, uint32_t row, uint64_t *rows)
{
    const uint64_t *far = neighbours(cover, row);
    uint32_t count = 0;
    for (uint32_t w = 0; w < cover->words; w++) {
        count += (uint32_t)__builtin_popcountll(far[w] & rows[w]);
        rows[w] &= ~far[w];
    }
    return count;
}

/* The first neighbour among rows, which has one. */
static uint32_t first_neighbour(const csl_cover *cover, const uint64_t *rows, uint32_t row)
{
    const uint64_t *far = neighbours(cover, row);
    uint32_t w = 0;
    while ((far[w] & rows[w]) == 0) {
        w++;
    }
    return w * WORD + (uint32_t)__builtin_ctzll(far[w] & rows[w]);
}

/* What is left to decide. */
typedef struct graph {
    uint64_t *rows; /* those with neighbours among them, once it is reduced */
    int64_t budget; /* rows that may still be removed */
    uint64_t pairs; /* twice their number */
    uint32_t degree;
    uint32_t busiest; /* the first row of that many neighbours */
} graph;

/* One look at every row; whether anything was removed, so that degrees have changed. */
CSL_CLONES static bool reduce_once(csl_cover *cover, graph *g)
{
    bool changed = false;
    g->pairs = 0;
    g->degree = 0;
    for (uint32_t i = 0; i < cover->m && g->budget >= 0; i++) {
        uint32_t degree = csl_has_row(g->rows, i) ? degree_of(cover, g->rows, i) : 0;
        if (degree == 0) {
            csl_drop_row(g->rows, i);
            continue;
        }
        if (degree == 1) {
            csl_drop_row(g->rows, first_neighbour(cover, g->rows, i));
        }
        if (degree == 1 || degree > g->budget) {
            csl_drop_row(g->rows, i);
            g->budget--;
            changed = true;
        }
        g->pairs += degree;
        if (degree > g->degree) {
            g->degree = degree;
            g->busiest = i;
        }
    }
    return changed && g->budget >= 0;
}

/* Pairs without a common row need a row each. */
CSL_CLONES static bool has_disjoint_pairs(csl_cover *cover, const graph *g)
{
    uint64_t *free_rows = cover->room;
    int64_t count = 0;
    memcpy(free_rows, g->rows, cover->words * sizeof *free_rows);
    for (uint32_t i = 0; i < cover->m && count <= g->budget; i++) {
        if (csl_has_row(free_rows, i) && degree_of(cover, free_rows, i) > 0) {
            csl_drop_row(free_rows, first_neighbour(cover, free_rows, i));
            csl_drop_row(free_rows, i);
            count++;
        }
    }
    return count > g->budget;
}

/* Whether at most g->budget rows can be removed so that no pair is left. Each level removes one row
 * or more, so there are at most m. g->rows is written over. */
static csl_status decide(csl_cover *cover, graph *g, uint32_t level, bool *answer_out)
{
    for (;;) {
        if (cover->work > cover->work_max) {
            return csl_fail(CSL_E_RANGE,
                            "mda: the search for the subset of least diameter among %u rows takes "
                            "more than %" PRIu64 " steps: expected another rule, a smaller f or a "
                            "larger 'search'",
                            cover->m, cover->work_max);
        }
        while (reduce_once(cover, g)) {
        }
        if (g->budget < 0 || g->pairs > 2 * (uint64_t)g->budget * g->degree) {
            *answer_out = false;
            return CSL_OK;
        }
        if (g->pairs == 0) {
            *answer_out = true;
            return CSL_OK;
        }
        if (has_disjoint_pairs(cover, g)) {
            *answer_out = false;
            return CSL_OK;
        }
        /* Either the busiest row goes, or all of its neighbours do; of a circle any row will do. */
        uint32_t busiest = g->busiest;
        uint64_t *rows = cover->room + (size_t)(level + 1) * cover->words;
        if (g->degree > 2) {
            memcpy(rows, g->rows, cover->words * sizeof *rows);
            csl_drop_row(rows, busiest);
            graph without = {.rows = rows, .budget = g->budget - 1};
            CSL_TRY(decide(cover, &without, level + 1, answer_out));
            if (*answer_out) {
                return CSL_OK;
            }
            (void)csl_cover_isolate(cover, busiest, g->rows);
            g->budget -= g->degree;
        } else {
            g->budget--;
        }
        csl_drop_row(g->rows, busiest);
    }
}

csl_status
csl_cover_exists(csl_cover *cover, const uint64_t *rows, uint32_t budget, bool *answer_out)
{
    graph whole = {.rows = cover->room + cover->words, .budget = budget};
    memcpy(whole.rows, rows, cover->words * sizeof *rows);
    return decide(cover, &whole, 1, answer_out);
}
