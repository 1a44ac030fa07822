/* The passes over the columns: exact sums into small matrices, and the last one that writes. */
#include "passes.h"

#include <consilium/random.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Bytes of a block that a second operation finds in cache: of one core, or of a card, where a
     * small block would be gone before the next launch. */
    BLOCK_SIZE = 1 << 20,
    CARD_BLOCK_SIZE = 1 << 25,
    SUM_WORDS = sizeof(csl_exact_sum) / sizeof(int64_t)
};

/* All ranks take the failure whose code is nearest to 0 as theirs. */
static csl_status agree_on_failure(const csl_aggregate_input *input, csl_status own)
{
    enum { CODES = 64 };
    int64_t counts[CODES] = {0};
    if (own != CSL_OK) {
        counts[own < 0 && own > -CODES ? -own : -CSL_E_INTERNAL]++;
    }
    CSL_TRY(input->exchange.sum_int64(input->exchange.context, counts, CODES));
    int code = 1;
    while (code < CODES - 1 && counts[code] == 0) {
        code++;
    }
    if (own == (csl_status)-code) {
        return own;
    }
    return csl_fail((csl_status)-code, "aggregation on another rank: %s",
                    csl_status_text((csl_status)-code));
}

/* A failure in the number that begins every exchange; below it stand the doubts of csl_share_doubt.
 */
static const int64_t FAILURE = (int64_t)1 << 32;

/* Meets the other ranks: one number, and only where somebody failed what it was. */
static csl_status meet(const csl_aggregate_input *input, csl_status own, int64_t *doubts)
{
    if (!input->exchange.sum_int64) {
        return own;
    }
    int64_t sum = own == CSL_OK ? *doubts : FAILURE;
    CSL_TRY(input->exchange.sum_int64(input->exchange.context, &sum, 1));
    *doubts = sum % FAILURE;
    return sum >= FAILURE ? agree_on_failure(input, own) : CSL_OK;
}

csl_status(csl_exchange)(const csl_aggregate_input *input,
                         csl_status own,
                         int64_t *values,
                         size_t n)
{
    int64_t doubts = 0;
    CSL_TRY(meet(input, own, &doubts));
    return n && input->exchange.sum_int64
               ? input->exchange.sum_int64(input->exchange.context, values, n)
               : CSL_OK;
}

csl_status(csl_share)(csl_aggregation *a, csl_status own, int64_t *values, size_t n)
{
    if (a->parted) {
        return own;
    }
    csl_status status = csl_exchange(a->input, own, values, n);
    a->parted = status != CSL_OK;
    return status;
}

csl_status csl_share_doubt(csl_aggregation *a, csl_status own, bool *doubt)
{
    if (a->parted) {
        return own;
    }
    int64_t doubts = *doubt;
    csl_status status = meet(a->input, own, &doubts);
    *doubt = doubts > 0;
    a->parted = status != CSL_OK;
    return status;
}

csl_status csl_share_task(csl_aggregation *a, csl_status own, uint32_t digest)
{
    const csl_aggregate_exchange *exchange = &a->input->exchange;
    if (!exchange->sum_int64) {
        return own;
    }
    /* The numbers of all ranks are equal where their mean square is the square of their mean; the
     * halves' squares cannot overflow. All ranks see the same sums, so they conclude the same. */
    int64_t low = digest & 0xffff;
    int64_t high = digest >> 16;
    int64_t sums[] = {own != CSL_OK, 1, low, low * low, high, high * high};
    a->parted = true;
    CSL_TRY(exchange->sum_int64(exchange->context, sums, sizeof sums / sizeof *sums));
    if (sums[0] > 0) {
        return agree_on_failure(a->input, own);
    }
    for (int k = 2; k < 6; k += 2) {
        uint64_t squared = (uint64_t)sums[k] * (uint64_t)sums[k];
        if ((uint64_t)sums[1] * (uint64_t)sums[k + 1] != squared) {
            return csl_fail(
                CSL_E_INVALID_ARG,
                "aggregation: ranks were handed different specifications, rows or rounds");
        }
    }
    a->parted = false;
    return CSL_OK;
}

