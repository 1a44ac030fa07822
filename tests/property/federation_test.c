#include "test_support.h"

#include <consilium/federation.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 3000, INSTITUTIONS = 5 };

static csl_federation *make(csl_federation_options options)
{
    static const csl_tensor tensors[] = {
        {.name = "a", .role = CSL_ROLE_WEIGHT, .layer_kind = CSL_LAYER_CONV, .count = 1777},
        {.name = "b",
         .role = CSL_ROLE_RUNNING_MEAN,
         .layer_kind = CSL_LAYER_BATCH_NORM,
         .offset = 1777,
         .count = 23},
        {.name = "c",
         .role = CSL_ROLE_WEIGHT,
         .layer_kind = CSL_LAYER_LINEAR,
         .offset = 1800,
         .count = 1200},
    };
    csl_federation *federation = NULL;
    CHECK_OK(csl_federation_create(&options, tensors, 3, &federation));
    CU_ASSERT_PTR_NOT_NULL_FATAL(federation);
    return federation;
}

static csl_federation_options options_for(csl_algorithm algorithm)
{
    return (csl_federation_options){
        .algorithm = algorithm, .server_rate = 0.3f, .beta1 = 0.9f, .beta2 = 0.99f, .tau = 1e-3f};
}

static void fill(float *values, double scale)
{
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = (float)(scale * csl_test_normal());
    }
}

/* The formulas of Reddi et al. 2021, algorithm 2, kept in float64 from round to round. */
static void oracle_step(
    csl_algorithm algorithm, const float *aggregate, double *weights, double *first, double *second)
{
    csl_federation_options options = options_for(algorithm);
    double beta1 = (double)options.beta1;
    double beta2 = (double)options.beta2;
    double rate = (double)options.server_rate;
    for (size_t i = 0; i < COUNT; i++) {
        double delta = (double)aggregate[i];
        if (i >= 1777 && i < 1800) {
            weights[i] += delta;
            continue;
        }
        if (algorithm != CSL_FEDADAM && algorithm != CSL_FEDYOGI) {
            weights[i] += rate * delta;
            continue;
        }
        first[i] = beta1 * first[i] + (1.0 - beta1) * delta;
        if (algorithm == CSL_FEDADAM) {
            second[i] = beta2 * second[i] + (1.0 - beta2) * delta * delta;
        } else {
            double gap = second[i] - delta * delta;
            second[i] -= (1.0 - beta2) * delta * delta * (gap > 0.0 ? 1.0 : gap < 0.0 ? -1.0 : 0.0);
        }
        weights[i] += rate * first[i] / (sqrt(second[i]) + (double)options.tau);
    }
}

static void every_server_step_follows_its_formula_for_twenty_rounds(void)
{
    for (csl_algorithm algorithm = CSL_FEDAVG; algorithm <= CSL_FEDYOGI; algorithm++) {
        csl_federation *federation = make(options_for(algorithm));
        static float weights[COUNT], first[COUNT], second[COUNT], aggregate[COUNT];
        static double exact[COUNT], exact_first[COUNT], exact_second[COUNT];
        fill(weights, 0.1);
        csl_federation_initial_moments(federation, COUNT, first, second);
        for (size_t i = 0; i < COUNT; i++) {
            exact[i] = (double)weights[i];
            exact_first[i] = 0.0;
            exact_second[i] = (double)1e-3f * (double)1e-3f;
        }
        for (int round = 0; round < 20; round++) {
            fill(aggregate, 0.02);
            CHECK_OK(csl_federation_apply(federation, 0, COUNT, aggregate, weights, first, second));
            oracle_step(algorithm, aggregate, exact, exact_first, exact_second);
        }
        double worst = 0.0;
        for (size_t i = 0; i < COUNT; i++) {
            worst = fmax(worst, fabs((double)weights[i] - exact[i]) / (1.0 + fabs(exact[i])));
        }
        CHECK_NEAR(worst, 0.0, 1e-5);
        csl_federation_destroy(federation);
    }
}

