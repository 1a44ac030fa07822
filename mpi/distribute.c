#include "communicator_internal.h"

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
    float *buffer;          /* [row_count_max][own.count] */
    const float **rows;     /* [row_count_max] into buffer */
    float *outgoing;        /* [total] the update under way to the others */
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

static csl_status fill(csl_collector *collector)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    uint32_t rank = csl_communicator_rank(collector->communicator);
    collector->own = csl_coordinates_of(collector->total, rank, size);
    size_t own_size = collector->own.count * sizeof(float);
    if (own_size > INT_MAX) {
        return csl_fail(CSL_E_RANGE,
                        "%zu coordinates on a rank are more than one message can carry; use more "
                        "ranks",
                        collector->own.count);
    }
    collector->buffer = malloc(collector->row_count_max * own_size + 1);
    collector->rows = calloc(collector->row_count_max, sizeof *collector->rows);
    collector->outgoing = malloc(size > 1 ? collector->total * sizeof(float) : 1);
    collector->receiving = malloc(collector->row_count_max * sizeof(MPI_Request));
    collector->sending = malloc(size * sizeof(MPI_Request));
    if (!collector->buffer || !collector->rows || !collector->outgoing || !collector->receiving ||
        !collector->sending) {
        return csl_fail(
            CSL_E_NO_MEMORY, "receive buffer of %u updates of %zu coordinates (%zu bytes)",
            collector->row_count_max, collector->own.count, collector->row_count_max * own_size);
    }
    for (uint32_t row = 0; row < collector->row_count_max; row++) {
        collector->rows[row] = collector->buffer + row * collector->own.count;
        collector->receiving[row] = MPI_REQUEST_NULL;
    }
    for (uint32_t peer = 0; peer < size; peer++) {
        collector->sending[peer] = MPI_REQUEST_NULL;
    }
    return CSL_OK;
}

csl_status csl_collector_create(csl_communicator *communicator,
                                size_t total,
                                uint32_t row_count_max,
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
    if (!collector) {
        return csl_fail(CSL_E_NO_MEMORY, "collector");
    }
    collector->communicator = communicator;
    collector->total = total;
    collector->row_count_max = row_count_max;
    collector->channel = channel;
    csl_status status = fill(collector);
    if (status != CSL_OK) {
        csl_collector_destroy(collector);
        return status;
    }
    *collector_out = collector;
    return CSL_OK;
}

void csl_collector_destroy(csl_collector *collector)
{
    if (!collector) {
        return;
    }
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

csl_status csl_collector_begin(csl_collector *collector, const uint32_t *owners, uint32_t row_count)
{
    if (row_count == 0 || row_count > collector->row_count_max) {
        return csl_fail(CSL_E_RANGE, "%u updates, at most %u", row_count, collector->row_count_max);
    }
    collector->row_count = row_count;
    memset(collector->submitted, 0, sizeof collector->submitted);
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

csl_status csl_collector_submit(csl_collector *collector, uint32_t row, const float *update)
{
    uint32_t size = csl_communicator_size(collector->communicator);
    uint32_t rank = csl_communicator_rank(collector->communicator);
    memcpy(collector->buffer + row * collector->own.count, update + collector->own.begin,
           collector->own.count * sizeof(float));
    if (size == 1) {
        return CSL_OK;
    }
    CSL_TRY(csl_wait(collector->communicator, collector->sending, size));
    memcpy(collector->outgoing, update, collector->total * sizeof(float));
    for (uint32_t peer = 0; peer < size; peer++) {
        csl_coordinate_shard theirs = csl_coordinates_of(collector->total, peer, size);
        if (peer != rank && theirs.count > 0) {
            CSL_TRY(csl_send_begin(collector->communicator, collector->outgoing + theirs.begin,
                                   theirs.count * sizeof(float), peer, tag_of(collector, row),
                                   &collector->sending[peer]));
        }
    }
    collector->submitted[row] = 1;
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
