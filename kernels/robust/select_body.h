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
    CSL_PREFETCH_LINES = 8, /* cache lines ahead, per row */
    CSL_FLOATS_PER_LINE = 16
};

/* A vector of one row, and the cache line that a later one needs. */
SIMD_INLINE simd_key load_key(const float *row, simd_magnitude *most)
{
    simd_prefetch(row + CSL_PREFETCH_LINES * CSL_FLOATS_PER_LINE);
    simd_float v = simd_load(row);
    *most = simd_magnitude_with(*most, v);
    return simd_key_of(v);
}

#define EXCHANGE(i, j)                                                                             \
    {                                                                                              \
        simd_key smaller = simd_key_smaller(v[i], v[j]);                                           \
        v[j] = simd_key_other(v[i], v[j], smaller);                                                \
        v[i] = smaller;                                                                            \
    }
#define KEEP_SMALLER(i, j) v[i] = simd_key_smaller(v[i], v[j]);
#define KEEP_LARGER(i, j)  v[j] = simd_key_larger(v[i], v[j]);

/* The vectors v[0..size) of row_count <= size rows, of which the first `certain` are there; ranks
 * beyond row_count are +infinity. */
#define LOAD_ROWS(size, certain)                                                                   \
    simd_key v[size];                                                                              \
    simd_magnitude most = *magnitude;                                                              \
    const simd_key last = simd_key_of(simd_set(INFINITY));                                         \
    _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)                                      \
    {                                                                                              \
        v[i] = i < (certain) || i < (int)row_count ? load_key(rows[i] + column, &most) : last;     \
    }                                                                                              \
    *magnitude = most;

#define SORT_PARAMETERS                                                                            \
    const float *const *rows, uint32_t row_count, size_t column, simd_magnitude *magnitude,        \
        float *sorted

/* Sorts and stores `size` vectors; magnitude: the largest seen. One function per size. */
#define DEFINE_SORT_AS(name, size, certain)                                                        \
    static __attribute__((noinline)) void name(SORT_PARAMETERS)                                    \
    {                                                                                              \
        LOAD_ROWS(size, certain)                                                                   \
        CSL_NETWORK_##size(EXCHANGE) _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)     \
        {                                                                                          \
            simd_key_store(sorted + i * SIMD_LANES, v[i]);                                         \
        }                                                                                          \
    }
/* A count takes the next size that has a network: at most 3 more. */
#define DEFINE_SORT(size) DEFINE_SORT_AS(sort_##size, size, (size)-3)
CSL_NETWORK_SMALL_SIZES(DEFINE_SORT)
/* The same in two parts, size = 32 + rest, and a merge. */
#define DEFINE_LARGE_SORT(size, rest)                                                              \
    static void sort_##size(SORT_PARAMETERS)                                                       \
    {                                                                                              \
        sort_32(rows, 32, column, magnitude, sorted);                                              \
        sort_##rest(rows + 32, row_count - 32, column, magnitude, sorted + 32 * SIMD_LANES);       \
        simd_key v[size];                                                                          \
        _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)                                  \
        {                                                                                          \
            v[i] = simd_key_load(sorted + i * SIMD_LANES);                                         \
        }                                                                                          \
        CSL_MERGE_##size(EXCHANGE) _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)       \
        {                                                                                          \
            simd_key_store(sorted + i * SIMD_LANES, v[i]);                                         \
        }                                                                                          \
    }
CSL_NETWORK_LARGE_SIZES(DEFINE_LARGE_SORT)
/* CSL_SORT_BLOCK rows to be merged, all of them there or not. */
DEFINE_SORT_AS(sort_block, 32, 32)
DEFINE_SORT_AS(sort_part, 32, 0)

