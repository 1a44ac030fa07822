/*
 * Norms, distances and inner products as exact sums. Tiles are dealt out to threads; each thread
 * adds to sums of its own, and these are merged at the end: integers, so no order matters. Where
 * private sums would take more than PRIVATE_SIZE_MAX bytes, threads add atomically to the result.
 */
#include "robust_host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAD_GROUP = 32 }; /* rows of a tile that stay in the second-level cache as left factors */
static const size_t PRIVATE_SIZE_MAX = (size_t)256 << 20;

typedef struct pair_task {
    const float *const *rows;
    uint32_t row_count;
    uint32_t lead_count;
    bool product; /* pairs i <= j and inner products, else i < j and distances */
    bool atomic;
    csl_exact_sum *sums;
} pair_task;

static void add_sum(const pair_task *task, size_t index, double value)
{
    if (!task->atomic) {
        csl_exact_add(task->sums + index, value);
        return;
    }
    csl_exact_sum one = {{0}};
    csl_exact_add(&one, value);
    for (size_t k = 0; k < CSL_EXACT_WORDS; k++) {
        if (one.word[k]) {
#pragma omp atomic
            task->sums[index].word[k] += one.word[k];
        }
    }
}

static void add_block(const pair_task *task,
                      uint32_t first,
                      uint32_t height,
                      uint32_t other,
                      uint32_t width,
                      const double *block)
{
    for (uint32_t r = 0; r < height && first + r < task->lead_count; r++) {
        for (uint32_t k = 0; k < width && other + k < task->row_count; k++) {
            uint32_t i = first + r;
            uint32_t j = other + k;
            if (j < i || (j == i && !task->product)) {
                continue; /* the lower half of a block on the diagonal */
            }
            size_t index = task->product ? csl_product_index(i, j, task->row_count)
                                         : csl_pair_index(i, j, task->row_count);
            add_sum(task, index, block[r * width + k]);
        }
    }
}

/* All pairs of one tile; rows already point at it. */
static void add_tile(const pair_task *task,
                     const csl_robust_variant *variant,
                     const float *const *rows,
                     size_t count)
{
    double block[CSL_PAIR_EDGE_MAX * CSL_PAIR_EDGE_MAX];
    uint32_t edge = variant->pair_edge;
    uint32_t height = task->lead_count == 1 ? 1 : edge;
    uint32_t group = LEAD_GROUP / edge * edge;
    for (uint32_t lead = 0; lead < task->lead_count; lead += group) {
        uint32_t stop = lead + group < task->lead_count ? lead + group : task->lead_count;
        for (uint32_t other = lead; other < task->row_count; other += edge) {
            for (uint32_t first = lead; first < stop && first < other + edge; first += height) {
                if (task->product) {
                    variant->product_tile(rows, task->row_count, first, height, other, count,
                                          block);
                } else {
                    variant->distance_tile(rows, task->row_count, first, height, other, count,
                                           block);
                }
                add_block(task, first, height, other, edge, block);
            }
        }
    }
}

static void run_tiles(csl_device *device,
                      const pair_task *task,
                      csl_exact_sum *private_sums,
                      size_t sum_count,
                      size_t count)
{
    const csl_robust_variant *variant = csl_robust_variant_get();
    int threads = csl_host_threads(device);
#pragma omp parallel num_threads(threads) if (count > CSL_TILE)
    {
        const float *rows[CSL_KERNEL_ROWS_MAX];
        pair_task own = *task;
        if (private_sums) {
            own.sums = private_sums + sum_count * (size_t)omp_get_thread_num();
        }
#pragma omp for schedule(dynamic, 1)
        for (size_t begin = 0; begin < count; begin += CSL_TILE) {
            for (uint32_t i = 0; i < task->row_count; i++) {
                rows[i] = task->rows[i] + begin;
            }
            add_tile(&own, variant, rows, count - begin < CSL_TILE ? count - begin : CSL_TILE);
        }
    }
}

static csl_status add_pairs(csl_device *device, pair_task *task, size_t count)
{
    const char *name = task->product ? "row_inner_products" : "row_squared_distances";
    CSL_TRY(csl_robust_check_rows(name, task->rows, task->row_count, CSL_KERNEL_ROWS_MAX));
    if (task->lead_count < 1 || task->lead_count > task->row_count) {
        return csl_fail(CSL_E_RANGE, "%s: expected 1 to %u leading rows, found %u", name,
                        task->row_count, task->lead_count);
    }
    size_t sum_count = task->product ? csl_product_count(task->lead_count, task->row_count)
                                     : csl_pair_count(task->lead_count, task->row_count);
    if (sum_count == 0 || count == 0) {
        return CSL_OK;
    }
    if (!task->sums) {
        return csl_fail(CSL_E_INVALID_ARG, "%s: expected sums, found NULL", name);
    }
    size_t threads = count > CSL_TILE ? (size_t)csl_host_threads(device) : 1;
    csl_exact_sum *private_sums = NULL;
    if (threads > 1 && threads * sum_count * sizeof *private_sums <= PRIVATE_SIZE_MAX) {
        private_sums = calloc(threads * sum_count, sizeof *private_sums);
    }
    task->atomic = threads > 1 && !private_sums;
    run_tiles(device, task, private_sums, sum_count, count);
    for (size_t t = 0; private_sums && t < threads; t++) {
        csl_exact_merge(task->sums, private_sums + t * sum_count, sum_count);
    }
    free(private_sums);
    return CSL_OK;
}

csl_status csl_host_row_squared_distances(csl_device *device,
                                          const float *const *host_rows,
                                          uint32_t row_count,
                                          uint32_t lead_count,
                                          size_t count,
                                          csl_exact_sum *host_sums)
{
    pair_task task = {host_rows, row_count, lead_count, false, false, host_sums};
    return add_pairs(device, &task, count);
}

csl_status csl_host_row_inner_products(csl_device *device,
                                       const float *const *host_rows,
                                       uint32_t row_count,
                                       uint32_t lead_count,
                                       size_t count,
                                       csl_exact_sum *host_sums)
{
    pair_task task = {host_rows, row_count, lead_count, true, false, host_sums};
    return add_pairs(device, &task, count);
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
        csl_exact_add(sum, variant->norm_tile(row + j, width));
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
    int threads = csl_host_threads(device);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (row_count * chunks > 1)
    for (size_t task = 0; task < row_count * chunks; task++) {
        size_t i = task / chunks;
        size_t begin = task % chunks * NORM_CHUNK;
        size_t end = count - begin < NORM_CHUNK ? count : begin + NORM_CHUNK;
        csl_exact_sum sum = {{0}};
        csl_row_census census = {0, 0, 0, 0};
        add_row(host_rows[i], begin, end, host_census != NULL, &census, &sum);
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
