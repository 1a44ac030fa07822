#include "aggregate_case.h"

#include <consilium/text.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECKS = 37, PREFIX = sizeof "kernel:" - 1 };

/* KERNEL_row_mean and so on: a kernel that is new does not compile before it is timed. */
#define KIND_OF(name, ...) KERNEL_##name,
typedef enum kernel_kind { CSL_ROBUST_OP_LIST(KIND_OF) } kernel_kind;

typedef struct bench_kernel {
    const char *name;
    kernel_kind kind;
    csl_select_kind select;
} bench_kernel;

static const bench_kernel kernels_[] = {
    {"mean", KERNEL_row_mean, 0},
    {"weighted-mean", KERNEL_row_weighted_mean, 0},
    {"trimmed-mean", KERNEL_row_select, CSL_SELECT_TRIMMED_MEAN},
    {"median", KERNEL_row_select, CSL_SELECT_MEDIAN},
    {"meamed", KERNEL_row_select, CSL_SELECT_MEAMED},
    {"phocas", KERNEL_row_select, CSL_SELECT_PHOCAS},
    {"sign-majority", KERNEL_row_select, CSL_SELECT_SIGN_MAJORITY},
    {"statistics", KERNEL_row_statistics, 0},
    {"sign-filter", KERNEL_row_sign_filter, 0},
    {"norms", KERNEL_row_squared_norms, 0},
    {"distances", KERNEL_row_squared_distances, 0},
    {"products", KERNEL_row_inner_products, 0},
    {"geometry", KERNEL_row_geometry, 0},
    {"mix", KERNEL_row_mix, 0},
    {"gather", KERNEL_row_gather, 0},
};
enum { KERNEL_COUNT = sizeof kernels_ / sizeof *kernels_ };

struct csl_aggregate_work {
    char name[CSL_NAME_MAX];
    const bench_kernel *kernel; /* or a rule: */
    csl_aggregate_spec spec;
    const csl_rule_info *rule;
    uint32_t needs; /* of the rule and what comes before it */
};

static csl_status find_kernel(const char *name, const bench_kernel **kernel_out)
{
    for (size_t k = 0; k < KERNEL_COUNT; k++) {
        if (strcmp(name, kernels_[k].name) == 0) {
            *kernel_out = &kernels_[k];
            return CSL_OK;
        }
    }
    const char *nearest =
        csl_nearest_name_strided(name, &kernels_[0].name, sizeof *kernels_, KERNEL_COUNT);
    return nearest
               ? csl_fail(CSL_E_NOT_FOUND, "unknown kernel '%s'; did you mean '%s'?", name, nearest)
               : csl_fail(CSL_E_NOT_FOUND, "unknown kernel '%s'", name);
}

/* "a+b+rule": the list of pre-aggregators has commas. */
static csl_status parse_rule(csl_aggregate_work *work)
{
    char list[CSL_NAME_MAX];
    snprintf(list, sizeof list, "%s", work->name);
    char *last = strrchr(list, '+');
    const char *rule = last ? last + 1 : list;
    CSL_TRY(csl_rule_find(rule, &work->rule));
    work->needs = work->rule->needs;
    snprintf(work->spec.rule, sizeof work->spec.rule, "%s", rule);
    if (!last) {
        return CSL_OK;
    }
    *last = 0;
    for (char *at = list; *at; at++) {
        *at = *at == '+' ? ',' : *at;
    }
    CSL_TRY(csl_aggregate_spec_set_pre(&work->spec, list));
    for (uint32_t i = 0; i < work->spec.pre_count; i++) {
        const csl_rule_info *pre = NULL;
        CSL_TRY(csl_pre_find(work->spec.pre[i], &pre));
        work->needs |= pre->needs;
    }
    return CSL_OK;
}

