/* Rules that remember, add noise or take parameters, against slow float64 versions of their
 * definitions. */
#include "small_rows.h"
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NOISE_COLUMNS = 30000 };

/* ---- noise ---- */

/* What is added to the aggregate: mean 0, the wanted deviation, and every column its own. */
static void check_noise(const char *rule, const char *parameter, double value, bool in_norms)
{
    static float rows_of[3][NOISE_COLUMNS];
    static float plain[NOISE_COLUMNS];
    static float noisy[NOISE_COLUMNS];
    const float *rows[3] = {rows_of[0], rows_of[1], rows_of[2]};
    double norm[3] = {0, 0, 0};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < NOISE_COLUMNS; j++) {
            rows_of[i][j] = (float)(1 + 0.01 * (i + 1) * csl_test_normal());
            norm[i] += pow((double)rows_of[i][j], 2);
        }
        norm[i] = sqrt(norm[i]);
    }
    csl_device *device = NULL;
    CHECK_OK(csl_device_open("host", 1, &device));
    csl_aggregate_input input = {.device = device,
                                 .row_count = 3,
                                 .column_count = NOISE_COLUMNS,
                                 .column_total = NOISE_COLUMNS,
                                 .rows = rows};
    csl_aggregate_spec spec = spec_of(rule);
    spec.f = 1;
    CHECK_OK(csl_aggregate_spec_set(&spec, parameter, 0));
    CHECK_OK(csl_aggregate(&spec, &input, plain, NULL));
    CHECK_OK(csl_aggregate_spec_set(&spec, parameter, value));
    CHECK_OK(csl_aggregate(&spec, &input, noisy, NULL));
    csl_device_close(device);
    double deviation = value * (in_norms ? ranked(norm, 3, 1) : 1);
    double sum = 0;
    double squares = 0;
    double neighbours = 0; /* also across the ends of tiles */
    for (int j = 0; j < NOISE_COLUMNS; j++) {
        double one = ((double)noisy[j] - (double)plain[j]) / deviation;
        int other_index = (j + 4096) % NOISE_COLUMNS;
        double other = ((double)noisy[other_index] - (double)plain[other_index]) / deviation;
        sum += one;
        squares += one * one;
        neighbours += one * other;
    }
    double root = sqrt(NOISE_COLUMNS);
    CHECK_NEAR(sum / root, 0, 5);
    CHECK_NEAR((squares - NOISE_COLUMNS) / root / sqrt(2), 0, 5);
    CHECK_NEAR(neighbours / root, 0, 5);
}

static void noise_has_the_deviation_that_was_asked_for(void)
{
    check_noise("flame", "noise", 0.001, true);
    check_noise("flame", "noise", 0.05, true);
    check_noise("norm-clipping", "noise", 0.002, false);
}

/* ---- memories ---- */

/* v <- v + (1/n) sum (x_i - v) min(1, tau / ||x_i - v||), v kept from round to round. */
static void centered_clipping_starts_where_it_ended(void)
{
    static const double taus[] = {2, 0}; /* 0: the median distance */
    for (int c = 0; c < 4; c++) {        /* one step takes another way than several */
        int steps = c < 2 ? 3 : 1;
        double v[COLUMNS] = {0};
        csl_device *device = NULL;
        csl_aggregate_memory *memory = NULL;
        CHECK_OK(csl_device_open("host", 1, &device));
        CHECK_OK(csl_aggregate_memory_create(device, COLUMNS, &memory));
        csl_aggregate_spec spec = spec_of("centered-clipping");
        CHECK_OK(csl_aggregate_spec_set(&spec, "tau", taus[c % 2]));
        CHECK_OK(csl_aggregate_spec_set(&spec, "iterations", steps));
        for (uint32_t round = 0; round < 4; round++) {
            draw_rows();
            for (int step = 0; step < steps; step++) {
                double move[COLUMNS] = {0};
                double length[ROWS] = {0};
                for (int i = 0; i < ROWS; i++) {
                    for (int j = 0; j < COLUMNS; j++) {
                        length[i] += pow(x_[i][j] - v[j], 2);
                    }
                    length[i] = sqrt(length[i]);
                }
                double tau = taus[c % 2] > 0 ? taus[c % 2] : ranked(length, ROWS, ROWS / 2);
                for (int i = 0; i < ROWS; i++) {
                    for (int j = 0; j < COLUMNS; j++) {
                        move[j] += (x_[i][j] - v[j]) * fmin(1, tau / length[i]) / ROWS;
                    }
                }
                for (int j = 0; j < COLUMNS; j++) {
                    v[j] += move[j];
                }
            }
            run(&spec, round, device, memory);
            check_answer(v, "centered clipping");
        }
        csl_aggregate_memory_destroy(memory);
        csl_device_close(device);
    }
}

