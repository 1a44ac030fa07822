/* The float64 nearest to an exact sum: csl_exact_value. */
#include "test_support.h"

#include <consilium/kernels_robust.h>

#include <math.h>
#include <stdint.h>

static void exact_values_round_to_nearest_even_and_survive_cancellation(void)
{
    csl_exact_sum sum = {{0}};
    csl_exact_add(&sum, 0x1p53);
    csl_exact_add(&sum, 1.0);
    CHECK_NEAR(csl_exact_value(&sum), 0x1p53, 0.0); /* a tie, to even */
    csl_exact_add(&sum, 0x1p-149);
    CHECK_NEAR(csl_exact_value(&sum), 0x1p53 + 2.0, 0.0);
    csl_exact_add(&sum, -0x1p53);
    csl_exact_add(&sum, -1.0);
    CHECK_NEAR(csl_exact_value(&sum), 0x1p-149, 0.0);
    csl_exact_add(&sum, -0x1.8p132);
    CHECK_NEAR(csl_exact_value(&sum), -0x1.8p132, 0.0);
    csl_exact_sum other = {{0}};
    csl_exact_add(&other, 0x1.8p132);
    csl_exact_add(&other, -0x1p-148);
    csl_exact_merge(&sum, &other, 1);
    CHECK_NEAR(csl_exact_value(&sum), -0x1p-149, 0.0);
    csl_exact_add(&sum, (double)INFINITY);
    csl_exact_add(&sum, (double)NAN);
    csl_exact_merge(&other, &sum, 1);
    CU_ASSERT(isinf(csl_exact_value(&other)));
}

static void exact_values_of_random_integers_are_the_integers(void)
{
    for (int trial = 0; trial < 200; trial++) {
        csl_exact_sum sum = {{0}};
        __int128 integer = 0;
        for (int k = 0; k < 50; k++) {
            int64_t term = (int64_t)csl_test_random() >> (11 + csl_test_random() % 50);
            csl_exact_add(&sum, (double)term);
            integer += term;
        }
        CHECK_NEAR(csl_exact_value(&sum), (double)integer, 0.0);
    }
}

/* Integers of up to 120 bits in units of any power of two: the compiler rounds them the same way.
 */
static void exact_values_of_long_integers_are_rounded_once(void)
{
    for (int trial = 0; trial < 20000; trial++) {
        int unit = (int)(csl_test_random() % 160) - 149;
        int length = 1 + (int)(csl_test_random() % 120);
        __int128 integer = 0;
        for (int k = 0; k < 3; k++) {
            integer = integer << 40 | (__int128)(csl_test_random() >> 24);
        }
        integer >>= 120 - length;
        if (trial % 2) { /* little but the highest bits: ties, and what only just is none */
            int low = length > 54 ? length - 54 : 0;
            integer = (integer >> low << low) + (trial % 4 == 1 ? 0 : 1);
        }
        csl_exact_sum sum = {{0}};
        int64_t sign = trial % 3 ? 1 : -1;
        for (int k = 0; k < 4; k++) {
            int64_t part = (int64_t)(integer >> (40 * k) & (((int64_t)1 << 40) - 1));
            csl_exact_add(&sum, ldexp((double)(sign * part), 40 * k + unit));
        }
        CHECK_NEAR(csl_exact_value(&sum), ldexp((double)((__int128)sign * integer), unit), 0.0);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"exact values round to nearest even and survive cancellation",
         exact_values_round_to_nearest_even_and_survive_cancellation},
        {"exact values of random integers are the integers",
         exact_values_of_random_integers_are_the_integers},
        {"exact values of long integers are rounded once",
         exact_values_of_long_integers_are_rounded_once},
    };
    return csl_test_main("exact sums", cases, sizeof cases / sizeof *cases);
}
