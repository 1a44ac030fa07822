/*
 * Norms, distances and inner products as exact sums.
 *
 * The 32 lanes of the definition are the 32 threads of a warp: lane l reads coordinates l, l + 32
 * and so on of a tile, so a warp reads whole cache lines and its float32 sums stay in registers.
 * At the end of a tile the warp adds its lanes in the written tree and the result goes to the
 * pair's sum by integer atomics: their order changes no bit. A warp works on 8 x 8 pairs at once,
 * because 16 loads then feed 64 pairs.
 *
 * Few rows: every warp goes alone, straight from memory. More: a block of 16 warps stages 64 rows
 * in shared memory, double buffered, for 32 x 32 pairs.
 */
#include "robust_cuda.h"

#include <cstdlib>
#include <cstring>

enum {
    EDGE = 8,                /* rows on each side of a warp's block of pairs */
    GROUP = 32,              /* rows on each side of a block's square of pairs */
    GROUP_WARPS = 16,        /* (GROUP / EDGE)^2 */
    GROUP_THREADS = 512,     /* GROUP_WARPS warps */
    STAGED_ROWS = 2 * GROUP, /* left rows, then right rows */
    STAGE = 64,              /* columns that are staged at a time */
    STAGE_LOADS = 8,         /* of a thread for one stage */
    ALONE_ROWS_MAX = 16,     /* up to so many rows warps go alone */
    CENSUS_WORDS = sizeof(csl_row_census) / sizeof(int64_t)
};
static_assert(GROUP_WARPS * CSL_CUDA_WARP == GROUP_THREADS, "a warp for each 8 x 8 pairs");
static_assert(STAGED_ROWS * STAGE == STAGE_LOADS * GROUP_THREADS, "every thread loads alike");

/* Device memory sees the words of csl_exact_sum as atomics want them. */
typedef unsigned long long sum_word;

typedef struct pair_task {
    const float *const *rows;
    uint32_t row_count;
    uint32_t lead_begin; /* pairs (i, j) with lead_begin <= i < lead_end; a multiple of GROUP */
    uint32_t lead_end;
    size_t count;
    sum_word *sums; /* of the pairs of this task, in the order of the definition */
} pair_task;

/* One step of a sum, the first index of j for row i, and where a pair's sum lies. */
struct squared_distance {
    static __device__ __forceinline__ float step(float a, float b, float sum)
    {
        float e = a - b;
        return fmaf(e, e, sum);
    }
    static __host__ __device__ __forceinline__ bool is_pair(uint32_t i, uint32_t j)
    {
        return i < j;
    }
    /* csl_pair_index, csl_pair_count for the device */
    static __host__ __device__ __forceinline__ size_t index(size_t i, size_t j, size_t n)
    {
        return i * n - i * (i + 1) / 2 + (j - i - 1);
    }
    static __host__ __device__ __forceinline__ size_t count(size_t lead, size_t n)
    {
        return lead * n - lead * (lead + 1) / 2;
    }
};
struct inner_product {
    static __device__ __forceinline__ float step(float a, float b, float sum)
    {
        return fmaf(a, b, sum);
    }
    static __host__ __device__ __forceinline__ bool is_pair(uint32_t i, uint32_t j)
    {
        return i <= j;
    }
    static __host__ __device__ __forceinline__ size_t index(size_t i, size_t j, size_t n)
    {
        return i * n - i * (i + 1) / 2 + j;
    }
    static __host__ __device__ __forceinline__ size_t count(size_t lead, size_t n)
    {
        return lead == 0 ? 0 : lead * n - lead * (lead - 1) / 2;
    }
};

