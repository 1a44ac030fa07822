/* Published values, ties, the least and the largest numbers of rows and columns, large common
 * parts, denormals and signed zeros. */
#include "council.h"
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill_row(council *c, uint32_t i, const float *values)
{
    memcpy(c->x + i * c->d, values, c->d * sizeof *values);
}

static void check_constant(council *c, double expected)
{
    CHECK_OK(decide(c, NULL));
    for (size_t j = 0; j < c->d; j++) {
        CHECK_NEAR((double)c->out[j], expected, 1e-6);
    }
}

/* Rows of one value each. */
static council rows_of(const char *rule, uint32_t f, uint32_t n, size_t d, const float *values)
{
    council c = make_council(rule, "", f, n, d);
    for (uint32_t i = 0; i < n; i++) {
        for (size_t j = 0; j < d; j++) {
            c.x[i * d + j] = values[i];
        }
    }
    return c;
}

/* Flower's own tests (framework/py/flwr/server/strategy/{krum,aggregate,bulyan}_test.py). */
static void flower_s_values_stand(void)
{
    council c = rows_of("krum", 1, 3, 4, (const float[]){0.2F, 0.7F, 1.0F});
    CHECK_STATUS(decide(&c, NULL), CSL_E_RANGE); /* the paper needs 2f + 2 < n */
    c.spec.preset = CSL_PRESET_BYZFL;            /* and here one neighbour, as Flower takes */
    check_constant(&c, 0.7);
    free_council(&c);
    c = rows_of("multi-krum", 1, 3, 4, (const float[]){0.2F, 0.5F, 1.0F});
    c.spec.preset = CSL_PRESET_BYZFL;
    set_parameter(&c, "select", 2);
    check_constant(&c, 0.35);
    free_council(&c);
    c = rows_of("trimmed-mean", 1, 4, 1, (const float[]){0.5F, 1, 2, 100});
    check_constant(&c, 1.5);
    free_council(&c);
    static const float trimmed[4][4] = {
        {0.5F, 0.5F, 0.5F, 0.5F}, {1, 0.2F, 0.5F, 1}, {0.2F, 0.5F, 1, 0.2F}, {0.5F, 1, 0.2F, 0.5F}};
    c = make_council("trimmed-mean", "", 1, 4, 4);
    for (uint32_t i = 0; i < 4; i++) {
        fill_row(&c, i, trimmed[i]);
    }
    check_constant(&c, 0.5);
    free_council(&c);
    c = rows_of("meamed", 1, 3, 1, (const float[]){1, 2, 0.5F}); /* the two closest to 1 */
    check_constant(&c, 0.75);
    free_council(&c);
}

/* ByzFL's unit tests use the rows (1 2 3), (4 5 6), (7 8 9) for everything. */
static void byzfl_s_square_stands(void)
{
    static const char *const middle[] = {"mean", "median", "trimmed-mean", "geometric-median"};
    for (size_t k = 0; k < sizeof middle / sizeof *middle; k++) {
        council c = make_council(middle[k], "", k == 0 ? 0 : 1, 3, 3);
        for (int v = 0; v < 9; v++) {
            c.x[v] = (float)(v + 1);
        }
        const double expected[] = {4, 5, 6};
        CHECK_OK(decide(&c, NULL));
        check_close(&c, expected, 1e-5, 0);
        free_council(&c);
    }
}

/* FedSIRA#13: five rows, f = 1, ties go to the lowest index. */
static void equal_krum_scores_go_to_the_lowest_index(void)
{
    council c = make_council("krum", "", 1, 5, 3);
    for (uint32_t i = 0; i < 5; i++) { /* corners at equal distances, and a copy of each */
        for (size_t j = 0; j < 3; j++) {
            c.x[i * 3 + j] = j == i % 2 ? 1.0F : 0.0F;
        }
    }
    c.x[14] = 9; /* the last stands apart: two pairs are left, scores are equal */
    csl_aggregate_report *report = NULL;
    CHECK_OK(decide(&c, &report));
    CU_ASSERT(report->rows[0].weight == 1 && c.out[0] == 1 && c.out[1] == 0);
    csl_aggregate_report_destroy(report);
    free_council(&c);
}

