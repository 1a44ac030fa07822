/*
 * The operations of <consilium/kernels_robust.h> against an oracle that follows its comments word
 * by word, on every instruction set, on host and host:guard, with one thread and several.
 */
#include "test_support.h"

#include <consilium/kernels.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const sets_[] = {"avx512", "avx2", "portable"};
enum { SET_COUNT = CSL_TEST_EMULATED_ONLY ? 1 : 3 };

typedef enum data_kind {
    DATA_NORMAL,
    DATA_SHIFTED, /* a large common part */
    DATA_TIES,    /* few distinct values, both zeros */
    DATA_EXTREME, /* any exponent, denormals and infinities */
    DATA_WILD,    /* the same, and NaN of both signs */
    DATA_KIND_COUNT
} data_kind;

static float draw(data_kind kind)
{
    static const float special[] = {INFINITY, -INFINITY, -0.0f, 0.0f, 1e-45f,
                                    3e38f,    -3e38f,    NAN,   -NAN};
    enum { NAN_COUNT = 2, SPECIAL_COUNT = sizeof special / sizeof *special };
    switch (kind) {
    case DATA_SHIFTED:
        return (float)(1e4 + csl_test_normal());
    case DATA_TIES:
        return (float)((int)(csl_test_random() % 5) - 2) * (csl_test_random() % 2 ? 1.0f : -1.0f);
    case DATA_EXTREME:
    case DATA_WILD:
        if (csl_test_random() % 16 == 0) {
            return special[csl_test_random() %
                           (SPECIAL_COUNT - (kind == DATA_WILD ? 0u : (unsigned)NAN_COUNT))];
        }
        return (float)ldexp(csl_test_normal(), (int)(csl_test_random() % 250) - 140);
    default:
        return (float)csl_test_normal();
    }
}

/* Rows in device memory and their copy for the oracle. */
typedef struct block {
    csl_device *device;
    uint32_t row_count;
    size_t count;
    float *host;        /* [row_count][count] */
    const float **rows; /* device */
    float *out;         /* device [count] */
    float *result;      /* host [count] */
    /* Of squared distances and inner products, what the oracle has said so far, [row_count] of the
     * first row each, NULL before: all instruction sets are held to it. */
    csl_exact_sum **expected[2];
} block;

static block
make_block(const char *resource, uint32_t threads, uint32_t row_count, size_t count, data_kind kind)
{
    block b = {.row_count = row_count, .count = count};
    CU_ASSERT_FATAL(row_count > 0);
    CHECK_OK(csl_device_open(resource, threads, &b.device));
    b.host = malloc((size_t)row_count * count * sizeof *b.host + 1);
    b.rows = malloc(row_count * sizeof *b.rows);
    b.result = malloc(count * sizeof *b.result + 1);
    void *memory = NULL;
    for (uint32_t i = 0; i < row_count; i++) {
        for (size_t j = 0; j < count; j++) {
            b.host[i * count + j] = draw(kind);
        }
        CHECK_OK(csl_device_alloc(b.device, count * sizeof(float), &memory));
        CHECK_OK(csl_device_copy(b.device, memory, b.host + i * count, count * sizeof(float),
                                 CSL_COPY_TO_DEVICE));
        b.rows[i] = memory;
    }
    CHECK_OK(csl_device_alloc(b.device, count * sizeof(float), &memory));
    b.out = memory;
    return b;
}

static void free_block(block *b)
{
    for (uint32_t i = 0; i < b->row_count; i++) {
        csl_device_free(b->device, csl_test_owned(b->rows[i]));
    }
    csl_device_free(b->device, b->out);
    csl_device_close(b->device);
    for (int kind = 0; kind < 2; kind++) {
        for (uint32_t i = 0; b->expected[kind] && i < b->row_count; i++) {
            free(b->expected[kind][i]);
        }
        free(b->expected[kind]);
    }
    free(b->host);
    free(b->rows);
    free(b->result);
}

static void fetch(block *b, const void *source, void *target, size_t size)
{
    CHECK_OK(csl_device_copy(b->device, target, source, size, CSL_COPY_TO_HOST));
}

static float canonical(double value)
{
    float rounded = (float)value;
    return rounded != rounded ? NAN : rounded + 0.0f;
}

