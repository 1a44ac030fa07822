/*
 * Loops over the channels of a channels-last tensor, sixteen channels at a time. A row of a column
 * block is one load, so rows are read once and in order and the sums stay in registers. Rows of
 * eight channels are taken in pairs.
 */
#include "nn_host.h"

/* Rows that go into float32 accumulators before they are added to float64. */
enum { ROWS_PER_BLOCK = 256 };

static inline __attribute__((always_inline)) void
add_lanes(const csl_lanes *a, const csl_lanes *b, double *target)
{
    csl_lanes total = *a + *b;
    for (int i = 0; i < CSL_LANES; i++) {
        target[i] += (double)total[i];
    }
}

/* Lanes of `value` where `gate` > 0, 0 elsewhere. */
static inline __attribute__((always_inline)) void mask_lanes(csl_lanes *value,
                                                             const csl_lanes *gate)
{
    const csl_lanes zero = {0};
    *value = (csl_lanes)((csl_lane_mask)*value & (csl_lane_mask)(*gate > zero));
}

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

CSL_CLONES static void moments16(const float *x,
                                 size_t row_count,
                                 size_t stride,
                                 const float *shift,
                                 double *sum,
                                 double *square)
{
    const csl_lanes base = *(const csl_lanes *)shift;
    csl_lanes s0 = {0}, s1 = {0}, q0 = {0}, q1 = {0};
    size_t row = 0;
    for (; row + 1 < row_count; row += 2) {
        csl_lanes a = *(const csl_lanes *)(x + row * stride) - base;
        csl_lanes b = *(const csl_lanes *)(x + (row + 1) * stride) - base;
        s0 += a;
        s1 += b;
        q0 += a * a;
        q1 += b * b;
    }
    if (row < row_count) {
        csl_lanes a = *(const csl_lanes *)(x + row * stride) - base;
        s0 += a;
        q0 += a * a;
    }
    add_lanes(&s0, &s1, sum);
    add_lanes(&q0, &q1, square);
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

static void
moments8(const float *x, size_t row_count, const float *shift, double *sum, double *square)
{
    float base[CSL_LANES];
    double lanes[2][CSL_LANES] = {{0.0}};
    double_lanes(shift, base);
    moments16(x, row_count / 2, CSL_LANES, base, lanes[0], lanes[1]);
    fold_lanes(lanes[0], sum);
    fold_lanes(lanes[1], square);
    if (row_count % 2 != 0) {
        moments_tail(x + (row_count - 1) * HALF, 1, HALF, HALF, shift, sum, square);
    }
}

static void column_moments(const float *x,
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
            moments8(block, rows, shift, sum, square);
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            moments16(block + c, rows, channels, shift + c, sum + c, square + c);
        }
        if (c < channels) {
            moments_tail(block + c, rows, channels, channels - c, shift + c, sum + c, square + c);
        }
    }
}

CSL_CLONES static void gradients16(const float *x,
                                   const float *y,
                                   const float *dy,
                                   size_t row_count,
                                   size_t stride,
                                   const float *mean,
                                   double *sum,
                                   double *product)
{
    const csl_lanes base = *(const csl_lanes *)mean;
    csl_lanes s[2] = {{0}, {0}}, p[2] = {{0}, {0}};
    for (size_t row = 0; row < row_count; row++) {
        csl_lanes g = *(const csl_lanes *)(dy + row * stride);
        csl_lanes centred = *(const csl_lanes *)(x + row * stride) - base;
        if (y) {
            mask_lanes(&g, (const csl_lanes *)(y + row * stride));
        }
        s[row & 1] += g;
        p[row & 1] += g * centred;
    }
    add_lanes(&s[0], &s[1], sum);
    add_lanes(&p[0], &p[1], product);
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

static void gradients8(const float *x,
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
    gradients16(x, y, dy, row_count / 2, CSL_LANES, base, lanes[0], lanes[1]);
    fold_lanes(lanes[0], sum);
    fold_lanes(lanes[1], product);
    if (row_count % 2 != 0) {
        size_t at = (row_count - 1) * HALF;
        gradients_tail(x + at, y ? y + at : NULL, dy + at, 1, HALF, HALF, mean, sum, product);
    }
}

static void column_gradients(const float *x,
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
            gradients8(x + at, y ? y + at : NULL, dy + at, rows, mean, sum, product);
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            gradients16(x + at + c, y ? y + at + c : NULL, dy + at + c, rows, channels, mean + c,
                        sum + c, product + c);
        }
        if (c < channels) {
            gradients_tail(x + at + c, y ? y + at + c : NULL, dy + at + c, rows, channels,
                           channels - c, mean + c, sum + c, product + c);
        }
    }
}

