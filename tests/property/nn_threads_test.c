/* The gradient of a convolution's weights on maps in blocks of eight channels does not depend on
 * the number of threads. */
#include "test_support.h"

#include <consilium/kernels.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 5, CHANNELS = 40, OUTPUTS = 32, EXTENT = 19, WINDOW = 3 };
enum { WEIGHT_COUNT = OUTPUTS * CHANNELS * WINDOW * WINDOW };

static float x_[BATCH * CHANNELS * EXTENT * EXTENT];
static float dy_[BATCH * OUTPUTS * EXTENT * EXTENT];
static float gradients_[3][WEIGHT_COUNT];

static csl_conv_spec conv_spec(void)
{
    return (csl_conv_spec){.input = {.extent = {1, EXTENT, EXTENT}, .channels = CHANNELS},
                           .output = {.extent = {1, EXTENT, EXTENT}, .channels = OUTPUTS},
                           .window = {.size = {1, WINDOW, WINDOW},
                                      .stride = {1, 1, 1},
                                      .padding = {0, 1, 1},
                                      .dilation = {1, 1, 1}},
                           .groups = 1,
                           .batch_max = BATCH};
}

/* False where maps lie otherwise on this processor. */
static bool run(uint32_t threads, float *dweights)
{
    csl_device *device = NULL;
    CHECK_OK(csl_device_open("host", threads, &device));
    const csl_kernels *ops = csl_device_kernels(device);
    csl_conv_spec spec = conv_spec();
    CHECK_OK(ops->conv_block(device, &spec, &spec.block));
    if (spec.block == 8) {
        csl_conv *conv = NULL;
        CHECK_OK(ops->conv_create(device, &spec, &conv));
        CHECK_OK(ops->conv_backward_weights(device, conv, x_, dy_, BATCH, dweights, NULL));
        CHECK_STATUS(ops->conv_backward_weights(device, conv, x_, dy_, BATCH + 1, dweights, NULL),
                     CSL_E_RANGE);
        CHECK_OK(ops->conv_destroy(device, conv));
    }
    csl_device_close(device);
    return spec.block == 8;
}

static void gradients_of_weights_are_the_same_with_any_number_of_threads(void)
{
    static const uint32_t threads[] = {1, 2, 5};
    for (size_t i = 0; i < sizeof x_ / sizeof *x_; i++) {
        x_[i] = (float)csl_test_normal();
    }
    for (size_t i = 0; i < sizeof dy_ / sizeof *dy_; i++) {
        dy_[i] = (float)csl_test_normal();
    }
    for (int i = 0; i < 3; i++) {
        if (!run(threads[i], gradients_[i])) {
            printf("skipped: no maps in blocks of eight channels here\n");
            return;
        }
        CU_ASSERT(gradients_[i][0] != 0.0F);
        CU_ASSERT_EQUAL(memcmp(gradients_[i], gradients_[0], sizeof gradients_[0]), 0);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"gradients of weights are the same with any number of threads",
         gradients_of_weights_are_the_same_with_any_number_of_threads},
    };
    return csl_test_main("threads of networks", cases, 1);
}
