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
    CSL_HALVES_LEAST = 33,  /* rows whose trimmed mean takes less time of two sorted halves */
    CSL_COLUMNS_AHEAD = 128 /* from those in work to those whose cache lines are asked for */
};

/* A vector of one row; asks for the cache line that one `ahead` columns further needs. */
SIMD_INLINE simd_key load_key(const float *row, size_t column, size_t ahead)
{
    simd_prefetch(row + ahead);
    return simd_key_of(simd_load(row + column));
}

#define EXCHANGE(i, j)                                                                             \
    {                                                                                              \
        simd_key smaller = simd_key_smaller(v[i], v[j]);                                           \
        v[j] = simd_key_other(v[i], v[j], smaller);                                                \
        v[i] = smaller;                                                                            \
    }
#define KEEP_SMALLER(i, j) v[i] = simd_key_smaller(v[i], v[j]);
#define KEEP_LARGER(i, j)  v[j] = simd_key_larger(v[i], v[j]);
#define NOTE_EXTREMES(i, j)                                                                        \
    least = simd_key_smaller(least, v[i]);                                                         \
    most = simd_key_larger(most, v[j]);

#define SORT_PARAMETERS                                                                            \
    const float *const *rows, uint32_t row_count, size_t column, size_t ahead, float *sorted

#define STORE_KEY(i)   simd_key_store(sorted + (i)*SIMD_LANES, v[i]);
#define STORE_VALUE(i) simd_store(sorted + (i)*SIMD_LANES, simd_key_value(v[i]));

/* Sorts and stores `size` vectors, of which the first `certain` are there; ranks beyond row_count
 * are +infinity. One function per size. */
#define DEFINE_SORT_AS(name, size, certain, store)                                                 \
    static __attribute__((noinline)) void name(SORT_PARAMETERS)                                    \
    {                                                                                              \
        simd_key v[size];                                                                          \
        const simd_key last = simd_key_of(simd_set(INFINITY));                                     \
        _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)                                  \
        {                                                                                          \
            v[i] = i < (certain) || i < (int)row_count ? load_key(rows[i], column, ahead) : last;  \
        }                                                                                          \
        CSL_NETWORK_##size(EXCHANGE) _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)     \
        {                                                                                          \
            store(i)                                                                               \
        }                                                                                          \
    }
/* A count takes the next size that has a network: at most 3 more. */
#define DEFINE_SORT(size) DEFINE_SORT_AS(sort_##size, size, CSL_NETWORK_LEAST_##size, STORE_VALUE)
CSL_NETWORK_SMALL_SIZES(DEFINE_SORT)
/* The same in two parts, size = 32 + rest, and a merge. */
#define DEFINE_LARGE_SORT(size, rest)                                                              \
    DEFINE_SORT_AS(part_##rest, rest, (rest)-3, STORE_KEY)                                         \
    static void sort_##size(SORT_PARAMETERS)                                                       \
    {                                                                                              \
        part_32(rows, 32, column, ahead, sorted);                                                  \
        part_##rest(rows + 32, row_count - 32, column, ahead, sorted + 32 * SIMD_LANES);           \
        simd_key v[size];                                                                          \
        _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)                                  \
        {                                                                                          \
            v[i] = simd_key_load(sorted + i * SIMD_LANES);                                         \
        }                                                                                          \
        CSL_MERGE_##size(EXCHANGE) _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)       \
        {                                                                                          \
            STORE_VALUE(i)                                                                         \
        }                                                                                          \
    }
static void part_32(SORT_PARAMETERS);
CSL_NETWORK_LARGE_SIZES(DEFINE_LARGE_SORT)
/* CSL_SORT_BLOCK rows to be merged, any number of them there. */
DEFINE_SORT_AS(sort_part, 32, 0, STORE_KEY)

/* The same, but only the ranks that medians of the row counts of this size read are right, and the
 * first and the last of row_count, which hold the extremes of the rows and zero. */
