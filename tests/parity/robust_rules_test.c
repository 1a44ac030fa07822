/*
 * Whole aggregations: every rule and pre-aggregator of the registry on every device, over two
 * rounds, gives the bits and the report of `host`, within the device memory that
 * docs/PERFORMANCE.md states.
 */
#include "robust_parity.h"

#include <consilium/robust.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 2, BLOCK_SIZE = 1 << 20, CARD_BLOCK_SIZE = 1 << 25 };

/* One aggregation to repeat on every device. */
typedef struct council {
    robust_sample rows[ROUNDS];
    robust_sample root; /* one row */
    double *weights;
    csl_aggregate_spec spec;
    const csl_rule_info *rule;
    bool in_chunks; /* rows come through `load` */
    bool remembers; /* a memory from round to round */
} council;

/* What a device said: aggregates, then reports as text. */
typedef struct verdict {
    csl_text text;
    csl_status status;
    uint64_t peak_size;
} verdict;

static csl_status lend_rows(void *context, size_t begin, size_t count, const float **rows_out)
{
    const robust_place *place = context;
    (void)count;
    for (uint32_t i = 0; i < place->n; i++) {
        rows_out[i] = place->rows[i] + begin;
    }
    return CSL_OK;
}

static csl_aggregate_input input_of(const council *c, robust_place *place, const float *root)
{
    csl_aggregate_input input = {.device = place->device,
                                 .row_count = place->n,
                                 .column_count = c->rows[0].d,
                                 .column_total = c->rows[0].d,
                                 .weights = c->weights,
                                 .root = root};
    if (c->in_chunks) {
        input.load = lend_rows;
        input.load_context = place;
        input.chunk_count = CSL_TILE;
    } else {
        input.rows = place->rows;
    }
    return input;
}

static csl_status run_round(const council *c,
                            robust_place *place,
                            const float *root,
                            uint32_t round,
                            csl_aggregate_memory *memory,
                            csl_text *text)
{
    size_t size = c->rows[0].d * sizeof(float);
    csl_aggregate_report *report = NULL;
    csl_aggregate_input input = input_of(c, place, root);
    input.round = round;
    input.memory = memory;
    csl_status status = csl_aggregate(&c->spec, &input, place->out, &report);
    if (status != CSL_OK) {
        csl_text_format(text, "%d %s\n", (int)status, csl_error_message());
        return status;
    }
    float *out = malloc(size);
    CHECK_OK(csl_device_copy(place->device, out, place->out, size, CSL_COPY_TO_HOST));
    csl_text_add_bytes(text, out, size);
    free(out);
    CHECK_OK(csl_aggregate_report_json(report, text));
    csl_aggregate_report_destroy(report);
    return CSL_OK;
}

static verdict judge(const council *c, const char *resource, uint32_t threads)
{
    verdict v = {.status = CSL_OK};
    robust_place place = robust_open(resource, threads, &c->rows[0]);
    const robust_sample *rows = &c->rows[0];
    size_t row_size = rows->d * sizeof(float);
    csl_aggregate_memory *memory = NULL;
    void *root = NULL;
    CHECK_OK(csl_device_alloc(place.device, row_size, &root));
    CHECK_OK(csl_device_copy(place.device, root, c->root.x, row_size, CSL_COPY_TO_DEVICE));
    if (c->remembers) {
        CHECK_OK(csl_aggregate_memory_create(place.device, rows->d, &memory));
    }
    for (uint32_t round = 0; v.status == CSL_OK && round < ROUNDS; round++) {
        CHECK_OK(csl_device_copy(place.device, place.block + rows->gap, c->rows[round].x,
                                 rows->n * row_size, CSL_COPY_TO_DEVICE));
        v.status = run_round(c, &place, root, round, memory, &v.text);
    }
    v.peak_size = csl_device_peak_size(place.device);
    csl_aggregate_memory_destroy(memory);
    csl_device_free(place.device, root);
    robust_close(&place);
    return v;
}

/* Rows that point the same way, and rows that were shortened, are measured again in blocks. */
static bool may_measure_again(const council *c)
{
    bool again = strcmp(c->spec.rule, "foolsgold") == 0 || strcmp(c->spec.rule, "flame") == 0;
    for (uint32_t i = 0; i < c->spec.pre_count; i++) {
        again =
            again || strcmp(c->spec.pre[i], "arc") == 0 || strcmp(c->spec.pre[i], "clipping") == 0;
    }
    return again;
}

/* The formula of docs/PERFORMANCE.md, and here one row more: the trusted update. */
static uint64_t memory_bound(const council *c, const csl_test_device *device)
{
    bool card = strncmp(device->resource, "cuda", 4) == 0;
    uint64_t n = c->rows[0].n;
    uint64_t row_size = c->rows[0].d * sizeof(float);
    /* One row may have been refused. */
    uint64_t block = (card ? CARD_BLOCK_SIZE : BLOCK_SIZE) / n;
    uint64_t tile = CSL_TILE * sizeof(float);
    uint64_t medians = (block > tile ? block : tile) * (card ? 1 : device->threads);
    uint64_t bound = robust_place_size(&c->rows[0]) + row_size + medians;
    if (may_measure_again(c)) {
        bound += n * (row_size < medians ? row_size : medians);
    }
    if (c->remembers && (c->rule->needs & CSL_NEEDS_CENTRE)) {
        bound += row_size;
    }
    if (c->remembers && (c->rule->needs & CSL_NEEDS_HISTORY)) {
        bound += n * row_size;
    }
    return bound;
}

