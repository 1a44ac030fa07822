/* Convolutions and linear layers against the oracle; the oracle's gradients against differences. */
#include "nn_parity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct conv_shape {
    uint32_t in[3], size[3], stride[3], padding[3], dilation[3];
    uint32_t channels, outputs, groups, batch;
    bool bias, relu;
} conv_shape;

static const conv_shape shapes[] = {
    /* in, window, stride, padding, dilation, C, O, groups, B, bias, relu */
    {{1, 8, 8}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 1, 16, 1, 5, true, true},
    {{1, 7, 9}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 16, 16, 1, 3, false, false},
    {{1, 9, 7}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}, 16, 32, 1, 4, true, false},
    {{1, 8, 8}, {1, 1, 1}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, 16, 32, 1, 2, false, false},
    {{1, 11, 6}, {1, 3, 2}, {1, 1, 2}, {0, 2, 1}, {1, 2, 1}, 3, 5, 1, 1, true, true},
    {{1, 9, 9}, {1, 5, 5}, {1, 2, 1}, {0, 2, 0}, {1, 1, 1}, 3, 8, 1, 2, true, false},
    {{1, 6, 6}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 8, 12, 4, 3, true, false},
    {{1, 6, 7}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 16, 16, 16, 2, true, true},
    {{1, 6, 7}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}, 5, 10, 5, 2, false, false},
    {{1, 5, 5}, {1, 5, 5}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, 4, 6, 1, 3, true, false},
    {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, 1, 1, 1, 1, true, false},
    {{5, 6, 4}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 1, 8, 1, 2, true, true},
    {{4, 5, 6}, {3, 3, 3}, {1, 2, 2}, {1, 1, 1}, {1, 1, 1}, 8, 16, 1, 2, true, false},
    {{6, 5, 5}, {2, 3, 1}, {2, 1, 1}, {1, 0, 0}, {2, 1, 1}, 6, 4, 2, 1, false, false},
    {{3, 4, 4}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 4, 4, 4, 2, true, false},
    {{1, 4, 4}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 4, 6, 1, 2, true, false},
    /* in blocks: rows of an image, several images, strides, and what is left of each */
    {{1, 20, 19}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 40, 16, 1, 2, false, false},
    {{1, 4, 4}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 16, 32, 1, 19, false, false},
    {{1, 9, 8}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}, 8, 16, 1, 3, false, false},
    {{1, 7, 7}, {1, 1, 1}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, 16, 16, 1, 3, false, false},
    {{1, 6, 5}, {1, 5, 3}, {1, 1, 1}, {0, 2, 0}, {1, 1, 1}, 8, 16, 1, 2, false, false},
};
enum { SHAPE_COUNT = sizeof shapes / sizeof *shapes };

static csl_conv_spec spec_of(const conv_shape *shape)
{
    csl_conv_spec spec = {.groups = shape->groups,
                          .has_bias = shape->bias,
                          .fuse_relu = shape->relu,
                          .batch_max = shape->batch};
    spec.input.channels = shape->channels;
    spec.output.channels = shape->outputs;
    for (int i = 0; i < 3; i++) {
        spec.window.size[i] = shape->size[i];
        spec.window.stride[i] = shape->stride[i];
        spec.window.padding[i] = shape->padding[i];
        spec.window.dilation[i] = shape->dilation[i];
        spec.input.extent[i] = shape->in[i];
        spec.output.extent[i] = csl_window_output(shape->in[i], &spec.window, i);
    }
    return spec;
}

static size_t weight_count_of(const csl_conv_spec *spec)
{
    return (size_t)spec->output.channels * (spec->input.channels / spec->groups) *
           spec->window.size[0] * spec->window.size[1] * spec->window.size[2];
}

