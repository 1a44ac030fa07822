/* Local training: one institution after the other on a rank, its shards side by side. */
#include "run_internal.h"

#include <consilium/log.h>
#include <consilium/random.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

bool csl_run_is_stopped(const csl_federated_run *run)
{
    return run->options->stop && *run->options->stop != 0;
}

csl_status csl_run_heed_stop(const csl_federated_run *run)
{
    return csl_run_is_stopped(run)
               ? csl_fail(CSL_E_STATE, "stopped by a signal before the first round")
               : CSL_OK;
}

/* Mean of the latest losses of the ranks, and how far their institutions are. */
static csl_run_progress measure_progress(const csl_federated_run *run)
{
    csl_run_progress progress = {
        .phase = (csl_phase)run->news.phase,
        .round = run->news.round,
        .round_count = run->study->rounds,
        .institutions = run->study->institutions.per_round,
        .loss = NAN,
        .seconds_left = NAN,
    };
    double loss_sum = 0;
    uint32_t loss_count = 0;
    double done = 0;
    for (uint32_t rank = 0; rank < run->rank_count; rank++) {
        const csl_news *news = csl_communicator_news(run->communicator, rank);
        if (news->round != run->news.round || news->phase == CSL_PHASE_START) {
            continue;
        }
        progress.institutions_done += news->institutions_done;
        done += news->institutions_done;
        if (news->phase == CSL_PHASE_TRAIN && news->step_count > 0) {
            done += (double)news->step / (double)news->step_count;
        }
        if (news->step_count > 0) {
            loss_sum += news->loss;
            loss_count++;
        }
    }
    progress.loss = loss_count ? loss_sum / loss_count : NAN;
    progress.round_fraction = fmin(done / progress.institutions, 1);
    progress.seconds = csl_clock_seconds() - run->began;
    double rounds_done = (progress.round ? progress.round - 1 : 0) + progress.round_fraction;
    if (rounds_done > 0) {
        progress.seconds_left =
            progress.seconds / rounds_done * ((double)progress.round_count - rounds_done);
    }
    return progress;
}

void csl_run_show_progress(csl_federated_run *run)
{
    double now = csl_clock_seconds();
    if (run->rank == 0 && run->options->progress && now - run->looked >= 0.1) {
        run->looked = now;
        csl_run_progress progress = measure_progress(run);
        run->options->progress(run->options->context, &progress);
    }
}

csl_status csl_run_report(csl_federated_run *run)
{
    CSL_TRY(csl_communicator_report(run->communicator, &run->news));
    csl_run_show_progress(run);
    return CSL_OK;
}

/* One shard of one institution in one round: what its thread gets, and gives back. */
typedef struct shard_work {
    csl_federated_run *run;
    local_institution *local;
    csl_shard_group *group;
    uint32_t position; /* among the shards here */
    uint32_t round;    /* from 0, as training counts */
    const float *correction;
    float *parameters;
    csl_train_result result;
    bool diverged; /* the loss stopped being finite; alike in all shards of an institution */
    csl_status status;
    char message[1024];
} shard_work;

/* Only the first shard here reports: the library of MPI is entered by one thread at a time, and all
 * other shards wait for this one in every step. */
static int on_step(void *context, uint64_t step, uint64_t step_count, double loss)
{
    shard_work *work = context;
    csl_federated_run *run = work->run;
    run->news.step = step;
    run->news.step_count = step_count;
    run->news.loss = loss;
    return csl_run_is_stopped(run) || csl_run_report(run) != CSL_OK;
}

/* Running values of batch norm are not gradients: the institution's are the mean of its shards'. */
static csl_status average_running_values(shard_work *work, csl_gradient_exchange *exchange)
{
    const csl_federated_run *run = work->run;
    for (uint32_t i = 0; i < run->tensor_count; i++) {
        const csl_tensor *tensor = &run->tensors[i];
        if (tensor->role != CSL_ROLE_RUNNING_MEAN && tensor->role != CSL_ROLE_RUNNING_VARIANCE) {
            continue;
        }
        float *values = work->parameters + tensor->offset;
        for (size_t k = 0; k < tensor->count; k++) {
            values[k] /= (float)exchange->shard_count;
        }
        CSL_TRY(exchange->sum(exchange->context, values, tensor->count, NULL));
    }
    return CSL_OK;
}

