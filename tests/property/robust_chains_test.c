/* Chains of pre-aggregators before every rule, with a large common part and rows far out, against
 * float64 vectors; rows so long that float64 itself has few digits left; ties after clipping. */
#include "council.h"
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 400, PERTURBED = 24 };

static uint32_t below(uint32_t bound)
{
    return (uint32_t)(csl_test_random() % bound);
}

static double *copy_rows(const council *c)
{
    double *copy = malloc(c->n * c->d * sizeof *copy);
    for (size_t v = 0; v < c->n * c->d; v++) {
        copy[v] = (double)c->x[v];
    }
    return copy;
}

/* Honest rows share a part of 0 to 1e4 deviations; the last ones lie about `far` off, together or
 * not. */
static void shift_and_corrupt(council *c, double common, double far, uint32_t hostile)
{
    double *away = calloc(c->d, sizeof *away);
    for (uint32_t i = 0; i < c->n; i++) {
        bool bad = i + hostile >= c->n;
        for (size_t j = 0; j < c->d; j++) {
            float *value = &c->x[i * c->d + j];
            if (bad && (i + hostile == c->n || i % 2)) {
                away[j] = csl_test_normal() / sqrt((double)c->d);
            }
            *value += (float)(common * (j % 3 ? 1 : -0.5) + (bad ? far * away[j] : 0));
        }
    }
    free(away);
}

static bool agrees(double found, double expected, double common)
{
    return isnan(expected) || fabs(found - expected) <= 1e-4 + 1e-6 * (fabs(expected) + common);
}

/* Whether changes of the size of float32's rounding, of whole rows, single values and distances,
 * change the definition's answer: then a choice is too close to call. Either way is about as
 * likely, so some tries tell. */
static bool is_open(const council *c, double common, const double *expected)
{
    double *kept = copy_rows(c);
    bool open = false;
    for (int k = 0; k < PERTURBED && !open; k++) {
        for (uint32_t i = 0; i < c->n; i++) {
            double stretch = 1 + 2e-7 * csl_test_normal();
            for (size_t j = 0; j < c->d; j++) {
                double shared = common * (j % 3 ? 1 : -0.5);
                double own = kept[i * c->d + j] - shared;
                double moved = shared * stretch + own * (1 + 1e-6 * csl_test_normal());
                moved += 0x1p-24 * shared * csl_test_normal();
                c->x[i * c->d + j] = (float)moved;
            }
        }
        double *other = ask_noisy_oracle(c, 0x1p-24);
        for (size_t j = 0; j < c->d; j++) {
            double away = fabs(other[j] - expected[j]);
            open = open || away > 1e-4 + 3e-6 * fabs(common) + 3e-6 * fabs(expected[j]);
        }
        free(other);
    }
    for (size_t v = 0; v < c->n * c->d; v++) {
        c->x[v] = (float)kept[v];
    }
    free(kept);
    return open;
}

static void chains_before_every_rule_are_their_definition(void)
{
    static const char *const rules[] = {"mean",
                                        "weighted-mean",
                                        "median",
                                        "trimmed-mean",
                                        "meamed",
                                        "phocas",
                                        "krum",
                                        "multi-krum",
                                        "bulyan",
                                        "mda",
                                        "geometric-median",
                                        "monna",
                                        "centered-clipping",
                                        "cge"};
    static const char *const pres[] = {"nnm", "clipping", "arc"};
    uint32_t open = 0;
    for (int run = 0; run < RUNS; run++) {
        const char *rule = rules[run % 14];
        char chain[64] = "";
        uint32_t length = 1 + below(3);
        for (uint32_t k = 0; k < length; k++) {
            snprintf(chain + strlen(chain), sizeof chain - strlen(chain), "%s%s", k ? "," : "",
                     pres[below(strcmp(rule, "weighted-mean") == 0 ? 2 : 3) % 3]);
        }
        uint32_t n = 7 + below(4);
        /* Behind nnm two halves may be one point each: then any point between is a median. */
        n |= strcmp(rule, "geometric-median") == 0;
        int64_t most = most_faults(rule, chain, n);
        if (most < 0) {
            continue; /* weights behind nnm */
        }
        uint32_t f = below((uint32_t)most + 1);
        /* With one column shortened rows are all the same, but for float64's rounding. */
        council c = make_council(rule, chain, f, n, 2 + below(80));
        double common = run % 3 ? pow(10, 4 * csl_test_uniform()) : 0;
        shift_and_corrupt(&c, common, pow(10, 1 + 17 * csl_test_uniform()), f);
        double *expected = ask_oracle(&c);
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        bool same = true;
        size_t first = 0;
        for (size_t j = c.d; j-- > 0;) {
            first = agrees((double)c.out[j], expected[j], common) ? first : j;
            same = same && agrees((double)c.out[j], expected[j], common);
        }
        if (!same && is_open(&c, common, expected)) {
            open++;
        } else if (!same) {
            say_council(&c, chain);
            printf("run %d, common %g: column %zu is %.9g, expected %.9g\n", run, common, first,
                   (double)c.out[first], expected[first]);
            CU_FAIL("a chain is not its definition");
        }
        csl_aggregate_report_destroy(report);
        free(expected);
        free_council(&c);
    }
    printf("%u of %d too close to call\n", open, RUNS);
    CU_ASSERT(open < RUNS / 20);
}

