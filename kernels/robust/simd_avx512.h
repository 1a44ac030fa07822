/* Sixteen float32 in one AVX-512 register; simd_portable.h says what each name means. */
#ifndef CSL_ROBUST_SIMD_AVX512_H
#define CSL_ROBUST_SIMD_AVX512_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "magnitude.h"

#define SIMD_NAME   "avx512"
#define SIMD_INLINE static inline __attribute__((always_inline))
enum { SIMD_LANES = 16 };
#if defined(CSL_EMULATED_VECTORS) /* tests' own <immintrin.h>: runs on any processor */
#define SIMD_EMULATED 1
#else
#define SIMD_EMULATED 0
#endif

typedef __m512 simd_float;
typedef struct simd_double {
    __m512d low;
    __m512d high;
} simd_double;
typedef __mmask16 simd_mask;

SIMD_INLINE simd_float simd_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
SIMD_INLINE __mmask16 simd_part_mask(size_t lane_count)
{
    return (__mmask16)((1u << lane_count) - 1u);
}
SIMD_INLINE simd_float simd_load_part(const float *p, size_t lane_count)
{
    return _mm512_maskz_loadu_ps(simd_part_mask(lane_count), p);
}
SIMD_INLINE simd_float simd_held(simd_float v)
{
    return v;
}
SIMD_INLINE void simd_store(float *p, simd_float v)
{
    _mm512_storeu_ps(p, v);
}
SIMD_INLINE void simd_store_part(float *p, simd_float v, size_t lane_count)
{
    _mm512_mask_storeu_ps(p, simd_part_mask(lane_count), v);
}
SIMD_INLINE simd_float simd_set(float a)
{
    return _mm512_set1_ps(a);
}
SIMD_INLINE simd_float simd_min(simd_float a, simd_float b)
{
    return _mm512_min_ps(a, b);
}
SIMD_INLINE simd_float simd_max(simd_float a, simd_float b)
{
    return _mm512_max_ps(a, b);
}
SIMD_INLINE simd_float simd_order_nan(simd_float v)
{
    return _mm512_min_ps(v, _mm512_set1_ps(INFINITY)); /* minps gives its second operand for NaN */
}
/* Floats; the larger of two is what the smaller leaves of both. Zen processors compare 512 bits on
 * half of their units but combine them on all; others take as long as for a second comparison. */
