/*
 * The AVX-512 intrinsics of kernels/robust/simd_avx512.h in plain C, so that the variant for these
 * processors is tested on any. Semantics as in Intel's Intrinsics Guide; only what is used is here.
 */
#ifndef CSL_EMULATED_IMMINTRIN_H
#define CSL_EMULATED_IMMINTRIN_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define CSL_EMULATED_VECTORS 1

typedef struct __m512 {
    float f[16];
} __m512;
typedef struct __m512d {
    double d[8];
} __m512d;
typedef struct __m512i {
    uint32_t u[16];
} __m512i;
typedef struct __m256 {
    float f[8];
} __m256;
typedef struct __m256d {
    double d[4];
} __m256d;
typedef struct __m128d {
    double d[2];
} __m128d;
typedef uint16_t __mmask16;

enum { _CMP_LT_OQ = 17, _CMP_GT_OQ = 30, _CMP_UNORD_Q = 3, _MM_HINT_T0 = 3 };

/* Not inlined: a network of a thousand inlined loops takes minutes to compile. */
#define EMULATE static __attribute__((noinline, unused, optimize("O2")))

EMULATE __m512 _mm512_loadu_ps(const void *p)
{
    __m512 r;
    memcpy(&r, p, sizeof r);
    return r;
}
EMULATE __m256 _mm256_loadu_ps(const float *p)
{
    __m256 r;
    memcpy(&r, p, sizeof r);
    return r;
}
EMULATE __m512d _mm512_loadu_pd(const double *p)
{
    __m512d r;
    memcpy(&r, p, sizeof r);
    return r;
}
EMULATE void _mm512_storeu_ps(float *p, __m512 v)
{
    memcpy(p, &v, sizeof v);
}
EMULATE void _mm512_storeu_pd(double *p, __m512d v)
{
    memcpy(p, &v, sizeof v);
}
EMULATE __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const float *p)
{
    __m512 r;
    for (int k = 0; k < 16; k++) {
        r.f[k] = mask >> k & 1 ? p[k] : 0.0f;
    }
    return r;
}
EMULATE void _mm512_mask_storeu_ps(float *p, __mmask16 mask, __m512 v)
{
    for (int k = 0; k < 16; k++) {
        if (mask >> k & 1) {
            p[k] = v.f[k];
        }
    }
}
EMULATE __m512 _mm512_set1_ps(float a)
{
    __m512 r;
    for (int k = 0; k < 16; k++) {
        r.f[k] = a;
    }
    return r;
}
EMULATE __m512d _mm512_set1_pd(double a)
{
    __m512d r;
    for (int k = 0; k < 8; k++) {
        r.d[k] = a;
    }
    return r;
}
EMULATE __m512i _mm512_set1_epi32(int a)
{
    __m512i r;
    for (int k = 0; k < 16; k++) {
        r.u[k] = (uint32_t)a;
    }
    return r;
}
EMULATE __m512 _mm512_setzero_ps(void)
{
    return _mm512_set1_ps(0.0f);
}

#define EMULATE_FLOATS(name, expression)                                                           \
    EMULATE __m512 name(__m512 a, __m512 b)                                                        \
    {                                                                                              \
        for (int k = 0; k < 16; k++) {                                                             \
            float x = a.f[k];                                                                      \
            float y = b.f[k];                                                                      \
            a.f[k] = expression;                                                                   \
        }                                                                                          \
        return a;                                                                                  \
    }
EMULATE_FLOATS(_mm512_min_ps, x < y ? x : y) /* the second operand for a NaN and for two zeros */
EMULATE_FLOATS(_mm512_max_ps, x > y ? x : y)
EMULATE_FLOATS(_mm512_add_ps, x + y)
EMULATE_FLOATS(_mm512_sub_ps, x - y)

#define EMULATE_DOUBLES(name, expression)                                                          \
    EMULATE __m512d name(__m512d a, __m512d b)                                                     \
    {                                                                                              \
        for (int k = 0; k < 8; k++) {                                                              \
            double x = a.d[k];                                                                     \
            double y = b.d[k];                                                                     \
            a.d[k] = expression;                                                                   \
        }                                                                                          \
        return a;                                                                                  \
    }
EMULATE_DOUBLES(_mm512_add_pd, x + y)
EMULATE_DOUBLES(_mm512_sub_pd, x - y)
EMULATE_DOUBLES(_mm512_div_pd, x / y)

EMULATE __m512d _mm512_sqrt_pd(__m512d a)
{
    for (int k = 0; k < 8; k++) {
        a.d[k] = sqrt(a.d[k]);
    }
    return a;
}
EMULATE __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c)
{
    for (int k = 0; k < 16; k++) {
        a.f[k] = fmaf(a.f[k], b.f[k], c.f[k]);
    }
    return a;
}
EMULATE __m512d _mm512_fmadd_pd(__m512d a, __m512d b, __m512d c)
{
    for (int k = 0; k < 8; k++) {
        a.d[k] = fma(a.d[k], b.d[k], c.d[k]);
    }
    return a;
}
EMULATE __m512 _mm512_abs_ps(__m512 a)
{
    for (int k = 0; k < 16; k++) {
        a.f[k] = fabsf(a.f[k]);
    }
    return a;
}
EMULATE __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int predicate)
{
    uint32_t mask = 0;
    for (int k = 0; k < 16; k++) {
        int unordered = a.f[k] != a.f[k] || b.f[k] != b.f[k];
        int truth = predicate == _CMP_UNORD_Q ? unordered
                    : predicate == _CMP_GT_OQ ? a.f[k] > b.f[k]
                                              : a.f[k] < b.f[k];
        mask |= (uint32_t)truth << k;
    }
    return (__mmask16)mask;
}
EMULATE __m512 _mm512_mask_mov_ps(__m512 source, __mmask16 mask, __m512 a)
{
    for (int k = 0; k < 16; k++) {
        source.f[k] = mask >> k & 1 ? a.f[k] : source.f[k];
    }
    return source;
}
EMULATE __m512 _mm512_maskz_mov_ps(__mmask16 mask, __m512 a)
{
    return _mm512_mask_mov_ps(_mm512_setzero_ps(), mask, a);
}

