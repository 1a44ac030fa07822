/* The aggregation rules against float64 oracles, and the properties that each must have. */
#include "oracle_robust.h"
#include "test_support.h"

#include <consilium/robust.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRID = 1 << 14, REPEATS = CSL_TEST_REPEATS(3) };

enum {
    MOVES = 1,  /* the aggregate moves with the rows */
    SCALES = 2, /* and grows with them */
    EQUAL = 4,  /* rows that are all equal give that row */
    ORDER = 8   /* no ties are decided by the index */
};

typedef struct rule_case {
    const char *rule;
    const char *pre;
    unsigned properties;
} rule_case;

static const rule_case rule_cases[] = {
    {"mean", "", MOVES | SCALES | EQUAL | ORDER},
    {"weighted-mean", "", MOVES | SCALES | EQUAL},
    {"median", "", MOVES | SCALES | EQUAL | ORDER},
    {"trimmed-mean", "", MOVES | SCALES | EQUAL | ORDER},
    {"meamed", "", MOVES | SCALES | EQUAL | ORDER},
    {"phocas", "", MOVES | SCALES | EQUAL | ORDER},
    {"krum", "", MOVES | SCALES | EQUAL | ORDER},
    {"multi-krum", "", MOVES | SCALES | EQUAL | ORDER},
    {"bulyan", "", MOVES | SCALES | EQUAL},
    {"mda", "", MOVES | SCALES | EQUAL},
    {"monna", "", MOVES | SCALES | EQUAL},
    {"geometric-median", "", MOVES | SCALES | EQUAL | ORDER},
    {"centered-clipping", "", ORDER},
    {"cge", "", SCALES | EQUAL | ORDER},
    {"mean", "arc", SCALES | EQUAL | ORDER},
    {"median", "nnm", MOVES | SCALES | EQUAL | ORDER},
    {"trimmed-mean", "nnm", MOVES | SCALES | EQUAL | ORDER},
    {"geometric-median", "nnm", MOVES | SCALES | EQUAL | ORDER},
    {"trimmed-mean", "clipping", SCALES | EQUAL | ORDER},
    {"multi-krum", "arc", SCALES | EQUAL | ORDER},
    {"median", "arc", SCALES | EQUAL | ORDER},
};
enum { CASE_COUNT = sizeof rule_cases / sizeof rule_cases[0] };

typedef struct problem {
    const rule_case *which;
    csl_aggregate_spec spec;
    uint32_t n;
    size_t d;
    float *x; /* [n][d] */
    double *weights;
    float *out;
} problem;

static uint32_t below(uint32_t bound)
{
    CU_ASSERT_FATAL(bound > 0);
    return (uint32_t)(csl_test_random() % bound);
}

static int64_t most_faults(const rule_case *which, uint32_t n)
{
    csl_aggregate_spec spec;
    csl_aggregate_spec_init(&spec);
    snprintf(spec.rule, sizeof spec.rule, "%s", which->rule);
    CHECK_OK(csl_aggregate_spec_set_pre(&spec, which->pre));
    int64_t most = -1;
    while (most + 1 < n) {
        spec.f = (uint32_t)(most + 1);
        if (csl_aggregate_check(&spec, n) != CSL_OK) {
            break;
        }
        most++;
    }
    return most;
}

