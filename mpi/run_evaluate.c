/*
 * Evaluation: every institution scores its own images, rank 0 merges.
 *
 * Scores and labels travel to rank 0, because the area under the curve over all institutions cannot
 * be had from theirs; images never do, and nothing of it is written or logged.
 */
#include "run_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SCORES_TAG = 12300 };

/* Scores of one institution's split under given parameters. */
static csl_status evaluate_split(csl_federated_run *run,
                                 const local_institution *local,
                                 const float *parameters,
                                 csl_split split,
                                 csl_evaluation **evaluation_out)
{
    csl_evaluation *evaluation = NULL;
    CSL_TRY(csl_evaluation_create(local->dataset, split, &evaluation));
    csl_status status = CSL_OK;
    if (evaluation->count > 0) {
        status =
            csl_evaluator_run(run->evaluator, parameters, local->dataset, &local->normalisation,
                              split, evaluation->scores, &evaluation->loss_sum);
    }
    if (status != CSL_OK) {
        csl_evaluation_destroy(evaluation);
        return csl_fail_context(status, "evaluating institution %u (%s)", local->index,
                                run->facts[local->index].site);
    }
    *evaluation_out = evaluation;
    return CSL_OK;
}

/* The global model as this institution uses it: with its own batch norm, if that stays local. */
static const float *
personal(csl_federated_run *run, const local_institution *local, const float *weights, float *copy)
{
    if (csl_federation_local_count(run->federation) == 0) {
        return weights;
    }
    memcpy(copy, weights, run->parameter_count * sizeof *copy);
    csl_federation_set_local(run->federation, local->state->local, copy);
    return copy;
}

/* Owned institutions' evaluations into `own`, [institutions], NULL where not owned. */
static csl_status
evaluate_own(csl_federated_run *run, csl_split split, float *copy, csl_evaluation **own)
{
    for (uint32_t i = 0; i < run->local_count; i++) {
        const local_institution *local = &run->locals[i];
        if (!local->owner) {
            continue;
        }
        const float *parameters = personal(run, local, run->state->weights, copy);
        CSL_TRY(csl_run_report(run));
        CSL_TRY(evaluate_split(run, local, parameters, split, &own[local->index]));
    }
    return CSL_OK;
}

/* An evaluation on its way. */
typedef struct score_message {
    uint8_t *bytes;
    size_t size;
} score_message;

/* Rank 0 gets room for what others send, others encode what they own, and all learn all sizes. */
static csl_status prepare_messages(csl_federated_run *run,
                                   csl_evaluation *const *all,
                                   score_message *messages,
                                   int64_t *sizes)
{
    uint32_t count = run->study->institutions.count;
    csl_status status = CSL_OK;
    for (uint32_t i = 0; i < count && status == CSL_OK; i++) {
        uint32_t owner = csl_placement_owner(&run->placement, i);
        if (owner == run->rank && owner != 0) {
            status = csl_evaluation_encode(all[i], &messages[i].bytes, &messages[i].size);
            sizes[i] = (int64_t)messages[i].size;
        }
    }
    CSL_TRY(csl_agree(run->communicator, status));
    CSL_TRY(csl_sum_integers(run->communicator, sizes, count));
    for (uint32_t i = 0; i < count && run->rank == 0 && status == CSL_OK; i++) {
        messages[i].size = (size_t)sizes[i];
        messages[i].bytes = sizes[i] > 0 ? malloc((size_t)sizes[i]) : NULL;
        if (sizes[i] > 0 && !messages[i].bytes) {
            status = csl_fail(CSL_E_NO_MEMORY, "scores of %zu bytes", messages[i].size);
        }
    }
    return csl_agree(run->communicator, status);
}

static csl_status move_message(csl_federated_run *run, uint32_t owner, const score_message *message)
{
    MPI_Request request = MPI_REQUEST_NULL;
    csl_communicator *communicator = run->communicator;
    if (run->rank == owner) {
        CSL_TRY(
            csl_send_begin(communicator, message->bytes, message->size, 0, SCORES_TAG, &request));
    } else {
        CSL_TRY(csl_receive_begin(communicator, message->bytes, message->size, owner, SCORES_TAG,
                                  &request));
    }
    return csl_wait(communicator, &request, 1);
}

