/* Whole networks: gradients against float64, training, memory, shards, determinism. */
#include "nn_parity.h"
#include "oracle_network.h"

#include <consilium/train.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Mean loss of a spec in training mode in float64. */
static double oracle_loss(oracle_network *network,
                          const double *theta,
                          const double *images,
                          const int32_t *labels,
                          uint32_t batch)
{
    oracle_network_forward(network, theta, images, batch);
    return oracle_network_loss(network, labels, NULL);
}

static csl_layer plain_layer(const char *name, csl_layer_kind kind, int32_t input)
{
    csl_layer layer = {.kind = kind, .input = input, .from = -2, .groups = 1};
    snprintf(layer.name, sizeof layer.name, "%s", name);
    for (int a = 0; a < 3; a++) {
        layer.window.size[a] = layer.window.stride[a] = layer.window.dilation[a] = 1;
    }
    return layer;
}

static csl_layer
conv_layer(const char *name, int32_t input, uint32_t channels, uint32_t size, uint32_t groups)
{
    csl_layer layer = plain_layer(name, CSL_LAYER_CONV, input);
    layer.channels = channels;
    layer.groups = groups;
    layer.bias = true;
    for (int a = 1; a < 3; a++) {
        layer.window.size[a] = size;
        layer.window.padding[a] = size / 2;
    }
    return layer;
}

static csl_layer add_layer(const char *name, int32_t input, int32_t from)
{
    csl_layer layer = plain_layer(name, CSL_LAYER_ADD, input);
    layer.from = from;
    return layer;
}

/* A knot: values with three readers, sums of sums, a lone ReLU, the image read twice, groups,
 * average and global max pooling. Every rule of the gradient plan is exercised. */
static csl_model_spec *knot_spec(csl_layer_kind norm)
{
    csl_layer layers[] = {
        conv_layer("a", -1, 4, 3, 1),                    /* 0 */
        plain_layer("an", norm, 0),                      /* 1 */
        plain_layer("ar", CSL_LAYER_RELU, 1),            /* 2 read by b, sum1, sum2 */
        conv_layer("b", 2, 4, 3, 2),                     /* 3 */
        add_layer("sum1", 3, 2),                         /* 4 read by its ReLU and c */
        plain_layer("lone", CSL_LAYER_RELU, 4),          /* 5 */
        conv_layer("c", 4, 4, 1, 4),                     /* 6 */
        add_layer("sum2", 5, 2),                         /* 7 */
        add_layer("sum3", 7, 6),                         /* 8 */
        add_layer("sum4", 8, 5),                         /* 9 */
        plain_layer("sr", CSL_LAYER_RELU, 9),            /* 10 */
        plain_layer("mean", CSL_LAYER_AVERAGE_POOL, 10), /* 11 */
        conv_layer("d", -1, 4, 1, 1),                    /* 12 */
        plain_layer("dmean", CSL_LAYER_AVERAGE_POOL, 12),
        add_layer("sum5", 11, 13),                         /* 14 */
        plain_layer("top", CSL_LAYER_GLOBAL_MAX_POOL, 14), /* 15 */
        plain_layer("out", CSL_LAYER_LINEAR, 15),
    };
    layers[1].groups = norm == CSL_LAYER_GROUP_NORM ? 2 : 1;
    layers[11].window.size[1] = layers[11].window.size[2] = 2;
    layers[11].window.stride[1] = layers[11].window.stride[2] = 2;
    layers[13].window = layers[11].window;
    layers[16].channels = 3;
    layers[16].bias = true;
    csl_model_spec *spec = calloc(1, sizeof *spec);
    *spec = (csl_model_spec){.name = "knot",
                             .input = {{1, 6, 6}, 2},
                             .task = CSL_TASK_MULTICLASS,
                             .class_count = 3,
                             .layer_count = sizeof layers / sizeof layers[0]};
    spec->layers = malloc(sizeof layers);
    memcpy(spec->layers, layers, sizeof layers);
    return spec;
}

/* A network whose maps all lie in blocks of channels where convolutions like them: pools of both
 * kinds, a sum, batch norm, and the dense layers that cannot. */
