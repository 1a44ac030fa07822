/*
 * Order statistics over rows, column by column.
 *
 * Up to 64 rows: one thread sorts one column in registers by the same straight-line networks as the
 * host and leaves the sorted column in shared memory, from which each kind takes its ranks. More
 * rows: a block sorts a tile of 8192 values, as many columns as fit, in shared memory: blocks of 32
 * rows by a network in registers, then merges by bitonic passes that hold 16 values in registers.
 * Rows of W X are mixed into scratch memory, few enough columns at a time to stay in the
 * second-level cache, and selected from there.
 */
#include "robust_cuda.h"
#include "sorting_networks.h"

enum {
    NETWORK_MAX = 64,
    SORT_BLOCK = 32,    /* rows that a network sorts when there are more than NETWORK_MAX */
    PASS_VALUES = 16,   /* values that a thread holds in a merging pass */
    TILE_VALUES = 8192, /* of a block's shared memory */
    TILE_THREADS = TILE_VALUES / SORT_BLOCK,
    PAD_SHIFT = 4, /* one rank of padding after 16, so that runs begin in different banks */
    TILE_PADDED = TILE_VALUES + (TILE_VALUES >> PAD_SHIFT),
    NO_PAD = 31,
    MIXED_SIZE = 4 << 20 /* bytes of W X that lie in the second-level cache */
};

/* What a kernel needs of csl_select_spec. */
typedef struct rank_choice {
    csl_select_kind kind;
    uint32_t trim;
    uint32_t keep;
} rank_choice;

/* One sorted column in shared memory. */
typedef struct sorted_column {
    const float *values;
    uint32_t stride;
    uint32_t pad_shift;
} sorted_column;

static __device__ __forceinline__ float at_rank(const sorted_column &column, uint32_t rank)
{
    return column.values[(rank + (rank >> column.pad_shift)) * column.stride];
}

/* Sum of ranks [first, last) in ascending order, divided by their number. */
static __device__ __forceinline__ float
mean_of_ranks(const sorted_column &column, uint32_t first, uint32_t last)
{
    double sum = 0.0;
    for (uint32_t i = first; i < last; i++) {
        sum += (double)at_rank(column, i);
    }
    return csl_cuda_narrow(sum / (double)(last - first));
}

/* First rank of the window of `keep` values closest to centre; see csl_select_spec. */
static __device__ __forceinline__ uint32_t closest_window(const sorted_column &column,
                                                          uint32_t count,
                                                          uint32_t keep,
                                                          float centre)
{
    uint32_t first = 0;
    while (first < count - keep &&
           centre - at_rank(column, first) > at_rank(column, first + keep) - centre) {
        first++;
    }
    return first;
}

static __device__ __forceinline__ float
choose_ranks(const rank_choice &choice, const sorted_column &column, uint32_t count)
{
    if (choice.kind == CSL_SELECT_MEDIAN_LOWER) {
        return csl_cuda_canonical(at_rank(column, (count - 1) / 2));
    }
    if (choice.kind == CSL_SELECT_MEDIAN_UPPER) {
        return csl_cuda_canonical(at_rank(column, count / 2));
    }
    if (choice.kind == CSL_SELECT_SIGN_MAJORITY) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            sum += (at_rank(column, i) > 0.0f) - (at_rank(column, i) < 0.0f);
        }
        return (float)((sum > 0) - (sum < 0));
    }
    bool trims = choice.kind == CSL_SELECT_TRIMMED_MEAN || choice.kind == CSL_SELECT_PHOCAS;
    uint32_t first = trims ? choice.trim : (count - 1) / 2;
    uint32_t last = trims ? count - choice.trim : count / 2 + 1;
    float centre = mean_of_ranks(column, first, last);
    if (choice.kind == CSL_SELECT_MEAMED || choice.kind == CSL_SELECT_PHOCAS) {
        first = closest_window(column, count, choice.keep, centre);
        centre = mean_of_ranks(column, first, first + choice.keep);
    }
    return centre;
}

