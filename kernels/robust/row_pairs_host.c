/*
 * Distances, inner products and norms of all rows of one tile, on one thread.
 *
 * The columns of a tile are taken by panels (exact_body.h): a lane group of 64 rows lies in the
 * second-level cache, and the blocks of a few leading rows stay in the first-level cache while all
 * others pass by. The lane sums of every pair wait in memory between two panels; more rows than
 * PAIR_GROUP are taken by pairs of groups, which bounds that memory. A group's panels are copied
 * when it meets the first group, and kept for those that it meets later in the tile.
 */
#include "robust_host.h"

#include <string.h>

enum {
    PAIR_GROUP = 64, /* rows whose lane sums are kept at once, or a block more */
    PAIR_GROUP_MAX = PAIR_GROUP + CSL_PAIR_EDGE_MAX,
    PANEL_STEPS = 32, /* of CSL_EXACT_LANES columns each */
    PANEL_WIDTH = PANEL_STEPS * CSL_EXACT_LANES,
    TILE_PANELS = CSL_TILE / PANEL_WIDTH,
    LEADING_COUNT = 4608 /* values that stay in the first-level cache, about half of it */
};

/* Two groups of rows, in blocks of pair_edge rows; the same one twice on the diagonal. */
typedef struct group_pair {
    uint32_t lead;
    uint32_t lead_end;
    uint32_t other;
    uint32_t other_end;
    uint32_t lead_blocks;
    uint32_t other_blocks;
} group_pair;

/* Floats of the parts of a workspace. */
typedef struct workspace_layout {
    size_t panels_kept;  /* of a group: all of a tile, or one where no other group meets them */
    size_t panel_values; /* of one panel */
    size_t values;       /* of all panels kept */
    size_t norm_lanes;
    size_t group_lanes; /* lane sums of one kind, of one lane group */
} workspace_layout;

/* Where a thread works: all of it in task->workspace. */
typedef struct pair_workspace {
    workspace_layout layout;
    float *values;                /* [groups][panels_kept][panel_values] */
    float *norm_lanes;            /* [rows of a group][CSL_EXACT_LANES] */
    float *lanes[CSL_PAIR_KINDS]; /* [lane groups][blocks][blocks][edge][edge][lanes] */
} pair_workspace;

static uint32_t blocks_of(uint32_t row_count, uint32_t edge)
{
    return (row_count + edge - 1) / edge;
}

static uint32_t group_size(const csl_robust_variant *variant)
{
    return blocks_of(PAIR_GROUP, variant->pair_edge) * variant->pair_edge;
}

static bool is_diagonal(const group_pair *groups)
{
    return groups->lead == groups->other;
}

static workspace_layout lay_out(const csl_pair_task *task)
{
    uint32_t edge = task->variant->pair_edge;
    uint32_t size = group_size(task->variant);
    size_t groups = blocks_of(task->row_count, size);
    size_t blocks = blocks_of(groups > 1 ? size : task->row_count, edge);
    workspace_layout layout = {.panels_kept = groups > 1 ? TILE_PANELS : 1,
                               .panel_values = blocks * edge * PANEL_WIDTH,
                               .norm_lanes = PAIR_GROUP_MAX * CSL_EXACT_LANES,
                               .group_lanes = blocks * blocks * edge * edge * task->variant->lanes};
    layout.values = groups * layout.panels_kept * layout.panel_values;
    return layout;
}

size_t csl_pair_workspace_size(const csl_pair_task *task)
{
    if (task->kind_count == 0 || task->lead_count == 1) {
        return 0;
    }
    workspace_layout layout = lay_out(task);
    size_t lanes = CSL_EXACT_LANES / task->variant->lanes * layout.group_lanes;
    return (layout.values + layout.norm_lanes + task->kind_count * lanes) * sizeof(float);
}

static pair_workspace divide_workspace(const csl_pair_task *task)
{
    pair_workspace w = {.layout = lay_out(task), .values = task->workspace};
    w.norm_lanes = w.values + w.layout.values;
    size_t lanes = CSL_EXACT_LANES / task->variant->lanes * w.layout.group_lanes;
    for (uint32_t k = 0; k < task->kind_count; k++) {
        w.lanes[k] = w.norm_lanes + w.layout.norm_lanes + k * lanes;
    }
    return w;
}

size_t csl_pair_sum_count(const csl_pair_task *task, csl_pair_kind kind)
{
    return kind == CSL_PAIR_PRODUCT ? csl_product_count(task->lead_count, task->row_count)
                                    : csl_pair_count(task->lead_count, task->row_count);
}