/* Rows of zeros and ones: most distances occur many times, and many rows are the same. */
static void ties_are_broken_as_the_oracle_breaks_them(void)
{
    static const struct {
        const char *rule;
        const char *pre;
    } cases[] = {{"krum", ""},      {"multi-krum", ""}, {"mda", ""},
                 {"monna", ""},     {"cge", ""},        {"mean", "nnm"},
                 {"median", "nnm"}, {"median", ""},     {"trimmed-mean", ""}};
    for (int run = 0; run < 270; run++) {
        int k = run % 9;
        uint32_t n = 5 + (uint32_t)(csl_test_random() % 8);
        int64_t most = most_faults(cases[k].rule, cases[k].pre, n);
        uint32_t f = (uint32_t)(csl_test_random() % (uint64_t)(most + 1));
        council c = make_council(cases[k].rule, cases[k].pre, f, n, 1 + (size_t)(run % 4));
        for (size_t v = 0; v < n * c.d; v++) {
            c.x[v] = (float)(csl_test_random() % 2);
        }
        double *expected = ask_oracle(&c);
        CHECK_OK(decide(&c, NULL));
        check_close(&c, expected, 1e-6, 0);
        free(expected);
        free_council(&c);
    }
}

/* Rows of few values, or in few dimensions: graphs of pairs too far apart with circles, many
 * neighbours, and several parts. */
static void mda_finds_the_first_subset_of_least_diameter(void)
{
    for (int run = 0; run < 120; run++) {
        uint32_t n = 10 + (uint32_t)(csl_test_random() % 7);
        uint32_t f = 1 + (uint32_t)(csl_test_random() % ((n - 1) / 2));
        council c = make_council("mda", "", f, n, 1 + (size_t)(csl_test_random() % 12));
        for (size_t v = 0; run % 3 > 0 && v < n * c.d; v++) {
            c.x[v] = (float)(csl_test_random() % (run % 3 == 1 ? 2 : 4));
        }
        double *expected = ask_oracle(&c);
        CHECK_OK(decide(&c, NULL));
        check_close(&c, expected, 1e-6, 1e-6);
        free(expected);
        free_council(&c);
    }
}

/* Rows that differ by chance, whatever f; f equal ones far away; equal ones as near as honest ones.
 */
