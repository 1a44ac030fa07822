#include "collector_internal.h"
#include "communicator_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_COUNT = 1024 /* coordinates of a page of memory */ };

csl_coordinate_shard csl_shard_of(const csl_sharding *sharding, uint32_t rank)
{
    uint32_t parts = sharding->aggregator_count ? sharding->aggregator_count : sharding->rank_count;
    uint32_t before = rank; /* ranks below this one that aggregate */
    bool aggregates = rank < sharding->rank_count;
    if (sharding->aggregator_count) {
        before = 0;
        while (before < parts && sharding->aggregators[before] < rank) {
            before++;
        }
        aggregates = before < parts && sharding->aggregators[before] == rank;
    }
    size_t tiles = (sharding->total + CSL_TILE - 1) / CSL_TILE;
    size_t begin = tiles * before / parts * CSL_TILE;
    size_t end = aggregates ? tiles * (before + 1) / parts * CSL_TILE : begin;
    begin = begin < sharding->total ? begin : sharding->total;
    end = end < sharding->total ? end : sharding->total;
    return (csl_coordinate_shard){.begin = begin, .count = end - begin};
}

size_t csl_pieces_of(csl_coordinate_shard shard)
{
    return (shard.count + CSL_PIECE_COUNT - 1) / CSL_PIECE_COUNT;
}

size_t csl_piece_count(csl_coordinate_shard shard, size_t piece)
{
    size_t left = shard.count - piece * CSL_PIECE_COUNT;
    return left < CSL_PIECE_COUNT ? left : CSL_PIECE_COUNT;
}

/* Columns of all rows that stay below the limit, whole tiles. */
static size_t step_within(const csl_collector_options *options)
{
    uint64_t tile_size = options->row_count_max * (uint64_t)CSL_TILE * sizeof(float);
    size_t step = (size_t)(options->memory_limit / tile_size) * CSL_TILE;
    return step < CSL_PIECE_COUNT ? step : CSL_PIECE_COUNT;
}

static uint64_t rows_size(const csl_sharding *sharding, uint32_t row_count_max, uint32_t rank)
{
    return csl_shard_of(sharding, rank).count * (uint64_t)row_count_max * sizeof(float);
}

uint64_t csl_collector_size(const csl_sharding *sharding,
                            const csl_collector_options *options,
                            bool in_files,
                            uint32_t rank)
{
    uint64_t rows = rows_size(sharding, options->row_count_max, rank);
    uint64_t update = sharding->total * sizeof(float); /* of its own, as it is written */
    if (in_files && options->memory_limit > 0 && rows > options->memory_limit) {
        uint64_t part = step_within(options) * (uint64_t)options->row_count_max * sizeof(float);
        return part > update ? part : update; /* one after the other */
    }
    return rows + (sharding->rank_count > 1 ? update : 0);
}

static MPI_Request *no_requests(size_t count)
{
    MPI_Request *requests = malloc((count + 1) * sizeof *requests);
    for (size_t i = 0; requests && i < count; i++) {
        requests[i] = MPI_REQUEST_NULL;
    }
    return requests;
}

static csl_status allocate(csl_collector *collector)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    uint32_t rank = csl_communicator_rank(collector->communicator);
    const csl_sharding *sharding = &collector->sharding;
    collector->own = csl_shard_of(sharding, rank);
    collector->stride = (sharding->total + PAGE_COUNT - 1) / PAGE_COUNT * PAGE_COUNT;
    collector->step = CSL_PIECE_COUNT;
    for (uint32_t peer = 0; peer < size; peer++) {
        collector->send_count += peer == rank ? 0 : csl_pieces_of(csl_shard_of(sharding, peer));
    }
    collector->places = calloc(collector->row_count_max, sizeof *collector->places);
    collector->rows = calloc(collector->row_count_max, sizeof *collector->rows);
    collector->receiving = no_requests(csl_pieces_of(collector->own) * collector->row_count_max);
    collector->sending = no_requests(collector->send_count);
    return collector->places && collector->rows && collector->receiving && collector->sending
               ? CSL_OK
               : csl_fail(CSL_E_NO_MEMORY, "collector of %u updates", collector->row_count_max);
}

