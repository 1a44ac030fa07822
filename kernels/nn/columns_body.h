/* Loops over the rows of sixteen channels; nn_host.h says what each does. */
#include "lanes.h"

/* Even and odd rows go into sums of their own. */
static void moments16(const float *x,
                      size_t row_count,
                      size_t stride,
                      const float *shift,
                      double *sum,
                      double *square)
{
    const lanes base = lanes_load(shift);
    lanes s0 = {0}, s1 = {0}, q0 = {0}, q1 = {0};
    size_t row = 0;
    for (; row + 1 < row_count; row += 2) {
        lanes a = lanes_subtract(lanes_load(x + row * stride), base);
        lanes b = lanes_subtract(lanes_load(x + (row + 1) * stride), base);
        s0 = lanes_add(s0, a);
        s1 = lanes_add(s1, b);
        q0 = lanes_add(q0, lanes_multiply(a, a));
        q1 = lanes_add(q1, lanes_multiply(b, b));
    }
    if (row < row_count) {
        lanes a = lanes_subtract(lanes_load(x + row * stride), base);
        s0 = lanes_add(s0, a);
        q0 = lanes_add(q0, lanes_multiply(a, a));
    }
    lanes_add_to(lanes_add(s0, s1), sum);
    lanes_add_to(lanes_add(q0, q1), square);
}

LANES_INLINE void add_gradient_row(const float *x,
                                   const float *y,
                                   const float *dy,
                                   size_t at,
                                   lanes base,
                                   lanes *sum,
                                   lanes *product)
{
    lanes g = lanes_load(dy + at);
    lanes centred = lanes_subtract(lanes_load(x + at), base);
    if (y) {
        g = lanes_gate(g, lanes_load(y + at));
    }
    *sum = lanes_add(*sum, g);
    *product = lanes_add(*product, lanes_multiply(g, centred));
}

static void gradients16(const float *x,
                        const float *y,
                        const float *dy,
                        size_t row_count,
                        size_t stride,
                        const float *mean,
                        double *sum,
                        double *product)
{
    const lanes base = lanes_load(mean);
    lanes s0 = {0}, s1 = {0}, p0 = {0}, p1 = {0};
    size_t row = 0;
    for (; row + 1 < row_count; row += 2) {
        add_gradient_row(x, y, dy, row * stride, base, &s0, &p0);
        add_gradient_row(x, y, dy, (row + 1) * stride, base, &s1, &p1);
    }
    if (row < row_count) {
        add_gradient_row(x, y, dy, row * stride, base, &s0, &p0);
    }
    lanes_add_to(lanes_add(s0, s1), sum);
    lanes_add_to(lanes_add(p0, p1), product);
}

static void affine16(const float *x,
                     size_t row_count,
                     size_t stride,
                     const float *mean,
                     const float *factor,
                     const float *shift,
                     bool relu,
                     float *out)
{
    const lanes base = lanes_load(mean);
    const lanes slope = lanes_load(factor);
    const lanes offset = lanes_load(shift);
    for (size_t row = 0; row < row_count; row++) {
        lanes centred = lanes_subtract(lanes_load(x + row * stride), base);
        lanes value = lanes_add(lanes_multiply(centred, slope), offset);
        lanes_store(out + row * stride, relu ? lanes_gate(value, value) : value);
    }
}

static void affine_gradient16(const float *x,
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
    const lanes base = lanes_load(mean);
    const lanes f = lanes_load(factor);
    const lanes a = lanes_load(gain);
    const lanes b = lanes_load(slope);
    const lanes c = lanes_load(offset);
    for (size_t row = 0; row < row_count; row++) {
        size_t at = row * stride;
        lanes g = lanes_load(dy + at);
        if (y) {
            g = lanes_gate(g, lanes_load(y + at));
        }
        lanes centred = lanes_subtract(lanes_load(x + at), base);
        lanes rest = lanes_add(lanes_multiply(centred, b), c);
        lanes_store(dx + at, lanes_multiply(f, lanes_add(lanes_multiply(g, a), rest)));
    }
}