static csl_model_spec *blocks_spec(void)
{
    csl_layer layers[] = {
        conv_layer("a", -1, 16, 3, 1),
        plain_layer("an", CSL_LAYER_BATCH_NORM, 0),
        plain_layer("ar", CSL_LAYER_RELU, 1),
        plain_layer("pool", CSL_LAYER_MAX_POOL, 2),
        conv_layer("b", 3, 32, 3, 1),
        conv_layer("c", 3, 32, 1, 1),
        add_layer("sum", 4, 5),
        plain_layer("mean", CSL_LAYER_AVERAGE_POOL, 6),
        plain_layer("top", CSL_LAYER_GLOBAL_MAX_POOL, 7),
        plain_layer("out", CSL_LAYER_LINEAR, 8),
    };
    for (int i = 3; i <= 7; i += 4) {
        layers[i].window.size[1] = layers[i].window.size[2] = 2;
        layers[i].window.stride[1] = layers[i].window.stride[2] = 2;
    }
    layers[9].channels = 3;
    layers[9].bias = true;
    csl_model_spec *spec = calloc(1, sizeof *spec);
    *spec = (csl_model_spec){.name = "blocks",
                             .input = {{1, 9, 8}, 1},
                             .task = CSL_TASK_MULTICLASS,
                             .class_count = 3,
                             .layer_count = sizeof layers / sizeof layers[0]};
    spec->layers = malloc(sizeof layers);
    memcpy(spec->layers, layers, sizeof layers);
    return spec;
}

/* Runs forward, loss and backward on the device; gradient: [parameter_count]. */
static double device_gradient(nn_case *c,
                              const csl_model_spec *spec,
                              const float *parameters,
                              const float *images,
                              const int32_t *labels,
                              uint32_t batch,
                              float *gradient)
{
    csl_model *model = NULL;
    uint64_t expected = 0;
    uint64_t before = csl_device_allocated_size(c->device);
    CHECK_OK(csl_model_memory_size(spec, batch, true, &expected));
    CHECK_OK(csl_model_create(c->device, spec, batch, true, &model));
    uint64_t taken = csl_device_allocated_size(c->device) - before;
    if (strncmp(c->resource, "host", 4) == 0) {
        CHECK_U64(taken, expected); /* the host's convolutions keep their order in its own memory */
    } else {
        uint64_t kept = 0;
        uint64_t scratch = 0;
        CHECK_OK(csl_model_card_memory_size(spec, batch, &kept, &scratch));
        CHECK_U64(taken, expected + kept);
    }
    size_t count = csl_shape_count(spec->input) * batch;
    float *loss = nn_room(c, batch)->device;
    CHECK_OK(csl_model_set_parameters(model, parameters));
    CHECK_OK(csl_device_copy(c->device, csl_model_input(model), images, count * sizeof *images,
                             CSL_COPY_TO_DEVICE));
    CHECK_STATUS(csl_model_backward(model), CSL_E_STATE);
    CHECK_OK(csl_model_forward(model, batch, CSL_PASS_TRAIN, 1, 0));
    CHECK_OK(c->ops->softmax_loss(
        c->device, csl_model_output(model), nn_bytes(c, labels, batch * sizeof *labels), batch,
        spec->class_count, 1.0f / (float)batch, loss, csl_model_output_gradient(model), NULL));
    CHECK_OK(csl_model_backward(model));
    CHECK_OK(csl_model_get_gradient(model, gradient));
    float values[64];
    CHECK_OK(csl_device_copy(c->device, values, loss, batch * sizeof *values, CSL_COPY_TO_HOST));
    csl_model_destroy(model);
    double sum = 0.0;
    for (uint32_t b = 0; b < batch; b++) {
        sum += (double)values[b] / batch;
    }
    return sum;
}

enum { PROBE_COUNT = 3 /* coordinates of each tensor that are differentiated */, BATCH = 3 };

/* A network with parameters, images and labels, in float32 and float64. */
typedef struct gradient_case {
    oracle_network oracle;
    float *parameters; /* [parameter_count], as theta */
    double *theta;
    float *images; /* [BATCH], as wide */
    double *wide;
    int32_t labels[BATCH];
} gradient_case;