static bool same_bits(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size) == 0;
}

/* Reports the first column whose bits differ from the oracle's. */
static void check_row(const block *b, const float *expected, const char *what)
{
    for (size_t j = 0; j < b->count; j++) {
        if (!same_bits(b->result + j, expected + j, sizeof *expected)) {
            printf("%s, %s, n %u, d %zu, column %zu: %.9g, expected %.9g\n", what,
                   csl_instruction_set_name(), b->row_count, b->count, j, (double)b->result[j],
                   (double)expected[j]);
            CU_FAIL("bits differ");
            return;
        }
    }
    CU_PASS("bits agree");
}

/* ---- oracles ---- */

static double oracle_weighted(const block *b, const double *weights, size_t j)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < b->row_count; i++) {
        if (weights[i] != 0.0) {
            sum = fma(weights[i], (double)b->host[i * b->count + j], sum);
        }
    }
    return sum;
}

static int compare_floats(const void *left, const void *right)
{
    float a = *(const float *)left;
    float b = *(const float *)right;
    return (a > b) - (a < b);
}

static float oracle_mean(const float *v, uint32_t first, uint32_t last)
{
    double sum = 0.0;
    for (uint32_t i = first; i < last; i++) {
        sum += (double)v[i];
    }
    return canonical(sum / (double)(last - first));
}

static float oracle_closest(const float *v, uint32_t n, uint32_t keep, float centre)
{
    uint32_t s = 0;
    while (s < n - keep && centre - v[s] > v[s + keep] - centre) {
        s++;
    }
    return oracle_mean(v, s, s + keep);
}

static float oracle_select(const csl_select_spec *spec, float *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        v[i] = v[i] != v[i] ? INFINITY : v[i];
    }
    qsort(v, n, sizeof *v, compare_floats);
    float median = oracle_mean(v, (n - 1) / 2, n / 2 + 1);
    switch (spec->kind) {
    case CSL_SELECT_TRIMMED_MEAN:
        return oracle_mean(v, spec->trim, n - spec->trim);
    case CSL_SELECT_MEDIAN_LOWER:
        return canonical((double)v[(n - 1) / 2]);
    case CSL_SELECT_MEDIAN_UPPER:
        return canonical((double)v[n / 2]);
    case CSL_SELECT_MEAMED:
        return oracle_closest(v, n, spec->keep, median);
    case CSL_SELECT_PHOCAS:
        return oracle_closest(v, n, spec->keep, oracle_mean(v, spec->trim, n - spec->trim));
    case CSL_SELECT_SIGN_MAJORITY: {
        int sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            sum += (v[i] > 0) - (v[i] < 0);
        }
        return (float)((sum > 0) - (sum < 0));
    }
    default:
        return median;
    }
}

static double oracle_tile(const float *a, const float *b, size_t count, int kind)
{
    float lane[32] = {0.0f};
    double sum[32];
    for (size_t j = 0; j < count; j++) {
        float e = kind == 0 ? a[j] - b[j] : a[j];
        lane[j % 32] = fmaf(e, kind == 0 ? e : b[j], lane[j % 32]);
    }
    for (int l = 0; l < 32; l++) {
        sum[l] = (double)lane[l];
    }
    for (int width = 16; width; width /= 2) {
        for (int l = 0; l < width; l++) {
            sum[l] += sum[l + width];
        }
    }
    return sum[0];
}

/* kind 0: squared distance; 1: inner product. Tiles in descending order on purpose. */
static csl_exact_sum oracle_sum(const float *a, const float *b, size_t count, int kind)
{
    csl_exact_sum sum = {{0}};
    for (size_t tile = (count + CSL_TILE - 1) / CSL_TILE; tile-- > 0;) {
        size_t begin = tile * CSL_TILE;
        size_t width = count - begin < CSL_TILE ? count - begin : CSL_TILE;
        csl_exact_add(&sum, oracle_tile(a + begin, b + begin, width, kind));
    }
    return sum;
}

enum { PAIR_STRIDE = 4 }; /* of the pairs that are looked at */

/* One pair of four, others in every row and of every length; the oracle's sums of row i with rows
 * from + k PAIR_STRIDE. */