/* Rows on a grid of 2^-14, so that moving and doubling them is exact; some are far outliers. */
static problem make_problem(const rule_case *which, size_t d)
{
    problem p = {.which = which, .d = d};
    CU_ASSERT_FATAL(d > 0);
    p.n = 5 + below(strcmp(which->rule, "mda") == 0 ? 8 : 16);
    csl_aggregate_spec_init(&p.spec);
    snprintf(p.spec.rule, sizeof p.spec.rule, "%s", which->rule);
    CHECK_OK(csl_aggregate_spec_set_pre(&p.spec, which->pre));
    p.spec.f = below((uint32_t)most_faults(which, p.n) + 1);
    p.x = malloc(p.n * d * sizeof *p.x);
    p.weights = malloc(p.n * sizeof *p.weights);
    p.out = malloc(d * sizeof *p.out);
    for (uint32_t i = 0; i < p.n; i++) {
        double spread = 0.5 + csl_test_uniform();
        double shift = i < p.spec.f ? 3 * csl_test_normal() : 0;
        p.weights[i] = 1 + below(1000);
        for (size_t j = 0; j < d; j++) {
            double value = fmin(30, fmax(-30, shift + spread * csl_test_normal()));
            p.x[i * d + j] = (float)(rint(value * GRID) / GRID);
        }
    }
    return p;
}

static void free_problem(problem *p)
{
    free(p->x);
    free(p->weights);
    free(p->out);
}

/* Which of the columns, on what, and how they come. */
typedef struct place {
    const char *resource;
    uint32_t threads;
    size_t begin;
    size_t count;
    csl_aggregate_exchange exchange;
} place;

static csl_status
aggregate_at(const problem *p, const place *at, float *out, csl_aggregate_report **report_out)
{
    csl_device *device = NULL;
    CHECK_OK(csl_device_open(at->resource, at->threads, &device));
    const float **rows = calloc(p->n, sizeof *rows);
    size_t size = at->count * sizeof(float);
    void *memory = NULL;
    for (uint32_t i = 0; i < p->n; i++) {
        CHECK_OK(csl_device_alloc(device, size, &memory));
        const float *source = p->x + i * p->d + at->begin;
        CHECK_OK(csl_device_copy(device, memory, source, size, CSL_COPY_TO_DEVICE));
        rows[i] = memory;
    }
    CHECK_OK(csl_device_alloc(device, size, &memory));
    csl_aggregate_input input = {.device = device,
                                 .row_count = p->n,
                                 .column_begin = at->begin,
                                 .column_count = at->count,
                                 .column_total = p->d,
                                 .rows = rows,
                                 .weights = p->weights,
                                 .exchange = at->exchange};
    csl_status status = csl_aggregate(&p->spec, &input, memory, report_out);
    if (status == CSL_OK) {
        CHECK_OK(csl_device_copy(device, out, memory, size, CSL_COPY_TO_HOST));
    }
    csl_device_free(device, memory);
    for (uint32_t i = 0; i < p->n; i++) {
        csl_device_free(device, csl_test_owned(rows[i]));
    }
    free(rows);
    csl_device_close(device);
    return status;
}

static csl_status aggregate(const problem *p, float *out, csl_aggregate_report **report_out)
{
    place at = {.resource = "host", .threads = 1, .count = p->d};
    return aggregate_at(p, &at, out, report_out);
}

static void say(const problem *p, const char *what)
{
    printf("%s: %s after '%s', n %u, f %u, d %zu\n", what, p->spec.rule, p->which->pre, p->n,
           p->spec.f, p->d);
}

/* expected [d], NaN where the definition leaves a choice. */
static void check_answer(const problem *p, const double *expected, const char *what)
{
    size_t open = 0;
    for (size_t j = 0; j < p->d; j++) {
        open += isnan(expected[j]) ? 1 : 0;
        double difference = fabs((double)p->out[j] - expected[j]);
        if (!isnan(expected[j]) && !(difference <= 2e-5 * (1 + fabs(expected[j])))) {
            say(p, what);
            printf("column %zu: %.9g, expected %.9g\n", j, (double)p->out[j], expected[j]);
            CU_FAIL("aggregate differs");
            return;
        }
    }
    CU_ASSERT(open <= 3 + p->d / 20);
}

static void check_same_bits(const problem *p, const float *other, const char *what)
{
    bool same = memcmp(p->out, other, p->d * sizeof *other) == 0;
    if (!same) {
        say(p, what);
    }
    CU_ASSERT(same);
}

