/*
 * The operations of <consilium/kernels_robust.h>: the same bytes on every device. The reference is
 * `host` with one thread, whose bits the property tests check against the written definition; here
 * every device answers the same requests and the answers are compared byte for byte.
 */
#include "robust_parity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What to compute; drawn once and answered by every device. */
typedef struct request {
    const robust_sample *sample;
    csl_select_spec select;
    double *weights; /* [n] */
    double *matrix;  /* [mix_count][n] */
    uint32_t mix_count;
    uint32_t lead_count;
    uint32_t threshold;
    uint64_t *index; /* [index_count] */
    size_t index_count;
    bool census;
} request;

/* Bytes that a device answered. */
typedef struct answer {
    char *bytes;
    size_t size;
} answer;

typedef void ask_function(robust_place *place, const request *r, answer *a);

static void *extend(answer *a, size_t size)
{
    a->bytes = realloc(a->bytes, a->size + size + 1);
    void *end = a->bytes + a->size;
    a->size += size;
    return end;
}

static void take_row(robust_place *place, answer *a, const void *row, size_t size)
{
    CHECK_OK(csl_device_copy(place->device, extend(a, size), row, size, CSL_COPY_TO_HOST));
}

/* Host words that an operation adds to; they begin with a value, so that overwriting shows. */
static void *begin_words(answer *a, size_t word_count)
{
    int64_t *words = extend(a, word_count * sizeof *words);
    for (size_t k = 0; k < word_count; k++) {
        words[k] = (int64_t)(k % 5) - 2;
    }
    return words;
}

static void ask_means(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    uint32_t magnitude = 0;
    CHECK_OK(place->ops->row_weighted_mean(place->device, place->rows, r->weights, s->n, s->d,
                                           place->out, &magnitude));
    take_row(place, a, place->out, s->d * sizeof(float));
    memcpy(extend(a, sizeof magnitude), &magnitude, sizeof magnitude);
    magnitude = 0;
    CHECK_OK(place->ops->row_mean(place->device, place->rows, s->n, s->d, place->out, &magnitude));
    take_row(place, a, place->out, s->d * sizeof(float));
    memcpy(extend(a, sizeof magnitude), &magnitude, sizeof magnitude);
}

static void ask_selection(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    for (int kind = 0; kind < CSL_SELECT_KIND_COUNT; kind++) {
        csl_select_spec spec = r->select;
        uint32_t magnitude = 0;
        spec.kind = (csl_select_kind)kind;
        spec.host_magnitude = &magnitude;
        CHECK_OK(place->ops->row_select(place->device, &spec, place->rows, s->n, s->d, place->out));
        take_row(place, a, place->out, s->d * sizeof(float));
        memcpy(extend(a, sizeof magnitude), &magnitude, sizeof magnitude);
    }
}

static void ask_mixing(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    float **out = malloc(r->mix_count * sizeof *out);
    void *memory = NULL;
    CHECK_OK(csl_device_alloc(place->device, r->mix_count * s->d * sizeof(float), &memory));
    for (uint32_t k = 0; k < r->mix_count; k++) {
        out[k] = (float *)memory + (r->mix_count - 1 - k) * s->d;
    }
    CHECK_OK(
        place->ops->row_mix(place->device, place->rows, s->n, r->matrix, r->mix_count, s->d, out));
    take_row(place, a, memory, r->mix_count * s->d * sizeof(float));
    csl_device_free(place->device, memory);
    free(out);
}

static void ask_mixed_selection(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    csl_select_spec spec = r->select;
    spec.host_mix = r->matrix;
    spec.mix_count = r->mix_count;
    spec.trim = spec.trim % ((r->mix_count + 1) / 2);
    spec.keep = 1 + spec.keep % r->mix_count;
    CHECK_OK(place->ops->row_select(place->device, &spec, place->rows, s->n, s->d, place->out));
    take_row(place, a, place->out, s->d * sizeof(float));
}

