/* Attacks on updates against float64 oracles written from their definitions. */
#include "attack_problem.h"
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* float64 statistics of the honest rows; each [d]. */
typedef struct statistics {
    double *mean;
    double *deviation;
} statistics;

static double honest_value(const problem *p, uint32_t i, size_t j)
{
    return (double)p->x[p->honest[i] * p->d + j];
}

static statistics measure(const problem *p)
{
    uint32_t h = p->n - p->m;
    statistics s = {calloc(p->d, sizeof(double)), calloc(p->d, sizeof(double))};
    for (size_t j = 0; j < p->d; j++) {
        for (uint32_t i = 0; i < h; i++) {
            s.mean[j] += honest_value(p, i, j) / h;
        }
        for (uint32_t i = 0; i < h; i++) {
            s.deviation[j] += pow(honest_value(p, i, j) - s.mean[j], 2);
        }
        s.deviation[j] = h > 1 ? sqrt(s.deviation[j] / (h - 1)) : 0;
    }
    return s;
}

static void free_statistics(statistics *s)
{
    free(s->mean);
    free(s->deviation);
}

/* expected [d] of every hostile row; or of row k if k >= 0. */
static void check_rows(const problem *p, const double *expected, int k)
{
    for (uint32_t row = 0; row < p->m; row++) {
        for (size_t j = 0; j < p->d && (k < 0 || (uint32_t)k == row); j++) {
            double value = (double)p->out[row * p->d + j];
            if (!(fabs(value - expected[j]) <= 1e-5 * (1 + fabs(expected[j])))) {
                printf("%s: n %u, m %u, d %zu, row %u, column %zu: %.9g, expected %.9g\n",
                       p->spec.attack, p->n, p->m, p->d, row, j, value, expected[j]);
                CU_FAIL("a hostile row differs");
                return;
            }
        }
    }
}

static void multiples_of_mean_and_deviation_are_their_formulas(void)
{
    /* a mu + b sigma */
    static const struct {
        const char *attack;
        const char *parameter;
        double value;
        double a;
        double b;
    } cases[] = {{"sign-flip", NULL, 0, -1, 0}, {"sign-flip", "factor", 2.5, -2.5, 0},
                 {"ipm", NULL, 0, -2, 0},       {"ipm", "factor", 0.1, -0.1, 0},
                 {"alie", NULL, 0, 1, 1.5},     {"alie", "z", -0.3, 1, -0.3},
                 {"zero", NULL, 0, 0, 0}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        problem p = any_problem(cases[c].attack);
        if (cases[c].parameter) {
            set(&p, cases[c].parameter, cases[c].value);
        }
        statistics s = measure(&p);
        CHECK_OK(attack(&p));
        for (size_t j = 0; j < p.d; j++) {
            s.mean[j] = cases[c].a * s.mean[j] + cases[c].b * s.deviation[j];
        }
        check_rows(&p, s.mean, -1);
        free_statistics(&s);
        free_problem(&p);
    }
}

static void own_updates_are_multiplied(void)
{
    for (int c = 0; c < 4; c++) {
        problem p = any_problem(c == 0 ? "sign-flip" : c == 3 ? "free-rider" : "scaling");
        double factor = c == 0 ? -1 : c == 1 ? p.n : c == 2 ? -3.5 : 1;
        if (c == 0) {
            set(&p, "own", 1);
        } else if (c == 2) {
            set(&p, "factor", factor);
        }
        CHECK_OK(attack(&p));
        double *expected = malloc(p.d * sizeof *expected);
        for (uint32_t k = 0; k < p.m; k++) {
            const float *source = c == 3 ? p.previous : p.x + p.hostile[k] * p.d;
            for (size_t j = 0; j < p.d; j++) {
                expected[j] = factor * (double)source[j];
            }
            check_rows(&p, expected, (int)k);
        }
        free(expected);
        free_problem(&p);
    }
}

