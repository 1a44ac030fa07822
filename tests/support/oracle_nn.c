#include "oracle_nn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Position of voxel (d, h, w), channel c of image b. */
static size_t at(const csl_shape *shape, uint32_t b, int64_t d, int64_t h, int64_t w, uint32_t c)
{
    size_t row = (size_t)b * shape->extent[0] + (size_t)d;
    row = row * shape->extent[1] + (size_t)h;
    row = row * shape->extent[2] + (size_t)w;
    return row * shape->channels + c;
}

/* One pair of an output voxel and an input voxel that its window covers. */
typedef struct tap {
    uint32_t batch;
    int64_t out[3];
    int64_t in[3];
    uint32_t k[3];
    size_t window_index; /* of the tap in [kd][kh][kw] */
} tap;

typedef void (*tap_function)(void *context, const tap *tap);

static bool place_tap(const csl_shape *input, const csl_window *window, tap *t)
{
    for (int i = 0; i < 3; i++) {
        t->in[i] = t->out[i] * window->stride[i] - window->padding[i] +
                   (int64_t)t->k[i] * window->dilation[i];
        if (t->in[i] < 0 || t->in[i] >= input->extent[i]) {
            return false;
        }
    }
    t->window_index = ((size_t)t->k[0] * window->size[1] + t->k[1]) * window->size[2] + t->k[2];
    return true;
}

/* Calls `visit` for each tap inside the input, output voxels in order, taps in order. */
static void for_each_tap(const csl_shape *input,
                         const csl_shape *output,
                         const csl_window *window,
                         uint32_t batch,
                         tap_function visit,
                         void *context)
{
    size_t tap_count = (size_t)window->size[0] * window->size[1] * window->size[2];
    size_t voxel_count = (size_t)output->extent[0] * output->extent[1] * output->extent[2];
    for (uint32_t b = 0; b < batch; b++) {
        for (size_t voxel = 0; voxel < voxel_count; voxel++) {
            tap t = {.batch = b};
            t.out[2] = (int64_t)(voxel % output->extent[2]);
            t.out[1] = (int64_t)(voxel / output->extent[2] % output->extent[1]);
            t.out[0] = (int64_t)(voxel / output->extent[2] / output->extent[1]);
            for (size_t i = 0; i < tap_count; i++) {
                t.k[2] = (uint32_t)(i % window->size[2]);
                t.k[1] = (uint32_t)(i / window->size[2] % window->size[1]);
                t.k[0] = (uint32_t)(i / window->size[2] / window->size[1]);
                if (place_tap(input, window, &t)) {
                    visit(context, &t);
                }
            }
        }
    }
}

typedef struct conv_context {
    const csl_conv_spec *spec;
    const double *x, *weights, *dy;
    double *y, *dx, *dweights;
} conv_context;

static void visit_conv(void *opaque, const tap *t)
{
    conv_context *c = opaque;
    const csl_conv_spec *spec = c->spec;
    uint32_t in_width = spec->input.channels / spec->groups;
    uint32_t out_width = spec->output.channels / spec->groups;
    const uint32_t *size = spec->window.size;
    size_t tap_count = (size_t)size[0] * size[1] * size[2];
    for (uint32_t o = 0; o < spec->output.channels; o++) {
        size_t out = at(&spec->output, t->batch, t->out[0], t->out[1], t->out[2], o);
        for (uint32_t i = 0; i < in_width; i++) {
            uint32_t channel = o / out_width * in_width + i;
            size_t in = at(&spec->input, t->batch, t->in[0], t->in[1], t->in[2], channel);
            size_t weight = ((size_t)o * in_width + i) * tap_count + t->window_index;
            if (c->y) {
                c->y[out] += c->x[in] * c->weights[weight];
            } else {
                c->dx[in] += c->dy[out] * c->weights[weight];
                c->dweights[weight] += c->dy[out] * c->x[in];
            }
        }
    }
}

void oracle_conv_forward(const csl_conv_spec *spec,
                         const double *x,
                         const double *weights,
                         const double *bias,
                         uint32_t batch,
                         double *y)
{
    size_t count = csl_shape_count(spec->output) * batch;
    for (size_t i = 0; i < count; i++) {
        y[i] = bias ? bias[i % spec->output.channels] : 0.0;
    }
    conv_context context = {.spec = spec, .x = x, .weights = weights, .y = y};
    for_each_tap(&spec->input, &spec->output, &spec->window, batch, visit_conv, &context);
    for (size_t i = 0; spec->fuse_relu && i < count; i++) {
        y[i] = fmax(y[i], 0.0);
    }
}

