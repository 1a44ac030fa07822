/* Rules that weigh or filter whole rows, against slow float64 versions of their definitions. */
#include "test_support.h"

#include <consilium/robust.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 9, COLUMNS = 211, FAULTS = 2, KEEP = ROWS - FAULTS, REPEATS = CSL_TEST_REPEATS(4) };

static double common_;       /* what all rows share, in deviations */
static double share_ = 0.01; /* of the answer, where they do: what may differ is relative to it */
static double x_[ROWS][COLUMNS];
static double root_[COLUMNS];
static float rows_[ROWS][COLUMNS];
static float root_row_[COLUMNS];
static double expected_[COLUMNS];
static float out_[COLUMNS];

static void draw_rows(void)
{
    for (int j = 0; j < COLUMNS; j++) {
        double common = csl_test_normal() + (j % 3 ? common_ : -common_);
        root_row_[j] = (float)(common + csl_test_normal());
        root_[j] = (double)root_row_[j];
        for (int i = 0; i < ROWS; i++) {
            bool against = (i == 1 || i == 5) && common_ == 0;
            double value = (against ? -1.5 : 1) * common;
            rows_[i][j] = (float)(value + (0.6 + 0.1 * i) * csl_test_normal());
            x_[i][j] = (double)rows_[i][j];
        }
    }
}

static double inner(const double *a, const double *b)
{
    double sum = 0;
    for (int j = 0; j < COLUMNS; j++) {
        sum += a[j] * b[j];
    }
    return sum;
}

static void combine(const double *weight)
{
    for (int j = 0; j < COLUMNS; j++) {
        expected_[j] = 0;
        for (int i = 0; i < ROWS; i++) {
            expected_[j] += weight[i] * x_[i][j];
        }
    }
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The k-th smallest of ROWS values. */
static double ranked(const double *values, int k)
{
    double sorted[ROWS];
    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, ROWS, sizeof *sorted, compare_doubles);
    return sorted[k];
}

static void mean_of_least(const double *score, int keep)
{
    double weight[ROWS];
    for (int i = 0; i < ROWS; i++) {
        weight[i] = score[i] <= ranked(score, keep - 1) ? 1.0 / keep : 0;
    }
    combine(weight);
}

static void check_rule(const char *rule, const char *parameter, double value)
{
    csl_aggregate_spec spec;
    csl_device *device = NULL;
    const float *rows[ROWS];
    csl_aggregate_spec_init(&spec);
    snprintf(spec.rule, sizeof spec.rule, "%s", rule);
    spec.f = FAULTS;
    if (parameter) {
        CHECK_OK(csl_aggregate_spec_set(&spec, parameter, value));
    }
    for (int i = 0; i < ROWS; i++) {
        rows[i] = rows_[i];
    }
    CHECK_OK(csl_device_open("host", 1, &device));
    csl_aggregate_input input = {.device = device,
                                 .row_count = ROWS,
                                 .column_count = COLUMNS,
                                 .column_total = COLUMNS,
                                 .rows = rows,
                                 .root = root_row_};
    CHECK_OK(csl_aggregate(&spec, &input, out_, NULL));
    csl_device_close(device);
    for (int j = 0; j < COLUMNS; j++) {
        double size = 1 + fabs(expected_[j]) * (common_ == 0 ? 1 : share_);
        if (!(fabs((double)out_[j] - expected_[j]) <= 3e-5 * size)) {
            printf("%s, column %d: %.9g, expected %.9g\n", rule, j, (double)out_[j], expected_[j]);
            CU_FAIL("aggregate differs");
            return;
        }
    }
    CU_PASS("aggregate agrees");
}

static void signs_decide(void)
{
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        draw_rows();
        for (int reverse = 0; reverse < 2; reverse++) {
            for (int j = 0; j < COLUMNS; j++) {
                int signs = 0;
                double mean = 0;
                for (int i = 0; i < ROWS; i++) {
                    signs += (x_[i][j] > 0) - (x_[i][j] < 0);
                    mean += x_[i][j] / ROWS;
                }
                int sign = (signs > 0) - (signs < 0);
                expected_[j] = !reverse ? sign : abs(signs) >= FAULTS + 1 ? mean : -mean;
            }
            check_rule(reverse ? "rlr" : "sign-majority", NULL, 0);
        }
    }
}