static csl_status visit_range(csl_aggregation *a,
                              size_t begin,
                              size_t count,
                              size_t step,
                              const float *const *rows,
                              const float *extra,
                              csl_block_work work,
                              void *context)
{
    const float **pointers = calloc((size_t)a->live_count + 2, sizeof(float *));
    if (!pointers) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for row pointers");
    }
    csl_status status = CSL_OK;
    for (size_t at = 0; status == CSL_OK && at < count; at += step) {
        csl_block columns = {begin + at, count - at < step ? count - at : step, pointers};
        for (uint32_t i = 0; i < a->live_count; i++) {
            pointers[i] = rows[a->live[i]] + at;
        }
        pointers[a->live_count] = extra ? extra + begin + at : NULL;
        status = work(a, &columns, context);
    }
    free(pointers);
    return status;
}

csl_status
csl_visit(csl_aggregation *a, size_t step, const float *extra, csl_block_work work, void *context)
{
    const csl_aggregate_input *input = a->input;
    if (input->column_count == 0) {
        return CSL_OK;
    }
    if (input->rows) {
        return visit_range(a, 0, input->column_count, step ? step : input->column_count,
                           input->rows, extra, work, context);
    }
    const float **rows = calloc(input->row_count, sizeof(float *));
    if (!rows) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for row pointers");
    }
    csl_status status = CSL_OK;
    for (size_t at = 0; status == CSL_OK && at < input->column_count; at += input->chunk_count) {
        size_t left = input->column_count - at;
        size_t count = left < input->chunk_count ? left : input->chunk_count;
        status = input->load(input->load_context, at, count, rows);
        if (status == CSL_OK) {
            status = visit_range(a, at, count, step ? step : count, rows, extra, work, context);
        }
    }
    free(rows);
    return status;
}

size_t csl_cache_step(const csl_aggregation *a)
{
    const csl_device *device = a->input->device;
    bool card = strncmp(csl_device_get_info(device)->resource, "cuda", 4) == 0;
    size_t row_size = sizeof(float) * ((size_t)a->live_count + 1);
    size_t tiles = (card ? CARD_BLOCK_SIZE : BLOCK_SIZE) / row_size / CSL_TILE;
    /* Threads share a block by tiles: each gets at least one. */
    return (tiles ? tiles : 1) * CSL_TILE * (card ? 1 : csl_device_threads(device));
}

typedef struct gathering {
    uint32_t row_count; /* live rows and the centre */
    csl_exact_sum *all; /* every sum that follows, so that one exchange is enough */
    size_t all_count;
    csl_row_geometry sums;
    uint32_t pivot;           /* to_centre is measured from this row, the centre or a live one */
    csl_exact_sum *to_centre; /* [live_count] squared distances, where they are all that is asked */
    csl_exact_sum *on_centre; /* [1 + live_count] inner products, of the centre itself first */
    csl_answer_pass *answer;  /* written on the way, or NULL */
} gathering;

/* The same sums as among all rows, of the pairs with the centre only. */
static csl_status centre_block(csl_aggregation *a, const csl_block *columns, gathering *g)
{
    const float *rows[CSL_ROWS_MAX + 1];
    uint32_t n = a->live_count + 1;
    rows[0] = columns->rows[g->pivot];
    memcpy(rows + 1, columns->rows, a->live_count * sizeof *rows);
    if (g->to_centre) {
        CSL_TRY(a->kernels->row_squared_distances(a->input->device, rows, n, 1, columns->count,
                                                  g->to_centre));
    }
    return g->on_centre ? a->kernels->row_inner_products(a->input->device, rows, n, 1,
                                                         columns->count, g->on_centre)
                        : CSL_OK;
}

