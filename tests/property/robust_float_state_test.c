/* A library that flushes denormals or rounds elsewhere, loaded into the same process, changes no
 * bit of an EXACT operation, and finds its own setting again. */
#include "test_support.h"

#include <consilium/float_state.h>
#include <consilium/kernels.h>
#include <consilium/robust.h>

#include <fenv.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { ROWS = 9, COUNT = 20011, FLUSH_TO_ZERO = 0x8040 };

/* Denormals, their neighbours and ordinary numbers. */
static void fill_rows(float *rows)
{
    for (size_t k = 0; k < (size_t)ROWS * COUNT; k++) {
        uint32_t bits = (uint32_t)csl_test_random();
        bits &= k % 3 ? 0x80ffffffu : 0xbfffffffu;
        memcpy(&rows[k], &bits, sizeof bits);
    }
}

typedef struct answers {
    float mean[COUNT];
    float median[COUNT];
    float mixed[2][COUNT];
    float deviation[COUNT];
    float aggregate[COUNT];
    csl_exact_sum norms[ROWS];
    csl_exact_sum distances[ROWS * (ROWS - 1) / 2];
} answers;

static void ask(csl_device *device, const float *const *rows, answers *a)
{
    const csl_kernels *ops = csl_device_kernels(device);
    csl_select_spec median = {.kind = CSL_SELECT_MEDIAN};
    double weights[2 * ROWS];
    float *mixed[] = {a->mixed[0], a->mixed[1]};
    for (int k = 0; k < 2 * ROWS; k++) {
        weights[k] = 0.0625 * (1 + k); /* exact: this line too runs in the changed state */
    }
    memset(a, 0, sizeof *a);
    CHECK_OK(ops->row_mean(device, rows, ROWS, COUNT, a->mean, NULL));
    CHECK_OK(ops->row_select(device, &median, rows, ROWS, COUNT, a->median));
    CHECK_OK(ops->row_mix(device, rows, ROWS, weights, 2, COUNT, mixed));
    csl_column_statistics statistics = {.deviation = a->deviation};
    CHECK_OK(ops->row_statistics(device, rows, ROWS, COUNT, &statistics));
    csl_row_geometry geometry = {.norms = a->norms, .distances = a->distances};
    CHECK_OK(ops->row_geometry(device, rows, ROWS, COUNT, &geometry));
    csl_aggregate_spec spec;
    csl_aggregate_spec_init(&spec);
    snprintf(spec.rule, sizeof spec.rule, "geometric-median");
    spec.f = 2;
    csl_aggregate_input input = {.device = device,
                                 .row_count = ROWS,
                                 .column_count = COUNT,
                                 .column_total = COUNT,
                                 .rows = rows};
    csl_aggregate_report *report = NULL;
    CHECK_OK(csl_aggregate(&spec, &input, a->aggregate, &report));
    csl_aggregate_report_destroy(report);
}

/* threads: their first work comes in the changed state, which threads inherit. */
static void check_state(unsigned state, int rounding, uint32_t threads, bool changed_first)
{
    answers *plain = malloc(sizeof *plain);
    answers *changed = malloc(sizeof *changed);
    float *values = malloc((size_t)ROWS * COUNT * sizeof *values);
    const float *rows[ROWS];
    csl_device *device = NULL;
    fill_rows(values);
    for (int i = 0; i < ROWS; i++) {
        rows[i] = values + (size_t)i * COUNT;
    }
    CHECK_OK(csl_device_open("host", threads, &device));
    for (int turn = 0; turn < 2; turn++) {
        if ((turn == 0) != changed_first) {
            ask(device, rows, plain);
            continue;
        }
        CU_ASSERT(fesetround(rounding) == 0);
#if defined(__x86_64__)
        _mm_setcsr(_mm_getcsr() | state);
        unsigned before = _mm_getcsr();
#else
        (void)state;
#endif
        ask(device, rows, changed);
#if defined(__x86_64__)
        CHECK_U64(_mm_getcsr(), before);
        _mm_setcsr(0x1f80);
#endif
        CU_ASSERT(fegetround() == rounding || state == FLUSH_TO_ZERO);
        CU_ASSERT(fesetround(FE_TONEAREST) == 0);
    }
    CU_ASSERT(memcmp(plain, changed, sizeof *plain) == 0);
    csl_device_close(device);
    free(values);
    free(plain);
    free(changed);
}

static void flushed_denormals_elsewhere_change_nothing(void)
{
    check_state(FLUSH_TO_ZERO, FE_TONEAREST, 3, true);
    check_state(FLUSH_TO_ZERO, FE_TONEAREST, 1, false);
}

static void another_rounding_elsewhere_changes_nothing(void)
{
    check_state(0, FE_UPWARD, 3, true);
    check_state(0, FE_TOWARDZERO, 1, false);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"flushed denormals elsewhere change nothing", flushed_denormals_elsewhere_change_nothing},
        {"another rounding elsewhere changes nothing", another_rounding_elsewhere_changes_nothing},
    };
    return csl_test_main("floating-point state", cases, sizeof cases / sizeof *cases);
}