/* Forward and backward of one object with one batch, checked. */
static void check_pass(nn_case *c,
                       const csl_conv_spec *spec,
                       csl_conv *conv,
                       const nn_array *weights,
                       const nn_array *bias,
                       uint32_t batch)
{
    size_t in_count = csl_shape_count(spec->input) * batch;
    size_t out_count = csl_shape_count(spec->output) * batch;
    nn_array *x = nn_random(c, in_count), *dy = nn_random(c, out_count);
    nn_array *y = nn_room(c, out_count), *dx = nn_room(c, in_count);
    nn_array *dweights = nn_room(c, weights->count);
    nn_array *dbias = nn_room(c, spec->output.channels);
    CU_ASSERT_FATAL(bias != NULL || !spec->has_bias);
    if (spec->block != 0) {
        nn_set_block(c, x, spec->input, spec->input.channels == 1 ? 0 : spec->block);
        nn_set_block(c, dx, spec->input, x->block);
        nn_set_block(c, dy, spec->output, spec->block);
        nn_set_block(c, y, spec->output, spec->block);
    }
    const float *bias_device = spec->has_bias ? bias->device : NULL;
    float *dbias_device = spec->has_bias ? dbias->device : NULL;

    CHECK_OK(c->ops->conv_forward(c->device, conv, x->device, bias_device, batch, y->device));
    CHECK_OK(c->ops->conv_backward_data(c->device, conv, dy->device, batch, dx->device));
    CHECK_OK(c->ops->conv_backward_weights(c->device, conv, x->device, dy->device, batch,
                                           dweights->device, dbias_device));
    oracle_conv_forward(spec, x->wide, weights->wide, spec->has_bias ? bias->wide : NULL, batch,
                        y->wide);
    oracle_conv_backward(spec, x->wide, weights->wide, dy->wide, batch, dx->wide, dweights->wide,
                         dbias->wide);
    nn_check(c, y, "conv_forward", "y");
    nn_check(c, dx, "conv_backward_data", "dx");
    nn_check(c, dweights, "conv_backward_weights", "dweights");
    if (spec->has_bias) {
        nn_check(c, dbias, "conv_backward_weights", "dbias");
    }
}

static void check_shape_in(nn_case *c, const conv_shape *shape, uint32_t block)
{
    csl_conv_spec spec = spec_of(shape);
    spec.block = block;
    csl_conv *conv = NULL;
    nn_array *weights = nn_random(c, weight_count_of(&spec));
    nn_array *bias = nn_random(c, spec.output.channels);
    CHECK_OK(c->ops->conv_create(c->device, &spec, &conv));
    CHECK_OK(c->ops->conv_update_weights(c->device, conv, weights->device));
    check_pass(c, &spec, conv, weights, bias, shape->batch);
    if (shape->batch > 1) { /* a partial batch, first seen after the weights were given */
        check_pass(c, &spec, conv, weights, bias, shape->batch - 1);
    }
    nn_array *changed = nn_random(c, weights->count);
    CHECK_OK(c->ops->conv_update_weights(c->device, conv, changed->device));
    check_pass(c, &spec, conv, changed, bias, 1);
    check_pass(c, &spec, conv, changed, bias, shape->batch);
    CHECK_OK(c->ops->conv_destroy(c->device, conv));
}

static void check_shape(nn_case *c, const conv_shape *shape)
{
    csl_conv_spec spec = spec_of(shape);
    uint32_t block = 0;
    check_shape_in(c, shape, 0);
    CHECK_OK(c->ops->conv_block(c->device, &spec, &block));
    if (block != 0) {
        CU_ASSERT_EQUAL(spec.output.channels % block, 0);
        check_shape_in(c, shape, block);
    }
}

static void run_all_shapes(nn_case *c)
{
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        unsigned failures = CU_get_number_of_failures();
        check_shape(c, &shapes[i]);
        if (CU_get_number_of_failures() > failures) {
            printf("  in shape %zu\n", i);
        }
    }
}

static void convolutions_match_the_oracle_for_odd_shapes(void)
{
    nn_on_every_device(run_all_shapes);
}

static void run_random_shapes(nn_case *c)
{
    for (int n = 0; n < 6; n++) {
        conv_shape shape = {.groups = nn_between(1, 3),
                            .batch = nn_between(1, 4),
                            .bias = nn_between(0, 1),
                            .relu = nn_between(0, 1)};
        shape.channels = shape.groups * nn_between(1, 6);
        shape.outputs = shape.groups * nn_between(1, 6);
        for (int i = 0; i < 3; i++) {
            bool flat = i == 0 && nn_between(0, 1);
            shape.size[i] = flat ? 1 : nn_between(1, 3);
            shape.stride[i] = flat ? 1 : nn_between(1, 2);
            shape.dilation[i] = flat ? 1 : nn_between(1, 2);
            shape.padding[i] = flat ? 0 : nn_between(0, 2);
            shape.in[i] = flat ? 1 : nn_between(5, 8);
        }
        check_shape(c, &shape);
    }
}