static void ask_statistics(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    size_t size = 6 * s->d * sizeof(float);
    void *memory = NULL;
    CHECK_OK(csl_device_alloc(place->device, size, &memory));
    float *base = memory;
    csl_column_statistics all = {base,
                                 base + s->d,
                                 base + 2 * s->d,
                                 base + 3 * s->d,
                                 base + 4 * s->d,
                                 (int32_t *)(void *)(base + 5 * s->d)};
    CHECK_OK(place->ops->row_statistics(place->device, place->rows, s->n, s->d, &all));
    take_row(place, a, memory, size);
    /* One at a time, into a place that another one filled before. */
    csl_column_statistics one = {0};
    one.deviation = base;
    CHECK_OK(place->ops->row_statistics(place->device, place->rows, s->n, s->d, &one));
    one = (csl_column_statistics){0};
    one.minimum = base + s->d;
    CHECK_OK(place->ops->row_statistics(place->device, place->rows, s->n, s->d, &one));
    take_row(place, a, memory, size);
    csl_device_free(place->device, memory);
}

static void ask_sign_filter(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    if (s->d > 0) {
        CHECK_OK(csl_device_copy(place->device, place->out, place->rows[s->n - 1],
                                 s->d * sizeof(float), CSL_COPY_WITHIN_DEVICE));
    }
    CHECK_OK(place->ops->row_sign_filter(place->device, place->rows, s->n, r->threshold, s->d,
                                         place->out));
    take_row(place, a, place->out, s->d * sizeof(float));
}

static void ask_norms(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    enum { CENSUS_WORDS = sizeof(csl_row_census) / sizeof(int64_t) };
    int64_t *words = begin_words(a, s->n * (size_t)(CSL_EXACT_WORDS + CENSUS_WORDS));
    csl_exact_sum *sums = (csl_exact_sum *)words;
    csl_row_census *census = (csl_row_census *)(words + s->n * (size_t)CSL_EXACT_WORDS);
    CHECK_OK(place->ops->row_squared_norms(place->device, place->rows, s->n, s->d,
                                           r->census ? census : NULL, sums));
}

static void ask_pairs(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    size_t distances = csl_pair_count(r->lead_count, s->n);
    csl_exact_sum *sums = begin_words(a, distances * CSL_EXACT_WORDS);
    CHECK_OK(place->ops->row_squared_distances(place->device, place->rows, s->n, r->lead_count,
                                               s->d, sums));
    size_t products = csl_product_count(r->lead_count, s->n);
    sums = begin_words(a, products * CSL_EXACT_WORDS);
    CHECK_OK(place->ops->row_inner_products(place->device, place->rows, s->n, r->lead_count, s->d,
                                            sums));
}

/* All three sums in one pass: the sums of the three operations. */
static void ask_geometry(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    size_t counts[] = {s->n, csl_pair_count(s->n, s->n), csl_product_count(s->n, s->n)};
    size_t all = counts[0] + counts[1] + counts[2];
    csl_exact_sum *apart = calloc(all, sizeof *apart);
    csl_exact_sum *sums = begin_words(a, all * CSL_EXACT_WORDS);
    memcpy(apart, sums, all * sizeof *apart); /* both are added to what is there */
    csl_row_geometry whole = {sums, sums + counts[0], sums + counts[0] + counts[1]};
    const csl_kernels *ops = place->ops;
    CHECK_OK(ops->row_geometry(place->device, place->rows, s->n, s->d, &whole));
    CHECK_OK(ops->row_squared_norms(place->device, place->rows, s->n, s->d, NULL, apart));
    CHECK_OK(ops->row_squared_distances(place->device, place->rows, s->n, s->n, s->d,
                                        apart + counts[0]));
    CHECK_OK(ops->row_inner_products(place->device, place->rows, s->n, s->n, s->d,
                                     apart + counts[0] + counts[1]));
    CU_ASSERT_EQUAL(memcmp(sums, apart, all * sizeof *sums), 0);
    free(apart);
}

static void ask_gather(robust_place *place, const request *r, answer *a)
{
    const robust_sample *s = r->sample;
    float *gathered = extend(a, s->n * r->index_count * sizeof *gathered);
    CHECK_OK(place->ops->row_gather(place->device, place->rows, s->n, s->d, r->index,
                                    r->index_count, gathered));
}

