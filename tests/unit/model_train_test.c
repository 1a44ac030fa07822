/* Options, schedules, augmentation, optimiser terms, state and failures of training. */
#include "test_support.h"

#include <consilium/train.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    csl_device *device;
    csl_model_spec *spec;
    csl_dataset *data;
    csl_normalisation normalisation;
    csl_train_options options;
    size_t count;
    float *start; /* [count] initial weights */
} fixture;

/* 40 random 3x3 images of two classes, 30 for training; plain SGD without momentum. */
static fixture make_fixture(const char *network)
{
    fixture f = {0};
    uint32_t extent = strcmp(network, "linear") == 0 ? 3 : 8;
    CHECK_OK(csl_device_open("host", 1, &f.device));
    CHECK_OK(csl_dataset_create(CSL_TASK_BINARY, (csl_shape){{1, extent, extent}, 1}, CSL_I16, 2,
                                40, &f.data));
    f.data->slope = 0.5;
    f.data->intercept = -100.0;
    int16_t *pixels = f.data->images;
    for (size_t i = 0; i < (size_t)40 * extent * extent; i++) {
        pixels[i] = (int16_t)(csl_test_random() % 2000);
    }
    for (int i = 0; i < 40; i++) {
        f.data->labels[i] = i % 3 == 0;
        f.data->split[i] = i < 30 ? CSL_SPLIT_TRAIN : CSL_SPLIT_VALIDATION;
    }
    CHECK_OK(csl_model_spec_zoo(network, NULL, f.data->shape, f.data->task, 2, &f.spec));
    CHECK_OK(csl_normalisation_measure(f.data, &f.normalisation));
    f.options = (csl_train_options){.rate = 0.1f, .batch = 8, .local_steps = 1, .seed = 11};
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    CHECK_OK(csl_model_spec_tensors(f.spec, &tensors, &tensor_count, &f.count));
    free(tensors);
    f.start = calloc(f.count, sizeof *f.start);
    CHECK_OK(csl_model_initialise(f.spec, 3, f.start));
    return f;
}

static void free_fixture(fixture *f)
{
    free(f->start);
    csl_dataset_destroy(f->data);
    csl_model_spec_destroy(f->spec);
    csl_device_close(f->device);
}

/* Weights after one round from the fixture's start; the caller frees them. */
static float *train(const fixture *f, uint32_t round, const float *correction)
{
    csl_trainer *trainer = NULL;
    csl_train_result result;
    float *weights = malloc(f->count * sizeof *weights);
    memcpy(weights, f->start, f->count * sizeof *weights);
    CHECK_OK(csl_trainer_create(f->device, f->spec, f->data, &f->normalisation, &f->options, NULL,
                                &trainer));
    CHECK_OK(csl_trainer_round(trainer, round, weights, correction, NULL, NULL, &result));
    csl_trainer_destroy(trainer);
    return weights;
}

static void the_rate_warms_up_and_falls(void)
{
    csl_train_options o = {.rate = 0.8f, .warmup_rounds = 2, .round_count = 10};
    CHECK_NEAR(csl_train_rate(&o, 0, 0, 4), 0.1, 1e-7);
    CHECK_NEAR(csl_train_rate(&o, 1, 3, 4), 0.8, 1e-7);
    CHECK_NEAR(csl_train_rate(&o, 9, 3, 4), 0.8, 1e-7);
    o.schedule = CSL_SCHEDULE_COSINE;
    CHECK_NEAR(csl_train_rate(&o, 2, 0, 4), 0.8, 1e-7);
    CHECK_NEAR(csl_train_rate(&o, 6, 0, 4), 0.4, 1e-7);
    CHECK_NEAR(csl_train_rate(&o, 12, 0, 4), 0.0, 1e-7);
    o.schedule = CSL_SCHEDULE_STEP;
    o.schedule_gamma = 0.5f;
    o.schedule_step_rounds = 3;
    CHECK_NEAR(csl_train_rate(&o, 5, 0, 4), 0.4, 1e-7);
    CHECK_NEAR(csl_train_rate(&o, 6, 0, 4), 0.2, 1e-7);
}