csl_status csl_aggregate_work_create(const char *name, csl_aggregate_work **work_out)
{
    csl_aggregate_work *work = calloc(1, sizeof *work);
    if (!work) {
        return csl_fail(CSL_E_NO_MEMORY, "bench aggregate");
    }
    csl_aggregate_spec_init(&work->spec);
    snprintf(work->name, sizeof work->name, "%s", name);
    csl_status status = strncmp(name, "kernel:", PREFIX) == 0
                            ? find_kernel(name + PREFIX, &work->kernel)
                            : parse_rule(work);
    if (status != CSL_OK) {
        csl_aggregate_work_destroy(work);
        return status;
    }
    *work_out = work;
    return CSL_OK;
}

void csl_aggregate_work_destroy(csl_aggregate_work *work)
{
    free(work);
}

bool csl_aggregate_work_suits(csl_aggregate_work *work, uint32_t row_count, uint32_t *f_out)
{
    uint32_t f = row_count > 3 ? (row_count - 3) / 4 : 0;
    work->spec.f = f;
    while (!work->kernel && csl_aggregate_check(&work->spec, row_count) != CSL_OK) {
        if (work->spec.f == 0) {
            return false;
        }
        work->spec.f--;
    }
    *f_out = work->spec.f;
    return true;
}

bool csl_aggregate_work_wants_many(const csl_aggregate_work *work)
{
    return work->kernel &&
           (work->kernel->kind == KERNEL_row_mix || work->kernel->kind == KERNEL_row_statistics);
}

static csl_status run_mix(csl_aggregate_case *c)
{
    uint32_t n = c->row_count;
    float *out[CSL_ROWS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        out[i] = c->many + i * c->count;
    }
    return c->kernels->row_mix(c->device, c->rows, n, c->mix, n, c->count, out);
}

static csl_status run_weighted_mean(csl_aggregate_case *c)
{
    double weights[CSL_ROWS_MAX];
    for (uint32_t i = 0; i < c->row_count; i++) {
        weights[i] = 1.0 / c->row_count;
    }
    return c->kernels->row_weighted_mean(c->device, c->rows, weights, c->row_count, c->count,
                                         c->out, NULL);
}

/* Norms, distances and products, one behind the other in the sums. */
static csl_status run_geometry(csl_aggregate_case *c)
{
    size_t n = c->row_count;
    csl_row_geometry sums = {.products = c->sums,
                             .distances = c->sums + csl_product_count(n, n),
                             .norms = c->sums + csl_product_count(n, n) + csl_pair_count(n, n)};
    return c->kernels->row_geometry(c->device, c->rows, c->row_count, c->count, &sums);
}

/* As many coordinates as there are, up to CSL_GATHER_COUNT, far apart. */
static csl_status run_gather(csl_aggregate_case *c)
{
    uint64_t index[CSL_GATHER_COUNT];
    size_t count = c->count < CSL_GATHER_COUNT ? c->count : CSL_GATHER_COUNT;
    for (size_t k = 0; k < count; k++) {
        index[k] = c->count / count * k;
    }
    return c->kernels->row_gather(c->device, c->rows, c->row_count, c->count, index, count,
                                  c->gathered);
}

static csl_status run_kernel(const csl_aggregate_work *work, csl_aggregate_case *c)
{
    const csl_kernels *kernels = c->kernels;
    uint32_t n = c->row_count;
    uint32_t f = work->spec.f;
    csl_select_spec select = {.kind = work->kernel->select, .trim = f, .keep = n - f};
    csl_column_statistics statistics = {.mean = c->out, .deviation = c->many};
    switch (work->kernel->kind) {
    case KERNEL_row_mean:
        return kernels->row_mean(c->device, c->rows, n, c->count, c->out, NULL);
    case KERNEL_row_weighted_mean:
        return run_weighted_mean(c);
    case KERNEL_row_select:
        return kernels->row_select(c->device, &select, c->rows, n, c->count, c->out);
    case KERNEL_row_statistics:
        return kernels->row_statistics(c->device, c->rows, n, c->count, &statistics);
    case KERNEL_row_sign_filter:
        return kernels->row_sign_filter(c->device, c->rows, n, n / 2, c->count, c->out);
    case KERNEL_row_squared_norms:
        return kernels->row_squared_norms(c->device, c->rows, n, c->count, NULL, c->sums);
    case KERNEL_row_squared_distances:
        return kernels->row_squared_distances(c->device, c->rows, n, n, c->count, c->sums);
    case KERNEL_row_inner_products:
        return kernels->row_inner_products(c->device, c->rows, n, n, c->count, c->sums);
    case KERNEL_row_geometry:
        return run_geometry(c);
    case KERNEL_row_gather:
        return run_gather(c);
    case KERNEL_row_mix:
        break;
    }
    return run_mix(c);
}

