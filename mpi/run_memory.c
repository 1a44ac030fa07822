/* What the process took of its memory at most, as the kernel counts it. */
#include "run_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of /proc/self/status in bytes, 0 where there is none. */
static uint64_t status_size(const char *key)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    uint64_t size = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            size = strtoull(line + strlen(key), NULL, 10) * 1024;
        }
    }
    if (file) {
        fclose(file);
    }
    return size;
}

void csl_run_begin_memory(csl_federated_run *run)
{
    /* Starting MPI may have taken more for a moment than the run will: 5 resets the mark. */
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) {
        fputs("5", file);
        fclose(file);
    }
    run->memory_before = status_size("VmRSS:");
}

csl_status csl_run_share_memory(csl_federated_run *run)
{
    int64_t *sizes = calloc(2 * run->rank_count, sizeof *sizes);
    csl_status status = sizes ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "memory of ranks");
    status = csl_agree(run->communicator, status);
    if (status == CSL_OK) {
        sizes[2 * run->rank] = (int64_t)run->memory_before;
        sizes[2 * run->rank + 1] = (int64_t)status_size("VmHWM:");
        status = csl_sum_integers(run->communicator, sizes, 2 * (size_t)run->rank_count);
    }
    if (status != CSL_OK) {
        free(sizes);
        return status;
    }
    run->memory_sizes = sizes;
    return CSL_OK;
}

void csl_run_add_memory(const csl_federated_run *run, csl_event *event)
{
    uint64_t *values = calloc(run->rank_count, sizeof *values);
    static const char *const keys[] = {"memory_before", "memory_peak"};
    for (int k = 0; k < 2 && values && run->memory_sizes; k++) {
        for (uint32_t rank = 0; rank < run->rank_count; rank++) {
            values[rank] = (uint64_t)run->memory_sizes[2 * rank + (uint32_t)k];
        }
        csl_event_add_integers(event, keys[k], values, run->rank_count);
    }
    free(values);
}
