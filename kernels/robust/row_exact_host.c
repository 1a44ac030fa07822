/*
 * Norms, distances and inner products as exact sums. Tiles are dealt out to threads; each thread
 * adds to sums of its own, and these are merged at the end: integers, so no order matters. Where
 * the private sums of pairs would take more than PRIVATE_SIZE_MAX bytes, threads add atomically to
 * the result.
 */
#include "robust_host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t PRIVATE_SIZE_MAX = (size_t)256 << 20;

/* Sums over the tiles of the same rows. */
typedef struct tile_task {
    const float *const *rows;
    size_t count;
    csl_pair_task pairs;         /* adds to the result */
    csl_exact_sum *private_sums; /* [threads][sum_count], or NULL: all add to the result */
    size_t sum_count;
    float *workspaces; /* [threads][workspace_size] */
    size_t workspace_size;
} tile_task;

/* The task of one thread: where it adds to. Norms are few and always private. */
static csl_pair_task own_task(const tile_task *task, int thread, csl_exact_sum *norms)
{
    csl_pair_task own = task->pairs;
    own.workspace =
        (float *)(void *)((char *)task->workspaces + task->workspace_size * (size_t)thread);
    if (own.norms) {
        own.norms = norms;
        memset(norms, 0, own.row_count * sizeof *norms);
    }
    if (task->private_sums) {
        csl_exact_sum *sums = task->private_sums + task->sum_count * (size_t)thread;
        own.shared = false;
        for (uint32_t k = 0; k < own.kind_count; k++) {
            own.kinds[k].sums = sums;
            sums += csl_pair_sum_count(&own, own.kinds[k].kind);
        }
    }
    return own;
}

static void run_tiles(const tile_task *task, int threads)
{
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const float *rows[CSL_KERNEL_ROWS_MAX];
        csl_exact_sum norms[CSL_KERNEL_ROWS_MAX];
        csl_pair_task own = own_task(task, omp_get_thread_num(), norms);
        csl_float_state state = csl_float_enter();
#pragma omp for schedule(dynamic, 1)
        for (size_t begin = 0; begin < task->count; begin += CSL_TILE) {
            size_t width = task->count - begin < CSL_TILE ? task->count - begin : CSL_TILE;
            for (uint32_t i = 0; i < own.row_count; i++) {
                rows[i] = task->rows[i] + begin;
            }
            csl_pair_add_tile(&own, rows, width);
        }
        if (own.norms) {
#pragma omp critical
            csl_exact_merge(task->pairs.norms, norms, own.row_count);
        }
        csl_float_leave(state);
    }
}

static void merge_pairs(const tile_task *task, size_t threads)
{
    for (size_t t = 0; t < threads && task->private_sums; t++) {
        const csl_exact_sum *sums = task->private_sums + t * task->sum_count;
        for (uint32_t k = 0; k < task->pairs.kind_count; k++) {
            size_t sum_count = csl_pair_sum_count(&task->pairs, task->pairs.kinds[k].kind);
            csl_exact_merge(task->pairs.kinds[k].sums, sums, sum_count);
            sums += sum_count;
        }
    }
}

static csl_status add_tiles(csl_device *device, tile_task *task)
{
    enum { LINE = 64 };
    size_t threads = task->count > CSL_TILE ? (size_t)csl_host_threads(device) : 1;
    task->workspace_size = (csl_pair_workspace_size(&task->pairs) + LINE - 1) / LINE * LINE;
    if (task->workspace_size > 0) {
        task->workspaces = aligned_alloc(LINE, threads * task->workspace_size);
        if (!task->workspaces) {
            return csl_fail(CSL_E_NO_MEMORY, "exact sums: no memory for %u rows",
                            task->pairs.row_count);
        }
    }
    for (uint32_t k = 0; k < task->pairs.kind_count; k++) {
        task->sum_count += csl_pair_sum_count(&task->pairs, task->pairs.kinds[k].kind);
    }
    size_t private_size = threads * task->sum_count * sizeof *task->private_sums;
    if (threads > 1 && task->sum_count > 0 && private_size <= PRIVATE_SIZE_MAX) {
        task->private_sums = calloc(threads * task->sum_count, sizeof *task->private_sums);
    }
    task->pairs.shared = threads > 1 && !task->private_sums;
    run_tiles(task, (int)threads);
    merge_pairs(task, threads);
    free(task->private_sums);
    free(task->workspaces);
    return CSL_OK;
}

static void add_kind(tile_task *task, csl_pair_kind kind, csl_exact_sum *sums)
{
    if (csl_pair_sum_count(&task->pairs, kind) > 0) {
        task->pairs.kinds[task->pairs.kind_count++] = (csl_pair_sums){kind, sums};
    }
}