static void compare(const council *c)
{
    const csl_test_device *devices = NULL;
    size_t device_count = robust_devices(&devices);
    verdict expected = judge(c, "host", 1);
    for (size_t k = 0; k < device_count; k++) {
        verdict found = judge(c, devices[k].resource, devices[k].threads);
        bool same = found.status == expected.status && found.text.size == expected.text.size &&
                    memcmp(found.text.bytes, expected.text.bytes, found.text.size) == 0;
        if (!same) {
            printf("%s after '%s' on %s with %u threads, n %u, d %zu, f %u, data %d\n",
                   c->spec.rule, c->spec.pre_count ? c->spec.pre[0] : "", devices[k].resource,
                   devices[k].threads, c->rows[0].n, c->rows[0].d, c->spec.f, (int)c->rows[0].kind);
        }
        CU_ASSERT_TRUE(same);
        if (found.peak_size > memory_bound(c, &devices[k])) {
            printf("%s after '%s', n %u, d %zu: %llu bytes, at most %llu expected\n", c->spec.rule,
                   c->spec.pre_count ? c->spec.pre[0] : "", c->rows[0].n, c->rows[0].d,
                   (unsigned long long)found.peak_size,
                   (unsigned long long)memory_bound(c, &devices[k]));
            CU_FAIL("device memory");
        }
        csl_text_clear(&found.text);
    }
    csl_text_clear(&expected.text);
}

/* The largest f that is allowed, -1 if none is. */
static int64_t most_faults(csl_aggregate_spec spec, uint32_t n)
{
    int64_t most = -1;
    for (spec.f = 0; spec.f < n && csl_aggregate_check(&spec, n) == CSL_OK; spec.f++) {
        most = spec.f;
    }
    return most;
}

/* Some rows are not finite, as many as f allows at most; two are equal, so that there are ties. */
static void spoil(robust_sample *rows, uint32_t f)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    if (rows->n > 2) {
        memcpy(rows->x, rows->x + (rows->n - 1) * rows->d, rows->d * sizeof *rows->x);
    }
    if (f > 0 && robust_below(3) == 0) {
        uint32_t lost = robust_below(rows->n);
        rows->x[lost * rows->d + robust_below((uint32_t)rows->d)] = bad[robust_below(3)];
    }
}

static void try_rule(const csl_rule_info *rule, const char *pre, uint32_t n, size_t d)
{
    council c = {.rule = rule, .in_chunks = robust_below(2), .remembers = robust_below(2)};
    csl_aggregate_spec_init(&c.spec);
    snprintf(c.spec.rule, sizeof c.spec.rule, "%s", rule->name);
    CHECK_OK(csl_aggregate_spec_set_pre(&c.spec, pre));
    c.spec.preset = robust_below(3) == 0 ? CSL_PRESET_BYZFL : CSL_PRESET_PAPER;
    c.spec.seed = csl_test_random();
    int64_t most = most_faults(c.spec, n);
    if (most < 0) {
        return; /* this rule needs more rows; the next call brings them */
    }
    c.spec.f = robust_below((uint32_t)most + 1);
    c.weights = malloc(n * sizeof *c.weights);
    for (uint32_t i = 0; i < n; i++) {
        c.weights[i] = 1 + robust_below(1000);
    }
    for (int round = 0; round < ROUNDS; round++) {
        c.rows[round] = robust_draw(n, d, (robust_kind)robust_below(ROBUST_WILD));
        c.rows[round].gap = c.rows[0].gap;
        c.rows[round].twice = n - 1;
        spoil(&c.rows[round], c.spec.f);
    }
    c.root = robust_draw(1, d, c.rows[0].kind);
    compare(&c);
    robust_free(&c.root);
    for (int round = 0; round < ROUNDS; round++) {
        robust_free(&c.rows[round]);
    }
    free(c.weights);
}

static bool searches_subsets(const csl_rule_info *rule)
{
    return strcmp(rule->name, "mda") == 0 || strcmp(rule->name, "smea") == 0;
}

static void every_rule_gives_the_same_bits_and_report(void)
{
    size_t rule_count = 0;
    const csl_rule_info *rules = csl_rules(&rule_count);
    for (size_t r = 0; r < rule_count; r++) {
        if (ROBUST_THREAD_SANITIZER) {
            try_rule(&rules[r], "", 7 + robust_below(6), 1 + robust_below(300));
            continue;
        }
        try_rule(&rules[r], "", 7 + robust_below(8), 1 + robust_below(3000));
        try_rule(&rules[r], "", 7 + robust_below(8), 2 * CSL_TILE + robust_below(200));
        if (!searches_subsets(&rules[r])) {
            try_rule(&rules[r], "", 17 + robust_below(24), 1 + robust_below(900));
            try_rule(&rules[r], "", 60 + robust_below(12), 1 + robust_below(400));
        }
    }
}

static void every_pre_aggregator_before_every_rule_does_too(void)
{
    size_t rule_count = 0, pre_count = 0;
    const csl_rule_info *rules = csl_rules(&rule_count);
    const csl_rule_info *pres = csl_pre_aggregators(&pre_count);
    for (size_t p = 0; p < pre_count; p++) {
        for (size_t r = 0; r < rule_count; r++) {
            if (!ROBUST_THREAD_SANITIZER || robust_below(8) == 0) {
                uint32_t n =
                    searches_subsets(&rules[r]) ? 9 + robust_below(4) : 9 + robust_below(30);
                try_rule(&rules[r], pres[p].name, n,
                         1 + robust_below(ROBUST_THREAD_SANITIZER ? 100 : 500));
            }
        }
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every_rule_gives_the_same_bits_and_report", every_rule_gives_the_same_bits_and_report},
        {"every_pre_aggregator_before_every_rule_does_too",
         every_pre_aggregator_before_every_rule_does_too},
    };
    return csl_test_main("robust rules on every device", cases, sizeof cases / sizeof *cases);
}