/* csl_exact_add with atomics: an integer in units of 2^-149 over up to three 32-bit limbs. */
static __device__ void add_exact(sum_word *word, double value)
{
    if (!(fabs(value) < 0x1p160)) {
        atomicAdd(word + CSL_EXACT_LIMBS, (sum_word)1);
        return;
    }
    if (value == 0.0) {
        return;
    }
    uint64_t bits = (uint64_t)__double_as_longlong(value);
    int shift = (int)((bits >> 52) & 0x7ff) - 1075 + 149;
    uint64_t significand = (bits & 0xfffffffffffffu) | 0x10000000000000u;
    if (shift < 0) { /* the bits shifted out are zero: the value is a multiple of the unit */
        significand >>= -shift;
        shift = 0;
    }
    int rest = shift % 32;
    uint64_t low = significand << rest;
    uint64_t part[3] = {low & 0xffffffffu, low >> 32, rest ? significand >> (64 - rest) : 0};
#pragma unroll
    for (int k = 0; k < 3; k++) {
        if (part[k] != 0) { /* two's complement: adding 2^64 - x takes x away */
            atomicAdd(word + shift / 32 + k, (sum_word)(value < 0.0 ? 0 - part[k] : part[k]));
        }
    }
}

/* Sum over the warp's lanes in the tree of the definition; every lane gets it. */
static __device__ __forceinline__ double add_lanes(float value)
{
    double sum = (double)value;
#pragma unroll
    for (int half = CSL_CUDA_WARP / 2; half > 0; half /= 2) {
        sum += __shfl_xor_sync(~0u, sum, half);
    }
    return sum;
}

/* Sends away the half of 2 * half sums that this lane will not end with and adds what comes back.
 */
static __device__ __forceinline__ void fold_lanes(double *sum, int half)
{
    bool upper = (threadIdx.x & (unsigned)half) != 0;
#pragma unroll
    for (int k = 0; k < half; k++) {
        double kept = upper ? sum[k + half] : sum[k];
        double given = upper ? sum[k] : sum[k + half];
        sum[k] = kept + __shfl_xor_sync(~0u, given, half);
    }
}

/* The same for 32 values at once: lane l ends with the sum of value l. That moves 31 values where
 * one after the other would move 160. */
static __device__ __forceinline__ double add_lanes_of_32(const float *value)
{
    bool upper = (threadIdx.x & 16) != 0;
    double sum[16];
#pragma unroll
    for (int k = 0; k < 16; k++) {
        float kept = upper ? value[k + 16] : value[k];
        float given = upper ? value[k] : value[k + 16];
        sum[k] = (double)kept + (double)__shfl_xor_sync(~0u, given, 16);
    }
    fold_lanes(sum, 8);
    fold_lanes(sum, 4);
    fold_lanes(sum, 2);
    fold_lanes(sum, 1);
    return sum[0];
}

template <class Pair>
static __device__ __forceinline__ void
add_pair(const pair_task &task, uint32_t i, uint32_t j, double value)
{
    if (i < task.lead_end && j < task.row_count && Pair::is_pair(i, j)) {
        size_t before = Pair::count(task.lead_begin, task.row_count);
        size_t index = Pair::index(i, j, task.row_count) - before;
        add_exact(task.sums + index * CSL_EXACT_WORDS, value);
    }
}

/* Ends a tile: the warp's 8 x 8 lane sums go to the pairs of rows left.. and right... */
template <class Pair>
static __device__ __forceinline__ void
finish_tile(const pair_task &task, const float *sum, uint32_t left, uint32_t right)
{
    unsigned lane = threadIdx.x % CSL_CUDA_WARP;
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
        double value = add_lanes_of_32(sum + half * 32);
        add_pair<Pair>(task, left + half * 4 + lane / EDGE, right + lane % EDGE, value);
    }
}

/* ---- few rows: warps alone ---- */

static __device__ __forceinline__ size_t tile_width(size_t tile, size_t count)
{
    size_t left = count - tile * CSL_TILE;
    return left < CSL_TILE ? left : (size_t)CSL_TILE;
}

static __device__ __forceinline__ const float *
row_of(const pair_task &task, uint32_t row, size_t tile)
{
    /* past the end: the last row again, not used */
    return task.rows[row < task.row_count ? row : task.row_count - 1] + tile * CSL_TILE;
}

