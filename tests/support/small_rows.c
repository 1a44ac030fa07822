#include "small_rows.h"

#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double x_[ROWS][COLUMNS];
float rows_[ROWS][COLUMNS];
float out_[COLUMNS];
double candidates_[CANDIDATES][COLUMNS];
int candidate_count_;

void draw_rows(void)
{
    for (int j = 0; j < COLUMNS; j++) {
        double common = csl_test_normal();
        for (int i = 0; i < ROWS; i++) {
            double value = (i == 1 || i == 5 ? -1.5 : 1) * common;
            rows_[i][j] = (float)(value + (0.6 + 0.1 * i) * csl_test_normal());
            x_[i][j] = (double)rows_[i][j];
        }
    }
}

double inner(const double *a, const double *b)
{
    double sum = 0;
    for (int j = 0; j < COLUMNS; j++) {
        sum += a[j] * b[j];
    }
    return sum;
}

void combine(const double *weight, double *out)
{
    for (int j = 0; j < COLUMNS; j++) {
        out[j] = 0;
        for (int i = 0; i < ROWS; i++) {
            out[j] += weight[i] * x_[i][j];
        }
    }
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

double ranked(const double *values, int n, int k)
{
    double sorted[ROWS];
    memcpy(sorted, values, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_doubles);
    return sorted[k];
}

csl_aggregate_spec spec_of(const char *rule)
{
    csl_aggregate_spec spec;
    csl_aggregate_spec_init(&spec);
    snprintf(spec.rule, sizeof spec.rule, "%s", rule);
    spec.f = FAULTS;
    spec.seed = csl_test_random();
    return spec;
}

void run(const csl_aggregate_spec *spec,
         uint32_t round,
         csl_device *device,
         csl_aggregate_memory *memory)
{
    const float *rows[ROWS];
    double weights[ROWS];
    for (int i = 0; i < ROWS; i++) {
        rows[i] = rows_[i];
        weights[i] = 1 + i * i;
    }
    csl_aggregate_input input = {.device = device,
                                 .row_count = ROWS,
                                 .column_count = COLUMNS,
                                 .column_total = COLUMNS,
                                 .rows = rows,
                                 .weights = weights,
                                 .round = round,
                                 .memory = memory};
    CHECK_OK(csl_aggregate(spec, &input, out_, NULL));
}

void run_once(const csl_aggregate_spec *spec, uint32_t round)
{
    csl_device *device = NULL;
    CHECK_OK(csl_device_open("host", 1, &device));
    run(spec, round, device, NULL);
    csl_device_close(device);
}

static bool answers(const double *expected)
{
    for (int j = 0; j < COLUMNS; j++) {
        if (!(fabs((double)out_[j] - expected[j]) <= 3e-5 * (1 + fabs(expected[j])))) {
            return false;
        }
    }
    return true;
}

void check_answer(const double *expected, const char *what)
{
    bool same = answers(expected);
    if (!same) {
        printf("%s: %.9g, expected %.9g\n", what, (double)out_[0], expected[0]);
    }
    CU_ASSERT(same);
}

int candidate(void)
{
    for (int k = 0; k < candidate_count_; k++) {
        if (answers(candidates_[k])) {
            return k;
        }
    }
    return -1;
}

void check_candidates(csl_aggregate_spec *spec, const char *what)
{
    int first = -2;
    bool others = false;
    for (uint32_t round = 0; round < 24; round++) {
        spec->seed += round % 3 == 0;
        run_once(spec, round);
        int found = candidate();
        if (found < 0) {
            printf("%s, round %u: %d candidates, none answers\n", what, round, candidate_count_);
            CU_FAIL("no draw gives this answer");
            return;
        }
        first = first == -2 ? found : first;
        others = others || found != first;
    }
    CU_ASSERT(others);
}