static void any_cut_of_the_coordinates_gives_the_same_bits(void)
{
    for (csl_algorithm algorithm = CSL_FEDAVG; algorithm <= CSL_FEDYOGI; algorithm++) {
        csl_federation *federation = make(options_for(algorithm));
        static float start[COUNT], aggregate[COUNT], update[COUNT], trained[COUNT];
        static float whole[3][COUNT], pieces[3][COUNT], update_pieces[COUNT], control[2][COUNT];
        fill(start, 1.0);
        fill(trained, 1.0);
        fill(aggregate, 0.1);
        memcpy(whole[0], start, sizeof start);
        memcpy(pieces[0], start, sizeof start);
        fill(control[0], 0.1);
        memcpy(control[1], control[0], sizeof start);
        csl_federation_initial_moments(federation, COUNT, whole[1], whole[2]);
        csl_federation_initial_moments(federation, COUNT, pieces[1], pieces[2]);
        CHECK_OK(
            csl_federation_apply(federation, 0, COUNT, aggregate, whole[0], whole[1], whole[2]));
        CHECK_OK(csl_federation_update(federation, 0, COUNT, start, trained, update));
        CHECK_OK(csl_scaffold_apply(federation, 0, COUNT, aggregate, 3, 8, control[0]));
        size_t begin = 0;
        while (begin < COUNT) {
            size_t count = (size_t)(csl_test_random() % 700);
            count = count > COUNT - begin ? COUNT - begin : count;
            CHECK_OK(csl_federation_apply(federation, begin, count, aggregate + begin,
                                          pieces[0] + begin, pieces[1] + begin, pieces[2] + begin));
            CHECK_OK(csl_federation_update(federation, begin, count, start + begin, trained + begin,
                                           update_pieces + begin));
            CHECK_OK(csl_scaffold_apply(federation, begin, count, aggregate + begin, 3, 8,
                                        control[1] + begin));
            begin += count;
        }
        CU_ASSERT(memcmp(whole, pieces, sizeof whole) == 0);
        CU_ASSERT(memcmp(update, update_pieces, sizeof update) == 0);
        CU_ASSERT(memcmp(control[0], control[1], sizeof start) == 0);
        csl_federation_destroy(federation);
    }
}

/* Gradient of institution i's loss 1/2 sum_j h_j (x_j - t_ij)^2. */
static double gradient(double curvature, double target, double x)
{
    return curvature * (x - target);
}

typedef struct simulation {
    csl_federation *federation;
    float weights[COUNT];
    float control[COUNT];
    float controls[INSTITUTIONS][COUNT];
    float target[INSTITUTIONS][COUNT];
    float curvature[INSTITUTIONS][COUNT];
} simulation;

/* One round of SCAFFOLD or FedAvg with plain gradient steps. */
static void simulate_round(simulation *run, int step_count, double rate)
{
    static float aggregate[COUNT], change[COUNT], correction[COUNT], trained[COUNT], update[COUNT];
    static float difference[COUNT];
    double update_sum[COUNT] = {0};
    double change_sum[COUNT] = {0};
    bool scaffold = csl_federation_has_control(run->federation);
    double divisor = 0.0;
    csl_train_options steps = {.rate = (float)rate};
    CHECK_OK(csl_scaffold_divisor(&steps, 0, (uint64_t)step_count, &divisor));
    for (int i = 0; i < INSTITUTIONS; i++) {
        memset(correction, 0, sizeof correction);
        if (scaffold) {
            csl_scaffold_correction(run->federation, run->control, run->controls[i], correction);
        }
        for (size_t j = 0; j < COUNT; j++) {
            double x = (double)run->weights[j];
            for (int step = 0; step < step_count; step++) {
                x -= rate * (gradient((double)run->curvature[i][j], (double)run->target[i][j], x) +
                             (double)correction[j]);
            }
            trained[j] = (float)x;
        }
        CHECK_OK(csl_federation_update(run->federation, 0, COUNT, run->weights, trained, update));
        if (scaffold) {
            CHECK_OK(csl_scaffold_control(run->federation, run->control, update, divisor,
                                          run->controls[i], difference));
        }
        for (size_t j = 0; j < COUNT; j++) {
            update_sum[j] += (double)update[j] / INSTITUTIONS;
            change_sum[j] += (double)difference[j] / INSTITUTIONS;
        }
    }
    for (size_t j = 0; j < COUNT; j++) {
        aggregate[j] = (float)update_sum[j];
        change[j] = (float)change_sum[j];
    }
    CHECK_OK(csl_federation_apply(run->federation, 0, COUNT, aggregate, run->weights, NULL, NULL));
    if (scaffold) {
        CHECK_OK(csl_scaffold_apply(run->federation, 0, COUNT, change, INSTITUTIONS, INSTITUTIONS,
                                    run->control));
    }
}

static simulation *new_simulation(csl_algorithm algorithm)
{
    csl_federation_options options = options_for(algorithm);
    options.server_rate = 1.0f;
    simulation *run = calloc(1, sizeof *run);
    CU_ASSERT_PTR_NOT_NULL_FATAL(run);
    run->federation = make(options);
    return run;
}

static void with_equal_institutions_scaffold_is_fedavg(void)
{
    simulation *scaffold = new_simulation(CSL_SCAFFOLD);
    simulation *fedavg = new_simulation(CSL_FEDAVG);
    fill(scaffold->target[0], 1.0);
    for (int i = 0; i < INSTITUTIONS; i++) {
        for (size_t j = 0; j < COUNT; j++) {
            scaffold->target[i][j] = fedavg->target[i][j] = scaffold->target[0][j];
            scaffold->curvature[i][j] = fedavg->curvature[i][j] = 0.5f;
        }
    }
    double worst = 0.0;
    for (int round = 0; round < 10; round++) {
        simulate_round(scaffold, 4, 0.1);
        simulate_round(fedavg, 4, 0.1);
    }
    for (size_t j = 0; j < COUNT; j++) {
        worst = fmax(worst, fabs((double)scaffold->weights[j] - (double)fedavg->weights[j]));
    }
    CHECK_NEAR(worst, 0.0, 1e-5);
    csl_federation_destroy(scaffold->federation);
    csl_federation_destroy(fedavg->federation);
    free(scaffold);
    free(fedavg);
}

