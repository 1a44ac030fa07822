/* The operations of networks, each on maps or vectors of the same size. */
#include "kernel_case.h"

static csl_kernel_cost cost_of(double values, double operations)
{
    return (csl_kernel_cost){.bytes = sizeof(float) * values, .operations = operations};
}

/* An operation that passes once over so many maps. */
static void pass_over(csl_kernel_bench *b, double maps)
{
    b->cost = cost_of(maps * (double)b->count, 0);
}

static csl_status time_input(csl_kernel_bench *b, const csl_augment *augment)
{
    /* Grey images, as many as a map has channels in all. */
    csl_input_spec spec = {.shape = csl_kernel_bench_shape(b), .type = CSL_U8, .slope = 1.0F / 255};
    spec.shape.channels = 1;
    uint32_t images = b->sizes.batch * b->sizes.channels;
    b->cost = (csl_kernel_cost){.bytes = (double)b->count * (1 + sizeof(float))};
    return b->kernels->input_prepare(b->device, &spec, b->raw, b->small[0], b->small[1], augment,
                                     images, b->map[0]);
}

static csl_status time_input_prepare(csl_kernel_bench *b)
{
    return time_input(b, NULL);
}

static csl_status time_input_augmented(csl_kernel_bench *b)
{
    return time_input(b, b->augment);
}

/* A convolution reads one map, writes another, and its products are the same in all directions. */
static void cost_conv(csl_kernel_bench *b)
{
    double taps = (double)b->sizes.window * b->sizes.window * b->sizes.channels;
    double weights = taps * b->sizes.channels;
    b->cost = cost_of(2 * (double)b->count + weights, 2 * taps * (double)b->count);
}

static csl_status time_conv_block(csl_kernel_bench *b)
{
    uint32_t block = 0;
    return b->kernels->conv_block(b->device, &b->conv_spec, &block);
}

static csl_status time_conv_create(csl_kernel_bench *b)
{
    csl_conv *conv = NULL;
    CSL_TRY(b->kernels->conv_create(b->device, &b->conv_spec, &conv));
    return b->kernels->conv_destroy(b->device, conv);
}

/* What was created has to be destroyed: the two are timed together. */
#define time_conv_destroy NULL

static csl_status time_conv_update_weights(csl_kernel_bench *b)
{
    double taps = (double)b->sizes.window * b->sizes.window * b->sizes.channels;
    b->cost = cost_of(2 * taps * b->sizes.channels, 0); /* read, and written in another order */
    return b->kernels->conv_update_weights(b->device, b->conv, b->weights);
}

static csl_status time_conv_forward(csl_kernel_bench *b)
{
    cost_conv(b);
    if (b->first) {
        CSL_TRY(b->kernels->conv_update_weights(b->device, b->conv, b->weights));
    }
    return b->kernels->conv_forward(b->device, b->conv, b->map[0], NULL, b->sizes.batch, b->map[1]);
}

static csl_status time_conv_backward_data(csl_kernel_bench *b)
{
    cost_conv(b);
    if (b->first) {
        CSL_TRY(b->kernels->conv_update_weights(b->device, b->conv, b->weights));
    }
    return b->kernels->conv_backward_data(b->device, b->conv, b->map[0], b->sizes.batch, b->map[1]);
}

static csl_status time_conv_backward_weights(csl_kernel_bench *b)
{
    cost_conv(b);
    return b->kernels->conv_backward_weights(b->device, b->conv, b->map[0], b->map[1],
                                             b->sizes.batch, b->dweights, NULL);
}

static void cost_linear(csl_kernel_bench *b)
{
    double square = (double)CSL_BENCH_FEATURES * CSL_BENCH_FEATURES;
    b->cost =
        cost_of(2.0 * b->sizes.batch * CSL_BENCH_FEATURES + square, 2.0 * b->sizes.batch * square);
}

static csl_status time_linear_forward(csl_kernel_bench *b)
{
    cost_linear(b);
    return b->kernels->linear_forward(b->device, b->map[0], b->weights, b->small[0], b->sizes.batch,
                                      CSL_BENCH_FEATURES, CSL_BENCH_FEATURES, true, b->map[1]);
}

static csl_status time_linear_backward_data(csl_kernel_bench *b)
{
    cost_linear(b);
    return b->kernels->linear_backward_data(b->device, b->map[0], b->weights, b->sizes.batch,
                                            CSL_BENCH_FEATURES, CSL_BENCH_FEATURES, b->map[1]);
}

static csl_status time_linear_backward_weights(csl_kernel_bench *b)
{
    cost_linear(b);
    return b->kernels->linear_backward_weights(b->device, b->map[0], b->map[1], b->sizes.batch,
                                               CSL_BENCH_FEATURES, CSL_BENCH_FEATURES, b->dweights,
                                               b->small[0]);
}