static csl_status gather_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    gathering *g = context;
    CSL_TRY(a->kernels->row_geometry(a->input->device, columns->rows, g->row_count, columns->count,
                                     &g->sums));
    if (g->to_centre || g->on_centre) {
        CSL_TRY(centre_block(a, columns, g));
    }
    return g->answer ? csl_answer_block(a, columns, g->answer) : CSL_OK;
}

static bool usable(const gathering *g, uint32_t row)
{
    return csl_exact_value(&g->sums.norms[row]) <
           CSL_NORM_LIMIT; /* infinite where one value is not */
}

/* Finds the rows that cannot take part. Fills `lost` [live_count]. */
static uint32_t find_lost(csl_aggregation *a, const gathering *g, bool *lost)
{
    uint32_t lost_count = 0;
    for (uint32_t i = 0; i < a->live_count; i++) {
        csl_row_report *row = &a->report->rows[a->live[i]];
        bool refused = !usable(g, i);
        lost[i] = refused;
        if (refused) {
            row->verdict = CSL_ROW_REFUSED;
            lost_count++;
        }
    }
    return lost_count;
}

static csl_status store_matrices(csl_aggregation *a, const gathering *g, const bool *lost)
{
    const csl_row_geometry *sums = &g->sums;
    uint32_t before = a->live_count;
    uint32_t *place = calloc(before + 1, sizeof *place); /* old index of each point that stays */
    if (!place) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for %u rows", before);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < before; i++) {
        if (!lost[i]) {
            place[n] = i;
            a->live[n++] = a->live[i];
        }
    }
    a->live_count = n;
    a->point_count = n + CSL_EXTRA_POINTS;
    uint32_t p = a->point_count;
    bool centre = g->row_count > before;
    place[n] = before;
    a->norm = csl_numbers(n + 1, 1);
    a->distance = sums->distances ? csl_numbers(p, p) : NULL;
    a->product = sums->products ? csl_numbers(p, p) : NULL;
    if (!a->norm || (sums->distances && !a->distance) || (sums->products && !a->product)) {
        free(place);
        return CSL_E_NO_MEMORY;
    }
    uint32_t origin = csl_extra(a, CSL_POINT_ORIGIN);
    for (uint32_t i = 0; i < n + (centre ? 1 : 0); i++) {
        uint32_t pi = i < n ? i : csl_extra(a, CSL_POINT_CENTRE);
        double norm = csl_exact_value(&sums->norms[place[i]]);
        a->norm[i] = norm;
        if (a->distance) {
            a->distance[(size_t)pi * p + origin] = a->distance[(size_t)origin * p + pi] = norm;
        }
        for (uint32_t j = i; j < n + (centre ? 1 : 0); j++) {
            uint32_t pj = j < n ? j : csl_extra(a, CSL_POINT_CENTRE);
            if (a->distance && j > i) {
                size_t pair = csl_pair_index(place[i], place[j], g->row_count);
                double value = csl_exact_value(&sums->distances[pair]);
                a->distance[(size_t)pi * p + pj] = a->distance[(size_t)pj * p + pi] = value;
            }
            if (a->product) {
                size_t pair = csl_product_index(place[i], place[j], g->row_count);
                double value = csl_exact_value(&sums->products[pair]);
                a->product[(size_t)pi * p + pj] = a->product[(size_t)pj * p + pi] = value;
            }
        }
    }
    /* Without a centre vector the centre is the origin. */
    if (a->distance && !centre) {
        uint32_t c = csl_extra(a, CSL_POINT_CENTRE);
        for (uint32_t i = 0; i < n; i++) {
            double norm = a->distance[(size_t)i * p + origin];
            a->distance[(size_t)i * p + c] = a->distance[(size_t)c * p + i] = norm;
        }
    }
    free(place);
    return CSL_OK;
}