/* A single rank keeps whole updates in its receive buffer. */
static csl_status allocate_messages(csl_collector *collector)
{
    size_t own_size = collector->own.count * sizeof(float);
    bool sends = csl_communicator_size(collector->communicator) > 1;
    collector->buffer = malloc(collector->row_count_max * own_size + 1);
    collector->outgoing = malloc(sends ? collector->sharding.total * sizeof(float) : 1);
    if (!collector->buffer || !collector->outgoing) {
        return csl_fail(
            CSL_E_NO_MEMORY, "receive buffer of %u updates of %zu coordinates (%zu bytes)",
            collector->row_count_max, collector->own.count, collector->row_count_max * own_size);
    }
    for (uint32_t row = 0; row < collector->row_count_max; row++) {
        collector->rows[row] = collector->buffer + row * collector->own.count;
    }
    return CSL_OK;
}

/* The rows of some rank are larger than the limit. */
static csl_status share_files(csl_collector *collector, const csl_collector_options *options)
{
    uint64_t tile_size = options->row_count_max * (uint64_t)CSL_TILE * sizeof(float);
    if (options->memory_limit < tile_size) {
        return csl_fail(CSL_E_RANGE,
                        "memory limit of %" PRIu64 " bytes: a tile of %u updates needs %" PRIu64,
                        options->memory_limit, options->row_count_max, tile_size);
    }
    uint64_t own_size = options->own_count_max * (uint64_t)collector->stride * sizeof(float);
    CSL_TRY(csl_shared_memory_create(collector->communicator, own_size, options->folder,
                                     &collector->shared));
    if (collector->shared) {
        collector->in_files = true;
        collector->step = step_within(options);
        return CSL_OK;
    }
    if (!options->must_fit) {
        return CSL_OK;
    }
    return csl_fail(CSL_E_RANGE,
                    "memory limit of %" PRIu64 " bytes: %u updates of %zu values take %" PRIu64
                    " on a rank of %u, and where messages carry them they cannot lie in a file; "
                    "more ranks need less each",
                    options->memory_limit, options->row_count_max, collector->sharding.total,
                    rows_size(&collector->sharding, options->row_count_max, 0),
                    collector->sharding.rank_count);
}

/* Shares memory if that is no more than all receive buffers and updates under way together, or
 * files where the rows are too large for memory. */
static csl_status share(csl_collector *collector, const csl_collector_options *options)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    uint32_t rank = csl_communicator_rank(collector->communicator);
    uint64_t own = rows_size(&collector->sharding, options->row_count_max, rank);
    int64_t sums[] = {options->own_count_max,
                      options->memory_limit > 0 && own > options->memory_limit};
    CSL_TRY(csl_sum_integers(collector->communicator, sums, 2));
    if (sums[1] > 0) {
        return share_files(collector, options);
    }
    if (size == 1 || sums[0] > (int64_t)collector->row_count_max + size) {
        return CSL_OK;
    }
    uint64_t own_size = options->own_count_max * (uint64_t)collector->stride * sizeof(float);
    return csl_shared_memory_create(collector->communicator, own_size, NULL, &collector->shared);
}

static csl_status check_sharding(const csl_communicator *communicator, const csl_sharding *sharding)
{
    uint32_t size = csl_communicator_size(communicator);
    bool ascends = sharding->rank_count == size && sharding->aggregator_count <= size;
    for (uint32_t k = 0; ascends && k < sharding->aggregator_count; k++) {
        ascends = sharding->aggregators[k] < size &&
                  (k == 0 || sharding->aggregators[k - 1] < sharding->aggregators[k]);
    }
    return ascends ? CSL_OK
                   : csl_fail(CSL_E_RANGE,
                              "expected ranks that aggregate in ascending order below %u", size);
}

csl_status csl_collector_create(csl_communicator *communicator,
                                const csl_sharding *sharding,
                                const csl_collector_options *options,
                                csl_collector **collector_out)
{
    CSL_TRY(check_sharding(communicator, sharding));
    uint32_t row_count_max = options->row_count_max;
    csl_nccl *nccl = options->nccl;
    if (sharding->total == 0 || row_count_max == 0 || row_count_max > CSL_ROWS_MAX ||
        options->channel >= CSL_CHANNELS) {
        return csl_fail(CSL_E_RANGE,
                        "collector: expected 1 to %d updates of at least 1 coordinate, found %u of "
                        "%zu",
                        CSL_ROWS_MAX, row_count_max, sharding->total);
    }
    csl_collector *collector = calloc(1, sizeof *collector);
    csl_status status = CSL_E_NO_MEMORY;
    if (!collector) {
        status = csl_fail(CSL_E_NO_MEMORY, "collector");
    } else {
        collector->communicator = communicator;
        collector->sharding = *sharding;
        collector->row_count_max = row_count_max;
        collector->channel = options->channel;
        collector->cards.nccl = nccl;
        collector->cards.device = nccl ? csl_nccl_device(nccl) : NULL;
        status = allocate(collector);
    }
    status = csl_agree(communicator, status);
    if (status == CSL_OK && !nccl) {
        status = share(collector, options);
    }
    if (status == CSL_OK) {
        status = nccl                ? csl_cards_allocate(collector, options->own_count_max)
                 : collector->shared ? CSL_OK
                                     : allocate_messages(collector);
        status = csl_agree(communicator, status);
    }
    if (status != CSL_OK) {
        csl_collector_destroy(collector);
        return status;
    }
    *collector_out = collector;
    return CSL_OK;
}

