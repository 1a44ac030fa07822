/* Fixed-point sums of float64 that no order of addition changes; csl_exact_sum says how. */
#include <consilium/kernels_robust.h>

#include <math.h>
#include <string.h>

enum {
    UNIT_EXPONENT = -149, /* of the smallest float32 */
    LIMB_BITS = 32,
    DOUBLE_BITS = 53,
    MAGNITUDE_WORDS = CSL_EXACT_LIMBS + 2 /* room for the carries of the highest word */
};

void csl_exact_add(csl_exact_sum *sum, double value)
{
    if (!(fabs(value) < 0x1p160)) {
        sum->word[CSL_EXACT_LIMBS]++;
        return;
    }
    if (value == 0.0) {
        return;
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int shift = (int)((bits >> 52) & 0x7ff) - 1075 - UNIT_EXPONENT;
    uint64_t significand = (bits & 0xfffffffffffffu) | 0x10000000000000u;
    if (shift < 0) { /* the bits shifted out are zero: the value is a multiple of the unit */
        significand >>= -shift;
        shift = 0;
    }
    int64_t *word = sum->word + shift / LIMB_BITS;
    int rest = shift % LIMB_BITS;
    uint64_t low = significand << rest;
    uint64_t high = rest ? significand >> (64 - rest) : 0;
    int64_t sign = value < 0.0 ? -1 : 1;
    word[0] += sign * (int64_t)(low & 0xffffffffu);
    word[1] += sign * (int64_t)(low >> LIMB_BITS);
    word[2] += sign * (int64_t)high; /* zero where word[2] is past the limbs, see the bound */
}

void csl_exact_merge(csl_exact_sum *target, const csl_exact_sum *source, size_t sum_count)
{
    for (size_t i = 0; i < sum_count; i++) {
        for (size_t k = 0; k < CSL_EXACT_WORDS; k++) {
            target[i].word[k] += source[i].word[k];
        }
    }
}

bool csl_exact_overflowed(const csl_exact_sum *sum)
{
    return sum->word[CSL_EXACT_LIMBS] != 0;
}

/* Carries the words into limbs of 0..2^32-1; returns true if the sum is negative (and negates). */
static bool carry(const csl_exact_sum *sum, uint32_t limb[MAGNITUDE_WORDS])
{
    int64_t rest = 0;
    for (size_t k = 0; k < MAGNITUDE_WORDS; k++) {
        int64_t word = k < CSL_EXACT_LIMBS ? sum->word[k] : 0;
        int64_t low = (word & 0xffffffff) + (rest & 0xffffffff);
        limb[k] = (uint32_t)low;
        rest = (word >> LIMB_BITS) + (rest >> LIMB_BITS) + (low >> LIMB_BITS);
    }
    if (rest >= 0) {
        return false;
    }
    uint64_t borrow = 1; /* two's complement */
    for (size_t k = 0; k < MAGNITUDE_WORDS; k++) {
        borrow += (uint32_t)~limb[k];
        limb[k] = (uint32_t)borrow;
        borrow >>= LIMB_BITS;
    }
    return true;
}

/* Limb k; those below the unit are zero. */
static uint64_t limb_at(const uint32_t *limb, int k)
{
    return k < 0 ? 0 : limb[k];
}

/* The 64 bits of the magnitude whose highest is the highest set bit of limb `top`, and whether any
 * bit below them is set. */
static uint64_t leading_bits(const uint32_t *limb, int top, int unused, bool *rest_out)
{
    uint64_t bits = limb_at(limb, top) << LIMB_BITS | limb_at(limb, top - 1);
    uint64_t next = limb_at(limb, top - 2) << unused;
    bool rest = (uint32_t)next != 0;
    for (int k = top - 3; k >= 0 && !rest; k--) {
        rest = limb[k] != 0;
    }
    *rest_out = rest;
    return bits << unused | next >> LIMB_BITS;
}

double csl_exact_value(const csl_exact_sum *sum)
{
    if (csl_exact_overflowed(sum)) {
        return (double)INFINITY;
    }
    uint32_t limb[MAGNITUDE_WORDS];
    bool negative = carry(sum, limb);
    int top = MAGNITUDE_WORDS - 1;
    while (top >= 0 && limb[top] == 0) {
        top--;
    }
    if (top < 0) {
        return 0.0;
    }
    bool rest = false;
    int unused = __builtin_clz(limb[top]);
    uint64_t bits = leading_bits(limb, top, unused, &rest);
    int spare = 64 - DOUBLE_BITS;
    uint64_t significand = bits >> spare;
    uint64_t half = (uint64_t)1 << (spare - 1);
    bool odd = (significand & 1u) != 0;
    if ((bits & half) && (rest || (bits & (half - 1)) || odd)) { /* nearest, ties to even */
        significand++;
    }
    int lowest = (top + 1) * LIMB_BITS - unused - DOUBLE_BITS; /* position of its last bit */
    double magnitude = ldexp((double)significand, lowest + UNIT_EXPONENT);
    return negative ? -magnitude : magnitude;
}
