/* Who aggregates, on which device, and how updates get there. */
#include "node_memory.h"
#include "run_internal.h"

#include <consilium/log.h>

#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

static bool is_attacked(const csl_federated_run *run)
{
    return strcmp(run->study->adversary.spec.attack, "none") != 0;
}

/* The card a rank trains on also aggregates. Attacks compute on the host, and so does the rule that
 * they look for a way around; a caller's own rule is handed host memory. */
static csl_device *choose_device(const csl_federated_run *run)
{
    const csl_run_options *options = run->options;
    bool on_host = options->aggregate_on_host || options->aggregate || is_attacked(run);
    return on_host ? run->host : run->devices[0];
}

static csl_status allocate(csl_device *device, size_t count, float **vector_out)
{
    void *memory = NULL;
    CSL_TRY(csl_device_alloc(device, count * sizeof **vector_out, &memory));
    *vector_out = memory;
    return CSL_OK;
}

/* Updates of a round that this rank submits at most. */
static uint32_t own_rows(const csl_federated_run *run)
{
    uint32_t own = 0;
    for (uint32_t i = 0; i < run->local_count; i++) {
        own += run->locals[i].owner;
    }
    return own < run->study->institutions.per_round ? own : run->study->institutions.per_round;
}

uint64_t csl_run_card_rows_size(const csl_federated_run *run, uint32_t rank, uint32_t own_rows_max)
{
    uint64_t rows = run->study->institutions.per_round;
    uint64_t own = csl_shard_of(&run->sharding, rank).count;
    return (rows * own + own_rows_max * (uint64_t)run->parameter_count) * sizeof(float);
}

uint64_t csl_run_card_limit(const csl_federated_run *run)
{
    return run->options->memory_limit ? run->options->memory_limit
                                      : csl_device_get_info(run->aggregating)->memory_free_size / 2;
}

/* Do the rows that arrive and those that leave fit on every rank's card? */
static csl_status fits_on_cards(csl_federated_run *run, bool *fits_out)
{
    int64_t missing =
        csl_run_card_rows_size(run, run->rank, own_rows(run)) > csl_run_card_limit(run);
    CSL_TRY(csl_sum_integers(run->communicator, &missing, 1));
    *fits_out = missing == 0;
    return CSL_OK;
}

csl_status csl_run_find_cards(csl_federated_run *run, char *reason, size_t reason_size)
{
    csl_transport wanted = run->options->transport;
    run->aggregating = choose_device(run);
    return wanted == CSL_TRANSPORT_AUTO || wanted == CSL_TRANSPORT_NCCL
               ? csl_nccl_create(run->communicator, run->aggregating, reason, reason_size,
                                 &run->nccl)
               : CSL_OK;
}

/* Collective. run->nccl stays NULL where updates go over host memory. */
static csl_status connect_cards(csl_federated_run *run)
{
    csl_transport wanted = run->options->transport;
    char reason[256] = "";
    CSL_TRY(csl_run_find_cards(run, reason, sizeof reason));
    if (wanted != CSL_TRANSPORT_AUTO && wanted != CSL_TRANSPORT_NCCL) {
        return CSL_OK;
    }
    bool fits = true;
    if (run->nccl) {
        CSL_TRY(fits_on_cards(run, &fits));
    }
    if (!fits) {
        csl_nccl_destroy(run->nccl);
        run->nccl = NULL;
        snprintf(reason, sizeof reason, "the updates do not fit into the memory of the cards");
    }
    if (!run->nccl && wanted == CSL_TRANSPORT_NCCL) {
        return csl_fail(CSL_E_UNSUPPORTED, "transport nccl: %s", reason);
    }
    if (!run->nccl && run->rank == 0 && csl_device_stream(run->aggregating)) {
        csl_log(CSL_LOG_INFO, "run", "updates go over host memory, not by NCCL: %s", reason);
    }
    return CSL_OK;
}

csl_collector_options csl_run_collector_options(const csl_federated_run *run, uint32_t own_rows_max)
{
    /* Where a card aggregates, the limit that was asked for is the card's. */
    const char *resource = csl_device_get_info(run->aggregating)->resource;
    bool asked = run->options->memory_limit > 0 && strcmp(resource, "host") == 0;
    uint64_t limit = asked ? run->options->memory_limit : csl_node_memory_share(run->communicator);
    uint32_t collectors = csl_federation_has_control(run->federation) ? 2 : 1;
    return (csl_collector_options){.row_count_max = run->study->institutions.per_round,
                                   .own_count_max = own_rows_max,
                                   .nccl = run->nccl,
                                   .memory_limit = limit / collectors,
                                   .must_fit = asked,
                                   .folder = run->directory};
}