/* Of the rows that are left; without a centre vector the centre is the origin. */
static csl_status store_centre_sums(csl_aggregation *a, const gathering *g, const bool *lost)
{
    a->centre_distance = csl_numbers(a->live_count, 1);
    a->centre_product = g->on_centre ? csl_numbers(a->live_count, 1) : NULL;
    if (!a->centre_distance || (g->on_centre && !a->centre_product)) {
        return CSL_E_NO_MEMORY;
    }
    for (uint32_t i = 0, row = 0; i < a->live_count; row++) {
        if (lost[row]) {
            continue;
        }
        a->centre_distance[i] = g->to_centre ? csl_exact_value(&g->to_centre[row]) : a->norm[i];
        if (g->on_centre) {
            a->centre_product[i] = csl_exact_value(&g->on_centre[row + 1]);
        }
        i++;
    }
    return CSL_OK;
}

/* `count` of the sums, or NULL where they are not wanted; before there is room, only counts. */
static csl_exact_sum *take_sums(gathering *g, bool wanted, size_t count)
{
    csl_exact_sum *first = wanted && g->all ? g->all + g->all_count : NULL;
    g->all_count += wanted ? count : 0;
    return first;
}

static void lay_out_sums(const csl_aggregation *a, uint32_t needs, gathering *g)
{
    size_t n = g->row_count;
    bool products = needs & CSL_NEEDS_PRODUCTS;
    bool distances = needs & CSL_NEEDS_DISTANCES;
    bool pivot = g->pivot < n; /* else the centre is the origin, and norms are the distances */
    bool to_centre = pivot && (needs & CSL_NEEDS_CENTRE_DISTANCES);
    bool on_centre = pivot && (needs & CSL_NEEDS_CENTRE_PRODUCTS);
    g->all_count = 0;
    /* Always: which rows are refused depends on the rows alone, not on the rule. */
    g->sums.norms = take_sums(g, true, n);
    g->sums.distances = take_sums(g, distances, csl_pair_count(n, n));
    g->sums.products = take_sums(g, products, csl_product_count(n, n));
    g->to_centre = take_sums(g, to_centre, a->live_count);
    g->on_centre = take_sums(g, on_centre, (size_t)a->live_count + 1);
}

static csl_status allocate_sums(const csl_aggregation *a, uint32_t needs, gathering *g)
{
    lay_out_sums(a, needs, g);
    g->all = calloc(g->all_count, sizeof *g->all);
    if (!g->all) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for the sums of %u rows",
                        g->row_count);
    }
    lay_out_sums(a, needs, g);
    return CSL_OK;
}

/* Rows that cannot take part are lost; a trusted update that cannot ends the aggregation. */
static csl_status sort_out(csl_aggregation *a, gathering *g, bool *lost)
{
    a->report->refused_count = find_lost(a, g, lost);
    if (g->row_count > a->live_count && !usable(g, a->live_count)) {
        return csl_fail(CSL_E_RANGE, "aggregation: the trusted update is not finite");
    }
    return CSL_OK;
}

csl_status csl_gather_sums(csl_aggregation *a, uint32_t needs, bool writes)
{
    enum { CENTRE = CSL_NEEDS_CENTRE_DISTANCES | CSL_NEEDS_CENTRE_PRODUCTS };
    gathering g = {.row_count = a->live_count + (a->has_centre ? 1 : 0), .pivot = a->pivot};
    bool *lost = calloc(a->live_count, sizeof *lost);
    csl_status status =
        lost ? allocate_sums(a, needs, &g) : csl_fail(CSL_E_NO_MEMORY, "aggregation");
    if (status == CSL_OK && writes) {
        status = csl_answer_prepare(a, &g.answer);
    }
    if (status == CSL_OK) {
        size_t step = g.answer || g.to_centre || g.on_centre ? csl_cache_step(a) : 0;
        step = writes ? csl_answer_step(a, step) : step;
        status = csl_visit(a, step, a->centre, gather_block, &g);
    }
    status = csl_share(a, status, (int64_t *)g.all, g.all_count * SUM_WORDS);
    if (status == CSL_OK) {
        status = sort_out(a, &g, lost);
    }
    if (status == CSL_OK && a->report->refused_count > 0) {
        status = csl_count_non_finite(a);
    }
    if (status == CSL_OK) {
        status = store_matrices(a, &g, lost);
    }
    if (status == CSL_OK && (needs & CENTRE)) {
        status = store_centre_sums(a, &g, lost);
    }
    csl_answer_finish(g.answer);
    free(lost);
    free(g.all);
    return status;
}