CSL_CLONES static void affine16(const float *x,
                                size_t row_count,
                                size_t stride,
                                const float *mean,
                                const float *factor,
                                const float *shift,
                                bool relu,
                                float *out)
{
    const csl_lanes base = *(const csl_lanes *)mean;
    const csl_lanes slope = *(const csl_lanes *)factor;
    const csl_lanes offset = *(const csl_lanes *)shift;
    for (size_t row = 0; row < row_count; row++) {
        csl_lanes value = (*(const csl_lanes *)(x + row * stride) - base) * slope + offset;
        if (relu) {
            csl_lanes gate = value;
            mask_lanes(&value, &gate);
        }
        *(csl_lanes *)(out + row * stride) = value;
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

static void affine8(const float *x,
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
    affine16(x, row_count / 2, CSL_LANES, base, slope, offset, relu, out);
    if (row_count % 2 != 0) {
        size_t at = (row_count - 1) * HALF;
        affine_tail(x + at, 1, HALF, HALF, mean, factor, shift, relu, out + at);
    }
}

static void column_affine(const float *x,
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
            affine8(x + at, rows, mean, factor, shift, relu, out + at);
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            affine16(x + at + c, rows, channels, mean + c, factor + c, shift + c, relu,
                     out + at + c);
        }
        if (c < channels) {
            affine_tail(x + at + c, rows, channels, channels - c, mean + c, factor + c, shift + c,
                        relu, out + at + c);
        }
    }
}

CSL_CLONES static void affine_gradient16(const float *x,
                                         const float *y,
                                         const float *dy,
                                         size_t row_count,
                                         size_t stride,
                                         const float *mean,
                                         const float *factor,
                                         const float *gain,
                                         const float *slope,
                                         const float *offset,
                                         float *dx)
{
    const csl_lanes base = *(const csl_lanes *)mean;
    const csl_lanes f = *(const csl_lanes *)factor;
    const csl_lanes a = *(const csl_lanes *)gain;
    const csl_lanes b = *(const csl_lanes *)slope;
    const csl_lanes c = *(const csl_lanes *)offset;
    for (size_t row = 0; row < row_count; row++) {
        csl_lanes g = *(const csl_lanes *)(dy + row * stride);
        if (y) {
            mask_lanes(&g, (const csl_lanes *)(y + row * stride));
        }
        csl_lanes centred = *(const csl_lanes *)(x + row * stride) - base;
        *(csl_lanes *)(dx + row * stride) = f * (g * a + (centred * b + c));
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

static void affine_gradient8(const float *x,
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
    affine_gradient16(x, y, dy, row_count / 2, CSL_LANES, wide[0], wide[1], wide[2], wide[3],
                      wide[4], dx);
    if (row_count % 2 != 0) {
        size_t at = (row_count - 1) * HALF;
        affine_gradient_tail(x + at, y ? y + at : NULL, dy + at, 1, HALF, HALF, mean, factor, gain,
                             slope, offset, dx + at);
    }
}

static void column_affine_gradient(const float *x,
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
            affine_gradient8(x + at, y ? y + at : NULL, dy + at, rows, mean, factor, gain, slope,
                             offset, dx + at);
            continue;
        }
        uint32_t c = 0;
        for (; c + CSL_LANES <= channels; c += CSL_LANES) {
            affine_gradient16(x + at + c, y ? y + at + c : NULL, dy + at + c, rows, channels,
                              mean + c, factor + c, gain + c, slope + c, offset + c, dx + at + c);
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
    uint32_t width = block ? block : channels;
    for (uint32_t c = 0; c < channels; c += width) {
        column_moments(x + c * row_count, row_count, width, shift + c, sum + c, square + c);
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
    uint32_t width = block ? block : channels;
    for (uint32_t c = 0; c < channels; c += width) {
        size_t at = c * row_count;
        column_gradients(x + at, y ? y + at : NULL, dy + at, row_count, width, mean + c, sum + c,
                         product + c);
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
    uint32_t width = block ? block : channels;
    for (uint32_t c = 0; c < channels; c += width) {
        size_t at = c * row_count;
        column_affine(x + at, row_count, width, mean + c, factor + c, shift + c, relu, out + at);
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
    uint32_t width = block ? block : channels;
    for (uint32_t c = 0; c < channels; c += width) {
        size_t at = c * row_count;
        column_affine_gradient(x + at, y ? y + at : NULL, dy + at, row_count, width, mean + c,
                               factor + c, gain + c, slope + c, offset + c, dx + at);
    }
}