/* f rows of any finite length: measured up to a norm of 2^62 and refused from there on. */
static void finite_rows_never_give_nan(void)
{
    static const double sizes[] = {1e15, 1e19, 1e25, 3e38};
    size_t count = 0;
    const csl_rule_info *rules = csl_rules(&count);
    for (size_t k = 0; k < 8 * count; k++) {
        const char *rule = rules[k / 8].name;
        uint32_t n = 11;
        uint32_t most = (uint32_t)most_faults(rule, "", n);
        uint32_t f = most < 5 ? most : 5;
        council c = make_council(rule, "", f, n, 37);
        double size = sizes[k % 4];
        uint32_t hostile = f > 0 ? f : 1;
        for (uint32_t i = n - hostile; i < n; i++) {
            for (size_t j = 0; j < c.d; j++) {
                double sign = k % 8 < 4 ? 1 : csl_test_random() % 2 ? 1 : -1;
                c.x[i * c.d + j] = (float)(sign * size);
            }
        }
        csl_aggregate_report *report = NULL;
        csl_status status = decide(&c, &report);
        if (size >= 1e19 && f < hostile) {
            CHECK_STATUS(status, CSL_E_NO_QUORUM);
            free_council(&c);
            continue;
        }
        CHECK_OK(status);
        bool finite = true;
        for (size_t j = 0; j < c.d; j++) {
            finite = finite && isfinite(c.out[j]);
        }
        if (!finite) {
            say_council(&c, "not finite");
        }
        CU_ASSERT(finite);
        CHECK_U64(report->refused_count, size >= 1e19 ? hostile : 0);
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
}

/* sum |x_i - z| - |x_i - x_0|: the objective without the part that hides everything else. */
static double objective(const council *c, const double *at)
{
    double sum = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        double there = 0;
        double here = 0;
        double change = 0;
        for (size_t j = 0; j < c->d; j++) {
            double own = (double)c->x[i * c->d + j] - (double)c->x[j];
            double moved = at[j] - (double)c->x[j];
            there += (own - moved) * (own - moved);
            here += own * own;
            change += moved * (moved - 2 * own);
        }
        double both = sqrt(there) + sqrt(here);
        sum += both > 0 ? change / both : 0;
    }
    return sum;
}

/* Where the minimum is flat, iterations end apart: then by objective. */
static void check_median(council *c, const char *what)
{
    double *expected = ask_oracle(c);
    double *found = calloc(c->d + 1, sizeof *found);
    CHECK_OK(decide(c, NULL));
    double most = 0;
    for (size_t j = 0; j < c->d; j++) {
        found[j] = (double)c->out[j];
        most = fmax(most, fabs(found[j] - expected[j]) / (1 + fabs(expected[j])));
    }
    double worse = objective(c, found) - objective(c, expected);
    if (most > 1e-4 && worse > 1e-5) {
        say_council(c, what);
        printf("%g away, objective %g larger\n", most, worse);
        CU_FAIL("not the geometric median");
    }
    free(expected);
    free(found);
}

/* The objective of rows at 1e18 has no digit of what tells good iterates from bad ones. */
static void the_geometric_median_stands_rows_at_1e18(void)
{
    for (int run = 0; run < 40; run++) {
        uint32_t n = 5 + below(8);
        council c = make_council("geometric-median", "", (n - 1) / 2, n, 2 + below(60));
        shift_and_corrupt(&c, run % 2 ? 100 : 0, pow(10, 10 + run % 9), c.spec.f);
        check_median(&c, "far rows");
        free_council(&c);
    }
}

/* Five rows at one place, and six whose pull on it is only just stronger than the five: the median
 * lies beside it, and plain Weiszfeld takes tens of thousands of steps on the last stretch. */
static void rows_at_one_place_cost_few_steps(void)
{
    for (int run = 0; run < 40; run++) {
        council c = make_council("geometric-median", "", 5, 11, 7);
        double stronger = 1 + pow(10, -1 - 3 * csl_test_uniform());
        double along = 5.0 / 6 * stronger;
        for (uint32_t i = 0; i < 11; i++) {
            double across = i < 5 ? 0 : (i % 2 ? 1 : -1) * sqrt(1 - along * along);
            for (size_t j = 0; j < c.d; j++) {
                double own = j == 0 && i >= 5 ? along : 0;
                own += j == 1 + (i - 5) / 2 ? across : 0;
                c.x[i * c.d + j] = (float)own;
            }
        }
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        CU_ASSERT(report->iterations < 60);
        csl_aggregate_report_destroy(report);
        check_median(&c, "rows at one place");
        free_council(&c);
    }
}

