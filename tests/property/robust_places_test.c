/* Where an aggregation runs changes no bit: threads, instruction sets, column shards (empty ones
 * too), chunks, and memories that were written out and read back. What one rank fails with, all
 * return. */
#include "test_support.h"

#include <consilium/kernels.h>
#include <consilium/kernels_robust.h>
#include <consilium/robust.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 11, ROUNDS = 2, RANKS_MAX = 8 };

typedef struct task {
    csl_aggregate_spec spec;
    size_t d;
    float *x[ROUNDS]; /* [ROWS][d] */
    float *root;
    double weights[ROWS];
} task;

/* A memory outside of any rank: whole rows. */
typedef struct checkpoint {
    bool has[CSL_MEMORY_SLOTS];
    float *values[CSL_MEMORY_SLOTS];
} checkpoint;

typedef struct meeting {
    pthread_barrier_t barrier;
    int64_t *values[RANKS_MAX];
    uint32_t size;
} meeting;

typedef struct how {
    uint32_t ranks;
    uint32_t threads;
    size_t chunk; /* columns at a time; 0: all rows at once */
    int failing_rank;
    uint32_t failing_call;
    bool differs; /* the failing rank is handed another seed */
    bool stores;  /* the aggregate is taken in parts, and what is not needed then is overwritten */
} how;

typedef struct rank {
    meeting *met;
    const task *t;
    const how *way;
    checkpoint *state;
    uint32_t index;
    uint32_t round;
    size_t begin;
    size_t count;
    uint32_t calls;
    const float *rows[ROWS]; /* of its own columns */
    float *copy;             /* [ROWS][count] of them, where they are overwritten */
    size_t stored;
    float *out;
    csl_status status;
} rank;

static csl_status add_all(void *context, int64_t *values, size_t count)
{
    rank *own = context;
    meeting *met = own->met;
    met->values[own->index] = values;
    pthread_barrier_wait(&met->barrier);
    if (own->index == 0) {
        for (size_t k = 0; k < count; k++) {
            int64_t sum = 0;
            for (uint32_t r = 0; r < met->size; r++) {
                sum += met->values[r][k];
            }
            for (uint32_t r = 0; r < met->size; r++) {
                met->values[r][k] = sum;
            }
        }
    }
    pthread_barrier_wait(&met->barrier);
    return CSL_OK;
}

static csl_status load(void *context, size_t begin, size_t count, const float **rows_out)
{
    rank *own = context;
    (void)count;
    if ((int)own->index == own->way->failing_rank && own->calls++ == own->way->failing_call) {
        return csl_fail(CSL_E_IO, "a disk broke");
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        rows_out[i] = own->rows[i] + begin;
    }
    return CSL_OK;
}

static csl_status store(void *context, size_t begin, size_t count, const float *values)
{
    rank *own = context;
    bool reads_once = csl_aggregate_reads_once(&own->t->spec);
    CU_ASSERT(begin == own->stored || (begin == 0 && reads_once));
    own->stored = begin + count;
    memcpy(own->out + own->begin + begin, values, count * sizeof *values);
    for (uint32_t i = 0; !reads_once && i < ROWS; i++) {
        memset(own->copy + i * own->count + begin, 0xff, count * sizeof *values);
    }
    return CSL_OK;
}

static void place_rows(rank *own)
{
    own->copy = malloc(ROWS * own->count * sizeof *own->copy + 1);
    for (uint32_t i = 0; i < ROWS; i++) {
        const float *row = own->t->x[own->round] + i * own->t->d + own->begin;
        own->rows[i] = own->way->stores ? own->copy + i * own->count : row;
        memcpy(own->copy + i * own->count, row, own->count * sizeof *row);
    }
}

static void restore(const rank *own, csl_aggregate_memory *memory)
{
    for (uint32_t slot = 0; slot < CSL_MEMORY_SLOTS; slot++) {
        if (own->state->has[slot]) {
            const float *values = own->state->values[slot] + own->begin;
            CHECK_OK(csl_aggregate_memory_set(memory, slot, 0, own->count, values));
        }
    }
}