static void long_rows_are_shortened(void)
{
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double norm[ROWS];
        double weight[ROWS];
        draw_rows();
        for (int i = 0; i < ROWS; i++) {
            norm[i] = sqrt(inner(x_[i], x_[i]));
        }
        for (int i = 0; i < ROWS; i++) {
            weight[i] = fmin(1, ranked(norm, ROWS / 2) / norm[i]) / ROWS;
        }
        combine(weight);
        check_rule("norm-clipping", NULL, 0);
    }
}

static void trust_follows_the_angle(void)
{
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double weight[ROWS];
        double sum = 0;
        draw_rows();
        for (int i = 0; i < ROWS; i++) {
            double own = sqrt(inner(x_[i], x_[i]));
            weight[i] = fmax(0, inner(x_[i], root_) / own / sqrt(inner(root_, root_)));
            sum += weight[i];
            weight[i] *= sqrt(inner(root_, root_)) / own;
        }
        for (int i = 0; i < ROWS; i++) {
            weight[i] /= sum;
        }
        combine(weight);
        check_rule("fltrust", NULL, 0);
    }
}

static void aksel_keeps_half_around_the_median(void)
{
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double score[ROWS] = {0};
        draw_rows();
        for (int j = 0; j < COLUMNS; j++) {
            double column[ROWS];
            for (int i = 0; i < ROWS; i++) {
                column[i] = x_[i][j];
            }
            for (int i = 0; i < ROWS; i++) {
                score[i] += pow(x_[i][j] - ranked(column, ROWS / 2), 2);
            }
        }
        mean_of_least(score, (ROWS + 1) / 2);
        check_rule("aksel", NULL, 0);
    }
}

/* The authors' program line by line, in its first round. */
static void foolsgold_pardons_and_stretches(void)
{
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double cs[ROWS][ROWS];
        double most[ROWS];
        double weight[ROWS];
        double largest = 0;
        draw_rows();
        for (int i = 0; i < ROWS; i++) {
            most[i] = 0;
            for (int j = 0; j < ROWS; j++) {
                double norms = sqrt(inner(x_[i], x_[i]) * inner(x_[j], x_[j]));
                cs[i][j] = i == j ? 0 : inner(x_[i], x_[j]) / norms;
                most[i] = fmax(most[i], cs[i][j]);
            }
            most[i] += 1e-5;
        }
        for (int i = 0; i < ROWS; i++) {
            double top = 0;
            for (int j = 0; j < ROWS; j++) {
                cs[i][j] *= i != j && most[i] < most[j] ? most[i] / most[j] : 1;
                top = fmax(top, cs[i][j]);
            }
            weight[i] = fmin(1, fmax(0, 1 - top));
            largest = fmax(largest, weight[i]);
        }
        for (int i = 0; i < ROWS; i++) {
            double w = weight[i] / largest;
            w = w == 1 ? 0.99 : w;
            weight[i] = fmin(1, fmax(0, log(w / (1 - w) + 1e-5) + 0.5));
        }
        combine(weight);
        check_rule("foolsgold", NULL, 0);
    }
}

/* A common part makes all rows alike; who does not share it stands alone and is all that is left.
 */
static void foolsgold_follows_the_row_without_the_common_part(void)
{
    static const double commons[] = {100, 1e3, 1e4};
    for (size_t k = 0; k < sizeof commons / sizeof *commons; k++) {
        common_ = commons[k];
        double weight[ROWS] = {0};
        int odd = (int)(csl_test_random() % ROWS);
        draw_rows();
        for (int j = 0; j < COLUMNS; j++) {
            rows_[odd][j] = (float)csl_test_normal();
            x_[odd][j] = (double)rows_[odd][j];
        }
        weight[odd] = 1;
        combine(weight);
        check_rule("foolsgold", NULL, 0);
    }
    common_ = 0;
}

/* Rows that are all equally far from each other: every direction and every subset is the top one.
 */
static void equal_eigenvalues_leave_the_first_subset(void)
{
    double score[ROWS];
    for (int i = 0; i < ROWS; i++) {
        score[i] = i;
        for (int j = 0; j < COLUMNS; j++) {
            rows_[i][j] = j % ROWS == i ? 1.0F : 0.0F;
            x_[i][j] = (double)rows_[i][j];
        }
    }
    for (int i = 0; i < ROWS; i++) { /* as many columns for each row */
        for (int j = COLUMNS / ROWS * ROWS; j < COLUMNS; j++) {
            rows_[i][j] = 0;
            x_[i][j] = 0;
        }
    }
    mean_of_least(score, KEEP);
    check_rule("smea", NULL, 0);
}