/* Iterates on a row that is no minimum: Weiszfeld's step is not defined there. One row is placed
 * on the mean of all, another on a corner. */
static void iterates_on_a_row_go_on(void)
{
    for (int run = 0; run < 24; run++) {
        council c = make_council("geometric-median", "", 2, 5, 3);
        set_parameter(&c, "nu", run % 3 ? 1e-6 : 0);
        double far = run % 2 ? 4 : 4194304;
        for (size_t j = 0; j < c.d; j++) {
            double sum = 0;
            for (uint32_t i = 0; i < 3; i++) {
                c.x[i * c.d + j] = (float)(4 * (double)below(8));
                sum += (double)c.x[i * c.d + j];
            }
            c.x[3 * c.d + j] = (float)(far * (1 + below(4)));
            c.x[4 * c.d + j] = (float)((sum + (double)c.x[3 * c.d + j]) / 4);
        }
        check_median(&c, "a row on the mean");
        free_council(&c);
    }
}

/* Behind ARC the rows that were shortened and the one that gave the norm are equally long: of
 * these CGE drops the last ones in order. */
static void rows_shortened_to_one_norm_tie(void)
{
    for (int run = 0; run < 60; run++) {
        council c = make_council("cge", run % 2 ? "arc" : "arc,arc", 2, 9, 1 + below(4000));
        for (size_t v = 0; v < c.n * c.d; v++) {
            c.x[v] *= (float)(1 + (v / c.d * 5) % 9);
        }
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        double longest = 0;
        for (uint32_t i = 0; i < c.n; i++) {
            longest = fmax(longest, report->rows[i].score);
        }
        uint32_t tied = 0;
        uint32_t last = 0;
        uint32_t before = 0;
        for (uint32_t i = 0; i < c.n; i++) {
            if (report->rows[i].score == longest) {
                tied++;
                before = last;
                last = i;
            }
        }
        CHECK_U64(tied, 4); /* floor(2 f (n-f) / n) = 3 and the next */
        CU_ASSERT(report->rows[last].verdict == CSL_ROW_DROPPED);
        CU_ASSERT(report->rows[before].verdict == CSL_ROW_DROPPED);
        CHECK_U64(report->dropped_count, 2);
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
}

/* Two rows of one bucket that nearly cancel: what is left of them is beyond what can be measured,
 * and must not pass for a row near the others. */
static void rows_that_cancel_do_not_seem_near(void)
{
    for (int run = 0; run < 60; run++) {
        council c = make_council("krum", "bucketing", 2, 16, 20);
        double far = pow(10, 8 + 8 * csl_test_uniform());
        for (size_t j = 0; j < c.d; j++) {
            double away = far * csl_test_normal();
            c.x[14 * c.d + j] = (float)away;
            c.x[15 * c.d + j] = (float)(-away + far * 1e-6 * csl_test_normal());
        }
        CHECK_OK(decide(&c, NULL));
        for (size_t j = 0; j < c.d; j++) {
            CU_ASSERT(fabs((double)c.out[j]) < 10);
        }
        free_council(&c);
    }
}

/* Rows that share ten thousand deviations, some of them ten times as long, cut to the
 * norm of the others: what tells them apart is next to nothing of their norms and first distances.
 */
static void shortened_rows_keep_what_tells_them_apart(void)
{
    static const char *const rules[] = {"krum", "multi-krum", "mda", "monna"};
    static const char *const pres[] = {"arc", "clipping", "clipping,arc"};
    for (int run = 0; run < CSL_TEST_REPEATS(45); run++) {
        council c = make_council(rules[run % 4], pres[run % 3], 2, 12, 300);
        for (size_t v = 0; v < c.n * c.d; v++) {
            double value = (double)c.x[v] + 1e4 * (v % c.d % 3 ? 1 : -1);
            c.x[v] = (float)(v / c.d % 5 == 1 ? 10 * value : value);
        }
        double *expected = ask_oracle(&c);
        CHECK_OK(decide(&c, NULL));
        for (size_t j = 0; j < c.d; j++) {
            double size = fabs(expected[j]);
            CHECK_NEAR((double)c.out[j], expected[j], 1e-3 + 2e-7 * size);
        }
        free(expected);
        free_council(&c);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"chains before every rule are their definition",
         chains_before_every_rule_are_their_definition},
        {"finite rows never give NaN", finite_rows_never_give_nan},
        {"the geometric median stands rows at 1e18", the_geometric_median_stands_rows_at_1e18},
        {"rows at one place cost few steps", rows_at_one_place_cost_few_steps},
        {"iterates on a row go on", iterates_on_a_row_go_on},
        {"rows shortened to one norm tie", rows_shortened_to_one_norm_tie},
        {"rows that cancel do not seem near", rows_that_cancel_do_not_seem_near},
        {"shortened rows keep what tells them apart", shortened_rows_keep_what_tells_them_apart},
    };
    return csl_test_main("robust chains", cases, sizeof cases / sizeof *cases);
}
