/* What a network may be: the zoo, checks and their messages, the flat vector, initial weights. */
#include "test_support.h"

#include <consilium/model.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const csl_shape grey28 = {{1, 28, 28}, 1};
static const csl_shape volume28 = {{28, 28, 28}, 1};

static csl_model_spec *zoo(const char *name, const char *norm, uint32_t class_count)
{
    csl_shape input = strcmp(name, "cnn3d-28") == 0   ? volume28
                      : strcmp(name, "resnet18") == 0 ? (csl_shape){{1, 64, 64}, 3}
                                                      : grey28;
    csl_model_spec *spec = NULL;
    CHECK_OK(csl_model_spec_zoo(name, norm, input, CSL_TASK_MULTICLASS, class_count, &spec));
    return spec;
}

static size_t parameter_count(const csl_model_spec *spec)
{
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    size_t count = 0;
    CHECK_OK(csl_model_spec_tensors(spec, &tensors, &tensor_count, &count));
    size_t end = 0;
    for (uint32_t i = 0; i < tensor_count; i++) {
        CHECK_U64(tensors[i].offset, end); /* no gaps */
        size_t product = 1;
        for (uint32_t k = 0; k < tensors[i].rank; k++) {
            product *= tensors[i].extent[k];
        }
        CHECK_U64(tensors[i].count, product);
        end += product;
    }
    CHECK_U64(count, end);
    free(tensors);
    return count;
}

static void every_zoo_network_is_sound(void)
{
    const char *const *names = csl_model_zoo_names();
    CU_ASSERT_PTR_NOT_NULL(names[0]);
    for (int i = 0; names[i]; i++) {
        CU_ASSERT_PTR_NOT_NULL(csl_model_zoo_text(names[i]));
        csl_model_spec *spec = zoo(names[i], NULL, 5);
        CHECK_OK(csl_model_spec_check(spec));
        csl_model_spec_destroy(spec);
    }
    CU_ASSERT_PTR_NULL(csl_model_zoo_text("no such network"));
}

/* Counts from the definitions: PyTorch's for the networks it knows, by hand for the others. */
static void parameter_counts_are_the_published_ones(void)
{
    const struct {
        const char *name;
        const char *norm;
        uint32_t class_count;
        size_t expected;
    } cases[] = {
        {"linear", NULL, 10, 7850},
        {"cnn-small", NULL, 10, 206922},
        {"mnist-example", NULL, 10, 1199882},
        {"resnet8-28", NULL, 2, 77234},
        {"resnet18", "group", 1000, 11689512},
        {"resnet18", "batch", 1000, 11689512 + 2 * 4800},
        /* a 3x3 stem for one channel and two classes in place of 7x7x3 and 1000 */
        {"resnet18-28", "group", 2, 11689512 - 9408 - 513000 + 576 + 1026},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (cases[i].class_count > CSL_CLASSES_MAX) {
            /* 513 weights and a bias each for the classes beyond the limit. */
            csl_model_spec *spec = zoo(cases[i].name, cases[i].norm, CSL_CLASSES_MAX);
            CHECK_U64(parameter_count(spec),
                      cases[i].expected - 513 * (cases[i].class_count - CSL_CLASSES_MAX));
            csl_model_spec_destroy(spec);
            continue;
        }
        csl_model_spec *spec = zoo(cases[i].name, cases[i].norm, cases[i].class_count);
        CHECK_U64(parameter_count(spec), cases[i].expected);
        csl_model_spec_destroy(spec);
    }
}

static void unknown_names_are_refused_with_the_nearest(void)
{
    csl_model_spec *spec = NULL;
    CHECK_STATUS(csl_model_spec_zoo("resnet8_28", NULL, grey28, CSL_TASK_BINARY, 2, &spec),
                 CSL_E_NOT_FOUND);
    CHECK_CONTAINS(csl_error_message(), "resnet8-28");
    CHECK_STATUS(csl_model_spec_zoo("resnet8-28", "bach", grey28, CSL_TASK_BINARY, 2, &spec),
                 CSL_E_NOT_FOUND);
    CHECK_CONTAINS(csl_error_message(), "batch");
    CHECK_STATUS(csl_model_spec_zoo("cnn-small", "batch", grey28, CSL_TASK_BINARY, 2, &spec),
                 CSL_E_UNSUPPORTED);
    CHECK_STATUS(csl_model_spec_zoo("cnn-small", NULL, volume28, CSL_TASK_BINARY, 2, &spec),
                 CSL_E_SHAPE);
    CHECK_CONTAINS(csl_error_message(), "28x28x28");
    CHECK_STATUS(csl_model_spec_zoo("cnn-small", NULL, grey28, CSL_TASK_BINARY, 3, &spec),
                 CSL_E_RANGE);
    CU_ASSERT_PTR_NULL(spec);
}

