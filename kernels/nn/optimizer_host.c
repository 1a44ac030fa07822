/* Optimiser steps and the vector operations around them: one pass over memory each. */
#include "device/kernel_table.h"
#include "nn_host.h"

#include <math.h>

/* Not a change of values: sqrtf then needs no errno, and the loop around it becomes a vector loop.
 */
#pragma GCC optimize("no-math-errno")

enum { SUM_CHUNK = 16384 }; /* elements per partial sum: threads do not change the result */

CSL_CLONES static void sgd_range(const csl_sgd_spec *spec,
                                 const float *gradient,
                                 size_t count,
                                 float *restrict momentum,
                                 float *restrict weights)
{
    const float rate = spec->rate, decay = spec->weight_decay, keep = spec->momentum;
    const bool nesterov = spec->nesterov;
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] + decay * weights[i];
        float m = keep * momentum[i] + g;
        momentum[i] = m;
        weights[i] = weights[i] - rate * (nesterov ? g + keep * m : m);
    }
}

CSL_CLONES static void plain_sgd_range(const csl_sgd_spec *spec,
                                       const float *gradient,
                                       size_t count,
                                       float *restrict weights)
{
    const float rate = spec->rate, decay = spec->weight_decay;
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] + decay * weights[i];
        weights[i] = weights[i] - rate * g;
    }
}

csl_status csl_host_sgd_step(csl_device *device,
                             const csl_sgd_spec *spec,
                             const float *gradient,
                             size_t count,
                             float *momentum,
                             float *weights)
{
    if (!momentum && spec->momentum != 0.0F) {
        return csl_fail(CSL_E_INVALID_ARG, "sgd step: expected a momentum array for momentum %g",
                        (double)spec->momentum);
    }
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        if (momentum) {
            sgd_range(spec, gradient + first, end - first, momentum + first, weights + first);
        } else {
            plain_sgd_range(spec, gradient + first, end - first, weights + first);
        }
    }
    return CSL_OK;
}

/* The step's constants, worked out once in float64. */
typedef struct adamw_constants {
    float shrink; /* 1 - rate * weight_decay */
    float beta1, beta2;
    float rest1, rest2; /* 1 - beta */
    float rate;         /* rate / (1 - beta1^step) */
    float inverse_root; /* 1 / sqrt(1 - beta2^step) */
    float epsilon;
} adamw_constants;

CSL_CLONES static void adamw_range(const adamw_constants *constants,
                                   const float *gradient,
                                   size_t count,
                                   float *restrict first,
                                   float *restrict second,
                                   float *restrict weights)
{
    const adamw_constants k = *constants;
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i];
        float m = k.beta1 * first[i] + k.rest1 * g;
        float v = k.beta2 * second[i] + k.rest2 * g * g;
        first[i] = m;
        second[i] = v;
        weights[i] = weights[i] * k.shrink - k.rate * m / (sqrtf(v) * k.inverse_root + k.epsilon);
    }
}

csl_status csl_host_adamw_step(csl_device *device,
                               const csl_adamw_spec *spec,
                               const float *gradient,
                               size_t count,
                               float *first,
                               float *second,
                               float *weights)
{
    if (spec->step == 0) {
        return csl_fail(CSL_E_RANGE, "adamw step: expected a step of at least 1, found 0");
    }
    double step = (double)spec->step;
    double beta1 = (double)spec->beta1, beta2 = (double)spec->beta2;
    const adamw_constants constants = {
        .shrink = (float)(1.0 - (double)spec->rate * (double)spec->weight_decay),
        .beta1 = spec->beta1,
        .beta2 = spec->beta2,
        .rest1 = (float)(1.0 - beta1),
        .rest2 = (float)(1.0 - beta2),
        .rate = (float)((double)spec->rate / (1.0 - pow(beta1, step))),
        .inverse_root = (float)(1.0 / sqrt(1.0 - pow(beta2, step))),
        .epsilon = spec->epsilon,
    };
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t begin, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &begin, &end);
        adamw_range(&constants, gradient + begin, end - begin, first + begin, second + begin,
                    weights + begin);
    }
    return CSL_OK;
}

CSL_CLONES static void axpy_range(float a, const float *x, size_t count, float *y)
{
    for (size_t i = 0; i < count; i++) {
        y[i] = y[i] + a * x[i];
    }
}

csl_status csl_host_axpy(csl_device *device, float a, const float *x, size_t count, float *y)
{
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        axpy_range(a, x + first, end - first, y + first);
    }
    return CSL_OK;
}

CSL_CLONES static void scale_range(float a, size_t count, float *x)
{
    for (size_t i = 0; i < count; i++) {
        x[i] = x[i] * a;
    }
}

csl_status csl_host_scale(csl_device *device, float a, size_t count, float *x)
{
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        scale_range(a, end - first, x + first);
    }
    return CSL_OK;
}

CSL_CLONES static void fill_range(float a, size_t count, float *x)
{
    for (size_t i = 0; i < count; i++) {
        x[i] = a;
    }
}

csl_status csl_host_fill(csl_device *device, float a, size_t count, float *x)
{
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        fill_range(a, end - first, x + first);
    }
    return CSL_OK;
}

CSL_CLONES static void proximal_range(
    float mu, const float *weights, const float *reference, size_t count, float *gradient)
{
    for (size_t i = 0; i < count; i++) {
        gradient[i] = gradient[i] + mu * (weights[i] - reference[i]);
    }
}

csl_status csl_host_proximal(csl_device *device,
                             float mu,
                             const float *weights,
                             const float *reference,
                             size_t count,
                             float *gradient)
{
#pragma omp parallel num_threads(csl_nn_threads(device, count))
    {
        size_t first, end;
        csl_nn_part(count, CSL_LANES, omp_get_thread_num(), omp_get_num_threads(), &first, &end);
        proximal_range(mu, weights + first, reference + first, end - first, gradient + first);
    }
    return CSL_OK;
}

/* Eight lanes in a written order, so that every instruction set adds alike. */
CSL_CLONES static double sum_of_squares_range(const float *x, size_t count)
{
    double lanes[8] = {0};
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (size_t lane = 0; lane < 8; lane++) {
            double value = (double)x[i + lane];
            lanes[lane] += value * value;
        }
    }
    for (; i < count; i++) {
        lanes[i % 8] += (double)x[i] * (double)x[i];
    }
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

csl_status
csl_host_sum_of_squares(csl_device *device, const float *x, size_t count, double *host_out)
{
    size_t chunk_count = (count + SUM_CHUNK - 1) / SUM_CHUNK;
    void *memory = NULL;
    CSL_TRY(csl_nn_scratch(chunk_count * sizeof(double), &memory));
    double *partial = memory;
#pragma omp parallel for num_threads(csl_nn_threads(device, count)) schedule(static)
    for (size_t chunk = 0; chunk < chunk_count; chunk++) {
        size_t first = chunk * SUM_CHUNK;
        size_t rest = count - first;
        partial[chunk] = sum_of_squares_range(x + first, rest < SUM_CHUNK ? rest : SUM_CHUNK);
    }
    double sum = 0.0;
    for (size_t chunk = 0; chunk < chunk_count; chunk++) {
        sum += partial[chunk];
    }
    *host_out = sum;
    return CSL_OK;
}