static void *run_rank(void *context)
{
    rank *own = context;
    const task *t = own->t;
    csl_device *device = NULL;
    csl_aggregate_memory *memory = NULL;
    csl_aggregate_spec spec = t->spec;
    spec.seed += own->way->differs && (int)own->index == own->way->failing_rank;
    CHECK_OK(csl_device_open("host", own->way->threads, &device));
    CHECK_OK(csl_aggregate_memory_create(device, own->count, &memory));
    restore(own, memory);
    place_rows(own);
    csl_aggregate_input input = {.device = device,
                                 .row_count = ROWS,
                                 .column_begin = own->count ? own->begin : 0,
                                 .column_count = own->count,
                                 .column_total = t->d,
                                 .rows = own->way->chunk ? NULL : own->rows,
                                 .load = own->way->chunk ? load : NULL,
                                 .load_context = own,
                                 .chunk_count = own->way->chunk,
                                 .weights = t->weights,
                                 .root = own->count ? t->root + own->begin : NULL,
                                 .round = own->round,
                                 .memory = memory,
                                 .store = own->way->stores ? store : NULL,
                                 .store_context = own};
    if (own->way->ranks > 1) {
        input.exchange = (csl_aggregate_exchange){own, add_all};
    }
    float *out = own->way->stores ? NULL : own->out + own->begin;
    own->status = csl_aggregate(&spec, &input, out, NULL);
    CU_ASSERT(!own->way->stores || own->stored == own->count);
    free(own->copy);
    for (uint32_t slot = 0; own->status == CSL_OK && slot < CSL_MEMORY_SLOTS; slot++) {
        if (csl_aggregate_memory_has(memory, slot)) {
            float *values = own->state->values[slot] + own->begin;
            CHECK_OK(csl_aggregate_memory_get(memory, slot, 0, own->count, values));
        }
    }
    if (own->way->ranks > 1) { /* nobody writes `has` while another still reads it */
        pthread_barrier_wait(&own->met->barrier);
    }
    for (uint32_t slot = 0; own->index == 0 && slot < CSL_MEMORY_SLOTS; slot++) {
        own->state->has[slot] = csl_aggregate_memory_has(memory, slot);
    }
    csl_aggregate_memory_destroy(memory);
    csl_device_close(device);
    return NULL;
}

/* Runs one round on way->ranks ranks; the status of each into statuses. */
static void run_round(const task *t,
                      const how *way,
                      uint32_t round,
                      checkpoint *state,
                      float *out,
                      csl_status statuses[RANKS_MAX])
{
    meeting met = {.size = way->ranks};
    rank ranks[RANKS_MAX];
    pthread_t threads[RANKS_MAX];
    size_t tiles = (t->d + CSL_TILE - 1) / CSL_TILE;
    CU_ASSERT_EQUAL_FATAL(pthread_barrier_init(&met.barrier, NULL, way->ranks), 0);
    for (uint32_t r = 0; r < way->ranks; r++) {
        size_t begin = tiles * r / way->ranks * CSL_TILE;
        size_t end = tiles * (r + 1) / way->ranks * CSL_TILE;
        end = end < t->d ? end : t->d;
        begin = begin < t->d ? begin : t->d;
        ranks[r] = (rank){.met = &met, .t = t, .way = way, .state = state, .index = r};
        ranks[r].round = round;
        ranks[r].begin = begin;
        ranks[r].count = end - begin;
        ranks[r].out = out;
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[r], NULL, run_rank, &ranks[r]), 0);
    }
    for (uint32_t r = 0; r < way->ranks; r++) {
        pthread_join(threads[r], NULL);
        statuses[r] = ranks[r].status;
    }
    pthread_barrier_destroy(&met.barrier);
}

static checkpoint *create_checkpoint(size_t d)
{
    checkpoint *state = calloc(1, sizeof *state);
    for (uint32_t slot = 0; slot <= CSL_MEMORY_HISTORY + ROWS; slot++) {
        state->values[slot] = calloc(d, sizeof(float));
    }
    return state;
}

static void destroy_checkpoint(checkpoint *state)
{
    for (uint32_t slot = 0; slot < CSL_MEMORY_SLOTS; slot++) {
        free(state->values[slot]);
    }
    free(state);
}

static task make_task(const char *rule, const char *pre, size_t d)
{
    task t = {.d = d};
    csl_aggregate_spec_init(&t.spec);
    snprintf(t.spec.rule, sizeof t.spec.rule, "%s", rule);
    CHECK_OK(csl_aggregate_spec_set_pre(&t.spec, pre));
    t.spec.seed = csl_test_random();
    for (t.spec.f = 2; t.spec.f > 0 && csl_aggregate_check(&t.spec, ROWS) != CSL_OK;) {
        t.spec.f--;
    }
    t.root = malloc(d * sizeof *t.root);
    for (size_t j = 0; j < d; j++) {
        t.root[j] = (float)(1 + csl_test_normal());
    }
    for (int round = 0; round < ROUNDS; round++) {
        t.x[round] = malloc(ROWS * d * sizeof(float));
        for (uint32_t i = 0; i < ROWS; i++) {
            double shift = i < 2 ? -2 : 1;
            t.weights[i] = 1 + (double)(csl_test_random() % 100);
            for (size_t j = 0; j < d; j++) {
                t.x[round][i * d + j] = (float)(shift + (0.5 + 0.1 * i) * csl_test_normal());
            }
        }
    }
    return t;
}

