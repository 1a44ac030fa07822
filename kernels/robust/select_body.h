/*
 * Order statistics of one range of columns on one thread; included once per instruction set.
 *
 * SIMD_LANES columns at a time are sorted completely (for a median, as far as it needs): up to
 * CSL_NETWORK_MAX rows by straight-line networks in registers, more by sorting blocks of 32 rows
 * and merging them with bitonic passes that hold 16 vectors in registers. The sorted columns then
 * lie in a small buffer, [rank][lane], from which each kind takes what it needs.
 */
#ifndef CSL_ROBUST_SELECT_BODY_H
#define CSL_ROBUST_SELECT_BODY_H

#include "robust_host.h"
#include "sorting_networks.h"

enum {
    CSL_NETWORK_MAX = 64,
    CSL_SORT_BLOCK = 32,    /* rows that are sorted by a network when there are more than 64 */
    CSL_PREFETCH_LINES = 4, /* cache lines ahead, per row */
    CSL_FLOATS_PER_LINE = 16
};

/* A vector of each row, NaN taken as +infinity; ranks beyond row_count are +infinity. */
SIMD_INLINE simd_float load_ordered(const float *row, size_t lane_count)
{
    if (lane_count == SIMD_LANES) {
        simd_prefetch(row + CSL_PREFETCH_LINES * CSL_FLOATS_PER_LINE);
        return simd_order_nan(simd_load(row));
    }
    return simd_order_nan(simd_load_part(row, lane_count));
}

#define EXCHANGE(i, j)                                                                             \
    {                                                                                              \
        simd_float smaller = simd_min(v[i], v[j]);                                                 \
        v[j] = simd_max(v[i], v[j]);                                                               \
        v[i] = smaller;                                                                            \
    }

/* Loads row_count <= size rows, sorts them and stores `size` vectors. One function per size. */
#define DEFINE_SORT(size)                                                                          \
    static void sort_##size(const float *const *rows, uint32_t row_count, size_t column,           \
                            size_t lane_count, float *sorted)                                      \
    {                                                                                              \
        simd_float v[size];                                                                        \
        _Pragma("GCC unroll 64") for (uint32_t i = 0; i < size; i++)                               \
        {                                                                                          \
            v[i] =                                                                                 \
                i < row_count ? load_ordered(rows[i] + column, lane_count) : simd_set(INFINITY);   \
        }                                                                                          \
        CSL_NETWORK_##size(EXCHANGE) _Pragma("GCC unroll 64") for (uint32_t i = 0; i < size; i++)  \
        {                                                                                          \
            simd_store(sorted + i * SIMD_LANES, v[i]);                                             \
        }                                                                                          \
    }
CSL_NETWORK_SIZES(DEFINE_SORT)

#define KEEP_SMALLER(i, j) v[i] = simd_min(v[i], v[j]);
#define KEEP_LARGER(i, j)  v[j] = simd_max(v[i], v[j]);

/* The same, but only the ranks that medians of the row counts of this size read are right. */
#define DEFINE_MEDIAN(size)                                                                        \
    static void median_##size(const float *const *rows, uint32_t row_count, size_t column,         \
                              size_t lane_count, float *sorted)                                    \
    {                                                                                              \
        simd_float v[size];                                                                        \
        _Pragma("GCC unroll 64") for (uint32_t i = 0; i < size; i++)                               \
        {                                                                                          \
            v[i] =                                                                                 \
                i < row_count ? load_ordered(rows[i] + column, lane_count) : simd_set(INFINITY);   \
        }                                                                                          \
        CSL_MEDIAN_##size(EXCHANGE, KEEP_SMALLER, KEEP_LARGER)                                     \
            _Pragma("GCC unroll 8") for (uint32_t i = CSL_MEDIAN_FIRST_##size;                     \
                                         i <= CSL_MEDIAN_LAST_##size; i++)                         \
        {                                                                                          \
            simd_store(sorted + i * SIMD_LANES, v[i]);                                             \
        }                                                                                          \
    }
CSL_NETWORK_SIZES(DEFINE_MEDIAN)

typedef void sort_function(
    const float *const *rows, uint32_t row_count, size_t column, size_t lane_count, float *sorted);

static sort_function *find_median(uint32_t row_count)
{
#define RETURN_MEDIAN(size)                                                                        \
    if (row_count <= size) {                                                                       \
        return median_##size;                                                                      \
    }
    CSL_NETWORK_SIZES(RETURN_MEDIAN)
    return NULL;
}

static sort_function *find_sort(uint32_t row_count)
{
#define RETURN_SORT(size)                                                                          \
    if (row_count <= size) {                                                                       \
        return sort_##size;                                                                        \
    }
    CSL_NETWORK_SIZES(RETURN_SORT)
    return NULL;
}

/* v[0..15] of a bitonic sequence: exchanges at strides 8, 4, 2, 1, in units of the loaded stride.
 */
SIMD_INLINE void clean_16(simd_float *v)
{
#pragma GCC unroll 4
    for (int stride = 8; stride; stride /= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            if (!(i & stride)) {
                EXCHANGE(i, i + stride)
            }
        }
    }
}