/* The larger of `magnitude` and those of the column's values: they are sorted, NaN as infinity. */
static __device__ __forceinline__ uint32_t with_ends(uint32_t magnitude,
                                                     const sorted_column &column,
                                                     uint32_t count)
{
    uint32_t first = csl_cuda_magnitude(at_rank(column, 0));
    uint32_t last = csl_cuda_magnitude(at_rank(column, count - 1));
    magnitude = first > magnitude ? first : magnitude;
    return last > magnitude ? last : magnitude;
}

/* The smaller value to i; neither is a NaN. */
#define EXCHANGE(i, j)                                                                             \
    {                                                                                              \
        float smaller = fminf(v[i], v[j]);                                                         \
        v[j] = fmaxf(v[i], v[j]);                                                                  \
        v[i] = smaller;                                                                            \
    }

/* ---- up to NETWORK_MAX rows ---- */

/* Pointers to the rows in the kernel's own parameters: no upload, and loads from them are free. */
typedef struct network_rows {
    const float *row[NETWORK_MAX];
} network_rows;

/* Shared memory admits six blocks of the largest; registers for four let no value spill. */
#define DEFINE_SELECT(size)                                                                        \
    static __global__ void __launch_bounds__(CSL_CUDA_BLOCK, 4)                                    \
        select_##size(network_rows rows, uint32_t row_count, rank_choice choice, size_t count,     \
                      float *out, uint32_t *largest)                                               \
    {                                                                                              \
        CSL_SHARED_DYN(float, sorted);                                                             \
        float *own = sorted + threadIdx.x;                                                         \
        float *magnitude = own + (size)*CSL_CUDA_BLOCK; /* no register is left for it */           \
        *magnitude = 0.0f;                                                                         \
        for (size_t j = csl_cuda_first(); j < count; j += csl_cuda_step()) {                       \
            float v[size];                                                                         \
            _Pragma("unroll") for (uint32_t i = 0; i < size; i++)                                  \
            {                                                                                      \
                v[i] = i < row_count ? csl_cuda_order_nan(rows.row[i][j]) : csl_cuda_infinity();   \
            }                                                                                      \
            CSL_NETWORK_##size(EXCHANGE) _Pragma("unroll") for (uint32_t i = 0; i < size; i++)     \
            {                                                                                      \
                own[i * CSL_CUDA_BLOCK] = v[i];                                                    \
            }                                                                                      \
            sorted_column column = {own, CSL_CUDA_BLOCK, NO_PAD};                                  \
            *magnitude =                                                                           \
                __uint_as_float(with_ends(__float_as_uint(*magnitude), column, row_count));        \
            out[j] = choose_ranks(choice, column, row_count);                                      \
        }                                                                                          \
        csl_cuda_raise(largest, __float_as_uint(*magnitude));                                      \
    }
CSL_NETWORK_SIZES(DEFINE_SELECT)

static __global__ void select_one(network_rows rows,
                                  uint32_t row_count,
                                  rank_choice choice,
                                  size_t count,
                                  float *out,
                                  uint32_t *largest)
{
    uint32_t magnitude = 0;
    (void)row_count;
    for (size_t j = csl_cuda_first(); j < count; j += csl_cuda_step()) {
        float value = csl_cuda_order_nan(rows.row[0][j]);
        out[j] = choice.kind == CSL_SELECT_SIGN_MAJORITY ? (float)((value > 0.0f) - (value < 0.0f))
                                                         : csl_cuda_canonical(value);
        uint32_t bits = csl_cuda_magnitude(value);
        magnitude = bits > magnitude ? bits : magnitude;
    }
    csl_cuda_raise(largest, magnitude);
}

typedef void select_kernel(network_rows, uint32_t, rank_choice, size_t, float *, uint32_t *);