static const csl_exact_sum *oracle_sums(block *b, uint32_t i, uint32_t from, int kind)
{
    if (!b->expected[kind]) {
        b->expected[kind] = calloc(b->row_count, sizeof(csl_exact_sum *));
    }
    if (!b->expected[kind][i]) {
        csl_exact_sum *sums = calloc(b->row_count / PAIR_STRIDE + 1, sizeof *sums);
        for (uint32_t j = from; j < b->row_count; j += PAIR_STRIDE) {
            sums[(j - from) / PAIR_STRIDE] =
                oracle_sum(b->host + i * b->count, b->host + j * b->count, b->count, kind);
        }
        b->expected[kind][i] = sums;
    }
    return b->expected[kind][i];
}

/* ---- all sizes, kinds, sets and devices ---- */

typedef void check_function(block *b);

static void on_every_set(block *b, check_function *check)
{
    for (int s = 0; s < SET_COUNT; s++) {
        csl_status status = csl_instruction_set_select(sets_[s]);
        if (status == CSL_E_UNSUPPORTED) {
            printf("skipped: this processor has no %s\n", sets_[s]);
            continue;
        }
        CHECK_OK(status);
        check(b);
    }
    CHECK_OK(csl_instruction_set_select(NULL));
}

/* The last row count has more pairs than all others together: minutes of instrumented code. */
#ifdef __SANITIZE_ADDRESS__
enum { LONG_ROWS_MAX = 299 };
#else
enum { LONG_ROWS_MAX = CSL_ROWS_MAX };
#endif

static void sweep(check_function *check, size_t count_max)
{
    static const uint32_t row_counts[] = {1, 2, 3, 5, 8, 9, 16, 17, 31, 33, 64, 65, 97, 129, 300};
    for (size_t k = 0; k < sizeof row_counts / sizeof *row_counts; k++) {
        data_kind kind = (data_kind)(csl_test_random() % DATA_KIND_COUNT);
        size_t most = row_counts[k] <= LONG_ROWS_MAX ? count_max : count_max / 2;
        size_t count = 1 + csl_test_random() % most;
        const char *resource = k % 3 == 0 ? "host:guard" : "host";
        block b = make_block(resource, 1 + (uint32_t)(k % 3), row_counts[k], count, kind);
        on_every_set(&b, check);
        free_block(&b);
    }
}

static const csl_kernels *kernels(const block *b)
{
    return csl_device_kernels(b->device);
}