static csl_status exchange_messages(csl_federated_run *run,
                                    csl_evaluation **all,
                                    score_message *messages,
                                    int64_t *sizes)
{
    CSL_TRY(prepare_messages(run, all, messages, sizes));
    uint32_t count = run->study->institutions.count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t owner = csl_placement_owner(&run->placement, i);
        if (owner != 0 && (run->rank == owner || run->rank == 0)) {
            CSL_TRY(move_message(run, owner, &messages[i]));
        }
    }
    for (uint32_t i = 0; i < count && run->rank == 0; i++) {
        if (messages[i].bytes) {
            CSL_TRY(csl_evaluation_decode(messages[i].bytes, messages[i].size, &all[i]));
        }
    }
    return CSL_OK;
}

/* Afterwards rank 0 has all evaluations in `all`. Whatever can fail on one rank fails before others
 * wait for it. */
static csl_status collect(csl_federated_run *run, csl_evaluation **all)
{
    uint32_t count = run->study->institutions.count;
    score_message *messages = calloc(count, sizeof *messages);
    int64_t *sizes = calloc(count, sizeof *sizes);
    csl_status status = messages && sizes ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "scores");
    status = csl_agree(run->communicator, status);
    if (status == CSL_OK) {
        status = exchange_messages(run, all, messages, sizes);
    }
    for (uint32_t i = 0; i < count && messages; i++) {
        free(messages[i].bytes);
    }
    free(messages);
    free(sizes);
    return status;
}

/* metrics [institutions + 1]: of every institution, and of all images together. */
static csl_status measure(csl_federated_run *run, csl_evaluation *const *all, csl_metrics *metrics)
{
    uint32_t count = run->study->institutions.count;
    for (uint32_t i = 0; i < count; i++) {
        csl_metrics_clear(&metrics[i]);
        CSL_TRY(csl_metrics_compute(all[i], &metrics[i]));
    }
    csl_evaluation *pool = NULL;
    CSL_TRY(csl_evaluation_merge((const csl_evaluation *const *)all, count, &pool));
    csl_metrics_clear(&metrics[count]);
    csl_status status = csl_metrics_compute(pool, &metrics[count]);
    csl_evaluation_destroy(pool);
    return status;
}

static csl_status evaluate(csl_federated_run *run, csl_split split, csl_metrics *metrics)
{
    uint32_t count = run->study->institutions.count;
    csl_evaluation **all = calloc(count, sizeof *all);
    float *copy = malloc(run->parameter_count * sizeof *copy);
    csl_status status =
        all && copy ? evaluate_own(run, split, copy, all) : csl_fail(CSL_E_NO_MEMORY, "evaluation");
    status = csl_agree(run->communicator, status);
    if (status == CSL_OK) {
        status = collect(run, all);
        if (status == CSL_OK && run->rank == 0) {
            status = measure(run, all, metrics);
        }
        status = csl_agree(run->communicator, status);
    }
    for (uint32_t i = 0; all && i < count; i++) {
        csl_evaluation_destroy(all[i]);
    }
    free(all);
    free(copy);
    return status;
}

/* Images of one institution with the trigger that the model takes for the target class. */
static csl_status count_successes(csl_federated_run *run,
                                  const local_institution *local,
                                  const float *parameters,
                                  int64_t *count)
{
    csl_evaluation *evaluation = NULL;
    CSL_TRY(csl_evaluation_create(local->triggered, CSL_SPLIT_TEST, &evaluation));
    csl_status status =
        csl_evaluator_run(run->evaluator, parameters, local->triggered, &local->normalisation,
                          CSL_SPLIT_TEST, evaluation->scores, &evaluation->loss_sum);
    uint32_t target = run->study->adversary.poison.target;
    for (uint64_t i = 0; status == CSL_OK && i < evaluation->count; i++) {
        const float *scores = evaluation->scores + i * evaluation->class_count;
        uint32_t best = 0;
        for (uint32_t c = 1; c < evaluation->class_count; c++) {
            best = scores[c] > scores[best] ? c : best;
        }
        *count += best == target;
    }
    csl_evaluation_destroy(evaluation);
    return status;
}

static csl_status count_own_successes(csl_federated_run *run, int64_t counts[2])
{
    float *copy = malloc(run->parameter_count * sizeof *copy);
    csl_status status = copy ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "evaluation");
    for (uint32_t i = 0; i < run->local_count && status == CSL_OK; i++) {
        const local_institution *local = &run->locals[i];
        if (local->owner && local->triggered) {
            counts[0] += (int64_t)local->triggered->count;
            status = count_successes(run, local, personal(run, local, run->state->weights, copy),
                                     &counts[1]);
        }
    }
    free(copy);
    return status;
}

