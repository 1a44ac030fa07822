/* What a selection report says, and what decides: weights, margins, reasons, trusted institutions.
 */
#include "council.h"
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whoever multiplies the rows by the weights of the report gets the aggregate. */
static void weights_times_rows_are_the_aggregate(void)
{
    size_t count = 0;
    size_t pre_count = 0;
    const csl_rule_info *rules = csl_rules(&count);
    const csl_rule_info *pres = csl_pre_aggregators(&pre_count);
    uint32_t linear = 0;
    for (size_t k = 0; k < count * (pre_count + 1); k++) {
        const char *rule = rules[k % count].name;
        const char *pre = k < count ? "" : pres[k / count - 1].name;
        int64_t most = most_faults(rule, pre, 11);
        if (most < 0 || strcmp(rule, "rlr") == 0) {
            continue; /* not behind this; single coordinates are reversed */
        }
        council c = make_council(rule, pre, (uint32_t)most < 2 ? (uint32_t)most : 2, 11, 90);
        for (size_t v = 0; v < 2 * c.d; v++) {
            c.x[v] *= 7;
        }
        if (strcmp(rule, "flame") == 0) {
            set_parameter(&c, "noise", 0);
        }
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        bool shared = false;
        for (uint32_t i = 0; i < c.n; i++) {
            shared = shared || isnan(report->rows[i].weight);
            const csl_row_report *row = &report->rows[i];
            bool dropped = row->verdict == CSL_ROW_DROPPED;
            CU_ASSERT(dropped == (row->weight == 0));
            /* Who is not taken, or not fully, is told by which numbers. */
            bool numbers = strpbrk(row->reason, "0123456789") != NULL;
            CU_ASSERT(row->verdict == CSL_ROW_KEPT || numbers);
            bool less = row->verdict == CSL_ROW_KEPT && row->weight < 0.99 / c.n;
            CU_ASSERT(!less || numbers || strstr(rule, "weighted"));
            if (row->verdict == CSL_ROW_CLIPPED) {
                double from = 0;
                double to = 0;
                const char *cut = strstr(row->reason, " cut to ");
                const char *length = cut;
                while (length && length > row->reason && length[-1] != ' ') {
                    length--;
                }
                /* NOLINTNEXTLINE(cert-err34-c): the values are checked */
                CU_ASSERT(cut && sscanf(length, "%lf cut to %lf", &from, &to) == 2);
                bool barely = to == from && row->scale > 1 - 1e-5; /* the same in six digits */
                CU_ASSERT(to < from || barely);
                CU_ASSERT(pre[0] || fabs(to / from - row->scale) < 1e-4 * row->scale);
            }
        }
        bool same = true;
        for (size_t j = 0; !shared && j < c.d; j++) {
            double sum = 0;
            for (uint32_t i = 0; i < c.n; i++) {
                sum += report->rows[i].weight * (double)c.x[i * c.d + j];
            }
            same = same && fabs(sum - (double)c.out[j]) <= 1e-6 * (1 + fabs(sum));
        }
        if (!same) {
            say_council(&c, "weights are not the aggregate's");
        }
        CU_ASSERT(same);
        linear += !shared;
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
    CU_ASSERT(linear > 40);
}

static double least(const csl_aggregate_report *report, bool dropped, double sign)
{
    double value = INFINITY;
    for (uint32_t i = 0; i < report->row_count; i++) {
        if ((report->rows[i].weight == 0) == dropped) {
            value = fmin(value, sign * report->rows[i].score);
        }
    }
    return value;
}

/* The numbers in a reason are the row's score and that of the last row taken. */
static void check_score_in(const csl_aggregate_report *report, uint32_t i, double kept, double sign)
{
    const csl_row_report *row = &report->rows[i];
    double score = 0;
    double more = 0;
    double last = 0;
    char way[16] = "";
    size_t length = strlen(report->score_name);
    CU_ASSERT(strncmp(row->reason, report->score_name, length) == 0);
    /* NOLINTNEXTLINE(cert-err34-c): the values are checked */
    CU_ASSERT(sscanf(row->reason + length, " %lf, %lf %15s the last taken (%lf", &score, &more, way,
                     &last) == 4);
    CHECK_NEAR(score, row->score, 1e-5 * fabs(row->score));
    CHECK_NEAR(last, kept, 1e-5 * fabs(kept));
    CHECK_NEAR(more, sign * (row->score - kept), 1e-5 * fabs(more));
    CU_ASSERT(strcmp(way, sign > 0 ? "above" : "below") == 0);
}

static void margins_lie_between_the_rows_kept_and_dropped(void)
{
    static const struct {
        const char *rule;
        double sign; /* -1: the largest scores are kept */
    } cases[] = {{"krum", 1}, {"multi-krum", 1}, {"mda", 1},   {"smea", 1}, {"monna", 1},
                 {"cge", 1},  {"aksel", 1},      {"flame", 1}, {"caf", -1}, {"fltrust", -1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        council c = make_council(cases[k].rule, "", 2, 9, 300);
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        double kept = -least(report, false, -cases[k].sign);
        bool some = isfinite(kept); /* FLTrust may find no cosine above 0 */
        if (report->dropped_count > 0 && some) {
            double dropped = least(report, true, cases[k].sign);
            CHECK_NEAR(report->margin, dropped - kept, 1e-9 * fabs(dropped));
            bool by_score =
                strcmp(cases[k].rule, "caf") != 0 && strcmp(cases[k].rule, "fltrust") != 0;
            for (uint32_t i = 0; by_score && i < report->row_count; i++) {
                bool is_dropped = report->rows[i].verdict == CSL_ROW_DROPPED;
                if (is_dropped && cases[k].sign * report->rows[i].score > kept) {
                    check_score_in(report, i, cases[k].sign * kept, cases[k].sign);
                }
            }
        }
        CU_ASSERT((report->dropped_count > 0 && some) || isnan(report->margin));
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
    council c = make_council("bulyan", "", 2, 11, 30);
    csl_aggregate_report *report = NULL;
    CHECK_OK(decide(&c, &report));
    CU_ASSERT(report->margin >= 0);
    csl_aggregate_report_destroy(report);
    free_council(&c);
}

/* A row too long and a row of other signs: the report says which was why. */
static void signguard_says_why(void)
{
    council c = make_council("signguard", "", 2, 9, 4000);
    for (size_t v = 0; v < c.n * c.d; v++) {
        bool other = v / c.d == 4;
        c.x[v] = (float)((other ? -1 : 1) * (1 + 0.1 * (double)c.x[v])) * (v / c.d == 2 ? 9 : 1);
    }
    set_parameter(&c, "share", 1);
    csl_aggregate_report *report = NULL;
    CHECK_OK(decide(&c, &report));
    CHECK_CONTAINS(report->rows[2].reason, "longer");
    CHECK_CONTAINS(report->rows[4].reason, "cluster");
    CHECK_U64(report->dropped_count, 2);
    CU_ASSERT(isfinite(report->margin) && report->margin > 0);
    csl_aggregate_report_destroy(report);
    free_council(&c);
}

/* Scores of mixtures do not say why a row has no part in the one that was chosen, nor do scores
 * say that a row had no weight to begin with. */
static void reasons_name_what_decided(void)
{
    council c = make_council("krum", "nnm", 2, 9, 100);
    csl_aggregate_report *report = NULL;
    for (size_t j = 0; j < c.d; j++) {
        c.x[4 * c.d + j] += 50;
    }
    CHECK_OK(decide(&c, &report));
    CHECK_CONTAINS(report->rows[4].reason, "neighbour of what was selected");
    CHECK_U64(report->dropped_count, 2);
    csl_aggregate_report_destroy(report);
    free_council(&c);

    c = make_council("weighted-mean", "", 0, 9, 100);
    c.weights[3] = 0;
    CHECK_OK(decide(&c, &report));
    CHECK_CONTAINS(report->rows[3].reason, "weight is 0");
    CHECK_U64(report->dropped_count, 1);
    csl_aggregate_report_destroy(report);
    free_council(&c);

    c = make_council("krum", "", 2, 9, 100);
    CHECK_OK(decide(&c, &report));
    CHECK_U64(report->dropped_count, 8);
    for (uint32_t i = 0; i < c.n; i++) {
        bool dropped = report->rows[i].verdict == CSL_ROW_DROPPED;
        CU_ASSERT(dropped == (strncmp(report->rows[i].reason, report->score_name, 20) == 0));
    }
    csl_aggregate_report_destroy(report);
    free_council(&c);
}

static void weights_that_are_not_used_refuse_nothing(void)
{
    static const double bad[] = {0, -1, NAN, INFINITY};
    size_t count = 0;
    const csl_rule_info *rules = csl_rules(&count);
    for (size_t k = 0; k < count; k++) {
        council c = make_council(rules[k].name, "", 0, 9, 20);
        for (uint32_t i = 0; i < c.n; i++) {
            c.weights[i] = bad[k % 4];
        }
        bool used = strcmp(rules[k].name, "weighted-mean") == 0;
        CHECK_STATUS(decide(&c, NULL), used ? CSL_E_RANGE : CSL_OK);
        free_council(&c);
    }
}

static void half_of_the_weight_is_too_much_for_the_median(void)
{
    council c = make_council("geometric-median", "", 2, 7, 12);
    c.spec.weights = CSL_WEIGHTS_GIVEN;
    for (uint32_t i = 0; i < c.n; i++) {
        c.weights[i] = i < 2 ? 4.9 : 2;
    }
    CHECK_OK(decide(&c, NULL)); /* 9.8 of 19.8 */
    c.weights[1] = 5.1;         /* 10 of 20 */
    CHECK_STATUS(decide(&c, NULL), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "largest weights");
    c.spec.weights = CSL_WEIGHTS_CAPPED; /* 8 of 18 */
    CHECK_OK(decide(&c, NULL));
    free_council(&c);
}

/* Sampled institutions come in any order: the pivot is one of them, not a place in the list. */
static void the_pivot_is_an_institution(void)
{
    council c = make_council("monna", "", 2, 7, 50);
    float *first = malloc(c.d * sizeof *first);
    csl_device *device = NULL;
    CHECK_OK(csl_device_open("host", 1, &device));
    const float *rows[7];
    uint32_t institutions[7];
    set_parameter(&c, "pivot", 0);
    CHECK_OK(decide(&c, NULL));
    memcpy(first, c.out, c.d * sizeof *first);
    for (uint32_t i = 0; i < 7; i++) { /* row 0 is now third, and of institution 40 */
        institutions[i] = 38 + i;
        rows[i] = c.x + (i + 5) % 7 * c.d;
    }
    csl_aggregate_input input = {.device = device,
                                 .row_count = 7,
                                 .column_count = c.d,
                                 .column_total = c.d,
                                 .rows = rows,
                                 .institutions = institutions};
    CHECK_STATUS(csl_aggregate(&c.spec, &input, c.out, NULL), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "institution 0");
    set_parameter(&c, "pivot", 40);
    CHECK_OK(csl_aggregate(&c.spec, &input, c.out, NULL));
    for (size_t j = 0; j < c.d; j++) { /* the same rows in another order */
        CHECK_NEAR((double)c.out[j], (double)first[j], 1e-6);
    }
    csl_device_close(device);
    free(first);
    free_council(&c);
}

/* Two pairs of twins: dropping either twin leaves the same rows, and the earlier ones stay. */
static void smea_keeps_the_earlier_of_equal_subsets(void)
{
    for (int run = 0; run < 20; run++) {
        council c = make_council("smea", "", 2, 8, 1 + (size_t)(csl_test_random() % 300));
        for (uint32_t i = 0; i < 4; i++) { /* rows 4..7 are rows 3..0: any one of each may go */
            memcpy(c.x + (7 - i) * c.d, c.x + i * c.d, c.d * sizeof *c.x);
        }
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        for (uint32_t i = 0; i < 4; i++) {
            bool early = report->rows[i].weight == 0;
            bool late = report->rows[7 - i].weight == 0;
            CU_ASSERT(late || !early); /* the earlier one goes only with its twin */
        }
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
}

/* Rules that may trust nobody: the zero vector, and the report says so. */
static void nothing_left_is_zero_and_told(void)
{
    const char *const rules[] = {"dnc", "signguard", "fltrust"};
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        council c = make_council(rules[k], "", 2, 5, 5);
        for (uint32_t i = 0; i < c.n; i++) {
            for (size_t j = 0; j < c.d; j++) {
                /* dnc: each column has an outlier of its own; signguard: all have the median norm,
                 * and none lies below a bound of it; fltrust: all point away from the root. */
                c.x[i * c.d + j] = k == 2 ? -c.root[j] : i == j ? 10 : 0;
            }
        }
        if (k == 0) {
            set_parameter(&c, "sketch", 1);
            set_parameter(&c, "iterations", 300);
        } else if (k == 1) {
            set_parameter(&c, "high", 1);
        }
        csl_aggregate_report *report = NULL;
        CHECK_OK(decide(&c, &report));
        CU_ASSERT(report->empty);
        CU_ASSERT(report->dropped_count == c.n);
        for (size_t j = 0; j < c.d; j++) {
            CU_ASSERT(c.out[j] == 0);
        }
        csl_aggregate_report_destroy(report);
        free_council(&c);
    }
}

/* One round of dnc that drops every row could never keep one. */
static void dnc_refuses_to_drop_all_rows(void)
{
    council c = make_council("dnc", "", 4, 9, 3);
    set_parameter(&c, "factor", 2.24); /* floor(8.96) of 9 */
    CHECK_OK(decide(&c, NULL));
    set_parameter(&c, "factor", 2.25);
    CHECK_STATUS(decide(&c, NULL), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "dnc: factor 2.25 times f = 4 drops all of 9 rows");
    c.spec.f = 3; /* 6 of 9 */
    CHECK_OK(decide(&c, NULL));
    free_council(&c);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"weights times rows are the aggregate", weights_times_rows_are_the_aggregate},
        {"margins lie between the rows kept and dropped",
         margins_lie_between_the_rows_kept_and_dropped},
        {"signguard says why", signguard_says_why},
        {"reasons name what decided", reasons_name_what_decided},
        {"weights that are not used refuse nothing", weights_that_are_not_used_refuse_nothing},
        {"half of the weight is too much for the median",
         half_of_the_weight_is_too_much_for_the_median},
        {"the pivot is an institution", the_pivot_is_an_institution},
        {"smea keeps the earlier of equal subsets", smea_keeps_the_earlier_of_equal_subsets},
        {"nothing left is zero and told", nothing_left_is_zero_and_told},
        {"dnc refuses to drop all rows", dnc_refuses_to_drop_all_rows},
    };
    return csl_test_main("robust selection", cases, sizeof cases / sizeof *cases);
}
