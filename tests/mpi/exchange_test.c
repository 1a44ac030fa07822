/* Communication against oracles: every rank knows what everyone sent, from the shared seed. */
#include "test_support.h"

#include <consilium/distribute.h>
#include <consilium/placement.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static csl_communicator *communicator;
static csl_communicator *apart; /* the same ranks without shared memory */
static uint32_t rank;
static uint32_t size;

/* Value `index` of a vector that belongs to `owner`: the same on every rank, signs and magnitudes
 * mixed so that another order of summation gives other bits. */
static float value_of(uint32_t owner, size_t index)
{
    uint64_t z = csl_test_seed() + owner * 0x9e3779b97f4a7c15u + index * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    float mantissa = (float)(int32_t)(uint32_t)z * 0x1p-31f;
    return mantissa * (float)(1u << (z >> 59));
}

static void the_lowest_failing_rank_is_heard_by_all(void)
{
    CHECK_OK(csl_agree(communicator, CSL_OK));
    for (uint32_t first = 0; first < size; first++) {
        csl_status status = CSL_OK;
        if (rank >= first) {
            status = csl_fail(CSL_E_FORMAT, "file %u is broken", rank);
        }
        char expected[64];
        snprintf(expected, sizeof expected, "file %u is broken", first);
        CHECK_STATUS(csl_agree(communicator, status), CSL_E_FORMAT);
        CHECK_CONTAINS(csl_error_message(), expected);
        CHECK_U64(csl_agreed_rank(communicator), first);
    }
}

static void an_echo_does_not_hide_the_cause(void)
{
    csl_status status = csl_fail(CSL_E_COMM, "another shard failed");
    if (rank == size - 1) {
        status = csl_fail(CSL_E_RANGE, "the cause");
    }
    CHECK_STATUS(csl_agree(communicator, status), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "the cause");
}

static void sums_and_gathers_are_complete(void)
{
    int64_t values[3] = {rank, (int64_t)1 << 60, -(int64_t)rank};
    values[1] = rank == 0 ? values[1] : 1;
    CHECK_OK(csl_sum_integers(communicator, values, 3));
    CHECK_U64((uint64_t)values[0], size * (size - 1) / 2);
    CHECK_U64((uint64_t)values[1], ((uint64_t)1 << 60) + size - 1);
    size_t total = 3 * CSL_TILE + 17;
    float *vector = calloc(total, sizeof *vector);
    csl_sharding sharding = {.total = total, .rank_count = size};
    csl_coordinate_shard own = csl_shard_of(&sharding, rank);
    for (size_t i = own.begin; i < own.begin + own.count; i++) {
        vector[i] = value_of(7, i);
    }
    CHECK_OK(csl_gather_coordinates(communicator, &sharding, vector));
    uint64_t wrong = 0;
    for (size_t i = 0; i < total; i++) {
        float expected = value_of(7, i);
        wrong += memcmp(&vector[i], &expected, sizeof expected) != 0;
    }
    CHECK_U64(wrong, 0);
    free(vector);
}

static void every_shard_has_one_rank_and_every_rank_one_order(void)
{
    for (uint32_t trial = 0; trial < 200; trial++) {
        csl_placement placement = {.institution_count = 1 + trial % 13,
                                   .ranks_each = 1 + trial / 13 % 4,
                                   .rank_count = 1 + trial % 9};
        uint32_t shards = placement.institution_count * placement.ranks_each;
        uint32_t covered = 0;
        for (uint32_t r = 0; r < placement.rank_count; r++) {
            uint32_t first = 0;
            uint32_t end = 0;
            csl_placement_shards(&placement, r, &first, &end);
            for (uint32_t shard = first; shard < end; shard++) {
                CHECK_U64(csl_placement_rank(&placement, shard), r);
            }
            covered += end - first;
            uint32_t order[64];
            csl_placement_order(&placement, r, order);
            uint64_t seen = 0;
            for (uint32_t i = 0; i < csl_placement_count(&placement, r); i++) {
                seen |= (uint64_t)1 << order[i];
            }
            for (uint32_t shard = first; shard < end; shard++) {
                CU_ASSERT(seen >> (shard / placement.ranks_each) & 1);
            }
        }
        CHECK_U64(covered, shards);
    }
}

enum { STEPS = 4, GRADIENT_COUNT = 1003 };