static void values_that_are_not_finite_are_sent_as_such(void)
{
    problem p = any_problem("infinity");
    CHECK_OK(attack(&p));
    for (size_t j = 0; j < p.m * p.d; j++) {
        CU_ASSERT(isinf(p.out[j]) && p.out[j] > 0);
    }
    free_problem(&p);
    p = any_problem("nan");
    CHECK_OK(attack(&p));
    for (size_t j = 0; j < p.m * p.d; j++) {
        CU_ASSERT(isnan(p.out[j]));
    }
    free_problem(&p);
}

/* z_max by bisection on the C library's error function. */
static void the_paper_s_z_is_the_normal_quantile(void)
{
    for (int repeat = 0; repeat < 200; repeat++) {
        uint32_t n = 3 + below(1000);
        uint32_t m = 1 + below(n / 2 + 1);
        double h = (double)n - m;
        uint32_t majority = n / 2 + 1;
        double s = (double)majority - m;
        double z = -1;
        if (s < 1 || 2 * s >= h) {
            CHECK_STATUS(csl_alie_z(n, m, &z), CSL_E_RANGE);
            continue;
        }
        double low = 0;
        double high = 10;
        for (int step = 0; step < 80; step++) {
            double middle = (low + high) / 2;
            bool beneath = 0.5 * erfc(middle / sqrt(2)) > s / h; /* 1 - Phi = s / h */
            low = beneath ? middle : low;
            high = beneath ? high : middle;
        }
        CHECK_OK(csl_alie_z(n, m, &z));
        CHECK_NEAR(z, low, 1e-12 * (1 + low));
    }
    problem p = make_problem("alie", 24, 5, 300); /* h 19, s 8: the example of the paper's table */
    set(&p, "z", 0);
    statistics statistics_of = measure(&p);
    CHECK_OK(attack(&p));
    double z = 0;
    CHECK_OK(csl_alie_z(24, 5, &z));
    for (size_t j = 0; j < p.d; j++) {
        statistics_of.mean[j] += z * statistics_of.deviation[j];
    }
    check_rows(&p, statistics_of.mean, -1);
    free_statistics(&statistics_of);
    free_problem(&p);
}

static double distance(const problem *p, uint32_t i, uint32_t j)
{
    double sum = 0;
    for (size_t c = 0; c < p->d; c++) {
        sum += pow(honest_value(p, i, c) - honest_value(p, j, c), 2);
    }
    return sum;
}

/* What the constraint compares, at mu - g p: largest distance, or the sum of all. */
static double
constraint(const problem *p, const statistics *s, const double *push, double g, bool all)
{
    double worst = 0;
    double total = 0;
    for (uint32_t i = 0; i < p->n - p->m; i++) {
        double sum = 0;
        for (size_t j = 0; j < p->d; j++) {
            sum += pow(s->mean[j] - g * push[j] - honest_value(p, i, j), 2);
        }
        worst = fmax(worst, sum);
        total += sum;
    }
    return all ? total : worst;
}

static double bound_of(const problem *p, bool all)
{
    double worst = 0;
    for (uint32_t i = 0; i < p->n - p->m; i++) {
        double total = 0;
        for (uint32_t j = 0; j < p->n - p->m; j++) {
            double one = distance(p, i, j);
            total += one;
            worst = all ? worst : fmax(worst, one);
        }
        worst = all ? fmax(worst, total) : worst;
    }
    return worst;
}

static void check_pushed(const char *name, int direction)
{
    problem p = make_problem(name, 5 + below(8), 1 + below(2), 1 + below(900));
    bool all = strcmp(name, "min-sum") == 0;
    set(&p, "direction", direction);
    statistics s = measure(&p);
    double *push = malloc(p.d * sizeof *push);
    double length = 0;
    for (size_t j = 0; j < p.d; j++) {
        length += s.mean[j] * s.mean[j];
    }
    for (size_t j = 0; j < p.d; j++) {
        push[j] = direction == 0   ? s.deviation[j]
                  : direction == 1 ? (s.mean[j] > 0) - (s.mean[j] < 0)
                                   : s.mean[j] / sqrt(length);
    }
    double bound = bound_of(&p, all);
    double low = 0;
    double high = 1;
    while (constraint(&p, &s, push, high, all) <= bound) {
        high *= 2;
    }
    for (int step = 0; step < 60; step++) {
        double middle = (low + high) / 2;
        bool inside = constraint(&p, &s, push, middle, all) <= bound;
        low = inside ? middle : low;
        high = inside ? high : middle;
    }
    CHECK_OK(attack(&p));
    CHECK_NEAR(p.report.factor, low, 1e-4 * low);
    for (size_t j = 0; j < p.d; j++) {
        s.mean[j] -= p.report.factor * push[j];
    }
    check_rows(&p, s.mean, -1);
    free(push);
    free_statistics(&s);
    free_problem(&p);
}

