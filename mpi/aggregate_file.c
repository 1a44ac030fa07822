/* From a file of updates to an aggregate in a file. */
#include "aggregate_file_internal.h"
#include "node_memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether the aggregate takes the place of the first row: all rows are held, and what was written
 * is not read again. */
static bool takes_a_row(const csl_file_aggregation *a, size_t piece_count)
{
    return piece_count == a->own.count && !csl_aggregate_reads_once(&a->job->spec);
}

/* Values of the rows' block that nobody needs once the aggregate is there. */
static uint64_t left_over(const csl_file_aggregation *a, size_t piece_count)
{
    uint64_t rows = a->row_count - (takes_a_row(a, piece_count) ? 1 : 0);
    return rows * piece_count;
}

/* Whether rank 0 needs memory of its own for what the others send. */
static bool needs_room(const csl_file_aggregation *a, size_t piece_count)
{
    return a->rank == 0 && a->rank_count > 1 &&
           left_over(a, piece_count) < csl_stream_room(&a->sharding);
}

/* The formula of aggregate_file.h. */
static uint64_t needed_memory(const csl_file_aggregation *a, size_t piece_count)
{
    uint64_t n = a->row_count;
    uint64_t own = a->own.count;
    uint64_t values = (a->is_host ? 1 : 2) * n * piece_count;
    if (takes_a_row(a, piece_count) || !a->is_host) {
        values += piece_count < CSL_STORE_COUNT ? piece_count : CSL_STORE_COUNT;
    }
    values += takes_a_row(a, piece_count) ? 0 : own;
    values += (a->kept_count + (a->job->root >= 0 ? 1 : 0)) * own;
    values += needs_room(a, piece_count) ? csl_stream_room(&a->sharding) : 0;
    return sizeof(float) * values + 4096 * n + 352 * n * n;
}

/* Of rows that are read once, so much at a time that reading does not wait for seeks, and no chunk
 * of a compressed file is unpacked many times over. */
static size_t piece_read_once(const csl_file_aggregation *a)
{
    enum { PIECE_SIZE = 64 << 20, PIECES_MAX = 8 };
    size_t row_size = a->row_count * sizeof(float);
    size_t count = a->own.count / PIECES_MAX;
    count = (count > PIECE_SIZE / row_size ? count : PIECE_SIZE / row_size) / CSL_TILE + 1;
    return count * CSL_TILE < a->own.count ? count * CSL_TILE : a->own.count;
}

/* Everything, or a part if the rule reads once, if it stays below the limit; else as many tiles as
 * do. */
static csl_status plan_pieces(csl_file_aggregation *a)
{
    uint64_t limit = a->job->memory_limit;
    limit = limit > 0 ? limit : csl_node_memory_share(a->communicator);
    a->piece_count = csl_aggregate_reads_once(&a->job->spec) ? piece_read_once(a) : a->own.count;
    if (needed_memory(a, a->piece_count) <= limit) {
        return CSL_OK;
    }
    uint64_t whole = needed_memory(a, a->own.count);
    uint64_t least = needed_memory(a, CSL_TILE);
    if (least > limit) {
        return csl_fail(CSL_E_RANGE,
                        "memory limit of %llu bytes: %u updates of %zu values need at least %llu "
                        "on a rank of %u",
                        (unsigned long long)limit, a->row_count, a->total,
                        (unsigned long long)(least < whole ? least : whole), a->rank_count);
    }
    uint64_t tile = sizeof(float) * (a->is_host ? 1 : 2) * (uint64_t)a->row_count * CSL_TILE;
    a->piece_count = (size_t)(1 + (limit - least) / tile) * CSL_TILE;
    return CSL_OK;
}

