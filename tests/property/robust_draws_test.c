/* Rules that draw or cluster, against slow float64 versions of their definitions: each draw that
 * the definition allows is enumerated, and the answer must be one of them. */
#include "small_rows.h"
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- bucketing ---- */

/* Every way to put the rows into buckets of `bucket`, the last one short, and then a median of the
 * bucket means. place[i]: bucket of row i. */
static void enumerate_buckets(int row, int bucket, int *place, int *size)
{
    int buckets = (ROWS + bucket - 1) / bucket;
    if (row < ROWS) {
        bool empty = false; /* equal buckets are not told apart */
        for (int b = 0; b < buckets && !empty; b++) {
            empty = size[b] == 0 && b + 1 < buckets;
            int most = b + 1 < buckets ? bucket : ROWS - (buckets - 1) * bucket;
            if (size[b] < most) {
                place[row] = b;
                size[b]++;
                enumerate_buckets(row + 1, bucket, place, size);
                size[b]--;
            }
            if (empty && size[buckets - 1] < ROWS - (buckets - 1) * bucket &&
                ROWS % bucket != 0) { /* the short one is */
                place[row] = buckets - 1;
                size[buckets - 1]++;
                enumerate_buckets(row + 1, bucket, place, size);
                size[buckets - 1]--;
            }
        }
        return;
    }
    CU_ASSERT_FATAL(candidate_count_ < CANDIDATES);
    for (int j = 0; j < COLUMNS; j++) {
        double mean[ROWS] = {0};
        for (int i = 0; i < ROWS; i++) {
            mean[place[i]] += x_[i][j] / size[place[i]];
        }
        candidates_[candidate_count_][j] =
            (ranked(mean, buckets, (buckets - 1) / 2) + ranked(mean, buckets, buckets / 2)) / 2;
    }
    candidate_count_++;
}

static void buckets_are_means_of_rows_drawn_together(void)
{
    static const struct {
        int bucket;
        int ways;
    } cases[] = {{3, 280}, {4, 315}, {5, 126}, {9, 1}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int place[ROWS];
        int size[ROWS] = {0};
        draw_rows();
        candidate_count_ = 0;
        enumerate_buckets(0, cases[c].bucket, place, size);
        CU_ASSERT_EQUAL(candidate_count_, cases[c].ways);
        csl_aggregate_spec spec = spec_of("median");
        spec.f = 0;
        CHECK_OK(csl_aggregate_spec_set_pre(&spec, "bucketing"));
        CHECK_OK(csl_aggregate_spec_set(&spec, "bucket", cases[c].bucket));
        if (cases[c].ways > 1) {
            check_candidates(&spec, "bucketing");
        } else {
            run_once(&spec, 0);
            CU_ASSERT(candidate() == 0);
        }
    }
}

/* ---- DnC ---- */

/* Squared projections of the centred rows, cut to the columns in `index`, on the direction of
 * largest variance: of a 1 x 1 or 2 x 2 covariance in closed form. */
static void project(const int *index, int width, double *score)
{
    double mean[2] = {0, 0};
    double c[3] = {0, 0, 0};
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < width; k++) {
            mean[k] += x_[i][index[k]] / ROWS;
        }
    }
    for (int i = 0; i < ROWS; i++) {
        double a = x_[i][index[0]] - mean[0];
        double b = width > 1 ? x_[i][index[1]] - mean[1] : 0;
        c[0] += a * a;
        c[1] += a * b;
        c[2] += b * b;
    }
    double angle = atan2(2 * c[1], c[0] - c[2]) / 2;
    for (int i = 0; i < ROWS; i++) {
        double a = x_[i][index[0]] - mean[0];
        double b = width > 1 ? x_[i][index[1]] - mean[1] : 0;
        score[i] = pow(a * cos(angle) + b * sin(angle), 2);
    }
}