/* The authors' program: similarity of the sums over the rounds, weights on this round's rows. */
static void foolsgold_weights(double history[ROWS][COLUMNS], double *weight)
{
    double cs[ROWS][ROWS];
    double most[ROWS];
    double largest = 0;
    for (int i = 0; i < ROWS; i++) {
        most[i] = 0;
        for (int j = 0; j < ROWS; j++) {
            double norms = sqrt(inner(history[i], history[i]) * inner(history[j], history[j]));
            cs[i][j] = i == j ? 0 : inner(history[i], history[j]) / norms;
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
}

static void foolsgold_remembers_all_rounds(void)
{
    double history[ROWS][COLUMNS] = {{0}};
    csl_device *device = NULL;
    csl_aggregate_memory *memory = NULL;
    CHECK_OK(csl_device_open("host", 1, &device));
    CHECK_OK(csl_aggregate_memory_create(device, COLUMNS, &memory));
    csl_aggregate_spec spec = spec_of("foolsgold");
    for (uint32_t round = 0; round < 5; round++) {
        double weight[ROWS];
        double expected[COLUMNS];
        draw_rows();
        for (int i = 0; i < ROWS; i++) {
            for (int j = 0; j < COLUMNS; j++) {
                history[i][j] += x_[i][j];
            }
        }
        foolsgold_weights(history, weight);
        combine(weight, expected);
        run(&spec, round, device, memory);
        check_answer(expected, "foolsgold");
    }
    csl_aggregate_memory_destroy(memory);
    csl_device_close(device);
}

/* ---- parameters that other tests leave alone ---- */

static void rlr_reverses_its_base(void)
{
    for (int base = 0; base < 3; base++) {
        double expected[COLUMNS];
        draw_rows();
        csl_aggregate_spec spec = spec_of("rlr");
        CHECK_OK(csl_aggregate_spec_set(&spec, "base", base));
        CHECK_OK(csl_aggregate_spec_set(&spec, "theta", 4));
        for (int j = 0; j < COLUMNS; j++) {
            double column[ROWS];
            double mean = 0;
            int signs = 0;
            for (int i = 0; i < ROWS; i++) {
                column[i] = x_[i][j];
                mean += x_[i][j] / ROWS;
                signs += (x_[i][j] > 0) - (x_[i][j] < 0);
            }
            double value = base == 0   ? mean
                           : base == 1 ? ranked(column, ROWS, ROWS / 2)
                                       : (signs > 0) - (signs < 0);
            expected[j] = abs(signs) >= 4 ? value : -value;
        }
        run_once(&spec, 0);
        check_answer(expected, "rlr");
    }
}

/* Weights 1 + i^2 as given, or cut to twice their median, 17. */
static void weights_are_taken_as_the_policy_says(void)
{
    static const char *const rules[] = {"mean", "norm-clipping", "geometric-median"};
    for (int c = 0; c < 6; c++) {
        double weight[ROWS];
        double share[ROWS];
        double sum = 0;
        double expected[COLUMNS];
        draw_rows();
        csl_aggregate_spec spec = spec_of(rules[c / 2]);
        spec.f = c < 2 ? 0 : 1; /* two of these weights are more than half of all */
        spec.weights = c % 2 ? CSL_WEIGHTS_CAPPED : CSL_WEIGHTS_GIVEN;
        for (int i = 0; i < ROWS; i++) {
            share[i] = 1 + i * i;
            share[i] = c % 2 ? fmin(share[i], 2 * 17) : share[i];
            sum += share[i];
        }
        for (int i = 0; i < ROWS; i++) {
            share[i] /= sum;
            double norm = sqrt(inner(x_[i], x_[i]));
            weight[i] = share[i] * (c / 2 == 1 ? fmin(1, 5 / norm) : 1);
        }
        if (c / 2 == 1) {
            CHECK_OK(csl_aggregate_spec_set(&spec, "radius", 5));
        }
        combine(weight, expected);
        for (int step = 0; step < 3000 && c / 2 == 2; step++) { /* Weiszfeld on the vectors */
            double total = 0;
            for (int i = 0; i < ROWS; i++) {
                double square = 0;
                for (int j = 0; j < COLUMNS; j++) {
                    square += pow(x_[i][j] - expected[j], 2);
                }
                weight[i] = share[i] / fmax(1e-6, sqrt(square));
                total += weight[i];
            }
            for (int i = 0; i < ROWS; i++) {
                weight[i] /= total;
            }
            combine(weight, expected);
        }
        run_once(&spec, 0);
        check_answer(expected, rules[c / 2]);
    }
}

static void aksel_and_monna_take_their_parameters(void)
{
    for (int c = 0; c < 2; c++) {
        double score[ROWS] = {0};
        double weight[ROWS];
        double expected[COLUMNS];
        draw_rows();
        csl_aggregate_spec spec = spec_of(c ? "monna" : "aksel");
        CHECK_OK(csl_aggregate_spec_set(&spec, c ? "pivot" : "select", 4));
        int keep = c ? ROWS - FAULTS : 4;
        for (int j = 0; j < COLUMNS; j++) {
            double column[ROWS];
            for (int i = 0; i < ROWS; i++) {
                column[i] = x_[i][j];
            }
            double centre = c ? x_[4][j] : ranked(column, ROWS, ROWS / 2);
            for (int i = 0; i < ROWS; i++) {
                score[i] += pow(x_[i][j] - centre, 2);
            }
        }
        for (int i = 0; i < ROWS; i++) {
            weight[i] = score[i] <= ranked(score, ROWS, keep - 1) ? 1.0 / keep : 0;
        }
        combine(weight, expected);
        run_once(&spec, 0);
        check_answer(expected, spec.rule);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"noise has the deviation that was asked for", noise_has_the_deviation_that_was_asked_for},
        {"centered clipping starts where it ended", centered_clipping_starts_where_it_ended},
        {"foolsgold remembers all rounds", foolsgold_remembers_all_rounds},
        {"rlr reverses its base", rlr_reverses_its_base},
        {"weights are taken as the policy says", weights_are_taken_as_the_policy_says},
        {"aksel and monna take their parameters", aksel_and_monna_take_their_parameters},
    };
    return csl_test_main("robust memory", cases, sizeof cases / sizeof *cases);
}
