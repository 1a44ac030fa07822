/* Dropout; nn_host.h says what the function does. */
#include "lanes.h"

#include <Random123/philox.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { BLOCKS = 16, WORDS = 4 * BLOCKS }; /* of Philox at a time: as many lanes as are 512 bits */
enum { ROUNDS = 10 };

/* The words of Philox4x32-10 for BLOCKS counters from `counter` on, several at a time. */
#if defined(__AVX2__) && !defined(__AVX512F__)

/* One round for four counters, whose words are the low halves of the 64-bit lanes: what stands in
 * the high halves never comes down. */
LANES_INLINE void philox_round(__m256i x[4], __m256i key_low, __m256i key_high)
{
    __m256i even = _mm256_mul_epu32(x[0], _mm256_set1_epi64x(PHILOX_M4x32_0));
    __m256i odd = _mm256_mul_epu32(x[2], _mm256_set1_epi64x(PHILOX_M4x32_1));
    __m256i x1 = x[1], x3 = x[3];
    x[0] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(odd, 32), x1), key_low);
    x[1] = odd;
    x[2] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(even, 32), x3), key_high);
    x[3] = even;
}

/* Two words of four counters each, the first of them in the low halves. */
LANES_INLINE __m256i join_words(__m256i first, __m256i second)
{
    return _mm256_blend_epi32(first, _mm256_slli_epi64(second, 32), 0xAA);
}

LANES_INLINE void store_words(const __m256i x[4], uint32_t *words)
{
    __m256i a = join_words(x[0], x[1]), b = join_words(x[2], x[3]);
    __m256i even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
    _mm256_storeu_si256((__m256i *)(void *)words, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(words + 8), _mm256_permute2x128_si256(even, odd, 0x31));
}

/* Eight counters at a time: the processor looks ahead too little to begin with the next four while
 * these wait for their products. */
static void philox_words(uint64_t counter, uint64_t seed, uint32_t words[WORDS])
{
    for (int b = 0; b < BLOCKS; b += 8) {
        __m256i first = _mm256_add_epi64(_mm256_set1_epi64x((int64_t)counter + b),
                                         _mm256_setr_epi64x(0, 1, 2, 3));
        __m256i second = _mm256_add_epi64(first, _mm256_set1_epi64x(4));
        __m256i x[4] = {first, _mm256_srli_epi64(first, 32)};
        __m256i y[4] = {second, _mm256_srli_epi64(second, 32)};
        uint32_t low = (uint32_t)seed, high = (uint32_t)(seed >> 32);
        for (int round = 0; round < ROUNDS; round++) {
            philox_round(x, _mm256_set1_epi64x(low), _mm256_set1_epi64x(high));
            philox_round(y, _mm256_set1_epi64x(low), _mm256_set1_epi64x(high));
            low += PHILOX_W32_0;
            high += PHILOX_W32_1;
        }
        store_words(x, words + (ptrdiff_t)4 * b);
        store_words(y, words + (ptrdiff_t)4 * b + 16);
    }
}

#else

__attribute__((noinline)) static void
philox_words(uint64_t counter, uint64_t seed, uint32_t words[WORDS])
{
    const philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
#pragma omp simd
    for (int b = 0; b < BLOCKS; b++) {
        uint64_t at = counter + (uint64_t)b;
        philox4x32_ctr_t block = {{(uint32_t)at, (uint32_t)(at >> 32), 0, 0}};
        block = philox4x32(block, key);
        words[4 * b] = block.v[0]; /* a loop here would keep the outer one from vectors */
        words[4 * b + 1] = block.v[1];
        words[4 * b + 2] = block.v[2];
        words[4 * b + 3] = block.v[3];
    }
}

#endif

__attribute__((noinline)) static void keep_range(
    const float *x, const uint32_t *words, size_t count, uint32_t threshold, float factor, float *y)
{
    for (size_t i = 0; i < count; i++) {
        float value = x[i] * factor;
        y[i] = words[i] >= threshold ? value : 0.0F;
    }
}

/* Elements [first, first + count); first is a multiple of 4. */
static void dropout_range(const float *x,
                          size_t first,
                          size_t count,
                          uint32_t threshold,
                          float factor,
                          uint64_t seed,
                          uint64_t offset,
                          float *y)
{
    uint32_t words[WORDS];
    for (size_t i = 0; i < count; i += WORDS) {
        philox_words((first + i) / 4 + offset, seed, words);
        keep_range(x + first + i, words, count - i < WORDS ? count - i : WORDS, threshold, factor,
                   y + first + i);
    }
}