void oracle_conv_backward(const csl_conv_spec *spec,
                          const double *x,
                          const double *weights,
                          const double *dy,
                          uint32_t batch,
                          double *dx,
                          double *dweights,
                          double *dbias)
{
    const uint32_t *size = spec->window.size;
    size_t weight_count = (size_t)spec->output.channels * (spec->input.channels / spec->groups) *
                          size[0] * size[1] * size[2];
    memset(dx, 0, csl_shape_count(spec->input) * batch * sizeof *dx);
    memset(dweights, 0, weight_count * sizeof *dweights);
    conv_context context = {
        .spec = spec, .x = x, .weights = weights, .dy = dy, .dx = dx, .dweights = dweights};
    for_each_tap(&spec->input, &spec->output, &spec->window, batch, visit_conv, &context);
    for (uint32_t o = 0; dbias && o < spec->output.channels; o++) {
        dbias[o] = 0.0;
        for (size_t i = o; i < csl_shape_count(spec->output) * batch; i += spec->output.channels) {
            dbias[o] += dy[i];
        }
    }
}

void oracle_linear_forward(const double *x,
                           const double *weights,
                           const double *bias,
                           uint32_t batch,
                           uint32_t in_count,
                           uint32_t out_count,
                           bool relu,
                           double *y)
{
    for (uint32_t b = 0; b < batch; b++) {
        for (uint32_t o = 0; o < out_count; o++) {
            double sum = bias ? bias[o] : 0.0;
            for (uint32_t i = 0; i < in_count; i++) {
                sum += x[(size_t)b * in_count + i] * weights[(size_t)o * in_count + i];
            }
            y[(size_t)b * out_count + o] = relu ? fmax(sum, 0.0) : sum;
        }
    }
}

void oracle_linear_backward(const double *x,
                            const double *weights,
                            const double *dy,
                            uint32_t batch,
                            uint32_t in_count,
                            uint32_t out_count,
                            double *dx,
                            double *dweights,
                            double *dbias)
{
    memset(dx, 0, (size_t)batch * in_count * sizeof *dx);
    memset(dweights, 0, (size_t)out_count * in_count * sizeof *dweights);
    memset(dbias, 0, out_count * sizeof *dbias);
    for (uint32_t b = 0; b < batch; b++) {
        for (uint32_t o = 0; o < out_count; o++) {
            double g = dy[(size_t)b * out_count + o];
            dbias[o] += g;
            for (uint32_t i = 0; i < in_count; i++) {
                dx[(size_t)b * in_count + i] += g * weights[(size_t)o * in_count + i];
                dweights[(size_t)o * in_count + i] += g * x[(size_t)b * in_count + i];
            }
        }
    }
}

/* Which statistic element `i` of the batch belongs to, and how many there are. */
static size_t statistic_of(const csl_norm_spec *spec, size_t i)
{
    uint32_t channels = spec->shape.channels;
    size_t channel = i % channels;
    if (spec->groups == 0) {
        return channel;
    }
    size_t image = i / csl_shape_count(spec->shape);
    return image * spec->groups + channel / (channels / spec->groups);
}

static size_t statistic_count(const csl_norm_spec *spec, uint32_t batch)
{
    return spec->groups == 0 ? spec->shape.channels : (size_t)batch * spec->groups;
}

void oracle_norm_forward(const csl_norm_spec *spec,
                         const double *x,
                         const double *scale,
                         const double *shift,
                         uint32_t batch,
                         bool relu,
                         bool given,
                         double *mean,
                         double *inverse_deviation,
                         double *y)
{
    size_t count = csl_shape_count(spec->shape) * batch;
    size_t statistics = statistic_count(spec, batch);
    size_t each = count / statistics;
    double size = (double)each;
    if (!given) {
        memset(mean, 0, statistics * sizeof *mean);
        memset(inverse_deviation, 0, statistics * sizeof *inverse_deviation);
        for (size_t i = 0; i < count; i++) {
            mean[statistic_of(spec, i)] += x[i] / size;
        }
        for (size_t i = 0; i < count; i++) {
            double away = x[i] - mean[statistic_of(spec, i)];
            inverse_deviation[statistic_of(spec, i)] += away * away / size;
        }
        for (size_t s = 0; s < statistics; s++) {
            inverse_deviation[s] = 1.0 / sqrt(inverse_deviation[s] + (double)spec->epsilon);
        }
    }
    for (size_t i = 0; i < count; i++) {
        size_t s = statistic_of(spec, i);
        size_t c = i % spec->shape.channels;
        double value = (x[i] - mean[s]) * inverse_deviation[s] * scale[c] + shift[c];
        y[i] = relu ? fmax(value, 0.0) : value;
    }
}