typedef struct median_pass {
    csl_select_spec select;
    float *median;            /* device, one block */
    csl_exact_sum *norm;      /* and all sums that follow */
    csl_exact_sum *distances; /* [live_count] */
    csl_exact_sum *products;  /* [1 + live_count] of the median, itself first; or NULL */
} median_pass;

static csl_status median_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    median_pass *pass = context;
    csl_device *device = a->input->device;
    uint32_t n = a->live_count;
    CSL_TRY(a->kernels->row_select(device, &pass->select, columns->rows, n, columns->count,
                                   pass->median));
    const float **rows = calloc((size_t)n + 1, sizeof(float *));
    if (!rows) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for row pointers");
    }
    rows[0] = pass->median;
    memcpy(rows + 1, columns->rows, n * sizeof *rows);
    csl_status status =
        a->kernels->row_squared_distances(device, rows, n + 1, 1, columns->count, pass->distances);
    if (status == CSL_OK) {
        status = a->kernels->row_squared_norms(device, rows, 1, columns->count, NULL, pass->norm);
    }
    if (status == CSL_OK && pass->products) {
        status =
            a->kernels->row_inner_products(device, rows, n + 1, 1, columns->count, pass->products);
    }
    free(rows);
    return status;
}

static void store_median(csl_aggregation *a, const median_pass *pass)
{
    uint32_t n = a->live_count;
    uint32_t p = a->point_count;
    uint32_t centre = csl_extra(a, CSL_POINT_MEDIAN);
    uint32_t origin = csl_extra(a, CSL_POINT_ORIGIN);
    for (uint32_t i = 0; i < n; i++) {
        double value = csl_exact_value(&pass->distances[i]);
        a->distance[(size_t)i * p + centre] = a->distance[(size_t)centre * p + i] = value;
    }
    double norm = csl_exact_value(pass->norm);
    a->distance[(size_t)origin * p + centre] = a->distance[(size_t)centre * p + origin] = norm;
    for (uint32_t i = 0; pass->products && i < n; i++) {
        double value = csl_exact_value(&pass->products[i + 1]);
        a->product[(size_t)i * p + centre] = a->product[(size_t)centre * p + i] = value;
    }
    a->median_products = pass->products != NULL;
}

csl_status csl_gather_median(csl_aggregation *a)
{
    uint32_t n = a->live_count;
    size_t step = csl_cache_step(a);
    double *mix = a->mixed ? csl_live_mix(a, NULL, a->row_count) : NULL;
    median_pass pass = {.select = {.kind = CSL_SELECT_MEDIAN,
                                   .mix_count = a->mixed ? a->row_count : 0,
                                   .host_mix = mix}};
    void *memory = NULL;
    size_t sum_count = 1 + (size_t)n + (a->product ? (size_t)n + 1 : 0);
    pass.norm = calloc(sum_count, sizeof *pass.norm);
    pass.distances = pass.norm + 1;
    pass.products = a->product ? pass.distances + n : NULL;
    bool complete = pass.norm && (mix || !a->mixed);
    csl_status status = complete
                            ? csl_device_alloc(a->input->device, step * sizeof(float), &memory)
                            : csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for the median");
    pass.median = memory;
    if (status == CSL_OK) {
        status = csl_visit(a, step, NULL, median_block, &pass);
    }
    status = csl_share(a, status, (int64_t *)pass.norm, sum_count * SUM_WORDS);
    if (status == CSL_OK) {
        store_median(a, &pass);
    }
    csl_device_free(a->input->device, memory);
    free(pass.norm);
    free(mix);
    return status;
}