typedef struct question {
    const char *name;
    ask_function *ask;
    uint32_t n_max;
} question;

static const question questions[] = {
    {"weighted mean and mean", ask_means, CSL_KERNEL_ROWS_MAX},
    {"selection", ask_selection, CSL_ROWS_MAX},
    {"mixing", ask_mixing, CSL_KERNEL_ROWS_MAX},
    {"mixing and selection", ask_mixed_selection, CSL_KERNEL_ROWS_MAX},
    {"statistics", ask_statistics, CSL_KERNEL_ROWS_MAX},
    {"sign filter", ask_sign_filter, CSL_KERNEL_ROWS_MAX},
    {"norms and census", ask_norms, CSL_KERNEL_ROWS_MAX},
    {"distances and inner products", ask_pairs, CSL_KERNEL_ROWS_MAX},
    {"geometry", ask_geometry, 150},
    {"gathering", ask_gather, CSL_KERNEL_ROWS_MAX},
};
enum { QUESTION_COUNT = sizeof questions / sizeof *questions };

/* The answer of one device, with the peak of its memory checked: no operation takes any. */
static answer ask(const char *resource, uint32_t threads, const request *r, ask_function *function)
{
    answer a = {0};
    robust_place place = robust_open(resource, threads, r->sample);
    function(&place, r, &a);
    robust_close(&place);
    return a;
}

static void compare(const question *q, const request *r)
{
    const csl_test_device *devices = NULL;
    size_t device_count = robust_devices(&devices);
    answer expected = ask("host", 1, r, q->ask);
    for (size_t k = 0; k < device_count; k++) {
        answer found = ask(devices[k].resource, devices[k].threads, r, q->ask);
        bool same = found.size == expected.size &&
                    (found.size == 0 || memcmp(found.bytes, expected.bytes, found.size) == 0);
        if (!same) {
            size_t at = 0;
            while (at < found.size && found.bytes[at] == expected.bytes[at]) {
                at++;
            }
            printf("%s on %s with %u threads, n %u, d %zu, data %d, trim %u, keep %u, mix %u, "
                   "lead %u: byte %zu of %zu\n",
                   q->name, devices[k].resource, devices[k].threads, r->sample->n, r->sample->d,
                   (int)r->sample->kind, r->select.trim, r->select.keep, r->mix_count,
                   r->lead_count, at, found.size);
        }
        CU_ASSERT_TRUE(same);
        free(found.bytes);
    }
    free(expected.bytes);
}

/* dense: a matrix without zeros; else most weights are zero, and whole rows of it may be. */
static request draw_request(const robust_sample *s, uint32_t mix_count, bool dense)
{
    request r = {.sample = s, .mix_count = mix_count};
    r.select.trim = robust_below((s->n + 1) / 2);
    r.select.keep = 1 + robust_below(s->n);
    r.weights = malloc(s->n * sizeof *r.weights);
    r.matrix = malloc((size_t)mix_count * s->n * sizeof *r.matrix);
    for (uint32_t i = 0; i < s->n; i++) {
        r.weights[i] = robust_below(4) ? csl_test_uniform() - 0.3 : 0.0;
    }
    for (size_t k = 0; k < (size_t)mix_count * s->n; k++) {
        bool zero = !dense && robust_below(8 + s->n / 8) != 0;
        r.matrix[k] = zero ? 0.0 : csl_test_uniform() - 0.1;
    }
    uint32_t leads[] = {1, s->n, 1 + robust_below(s->n)};
    r.lead_count = leads[robust_below(3)];
    r.threshold = robust_below(s->n + 2);
    r.index_count = s->d ? robust_below(40) : 0;
    r.index = malloc((r.index_count + 1) * sizeof *r.index);
    for (size_t k = 0; k < r.index_count; k++) {
        r.index[k] = csl_test_random() % s->d;
    }
    r.census = robust_below(4) != 0;
    return r;
}

static void free_request(request *r)
{
    free(r->weights);
    free(r->matrix);
    free(r->index);
}