/* One warp for each tile and 8 x 8 pairs of at most ALONE_ROWS_MAX rows: 1 or 3 blocks of pairs. */
template <class Pair>
static __global__ void __launch_bounds__(CSL_CUDA_BLOCK)
    pairs_alone(pair_task task, uint32_t block_count, size_t work_count)
{
    size_t work = csl_cuda_first() / CSL_CUDA_WARP;
    if (work >= work_count) {
        return;
    }
    size_t tile = work / block_count;
    uint32_t block = (uint32_t)(work % block_count);
    uint32_t left = block == 2 ? (uint32_t)EDGE : 0;
    uint32_t right = block == 0 ? 0 : (uint32_t)EDGE;
    const float *a[EDGE];
    const float *b[EDGE];
    float sum[EDGE * EDGE];
#pragma unroll
    for (int k = 0; k < EDGE; k++) {
        a[k] = row_of(task, left + k, tile);
        b[k] = row_of(task, right + k, tile);
    }
#pragma unroll
    for (int k = 0; k < EDGE * EDGE; k++) {
        sum[k] = 0.0f;
    }
    uint32_t width = (uint32_t)tile_width(tile, task.count);
    for (uint32_t j = threadIdx.x % CSL_CUDA_WARP; j < width; j += CSL_CUDA_WARP) {
        float x[EDGE];
#pragma unroll
        for (int i = 0; i < EDGE; i++) {
            x[i] = a[i][j];
        }
#pragma unroll
        for (int k = 0; k < EDGE; k++) {
            float y = b[k][j];
#pragma unroll
            for (int i = 0; i < EDGE; i++) {
                sum[i * EDGE + k] = Pair::step(x[i], y, sum[i * EDGE + k]);
            }
        }
    }
    __syncwarp();
    finish_tile<Pair>(task, sum, left, right);
}

/* One leading row against eight others: one warp for each tile and eight rows. */
template <class Pair>
static __global__ void __launch_bounds__(CSL_CUDA_BLOCK)
    pairs_of_one(pair_task task, uint32_t block_count, size_t work_count)
{
    size_t work = csl_cuda_first() / CSL_CUDA_WARP;
    if (work >= work_count) {
        return;
    }
    size_t tile = work / block_count;
    uint32_t right = (uint32_t)(work % block_count) * EDGE;
    unsigned lane = threadIdx.x % CSL_CUDA_WARP;
    const float *a = row_of(task, 0, tile);
    const float *b[EDGE];
    float sum[EDGE];
#pragma unroll
    for (int k = 0; k < EDGE; k++) {
        b[k] = row_of(task, right + k, tile);
        sum[k] = 0.0f;
    }
    uint32_t width = (uint32_t)tile_width(tile, task.count);
#pragma unroll 2
    for (uint32_t j = lane; j < width; j += CSL_CUDA_WARP) {
        float x = a[j];
#pragma unroll
        for (int k = 0; k < EDGE; k++) {
            sum[k] = Pair::step(x, b[k][j], sum[k]);
        }
    }
    __syncwarp();
    double own = 0.0;
#pragma unroll
    for (uint32_t k = 0; k < EDGE; k++) {
        double value = add_lanes(sum[k]);
        own = lane == k ? value : own;
    }
    if (lane < EDGE) {
        add_pair<Pair>(task, 0, right + lane, own);
    }
}

/* ---- more rows: a block for 32 x 32 pairs ---- */

/* The warp's 8 x 8 pairs within the block's square, false if it has none: rows past the end and,
 * in a square on the diagonal, blocks below it get no warp, and the others are dealt out evenly. */
static __device__ __forceinline__ bool place_warp(
    uint32_t left_blocks, uint32_t right_blocks, bool diagonal, uint32_t *left, uint32_t *right)
{
    uint32_t rank = threadIdx.x / CSL_CUDA_WARP;
    if (!diagonal) {
        *left = rank / right_blocks;
        *right = rank % right_blocks;
        return rank < left_blocks * right_blocks;
    }
    uint32_t row = 0;
    while (row < left_blocks && rank >= right_blocks - row) {
        rank -= right_blocks - row;
        row++;
    }
    *left = row;
    *right = row + rank;
    return row < left_blocks;
}

static __device__ __forceinline__ uint32_t edge_blocks(uint32_t first, uint32_t end)
{
    uint32_t rows = end > first ? end - first : 0;
    rows = rows < GROUP ? rows : (uint32_t)GROUP;
    return (rows + EDGE - 1) / EDGE;
}

