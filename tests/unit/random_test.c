#include "test_support.h"

#include <consilium/random.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Known answers: Random123's kat_vectors, "philox4x32 10". */
static void philox_gives_the_published_numbers(void)
{
    static const uint32_t expected[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                            {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                            {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    static const uint32_t counter[3][4] = {
        {0, 0, 0, 0}, {~0u, ~0u, ~0u, ~0u}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}};
    static const uint32_t key[3][2] = {{0, 0}, {~0u, ~0u}, {0xa4093822, 0x299f31d0}};
    for (int i = 0; i < 3; i++) {
        csl_random random = csl_random_stream(0, CSL_RANDOM_TEST, 0, 0);
        memcpy(random.counter, counter[i], sizeof random.counter);
        memcpy(random.key, key[i], sizeof random.key);
        for (int j = 0; j < 4; j++) {
            CHECK_U64(csl_random_u32(&random), expected[i][j]);
        }
    }
}

static void a_stream_depends_on_its_name_alone(void)
{
    uint64_t seed = csl_test_random();
    csl_random a = csl_random_stream(seed, CSL_RANDOM_SHUFFLE, 3, 5);
    csl_random other = csl_random_stream(seed, CSL_RANDOM_SHUFFLE, 3, 6);
    csl_random b = csl_random_stream(seed, CSL_RANDOM_SHUFFLE, 3, 5);
    unsigned equal_count = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t expected = csl_random_u64(&a);
        equal_count += csl_random_u64(&other) == expected;
        CHECK_U64(csl_random_u64(&b), expected);
    }
    CHECK_U64(equal_count, 0);
    uint64_t names[4] = {csl_random_derive(seed, CSL_RANDOM_SHUFFLE, 1, 2),
                         csl_random_derive(seed, CSL_RANDOM_SHUFFLE, 2, 1),
                         csl_random_derive(seed, CSL_RANDOM_AUGMENT, 1, 2),
                         csl_random_derive(seed + 1, CSL_RANDOM_SHUFFLE, 1, 2)};
    for (int i = 0; i < 4; i++) {
        for (int j = i + 1; j < 4; j++) {
            CU_ASSERT(names[i] != names[j]);
        }
    }
}

static void a_stream_goes_on_past_its_first_2_to_the_32_blocks(void)
{
    csl_random random = csl_random_stream(1, CSL_RANDOM_TEST, 0, 0);
    uint32_t first = csl_random_u32(&random);
    random.counter[0] = UINT32_MAX;
    random.used = 4;
    csl_random_u32(&random);
    random.used = 4;
    CU_ASSERT(csl_random_u32(&random) != first);
    CHECK_U64(random.counter[3], (uint32_t)CSL_RANDOM_TEST << 24 | 1);
}

static void bounded_integers_are_uniform(void)
{
    csl_random random = csl_random_stream(csl_test_random(), CSL_RANDOM_TEST, 0, 0);
    enum { BOUND = 7, DRAWS = 70000 };
    unsigned counts[BOUND] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint64_t value = csl_random_below(&random, BOUND);
        CU_ASSERT_FATAL(value < BOUND);
        counts[value]++;
    }
    for (int i = 0; i < BOUND; i++) {
        CHECK_NEAR(counts[i], (double)DRAWS / BOUND, 6.0 * sqrt((double)DRAWS / BOUND));
    }
    CHECK_U64(csl_random_below(&random, 1), 0);
    CHECK_U64(csl_random_below(&random, 0), 0);
    /* A bound of 3/4 of the range shows a modulo bias at once: one value in three twice as often.
     */
    uint64_t bound = (uint64_t)3 << 62;
    unsigned low_count = 0;
    for (int i = 0; i < DRAWS; i++) {
        low_count += csl_random_below(&random, bound) < bound / 3;
    }
    CHECK_NEAR(low_count, DRAWS / 3.0, 6.0 * sqrt(DRAWS * 2.0 / 9.0));
}

static void normal_numbers_have_the_moments_of_a_normal(void)
{
    csl_random random = csl_random_stream(csl_test_random(), CSL_RANDOM_TEST, 1, 0);
    enum { DRAWS = 200000 };
    double sums[5] = {0};
    for (int i = 0; i < DRAWS; i++) {
        double value = csl_random_normal(&random);
        double power = 1.0;
        for (int k = 1; k <= 4; k++) {
            power *= value;
            sums[k] += power;
        }
    }
    double scale = 6.0 / sqrt(DRAWS);
    CHECK_NEAR(sums[1] / DRAWS, 0.0, scale);
    CHECK_NEAR(sums[2] / DRAWS, 1.0, scale * sqrt(2.0));
    CHECK_NEAR(sums[3] / DRAWS, 0.0, scale * sqrt(15.0));
    CHECK_NEAR(sums[4] / DRAWS, 3.0, scale * sqrt(96.0));
}

