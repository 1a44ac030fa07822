/* Passes of single rules: sign shares, drawn columns, and histories. */
#include "passes.h"

#include <stdlib.h>
#include <string.h>

typedef struct sign_pass {
    size_t begin; /* of all columns */
    size_t end;
    csl_row_census *census;
    csl_exact_sum *sums; /* asked for by the operation, not used */
} sign_pass;

static csl_status sign_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    sign_pass *pass = context;
    size_t first = a->input->column_begin + columns->begin;
    size_t begin = pass->begin > first ? pass->begin - first : 0;
    size_t end = pass->end > first ? pass->end - first : 0;
    end = end < columns->count ? end : columns->count;
    if (begin >= end) {
        return CSL_OK;
    }
    const float *rows[CSL_ROWS_MAX];
    for (uint32_t i = 0; i < a->live_count; i++) {
        rows[i] = columns->rows[i] + begin;
    }
    return a->kernels->row_squared_norms(a->input->device, rows, a->live_count, end - begin,
                                         pass->census, pass->sums);
}

csl_status csl_gather_signs(csl_aggregation *a, size_t begin, size_t end, int64_t *sign_counts)
{
    uint32_t n = a->live_count;
    sign_pass pass = {.begin = begin, .end = end};
    pass.census = calloc(n, sizeof *pass.census);
    pass.sums = calloc(n, sizeof *pass.sums);
    csl_status status = pass.census && pass.sums
                            ? csl_visit(a, 0, NULL, sign_block, &pass)
                            : csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for signs");
    for (uint32_t i = 0; status == CSL_OK && i < n; i++) {
        sign_counts[3 * i + 1] = pass.census[i].positive;
        sign_counts[3 * i + 2] = pass.census[i].negative;
        sign_counts[3 * i] = 0;
    }
    status = csl_share(a, status, sign_counts, (size_t)3 * n);
    for (uint32_t i = 0; status == CSL_OK && i < n; i++) {
        int64_t signs = sign_counts[3 * i + 1] + sign_counts[3 * i + 2];
        sign_counts[3 * i] = (int64_t)(end - begin) - signs;
    }
    free(pass.census);
    free(pass.sums);
    return status;
}

typedef struct column_pass {
    const uint64_t *index; /* of all columns, ascending */
    size_t count;
    int64_t *bits; /* [live_count][count] */
} column_pass;

static csl_status column_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    column_pass *pass = context;
    size_t first = a->input->column_begin + columns->begin;
    size_t from = 0;
    while (from < pass->count && pass->index[from] < first) {
        from++;
    }
    size_t to = from;
    while (to < pass->count && pass->index[to] < first + columns->count) {
        to++;
    }
    size_t width = to - from;
    if (width == 0) {
        return CSL_OK;
    }
    uint64_t *local = malloc(width * sizeof *local);
    float *values = malloc(width * a->live_count * sizeof *values);
    csl_status status =
        local && values ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for a sketch");
    for (size_t k = 0; status == CSL_OK && k < width; k++) {
        local[k] = pass->index[from + k] - first;
    }
    if (status == CSL_OK) {
        status = a->kernels->row_gather(a->input->device, columns->rows, a->live_count,
                                        columns->count, local, width, values);
    }
    for (size_t i = 0; status == CSL_OK && i < a->live_count; i++) {
        for (size_t k = 0; k < width; k++) {
            uint32_t bits = 0;
            memcpy(&bits, &values[i * width + k], sizeof bits);
            pass->bits[i * pass->count + from + k] = bits;
        }
    }
    free(local);
    free(values);
    return status;
}