typedef struct shard_thread {
    csl_shard_group *group;
    uint32_t local;
    uint32_t fail_at; /* step, or STEPS for never */
    uint64_t wrong;
    csl_status status;
} shard_thread;

static csl_status take_steps(shard_thread *one)
{
    csl_gradient_exchange exchange = csl_shard_group_exchange(one->group, one->local);
    float gradient[GRADIENT_COUNT];
    for (uint32_t step = 0; step < STEPS; step++) {
        if (step == one->fail_at) {
            return csl_fail(CSL_E_RANGE, "loss is not finite");
        }
        double loss = exchange.shard_index + 1;
        for (size_t i = 0; i < GRADIENT_COUNT; i++) {
            gradient[i] = value_of(exchange.shard_index, i + step * GRADIENT_COUNT);
        }
        if (!exchange.sum) {
            continue;
        }
        CSL_TRY(exchange.sum(exchange.context, gradient, GRADIENT_COUNT, &loss));
        uint32_t expected = exchange.shard_count * (exchange.shard_count + 1) / 2;
        one->wrong += loss != expected;
        for (size_t i = 0; i < GRADIENT_COUNT; i++) {
            double sum = 0;
            for (uint32_t shard = 0; shard < exchange.shard_count; shard++) {
                sum += (double)value_of(shard, i + step * GRADIENT_COUNT);
            }
            one->wrong += gradient[i] != (float)sum;
        }
    }
    return CSL_OK;
}

static void *shard_main(void *context)
{
    shard_thread *one = context;
    one->status = csl_shard_group_leave(one->group, one->local, take_steps(one));
    return NULL;
}

/* All institutions of a placement take their steps; the given shard fails at a step. */
static void train_all(uint32_t institutions, uint32_t ranks_each, uint32_t bad_shard)
{
    csl_placement placement = {institutions, ranks_each, size};
    uint32_t order[64];
    csl_placement_order(&placement, rank, order);
    for (uint32_t i = 0; i < csl_placement_count(&placement, rank); i++) {
        csl_shard_group *group = NULL;
        CHECK_OK(csl_shard_group_create(communicator, &placement, order[i], &group));
        uint32_t count = csl_shard_group_local_count(group);
        shard_thread shards[8] = {0};
        pthread_t threads[8];
        bool bad = bad_shard / ranks_each == order[i];
        for (uint32_t k = 0; k < count; k++) {
            csl_gradient_exchange exchange = csl_shard_group_exchange(group, k);
            bool fails = order[i] * ranks_each + exchange.shard_index == bad_shard;
            shards[k] = (shard_thread){.group = group, .local = k, .fail_at = fails ? 2 : STEPS};
            CHECK_U64((uint64_t)pthread_create(&threads[k], NULL, shard_main, &shards[k]), 0);
        }
        for (uint32_t k = 0; k < count; k++) {
            pthread_join(threads[k], NULL);
            CHECK_U64(shards[k].wrong, 0);
            CHECK_STATUS(shards[k].status, !bad                     ? CSL_OK
                                           : shards[k].fail_at == 2 ? CSL_E_RANGE
                                                                    : CSL_E_COMM);
        }
        csl_shard_group_destroy(group);
    }
    CHECK_OK(csl_agree(communicator, CSL_OK));
}

static void shards_get_the_same_sum_wherever_they_run(void)
{
    train_all(4, 2, UINT32_MAX);
    train_all(3, 4, UINT32_MAX);
    train_all(1, 5, UINT32_MAX);
    train_all(9, 1, UINT32_MAX);
}

static void a_failing_shard_ends_its_partners_and_nobody_else(void)
{
    train_all(4, 3, 7);
    train_all(2, 4, 0);
}

enum { ROWS = 7 };

static const size_t SHORT = 5 * CSL_TILE + 321;

/* Subsets of ranks that aggregate, for the size of this job: all, the last, every other. */
static csl_sharding sharding_of(size_t total, int subset, uint32_t *ranks)
{
    csl_sharding sharding = {.total = total, .rank_count = size, .aggregators = ranks};
    for (uint32_t r = 0; r < size && subset > 0; r++) {
        if (subset == 1 ? r == size - 1 : r % 2 == 1 || size == 1) {
            ranks[sharding.aggregator_count++] = r;
        }
    }
    return sharding;
}