/* The smallest network for row_count rows, and its size. */
static select_kernel *find_network(uint32_t row_count, uint32_t *size_out)
{
    *size_out = 1;
    if (row_count == 1) {
        return select_one;
    }
#define RETURN_NETWORK(size)                                                                       \
    if (row_count <= size) {                                                                       \
        *size_out = size;                                                                          \
        return select_##size;                                                                      \
    }
    CSL_NETWORK_SIZES(RETURN_NETWORK)
    return NULL;
}

static csl_status select_few(csl_device *device,
                             const rank_choice &choice,
                             const float *const *host_rows,
                             uint32_t row_count,
                             size_t count,
                             float *out,
                             uint32_t *largest)
{
    network_rows rows = {{NULL}};
    for (uint32_t i = 0; i < row_count; i++) {
        rows.row[i] = host_rows[i];
    }
    uint32_t size = 0;
    select_kernel *kernel = find_network(row_count, &size);
    CSL_LAUNCH(kernel, csl_cuda_blocks(device, count), CSL_CUDA_BLOCK,
               (size + 1) * CSL_CUDA_BLOCK * sizeof(float), csl_cuda_stream(device), rows,
               row_count, choice, count, out, largest);
    return csl_cuda_launched("row_select");
}

/* ---- more rows ---- */

static __device__ __forceinline__ float *in_tile(float *tile, uint32_t rank, uint32_t columns)
{
    return tile + (rank + (rank >> PAD_SHIFT)) * columns;
}

/* Loads 32 rows of a column from `first` on, sorts them and stores them at ranks first.. of it. */
static __device__ __forceinline__ void sort_block(const float *const *rows,
                                                  uint32_t row_count,
                                                  uint32_t first,
                                                  size_t column,
                                                  bool inside,
                                                  uint32_t columns,
                                                  float *tile)
{
    float v[SORT_BLOCK];
#pragma unroll
    for (uint32_t k = 0; k < SORT_BLOCK; k++) {
        v[k] = inside && first + k < row_count ? csl_cuda_order_nan(rows[first + k][column])
                                               : csl_cuda_infinity();
    }
    CSL_NETWORK_32(EXCHANGE)
#pragma unroll
    for (uint32_t k = 0; k < SORT_BLOCK; k++) {
        *in_tile(tile, first + k, columns) = v[k];
    }
}

/* Half-cleaners at strides 8, 4, 2 and 1, or from `stride` on, over 16 values in registers. */
#define CLEAN(stride)                                                                              \
    _Pragma("unroll") for (int i = 0; i < PASS_VALUES; i++)                                        \
    {                                                                                              \
        if (!(i & (stride))) {                                                                     \
            EXCHANGE(i, i + (stride))                                                              \
        }                                                                                          \
    }

/*
 * One thread's part of the first pass that merges sorted runs of `half` ranks at begin and begin +
 * half: exchanging rank i with its mirror image makes both halves bitonic; the three largest
 * strides follow while the values are loaded.
 */
static __device__ __forceinline__ void
mirror_pass(float *tile, uint32_t begin, uint32_t half, uint32_t i, uint32_t columns)
{
    uint32_t unit = half / 8;
    uint32_t mirror = begin + half + unit - 1 - i;
    float v[PASS_VALUES];
#pragma unroll
    for (uint32_t k = 0; k < 8; k++) {
        v[k] = *in_tile(tile, begin + i + k * unit, columns);
        v[8 + k] = *in_tile(tile, mirror + k * unit, columns);
    }
#pragma unroll
    for (int k = 0; k < 8; k++) {
        EXCHANGE(k, 15 - k)
    }
    CLEAN(4)
    CLEAN(2)
    CLEAN(1)
#pragma unroll
    for (uint32_t k = 0; k < 8; k++) {
        *in_tile(tile, begin + i + k * unit, columns) = v[k];
        *in_tile(tile, mirror + k * unit, columns) = v[8 + k];
    }
}

