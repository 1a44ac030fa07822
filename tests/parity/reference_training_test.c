/* Rounds of local training against a float64 trainer that was written apart from the engine. */
#include "nn_parity.h"
#include "reference_trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3, EXTENT = 6, CHANNELS = 2, IMAGES = 18, TRAINING = 14, CLASSES = 3 };

/* Which terms a case has; their sizes are drawn. */
typedef struct recipe {
    const char *name;
    csl_layer_kind norm;
    csl_optimizer optimizer;
    csl_schedule schedule;
    bool has_momentum, nesterov, decays, warms_up, clips, has_proximal, has_correction;
    bool keeps_state, frozen, weighs_classes;
    uint32_t local_steps; /* 0: one epoch of 4, 4, 4 and 2 images */
} recipe;

#define BATCH_NORM CSL_LAYER_BATCH_NORM
#define GROUP_NORM CSL_LAYER_GROUP_NORM
static const recipe recipes[] = {
    {.name = "plain SGD, decay", .norm = GROUP_NORM, .decays = true, .local_steps = 5},
    {.name = "momentum, decay, steps after warm-up",
     .norm = BATCH_NORM,
     .schedule = CSL_SCHEDULE_STEP,
     .has_momentum = true,
     .decays = true,
     .warms_up = true,
     .keeps_state = true},
    {.name = "Nesterov, decay, cosine after warm-up, clipping, a fresh state each round",
     .norm = GROUP_NORM,
     .schedule = CSL_SCHEDULE_COSINE,
     .has_momentum = true,
     .nesterov = true,
     .decays = true,
     .warms_up = true,
     .clips = true,
     .local_steps = 5},
    {.name = "momentum, FedProx, SCAFFOLD, clipping, running values frozen",
     .norm = BATCH_NORM,
     .has_momentum = true,
     .clips = true,
     .has_proximal = true,
     .has_correction = true,
     .frozen = true},
    {.name = "AdamW, decay, cosine, kept state",
     .norm = GROUP_NORM,
     .optimizer = CSL_OPTIMIZER_ADAMW,
     .schedule = CSL_SCHEDULE_COSINE,
     .decays = true,
     .keeps_state = true},
    {.name = "AdamW, decay, warm-up, FedProx, SCAFFOLD, class weights",
     .norm = BATCH_NORM,
     .optimizer = CSL_OPTIMIZER_ADAMW,
     .schedule = CSL_SCHEDULE_STEP,
     .decays = true,
     .warms_up = true,
     .has_proximal = true,
     .has_correction = true,
     .weighs_classes = true,
     .local_steps = 5},
};

static float between(double low, double high)
{
    return (float)(low + (high - low) * csl_test_uniform());
}

/* Every size is large enough for a wrong term to stand out of rounding. */
static csl_train_options draw_options(const recipe *r)
{
    bool adamw = r->optimizer == CSL_OPTIMIZER_ADAMW;
    return (csl_train_options){.optimizer = r->optimizer,
                               .rate = adamw ? between(0.01, 0.02) : between(0.04, 0.08),
                               .momentum = r->has_momentum ? between(0.5, 0.9) : 0.0f,
                               .nesterov = r->nesterov,
                               .weight_decay = r->decays ? between(0.1, 0.3) : 0.0f,
                               .beta1 = between(0.7, 0.9),
                               .beta2 = between(0.8, 0.95),
                               .epsilon = between(0.01, 0.03),
                               .schedule = r->schedule,
                               .schedule_gamma = between(0.4, 0.7),
                               .schedule_step_rounds = 2,
                               .round_count = ROUNDS + 1,
                               .warmup_rounds = r->warms_up ? 1 : 0,
                               .clip_norm = r->clips ? between(0.4, 1.2) : 0.0f,
                               .batch = 4,
                               .local_epochs = 1,
                               .local_steps = r->local_steps,
                               .proximal_mu = r->has_proximal ? between(0.5, 1.0) : 0.0f,
                               .freeze_batch_norm = r->frozen,
                               .keep_optimizer_state = r->keeps_state,
                               .class_weights = r->weighs_classes,
                               .seed = csl_test_random()};
}

static csl_dataset *draw_data(void)
{
    csl_dataset *data = NULL;
    csl_shape shape = {{1, EXTENT, EXTENT}, CHANNELS};
    CHECK_OK(csl_dataset_create(CSL_TASK_MULTICLASS, shape, CSL_U8, CLASSES, IMAGES, &data));
    uint8_t *pixels = data->images;
    for (size_t i = 0; i < (size_t)IMAGES * EXTENT * EXTENT * CHANNELS; i++) {
        pixels[i] = (uint8_t)(csl_test_random() % 256);
    }
    for (int i = 0; i < IMAGES; i++) {
        data->labels[i] = i < CLASSES ? i : (int32_t)(csl_test_random() % CLASSES);
        data->split[i] = i < TRAINING ? CSL_SPLIT_TRAIN : CSL_SPLIT_TEST;
    }
    return data;
}