/* Half-cleaners at strides 8 unit, 4 unit, 2 unit and unit over buffer[begin..end). */
static void clean_pass(float *buffer, size_t begin, size_t end, size_t unit)
{
    for (size_t block = begin; block < end; block += 16 * unit) {
        for (size_t i = block; i < block + unit; i++) {
            simd_float v[16];
#pragma GCC unroll 16
            for (size_t k = 0; k < 16; k++) {
                v[k] = simd_load(buffer + (i + k * unit) * SIMD_LANES);
            }
            clean_16(v);
#pragma GCC unroll 16
            for (size_t k = 0; k < 16; k++) {
                simd_store(buffer + (i + k * unit) * SIMD_LANES, v[k]);
            }
        }
    }
}

/* Merges the sorted runs of `half` vectors at begin and begin + half; half >= 32, a power of two.
 * The first pass exchanges position i with its mirror image, which makes both halves bitonic, and
 * goes on with the three largest strides while the vectors are loaded. */
static void merge_runs(float *buffer, size_t begin, size_t half)
{
    size_t unit = half / 8;
    for (size_t i = 0; i < unit; i++) {
        simd_float v[16];
        size_t mirror = unit - 1 - i;
#pragma GCC unroll 8
        for (size_t k = 0; k < 8; k++) {
            v[k] = simd_load(buffer + (begin + i + k * unit) * SIMD_LANES);
            v[8 + k] = simd_load(buffer + (begin + half + mirror + k * unit) * SIMD_LANES);
        }
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            EXCHANGE(k, 15 - k)
        }
#pragma GCC unroll 3
        for (int stride = 4; stride; stride /= 2) {
#pragma GCC unroll 16
            for (int k = 0; k < 16; k++) {
                if (!(k & stride)) {
                    EXCHANGE(k, k + stride)
                }
            }
        }
#pragma GCC unroll 8
        for (size_t k = 0; k < 8; k++) {
            simd_store(buffer + (begin + i + k * unit) * SIMD_LANES, v[k]);
            simd_store(buffer + (begin + half + mirror + k * unit) * SIMD_LANES, v[8 + k]);
        }
    }
    size_t stride = unit / 2; /* the largest one left: 2 to 32 */
    if (stride > 8) {
        clean_pass(buffer, begin, begin + 2 * half, stride / 8);
        stride /= 16;
    }
    if (stride) {
        clean_pass(buffer, begin, begin + 2 * half, 1); /* larger strides find nothing to do */
    }
}

/* Sorts more than CSL_NETWORK_MAX rows; buffer holds row_capacity vectors, a power of two. */
static void sort_many(const float *const *rows,
                      uint32_t row_count,
                      size_t row_capacity,
                      size_t column,
                      size_t lane_count,
                      float *buffer)
{
    for (size_t begin = 0; begin < row_capacity; begin += CSL_SORT_BLOCK) {
        uint32_t left = begin < row_count ? row_count - (uint32_t)begin : 0;
        sort_32(rows + (left ? begin : 0), left < CSL_SORT_BLOCK ? left : CSL_SORT_BLOCK, column,
                lane_count, buffer + begin * SIMD_LANES);
    }
    for (size_t half = CSL_SORT_BLOCK; half < row_capacity; half *= 2) {
        for (size_t begin = 0; begin + half < row_count; begin += 2 * half) {
            merge_runs(buffer, begin, half); /* a run that is all padding needs no merging */
        }
    }
}

/* Sum of ranks [first, last) in ascending order, divided by their number. */
SIMD_INLINE simd_float mean_of_ranks(const float *sorted, uint32_t first, uint32_t last)
{
    simd_double sum = simd_double_set(0.0);
    for (uint32_t i = first; i < last; i++) {
        sum = simd_double_add(sum, simd_widen_load(sorted + i * SIMD_LANES));
    }
    return simd_narrow(simd_double_div(sum, simd_double_set((double)(last - first))));
}

/* Mean of the `keep` values closest to centre; see csl_select_spec for the window and its ties.
 * Whether the window moves on past t depends on t alone, so no lane needs its own index. */
