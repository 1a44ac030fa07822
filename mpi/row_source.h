/* Where a rule reads the updates of a round: in host memory as they arrive, or copied to a card. */
#ifndef CSL_ROW_SOURCE_H
#define CSL_ROW_SOURCE_H

#include <consilium/distribute.h>

typedef struct csl_row_source {
    csl_collector *collector; /* NULL: all values are there */
    csl_device *device;       /* of the rule */
    const float *const *rows; /* [row_count] each [count], host memory, lent */
    uint32_t row_count;
    size_t count;        /* columns of this rank */
    float *staging;      /* on a device that is not the host: [row_count][piece_count] */
    size_t piece_count;  /* columns at a time, a multiple of CSL_TILE, or count */
    size_t loaded_count; /* piece_count = count: columns that are on the device by now */
} csl_row_source;

/*
 * device: lent. row_count: rows at most; 0: they lie on the device already. memory_limit: bytes
 * that the rows may take on a device that is not the host; 0: half of what is free there. Rows that
 * do not fit are copied in pieces, once per pass. Errors: E_RANGE (not even a tile of each row
 * fits), E_NO_MEMORY. Not collective.
 */
CSL_MUST_CHECK csl_status csl_row_source_open(csl_row_source *source,
                                              csl_device *device,
                                              uint32_t row_count,
                                              size_t count,
                                              uint64_t memory_limit);
void csl_row_source_close(csl_row_source *source);
/* Rows of a new round. collector: waited for as columns are asked for, or NULL. */
void csl_row_source_begin(csl_row_source *source,
                          csl_collector *collector,
                          const float *const *rows,
                          uint32_t row_count);
/* csl_aggregate_input.load, with the source as its context. */
csl_status csl_row_source_load(void *context, size_t begin, size_t count, const float **rows_out);
/* Columns that load is to be asked for at a time: csl_aggregate_input.chunk_count. */
size_t csl_row_source_step(const csl_row_source *source);

#endif