static csl_layer
make_layer(const char *name, csl_layer_kind kind, int32_t input, uint32_t channels, uint32_t size)
{
    csl_layer layer = {
        .kind = kind, .input = input, .from = -2, .groups = 1, .channels = channels, .bias = true};
    snprintf(layer.name, sizeof layer.name, "%s", name);
    for (int a = 0; a < 3; a++) {
        layer.window.size[a] = a > 0 ? size : 1;
        layer.window.stride[a] = kind == CSL_LAYER_AVERAGE_POOL ? layer.window.size[a] : 1;
        layer.window.dilation[a] = 1;
        layer.window.padding[a] = kind == CSL_LAYER_CONV ? layer.window.size[a] / 2 : 0;
    }
    return layer;
}

/* A residual block, dropout that is off, and a linear layer. Before a norm stands no bias: batch
 * norm takes it away, its gradient is rounding alone, and AdamW would divide by that. */
static csl_model_spec make_spec(csl_layer_kind norm, csl_layer *layers)
{
    csl_layer made[] = {
        make_layer("a", CSL_LAYER_CONV, -1, 4, 3),
        make_layer("an", norm, 0, 0, 1),
        make_layer("ar", CSL_LAYER_RELU, 1, 0, 1),
        make_layer("b", CSL_LAYER_CONV, 2, 4, 3),
        make_layer("sum", CSL_LAYER_ADD, 3, 0, 1),
        make_layer("sr", CSL_LAYER_RELU, 4, 0, 1),
        make_layer("mean", CSL_LAYER_AVERAGE_POOL, 5, 0, 3),
        make_layer("drop", CSL_LAYER_DROPOUT, 6, 0, 1),
        make_layer("out", CSL_LAYER_LINEAR, 7, CLASSES, 1),
    };
    made[0].bias = false;
    made[1].groups = norm == GROUP_NORM ? 2 : 1;
    made[3].groups = 2;
    made[4].from = 2;
    memcpy(layers, made, sizeof made);
    return (csl_model_spec){.name = "block",
                            .input = {{1, EXTENT, EXTENT}, CHANNELS},
                            .task = CSL_TASK_MULTICLASS,
                            .class_count = CLASSES,
                            .layer_count = sizeof made / sizeof made[0],
                            .layers = layers};
}

/* The two runs of a case. */
typedef struct duel {
    csl_dataset *data;
    csl_model_spec spec;
    csl_layer layers[9];
    csl_train_options options;
    size_t count;
    float *start;      /* [count] */
    float *correction; /* [count] or NULL */
    double *weights;   /* [ROUNDS][count] of the reference after each round */
    double loss[ROUNDS];
    bool shows; /* whether a difference would mean something */
} duel;

static void draw_duel(const recipe *r, duel *d)
{
    *d = (duel){.data = draw_data(), .options = draw_options(r)};
    d->spec = make_spec(r->norm, d->layers);
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    CHECK_OK(csl_model_spec_tensors(&d->spec, &tensors, &tensor_count, &d->count));
    CU_ASSERT_FATAL(d->count > 0);
    d->start = calloc(d->count, sizeof *d->start);
    d->correction = r->has_correction ? calloc(d->count, sizeof *d->correction) : NULL;
    d->weights = calloc(ROUNDS * d->count, sizeof *d->weights);
    CHECK_OK(csl_model_initialise(&d->spec, csl_test_random(), d->start));
    for (uint32_t t = 0; t < tensor_count; t++) {
        bool is_state = tensors[t].role == CSL_ROLE_RUNNING_MEAN ||
                        tensors[t].role == CSL_ROLE_RUNNING_VARIANCE;
        for (size_t i = tensors[t].offset; i < tensors[t].offset + tensors[t].count; i++) {
            d->start[i] += between(-0.2, 0.2); /* biases off 0, scales and variances off 1 */
            if (d->correction && !is_state) {
                d->correction[i] = between(-0.1, 0.1);
            }
        }
    }
    free(tensors);
}

static void free_duel(duel *d)
{
    csl_dataset_destroy(d->data);
    free(d->start);
    free(d->correction);
    free(d->weights);
}

static void run_reference(duel *d)
{
    reference_trainer reference;
    double *correction = calloc(d->count, sizeof *correction);
    double *weights = calloc(d->count, sizeof *weights);
    reference_trainer_open(&reference, &d->spec, d->data, &d->options);
    for (size_t i = 0; i < d->count; i++) {
        weights[i] = (double)d->start[i];
        correction[i] = d->correction ? (double)d->correction[i] : 0.0;
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        d->loss[round] =
            reference_trainer_round(&reference, round, d->correction ? correction : NULL, weights);
        memcpy(d->weights + round * d->count, weights, d->count * sizeof *weights);
    }
    /* float32 may fall on the other side of a ReLU's kink; of clipping both sides are wanted. */
    d->shows = reference.kink >= 1e-5 && (d->options.clip_norm == 0.0f ||
                                          (reference.clipped_steps && reference.unclipped_steps));
    reference_trainer_close(&reference);
    free(correction);
    free(weights);
}

/* Each tensor within 1e-4 of the way that it went (and a little of the longest way of any: one that
 * hardly moves carries the rounding of the others). */
