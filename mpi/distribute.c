#include "communicator_internal.h"
#include "shared_memory.h"

#include <consilium/distribute.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    TAG_FIRST = 4096, /* below: gradients of shards */
    CHANNEL_TAGS = CSL_ROWS_MAX,
    CHANNELS = 4
};

csl_coordinate_shard csl_coordinates_of(size_t total, uint32_t rank, uint32_t rank_count)
{
    size_t tiles = (total + CSL_TILE - 1) / CSL_TILE;
    size_t begin = tiles * rank / rank_count * CSL_TILE;
    size_t end = tiles * (rank + 1) / rank_count * CSL_TILE;
    begin = begin < total ? begin : total;
    end = end < total ? end : total;
    return (csl_coordinate_shard){.begin = begin, .count = end - begin};
}

struct csl_collector {
    csl_communicator *communicator;
    size_t total;
    uint32_t row_count_max;
    uint32_t channel;
    csl_coordinate_shard own;
    csl_shared_memory *shared; /* every rank's places [own_count_max][stride]; NULL: messages */
    size_t stride;
    float **places;         /* [row_count_max] of this rank's rows in shared memory, else NULL */
    float *buffer;          /* messages: [row_count_max][own.count] */
    const float **rows;     /* [row_count_max] this rank's coordinates of each update */
    float *outgoing;        /* messages: [total] the update under way to the others */
    MPI_Request *receiving; /* [row_count_max] */
    MPI_Request *sending;   /* [ranks] */
    uint32_t row_count;
    uint8_t submitted[CSL_ROWS_MAX]; /* by this rank */
};

uint64_t
csl_collector_size(size_t total, uint32_t row_count_max, uint32_t rank, uint32_t rank_count)
{
    uint64_t shard = csl_coordinates_of(total, rank, rank_count).count;
    uint64_t outgoing = rank_count > 1 ? total : 0;
    return (shard * row_count_max + outgoing) * sizeof(float);
}

static csl_status allocate(csl_collector *collector)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    uint32_t rank = csl_communicator_rank(collector->communicator);
    collector->own = csl_coordinates_of(collector->total, rank, size);
    collector->stride = (collector->total + 15) / 16 * 16; /* whole cache lines */
    collector->places = calloc(collector->row_count_max, sizeof *collector->places);
    collector->rows = calloc(collector->row_count_max, sizeof *collector->rows);
    collector->receiving = malloc(collector->row_count_max * sizeof(MPI_Request));
    collector->sending = malloc(size * sizeof(MPI_Request));
    if (!collector->places || !collector->rows || !collector->receiving || !collector->sending) {
        return csl_fail(CSL_E_NO_MEMORY, "collector of %u updates", collector->row_count_max);
    }
    for (uint32_t row = 0; row < collector->row_count_max; row++) {
        collector->receiving[row] = MPI_REQUEST_NULL;
    }
    for (uint32_t peer = 0; peer < size; peer++) {
        collector->sending[peer] = MPI_REQUEST_NULL;
    }
    return CSL_OK;
}

/* A single rank keeps whole updates in its receive buffer. */
static csl_status allocate_messages(csl_collector *collector)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    size_t own_size = collector->own.count * sizeof(float);
    if (own_size > INT_MAX && size > 1) {
        return csl_fail(CSL_E_RANGE,
                        "%zu coordinates on a rank are more than one message can carry; use more "
                        "ranks",
                        collector->own.count);
    }
    collector->buffer = malloc(collector->row_count_max * own_size + 1);
    collector->outgoing = malloc(size > 1 ? collector->total * sizeof(float) : 1);
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