static void bad_options_are_refused_by_name(void)
{
    fixture f = make_fixture("linear");
    CHECK_OK(csl_train_options_check(&f.options));
    csl_train_options o = f.options;
    o.rate = NAN;
    CHECK_STATUS(csl_train_options_check(&o), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "training.lr");
    o = f.options;
    o.momentum = 1.0f;
    CHECK_STATUS(csl_train_options_check(&o), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "training.momentum");
    o = f.options;
    o.nesterov = true;
    CHECK_STATUS(csl_train_options_check(&o), CSL_E_RANGE);
    o = f.options;
    o.batch = 0;
    CHECK_STATUS(csl_train_options_check(&o), CSL_E_RANGE);
    o = f.options;
    o.local_steps = 0;
    CHECK_STATUS(csl_train_options_check(&o), CSL_E_RANGE);
    o = f.options;
    o.schedule = CSL_SCHEDULE_COSINE;
    CHECK_STATUS(csl_train_options_check(&o), CSL_E_RANGE);
    o = f.options;
    o.augmentation.scale = 1.0f;
    CHECK_STATUS(csl_train_options_check(&o), CSL_E_RANGE);
    free_fixture(&f);
}

static void augmentation_has_the_stated_spread(void)
{
    enum { COUNT = 4000 };
    const csl_augmentation a = {.flip_horizontal = true,
                                .shift = 2,
                                .rotation_degrees = 30,
                                .scale = 0.2f,
                                .intensity = 0.3f};
    uint64_t seed = csl_test_random();
    int flips = 0;
    int shifts[5] = {0};
    double angle_sum = 0.0;
    double angle_max = 0.0;
    double gain_sum = 0.0;
    for (uint32_t i = 0; i < COUNT; i++) {
        csl_random random = csl_random_stream(seed, CSL_RANDOM_AUGMENT, 0, i);
        csl_augment m;
        csl_augmentation_draw(&a, (csl_shape){{1, 28, 28}, 1}, &random, &m);
        CHECK_NEAR((double)m.matrix[0], 1.0, 1e-6); /* depth stays */
        CHECK_NEAR((double)m.shift[0], 0.0, 0.0);
        double determinant =
            (double)m.matrix[4] * (double)m.matrix[8] - (double)m.matrix[5] * (double)m.matrix[7];
        flips += determinant < 0.0;
        double zoom = 1.0 / sqrt(fabs(determinant));
        CU_ASSERT(zoom > 0.7999 && zoom < 1.2001);
        double angle = atan2((double)m.matrix[7], (double)m.matrix[4]) * 57.29577951308232;
        angle_sum += angle;
        angle_max = fmax(angle_max, fabs(angle));
        CU_ASSERT(m.shift[1] == floorf(m.shift[1]) && fabsf(m.shift[1]) <= 2.0f);
        shifts[(int)m.shift[1] + 2]++;
        gain_sum += (double)m.gain;
        CU_ASSERT(m.gain >= 0.7f && m.gain <= 1.3f && fabsf(m.offset) <= 0.3f);
    }
    /* Five standard deviations each. */
    CHECK_NEAR(flips, COUNT / 2.0, 5 * sqrt(COUNT / 4.0));
    for (int i = 0; i < 5; i++) {
        CHECK_NEAR(shifts[i], COUNT / 5.0, 5 * sqrt(COUNT * 0.16));
    }
    CHECK_NEAR(angle_sum / COUNT, 0.0, 5 * 30 / sqrt(3.0 * COUNT));
    CU_ASSERT(angle_max > 29.0 && angle_max <= 30.001);
    CHECK_NEAR(gain_sum / COUNT, 1.0, 5 * 0.3 / sqrt(3.0 * COUNT));
}

static void augmentation_that_is_off_changes_nothing(void)
{
    const csl_augmentation a = {0};
    csl_random random = csl_random_stream(1, CSL_RANDOM_AUGMENT, 0, 0);
    csl_augment m;
    csl_augmentation_draw(&a, (csl_shape){{4, 4, 4}, 1}, &random, &m);
    for (int i = 0; i < 9; i++) {
        CHECK_NEAR((double)m.matrix[i], i % 4 == 0 ? 1.0 : 0.0, 0.0);
    }
    CHECK_NEAR((double)m.gain, 1.0, 0.0);
    CHECK_NEAR((double)m.offset, 0.0, 0.0);
}

static void normalisation_is_mean_and_deviation_of_the_training_split(void)
{
    fixture f = make_fixture("linear");
    const int16_t *pixels = f.data->images;
    double sum = 0.0;
    double squares = 0.0;
    size_t n = 30 * 9;
    for (size_t i = 0; i < n; i++) {
        sum += pixels[i] * 0.5 - 100.0;
    }
    for (size_t i = 0; i < n; i++) {
        squares += pow(pixels[i] * 0.5 - 100.0 - sum / (double)n, 2.0);
    }
    CHECK_NEAR((double)f.normalisation.mean[0], sum / (double)n, 1e-3);
    CHECK_NEAR((double)f.normalisation.deviation[0], sqrt(squares / (double)n), 1e-3);
    memset(f.data->images, 0, 40 * 9 * sizeof(int16_t));
    CHECK_OK(csl_normalisation_measure(f.data, &f.normalisation));
    CHECK_NEAR((double)f.normalisation.deviation[0], 1.0, 0.0);
    memset(f.data->split, CSL_SPLIT_TEST, 40);
    CHECK_STATUS(csl_normalisation_measure(f.data, &f.normalisation), CSL_E_RANGE);
    free_fixture(&f);
}