/* Largest distance to the minimum of the mean loss, over trained coordinates. */
static double distance_to_optimum(const simulation *run)
{
    double worst = 0.0;
    for (size_t j = 0; j < COUNT; j++) {
        if (j >= 1777 && j < 1800) {
            continue;
        }
        double numerator = 0.0;
        double denominator = 0.0;
        for (int i = 0; i < INSTITUTIONS; i++) {
            numerator += (double)run->curvature[i][j] * (double)run->target[i][j];
            denominator += (double)run->curvature[i][j];
        }
        worst = fmax(worst, fabs((double)run->weights[j] - numerator / denominator));
    }
    return worst;
}

static void scaffold_reaches_the_common_minimum_where_fedavg_drifts(void)
{
    simulation *scaffold = new_simulation(CSL_SCAFFOLD);
    simulation *fedavg = new_simulation(CSL_FEDAVG);
    for (int i = 0; i < INSTITUTIONS; i++) {
        fill(scaffold->target[i], 1.0);
        for (size_t j = 0; j < COUNT; j++) {
            scaffold->curvature[i][j] = (float)(0.2 + csl_test_uniform());
        }
    }
    memcpy(fedavg->target, scaffold->target, sizeof fedavg->target);
    memcpy(fedavg->curvature, scaffold->curvature, sizeof fedavg->curvature);
    for (int round = 0; round < 120; round++) {
        simulate_round(scaffold, 10, 0.1);
        simulate_round(fedavg, 10, 0.1);
    }
    CHECK_NEAR(distance_to_optimum(scaffold), 0.0, 1e-4);
    CU_ASSERT(distance_to_optimum(fedavg) > 1e-2);
    csl_federation_destroy(scaffold->federation);
    csl_federation_destroy(fedavg->federation);
    free(scaffold);
    free(fedavg);
}

static void the_divisor_turns_a_constant_gradient_back_into_itself(void)
{
    for (int i = 0; i < 200; i++) {
        csl_train_options options = {
            .rate = (float)(0.001 + csl_test_uniform()),
            .momentum = (float)(0.95 * csl_test_uniform()),
            .nesterov = csl_test_random() % 2,
            .schedule = csl_test_random() % 2 ? CSL_SCHEDULE_COSINE : CSL_SCHEDULE_CONSTANT,
            .round_count = 1 + (uint32_t)(csl_test_random() % 4),
        };
        uint32_t round = (uint32_t)(csl_test_random() % options.round_count); /* also the last */
        uint64_t step_count = 1 + csl_test_random() % 50;
        double momentum = (double)options.momentum;
        double slope = csl_test_normal();
        double x = 0.0;
        double velocity = 0.0;
        for (uint64_t step = 0; step < step_count; step++) {
            velocity = momentum * velocity + slope;
            x -= csl_train_rate(&options, round, step, step_count) *
                 (options.nesterov ? slope + momentum * velocity : velocity);
        }
        double divisor = 0.0;
        CHECK_OK(csl_scaffold_divisor(&options, round, step_count, &divisor));
        CHECK_NEAR(-x / divisor, slope, 1e-9 * (1.0 + fabs(slope)));
    }
    double unused = 0.0;
    csl_train_options options = {.rate = 0.1f, .momentum = 1.0f};
    CHECK_STATUS(csl_scaffold_divisor(&options, 0, 3, &unused), CSL_E_RANGE);
    options.momentum = 0.5f;
    CHECK_STATUS(csl_scaffold_divisor(&options, 0, 0, &unused), CSL_E_RANGE);
    options.rate = 0.0f;
    CHECK_STATUS(csl_scaffold_divisor(&options, 0, 3, &unused), CSL_E_RANGE);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every server step follows its formula",
         every_server_step_follows_its_formula_for_twenty_rounds},
        {"any cut of the coordinates gives the same bits",
         any_cut_of_the_coordinates_gives_the_same_bits},
        {"with equal institutions SCAFFOLD is FedAvg", with_equal_institutions_scaffold_is_fedavg},
        {"SCAFFOLD reaches the common minimum",
         scaffold_reaches_the_common_minimum_where_fedavg_drifts},
        {"the divisor turns a constant gradient back",
         the_divisor_turns_a_constant_gradient_back_into_itself},
    };
    return csl_test_main("federation", cases, sizeof cases / sizeof *cases);
}