static void every_coordinate_has_one_rank_that_aggregates(void)
{
    for (int trial = 0; trial < 300; trial++) {
        uint32_t ranks[9];
        csl_sharding sharding = {.total = csl_test_random() % (20 * CSL_TILE) + 1,
                                 .rank_count = 1 + (uint32_t)(csl_test_random() % 9),
                                 .aggregators = ranks};
        for (uint32_t r = 0; r < sharding.rank_count && trial % 2; r++) {
            if (csl_test_random() % 3 != 0) {
                ranks[sharding.aggregator_count++] = r;
            }
        }
        size_t next = 0;
        for (uint32_t r = 0; r < sharding.rank_count; r++) {
            csl_coordinate_shard shard = csl_shard_of(&sharding, r);
            bool named = sharding.aggregator_count == 0;
            for (uint32_t k = 0; k < sharding.aggregator_count; k++) {
                named = named || ranks[k] == r;
            }
            CU_ASSERT(shard.begin == next);
            CU_ASSERT(named || shard.count == 0);
            CU_ASSERT(shard.begin % CSL_TILE == 0 || shard.count == 0);
            next = shard.begin + shard.count;
        }
        CU_ASSERT(next == sharding.total);
    }
}

/* This rank's rows in an order of its own, some of them late, every other one written in place. */
static void submit_rows(
    csl_collector *collector, const uint32_t *owners, uint32_t round, size_t total, float *update)
{
    uint32_t order[ROWS] = {0};
    for (uint32_t k = 0; k < ROWS; k++) {
        uint32_t j = (uint32_t)(csl_test_random() >> 8) % (k + 1);
        order[k] = order[j];
        order[j] = k;
    }
    for (uint32_t k = 0; k < ROWS; k++) {
        uint32_t row = order[k];
        bool lost = round == 1 && row == 3;
        if (owners[row] != rank || lost) {
            continue;
        }
        float *place = update;
        if (row % 2 == 0) {
            CHECK_OK(csl_collector_place(collector, row, &place));
        }
        for (size_t i = 0; i < total; i++) {
            place[i] = value_of(row + round * ROWS, i);
        }
        usleep((useconds_t)((csl_test_random() >> 16) % 3 * (rank + 1) * 300));
        CHECK_OK(csl_collector_submit(collector, row, place));
    }
}

/* Pages that are mapped, counted one by one: the kernel's own counters lag behind. */
static uint64_t resident_size(void)
{
    unsigned long long kibibytes = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    CU_ASSERT_FATAL(file && fscanf(file, "%*[^\n] Rss: %llu", &kibibytes) == 1);
    fclose(file);
    return kibibytes * 1024;
}

/* Columns are asked for in pieces, as a rule does; other columns may still be under way. Gives what
 * the process had in memory at most. */
static uint64_t read_rows(csl_collector *collector, csl_coordinate_shard own, uint32_t round)
{
    const float *const *rows = csl_collector_rows(collector);
    size_t step = csl_collector_step(collector);
    CU_ASSERT_FATAL(step > 0 && step % CSL_TILE == 0);
    uint64_t wrong = 0;
    uint64_t most = 0;
    for (size_t at = 0; at < own.count; at += step) {
        size_t count = own.count - at < step ? own.count - at : step;
        CHECK_OK(csl_collector_wait(collector, at, count));
        for (uint32_t row = 0; row < ROWS; row++) {
            for (size_t i = at; i < at + count; i++) {
                wrong += rows[row][i] != value_of(row + round * ROWS, own.begin + i);
            }
        }
        uint64_t now = resident_size();
        most = now > most ? now : most;
    }
    CHECK_U64(wrong, 0);
    return most;
}

/* Three rounds, the second of which loses an update. */
static void collect_rounds(csl_communicator *own_communicator,
                           const csl_sharding *sharding,
                           csl_collector *collector,
                           bool crowded)
{
    float *update = malloc(sharding->total * sizeof *update);
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t owners[ROWS];
        for (uint32_t row = 0; row < ROWS; row++) {
            owners[row] = (row * (crowded ? 5 : 1) + round) % size;
        }
        CHECK_OK(csl_collector_begin(collector, owners, ROWS));
        submit_rows(collector, owners, round, sharding->total, update);
        if (round == 1) {
            CHECK_OK(csl_collector_abandon(collector));
            continue;
        }
        CHECK_OK(csl_agree(own_communicator, CSL_OK));
        read_rows(collector, csl_shard_of(sharding, rank), round);
        CHECK_OK(csl_collector_finish(collector));
        CHECK_OK(csl_agree(own_communicator, CSL_OK));
    }
    free(update);
}