static void mda_decides_among_hundreds_of_rows(void)
{
    enum { N = 256, D = 500 };
    static const uint32_t faults[] = {5, 20, 63, 100, 127};
    for (size_t run = 0; run < 15; run++) {
        uint32_t f = faults[run / 3];
        council c = make_council("mda", "", f, N, D);
        for (size_t v = (size_t)(N - f) * D; run % 3 > 0 && v < (size_t)N * D; v++) {
            c.x[v] = run % 3 == 1 ? 30.0F : 1.0F;
        }
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        uint32_t kept = 0;
        for (uint32_t i = 0; report && i < N; i++) {
            kept += report->rows[i].weight > 0;
            CU_ASSERT(run % 3 != 1 || (report->rows[i].weight > 0) == (i < N - f));
        }
        CHECK_U64(kept, N - f);
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
}

/* Corners of a cube in many dimensions, half of which may go, take more steps than there are. */
static void mda_gives_up_a_search_without_end(void)
{
    council c = make_council("mda", "", 150, 301, 100);
    for (size_t v = 0; v < c.n * c.d; v++) {
        c.x[v] = (float)(csl_test_random() % 2);
    }
    set_parameter(&c, "search", 20);
    CHECK_STATUS(decide(&c, NULL), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "takes more than 1048576 steps");
    free_council(&c);
}

/* ByzFL's float64 is one too small at these counts, and its preset keeps that. */
static void arc_clips_as_many_rows_as_its_paper_says(void)
{
    static const uint32_t counts[][2] = {{242, 33}, {450, 165}, {484, 66}};
    for (int k = 0; k < 6; k++) {
        uint32_t n = counts[k / 2][0];
        uint32_t f = counts[k / 2][1];
        council c = make_council("mean", "arc", f, n, 1);
        c.spec.preset = k % 2 ? CSL_PRESET_BYZFL : CSL_PRESET_PAPER;
        for (uint32_t i = 0; i < n; i++) {
            c.x[i] = (float)((i * 7919U) % n + 1); /* 1 .. n in some order: 7919 is prime */
        }
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        uint32_t clipped = 2 * f * (n - f) / n;
        CHECK_U64(report->clipped_count, k % 2 ? clipped - 1 : clipped);
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
}

/* What programs that are about add up: n-f-2 or n-f-1 neighbours, or any number; distances, their
 * squares or fourth powers. */
static double krum_score(const council *c, uint32_t i, uint32_t neighbours, int power)
{
    double nearest[16] = {0};
    uint32_t count = 0;
    double sum = 0;
    for (uint32_t k = 0; k < c->n; k++) {
        double squared = 0;
        for (size_t j = 0; j < c->d; j++) {
            squared += pow((double)c->x[i * c->d + j] - (double)c->x[k * c->d + j], 2);
        }
        uint32_t at = count;
        while (k != i && at > 0 && nearest[at - 1] > squared) {
            nearest[at] = nearest[at - 1];
            at--;
        }
        nearest[at] = k == i ? nearest[at] : squared;
        count += k != i;
    }
    for (uint32_t k = 0; k < neighbours; k++) {
        sum += pow(nearest[k], power / 2.0);
    }
    return sum;
}

static void krum_adds_up_what_it_is_told(void)
{
    bool differs = false;
    for (int k = 0; k < 40; k++) { /* few are too few for a difference, and these are quick */
        council c = make_council("krum", "", 2, 12, 5);
        uint32_t neighbours = k % 3 == 0 ? 8 : 1 + (uint32_t)(csl_test_random() % 11);
        int power = 1 + k % 4;
        csl_aggregate_report *report = NULL;
        uint32_t best = 0;
        uint32_t squared_best = 0;
        if (k % 3 != 0) {
            set_parameter(&c, "neighbours", neighbours);
        }
        if (k % 8 != 1) { /* 2 is the default */
            set_parameter(&c, "power", power);
        }
        CHECK_OK(decide(&c, &report));
        for (uint32_t i = 0; i < c.n; i++) {
            double score = krum_score(&c, i, neighbours, power);
            CHECK_NEAR(report->rows[i].score / score, 1, 1e-5);
            best = score < krum_score(&c, best, neighbours, power) ? i : best;
            bool nearer = krum_score(&c, i, 8, 2) < krum_score(&c, squared_best, 8, 2);
            squared_best = nearer ? i : squared_best;
        }
        differs = differs || best != squared_best;
        CU_ASSERT(memcmp(c.out, c.x + best * c.d, c.d * sizeof *c.out) == 0);
        CU_ASSERT((strstr(report->score_name, "squared") != NULL) == (power == 2));
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
    CU_ASSERT(differs);
}

static void without_faults_rules_are_the_mean(void)
{
    static const struct {
        const char *rule;
        const char *pre;
        const char *parameter;
        double value;
    } cases[] = {{"trimmed-mean", "", NULL, 0},
                 {"meamed", "", NULL, 0},
                 {"phocas", "", NULL, 0},
                 {"mda", "", NULL, 0},
                 {"monna", "", NULL, 0},
                 {"smea", "", NULL, 0},
                 {"caf", "", NULL, 0},
                 {"cge", "", NULL, 0},
                 {"dnc", "", NULL, 0},
                 {"multi-krum", "", "select", 9},
                 {"aksel", "", "select", 9},
                 {"centered-clipping", "", "tau", 1e30},
                 {"norm-clipping", "", "radius", 1e30},
                 {"mean", "nnm", NULL, 0},
                 {"mean", "arc", NULL, 0},
                 {"mean", "bucketing", "bucket", 9},
                 {"mean", "bucketing", "bucket", 3},
                 {"mean", "clipping", "radius", 1e30}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        council c = make_council(cases[k].rule, cases[k].pre, 0, 9, k % 2 ? 1 : 4099);
        if (cases[k].parameter) {
            set_parameter(&c, cases[k].parameter, cases[k].value);
        }
        double *mean = calloc(c.d, sizeof *mean);
        for (size_t v = 0; v < c.n * c.d; v++) {
            mean[v % c.d] += (double)c.x[v] / c.n;
        }
        CHECK_OK(decide(&c, NULL));
        check_close(&c, mean, 2e-7, 1e-6);
        free(mean);
        free_council(&c);
    }
}

static void one_row_is_the_answer(void)
{
    size_t count = 0;
    const csl_rule_info *rules = csl_rules(&count);
    for (size_t k = 0; k < count; k++) {
        council c = make_council(rules[k].name, "", 0, 1, k % 2 ? 1 : 33);
        if (most_faults(rules[k].name, "", 1) < 0) {
            CHECK_STATUS(decide(&c, NULL), CSL_E_RANGE);
            free_council(&c);
            continue;
        }
        if (strcmp(rules[k].name, "flame") == 0) {
            set_parameter(&c, "noise", 0);
        } else if (strcmp(rules[k].name, "centered-clipping") == 0) {
            set_parameter(&c, "tau", 1e30);
        }
        memcpy(c.root, c.x, c.d * sizeof *c.root); /* fltrust: trust it */
        CHECK_OK(decide(&c, NULL));
        bool signs = strcmp(rules[k].name, "sign-majority") == 0;
        for (size_t j = 0; j < c.d; j++) {
            double expected = signs ? (c.x[j] > 0) - (c.x[j] < 0) : (double)c.x[j];
            CHECK_NEAR((double)c.out[j], expected, 1e-6 * fabs(expected));
        }
        free_council(&c);
    }
}

/* n and d at their ends; the oracle sorts and measures as for any other. */
static void the_least_and_the_most_rows_are_their_definition(void)
{
    static const char *const rules[] = {"mean",
                                        "weighted-mean",
                                        "median",
                                        "trimmed-mean",
                                        "meamed",
                                        "phocas",
                                        "cge",
                                        "monna",
                                        "krum",
                                        "multi-krum",
                                        "bulyan",
                                        "mda",
                                        "geometric-median",
                                        "centered-clipping"};
    static const uint32_t counts[] = {2, 3, 4, 63, 64, 65, 300, CSL_ROWS_MAX};
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            uint32_t n = counts[k];
            size_t limit = r < 8 ? 8 : r < 10 ? 7 : r == 10 || r == 13 ? 6 : r == 11 ? 3 : 5;
            int64_t most = k < limit ? most_faults(rules[r], "", n) : -1;
            if (most < 0) {
                continue; /* too few rows, or too many for the oracle */
            }
            council c = make_council(rules[r], "", (uint32_t)most, n, k % 2 ? 1 : 5);
            double *expected = ask_oracle(&c);
            CHECK_OK(decide(&c, NULL));
            check_close(&c, expected, 2e-5, 2e-5);
            free(expected);
            free_council(&c);
        }
    }
}

/* ||c|| / sigma up to 1e4 per coordinate: what is picked is what float64 picks. */
static void a_large_common_part_changes_no_choice(void)
{
    static const char *const rules[] = {"krum",         "multi-krum",      "bulyan", "mda",
                                        "monna",        "median",          "meamed", "phocas",
                                        "trimmed-mean", "geometric-median"};
    for (int run = 0; run < 40; run++) {
        double common = run % 4 == 0 ? 1e4 : run % 4 == 1 ? -1e4 : run % 4 == 2 ? 300 : 1e3;
        uint32_t n = 11;
        const char *rule = rules[run % 10];
        council c = make_council(rule, "", (uint32_t)most_faults(rule, "", n), n,
                                 run < 20 ? 301 : 4097 + (size_t)(csl_test_random() % 200));
        for (size_t v = 0; v < c.n * c.d; v++) {
            c.x[v] += (float)common;
        }
        double *expected = ask_oracle(&c);
        CHECK_OK(decide(&c, NULL));
        check_close(&c, expected, 1e-5, 2e-7);
        free(expected);
        free_council(&c);
    }
}

static void denormal_rows_are_not_flushed(void)
{
    static const char *const rules[] = {"mean", "median", "trimmed-mean", "meamed", "phocas"};
    for (int k = 0; k < 5; k++) {
        council c = make_council(rules[k], "", k ? 2 : 0, 7, 200);
        size_t denormal = 0;
        for (size_t v = 0; v < c.n * c.d; v++) {
            c.x[v] = ldexpf(c.x[v], -132);
        }
        double *expected = ask_oracle(&c);
        CHECK_OK(decide(&c, NULL));
        for (size_t j = 0; j < c.d; j++) {
            double away = isnan(expected[j]) ? 0 : fabs((double)c.out[j] - expected[j]);
            CU_ASSERT(away <= 1.5 * 0x1p-149);
            denormal += fpclassify(c.out[j]) == FP_SUBNORMAL;
        }
        CU_ASSERT(denormal > c.d / 2);
        free(expected);
        free_council(&c);
    }
    /* Squares of denormals are zero: all distances tie, and still one row is picked. */
    council c = make_council("krum", "", 1, 5, 9);
    for (size_t v = 0; v < c.n * c.d; v++) {
        c.x[v] = ldexpf(c.x[v], -140);
    }
    CHECK_OK(decide(&c, NULL));
    for (size_t j = 0; j < c.d; j++) {
        CU_ASSERT(c.out[j] == c.x[j]); /* -0.0 has become +0.0 */
    }
    free_council(&c);
}

static void a_negative_zero_leaves_no_rule(void)
{
    size_t rule_count = 0;
    size_t pre_count = 0;
    const csl_rule_info *rules = csl_rules(&rule_count);
    const csl_rule_info *pres = csl_pre_aggregators(&pre_count);
    static const float zero = 0;
    for (size_t k = 0; k < rule_count * (pre_count + 1); k++) {
        const char *pre = k < rule_count ? "" : pres[k / rule_count - 1].name;
        council c = make_council(rules[k % rule_count].name, pre, 0, 9, 19);
        if (csl_aggregate_check(&c.spec, c.n) != CSL_OK) { /* not behind a pre-aggregator */
            CU_ASSERT(pre[0] != '\0');
            free_council(&c);
            continue;
        }
        for (size_t v = 0; v < c.n * c.d; v++) { /* the last column keeps the rows apart */
            c.x[v] = v % c.d == 18 ? c.x[v] : csl_test_random() % 4 ? -0.0F : 0.0F;
        }
        if (strcmp(c.spec.rule, "flame") == 0) {
            set_parameter(&c, "noise", 0);
        }
        CHECK_OK(decide(&c, NULL));
        for (size_t j = 0; j < 18; j++) {
            bool same = memcmp(&c.out[j], &zero, sizeof zero) == 0;
            if (!same) {
                say_council(&c, "negative zero");
            }
            CU_ASSERT(same);
        }
        free_council(&c);
    }
}

/* Order statistics sum in ascending order and Krum copies a row: the order of rows is nowhere. */
static void permuted_rows_give_the_same_bits(void)
{
    static const char *const rules[] = {"median", "trimmed-mean", "meamed",       "phocas",
                                        "krum",   "rlr",          "sign-majority"};
    for (int run = 0; run < 70; run++) {
        const char *rule = rules[run % 7];
        uint32_t n = 5 + (uint32_t)(csl_test_random() % 90);
        int64_t most = most_faults(rule, "", n);
        uint32_t f = (uint32_t)(csl_test_random() % (uint64_t)(most + 1));
        council c = make_council(rule, "", f, n, 1 + (size_t)(csl_test_random() % 700));
        if (strcmp(rule, "rlr") == 0) {
            set_parameter(&c, "base", 1);
        }
        float *first = malloc(c.d * sizeof *first);
        float *row = malloc(c.d * sizeof *row);
        CHECK_OK(decide(&c, NULL));
        memcpy(first, c.out, c.d * sizeof *first);
        for (uint32_t i = n - 1; i > 0; i--) {
            uint32_t other = (uint32_t)(csl_test_random() % (i + 1));
            memcpy(row, c.x + i * c.d, c.d * sizeof *row);
            memmove(c.x + i * c.d, c.x + other * c.d, c.d * sizeof *row);
            memcpy(c.x + other * c.d, row, c.d * sizeof *row);
        }
        CHECK_OK(decide(&c, NULL));
        CU_ASSERT(memcmp(first, c.out, c.d * sizeof *first) == 0);
        free(first);
        free(row);
        free_council(&c);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"Flower's values stand", flower_s_values_stand},
        {"ByzFL's square stands", byzfl_s_square_stands},
        {"equal Krum scores go to the lowest index", equal_krum_scores_go_to_the_lowest_index},
        {"ties are broken as the oracle breaks them", ties_are_broken_as_the_oracle_breaks_them},
        {"mda finds the first subset of least diameter",
         mda_finds_the_first_subset_of_least_diameter},
        {"mda decides among hundreds of rows", mda_decides_among_hundreds_of_rows},
        {"mda gives up a search without end", mda_gives_up_a_search_without_end},
        {"arc clips as many rows as its paper says", arc_clips_as_many_rows_as_its_paper_says},
        {"Krum adds up what it is told", krum_adds_up_what_it_is_told},
        {"without faults rules are the mean", without_faults_rules_are_the_mean},
        {"one row is the answer", one_row_is_the_answer},
        {"the least and the most rows are their definition",
         the_least_and_the_most_rows_are_their_definition},
        {"a large common part changes no choice", a_large_common_part_changes_no_choice},
        {"denormal rows are not flushed", denormal_rows_are_not_flushed},
        {"a negative zero leaves no rule", a_negative_zero_leaves_no_rule},
        {"permuted rows give the same bits", permuted_rows_give_the_same_bits},
    };
    return csl_test_main("robust limits", cases, sizeof cases / sizeof *cases);
}