static double *oracle_answer(const problem *p)
{
    oracle_rows rows = {p->n, p->d, p->spec.f, malloc(p->n * p->d * sizeof(double)), 0};
    double *expected = malloc(p->d * sizeof *expected);
    for (size_t k = 0; k < p->n * p->d; k++) {
        rows.x[k] = (double)p->x[k];
    }
    CU_ASSERT_TRUE(p->which->pre[0] == '\0' || oracle_pre(p->which->pre, &rows));
    CU_ASSERT_TRUE(oracle_rule(p->which->rule, &rows, p->weights, expected));
    free(rows.x);
    return expected;
}

static void every_rule_is_its_definition(void)
{
    for (size_t c = 0; c < CASE_COUNT; c++) {
        for (int repeat = 0; repeat < REPEATS; repeat++) {
            size_t d = repeat == 0 ? 8193 + below(900) : 1 + below(1500);
            problem p = make_problem(&rule_cases[c], d);
            double *expected = oracle_answer(&p);
            CHECK_OK(aggregate(&p, p.out, NULL));
            check_answer(&p, expected, "oracle");
            free(expected);
            free_problem(&p);
        }
    }
}

static void swap_rows(problem *p)
{
    for (uint32_t i = p->n - 1; i > 0; i--) {
        uint32_t other = below(i + 1);
        for (size_t j = 0; j < p->d; j++) {
            float kept = p->x[i * p->d + j];
            p->x[i * p->d + j] = p->x[other * p->d + j];
            p->x[other * p->d + j] = kept;
        }
    }
}

/* Rows of few small whole numbers: distances are exact, most of them tie, many rows are equal. */
static void ties_go_to_the_lowest_row(void)
{
    static const rule_case ties[] = {{"krum", "", 0},      {"multi-krum", "", 0},
                                     {"monna", "", 0},     {"cge", "", 0},
                                     {"median", "nnm", 0}, {"trimmed-mean", "nnm", 0}};
    for (size_t c = 0; c < sizeof ties / sizeof ties[0]; c++) {
        for (int repeat = 0; repeat < 20 * REPEATS; repeat++) {
            problem p = make_problem(&ties[c], 3);
            for (size_t k = 0; k < p.n * p.d; k++) {
                p.x[k] = (float)(1 + below(3));
            }
            double *expected = oracle_answer(&p);
            CHECK_OK(aggregate(&p, p.out, NULL));
            check_answer(&p, expected, "ties");
            free(expected);
            free_problem(&p);
        }
    }
}

static void rows_move_scale_and_change_places(void)
{
    for (size_t c = 0; c < CASE_COUNT; c++) {
        problem p = make_problem(&rule_cases[c], 40 + below(800));
        double *expected = oracle_answer(&p);
        if (rule_cases[c].properties & ORDER) {
            swap_rows(&p);
            CHECK_OK(aggregate(&p, p.out, NULL));
            check_answer(&p, expected, "permutation");
        }
        if (rule_cases[c].properties & SCALES) {
            for (size_t k = 0; k < p.n * p.d; k++) {
                p.x[k] *= 4;
            }
            CHECK_OK(aggregate(&p, p.out, NULL));
            for (size_t j = 0; j < p.d; j++) {
                p.out[j] /= 4;
            }
            check_answer(&p, expected, "scaling");
            for (size_t k = 0; k < p.n * p.d; k++) {
                p.x[k] /= 4;
            }
        }
        CU_ASSERT_FATAL(p.d > 0);
        if (rule_cases[c].properties & MOVES) {
            for (size_t k = 0; k < p.n * p.d; k++) {
                p.x[k] += (float)(k % p.d % 7) - 3;
            }
            CHECK_OK(aggregate(&p, p.out, NULL));
            for (size_t j = 0; j < p.d; j++) {
                p.out[j] -= (float)(j % 7) - 3;
            }
            check_answer(&p, expected, "translation");
        }
        free(expected);
        free_problem(&p);
    }
}