static void
check_weights(nn_case *c, const recipe *r, const duel *d, uint32_t round, const float *w)
{
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    size_t count = 0;
    const double *expected = d->weights + round * d->count;
    double longest = 0.0;
    CHECK_OK(csl_model_spec_tensors(&d->spec, &tensors, &tensor_count, &count));
    for (size_t i = 0; i < count; i++) {
        longest = fmax(longest, fabs(expected[i] - (double)d->start[i]));
    }
    for (uint32_t t = 0; t < tensor_count; t++) {
        double way = 0.0, apart = 0.0;
        for (size_t i = tensors[t].offset; i < tensors[t].offset + tensors[t].count; i++) {
            way = fmax(way, fabs(expected[i] - (double)d->start[i]));
            double error = fabs((double)w[i] - expected[i]);
            apart = error <= apart ? apart : error; /* keeps a NaN */
        }
        char text[256];
        snprintf(text, sizeof text, "%s: %s after round %u on %s with %u threads, moved by %g",
                 r->name, tensors[t].name, round + 1, c->resource, c->threads, way);
        csl_test_check_near(apart, 0.0, 1e-4 * way + 1e-5 * longest, text, __FILE__, __LINE__);
    }
    free(tensors);
}

static void check_recipe(nn_case *c, const recipe *r)
{
    duel d;
    draw_duel(r, &d);
    run_reference(&d);
    for (int draws = 1; !d.shows; draws++) {
        CU_ASSERT_FATAL(draws < 400); /* frozen running values with clipping show in one of eight */
        free_duel(&d);
        draw_duel(r, &d);
        run_reference(&d);
    }
    csl_trainer *trainer = NULL;
    csl_normalisation normalisation;
    csl_train_result result = {0};
    float *weights = calloc(d.count, sizeof *weights);
    memcpy(weights, d.start, d.count * sizeof *weights);
    CHECK_OK(csl_normalisation_measure(d.data, &normalisation));
    CHECK_OK(
        csl_trainer_create(c->device, &d.spec, d.data, &normalisation, &d.options, NULL, &trainer));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        CHECK_OK(csl_trainer_round(trainer, round, weights, d.correction, NULL, NULL, &result));
        CHECK_NEAR(result.loss_mean, d.loss[round], 2e-5 * (1.0 + d.loss[round]));
        check_weights(c, r, &d, round, weights);
    }
    csl_trainer_destroy(trainer);
    free(weights);
    free_duel(&d);
}

static void check_recipes(nn_case *c)
{
#if defined(CSL_TEST_CUDASIM) && defined(__SANITIZE_ADDRESS__)
    enum { STRIDE = 3 }; /* seconds each: every run draws two */
#else
    enum { STRIDE = 1 };
#endif
    for (size_t i = csl_test_random() % STRIDE; i < sizeof recipes / sizeof recipes[0];
         i += STRIDE) {
        check_recipe(c, &recipes[i]);
    }
}

static void training_agrees_with_a_float64_trainer(void)
{
    nn_on_every_device(check_recipes);
}

/* Weights after the rounds of a duel on a device; the caller frees them. */
static float *train_again(nn_case *c, const duel *d)
{
    csl_trainer *trainer = NULL;
    csl_normalisation normalisation;
    csl_train_result result = {0};
    float *weights = malloc(d->count * sizeof *weights);
    memcpy(weights, d->start, d->count * sizeof *weights);
    CHECK_OK(csl_normalisation_measure(d->data, &normalisation));
    CHECK_OK(csl_trainer_create(c->device, &d->spec, d->data, &normalisation, &d->options, NULL,
                                &trainer));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        CHECK_OK(csl_trainer_round(trainer, round, weights, d->correction, NULL, NULL, &result));
    }
    csl_trainer_destroy(trainer);
    return weights;
}

/* With all that is random in training: order, augmentation, dropout. On the simulated card the two
 * runs meet different schedules. */
static void check_same_bits(nn_case *c)
{
    for (int i = 0; i < 2; i++) {
        duel d;
        draw_duel(&recipes[csl_test_random() % (sizeof recipes / sizeof recipes[0])], &d);
        d.layers[7].rate = 0.3f;
        d.options.augmentation = (csl_augmentation){
            .flip_horizontal = true, .shift = 1, .rotation_degrees = 20, .intensity = 0.1f};
        float *first = train_again(c, &d);
        float *second = train_again(c, &d);
        CU_ASSERT_EQUAL(memcmp(first, second, d.count * sizeof *first), 0);
        free(second);
        d.options.seed++;
        second = train_again(c, &d);
        CU_ASSERT_NOT_EQUAL(memcmp(first, second, d.count * sizeof *first), 0);
        free(first);
        free(second);
        free_duel(&d);
    }
}

static void the_same_seed_gives_the_same_bits(void)
{
    nn_on_every_device(check_same_bits);
}

int main(void)
{
    const csl_test_case cases[] = {
        {"training agrees with a float64 trainer", training_agrees_with_a_float64_trainer},
        {"the same seed gives the same bits", the_same_seed_gives_the_same_bits},
    };
    return csl_test_main("reference_training", cases, sizeof cases / sizeof cases[0]);
}