static void min_max_and_min_sum_go_as_far_as_their_bound(void)
{
    for (int direction = 0; direction < 3; direction++) {
        check_pushed("min-max", direction);
        check_pushed("min-sum", direction);
    }
    /* Equal honest rows leave no room at all. */
    problem p = make_problem("min-max", 6, 2, 50);
    for (uint32_t i = 1; i < p.n; i++) {
        memcpy(p.x + i * p.d, p.x, p.d * sizeof *p.x);
    }
    CHECK_OK(attack(&p));
    CU_ASSERT(memcmp(p.out, p.x, p.d * sizeof *p.x) == 0);
    free_problem(&p);
}

/* The row with the largest projection on the first principal component, by power iteration. */
static uint32_t outermost(const problem *p, const statistics *s)
{
    double *v = malloc(p->d * sizeof *v);
    double along[64];
    uint32_t h = p->n - p->m;
    for (size_t j = 0; j < p->d; j++) {
        v[j] = csl_test_normal();
    }
    for (int step = 0; step < 3000; step++) {
        for (uint32_t i = 0; i < h; i++) {
            along[i] = 0;
            for (size_t j = 0; j < p->d; j++) {
                along[i] += (honest_value(p, i, j) - s->mean[j]) * v[j];
            }
        }
        double norm = 0;
        for (size_t j = 0; j < p->d; j++) {
            v[j] = 0;
            for (uint32_t i = 0; i < h; i++) {
                v[j] += (honest_value(p, i, j) - s->mean[j]) * along[i];
            }
            norm += v[j] * v[j];
        }
        for (size_t j = 0; j < p->d; j++) {
            v[j] /= sqrt(norm);
        }
    }
    uint32_t best = 0;
    for (uint32_t i = 1; i < h; i++) {
        best = fabs(along[i]) > fabs(along[best]) ? i : best;
    }
    free(v);
    return best;
}

static void mimics_copy_one_honest_update(void)
{
    for (int target = -1; target < 3; target++) {
        problem p = make_problem("mimic", 9, 2, 60);
        set(&p, "target", target);
        statistics s = measure(&p);
        /* One direction with clearly the largest variance, one row clearly the furthest along it.
         */
        for (uint32_t i = 0; i < 7; i++) {
            for (size_t j = 0; j < p.d; j++) {
                float step = (float)((i == 4 ? 9.0 : (double)i - 3) * cos((double)j));
                p.x[p.honest[i] * p.d + j] += 2 * step;
            }
        }
        free_statistics(&s);
        s = measure(&p);
        CHECK_OK(attack(&p));
        uint32_t copied = target < 0 ? outermost(&p, &s) : (uint32_t)target;
        for (uint32_t k = 0; k < p.m; k++) {
            CU_ASSERT(memcmp(p.out + k * p.d, p.x + p.honest[copied] * p.d, p.d * sizeof *p.x) ==
                      0);
        }
        free_statistics(&s);
        free_problem(&p);
    }
}

/* Each round the honest rows differ most in a fresh direction; what lasts shows in the sums only.
 */