static csl_status make_trainer(shard_work *work, const csl_gradient_exchange *exchange)
{
    csl_federated_run *run = work->run;
    local_institution *local = work->local;
    csl_train_options options = run->study->training;
    options.seed = csl_random_derive(run->study->seed, CSL_RANDOM_INSTITUTION, 0, local->index);
    return csl_trainer_create(run->devices[work->position], run->spec, local->dataset,
                              &local->normalisation, &options, exchange,
                              &local->trainers[work->position]);
}

/* An optimiser whose state lives on between rounds: kept in the run's state, not in the trainer. */
static csl_status give_optimizer_state(shard_work *work, csl_trainer *trainer)
{
    csl_institution_state *state = work->local->state;
    if (state->optimizer_count > 0) {
        return csl_trainer_set_state(trainer, state->optimizer);
    }
    return CSL_OK;
}

static csl_status take_optimizer_state(shard_work *work, csl_trainer *trainer)
{
    csl_institution_state *state = work->local->state;
    size_t count = csl_trainer_state_count(trainer);
    if (count == 0 || work->position > 0) {
        return CSL_OK;
    }
    if (state->optimizer_count != count) {
        float *values = realloc(state->optimizer, count * sizeof *values);
        if (!values) {
            return csl_fail(CSL_E_NO_MEMORY, "optimiser state of %zu values", count);
        }
        state->optimizer = values;
        state->optimizer_count = count;
    }
    return csl_trainer_get_state(trainer, state->optimizer);
}

/* A study that allows for false institutions goes on without one that diverges, as it does without
 * one that sends nonsense; without such a rule nobody can say which model would be right. */
static bool may_be_refused(const csl_federated_run *run)
{
    return run->study->aggregation.spec.f > 0 && !run->options->aggregate;
}

static csl_status train_shard(shard_work *work)
{
    csl_gradient_exchange exchange = csl_shard_group_exchange(work->group, work->position);
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): works[0] is there, no group is empty */
    csl_trainer **slot = &work->local->trainers[work->position];
    if (!*slot) {
        CSL_TRY(make_trainer(work, &exchange));
        CSL_TRY(give_optimizer_state(work, *slot));
    }
    bool first = work->position == 0;
    csl_status status =
        csl_trainer_round(*slot, work->round, work->parameters, work->correction,
                          first ? on_step : NULL, first ? work : NULL, &work->result);
    work->diverged = status == CSL_E_DIVERGED && may_be_refused(work->run);
    if (work->diverged) {
        return CSL_OK;
    }
    CSL_TRY(status);
    if (exchange.sum) {
        CSL_TRY(average_running_values(work, &exchange));
    }
    return take_optimizer_state(work, *slot);
}

static void *run_shard(void *context)
{
    shard_work *work = context;
    work->status = csl_shard_group_leave(work->group, work->position, train_shard(work));
    if (work->status != CSL_OK) {
        strncpy(work->message, csl_error_message(), sizeof work->message - 1);
    }
    return NULL;
}

