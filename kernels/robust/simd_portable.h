/* The vector type of the portable variant: one float at a time. The meaning of each name is here.
 */
#ifndef CSL_ROBUST_SIMD_PORTABLE_H
#define CSL_ROBUST_SIMD_PORTABLE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "magnitude.h"

#define SIMD_NAME   "portable"
#define SIMD_INLINE static inline __attribute__((always_inline))
enum { SIMD_LANES = 1 };

typedef float simd_float;   /* SIMD_LANES float32 */
typedef double simd_double; /* the same lanes as float64 */
typedef int simd_mask;      /* one truth value a lane */

SIMD_INLINE simd_float simd_load(const float *p)
{
    return *p;
}
/* The first lane_count lanes; the others are +0.0. */
SIMD_INLINE simd_float simd_load_part(const float *p, size_t lane_count)
{
    return lane_count ? *p : 0.0f;
}
/* v, loaded once: a compiler that takes operands from memory would load it for each of its uses. */
SIMD_INLINE simd_float simd_held(simd_float v)
{
    return v;
}
SIMD_INLINE void simd_store(float *p, simd_float v)
{
    *p = v;
}
SIMD_INLINE void simd_store_part(float *p, simd_float v, size_t lane_count)
{
    if (lane_count) {
        *p = v;
    }
}
SIMD_INLINE simd_float simd_set(float a)
{
    return a;
}
/* The smaller and the larger; neither operand is a NaN. */
SIMD_INLINE simd_float simd_min(simd_float a, simd_float b)
{
    return a < b ? a : b;
}
SIMD_INLINE simd_float simd_max(simd_float a, simd_float b)
{
    return a > b ? a : b;
}
/* v, and +infinity where v is a NaN. */
SIMD_INLINE simd_float simd_order_nan(simd_float v)
{
    return v < INFINITY ? v : INFINITY;
}

/* What is sorted: SIMD_LANES values in whatever form this processor compares fastest. A zero may
 * change its sign. A NaN becomes +infinity, or the least or largest key of all: see
 * simd_keys_miss_nan. */
typedef float simd_key;
SIMD_INLINE simd_key simd_key_of(simd_float v)
{
    return simd_order_nan(v);
}
SIMD_INLINE simd_float simd_key_value(simd_key k)
{
    return k;
}
SIMD_INLINE simd_key simd_key_smaller(simd_key a, simd_key b)
{
    return a < b ? a : b;
}
SIMD_INLINE simd_key simd_key_larger(simd_key a, simd_key b)
{
    return a > b ? a : b;
}
/* Of a and b the one that `smaller`, the smaller of both, is not. */
SIMD_INLINE simd_key simd_key_other(simd_key a, simd_key b, simd_key smaller)
{
    (void)smaller;
    return simd_key_larger(a, b);
}
SIMD_INLINE simd_key simd_key_load(const float *p)
{
    return *p;
}
SIMD_INLINE void simd_key_store(float *p, simd_key k)
{
    *p = k;
}
SIMD_INLINE simd_float simd_add(simd_float a, simd_float b)
{
    return a + b;
}
SIMD_INLINE simd_float simd_sub(simd_float a, simd_float b)
{
    return a - b;
}
SIMD_INLINE simd_float simd_fma(simd_float a, simd_float b, simd_float c)
{
    return fmaf(a, b, c);
}
SIMD_INLINE simd_mask simd_greater(simd_float a, simd_float b)
{
    return a > b;
}
SIMD_INLINE simd_float simd_where(simd_mask mask, simd_float a, simd_float b)
{
    return mask ? a : b;
}
SIMD_INLINE simd_float simd_zero_where(simd_mask mask, simd_float v)
{
    return mask ? 0.0f : v;
}
SIMD_INLINE simd_double simd_double_set(double a)
{
    return a;
}
SIMD_INLINE simd_double simd_widen(simd_float v)
{
    return (double)v;
}
/* simd_widen of SIMD_LANES float32 in memory; saves moving the upper half down. */
SIMD_INLINE simd_double simd_widen_load(const float *p)
{
    return (double)*p;
}
SIMD_INLINE simd_double simd_double_add(simd_double a, simd_double b)
{
    return a + b;
}
SIMD_INLINE simd_double simd_double_sub(simd_double a, simd_double b)
{
    return a - b;
}
SIMD_INLINE simd_double simd_double_fma(simd_double a, simd_double b, simd_double c)
{
    return fma(a, b, c);
}
SIMD_INLINE simd_double simd_double_div(simd_double a, simd_double b)
{
    return a / b;
}
SIMD_INLINE simd_double simd_double_sqrt(simd_double a)
{
    return sqrt(a);
}
/* SIMD_LANES float64 in memory. */
SIMD_INLINE simd_double simd_double_load(const double *p)
{
    return *p;
}
SIMD_INLINE void simd_double_store(double *p, simd_double v)
{
    *p = v;
}
/* Canonical bits: -0.0 to +0.0, any NaN to 0x7fc00000. */
SIMD_INLINE simd_float simd_canonical(simd_float v)
{
    if (v != v) {
        const uint32_t quiet = 0x7fc00000u;
        memcpy(&v, &quiet, sizeof v);
        return v;
    }
    return v + 0.0f;
}
/* Rounded to float32, canonical. */
SIMD_INLINE simd_float simd_narrow(simd_double v)
{
    return simd_canonical((float)v);
}
/* True if no lane is infinite or a NaN. */
SIMD_INLINE int simd_all_finite(simd_float v)
{
    return fabsf(v) < INFINITY;
}
/* The 32 lane sums of a tile as float64, added l + (l + 16), then 8, 4, 2, 1. They lie in groups of
 * SIMD_LANES, each `group_count` floats behind the one before. */