static void convolutions_match_the_oracle_for_random_shapes(void)
{
    nn_on_every_device(run_random_shapes);
}

/* A kernel of oneDNN 2.6 for them is wrong on several threads now and then. */
static void run_strided_pixels(nn_case *c)
{
    for (int n = 0; n < 30; n++) {
        conv_shape shape = {.groups = 1,
                            .batch = nn_between(1, 4),
                            .bias = nn_between(0, 1),
                            .channels = nn_between(1, 7),
                            .outputs = nn_between(1, 40),
                            .size = {1, 1, 1},
                            .stride = {1, nn_between(1, 3), nn_between(2, 3)},
                            .dilation = {1, 1, 1},
                            .in = {1, nn_between(2, 12), nn_between(2, 12)}};
        check_shape(c, &shape);
    }
}

static void strided_windows_of_one_match_the_oracle(void)
{
    nn_on_every_device(run_strided_pixels);
}

static void run_many_batches(nn_case *c)
{
    conv_shape shape = shapes[1];
    shape.batch = 9;
    csl_conv_spec spec = spec_of(&shape);
    csl_conv *conv = NULL;
    nn_array *weights = nn_random(c, weight_count_of(&spec));
    CHECK_OK(c->ops->conv_create(c->device, &spec, &conv));
    CHECK_OK(c->ops->conv_update_weights(c->device, conv, weights->device));
    for (uint32_t batch = 1; batch <= 9; batch++) { /* more sizes than an object keeps prepared */
        check_pass(c, &spec, conv, weights, NULL, batch);
    }
    check_pass(c, &spec, conv, weights, NULL, 2);
    nn_array *x = nn_random(c, csl_shape_count(spec.input) * 10);
    nn_array *y = nn_room(c, csl_shape_count(spec.output) * 10);
    CHECK_STATUS(c->ops->conv_forward(c->device, conv, x->device, NULL, 10, y->device),
                 CSL_E_RANGE);
    CHECK_STATUS(c->ops->conv_forward(c->device, conv, x->device, NULL, 0, y->device), CSL_E_RANGE);
    CHECK_OK(c->ops->conv_destroy(c->device, conv));
}

static void one_object_serves_every_batch_up_to_its_limit(void)
{
    nn_on_every_device(run_many_batches);
}

static void run_bad_specs(nn_case *c)
{
    csl_conv *conv = NULL;
    csl_conv_spec spec = spec_of(&shapes[1]);
    spec.groups = 3;
    CHECK_STATUS(c->ops->conv_create(c->device, &spec, &conv), CSL_E_SHAPE);
    spec = spec_of(&shapes[1]);
    spec.output.extent[1]++;
    CHECK_STATUS(c->ops->conv_create(c->device, &spec, &conv), CSL_E_SHAPE);
    CHECK_CONTAINS(csl_error_message(), "height");
    spec = spec_of(&shapes[1]);
    spec.batch_max = 0;
    CHECK_STATUS(c->ops->conv_create(c->device, &spec, &conv), CSL_E_RANGE);
    spec = spec_of(&shapes[1]);
    spec.window.stride[2] = 0;
    CHECK_STATUS(c->ops->conv_create(c->device, &spec, &conv), CSL_E_RANGE);
    spec = spec_of(&shapes[1]);
    spec.block = 5;
    CHECK_STATUS(c->ops->conv_create(c->device, &spec, &conv), CSL_E_UNSUPPORTED);
    CU_ASSERT_PTR_NULL(conv);
    CHECK_OK(c->ops->conv_destroy(c->device, NULL));
}

static void impossible_convolutions_are_refused(void)
{
    nn_on_every_device(run_bad_specs);
}

