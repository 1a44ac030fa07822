/* The machine's read bandwidth: what no pass over data in memory can beat. */
#include "bench_support.h"

#include <consilium/kernels.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LANES = 16, STREAMS_MAX = 8, REPEATS = 4, PAGE = 1 << 21 };

typedef uint32_t line __attribute__((vector_size(LANES * sizeof(uint32_t))));

/* Sums `count` lines of memory, `streams` of them side by side, asking for each line some time
 * before it is needed: a processor fetches ahead in each stream on its own, and what suits best
 * differs. */
static inline __attribute__((always_inline)) uint32_t
sum_streams(const line *memory, size_t count, const size_t streams, const size_t ahead)
{
    line sum[STREAMS_MAX] = {{0}};
    size_t part = count / streams;
    for (size_t i = 0; i < part; i++) {
        for (size_t s = 0; s < streams; s++) {
            const line *at = memory + s * part + i;
            __builtin_prefetch(at + ahead);
            sum[s] += *at;
        }
    }
    uint32_t total = 0;
    for (size_t lane = 0; lane < LANES * streams; lane++) {
        total += sum[lane / LANES][lane % LANES];
    }
    return total;
}

static uint32_t sum_lines(const line *memory, size_t count, size_t streams)
{
    return streams == 1   ? sum_streams(memory, count, 1, 64)
           : streams == 2 ? sum_streams(memory, count, 2, 32)
           : streams == 4 ? sum_streams(memory, count, 4, 16)
                          : sum_streams(memory, count, STREAMS_MAX, 16);
}

double csl_bench_read_bandwidth(uint32_t threads)
{
    const size_t size = (size_t)512 << 20;
    line *memory = aligned_alloc(PAGE, size);
    double best = 0.0;
    volatile uint32_t sink = 0;
    if (!memory) {
        return 0.0;
    }
    madvise(memory, size, MADV_HUGEPAGE);
#pragma omp parallel num_threads((int)threads)
    {
        size_t part = size / (size_t)omp_get_num_threads();
        memset((char *)memory + part * (size_t)omp_get_thread_num(), 1, part);
    }
    for (size_t streams = 1; streams <= STREAMS_MAX; streams *= 2) {
        for (int repeat = 0; repeat < REPEATS; repeat++) {
            double start = csl_bench_seconds();
            uint32_t sum = 0;
#pragma omp parallel num_threads((int)threads) reduction(+ : sum)
            {
                size_t part = size / sizeof(line) / (size_t)omp_get_num_threads();
                sum += sum_lines(memory + part * (size_t)omp_get_thread_num(), part, streams);
            }
            sink = sink + sum;
            best = fmax(best, (double)size / (csl_bench_seconds() - start));
        }
    }
    free(memory);
    return best;
}

bool csl_bench_is_card(const csl_device *device)
{
    return strncmp(csl_device_get_info(device)->resource, "cuda", 4) == 0;
}

/* Reads a large array on a card for the norm of one row: there is no other way to ask. What lies in
 * it does not matter. */
static csl_status read_on_card(csl_device *device, double *bandwidth_out)
{
    /* A simulated card says nothing of speed: it is asked for a number alone. */
    size_t count = csl_device_get_info(device)->simulated ? 1 << 14 : 1 << 27;
    void *memory = NULL;
    csl_exact_sum sum;
    CSL_TRY(csl_device_alloc(device, count * sizeof(float), &memory));
    csl_status status = CSL_OK;
    double best = 0;
    for (int repeat = 0; repeat < 7 && status == CSL_OK; repeat++) {
        const float *row = memory;
        double start = csl_bench_seconds();
        memset(&sum, 0, sizeof sum);
        status = csl_device_kernels(device)->row_squared_norms(device, &row, 1, count, NULL, &sum);
        if (status == CSL_OK) {
            status = csl_device_sync(device);
        }
        best = fmax(best, (double)(count * sizeof(float)) / (csl_bench_seconds() - start));
    }
    csl_device_free(device, memory);
    *bandwidth_out = best;
    return status;
}

csl_status csl_bench_device_bandwidth(csl_device *device, double *bandwidth_out)
{
    if (csl_bench_is_card(device)) {
        return read_on_card(device, bandwidth_out);
    }
    *bandwidth_out = csl_bench_read_bandwidth(csl_device_threads(device));
    return *bandwidth_out > 0 ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "bench: no memory for 512 MiB");
}
