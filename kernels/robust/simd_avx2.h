/* Eight float32 in one AVX register; simd_portable.h says what each name means. */
#ifndef CSL_ROBUST_SIMD_AVX2_H
#define CSL_ROBUST_SIMD_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "magnitude.h"

#define SIMD_NAME   "avx2"
#define SIMD_INLINE static inline __attribute__((always_inline))
enum { SIMD_LANES = 8 };

typedef __m256 simd_float;
typedef struct simd_double {
    __m256d low;
    __m256d high;
} simd_double;
typedef __m256 simd_mask;

SIMD_INLINE simd_float simd_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
SIMD_INLINE __m256i simd_part_mask(size_t lane_count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)lane_count),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
SIMD_INLINE simd_float simd_load_part(const float *p, size_t lane_count)
{
    return _mm256_maskload_ps(p, simd_part_mask(lane_count));
}
SIMD_INLINE simd_float simd_held(simd_float v)
{
    __asm__("" : "+x"(v));
    return v;
}
SIMD_INLINE void simd_store(float *p, simd_float v)
{
    _mm256_storeu_ps(p, v);
}
SIMD_INLINE void simd_store_part(float *p, simd_float v, size_t lane_count)
{
    _mm256_maskstore_ps(p, simd_part_mask(lane_count), v);
}
SIMD_INLINE simd_float simd_set(float a)
{
    return _mm256_set1_ps(a);
}
SIMD_INLINE simd_float simd_min(simd_float a, simd_float b)
{
    return _mm256_min_ps(a, b);
}
SIMD_INLINE simd_float simd_max(simd_float a, simd_float b)
{
    return _mm256_max_ps(a, b);
}
SIMD_INLINE simd_float simd_order_nan(simd_float v)
{
    return _mm256_min_ps(v, _mm256_set1_ps(INFINITY)); /* minps gives its second operand for NaN */
}
/* The bits of a float as an integer of the same order: the magnitude with the float's sign. Zen
 * processors compare integers on three units and floats on two; others do both on the same. A NaN
 * lies beyond the infinity of its sign. */