/* Top eigenvalue of the weighted covariance of the rows and its direction v [COLUMNS] by many steps
 * of the power method on the vectors themselves; centre_out [COLUMNS]: the weighted mean. */
static double top_direction(const double *weight, double *v, double *centre_out)
{
    double sum = 0;
    double lambda = 0;
    for (int i = 0; i < ROWS; i++) {
        sum += weight[i];
    }
    for (int j = 0; j < COLUMNS; j++) {
        centre_out[j] = 0;
        v[j] = csl_test_normal();
        for (int i = 0; i < ROWS; i++) {
            centre_out[j] += weight[i] / sum * x_[i][j];
        }
    }
    for (int step = 0; step < 4000; step++) {
        double next[COLUMNS] = {0};
        for (int i = 0; i < ROWS; i++) {
            double along = weight[i] / sum * (inner(x_[i], v) - inner(centre_out, v));
            for (int j = 0; j < COLUMNS && weight[i] > 0; j++) {
                next[j] += along * (x_[i][j] - centre_out[j]);
            }
        }
        lambda = sqrt(inner(next, next));
        for (int j = 0; j < COLUMNS; j++) {
            v[j] = next[j] / lambda;
        }
    }
    return lambda;
}

static void dnc_drops_the_farthest_along_the_top_direction(void)
{
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double weight[ROWS];
        double score[ROWS];
        double v[COLUMNS];
        double centre[COLUMNS];
        draw_rows();
        for (int i = 0; i < ROWS; i++) {
            weight[i] = 1;
        }
        top_direction(weight, v, centre);
        for (int i = 0; i < ROWS; i++) {
            score[i] = pow(inner(x_[i], v) - inner(centre, v), 2);
        }
        mean_of_least(score, KEEP);
        check_rule("dnc", NULL, 0); /* fewer columns than the sketch: all are looked at */
    }
}

static void smea_keeps_the_subset_of_least_variance(void)
{
    double least = INFINITY;
    double best[ROWS] = {0};
    draw_rows();
    for (int a = 0; a < ROWS; a++) {
        for (int b = a + 1; b < ROWS; b++) {
            double weight[ROWS];
            double v[COLUMNS];
            double centre[COLUMNS];
            for (int i = 0; i < ROWS; i++) {
                weight[i] = i == a || i == b ? 0 : 1.0 / KEEP;
            }
            double lambda = top_direction(weight, v, centre);
            if (lambda < least) {
                least = lambda;
                memcpy(best, weight, sizeof best);
            }
        }
    }
    combine(best);
    check_rule("smea", NULL, 0);
}

static void caf_weighs_down_along_the_top_direction(void)
{
    double c[ROWS];
    double sum = ROWS;
    double least = INFINITY;
    draw_rows();
    for (int i = 0; i < ROWS; i++) {
        c[i] = 1;
    }
    while (sum > ROWS - 2 * FAULTS) {
        double v[COLUMNS];
        double centre[COLUMNS];
        double tau[ROWS];
        double largest = 0;
        double lambda = top_direction(c, v, centre);
        if (lambda < least) {
            least = lambda;
            memcpy(expected_, centre, sizeof expected_);
        }
        for (int i = 0; i < ROWS; i++) {
            tau[i] = pow(inner(x_[i], v) - inner(centre, v), 2);
            largest = c[i] > 0 ? fmax(largest, tau[i]) : largest;
        }
        sum = 0;
        for (int i = 0; i < ROWS; i++) {
            c[i] *= fmax(0, 1 - tau[i] / largest);
            sum += c[i];
        }
    }
    check_rule("caf", NULL, 0);
}

/* Whether more than half of the rows hang together by cosine distances up to `limit`. */
static bool dense_half(double cosine[ROWS][ROWS], double limit, bool *member)
{
    for (int first = 0; first < ROWS; first++) {
        int count = 1;
        memset(member, 0, ROWS * sizeof *member);
        member[first] = true;
        for (int pass = 0; pass < ROWS; pass++) {
            for (int i = 0; i < ROWS; i++) {
                for (int j = 0; j < ROWS; j++) {
                    if (member[i] && !member[j] && 1 - cosine[i][j] <= limit) {
                        member[j] = true;
                        count++;
                    }
                }
            }
        }
        if (count > ROWS / 2) {
            return true;
        }
    }
    return false;
}

