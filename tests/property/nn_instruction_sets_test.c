/* The operations of networks whose bodies are compiled for several widths of registers give the
 * same bits with each of them. */
#include "test_support.h"

#include <consilium/kernels.h>

#include <stdio.h>
#include <string.h>

enum { RESULTS_MAX = 1 << 18, THREADS = 2 };

/* One operation on inputs of its own; appends its results. */
typedef struct run_case {
    csl_device *device;
    const csl_kernels *ops;
    const float *values; /* standard normal */
    uint32_t channels;
    uint32_t block; /* 0: channels-last */
    uint32_t batch;
    float *results;
    size_t result_count;
} run_case;

static const csl_shape map_shape = {.extent = {1, 6, 10}}; /* 60 rows, and 55 in odd maps */

static csl_shape shape_of(const run_case *c)
{
    csl_shape shape = map_shape;
    shape.channels = c->channels;
    shape.extent[1] -= c->batch % 2;
    shape.extent[2] += c->batch % 2; /* an odd number of rows, so that no pairs are left */
    return shape;
}

static float *room(run_case *c, size_t count)
{
    float *result = c->results + c->result_count;
    c->result_count += count;
    CU_ASSERT_FATAL(c->result_count <= RESULTS_MAX);
    return result;
}

static void run_norms(run_case *c)
{
    csl_norm_spec spec = {.shape = shape_of(c), .groups = 2, .epsilon = 1e-5F, .block = c->block};
    size_t count = csl_shape_count(spec.shape) * c->batch;
    uint32_t channels = c->channels;
    const float *x = c->values, *dy = x + count, *scale = dy + count, *shift = scale + channels;
    float *running = room(c, (size_t)2 * channels), *saved = room(c, (size_t)2 * channels);
    float *y = room(c, count), *dx = room(c, count), *gradient = room(c, (size_t)2 * channels);
    memset(running, 0, (size_t)2 * channels * sizeof *running);
    for (int relu = 0; relu < 2; relu++) {
        CHECK_OK(c->ops->batch_norm_train(c->device, &spec, x, scale, shift, c->batch, relu, 0.1F,
                                          running, running + channels, saved, saved + channels, y));
        CHECK_OK(c->ops->batch_norm_backward(c->device, &spec, x, y, dy, scale, saved,
                                             saved + channels, c->batch, relu, false, dx, gradient,
                                             gradient + channels));
    }
    float *groups = room(c, (size_t)2 * spec.groups * c->batch);
    y = room(c, count), dx = room(c, count), gradient = room(c, (size_t)2 * channels);
    CHECK_OK(c->ops->group_norm_forward(c->device, &spec, x, scale, shift, c->batch, true, groups,
                                        groups + spec.groups * c->batch, y));
    CHECK_OK(c->ops->group_norm_backward(c->device, &spec, x, y, dy, scale, groups,
                                         groups + spec.groups * c->batch, c->batch, true, dx,
                                         gradient, gradient + channels));
}

static void run_pools(run_case *c)
{
    csl_pool_spec spec = {
        .input = shape_of(c),
        .output = shape_of(c),
        .window = {.size = {1, 2, 3}, .stride = {1, 2, 3}, .dilation = {1, 1, 1}}};
    for (int axis = 1; axis < 3; axis++) {
        spec.window.padding[axis] = c->batch % 2;
        spec.output.extent[axis] = csl_window_output(spec.input.extent[axis], &spec.window, axis);
    }
    size_t in_count = csl_shape_count(spec.input) * c->batch;
    size_t out_count = csl_shape_count(spec.output) * c->batch;
    float *y = room(c, out_count), *dx = room(c, in_count);
    uint32_t *index = (uint32_t *)(void *)room(c, out_count);
    CHECK_OK(c->ops->max_pool_forward(c->device, &spec, c->values, c->batch, y, index));
    CHECK_OK(
        c->ops->max_pool_backward(c->device, &spec, c->values + in_count, index, c->batch, dx));
}

static void run_losses(run_case *c)
{
    uint32_t classes = 7 * c->channels; /* more than the loops work out at a time, and a rest */
    size_t count = (size_t)classes * c->batch;
    const float *logits = c->values, *targets = logits + count;
    int32_t labels[4] = {0, 3, 1, 2};
    uint8_t known[4 * 7 * 64];
    for (size_t i = 0; i < count; i++) {
        known[i] = i % 5 != 0;
    }
    float *loss = room(c, c->batch), *dlogits = room(c, count), *p = room(c, count);
    CHECK_OK(
        c->ops->softmax_loss(c->device, logits, labels, c->batch, classes, 0.3F, loss, dlogits, p));
    loss = room(c, c->batch), dlogits = room(c, count), p = room(c, count);
    CHECK_OK(c->ops->sigmoid_loss(c->device, logits, targets, known, c->batch, classes, 0.3F, loss,
                                  dlogits, p));
    loss = room(c, c->batch), dlogits = room(c, count);
    CHECK_OK(
        c->ops->squared_loss(c->device, logits, targets, c->batch, classes, 0.3F, loss, dlogits));
    float *kept = room(c, count); /* counters that pass 2^32, and a rest */
    CHECK_OK(
        c->ops->dropout(c->device, logits, count, 0.4F, 0x123456789abcdefULL, 0xfffffffdU, kept));
}

static void run_all(run_case *c)
{
    static const uint32_t maps[][3] = {/* channels, block, batch */
                                       {16, 0, 2}, {48, 0, 3}, {8, 0, 3},  {24, 0, 2}, {20, 0, 1},
                                       {6, 0, 4},  {16, 8, 2}, {32, 8, 3}, {32, 16, 3}};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        c->channels = maps[i][0];
        c->block = maps[i][1];
        c->batch = maps[i][2];
        run_norms(c);
        run_pools(c);
        run_losses(c);
    }
}

static float values_[1 << 15];
static float expected_[RESULTS_MAX];
static float found_[RESULTS_MAX];

static void every_instruction_set_gives_the_same_bits(void)
{
    for (size_t i = 0; i < sizeof values_ / sizeof *values_; i++) {
        values_[i] = (float)csl_test_normal();
    }
    run_case c = {.values = values_, .results = expected_};
    CHECK_OK(csl_device_open("host", THREADS, &c.device));
    c.ops = csl_device_kernels(c.device);
    CHECK_OK(csl_instruction_set_select("portable"));
    run_all(&c);
    size_t count = c.result_count;
    CU_ASSERT(count > 50000);
    static const char *const sets[] = {"avx2", "avx512"};
    for (int s = 0; s < 2; s++) {
        csl_status status = csl_instruction_set_select(sets[s]);
        if (status == CSL_E_UNSUPPORTED) {
            printf("skipped: this processor has no %s\n", sets[s]);
            continue;
        }
        CHECK_OK(status);
        c.results = found_;
        c.result_count = 0;
        run_all(&c);
        CHECK_U64(c.result_count, count);
        for (size_t i = 0; i < count; i++) {
            if (memcmp(&found_[i], &expected_[i], sizeof found_[i]) != 0) {
                printf("%s: result %zu is %.9g instead of %.9g\n", sets[s], i, (double)found_[i],
                       (double)expected_[i]);
                CU_FAIL("another result");
                break;
            }
        }
    }
    CHECK_OK(csl_instruction_set_select(NULL));
    csl_device_close(c.device);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every instruction set gives the same bits", every_instruction_set_gives_the_same_bits},
    };
    return csl_test_main("instruction sets of networks", cases, 1);
}