/* The same, but only the ranks that medians of the row counts of this size read are right. */
#define DEFINE_MEDIAN(size)                                                                        \
    static void median_##size(SORT_PARAMETERS)                                                     \
    {                                                                                              \
        LOAD_ROWS(size, (size)-3)                                                                  \
        CSL_MEDIAN_##size(EXCHANGE, KEEP_SMALLER, KEEP_LARGER)                                     \
            _Pragma("GCC unroll 8") for (int i = CSL_MEDIAN_FIRST_##size;                          \
                                         i <= CSL_MEDIAN_LAST_##size; i++)                         \
        {                                                                                          \
            simd_key_store(sorted + i * SIMD_LANES, v[i]);                                         \
        }                                                                                          \
    }
CSL_NETWORK_SIZES(DEFINE_MEDIAN) /* NOLINT(readability-function-size): one straight line each */

typedef void sort_function(SORT_PARAMETERS);

static sort_function *find_median(uint32_t row_count)
{
#define RETURN_MEDIAN(size)                                                                        \
    if (row_count <= (size)) {                                                                     \
        return median_##size;                                                                      \
    }
    CSL_NETWORK_SIZES(RETURN_MEDIAN)
    return NULL;
}

static sort_function *find_sort(uint32_t row_count)
{
#define RETURN_SORT(size)                                                                          \
    if (row_count <= (size)) {                                                                     \
        return sort_##size;                                                                        \
    }
    CSL_NETWORK_SIZES(RETURN_SORT)
    return NULL;
}

/* v[0..15] of a bitonic sequence: exchanges at strides 8, 4, 2, 1, in units of the loaded stride.
 */
SIMD_INLINE void clean_16(simd_key *v)
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
            simd_key v[16];
#pragma GCC unroll 16
            for (size_t k = 0; k < 16; k++) {
                v[k] = simd_key_load(buffer + (i + k * unit) * SIMD_LANES);
            }
            clean_16(v);
#pragma GCC unroll 16
            for (size_t k = 0; k < 16; k++) {
                simd_key_store(buffer + (i + k * unit) * SIMD_LANES, v[k]);
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
        simd_key v[16];
        size_t mirror = unit - 1 - i;
#pragma GCC unroll 8
        for (size_t k = 0; k < 8; k++) {
            v[k] = simd_key_load(buffer + (begin + i + k * unit) * SIMD_LANES);
            v[8 + k] = simd_key_load(buffer + (begin + half + mirror + k * unit) * SIMD_LANES);
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
            simd_key_store(buffer + (begin + i + k * unit) * SIMD_LANES, v[k]);
            simd_key_store(buffer + (begin + half + mirror + k * unit) * SIMD_LANES, v[8 + k]);
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
                      simd_magnitude *magnitude,
                      float *buffer)
{
    for (size_t begin = 0; begin < row_capacity; begin += CSL_SORT_BLOCK) {
        uint32_t left = begin < row_count ? row_count - (uint32_t)begin : 0;
        sort_function *sort = left < CSL_SORT_BLOCK ? sort_part : sort_block;
        sort(rows + (left ? begin : 0), left, column, magnitude, buffer + begin * SIMD_LANES);
    }
    for (size_t half = CSL_SORT_BLOCK; half < row_capacity; half *= 2) {
        for (size_t begin = 0; begin + half < row_count; begin += 2 * half) {
            merge_runs(buffer, begin, half); /* a run that is all padding needs no merging */
        }
    }
}

SIMD_INLINE simd_float rank_value(const float *sorted, uint32_t rank)
{
    return simd_key_value(simd_key_load(sorted + rank * SIMD_LANES));
}

/*
 * What follows takes `vectors` sorted vectors at a time, [vector][rank][lane]: a sum in ascending
 * order is a chain of dependent additions, and two chains take no longer than one.
 */
enum { CSL_SELECT_VECTORS = 2 };

/* Sum of ranks [first, last) in ascending order, divided by their number. */
SIMD_INLINE void mean_of_ranks(const float *sorted,
                               uint32_t vectors,
                               size_t stride,
                               uint32_t first,
                               uint32_t last,
                               simd_float *mean)
{
    simd_double sum[CSL_SELECT_VECTORS];
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++) {
        sum[v] = simd_double_set(0.0);
    }
    for (uint32_t i = first; i < last; i++) {
#pragma GCC unroll 2
        for (uint32_t v = 0; v < vectors; v++) {
            sum[v] = simd_double_add(sum[v], simd_widen(rank_value(sorted + v * stride, i)));
        }
    }
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++) {
        mean[v] = simd_narrow(simd_double_div(sum[v], simd_double_set((double)(last - first))));
    }
}