static csl_status measure_backdoor(csl_federated_run *run)
{
    if (run->study->adversary.poison.attack != CSL_DATA_ATTACK_BACKDOOR) {
        return CSL_OK;
    }
    int64_t counts[2] = {0, 0};
    CSL_TRY(csl_agree(run->communicator, count_own_successes(run, counts)));
    CSL_TRY(csl_sum_integers(run->communicator, counts, 2));
    run->adversary.triggered = counts[0];
    run->adversary.succeeded = counts[1];
    return CSL_OK;
}

csl_status csl_run_evaluate(csl_federated_run *run, uint32_t round)
{
    run->news = (csl_news){.phase = CSL_PHASE_EVALUATE,
                           .round = round,
                           .institutions_done = run->news.institutions_done};
    CSL_TRY(evaluate(run, CSL_SPLIT_VALIDATION, run->validation));
    CSL_TRY(evaluate(run, CSL_SPLIT_TEST, run->test));
    CSL_TRY(measure_backdoor(run));
    run->evaluated = true;
    return CSL_OK;
}

/* One row of the matrix: a model on every institution's test images. The global model is used as
 * each institution uses it; `copy` is room for that, NULL for a local model. */
static csl_status
cross_site_row(csl_federated_run *run, const float *model, float *copy, double *row)
{
    for (uint32_t i = 0; i < run->local_count; i++) {
        const local_institution *local = &run->locals[i];
        if (!local->owner) {
            continue;
        }
        csl_evaluation *evaluation = NULL;
        CSL_TRY(csl_run_report(run));
        const float *parameters = copy ? personal(run, local, model, copy) : model;
        CSL_TRY(evaluate_split(run, local, parameters, CSL_SPLIT_TEST, &evaluation));
        csl_metrics metrics = {0};
        csl_status status = csl_metrics_compute(evaluation, &metrics);
        row[local->index] = status == CSL_OK ? csl_metrics_selection_score(&metrics) : NAN;
        csl_metrics_clear(&metrics);
        csl_evaluation_destroy(evaluation);
        CSL_TRY(status);
    }
    return CSL_OK;
}

/* The model of row `row` (0: global, i + 1: institution i's last local one) on every rank. */
static csl_status share_model(csl_federated_run *run, uint32_t row, float *model, bool *exists_out)
{
    uint32_t owner = row == 0 ? 0 : csl_placement_owner(&run->placement, row - 1);
    uint8_t exists = 1;
    if (owner == run->rank && row > 0) {
        const local_institution *local = csl_run_local(run, row - 1);
        exists = local->has_last_model;
        memcpy(model, local->last_model, exists ? run->parameter_count * sizeof *model : 0);
    } else if (owner == run->rank) {
        memcpy(model, run->state->weights, run->parameter_count * sizeof *model);
    }
    CSL_TRY(csl_broadcast(run->communicator, &exists, 1, owner));
    *exists_out = exists != 0;
    return exists ? csl_broadcast(run->communicator, model, run->parameter_count * sizeof *model,
                                  owner)
                  : CSL_OK;
}

csl_status csl_run_cross_site(csl_federated_run *run, double *values_out)
{
    uint32_t count = run->study->institutions.count;
    uint64_t *parts = calloc(run->rank_count + 1, sizeof *parts);
    float *model = malloc(run->parameter_count * sizeof *model);
    float *copy = malloc(run->parameter_count * sizeof *copy);
    csl_status status =
        parts && model && copy ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "cross-site evaluation");
    status = csl_agree(run->communicator, status);
    uint32_t institution = 0;
    for (uint32_t rank = 0; rank <= run->rank_count && parts; rank++) {
        parts[rank] = institution * sizeof *values_out;
        while (institution < count && csl_placement_owner(&run->placement, institution) == rank) {
            institution++;
        }
    }
    for (uint32_t row = 0; row <= count && status == CSL_OK; row++) {
        bool exists = false;
        double *values = values_out + (size_t)row * count;
        for (uint32_t i = 0; i < count; i++) {
            values[i] = NAN;
        }
        status = share_model(run, row, model, &exists);
        if (status == CSL_OK && exists) {
            status = csl_agree(run->communicator,
                               cross_site_row(run, model, row == 0 ? copy : NULL, values));
            status = status == CSL_OK ? csl_gather(run->communicator, values, parts) : status;
        }
    }
    free(parts);
    free(model);
    free(copy);
    return status;
}
