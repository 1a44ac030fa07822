/* The oracle's losses, optimiser, input pipeline and random numbers. */
#include "oracle_nn.h"

#include <math.h>
#include <string.h>

void oracle_softmax_loss(const double *logits,
                         const int32_t *labels,
                         uint32_t batch,
                         uint32_t class_count,
                         double scale,
                         double *loss,
                         double *dlogits,
                         double *probabilities)
{
    for (uint32_t b = 0; b < batch; b++) {
        const double *row = logits + (size_t)b * class_count;
        double largest = row[0], sum = 0.0;
        for (uint32_t k = 1; k < class_count; k++) {
            largest = fmax(largest, row[k]);
        }
        for (uint32_t k = 0; k < class_count; k++) {
            sum += exp(row[k] - largest);
        }
        loss[b] = log(sum) + largest - row[labels[b]];
        for (uint32_t k = 0; k < class_count; k++) {
            double p = exp(row[k] - largest) / sum;
            probabilities[(size_t)b * class_count + k] = p;
            dlogits[(size_t)b * class_count + k] = (p - ((int32_t)k == labels[b])) * scale;
        }
    }
}

void oracle_sigmoid_loss(const double *logits,
                         const double *targets,
                         const uint8_t *mask,
                         uint32_t batch,
                         uint32_t label_count,
                         double scale,
                         double *loss,
                         double *dlogits,
                         double *probabilities)
{
    for (uint32_t b = 0; b < batch; b++) {
        loss[b] = 0.0;
        for (uint32_t k = 0; k < label_count; k++) {
            size_t i = (size_t)b * label_count + k;
            double known = !mask || mask[i] ? 1.0 : 0.0;
            double p = 1.0 / (1.0 + exp(-logits[i]));
            /* -log p and -log (1 - p), by log1p so that neither tail is lost */
            double positive =
                logits[i] > 0 ? log1p(exp(-logits[i])) : log1p(exp(logits[i])) - logits[i];
            double negative = positive + logits[i];
            loss[b] += known * (targets[i] * positive + (1.0 - targets[i]) * negative);
            probabilities[i] = p;
            dlogits[i] = known * (p - targets[i]) * scale;
        }
    }
}

void oracle_squared_loss(const double *y,
                         const double *targets,
                         uint32_t batch,
                         uint32_t output_count,
                         double scale,
                         double *loss,
                         double *dy)
{
    for (uint32_t b = 0; b < batch; b++) {
        loss[b] = 0.0;
        for (uint32_t k = 0; k < output_count; k++) {
            size_t i = (size_t)b * output_count + k;
            loss[b] += 0.5 * (y[i] - targets[i]) * (y[i] - targets[i]);
            dy[i] = (y[i] - targets[i]) * scale;
        }
    }
}

void oracle_adamw_step(const csl_adamw_spec *spec,
                       const double *gradient,
                       size_t count,
                       double *first,
                       double *second,
                       double *weights)
{
    double beta1 = (double)spec->beta1, beta2 = (double)spec->beta2, rate = (double)spec->rate;
    for (size_t i = 0; i < count; i++) {
        weights[i] -= rate * (double)spec->weight_decay * weights[i];
        first[i] = beta1 * first[i] + (1.0 - beta1) * gradient[i];
        second[i] = beta2 * second[i] + (1.0 - beta2) * gradient[i] * gradient[i];
        double m = first[i] / (1.0 - pow(beta1, (double)spec->step));
        double v = second[i] / (1.0 - pow(beta2, (double)spec->step));
        weights[i] -= rate * m / (sqrt(v) + (double)spec->epsilon);
    }
}

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

/* Trilinear value of one plane [depth][height][width] at a position, edges repeated. */
static double interpolate(const uint32_t *extent, const double *plane, const double *position)
{
    double value = 0.0;
    for (int corner = 0; corner < 8; corner++) {
        double weight = 1.0;
        size_t index = 0;
        for (int axis = 0; axis < 3; axis++) {
            double inside = clamp(position[axis], 0.0, extent[axis] - 1.0);
            double low = floor(inside);
            bool upper = (corner >> axis) & 1;
            weight *= upper ? inside - low : 1.0 - (inside - low);
            double voxel = clamp(low + (upper ? 1.0 : 0.0), 0.0, extent[axis] - 1.0);
            index = index * extent[axis] + (size_t)voxel;
        }
        value += weight * plane[index];
    }
    return value;
}

void oracle_input_prepare(const csl_input_spec *spec,
                          const double *raw,
                          const float *mean,
                          const float *inverse_deviation,
                          const csl_augment *augment,
                          uint32_t batch,
                          double *y)
{
    const uint32_t *extent = spec->shape.extent;
    uint32_t channels = spec->shape.channels;
    size_t plane = (size_t)extent[0] * extent[1] * extent[2];
    for (size_t i = 0; i < plane * channels * batch; i++) {
        uint32_t c = (uint32_t)(i % channels);
        size_t voxel = i / channels % plane;
        size_t image = i / channels / plane;
        size_t place[3] = {voxel / extent[2] / extent[1], voxel / extent[2] % extent[1],
                           voxel % extent[2]};
        double out[3] = {(double)place[0], (double)place[1], (double)place[2]};
        double position[3] = {out[0], out[1], out[2]};
        for (int a = 0; augment && a < 3; a++) {
            position[a] = (extent[a] - 1.0) / 2.0 + (double)augment[image].shift[a];
            for (int b = 0; b < 3; b++) {
                position[a] +=
                    (double)augment[image].matrix[3 * a + b] * (out[b] - (extent[b] - 1.0) / 2.0);
            }
        }
        double value = interpolate(extent, raw + (image * channels + c) * plane, position);
        value = value * (double)spec->slope + (double)spec->intercept;
        value = (value - (double)mean[c]) * (double)inverse_deviation[c];
        y[i] =
            augment ? value * (double)augment[image].gain + (double)augment[image].offset : value;
    }
}

uint32_t oracle_philox_word(uint64_t seed, uint64_t counter, uint32_t word)
{
    uint32_t c[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, 0};
    uint32_t k[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k[0], (uint32_t)p1,
                            (uint32_t)(p0 >> 32) ^ c[3] ^ k[1], (uint32_t)p0};
        memcpy(c, next, sizeof c);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    return c[word];
}