/* Largest bits of all values without their signs, NaN as infinity. */
/* weights: rows without any are not looked at; or NULL. */
static uint32_t oracle_magnitude(const block *b, const double *weights)
{
    uint32_t largest = 0;
    for (size_t k = 0; k < (size_t)b->row_count * b->count; k++) {
        uint32_t bits;
        if (weights && weights[k / b->count] == 0) {
            continue;
        }
        memcpy(&bits, &b->host[k], sizeof bits);
        bits &= 0x7fffffffu;
        bits = isnan(b->host[k]) ? 0x7f800000u : bits;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

/* A word that is asked to be raised: from below to the oracle's, from above not at all. */
static void check_magnitude(const block *b, const double *weights, uint32_t from, uint32_t found)
{
    uint32_t expected = oracle_magnitude(b, weights);
    CHECK_U64(found, from > expected ? from : expected);
}

static void check_means(block *b)
{
    double *weights = malloc(b->row_count * sizeof *weights);
    double *ones = malloc(b->row_count * sizeof *ones);
    float *expected = malloc(b->count * sizeof *expected);
    for (uint32_t i = 0; i < b->row_count; i++) {
        weights[i] = csl_test_random() % 4 ? csl_test_uniform() - 0.3 : 0.0;
        ones[i] = 1.0;
    }
    uint32_t from = csl_test_random() % 2 ? 0 : (uint32_t)csl_test_random() & 0x7fffffffu;
    uint32_t magnitude = from;
    CHECK_OK(kernels(b)->row_weighted_mean(b->device, b->rows, weights, b->row_count, b->count,
                                           b->out, &magnitude));
    fetch(b, b->out, b->result, b->count * sizeof(float));
    check_magnitude(b, weights, from, magnitude);
    for (size_t j = 0; j < b->count; j++) {
        expected[j] = canonical(oracle_weighted(b, weights, j));
    }
    check_row(b, expected, "weighted mean");
    magnitude = from;
    CHECK_OK(kernels(b)->row_mean(b->device, b->rows, b->row_count, b->count, b->out, &magnitude));
    fetch(b, b->out, b->result, b->count * sizeof(float));
    check_magnitude(b, NULL, from, magnitude);
    for (size_t j = 0; j < b->count; j++) {
        expected[j] = canonical(oracle_weighted(b, ones, j) / (double)b->row_count);
    }
    check_row(b, expected, "mean");
    free(weights);
    free(ones);
    free(expected);
}

static csl_select_spec draw_spec(csl_select_kind kind, uint32_t n)
{
    csl_select_spec spec = {.kind = kind};
    CU_ASSERT_FATAL(n > 0);
    spec.trim = (uint32_t)(csl_test_random() % ((n + 1) / 2));
    spec.keep = 1 + (uint32_t)(csl_test_random() % n);
    return spec;
}

static void check_selection(block *b)
{
    float *expected = malloc(b->count * sizeof *expected);
    float *column = malloc(b->row_count * sizeof *column);
    for (int kind = 0; kind < CSL_SELECT_KIND_COUNT; kind++) {
        csl_select_spec spec = draw_spec((csl_select_kind)kind, b->row_count);
        uint32_t from = csl_test_random() % 2 ? 0 : (uint32_t)csl_test_random() & 0x7fffffffu;
        uint32_t magnitude = from;
        spec.host_magnitude = &magnitude;
        CHECK_OK(kernels(b)->row_select(b->device, &spec, b->rows, b->row_count, b->count, b->out));
        fetch(b, b->out, b->result, b->count * sizeof(float));
        check_magnitude(b, NULL, from, magnitude);
        for (size_t j = 0; j < b->count; j++) {
            for (uint32_t i = 0; i < b->row_count; i++) {
                column[i] = b->host[i * b->count + j];
            }
            expected[j] = oracle_select(&spec, column, b->row_count);
        }
        char what[64];
        snprintf(what, sizeof what, "select kind %d trim %u keep %u", kind, spec.trim, spec.keep);
        check_row(b, expected, what);
    }
    free(expected);
    free(column);
}

static double *draw_matrix(uint32_t mix_count, uint32_t row_count)
{
    double *matrix = calloc((size_t)mix_count * row_count, sizeof *matrix);
    bool dense = csl_test_random() % 2; /* rows of W are then taken together, else alone */
    for (size_t k = 0; k < (size_t)mix_count * row_count; k++) {
        matrix[k] = dense || csl_test_random() % 3 ? csl_test_uniform() : 0.0;
    }
    return matrix;
}

static void check_mixing(block *b)
{
    uint32_t mix_count = 1 + (uint32_t)(csl_test_random() % 19);
    double *matrix = draw_matrix(mix_count, b->row_count);
    float *mixed = malloc((size_t)mix_count * b->count * sizeof *mixed);
    float *column = malloc(mix_count * sizeof *column);
    float *expected = malloc(b->count * sizeof *expected);
    float **out = malloc(mix_count * sizeof *out);
    for (uint32_t r = 0; r < mix_count; r++) {
        void *memory = NULL;
        CHECK_OK(csl_device_alloc(b->device, b->count * sizeof(float), &memory));
        out[r] = memory;
        for (size_t j = 0; j < b->count; j++) {
            mixed[r * b->count + j] =
                canonical(oracle_weighted(b, matrix + (size_t)r * b->row_count, j));
        }
    }
    CHECK_OK(
        kernels(b)->row_mix(b->device, b->rows, b->row_count, matrix, mix_count, b->count, out));
    for (uint32_t r = 0; r < mix_count; r++) {
        fetch(b, out[r], b->result, b->count * sizeof(float));
        check_row(b, mixed + r * b->count, "mix");
        csl_device_free(b->device, out[r]);
    }
    csl_select_spec spec = draw_spec(CSL_SELECT_TRIMMED_MEAN, mix_count);
    spec.mix_count = mix_count;
    spec.host_mix = matrix;
    CHECK_OK(kernels(b)->row_select(b->device, &spec, b->rows, b->row_count, b->count, b->out));
    fetch(b, b->out, b->result, b->count * sizeof(float));
    for (size_t j = 0; j < b->count; j++) {
        for (uint32_t r = 0; r < mix_count; r++) {
            column[r] = mixed[r * b->count + j];
        }
        expected[j] = oracle_select(&spec, column, mix_count);
    }
    check_row(b, expected, "mix and select");
    free(matrix);
    free(mixed);
    free(column);
    free(expected);
    free(out);
}

/* Statistic `which` of column j, in the order of csl_column_statistics' floats. */
static float oracle_statistic(const block *b, size_t j, int which)
{
    double sum = 0.0;
    double square = 0.0;
    float smallest = INFINITY;
    float largest = -INFINITY;
    for (uint32_t i = 0; i < b->row_count; i++) {
        float x = b->host[i * b->count + j];
        sum += (double)x;
        x = x != x ? INFINITY : x;
        smallest = x < smallest ? x : smallest;
        largest = x > largest ? x : largest;
    }
    double mean = sum / (double)b->row_count;
    for (uint32_t i = 0; i < b->row_count; i++) {
        double e = (double)b->host[i * b->count + j] - mean;
        square = fma(e, e, square);
    }
    float rounded = canonical(mean);
    float sign = (float)((rounded > 0.0f) - (rounded < 0.0f));
    float deviation =
        b->row_count > 1 ? canonical(sqrt(square / (double)(b->row_count - 1))) : 0.0f;
    const float all[] = {rounded, deviation, canonical((double)smallest),
                         canonical((double)largest), sign};
    return all[which];
}

static int32_t oracle_sign_sum(const block *b, size_t j)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < b->row_count; i++) {
        float x = b->host[i * b->count + j];
        sum += (x > 0.0f) - (x < 0.0f);
    }
    return sum;
}

