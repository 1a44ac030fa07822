/* Batch and group normalisation, with and without ReLU, frozen and not. */
#include "nn_parity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct norm_shape {
    uint32_t extent[3], channels, groups, batch;
    double centre; /* mean of the data: a large one must not cost the variance its digits */
} norm_shape;

static const norm_shape shapes[] = {
    {{1, 7, 5}, 16, 4, 3, 0.0},   {{1, 4, 4}, 32, 8, 2, 30.0}, {{1, 20, 21}, 8, 2, 3, 0.0},
    {{3, 4, 5}, 24, 3, 2, -5.0},  {{1, 1, 1}, 16, 2, 1, 0.0},  {{1, 3, 3}, 1, 1, 2, 1.0},
    {{1, 28, 28}, 16, 4, 5, 2.0}, {{1, 5, 5}, 33, 11, 1, 0.0}, {{2, 3, 2}, 6, 6, 4, 0.0},
};
enum { SHAPE_COUNT = sizeof shapes / sizeof *shapes };

static csl_norm_spec spec_of(const norm_shape *shape, bool grouped)
{
    csl_norm_spec spec = {.groups = grouped ? shape->groups : 0, .epsilon = 1e-5F};
    spec.shape.channels = shape->channels;
    for (int i = 0; i < 3; i++) {
        spec.shape.extent[i] = shape->extent[i];
    }
    return spec;
}

static const uint32_t blocks[] = {0, 8, 16};
enum { CASE_COUNT = 3 * SHAPE_COUNT };

/* Shape n / 3 in block n % 3; false where the device has no such block. */
static bool case_of(const nn_case *c, size_t n, bool grouped, csl_norm_spec *spec_out)
{
    *spec_out = spec_of(&shapes[n / 3], grouped);
    spec_out->block = blocks[n % 3];
    return spec_out->block == 0 || (spec_out->shape.channels % spec_out->block == 0 &&
                                    strncmp(c->resource, "host", 4) == 0);
}

/* The arrays of one normalisation. */
typedef struct norm_arrays {
    nn_array *x, *scale, *shift, *dy, *y, *mean, *inverse, *dx, *dscale, *dshift;
} norm_arrays;

static norm_arrays make_arrays(nn_case *c, const csl_norm_spec *spec, const norm_shape *shape)
{
    size_t count = csl_shape_count(spec->shape) * shape->batch;
    size_t statistics = spec->groups ? (size_t)spec->groups * shape->batch : spec->shape.channels;
    norm_arrays a = {.x = nn_random(c, count),
                     .scale = nn_random(c, shape->channels),
                     .shift = nn_random(c, shape->channels),
                     .dy = nn_random(c, count),
                     .y = nn_room(c, count),
                     .mean = nn_room(c, statistics),
                     .inverse = nn_room(c, statistics),
                     .dx = nn_room(c, count),
                     .dscale = nn_room(c, shape->channels),
                     .dshift = nn_room(c, shape->channels)};
    for (size_t i = 0; i < count; i++) {
        a.x->host[i] = a.x->host[i] * 1.5F + (float)shape->centre;
    }
    nn_array *maps[] = {a.x, a.dy, a.y, a.dx};
    for (int i = 0; i < 4; i++) {
        nn_set_block(c, maps[i], spec->shape, spec->block);
    }
    return a;
}

/* The oracle's gate is the device's y: an element that rounds across 0 changes dx by a whole dy. */
static void check_backward(nn_case *c,
                           const csl_norm_spec *spec,
                           norm_arrays *a,
                           uint32_t batch,
                           bool relu,
                           bool frozen,
                           const char *operation)
{
    double *gate = malloc(a->y->count * sizeof *gate);
    for (size_t i = 0; i < a->y->count; i++) {
        gate[i] = (double)a->y->host[i];
    }
    oracle_norm_backward(spec, a->x->wide, gate, a->dy->wide, a->scale->wide, a->mean->wide,
                         a->inverse->wide, batch, relu, frozen, a->dx->wide, a->dscale->wide,
                         a->dshift->wide);
    free(gate);
    nn_check(c, a->dx, operation, "dx");
    nn_check(c, a->dscale, operation, "dscale");
    nn_check(c, a->dshift, operation, "dshift");
}