/* Half-cleaners at strides 8 unit, 4 unit, 2 unit and unit over 16 ranks from `first` on. */
static __device__ __forceinline__ void
clean_pass(float *tile, uint32_t first, uint32_t unit, uint32_t columns)
{
    float v[PASS_VALUES];
#pragma unroll
    for (uint32_t k = 0; k < PASS_VALUES; k++) {
        v[k] = *in_tile(tile, first + k * unit, columns);
    }
    CLEAN(8)
    CLEAN(4)
    CLEAN(2)
    CLEAN(1)
#pragma unroll
    for (uint32_t k = 0; k < PASS_VALUES; k++) {
        *in_tile(tile, first + k * unit, columns) = v[k];
    }
}

/* Merges all pairs of sorted runs of `half` ranks; barriers before and between its passes. */
static __device__ __forceinline__ void
merge_runs(float *tile, uint32_t row_count, uint32_t half, uint32_t columns)
{
    uint32_t items = TILE_VALUES / PASS_VALUES;
    uint32_t unit = half / 8;
    __syncthreads();
    for (uint32_t item = threadIdx.x; item < items; item += TILE_THREADS) {
        uint32_t piece = item / columns; /* of a column, 16 values each */
        uint32_t begin = piece / unit * (2 * half);
        if (begin + half < row_count) { /* a run that is all padding needs no merging */
            mirror_pass(tile + item % columns, begin, half, piece % unit, columns);
        }
    }
    /* Strides half / 16 and below are left; a pass takes four of them, the last one the rest. */
    for (uint32_t stride = half / 16; stride > 0; stride /= 16) {
        uint32_t step = stride > 8 ? stride / 8 : 1;
        __syncthreads();
        for (uint32_t item = threadIdx.x; item < items; item += TILE_THREADS) {
            uint32_t piece = item / columns;
            uint32_t first = piece / step * (PASS_VALUES * step);
            if (first / (2 * half) * (2 * half) + half < row_count) {
                clean_pass(tile + item % columns, first + piece % step, step, columns);
            }
        }
    }
}

/* capacity: a power of two >= row_count; a tile holds TILE_VALUES / capacity columns. */
static __global__ void __launch_bounds__(TILE_THREADS, 2)
    select_many(const float *const *__restrict__ rows,
                uint32_t row_count,
                uint32_t capacity,
                rank_choice choice,
                size_t count,
                float *out,
                uint32_t *largest)
{
    uint32_t magnitude = 0;
    CSL_SHARED(float, tile, TILE_PADDED);
    uint32_t columns = TILE_VALUES / capacity;
    uint32_t own = threadIdx.x % columns;
    for (size_t base = (size_t)blockIdx.x * columns; base < count;
         base += (size_t)gridDim.x * columns) {
        size_t j = base + own;
        sort_block(rows, row_count, threadIdx.x / columns * SORT_BLOCK, j, j < count, columns,
                   tile + own);
        for (uint32_t half = SORT_BLOCK; half < capacity; half *= 2) {
            merge_runs(tile, row_count, half, columns);
        }
        __syncthreads();
        if (threadIdx.x < columns && j < count) {
            sorted_column column = {tile + own, columns, PAD_SHIFT};
            out[j] = choose_ranks(choice, column, row_count);
            magnitude = with_ends(magnitude, column, row_count);
        }
        __syncthreads();
    }
    csl_cuda_raise(largest, magnitude);
}

static csl_status select_tiles(csl_device *device,
                               const rank_choice &choice,
                               const float *const *rows,
                               uint32_t row_count,
                               size_t count,
                               float *out,
                               uint32_t *largest)
{
    uint32_t capacity = 2 * NETWORK_MAX;
    while (capacity < row_count) {
        capacity *= 2;
    }
    size_t tiles = (count + TILE_VALUES / capacity - 1) / (TILE_VALUES / capacity);
    CSL_LAUNCH(select_many, csl_cuda_blocks(device, tiles * CSL_CUDA_BLOCK), TILE_THREADS, 0,
               csl_cuda_stream(device), rows, row_count, capacity, choice, count, out, largest);
    return csl_cuda_launched("row_select");
}