static size_t sum_index(const csl_pair_task *task, csl_pair_kind kind, uint32_t i, uint32_t j)
{
    return kind == CSL_PAIR_PRODUCT ? csl_product_index(i, j, task->row_count)
                                    : csl_pair_index(i, j, task->row_count);
}

static void add_sum(const csl_pair_task *task, csl_exact_sum *sum, double value)
{
    if (!task->shared) {
        csl_exact_add(sum, value);
        return;
    }
    csl_exact_sum one = {{0}};
    csl_exact_add(&one, value);
    for (size_t k = 0; k < CSL_EXACT_WORDS; k++) {
        if (one.word[k]) {
#pragma omp atomic
            sum->word[k] += one.word[k];
        }
    }
}

/* The tile sums of one block of pairs, whose first rows are `first` and `second`. */
static void finish_block(const csl_pair_task *task,
                         const csl_pair_sums *kind,
                         uint32_t first,
                         uint32_t second,
                         const float *lane,
                         size_t group_lanes)
{
    uint32_t edge = task->variant->pair_edge;
    uint32_t end = task->row_count - second < edge ? task->row_count : second + edge;
    for (uint32_t i = first; i < first + edge && i < task->lead_count; i++) {
        double sums[CSL_PAIR_EDGE_MAX];
        uint32_t least = kind->kind == CSL_PAIR_PRODUCT ? i : i + 1;
        uint32_t begin = second < least ? least : second;
        if (begin >= end) {
            break;
        }
        size_t at = (size_t)(i - first) * edge + (begin - second);
        task->variant->lane_sums(lane + at * task->variant->lanes, group_lanes, end - begin, sums);
        csl_exact_sum *target = kind->sums + sum_index(task, kind->kind, i, begin);
        for (uint32_t k = 0; k < end - begin; k++) { /* the pairs of a row follow each other */
            add_sum(task, target + k, sums[k]);
        }
    }
}

static void
finish_groups(const csl_pair_task *task, const group_pair *groups, const pair_workspace *w)
{
    uint32_t edge = task->variant->pair_edge;
    size_t block_lanes = (size_t)edge * edge * task->variant->lanes;
    for (uint32_t k = 0; k < task->kind_count; k++) {
        for (uint32_t i = 0; i < groups->lead_blocks; i++) {
            for (uint32_t j = is_diagonal(groups) ? i : 0; j < groups->other_blocks; j++) {
                finish_block(task, &task->kinds[k], groups->lead + i * edge,
                             groups->other + j * edge,
                             w->lanes[k] + (i * groups->other_blocks + j) * block_lanes,
                             w->layout.group_lanes);
            }
        }
    }
    bool norms = task->norms && groups->lead == 0; /* which is when a group is copied */
    for (uint32_t i = groups->other; norms && i < groups->other_end; i++) {
        double norm;
        task->variant->lane_sums(w->norm_lanes + (i - groups->other) * CSL_EXACT_LANES,
                                 task->variant->lanes, 1, &norm);
        csl_exact_add(task->norms + i, norm);
    }
}

/* Adds lane group g of a panel to all blocks of pairs; lead, other: the group's values. */
static void add_lane_group(const csl_pair_task *task,
                           const group_pair *groups,
                           const pair_workspace *w,
                           const csl_panel *panel,
                           size_t g,
                           const float *lead,
                           const float *other)
{
    uint32_t edge = task->variant->pair_edge;
    size_t block_count = edge * panel->steps * task->variant->lanes;
    size_t block_lanes = (size_t)edge * edge * task->variant->lanes;
    uint32_t leading = LEADING_COUNT > block_count ? (uint32_t)(LEADING_COUNT / block_count) : 1;
    bool diagonal = is_diagonal(groups);
    for (uint32_t begin = 0; begin < groups->lead_blocks; begin += leading) {
        for (uint32_t j = diagonal ? begin : 0; j < groups->other_blocks; j++) {
            uint32_t left = groups->other_end - groups->other - j * edge;
            uint32_t width = left < edge ? left : edge;
            for (uint32_t i = begin; i < begin + leading && i < groups->lead_blocks; i++) {
                if (diagonal && i > j) {
                    break;
                }
                for (uint32_t k = 0; k < task->kind_count; k++) {
                    task->variant->add_block(task->kinds[k].kind, diagonal && i == j, width, panel,
                                             lead + i * block_count, other + j * block_count,
                                             w->lanes[k] + g * w->layout.group_lanes +
                                                 (i * groups->other_blocks + j) * block_lanes);
                }
            }
        }
    }
}

