/*
 * The gradient of a convolution's weights on maps in blocks of eight channels, with AVX2.
 *
 * oneDNN 2.6's direct kernel multiplies each broadcast input value by one register of gradients and
 * waits for its loads: 76 to 93 GFLOP/s of 207 on two threads of Zen 3. Here a value meets two
 * registers, sixteen outputs. A task is sixteen outputs and a few blocks of input channels; it goes
 * over the batch in tiles that the first cache holds, in each of them over the rows of the window
 * and groups of channels whose sums fit into registers. Each tile's sums begin at zero and are then
 * added to the whole, so that rounding does not grow with the batch. Nothing depends on the number
 * of threads.
 */
#include "conv_gradient.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 8,         /* channels */
    OUTPUTS = 2 * 8,   /* of a task */
    GROUP_MAX = 4,     /* blocks of input channels of a task */
    TILE_PIXELS = 256, /* of dy, 64 bytes each */
    TASKS_A_THREAD = 4,
};

/* A convolution in two dimensions and how its batch is cut. */
typedef struct problem {
    const csl_conv_spec *spec;
    uint32_t batch;
    uint32_t in[2], out[2], size[2], stride[2], padding[2];
    uint32_t tile_images, tile_rows; /* several images, or some rows of one */
    uint32_t packed_width;           /* pixels of a row with its padding */
    uint32_t packed_rows;            /* of an image in a tile */
    uint32_t group;
    uint32_t lanes; /* channels whose sums are in registers together */
} problem;

/* A tile: rows [row, row + row_count) of images [image, image + image_count). */
typedef struct tile {
    uint32_t image, image_count, row, row_count;
} tile;

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static problem describe(const csl_conv_spec *spec, uint32_t batch, int threads)
{
    problem p = {.spec = spec, .batch = batch};
    for (int i = 0; i < 2; i++) {
        p.in[i] = spec->input.extent[i + 1];
        p.out[i] = spec->output.extent[i + 1];
        p.size[i] = spec->window.size[i + 1];
        p.stride[i] = spec->window.stride[i + 1];
        p.padding[i] = spec->window.padding[i + 1];
    }
    uint32_t pixels = p.out[0] * p.out[1];
    p.tile_images = pixels < TILE_PIXELS ? TILE_PIXELS / pixels : 1;
    p.tile_rows = pixels < TILE_PIXELS ? p.out[0] : (TILE_PIXELS + p.out[1] - 1) / p.out[1];
    p.packed_width = (p.out[1] - 1) * p.stride[1] + p.size[1];
    p.packed_rows = (p.tile_rows - 1) * p.stride[0] + p.size[0];
    uint32_t blocks = spec->input.channels / BLOCK;
    p.group = smaller(GROUP_MAX, blocks);
    while (p.group > 1 && spec->output.channels / OUTPUTS * ((blocks + p.group - 1) / p.group) <
                              TASKS_A_THREAD * (uint32_t)threads) {
        p.group /= 2;
    }
    p.lanes = p.size[1] == 3 ? 2 : 4;
    return p;
}

/* The input row that window row `tap` of packed row 0 reads, which may lie in the padding. */
static int64_t first_input_row(const problem *p, const tile *t)
{
    return (int64_t)t->row * p->stride[0] - p->padding[0];
}

static float *packed_row(const problem *p, float *packed, uint32_t image, uint32_t row)
{
    return packed + ((size_t)image * p->packed_rows + row) * p->packed_width * BLOCK;
}

/* Copies what a tile reads of one block of channels, with zeros left and right of the rows. Rows
 * above and below the map are never read. */
static void
pack_input(const problem *p, const float *x, uint32_t block, const tile *t, float *packed)
{
    size_t row_size = (size_t)p->in[1] * BLOCK;
    uint32_t blocks = p->spec->input.channels / BLOCK;
    uint32_t inside = smaller(p->in[1], p->packed_width - p->padding[1]);
    int64_t first = first_input_row(p, t);
    uint32_t rows = (t->row_count - 1) * p->stride[0] + p->size[0];
    for (uint32_t image = 0; image < t->image_count; image++) {
        const float *map = x + ((size_t)(t->image + image) * blocks + block) * p->in[0] * row_size;
        for (uint32_t row = 0; row < rows; row++) {
            int64_t from = first + row;
            if (from < 0 || from >= (int64_t)p->in[0]) {
                continue;
            }
            float *to = packed_row(p, packed, image, row);
            size_t left = (size_t)p->padding[1] * BLOCK;
            size_t width = (size_t)p->packed_width * BLOCK;
            size_t end = left + (size_t)inside * BLOCK;
            memset(to, 0, left * sizeof *to);
            memcpy(to + left, map + (size_t)from * row_size, (end - left) * sizeof *to);
            memset(to + end, 0, (width - end) * sizeof *to);
        }
    }
}

