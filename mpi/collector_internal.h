/* A collector's fields, shared by the files of the three ways that updates travel. */
#ifndef CSL_COLLECTOR_INTERNAL_H
#define CSL_COLLECTOR_INTERNAL_H

#include "nccl_exchange.h"
#include "shared_memory.h"

#include <consilium/distribute.h>

/* Coordinates of one message: 4 MiB hide the latency, and a rule can begin with the first. */
enum { CSL_PIECE_COUNT = CSL_STREAM_COUNT };

enum {
    CSL_CHANNELS = 4,
    CSL_TAG_ROWS = 4096, /* a tag for each row of each channel; below: gradients of shards */
    CSL_TAG_COLLECT = CSL_TAG_ROWS + CSL_CHANNELS * CSL_ROWS_MAX
};

/* From card to card. */
typedef struct csl_card_way {
    csl_nccl *nccl;               /* lent; NULL: another way */
    csl_device *device;           /* its own */
    float *host_place;            /* page-locked: [total] the update to be submitted */
    float *outgoing;              /* device: [own_count_max][total] this rank's rows */
    float *incoming;              /* device: [row_count_max][own.count] */
    csl_mark **marks;             /* [mark_count] reached when a piece of every row is here */
    size_t mark_count;            /* pieces of the largest shard */
    csl_nccl_message *messages;   /* of one piece of all rows */
    uint32_t slots[CSL_ROWS_MAX]; /* of a row of this rank among the outgoing ones */
    bool started;
} csl_card_way;

struct csl_collector {
    csl_communicator *communicator;
    csl_sharding sharding;
    uint32_t row_count_max;
    uint32_t channel;
    csl_coordinate_shard own;
    csl_card_way cards;
    csl_shared_memory *shared; /* every rank's places [own_count_max][stride]; NULL: messages */
    bool in_files;             /* the places: pages that are not in use leave memory */
    size_t step;               /* columns that are waited for at a time */
    size_t stride;
    float **places;         /* [row_count_max] of this rank's rows in shared memory, else NULL */
    float *buffer;          /* messages: [row_count_max][own.count] */
    const float **rows;     /* [row_count_max] this rank's coordinates of each update */
    float *outgoing;        /* messages: [total] the update under way to the others */
    MPI_Request *receiving; /* [pieces of own][row_count_max] */
    MPI_Request *sending;   /* [send_count] a request per piece of each rank's shard */
    size_t send_count;
    uint32_t row_count;
    uint32_t owners[CSL_ROWS_MAX];
    uint8_t submitted[CSL_ROWS_MAX]; /* by this rank */
};

/* Pieces of a shard, and the values of one of them. */
size_t csl_pieces_of(csl_coordinate_shard shard);
size_t csl_piece_count(csl_coordinate_shard shard, size_t piece);

/* collect_on_cards.c: what the functions of <consilium/distribute.h> do on this way. */
CSL_MUST_CHECK csl_status csl_cards_allocate(csl_collector *collector, uint32_t own_count_max);
void csl_cards_destroy(csl_collector *collector);
void csl_cards_begin(csl_collector *collector);
CSL_MUST_CHECK csl_status csl_cards_submit(csl_collector *collector,
                                           uint32_t row,
                                           const float *update);
CSL_MUST_CHECK csl_status csl_cards_start(csl_collector *collector);
CSL_MUST_CHECK csl_status csl_cards_wait(csl_collector *collector, size_t begin, size_t count);

#endif