static void ask_everything(uint32_t n, size_t d, robust_kind kind)
{
    robust_sample sample = robust_draw(n, d, kind);
    uint32_t mix_count = 1 + robust_below(n < 70 ? 70 : 20);
    request r = draw_request(&sample, mix_count, robust_below(2) == 0);
    for (int q = 0; q < QUESTION_COUNT; q++) {
        if (n <= questions[q].n_max) {
            compare(&questions[q], &r);
        }
    }
    free_request(&r);
    robust_free(&sample);
}

static void one_question(ask_function *function, const robust_sample *sample, const request *r)
{
    (void)sample;
    for (int q = 0; q < QUESTION_COUNT; q++) {
        if (questions[q].ask == function) {
            compare(&questions[q], r);
        }
    }
}

static void every_operation_gives_the_same_bytes(void)
{
    /* 8 and 16: warps alone and blocks of warps; 32, 64: squares of pairs and networks; odd ones.
     */
    static const uint32_t row_counts[] = {1, 2, 3, 8, 9, 16, 17, 33, 41, 64};
    enum { COUNTS = sizeof row_counts / sizeof *row_counts };
    for (int k = 0; k < (ROBUST_THREAD_SANITIZER ? 3 : COUNTS); k++) {
        uint32_t n = row_counts[ROBUST_THREAD_SANITIZER ? robust_below(COUNTS) : (uint32_t)k];
        size_t d = 1 + robust_below(ROBUST_THREAD_SANITIZER ? 300 : 1500);
        ask_everything(n, d, (robust_kind)(k % ROBUST_KIND_COUNT));
    }
}

static void ends_of_tiles_give_the_same_bytes(void)
{
    static const size_t counts[] = {1, 31, 32, 33, 63, 65, 127, 129, 4095, 4096, 4097, 8192 + 77};
    enum { COUNTS = sizeof counts / sizeof *counts };
    for (int k = 0; k < (ROBUST_THREAD_SANITIZER ? 6 : COUNTS); k++) {
        ask_everything(1 + robust_below(counts[k] > 4000 ? 12 : 40), counts[k],
                       (robust_kind)robust_below(ROBUST_KIND_COUNT));
    }
}

static void exact_sums_agree_over_many_tiles(void)
{
    static const uint32_t row_counts[] = {5, 13, 20, 39};
    for (int k = 0; k < (ROBUST_THREAD_SANITIZER ? 2 : 4); k++) {
        uint32_t n = row_counts[k];
        robust_sample sample = robust_draw(n, (size_t)3 * CSL_TILE + robust_below(4000),
                                           (robust_kind)robust_below(ROBUST_KIND_COUNT));
        request r = draw_request(&sample, 1, true);
        one_question(ask_pairs, &sample, &r);
        one_question(ask_norms, &sample, &r);
        r.lead_count = 1;
        one_question(ask_pairs, &sample, &r);
        free_request(&r);
        robust_free(&sample);
    }
}

static void every_network_and_every_tile_of_rows_sorts(void)
{
    static const uint32_t many[] = {65, 97, 128, 129, 200, 256, 257, 500, 513, 1023, 1024};
    enum { MANY = sizeof many / sizeof *many };
    for (uint32_t k = 1; k <= 64 + MANY; k++) {
        if (ROBUST_THREAD_SANITIZER && k % 16 != 1) {
            continue;
        }
        uint32_t n = k <= 64 ? k : many[k - 65];
        robust_sample sample = robust_draw(n, n > 64 ? 5 + robust_below(60) : 3 + robust_below(140),
                                           (robust_kind)(k % ROBUST_KIND_COUNT));
        request r = draw_request(&sample, 1, true);
        one_question(ask_selection, &sample, &r);
        free_request(&r);
        robust_free(&sample);
    }
}

