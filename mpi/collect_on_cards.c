/*
 * Updates that go from card to card. A rank's own rows lie on its card from their submission on;
 * when all are there, every rank puts all pieces on their way at once, on a stream of their own,
 * and the rule waits for one piece after the other.
 */
#include "collector_internal.h"
#include "communicator_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static csl_status allocate_floats(csl_device *device, size_t count, float **values_out)
{
    void *memory = NULL;
    CSL_TRY(csl_device_alloc(device, count * sizeof **values_out, &memory));
    *values_out = memory;
    return CSL_OK;
}

csl_status csl_cards_allocate(csl_collector *collector, uint32_t own_count_max)
{
    csl_card_way *cards = &collector->cards;
    const csl_sharding *sharding = &collector->sharding;
    void *place = NULL;
    for (uint32_t rank = 0; rank < sharding->rank_count; rank++) {
        size_t pieces = csl_pieces_of(csl_shard_of(sharding, rank));
        cards->mark_count = pieces > cards->mark_count ? pieces : cards->mark_count;
    }
    /* A piece of each row is received once, or sent to every other rank. */
    size_t message_max = (size_t)collector->row_count_max * sharding->rank_count;
    cards->messages = malloc((message_max + 1) * sizeof *cards->messages);
    cards->marks = calloc(cards->mark_count, sizeof *cards->marks);
    if (!cards->messages || !cards->marks) {
        return csl_fail(CSL_E_NO_MEMORY, "collector of %u updates", collector->row_count_max);
    }
    for (size_t piece = 0; piece < cards->mark_count; piece++) {
        CSL_TRY(csl_mark_create(cards->device, &cards->marks[piece]));
    }
    CSL_TRY(csl_device_alloc_host(cards->device, sharding->total * sizeof(float), &place));
    cards->host_place = place;
    CSL_TRY(allocate_floats(cards->device, own_count_max * sharding->total, &cards->outgoing));
    CSL_TRY(allocate_floats(cards->device, collector->row_count_max * collector->own.count,
                            &cards->incoming));
    for (uint32_t row = 0; row < collector->row_count_max; row++) {
        collector->rows[row] = cards->incoming + row * collector->own.count;
    }
    return CSL_OK;
}

void csl_cards_destroy(csl_collector *collector)
{
    csl_card_way *cards = &collector->cards;
    for (size_t piece = 0; cards->marks && piece < cards->mark_count; piece++) {
        csl_mark_destroy(cards->marks[piece]);
    }
    if (cards->device) {
        csl_device_free_host(cards->device, cards->host_place);
        csl_device_free(cards->device, cards->outgoing);
        csl_device_free(cards->device, cards->incoming);
    }
    free(cards->marks);
    free(cards->messages);
}

void csl_cards_begin(csl_collector *collector)
{
    uint32_t rank = csl_communicator_rank(collector->communicator);
    uint32_t slot = 0;
    for (uint32_t row = 0; row < collector->row_count; row++) {
        collector->cards.slots[row] = slot;
        slot += collector->owners[row] == rank;
    }
    collector->cards.started = false;
}

csl_status csl_cards_submit(csl_collector *collector, uint32_t row, const float *update)
{
    csl_card_way *cards = &collector->cards;
    size_t total = collector->sharding.total;
    float *slot = cards->outgoing + cards->slots[row] * total;
    CSL_TRY(csl_device_copy(cards->device, slot, update, total * sizeof *slot, CSL_COPY_TO_DEVICE));
    return csl_device_copy(cards->device, cards->incoming + row * collector->own.count,
                           slot + collector->own.begin, collector->own.count * sizeof *slot,
                           CSL_COPY_WITHIN_DEVICE);
}

/* One piece of every row: what this rank sends of its own, and receives of others. */
static size_t list_messages(csl_collector *collector, size_t piece)
{
    csl_card_way *cards = &collector->cards;
    const csl_sharding *sharding = &collector->sharding;
    uint32_t rank = csl_communicator_rank(collector->communicator);
    size_t count = 0;
    for (uint32_t row = 0; row < collector->row_count; row++) {
        if (collector->owners[row] != rank && piece < csl_pieces_of(collector->own)) {
            cards->messages[count++] = (csl_nccl_message){
                cards->incoming + row * collector->own.count + piece * CSL_PIECE_COUNT,
                csl_piece_count(collector->own, piece), collector->owners[row], false};
        }
        for (uint32_t peer = 0; collector->owners[row] == rank && peer < sharding->rank_count;
             peer++) {
            csl_coordinate_shard theirs = csl_shard_of(sharding, peer);
            if (peer != rank && piece < csl_pieces_of(theirs)) {
                cards->messages[count++] =
                    (csl_nccl_message){cards->outgoing + cards->slots[row] * sharding->total +
                                           theirs.begin + piece * CSL_PIECE_COUNT,
                                       csl_piece_count(theirs, piece), peer, true};
            }
        }
    }
    return count;
}

csl_status csl_cards_start(csl_collector *collector)
{
    csl_card_way *cards = &collector->cards;
    for (size_t piece = 0; piece < cards->mark_count; piece++) {
        size_t count = list_messages(collector, piece);
        CSL_TRY(csl_nccl_exchange(cards->nccl, cards->messages, count));
        CSL_TRY(csl_mark_set(cards->marks[piece]));
    }
    cards->started = true;
    return CSL_OK;
}

csl_status csl_cards_wait(csl_collector *collector, size_t begin, size_t count)
{
    csl_card_way *cards = &collector->cards;
    size_t end = begin + count;
    /* Whoever has all of its own also waits for what it sends: nobody computes while others wait.
     */
    size_t last = end < collector->own.count ? (end - 1) / CSL_PIECE_COUNT : cards->mark_count - 1;
    bool reached = !cards->started;
    while (!reached) {
        CSL_TRY(csl_mark_is_reached(cards->marks[last], &reached));
        if (!reached) {
            CSL_TRY(csl_communicator_serve(collector->communicator));
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        }
    }
    return CSL_OK;
}