typedef void (*damage_function)(csl_model_spec *spec);

static void drop_last(csl_model_spec *spec)
{
    spec->layer_count--;
}
static void repeat_name(csl_model_spec *spec)
{
    memcpy(spec->layers[4].name, spec->layers[2].name, CSL_NAME_MAX);
}
static void read_ahead(csl_model_spec *spec)
{
    spec->layers[3].input = 3;
}
static void leave_unread(csl_model_spec *spec)
{
    spec->layers[4].input = 2; /* layer 3 is now nobody's */
}
static void widen_window(csl_model_spec *spec)
{
    spec->layers[5].window.size[1] = 60;
    spec->layers[5].window.stride[1] = 1;
}
static void zero_stride(csl_model_spec *spec)
{
    spec->layers[0].window.stride[2] = 0;
}
static void split_badly(csl_model_spec *spec)
{
    spec->layers[3].groups = 5;
}
static void no_outputs(csl_model_spec *spec)
{
    spec->layers[6].channels = 0;
}
static void bad_kind(csl_model_spec *spec)
{
    spec->layers[1].kind = (csl_layer_kind)99;
}
static void add_to_itself(csl_model_spec *spec)
{
    spec->layers[4].kind = CSL_LAYER_ADD;
    spec->layers[4].from = 3;
}
static void add_misfit(csl_model_spec *spec)
{
    spec->layers[4].kind = CSL_LAYER_ADD;
    spec->layers[4].from = 0;
}
static void drop_everything(csl_model_spec *spec)
{
    spec->layers[1].kind = CSL_LAYER_DROPOUT;
    spec->layers[1].rate = 1.0f;
}
static void slash_in_name(csl_model_spec *spec)
{
    snprintf(spec->layers[3].name, CSL_NAME_MAX, "%s", "a/b");
}
static void huge_feature_map(csl_model_spec *spec)
{
    spec->input.extent[1] = spec->input.extent[2] = CSL_EXTENT_MAX;
}
static void pad_too_much(csl_model_spec *spec)
{
    spec->layers[2].window.padding[1] = 2;
}