/* What does not fit the device's scratch memory is done in parts: matrices, sums, positions. */
static void work_beyond_the_scratch_memory_is_done_in_parts(void)
{
    if (ROBUST_THREAD_SANITIZER) {
        return; /* the same kernels as in the other cases, over more launches than it bears */
    }
    robust_sample wide = robust_draw(CSL_KERNEL_ROWS_MAX, 3, ROBUST_NORMAL);
    request r = draw_request(&wide, 520, true); /* 520 x 2048 float64: 8.5 MB */
    one_question(ask_mixing, &wide, &r);
    one_question(ask_mixed_selection, &wide, &r); /* room for 4 MB of matrix */
    r.index_count = 1500;
    r.index = realloc(r.index, r.index_count * sizeof *r.index);
    for (size_t k = 0; k < r.index_count; k++) {
        r.index[k] = robust_below(3);
    }
    one_question(ask_gather, &wide, &r); /* 1500 x 2048 float32: 12 MB */
    one_question(ask_means, &wide, &r);
    one_question(ask_norms, &wide, &r);
    free_request(&r);
    robust_free(&wide);
    robust_sample pairs = robust_draw(460, 37, ROBUST_NORMAL); /* 105570 pairs: 9.3 MB of sums */
    r = draw_request(&pairs, 1, true);
    r.lead_count = 460;
    one_question(ask_pairs, &pairs, &r);
    free_request(&r);
    robust_free(&pairs);
    robust_sample long_rows = robust_draw(500, 1100, ROBUST_TIES); /* 1024 columns at a time */
    r = draw_request(&long_rows, CSL_ROWS_MAX, false);
    one_question(ask_mixed_selection, &long_rows, &r);
    free_request(&r);
    robust_free(&long_rows);
}

static void no_columns_do_nothing(void)
{
    ask_everything(5, 0, ROBUST_NORMAL);
    const csl_test_device *devices = NULL;
    size_t device_count = robust_devices(&devices);
    for (size_t k = 0; k < device_count; k++) {
        robust_sample sample = robust_draw(40, 0, ROBUST_NORMAL);
        robust_place place = robust_open(devices[k].resource, devices[k].threads, &sample);
        csl_select_spec spec = {.kind = CSL_SELECT_MEDIAN};
        CHECK_OK(place.ops->row_select(place.device, &spec, place.rows, 40, 0, NULL));
        CHECK_OK(place.ops->row_mean(place.device, place.rows, 40, 0, NULL, NULL));
        CHECK_OK(place.ops->row_squared_distances(place.device, place.rows, 40, 40, 0, NULL));
        CHECK_OK(place.ops->row_inner_products(place.device, place.rows, 40, 40, 0, NULL));
        CHECK_OK(place.ops->row_gather(place.device, place.rows, 40, 0, NULL, 0, NULL));
        robust_close(&place);
        robust_free(&sample);
    }
}

/* Every refusal of one place, as text. */
static char *refusals(robust_place *p)
{
    csl_exact_sum sums[3] = {{{0}}};
    double weights[3] = {1, 1, 1};
    uint64_t index = 8;
    float value = 0.0F;
    float *const *out = csl_test_owned(p->rows);
    csl_select_spec bad[4] = {
        {.kind = CSL_SELECT_TRIMMED_MEAN, .trim = 2},
        {.kind = CSL_SELECT_MEAMED, .keep = 4},
        {.kind = CSL_SELECT_KIND_COUNT},
        {.kind = CSL_SELECT_MEDIAN, .mix_count = CSL_ROWS_MAX + 1, .host_mix = weights}};
    csl_device *d = p->device;
    const csl_kernels *ops = p->ops;
    char *text = calloc(1, 4096);
#define REFUSED(call)                                                                              \
    do {                                                                                           \
        csl_status refused_status = (call);                                                        \
        size_t refused_size = strlen(text);                                                        \
        snprintf(text + refused_size, 4096 - refused_size, "%d %s\n", (int)refused_status,         \
                 csl_error_message());                                                             \
        CU_ASSERT_NOT_EQUAL(refused_status, CSL_OK);                                               \
    } while (0)
    for (int k = 0; k < 4; k++) {
        REFUSED(ops->row_select(d, &bad[k], p->rows, 3, 8, p->out));
    }
    REFUSED(ops->row_select(d, NULL, p->rows, 3, 8, p->out));
    REFUSED(ops->row_mean(d, p->rows, 0, 8, p->out, NULL));
    REFUSED(ops->row_mean(d, NULL, 3, 8, p->out, NULL));
    REFUSED(ops->row_mean(d, p->rows, CSL_KERNEL_ROWS_MAX + 1, 8, p->out, NULL));
    REFUSED(ops->row_weighted_mean(d, p->rows, NULL, 3, 8, p->out, NULL));
    REFUSED(ops->row_weighted_mean(d, p->rows, weights, 3, 8, NULL, NULL));
    REFUSED(ops->row_mix(d, p->rows, 3, NULL, 2, 8, out));
    REFUSED(ops->row_mix(d, p->rows, 3, weights, 0, 8, out));
    REFUSED(ops->row_statistics(d, p->rows, 3, 8, NULL));
    REFUSED(ops->row_sign_filter(d, p->rows, 3, 1, 8, NULL));
    REFUSED(ops->row_squared_norms(d, p->rows, 3, 8, NULL, NULL));
    REFUSED(ops->row_squared_distances(d, p->rows, 3, 4, 8, sums));
    REFUSED(ops->row_squared_distances(d, p->rows, 3, 0, 8, sums));
    REFUSED(ops->row_inner_products(d, p->rows, 3, 3, 8, NULL));
    REFUSED(ops->row_geometry(d, p->rows, 3, 8, NULL));
    REFUSED(ops->row_gather(d, p->rows, 3, 8, &index, 1, &value));
    REFUSED(ops->row_gather(d, p->rows, 3, 8, NULL, 1, &value));
#undef REFUSED
    return text;
}