static csl_status add_over_ranks(void *context, int64_t *values, size_t count)
{
    return csl_sum_integers(context, values, count);
}

static csl_status run_rule(const csl_aggregate_work *work, csl_aggregate_case *c)
{
    double weights[CSL_ROWS_MAX];
    for (uint32_t i = 0; i < c->row_count; i++) {
        weights[i] = 1 + i % 7;
    }
    bool weighted = strcmp(work->spec.rule, "weighted-mean") == 0;
    csl_aggregate_input input = {.device = c->device,
                                 .row_count = c->row_count,
                                 .column_begin = c->begin,
                                 .column_count = c->count,
                                 .column_total = c->total,
                                 .rows = c->rows,
                                 .weights = weighted ? weights : NULL,
                                 .root = work->needs & CSL_NEEDS_ROOT ? c->rows[0] : NULL};
    if (csl_communicator_size(c->communicator) > 1) {
        input.exchange.context = c->communicator;
        input.exchange.sum_int64 = add_over_ranks;
    }
    csl_aggregate_report_destroy(c->report);
    c->report = NULL;
    return csl_aggregate(&work->spec, &input, c->out, &c->report);
}

csl_status csl_aggregate_work_run(const csl_aggregate_work *work, csl_aggregate_case *c)
{
    return work->kernel ? run_kernel(work, c) : run_rule(work, c);
}

/* Rows that the last pass reads: those that the aggregate is made of. */
static double kept_rows(const csl_aggregate_report *report)
{
    double kept = 0;
    for (uint32_t i = 0; i < report->row_count; i++) {
        kept += report->rows[i].weight != 0; /* NaN where single coordinates are chosen */
    }
    return kept;
}

static csl_aggregate_floor kernel_floor(const csl_aggregate_work *work, const csl_aggregate_case *c)
{
    double n = c->row_count;
    double d = (double)c->total;
    double pairs = n * (n - 1) / 2;
    double sampled = d < CSL_GATHER_COUNT ? d : CSL_GATHER_COUNT;
    switch (work->kernel->kind) {
    case KERNEL_row_squared_norms:
        return (csl_aggregate_floor){4 * n * d, n * d, 0};
    case KERNEL_row_squared_distances:
        return (csl_aggregate_floor){4 * n * d, 0, pairs * d};
    case KERNEL_row_inner_products:
        return (csl_aggregate_floor){4 * n * d, (pairs + n) * d, 0};
    case KERNEL_row_geometry:
        return (csl_aggregate_floor){4 * n * d, (pairs + 2 * n) * d, pairs * d};
    case KERNEL_row_mix:
        return (csl_aggregate_floor){8 * n * d, 2 * n * n * d, 0};
    case KERNEL_row_statistics:
    case KERNEL_row_sign_filter: /* two results; one read and written */
        return (csl_aggregate_floor){4 * (n + 2) * d, 0, 0};
    case KERNEL_row_gather:
        return (csl_aggregate_floor){8 * n * sampled, 0, 0};
    case KERNEL_row_mean:
    case KERNEL_row_weighted_mean:
    case KERNEL_row_select:
        break;
    }
    return (csl_aggregate_floor){4 * (n + 1) * d, 0, 0};
}