csl_status
csl_gather_columns(csl_aggregation *a, const uint64_t *index, size_t count, float *values_out)
{
    size_t all = count * a->live_count;
    column_pass pass = {index, count, calloc(all ? all : 1, sizeof(int64_t))};
    csl_status status = pass.bits
                            ? csl_visit(a, 0, NULL, column_block, &pass)
                            : csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for a sketch");
    /* Each column lies on one rank; the others add 0 to its bits. */
    status = csl_share(a, status, pass.bits, all);
    for (size_t i = 0; status == CSL_OK && i < all; i++) {
        uint32_t bits = (uint32_t)pass.bits[i];
        memcpy(&values_out[i], &bits, sizeof bits);
    }
    free(pass.bits);
    return status;
}

static csl_status product_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    uint32_t n = a->live_count + (a->has_centre ? 1 : 0);
    return a->kernels->row_inner_products(a->input->device, columns->rows, n, n, columns->count,
                                          context);
}

csl_status csl_gather_products(csl_aggregation *a)
{
    uint32_t n = a->live_count + (a->has_centre ? 1 : 0);
    size_t pairs = csl_product_count(n, n);
    csl_exact_sum *sums = calloc(pairs, sizeof *sums);
    double *product = csl_numbers(a->point_count, a->point_count);
    csl_status status = sums && product
                            ? csl_visit(a, 0, a->centre, product_block, sums)
                            : csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for products");
    status = csl_share(a, status, (int64_t *)sums, pairs * sizeof *sums / sizeof(int64_t));
    for (uint32_t i = 0; status == CSL_OK && i < n; i++) {
        uint32_t pi = i < a->live_count ? i : csl_extra(a, CSL_POINT_CENTRE);
        for (uint32_t j = i; j < n; j++) {
            uint32_t pj = j < a->live_count ? j : csl_extra(a, CSL_POINT_CENTRE);
            double value = csl_exact_value(&sums[csl_product_index(i, j, n)]);
            product[(size_t)pi * a->point_count + pj] = value;
            product[(size_t)pj * a->point_count + pi] = value;
        }
    }
    free(sums);
    if (status != CSL_OK) {
        free(product);
        return status;
    }
    free(a->product);
    a->product = product;
    return CSL_OK;
}

static csl_status history_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    float *const *history = context;
    for (uint32_t i = 0; i < a->live_count; i++) {
        CSL_TRY(a->kernels->accumulate(a->input->device, columns->rows[i], columns->count,
                                       history[i] + columns->begin));
    }
    return CSL_OK;
}

static csl_status open_history(csl_aggregation *a, float **history)
{
    const csl_aggregate_input *input = a->input;
    for (uint32_t i = 0; i < a->live_count; i++) {
        uint32_t row = a->live[i];
        uint32_t institution = input->institutions ? input->institutions[row] : row;
        CSL_TRY(csl_memory_open_history(input->memory, institution));
        history[i] = input->memory->history[institution];
    }
    return CSL_OK;
}

csl_status csl_gather_history(csl_aggregation *a)
{
    if (!a->input->memory) {
        return CSL_OK; /* a first round: the history is the round's rows */
    }
    uint32_t n = a->live_count;
    size_t pairs = csl_product_count(n, n);
    float **history = calloc(n, sizeof *history);
    csl_exact_sum *sums = calloc(pairs, sizeof *sums);
    csl_status status = history && sums
                            ? open_history(a, history)
                            : csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for histories");
    /* All have their histories, or nobody touches one. */
    status = csl_share(a, status, NULL, 0);
    if (status == CSL_OK) {
        a->input->memory->spoiled = true; /* until the round has succeeded on all ranks */
        status = csl_visit(a, 0, NULL, history_block, history);
    }
    if (status == CSL_OK && a->input->column_count > 0) {
        status = a->kernels->row_inner_products(a->input->device, (const float *const *)history, n,
                                                n, a->input->column_count, sums);
    }
    size_t words = sizeof(csl_exact_sum) / sizeof(int64_t);
    status = csl_share(a, status, (int64_t *)sums, pairs * words);
    for (uint32_t i = 0; status == CSL_OK && i < n; i++) {
        for (uint32_t j = i; j < n; j++) {
            double value = csl_exact_value(&sums[csl_product_index(i, j, n)]);
            a->product[(size_t)i * a->point_count + j] = value;
            a->product[(size_t)j * a->point_count + i] = value;
        }
    }
    free(history);
    free(sums);
    return status;
}