static void gamma_variates_have_the_mean_and_variance_of_their_shape(void)
{
    enum { DRAWS = 100000 };
    static const double shapes[] = {0.3, 1.0, 4.5};
    for (int k = 0; k < 3; k++) {
        csl_random random = csl_random_stream(csl_test_random(), CSL_RANDOM_TEST, 2, 0);
        double sum = 0.0;
        double squares = 0.0;
        for (int i = 0; i < DRAWS; i++) {
            double value = exp(csl_random_log_gamma_variate(&random, shapes[k]));
            sum += value;
            squares += (value - shapes[k]) * (value - shapes[k]);
        }
        double shape = shapes[k];
        CHECK_NEAR(sum / DRAWS, shape, 6.0 * sqrt(shape / DRAWS));
        /* Fourth central moment of Gamma(k, 1) is 3 k^2 + 6 k. */
        CHECK_NEAR(squares / DRAWS, shape, 6.0 * sqrt((2.0 * shape * shape + 6.0 * shape) / DRAWS));
    }
}

static void dirichlet_shares_sum_to_one_however_small_the_concentration(void)
{
    static const double alphas[] = {1e-300, 1e-6, 0.01, 0.5, 10.0, 1e6};
    for (int k = 0; k < 6; k++) {
        csl_random random = csl_random_stream(csl_test_random(), CSL_RANDOM_TEST, 3, 0);
        double mean_of_first = 0.0;
        enum { DRAWS = 2000, COUNT = 8 };
        for (int draw = 0; draw < DRAWS; draw++) {
            double shares[COUNT];
            double sum = 0.0;
            csl_random_dirichlet(&random, alphas[k], COUNT, shares);
            for (int i = 0; i < COUNT; i++) {
                CU_ASSERT(shares[i] >= 0.0 && shares[i] <= 1.0);
                sum += shares[i];
            }
            CHECK_NEAR(sum, 1.0, 1e-12);
            mean_of_first += shares[0] / DRAWS;
        }
        CHECK_NEAR(mean_of_first, 1.0 / COUNT, 6.0 * sqrt(7.0 / 64.0 / DRAWS));
    }
}

static void permutations_hold_every_number_once_and_every_order_occurs(void)
{
    csl_random random = csl_random_stream(csl_test_random(), CSL_RANDOM_TEST, 4, 0);
    uint64_t permutation[1000];
    uint8_t seen[1000] = {0};
    csl_random_permutation(&random, 1000, permutation);
    for (int i = 0; i < 1000; i++) {
        CU_ASSERT_FATAL(permutation[i] < 1000);
        seen[permutation[i]]++;
    }
    for (int i = 0; i < 1000; i++) {
        CHECK_U64(seen[i], 1);
    }
    unsigned counts[27] = {0};
    for (int i = 0; i < 6000; i++) {
        csl_random_permutation(&random, 3, permutation);
        counts[permutation[0] * 9 + permutation[1] * 3 + permutation[2]]++;
    }
    unsigned order_count = 0;
    for (int i = 0; i < 27; i++) {
        if (counts[i] > 0) {
            order_count++;
            CHECK_NEAR(counts[i], 1000, 6.0 * sqrt(1000));
        }
    }
    CHECK_U64(order_count, 6);
}

static void logarithm_and_exponential_are_within_two_units_of_the_oracle(void)
{
    for (int i = 0; i < 100000; i++) {
        double x = exp2(2000.0 * csl_test_uniform() - 1000.0) * (1.0 + csl_test_uniform());
        long double expected = logl((long double)x);
        double unit = nextafter(fabs((double)expected), INFINITY) - fabs((double)expected);
        CU_ASSERT(fabsl((long double)csl_exact_log(x) - expected) <= 2.0L * (long double)unit);
        double y = 1400.0 * csl_test_uniform() - 700.0;
        long double power = expl((long double)y);
        double step = nextafter((double)power, INFINITY) - (double)power;
        CU_ASSERT(fabsl((long double)csl_exact_exp(y) - power) <= 2.0L * (long double)step);
    }
    CHECK_NEAR(csl_exact_log(1.0), 0.0, 0.0);
    CHECK_NEAR(csl_exact_log(0x1p-1074), -1074.0 * 0.69314718055994530942, 1e-12);
    CHECK_NEAR(csl_exact_exp(0.0), 1.0, 0.0);
    CHECK_NEAR(csl_exact_exp(-INFINITY), 0.0, 0.0);
    CU_ASSERT(isinf(csl_exact_exp(710.0)));
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"Philox gives the published numbers", philox_gives_the_published_numbers},
        {"a stream depends on its name alone", a_stream_depends_on_its_name_alone},
        {"a stream goes on past 2^32 blocks", a_stream_goes_on_past_its_first_2_to_the_32_blocks},
        {"bounded integers are uniform", bounded_integers_are_uniform},
        {"normal numbers have normal moments", normal_numbers_have_the_moments_of_a_normal},
        {"gamma variates have the moments of their shape",
         gamma_variates_have_the_mean_and_variance_of_their_shape},
        {"Dirichlet shares sum to one",
         dirichlet_shares_sum_to_one_however_small_the_concentration},
        {"permutations are complete and uniform",
         permutations_hold_every_number_once_and_every_order_occurs},
        {"logarithm and exponential are accurate",
         logarithm_and_exponential_are_within_two_units_of_the_oracle},
    };
    return csl_test_main("random", cases, sizeof cases / sizeof *cases);
}