static void mimics_copy_the_same_one_after_the_warm_up(void)
{
    enum { WARMUP = 6 };
    problem p = make_problem("mimic", 9, 2, 80);
    problem sums = make_problem("mimic", 9, 2, 80); /* the oracle's memory, in its rows */
    memcpy(sums.honest, p.honest, sizeof sums.honest);
    memset(sums.x, 0, sums.n * sums.d * sizeof *sums.x);
    p.kept = calloc(p.n * p.d, sizeof *p.kept);
    set(&p, "warmup", WARMUP);
    uint32_t fixed = 99;
    for (p.round = 1; p.round <= WARMUP + 4; p.round++) {
        for (uint32_t i = 0; i < 7; i++) {
            double lasting = i == 4 ? 4 : 0.1 * i;
            double passing = 8 * csl_test_normal();
            for (size_t j = 0; j < p.d; j++) {
                double fresh = passing * cos((double)(j * (p.round + 1)));
                size_t at = p.honest[i] * p.d + j;
                p.x[at] = (float)(lasting * (j % 2 ? 1 : -1) + fresh + csl_test_normal());
                sums.x[at] += p.round <= WARMUP ? p.x[at] : 0;
            }
        }
        CHECK_OK(attack(&p));
        statistics s = measure(&sums);
        uint32_t copied = outermost(&sums, &s);
        for (uint32_t k = 0; k < p.m; k++) {
            CU_ASSERT(memcmp(p.out + k * p.d, p.x + p.honest[copied] * p.d, p.d * sizeof *p.x) ==
                      0);
        }
        CU_ASSERT(p.round <= WARMUP || copied == fixed);
        fixed = p.round == WARMUP ? copied : fixed;
        free_statistics(&s);
    }
    free(p.kept);
    free_problem(&p);
    free_problem(&sums);
}

static void noise_has_its_moments_and_depends_on_the_sender(void)
{
    for (int kind = 0; kind < 2; kind++) {
        problem p = make_problem(kind ? "random" : "gaussian", 5, 2, 60000);
        double mean = kind ? 0 : 0.25;
        double deviation = kind ? 3 / sqrt(3) : 2;
        set(&p, kind ? "range" : "mean", kind ? 3 : mean);
        if (!kind) {
            set(&p, "deviation", deviation);
        }
        CHECK_OK(attack(&p));
        double sum = 0;
        double squares = 0;
        for (size_t j = 0; j < p.d; j++) {
            sum += (double)p.out[j];
            squares += pow((double)p.out[j] - mean, 2);
        }
        double count = (double)p.d;
        CHECK_NEAR(sum / count, mean, 5 * deviation / sqrt(count));
        CHECK_NEAR(sqrt(squares / count), deviation, 5 * deviation / sqrt(count));
        CU_ASSERT(memcmp(p.out, p.out + p.d, p.d * sizeof *p.out) != 0);
        set(&p, "shared", 1);
        CHECK_OK(attack(&p));
        CU_ASSERT(memcmp(p.out, p.out + p.d, p.d * sizeof *p.out) == 0);
        float first = p.out[0];
        p.spec.seed++;
        CHECK_OK(attack(&p));
        CU_ASSERT(p.out[0] != first);
        free_problem(&p);
    }
    problem p = make_problem("free-rider", 5, 1, 40000);
    set(&p, "deviation", 0.5);
    CHECK_OK(attack(&p));
    double squares = 0;
    for (size_t j = 0; j < p.d; j++) {
        squares += pow((double)p.out[j] - (double)p.previous[j], 2);
    }
    CHECK_NEAR(sqrt(squares / (double)p.d), 0.5, 5 * 0.5 / 200);
    free_problem(&p);
}

static void fang_trim_stays_just_beyond_the_extremes(void)
{
    problem p = any_problem("fang-trim");
    double spread = 1.5;
    set(&p, "spread", spread);
    statistics s = measure(&p);
    CHECK_OK(attack(&p));
    for (size_t j = 0; j < p.d; j++) {
        double extreme[2] = {INFINITY, -INFINITY};
        for (uint32_t i = 0; i < p.n - p.m; i++) {
            extreme[0] = fmin(extreme[0], honest_value(&p, i, j));
            extreme[1] = fmax(extreme[1], honest_value(&p, i, j));
        }
        bool above = s.mean[j] < 0;
        double near = extreme[above];
        double far = above == (near > 0) ? near * spread : near / spread;
        bool known = fabs(s.mean[j]) > 1e-6;
        for (uint32_t k = 0; k < p.m && known; k++) {
            double value = (double)p.out[k * p.d + j];
            double slack = 1e-6 * (1 + fabs(near));
            CU_ASSERT(value >= fmin(near, far) - slack && value <= fmax(near, far) + slack);
        }
    }
    free_statistics(&s);
    free_problem(&p);
}