#define DEFINE_MEDIAN(size)                                                                        \
    static void median_##size(SORT_PARAMETERS)                                                     \
    {                                                                                              \
        simd_key v[size];                                                                          \
        simd_key least = simd_key_of(simd_set(0.0f));                                              \
        simd_key most = least;                                                                     \
        const simd_key last = simd_key_of(simd_set(INFINITY));                                     \
        _Pragma("GCC unroll 64") for (int i = 0; i < (size); i++)                                  \
        {                                                                                          \
            if (i < CSL_NETWORK_LEAST_##size) {                                                    \
                v[i] = load_key(rows[i], column, ahead);                                           \
            } else if (i < (int)row_count) {                                                       \
                v[i] = load_key(rows[i], column, ahead);                                           \
                NOTE_EXTREMES(i, i)                                                                \
            } else {                                                                               \
                v[i] = last;                                                                       \
            }                                                                                      \
        }                                                                                          \
        CSL_MEDIAN_##size(EXCHANGE, KEEP_SMALLER, KEEP_LARGER, NOTE_EXTREMES);                     \
        simd_store(sorted, simd_key_value(least));                                                 \
        simd_store(sorted + (row_count - 1) * SIMD_LANES, simd_key_value(most));                   \
        _Pragma("GCC unroll 8") for (int i = CSL_MEDIAN_FIRST_##size; i <= CSL_MEDIAN_LAST_##size; \
                                     i++)                                                          \
        {                                                                                          \
            STORE_VALUE(i)                                                                         \
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
SIMD_INLINE void clean_range(float *buffer, size_t begin, size_t end, size_t unit, bool values)
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
                float *to = buffer + (i + k * unit) * SIMD_LANES;
                if (values) {
                    simd_store(to, simd_key_value(v[k]));
                } else {
                    simd_key_store(to, v[k]);
                }
            }
        }
    }
}

static void clean_pass(float *buffer, size_t begin, size_t end, size_t unit)
{
    clean_range(buffer, begin, end, unit, false);
}

/* The last pass of all: leaves values, no keys. */
static void clean_to_values(float *buffer, size_t end)
{
    clean_range(buffer, 0, end, 1, true);
}

/* Merges the sorted runs of `half` vectors at begin and begin + half; half >= 32, a power of two.
 * The first pass exchanges position i with its mirror image, which makes both halves bitonic, and
 * goes on with the three largest strides while the vectors are loaded. The strides from 8
 * downwards are left to the caller. */
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
    }
}

/* Sorts more than CSL_NETWORK_MAX rows; buffer holds row_capacity vectors, a power of two. */
static void sort_many(const float *const *rows,
                      uint32_t row_count,
                      size_t row_capacity,
                      size_t column,
                      size_t ahead,
                      float *buffer)
{
    for (size_t begin = 0; begin < row_capacity; begin += CSL_SORT_BLOCK) {
        uint32_t left = begin < row_count ? row_count - (uint32_t)begin : 0;
        sort_function *sort = left < CSL_SORT_BLOCK ? sort_part : part_32;
        sort(rows + (left ? begin : 0), left, column, ahead, buffer + begin * SIMD_LANES);
    }
    for (size_t half = CSL_SORT_BLOCK; half < row_capacity; half *= 2) {
        for (size_t begin = 0; begin + half < row_count; begin += 2 * half) {
            merge_runs(buffer, begin, half); /* a run that is all padding needs no merging */
            if (2 * half < row_capacity) {
                clean_pass(buffer, begin, begin + 2 * half, 1); /* no larger stride has work left */
            }
        }
    }
    clean_to_values(buffer, row_capacity);
}

/*
 * What follows takes `vectors` sorted vectors at a time, [vector][rank][lane]: a sum in ascending
 * order is a chain of dependent additions, and two chains take no longer than one. As much room
 * lies CSL_KEPT_OFFSET values behind them.
 */
enum {
    CSL_SELECT_VECTORS = 2,
    CSL_KEPT_OFFSET = CSL_SELECT_VECTORS * (CSL_ROWS_MAX + 1) * SIMD_LANES
};

/* Adds values [first, last) of each vector to its sum, one after the other. */
SIMD_INLINE void add_values(const float *values,
                            uint32_t vectors,
                            size_t stride,
                            uint32_t first,
                            uint32_t last,
                            simd_double *sum)
{
    for (uint32_t i = first; i < last; i++) {
#pragma GCC unroll 2
        for (uint32_t v = 0; v < vectors; v++) {
            sum[v] = simd_double_add(sum[v], simd_widen_load(values + v * stride + i * SIMD_LANES));
        }
    }
}

SIMD_INLINE void begin_sums(uint32_t vectors, simd_double *sum)
{
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++) {
        sum[v] = simd_double_set(0.0);
    }
}

SIMD_INLINE void
end_means(uint32_t vectors, const simd_double *sum, uint32_t count, simd_float *mean)
{
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++) {
        mean[v] = simd_narrow(simd_double_div(sum[v], simd_double_set((double)count)));
    }
}