/* Runs all shards here, the first on this thread, and reports the first failure, an echo last. */
static csl_status run_shards(shard_work *works, uint32_t count)
{
    pthread_t threads[CSL_THREADS_MAX];
    uint32_t started = 1;
    for (; started < count && started < CSL_THREADS_MAX; started++) {
        if (pthread_create(&threads[started], NULL, run_shard, &works[started]) != 0) {
            break;
        }
    }
    /* A shard without a thread must still leave, or the others wait for it for ever. */
    for (uint32_t i = started; i < count; i++) {
        csl_status status = csl_fail(CSL_E_NO_MEMORY, "no thread for shard %u", i);
        works[i].status = status;
        strncpy(works[i].message, csl_error_message(), sizeof works[i].message - 1);
        csl_shard_group_fail(works[i].group, works[i].position, status);
    }
    run_shard(&works[0]);
    for (uint32_t i = 1; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    const shard_work *worst = NULL;
    for (uint32_t i = 0; i < count; i++) {
        bool fails = works[i].status != CSL_OK;
        if (fails && (!worst || (worst->status == CSL_E_COMM && works[i].status != CSL_E_COMM))) {
            worst = &works[i];
        }
    }
    return worst ? csl_fail(worst->status, "%s", worst->message) : CSL_OK;
}

void csl_run_forget_trainers(csl_federated_run *run, local_institution *local)
{
    for (uint32_t i = 0; local->trainers && i < run->device_count; i++) {
        csl_trainer_destroy(local->trainers[i]);
        local->trainers[i] = NULL;
    }
}

/* What an institution submits that has no finite update: values that every rule refuses, and counts
 * against f. Its own state stays what it was before the round, but for an optimiser's, which begins
 * anew. */
static csl_status submit_refused(csl_federated_run *run, local_institution *local, uint32_t row)
{
    csl_run_forget_trainers(run, local);
    free(local->state->optimizer);
    local->state->optimizer = NULL;
    local->state->optimizer_count = 0;
    run->reports[local->index] = (training_report){.loss_mean = NAN, .refused = 1};
    if (!local->owner) {
        return CSL_OK;
    }
    float *update = NULL;
    CSL_TRY(csl_collector_place(run->updates, row, &update));
    for (size_t j = 0; j < run->parameter_count; j++) {
        update[j] = NAN;
    }
    CSL_TRY(csl_collector_submit(run->updates, row, update));
    if (run->controls) { /* its control variate does not move */
        float *difference = NULL;
        CSL_TRY(csl_collector_place(run->controls, row, &difference));
        memset(difference, 0, run->parameter_count * sizeof *difference);
        CSL_TRY(csl_collector_submit(run->controls, row, difference));
    }
    return CSL_OK;
}

static bool is_finite(const csl_federated_run *run, const shard_work *work)
{
    for (size_t j = 0; j < run->parameter_count; j++) {
        /* the difference to finite global weights may still overflow */
        if (!isfinite(work->parameters[j] - run->state->weights[j])) {
            return false;
        }
    }
    return true;
}

/* The owner turns new weights into an update, written where it is sent from, and SCAFFOLD's
 * difference likewise; every rank with a shard keeps the institution's own state. */
static csl_status submit(csl_federated_run *run, shard_work *work, uint32_t row, float *difference)
{
    local_institution *local = work->local;
    const csl_federation *federation = run->federation;
    float *update = work->parameters;
    size_t count = run->parameter_count;
    if (csl_federation_local_count(federation) > 0) {
        csl_federation_get_local(federation, work->parameters, local->state->local);
    }
    if (local->last_model) {
        memcpy(local->last_model, work->parameters, count * sizeof *update);
        local->has_last_model = true;
    }
    if (local->owner) {
        CSL_TRY(csl_collector_place(run->updates, row, &update));
    }
    CSL_TRY(
        csl_federation_update(federation, 0, count, run->state->weights, work->parameters, update));
    if (run->controls) {
        double divisor = 0;
        if (local->owner) {
            CSL_TRY(csl_collector_place(run->controls, row, &difference));
        }
        CSL_TRY(csl_scaffold_divisor(&run->study->training, work->round, work->result.step_count,
                                     &divisor));
        CSL_TRY(csl_scaffold_control(federation, run->state->control, update, divisor,
                                     local->state->control, difference));
        if (local->owner) {
            CSL_TRY(csl_collector_submit(run->controls, row, difference));
        }
    }
    return local->owner ? csl_collector_submit(run->updates, row, update) : CSL_OK;
}

/* An institution that will not train here although others wait for its shards on this rank: they
 * learn of it in their next exchange. */
static void give_up(csl_federated_run *run, const local_institution *local, csl_status status)
{
    csl_shard_group *group = NULL;
    char message[2048];
    strncpy(message, csl_error_message(), sizeof message - 1);
    message[sizeof message - 1] = 0;
    if (run->placement.ranks_each > 1 && !csl_communicator_is_broken(run->communicator) &&
        csl_shard_group_create(run->communicator, &run->placement, local->index, &group) ==
            CSL_OK) {
        for (uint32_t i = 1; i < csl_shard_group_local_count(group); i++) {
            csl_shard_group_fail(group, i, status);
        }
        (void)(csl_shard_group_leave(group, 0, status) == CSL_OK);
        csl_shard_group_destroy(group);
    }
    (void)csl_fail(status, "%s", message);
}

/* scratch: [shards here][parameter_count] parameters; with SCAFFOLD correction and difference. */
static csl_status train_institution(
    csl_federated_run *run, local_institution *local, uint32_t round, uint32_t row, float *scratch)
{
    shard_work *works = calloc(run->device_count, sizeof *works);
    if (!local->trainers) {
        local->trainers = calloc(run->device_count, sizeof(csl_trainer *));
    }
    if (!works || !local->trainers) {
        free(works);
        csl_status status = csl_fail(CSL_E_NO_MEMORY, "shards of institution %u", local->index);
        give_up(run, local, status);
        return status;
    }
    csl_shard_group *group = NULL;
    csl_status created =
        csl_shard_group_create(run->communicator, &run->placement, local->index, &group);
    if (created != CSL_OK) {
        free(works);
        give_up(run, local, created);
        return created;
    }
    uint32_t shards = csl_shard_group_local_count(group);
    size_t count = run->parameter_count;
    float *correction = NULL;
    float *difference = NULL;
    if (run->controls) {
        correction = scratch + run->device_count * count;
        difference = correction + count;
        csl_scaffold_correction(run->federation, run->state->control, local->state->control,
                                correction);
    }
    for (uint32_t i = 0; i < shards; i++) {
        float *parameters = scratch + i * count;
        memcpy(parameters, run->state->weights, count * sizeof *parameters);
        if (csl_federation_local_count(run->federation) > 0) {
            csl_federation_set_local(run->federation, local->state->local, parameters);
        }
        works[i] = (shard_work){
            .run = run,
            .local = local,
            .group = group,
            .position = i,
            .round = round - 1, /* training counts from 0 */
            .correction = correction,
            .parameters = parameters,
        };
    }
    csl_status status = run_shards(works, shards);
    if (status == CSL_OK) {
        run->reports[local->index] = (training_report){
            .image_count = (double)works[0].result.image_count,
            .loss_mean = works[0].result.loss_mean,
            .seconds = works[0].result.seconds,
            .rate = works[0].result.rate_last,
            .step_count = (double)works[0].result.step_count,
        };
        bool refused = works[0].diverged || (may_be_refused(run) && !is_finite(run, &works[0]));
        status =
            refused ? submit_refused(run, local, row) : submit(run, &works[0], row, difference);
    }
    /* Institutions on one rank share the memory of activations, one after the other; and a trainer
     * with shards holds the exchange of a group that ends with this round. */
    if (run->local_count > 1 || run->placement.ranks_each > 1) {
        csl_run_forget_trainers(run, local);
    }
    csl_shard_group_destroy(group);
    free(works);
    return status;
}

static csl_status train_sampled(
    csl_federated_run *run, local_institution *local, uint32_t round, uint32_t row, float *scratch)
{
    run->news.institution = local->index;
    run->news.step = 0;
    csl_status status = csl_run_report(run);
    if (status != CSL_OK) {
        give_up(run, local, status);
        return status;
    }
    status = train_institution(run, local, round, row, scratch);
    if (status != CSL_OK && status != CSL_E_COMM && status != CSL_E_TIMEOUT) {
        status = csl_run_is_stopped(run)
                     ? csl_fail(CSL_E_STATE, "stopped by a signal in round %u", round)
                     : csl_fail_context(status, "institution %u (%s), round %u", local->index,
                                        run->facts[local->index].site, round);
    }
    run->news.institutions_done += local->owner;
    return status;
}

static csl_status train_all(csl_federated_run *run, uint32_t round)
{
    uint32_t per_round = run->study->institutions.per_round;
    size_t vectors = run->device_count + (run->controls ? 2 : 0); /* correction, difference */
    float *scratch = malloc(vectors * run->parameter_count * sizeof *scratch);
    csl_status status =
        scratch ? CSL_OK
                : csl_fail(CSL_E_NO_MEMORY, "%zu vectors of %zu", vectors, run->parameter_count);
    for (uint32_t i = 0; i < run->local_count; i++) {
        local_institution *local = &run->locals[i];
        uint32_t row = 0;
        while (row < per_round && run->sampled[row] != local->index) {
            row++;
        }
        if (row < per_round && status == CSL_OK) {
            status = train_sampled(run, local, round, row, scratch);
        } else if (row < per_round) {
            give_up(run, local, status);
        }
    }
    free(scratch);
    return status;
}

/* Rank 0 learns how the training of every institution went. */
static csl_status gather_reports(csl_federated_run *run)
{
    uint64_t *parts = calloc(run->rank_count + 1, sizeof *parts);
    csl_status status =
        csl_agree(run->communicator, parts ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "reports"));
    if (status != CSL_OK) {
        free(parts);
        return status;
    }
    uint32_t institution = 0;
    uint32_t count = run->study->institutions.count;
    for (uint32_t rank = 0; rank < run->rank_count; rank++) {
        parts[rank] = institution * sizeof *run->reports;
        while (institution < count && csl_placement_owner(&run->placement, institution) == rank) {
            institution++;
        }
    }
    parts[run->rank_count] = count * sizeof *run->reports;
    status = csl_gather(run->communicator, run->reports, parts);
    free(parts);
    return status;
}