/* Weights are looked at even where the rule takes none: a false file is better told than used. */
static csl_status read_weights(csl_file_aggregation *a)
{
    const char *from = a->job->weights_from;
    if (from) {
        size_t count = 0;
        CSL_TRY(csl_numbers_read(from, &a->weights, &count));
        if (count != a->row_count) {
            return csl_fail(CSL_E_SHAPE, "%s: expected %u weights, found %zu", from, a->row_count,
                            count);
        }
    } else {
        CSL_TRY(csl_updates_read_weights(a->updates, &a->weights));
    }
    for (uint32_t i = 0; a->weights && i < a->row_count; i++) {
        if (!(a->weights[i] >= 0) || isinf(a->weights[i])) {
            return csl_fail(CSL_E_RANGE, "weight of %s: expected a finite number >= 0, found %g",
                            csl_updates_row_label(a->updates, i), a->weights[i]);
        }
    }
    return CSL_OK;
}

static csl_status open_device(csl_file_aggregation *a)
{
    const char *resource = a->job->device;
    uint32_t threads = a->job->threads;
    char card[CSL_NAME_MAX];
    uint32_t cards = strcmp(resource, "auto") == 0 ? csl_device_gpu_count() : 0;
    if (cards > 0) {
        snprintf(card, sizeof card, "cuda:%u",
                 csl_communicator_local_rank(a->communicator) % cards);
        resource = card;
    }
    if (threads == 0) {
        threads = csl_communicator_local_cores(a->communicator) /
                  csl_communicator_local_size(a->communicator);
        threads = threads < 1 ? 1 : threads > CSL_THREADS_MAX ? CSL_THREADS_MAX : threads;
    }
    CSL_TRY(csl_device_open(resource, threads, &a->device));
    a->is_host = strcmp(csl_device_get_info(a->device)->resource, "host") == 0;
    return CSL_OK;
}

/* The job itself, before a value is read. */
static csl_status check_job(csl_file_aggregation *a)
{
    CSL_TRY(csl_aggregate_check(&a->job->spec, a->row_count));
    CSL_TRY(csl_file_check_sources(a));
    CSL_TRY(csl_file_memory_prepare(a));
    return open_device(a);
}

static csl_status open_updates(csl_file_aggregation *a)
{
    if (a->rank == 0) {
        CSL_TRY(csl_file_check_outputs(a->job));
    }
    CSL_TRY(csl_updates_open(a->job->in, a->job->dataset, &a->updates));
    a->row_count = csl_updates_row_count(a->updates);
    a->total = (size_t)csl_updates_column_count(a->updates);
    a->sharding = (csl_sharding){.total = a->total, .rank_count = a->rank_count};
    a->own = csl_shard_of(&a->sharding, a->rank);
    return CSL_OK;
}

/* All that can be refused before a value is read. Collective. */
static csl_status prepare(csl_file_aggregation *a)
{
    CSL_TRY(csl_agree(a->communicator, open_updates(a)));
    csl_status status = csl_agree(a->communicator, check_job(a));
    bool refused =
        status == CSL_E_NOT_FOUND || status == CSL_E_RANGE || status == CSL_E_INVALID_ARG;
    if (refused && a->job->refused) {
        *a->job->refused = true;
    }
    CSL_TRY(status);
    status = read_weights(a);
    return csl_agree(a->communicator, status == CSL_OK ? plan_pieces(a) : status);
}

static csl_status allocate(csl_file_aggregation *a)
{
    size_t size = a->own.count * sizeof(float);
    size_t block = a->row_count * a->piece_count * sizeof(float);
    void *memory = NULL;
    CSL_TRY(csl_device_alloc(a->device, block, &memory));
    a->device_block = memory;
    a->host_block = a->is_host ? a->device_block : malloc(block + 1);
    if (a->job->root >= 0) {
        CSL_TRY(csl_device_alloc(a->device, size, &memory));
        a->root = memory;
    }
    bool takes = takes_a_row(a, a->piece_count);
    bool rooms = needs_room(a, a->piece_count);
    a->aggregate = takes ? a->host_block : malloc(size + 1);
    a->own_room = rooms ? malloc(csl_stream_room(&a->sharding) * sizeof(float)) : NULL;
    a->room = rooms || !a->host_block ? a->own_room : a->host_block + (takes ? a->own.count : 0);
    return a->host_block && a->aggregate && (a->own_room || !rooms)
               ? CSL_OK
               : csl_fail(CSL_E_NO_MEMORY, "%u updates, %zu values of each at a time", a->row_count,
                          a->piece_count);
}

