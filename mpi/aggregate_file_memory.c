/* What a rule keeps from one aggregation of a file to the next, read and written by all ranks. */
#include "aggregate_file_internal.h"

#include <string.h>
#include <unistd.h>

static csl_kept_facts facts_of(const csl_file_aggregation *a)
{
    return (csl_kept_facts){
        .rule = a->job->spec.rule, .per_institution = a->keeps_histories, .updates = a->updates};
}

csl_status csl_file_memory_prepare(csl_file_aggregation *a)
{
    const csl_rule_info *rule = NULL;
    if (!a->job->memory) {
        return CSL_OK;
    }
    CSL_TRY(csl_rule_find(a->job->spec.rule, &rule));
    if (!(rule->needs & (CSL_NEEDS_CENTRE | CSL_NEEDS_HISTORY))) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "--memory: rule %s keeps nothing from one call to the next", rule->name);
    }
    a->keeps_histories = (rule->needs & CSL_NEEDS_HISTORY) != 0;
    a->kept_count = a->keeps_histories ? a->row_count : 1;
    return CSL_OK;
}

/* The slot of the engine's memory that row k of the file stands for. */
static uint32_t slot_of(const csl_file_aggregation *a, uint32_t k)
{
    const uint32_t *institutions = csl_updates_institutions(a->updates);
    if (!a->keeps_histories) {
        return CSL_MEMORY_CENTRE;
    }
    return CSL_MEMORY_HISTORY + (institutions ? institutions[k] : k);
}

/* Own columns of row k, through the block that later holds rows. A rank without columns has the
 * slot too: what is kept is the same everywhere. */
static csl_status read_row(csl_file_aggregation *a, csl_kept *kept, uint32_t k)
{
    size_t at = 0;
    do {
        size_t left = a->own.count - at;
        size_t count = left < a->piece_count ? left : a->piece_count;
        CSL_TRY(csl_kept_read(kept, k, a->own.begin + at, count, a->host_block));
        CSL_TRY(csl_aggregate_memory_set(a->memory, slot_of(a, k), at, count, a->host_block));
        at += count;
    } while (at < a->own.count);
    return CSL_OK;
}

static csl_status read_file(csl_file_aggregation *a)
{
    csl_kept *kept = NULL;
    csl_kept_facts facts = facts_of(a);
    CSL_TRY(csl_kept_open(a->job->memory, &facts, &kept));
    csl_status status = CSL_OK;
    for (uint32_t k = 0; status == CSL_OK && k < a->kept_count; k++) {
        status = read_row(a, kept, k);
    }
    csl_kept_close(kept);
    return status;
}

csl_status csl_file_memory_read(csl_file_aggregation *a)
{
    if (!a->job->memory) {
        return CSL_OK;
    }
    /* Rank 0 says whether this is a first call: where another rank does not see the file, it fails
     * instead of starting from nothing. */
    unsigned char exists = a->rank == 0 && access(a->job->memory, F_OK) == 0;
    CSL_TRY(csl_broadcast(a->communicator, &exists, sizeof exists, 0));
    csl_status status = csl_aggregate_memory_create(a->device, a->own.count, &a->memory);
    if (status == CSL_OK && exists) {
        status = read_file(a);
    }
    return csl_agree(a->communicator, status);
}

static csl_status take(void *context, size_t begin, size_t count, const float *values)
{
    (void)begin;
    return csl_kept_append(context, count, values);
}

/* One row to rank 0, which writes it. A history that does not exist, of an update that was refused,
 * is zero. */
static csl_status write_row(csl_file_aggregation *a, uint32_t k, csl_kept_writer *writer)
{
    uint32_t slot = slot_of(a, k);
    csl_status status = CSL_OK;
    if (csl_aggregate_memory_has(a->memory, slot)) {
        status = csl_aggregate_memory_get(a->memory, slot, 0, a->own.count, a->aggregate);
    } else {
        memset(a->aggregate, 0, a->own.count * sizeof *a->aggregate);
    }
    CSL_TRY(csl_agree(a->communicator, status));
    status =
        csl_stream_coordinates(a->communicator, &a->sharding, a->aggregate, a->room, take, writer);
    return csl_communicator_is_broken(a->communicator) ? status
                                                       : csl_agree(a->communicator, status);
}

csl_status csl_file_memory_write(csl_file_aggregation *a)
{
    if (!a->job->memory) {
        return CSL_OK;
    }
    csl_kept_writer *writer = NULL;
    csl_kept_facts facts = facts_of(a);
    csl_status status = a->rank == 0 ? csl_kept_create(a->job->memory, &facts, &writer) : CSL_OK;
    status = csl_agree(a->communicator, status);
    for (uint32_t k = 0; status == CSL_OK && k < a->kept_count; k++) {
        status = write_row(a, k, writer);
    }
    if (writer) {
        status = csl_kept_finish(writer, status);
    }
    return csl_communicator_is_broken(a->communicator) ? status
                                                       : csl_agree(a->communicator, status);
}
