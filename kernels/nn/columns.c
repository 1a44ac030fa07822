/*
 * Loops over the channels of a channels-last tensor, sixteen channels at a time. A row of a column
 * block is one load, so rows are read once and in order and the sums stay in registers. Rows of
 * eight channels are taken in pairs.
 */
#include "nn_host.h"

/* Rows that go into float32 accumulators before they are added to float64. */
enum { ROWS_PER_BLOCK = 256 };

enum { HALF = CSL_LANES / 2 };

/* Eight values twice, for two rows of eight channels in one vector. */
static inline void double_lanes(const float *values, float *lanes)
{
    for (int i = 0; i < CSL_LANES; i++) {
        lanes[i] = values[i % HALF];
    }
}

static inline void fold_lanes(const double *lanes, double *target)
{
    for (int i = 0; i < HALF; i++) {
        target[i] += lanes[i] + lanes[i + HALF];
    }
}

static void moments_tail(const float *x,
                         size_t row_count,
                         size_t stride,
                         uint32_t width,
                         const float *shift,
                         double *sum,
                         double *square)
{
    for (size_t row = 0; row < row_count; row++) {
        for (uint32_t i = 0; i < width; i++) {
            double a = (double)(x[row * stride + i] - shift[i]);
            sum[i] += a;
            square[i] += a * a;
        }
    }
}

static void moments8(const csl_lane_functions *run,
                     const float *x,
                     size_t row_count,
                     const float *shift,
                     double *sum,
                     double *square)
{
    float base[CSL_LANES];
    double lanes[2][CSL_LANES] = {{0.0}};
    double_lanes(shift, base);
    run->moments(x, row_count / 2, CSL_LANES, base, lanes[0], lanes[1]);
    fold_lanes(lanes[0], sum);
    fold_lanes(lanes[1], square);
    if (row_count % 2 != 0) {
        moments_tail(x + (row_count - 1) * HALF, 1, HALF, HALF, shift, sum, square);
    }
}

static void column_moments(const csl_lane_functions *run,
                           const float *x,
                           size_t row_count,
                           uint32_t channels,
                           const float *shift,
                           double *sum,
                           double *square)
{
    for (size_t first = 0; first < row_count; first += ROWS_PER_BLOCK) {
        size_t rows = row_count - first < ROWS_PER_BLOCK ? row_count - first : ROWS_PER_BLOCK;
        const float *block = x + first * channels;
        if (channels == HALF) {
            moments8(run, block, rows, shift, sum, square);
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            run->moments(block + c, rows, channels, shift + c, sum + c, square + c);
        }
        if (c < channels) {
            moments_tail(block + c, rows, channels, channels - c, shift + c, sum + c, square + c);
        }
    }
}

static void gradients_tail(const float *x,
                           const float *y,
                           const float *dy,
                           size_t row_count,
                           size_t stride,
                           uint32_t width,
                           const float *mean,
                           double *sum,
                           double *product)
{
    for (size_t row = 0; row < row_count; row++) {
        for (uint32_t i = 0; i < width; i++) {
            size_t at = row * stride + i;
            double g = y && !(y[at] > 0.0F) ? 0.0 : (double)dy[at];
            sum[i] += g;
            product[i] += g * (double)(x[at] - mean[i]);
        }
    }
}

static void gradients8(const csl_lane_functions *run,
                       const float *x,
                       const float *y,
                       const float *dy,
                       size_t row_count,
                       const float *mean,
                       double *sum,
                       double *product)
{
    float base[CSL_LANES];
    double lanes[2][CSL_LANES] = {{0.0}};
    double_lanes(mean, base);
    run->gradients(x, y, dy, row_count / 2, CSL_LANES, base, lanes[0], lanes[1]);
    fold_lanes(lanes[0], sum);
    fold_lanes(lanes[1], product);
    if (row_count % 2 != 0) {
        size_t at = (row_count - 1) * HALF;
        gradients_tail(x + at, y ? y + at : NULL, dy + at, 1, HALF, HALF, mean, sum, product);
    }
}