static void bad_arguments_are_refused_alike(void)
{
    const csl_test_device *devices = NULL;
    size_t device_count = robust_devices(&devices);
    robust_sample sample = robust_draw(3, 8, ROBUST_NORMAL);
    robust_place host = robust_open("host", 1, &sample);
    char *expected = refusals(&host);
    for (size_t k = 0; k < device_count; k++) {
        robust_place place = robust_open(devices[k].resource, devices[k].threads, &sample);
        char *found = refusals(&place);
        CU_ASSERT_STRING_EQUAL(found, expected);
        free(found);
        robust_close(&place);
    }
    free(expected);
    robust_close(&host);
    robust_free(&sample);
}

#ifdef CSL_TEST_CUDASIM
/* A card that holds the rows, one row of results and the scratch memory, and not a byte more. */
static void operations_need_no_memory_beyond_the_scratch(void)
{
    robust_sample sample = robust_draw(70, 700, ROBUST_NORMAL);
    request r = draw_request(&sample, 30, true);
    char size[32];
    snprintf(size, sizeof size, "%zu", robust_place_size(&sample) + ROBUST_CUDA_SCRATCH_SIZE);
    CU_ASSERT_EQUAL(setenv("CUDASIM_MEMORY", size, 1), 0);
    static ask_function *const kernels[] = {ask_means,       ask_selection, ask_mixed_selection,
                                            ask_sign_filter, ask_norms,     ask_pairs,
                                            ask_geometry,    ask_gather};
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        one_question(kernels[k], &sample, &r);
    }
    robust_place place = robust_open("cuda:0", 1, &sample);
    void *memory = NULL;
    CHECK_STATUS(csl_device_alloc(place.device, 1, &memory), CSL_E_NO_MEMORY);
    CHECK_U64(csl_device_peak_size(place.device), robust_place_size(&sample));
    robust_close(&place);
    unsetenv("CUDASIM_MEMORY");
    free_request(&r);
    robust_free(&sample);
}
#endif

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }

int main(void)
{
    static const csl_test_case cases[] = {
        CASE(every_operation_gives_the_same_bytes),
        CASE(ends_of_tiles_give_the_same_bytes),
        CASE(exact_sums_agree_over_many_tiles),
        CASE(every_network_and_every_tile_of_rows_sorts),
        CASE(work_beyond_the_scratch_memory_is_done_in_parts),
        CASE(no_columns_do_nothing),
        CASE(bad_arguments_are_refused_alike),
#ifdef CSL_TEST_CUDASIM
        CASE(operations_need_no_memory_beyond_the_scratch),
#endif
    };
    return csl_test_main("robust kernels on every device", cases, sizeof cases / sizeof *cases);
}
