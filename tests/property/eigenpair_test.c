/* The largest eigenvalue of a Gram matrix and its vector, by what defines them. */
#include "robust/aggregation.h"
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double uniform(void)
{
    return 0x1p-53 * (double)(csl_test_random() >> 11) - 0.5;
}

/* out = A x; returns x^T A x / x^T x. */
static double multiply(const double *a, uint32_t n, const double *x, double *out)
{
    double above = 0;
    double below = 0;
    for (uint32_t i = 0; i < n; i++) {
        out[i] = 0;
        for (uint32_t j = 0; j < n; j++) {
            out[i] += a[(size_t)i * n + j] * x[j];
        }
        above += x[i] * out[i];
        below += x[i] * x[i];
    }
    return below > 0 ? above / below : 0;
}

/* Inner products of n vectors of `rank` random entries and one that all have in common. */
static void fill_gram(double *a, uint32_t n, uint32_t rank, double common, double scale)
{
    double *rows = malloc((size_t)n * rank * sizeof *rows);
    CU_ASSERT_FATAL(rows != NULL);
    for (size_t k = 0; k < (size_t)n * rank; k++) {
        rows[k] = uniform();
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = i; j < n; j++) {
            double sum = common;
            for (uint32_t k = 0; k < rank; k++) {
                sum += rows[(size_t)i * rank + k] * rows[(size_t)j * rank + k];
            }
            a[(size_t)i * n + j] = a[(size_t)j * n + i] = scale * sum;
        }
    }
    free(rows);
}

/* A unit vector, an eigenvector of the value, and none above: neither a unit vector nor what 100
 * multiplications make of a random one has a larger Rayleigh quotient. */
static void check_pair(const double *a, uint32_t n)
{
    CU_ASSERT_FATAL(a != NULL && n > 0);
    double *copy = malloc((size_t)n * n * sizeof *copy);
    double *v = calloc(n, sizeof *v);
    double *image = calloc(n, sizeof *image);
    CU_ASSERT_FATAL(copy && v && image);
    memcpy(copy, a, (size_t)n * n * sizeof *copy);
    double value = 0;
    double trace = 0;
    CHECK_OK(csl_top_eigenpair(copy, n, &value, v));
    double length = 0;
    for (uint32_t i = 0; i < n; i++) {
        length += v[i] * v[i];
        trace += a[(size_t)i * n + i];
    }
    double tolerance = 1e-13 * trace;
    CHECK_NEAR(length, 1.0, 1e-12);
    CHECK_NEAR(multiply(a, n, v, image), value, tolerance);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_NEAR(image[i], value * v[i], tolerance);
        CU_ASSERT(a[(size_t)i * n + i] <= value + tolerance);
        v[i] = uniform();
    }
    for (int k = 0; k < 100; k++) {
        double largest = 0;
        CU_ASSERT(multiply(a, n, v, image) <= value + tolerance);
        for (uint32_t i = 0; i < n; i++) {
            largest = fmax(largest, fabs(image[i]));
        }
        for (uint32_t i = 0; i < n && largest > 0; i++) {
            v[i] = image[i] / largest;
        }
    }
    free(copy);
    free(v);
    free(image);
}

static void the_pair_is_the_top_one(void)
{
    static const uint32_t sizes[] = {1,  2,  3,  5,  9,  31, 32,  33,
                                     34, 40, 41, 44, 64, 65, 130, 530}; /* around panels of 32 */
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        uint32_t n = sizes[s];
        double *a = malloc((size_t)n * n * sizeof *a);
        CU_ASSERT_FATAL(a != NULL);
        for (uint32_t trial = 0; trial < (n < 200 ? 12 : 2); trial++) {
            uint32_t rank = 1 + (uint32_t)(csl_test_random() % (n + 3));
            double common = trial % 3 == 0 ? 1e8 : trial % 3 == 1 ? 1.0 : 0.0;
            fill_gram(a, n, rank, common, ldexp(1.0, (int)(csl_test_random() % 200) - 100));
            check_pair(a, n);
        }
        free(a);
    }
}

/* Colluders who send one row, rows without any part in common, and nothing at all. */
static void degenerate_matrices_have_a_pair_too(void)
{
    enum { N = 40 };
    double a[N * N];
    for (size_t k = 0; k < N * N; k++) {
        a[k] = 3.0;
    }
    check_pair(a, N);
    memset(a, 0, sizeof a);
    check_pair(a, N);
    for (size_t i = 0; i < N; i++) {
        a[i * N + i] = 2.0;
    }
    check_pair(a, N);
    for (size_t i = 0; i < N; i++) { /* of widely different lengths */
        a[i * N + i] = ldexp(1.0, -3 * (int)i);
    }
    check_pair(a, N);
}

/* Updates of 1e-30 have products of 1e-60, of low rank where institutions agree: what is left of
 * them after some reflections is rounding, whose squares must not vanish nor their inverses be
 * infinite. A power of two changes the value by itself and the vector not at all. */
static void any_scale_gives_the_same_vector(void)
{
    enum { N = 9 };
    static const int exponents[] = {-900, -400, -203, -150, 150, 203, 400, 900};
    double base[N * N];
    double scaled[N * N];
    for (int trial = 0; trial < 200; trial++) {
        double value[2];
        double vector[2][N];
        int exponent = exponents[trial % 8];
        fill_gram(base, N, 1 + (uint32_t)(csl_test_random() % N), trial % 3, 1);
        for (size_t k = 0; k < N * N; k++) {
            scaled[k] = ldexp(base[k], exponent);
        }
        CHECK_OK(csl_top_eigenpair(base, N, &value[0], vector[0]));
        CHECK_OK(csl_top_eigenpair(scaled, N, &value[1], vector[1]));
        CU_ASSERT(value[1] == ldexp(value[0], exponent));
        CU_ASSERT(memcmp(vector[0], vector[1], sizeof vector[0]) == 0);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"the pair is the top one", the_pair_is_the_top_one},
        {"degenerate matrices have a pair too", degenerate_matrices_have_a_pair_too},
        {"any scale gives the same vector", any_scale_gives_the_same_vector},
    };
    return csl_test_main("eigenpairs", cases, sizeof cases / sizeof *cases);
}