static void draw_gradient_case(gradient_case *g)
{
    const csl_model_spec *spec = g->oracle.spec;
    CHECK_OK(csl_model_initialise(spec, csl_test_random(), g->parameters));
    for (size_t i = 0; i < g->oracle.parameter_count; i++) {
        g->parameters[i] += (float)(0.1 * csl_test_normal()); /* biases and scales off 0 and 1 */
        g->theta[i] = (double)g->parameters[i];
    }
    for (size_t i = 0; i < csl_shape_count(spec->input) * BATCH; i++) {
        g->images[i] = (float)csl_test_normal();
        g->wide[i] = (double)g->images[i];
    }
    for (int b = 0; b < BATCH; b++) {
        g->labels[b] = (int32_t)(csl_test_random() % spec->class_count);
    }
}

/* Where float32 or a step of the differences could fall on the other side of a kink of ReLU or a
 * maximum, the gradients may differ, and where all images are certain, nothing but rounding is left
 * of them: such a case, about one of fifteen, is drawn anew. */
static void open_gradient_case(gradient_case *g, const csl_model_spec *spec)
{
    oracle_network_open(&g->oracle, spec);
    size_t count = g->oracle.parameter_count;
    size_t pixel_count = csl_shape_count(spec->input) * BATCH;
    g->parameters = calloc(count, sizeof *g->parameters);
    g->theta = calloc(count, sizeof *g->theta);
    g->images = calloc(pixel_count, sizeof *g->images);
    g->wide = calloc(pixel_count, sizeof *g->wide);
    double margin = 0.0;
    double loss = 0.0;
    for (int draws = 0; margin < 1e-5 || loss < 1e-3; draws++) {
        CU_ASSERT_FATAL(draws < 100);
        draw_gradient_case(g);
        loss = oracle_loss(&g->oracle, g->theta, g->wide, g->labels, BATCH);
        margin = oracle_network_margin(&g->oracle);
    }
}

static void close_gradient_case(gradient_case *g)
{
    free(g->parameters);
    free(g->theta);
    free(g->images);
    free(g->wide);
    oracle_network_close(&g->oracle);
}

/* d loss / d theta[at] by central differences. A step of 1e-7 leaves 1e-8 of error away from kinks,
 * and meets one only where a value moves a hundred times as far as its parameter. */
static double difference_quotient(gradient_case *g, size_t at)
{
    const double step = 1e-7;
    double kept = g->theta[at];
    g->theta[at] = kept + step;
    double above = oracle_loss(&g->oracle, g->theta, g->wide, g->labels, BATCH);
    g->theta[at] = kept - step;
    double below = oracle_loss(&g->oracle, g->theta, g->wide, g->labels, BATCH);
    g->theta[at] = kept;
    return (above - below) / (2.0 * step);
}

/* The float32 gradient at some coordinates of every tensor, against central differences of the
 * float64 network. */
static void check_network(nn_case *c, csl_model_spec *spec)
{
    gradient_case g;
    open_gradient_case(&g, spec);
    size_t count = g.oracle.parameter_count;
    float *gradient = calloc(count, sizeof *gradient);
    double loss = device_gradient(c, spec, g.parameters, g.images, g.labels, BATCH, gradient);
    CHECK_NEAR(loss, oracle_loss(&g.oracle, g.theta, g.wide, g.labels, BATCH), 2e-4);
    double largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)gradient[i]));
    }
    for (uint32_t t = 0; t < g.oracle.tensor_count; t++) {
        const csl_tensor *tensor = &g.oracle.tensors[t];
        bool is_state =
            tensor->role == CSL_ROLE_RUNNING_MEAN || tensor->role == CSL_ROLE_RUNNING_VARIANCE;
        for (int probe = 0; probe < PROBE_COUNT; probe++) {
            size_t at = tensor->offset + csl_test_random() % tensor->count;
            double expected = is_state ? 0.0 : difference_quotient(&g, at);
            CHECK_NEAR((double)gradient[at], expected, is_state ? 0.0 : 2e-3 * largest);
        }
    }
    free(gradient);
    close_gradient_case(&g);
    csl_model_spec_destroy(spec);
}

static csl_model_spec *zoo(const char *name, const char *norm, csl_shape input)
{
    csl_model_spec *spec = NULL;
    CHECK_OK(csl_model_spec_zoo(name, norm, input, CSL_TASK_MULTICLASS, 3, &spec));
    return spec;
}