bool csl_collector_is_shared(const csl_collector *collector)
{
    return collector->shared != NULL;
}

bool csl_collector_is_in_files(const csl_collector *collector)
{
    return collector->in_files;
}

void csl_collector_destroy(csl_collector *collector)
{
    if (!collector) {
        return;
    }
    csl_cards_destroy(collector);
    csl_shared_memory_destroy(collector->shared);
    free(collector->places);
    free(collector->buffer);
    free(collector->rows);
    free(collector->outgoing);
    free(collector->receiving);
    free(collector->sending);
    free(collector);
}

static uint32_t tag_of(const csl_collector *collector, uint32_t row)
{
    return CSL_TAG_ROWS + collector->channel * CSL_ROWS_MAX + row;
}

/* The n-th row of a rank lies in the n-th of its places. */
static void find_places(csl_collector *collector, const uint32_t *owners)
{
    uint32_t rank = csl_communicator_rank(collector->communicator);
    for (uint32_t row = 0; row < collector->row_count; row++) {
        size_t before = 0;
        for (uint32_t other = 0; other < row; other++) {
            before += owners[other] == owners[row];
        }
        float *place = csl_shared_memory_of(collector->shared, owners[row]);
        place += before * collector->stride;
        collector->rows[row] = place + collector->own.begin;
        collector->places[row] = owners[row] == rank ? place : NULL;
    }
}

csl_status csl_collector_begin(csl_collector *collector, const uint32_t *owners, uint32_t row_count)
{
    if (row_count == 0 || row_count > collector->row_count_max) {
        return csl_fail(CSL_E_RANGE, "%u updates, at most %u", row_count, collector->row_count_max);
    }
    collector->row_count = row_count;
    memcpy(collector->owners, owners, row_count * sizeof *owners);
    memset(collector->submitted, 0, sizeof collector->submitted);
    if (collector->cards.nccl) {
        csl_cards_begin(collector);
        return CSL_OK;
    }
    if (collector->shared) {
        find_places(collector, owners);
        return CSL_OK;
    }
    uint32_t rank = csl_communicator_rank(collector->communicator);
    for (size_t piece = 0; piece < csl_pieces_of(collector->own); piece++) {
        for (uint32_t row = 0; row < row_count; row++) {
            if (owners[row] == rank) {
                continue;
            }
            float *target =
                collector->buffer + row * collector->own.count + piece * CSL_PIECE_COUNT;
            CSL_TRY(
                csl_receive_begin(collector->communicator, target,
                                  csl_piece_count(collector->own, piece) * sizeof(float),
                                  owners[row], tag_of(collector, row),
                                  &collector->receiving[piece * collector->row_count_max + row]));
        }
    }
    return CSL_OK;
}

csl_status csl_collector_place(csl_collector *collector, uint32_t row, float **place_out)
{
    if (collector->cards.nccl) {
        *place_out = collector->cards.host_place;
        return CSL_OK;
    }
    if (collector->shared) {
        *place_out = collector->places[row];
        return CSL_OK;
    }
    if (csl_communicator_size(collector->communicator) == 1) {
        *place_out = collector->buffer + row * collector->own.count;
        return CSL_OK;
    }
    /* The one before has to be away. */
    CSL_TRY(csl_wait(collector->communicator, collector->sending, collector->send_count));
    *place_out = collector->outgoing;
    return CSL_OK;
}