/* The value at rank i, +0.0 in lanes whose window of `keep` values does not hold it. */
SIMD_INLINE simd_float
kept_value(const float *sorted, uint32_t i, uint32_t shifts, uint32_t keep, simd_float centre)
{
    simd_float value = rank_value(sorted, i);
    simd_float kept = value;
    if (i < shifts) { /* left behind if the window moves past i */
        simd_float other = rank_value(sorted, i + keep);
        kept =
            simd_zero_where(simd_greater(simd_sub(centre, value), simd_sub(other, centre)), kept);
    }
    if (i >= keep) { /* reached if the window moves past i - keep */
        simd_float other = rank_value(sorted, i - keep);
        kept = simd_where(simd_greater(simd_sub(centre, other), simd_sub(value, centre)), kept,
                          simd_set(0.0f));
    }
    return kept;
}

/* Mean of the `keep` values closest to centre; see csl_select_spec for the window and its ties.
 * Whether the window moves on past t depends on t alone, so no lane needs its own index. */
SIMD_INLINE void mean_of_closest(const float *sorted,
                                 uint32_t vectors,
                                 size_t stride,
                                 uint32_t count,
                                 uint32_t keep,
                                 simd_float *centre_to_mean)
{
    simd_double sum[CSL_SELECT_VECTORS];
    uint32_t shifts = count - keep; /* the window can begin at ranks 0..shifts */
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++) {
        sum[v] = simd_double_set(0.0);
    }
    for (uint32_t i = 0; i < count; i++) {
#pragma GCC unroll 2
        for (uint32_t v = 0; v < vectors; v++) {
            simd_float kept = kept_value(sorted + v * stride, i, shifts, keep, centre_to_mean[v]);
            sum[v] = simd_double_add(sum[v], simd_widen(kept));
        }
    }
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++) {
        centre_to_mean[v] = simd_narrow(simd_double_div(sum[v], simd_double_set((double)keep)));
    }
}

SIMD_INLINE void select_ranks(const csl_select_spec *spec,
                              const float *sorted,
                              uint32_t vectors,
                              size_t stride,
                              uint32_t count,
                              simd_float *result)
{
    bool closest = spec->kind == CSL_SELECT_MEAMED || spec->kind == CSL_SELECT_PHOCAS;
    bool trims = spec->kind == CSL_SELECT_TRIMMED_MEAN || spec->kind == CSL_SELECT_PHOCAS;
    uint32_t lower = spec->kind == CSL_SELECT_MEDIAN_UPPER ? count / 2 : (count - 1) / 2;
    uint32_t upper = spec->kind == CSL_SELECT_MEDIAN_LOWER ? (count - 1) / 2 : count / 2;
    uint32_t first = trims ? spec->trim : lower;
    uint32_t last = trims ? count - spec->trim : upper + 1;
    mean_of_ranks(sorted, vectors, stride, first, last, result);
    if (closest) {
        mean_of_closest(sorted, vectors, stride, count, spec->keep, result);
    }
}

static void select_vectors(const csl_select_spec *spec,
                           const float *sorted,
                           size_t stride,
                           uint32_t count,
                           simd_float *result)
{
    select_ranks(spec, sorted, CSL_SELECT_VECTORS, stride, count, result);
}

static simd_float select_vector(const csl_select_spec *spec, const float *sorted, uint32_t count)
{
    simd_float result;
    select_ranks(spec, sorted, 1, 0, count, &result);
    return result;
}

SIMD_INLINE simd_float sign_of(simd_float v)
{
    simd_float zero = simd_set(0.0f);
    simd_float sign = simd_where(simd_greater(v, zero), simd_set(1.0f), zero);
    return simd_where(simd_greater(zero, v), simd_set(-1.0f), sign);
}

static void majority_range(const float *const *rows,
                           uint32_t row_count,
                           size_t begin,
                           size_t end,
                           simd_magnitude *magnitude,
                           float *out)
{
    for (size_t j = begin; j < end; j += SIMD_LANES) {
        size_t lanes = end - j < SIMD_LANES ? end - j : SIMD_LANES;
        simd_float sum = simd_set(0.0f); /* small integers: exact */
        for (uint32_t i = 0; i < row_count; i++) {
            simd_float x =
                lanes == SIMD_LANES ? simd_load(rows[i] + j) : simd_load_part(rows[i] + j, lanes);
            *magnitude = simd_magnitude_with(*magnitude, x);
            sum = simd_add(sum, sign_of(simd_order_nan(x)));
        }
        simd_store_part(out + j, sign_of(sum), lanes);
    }
}