csl_status csl_collector_create(csl_communicator *communicator,
                                size_t total,
                                uint32_t row_count_max,
                                uint32_t own_count_max,
                                uint32_t channel,
                                csl_collector **collector_out)
{
    if (total == 0 || row_count_max == 0 || row_count_max > CSL_ROWS_MAX || channel >= CHANNELS) {
        return csl_fail(CSL_E_RANGE,
                        "collector: expected 1 to %d updates of at least 1 coordinate, found %u of "
                        "%zu",
                        CSL_ROWS_MAX, row_count_max, total);
    }
    csl_collector *collector = calloc(1, sizeof *collector);
    csl_status status = collector ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "collector");
    if (collector) {
        collector->communicator = communicator;
        collector->total = total;
        collector->row_count_max = row_count_max;
        collector->channel = channel;
        status = allocate(collector);
    }
    status = csl_agree(communicator, status);
    if (status == CSL_OK) {
        status = share(collector, own_count_max);
    }
    if (status == CSL_OK) {
        status = csl_agree(communicator, collector->shared ? CSL_OK : allocate_messages(collector));
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
    memset(collector->submitted, 0, sizeof collector->submitted);
    if (collector->shared) {
        find_places(collector, owners);
        return CSL_OK;
    }
    uint32_t rank = csl_communicator_rank(collector->communicator);
    for (uint32_t row = 0; row < row_count; row++) {
        if (owners[row] != rank && collector->own.count > 0) {
            CSL_TRY(csl_receive_begin(collector->communicator,
                                      collector->buffer + row * collector->own.count,
                                      collector->own.count * sizeof(float), owners[row],
                                      tag_of(collector, row), &collector->receiving[row]));
        }
    }
    return CSL_OK;
}

csl_status csl_collector_place(csl_collector *collector, uint32_t row, float **place_out)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    if (collector->shared) {
        *place_out = collector->places[row];
        return CSL_OK;
    }
    if (size == 1) {
        *place_out = collector->buffer + row * collector->own.count;
        return CSL_OK;
    }
    CSL_TRY(csl_wait(collector->communicator, collector->sending, size)); /* the one before */
    *place_out = collector->outgoing;
    return CSL_OK;
}

csl_status csl_collector_submit(csl_collector *collector, uint32_t row, const float *update)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    uint32_t rank = csl_communicator_rank(collector->communicator);
    float *place = NULL;
    CSL_TRY(csl_collector_place(collector, row, &place));
    if (place != update) {
        memcpy(place, update, collector->total * sizeof(float));
    }
    collector->submitted[row] = 1;
    if (collector->shared || size == 1) {
        return CSL_OK;
    }
    memcpy(collector->buffer + row * collector->own.count, place + collector->own.begin,
           collector->own.count * sizeof(float));
    for (uint32_t peer = 0; peer < size; peer++) {
        csl_coordinate_shard theirs = csl_coordinates_of(collector->total, peer, size);
        if (peer != rank && theirs.count > 0) {
            CSL_TRY(csl_send_begin(collector->communicator, place + theirs.begin,
                                   theirs.count * sizeof(float), peer, tag_of(collector, row),
                                   &collector->sending[peer]));
        }
    }
    return CSL_OK;
}

csl_status csl_collector_finish(csl_collector *collector, const float *const **rows_out)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    CSL_TRY(csl_wait(collector->communicator, collector->sending, size));
    CSL_TRY(csl_wait(collector->communicator, collector->receiving, collector->row_count));
    *rows_out = collector->rows;
    return CSL_OK;
}

csl_status csl_collector_abandon(csl_collector *collector)
{
    int64_t submitted[CSL_ROWS_MAX] = {0};
    for (uint32_t row = 0; row < collector->row_count; row++) {
        submitted[row] = collector->submitted[row];
    }
    CSL_TRY(csl_sum_integers(collector->communicator, submitted, collector->row_count));
    for (uint32_t row = 0; row < collector->row_count; row++) {
        if (submitted[row] == 0) {
            csl_cancel(&collector->receiving[row], 1);
            collector->receiving[row] = MPI_REQUEST_NULL;
        }
    }
    const float *const *rows = NULL;
    return csl_collector_finish(collector, &rows);
}

csl_status csl_gather_coordinates(csl_communicator *communicator, float *vector, size_t total)
{
    uint32_t size = csl_communicator_size(communicator);
    uint64_t *parts = malloc((size + 1) * sizeof *parts);
    if (!parts) {
        return csl_fail(CSL_E_NO_MEMORY, "gather of %zu coordinates", total);
    }
    for (uint32_t rank = 0; rank < size; rank++) {
        parts[rank] = csl_coordinates_of(total, rank, size).begin * sizeof(float);
    }
    parts[size] = total * sizeof(float);
    csl_status status = csl_gather_all(communicator, vector, parts);
    free(parts);
    return status;
}