static csl_status send_pieces(csl_collector *collector, uint32_t row, const float *update)
{
    MPI_Request *request = collector->sending;
    for (uint32_t peer = 0; peer < csl_communicator_size(collector->communicator); peer++) {
        csl_coordinate_shard theirs = csl_shard_of(&collector->sharding, peer);
        bool is_own = peer == csl_communicator_rank(collector->communicator);
        for (size_t piece = 0; !is_own && piece < csl_pieces_of(theirs); piece++) {
            CSL_TRY(csl_send_begin(collector->communicator,
                                   update + theirs.begin + piece * CSL_PIECE_COUNT,
                                   csl_piece_count(theirs, piece) * sizeof(float), peer,
                                   tag_of(collector, row), request++));
        }
    }
    return CSL_OK;
}

csl_status csl_collector_submit(csl_collector *collector, uint32_t row, const float *update)
{
    float *place = NULL;
    CSL_TRY(csl_collector_place(collector, row, &place));
    if (place != update) {
        memcpy(place, update, collector->sharding.total * sizeof(float));
    }
    collector->submitted[row] = 1;
    if (collector->cards.nccl) {
        return csl_cards_submit(collector, row, place);
    }
    if (collector->in_files) {
        csl_shared_memory_release(place, collector->stride * sizeof(float));
    }
    if (collector->shared || csl_communicator_size(collector->communicator) == 1) {
        return CSL_OK;
    }
    memcpy(collector->buffer + row * collector->own.count, place + collector->own.begin,
           collector->own.count * sizeof(float));
    return send_pieces(collector, row, place);
}

csl_status csl_collector_start(csl_collector *collector)
{
    return collector->cards.nccl ? csl_cards_start(collector) : CSL_OK;
}

const csl_device *csl_collector_device(const csl_collector *collector)
{
    return collector->cards.device;
}

const float *const *csl_collector_rows(const csl_collector *collector)
{
    return collector->rows;
}

size_t csl_collector_step(const csl_collector *collector)
{
    return collector->step;
}

/* Whole rows, not the columns read last: with a page the system maps some around it, which may lie
 * in columns that have left memory already. */
void csl_collector_release(csl_collector *collector)
{
    for (uint32_t row = 0; collector->in_files && row < collector->row_count; row++) {
        csl_shared_memory_release(collector->rows[row], collector->own.count * sizeof(float));
    }
}

/* The system begins to read the columns behind [begin, begin + count), as many of them. */
static void expect_behind(const csl_collector *collector, size_t begin, size_t count)
{
    size_t left = collector->own.count - begin - count;
    left = left < count ? left : count;
    for (uint32_t row = 0; row < collector->row_count; row++) {
        csl_shared_memory_expect(collector->rows[row] + begin + count, left * sizeof(float));
    }
}

static csl_status receive(csl_collector *collector, size_t begin, size_t count)
{
    size_t first = begin / CSL_PIECE_COUNT;
    size_t end = count ? (begin + count - 1) / CSL_PIECE_COUNT + 1 : first;
    if (collector->cards.nccl) {
        return csl_cards_wait(collector, begin, count);
    }
    if (collector->shared) {
        return CSL_OK;
    }
    /* A piece's requests lie together. */
    for (size_t piece = first; piece < end; piece++) {
        CSL_TRY(csl_wait(collector->communicator,
                         collector->receiving + piece * collector->row_count_max,
                         collector->row_count));
    }
    return CSL_OK;
}

csl_status csl_collector_wait(csl_collector *collector, size_t begin, size_t count)
{
    CSL_TRY(receive(collector, begin, count));
    if (collector->in_files) {
        csl_collector_release(collector);
        expect_behind(collector, begin, count);
    }
    return CSL_OK;
}

csl_status csl_collector_finish(csl_collector *collector)
{
    CSL_TRY(receive(collector, 0, collector->own.count));
    return csl_wait(collector->communicator, collector->sending, collector->send_count);
}

csl_status csl_collector_abandon(csl_collector *collector)
{
    int64_t submitted[CSL_ROWS_MAX] = {0};
    if (collector->cards.nccl) {
        return CSL_OK; /* nothing is under way before the start */
    }
    for (uint32_t row = 0; row < collector->row_count; row++) {
        submitted[row] = collector->submitted[row];
    }
    CSL_TRY(csl_sum_integers(collector->communicator, submitted, collector->row_count));
    for (uint32_t row = 0; row < collector->row_count; row++) {
        for (size_t piece = 0; submitted[row] == 0 && piece < csl_pieces_of(collector->own);
             piece++) {
            MPI_Request *request = &collector->receiving[piece * collector->row_count_max + row];
            csl_cancel(request, 1);
            *request = MPI_REQUEST_NULL;
        }
    }
    return csl_collector_finish(collector);
}