static void damaged_specs_are_refused_by_name(void)
{
    const struct {
        damage_function damage;
        csl_status expected;
        const char *message;
    } cases[] = {
        {drop_last, CSL_E_SHAPE, "relu3"},
        {repeat_name, CSL_E_RANGE, "both named 'pool1'"},
        {read_ahead, CSL_E_RANGE, "'conv2'"},
        {leave_unread, CSL_E_SHAPE, "'conv2'"},
        {widen_window, CSL_E_SHAPE, "'pool2'"},
        {zero_stride, CSL_E_RANGE, "'conv1'"},
        {split_badly, CSL_E_SHAPE, "5 groups"},
        {no_outputs, CSL_E_RANGE, "'linear1'"},
        {bad_kind, CSL_E_RANGE, "unknown kind 99"},
        {add_to_itself, CSL_E_RANGE, "itself"},
        {add_misfit, CSL_E_SHAPE, "'relu2'"},
        {drop_everything, CSL_E_RANGE, "rate 1"},
        {slash_in_name, CSL_E_RANGE, "layer 3"},
        {huge_feature_map, CSL_E_RANGE, "elements"},
        {pad_too_much, CSL_E_RANGE, "padding 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        csl_model_spec *spec = zoo("cnn-small", NULL, 3);
        cases[i].damage(spec);
        CHECK_STATUS(csl_model_spec_check(spec), cases[i].expected);
        CHECK_CONTAINS(csl_error_message(), cases[i].message);
        csl_model_spec_destroy(spec);
    }
}

static void initial_weights_depend_on_the_seed_alone(void)
{
    csl_model_spec *spec = zoo("cnn-small", NULL, 10);
    size_t count = parameter_count(spec);
    float *first = calloc(count, sizeof *first);
    float *second = calloc(count, sizeof *second);
    uint64_t seed = csl_test_random();
    CHECK_OK(csl_model_initialise(spec, seed, first));
    CHECK_OK(csl_model_initialise(spec, seed, second));
    CU_ASSERT_EQUAL(memcmp(first, second, count * sizeof *first), 0);
    CHECK_OK(csl_model_initialise(spec, seed + 1, second));
    CU_ASSERT_NOT_EQUAL(memcmp(first, second, count * sizeof *first), 0);
    free(first);
    free(second);
    csl_model_spec_destroy(spec);
}

/* Standard deviation of He's normal; bound and deviation of the last layer's uniform numbers. */
static void initial_weights_have_the_stated_spread(void)
{
    csl_model_spec *spec = zoo("cnn-small", NULL, 10);
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    size_t count = 0;
    CHECK_OK(csl_model_spec_tensors(spec, &tensors, &tensor_count, &count));
    float *values = calloc(count, sizeof *values);
    CHECK_OK(csl_model_initialise(spec, csl_test_random(), values));
    for (uint32_t i = 0; i < tensor_count; i++) {
        double sum = 0.0;
        double squares = 0.0;
        for (size_t k = 0; k < tensors[i].count; k++) {
            double value = (double)values[tensors[i].offset + k];
            sum += value;
            squares += value * value;
        }
        double n = (double)tensors[i].count;
        if (tensors[i].role != CSL_ROLE_WEIGHT) {
            CHECK_NEAR(squares, 0.0, 0.0);
            continue;
        }
        double fan_in = n / tensors[i].extent[0];
        bool is_last = i == tensor_count - 2;
        double expected = is_last ? 1.0 / sqrt(3.0 * fan_in) : sqrt(2.0 / fan_in);
        /* Five standard errors. */
        CHECK_NEAR(sqrt(squares / n), expected, 5.0 * expected / sqrt(2.0 * n));
        CHECK_NEAR(sum / n, 0.0, 5.0 * expected / sqrt(n));
    }
    free(values);
    free(tensors);
    csl_model_spec_destroy(spec);
}

/* mnist-example: 26*26*32*9 + 24*24*64*9*32 + 9216*128 + 1280 products, forward. */
static void operations_are_counted(void)
{
    csl_model_spec *spec = zoo("mnist-example", NULL, 10);
    double forward = 0.0;
    double training = 0.0;
    csl_model_spec_operations(spec, &forward, &training);
    double first = 2.0 * 26 * 26 * 32 * 9;
    double rest = 2.0 * (24.0 * 24 * 64 * 9 * 32 + 9216.0 * 128 + 1280);
    CHECK_NEAR(forward, first + rest, 0.0);
    CHECK_NEAR(training, 2 * first + 3 * rest, 0.0);
    csl_model_spec_destroy(spec);
}

static void memory_grows_with_the_batch_and_training(void)
{
    csl_model_spec *spec = zoo("resnet8-28", NULL, 2);
    uint64_t infer = 0;
    uint64_t train = 0;
    uint64_t train_large = 0;
    CHECK_OK(csl_model_memory_size(spec, 16, false, &infer));
    CHECK_OK(csl_model_memory_size(spec, 16, true, &train));
    CHECK_OK(csl_model_memory_size(spec, 64, true, &train_large));
    uint64_t vector_size = 4 * parameter_count(spec);
    CU_ASSERT(infer > vector_size && train > infer + vector_size && train_large > 3 * train);
    /* Inference needs three of the largest feature maps and no more. */
    CU_ASSERT(infer < vector_size + 3 * 16 * 4 * 28 * 28 * 16 + 65536);
    CHECK_STATUS(csl_model_memory_size(spec, 0, true, &train), CSL_E_RANGE);
    CHECK_STATUS(csl_model_memory_size(spec, CSL_BATCH_MAX + 1, true, &train), CSL_E_RANGE);
    csl_model_spec_destroy(spec);
}

int main(void)
{
    const csl_test_case cases[] = {
        {"every zoo network is sound", every_zoo_network_is_sound},
        {"parameter counts are the published ones", parameter_counts_are_the_published_ones},
        {"unknown names are refused with the nearest", unknown_names_are_refused_with_the_nearest},
        {"damaged specs are refused by name", damaged_specs_are_refused_by_name},
        {"initial weights depend on the seed alone", initial_weights_depend_on_the_seed_alone},
        {"initial weights have the stated spread", initial_weights_have_the_stated_spread},
        {"operations are counted", operations_are_counted},
        {"memory grows with the batch and training", memory_grows_with_the_batch_and_training},
    };
    return csl_test_main("model_spec", cases, sizeof cases / sizeof cases[0]);
}