/* This thread's values of the stage that begins at column `begin` of the tile, 0 past its end; of
 * the first `row_count` staged rows. */
static __device__ __forceinline__ void load_stage(
    const float *const *row, uint32_t row_count, uint32_t begin, uint32_t width, float *value)
{
    uint32_t column = begin + threadIdx.x % STAGE;
#pragma unroll
    for (uint32_t k = 0; k < STAGE_LOADS; k++) {
        if (k * (GROUP_THREADS / STAGE) < row_count) {
            const float *from = row[threadIdx.x / STAGE + k * (GROUP_THREADS / STAGE)];
            value[k] = column < width ? from[column] : 0.0f;
        }
    }
}

static __device__ __forceinline__ void
store_stage(float *stage, uint32_t row_count, const float *value)
{
#pragma unroll
    for (uint32_t k = 0; k < STAGE_LOADS; k++) {
        if (k * (GROUP_THREADS / STAGE) < row_count) {
            stage[threadIdx.x + k * GROUP_THREADS] = value[k];
        }
    }
}

/* The warp's pairs over one stage; a, b: its first left and right row in shared memory. */
template <class Pair>
static __device__ __forceinline__ void add_stage(const float *a, const float *b, float *sum)
{
#pragma unroll
    for (uint32_t j = 0; j < STAGE; j += CSL_CUDA_WARP) {
        float x[EDGE];
#pragma unroll
        for (int i = 0; i < EDGE; i++) {
            x[i] = a[i * STAGE + j];
        }
#pragma unroll
        for (int k = 0; k < EDGE; k++) {
            float y = b[k * STAGE + j];
#pragma unroll
            for (int i = 0; i < EDGE; i++) {
                sum[i * EDGE + k] = Pair::step(x[i], y, sum[i * EDGE + k]);
            }
        }
    }
}

/* Square number `square` of the task: groups of left and right rows, left <= right. */
static __device__ __forceinline__ void
place_square(const pair_task &task, uint32_t square, uint32_t *left, uint32_t *right)
{
    uint32_t groups = (task.row_count + GROUP - 1) / GROUP;
    uint32_t group = task.lead_begin / GROUP;
    while (square >= groups - group) {
        square -= groups - group;
        group++;
    }
    *left = group * GROUP;
    *right = (group + square) * GROUP;
}

template <class Pair>
static __global__ void __launch_bounds__(GROUP_THREADS)
    pairs_by_group(pair_task task, uint32_t square_count)
{
    CSL_SHARED(float, stage, 2 * STAGED_ROWS * STAGE);
    CSL_SHARED(const float *, row, STAGED_ROWS);
    size_t tile = blockIdx.x / square_count;
    uint32_t width = (uint32_t)tile_width(tile, task.count);
    uint32_t left = 0, right = 0, a = 0, b = 0;
    place_square(task, blockIdx.x % square_count, &left, &right);
    if (threadIdx.x < STAGED_ROWS) {
        uint32_t first = threadIdx.x < GROUP ? left : right;
        row[threadIdx.x] = row_of(task, first + threadIdx.x % GROUP, tile);
    }
    bool works = place_warp(edge_blocks(left, task.lead_end), edge_blocks(right, task.row_count),
                            left == right, &a, &b);
    uint32_t lane = threadIdx.x % CSL_CUDA_WARP;
    const float *from_a = stage + a * EDGE * STAGE + lane;
    /* On the diagonal the left rows are the right ones too, and are staged once. */
    const float *from_b = stage + ((left == right ? 0 : (uint32_t)GROUP) + b * EDGE) * STAGE + lane;
    uint32_t staged = left == right ? (uint32_t)GROUP : (uint32_t)STAGED_ROWS;
    float sum[EDGE * EDGE];
    float ahead[STAGE_LOADS];
#pragma unroll
    for (int k = 0; k < EDGE * EDGE; k++) {
        sum[k] = 0.0f;
    }
    __syncthreads();
    load_stage(row, staged, 0, width, ahead);
    store_stage(stage, staged, ahead);
    __syncthreads();
    uint32_t turn = 0; /* offset of the buffer that is read */
    for (uint32_t begin = 0; begin < width; begin += STAGE) {
        bool more = begin + STAGE < width;
        if (more) {
            load_stage(row, staged, begin + STAGE, width, ahead);
        }
        if (works) {
            add_stage<Pair>(from_a + turn, from_b + turn, sum);
        }
        turn ^= STAGED_ROWS * STAGE;
        if (more) {
            store_stage(stage + turn, staged, ahead);
        }
        __syncthreads();
    }
    if (works) {
        finish_tile<Pair>(task, sum, left + a * EDGE, right + b * EDGE);
    }
}