static void run_linear(nn_case *c)
{
    static const uint32_t sizes[][3] = {{1, 1, 1},    {5, 7, 3},  {64, 33, 10},
                                        {3, 300, 17}, {1, 64, 2}, {9, 512, 33}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t batch = sizes[i][0], in = sizes[i][1], out = sizes[i][2];
        bool relu = i % 2 == 0;
        nn_array *x = nn_random(c, (size_t)batch * in), *w = nn_random(c, (size_t)out * in);
        nn_array *bias = nn_random(c, out), *dy = nn_random(c, (size_t)batch * out);
        nn_array *y = nn_room(c, dy->count), *dx = nn_room(c, x->count);
        nn_array *dw = nn_room(c, w->count), *db = nn_room(c, out);
        CHECK_OK(c->ops->linear_forward(c->device, x->device, w->device, bias->device, batch, in,
                                        out, relu, y->device));
        CHECK_OK(c->ops->linear_backward_data(c->device, dy->device, w->device, batch, in, out,
                                              dx->device));
        CHECK_OK(c->ops->linear_backward_weights(c->device, x->device, dy->device, batch, in, out,
                                                 dw->device, db->device));
        oracle_linear_forward(x->wide, w->wide, bias->wide, batch, in, out, relu, y->wide);
        oracle_linear_backward(x->wide, w->wide, dy->wide, batch, in, out, dx->wide, dw->wide,
                               db->wide);
        nn_check(c, y, "linear_forward", "y");
        nn_check(c, dx, "linear_backward_data", "dx");
        nn_check(c, dw, "linear_backward_weights", "dweights");
        nn_check(c, db, "linear_backward_weights", "dbias");
    }
}

static void linear_layers_match_the_oracle(void)
{
    nn_on_every_device(run_linear);
}

/* loss = sum dy . y */
typedef struct conv_loss {
    csl_conv_spec spec;
    const double *x, *weights, *bias, *dy;
    double *y;
    uint32_t batch;
} conv_loss;

static double evaluate_conv(void *opaque)
{
    conv_loss *l = opaque;
    double loss = 0.0;
    oracle_conv_forward(&l->spec, l->x, l->weights, l->bias, l->batch, l->y);
    for (size_t i = 0; i < csl_shape_count(l->spec.output) * l->batch; i++) {
        loss += l->dy[i] * l->y[i];
    }
    return loss;
}

static double *normals(size_t count)
{
    double *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = csl_test_normal();
    }
    return values;
}

static void check_oracle_conv(const conv_shape *shape)
{
    conv_loss loss = {.spec = spec_of(shape), .batch = shape->batch};
    loss.spec.fuse_relu = false; /* its gradient is the caller's */
    size_t in_count = csl_shape_count(loss.spec.input) * shape->batch;
    size_t out_count = csl_shape_count(loss.spec.output) * shape->batch;
    size_t weight_count = weight_count_of(&loss.spec);
    uint32_t outputs = shape->outputs;
    double *x = normals(in_count), *weights = normals(weight_count), *bias = normals(outputs);
    double *dy = normals(out_count), *y = normals(out_count), *dx = normals(in_count);
    double *dweights = normals(weight_count), *dbias = normals(outputs);
    loss.x = x;
    loss.weights = weights;
    loss.bias = bias;
    loss.dy = dy;
    loss.y = y;
    oracle_conv_backward(&loss.spec, x, weights, dy, shape->batch, dx, dweights, dbias);
    nn_check_differences(evaluate_conv, &loss, x, dx, in_count, "dx by differences");
    nn_check_differences(evaluate_conv, &loss, weights, dweights, weight_count,
                         "dweights by differences");
    nn_check_differences(evaluate_conv, &loss, bias, dbias, outputs, "dbias by differences");
    double *all[] = {x, weights, bias, dy, y, dx, dweights, dbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static void the_oracle_of_convolution_matches_finite_differences(void)
{
    static const size_t chosen[] = {3, 4, 6, 8, 12, 13, 15};
    for (size_t i = 0; i < sizeof chosen / sizeof *chosen; i++) {
        check_oracle_conv(&shapes[chosen[i]]);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"the oracle of convolution matches finite differences",
         the_oracle_of_convolution_matches_finite_differences},
        {"convolutions match the oracle for odd shapes",
         convolutions_match_the_oracle_for_odd_shapes},
        {"convolutions match the oracle for random shapes",
         convolutions_match_the_oracle_for_random_shapes},
        {"strided windows of one match the oracle", strided_windows_of_one_match_the_oracle},
        {"one object serves every batch up to its limit",
         one_object_serves_every_batch_up_to_its_limit},
        {"impossible convolutions are refused", impossible_convolutions_are_refused},
        {"linear layers match the oracle", linear_layers_match_the_oracle},
    };
    return csl_test_main("nn convolution", cases, sizeof cases / sizeof *cases);
}
