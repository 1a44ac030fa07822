/* Max and average pooling: tiling, overlapping, padded, dilated, 2-D and 3-D. */
#include "nn_parity.h"

#include <stdlib.h>
#include <string.h>

typedef struct pool_shape {
    uint32_t in[3], size[3], stride[3], padding[3], dilation[3], channels, batch;
} pool_shape;

#ifdef __SANITIZE_THREAD__
enum { LARGE = 8 }; /* the simulated card bears few threads under it */
#else
enum { LARGE = 28 };
#endif

static const pool_shape shapes[] = {
    {{1, 8, 8}, {1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, 16, 3},
    {{1, LARGE, LARGE}, {1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, 32, 2},
    {{1, 7, 9}, {1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, 16, 2},
    {{1, 7, 9}, {1, 2, 2}, {1, 3, 2}, {0, 1, 1}, {1, 1, 1}, 24, 2},
    {{1, 9, 9}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}, 16, 2},
    {{1, 9, 8}, {1, 2, 3}, {1, 3, 4}, {0, 1, 1}, {1, 1, 1}, 32, 1},
    {{1, 7, 7}, {1, 7, 7}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, 20, 4},
    {{4, 6, 6}, {2, 2, 2}, {2, 2, 2}, {0, 0, 0}, {1, 1, 1}, 8, 2},
    {{5, 5, 6}, {3, 2, 3}, {1, 2, 1}, {1, 0, 1}, {1, 2, 1}, 17, 2},
    {{1, 1, 4}, {1, 2, 2}, {1, 1, 1}, {0, 2, 0}, {1, 3, 1}, 16, 1}, /* a window in the padding */
};
enum { SHAPE_COUNT = sizeof shapes / sizeof *shapes };

static csl_pool_spec spec_of(const pool_shape *shape)
{
    csl_pool_spec spec = {0};
    spec.input.channels = spec.output.channels = shape->channels;
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

static void check_max(nn_case *c, const pool_shape *shape)
{
    csl_pool_spec spec = spec_of(shape);
    size_t in_count = csl_shape_count(spec.input) * shape->batch;
    size_t out_count = csl_shape_count(spec.output) * shape->batch;
    nn_array *x = nn_random(c, in_count), *dy = nn_random(c, out_count);
    nn_array *y = nn_room(c, out_count), *index = nn_room(c, out_count), *dx = nn_room(c, in_count);
    for (size_t i = 0; i < in_count; i++) { /* few values, so that ties are common */
        x->host[i] = (float)((int)(x->host[i] * 3.0F)) - 1.0F;
    }
    nn_upload(c, x);
    CU_ASSERT_FATAL(out_count > 0);
    uint32_t *expected = malloc(out_count * sizeof *expected);
    CHECK_OK(c->ops->max_pool_forward(c->device, &spec, x->device, shape->batch, y->device,
                                      (uint32_t *)(void *)index->device));
    oracle_max_pool_forward(&spec, x->wide, shape->batch, y->wide, expected);
    nn_check(c, y, NULL, "max pool");
    nn_fetch(c, index);
    CU_ASSERT_EQUAL(memcmp(index->host, expected, out_count * sizeof *expected), 0);
    CHECK_OK(c->ops->max_pool_backward(c->device, &spec, dy->device,
                                       (const uint32_t *)(const void *)index->device, shape->batch,
                                       dx->device));
    oracle_max_pool_backward(&spec, dy->wide, expected, shape->batch, dx->wide);
    nn_check(c, dx, "max_pool_backward", "dx");
    free(expected);
}

static void check_average(nn_case *c, const pool_shape *shape)
{
    csl_pool_spec spec = spec_of(shape);
    size_t in_count = csl_shape_count(spec.input) * shape->batch;
    size_t out_count = csl_shape_count(spec.output) * shape->batch;
    nn_array *x = nn_random(c, in_count), *dy = nn_random(c, out_count);
    nn_array *y = nn_room(c, out_count), *dx = nn_room(c, in_count);
    CHECK_OK(c->ops->average_pool_forward(c->device, &spec, x->device, shape->batch, y->device));
    CHECK_OK(c->ops->average_pool_backward(c->device, &spec, dy->device, shape->batch, dx->device));
    oracle_average_pool_forward(&spec, x->wide, shape->batch, y->wide);
    oracle_average_pool_backward(&spec, dy->wide, shape->batch, dx->wide);
    nn_check(c, y, "average_pool_forward", "y");
    nn_check(c, dx, "average_pool_backward", "dx");
}

static void run_shapes(nn_case *c)
{
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        check_max(c, &shapes[i]);
        check_average(c, &shapes[i]);
    }
}

static void pools_match_the_oracle_and_ties_go_to_the_first_voxel(void)
{
    nn_on_every_device(run_shapes);
}

static void run_bad_specs(nn_case *c)
{
    csl_pool_spec spec = spec_of(&shapes[0]);
    spec.output.extent[1]++;
    CHECK_STATUS(c->ops->max_pool_forward(c->device, &spec, NULL, 1, NULL, NULL), CSL_E_SHAPE);
    spec = spec_of(&shapes[0]);
    spec.output.channels++;
    CHECK_STATUS(c->ops->average_pool_forward(c->device, &spec, NULL, 1, NULL), CSL_E_SHAPE);
    for (int axis = 0; axis < 3; axis++) {
        spec = spec_of(&shapes[0]);
        spec.window.stride[axis] = 0;
        CHECK_STATUS(c->ops->max_pool_forward(c->device, &spec, NULL, 1, NULL, NULL), CSL_E_SHAPE);
        spec = spec_of(&shapes[0]);
        spec.window.dilation[axis] = 0;
        CHECK_STATUS(c->ops->max_pool_backward(c->device, &spec, NULL, NULL, 1, NULL), CSL_E_SHAPE);
        spec = spec_of(&shapes[0]);
        spec.window.size[axis] = 0;
        CHECK_STATUS(c->ops->average_pool_backward(c->device, &spec, NULL, 1, NULL), CSL_E_SHAPE);
    }
}

static void pools_with_wrong_shapes_are_refused(void)
{
    nn_on_every_device(run_bad_specs);
}

typedef struct pool_loss {
    csl_pool_spec spec;
    uint32_t batch;
    double *x, *dy, *y;
    uint32_t *index; /* NULL: average */
} pool_loss;

static double evaluate_pool(void *opaque)
{
    pool_loss *l = opaque;
    double loss = 0.0;
    if (l->index) {
        oracle_max_pool_forward(&l->spec, l->x, l->batch, l->y, l->index);
    } else {
        oracle_average_pool_forward(&l->spec, l->x, l->batch, l->y);
    }
    for (size_t i = 0; i < csl_shape_count(l->spec.output) * l->batch; i++) {
        loss += l->dy[i] * l->y[i];
    }
    return loss;
}

static void check_oracle(const pool_shape *shape)
{
    pool_loss l = {.spec = spec_of(shape), .batch = shape->batch};
    size_t in_count = csl_shape_count(l.spec.input) * shape->batch;
    size_t out_count = csl_shape_count(l.spec.output) * shape->batch;
    double *dx = malloc(in_count * sizeof *dx);
    uint32_t *index = malloc(out_count * sizeof *index);
    l.x = malloc(in_count * sizeof *l.x);
    l.dy = malloc(out_count * sizeof *l.dy);
    l.y = malloc(out_count * sizeof *l.y);
    for (size_t i = 0; i < in_count; i++) { /* a shuffled staircase: no step crosses a tie */
        l.x[i] = (double)i * 0.01;
    }
    for (size_t i = in_count - 1; i > 0; i--) {
        size_t j = csl_test_random() % (i + 1);
        double kept = l.x[i];
        l.x[i] = l.x[j];
        l.x[j] = kept;
    }
    for (size_t i = 0; i < out_count; i++) {
        l.dy[i] = csl_test_normal();
    }
    oracle_average_pool_backward(&l.spec, l.dy, l.batch, dx);
    nn_check_differences(evaluate_pool, &l, l.x, dx, in_count, "average pool by differences");
    l.index = index;
    evaluate_pool(&l);
    oracle_max_pool_backward(&l.spec, l.dy, index, l.batch, dx);
    nn_check_differences(evaluate_pool, &l, l.x, dx, in_count, "max pool by differences");
    free(dx);
    free(index);
    free(l.x);
    free(l.dy);
    free(l.y);
}

static void the_oracle_of_pooling_matches_finite_differences(void)
{
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        if (csl_shape_count(spec_of(&shapes[i]).input) < 4000) {
            check_oracle(&shapes[i]);
        }
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"the oracle of pooling matches finite differences",
         the_oracle_of_pooling_matches_finite_differences},
        {"pools match the oracle and ties go to the first voxel",
         pools_match_the_oracle_and_ties_go_to_the_first_voxel},
        {"pools with wrong shapes are refused", pools_with_wrong_shapes_are_refused},
    };
    return csl_test_main("nn pooling", cases, sizeof cases / sizeof *cases);
}