static void dnc_draws_its_columns(void)
{
    draw_rows();
    candidate_count_ = 0;
    for (int a = 0; a < COLUMNS; a++) {
        for (int b = a + 1; b < COLUMNS && candidate_count_ < CANDIDATES; b++) {
            double score[ROWS];
            double weight[ROWS];
            int index[] = {a, b};
            project(index, 2, score);
            double limit = ranked(score, ROWS, ROWS - FAULTS - 1);
            for (int i = 0; i < ROWS; i++) {
                weight[i] = score[i] <= limit ? 1.0 / (ROWS - FAULTS) : 0;
            }
            combine(weight, candidates_[candidate_count_++]);
        }
    }
    csl_aggregate_spec spec = spec_of("dnc");
    CHECK_OK(csl_aggregate_spec_set(&spec, "sketch", 2));
    check_candidates(&spec, "dnc, sketch of 2");
}

static void dnc_keeps_what_every_round_keeps(void)
{
    draw_rows();
    candidate_count_ = 0;
    for (int a = 0; a < COLUMNS; a++) {
        for (int b = a; b < COLUMNS && candidate_count_ < CANDIDATES; b++) {
            double score[2][ROWS];
            double weight[ROWS];
            double kept = 0;
            project(&a, 1, score[0]);
            project(&b, 1, score[1]);
            for (int i = 0; i < ROWS; i++) {
                weight[i] = 1;
                for (int k = 0; k < 2; k++) { /* factor 1.5 of f = 2: three go a round */
                    bool stays = score[k][i] <= ranked(score[k], ROWS, ROWS - 4);
                    weight[i] = stays ? weight[i] : 0;
                }
                kept += weight[i];
            }
            for (int i = 0; i < ROWS; i++) {
                weight[i] /= kept;
            }
            combine(weight, candidates_[candidate_count_++]);
        }
    }
    csl_aggregate_spec spec = spec_of("dnc");
    CHECK_OK(csl_aggregate_spec_set(&spec, "sketch", 1));
    CHECK_OK(csl_aggregate_spec_set(&spec, "iterations", 2));
    CHECK_OK(csl_aggregate_spec_set(&spec, "factor", 1.5));
    check_candidates(&spec, "dnc, two rounds");
}

/* ---- SignGuard ---- */

enum { FEATURES = 3 };

static double apart(const double *a, const double *b)
{
    double sum = 0;
    for (int k = 0; k < FEATURES; k++) {
        sum += (a[k] - b[k]) * (a[k] - b[k]);
    }
    return sqrt(sum);
}

/* Sums in the written order: counts are whole, so distances equal to the bandwidth are common. */
static double bandwidth(double f[ROWS][FEATURES])
{
    double sum = 0;
    for (int i = 0; i < ROWS; i++) {
        double to[ROWS];
        for (int j = 0; j < ROWS; j++) {
            to[j] = apart(f[i], f[j]);
        }
        sum += ranked(to, ROWS, ROWS / 2 - 1);
    }
    return sum / ROWS;
}

/* Moves the centre until it rests; how many points its window then holds. */
static int settle(double f[ROWS][FEATURES], double width, double *centre)
{
    int inside = 0;
    double moved = INFINITY;
    for (int step = 0; step < 300 && moved > 1e-3 * width; step++) {
        double sum[FEATURES] = {0};
        inside = 0;
        for (int j = 0; j < ROWS; j++) {
            if (apart(f[j], centre) <= width) {
                inside++;
                for (int k = 0; k < FEATURES; k++) {
                    sum[k] += f[j][k];
                }
            }
        }
        for (int k = 0; k < FEATURES && inside > 0; k++) {
            sum[k] /= inside;
        }
        moved = inside > 0 ? apart(sum, centre) : 0;
        memcpy(centre, inside > 0 ? sum : centre, sizeof sum);
    }
    return inside;
}

/* Windows by falling count, then by index; those close to a fuller one are left out. */
static int list_windows(const int *inside, double centre[ROWS][FEATURES], double width, int *list)
{
    int count = 0;
    for (int most = ROWS; most >= 0; most--) {
        for (int i = 0; i < ROWS; i++) {
            bool stays = inside[i] == most;
            for (int k = 0; k < count; k++) {
                stays = stays && apart(centre[i], centre[list[k]]) > width;
            }
            if (stays) {
                list[count++] = i;
            }
        }
    }
    return count;
}

/* Mean shift with a flat window as scikit-learn runs it: from every point; points go to the nearest
 * window that is left. */