static csl_status add_pairs(csl_device *device,
                            const float *const *rows,
                            uint32_t row_count,
                            uint32_t lead_count,
                            size_t count,
                            csl_pair_kind kind,
                            csl_exact_sum *sums)
{
    const char *name = kind == CSL_PAIR_PRODUCT ? "row_inner_products" : "row_squared_distances";
    CSL_TRY(csl_robust_check_rows(name, rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (lead_count < 1 || lead_count > row_count) {
        return csl_fail(CSL_E_RANGE, "%s: expected 1 to %u leading rows, found %u", name, row_count,
                        lead_count);
    }
    tile_task task = {.rows = rows,
                      .count = count,
                      .pairs = {.variant = csl_robust_variant_get(),
                                .row_count = row_count,
                                .lead_count = lead_count}};
    add_kind(&task, kind, sums);
    if (task.pairs.kind_count == 0 || count == 0) {
        return CSL_OK;
    }
    if (!sums) {
        return csl_fail(CSL_E_INVALID_ARG, "%s: expected sums, found NULL", name);
    }
    return add_tiles(device, &task);
}

csl_status csl_host_row_squared_distances(csl_device *device,
                                          const float *const *host_rows,
                                          uint32_t row_count,
                                          uint32_t lead_count,
                                          size_t count,
                                          csl_exact_sum *host_sums)
{
    return add_pairs(device, host_rows, row_count, lead_count, count, CSL_PAIR_DISTANCE, host_sums);
}

csl_status csl_host_row_inner_products(csl_device *device,
                                       const float *const *host_rows,
                                       uint32_t row_count,
                                       uint32_t lead_count,
                                       size_t count,
                                       csl_exact_sum *host_sums)
{
    return add_pairs(device, host_rows, row_count, lead_count, count, CSL_PAIR_PRODUCT, host_sums);
}

csl_status csl_robust_check_geometry(const float *const *host_rows,
                                     uint32_t row_count,
                                     const csl_row_geometry *sums)
{
    CSL_TRY(csl_robust_check_rows("row_geometry", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    return sums ? CSL_OK : csl_fail(CSL_E_INVALID_ARG, "row_geometry: expected sums, found NULL");
}

csl_status csl_host_row_geometry(csl_device *device,
                                 const float *const *host_rows,
                                 uint32_t row_count,
                                 size_t count,
                                 const csl_row_geometry *host_sums)
{
    CSL_TRY(csl_robust_check_geometry(host_rows, row_count, host_sums));
    tile_task task = {.rows = host_rows,
                      .count = count,
                      .pairs = {.variant = csl_robust_variant_get(),
                                .row_count = row_count,
                                .lead_count = row_count,
                                .norms = host_sums->norms}};
    if (host_sums->distances) {
        add_kind(&task, CSL_PAIR_DISTANCE, host_sums->distances);
    }
    if (host_sums->products) {
        add_kind(&task, CSL_PAIR_PRODUCT, host_sums->products);
    }
    return count > 0 ? add_tiles(device, &task) : CSL_OK;
}

static void count_values(const float *row, size_t count, csl_row_census *census)
{
    int64_t non_finite = 0;
    int64_t negative_zero = 0;
    int64_t positive = 0;
    int64_t negative = 0;
    for (size_t j = 0; j < count; j++) {
        uint32_t bits;
        memcpy(&bits, row + j, sizeof bits);
        non_finite += (bits & 0x7f800000u) == 0x7f800000u;
        negative_zero += bits == 0x80000000u;
        positive += row[j] > 0.0f;
        negative += row[j] < 0.0f;
    }
    census->non_finite += non_finite;
    census->negative_zero += negative_zero;
    census->positive += positive;
    census->negative += negative;
}

static void merge_census(csl_row_census *target, const csl_row_census *source)
{
    target->non_finite += source->non_finite;
    target->negative_zero += source->negative_zero;
    target->positive += source->positive;
    target->negative += source->negative;
}

/* Tiles [begin, end) of one row, on one thread. */
static void add_row(const float *row,
                    size_t begin,
                    size_t end,
                    bool counts,
                    csl_row_census *census,
                    csl_exact_sum *sum)
{
    const csl_robust_variant *variant = csl_robust_variant_get();
    for (size_t j = begin; j < end; j += CSL_TILE) {
        size_t width = end - j < CSL_TILE ? end - j : CSL_TILE;
        csl_exact_add(sum, variant->pair_tile(CSL_PAIR_PRODUCT, row + j, row + j, width));
        if (counts) {
            count_values(row + j, width, census);
        }
    }
}

csl_status csl_host_row_squared_norms(csl_device *device,
                                      const float *const *host_rows,
                                      uint32_t row_count,
                                      size_t count,
                                      csl_row_census *host_census,
                                      csl_exact_sum *host_sums)
{
    enum { NORM_CHUNK = 16 * CSL_TILE };
    CSL_TRY(csl_robust_check_rows("row_squared_norms", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (!host_sums) {
        return csl_fail(CSL_E_INVALID_ARG, "row_squared_norms: expected sums, found NULL");
    }
    size_t chunks = count / NORM_CHUNK + (count % NORM_CHUNK != 0);
#pragma omp parallel for schedule(dynamic, 1)                                                      \
    num_threads(csl_host_threads(device)) if (row_count * chunks > 1)
    for (size_t task = 0; task < row_count * chunks; task++) {
        size_t i = task / chunks;
        size_t begin = task % chunks * NORM_CHUNK;
        size_t end = count - begin < NORM_CHUNK ? count : begin + NORM_CHUNK;
        csl_exact_sum sum = {{0}};
        csl_row_census census = {0, 0, 0, 0};
        csl_float_state state = csl_float_enter();
        add_row(host_rows[i], begin, end, host_census != NULL, &census, &sum);
        csl_float_leave(state);
#pragma omp critical
        {
            csl_exact_merge(host_sums + i, &sum, 1);
            if (host_census) {
                merge_census(host_census + i, &census);
            }
        }
    }
    return CSL_OK;
}