static void check_statistics(block *b)
{
    void *memory = NULL;
    size_t row_size = b->count * sizeof(float);
    CHECK_OK(csl_device_alloc(b->device, 6 * row_size, &memory));
    float *base = memory;
    csl_column_statistics target = {base,
                                    base + b->count,
                                    base + 2 * b->count,
                                    base + 3 * b->count,
                                    base + 4 * b->count,
                                    (int32_t *)(void *)(base + 5 * b->count)};
    CHECK_OK(kernels(b)->row_statistics(b->device, b->rows, b->row_count, b->count, &target));
    float *expected = malloc(row_size);
    for (int which = 0; which < 5; which++) {
        char what[32];
        snprintf(what, sizeof what, "statistic %d", which);
        for (size_t j = 0; j < b->count; j++) {
            expected[j] = oracle_statistic(b, j, which);
        }
        fetch(b, base + (size_t)which * b->count, b->result, row_size);
        check_row(b, expected, what);
    }
    fetch(b, target.sign_sum, b->result, row_size);
    uint32_t threshold = 1 + (uint32_t)(csl_test_random() % b->row_count);
    bool equal = true;
    for (size_t j = 0; j < b->count; j++) {
        int32_t sum;
        memcpy(&sum, b->result + j, sizeof sum);
        equal = equal && sum == oracle_sign_sum(b, j);
        expected[j] = abs(sum) >= (int)threshold ? canonical((double)b->host[j])
                                                 : canonical(-(double)b->host[j]);
    }
    CU_ASSERT(equal);
    CHECK_OK(csl_device_copy(b->device, b->out, b->host, row_size, CSL_COPY_TO_DEVICE));
    CHECK_OK(
        kernels(b)->row_sign_filter(b->device, b->rows, b->row_count, threshold, b->count, b->out));
    fetch(b, b->out, b->result, row_size);
    check_row(b, expected, "sign filter");
    csl_device_free(b->device, memory);
    free(expected);
}

