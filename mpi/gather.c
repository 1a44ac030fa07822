/* Coordinates that ranks hold, brought together: on all of them or on rank 0. */
#include "collector_internal.h"
#include "communicator_internal.h"

#include <stdlib.h>
#include <string.h>

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
    CSL_TRY(csl_receive_begin(communicator, values, count * sizeof *values, rank, CSL_TAG_COLLECT,
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
                               csl_piece_count(shard, piece) * sizeof(float), 0, CSL_TAG_COLLECT,
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

/* On rank 0, others' coordinates through room. A failure to take does not end the
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

size_t csl_stream_room(const csl_sharding *sharding)
{
    return sharding->total < CSL_PIECE_COUNT ? sharding->total : CSL_PIECE_COUNT;
}

csl_status csl_stream_coordinates(csl_communicator *communicator,
                                  const csl_sharding *sharding,
                                  const float *own,
                                  float *room,
                                  csl_take_coordinates *take,
                                  void *context)
{
    uint32_t rank = csl_communicator_rank(communicator);
    csl_coordinate_shard shard = csl_shard_of(sharding, rank);
    if (rank != 0) {
        return send_shard(communicator, shard, own);
    }
    csl_status taken = shard.count > 0 ? take(context, 0, shard.count, own) : CSL_OK;
    return take_shards(communicator, sharding, room, taken, take, context);
}