/* ---- the operations ---- */

template <class Pair> static csl_status launch_pairs(csl_device *device, const pair_task &task)
{
    size_t tiles = (task.count + CSL_TILE - 1) / CSL_TILE;
    cudaStream_t stream = csl_cuda_stream(device);
    uint32_t n = task.row_count;
    if (task.lead_end == 1 || n <= ALONE_ROWS_MAX) {
        bool one = task.lead_end == 1;
        uint32_t blocks = one ? (n + EDGE - 1) / EDGE : n <= EDGE ? 1 : 3;
        size_t work = tiles * blocks;
        unsigned grid = (unsigned)((work + CSL_CUDA_WARPS - 1) / CSL_CUDA_WARPS);
        if (one) {
            CSL_LAUNCH(pairs_of_one<Pair>, grid, CSL_CUDA_BLOCK, 0, stream, task, blocks, work);
        } else {
            CSL_LAUNCH(pairs_alone<Pair>, grid, CSL_CUDA_BLOCK, 0, stream, task, blocks, work);
        }
        return csl_cuda_launched("exact sums");
    }
    uint32_t groups = (n + GROUP - 1) / GROUP;
    uint32_t squares = 0;
    for (uint32_t lead = task.lead_begin; lead < task.lead_end; lead += GROUP) {
        squares += groups - lead / GROUP;
    }
    CSL_LAUNCH(pairs_by_group<Pair>, (unsigned)(tiles * squares), GROUP_THREADS, 0, stream, task,
               squares);
    return csl_cuda_launched("exact sums");
}

/* The largest lead_end whose sums fit into `room` sums, in whole groups or up to lead_count. */
template <class Pair>
static uint32_t lead_that_fits(uint32_t begin, uint32_t lead_count, uint32_t n, size_t room)
{
    uint32_t end = begin;
    while (end < lead_count) {
        uint32_t next = lead_count - end < GROUP ? lead_count : end + GROUP;
        if (Pair::count(next, n) - Pair::count(begin, n) > room) {
            break;
        }
        end = next;
    }
    return end;
}

template <class Pair>
static csl_status add_part(csl_device *device,
                           const pair_task &task,
                           csl_exact_sum *staging,
                           csl_exact_sum *host_sums)
{
    size_t before = Pair::count(task.lead_begin, task.row_count);
    size_t sum_count = Pair::count(task.lead_end, task.row_count) - before;
    size_t size = sum_count * sizeof *staging;
    CSL_TRY(
        csl_cuda_check(cudaMemsetAsync(task.sums, 0, size, csl_cuda_stream(device)), "exact sums"));
    CSL_TRY(launch_pairs<Pair>(device, task));
    CSL_TRY(csl_cuda_download(device, staging, task.sums, size));
    csl_exact_merge(host_sums + before, staging, sum_count);
    return CSL_OK;
}

/* All pairs, as many leading rows at a time as the scratch memory has sums for. */
template <class Pair>
static csl_status add_parts(csl_device *device,
                            csl_scratch scratch,
                            const pair_task &whole,
                            uint32_t lead_count,
                            csl_exact_sum *host_sums)
{
    void *sums = NULL;
    size_t size = Pair::count(lead_count, whole.row_count) * sizeof(csl_exact_sum);
    size_t most = scratch.left / CSL_SCRATCH_ALIGNMENT * CSL_SCRATCH_ALIGNMENT;
    size = size < most ? size : most;
    CSL_TRY(csl_scratch_take(&scratch, size, &sums));
    csl_exact_sum *staging = static_cast<csl_exact_sum *>(malloc(size));
    if (!staging) {
        return csl_fail(CSL_E_NO_MEMORY, "exact sums: no memory for %zu bytes", size);
    }
    csl_status status = CSL_OK;
    pair_task task = whole;
    task.sums = static_cast<sum_word *>(sums);
    for (uint32_t begin = 0; status == CSL_OK && begin < lead_count; begin = task.lead_end) {
        task.lead_begin = begin;
        task.lead_end =
            lead_that_fits<Pair>(begin, lead_count, task.row_count, size / sizeof(csl_exact_sum));
        status = add_part<Pair>(device, task, staging, host_sums);
    }
    free(staging);
    return status;
}

