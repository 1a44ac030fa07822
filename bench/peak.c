/* The machine's peak of float32 multiply-adds, and of differences that are squared and added up:
 * what no kernel can exceed. */
#include "bench_support.h"

#include <math.h>

enum { STEPS = 100000 };

enum { DIFFERENCE_CHAINS = 6, SUM_CHAINS = 9, DIFFERENCES = 18 };

/* Loops in registers of one width; each returns something that depends on all its chains. */
typedef struct peak_variant {
    float (*multiply_adds)(float start);
    float (*differences)(float start);
    bool (*is_supported)(void);
    int lanes;
    int chains; /* of multiply_adds */
} peak_variant;

/*
 * Two units that take four or five cycles for each multiply-add need ten independent chains; some
 * more leave none of them waiting, and fewer than the registers keep all in registers. The chains
 * converge to start / (1 - 0.999), so no value overflows or becomes denormal.
 */
#define PEAK_KERNEL(NAME, LANES, CHAINS, ATTRIBUTES)                                               \
    __attribute__((optimize("fp-contract=fast"), ATTRIBUTES)) static float NAME(float start)       \
    {                                                                                              \
        typedef float lanes __attribute__((vector_size((LANES) * sizeof(float))));                 \
        lanes slope, offset, chain[CHAINS];                                                        \
        for (int lane = 0; lane < (LANES); lane++) {                                               \
            slope[lane] = 0.999F;                                                                  \
            offset[lane] = start;                                                                  \
            for (int i = 0; i < (CHAINS); i++) {                                                   \
                chain[i][lane] = start + (float)i;                                                 \
            }                                                                                      \
        }                                                                                          \
        for (int step = 0; step < STEPS; step++) {                                                 \
            _Pragma("GCC unroll 32") for (int i = 0; i < (CHAINS); i++)                            \
            {                                                                                      \
                chain[i] = chain[i] * slope + offset;                                              \
            }                                                                                      \
        }                                                                                          \
        lanes sum = {0};                                                                           \
        for (int i = 0; i < (CHAINS); i++) {                                                       \
            sum += chain[i];                                                                       \
        }                                                                                          \
        float total = 0.0F;                                                                        \
        for (int lane = 0; lane < (LANES); lane++) {                                               \
            total += sum[lane];                                                                    \
        }                                                                                          \
        return total;                                                                              \
    }

/*
 * A processor may have units of its own for sums, and then reaches more than half the rate of
 * multiply-adds here. Both operations go in chains, which fit in sixteen registers; the differences
 * alternate between two values, so that none becomes denormal.
 */
#define DIFFERENCE_KERNEL(NAME, LANES, ATTRIBUTES)                                                 \
    __attribute__((optimize("fp-contract=fast"), ATTRIBUTES)) static float NAME(float start)       \
    {                                                                                              \
        typedef float lanes __attribute__((vector_size((LANES) * sizeof(float))));                 \
        lanes base, difference[DIFFERENCE_CHAINS], sum[SUM_CHAINS];                                \
        for (int lane = 0; lane < (LANES); lane++) {                                               \
            base[lane] = start;                                                                    \
            for (int i = 0; i < DIFFERENCE_CHAINS; i++) {                                          \
                difference[i][lane] = start * (0.25F + 0.0625F * (float)i);                        \
            }                                                                                      \
            for (int i = 0; i < SUM_CHAINS; i++) {                                                 \
                sum[i][lane] = start;                                                              \
            }                                                                                      \
        }                                                                                          \
        for (int step = 0; step < STEPS; step++) {                                                 \
            _Pragma("GCC unroll 18") for (int i = 0; i < DIFFERENCES; i++)                         \
            {                                                                                      \
                lanes *next = &difference[i % DIFFERENCE_CHAINS];                                  \
                *next = base - *next;                                                              \
                sum[i % SUM_CHAINS] += *next * *next;                                              \
            }                                                                                      \
        }                                                                                          \
        float total = 0.0F;                                                                        \
        for (int i = 0; i < SUM_CHAINS; i++) {                                                     \
            for (int lane = 0; lane < (LANES); lane++) {                                           \
                total += sum[i][lane];                                                             \
            }                                                                                      \
        }                                                                                          \
        return total;                                                                              \
    }

/* 128 bits: what every x86-64 and every AArch64 processor has. */
enum { LANES_PORTABLE = 4, CHAINS_PORTABLE = 12 };
PEAK_KERNEL(run_portable, LANES_PORTABLE, CHAINS_PORTABLE, noinline)
DIFFERENCE_KERNEL(subtract_portable, LANES_PORTABLE, noinline)

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
enum { LANES_AVX2 = 8, CHAINS_AVX2 = 12, LANES_AVX512 = 16, CHAINS_AVX512 = 24 };
PEAK_KERNEL(run_avx2, LANES_AVX2, CHAINS_AVX2, target("avx2,fma"))
PEAK_KERNEL(run_avx512, LANES_AVX512, CHAINS_AVX512, target("avx512f,fma"))
DIFFERENCE_KERNEL(subtract_avx2, LANES_AVX2, target("avx2,fma"))
DIFFERENCE_KERNEL(subtract_avx512, LANES_AVX512, target("avx512f,fma"))

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
}
#endif

static const peak_variant variants[] = {
#if defined(__x86_64__)
    {run_avx512, subtract_avx512, has_avx512, LANES_AVX512, CHAINS_AVX512},
    {run_avx2, subtract_avx2, has_avx2, LANES_AVX2, CHAINS_AVX2},
#endif
    {run_portable, subtract_portable, always, LANES_PORTABLE, CHAINS_PORTABLE},
};

/* Clocks settle within the first tenths of a second. */
static const double SECONDS_PER_VARIANT = 0.25;

/* Calls a second: the sum of what each thread reached in its best slice. A slice takes less than a
 * millisecond and no thread waits for another in it, so that some pass undisturbed on a busy
 * machine too. */
static double measure(float (*run)(float start), uint32_t threads)
{
    double sum = 0.0;
    double until = csl_bench_seconds() + SECONDS_PER_VARIANT;
#pragma omp parallel num_threads((int)threads) reduction(+ : sum)
    {
        volatile float value = 0.5F;
        double best = 0.0;
        double end = csl_bench_seconds();
        do {
            double start = end;
            value = run(0.5F + 1e-6F * fminf(value, 1.0F));
            end = csl_bench_seconds();
            best = fmax(best, 1.0 / (end - start));
        } while (end < until);
        sum += best;
    }
    return sum;
}

/* The widest registers are not always the fastest, so every width is tried. */
static double best_rate(uint32_t threads, bool differences)
{
    double best = 0.0;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        const peak_variant *v = &variants[i];
        if (v->is_supported()) {
            double count = (double)STEPS * v->lanes * (differences ? DIFFERENCES : v->chains);
            best = fmax(best,
                        count * measure(differences ? v->differences : v->multiply_adds, threads));
        }
    }
    return best;
}

double csl_bench_peak_flops(uint32_t threads)
{
    return 2.0 * best_rate(threads, false);
}

double csl_bench_peak_differences(uint32_t threads)
{
    return best_rate(threads, true);
}
