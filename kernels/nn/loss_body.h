/* The losses of one image; nn_host.h says what each function does. */
#include "lanes.h"

#include <string.h>

enum {
    SUMS = 8,   /* running sums, which are added at the end: as many on any processor */
    CHUNK = 64, /* values whose float64 terms are worked out before they are added */
};

/* exp(x) for x <= 0, to 1e-9 of it and 0 below -700, in steps that a compiler takes for several x
 * at once: x = n log 2 + r, and a power of two times Taylor's polynomial of r. NaN stays NaN. */
static inline double exp_of_negative(double x)
{
    static const double ROUND = 0x1.8p52; /* a sum with it has its whole number in the low bits */
    double least = x < -700.0 ? -700.0 : x;
    double shifted = least * 0x1.71547652b82fep0 + ROUND; /* 1 / log 2 */
    double r = least - (shifted - ROUND) * 0x1.62e42fefa39efp-1;
    double sum = 1.0 / 40320;
    sum = sum * r + 1.0 / 5040;
    sum = sum * r + 1.0 / 720;
    sum = sum * r + 1.0 / 120;
    sum = sum * r + 1.0 / 24;
    sum = sum * r + 1.0 / 6;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return x < -700.0 ? 0.0 : sum * power;
}

/* log(1 + x) for x in [0, 1], to 1e-9: twice the series of artanh(x / (2 + x)). */
static inline double log_of_one_and(double x)
{
    double t = x / (2.0 + x);
    double square = t * t;
    double sum = 1.0 / 17;
    for (int k = 15; k > 0; k -= 2) {
        sum = sum * square + 1.0 / k;
    }
    return 2.0 * t * sum;
}

typedef double running_sums __attribute__((vector_size(SUMS * sizeof(double)), aligned(8)));

/* Adds `count` terms, element j to sum j mod SUMS; sets those behind the last to zero. */
static inline void add_terms(double terms[CHUNK], size_t count, running_sums *sums)
{
    for (size_t j = count; j % SUMS; j++) {
        terms[j] = 0.0;
    }
    for (size_t j = 0; j < count; j += SUMS) {
        running_sums next;
        memcpy(&next, terms + j, sizeof next);
        *sums += next;
    }
}

static inline double sum_of(const running_sums *sums)
{
    double sum = 0.0;
    for (int lane = 0; lane < SUMS; lane++) {
        sum += (*sums)[lane];
    }
    return sum;
}

static inline size_t chunk_of(size_t begin, size_t count)
{
    return count - begin < CHUNK ? count - begin : CHUNK;
}

/* sum of exp(logits - largest); the terms to kept, unless that is NULL. */
static double exponentials(const float *logits, uint32_t class_count, double largest, float *kept)
{
    running_sums sums = {0};
    for (size_t begin = 0; begin < class_count; begin += CHUNK) {
        size_t count = chunk_of(begin, class_count);
        double terms[CHUNK];
#pragma omp simd
        for (size_t j = 0; j < count; j++) {
            terms[j] = exp_of_negative((double)logits[begin + j] - largest);
        }
        for (size_t j = 0; kept && j < count; j++) {
            kept[begin + j] = (float)terms[j];
        }
        add_terms(terms, count, &sums);
    }
    return sum_of(&sums);
}

/* Divides the terms in kept, which is one of the two results; either may be NULL. */
static void finish_softmax(const float *kept,
                           double sum,
                           uint32_t class_count,
                           float scale,
                           float *dlogits,
                           float *probabilities)
{
    double inverse = 1.0 / sum;
    if (dlogits && probabilities) {
        for (uint32_t k = 0; k < class_count; k++) {
            double probability = (double)kept[k] * inverse;
            dlogits[k] = (float)(probability * (double)scale);
            probabilities[k] = (float)probability;
        }
        return;
    }
    double factor = dlogits ? inverse * (double)scale : inverse;
    float *result = dlogits ? dlogits : probabilities;
    for (uint32_t k = 0; k < class_count; k++) {
        result[k] = (float)((double)kept[k] * factor);
    }
}

static float largest(const float *values, uint32_t count)
{
    float result = values[0];
#pragma omp simd reduction(max : result)
    for (uint32_t k = 0; k < count; k++) {
        result = values[k] > result ? values[k] : result;
    }
    return result;
}

/* The loss of one image whose targets are known where known[k] is not 0, or all for NULL. */
static double sigmoid_image(const float *logits,
                            const float *targets,
                            const uint8_t *known,
                            uint32_t label_count,
                            float scale,
                            float *dlogits,
                            float *probabilities)
{
    running_sums sums = {0};
    for (size_t begin = 0; begin < label_count; begin += CHUNK) {
        size_t count = chunk_of(begin, label_count);
        double terms[CHUNK];
        double probability[CHUNK];
        double error[CHUNK];
#pragma omp simd
        for (size_t j = 0; j < count; j++) {
            double x = (double)logits[begin + j];
            double target = (double)targets[begin + j];
            double small = exp_of_negative(x < 0.0 ? x : -x); /* never overflows */
            probability[j] = (x >= 0.0 ? 1.0 : small) / (1.0 + small);
            error[j] = (probability[j] - target) * (double)scale;
            terms[j] = (x > 0.0 ? x : 0.0) - x * target + log_of_one_and(small);
        }
        for (size_t j = 0; known && j < count; j++) {
            terms[j] = known[begin + j] ? terms[j] : 0.0;
            error[j] = known[begin + j] ? error[j] : 0.0;
        }
        for (size_t j = 0; dlogits && j < count; j++) {
            dlogits[begin + j] = (float)error[j];
        }
        for (size_t j = 0; probabilities && j < count; j++) {
            probabilities[begin + j] = (float)probability[j];
        }
        add_terms(terms, count, &sums);
    }
    return sum_of(&sums);
}

static double
squared_image(const float *y, const float *targets, uint32_t output_count, float scale, float *dy)
{
    running_sums sums = {0};
    for (size_t begin = 0; begin < output_count; begin += CHUNK) {
        size_t count = chunk_of(begin, output_count);
        size_t steps = dy ? count : 0;
        double terms[CHUNK];
        double errors[CHUNK];
#pragma omp simd
        for (size_t j = 0; j < count; j++) {
            errors[j] = (double)y[begin + j] - (double)targets[begin + j];
            terms[j] = errors[j] * errors[j];
        }
#pragma omp simd
        for (size_t j = 0; j < steps; j++) {
            dy[begin + j] = (float)(errors[j] * (double)scale);
        }
        add_terms(terms, count, &sums);
    }
    return 0.5 * sum_of(&sums);
}