typedef struct mixture_pass {
    const double *matrix; /* [count][live_count] */
    uint32_t count;
    float **mixed; /* device: [count] rows of a block */
    csl_exact_sum *sums;
} mixture_pass;

static csl_status mixture_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    mixture_pass *pass = context;
    csl_device *device = a->input->device;
    CSL_TRY(a->kernels->row_mix(device, columns->rows, a->live_count, pass->matrix, pass->count,
                                columns->count, pass->mixed));
    return a->kernels->row_squared_distances(device, (const float *const *)pass->mixed, pass->count,
                                             pass->count, columns->count, pass->sums);
}

/* The same of the histories. */
static csl_status mix_histories(csl_aggregation *a, size_t step, mixture_pass *pass)
{
    uint32_t n = a->live_count;
    size_t total = a->input->column_count;
    float **history = calloc(n, sizeof *history);
    const float **rows = calloc(n, sizeof *rows);
    csl_status status = history && rows ? open_history(a, history)
                                        : csl_fail(CSL_E_NO_MEMORY, "aggregation: %u rows", n);
    for (size_t at = 0; status == CSL_OK && at < total; at += step) {
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = history[i] + at;
        }
        csl_block columns = {at, total - at < step ? total - at : step, rows};
        status = mixture_block(a, &columns, pass);
    }
    free(history);
    free(rows);
    return status;
}

/* What all rows share with the reference would take digits of them when they are rounded. */
static void subtract_reference(double *matrix, uint32_t m, uint32_t n, uint32_t reference)
{
    const double *base = matrix + (size_t)reference * n;
    for (uint32_t r = 0; r < m; r++) {
        for (uint32_t k = 0; r != reference && k < n; k++) {
            matrix[(size_t)r * n + k] -= base[k];
        }
    }
    memset(matrix + (size_t)reference * n, 0, n * sizeof *matrix);
}

csl_status csl_gather_mixture_distances(csl_aggregation *a,
                                        double *matrix,
                                        uint32_t m,
                                        uint32_t reference,
                                        bool histories,
                                        double *distance_out)
{
    size_t pairs = csl_pair_count(m, m);
    size_t own = a->input->column_count;
    size_t step = csl_cache_step(a) < own ? csl_cache_step(a) : own;
    void *block = NULL;
    mixture_pass pass = {matrix, m, calloc(m, sizeof(float *)),
                         calloc(pairs + 1, sizeof(csl_exact_sum))};
    subtract_reference(matrix, m, a->live_count, reference);
    csl_status status = pass.mixed && pass.sums
                            ? csl_device_alloc(a->input->device, m * step * sizeof(float), &block)
                            : csl_fail(CSL_E_NO_MEMORY, "aggregation: distances of %u rows", m);
    for (uint32_t r = 0; status == CSL_OK && r < m; r++) {
        pass.mixed[r] = (float *)block + r * step;
    }
    if (status == CSL_OK) {
        bool kept = histories && a->input->memory;
        status =
            kept ? mix_histories(a, step, &pass) : csl_visit(a, step, NULL, mixture_block, &pass);
    }
    status =
        csl_share(a, status, (int64_t *)pass.sums, pairs * sizeof *pass.sums / sizeof(int64_t));
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        distance_out[(size_t)i * m + i] = 0;
        for (uint32_t j = i + 1; j < m; j++) {
            double value = csl_exact_value(&pass.sums[csl_pair_index(i, j, m)]);
            distance_out[(size_t)i * m + j] = distance_out[(size_t)j * m + i] = value;
        }
    }
    csl_device_free(a->input->device, block);
    free(pass.mixed);
    free(pass.sums);
    return status;
}