static void flame_keeps_the_densest_half(void)
{
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double cosine[ROWS][ROWS];
        double norm[ROWS];
        double weight[ROWS] = {0};
        bool member[ROWS] = {false};
        bool trial[ROWS];
        double least = INFINITY;
        int kept = 0;
        draw_rows();
        for (int i = 0; i < ROWS; i++) {
            norm[i] = sqrt(inner(x_[i], x_[i]));
            for (int j = 0; j < ROWS; j++) {
                cosine[i][j] = inner(x_[i], x_[j]) / norm[i] / sqrt(inner(x_[j], x_[j]));
            }
        }
        for (int k = 0; k < ROWS * ROWS; k++) {
            double limit = 1 - cosine[k / ROWS][k % ROWS];
            if (k / ROWS != k % ROWS && limit < least && dense_half(cosine, limit, trial)) {
                least = limit;
                memcpy(member, trial, sizeof member);
            }
        }
        for (int i = 0; i < ROWS; i++) {
            kept += member[i];
        }
        for (int i = 0; i < ROWS; i++) {
            weight[i] = member[i] ? fmin(1, ranked(norm, ROWS / 2) / norm[i]) / kept : 0;
        }
        combine(weight);
        check_rule("flame", "noise", 0);
    }
}

/* Rows that are all equally far apart by angle: one as dense as the other, so that all stay. */
static void flame_keeps_all_that_are_equally_near(void)
{
    double weight[ROWS];
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            rows_[i][j] = j % ROWS == i && j < COLUMNS / ROWS * ROWS ? 1.0F : 0.0F;
            x_[i][j] = (double)rows_[i][j];
        }
        weight[i] = 1.0 / ROWS;
    }
    combine(weight);
    check_rule("flame", "noise", 0);
    /* The same beside a common part, at lengths whose rounding differs. */
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            rows_[i][j] = (float)(0.37 * (i + 1) * (j == i ? 2 : 1));
            x_[i][j] = (double)rows_[i][j];
        }
        weight[i] = fmin(1, (ROWS / 2 + 1) / (i + 1.0)) / ROWS;
    }
    combine(weight);
    check_rule("flame", "noise", 0);
}

/* Norms of 1e5 and distances of 20: whatever decides by either keeps its digits. */
static void a_large_common_part_changes_no_choice(void)
{
    static void (*const rules[])(void) = {
        long_rows_are_shortened,
        trust_follows_the_angle,
        aksel_keeps_half_around_the_median,
        dnc_drops_the_farthest_along_the_top_direction,
        smea_keeps_the_subset_of_least_variance,
        caf_weighs_down_along_the_top_direction,
        flame_keeps_the_densest_half,
        foolsgold_pardons_and_stretches, /* the last: its weights add up to more than 1 */
    };
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        common_ = k % 2 ? 1e4 : -3e3;
        share_ = k + 1 < sizeof rules / sizeof *rules ? 0.01 : 1;
        rules[k]();
    }
    common_ = 0;
    share_ = 0.01;
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"signs decide", signs_decide},
        {"long rows are shortened", long_rows_are_shortened},
        {"trust follows the angle", trust_follows_the_angle},
        {"aksel keeps half around the median", aksel_keeps_half_around_the_median},
        {"foolsgold pardons and stretches", foolsgold_pardons_and_stretches},
        {"foolsgold follows the row without the common part",
         foolsgold_follows_the_row_without_the_common_part},
        {"equal eigenvalues leave the first subset", equal_eigenvalues_leave_the_first_subset},
        {"dnc drops the farthest along the top direction",
         dnc_drops_the_farthest_along_the_top_direction},
        {"smea keeps the subset of least variance", smea_keeps_the_subset_of_least_variance},
        {"caf weighs down along the top direction", caf_weighs_down_along_the_top_direction},
        {"flame keeps the densest half", flame_keeps_the_densest_half},
        {"flame keeps all that are equally near", flame_keeps_all_that_are_equally_near},
        {"a large common part changes no choice", a_large_common_part_changes_no_choice},
    };
    return csl_test_main("robust filters", cases, sizeof cases / sizeof *cases);
}