/* Sum of ranks [first, last) in ascending order, divided by their number. */
SIMD_INLINE void mean_of_ranks(const float *sorted,
                               uint32_t vectors,
                               size_t stride,
                               uint32_t first,
                               uint32_t last,
                               simd_float *mean)
{
    simd_double sum[CSL_SELECT_VECTORS];
    begin_sums(vectors, sum);
    add_values(sorted, vectors, stride, first, last, sum);
    end_means(vectors, sum, last - first, mean);
}

/* Mean of the `keep` values closest to centre; see csl_select_spec for the window and its ties.
 * Whether the window moves on past t depends on t alone, so no lane needs its own index: t is then
 * left behind and t + keep is reached. What the window does not hold becomes +0.0, in a copy. */
SIMD_INLINE void mean_of_closest(float *sorted,
                                 uint32_t vectors,
                                 size_t stride,
                                 uint32_t count,
                                 uint32_t keep,
                                 simd_float *centre_to_mean)
{
    simd_double sum[CSL_SELECT_VECTORS];
    float *kept = sorted + CSL_KEPT_OFFSET;
    uint32_t shifts = count - keep; /* the window can begin at ranks 0..shifts */
    for (uint32_t t = 0; t < shifts; t++) {
#pragma GCC unroll 2
        for (uint32_t v = 0; v < vectors; v++) {
            size_t at = v * stride + t * SIMD_LANES;
            simd_float left = simd_load(sorted + at);
            simd_float right = simd_load(sorted + at + keep * SIMD_LANES);
            simd_mask moves =
                simd_greater(simd_sub(centre_to_mean[v], left), simd_sub(right, centre_to_mean[v]));
            if (t >= keep) { /* held only if an earlier move has reached it */
                left = simd_load(kept + at);
            }
            simd_store(kept + at, simd_zero_where(moves, left));
            simd_store(kept + at + keep * SIMD_LANES, simd_where(moves, right, simd_set(0.0f)));
        }
    }
    begin_sums(vectors, sum);
    add_values(kept, vectors, stride, 0, shifts, sum);
    add_values(sorted, vectors, stride, shifts, keep, sum);
    add_values(kept, vectors, stride, shifts > keep ? shifts : keep, count, sum);
    end_means(vectors, sum, keep, centre_to_mean);
}