template <class Pair>
static csl_status add_pairs(csl_device *device,
                            const char *name,
                            const float *const *host_rows,
                            uint32_t row_count,
                            uint32_t lead_count,
                            size_t count,
                            csl_exact_sum *host_sums)
{
    CSL_TRY(csl_robust_check_rows(name, host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (lead_count < 1 || lead_count > row_count) {
        return csl_fail(CSL_E_RANGE, "%s: expected 1 to %u leading rows, found %u", name, row_count,
                        lead_count);
    }
    if (Pair::count(lead_count, row_count) == 0 || count == 0) {
        return CSL_OK;
    }
    if (!host_sums) {
        return csl_fail(CSL_E_INVALID_ARG, "%s: expected sums, found NULL", name);
    }
    csl_scratch scratch = csl_scratch_begin(device);
    pair_task task = {NULL, row_count, 0, 0, count, NULL};
    CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &task.rows));
    return add_parts<Pair>(device, scratch, task, lead_count, host_sums);
}

csl_status csl_cuda_row_squared_distances(csl_device *device,
                                          const float *const *host_rows,
                                          uint32_t row_count,
                                          uint32_t lead_count,
                                          size_t count,
                                          csl_exact_sum *host_sums)
{
    return add_pairs<squared_distance>(device, "row_squared_distances", host_rows, row_count,
                                       lead_count, count, host_sums);
}

csl_status csl_cuda_row_inner_products(csl_device *device,
                                       const float *const *host_rows,
                                       uint32_t row_count,
                                       uint32_t lead_count,
                                       size_t count,
                                       csl_exact_sum *host_sums)
{
    return add_pairs<inner_product>(device, "row_inner_products", host_rows, row_count, lead_count,
                                    count, host_sums);
}

/* ---- norms and census ---- */

/* Adds up a small count over the warp; every lane gets the sum. */
static __device__ __forceinline__ uint32_t count_lanes(uint32_t value)
{
#pragma unroll
    for (int half = CSL_CUDA_WARP / 2; half > 0; half /= 2) {
        value += __shfl_xor_sync(~0u, value, half);
    }
    return value;
}

/* One warp for each row and tile; census: [row_count] or NULL. */
static __global__ void __launch_bounds__(CSL_CUDA_BLOCK)
    norm_kernel(const float *const *__restrict__ rows,
                size_t count,
                size_t tile_count,
                size_t work_count,
                sum_word *sums,
                sum_word *census)
{
    size_t work = csl_cuda_first() / CSL_CUDA_WARP;
    if (work >= work_count) {
        return;
    }
    size_t i = work / tile_count;
    size_t tile = work % tile_count;
    const float *row = rows[i] + tile * CSL_TILE;
    uint32_t width = (uint32_t)tile_width(tile, count);
    unsigned lane = threadIdx.x % CSL_CUDA_WARP;
    float sum = 0.0f;
    uint32_t found[CENSUS_WORDS] = {0}; /* in the order of csl_row_census */
#pragma unroll 8
    for (uint32_t j = lane; j < width; j += CSL_CUDA_WARP) {
        float x = row[j];
        uint32_t bits = __float_as_uint(x);
        sum = fmaf(x, x, sum);
        found[0] += (bits & 0x7f800000u) == 0x7f800000u;
        found[1] += bits == 0x80000000u;
        found[2] += x > 0.0f;
        found[3] += x < 0.0f;
    }
    __syncwarp();
    double value = add_lanes(sum);
    if (lane == 0) {
        add_exact(sums + i * CSL_EXACT_WORDS, value);
    }
    if (census) {
#pragma unroll
        for (unsigned k = 0; k < CENSUS_WORDS; k++) {
            uint32_t all = count_lanes(found[k]);
            if (lane == k && all != 0) {
                atomicAdd(census + i * CENSUS_WORDS + k, (sum_word)all);
            }
        }
    }
}

