/* What rules keep from round to round, and how a checkpoint reaches it. */
#include "aggregation.h"

#include <stdlib.h>

csl_status csl_aggregate_memory_create(csl_device *device,
                                       size_t column_count,
                                       csl_aggregate_memory **memory_out)
{
    csl_aggregate_memory *memory = calloc(1, sizeof *memory);
    if (!memory) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation memory");
    }
    memory->device = device;
    memory->column_count = column_count;
    *memory_out = memory;
    return CSL_OK;
}

void csl_aggregate_memory_destroy(csl_aggregate_memory *memory)
{
    if (!memory) {
        return;
    }
    csl_device_free(memory->device, memory->centre);
    for (size_t i = 0; i < CSL_INSTITUTIONS_MAX; i++) {
        csl_device_free(memory->device, memory->history[i]);
    }
    free(memory);
}

/* One row of the local columns, zero; at least one value, so that NULL means that there is none. */
static csl_status open_row(csl_aggregate_memory *memory, float **row)
{
    if (*row) {
        return CSL_OK;
    }
    size_t count = memory->column_count ? memory->column_count : 1;
    void *fresh = NULL;
    CSL_TRY(csl_device_alloc(memory->device, count * sizeof(float), &fresh));
    csl_status status = csl_device_kernels(memory->device)->fill(memory->device, 0, count, fresh);
    if (status != CSL_OK) {
        csl_device_free(memory->device, fresh);
        return status;
    }
    *row = fresh;
    return CSL_OK;
}

csl_status csl_memory_open_history(csl_aggregate_memory *memory, uint32_t institution)
{
    return open_row(memory, &memory->history[institution]);
}

csl_status csl_memory_open_centre(csl_aggregate_memory *memory)
{
    return open_row(memory, &memory->centre);
}

csl_status csl_memory_copy_centre(csl_aggregate_memory *memory, const float *centre)
{
    size_t size = memory->column_count * sizeof(float);
    return size > 0 ? csl_device_copy(memory->device, memory->centre, centre, size,
                                      CSL_COPY_WITHIN_DEVICE)
                    : CSL_OK;
}

static float *const *slot_row(const csl_aggregate_memory *memory, uint32_t slot)
{
    return slot == CSL_MEMORY_CENTRE ? &memory->centre
                                     : &memory->history[slot - CSL_MEMORY_HISTORY];
}

bool csl_aggregate_memory_has(const csl_aggregate_memory *memory, uint32_t slot)
{
    if (slot >= CSL_MEMORY_SLOTS) {
        return false;
    }
    return slot == CSL_MEMORY_CENTRE ? memory->has_centre : *slot_row(memory, slot) != NULL;
}

static csl_status
check_slot(const csl_aggregate_memory *memory, uint32_t slot, size_t begin, size_t count)
{
    if (slot >= CSL_MEMORY_SLOTS || begin > memory->column_count ||
        count > memory->column_count - begin) {
        return csl_fail(CSL_E_RANGE,
                        "aggregation memory: slot %u, %zu columns from %zu: expected slots below "
                        "%d and columns below %zu",
                        slot, count, begin, CSL_MEMORY_SLOTS, memory->column_count);
    }
    return CSL_OK;
}

csl_status csl_aggregate_memory_get(const csl_aggregate_memory *memory,
                                    uint32_t slot,
                                    size_t begin,
                                    size_t count,
                                    float *values_out)
{
    CSL_TRY(check_slot(memory, slot, begin, count));
    if (!csl_aggregate_memory_has(memory, slot)) {
        return csl_fail(CSL_E_NOT_FOUND, "aggregation memory: slot %u was never used", slot);
    }
    if (count == 0) {
        return CSL_OK;
    }
    return csl_device_copy(memory->device, values_out, *slot_row(memory, slot) + begin,
                           count * sizeof(float), CSL_COPY_TO_HOST);
}

csl_status csl_aggregate_memory_set(
    csl_aggregate_memory *memory, uint32_t slot, size_t begin, size_t count, const float *values)
{
    CSL_TRY(check_slot(memory, slot, begin, count));
    bool centre = slot == CSL_MEMORY_CENTRE;
    float **row = centre ? &memory->centre : &memory->history[slot - CSL_MEMORY_HISTORY];
    CSL_TRY(open_row(memory, row));
    if (count > 0) {
        CSL_TRY(csl_device_copy(memory->device, *row + begin, values, count * sizeof(float),
                                CSL_COPY_TO_DEVICE));
    }
    memory->has_centre = memory->has_centre || centre;
    return CSL_OK;
}