static csl_norm_spec norm_spec(const csl_kernel_bench *b, bool groups)
{
    uint32_t channels = b->sizes.channels;
    csl_norm_spec spec = {
        .shape = csl_kernel_bench_shape(b), .epsilon = 1e-5F, .block = b->conv_spec.block};
    if (groups) {
        spec.groups =
            channels % CSL_BENCH_GROUP_CHANNELS == 0 ? channels / CSL_BENCH_GROUP_CHANNELS : 1;
    }
    return spec;
}

static csl_status time_batch_norm_train(csl_kernel_bench *b)
{
    csl_norm_spec spec = norm_spec(b, false);
    pass_over(b, 3); /* the statistics have to be known before the first value is written */
    return b->kernels->batch_norm_train(b->device, &spec, b->map[0], b->small[0], b->small[1],
                                        b->sizes.batch, true, 0.1F, b->small[2], b->small[3],
                                        b->small[4], b->small[5], b->map[1]);
}

static csl_status time_batch_norm_infer(csl_kernel_bench *b)
{
    csl_norm_spec spec = norm_spec(b, false);
    pass_over(b, 2);
    return b->kernels->batch_norm_infer(b->device, &spec, b->map[0], b->small[0], b->small[1],
                                        b->small[2], b->small[3], b->sizes.batch, true, b->small[4],
                                        b->small[5], b->map[1]);
}

static csl_status time_batch_norm_backward(csl_kernel_bench *b)
{
    csl_norm_spec spec = norm_spec(b, false);
    pass_over(b, 7); /* x, y and dy for the sums, once more for dx, and dx */
    return b->kernels->batch_norm_backward(b->device, &spec, b->map[0], b->map[1], b->map[2],
                                           b->small[0], b->small[4], b->small[5], b->sizes.batch,
                                           true, false, b->map[3], b->small[6], b->small[7]);
}

/* The statistics are those of one image, which the caches keep until it is read again. */
static csl_status time_group_norm_forward(csl_kernel_bench *b)
{
    csl_norm_spec spec = norm_spec(b, true);
    pass_over(b, 2);
    return b->kernels->group_norm_forward(b->device, &spec, b->map[0], b->small[0], b->small[1],
                                          b->sizes.batch, true, b->small[4], b->small[5],
                                          b->map[1]);
}

static csl_status time_group_norm_backward(csl_kernel_bench *b)
{
    csl_norm_spec spec = norm_spec(b, true);
    pass_over(b, 4);
    return b->kernels->group_norm_backward(b->device, &spec, b->map[0], b->map[1], b->map[2],
                                           b->small[0], b->small[4], b->small[5], b->sizes.batch,
                                           true, b->map[3], b->small[6], b->small[7]);
}

static csl_status time_relu_forward(csl_kernel_bench *b)
{
    pass_over(b, 2);
    return b->kernels->relu_forward(b->device, b->map[0], b->count, b->map[1]);
}

static csl_status time_relu_backward(csl_kernel_bench *b)
{
    pass_over(b, 3);
    return b->kernels->relu_backward(b->device, b->map[0], b->map[1], b->count, b->map[2]);
}

static csl_status time_add_relu(csl_kernel_bench *b)
{
    pass_over(b, 3);
    return b->kernels->add_relu(b->device, b->map[0], b->map[1], b->count, true, b->map[2]);
}

static csl_status time_accumulate(csl_kernel_bench *b)
{
    pass_over(b, 3);
    return b->kernels->accumulate(b->device, b->map[0], b->count, b->map[1]);
}

/* Windows of 2 x 2, each value in one of them. */
static csl_pool_spec pool_spec(const csl_kernel_bench *b)
{
    csl_pool_spec spec = {
        .input = csl_kernel_bench_shape(b),
        .output = csl_kernel_bench_shape(b),
        .window = {.size = {1, 2, 2}, .stride = {1, 2, 2}, .dilation = {1, 1, 1}}};
    for (int axis = 1; axis < 3; axis++) {
        spec.output.extent[axis] = csl_window_output(b->sizes.extent, &spec.window, axis);
    }
    return spec;
}

static csl_status time_max_pool_forward(csl_kernel_bench *b)
{
    csl_pool_spec spec = pool_spec(b);
    pass_over(b, 1.5); /* a quarter as many values, and as many positions */
    return b->kernels->max_pool_forward(b->device, &spec, b->map[0], b->sizes.batch, b->map[1],
                                        b->index);
}