static void mean_shift(double f[ROWS][FEATURES], bool *member)
{
    double centre[ROWS][FEATURES];
    int inside[ROWS];
    int list[ROWS];
    int label[ROWS];
    int size[ROWS] = {0};
    int best = 0;
    double width = bandwidth(f);
    for (int i = 0; i < ROWS; i++) {
        memcpy(centre[i], f[i], sizeof f[i]);
        inside[i] = settle(f, width, centre[i]);
    }
    int count = list_windows(inside, centre, width, list);
    for (int i = 0; i < ROWS; i++) {
        label[i] = 0;
        for (int k = 1; k < count; k++) {
            bool nearer = apart(f[i], centre[list[k]]) < apart(f[i], centre[list[label[i]]]);
            label[i] = nearer ? k : label[i];
        }
        size[label[i]]++;
    }
    for (int k = 1; k < count; k++) {
        best = size[k] > size[best] ? k : best;
    }
    for (int i = 0; i < ROWS; i++) {
        member[i] = label[i] == best;
    }
}

/* The answer when the signs of columns [begin, end) are counted. */
static void signguard(int begin, int end, double *out)
{
    double f[ROWS][FEATURES] = {{0}};
    double norm[ROWS];
    double weight[ROWS];
    bool member[ROWS];
    int kept = 0;
    for (int i = 0; i < ROWS; i++) {
        for (int j = begin; j < end; j++) {
            f[i][rows_[i][j] > 0 ? 1 : rows_[i][j] < 0 ? 2 : 0]++;
        }
        norm[i] = sqrt(inner(x_[i], x_[i]));
    }
    for (int k = 0; k < FEATURES; k++) {
        double most = 0;
        for (int i = 0; i < ROWS; i++) {
            most = fmax(most, f[i][k]);
        }
        for (int i = 0; i < ROWS; i++) {
            f[i][k] /= most > 0 ? most : 1;
        }
    }
    mean_shift(f, member);
    double median = ranked(norm, ROWS, ROWS / 2);
    for (int i = 0; i < ROWS; i++) {
        member[i] = member[i] && norm[i] > 0.1 * median && norm[i] < 3 * median;
        kept += member[i];
    }
    for (int i = 0; i < ROWS; i++) {
        weight[i] = member[i] ? fmin(1, median / norm[i]) / kept : 0;
    }
    combine(weight, out);
}

/* Honest rows agree on most signs; one row is reversed, one far too long, one far too short. */
static void draw_signs(void)
{
    for (int j = 0; j < COLUMNS; j++) {
        double common = j % 4 ? 1 : -1;
        for (int i = 0; i < ROWS; i++) {
            double value = (i == 1 ? -common : common) + 0.7 * csl_test_normal();
            value *= i == 3 ? 50 : i == 6 ? 0.01 : 1;
            rows_[i][j] = csl_test_random() % 8 == 0 ? 0.0F : (float)value;
            x_[i][j] = (double)rows_[i][j];
        }
    }
}

static void signguard_keeps_the_largest_cluster_of_signs(void)
{
    for (int repeat = 0; repeat < 24; repeat++) {
        double expected[COLUMNS];
        draw_signs();
        signguard(0, COLUMNS, expected);
        csl_aggregate_spec spec = spec_of("signguard");
        CHECK_OK(csl_aggregate_spec_set(&spec, "share", 1));
        run_once(&spec, 0);
        check_answer(expected, "signguard");
    }
    draw_signs();
    candidate_count_ = 0;
    for (int begin = 0; begin + COLUMNS / 4 <= COLUMNS; begin++) {
        signguard(begin, begin + COLUMNS / 4, candidates_[candidate_count_++]);
    }
    csl_aggregate_spec spec = spec_of("signguard");
    CHECK_OK(csl_aggregate_spec_set(&spec, "share", 0.25));
    check_candidates(&spec, "signguard, a quarter of the columns");
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"buckets are means of rows drawn together", buckets_are_means_of_rows_drawn_together},
        {"dnc draws its columns", dnc_draws_its_columns},
        {"dnc keeps what every round keeps", dnc_keeps_what_every_round_keeps},
        {"signguard keeps the largest cluster of signs",
         signguard_keeps_the_largest_cluster_of_signs},
    };
    return csl_test_main("robust draws", cases, sizeof cases / sizeof *cases);
}