static bool is_median(csl_select_kind kind)
{
    return kind == CSL_SELECT_MEDIAN || kind == CSL_SELECT_MEDIAN_LOWER ||
           kind == CSL_SELECT_MEDIAN_UPPER;
}

/* How a number of rows is sorted. */
typedef struct sorter {
    sort_function *network; /* or NULL: more rows than any network has */
    uint32_t row_count;
    size_t capacity; /* vectors that sort_many works on */
} sorter;

static sorter find_sorter(const csl_select_spec *spec, uint32_t row_count)
{
    sorter s = {is_median(spec->kind) ? find_median(row_count) : find_sort(row_count), row_count,
                2 * CSL_NETWORK_MAX};
    while (s.capacity < row_count) {
        s.capacity *= 2;
    }
    return s;
}

SIMD_INLINE void sort_vector(const sorter *s,
                             const float *const *rows,
                             size_t column,
                             simd_magnitude *magnitude,
                             float *sorted)
{
    if (s->network) {
        s->network(rows, s->row_count, column, magnitude, sorted);
    } else {
        sort_many(rows, s->row_count, s->capacity, column, magnitude, sorted);
    }
}

/* The last columns, fewer than a vector has: sorted from a copy with zeros behind them. */
static void select_rest(const csl_select_spec *spec,
                        const sorter *s,
                        const float *const *rows,
                        size_t column,
                        size_t lane_count,
                        simd_magnitude *magnitude,
                        float *sorted,
                        float *out)
{
    _Alignas(64) float copy[CSL_ROWS_MAX * SIMD_LANES];
    const float *copied[CSL_ROWS_MAX];
    for (uint32_t i = 0; i < s->row_count; i++) {
        copied[i] = copy + i * SIMD_LANES;
        simd_store(copy + i * SIMD_LANES, simd_load_part(rows[i] + column, lane_count));
    }
    sort_vector(s, copied, 0, magnitude, sorted);
    simd_store_part(out + column, select_vector(spec, sorted, s->row_count), lane_count);
}

static uint32_t select_range(const csl_select_spec *spec,
                             const float *const *rows,
                             uint32_t row_count,
                             size_t begin,
                             size_t end,
                             float *out)
{
    _Alignas(64) float sorted[CSL_SELECT_VECTORS * (CSL_ROWS_MAX + 1) * SIMD_LANES];
    simd_magnitude magnitude = simd_magnitude_none();
    if (spec->kind == CSL_SELECT_SIGN_MAJORITY) {
        majority_range(rows, row_count, begin, end, &magnitude, out);
        return simd_magnitude_largest(magnitude);
    }
    sorter s = find_sorter(spec, row_count);
    size_t stride = (s.capacity + 1) * SIMD_LANES; /* no power of two: sets of the cache differ */
    size_t j = begin;
    for (; end - j >= CSL_SELECT_VECTORS * SIMD_LANES; j += CSL_SELECT_VECTORS * SIMD_LANES) {
        simd_float result[CSL_SELECT_VECTORS];
        for (size_t v = 0; v < CSL_SELECT_VECTORS; v++) {
            sort_vector(&s, rows, j + v * SIMD_LANES, &magnitude, sorted + v * stride);
        }
        select_vectors(spec, sorted, stride, row_count, result);
        for (size_t v = 0; v < CSL_SELECT_VECTORS; v++) {
            simd_store(out + j + v * SIMD_LANES, result[v]);
        }
    }
    for (; end - j >= SIMD_LANES; j += SIMD_LANES) {
        sort_vector(&s, rows, j, &magnitude, sorted);
        simd_store(out + j, select_vector(spec, sorted, row_count));
    }
    if (j < end) {
        select_rest(spec, &s, rows, j, end - j, &magnitude, sorted, out);
    }
    return simd_magnitude_largest(magnitude);
}

#undef EXCHANGE
#undef KEEP_SMALLER
#undef KEEP_LARGER
#undef LOAD_ROWS
#undef SORT_PARAMETERS
#undef DEFINE_SORT_AS
#undef DEFINE_SORT
#undef DEFINE_LARGE_SORT
#undef RETURN_SORT
#undef DEFINE_MEDIAN
#undef RETURN_MEDIAN

#endif
