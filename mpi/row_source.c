#include "row_source.h"

#include <stdlib.h>
#include <string.h>

static bool is_host(const csl_device *device)
{
    return strcmp(csl_device_get_info(device)->resource, "host") == 0;
}

csl_status csl_row_source_open(csl_row_source *source,
                               csl_device *device,
                               uint32_t row_count,
                               size_t count,
                               uint64_t memory_limit)
{
    *source = (csl_row_source){.device = device, .count = count, .piece_count = count};
    if (is_host(device) || count == 0 || row_count == 0) {
        return CSL_OK;
    }
    uint64_t limit =
        memory_limit ? memory_limit : csl_device_get_info(device)->memory_free_size / 2;
    uint64_t column_size = row_count * sizeof(float);
    if (column_size * count > limit) {
        source->piece_count = limit / column_size / CSL_TILE * CSL_TILE;
    }
    if (source->piece_count == 0) {
        return csl_fail(
            CSL_E_RANGE, "memory limit of %llu bytes: a tile of %u updates needs %llu on %s",
            (unsigned long long)limit, row_count, (unsigned long long)(column_size * CSL_TILE),
            csl_device_get_info(device)->resource);
    }
    void *memory = NULL;
    CSL_TRY(csl_device_alloc(device, column_size * source->piece_count, &memory));
    source->staging = memory;
    return CSL_OK;
}

void csl_row_source_close(csl_row_source *source)
{
    if (source->staging) {
        csl_device_free(source->device, source->staging);
    }
    source->staging = NULL;
}

void csl_row_source_begin(csl_row_source *source,
                          csl_collector *collector,
                          const float *const *rows,
                          uint32_t row_count)
{
    source->collector = collector;
    source->rows = rows;
    source->row_count = row_count;
    source->loaded_count = 0;
}

/* Columns [begin, begin + count) to the device, unless they are there since an earlier pass. */
static csl_status stage(csl_row_source *source, size_t begin, size_t count)
{
    bool stays = source->piece_count == source->count;
    if (stays && begin + count <= source->loaded_count) {
        return CSL_OK;
    }
    for (uint32_t i = 0; i < source->row_count; i++) {
        float *target = source->staging + i * source->piece_count + (stays ? begin : 0);
        CSL_TRY(csl_device_copy(source->device, target, source->rows[i] + begin,
                                count * sizeof(float), CSL_COPY_TO_DEVICE));
    }
    source->loaded_count = begin + count;
    return CSL_OK;
}

csl_status csl_row_source_load(void *context, size_t begin, size_t count, const float **rows_out)
{
    csl_row_source *source = context;
    if (source->collector) {
        CSL_TRY(csl_collector_wait(source->collector, begin, count));
    }
    if (!source->staging) {
        for (uint32_t i = 0; i < source->row_count; i++) {
            rows_out[i] = source->rows[i] + begin;
        }
        return CSL_OK;
    }
    CSL_TRY(stage(source, begin, count));
    bool stays = source->piece_count == source->count;
    for (uint32_t i = 0; i < source->row_count; i++) {
        rows_out[i] = source->staging + i * source->piece_count + (stays ? begin : 0);
    }
    return CSL_OK;
}

size_t csl_row_source_step(const csl_row_source *source)
{
    size_t step = source->collector ? csl_collector_step(source->collector) : source->count;
    step = step < source->piece_count ? step : source->piece_count;
    return step > 0 ? (step + CSL_TILE - 1) / CSL_TILE * CSL_TILE : CSL_TILE;
}