SIMD_INLINE double simd_tree(const float *lane, size_t group_count)
{
    double sum[16];
    for (size_t l = 0; l < 16; l++) {
        sum[l] = (double)lane[l * group_count] + (double)lane[(l + 16) * group_count];
    }
    for (int width = 8; width; width /= 2) {
        for (int l = 0; l < width; l++) {
            sum[l] += sum[l + width];
        }
    }
    return sum[0];
}
/* The largest magnitude so far in each lane, as the bits of a float32 without its sign: they order
 * like the magnitudes, infinity beyond all numbers and NaN beyond infinity. largest: of all lanes,
 * a NaN as infinity. */
typedef uint32_t simd_magnitude;
SIMD_INLINE simd_magnitude simd_magnitude_none(void)
{
    return 0;
}
SIMD_INLINE simd_magnitude simd_magnitude_with(simd_magnitude m, simd_float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits &= INT32_MAX;
    return bits > m ? bits : m;
}
/* The least magnitude but zero, as bits, less one. */
SIMD_INLINE simd_magnitude simd_least_none(void)
{
    return INT32_MAX;
}
SIMD_INLINE simd_magnitude simd_least_with(simd_magnitude least, simd_float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = (bits & INT32_MAX) - 1;
    return bits < least ? bits : least;
}
/* True in all lanes: the exponent of the largest magnitude is that of the least one but zero, or
 * larger by no more than so much. */
SIMD_INLINE int simd_spans(simd_magnitude largest, simd_magnitude least, int exponents)
{
    return (int32_t)(largest - least) <= exponents * CSL_MAGNITUDE_DOUBLE;
}
/* True if the sorted values that m is of hold a NaN, which simd_key_of has left as it was. */
SIMD_INLINE int simd_keys_miss_nan(simd_magnitude m)
{
    (void)m;
    return 0;
}
SIMD_INLINE uint32_t simd_magnitude_largest(simd_magnitude m)
{
    return csl_magnitude_of(m);
}
SIMD_INLINE void simd_prefetch(const void *p)
{
    __builtin_prefetch(p);
}

#endif
