/* The arrays that the operations of kernel_case.c work on. */
#include "kernel_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHIFT = 997 }; /* by which the values of one array differ from those of the next */

csl_shape csl_kernel_bench_shape(const csl_kernel_bench *b)
{
    return (csl_shape){{1, b->sizes.extent, b->sizes.extent}, b->sizes.channels};
}

/* Device memory that the bench gives back; NULL after the first failure. */
static void *take(csl_kernel_bench *b, size_t size, csl_status *status)
{
    void *memory = NULL;
    if (*status == CSL_OK) {
        *status = csl_device_alloc(b->device, size, &memory);
    }
    if (memory) {
        b->owned[b->owned_count++] = memory;
    }
    return memory;
}

static csl_status allocate(csl_kernel_bench *b)
{
    csl_status status = CSL_OK;
    for (int k = 0; k < CSL_BENCH_MAPS; k++) {
        b->map[k] = take(b, b->map_size * sizeof(float), &status);
    }
    for (int k = 0; k < CSL_BENCH_SMALL; k++) {
        b->small[k] = take(b, b->small_size * sizeof(float), &status);
    }
    b->index = take(b, b->map_size * sizeof *b->index, &status);
    b->labels = take(b, b->sizes.batch * sizeof *b->labels, &status);
    b->raw = take(b, b->map_size, &status);
    size_t images = (size_t)b->sizes.batch * b->sizes.channels;
    b->augment = take(b, images * sizeof *b->augment, &status);
    b->weights = take(b, b->weight_count * sizeof(float), &status);
    b->dweights = take(b, b->weight_count * sizeof(float), &status);
    CSL_TRY(status);
    size_t most = b->map_size > b->weight_count ? b->map_size : b->weight_count;
    size_t values = most + SHIFT * CSL_BENCH_MAPS;
    b->random = malloc(values * sizeof *b->random);
    if (!b->random) {
        return csl_fail(CSL_E_NO_MEMORY, "bench kernels: no memory for %zu values", values);
    }
    uint64_t state = 1;
    for (size_t i = 0; i < values; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        b->random[i] =
            (float)((double)(uint32_t)(state >> 32) + (double)(uint32_t)(state >> 16) - 0x1p32) *
            0x1p-31F;
    }
    return CSL_OK;
}

static csl_status to_device(csl_kernel_bench *b, void *target, const void *source, size_t size)
{
    return csl_device_copy(b->device, target, source, size, CSL_COPY_TO_DEVICE);
}

/* Labels, and a turn by some degrees for each image. */
static csl_status fill_whole_numbers(csl_kernel_bench *b)
{
    uint32_t images = b->sizes.batch * b->sizes.channels;
    csl_augment *augment = calloc(images, sizeof *augment);
    int32_t *labels = calloc(b->sizes.batch, sizeof *labels);
    csl_status status =
        augment && labels ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "bench kernels: %u images", images);
    for (uint32_t i = 0; i < b->sizes.batch && status == CSL_OK; i++) {
        labels[i] = (int32_t)(i * 7 % CSL_BENCH_CLASSES);
    }
    for (uint32_t i = 0; i < images && status == CSL_OK; i++) {
        float angle = 0.02F * (float)(i % 16);
        augment[i] = (csl_augment){
            .matrix = {1, 0, 0, 0, cosf(angle), -sinf(angle), 0, sinf(angle), cosf(angle)},
            .shift = {0, 0.5F, -1.25F},
            .gain = 1.1F,
            .offset = 0.1F};
    }
    if (status == CSL_OK) {
        status = to_device(b, b->labels, labels, b->sizes.batch * sizeof *labels);
    }
    if (status == CSL_OK) {
        status = to_device(b, b->augment, augment, images * sizeof *augment);
    }
    free(augment);
    free(labels);
    return status;
}