/* The panel at `column` of the rows [begin, end), which is to be copied or was. */
static csl_panel panel_of(const csl_pair_task *task,
                          const pair_workspace *w,
                          uint32_t begin,
                          uint32_t end,
                          size_t column,
                          size_t count)
{
    uint32_t edge = task->variant->pair_edge;
    size_t left = count - column < PANEL_WIDTH ? count - column : PANEL_WIDTH;
    size_t group = begin / group_size(task->variant);
    size_t kept = w->layout.panels_kept;
    size_t index = group * kept + column / PANEL_WIDTH % kept;
    csl_panel panel = {.values = w->values + index * w->layout.panel_values,
                       .steps = (left - 1) / CSL_EXACT_LANES + 1,
                       .count = left,
                       .begins = column == 0};
    panel.group_count =
        (size_t)blocks_of(end - begin, edge) * edge * panel.steps * task->variant->lanes;
    return panel;
}

static void pack(const csl_pair_task *task,
                 const csl_panel *panel,
                 const float *const *rows,
                 uint32_t begin,
                 uint32_t end,
                 size_t column,
                 float *norm_lanes)
{
    const float *moved[PAIR_GROUP_MAX];
    uint32_t edge = task->variant->pair_edge;
    uint32_t blocks = blocks_of(end - begin, edge);
    for (uint32_t i = 0; i < blocks * edge; i++) { /* a last block is filled with its last row */
        moved[i] = rows[begin + i < end ? begin + i : end - 1] + column;
    }
    task->variant->pack_panel(panel, moved, end - begin, norm_lanes);
}

static void add_groups(const csl_pair_task *task,
                       const group_pair *groups,
                       const pair_workspace *w,
                       const float *const *rows,
                       size_t count)
{
    uint32_t size = group_size(task->variant);
    uint32_t lead_rows_end =
        task->row_count - groups->lead < size ? task->row_count : groups->lead + size;
    size_t lanes = task->variant->lanes;
    float *norm_lanes = task->norms ? w->norm_lanes : NULL;
    for (size_t column = 0; column < count; column += PANEL_WIDTH) {
        csl_panel lead = panel_of(task, w, groups->lead, lead_rows_end, column, count);
        csl_panel other = panel_of(task, w, groups->other, groups->other_end, column, count);
        if (groups->lead == 0) {
            pack(task, &other, rows, groups->other, groups->other_end, column, norm_lanes);
        }
        for (size_t g = 0; g < CSL_EXACT_LANES / lanes; g++) {
            add_lane_group(task, groups, w, &lead, g, lead.values + g * lead.group_count,
                           other.values + g * other.group_count);
        }
    }
    finish_groups(task, groups, w);
}

/* Row 0 against the others, or norms alone: every value is used once, so nothing is copied. */
static void add_rows(const csl_pair_task *task, const float *const *rows, size_t count)
{
    for (uint32_t i = 0; task->norms && i < task->row_count; i++) {
        csl_exact_add(task->norms + i,
                      task->variant->pair_tile(CSL_PAIR_PRODUCT, rows[i], rows[i], count));
    }
    for (uint32_t k = 0; k < task->kind_count; k++) {
        csl_pair_kind kind = task->kinds[k].kind;
        for (uint32_t j = kind == CSL_PAIR_PRODUCT ? 0 : 1; j < task->row_count; j++) {
            add_sum(task, task->kinds[k].sums + sum_index(task, kind, 0, j),
                    task->variant->pair_tile(kind, rows[0], rows[j], count));
        }
    }
}

void csl_pair_add_tile(const csl_pair_task *task, const float *const *rows, size_t count)
{
    if (task->kind_count == 0 || task->lead_count == 1) {
        add_rows(task, rows, count);
        return;
    }
    uint32_t edge = task->variant->pair_edge;
    uint32_t size = group_size(task->variant);
    uint32_t n = task->row_count;
    /* Leading blocks are whole ones where there are rows to fill them. */
    uint32_t lead_end = blocks_of(task->lead_count, edge) * edge;
    lead_end = lead_end < n ? lead_end : n;
    pair_workspace w = divide_workspace(task);
    for (uint32_t lead = 0; lead < lead_end; lead += size) {
        group_pair groups = {.lead = lead};
        groups.lead_end = lead_end - lead < size ? lead_end : lead + size;
        groups.lead_blocks = blocks_of(groups.lead_end - lead, edge);
        for (uint32_t other = lead; other < n; other += size) {
            groups.other = other;
            groups.other_end = n - other < size ? n : other + size;
            groups.other_blocks = blocks_of(groups.other_end - other, edge);
            add_groups(task, &groups, &w, rows, count);
        }
    }
}
