#include "council.h"

#include "oracle_robust.h"
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void name_rule(csl_aggregate_spec *spec, const char *rule, const char *pre)
{
    csl_aggregate_spec_init(spec);
    snprintf(spec->rule, sizeof spec->rule, "%s", rule);
    CHECK_OK(csl_aggregate_spec_set_pre(spec, pre));
}

council make_council(const char *rule, const char *pre, uint32_t f, uint32_t n, size_t d)
{
    council c = {.n = n, .d = d};
    name_rule(&c.spec, rule, pre);
    c.spec.f = f;
    c.spec.seed = csl_test_random();
    c.x = malloc(n * d * sizeof *c.x);
    c.root = malloc(d * sizeof *c.root);
    c.weights = malloc(n * sizeof *c.weights);
    c.out = malloc(d * sizeof *c.out);
    for (size_t k = 0; k < n * d; k++) {
        c.x[k] = (float)csl_test_normal();
    }
    for (size_t j = 0; j < d; j++) {
        c.root[j] = (float)csl_test_normal();
    }
    for (uint32_t i = 0; i < n; i++) {
        c.weights[i] = 1 + (double)(csl_test_random() % 100);
    }
    return c;
}

void free_council(council *c)
{
    free(c->x);
    free(c->root);
    free(c->weights);
    free(c->out);
}

void set_parameter(council *c, const char *name, double value)
{
    CHECK_OK(csl_aggregate_spec_set(&c->spec, name, value));
}

csl_status decide(council *c, csl_aggregate_report **report_out)
{
    csl_device *device = NULL;
    const float **rows = calloc(c->n, sizeof *rows);
    CHECK_OK(csl_device_open("host", 1, &device));
    for (uint32_t i = 0; i < c->n; i++) {
        rows[i] = c->x + i * c->d;
    }
    csl_aggregate_input input = {.device = device,
                                 .row_count = c->n,
                                 .column_count = c->d,
                                 .column_total = c->d,
                                 .rows = rows,
                                 .weights = c->weights,
                                 .root = c->root};
    csl_status status = csl_aggregate(&c->spec, &input, c->out, report_out);
    csl_device_close(device);
    free(rows);
    return status;
}

int64_t most_faults(const char *rule, const char *pre, uint32_t n)
{
    csl_aggregate_spec spec;
    int64_t most = -1;
    name_rule(&spec, rule, pre);
    for (spec.f = 0; spec.f < n && csl_aggregate_check(&spec, n) == CSL_OK; spec.f++) {
        most = spec.f;
    }
    return most;
}

double *ask_oracle(const council *c)
{
    return ask_noisy_oracle(c, 0);
}

double *ask_noisy_oracle(const council *c, double noise)
{
    oracle_rows rows = {c->n, c->d, c->spec.f, malloc(c->n * c->d * sizeof(double)), noise};
    double *expected = malloc(c->d * sizeof *expected);
    for (size_t k = 0; k < c->n * c->d; k++) {
        rows.x[k] = (double)c->x[k];
    }
    for (uint32_t i = 0; i < c->spec.pre_count; i++) {
        CU_ASSERT_TRUE(oracle_pre(c->spec.pre[i], &rows));
    }
    CU_ASSERT_TRUE(oracle_rule(c->spec.rule, &rows, c->weights, expected));
    free(rows.x);
    return expected;
}

void say_council(const council *c, const char *what)
{
    printf("%s: %s after '%s', n %u, f %u, d %zu\n", what, c->spec.rule,
           c->spec.pre_count ? c->spec.pre[0] : "", c->n, c->spec.f, c->d);
}

void check_close(const council *c, const double *expected, double absolute, double relative)
{
    for (size_t j = 0; j < c->d; j++) {
        double difference = fabs((double)c->out[j] - expected[j]);
        if (!isnan(expected[j]) && !(difference <= absolute + relative * fabs(expected[j]))) {
            say_council(c, "differs");
            printf("column %zu: %.9g, expected %.9g\n", j, (double)c->out[j], expected[j]);
            CU_FAIL("aggregate differs");
            return;
        }
    }
    CU_PASS("aggregate agrees");
}