static void equal_rows_give_that_row(void)
{
    for (size_t c = 0; c < CASE_COUNT; c++) {
        if (!(rule_cases[c].properties & EQUAL)) {
            continue;
        }
        problem p = make_problem(&rule_cases[c], 1 + below(6000));
        for (uint32_t i = 1; i < p.n; i++) {
            memcpy(p.x + i * p.d, p.x, p.d * sizeof *p.x);
        }
        double *expected = malloc(p.d * sizeof *expected);
        for (size_t j = 0; j < p.d; j++) {
            expected[j] = (double)p.x[j];
        }
        CHECK_OK(aggregate(&p, p.out, NULL));
        check_answer(&p, expected, "equal rows");
        free(expected);
        free_problem(&p);
    }
}

static void check_bounds(const csl_rule_info *info, bool pre)
{
    for (uint32_t n = 1; n <= 24; n++) {
        csl_aggregate_spec spec;
        csl_aggregate_spec_init(&spec);
        if (pre) {
            CHECK_OK(csl_aggregate_spec_set_pre(&spec, info->name));
        } else {
            snprintf(spec.rule, sizeof spec.rule, "%s", info->name);
        }
        int64_t most = info->f_max(n, CSL_PRESET_PAPER);
        spec.f = (uint32_t)(most + 1);
        CHECK_STATUS(csl_aggregate_check(&spec, n), CSL_E_RANGE);
        if (!pre && most >= 0 && strcmp(info->name, "smea") != 0) {
            spec.f = (uint32_t)most;
            CHECK_OK(csl_aggregate_check(&spec, n));
        }
    }
}

static void one_fault_too_many_is_refused(void)
{
    size_t count = 0;
    const csl_rule_info *infos = csl_rules(&count);
    for (size_t i = 0; i < count; i++) {
        check_bounds(&infos[i], false);
    }
    infos = csl_pre_aggregators(&count);
    for (size_t i = 0; i < count; i++) {
        check_bounds(&infos[i], true);
    }
}

static void smea_refuses_too_many_subsets(void)
{
    csl_aggregate_spec spec;
    csl_aggregate_spec_init(&spec);
    snprintf(spec.rule, sizeof spec.rule, "smea");
    spec.f = 10;
    CHECK_OK(csl_aggregate_check(&spec, 22));                  /* 646646 subsets */
    CHECK_STATUS(csl_aggregate_check(&spec, 23), CSL_E_RANGE); /* 1144066 */
    spec.f = 511;
    CHECK_STATUS(csl_aggregate_check(&spec, 1024), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "subsets");
}

static void rows_that_are_not_finite_are_refused_and_reported(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t c = 0; c < CASE_COUNT; c++) {
        problem p = make_problem(&rule_cases[c], 1 + below(9000));
        uint32_t lost = 1 + below(p.n - 1);
        p.x[lost * p.d + below((uint32_t)p.d)] = bad[below(3)];
        csl_aggregate_report *report = NULL;
        csl_status status = aggregate(&p, p.out, &report);
        if (p.spec.f == 0) {
            CHECK_STATUS(status, CSL_E_NO_QUORUM);
            free_problem(&p);
            continue;
        }
        CHECK_OK(status);
        CU_ASSERT_PTR_NOT_NULL_FATAL(report);
        CHECK_U64(report->refused_count, 1);
        CHECK_U64(report->f_left, p.spec.f - 1);
        CHECK_U64(report->rows[lost].verdict, CSL_ROW_REFUSED);
        CHECK_U64((uint64_t)report->rows[lost].non_finite, 1);
        csl_aggregate_report_destroy(report);
        p.n--;
        p.spec.f--;
        memmove(p.x + lost * p.d, p.x + (lost + 1) * p.d, (p.n - lost) * p.d * sizeof *p.x);
        memmove(p.weights + lost, p.weights + lost + 1, (p.n - lost) * sizeof *p.weights);
        float *without = malloc(p.d * sizeof *without);
        CHECK_OK(aggregate(&p, without, NULL));
        check_same_bits(&p, without, "refused row against a row less");
        free(without);
        free_problem(&p);
    }
}