/* Sums of a whole call and of calls on two ranges that meet on a tile are the oracle's value. */
static void check_sums(block *b, bool product)
{
    size_t n = b->row_count;
    uint32_t lead =
        csl_test_random() % 2 ? b->row_count : 1 + (uint32_t)(csl_test_random() % b->row_count);
    size_t sum_count = product ? csl_product_count(lead, n) : csl_pair_count(lead, n);
    csl_exact_sum *sums = calloc(sum_count + 1, sizeof *sums);
    const float **moved = malloc(n * sizeof *moved);
    size_t tiles = b->count / CSL_TILE;
    size_t split = tiles ? CSL_TILE * (csl_test_random() % (tiles + 1)) : 0;
    for (size_t i = 0; i < n; i++) {
        moved[i] = b->rows[i] + split;
    }
    csl_status (*operation)(csl_device *, const float *const *, uint32_t, uint32_t, size_t,
                            csl_exact_sum *) =
        product ? kernels(b)->row_inner_products : kernels(b)->row_squared_distances;
    CHECK_OK(operation(b->device, moved, b->row_count, lead, b->count - split, sums));
    CHECK_OK(operation(b->device, b->rows, b->row_count, lead, split, sums));
    size_t wrong = 0;
    for (uint32_t i = 0; i < lead; i++) {
        uint32_t from = (product ? i : i + 1) + (uint32_t)((i * 7 / 3 + b->count) % PAIR_STRIDE);
        const csl_exact_sum *expected = oracle_sums(b, i, from, product);
        for (uint32_t j = from; j < n; j += PAIR_STRIDE) {
            size_t index = product ? csl_product_index(i, j, n) : csl_pair_index(i, j, n);
            wrong += !same_bits(expected + (j - from) / PAIR_STRIDE, sums + index, sizeof *sums);
        }
    }
    CHECK_U64(wrong, 0);
    free(sums);
    free(moved);
}

static void check_distances(block *b)
{
    check_sums(b, false);
    check_sums(b, true);
}

static void check_norms(block *b)
{
    csl_exact_sum *sums = calloc(b->row_count, sizeof *sums);
    csl_row_census *census = calloc(b->row_count, sizeof *census);
    CHECK_OK(
        kernels(b)->row_squared_norms(b->device, b->rows, b->row_count, b->count, census, sums));
    for (uint32_t i = 0; i < b->row_count; i++) {
        const float *row = b->host + i * b->count;
        csl_exact_sum expected = oracle_sum(row, row, b->count, 1);
        csl_row_census counts = {0, 0, 0, 0};
        for (size_t j = 0; j < b->count; j++) {
            counts.non_finite += !isfinite(row[j]);
            counts.negative_zero += row[j] == 0.0f && signbit(row[j]);
            counts.positive += row[j] > 0.0f;
            counts.negative += row[j] < 0.0f;
        }
        CU_ASSERT(same_bits(&expected, sums + i, sizeof expected));
        CU_ASSERT(same_bits(&counts, census + i, sizeof counts));
    }
    CU_ASSERT_FATAL(b->count > 0);
    uint64_t index[3];
    float *gathered = malloc(3 * (size_t)b->row_count * sizeof *gathered);
    for (int k = 0; k < 3; k++) {
        index[k] = csl_test_random() % b->count;
    }
    CHECK_OK(
        kernels(b)->row_gather(b->device, b->rows, b->row_count, b->count, index, 3, gathered));
    for (size_t k = 0; k < 3 * (size_t)b->row_count; k++) {
        CU_ASSERT(same_bits(gathered + k, b->host + k / 3 * b->count + index[k % 3], 4));
    }
    free(sums);
    free(census);
    free(gathered);
}

/* A test that looks at shapes of all kinds, of so many columns at most. */
#define SWEEP(name, check, count_max)                                                              \
    static void name(void)                                                                         \
    {                                                                                              \
        sweep(check, count_max);                                                                   \
    }
SWEEP(means_equal_the_written_sequence_on_every_set, check_means, 9000)
SWEEP(selection_equals_sorting_on_every_set, check_selection, 700)
SWEEP(mixing_equals_the_written_sequence_on_every_set, check_mixing, 1300)
SWEEP(statistics_equal_the_written_sequence_on_every_set, check_statistics, 900)
SWEEP(exact_sums_have_the_same_words_for_every_set_and_split, check_distances, 3 * CSL_TILE)
SWEEP(norms_and_census_count_every_coordinate, check_norms, 20000)

static void every_row_count_to_130_and_1024_rows_sort(void)
{
    for (uint32_t n = 1; n <= 131; n++) {
        static const data_kind kinds[] = {DATA_TIES, DATA_NORMAL, DATA_EXTREME};
        block b = make_block("host", 1, n == 131 ? CSL_ROWS_MAX : n, 17, kinds[n % 3]);
        on_every_set(&b, check_selection);
        free_block(&b);
    }
}