/* Seconds each where kernels run as fibers under the address sanitizer: fewer are drawn there. */
#if defined(CSL_TEST_CUDASIM) && defined(__SANITIZE_ADDRESS__)
enum { NETWORK_STRIDE = 3, STEPS_MAX = 5 };
#else
enum { NETWORK_STRIDE = 1, STEPS_MAX = 20 };
#endif

static csl_model_spec *network(uint64_t which)
{
    const csl_shape small = {{1, 8, 8}, 1};
    switch (which) {
    case 0:
        return knot_spec(CSL_LAYER_GROUP_NORM);
    case 1:
        return knot_spec(CSL_LAYER_BATCH_NORM);
    case 2:
        return zoo("cnn-small", NULL, small);
    case 3:
        return zoo("resnet8-28", NULL, small);
    case 4:
        return zoo("resnet8-28", "none", (csl_shape){{1, 8, 8}, 3});
    case 5:
        return zoo("cnn3d-28", NULL, (csl_shape){{4, 6, 4}, 1});
    case 6:
        return blocks_spec();
    default:
        return zoo("linear", NULL, (csl_shape){{2, 3, 4}, 2});
    }
}

static void check_networks(nn_case *c)
{
    for (uint64_t k = csl_test_random() % NETWORK_STRIDE; k < 8; k += NETWORK_STRIDE) {
        check_network(c, network(k));
    }
}

static void whole_networks_agree_with_finite_differences(void)
{
    nn_on_every_device(check_networks);
}

/* Two classes of noise with five bright pixels: scattered, or a 3x3 cross at a random place. Their
 * brightness is the same, so no linear function of the pixels tells them apart; a convolution does.
 */
static csl_dataset *cross_data(uint64_t count, uint32_t extent)
{
    csl_dataset *data = NULL;
    CHECK_OK(csl_dataset_create(CSL_TASK_BINARY, (csl_shape){{1, extent, extent}, 1}, CSL_U8, 2,
                                count, &data));
    uint8_t *pixels = data->images;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *image = pixels + i * extent * extent;
        for (uint32_t k = 0; k < extent * extent; k++) {
            image[k] = (uint8_t)(csl_test_random() % 120);
        }
        data->labels[i] = (int32_t)(i % 2);
        data->split[i] = i % 4 < 2 ? CSL_SPLIT_TRAIN : CSL_SPLIT_TEST;
        uint32_t row = nn_between(1, extent - 2);
        uint32_t column = nn_between(1, extent - 2);
        for (int k = -1; k <= 1 && i % 2 == 1; k++) {
            image[(uint32_t)((int)row + k) * extent + column] = 230;
            image[row * extent + (uint32_t)((int)column + k)] = 230;
        }
        for (int k = 0; k < 5 && i % 2 == 0; k++) {
            image[nn_between(0, extent * extent - 1)] = 230;
        }
    }
    return data;
}

static csl_train_options plain_options(void)
{
    return (csl_train_options){.optimizer = CSL_OPTIMIZER_SGD,
                               .rate = 0.05f,
                               .momentum = 0.9f,
                               .nesterov = true,
                               .weight_decay = 1e-4f,
                               .schedule = CSL_SCHEDULE_CONSTANT,
                               .batch = 16,
                               .local_steps = 20,
                               .seed = 7};
}

/* Allocated, the caller's. */
static float *initial_weights(const csl_model_spec *spec, size_t *count_out)
{
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    CHECK_OK(csl_model_spec_tensors(spec, &tensors, &tensor_count, count_out));
    free(tensors);
    float *weights = calloc(*count_out, sizeof *weights);
    CHECK_OK(csl_model_initialise(spec, 3, weights));
    return weights;
}

