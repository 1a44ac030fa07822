/*
 * Random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011) through Random123.
 *
 * A stream is named by (seed, purpose, round, index) and depends on nothing else: not on the rank
 * that draws from it, on threads, or on what was drawn before. Different names never share a
 * number. Everything here is EXACT: logarithm and exponential are written sequences of IEEE-754
 * operations, so that an initial model or a partition is the same on every machine. Cannot fail,
 * all of it.
 */
#ifndef CONSILIUM_RANDOM_H
#define CONSILIUM_RANDOM_H

#include <consilium/status.h>
#include <consilium/types.h>

/* What a stream is for. Values are part of what a seed means: append, never renumber; below 256. */
typedef enum csl_random_purpose {
    CSL_RANDOM_WEIGHTS = 1,      /* initial weights; index: tensor */
    CSL_RANDOM_SHUFFLE = 2,      /* order of training images; index: local epoch */
    CSL_RANDOM_AUGMENT = 3,      /* augmentation; index: step or image */
    CSL_RANDOM_DROPOUT = 4,      /* dropout masks; index: step */
    CSL_RANDOM_SAMPLING = 5,     /* institutions of a round */
    CSL_RANDOM_PARTITION = 6,    /* pool to institutions; index: institution or class */
    CSL_RANDOM_SPLIT = 7,        /* train, validation, test; index: institution */
    CSL_RANDOM_PHANTOM = 8,      /* synthetic images; index: image */
    CSL_RANDOM_NOISE = 9,        /* feature skew; index: institution */
    CSL_RANDOM_INSTITUTION = 10, /* derives an institution's own seed; index: institution */
    CSL_RANDOM_AGGREGATION = 11, /* randomised aggregation rules */
    CSL_RANDOM_ADVERSARY = 12,   /* attacks; index: institution */
    CSL_RANDOM_TEST = 255        /* tests and benches */
} csl_random_purpose;

/* A stream; the fields are private. Copying it forks it. */
typedef struct csl_random {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    uint32_t used; /* words of block already handed out */
    bool has_normal;
    double normal; /* second of a pair of normal numbers */
} csl_random;

CSL_API csl_random csl_random_stream(uint64_t seed,
                                     csl_random_purpose purpose,
                                     uint32_t round,
                                     uint32_t index);
/* A new seed as a function of the four names, for whoever needs streams of streams. */
CSL_API uint64_t csl_random_derive(uint64_t seed,
                                   csl_random_purpose purpose,
                                   uint32_t round,
                                   uint32_t index);

CSL_API uint32_t csl_random_u32(csl_random *random);
CSL_API uint64_t csl_random_u64(csl_random *random);
/* Uniform in [0, 1), a multiple of 2^-53; and in (0, 1], for logarithms. */
CSL_API double csl_random_uniform(csl_random *random);
CSL_API double csl_random_uniform_open(csl_random *random);
/* Uniform in 0..bound-1 without bias (Lemire 2019, "Fast random integer generation in an
 * interval"). bound 0 gives 0. */
CSL_API uint64_t csl_random_below(csl_random *random, uint64_t bound);
/* Normal with mean 0 and variance 1 (Marsaglia's polar method). */
CSL_API double csl_random_normal(csl_random *random);
/* Natural logarithm of a Gamma(shape, 1) variate, shape > 0 (Marsaglia & Tsang 2000; shapes below 1
 * by ln Gamma(shape + 1) + ln U / shape, which does not underflow however small the shape is). */
CSL_API double csl_random_log_gamma_variate(csl_random *random, double shape);
/* Dirichlet with `count` equal concentrations alpha > 0; shares_out [count] sum to 1 up to
 * rounding. */
CSL_API void
csl_random_dirichlet(csl_random *random, double alpha, size_t count, double *shares_out);
/* Fisher-Yates, in place: `count` values; and of the numbers 0..count-1. */
CSL_API void csl_random_shuffle(csl_random *random, uint64_t *values, size_t count);
CSL_API void csl_random_permutation(csl_random *random, size_t count, uint64_t *permutation_out);

/* Natural logarithm of x > 0, finite; e^x. EXACT, within 2 units in the last place. */
CSL_API double csl_exact_log(double x);
CSL_API double csl_exact_exp(double x);

#endif