void oracle_norm_backward(const csl_norm_spec *spec,
                          const double *x,
                          const double *y,
                          const double *dy,
                          const double *scale,
                          const double *mean,
                          const double *inverse_deviation,
                          uint32_t batch,
                          bool relu,
                          bool frozen,
                          double *dx,
                          double *dscale,
                          double *dshift)
{
    uint32_t channels = spec->shape.channels;
    size_t count = csl_shape_count(spec->shape) * batch;
    size_t statistics = statistic_count(spec, batch);
    size_t each = count / statistics;
    double size = (double)each;
    double *sum = calloc(statistics, sizeof *sum);
    double *product = calloc(statistics, sizeof *product);
    memset(dscale, 0, channels * sizeof *dscale);
    memset(dshift, 0, channels * sizeof *dshift);
    for (size_t i = 0; i < count; i++) {
        size_t s = statistic_of(spec, i), c = i % channels;
        double g = relu && !(y[i] > 0.0) ? 0.0 : dy[i];
        double normal = (x[i] - mean[s]) * inverse_deviation[s];
        dshift[c] += g;
        dscale[c] += g * normal;
        sum[s] += g * scale[c] / size;
        product[s] += g * scale[c] * normal / size;
    }
    for (size_t i = 0; i < count; i++) {
        size_t s = statistic_of(spec, i), c = i % channels;
        double g = relu && !(y[i] > 0.0) ? 0.0 : dy[i];
        double normal = (x[i] - mean[s]) * inverse_deviation[s];
        double through = frozen ? 0.0 : sum[s] + normal * product[s];
        dx[i] = inverse_deviation[s] * (g * scale[c] - through);
    }
    free(sum);
    free(product);
}

typedef struct pool_context {
    const csl_pool_spec *spec;
    const double *x, *dy;
    double *y, *dx;
    uint32_t *index;
    double margin;
} pool_context;

static void visit_max(void *opaque, const tap *t)
{
    pool_context *p = opaque;
    for (uint32_t c = 0; c < p->spec->input.channels; c++) {
        size_t in = at(&p->spec->input, t->batch, t->in[0], t->in[1], t->in[2], c);
        size_t out = at(&p->spec->output, t->batch, t->out[0], t->out[1], t->out[2], c);
        if (p->index[out] == UINT32_MAX || p->x[in] > p->y[out]) {
            p->y[out] = p->x[in];
            p->index[out] = (uint32_t)at(&p->spec->input, 0, t->in[0], t->in[1], t->in[2], c);
        }
    }
}

void oracle_max_pool_forward(
    const csl_pool_spec *spec, const double *x, uint32_t batch, double *y, uint32_t *index)
{
    size_t count = csl_shape_count(spec->output) * batch;
    memset(y, 0, count * sizeof *y);
    memset(index, 0xff, count * sizeof *index);
    pool_context context = {.spec = spec, .x = x, .y = y, .index = index};
    for_each_tap(&spec->input, &spec->output, &spec->window, batch, visit_max, &context);
}

static void visit_margin(void *opaque, const tap *t)
{
    pool_context *p = opaque;
    for (uint32_t c = 0; c < p->spec->input.channels; c++) {
        size_t in = at(&p->spec->input, t->batch, t->in[0], t->in[1], t->in[2], c);
        size_t out = at(&p->spec->output, t->batch, t->out[0], t->out[1], t->out[2], c);
        double lead = p->y[out] - p->x[in];
        p->margin = lead > 0.0 ? fmin(p->margin, lead) : p->margin;
    }
}

double oracle_max_pool_margin(const csl_pool_spec *spec, const double *x, uint32_t batch, double *y)
{
    pool_context context = {.spec = spec, .x = x, .y = y, .margin = INFINITY};
    for_each_tap(&spec->input, &spec->output, &spec->window, batch, visit_margin, &context);
    return context.margin;
}

void oracle_max_pool_backward(
    const csl_pool_spec *spec, const double *dy, const uint32_t *index, uint32_t batch, double *dx)
{
    size_t in_count = csl_shape_count(spec->input), out_count = csl_shape_count(spec->output);
    memset(dx, 0, in_count * batch * sizeof *dx);
    for (size_t i = 0; i < out_count * batch; i++) {
        if (index[i] != UINT32_MAX) {
            dx[i / out_count * in_count + index[i]] += dy[i];
        }
    }
}

static void visit_average(void *opaque, const tap *t)
{
    pool_context *p = opaque;
    const uint32_t *size = p->spec->window.size;
    double factor = 1.0 / ((double)size[0] * size[1] * size[2]);
    for (uint32_t c = 0; c < p->spec->input.channels; c++) {
        size_t in = at(&p->spec->input, t->batch, t->in[0], t->in[1], t->in[2], c);
        size_t out = at(&p->spec->output, t->batch, t->out[0], t->out[1], t->out[2], c);
        if (p->y) {
            p->y[out] += p->x[in] * factor;
        } else {
            p->dx[in] += p->dy[out] * factor;
        }
    }
}

void oracle_average_pool_forward(const csl_pool_spec *spec,
                                 const double *x,
                                 uint32_t batch,
                                 double *y)
{
    memset(y, 0, csl_shape_count(spec->output) * batch * sizeof *y);
    pool_context context = {.spec = spec, .x = x, .y = y};
    for_each_tap(&spec->input, &spec->output, &spec->window, batch, visit_average, &context);
}

void oracle_average_pool_backward(const csl_pool_spec *spec,
                                  const double *dy,
                                  uint32_t batch,
                                  double *dx)
{
    memset(dx, 0, csl_shape_count(spec->input) * batch * sizeof *dx);
    pool_context context = {.spec = spec, .dy = dy, .dx = dx};
    for_each_tap(&spec->input, &spec->output, &spec->window, batch, visit_average, &context);
}