/* One round from `start` on `resource`: how each parameter moved, allocated, the caller's. */
static float *train_round(const char *resource,
                          uint32_t threads,
                          const csl_model_spec *spec,
                          const csl_dataset *data,
                          const csl_train_options *options,
                          const float *start,
                          size_t count,
                          csl_train_result *result)
{
    csl_device *device = NULL;
    csl_trainer *trainer = NULL;
    csl_normalisation normalisation;
    CHECK_OK(csl_device_open(resource, threads, &device));
    CHECK_OK(csl_normalisation_measure(data, &normalisation));
    CHECK_OK(csl_trainer_create(device, spec, data, &normalisation, options, NULL, &trainer));
    uint64_t expected = 0;
    CHECK_OK(csl_trainer_memory_size(spec, options, data->type, 1, false, &expected));
    float *weights = malloc(count * sizeof *weights);
    memcpy(weights, start, count * sizeof *weights);
    CHECK_OK(csl_trainer_round(trainer, 0, weights, NULL, NULL, NULL, result));
    for (size_t i = 0; i < count; i++) {
        weights[i] -= start[i];
    }
    if (strncmp(resource, "host", 4) == 0) {
        CHECK_U64(csl_device_peak_size(device), expected);
    }
    csl_trainer_destroy(trainer);
    csl_device_close(device);
    return weights;
}

/* Euclidean distance of b, zeros if NULL, from a. */
static double distance(const float *a, const float *b, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)a[i] - (b ? (double)b[i] : 0.0);
        sum += difference * difference;
    }
    return sqrt(sum);
}

/* A round that every device is to walk alike, and how the host's one thread walks it. */
typedef struct walk {
    csl_dataset *data;
    csl_model_spec *spec;
    csl_train_options options;
    size_t count;
    float *start; /* [count] */
    float *moved; /* [count] */
    double length;
} walk;

static void close_walk(walk *w)
{
    free(w->start);
    free(w->moved);
    csl_model_spec_destroy(w->spec);
    csl_dataset_destroy(w->data);
}

/* How far apart, as a part of the way, the host ends that starts from weights that differ by some
 * of their last bits. */
static double unsteadiness(const walk *w)
{
    enum { NUDGES = 4 };
    double most = 0.0;
    float *start = malloc(w->count * sizeof *start);
    for (int nudge = 0; nudge < NUDGES; nudge++) {
        for (size_t i = 0; i < w->count; i++) {
            start[i] = w->start[i] * (float)(1.0 + 4e-7 * csl_test_normal());
        }
        csl_train_result result;
        float *moved =
            train_round("host", 1, w->spec, w->data, &w->options, start, w->count, &result);
        most = fmax(most, distance(w->moved, moved, w->count) / w->length);
        free(moved);
    }
    free(start);
    return most;
}

static void draw_walk(walk *w)
{
    csl_train_result result;
    *w = (walk){.data = cross_data(128, 8), .options = plain_options()};
    CHECK_OK(csl_model_spec_zoo("resnet8-28", NULL, w->data->shape, w->data->task, 2, &w->spec));
    w->options.augmentation =
        (csl_augmentation){.flip_horizontal = true, .shift = 1, .intensity = 0.1f};
    w->options.rate = 0.01f;
    w->options.batch = 8; /* the simulated card takes milliseconds a kernel */
    w->options.local_steps = STEPS_MAX;
    w->start = initial_weights(w->spec, &w->count);
    w->moved = train_round("host", 1, w->spec, w->data, &w->options, w->start, w->count, &result);
    CHECK_U64(result.step_count, STEPS_MAX);
    CHECK_U64(result.image_count, 8 * STEPS_MAX);
    w->length = distance(w->moved, NULL, w->count);
    CU_ASSERT(w->length > 0.005 * STEPS_MAX);
}

/* The same kernels run on host and host:guard, so the bits are equal. Other devices and numbers of
 * threads order their sums differently and end some 1e-6 of the way apart, unless a value lies so
 * near the kink of a ReLU that rounding decides its side: what that leaves has no bound. Where last
 * bits of the weights decide as much on the host itself, data are drawn anew: so did all 15 of 500
 * draws that ended further apart (up to 8 %), and the others ended within 1.4e-6. */
static void steps_agree_on_every_device(void)
{
    const double bound = 1e-4;
    const char *resources[] = {"host", "host:guard", "host", "cuda:0"};
    walk w;
    draw_walk(&w);
    for (int draws = 1; unsteadiness(&w) > bound / 2; draws++) {
        CU_ASSERT_FATAL(draws < 20);
        close_walk(&w);
        draw_walk(&w);
    }
    for (int i = 0; i < (csl_device_gpu_count() ? 4 : 3); i++) {
        csl_train_result result;
        float *other = train_round(resources[i], i == 2 ? 2 : 1, w.spec, w.data, &w.options,
                                   w.start, w.count, &result);
        CHECK_NEAR(distance(w.moved, other, w.count), 0.0, i < 2 ? 0.0 : bound * w.length);
        free(other);
    }
    close_walk(&w);
}