/* The aggregate of the rows as sent, hostile rows replaced; and whether Krum took a hostile one. */
static csl_status
aggregate(const problem *p, const float *sent, float *out, csl_aggregate_report **report_out)
{
    csl_device *device = NULL;
    CHECK_OK(csl_device_open("host", 1, &device));
    const float *rows[64];
    for (uint32_t i = 0; i < p->n; i++) {
        rows[i] = p->x + i * p->d;
    }
    for (uint32_t k = 0; k < p->m; k++) {
        rows[p->hostile[k]] = sent;
    }
    csl_aggregate_input input = {.device = device,
                                 .row_count = p->n,
                                 .column_count = p->d,
                                 .column_total = p->d,
                                 .rows = rows};
    csl_status status = csl_aggregate(&p->rule, &input, out, report_out);
    csl_device_close(device);
    return status;
}

static bool krum_takes(const problem *p, const float *sent)
{
    CU_ASSERT_FATAL(p->d > 0);
    float *out = malloc(p->d * sizeof *out);
    csl_aggregate_report *report = NULL;
    CHECK_OK(aggregate(p, sent, out, &report));
    bool hostile = report->rows[p->hostile[0]].weight > 0;
    for (uint32_t k = 1; k < p->m; k++) {
        hostile = hostile || report->rows[p->hostile[k]].weight > 0;
    }
    csl_aggregate_report_destroy(report);
    free(out);
    return hostile;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* All hostile values lie beyond one end, so they are what is trimmed there, and as many honest ones
 * go at the other: what is left is the mean of the h - m honest values nearest to the hostile ones.
 */
static void fang_trim_leaves_the_trimmed_mean_one_end(void)
{
    for (int repeat = 0; repeat < 20; repeat++) {
        uint32_t m = 1 + below(3);
        problem p = make_problem("fang-trim", 2 * m + 1 + below(6), m, 3 + below(100));
        snprintf(p.rule.rule, sizeof p.rule.rule, "trimmed-mean");
        p.rule.f = m;
        CHECK_OK(attack(&p));
        statistics s = measure(&p);
        float *out = malloc(p.d * sizeof *out);
        CHECK_OK(aggregate(&p, p.out, out, NULL));
        uint32_t h = p.n - m;
        for (size_t j = 0; j < p.d; j++) {
            double values[CSL_ROWS_MAX];
            double sum = 0;
            for (uint32_t i = 0; i < h; i++) {
                values[i] = honest_value(&p, i, j);
            }
            qsort(values, h, sizeof *values, compare_doubles);
            for (uint32_t k = 0; k < h - m; k++) {
                sum += values[s.mean[j] > 0 ? k : h - 1 - k];
            }
            double away = fabs((double)out[j] - sum / (h - m));
            CU_ASSERT(fabs(s.mean[j]) < 1e-6 || away <= 1e-5 * (1 + fabs(values[0])));
        }
        free(out);
        free_statistics(&s);
        free_problem(&p);
    }
}

static void fang_krum_is_picked_and_twice_as_far_is_not(void)
{
    for (int repeat = 0; repeat < 300; repeat++) {
        uint32_t m = 2 + below(3);
        problem p = make_problem("fang-krum", 2 * m + 3 + below(6), m, 3 + below(100));
        snprintf(p.rule.rule, sizeof p.rule.rule, "krum");
        CHECK_OK(attack(&p));
        statistics s = measure(&p);
        for (size_t j = 0; j < p.d; j++) {
            s.mean[j] = -p.report.factor * ((s.mean[j] > 0) - (s.mean[j] < 0));
        }
        check_rows(&p, s.mean, -1);
        if (p.report.factor >= 1e-5) {
            CU_ASSERT(krum_takes(&p, p.out));
            CU_ASSERT_FATAL(p.d > 0);
            float *twice = malloc(p.d * sizeof *twice);
            for (size_t j = 0; j < p.d; j++) {
                twice[j] = 2 * p.out[j];
            }
            CU_ASSERT(p.report.evaluations == 0 || !krum_takes(&p, twice));
            free(twice);
        }
        free_statistics(&s);
        free_problem(&p);
    }
}

static double deviation_of(const problem *p, const statistics *s, const float *sent)
{
    float *out = malloc(p->d * sizeof *out);
    double sum = 0;
    CHECK_OK(aggregate(p, sent, out, NULL));
    for (size_t j = 0; j < p->d; j++) {
        sum += pow((double)out[j] - s->mean[j], 2);
    }
    free(out);
    return sqrt(sum);
}

/* The search against a scan of 400 factors; it may miss a narrow peak, not a broad one. */
static void optimal_attacks_move_the_rule_about_as_far_as_a_scan(void)
{
    static const char *const rules[] = {"median", "trimmed-mean", "multi-krum", "geometric-median",
                                        "centered-clipping"};
    for (int c = 0; c < 10; c++) {
        bool ipm = c % 2 == 0;
        problem p = make_problem(ipm ? "optimal-ipm" : "optimal-alie", 11, 3, 200);
        snprintf(p.rule.rule, sizeof p.rule.rule, "%s", rules[c / 2]);
        statistics s = measure(&p);
        CHECK_OK(attack(&p));
        CHECK_U64(p.report.evaluations, 20);
        CHECK_NEAR(deviation_of(&p, &s, p.out), p.report.deviation,
                   1e-4 * (1 + p.report.deviation));
        double best = 0;
        float *sent = malloc(p.d * sizeof *sent);
        for (int step = 0; step < 400; step++) {
            double factor = step * 0.05;
            for (size_t j = 0; j < p.d; j++) {
                sent[j] = (float)(ipm ? -factor * s.mean[j] : s.mean[j] + factor * s.deviation[j]);
            }
            best = fmax(best, deviation_of(&p, &s, sent));
        }
        if (p.report.deviation < 0.8 * best) {
            printf("%s against %s: %g of %g\n", p.spec.attack, p.rule.rule, p.report.deviation,
                   best);
            CU_FAIL("the search misses the peak");
        }
        free(sent);
        free_statistics(&s);
        free_problem(&p);
    }
    /* Against a plain mean further is better: 11 strides that double, after a scan of 8. */
    problem p = make_problem("optimal-ipm", 7, 2, 50);
    snprintf(p.rule.rule, sizeof p.rule.rule, "mean");
    p.rule.f = 0;
    CHECK_OK(attack(&p));
    CHECK_NEAR(p.report.factor, 10 * (pow(2, 12) - 1), 0);
    free_problem(&p);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"multiples of mean and deviation are their formulas",
         multiples_of_mean_and_deviation_are_their_formulas},
        {"own updates are multiplied", own_updates_are_multiplied},
        {"values that are not finite are sent as such",
         values_that_are_not_finite_are_sent_as_such},
        {"the paper's z is the normal quantile", the_paper_s_z_is_the_normal_quantile},
        {"min-max and min-sum go as far as their bound",
         min_max_and_min_sum_go_as_far_as_their_bound},
        {"mimics copy one honest update", mimics_copy_one_honest_update},
        {"mimics copy the same one after the warm-up", mimics_copy_the_same_one_after_the_warm_up},
        {"noise has its moments and depends on the sender",
         noise_has_its_moments_and_depends_on_the_sender},
        {"fang-trim stays just beyond the extremes", fang_trim_stays_just_beyond_the_extremes},
        {"fang-trim leaves the trimmed mean one end", fang_trim_leaves_the_trimmed_mean_one_end},
        {"fang-krum is picked and twice as far is not",
         fang_krum_is_picked_and_twice_as_far_is_not},
        {"optimal attacks move the rule about as far as a scan",
         optimal_attacks_move_the_rule_about_as_far_as_a_scan},
    };
    return csl_test_main("attacks", cases, sizeof cases / sizeof *cases);
}