/* Sums of `taps` columns of the window by `lanes` channels by sixteen outputs: constants of the
 * caller, so that all of them are registers. */
static inline __attribute__((always_inline)) void add_row(const float *dy0,
                                                          const float *dy1,
                                                          const float *x,
                                                          uint32_t count,
                                                          size_t step,
                                                          const int taps,
                                                          const int lanes,
                                                          __m256 sums[12])
{
    for (uint32_t pixel = 0; pixel < count; pixel++, dy0 += BLOCK, dy1 += BLOCK, x += step) {
        __m256 low = _mm256_loadu_ps(dy0), high = _mm256_loadu_ps(dy1);
#pragma GCC unroll 3
        for (int tap = 0; tap < taps; tap++) {
#pragma GCC unroll 4
            for (int lane = 0; lane < lanes; lane++) {
                __m256 value = _mm256_broadcast_ss(x + tap * BLOCK + lane);
                int at = 2 * (tap * lanes + lane);
                sums[at] = _mm256_fmadd_ps(value, low, sums[at]);
                sums[at + 1] = _mm256_fmadd_ps(value, high, sums[at + 1]);
            }
        }
    }
}

/* What one row of the window adds: rows of the tile whose input row lies in the map. */
static inline __attribute__((always_inline)) void add_pass(const problem *p,
                                                           const float *dy,
                                                           size_t block_size,
                                                           const tile *t,
                                                           const float *packed,
                                                           uint32_t tap_row,
                                                           const int taps,
                                                           const int lanes,
                                                           float *total)
{
    __m256 sums[12];
#pragma GCC unroll 12
    for (int i = 0; i < 2 * taps * lanes; i++) {
        sums[i] = _mm256_setzero_ps();
    }
    size_t out_row = (size_t)p->out[1] * BLOCK;
    size_t image_size = (size_t)p->spec->output.channels * p->out[0] * p->out[1];
    size_t packed_width = (size_t)p->packed_width * BLOCK;
    size_t step = (size_t)p->stride[1] * BLOCK;
    int64_t from = first_input_row(p, t) + tap_row;
    for (uint32_t image = 0; image < t->image_count; image++) {
        const float *dy0 = dy + image * image_size + t->row * out_row;
        const float *x = packed + ((size_t)image * p->packed_rows + tap_row) * packed_width;
        int64_t input = from;
        for (uint32_t row = 0; row < t->row_count; row++, input += p->stride[0]) {
            if (input >= 0 && input < (int64_t)p->in[0]) {
                add_row(dy0, dy0 + block_size, x, p->out[1], step, taps, lanes, sums);
            }
            dy0 += out_row;
            x += p->stride[0] * packed_width;
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < 2 * taps * lanes; i++) {
        float *target = total + (ptrdiff_t)i * 8;
        _mm256_store_ps(target, _mm256_add_ps(_mm256_load_ps(target), sums[i]));
    }
}

static void add_pass_of_three(const problem *p,
                              const float *dy,
                              size_t block_size,
                              const tile *t,
                              const float *packed,
                              uint32_t tap_row,
                              float *total)
{
    add_pass(p, dy, block_size, t, packed, tap_row, 3, 2, total);
}

static void add_pass_of_one(const problem *p,
                            const float *dy,
                            size_t block_size,
                            const tile *t,
                            const float *packed,
                            uint32_t tap_row,
                            float *total)
{
    add_pass(p, dy, block_size, t, packed, tap_row, 1, 4, total);
}

/* Floats of the sums of one block of channels: [rows of the window][groups of lanes][columns of the
 * window][lanes][outputs]. */
static size_t sums_count(const problem *p)
{
    return (size_t)p->size[0] * p->size[1] * BLOCK * OUTPUTS;
}

static size_t packed_count(const problem *p)
{
    return (size_t)p->tile_images * p->packed_rows * p->packed_width * BLOCK;
}

static void add_tile(const problem *p,
                     const float *x,
                     const float *dy,
                     uint32_t output_pair,
                     uint32_t first_block,
                     uint32_t block_count,
                     const tile *t,
                     float *packed,
                     float *sums)
{
    size_t block_size = (size_t)p->out[0] * p->out[1] * BLOCK;
    const float *gradient = dy + (size_t)t->image * p->spec->output.channels / BLOCK * block_size +
                            2 * output_pair * block_size;
    for (uint32_t b = 0; b < block_count; b++) {
        pack_input(p, x, first_block + b, t, packed);
        float *total = sums + b * sums_count(p);
        for (uint32_t tap_row = 0; tap_row < p->size[0]; tap_row++) {
            for (uint32_t lane = 0; lane < BLOCK; lane += p->lanes) {
                if (p->size[1] == 3) {
                    add_pass_of_three(p, gradient, block_size, t, packed + lane, tap_row, total);
                } else {
                    add_pass_of_one(p, gradient, block_size, t, packed + lane, tap_row, total);
                }
                total += (size_t)p->size[1] * p->lanes * OUTPUTS;
            }
        }
    }
}

/* From a block's sums to dweights [outputs][channels][rows][columns]. */
static void write_block(
    const problem *p, const float *sums, uint32_t output_pair, uint32_t block, float *dweights)
{
    size_t window = (size_t)p->size[0] * p->size[1];
    size_t channels = p->spec->input.channels;
    for (uint32_t row = 0; row < p->size[0]; row++) {
        for (uint32_t c = 0; c < BLOCK; c++) {
            for (uint32_t column = 0; column < p->size[1]; column++) {
                size_t place = ((size_t)(row * BLOCK + c / p->lanes * p->lanes) * p->size[1] +
                                column * p->lanes + c % p->lanes) *
                               OUTPUTS;
                for (uint32_t o = 0; o < OUTPUTS; o++) {
                    size_t filter = (size_t)output_pair * OUTPUTS + o;
                    dweights[(filter * channels + block * BLOCK + c) * window + row * p->size[1] +
                             column] = sums[place + o];
                }
            }
        }
    }
}

static void run_task(const problem *p,
                     const float *x,
                     const float *dy,
                     uint32_t output_pair,
                     uint32_t first_block,
                     float *memory,
                     float *dweights)
{
    uint32_t block_count = smaller(p->group, p->spec->input.channels / BLOCK - first_block);
    float *sums = memory, *packed = memory + p->group * sums_count(p);
    memset(sums, 0, block_count * sums_count(p) * sizeof *sums);
    for (uint32_t image = 0; image < p->batch; image += p->tile_images) {
        for (uint32_t row = 0; row < p->out[0]; row += p->tile_rows) {
            tile t = {image, smaller(p->tile_images, p->batch - image), row,
                      smaller(p->tile_rows, p->out[0] - row)};
            add_tile(p, x, dy, output_pair, first_block, block_count, &t, packed, sums);
        }
    }
    for (uint32_t b = 0; b < block_count; b++) {
        write_block(p, sums + b * sums_count(p), output_pair, first_block + b, dweights);
    }
}

bool csl_conv_gradient_fits(const csl_conv_spec *spec)
{
    const csl_window *window = &spec->window;
    return spec->block == BLOCK && spec->groups == 1 && !spec->has_bias &&
           spec->input.channels % BLOCK == 0 && spec->output.channels % OUTPUTS == 0 &&
           (window->size[2] == 3 || window->size[2] == 1) && window->padding[2] < window->size[2] &&
           window->dilation[1] == 1 && window->dilation[2] == 1 &&
           __builtin_cpu_supports("x86-64-v3");
}

csl_status csl_conv_gradient(csl_device *device,
                             const csl_conv_spec *spec,
                             const float *x,
                             const float *dy,
                             uint32_t batch,
                             float *dweights)
{
    int threads = csl_host_threads(device);
    problem p = describe(spec, batch, threads);
    size_t stride = (p.group * sums_count(&p) + packed_count(&p) + 15) / 16 * 16;
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(stride * sizeof(float) * (size_t)threads, &memory));
    uint32_t groups = (spec->input.channels / BLOCK + p.group - 1) / p.group;
    uint32_t task_count = spec->output.channels / OUTPUTS * groups;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (uint32_t task = 0; task < task_count; task++) {
        run_task(&p, x, dy, task / groups, task % groups * p.group,
                 (float *)memory + (size_t)omp_get_thread_num() * stride, dweights);
    }
    return CSL_OK;
}

#else

bool csl_conv_gradient_fits(const csl_conv_spec *spec)
{
    (void)spec;
    return false;
}

csl_status csl_conv_gradient(csl_device *device,
                             const csl_conv_spec *spec,
                             const float *x,
                             const float *dy,
                             uint32_t batch,
                             float *dweights)
{
    (void)device, (void)spec, (void)x, (void)dy, (void)batch, (void)dweights;
    return csl_fail(CSL_E_UNSUPPORTED, "gradient of weights: only with AVX2");
}

#endif