SIMD_INLINE simd_float mean_of_closest(const float *sorted,
                                       uint32_t count,
                                       uint32_t keep,
                                       simd_float centre)
{
    simd_double sum = simd_double_set(0.0);
    uint32_t shifts = count - keep; /* the window can begin at ranks 0..shifts */
    for (uint32_t i = 0; i < count; i++) {
        simd_float value = simd_load(sorted + i * SIMD_LANES);
        simd_float kept = value;
        if (i < shifts) { /* left behind if the window moves past i */
            simd_float other = simd_load(sorted + (i + keep) * SIMD_LANES);
            kept = simd_zero_where(simd_greater(simd_sub(centre, value), simd_sub(other, centre)),
                                   kept);
        }
        if (i >= keep) { /* reached if the window moves past i - keep */
            simd_float other = simd_load(sorted + (i - keep) * SIMD_LANES);
            kept = simd_where(simd_greater(simd_sub(centre, other), simd_sub(value, centre)), kept,
                              simd_set(0.0f));
        }
        sum = simd_double_add(sum, simd_widen(kept));
    }
    return simd_narrow(simd_double_div(sum, simd_double_set((double)keep)));
}

static simd_float select_ranks(const csl_select_spec *spec, const float *sorted, uint32_t count)
{
    switch (spec->kind) {
    case CSL_SELECT_TRIMMED_MEAN:
        return mean_of_ranks(sorted, spec->trim, count - spec->trim);
    case CSL_SELECT_MEDIAN_LOWER:
        return simd_canonical(simd_load(sorted + (count - 1) / 2 * SIMD_LANES));
    case CSL_SELECT_MEDIAN_UPPER:
        return simd_canonical(simd_load(sorted + count / 2 * SIMD_LANES));
    case CSL_SELECT_MEAMED:
        return mean_of_closest(sorted, count, spec->keep,
                               mean_of_ranks(sorted, (count - 1) / 2, count / 2 + 1));
    case CSL_SELECT_PHOCAS:
        return mean_of_closest(sorted, count, spec->keep,
                               mean_of_ranks(sorted, spec->trim, count - spec->trim));
    default:
        return mean_of_ranks(sorted, (count - 1) / 2, count / 2 + 1);
    }
}

SIMD_INLINE simd_float sign_of(simd_float v)
{
    simd_float zero = simd_set(0.0f);
    simd_float sign = simd_where(simd_greater(v, zero), simd_set(1.0f), zero);
    return simd_where(simd_greater(zero, v), simd_set(-1.0f), sign);
}

static void
majority_range(const float *const *rows, uint32_t row_count, size_t begin, size_t end, float *out)
{
    for (size_t j = begin; j < end; j += SIMD_LANES) {
        size_t lanes = end - j < SIMD_LANES ? end - j : SIMD_LANES;
        simd_float sum = simd_set(0.0f); /* small integers: exact */
        for (uint32_t i = 0; i < row_count; i++) {
            sum = simd_add(sum, sign_of(load_ordered(rows[i] + j, lanes)));
        }
        simd_store_part(out + j, sign_of(sum), lanes);
    }
}

static bool is_median(csl_select_kind kind)
{
    return kind == CSL_SELECT_MEDIAN || kind == CSL_SELECT_MEDIAN_LOWER ||
           kind == CSL_SELECT_MEDIAN_UPPER;
}

static void select_range(const csl_select_spec *spec,
                         const float *const *rows,
                         uint32_t row_count,
                         size_t begin,
                         size_t end,
                         float *out)
{
    _Alignas(64) float sorted[CSL_ROWS_MAX * SIMD_LANES];
    if (spec->kind == CSL_SELECT_SIGN_MAJORITY) {
        majority_range(rows, row_count, begin, end, out);
        return;
    }
    sort_function *sort = is_median(spec->kind) ? find_median(row_count) : find_sort(row_count);
    size_t capacity = 2 * CSL_NETWORK_MAX;
    while (capacity < row_count) {
        capacity *= 2;
    }
    for (size_t j = begin; j < end; j += SIMD_LANES) {
        size_t lanes = end - j < SIMD_LANES ? end - j : SIMD_LANES;
        if (sort) {
            sort(rows, row_count, j, lanes, sorted);
        } else {
            sort_many(rows, row_count, capacity, j, lanes, sorted);
        }
        simd_float result = select_ranks(spec, sorted, row_count);
        if (lanes == SIMD_LANES) {
            simd_store(out + j, result);
        } else {
            simd_store_part(out + j, result, lanes);
        }
    }
}

#undef EXCHANGE
#undef DEFINE_SORT
#undef RETURN_SORT
#undef DEFINE_MEDIAN
#undef RETURN_MEDIAN
#undef KEEP_SMALLER
#undef KEEP_LARGER

#endif