static void free_task(task *t)
{
    for (int round = 0; round < ROUNDS; round++) {
        free(t->x[round]);
    }
    free(t->root);
}

/* Both rounds; outs [ROUNDS][d]. */
static void run_rounds(const task *t, const how *way, float *outs)
{
    checkpoint *state = create_checkpoint(t->d);
    csl_status statuses[RANKS_MAX];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        run_round(t, way, round, state, outs + round * t->d, statuses);
        for (uint32_t r = 0; r < way->ranks; r++) {
            CHECK_OK(statuses[r]);
        }
    }
    destroy_checkpoint(state);
}

static void check_ways(const char *rule, const char *pre, size_t d)
{
    static const how ways[] = {
        {1, 2, 0, -1, 0, false, false},       {1, 3, 0, -1, 0, false, false},
        {1, 8, 0, -1, 0, false, false},       {1, 1, CSL_TILE, -1, 0, false, false},
        {2, 1, 0, -1, 0, false, false},       {3, 1, (size_t)2 * CSL_TILE, -1, 0, false, false},
        {5, 1, 0, -1, 0, false, false},       {8, 1, CSL_TILE, -1, 0, false, false},
        {1, 1, 0, -1, 0, false, true},        {1, 3, 0, -1, 0, false, true},
        {1, 1, CSL_TILE, -1, 0, false, true}, {3, 1, 0, -1, 0, false, true},
    };
    static const char *const sets[] = {"avx512", "avx2", "portable"};
    const size_t way_count = CSL_TEST_EMULATED_ONLY ? 0 : sizeof ways / sizeof *ways;
    const size_t set_count = CSL_TEST_EMULATED_ONLY ? 1 : sizeof sets / sizeof *sets;
    static const how plain = {1, 1, 0, -1, 0, false, false};
    task t = make_task(rule, pre, d);
    size_t size = ROUNDS * d * sizeof(float);
    float *expected = malloc(size);
    float *found = malloc(size);
    run_rounds(&t, &plain, expected);
    for (size_t k = 0; k < way_count; k++) {
        memset(found, 0xff, size);
        run_rounds(&t, &ways[k], found);
        bool same = memcmp(expected, found, size) == 0;
        if (!same) {
            printf("%s after '%s': %u ranks, %u threads, chunk %zu\n", rule, pre, ways[k].ranks,
                   ways[k].threads, ways[k].chunk);
        }
        CU_ASSERT(same);
    }
    for (size_t k = 0; k < set_count; k++) {
        if (csl_instruction_set_select(sets[k]) != CSL_OK) {
            continue; /* this processor lacks it */
        }
        memset(found, 0xff, size);
        run_rounds(&t, &plain, found);
        CU_ASSERT(memcmp(expected, found, size) == 0);
    }
    CHECK_OK(csl_instruction_set_select(NULL));
    free(expected);
    free(found);
    free_task(&t);
}

static void every_rule_gives_the_same_bits_everywhere(void)
{
    size_t count = 0;
    const csl_rule_info *infos = csl_rules(&count);
    for (size_t i = 0; i < count; i++) {
        check_ways(infos[i].name, "", (size_t)9 * CSL_TILE + 77);
        check_ways(infos[i].name, "", CSL_TILE + 13); /* more ranks than tiles */
    }
}

static void pre_aggregators_give_the_same_bits_everywhere(void)
{
    static const char *const chains[][2] = {{"multi-krum", "nnm"},
                                            {"median", "arc,nnm"},
                                            {"trimmed-mean", "bucketing"},
                                            {"geometric-median", "clipping,nnm"}};
    for (size_t k = 0; k < sizeof chains / sizeof *chains; k++) {
        check_ways(chains[k][0], chains[k][1], (size_t)5 * CSL_TILE + 1);
    }
}

static void what_one_rank_fails_with_all_return(void)
{
    size_t count = 0;
    const csl_rule_info *infos = csl_rules(&count);
    for (size_t i = 0; i < count; i++) {
        task t = make_task(infos[i].name, "", (size_t)4 * CSL_TILE);
        float *out = malloc(t.d * sizeof *out);
        for (uint32_t call = 0; call < 3; call++) {
            how way = {4, 1, CSL_TILE, (int)(csl_test_random() % 4), call, false, false};
            checkpoint *state = create_checkpoint(t.d);
            csl_status statuses[RANKS_MAX];
            run_round(&t, &way, 0, state, out, statuses);
            for (uint32_t r = 0; r < way.ranks; r++) { /* some rules read their columns only once */
                CHECK_STATUS(statuses[r], statuses[0]);
                CU_ASSERT(call > 0 || statuses[r] == CSL_E_IO);
            }
            destroy_checkpoint(state);
        }
        free(out);
        free_task(&t);
    }
}