/* Rows in a file take time to read again, and gain nothing where the file itself is in memory. */
static void tell_files(const csl_federated_run *run)
{
    struct statfs system;
    if (run->rank != 0 || !csl_collector_is_in_files(run->updates)) {
        return;
    }
    csl_log(CSL_LOG_INFO, "run",
            "the updates of a round take more than the memory limit: they lie in a file in %s, and "
            "%zu coordinates of each are in memory at a time",
            run->directory, csl_collector_step(run->updates));
    if (statfs(run->directory, &system) == 0 &&
        (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC)) {
        csl_log(CSL_LOG_WARN, "run", "%s is in memory itself: the memory limit saves nothing there",
                run->directory);
    }
}

static csl_status open_collectors(csl_federated_run *run)
{
    csl_collector_options options = csl_run_collector_options(run, own_rows(run));
    CSL_TRY(csl_collector_create(run->communicator, &run->sharding, &options, &run->updates));
    tell_files(run);
    options.nccl = NULL;
    options.channel = 1;
    return csl_federation_has_control(run->federation)
               ? csl_collector_create(run->communicator, &run->sharding, &options, &run->controls)
               : CSL_OK;
}

/* This rank's memory of the rule, on the device that aggregates. */
static csl_status open_rule(csl_federated_run *run)
{
    size_t own = csl_shard_of(&run->sharding, run->rank).count;
    bool there = csl_collector_device(run->updates) != NULL;
    CSL_TRY(csl_row_source_open(&run->source, run->aggregating,
                                there ? 0 : run->study->institutions.per_round, own,
                                run->options->memory_limit));
    if (run->aggregating != run->host) {
        const csl_rule_info *rule = NULL;
        CSL_TRY(csl_rule_find(run->study->aggregation.spec.rule, &rule));
        CSL_TRY(allocate(run->aggregating, own, &run->device_aggregate));
        if (rule->needs & CSL_NEEDS_ROOT) {
            CSL_TRY(allocate(run->aggregating, own, &run->device_root));
        }
    }
    return csl_aggregate_memory_create(run->aggregating, own, &run->memory);
}

csl_status csl_run_check_aggregators(const csl_federated_run *run)
{
    const csl_run_options *options = run->options;
    uint32_t count = options->aggregator_count;
    if (count > 0 && options->aggregators[count - 1] >= run->rank_count) {
        return csl_fail(CSL_E_RANGE, "ranks that aggregate: expected ranks below %u, found %u",
                        run->rank_count, options->aggregators[count - 1]);
    }
    return CSL_OK;
}

void csl_run_choose_aggregators(csl_federated_run *run)
{
    run->sharding = (csl_sharding){.total = run->parameter_count,
                                   .rank_count = run->rank_count,
                                   .aggregator_count = run->options->aggregator_count,
                                   .aggregators = run->options->aggregators};
}

csl_status csl_run_open_aggregation(csl_federated_run *run)
{
    csl_run_choose_aggregators(run);
    CSL_TRY(connect_cards(run));
    CSL_TRY(open_collectors(run));
    return csl_agree(run->communicator, open_rule(run));
}

void csl_run_clear_aggregation(csl_federated_run *run)
{
    csl_collector_destroy(run->updates);
    csl_collector_destroy(run->controls);
    csl_nccl_destroy(run->nccl);
    csl_aggregate_report_destroy(run->selection);
    csl_aggregate_memory_destroy(run->memory);
    csl_row_source_close(&run->source);
    if (run->aggregating) {
        csl_device_free(run->aggregating, run->device_aggregate);
        csl_device_free(run->aggregating, run->device_root);
    }
}

const char *csl_run_transport(const csl_federated_run *run)
{
    return csl_collector_is_in_files(run->updates) ? "a file that all ranks of the node map"
           : run->rank_count == 1                  ? "nothing, one rank has them all"
           : run->nccl                             ? "NCCL"
           : csl_collector_is_shared(run->updates) ? "shared memory"
                                                   : "messages";
}