static double
test_accuracy(const char *name, const csl_dataset *data, uint32_t rounds, double *loss_out)
{
    csl_device *device = NULL;
    csl_model_spec *spec = NULL;
    csl_trainer *trainer = NULL;
    csl_evaluator *evaluator = NULL;
    csl_normalisation normalisation;
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    size_t count = 0;
    csl_train_options options = plain_options();
    options.local_steps = 0;
    options.local_epochs = 5;
    options.rate = strcmp(name, "linear") == 0 ? 0.002f : 0.02f;
    CHECK_OK(csl_device_open("host", 1, &device));
    CHECK_OK(csl_model_spec_zoo(name, NULL, data->shape, data->task, 2, &spec));
    CHECK_OK(csl_normalisation_measure(data, &normalisation));
    CHECK_OK(csl_trainer_create(device, spec, data, &normalisation, &options, NULL, &trainer));
    CHECK_OK(csl_evaluator_create(device, spec, 32, &evaluator));
    CHECK_OK(csl_model_spec_tensors(spec, &tensors, &tensor_count, &count));
    float *weights = calloc(count, sizeof *weights);
    CHECK_OK(csl_model_initialise(spec, 5, weights));
    csl_train_result result = {0};
    for (uint32_t round = 0; round < rounds; round++) {
        CHECK_OK(csl_trainer_round(trainer, round, weights, NULL, NULL, NULL, &result));
    }
    uint64_t images = csl_dataset_split_count(data, CSL_SPLIT_TEST);
    float *scores = calloc(images * 2, sizeof *scores);
    double loss_sum = 0.0;
    CHECK_OK(csl_evaluator_run(evaluator, weights, data, &normalisation, CSL_SPLIT_TEST, scores,
                               &loss_sum));
    uint64_t right = 0;
    for (uint64_t i = 0, at = 0; i < data->count; i++) {
        if (data->split[i] == CSL_SPLIT_TEST) {
            right += (scores[2 * at + 1] > scores[2 * at]) == (data->labels[i] == 1);
            CHECK_NEAR((double)scores[2 * at] + (double)scores[2 * at + 1], 1.0, 1e-5);
            at++;
        }
    }
    *loss_out = result.loss_mean;
    free(scores);
    free(weights);
    free(tensors);
    csl_evaluator_destroy(evaluator);
    csl_trainer_destroy(trainer);
    csl_model_spec_destroy(spec);
    csl_device_close(device);
    return (double)right / (double)images;
}

static void a_network_learns_32_images_by_heart_and_a_linear_model_misses_the_pattern(void)
{
    double loss = 1.0;
    csl_dataset *few = cross_data(64, 12); /* 32 of them for training */
    test_accuracy("cnn-small", few, 30, &loss);
    printf("by heart: loss %.5f\n", loss);
    CU_ASSERT(loss < 0.01);
    csl_dataset_destroy(few);
    csl_dataset *many = cross_data(800, 12);
    double network = test_accuracy("cnn-small", many, 4, &loss);
    double linear = test_accuracy("linear", many, 4, &loss);
    printf("cross: cnn-small %.3f, linear %.3f\n", network, linear);
    CU_ASSERT(network > 0.95 && linear < 0.8);
    csl_dataset_destroy(many);
}

/* Two shards in one process: shard 0 runs first and records its sums step by step; a second pass of
 * shard 1 adds them. The exchange is linear only if the weights agree, so each shard replays with
 * the totals of the step known so far: step k is exact once steps before it are. */
typedef struct replay {
    float *parts; /* [2][step][count] */
    double *losses;
    size_t count;
    uint32_t step_count;
    uint32_t shard;
    uint32_t step;
} replay;