static csl_status fill_arrays(csl_kernel_bench *b)
{
    for (int k = 0; k < CSL_BENCH_MAPS; k++) {
        CSL_TRY(to_device(b, b->map[k], b->random + SHIFT * k, b->map_size * sizeof(float)));
    }
    for (int k = 0; k < CSL_BENCH_SMALL; k++) {
        CSL_TRY(b->kernels->fill(b->device, 0.5F + (float)k / CSL_BENCH_SMALL, b->small_size,
                                 b->small[k]));
    }
    CSL_TRY(to_device(b, b->weights, b->random + SHIFT, b->weight_count * sizeof(float)));
    CSL_TRY(b->kernels->scale(b->device, 0.05F, b->weight_count, b->weights));
    CSL_TRY(to_device(b, b->raw, b->random, b->map_size));
    return fill_whole_numbers(b);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Maps, positions, bytes and, on the host, the random values: what sizes that are too large take.
 */
static csl_status check_memory(const csl_kernel_bench *b)
{
    const csl_kernel_sizes *s = &b->sizes;
    const csl_device_info *info = csl_device_get_info(b->device);
    double values = (double)s->batch * s->extent * s->extent * s->channels;
    double taps = (double)s->channels * s->channels * s->window * s->window;
    double needed = values * (sizeof(float) * (CSL_BENCH_MAPS + 2) + 1) + 4 * taps * sizeof(float);
    if (needed > (double)info->memory_free_size) {
        return csl_fail(CSL_E_NO_MEMORY,
                        "maps of %u x %u x %u x %u need %.1f GiB, %s has %.1f GiB free", s->batch,
                        s->channels, s->extent, s->extent, needed * 0x1p-30, info->resource,
                        (double)info->memory_free_size * 0x1p-30);
    }
    return CSL_OK;
}

static csl_status prepare_sizes(csl_kernel_bench *b)
{
    const csl_kernel_sizes *s = &b->sizes;
    CSL_TRY(check_memory(b));
    b->count = (size_t)s->batch * s->extent * s->extent * s->channels;
    b->map_size = larger(b->count, (size_t)s->batch * CSL_BENCH_FEATURES);
    b->small_size = larger(larger(CSL_BENCH_FEATURES, s->channels), (size_t)s->batch * s->channels);
    b->weight_count = larger((size_t)CSL_BENCH_FEATURES * CSL_BENCH_FEATURES,
                             (size_t)s->channels * s->channels * s->window * s->window);
    b->conv_spec = (csl_conv_spec){.input = csl_kernel_bench_shape(b),
                                   .output = csl_kernel_bench_shape(b),
                                   .window = {.size = {1, s->window, s->window},
                                              .stride = {1, 1, 1},
                                              .padding = {0, s->window / 2, s->window / 2},
                                              .dilation = {1, 1, 1}},
                                   .groups = 1,
                                   .batch_max = s->batch};
    return b->kernels->conv_block(b->device, &b->conv_spec, &b->conv_spec.block);
}

csl_status csl_kernel_bench_create(const char *device,
                                   uint32_t threads,
                                   const csl_kernel_sizes *sizes,
                                   csl_kernel_bench **bench_out)
{
    csl_kernel_bench *b = calloc(1, sizeof *b);
    if (!b) {
        return csl_fail(CSL_E_NO_MEMORY, "bench kernels");
    }
    b->sizes = *sizes;
    csl_status status = csl_device_open(device, threads, &b->device);
    if (status == CSL_OK) {
        b->kernels = csl_device_kernels(b->device);
        status = prepare_sizes(b);
    }
    if (status == CSL_OK) {
        status = allocate(b);
    }
    if (status == CSL_OK) {
        status = b->kernels->conv_create(b->device, &b->conv_spec, &b->conv);
    }
    if (status != CSL_OK) {
        csl_kernel_bench_destroy(b);
        return status;
    }
    *bench_out = b;
    return CSL_OK;
}

void csl_kernel_bench_destroy(csl_kernel_bench *b)
{
    if (!b) {
        return;
    }
    if (b->conv) {
        (void)(b->kernels->conv_destroy(b->device, b->conv) == CSL_OK);
    }
    for (size_t k = 0; k < b->owned_count; k++) {
        csl_device_free(b->device, b->owned[k]);
    }
    csl_device_close(b->device);
    free(b->random);
    free(b);
}

csl_status csl_kernel_bench_prepare(csl_kernel_bench *b,
                                    const csl_kernel_case *chosen,
                                    csl_kernel_cost *cost_out)
{
    CSL_TRY(fill_arrays(b));
    b->first = true;
    b->cost = (csl_kernel_cost){0};
    CSL_TRY(chosen->run(b));
    b->first = false;
    *cost_out = b->cost;
    return csl_device_sync(b->device);
}