static void collect_by(
    csl_communicator *own_communicator, size_t total, int subset, uint32_t own_count, bool shared)
{
    uint32_t ranks[64];
    csl_sharding sharding = sharding_of(total, subset, ranks);
    csl_collector *collector = NULL;
    csl_collector_options options = {.row_count_max = ROWS, .own_count_max = own_count};
    CHECK_OK(csl_collector_create(own_communicator, &sharding, &options, &collector));
    CU_ASSERT(csl_collector_is_shared(collector) == (shared && size > 1));
    collect_rounds(own_communicator, &sharding, collector, own_count == ROWS);
    csl_collector_destroy(collector);
}

static void updates_arrive_whole_and_a_lost_one_is_given_up(void)
{
    for (int subset = 0; subset < 3; subset++) {
        collect_by(communicator, SHORT, subset, (ROWS + size - 1) / size, true);
        collect_by(apart, SHORT, subset, (ROWS + size - 1) / size, false);
        collect_by(apart, SHORT, subset, ROWS, false);
    }
}

/* Rows larger than the limit, read as a rule reads them: what is in memory stays below it. */
static void large_updates_lie_in_a_file(void)
{
    size_t total = 600 * CSL_TILE + 5; /* 9.8 MB */
    uint32_t ranks[64];
    csl_sharding sharding = sharding_of(total, 1, ranks);
    csl_coordinate_shard own = csl_shard_of(&sharding, rank);
    csl_collector_options options = {.row_count_max = ROWS,
                                     .own_count_max = (ROWS + size - 1) / size,
                                     .memory_limit = 4 << 20,
                                     .must_fit = true,
                                     .folder = "."};
    csl_collector *collector = NULL;
    CHECK_OK(csl_collector_create(communicator, &sharding, &options, &collector));
    CU_ASSERT(csl_collector_is_in_files(collector));
    size_t step = csl_collector_step(collector);
    CU_ASSERT(step % CSL_TILE == 0 && step * ROWS * sizeof(float) <= options.memory_limit);
    float *update = malloc(total * sizeof *update);
    /* The system maps whole folios: up to so much of each row around what is read. */
    const uint64_t around = ROWS * (512 << 10);
    for (uint32_t round = 0; round < 3; round += 2) { /* the second loses an update */
        uint32_t owners[ROWS];
        for (uint32_t row = 0; row < ROWS; row++) {
            owners[row] = (row + round) % size;
        }
        CHECK_OK(csl_collector_begin(collector, owners, ROWS));
        submit_rows(collector, owners, round, total, update);
        CHECK_OK(csl_agree(communicator, CSL_OK));
        uint64_t before = resident_size(); /* the rows that were written have left */
        for (int pass = 0; pass < 2; pass++) {
            uint64_t most = read_rows(collector, own, round);
            CU_ASSERT(most < before + options.memory_limit + around);
        }
        csl_collector_release(collector);
        CHECK_OK(csl_agree(communicator, CSL_OK));
    }
    free(update);
    csl_collector_destroy(collector);
}

static void what_fits_nowhere_is_refused(void)
{
    uint32_t ranks[64];
    csl_sharding sharding = sharding_of(SHORT, 0, ranks);
    csl_collector_options options = {.row_count_max = ROWS,
                                     .own_count_max = ROWS,
                                     .memory_limit = 4096, /* not even a tile of each */
                                     .must_fit = true,
                                     .folder = "."};
    csl_collector *collector = NULL;
    CHECK_STATUS(csl_collector_create(communicator, &sharding, &options, &collector), CSL_E_RANGE);
    options.memory_limit = ROWS * CSL_TILE * sizeof(float);
    sharding.total = 64 * CSL_TILE * size;
    options.folder = "/nowhere";
    CHECK_STATUS(csl_collector_create(communicator, &sharding, &options, &collector), CSL_E_IO);
    if (size > 1) { /* messages cannot leave anything in a file */
        CHECK_STATUS(csl_collector_create(apart, &sharding, &options, &collector), CSL_E_RANGE);
        options.must_fit = false;
        CHECK_OK(csl_collector_create(apart, &sharding, &options, &collector));
        CU_ASSERT(!csl_collector_is_in_files(collector));
        csl_collector_destroy(collector);
    }
}

static void long_updates_arrive_in_pieces(void)
{
    if (size <= 3) {
        size_t piece = 256 * CSL_TILE; /* two whole ones and a rest for a rank that has it all */
        collect_by(apart, 2 * piece + CSL_TILE + 5, 1, (ROWS + size - 1) / size, false);
    }
}