static void run_group_norm(nn_case *c)
{
    for (size_t n = 0; n < CASE_COUNT; n++) {
        csl_norm_spec spec;
        if (!case_of(c, n, true, &spec)) {
            continue;
        }
        const norm_shape *shape = &shapes[n / 3];
        uint32_t batch = shape->batch;
        bool relu = csl_test_random() & 1;
        norm_arrays a = make_arrays(c, &spec, shape);
        CHECK_OK(c->ops->group_norm_forward(c->device, &spec, a.x->device, a.scale->device,
                                            a.shift->device, batch, relu, a.mean->device,
                                            a.inverse->device, a.y->device));
        oracle_norm_forward(&spec, a.x->wide, a.scale->wide, a.shift->wide, batch, relu, false,
                            a.mean->wide, a.inverse->wide, a.y->wide);
        nn_check(c, a.y, "group_norm_forward", "y");
        nn_check(c, a.mean, "group_norm_forward", "saved mean");
        nn_check(c, a.inverse, "group_norm_forward", "saved inverse deviation");
        CHECK_OK(c->ops->group_norm_backward(c->device, &spec, a.x->device, a.y->device,
                                             a.dy->device, a.scale->device, a.mean->device,
                                             a.inverse->device, batch, relu, a.dx->device,
                                             a.dscale->device, a.dshift->device));
        check_backward(c, &spec, &a, batch, relu, false, "group_norm_backward");
    }
    csl_norm_spec bad = spec_of(&shapes[0], true);
    bad.groups = 5;
    CHECK_STATUS(
        c->ops->group_norm_forward(c->device, &bad, NULL, NULL, NULL, 1, false, NULL, NULL, NULL),
        CSL_E_SHAPE);
}

static void group_norm_matches_the_oracle(void)
{
    nn_on_every_device(run_group_norm);
}

/* Running statistics after one batch, as PyTorch defines them. */
static void expect_running(
    const nn_array *x, uint32_t channels, double momentum, nn_array *mean, nn_array *variance)
{
    size_t rows = x->count / channels;
    for (uint32_t ch = 0; ch < channels; ch++) {
        double average = 0.0, square = 0.0;
        for (size_t row = 0; row < rows; row++) {
            average += x->wide[row * channels + ch] / (double)rows;
        }
        for (size_t row = 0; row < rows; row++) {
            double away = x->wide[row * channels + ch] - average;
            square += away * away;
        }
        square = rows > 1 ? square / (double)(rows - 1) : 0.0;
        mean->wide[ch] = mean->wide[ch] * (1.0 - momentum) + average * momentum;
        variance->wide[ch] = variance->wide[ch] * (1.0 - momentum) + square * momentum;
    }
}

static void run_batch_norm(nn_case *c)
{
    for (size_t n = 0; n < CASE_COUNT; n++) {
        csl_norm_spec spec;
        if (!case_of(c, n, false, &spec)) {
            continue;
        }
        const norm_shape *shape = &shapes[n / 3];
        uint32_t batch = shape->batch;
        bool relu = csl_test_random() & 1;
        norm_arrays a = make_arrays(c, &spec, shape);
        nn_array *mean = nn_random(c, shape->channels);
        nn_array *variance = nn_random(c, shape->channels);
        CHECK_OK(c->ops->batch_norm_train(
            c->device, &spec, a.x->device, a.scale->device, a.shift->device, batch, relu, 0.1F,
            mean->device, variance->device, a.mean->device, a.inverse->device, a.y->device));
        oracle_norm_forward(&spec, a.x->wide, a.scale->wide, a.shift->wide, batch, relu, false,
                            a.mean->wide, a.inverse->wide, a.y->wide);
        expect_running(a.x, shape->channels, (double)0.1F, mean, variance);
        nn_check(c, a.y, "batch_norm_train", "y");
        nn_check(c, a.mean, "batch_norm_train", "saved mean");
        nn_check(c, a.inverse, "batch_norm_train", "saved inverse deviation");
        nn_check(c, mean, "batch_norm_train", "running mean");
        nn_check(c, variance, "batch_norm_train", "running variance");
        CHECK_OK(c->ops->batch_norm_backward(c->device, &spec, a.x->device, a.y->device,
                                             a.dy->device, a.scale->device, a.mean->device,
                                             a.inverse->device, batch, relu, false, a.dx->device,
                                             a.dscale->device, a.dshift->device));
        check_backward(c, &spec, &a, batch, relu, false, "batch_norm_backward");
    }
}

static void batch_norm_matches_the_oracle_and_keeps_running_statistics(void)
{
    nn_on_every_device(run_batch_norm);
}