/* Which row, and in which of the vectors of the range, must make no difference. */
static void one_nan_of_either_sign_sorts_as_infinity_in_every_row_count(void)
{
    enum { COUNT = 53, COUNTS = 130 };
    for (uint32_t n = 1; n <= COUNTS; n++) {
        block b = make_block("host", 1, n, COUNT, DATA_NORMAL);
        size_t row = csl_test_random() % n;
        size_t column = csl_test_random() % COUNT;
        float *nan = b.host + row * COUNT + column;
        *nan = n % 2 ? NAN : -NAN;
        CHECK_OK(csl_device_copy(b.device, (float *)csl_test_owned(b.rows[row]) + column, nan,
                                 sizeof *nan, CSL_COPY_TO_DEVICE));
        on_every_set(&b, check_selection);
        free_block(&b);
    }
}

static void distances_keep_their_accuracy_on_shifted_data(void)
{
    const size_t count = 1000003;
    block b = make_block("host", 2, 2, count, DATA_SHIFTED);
    csl_exact_sum sum = {{0}};
    CHECK_OK(kernels(&b)->row_squared_distances(b.device, b.rows, 2, 2, count, &sum));
    double exact = 0.0;
    for (size_t j = 0; j < count; j++) {
        double e = (double)(b.host[j] - b.host[count + j]);
        exact += e * e;
    }
    CHECK_NEAR(csl_exact_value(&sum) / exact, 1.0, 1e-7);
    free_block(&b);
}

static void bad_arguments_are_refused_by_name(void)
{
    block b = make_block("host", 1, 3, 8, DATA_NORMAL);
    csl_select_spec spec = {.kind = CSL_SELECT_TRIMMED_MEAN, .trim = 2};
    CHECK_STATUS(kernels(&b)->row_select(b.device, &spec, b.rows, 3, 8, b.out), CSL_E_RANGE);
    spec.kind = CSL_SELECT_MEAMED;
    spec.keep = 4;
    CHECK_STATUS(kernels(&b)->row_select(b.device, &spec, b.rows, 3, 8, b.out), CSL_E_RANGE);
    spec.kind = CSL_SELECT_KIND_COUNT;
    CHECK_STATUS(kernels(&b)->row_select(b.device, &spec, b.rows, 3, 8, b.out), CSL_E_INVALID_ARG);
    CHECK_STATUS(kernels(&b)->row_mean(b.device, b.rows, 0, 8, b.out, NULL), CSL_E_RANGE);
    CHECK_STATUS(kernels(&b)->row_mean(b.device, b.rows, CSL_KERNEL_ROWS_MAX + 1, 8, b.out, NULL),
                 CSL_E_RANGE);
    CHECK_STATUS(kernels(&b)->row_weighted_mean(b.device, b.rows, NULL, 3, 8, b.out, NULL),
                 CSL_E_INVALID_ARG);
    csl_exact_sum sums[3] = {{{0}}};
    CHECK_STATUS(kernels(&b)->row_squared_distances(b.device, b.rows, 3, 4, 8, sums), CSL_E_RANGE);
    uint64_t index = 8;
    float value;
    CHECK_STATUS(kernels(&b)->row_gather(b.device, b.rows, 3, 8, &index, 1, &value), CSL_E_RANGE);
    CHECK_STATUS(csl_instruction_set_select("mmx"), CSL_E_NOT_FOUND);
    free_block(&b);
}

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }

int main(void)
{
    static const csl_test_case cases[] = {
        CASE(means_equal_the_written_sequence_on_every_set),
        CASE(selection_equals_sorting_on_every_set),
        CASE(every_row_count_to_130_and_1024_rows_sort),
        CASE(one_nan_of_either_sign_sorts_as_infinity_in_every_row_count),
        CASE(mixing_equals_the_written_sequence_on_every_set),
        CASE(statistics_equal_the_written_sequence_on_every_set),
        CASE(exact_sums_have_the_same_words_for_every_set_and_split),
        CASE(norms_and_census_count_every_coordinate),
        CASE(distances_keep_their_accuracy_on_shifted_data),
        CASE(bad_arguments_are_refused_by_name),
    };
    return csl_test_main("robust kernels", cases, sizeof cases / sizeof *cases);
}