/* csl_aggregate_input.load */
static csl_status load(void *context, size_t begin, size_t count, const float **rows_out)
{
    csl_file_aggregation *a = context;
    csl_news news = {.phase = CSL_PHASE_AGGREGATE, .step = begin, .step_count = a->own.count};
    CSL_TRY(csl_communicator_report(a->communicator, &news));
    CSL_TRY(
        csl_updates_read(a->updates, 0, a->row_count, a->own.begin + begin, count, a->host_block));
    if (!a->is_host) {
        size_t size = a->row_count * count * sizeof(float);
        CSL_TRY(
            csl_device_copy(a->device, a->device_block, a->host_block, size, CSL_COPY_TO_DEVICE));
    }
    for (uint32_t i = 0; i < a->row_count; i++) {
        rows_out[i] = a->device_block + i * count;
    }
    return CSL_OK;
}

/* The trusted row, through the aggregate's host memory. */
static csl_status load_root(csl_file_aggregation *a)
{
    float *host = a->is_host ? a->root : a->aggregate;
    CSL_TRY(
        csl_updates_read(a->updates, (uint32_t)a->job->root, 1, a->own.begin, a->own.count, host));
    return a->is_host || a->own.count == 0
               ? CSL_OK
               : csl_device_copy(a->device, a->root, host, a->own.count * sizeof(float),
                                 CSL_COPY_TO_DEVICE);
}

static csl_status add_over_ranks(void *context, int64_t *values, size_t count)
{
    return csl_sum_integers(context, values, count);
}

/* csl_aggregate_input.store; the rows' own columns are not needed any more. */
static csl_status store(void *context, size_t begin, size_t count, const float *values)
{
    csl_file_aggregation *a = context;
    return csl_device_copy(a->device, a->aggregate + begin, values, count * sizeof *values,
                           CSL_COPY_TO_HOST);
}

/* Own columns of the aggregate. Collective. */
static csl_status aggregate(csl_file_aggregation *a)
{
    const float *rows[CSL_ROWS_MAX];
    csl_aggregate_input input = {
        .device = a->device,
        .row_count = a->row_count,
        .column_begin = a->own.begin,
        .column_count = a->own.count,
        .column_total = a->total,
        .weights = a->weights,
        .institutions = csl_updates_institutions(a->updates),
        .root = a->root,
        .round = a->job->round,
        .exchange = {.context = a->communicator, .sum_int64 = add_over_ranks},
        .memory = a->memory,
    };
    csl_status status = a->root ? load_root(a) : CSL_OK;
    if (status == CSL_OK && a->piece_count == a->own.count) {
        status = load(a, 0, a->own.count, rows); /* once, however many passes there are */
        input.rows = rows;
    } else {
        input.load = load;
        input.load_context = a;
        input.chunk_count = a->piece_count;
    }
    CSL_TRY(csl_agree(a->communicator, status));
    if (a->aggregate == a->host_block || !a->is_host) {
        input.store = store;
        input.store_context = a;
    }
    return csl_aggregate(&a->job->spec, &input, a->aggregate, &a->report);
}

/* What is written on rank 0 while the coordinates come in. */
typedef struct output {
    csl_aggregate_writer *writer;
    csl_hash *hash;
} output;

static csl_status take(void *context, size_t begin, size_t count, const float *values)
{
    output *file = context;
    (void)begin;
    CSL_TRY(csl_hash_update(file->hash, values, count * sizeof *values));
    return csl_aggregate_append(file->writer, count, values);
}