static void the_same_seed_gives_the_same_bits(void)
{
    fixture f = make_fixture("mnist-example");
    f.options.local_steps = 6;
    f.options.augmentation = (csl_augmentation){.flip_vertical = true, .shift = 1};
    float *first = train(&f, 2, NULL);
    float *second = train(&f, 2, NULL);
    CU_ASSERT_EQUAL(memcmp(first, second, f.count * sizeof *first), 0);
    float *other_round = train(&f, 3, NULL);
    CU_ASSERT_NOT_EQUAL(memcmp(first, other_round, f.count * sizeof *first), 0);
    f.options.seed++;
    float *other_seed = train(&f, 2, NULL);
    CU_ASSERT_NOT_EQUAL(memcmp(first, other_seed, f.count * sizeof *first), 0);
    free(first);
    free(second);
    free(other_round);
    free(other_seed);
    free_fixture(&f);
}

/* One SGD step w - rate g: SCAFFOLD adds c to g; clipping bounds |g|; FedProx pulls from step 2 on;
 * decay spares the biases. */
static void the_terms_of_a_step_are_the_written_ones(void)
{
    fixture f = make_fixture("linear");
    float *plain = train(&f, 0, NULL);
    float *correction = malloc(f.count * sizeof *correction);
    double norm = 0.0;
    for (size_t i = 0; i < f.count; i++) {
        correction[i] = (float)csl_test_normal();
        norm += pow(((double)f.start[i] - (double)plain[i]) / 0.1, 2.0);
    }
    norm = sqrt(norm);
    float *corrected = train(&f, 0, correction);
    f.options.clip_norm = (float)(norm / 4.0);
    float *clipped = train(&f, 0, NULL);
    f.options.clip_norm = 0.0f;
    f.options.weight_decay = 0.5f;
    float *decayed = train(&f, 0, NULL);
    f.options.weight_decay = 0.0f;
    for (size_t i = 0; i < f.count; i++) {
        double step = (double)plain[i] - (double)f.start[i];
        CHECK_NEAR((double)corrected[i], (double)plain[i] - 0.1 * (double)correction[i], 1e-6);
        CHECK_NEAR((double)clipped[i], (double)f.start[i] + step / 4.0, 1e-6);
        double decay = i < f.count - 2 ? 0.1 * 0.5 * (double)f.start[i] : 0.0; /* two biases last */
        CHECK_NEAR((double)decayed[i], (double)plain[i] - decay, 1e-6);
    }
    f.options.local_steps = 10;
    float *free_run = train(&f, 0, NULL);
    f.options.proximal_mu = 5.0f;
    float *pulled = train(&f, 0, NULL);
    double far = 0.0;
    double near = 0.0;
    for (size_t i = 0; i < f.count; i++) {
        far += pow((double)(free_run[i] - f.start[i]), 2.0);
        near += pow((double)(pulled[i] - f.start[i]), 2.0);
    }
    CU_ASSERT(near < far);
    free(plain);
    free(correction);
    free(corrected);
    free(clipped);
    free(decayed);
    free(free_run);
    free(pulled);
    free_fixture(&f);
}

/* Two rounds in one trainer, and the same two in two trainers with the state carried over. */
static void kept_state_moves_to_another_trainer(void)
{
    for (int adamw = 0; adamw < 2; adamw++) {
        fixture f = make_fixture("linear");
        f.options.optimizer = adamw ? CSL_OPTIMIZER_ADAMW : CSL_OPTIMIZER_SGD;
        f.options.momentum = 0.9f;
        f.options.beta1 = 0.9f;
        f.options.beta2 = 0.99f;
        f.options.epsilon = 1e-8f;
        f.options.keep_optimizer_state = true;
        csl_trainer *trainer = NULL;
        csl_train_result result;
        float *stayed = malloc(f.count * sizeof *stayed);
        float *moved = malloc(f.count * sizeof *moved);
        memcpy(stayed, f.start, f.count * sizeof *stayed);
        CHECK_OK(csl_trainer_create(f.device, f.spec, f.data, &f.normalisation, &f.options, NULL,
                                    &trainer));
        size_t state_count = csl_trainer_state_count(trainer);
        CHECK_U64(state_count, adamw ? 2 * f.count + 2 : f.count);
        float *state = malloc(state_count * sizeof *state);
        CHECK_OK(csl_trainer_round(trainer, 0, stayed, NULL, NULL, NULL, &result));
        memcpy(moved, stayed, f.count * sizeof *moved);
        CHECK_OK(csl_trainer_get_state(trainer, state));
        CHECK_OK(csl_trainer_round(trainer, 1, stayed, NULL, NULL, NULL, &result));
        CHECK_OK(csl_trainer_bind(trainer, f.data, &f.normalisation, NULL, f.options.seed));
        CHECK_OK(csl_trainer_set_state(trainer, state));
        CHECK_OK(csl_trainer_round(trainer, 1, moved, NULL, NULL, NULL, &result));
        CU_ASSERT_EQUAL(memcmp(stayed, moved, f.count * sizeof *moved), 0);
        csl_trainer_destroy(trainer);
        free(stayed);
        free(moved);
        free(state);
        free_fixture(&f);
    }
}

