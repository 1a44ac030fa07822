#include "collector_internal.h"
#include "communicator_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    TAG_FIRST = 4096, /* below: gradients of shards */
    CHANNEL_TAGS = CSL_ROWS_MAX,
    CHANNELS = 4,
    TAG_COLLECT = TAG_FIRST + CHANNELS * CHANNEL_TAGS
};

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

uint64_t csl_collector_size(const csl_sharding *sharding, uint32_t row_count_max, uint32_t rank)
{
    uint64_t shard = csl_shard_of(sharding, rank).count;
    uint64_t outgoing = sharding->rank_count > 1 ? sharding->total : 0;
    return (shard * row_count_max + outgoing) * sizeof(float);
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
    collector->stride = (sharding->total + 15) / 16 * 16; /* whole cache lines */
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

/* Shares memory if that is no more than all receive buffers and updates under way together. */
static csl_status share(csl_collector *collector, uint32_t own_count_max)
{
    int64_t places = own_count_max;
    CSL_TRY(csl_sum_integers(collector->communicator, &places, 1));
    uint32_t size = csl_communicator_size(collector->communicator);
    if (size == 1 || places > (int64_t)collector->row_count_max + size) {
        return CSL_OK;
    }
    uint64_t own_size = own_count_max * (uint64_t)collector->stride * sizeof(float);
    return csl_shared_memory_create(collector->communicator, own_size, &collector->shared);
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
                                uint32_t row_count_max,
                                uint32_t own_count_max,
                                uint32_t channel,
                                csl_nccl *nccl,
                                csl_collector **collector_out)
{
    CSL_TRY(check_sharding(communicator, sharding));
    if (sharding->total == 0 || row_count_max == 0 || row_count_max > CSL_ROWS_MAX ||
        channel >= CHANNELS) {
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
        collector->channel = channel;
        collector->cards.nccl = nccl;
        collector->cards.device = nccl ? csl_nccl_device(nccl) : NULL;
        status = allocate(collector);
    }
    status = csl_agree(communicator, status);
    if (status == CSL_OK && !nccl) {
        status = share(collector, own_count_max);
    }
    if (status == CSL_OK) {
        status = nccl                ? csl_cards_allocate(collector, own_count_max)
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
    return TAG_FIRST + collector->channel * CHANNEL_TAGS + row;
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
    (void)collector;
    return CSL_PIECE_COUNT;
}

csl_status csl_collector_wait(csl_collector *collector, size_t begin, size_t count)
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

csl_status csl_collector_finish(csl_collector *collector)
{
    CSL_TRY(csl_collector_wait(collector, 0, collector->own.count));
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

csl_status
csl_gather_coordinates(csl_communicator *communicator, const csl_sharding *sharding, float *vector)
{
    uint64_t *parts = malloc((sharding->rank_count + 1) * sizeof *parts);
    if (!parts) {
        return csl_fail(CSL_E_NO_MEMORY, "gather of %zu coordinates", sharding->total);
    }
    for (uint32_t rank = 0; rank < sharding->rank_count; rank++) {
        parts[rank] = csl_shard_of(sharding, rank).begin * sizeof(float);
    }
    parts[sharding->rank_count] = sharding->total * sizeof(float);
    csl_status status = csl_gather_all(communicator, vector, parts);
    free(parts);
    return status;
}

static csl_status
receive_piece(csl_communicator *communicator, uint32_t rank, size_t count, float *values)
{
    MPI_Request request = MPI_REQUEST_NULL;
    CSL_TRY(csl_receive_begin(communicator, values, count * sizeof *values, rank, TAG_COLLECT,
                              &request));
    return csl_wait(communicator, &request, 1);
}

static csl_status receive_shard(csl_communicator *communicator,
                                csl_coordinate_shard shard,
                                uint32_t rank,
                                float *vector)
{
    for (size_t piece = 0; piece < csl_pieces_of(shard); piece++) {
        CSL_TRY(receive_piece(communicator, rank, csl_piece_count(shard, piece),
                              vector + shard.begin + piece * CSL_PIECE_COUNT));
    }
    return CSL_OK;
}

static csl_status
send_shard(csl_communicator *communicator, csl_coordinate_shard shard, const float *own)
{
    for (size_t piece = 0; piece < csl_pieces_of(shard); piece++) {
        MPI_Request request = MPI_REQUEST_NULL;
        CSL_TRY(csl_send_begin(communicator, own + piece * CSL_PIECE_COUNT,
                               csl_piece_count(shard, piece) * sizeof(float), 0, TAG_COLLECT,
                               &request));
        CSL_TRY(csl_wait(communicator, &request, 1));
    }
    return CSL_OK;
}

csl_status csl_collect_coordinates(csl_communicator *communicator,
                                   const csl_sharding *sharding,
                                   const float *own,
                                   float *vector)
{
    uint32_t rank = csl_communicator_rank(communicator);
    csl_coordinate_shard shard = csl_shard_of(sharding, rank);
    if (rank == 0) {
        if (vector + shard.begin != own) {
            memcpy(vector + shard.begin, own, shard.count * sizeof *own);
        }
        for (uint32_t peer = 1; peer < sharding->rank_count; peer++) {
            CSL_TRY(receive_shard(communicator, csl_shard_of(sharding, peer), peer, vector));
        }
        return CSL_OK;
    }
    return send_shard(communicator, shard, own);
}

/* On rank 0, others' coordinates through room [CSL_PIECE_COUNT]. A failure to take does not end the
 * receiving, since the others send. */
static csl_status take_shards(csl_communicator *communicator,
                              const csl_sharding *sharding,
                              float *room,
                              csl_status taken,
                              csl_take_coordinates *take,
                              void *context)
{
    for (uint32_t peer = 1; peer < sharding->rank_count; peer++) {
        csl_coordinate_shard shard = csl_shard_of(sharding, peer);
        for (size_t piece = 0; piece < csl_pieces_of(shard); piece++) {
            size_t count = csl_piece_count(shard, piece);
            CSL_TRY(receive_piece(communicator, peer, count, room));
            if (taken == CSL_OK) {
                taken = take(context, shard.begin + piece * CSL_PIECE_COUNT, count, room);
            }
        }
    }
    return taken;
}

csl_status csl_stream_coordinates(csl_communicator *communicator,
                                  const csl_sharding *sharding,
                                  const float *own,
                                  csl_take_coordinates *take,
                                  void *context)
{
    uint32_t rank = csl_communicator_rank(communicator);
    csl_coordinate_shard shard = csl_shard_of(sharding, rank);
    bool receives = rank == 0 && sharding->rank_count > 1;
    size_t room_count = sharding->total < CSL_PIECE_COUNT ? sharding->total : CSL_PIECE_COUNT;
    float *room = receives ? malloc((room_count + 1) * sizeof *room) : NULL;
    csl_status status = receives && !room
                            ? csl_fail(CSL_E_NO_MEMORY, "a piece of %zu coordinates", room_count)
                            : CSL_OK;
    status = csl_agree(communicator, status);
    if (status == CSL_OK && rank == 0) {
        status = shard.count > 0 ? take(context, 0, shard.count, own) : CSL_OK;
        status = take_shards(communicator, sharding, room, status, take, context);
    } else if (status == CSL_OK) {
        status = send_shard(communicator, shard, own);
    }
    free(room);
    return status;
}