static void column_gradients(const csl_lane_functions *run,
                             const float *x,
                             const float *y,
                             const float *dy,
                             size_t row_count,
                             uint32_t channels,
                             const float *mean,
                             double *sum,
                             double *product)
{
    for (size_t first = 0; first < row_count; first += ROWS_PER_BLOCK) {
        size_t rows = row_count - first < ROWS_PER_BLOCK ? row_count - first : ROWS_PER_BLOCK;
        size_t at = first * channels;
        if (channels == HALF) {
            gradients8(run, x + at, y ? y + at : NULL, dy + at, rows, mean, sum, product);
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            run->gradients(x + at + c, y ? y + at + c : NULL, dy + at + c, rows, channels, mean + c,
                           sum + c, product + c);
        }
        if (c < channels) {
            gradients_tail(x + at + c, y ? y + at + c : NULL, dy + at + c, rows, channels,
                           channels - c, mean + c, sum + c, product + c);
        }
    }
}

static void affine_tail(const float *x,
                        size_t row_count,
                        size_t stride,
                        uint32_t width,
                        const float *mean,
                        const float *factor,
                        const float *shift,
                        bool relu,
                        float *out)
{
    for (size_t row = 0; row < row_count; row++) {
        for (uint32_t i = 0; i < width; i++) {
            size_t at = row * stride + i;
            float value = (x[at] - mean[i]) * factor[i] + shift[i];
            out[at] = relu && !(value > 0.0F) ? 0.0F : value;
        }
    }
}

static void affine8(const csl_lane_functions *run,
                    const float *x,
                    size_t row_count,
                    const float *mean,
                    const float *factor,
                    const float *shift,
                    bool relu,
                    float *out)
{
    float base[CSL_LANES], slope[CSL_LANES], offset[CSL_LANES];
    double_lanes(mean, base);
    double_lanes(factor, slope);
    double_lanes(shift, offset);
    run->affine(x, row_count / 2, CSL_LANES, base, slope, offset, relu, out);
    if (row_count % 2 != 0) {
        size_t at = (row_count - 1) * HALF;
        affine_tail(x + at, 1, HALF, HALF, mean, factor, shift, relu, out + at);
    }
}

static void column_affine(const csl_lane_functions *run,
                          const float *x,
                          size_t row_count,
                          uint32_t channels,
                          const float *mean,
                          const float *factor,
                          const float *shift,
                          bool relu,
                          float *out)
{
    for (size_t first = 0; first < row_count; first += ROWS_PER_BLOCK) {
        size_t rows = row_count - first < ROWS_PER_BLOCK ? row_count - first : ROWS_PER_BLOCK;
        size_t at = first * channels;
        if (channels == HALF) {
            affine8(run, x + at, rows, mean, factor, shift, relu, out + at);
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            run->affine(x + at + c, rows, channels, mean + c, factor + c, shift + c, relu,
                        out + at + c);
        }
        if (c < channels) {
            affine_tail(x + at + c, rows, channels, channels - c, mean + c, factor + c, shift + c,
                        relu, out + at + c);
        }
    }
}

static void affine_gradient_tail(const float *x,
                                 const float *y,
                                 const float *dy,
                                 size_t row_count,
                                 size_t stride,
                                 uint32_t width,
                                 const float *mean,
                                 const float *factor,
                                 const float *gain,
                                 const float *slope,
                                 const float *offset,
                                 float *dx)
{
    for (size_t row = 0; row < row_count; row++) {
        for (uint32_t i = 0; i < width; i++) {
            size_t at = row * stride + i;
            float g = y && !(y[at] > 0.0F) ? 0.0F : dy[at];
            dx[at] = factor[i] * (g * gain[i] + ((x[at] - mean[i]) * slope[i] + offset[i]));
        }
    }
}

