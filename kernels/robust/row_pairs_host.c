/*
 * Distances and inner products of all pairs of rows of one tile, on one thread.
 *
 * A tile of 64 rows fills the second-level cache, so it is walked in strips of columns, of which
 * the rows of a block of pairs fit into the first-level cache. The lane sums of every pair wait in
 * memory between two strips; more rows than PAIR_GROUP are taken by pairs of groups, which bounds
 * that memory.
 */
#include "robust_host.h"

enum {
    PAIR_GROUP = 64, /* rows whose lane sums are kept at once */
    STRIP = 512      /* columns; a multiple of CSL_EXACT_LANES */
};

/* The blocks of pairs of two groups of rows. */
typedef struct group_pair {
    uint32_t lead;
    uint32_t lead_end;
    uint32_t other;
    uint32_t other_end;
    uint32_t height;
    uint32_t edge;
} group_pair;

static uint32_t blocks_of(uint32_t row_count, uint32_t edge)
{
    return (row_count + edge - 1) / edge;
}

size_t csl_robust_lanes_size(uint32_t row_count, uint32_t lead_count)
{
    uint32_t edge = csl_robust_variant_get()->pair_edge;
    uint32_t leads = lead_count < PAIR_GROUP ? lead_count : PAIR_GROUP;
    uint32_t others = row_count < PAIR_GROUP ? row_count : PAIR_GROUP;
    size_t height = lead_count == 1 ? 1 : (size_t)blocks_of(leads, edge) * edge;
    return height * blocks_of(others, edge) * edge * CSL_EXACT_LANES * sizeof(float);
}

size_t csl_robust_pair_count(const csl_pair_sums *pairs)
{
    return pairs->product ? csl_product_count(pairs->lead_count, pairs->row_count)
                          : csl_pair_count(pairs->lead_count, pairs->row_count);
}

static void add_sum(const csl_pair_sums *pairs, size_t index, double value)
{
    if (!pairs->shared) {
        csl_exact_add(pairs->sums + index, value);
        return;
    }
    csl_exact_sum one = {{0}};
    csl_exact_add(&one, value);
    for (size_t k = 0; k < CSL_EXACT_WORDS; k++) {
        if (one.word[k]) {
#pragma omp atomic
            pairs->sums[index].word[k] += one.word[k];
        }
    }
}

static void add_block(const csl_pair_sums *pairs,
                      const group_pair *groups,
                      uint32_t first,
                      uint32_t second,
                      const float *lane)
{
    double sums[CSL_PAIR_EDGE_MAX * CSL_PAIR_EDGE_MAX];
    uint32_t edge = groups->edge;
    uint32_t n = pairs->row_count;
    pairs->variant->lane_sums(lane, groups->height * edge, sums);
    for (uint32_t i = first; i < first + groups->height && i < pairs->lead_count; i++) {
        for (uint32_t j = second; j < second + edge && j < n; j++) {
            if (j < i || (j == i && !pairs->product)) {
                continue; /* the lower half of a block on the diagonal */
            }
            size_t index = pairs->product ? csl_product_index(i, j, n) : csl_pair_index(i, j, n);
            add_sum(pairs, index, sums[(i - first) * edge + (j - second)]);
        }
    }
}

/* edge rows from `first` at column `begin`; past the end the last row again, not used. */
static void point_at(const float *const *rows,
                     uint32_t row_count,
                     uint32_t first,
                     uint32_t edge,
                     size_t begin,
                     const float **pointers)
{
    for (uint32_t k = 0; k < edge; k++) {
        pointers[k] = rows[first + k < row_count ? first + k : row_count - 1] + begin;
    }
}

/* The rows that a block on or above the diagonal starts from. */
static uint32_t first_other(const group_pair *groups, uint32_t first)
{
    return groups->lead == groups->other ? first : groups->other;
}

static void add_strip(const csl_pair_sums *pairs,
                      const group_pair *groups,
                      const float *const *rows,
                      size_t begin,
                      size_t count)
{
    const csl_robust_variant *variant = pairs->variant;
    const float *a[CSL_PAIR_EDGE_MAX];
    const float *b[CSL_PAIR_EDGE_MAX];
    float *lane = pairs->lanes;
    size_t lane_count = (size_t)groups->height * groups->edge * CSL_EXACT_LANES;
    for (uint32_t i = groups->lead; i < groups->lead_end; i += groups->height) {
        point_at(rows, pairs->row_count, i, groups->height, begin, a);
        for (uint32_t j = first_other(groups, i); j < groups->other_end; j += groups->edge) {
            point_at(rows, pairs->row_count, j, groups->edge, begin, b);
            if (pairs->product) {
                variant->product_strip(groups->height, a, b, count, i == j, begin == 0, lane);
            } else {
                variant->distance_strip(groups->height, a, b, count, i == j, begin == 0, lane);
            }
            lane += lane_count;
        }
    }
}

static void add_groups(const csl_pair_sums *pairs,
                       const group_pair *groups,
                       const float *const *rows,
                       size_t count)
{
    for (size_t begin = 0; begin < count; begin += STRIP) {
        add_strip(pairs, groups, rows, begin, count - begin < STRIP ? count - begin : STRIP);
    }
    const float *lane = pairs->lanes;
    for (uint32_t i = groups->lead; i < groups->lead_end; i += groups->height) {
        for (uint32_t j = first_other(groups, i); j < groups->other_end; j += groups->edge) {
            add_block(pairs, groups, i, j, lane);
            lane += (size_t)groups->height * groups->edge * CSL_EXACT_LANES;
        }
    }
}

void csl_robust_add_pairs(const csl_pair_sums *pairs, const float *const *rows, size_t count)
{
    uint32_t edge = pairs->variant->pair_edge;
    uint32_t size = PAIR_GROUP / edge * edge;
    uint32_t n = pairs->row_count;
    group_pair groups = {.height = pairs->lead_count == 1 ? 1 : edge, .edge = edge};
    for (uint32_t lead = 0; lead < pairs->lead_count; lead += size) {
        groups.lead = lead;
        groups.lead_end = pairs->lead_count - lead < size ? pairs->lead_count : lead + size;
        for (uint32_t other = lead; other < n; other += size) {
            groups.other = other;
            groups.other_end = n - other < size ? n : other + size;
            add_groups(pairs, &groups, rows, count);
        }
    }
}