#define EMULATE_CAST(name, to, from)                                                               \
    EMULATE to name(from a)                                                                        \
    {                                                                                              \
        to r;                                                                                      \
        memset(&r, 0, sizeof r);                                                                   \
        memcpy(&r, &a, sizeof r < sizeof a ? sizeof r : sizeof a);                                 \
        return r;                                                                                  \
    }
EMULATE_CAST(_mm512_castps_si512, __m512i, __m512)
EMULATE_CAST(_mm512_castsi512_ps, __m512, __m512i)
EMULATE_CAST(_mm512_castps512_ps256, __m256, __m512)
EMULATE_CAST(_mm512_castps256_ps512, __m512, __m256)
EMULATE_CAST(_mm512_castpd512_pd256, __m256d, __m512d)
EMULATE_CAST(_mm256_castpd256_pd128, __m128d, __m256d)

EMULATE __m512i _mm512_and_si512(__m512i a, __m512i b)
{
    for (int k = 0; k < 16; k++) {
        a.u[k] &= b.u[k];
    }
    return a;
}
EMULATE __m512i _mm512_max_epu32(__m512i a, __m512i b)
{
    for (int k = 0; k < 16; k++) {
        a.u[k] = a.u[k] > b.u[k] ? a.u[k] : b.u[k];
    }
    return a;
}
EMULATE __m512i _mm512_min_epu32(__m512i a, __m512i b)
{
    for (int k = 0; k < 16; k++) {
        a.u[k] = a.u[k] < b.u[k] ? a.u[k] : b.u[k];
    }
    return a;
}
EMULATE __m512i _mm512_sub_epi32(__m512i a, __m512i b)
{
    for (int k = 0; k < 16; k++) {
        a.u[k] -= b.u[k];
    }
    return a;
}
EMULATE __mmask16 _mm512_cmpgt_epi32_mask(__m512i a, __m512i b)
{
    uint32_t mask = 0;
    for (int k = 0; k < 16; k++) {
        mask |= (uint32_t)((int32_t)a.u[k] > (int32_t)b.u[k]) << k;
    }
    return (__mmask16)mask;
}
EMULATE uint32_t _mm512_reduce_max_epu32(__m512i a)
{
    uint32_t largest = 0;
    for (int k = 0; k < 16; k++) {
        largest = a.u[k] > largest ? a.u[k] : largest;
    }
    return largest;
}

/* Bit by bit the value of the table `function` at the three operands' bits. */
EMULATE __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int function)
{
    for (int k = 0; k < 16; k++) {
        uint32_t result = 0;
        for (int bit = 0; bit < 32; bit++) {
            uint32_t index =
                (a.u[k] >> bit & 1) << 2 | (b.u[k] >> bit & 1) << 1 | (c.u[k] >> bit & 1);
            result |= ((uint32_t)function >> index & 1) << bit;
        }
        a.u[k] = result;
    }
    return a;
}

EMULATE __m256 _mm512_extractf32x8_ps(__m512 a, int half)
{
    __m256 r;
    memcpy(&r, a.f + 8 * half, sizeof r);
    return r;
}
EMULATE __m512 _mm512_insertf32x8(__m512 a, __m256 b, int half)
{
    memcpy(a.f + 8 * half, &b, sizeof b);
    return a;
}
EMULATE __m256d _mm512_extractf64x4_pd(__m512d a, int half)
{
    __m256d r;
    memcpy(&r, a.d + 4 * half, sizeof r);
    return r;
}
EMULATE __m128d _mm256_extractf128_pd(__m256d a, int half)
{
    __m128d r;
    memcpy(&r, a.d + 2 * half, sizeof r);
    return r;
}
EMULATE __m512d _mm512_cvtps_pd(__m256 a)
{
    __m512d r;
    for (int k = 0; k < 8; k++) {
        r.d[k] = (double)a.f[k];
    }
    return r;
}
EMULATE __m256 _mm512_cvtpd_ps(__m512d a)
{
    __m256 r;
    for (int k = 0; k < 8; k++) {
        r.f[k] = (float)a.d[k];
    }
    return r;
}
EMULATE __m256d _mm256_add_pd(__m256d a, __m256d b)
{
    for (int k = 0; k < 4; k++) {
        a.d[k] += b.d[k];
    }
    return a;
}
EMULATE __m128d _mm_add_pd(__m128d a, __m128d b)
{
    a.d[0] += b.d[0];
    a.d[1] += b.d[1];
    return a;
}
EMULATE __m128d _mm_unpackhi_pd(__m128d a, __m128d b)
{
    return (__m128d){{a.d[1], b.d[1]}};
}
EMULATE double _mm_cvtsd_f64(__m128d a)
{
    return a.d[0];
}
EMULATE void _mm_prefetch(const char *p, int hint)
{
    (void)p;
    (void)hint;
}

#endif