static void ranks_that_do_not_exist_cannot_aggregate(void)
{
    uint32_t ranks[] = {size, 0, 0};
    csl_sharding sharding = {
        .total = SHORT, .rank_count = size, .aggregator_count = 1, .aggregators = ranks};
    csl_collector_options options = {.row_count_max = ROWS, .own_count_max = ROWS};
    csl_collector *collector = NULL;
    CHECK_STATUS(csl_collector_create(communicator, &sharding, &options, &collector), CSL_E_RANGE);
    sharding.aggregator_count = 2;
    sharding.aggregators = ranks + 1; /* twice the same */
    CHECK_STATUS(csl_collector_create(communicator, &sharding, &options, &collector), CSL_E_RANGE);
}

static void places_that_cost_more_than_messages_are_not_shared(void)
{
    if (size > 1) {
        collect_by(communicator, SHORT, 0, ROWS, false);
    }
}

static void a_global_vector_has_what_every_rank_wrote(void)
{
    csl_communicator *const ways[] = {communicator, apart};
    size_t total = 3 * CSL_TILE + 17;
    float *start = calloc(total, sizeof *start);
    for (int way = 0; way < 6; way++) {
        uint32_t ranks[64];
        csl_communicator *by = ways[way % 2];
        csl_sharding sharding = sharding_of(total, way / 2, ranks);
        csl_coordinate_shard own = csl_shard_of(&sharding, rank);
        csl_global_vector *vector = NULL;
        for (size_t i = 0; i < total; i++) {
            start[i] = value_of(rank == 0 ? 40 : 41, i); /* rank 0's are taken */
        }
        CHECK_OK(csl_global_vector_create(by, &sharding, start, &vector));
        float *values = csl_global_vector_values(vector);
        uint64_t wrong = 0;
        for (size_t i = 0; i < total; i++) {
            wrong += values[i] != value_of(40, i);
        }
        CHECK_OK(csl_agree(by, CSL_OK));
        for (size_t i = own.begin; i < own.begin + own.count; i++) {
            values[i] = value_of(42, i);
        }
        CHECK_OK(csl_global_vector_complete(vector));
        for (size_t i = 0; i < total; i++) {
            wrong += values[i] != value_of(42, i);
        }
        CHECK_U64(wrong, 0);
        csl_global_vector_destroy(vector);
    }
    free(start);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"the lowest failing rank is heard by all", the_lowest_failing_rank_is_heard_by_all},
        {"an echo does not hide the cause", an_echo_does_not_hide_the_cause},
        {"sums and gathers are complete", sums_and_gathers_are_complete},
        {"every shard has one rank", every_shard_has_one_rank_and_every_rank_one_order},
        {"shards get the same sum wherever they run", shards_get_the_same_sum_wherever_they_run},
        {"a failing shard ends its partners", a_failing_shard_ends_its_partners_and_nobody_else},
        {"every coordinate has one rank", every_coordinate_has_one_rank_that_aggregates},
        {"long updates arrive in pieces", long_updates_arrive_in_pieces},
        {"large updates lie in a file", large_updates_lie_in_a_file},
        {"what fits nowhere is refused", what_fits_nowhere_is_refused},
        {"ranks that do not exist cannot aggregate", ranks_that_do_not_exist_cannot_aggregate},
        {"updates arrive whole", updates_arrive_whole_and_a_lost_one_is_given_up},
        {"places that cost too much are not shared",
         places_that_cost_more_than_messages_are_not_shared},
        {"a global vector is whole", a_global_vector_has_what_every_rank_wrote},
    };
    int provided = 0;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
    if (provided < MPI_THREAD_SERIALIZED ||
        csl_communicator_create(MPI_COMM_WORLD, 60, &communicator) != CSL_OK ||
        csl_communicator_create(MPI_COMM_WORLD, 60, &apart) != CSL_OK) {
        fprintf(stderr, "no communicator: %s\n", csl_error_message());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    csl_communicator_keep_memory_apart(apart);
    rank = csl_communicator_rank(communicator);
    size = csl_communicator_size(communicator);
    int failed = csl_test_main("exchange", cases, sizeof cases / sizeof *cases);
    csl_communicator_destroy(apart);
    csl_communicator_destroy(communicator);
    MPI_Finalize();
    return failed;
}