static void affine_gradient8(const csl_lane_functions *run,
                             const float *x,
                             const float *y,
                             const float *dy,
                             size_t row_count,
                             const float *mean,
                             const float *factor,
                             const float *gain,
                             const float *slope,
                             const float *offset,
                             float *dx)
{
    float wide[5][CSL_LANES];
    const float *const columns[5] = {mean, factor, gain, slope, offset};
    for (int i = 0; i < 5; i++) {
        double_lanes(columns[i], wide[i]);
    }
    run->affine_gradient(x, y, dy, row_count / 2, CSL_LANES, wide[0], wide[1], wide[2], wide[3],
                         wide[4], dx);
    if (row_count % 2 != 0) {
        size_t at = (row_count - 1) * HALF;
        affine_gradient_tail(x + at, y ? y + at : NULL, dy + at, 1, HALF, HALF, mean, factor, gain,
                             slope, offset, dx + at);
    }
}

static void column_affine_gradient(const csl_lane_functions *run,
                                   const float *x,
                                   const float *y,
                                   const float *dy,
                                   size_t row_count,
                                   uint32_t channels,
                                   const float *mean,
                                   const float *factor,
                                   const float *gain,
                                   const float *slope,
                                   const float *offset,
                                   float *dx)
{
    for (size_t first = 0; first < row_count; first += ROWS_PER_BLOCK) {
        size_t rows = row_count - first < ROWS_PER_BLOCK ? row_count - first : ROWS_PER_BLOCK;
        size_t at = first * channels;
        if (channels == HALF) {
            affine_gradient8(run, x + at, y ? y + at : NULL, dy + at, rows, mean, factor, gain,
                             slope, offset, dx + at);
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            run->affine_gradient(x + at + c, y ? y + at + c : NULL, dy + at + c, rows, channels,
                                 mean + c, factor + c, gain + c, slope + c, offset + c,
                                 dx + at + c);
        }
        if (c < channels) {
            affine_gradient_tail(x + at + c, y ? y + at + c : NULL, dy + at + c, rows, channels,
                                 channels - c, mean + c, factor + c, gain + c, slope + c,
                                 offset + c, dx + at + c);
        }
    }
}

void csl_map_moments(const float *x,
                     size_t row_count,
                     uint32_t channels,
                     uint32_t block,
                     const float *shift,
                     double *sum,
                     double *square)
{
    const csl_lane_functions *run = csl_lanes();
    uint32_t width = block ? block : channels;
    for (uint32_t c = 0; c < channels; c += width) {
        column_moments(run, x + c * row_count, row_count, width, shift + c, sum + c, square + c);
    }
}

void csl_map_gradients(const float *x,
                       const float *y,
                       const float *dy,
                       size_t row_count,
                       uint32_t channels,
                       uint32_t block,
                       const float *mean,
                       double *sum,
                       double *product)
{
    const csl_lane_functions *run = csl_lanes();
    uint32_t width = block ? block : channels;
    for (uint32_t c = 0; c < channels; c += width) {
        size_t at = c * row_count;
        column_gradients(run, x + at, y ? y + at : NULL, dy + at, row_count, width, mean + c,
                         sum + c, product + c);
    }
}

void csl_map_affine(const float *x,
                    size_t row_count,
                    uint32_t channels,
                    uint32_t block,
                    const float *mean,
                    const float *factor,
                    const float *shift,
                    bool relu,
                    float *out)
{
    const csl_lane_functions *run = csl_lanes();
    uint32_t width = block ? block : channels;
    for (uint32_t c = 0; c < channels; c += width) {
        size_t at = c * row_count;
        column_affine(run, x + at, row_count, width, mean + c, factor + c, shift + c, relu,
                      out + at);
    }
}

void csl_map_affine_gradient(const float *x,
                             const float *y,
                             const float *dy,
                             size_t row_count,
                             uint32_t channels,
                             uint32_t block,
                             const float *mean,
                             const float *factor,
                             const float *gain,
                             const float *slope,
                             const float *offset,
                             float *dx)
{
    const csl_lane_functions *run = csl_lanes();
    uint32_t width = block ? block : channels;
    for (uint32_t c = 0; c < channels; c += width) {
        size_t at = c * row_count;
        column_affine_gradient(run, x + at, y ? y + at : NULL, dy + at, row_count, width, mean + c,
                               factor + c, gain + c, slope + c, offset + c, dx + at);
    }
}
