/* Differences of vectors: the pass of a round that writes every update to memory once. */
#include "federation_internal.h"

#include <string.h>

enum {
    STRETCH = 1024, /* coordinates between two looks at what was found */
    /* Coordinates from which on a result is too long to wait in a cache for who reads it next. */
    STREAMED_COUNT_MIN = 1 << 18
};

static bool bits_are_finite(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

/* Adding +0.0 turns -0.0 into +0.0 and changes nothing else. Tells whether all are finite: an OR
 * over the stretch, so that the loop has one way out and the compiler can take several coordinates
 * at a time. */
static bool subtract(const float *minuend, const float *subtrahend, float *out, size_t count)
{
    uint32_t broken = 0;
#pragma omp simd reduction(                                                                        \
    |                                                                                              \
    : broken) /* `out` may be one of the others, coordinate by coordinate */
    for (size_t j = 0; j < count; j++) {
        float difference = minuend[j] - subtrahend[j] + 0.0f;
        broken |= (uint32_t)!bits_are_finite(difference);
        out[j] = difference;
    }
    return broken == 0;
}

#if defined(__SSE2__)
#include <emmintrin.h>

enum {
    LANES = 4,   /* of a register */
    LINE = 16,   /* coordinates of a cache line */
    AHEAD = 1024 /* coordinates that are asked for in advance, beyond the end of a page */
};

/*
 * The same operations, past the caches: an ordinary store first reads the line that it overwrites,
 * a fourth of all that moves. out: aligned to a cache line; count: whole lines. The caller fences.
 */
static bool stream(const float *minuend, const float *subtrahend, float *out, size_t count)
{
    const __m128i exponent = _mm_set1_epi32(0x7f800000);
    __m128i broken = _mm_setzero_si128();
    for (size_t j = 0; j < count; j += LINE) {
        _mm_prefetch((const char *)(minuend + j + AHEAD), _MM_HINT_T0);
        _mm_prefetch((const char *)(subtrahend + j + AHEAD), _MM_HINT_T0);
#pragma GCC unroll 4
        for (size_t k = j; k < j + LINE; k += LANES) {
            __m128 difference = _mm_sub_ps(_mm_loadu_ps(minuend + k), _mm_loadu_ps(subtrahend + k));
            difference = _mm_add_ps(difference, _mm_setzero_ps());
            __m128i found = _mm_and_si128(_mm_castps_si128(difference), exponent);
            broken = _mm_or_si128(broken, _mm_cmpeq_epi32(found, exponent));
            _mm_stream_ps(out + k, difference);
        }
    }
    return _mm_movemask_epi8(broken) == 0;
}

static void fence(void)
{
    _mm_sfence(); /* streamed values are there before anything that tells others of them */
}
#else
enum { LINE = 16 };

static bool stream(const float *minuend, const float *subtrahend, float *out, size_t count)
{
    return subtract(minuend, subtrahend, out, count);
}

static void fence(void)
{
}
#endif

size_t
csl_federation_subtract(const float *minuend, const float *subtrahend, float *out, size_t count)
{
    /* In place the line is at hand anyway. */
    bool streams = count >= STREAMED_COUNT_MIN && out != minuend && out != subtrahend;
    size_t over = (uintptr_t)out / sizeof *out % LINE;
    size_t head = streams && over ? LINE - over : STRETCH; /* from there on in whole lines */
    size_t part = 0;
    for (size_t begin = 0; begin < count; begin += part) {
        part = begin ? STRETCH : head;
        part = part < count - begin ? part : count - begin;
        bool finite = streams && part == STRETCH
                          ? stream(minuend + begin, subtrahend + begin, out + begin, part)
                          : subtract(minuend + begin, subtrahend + begin, out + begin, part);
        for (size_t j = begin; !finite; j++) {
            if (!bits_are_finite(out[j])) {
                return j;
            }
        }
    }
    fence();
    return count;
}