/* ---- the operation ---- */

/* rows: the same pointers as host_rows, on the device; used from NETWORK_MAX rows on. */
static csl_status select_rows(csl_device *device,
                              const rank_choice &choice,
                              const float *const *host_rows,
                              const float *const *rows,
                              uint32_t row_count,
                              size_t count,
                              float *out,
                              uint32_t *largest)
{
    return row_count <= NETWORK_MAX
               ? select_few(device, choice, host_rows, row_count, count, out, largest)
               : select_tiles(device, choice, rows, row_count, count, out, largest);
}

/* Mixes and selects `width` columns at a time; scratch holds the rows of W X, then W. */
static csl_status select_mixed(csl_device *device,
                               const csl_select_spec *spec,
                               const rank_choice &choice,
                               const float *const *host_rows,
                               uint32_t row_count,
                               size_t count,
                               float *out)
{
    csl_scratch scratch = csl_scratch_begin(device);
    const float *const *rows = NULL;
    const float *const *mixed = NULL;
    const float *host_mixed[CSL_ROWS_MAX];
    void *block = NULL;
    uint32_t n = spec->mix_count;
    size_t width = MIXED_SIZE / (n * sizeof(float)) / CSL_CUDA_BLOCK * CSL_CUDA_BLOCK;
    CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &rows));
    CSL_TRY(csl_scratch_take(&scratch, width * n * sizeof(float), &block));
    for (uint32_t r = 0; r < n; r++) {
        host_mixed[r] = static_cast<float *>(block) + r * width;
    }
    CSL_TRY(csl_scratch_rows(device, &scratch, host_mixed, n, &mixed));
    float *const *mixed_out = const_cast<float *const *>(mixed);
    uint32_t part = csl_cuda_mix_rows_max(row_count, scratch.left);
    csl_mix_groups groups;
    bool whole = n <= part; /* W stays on the device for all columns */
    for (size_t at = 0; at < count; at += width) {
        size_t columns = count - at < width ? count - at : width;
        for (uint32_t first = 0; first < n; first += part) {
            csl_scratch rest = scratch;
            if (!whole || at == 0) {
                CSL_TRY(
                    csl_cuda_mix_prepare(device, &rest, spec->host_mix + (size_t)first * row_count,
                                         n - first < part ? n - first : part, row_count, &groups));
            }
            CSL_TRY(csl_cuda_mix_launch(device, &groups, rows, at, columns, mixed_out + first));
        }
        CSL_TRY(select_rows(device, choice, host_mixed, mixed, n, columns, out + at, NULL));
    }
    return CSL_OK;
}

csl_status csl_cuda_row_select(csl_device *device,
                               const csl_select_spec *spec,
                               const float *const *host_rows,
                               uint32_t row_count,
                               size_t count,
                               float *out)
{
    CSL_TRY(csl_robust_check_select(spec, host_rows, row_count, count, out));
    if (count == 0) {
        return CSL_OK;
    }
    rank_choice choice = {spec->kind, spec->trim, spec->keep};
    if (spec->host_mix) {
        return select_mixed(device, spec, choice, host_rows, row_count, count, out);
    }
    const float *const *rows = NULL;
    uint32_t *largest = NULL;
    csl_scratch scratch = csl_scratch_begin(device);
    if (row_count > NETWORK_MAX) {
        CSL_TRY(csl_scratch_rows(device, &scratch, host_rows, row_count, &rows));
    }
    CSL_TRY(csl_cuda_magnitude_begin(device, &scratch, spec->host_magnitude, &largest));
    CSL_TRY(select_rows(device, choice, host_rows, rows, row_count, count, out, largest));
    return csl_cuda_magnitude_end(device, largest, spec->host_magnitude);
}