static csl_status time_max_pool_backward(csl_kernel_bench *b)
{
    csl_pool_spec spec = pool_spec(b);
    if (b->first) {
        CSL_TRY(b->kernels->max_pool_forward(b->device, &spec, b->map[0], b->sizes.batch, b->map[1],
                                             b->index));
    }
    pass_over(b, 1.5);
    return b->kernels->max_pool_backward(b->device, &spec, b->map[1], b->index, b->sizes.batch,
                                         b->map[2]);
}

static csl_status time_average_pool_forward(csl_kernel_bench *b)
{
    csl_pool_spec spec = pool_spec(b);
    pass_over(b, 1.25);
    return b->kernels->average_pool_forward(b->device, &spec, b->map[0], b->sizes.batch, b->map[1]);
}

static csl_status time_average_pool_backward(csl_kernel_bench *b)
{
    csl_pool_spec spec = pool_spec(b);
    pass_over(b, 1.25);
    return b->kernels->average_pool_backward(b->device, &spec, b->map[0], b->sizes.batch,
                                             b->map[1]);
}

static csl_status time_dropout(csl_kernel_bench *b)
{
    pass_over(b, 2);
    return b->kernels->dropout(b->device, b->map[0], b->count, 0.5F, 1, 0, b->map[1]);
}

/* Logits in, gradients and probabilities out. */
static csl_status time_softmax_loss(csl_kernel_bench *b)
{
    b->cost = cost_of(3.0 * b->sizes.batch * CSL_BENCH_CLASSES, 0);
    return b->kernels->softmax_loss(b->device, b->map[0], b->labels, b->sizes.batch,
                                    CSL_BENCH_CLASSES, 1.0F, b->small[0], b->map[1], b->map[2]);
}

static csl_status time_sigmoid_loss(csl_kernel_bench *b)
{
    b->cost = cost_of(4.0 * b->sizes.batch * CSL_BENCH_CLASSES, 0);
    return b->kernels->sigmoid_loss(b->device, b->map[0], b->map[3], NULL, b->sizes.batch,
                                    CSL_BENCH_CLASSES, 1.0F, b->small[0], b->map[1], b->map[2]);
}

static csl_status time_squared_loss(csl_kernel_bench *b)
{
    b->cost = cost_of(3.0 * b->sizes.batch * CSL_BENCH_CLASSES, 0);
    return b->kernels->squared_loss(b->device, b->map[0], b->map[3], b->sizes.batch,
                                    CSL_BENCH_CLASSES, 1.0F, b->small[0], b->map[1]);
}

static csl_status time_sgd_step(csl_kernel_bench *b)
{
    csl_sgd_spec spec = {.rate = 1e-3F, .momentum = 0.9F, .weight_decay = 1e-4F};
    pass_over(b, 5);
    return b->kernels->sgd_step(b->device, &spec, b->map[0], b->count, b->map[1], b->map[2]);
}

static csl_status time_adamw_step(csl_kernel_bench *b)
{
    csl_adamw_spec spec = {.rate = 1e-3F,
                           .beta1 = 0.9F,
                           .beta2 = 0.999F,
                           .epsilon = 1e-8F,
                           .weight_decay = 1e-2F,
                           .step = 1};
    if (b->first) { /* a second moment is not negative */
        CSL_TRY(b->kernels->fill(b->device, 1.0F, b->count, b->map[2]));
    }
    pass_over(b, 7);
    return b->kernels->adamw_step(b->device, &spec, b->map[0], b->count, b->map[1], b->map[2],
                                  b->map[3]);
}

static csl_status time_axpy(csl_kernel_bench *b)
{
    pass_over(b, 3);
    return b->kernels->axpy(b->device, 1e-3F, b->map[0], b->count, b->map[1]);
}

static csl_status time_scale(csl_kernel_bench *b)
{
    pass_over(b, 2);
    return b->kernels->scale(b->device, -1.0F, b->count, b->map[0]);
}

static csl_status time_fill(csl_kernel_bench *b)
{
    pass_over(b, 1);
    return b->kernels->fill(b->device, 1.0F, b->count, b->map[0]);
}

static csl_status time_proximal(csl_kernel_bench *b)
{
    pass_over(b, 4);
    return b->kernels->proximal(b->device, 1e-3F, b->map[0], b->map[1], b->count, b->map[2]);
}

static csl_status time_sum_of_squares(csl_kernel_bench *b)
{
    double sum = 0;
    pass_over(b, 1);
    return b->kernels->sum_of_squares(b->device, b->map[0], b->count, &sum);
}

#define CASE_OF(name, ...) {#name, time_##name},
const csl_kernel_case csl_kernel_cases[] = {
    CSL_NN_OP_LIST(CASE_OF){"input_prepare_augmented", time_input_augmented},
    {NULL, NULL},
};