static void run_frozen(nn_case *c)
{
    for (size_t n = 0; n < CASE_COUNT; n++) {
        csl_norm_spec spec;
        if (!case_of(c, n, false, &spec)) {
            continue;
        }
        const norm_shape *shape = &shapes[n / 3];
        uint32_t batch = shape->batch;
        norm_arrays a = make_arrays(c, &spec, shape);
        nn_array *mean = nn_random(c, shape->channels);
        nn_array *variance = nn_random(c, shape->channels);
        for (uint32_t ch = 0; ch < shape->channels; ch++) {
            variance->host[ch] = 0.25F + variance->host[ch] * variance->host[ch];
        }
        nn_upload(c, variance);
        CHECK_OK(c->ops->batch_norm_infer(c->device, &spec, a.x->device, a.scale->device,
                                          a.shift->device, mean->device, variance->device, batch,
                                          true, a.mean->device, a.inverse->device, a.y->device));
        for (uint32_t ch = 0; ch < shape->channels; ch++) {
            a.mean->wide[ch] = mean->wide[ch];
            a.inverse->wide[ch] = 1.0 / sqrt(variance->wide[ch] + (double)spec.epsilon);
        }
        oracle_norm_forward(&spec, a.x->wide, a.scale->wide, a.shift->wide, batch, true, true,
                            a.mean->wide, a.inverse->wide, a.y->wide);
        nn_check(c, a.y, "batch_norm_infer", "y");
        nn_check(c, a.inverse, "batch_norm_infer", "saved inverse deviation");
        nn_check(c, a.mean, "batch_norm_infer", "saved mean");
        CHECK_OK(c->ops->batch_norm_backward(c->device, &spec, a.x->device, a.y->device,
                                             a.dy->device, a.scale->device, a.mean->device,
                                             a.inverse->device, batch, true, true, a.dx->device,
                                             a.dscale->device, a.dshift->device));
        check_backward(c, &spec, &a, batch, true, true, "batch_norm_backward");
    }
}

static void frozen_batch_norm_uses_the_running_statistics(void)
{
    nn_on_every_device(run_frozen);
}

/* loss = sum dy . y */
typedef struct norm_loss {
    csl_norm_spec spec;
    uint32_t batch;
    bool frozen;
    double *x, *scale, *shift, *dy, *y, *mean, *inverse;
} norm_loss;

static double evaluate_norm(void *opaque)
{
    norm_loss *l = opaque;
    double loss = 0.0;
    oracle_norm_forward(&l->spec, l->x, l->scale, l->shift, l->batch, false, l->frozen, l->mean,
                        l->inverse, l->y);
    for (size_t i = 0; i < csl_shape_count(l->spec.shape) * l->batch; i++) {
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

static void check_oracle(const norm_shape *shape, bool grouped, bool frozen)
{
    norm_loss l = {.spec = spec_of(shape, grouped), .batch = shape->batch, .frozen = frozen};
    size_t count = csl_shape_count(l.spec.shape) * shape->batch;
    size_t statistics = (size_t)shape->channels * shape->batch;
    double *dx = normals(count), *dscale = normals(shape->channels);
    double *dshift = normals(shape->channels);
    l.x = normals(count);
    l.scale = normals(shape->channels);
    l.shift = normals(shape->channels);
    l.dy = normals(count);
    l.y = normals(count);
    l.mean = normals(statistics);
    l.inverse = normals(statistics);
    evaluate_norm(&l);
    oracle_norm_backward(&l.spec, l.x, l.y, l.dy, l.scale, l.mean, l.inverse, shape->batch, false,
                         frozen, dx, dscale, dshift);
    nn_check_differences(evaluate_norm, &l, l.x, dx, count, "dx by differences");
    nn_check_differences(evaluate_norm, &l, l.scale, dscale, shape->channels, "dscale");
    nn_check_differences(evaluate_norm, &l, l.shift, dshift, shape->channels, "dshift");
    double *all[] = {dx, dscale, dshift, l.x, l.scale, l.shift, l.dy, l.y, l.mean, l.inverse};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static void the_oracle_of_normalisation_matches_finite_differences(void)
{
    for (size_t i = 0; i < 4; i++) {
        check_oracle(&shapes[i], true, false);
        check_oracle(&shapes[i], false, false);
        check_oracle(&shapes[i], false, true);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"the oracle of normalisation matches finite differences",
         the_oracle_of_normalisation_matches_finite_differences},
        {"group norm matches the oracle", group_norm_matches_the_oracle},
        {"batch norm matches the oracle and keeps running statistics",
         batch_norm_matches_the_oracle_and_keeps_running_statistics},
        {"frozen batch norm uses the running statistics",
         frozen_batch_norm_uses_the_running_statistics},
    };
    return csl_test_main("nn normalisation", cases, sizeof cases / sizeof *cases);
}