typedef __m512 simd_key;
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
    return _mm512_min_ps(a, b);
}
SIMD_INLINE simd_key simd_key_larger(simd_key a, simd_key b)
{
    return _mm512_max_ps(a, b);
}
SIMD_INLINE simd_key simd_key_other(simd_key a, simd_key b, simd_key smaller)
{
    enum { EXCLUSIVE_OR_OF_THREE = 0x96 };
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b),
                                  _mm512_castps_si512(smaller), EXCLUSIVE_OR_OF_THREE));
}
SIMD_INLINE simd_key simd_key_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
SIMD_INLINE void simd_key_store(float *p, simd_key k)
{
    _mm512_storeu_ps(p, k);
}
SIMD_INLINE simd_float simd_add(simd_float a, simd_float b)
{
    return _mm512_add_ps(a, b);
}
SIMD_INLINE simd_float simd_sub(simd_float a, simd_float b)
{
    return _mm512_sub_ps(a, b);
}
SIMD_INLINE simd_float simd_fma(simd_float a, simd_float b, simd_float c)
{
    return _mm512_fmadd_ps(a, b, c);
}
SIMD_INLINE simd_mask simd_greater(simd_float a, simd_float b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
SIMD_INLINE simd_float simd_where(simd_mask mask, simd_float a, simd_float b)
{
    return _mm512_mask_mov_ps(b, mask, a);
}
SIMD_INLINE simd_float simd_zero_where(simd_mask mask, simd_float v)
{
    return _mm512_maskz_mov_ps((__mmask16)~mask, v);
}
SIMD_INLINE simd_double simd_double_set(double a)
{
    return (simd_double){_mm512_set1_pd(a), _mm512_set1_pd(a)};
}
SIMD_INLINE simd_double simd_widen(simd_float v)
{
    return (simd_double){_mm512_cvtps_pd(_mm512_castps512_ps256(v)),
                         _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))};
}
SIMD_INLINE simd_double simd_widen_load(const float *p)
{
    return (simd_double){_mm512_cvtps_pd(_mm256_loadu_ps(p)),
                         _mm512_cvtps_pd(_mm256_loadu_ps(p + 8))};
}
SIMD_INLINE simd_double simd_double_add(simd_double a, simd_double b)
{
    return (simd_double){_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)};
}
SIMD_INLINE simd_double simd_double_sub(simd_double a, simd_double b)
{
    return (simd_double){_mm512_sub_pd(a.low, b.low), _mm512_sub_pd(a.high, b.high)};
}
SIMD_INLINE simd_double simd_double_fma(simd_double a, simd_double b, simd_double c)
{
    return (simd_double){_mm512_fmadd_pd(a.low, b.low, c.low),
                         _mm512_fmadd_pd(a.high, b.high, c.high)};
}
SIMD_INLINE simd_double simd_double_div(simd_double a, simd_double b)
{
    return (simd_double){_mm512_div_pd(a.low, b.low), _mm512_div_pd(a.high, b.high)};
}
SIMD_INLINE simd_double simd_double_sqrt(simd_double a)
{
    return (simd_double){_mm512_sqrt_pd(a.low), _mm512_sqrt_pd(a.high)};
}
SIMD_INLINE simd_double simd_double_load(const double *p)
{
    return (simd_double){_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)};
}
SIMD_INLINE void simd_double_store(double *p, simd_double v)
{
    _mm512_storeu_pd(p, v.low);
    _mm512_storeu_pd(p + 8, v.high);
}
SIMD_INLINE simd_float simd_canonical(simd_float v)
{
    __m512 quiet = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));
    __m512 sum = _mm512_add_ps(v, _mm512_setzero_ps());
    return _mm512_mask_mov_ps(sum, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
}
SIMD_INLINE simd_float simd_narrow(simd_double v)
{
    return simd_canonical(_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(v.low)),
                                             _mm512_cvtpd_ps(v.high), 1));
}
SIMD_INLINE int simd_all_finite(simd_float v)
{
    return _mm512_cmp_ps_mask(_mm512_abs_ps(v), _mm512_set1_ps(INFINITY), _CMP_LT_OQ) == 0xffff;
}
SIMD_INLINE double simd_tree(const float *lane, size_t group_count)
{
    __m512d low = _mm512_add_pd(_mm512_cvtps_pd(_mm256_loadu_ps(lane)),
                                _mm512_cvtps_pd(_mm256_loadu_ps(lane + group_count)));
    __m512d high = _mm512_add_pd(_mm512_cvtps_pd(_mm256_loadu_ps(lane + 8)),
                                 _mm512_cvtps_pd(_mm256_loadu_ps(lane + group_count + 8)));
    __m512d eight = _mm512_add_pd(low, high);
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}
typedef __m512i simd_magnitude;
SIMD_INLINE simd_magnitude simd_magnitude_none(void)
{
    return _mm512_set1_epi32(0);
}
SIMD_INLINE simd_magnitude simd_magnitude_with(simd_magnitude m, simd_float v)
{
    __m512i bits = _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(INT32_MAX));
    return _mm512_max_epu32(m, bits);
}
SIMD_INLINE simd_magnitude simd_least_none(void)
{
    return _mm512_set1_epi32(INT32_MAX);
}
SIMD_INLINE simd_magnitude simd_least_with(simd_magnitude least, simd_float v)
{
    __m512i bits = _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(INT32_MAX));
    return _mm512_min_epu32(least, _mm512_sub_epi32(bits, _mm512_set1_epi32(1)));
}
SIMD_INLINE int simd_spans(simd_magnitude largest, simd_magnitude least, int exponents)
{
    return _mm512_cmpgt_epi32_mask(_mm512_sub_epi32(largest, least),
                                   _mm512_set1_epi32(exponents * CSL_MAGNITUDE_DOUBLE)) == 0;
}
SIMD_INLINE int simd_keys_miss_nan(simd_magnitude m)
{
    (void)m;
    return 0;
}
SIMD_INLINE uint32_t simd_magnitude_largest(simd_magnitude m)
{
    return csl_magnitude_of(_mm512_reduce_max_epu32(m));
}
SIMD_INLINE void simd_prefetch(const void *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

#endif
