/* From the updates of a round to the next global model. */
#include "run_internal.h"

#include <consilium/log.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static csl_status weigh(const csl_federated_run *run, csl_weighting weighting, double *weights)
{
    uint64_t samples[CSL_ROWS_MAX];
    uint32_t count = run->study->institutions.per_round;
    for (uint32_t row = 0; row < count; row++) {
        samples[row] = run->facts[run->sampled[row]].train_count;
    }
    return csl_federation_weights(weighting, samples, count, weights);
}

static csl_status add_over_ranks(void *context, int64_t *values, size_t count)
{
    return csl_sum_integers(context, values, count);
}

/* The row of an institution, NULL if it takes no part in the round. */
static const float *row_of(const csl_update_block *block, uint32_t institution)
{
    for (uint32_t row = 0; row < block->row_count; row++) {
        if (block->institutions[row] == institution) {
            return block->rows[row];
        }
    }
    return NULL;
}

/* Hostile institutions' rows are replaced on the host, once all are here. */
static csl_status
replace_hostile(csl_federated_run *run, csl_update_block *block, csl_aggregate_input *input)
{
    if (!csl_run_is_attacked(run, block->round)) {
        return CSL_OK;
    }
    csl_status arrived = csl_collector_finish(run->updates);
    CSL_TRY(csl_agree(run->communicator, arrived)); /* an attack is collective */
    input->rows = block->rows;
    CSL_TRY(csl_run_attack(run, block, input));
    input->root = row_of(block, run->study->aggregation.root); /* it may be hostile */
    return CSL_OK;
}

/* The rule on the device that aggregates: rows come as they arrive, the result goes back. */
static csl_status run_rule(csl_federated_run *run,
                           const csl_update_block *block,
                           csl_aggregate_input *input,
                           float *aggregate)
{
    csl_row_source *source = &run->source;
    float *out = run->device_aggregate ? run->device_aggregate : aggregate;
    if (block->shard.count == 0) { /* nothing to compute while own rows travel */
        CSL_TRY(csl_collector_finish(run->updates));
    }
    csl_row_source_begin(source, run->updates, block->rows, block->row_count);
    input->device = run->aggregating;
    input->rows = NULL;
    input->load = csl_row_source_load;
    input->load_context = source;
    input->chunk_count = csl_row_source_step(source);
    input->memory = run->memory;
    if (input->root && run->device_root && !csl_collector_device(run->updates)) {
        /* The trusted update is read beside every piece of the others. */
        csl_status status = csl_collector_finish(run->updates);
        if (status == CSL_OK) {
            status = csl_device_copy(run->aggregating, run->device_root, input->root,
                                     block->shard.count * sizeof(float), CSL_COPY_TO_DEVICE);
        }
        CSL_TRY(csl_agree(run->communicator, status));
        input->root = run->device_root;
    }
    CSL_TRY(csl_aggregate(&run->study->aggregation.spec, input, out, &run->selection));
    return out == aggregate ? CSL_OK
                            : csl_device_copy(run->aggregating, aggregate, out,
                                              block->shard.count * sizeof(float), CSL_COPY_TO_HOST);
}

/* A round that moves nothing is no failure, but nobody should learn of it from the curves. */
static void tell_empty(const csl_federated_run *run, uint32_t round)
{
    if (run->rank == 0 && run->selection->empty) {
        csl_log(CSL_LOG_WARN, "run",
                "round %u: %s trusted none of the %u updates, so the aggregate is zero", round,
                run->selection->rule, run->selection->row_count);
    }
}

/* The study's rule. */
static csl_status apply_rule(csl_federated_run *run, csl_update_block *block, float *aggregate)
{
    csl_aggregate_input input = {
        .device = run->host,
        .row_count = block->row_count,
        .column_begin = block->shard.begin,
        .column_count = block->shard.count,
        .column_total = block->total,
        .weights = block->weights,
        .institutions = block->institutions,
        .round = block->round,
        .exchange = {.context = run->communicator, .sum_int64 = add_over_ranks},
        .memory = run->memory,
    };
    input.root = row_of(block, run->study->aggregation.root);
    csl_aggregate_report_destroy(run->selection);
    run->selection = NULL;
    CSL_TRY(replace_hostile(run, block, &input));
    run->used_rows = block->rows;
    CSL_TRY(run_rule(run, block, &input, aggregate));
    tell_empty(run, block->round);
    csl_run_judge(run, aggregate, block->round);
    return CSL_OK;
}