static int stop_at_once(void *context, uint64_t step, uint64_t step_count, double loss)
{
    (void)step;
    (void)loss;
    *(uint64_t *)context = step_count;
    return 1;
}

static void a_failed_round_says_where_and_leaves_the_weights(void)
{
    fixture f = make_fixture("linear");
    f.options.local_steps = 0;
    f.options.local_epochs = 2;
    csl_trainer *trainer = NULL;
    csl_train_result result;
    float *weights = malloc(f.count * sizeof *weights);
    float *before = malloc(f.count * sizeof *before);
    memcpy(weights, f.start, f.count * sizeof *weights);
    CHECK_OK(
        csl_trainer_create(f.device, f.spec, f.data, &f.normalisation, &f.options, NULL, &trainer));
    uint64_t step_count = 0;
    CHECK_STATUS(csl_trainer_round(trainer, 4, weights, NULL, stop_at_once, &step_count, &result),
                 CSL_E_STATE);
    CHECK_U64(step_count, 8); /* two passes over 30 images in batches of 8 */
    CU_ASSERT_EQUAL(memcmp(weights, f.start, f.count * sizeof *weights), 0);
    weights[0] = INFINITY;
    memcpy(before, weights, f.count * sizeof *before);
    CHECK_STATUS(csl_trainer_round(trainer, 4, weights, NULL, NULL, NULL, &result), CSL_E_DIVERGED);
    CHECK_CONTAINS(csl_error_message(), "step 1 of 8: the loss is not finite");
    CU_ASSERT_EQUAL(memcmp(weights, before, f.count * sizeof *before), 0);
    memcpy(weights, f.start, f.count * sizeof *weights);
    CHECK_OK(csl_trainer_round(trainer, 4, weights, NULL, NULL, NULL, &result)); /* still usable */
    CHECK_U64(result.image_count, 60);
    csl_trainer_destroy(trainer);
    free(weights);
    free(before);
    free_fixture(&f);
}

static void data_that_does_not_suit_is_refused(void)
{
    fixture f = make_fixture("linear");
    csl_trainer *trainer = NULL;
    f.data->labels[5] = 2;
    CHECK_STATUS(
        csl_trainer_create(f.device, f.spec, f.data, &f.normalisation, &f.options, NULL, &trainer),
        CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "image 5");
    f.data->labels[5] = 0;
    f.data->shape.extent[1] = 9;
    f.data->shape.extent[2] = 1;
    CHECK_STATUS(
        csl_trainer_create(f.device, f.spec, f.data, &f.normalisation, &f.options, NULL, &trainer),
        CSL_E_SHAPE);
    CHECK_CONTAINS(csl_error_message(), "1x9x1");
    CU_ASSERT_PTR_NULL(trainer);
    CHECK_U64(csl_device_allocated_size(f.device), 0);
    free_fixture(&f);
}

int main(void)
{
    const csl_test_case cases[] = {
        {"the rate warms up and falls", the_rate_warms_up_and_falls},
        {"bad options are refused by name", bad_options_are_refused_by_name},
        {"augmentation has the stated spread", augmentation_has_the_stated_spread},
        {"augmentation that is off changes nothing", augmentation_that_is_off_changes_nothing},
        {"normalisation is mean and deviation of the training split",
         normalisation_is_mean_and_deviation_of_the_training_split},
        {"the same seed gives the same bits", the_same_seed_gives_the_same_bits},
        {"the terms of a step are the written ones", the_terms_of_a_step_are_the_written_ones},
        {"kept state moves to another trainer", kept_state_moves_to_another_trainer},
        {"a failed round says where and leaves the weights",
         a_failed_round_says_where_and_leaves_the_weights},
        {"data that does not suit is refused", data_that_does_not_suit_is_refused},
    };
    return csl_test_main("model_train", cases, sizeof cases / sizeof cases[0]);
}