typedef __m256i simd_key;
SIMD_INLINE simd_key simd_key_of(simd_float v)
{
    __m256i bits = _mm256_castps_si256(v);
    return _mm256_sign_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(INT32_MAX)), bits);
}
SIMD_INLINE simd_float simd_key_value(simd_key k)
{
    __m256i negative = _mm256_sub_epi32(_mm256_set1_epi32(INT32_MIN), k);
    return _mm256_blendv_ps(_mm256_castsi256_ps(k), _mm256_castsi256_ps(negative),
                            _mm256_castsi256_ps(k));
}
SIMD_INLINE simd_key simd_key_smaller(simd_key a, simd_key b)
{
    return _mm256_min_epi32(a, b);
}
SIMD_INLINE simd_key simd_key_larger(simd_key a, simd_key b)
{
    return _mm256_max_epi32(a, b);
}
SIMD_INLINE simd_key simd_key_other(simd_key a, simd_key b, simd_key smaller)
{
    (void)smaller;
    return simd_key_larger(a, b);
}
SIMD_INLINE simd_key simd_key_load(const float *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
SIMD_INLINE void simd_key_store(float *p, simd_key k)
{
    _mm256_storeu_si256((__m256i *)(void *)p, k);
}
SIMD_INLINE simd_float simd_add(simd_float a, simd_float b)
{
    return _mm256_add_ps(a, b);
}
SIMD_INLINE simd_float simd_sub(simd_float a, simd_float b)
{
    return _mm256_sub_ps(a, b);
}
SIMD_INLINE simd_float simd_fma(simd_float a, simd_float b, simd_float c)
{
    return _mm256_fmadd_ps(a, b, c);
}
SIMD_INLINE simd_mask simd_greater(simd_float a, simd_float b)
{
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
SIMD_INLINE simd_float simd_where(simd_mask mask, simd_float a, simd_float b)
{
    return _mm256_blendv_ps(b, a, mask);
}
SIMD_INLINE simd_float simd_zero_where(simd_mask mask, simd_float v)
{
    return _mm256_andnot_ps(mask, v);
}
SIMD_INLINE simd_double simd_double_set(double a)
{
    return (simd_double){_mm256_set1_pd(a), _mm256_set1_pd(a)};
}
SIMD_INLINE simd_double simd_widen(simd_float v)
{
    return (simd_double){_mm256_cvtps_pd(_mm256_castps256_ps128(v)),
                         _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))};
}
SIMD_INLINE simd_double simd_widen_load(const float *p)
{
    return (simd_double){_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}
SIMD_INLINE simd_double simd_double_add(simd_double a, simd_double b)
{
    return (simd_double){_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
}
SIMD_INLINE simd_double simd_double_sub(simd_double a, simd_double b)
{
    return (simd_double){_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)};
}
SIMD_INLINE simd_double simd_double_fma(simd_double a, simd_double b, simd_double c)
{
    return (simd_double){_mm256_fmadd_pd(a.low, b.low, c.low),
                         _mm256_fmadd_pd(a.high, b.high, c.high)};
}
SIMD_INLINE simd_double simd_double_div(simd_double a, simd_double b)
{
    return (simd_double){_mm256_div_pd(a.low, b.low), _mm256_div_pd(a.high, b.high)};
}
SIMD_INLINE simd_double simd_double_sqrt(simd_double a)
{
    return (simd_double){_mm256_sqrt_pd(a.low), _mm256_sqrt_pd(a.high)};
}
SIMD_INLINE simd_double simd_double_load(const double *p)
{
    return (simd_double){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}
SIMD_INLINE void simd_double_store(double *p, simd_double v)
{
    _mm256_storeu_pd(p, v.low);
    _mm256_storeu_pd(p + 4, v.high);
}
SIMD_INLINE simd_float simd_canonical(simd_float v)
{
    __m256 quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    __m256 sum = _mm256_add_ps(v, _mm256_setzero_ps());
    return _mm256_blendv_ps(sum, quiet, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
}
SIMD_INLINE simd_float simd_narrow(simd_double v)
{
    return simd_canonical(_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(v.low)),
                                               _mm256_cvtpd_ps(v.high), 1));
}
SIMD_INLINE int simd_all_finite(simd_float v)
{
    __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
    __m256 finite = _mm256_cmp_ps(magnitude, _mm256_set1_ps(INFINITY), _CMP_LT_OQ);
    return _mm256_movemask_ps(finite) == 0xff;
}
SIMD_INLINE double simd_tree(const float *lane, size_t group_count)
{
    __m256d sum[4];
#pragma GCC unroll 4
    for (size_t k = 0; k < 4; k++) {
        const float *low = lane + k / 2 * group_count + 4 * (k % 2);
        sum[k] = _mm256_add_pd(_mm256_cvtps_pd(_mm_loadu_ps(low)),
                               _mm256_cvtps_pd(_mm_loadu_ps(low + 2 * group_count)));
    }
    __m256d four = _mm256_add_pd(_mm256_add_pd(sum[0], sum[2]), _mm256_add_pd(sum[1], sum[3]));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}
typedef __m256i simd_magnitude;
SIMD_INLINE simd_magnitude simd_magnitude_none(void)
{
    return _mm256_setzero_si256();
}
SIMD_INLINE simd_magnitude simd_magnitude_with(simd_magnitude m, simd_float v)
{
    __m256i bits = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(INT32_MAX));
    return _mm256_max_epu32(m, bits);
}
SIMD_INLINE simd_magnitude simd_least_none(void)
{
    return _mm256_set1_epi32(INT32_MAX);
}
SIMD_INLINE simd_magnitude simd_least_with(simd_magnitude least, simd_float v)
{
    __m256i bits = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(INT32_MAX));
    return _mm256_min_epu32(least, _mm256_sub_epi32(bits, _mm256_set1_epi32(1)));
}
SIMD_INLINE int simd_spans(simd_magnitude largest, simd_magnitude least, int exponents)
{
    __m256i beyond = _mm256_cmpgt_epi32(_mm256_sub_epi32(largest, least),
                                        _mm256_set1_epi32(exponents * CSL_MAGNITUDE_DOUBLE));
    return _mm256_testz_si256(beyond, beyond);
}
SIMD_INLINE int simd_keys_miss_nan(simd_magnitude m)
{
    __m256i nan = _mm256_cmpgt_epi32(m, _mm256_set1_epi32((int)CSL_MAGNITUDE_INFINITY));
    return !_mm256_testz_si256(nan, nan);
}
SIMD_INLINE uint32_t simd_magnitude_largest(simd_magnitude m)
{
    uint32_t lane[8];
    uint32_t largest = 0;
    _mm256_storeu_si256((__m256i *)(void *)lane, m);
    for (int k = 0; k < 8; k++) {
        largest = lane[k] > largest ? lane[k] : largest;
    }
    return csl_magnitude_of(largest);
}
SIMD_INLINE void simd_prefetch(const void *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

#endif