static void devices_and_threads_give_the_same_bits(void)
{
    for (size_t c = 0; c < CASE_COUNT; c++) {
        problem p = make_problem(&rule_cases[c], 8193 + below(5000));
        float *other = malloc(p.d * sizeof *other);
        CHECK_OK(aggregate(&p, p.out, NULL));
        const place places[] = {{.resource = "host", .threads = 3, .count = p.d},
                                {.resource = "host:guard", .threads = 1, .count = p.d},
                                {.resource = "host:guard", .threads = 3, .count = p.d}};
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            CHECK_OK(aggregate_at(&p, &places[k], other, NULL));
            check_same_bits(&p, other, places[k].resource);
        }
        free(other);
        free_problem(&p);
    }
}

/* Two ranks as two threads: the first to come leaves its values, the second adds and hands back. */
typedef struct meeting {
    pthread_barrier_t barrier;
    int64_t *values[2];
} meeting;

typedef struct rank {
    meeting *met;
    int index;
    const problem *p;
    place at;
    float *out;
    csl_status status;
} rank;

static csl_status add_both(void *context, int64_t *values, size_t count)
{
    rank *own = context;
    own->met->values[own->index] = values;
    pthread_barrier_wait(&own->met->barrier);
    if (own->index == 0) {
        int64_t *other = own->met->values[1];
        for (size_t k = 0; k < count; k++) {
            values[k] += other[k];
            other[k] = values[k];
        }
    }
    pthread_barrier_wait(&own->met->barrier);
    return CSL_OK;
}

static void *run_rank(void *context)
{
    rank *own = context;
    own->status = aggregate_at(own->p, &own->at, own->out + own->at.begin, NULL);
    return NULL;
}

static void two_column_shards_give_the_bits_of_one(void)
{
    for (size_t c = 0; c < CASE_COUNT; c++) {
        problem p = make_problem(&rule_cases[c], 8193 + below(5000));
        float *joined = malloc(p.d * sizeof *joined);
        CHECK_OK(aggregate(&p, p.out, NULL));
        size_t cut = (size_t)4096 * (1 + below(2));
        meeting met = {.values = {NULL, NULL}};
        CU_ASSERT_EQUAL_FATAL(pthread_barrier_init(&met.barrier, NULL, 2), 0);
        rank ranks[2];
        pthread_t threads[2];
        for (int r = 0; r < 2; r++) {
            ranks[r] = (rank){.met = &met, .index = r, .p = &p, .out = joined};
            ranks[r].at = (place){.resource = "host",
                                  .threads = 1,
                                  .begin = r ? cut : 0,
                                  .count = r ? p.d - cut : cut,
                                  .exchange = {&ranks[r], add_both}};
            CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[r], NULL, run_rank, &ranks[r]), 0);
        }
        for (int r = 0; r < 2; r++) {
            pthread_join(threads[r], NULL);
            CHECK_OK(ranks[r].status);
        }
        pthread_barrier_destroy(&met.barrier);
        check_same_bits(&p, joined, "two shards");
        free(joined);
        free_problem(&p);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every rule is its definition", every_rule_is_its_definition},
        {"ties go to the lowest row", ties_go_to_the_lowest_row},
        {"rows move, scale and change places", rows_move_scale_and_change_places},
        {"equal rows give that row", equal_rows_give_that_row},
        {"one fault too many is refused", one_fault_too_many_is_refused},
        {"smea refuses too many subsets", smea_refuses_too_many_subsets},
        {"rows that are not finite are refused and reported",
         rows_that_are_not_finite_are_refused_and_reported},
        {"devices and threads give the same bits", devices_and_threads_give_the_same_bits},
        {"two column shards give the bits of one", two_column_shards_give_the_bits_of_one},
    };
    return csl_test_main("robust rules", cases, sizeof cases / sizeof *cases);
}