static void ranks_with_different_tasks_all_refuse(void)
{
    task t = make_task("median", "", (size_t)4 * CSL_TILE);
    float *out = malloc(t.d * sizeof *out);
    how way = {3, 1, 0, 2, 0, true, false};
    checkpoint *state = create_checkpoint(t.d);
    csl_status statuses[RANKS_MAX];
    run_round(&t, &way, 0, state, out, statuses);
    for (uint32_t r = 0; r < way.ranks; r++) {
        CHECK_STATUS(statuses[r], CSL_E_INVALID_ARG);
    }
    destroy_checkpoint(state);
    free(out);
    free_task(&t);
}

static void memories_refuse_what_they_do_not_hold(void)
{
    csl_device *device = NULL;
    csl_aggregate_memory *memory = NULL;
    float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    float back[8] = {0};
    CHECK_OK(csl_device_open("host", 1, &device));
    CHECK_OK(csl_aggregate_memory_create(device, 8, &memory));
    CU_ASSERT_FALSE(csl_aggregate_memory_has(memory, CSL_MEMORY_CENTRE));
    CHECK_STATUS(csl_aggregate_memory_get(memory, CSL_MEMORY_CENTRE, 0, 8, back), CSL_E_NOT_FOUND);
    CHECK_STATUS(csl_aggregate_memory_set(memory, CSL_MEMORY_SLOTS, 0, 8, values), CSL_E_RANGE);
    CHECK_STATUS(csl_aggregate_memory_set(memory, 1, 1, SIZE_MAX, values), CSL_E_RANGE);
    CHECK_OK(csl_aggregate_memory_set(memory, CSL_MEMORY_HISTORY + 3, 2, 4, values));
    CHECK_OK(csl_aggregate_memory_get(memory, CSL_MEMORY_HISTORY + 3, 1, 6, back));
    const float expected[] = {0, 1, 2, 3, 4, 0};
    CU_ASSERT(memcmp(back, expected, sizeof expected) == 0);
    CU_ASSERT_FALSE(csl_aggregate_memory_has(memory, CSL_MEMORY_CENTRE));
    csl_aggregate_memory_destroy(memory);
    csl_device_close(device);
}

/* The ranks of 32 rows whose sum with 32 rows alike, 16 left out at each end, is a tie between two
 * float32: in ascending order the last bits of the small values are lost beside -64, and 1 is left;
 * added to one another first they would tip the balance. */
static float balanced(size_t place)
{
    static const float upper[] = {0x1p-20F - 0x1p-23F, 16, 16, 16};
    return place < 8    ? -1000
           : place < 16 ? -4
           : place < 20 ? 0x1p-25F + 0x1p-48F
           : place < 24 ? upper[place - 20]
                        : 1000;
}

/* Two halves that need not be merged are no excuse. */
static void a_trimmed_mean_rounds_as_in_ascending_order(void)
{
    enum { COUNT = 40, HALF = 32, STEP = 5, SHIFT = 20 }; /* odd: every rank once */
    static const char *const sets[] = {"portable", "avx2", "avx512"};
    csl_select_spec spec = {.kind = CSL_SELECT_TRIMMED_MEAN, .trim = HALF / 2};
    float values[2 * HALF][COUNT];
    const float *rows[2 * HALF];
    float out[COUNT];
    csl_device *device = NULL;
    for (size_t i = 0; i < 2 * HALF; i++) {
        rows[i] = values[i];
        for (size_t j = 0; j < COUNT; j++) {
            values[i][j] = ldexpf(balanced((i * STEP + j) % HALF), (int)j - SHIFT);
        }
    }
    CHECK_OK(csl_device_open("host", 1, &device));
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
        if (csl_instruction_set_select(sets[k]) != CSL_OK) {
            continue; /* this processor lacks it */
        }
        CHECK_OK(csl_device_kernels(device)->row_select(device, &spec, rows, 2 * HALF, COUNT, out));
        for (size_t j = 0; j < COUNT; j++) {
            CU_ASSERT(out[j] == ldexpf(1, (int)j - SHIFT));
        }
    }
    CHECK_OK(csl_instruction_set_select(NULL));
    csl_device_close(device);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every rule gives the same bits everywhere", every_rule_gives_the_same_bits_everywhere},
        {"pre-aggregators give the same bits everywhere",
         pre_aggregators_give_the_same_bits_everywhere},
        {"a trimmed mean rounds as in ascending order",
         a_trimmed_mean_rounds_as_in_ascending_order},
        {"what one rank fails with all return", what_one_rank_fails_with_all_return},
        {"ranks with different tasks all refuse", ranks_with_different_tasks_all_refuse},
        {"memories refuse what they do not hold", memories_refuse_what_they_do_not_hold},
    };
    return csl_test_main("robust places", cases,
                         CSL_TEST_EMULATED_ONLY ? 2 : sizeof cases / sizeof *cases);
}