csl_aggregate_floor csl_aggregate_work_floor(const csl_aggregate_work *work,
                                             const csl_aggregate_case *c)
{
    if (work->kernel) {
        return kernel_floor(work, c);
    }
    double n = c->row_count;
    double d = (double)c->total;
    bool measures = work->needs & (CSL_NEEDS_NORMS | CSL_NEEDS_DISTANCES | CSL_NEEDS_PRODUCTS);
    double rows = (measures ? n : 0) + kept_rows(c->report) + 1;
    /* Distances to one row, or products with it. */
    bool one_row = strcmp(work->name, "centered-clipping") == 0 || strcmp(work->name, "monna") == 0;
    bool one_product = strcmp(work->name, "fltrust") == 0;
    bool all_distances = !one_row && !one_product && work->needs & CSL_NEEDS_DISTANCES;
    bool all_products =
        !one_row && !one_product && !all_distances && work->needs & CSL_NEEDS_PRODUCTS;
    double products = one_product ? n : all_products ? n * (n + 1) / 2 : 0;
    double distances = one_row ? n : all_distances ? n * (n - 1) / 2 : 0;
    return (csl_aggregate_floor){4 * rows * d, products * d, distances * d};
}

static int compare_values(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static double mean_of(const double *values, uint32_t first, uint32_t last)
{
    double sum = 0;
    for (uint32_t i = first; i < last; i++) {
        sum += values[i];
    }
    return sum / (last - first);
}

/* Of sorted values: the mean of the keep that are closest to the centre. */
static double closest(const double *values, uint32_t n, uint32_t keep, double centre)
{
    uint32_t first = 0;
    while (first + keep < n && centre - values[first] > values[first + keep] - centre) {
        first++;
    }
    return mean_of(values, first, first + keep);
}

/* What the coordinate should be; NAN where only the range of its column is known. */
static double expected_at(const csl_aggregate_work *work, const csl_aggregate_case *c, double *v)
{
    uint32_t n = c->row_count;
    uint32_t f = work->spec.f;
    const char *name = work->kernel ? work->kernel->name : work->spec.rule;
    /* Noise and turned signs follow the weighted sum of these. */
    bool linear = strcmp(name, "flame") != 0 && strcmp(name, "rlr") != 0;
    if (!work->kernel && linear && !isnan(c->report->rows[0].weight)) {
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            double weight = c->report->rows[i].weight;
            if (isnan(weight)) {
                return (double)NAN;
            }
            sum += weight * v[i];
        }
        return sum;
    }
    qsort(v, n, sizeof *v, compare_values);
    double median = (v[(n - 1) / 2] + v[n / 2]) / 2;
    if (work->spec.pre_count > 0) {
        return (double)NAN;
    }
    return strcmp(name, "mean") == 0            ? mean_of(v, 0, n)
           : strcmp(name, "weighted-mean") == 0 ? mean_of(v, 0, n) /* all alike */
           : strcmp(name, "median") == 0        ? median
           : strcmp(name, "trimmed-mean") == 0  ? mean_of(v, f, n - f)
           : strcmp(name, "meamed") == 0        ? closest(v, n, n - f, median)
           : strcmp(name, "phocas") == 0        ? closest(v, n, n - f, mean_of(v, f, n - f))
                                                : (double)NAN;
}

csl_status csl_aggregate_work_check(const csl_aggregate_work *work, csl_aggregate_case *c)
{
    double v[CSL_ROWS_MAX];
    if (work->kernel && work->kernel->kind != KERNEL_row_mean &&
        work->kernel->kind != KERNEL_row_weighted_mean && work->kernel->kind != KERNEL_row_select) {
        return CSL_OK;
    }
    for (size_t k = 0; k < CHECKS && c->count > 0; k++) {
        size_t at = (c->count - 1) * k / (CHECKS - 1);
        float found = 0;
        double largest = 0;
        CSL_TRY(csl_device_copy(c->device, &found, c->out + at, sizeof found, CSL_COPY_TO_HOST));
        for (uint32_t i = 0; i < c->row_count; i++) {
            v[i] = (double)c->see[i][at];
            largest = fmax(largest, fabs(v[i]));
        }
        double expected = expected_at(work, c, v);
        bool inside = fabs((double)found) <= fmax(largest, 1) * 1.001;
        bool right = isnan(expected) ? inside : fabs(expected - (double)found) <= 1e-5 * largest;
        if (!right) {
            return csl_fail(CSL_E_INTERNAL, "%s: coordinate %zu: expected about %g, found %g",
                            work->name, c->begin + at, expected, (double)found);
        }
    }
    return CSL_OK;
}