static csl_status sum_replayed(void *context, float *gradient, size_t count, double *loss_sum)
{
    replay *r = context;
    size_t at = ((size_t)r->shard * r->step_count + r->step) * count;
    size_t other = ((size_t)(1 - r->shard) * r->step_count + r->step) * count;
    memcpy(r->parts + at, gradient, count * sizeof *gradient);
    r->losses[r->shard * r->step_count + r->step] = *loss_sum;
    const float *first = r->parts + (r->shard == 0 ? at : other);
    const float *second = r->parts + (r->shard == 0 ? other : at);
    for (size_t i = 0; i < count; i++) {
        gradient[i] = first[i] + second[i];
    }
    *loss_sum = r->losses[r->step] + r->losses[r->step_count + r->step];
    r->step++;
    return CSL_OK;
}

/* Dropout masks follow positions in the batch, which class weights reorder within a shard; so the
 * two are tried one at a time. */
static void check_two_shards(const char *name, bool class_weights)
{
    enum { STEPS = 4 };
    csl_dataset *data = cross_data(60, 12); /* 30 for training: the last batch is uneven */
    csl_model_spec *spec = NULL;
    CHECK_OK(csl_model_spec_zoo(name, NULL, data->shape, data->task, 2, &spec));
    csl_train_options options = plain_options();
    options.local_steps = STEPS;
    options.rate = 0.01f;
    options.class_weights = class_weights;
    options.augmentation = (csl_augmentation){.flip_vertical = true, .rotation_degrees = 10};
    size_t count = 0;
    csl_train_result result;
    float *start = initial_weights(spec, &count);
    float *alone = train_round("host", 1, spec, data, &options, start, count, &result);
    csl_device *device = NULL;
    csl_normalisation normalisation;
    CHECK_OK(csl_device_open("host", 1, &device));
    CHECK_OK(csl_normalisation_measure(data, &normalisation));
    replay shared = {.parts = calloc((size_t)2 * STEPS * count, sizeof(float)),
                     .losses = calloc((size_t)2 * STEPS, sizeof(double)),
                     .count = count,
                     .step_count = STEPS};
    csl_gradient_exchange exchange = {&shared, 0, 2, sum_replayed};
    csl_trainer *trainer = NULL;
    CHECK_OK(csl_trainer_create(device, spec, data, &normalisation, &options, &exchange, &trainer));
    float *weights[2] = {calloc(count, sizeof(float)), calloc(count, sizeof(float))};
    for (int pass = 0; pass < STEPS + 1; pass++) {
        for (uint32_t shard = 0; shard < 2; shard++) {
            shared.shard = exchange.shard_index = shard;
            shared.step = 0;
            CHECK_OK(csl_trainer_bind(trainer, data, &normalisation, &exchange, options.seed));
            memcpy(weights[shard], start, count * sizeof *start);
            CHECK_OK(csl_trainer_round(trainer, 0, weights[shard], NULL, NULL, NULL, &result));
        }
    }
    CU_ASSERT_EQUAL(memcmp(weights[0], weights[1], count * sizeof(float)), 0);
    for (size_t i = 0; i < count; i++) {
        weights[0][i] -= start[i];
    }
    CHECK_NEAR(distance(weights[0], alone, count), 0.0, 0.02 * distance(alone, NULL, count));
    free(start);
    free(weights[0]);
    free(weights[1]);
    free(shared.parts);
    free(shared.losses);
    free(alone);
    csl_trainer_destroy(trainer);
    csl_device_close(device);
    csl_model_spec_destroy(spec);
    csl_dataset_destroy(data);
}

static void two_shards_hold_the_same_bits_and_stay_near_one(void)
{
    check_two_shards("mnist-example", false);
    check_two_shards("cnn-small", true);
}

int main(void)
{
    const csl_test_case cases[] = {
        {"whole networks agree with finite differences",
         whole_networks_agree_with_finite_differences},
        {"steps agree on every device", steps_agree_on_every_device},
        {"a network learns 32 images by heart and a linear model misses the pattern",
         a_network_learns_32_images_by_heart_and_a_linear_model_misses_the_pattern},
        {"two shards hold the same bits and stay near one",
         two_shards_hold_the_same_bits_and_stay_near_one},
    };
    size_t count = sizeof cases / sizeof cases[0];
#ifdef CSL_TEST_CUDASIM
    count -= 2; /* the last two run on the host alone */
#endif
    return csl_test_main("training", cases, count);
}