static csl_status begin_collecting(csl_federated_run *run, uint32_t round)
{
    const csl_study *study = run->study;
    CSL_TRY(csl_federation_sample(study->seed, round, study->institutions.count,
                                  study->institutions.per_round, run->sampled));
    uint32_t owners[CSL_ROWS_MAX];
    for (uint32_t row = 0; row < study->institutions.per_round; row++) {
        owners[row] = csl_placement_owner(&run->placement, run->sampled[row]);
    }
    CSL_TRY(csl_collector_begin(run->updates, owners, study->institutions.per_round));
    if (run->controls) {
        CSL_TRY(csl_collector_begin(run->controls, owners, study->institutions.per_round));
    }
    return CSL_OK;
}

csl_status csl_run_train_round(csl_federated_run *run, uint32_t round)
{
    memset(run->reports, 0, run->study->institutions.count * sizeof *run->reports);
    run->news = (csl_news){.phase = CSL_PHASE_TRAIN, .round = round};
    csl_status status = csl_run_poison(run, round);
    status = status == CSL_OK ? begin_collecting(run, round) : status;
    CSL_TRY(csl_agree(run->communicator, status));
    status = train_all(run, round);
    if (status == CSL_OK && csl_run_is_stopped(run)) {
        status = csl_fail(CSL_E_STATE, "stopped by a signal in round %u", round);
    }
    csl_status agreed = csl_agree(run->communicator, status);
    if (agreed != CSL_OK) {
        char message[2048];
        strncpy(message, csl_error_message(), sizeof message - 1);
        message[sizeof message - 1] = 0;
        if (!csl_communicator_is_broken(run->communicator) &&
            csl_collector_abandon(run->updates) == CSL_OK && run->controls) {
            (void)(csl_collector_abandon(run->controls) == CSL_OK);
        }
        return csl_fail(agreed, "%s", message);
    }
    return gather_reports(run);
}