/* This rank's coordinates of the next model, in place. */
static csl_status step(csl_federated_run *run, csl_update_block *block, float *aggregate)
{
    const csl_run_options *options = run->options;
    csl_coordinate_shard shard = block->shard;
    if (options->aggregate) {
        CSL_TRY(csl_agree(run->communicator, csl_collector_finish(run->updates)));
        CSL_TRY(options->aggregate(options->aggregate_context, block, aggregate));
    } else {
        CSL_TRY(apply_rule(run, block, aggregate));
    }
    csl_run_state *state = run->state;
    return csl_federation_apply(run->federation, shard.begin, shard.count, aggregate,
                                state->weights + shard.begin,
                                state->first ? state->first + shard.begin : NULL,
                                state->second ? state->second + shard.begin : NULL);
}

/* SCAFFOLD's server control moves by the plain mean of the differences, whatever the rule. */
static csl_status step_control(csl_federated_run *run, csl_update_block *block, float *aggregate)
{
    double weights[CSL_ROWS_MAX];
    CSL_TRY(weigh(run, CSL_WEIGHTING_EQUAL, weights));
    block->weights = weights;
    CSL_TRY(csl_aggregate_mean(run->host, block, aggregate));
    return csl_scaffold_apply(run->federation, block->shard.begin, block->shard.count, aggregate,
                              run->study->institutions.per_round, run->study->institutions.count,
                              run->state->control + block->shard.begin);
}

static csl_status aggregate_shard(csl_federated_run *run, uint32_t round, float *aggregate)
{
    double weights[CSL_ROWS_MAX];
    CSL_TRY(weigh(run, run->study->federation.weighting, weights));
    csl_update_block block = {
        .communicator = run->communicator,
        .weights = weights,
        .institutions = run->sampled,
        .row_count = run->study->institutions.per_round,
        .rows = csl_collector_rows(run->updates),
        .shard = csl_shard_of(&run->sharding, run->rank),
        .total = run->parameter_count,
        .round = round,
    };
    /* The rule is collective: a rank that cannot take part must say so first. */
    csl_status ready =
        aggregate ? CSL_OK
                  : csl_fail(CSL_E_NO_MEMORY, "aggregate of %zu values", block.shard.count);
    ready = ready == CSL_OK ? csl_collector_start(run->updates) : ready;
    CSL_TRY(csl_agree(run->communicator, ready));
    run->used_rows = block.rows;
    CSL_TRY(step(run, &block, aggregate));
    CSL_TRY(csl_collector_finish(run->updates)); /* own rows are away */
    if (run->controls) {
        CSL_TRY(csl_collector_finish(run->controls));
        block.rows = csl_collector_rows(run->controls);
        CSL_TRY(step_control(run, &block, aggregate));
    }
    return CSL_OK;
}

csl_status csl_run_aggregate(csl_federated_run *run, uint32_t round)
{
    run->news = (csl_news){.phase = CSL_PHASE_AGGREGATE,
                           .round = round,
                           .institutions_done = run->news.institutions_done};
    CSL_TRY(csl_run_report(run));
    csl_run_state *state = run->state;
    size_t count = csl_shard_of(&run->sharding, run->rank).count;
    float *aggregate = malloc(count * sizeof *aggregate + 1);
    csl_status status = aggregate_shard(run, round, aggregate);
    free(aggregate);
    CSL_TRY(csl_agree(run->communicator, status));
    double weights[CSL_ROWS_MAX];
    CSL_TRY(weigh(run, run->study->federation.weighting, weights));
    CSL_TRY(csl_run_keep_updates(run, round, weights));
    csl_collector_release(run->updates);
    CSL_TRY(csl_global_vector_complete(run->weights));
    float *vectors[] = {state->control, state->first, state->second};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        if (vectors[i]) {
            CSL_TRY(csl_gather_coordinates(run->communicator, &run->sharding, vectors[i]));
        }
    }
    state->round = round;
    return CSL_OK;
}