SIMD_INLINE void select_ranks(const csl_select_spec *spec,
                              float *sorted,
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

static void select_vectors(
    const csl_select_spec *spec, float *sorted, size_t stride, uint32_t count, simd_float *result)
{
    select_ranks(spec, sorted, CSL_SELECT_VECTORS, stride, count, result);
}

static simd_float select_vector(const csl_select_spec *spec, float *sorted, uint32_t count)
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

static uint32_t
majority_range(const float *const *rows, uint32_t row_count, size_t begin, size_t end, float *out)
{
    simd_magnitude magnitude = simd_magnitude_none();
    for (size_t j = begin; j < end; j += SIMD_LANES) {
        size_t lanes = end - j < SIMD_LANES ? end - j : SIMD_LANES;
        simd_float sum = simd_set(0.0f); /* small integers: exact */
        for (uint32_t i = 0; i < row_count; i++) {
            simd_float x =
                lanes == SIMD_LANES ? simd_load(rows[i] + j) : simd_load_part(rows[i] + j, lanes);
            magnitude = simd_magnitude_with(magnitude, x);
            sum = simd_add(sum, sign_of(simd_order_nan(x)));
        }
        simd_store_part(out + j, sign_of(sum), lanes);
    }
    return simd_magnitude_largest(magnitude);
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

static sorter find_sorter(csl_select_kind kind, uint32_t row_count)
{
    sorter s = {.network = is_median(kind) ? find_median(row_count) : find_sort(row_count),
                .row_count = row_count,
                .capacity = 2 * CSL_NETWORK_MAX};
    while (s.capacity < row_count) {
        s.capacity *= 2;
    }
    return s;
}

SIMD_INLINE void
sort_vector(const sorter *s, const float *const *rows, size_t column, float *sorted)
{
    if (s->network) {
        s->network(rows, s->row_count, column, column + CSL_COLUMNS_AHEAD, sorted);
    } else {
        sort_many(rows, s->row_count, s->capacity, column, column + CSL_COLUMNS_AHEAD, sorted);
    }
}

/* The magnitude, or the larger ones of the rows that were sorted. */
SIMD_INLINE simd_magnitude extremes_with(const sorter *s,
                                         simd_magnitude magnitude,
                                         const float *sorted)
{
    magnitude = simd_magnitude_with(magnitude, simd_load(sorted));
    return simd_magnitude_with(magnitude, simd_load(sorted + (s->row_count - 1) * SIMD_LANES));
}

/* Sorts a copy of some columns, as many as a vector has or fewer: infinities stand in the place of
 * a NaN, and zeros behind the last column. */
static __attribute__((noinline)) void sort_copy(
    const sorter *s, const float *const *rows, size_t column, size_t lane_count, float *sorted)
{
    _Alignas(64) float copy[CSL_ROWS_MAX * SIMD_LANES];
    const float *copied[CSL_ROWS_MAX];
    for (uint32_t i = 0; i < s->row_count; i++) {
        copied[i] = copy + i * SIMD_LANES;
        simd_store(copy + i * SIMD_LANES,
                   simd_order_nan(simd_load_part(rows[i] + column, lane_count)));
    }
    sort_vector(s, copied, 0, sorted);
}

/* All columns by copies: where keys do not order a NaN, and one was met among the sorted values. */
static void select_ordered(const csl_select_spec *spec,
                           const sorter *s,
                           const float *const *rows,
                           size_t begin,
                           size_t end,
                           float *sorted,
                           float *out)
{
    for (size_t j = begin; j < end; j += SIMD_LANES) {
        size_t lanes = end - j < SIMD_LANES ? end - j : SIMD_LANES;
        sort_copy(s, rows, j, lanes, sorted);
        simd_store_part(out + j, select_vector(spec, sorted, s->row_count), lanes);
    }
}

/* Pairs of vectors, and what is left of them: see select_range. */
static simd_magnitude select_sorted(const csl_select_spec *spec,
                                    const sorter *s,
                                    const float *const *rows,
                                    size_t begin,
                                    size_t end,
                                    float *sorted,
                                    float *out,
                                    simd_magnitude magnitude)
{
    size_t stride = (s->capacity + 1) * SIMD_LANES; /* no power of two: sets of the cache differ */
    size_t j = begin;
    for (; end - j >= CSL_SELECT_VECTORS * SIMD_LANES; j += CSL_SELECT_VECTORS * SIMD_LANES) {
        simd_float result[CSL_SELECT_VECTORS];
        for (size_t v = 0; v < CSL_SELECT_VECTORS; v++) {
            sort_vector(s, rows, j + v * SIMD_LANES, sorted + v * stride);
        }
        select_vectors(spec, sorted, stride, s->row_count, result);
        for (size_t v = 0; v < CSL_SELECT_VECTORS; v++) {
            magnitude = extremes_with(s, magnitude, sorted + v * stride);
            simd_store(out + j + v * SIMD_LANES, result[v]);
        }
    }
    for (; end - j >= SIMD_LANES; j += SIMD_LANES) {
        sort_vector(s, rows, j, sorted);
        magnitude = extremes_with(s, magnitude, sorted);
        simd_store(out + j, select_vector(spec, sorted, s->row_count));
    }
    if (j < end) { /* fewer columns than a vector has */
        sort_copy(s, rows, j, end - j, sorted);
        magnitude = extremes_with(s, magnitude, sorted);
        simd_store_part(out + j, select_vector(spec, sorted, s->row_count), end - j);
    }
    return magnitude;
}

/*
 * A trimmed mean needs no more than two sorted halves a and b: the t smallest of all are the
 * smaller ones of a[i] and b[t - 1 - i], i < t, and the t largest in the same way. What is left is
 * not in order, which makes no difference where float64 holds every sum of these values: where the
 * sum of the largest needs at most 53 bits above the last bit of the smallest.
 */

/* By how much the exponents of row_count values may differ. */
static int exact_span(uint32_t row_count)
{
    enum { SUM_BITS = 53, VALUE_BITS = 24 };
    int bits = 0;
    while ((1u << bits) < row_count) {
        bits++;
    }
    return SUM_BITS - VALUE_BITS - bits;
}

/* The mean of what is left in two sorted halves without the trim values at each end, 2 trim <=
 * b_count <= a_count. False where the sum could depend on its order; result is then of no use. */
SIMD_INLINE bool mean_of_halves(const float *a,
                                uint32_t a_count,
                                const float *b,
                                uint32_t b_count,
                                uint32_t trim,
                                int span,
                                simd_float *result)
{
    const float *a_last = a + (a_count - 1) * SIMD_LANES;
    const float *b_last = b + (b_count - 1) * SIMD_LANES;
    simd_double low = simd_double_set(0.0);
    simd_double high = low;
    simd_magnitude least = simd_least_none();
    for (uint32_t i = 0; i < trim; i++) {
        size_t at = i * SIMD_LANES;
        size_t mirror = (trim - 1 - i) * SIMD_LANES;
        simd_float left = simd_max(simd_load(a + at), simd_load(b + mirror));
        simd_float right = simd_min(simd_load(a_last - at), simd_load(b_last - mirror));
        least = simd_least_with(simd_least_with(least, left), right);
        low = simd_double_add(low, simd_widen(left));
        high = simd_double_add(high, simd_widen(right));
    }
    for (uint32_t i = trim; i < a_count - trim; i++) {
        least = simd_least_with(least, simd_load(a + i * SIMD_LANES));
        low = simd_double_add(low, simd_widen_load(a + i * SIMD_LANES));
    }
    for (uint32_t i = trim; i < b_count - trim; i++) {
        least = simd_least_with(least, simd_load(b + i * SIMD_LANES));
        high = simd_double_add(high, simd_widen_load(b + i * SIMD_LANES));
    }
    /* At most trim values lie beyond each of these two. */
    size_t near = trim / 2 * SIMD_LANES;
    size_t far = (trim - trim / 2) * SIMD_LANES;
    simd_magnitude largest = simd_magnitude_with(simd_magnitude_none(),
                                                 simd_min(simd_load(a + near), simd_load(b + far)));
    largest =
        simd_magnitude_with(largest, simd_max(simd_load(a_last - near), simd_load(b_last - far)));
    low = simd_double_add(low, high);
    end_means(1, &low, a_count + b_count - 2 * trim, result);
    return simd_spans(largest, least, span);
}

/* Trimmed means from the first column on, a vector at a time; gives the first column that is not
 * done: one whose sum could depend on its order, or one of the last ones. */
static size_t select_halves(const csl_select_spec *spec,
                            const float *const *rows,
                            uint32_t row_count,
                            size_t begin,
                            size_t end,
                            float *sorted,
                            float *out,
                            simd_magnitude *magnitude)
{
    sorter a = find_sorter(spec->kind, row_count - row_count / 2);
    sorter b = find_sorter(spec->kind, row_count / 2);
    float *other = sorted + (a.capacity + 1) * SIMD_LANES;
    int span = exact_span(row_count);
    size_t j = begin;
    for (; end - j >= SIMD_LANES; j += SIMD_LANES) {
        simd_float mean;
        sort_vector(&a, rows, j, sorted);
        sort_vector(&b, rows + a.row_count, j, other);
        if (!mean_of_halves(sorted, a.row_count, other, b.row_count, spec->trim, span, &mean)) {
            break;
        }
        *magnitude = extremes_with(&a, *magnitude, sorted);
        *magnitude = extremes_with(&b, *magnitude, other);
        simd_store(out + j, mean);
    }
    return j;
}

static uint32_t select_range(const csl_select_spec *spec,
                             const float *const *rows,
                             uint32_t row_count,
                             size_t begin,
                             size_t end,
                             float *out)
{
    _Alignas(64) float sorted[2 * CSL_KEPT_OFFSET];
    if (spec->kind == CSL_SELECT_SIGN_MAJORITY) {
        return majority_range(rows, row_count, begin, end, out);
    }
    sorter s = find_sorter(spec->kind, row_count);
    simd_magnitude magnitude = simd_magnitude_none();
    size_t j = begin;
    if (spec->kind == CSL_SELECT_TRIMMED_MEAN && row_count >= CSL_HALVES_LEAST && spec->trim > 0 &&
        spec->trim <= row_count / 4) {
        j = select_halves(spec, rows, row_count, begin, end, sorted, out, &magnitude);
    }
    magnitude = select_sorted(spec, &s, rows, j, end, sorted, out, magnitude);
    if (simd_keys_miss_nan(magnitude)) {
        select_ordered(spec, &s, rows, begin, end, sorted, out);
    }
    return simd_magnitude_largest(magnitude);
}

#undef EXCHANGE
#undef KEEP_SMALLER
#undef KEEP_LARGER
#undef NOTE_EXTREMES
#undef STORE_KEY
#undef STORE_VALUE
#undef SORT_PARAMETERS
#undef DEFINE_SORT_AS
#undef DEFINE_SORT
#undef DEFINE_LARGE_SORT
#undef RETURN_SORT
#undef DEFINE_MEDIAN
#undef RETURN_MEDIAN

#endif