/* host_words[k] += what the device counted. */
static void add_words(int64_t *host_words, const int64_t *words, size_t word_count)
{
    for (size_t k = 0; k < word_count; k++) {
        host_words[k] += words[k];
    }
}

csl_status csl_cuda_row_squared_norms(csl_device *device,
                                      const float *const *host_rows,
                                      uint32_t row_count,
                                      size_t count,
                                      csl_row_census *host_census,
                                      csl_exact_sum *host_sums)
{
    CSL_TRY(csl_robust_check_rows("row_squared_norms", host_rows, row_count, CSL_KERNEL_ROWS_MAX));
    if (!host_sums) {
        return csl_fail(CSL_E_INVALID_ARG, "row_squared_norms: expected sums, found NULL");
    }
    if (count == 0) {
        return CSL_OK;
    }
    enum { ROW_WORDS = CSL_EXACT_WORDS + CENSUS_WORDS };
    csl_scratch scratch = csl_scratch_begin(device);
    const float *const *rows = NULL;
    void *memory = NULL;
    size_t sum_words = (size_t)row_count * CSL_EXACT_WORDS;
    size_t words = (size_t)row_count * ROW_WORDS;
    CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &rows));
    CSL_TRY(csl_scratch_take(&scratch, words * sizeof(sum_word), &memory));
    sum_word *sums = static_cast<sum_word *>(memory);
    size_t tiles = (count + CSL_TILE - 1) / CSL_TILE;
    size_t work = tiles * row_count;
    cudaStream_t stream = csl_cuda_stream(device);
    CSL_TRY(csl_cuda_check(cudaMemsetAsync(sums, 0, words * sizeof *sums, stream),
                           "row_squared_norms"));
    CSL_LAUNCH(norm_kernel, (unsigned)((work + CSL_CUDA_WARPS - 1) / CSL_CUDA_WARPS),
               CSL_CUDA_BLOCK, 0, stream, rows, count, tiles, work, sums,
               host_census ? sums + sum_words : NULL);
    CSL_TRY(csl_cuda_launched("row_squared_norms"));
    int64_t staging[CSL_KERNEL_ROWS_MAX * ROW_WORDS];
    CSL_TRY(csl_cuda_download(device, staging, sums, words * sizeof *staging));
    add_words((int64_t *)host_sums, staging, sum_words);
    if (host_census) {
        add_words((int64_t *)host_census, staging + sum_words, words - sum_words);
    }
    return CSL_OK;
}

csl_status csl_cuda_row_geometry(csl_device *device,
                                 const float *const *host_rows,
                                 uint32_t row_count,
                                 size_t count,
                                 const csl_row_geometry *host_sums)
{
    CSL_TRY(csl_robust_check_geometry(host_rows, row_count, host_sums));
    const size_t cached = (size_t)32 << 20; /* bytes that the next operation may still find */
    size_t step = (cached / (row_count * CSL_TILE * sizeof(float)) + 1) * CSL_TILE;
    const float *rows[CSL_KERNEL_ROWS_MAX];
    csl_row_geometry to = *host_sums;
    for (size_t begin = 0; begin < count; begin += step) {
        size_t width = count - begin < step ? count - begin : step;
        for (uint32_t i = 0; i < row_count; i++) {
            rows[i] = host_rows[i] + begin;
        }
        if (to.norms) {
            CSL_TRY(csl_cuda_row_squared_norms(device, rows, row_count, width, NULL, to.norms));
        }
        if (to.distances) {
            CSL_TRY(csl_cuda_row_squared_distances(device, rows, row_count, row_count, width,
                                                   to.distances));
        }
        if (to.products) {
            CSL_TRY(csl_cuda_row_inner_products(device, rows, row_count, row_count, width,
                                                to.products));
        }
    }
    return CSL_OK;
}