/* After all coordinates: report and table in memory, then what is left of both files. */
static csl_status finish_files(csl_file_aggregation *a, output *file, csl_text *table)
{
    uint8_t digest[CSL_SHA256_SIZE];
    csl_text json = {0};
    csl_status status = csl_hash_finish(file->hash, digest);
    if (status == CSL_OK) {
        status = csl_file_report(a, digest, &json);
    }
    if (status == CSL_OK) {
        status = csl_file_table(a, table);
    }
    if (status == CSL_OK) {
        status = csl_aggregate_describe(file->writer, a->job->spec.rule, csl_text_string(&json));
    }
    status = csl_aggregate_finish(file->writer, status);
    file->writer = NULL;
    if (status == CSL_OK && a->job->report) {
        csl_text_add(&json, "\n");
        status = csl_text_status(&json);
        if (status == CSL_OK) {
            status = csl_bytes_write(a->job->report, json.bytes, json.size);
        }
    }
    csl_text_clear(&json);
    return status;
}

/* Collective. */
static csl_status write_files(csl_file_aggregation *a, csl_text *table)
{
    output file = {.writer = NULL};
    csl_status status = CSL_OK;
    if (a->rank == 0) {
        status = csl_hash_create(&file.hash);
        if (status == CSL_OK) {
            status = csl_aggregate_create(a->job->out, a->total, &file.writer);
        }
    }
    status = csl_agree(a->communicator, status);
    if (status == CSL_OK) {
        status = csl_stream_coordinates(a->communicator, &a->sharding, a->aggregate, a->room, take,
                                        &file);
    }
    if (status == CSL_OK && a->rank == 0) {
        status = finish_files(a, &file, table);
    }
    if (file.writer) {
        status = csl_aggregate_finish(file.writer, status);
    }
    csl_hash_destroy(file.hash);
    return csl_communicator_is_broken(a->communicator) ? status
                                                       : csl_agree(a->communicator, status);
}

static void release(csl_file_aggregation *a)
{
    csl_aggregate_report_destroy(a->report);
    if (a->aggregate != a->host_block) {
        free(a->aggregate);
    }
    free(a->own_room);
    if (a->host_block != a->device_block) {
        free(a->host_block);
    }
    if (a->device) {
        csl_device_free(a->device, a->device_block);
        csl_device_free(a->device, a->root);
        csl_aggregate_memory_destroy(a->memory);
        csl_device_close(a->device);
    }
    free(a->weights);
    csl_updates_close(a->updates);
}

csl_status csl_aggregate_file(csl_communicator *communicator,
                              const csl_aggregate_job *job,
                              csl_aggregate_outcome *outcome_out)
{
    csl_aggregate_outcome outcome = {.memory_size = 0};
    csl_file_aggregation a = {.communicator = communicator,
                              .job = job,
                              .rank = csl_communicator_rank(communicator),
                              .rank_count = csl_communicator_size(communicator)};
    csl_status status = prepare(&a);
    if (status == CSL_OK) {
        status = csl_agree(communicator, allocate(&a));
    }
    if (status == CSL_OK) {
        status = csl_file_memory_read(&a);
    }
    if (status == CSL_OK) {
        outcome.piece_count = a.piece_count;
        outcome.memory_size = needed_memory(&a, a.piece_count);
        status = aggregate(&a);
        if (!csl_communicator_is_broken(communicator)) {
            status = csl_agree(communicator, status);
        }
    }
    if (status == CSL_OK) {
        outcome.empty = a.report->empty;
        status = write_files(&a, &outcome.table);
    }
    if (status == CSL_OK) {
        status = csl_file_memory_write(&a);
    }
    release(&a);
    if (status != CSL_OK) {
        csl_text_clear(&outcome.table);
        return status;
    }
    *outcome_out = outcome;
    return CSL_OK;
}
