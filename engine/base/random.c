#include <consilium/random.h>

#include <Random123/philox.h>
#include <math.h>

/*
 * The key is the seed. The counter is {block, index, round, purpose in the top byte and the block's
 * bits 32..55 below}: a one-to-one map from (purpose, round, index, block) to counters, so streams
 * cannot overlap.
 */
csl_random
csl_random_stream(uint64_t seed, csl_random_purpose purpose, uint32_t round, uint32_t index)
{
    return (csl_random){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                        .counter = {0, index, round, (uint32_t)purpose << 24},
                        .used = 4};
}

uint64_t
csl_random_derive(uint64_t seed, csl_random_purpose purpose, uint32_t round, uint32_t index)
{
    /* The last block of the stream, which no sequence of draws reaches in practice. */
    csl_random random = csl_random_stream(seed, purpose, round, index);
    random.counter[0] = UINT32_MAX;
    random.counter[3] |= 0x00ffffffu;
    return csl_random_u64(&random);
}

static void refill(csl_random *random)
{
    philox4x32_ctr_t counter;
    philox4x32_key_t key;
    for (int i = 0; i < 4; i++) {
        counter.v[i] = random->counter[i];
    }
    key.v[0] = random->key[0];
    key.v[1] = random->key[1];
    philox4x32_ctr_t block = philox4x32_R(10, counter, key);
    for (int i = 0; i < 4; i++) {
        random->block[i] = block.v[i];
    }
    random->used = 0;
    if (++random->counter[0] == 0) {
        uint32_t purpose = random->counter[3] & 0xff000000u;
        random->counter[3] = purpose | ((random->counter[3] + 1) & 0x00ffffffu);
    }
}

uint32_t csl_random_u32(csl_random *random)
{
    if (random->used >= 4) {
        refill(random);
    }
    return random->block[random->used++];
}

uint64_t csl_random_u64(csl_random *random)
{
    uint64_t low = csl_random_u32(random);
    return low | (uint64_t)csl_random_u32(random) << 32;
}

double csl_random_uniform(csl_random *random)
{
    return (double)(csl_random_u64(random) >> 11) * 0x1p-53;
}

double csl_random_uniform_open(csl_random *random)
{
    return (double)((csl_random_u64(random) >> 11) + 1) * 0x1p-53;
}

uint64_t csl_random_below(csl_random *random, uint64_t bound)
{
    if (bound == 0) {
        return 0;
    }
    unsigned __int128 product = (unsigned __int128)csl_random_u64(random) * bound;
    if ((uint64_t)product < bound) {
        /* 2^64 mod bound values of the low half would be one too frequent. */
        uint64_t threshold = (0 - bound) % bound;
        while ((uint64_t)product < threshold) {
            product = (unsigned __int128)csl_random_u64(random) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}

double csl_random_normal(csl_random *random)
{
    if (random->has_normal) {
        random->has_normal = false;
        return random->normal;
    }
    double u;
    double v;
    double s;
    do {
        u = 2.0 * csl_random_uniform(random) - 1.0;
        v = 2.0 * csl_random_uniform(random) - 1.0;
        s = u * u + v * v;
    } while (s >= 1.0 || s == 0.0);
    double factor = sqrt(-2.0 * csl_exact_log(s) / s);
    random->normal = v * factor;
    random->has_normal = true;
    return u * factor;
}

/* ln Gamma(shape, 1) for shape >= 1: squeeze-free form of Marsaglia & Tsang 2000, figure 1. */
static double log_gamma_large(csl_random *random, double shape)
{
    double d = shape - 1.0 / 3.0;
    double c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = csl_random_normal(random);
        double t = 1.0 + c * x;
        if (t <= 0.0) {
            continue;
        }
        double v = t * t * t;
        double log_v = csl_exact_log(v);
        double u = csl_random_uniform_open(random);
        if (csl_exact_log(u) < 0.5 * x * x + d - d * v + d * log_v) {
            return csl_exact_log(d) + log_v;
        }
    }
}

double csl_random_log_gamma_variate(csl_random *random, double shape)
{
    if (shape >= 1.0) {
        return log_gamma_large(random, shape);
    }
    double large = log_gamma_large(random, shape + 1.0);
    return large + csl_exact_log(csl_random_uniform_open(random)) / shape;
}

void csl_random_dirichlet(csl_random *random, double alpha, size_t count, double *shares_out)
{
    double largest = -HUGE_VAL;
    for (size_t i = 0; i < count; i++) {
        shares_out[i] = csl_random_log_gamma_variate(random, alpha);
        largest = shares_out[i] > largest ? shares_out[i] : largest;
    }
    if (largest == -HUGE_VAL) {
        /* Concentration so small that even logarithms overflow: the limit is one share of 1. */
        size_t chosen = (size_t)csl_random_below(random, count);
        for (size_t i = 0; i < count; i++) {
            shares_out[i] = i == chosen ? 1.0 : 0.0;
        }
        return;
    }
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        shares_out[i] = csl_exact_exp(shares_out[i] - largest);
        sum += shares_out[i];
    }
    for (size_t i = 0; i < count; i++) {
        shares_out[i] /= sum;
    }
}

void csl_random_shuffle(csl_random *random, uint64_t *values, size_t count)
{
    for (size_t remaining = count; remaining > 1; remaining--) {
        size_t other = (size_t)csl_random_below(random, remaining);
        uint64_t kept = values[remaining - 1];
        values[remaining - 1] = values[other];
        values[other] = kept;
    }
}

void csl_random_permutation(csl_random *random, size_t count, uint64_t *permutation_out)
{
    for (size_t i = 0; i < count; i++) {
        permutation_out[i] = i;
    }
    csl_random_shuffle(random, permutation_out, count);
}
