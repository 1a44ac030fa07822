/* A run from start to end; the steps are in run_*.c. */
#include "run_internal.h"

#include <consilium/float_state.h>
#include <consilium/log.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Between two steps, so that a launcher need not kill what does not hear. Collective. */
static csl_status check_stop(const csl_federated_run *run)
{
    return csl_agree(run->communicator, csl_run_heed_stop(run));
}

static csl_status set_up(csl_federated_run *run)
{
    CSL_TRY(csl_run_load_study(run));
    run->placement = (csl_placement){.institution_count = run->study->institutions.count,
                                     .ranks_each = run->study->institutions.ranks_each,
                                     .rank_count = run->rank_count};
    CSL_TRY(csl_run_open_devices(run)); /* a wrong one is told before data are read */
    CSL_TRY(csl_agree(run->communicator, run->rank == 0 ? csl_run_claim_directory(run) : CSL_OK));
    CSL_TRY(csl_broadcast(run->communicator, run->directory, sizeof run->directory, 0));
    CSL_TRY(check_stop(run));
    CSL_TRY(csl_run_prepare_data(run));
    CSL_TRY(check_stop(run));
    CSL_TRY(csl_run_open_institutions(run));
    CSL_TRY(check_stop(run));
    CSL_TRY(csl_run_build_model(run));
    CSL_TRY(csl_run_share_devices(run));
    CSL_TRY(check_stop(run));
    csl_status status = CSL_OK;
    if (run->rank == 0) {
        status = csl_run_open_outputs(run);
        status = status == CSL_OK ? csl_run_write_start(run) : status;
    }
    return csl_agree(run->communicator, status);
}

/* What rank 0 tells of a round, from the institutions' reports. */
static csl_round_record make_record(const csl_federated_run *run, uint32_t round)
{
    csl_round_record record = {
        .round = round,
        .round_count = run->study->rounds,
        .seconds = csl_clock_seconds() - run->began,
        .train_loss = NAN,
        .rate = NAN,
    };
    double images = 0;
    double loss = 0;
    for (uint32_t row = 0; round > 0 && row < run->study->institutions.per_round; row++) {
        const training_report *report = &run->reports[run->sampled[row]];
        if (report->refused != 0) {
            continue;
        }
        images += report->image_count;
        loss += report->image_count * report->loss_mean;
        record.rate = report->rate;
        record.train_seconds = fmax(record.train_seconds, report->seconds);
    }
    if (round > 0) {
        record.train_loss = loss / images;
        record.institution_count = run->study->institutions.per_round;
        uint64_t vectors = run->controls ? 2 : 1;
        record.update_size =
            vectors * sizeof(float) * run->parameter_count * run->study->institutions.per_round;
    }
    return record;
}

/* The score decides which model is kept on every rank, so every rank gets it from rank 0. */
static csl_status keep_best(csl_federated_run *run, bool *is_best_out)
{
    double score = NAN;
    uint32_t pool = run->study->institutions.count;
    if (run->rank == 0 && run->validation[pool].count > 0) {
        score = csl_metrics_selection_score(&run->validation[pool]);
    }
    CSL_TRY(csl_broadcast(run->communicator, &score, sizeof score, 0));
    *is_best_out = csl_run_state_offer_best(run->state, score);
    if (*is_best_out && run->rank == 0) {
        run->best_validation = run->validation[pool];
        run->best_test = run->test[pool];
        run->best_validation.confusion = NULL; /* not ours */
        run->best_test.confusion = NULL;
    }
    return CSL_OK;
}

static csl_status finish_round(csl_federated_run *run, uint32_t round, double exchange_seconds)
{
    uint32_t every = run->study->evaluation.every_rounds;
    bool evaluate = round == run->study->rounds || (every > 0 && round % every == 0);
    bool is_best = false;
    if (evaluate) {
        CSL_TRY(csl_run_evaluate(run, round));
        CSL_TRY(keep_best(run, &is_best));
    }
    csl_status status = CSL_OK;
    if (run->rank == 0) {
        csl_round_record record = make_record(run, round);
        record.exchange_seconds = exchange_seconds;
        record.validation = evaluate ? &run->validation[run->study->institutions.count] : NULL;
        record.test = evaluate ? &run->test[run->study->institutions.count] : NULL;
        status = csl_run_write_round(run, &record, is_best);
    }
    if (status == CSL_OK && csl_run_is_stopped(run)) {
        status = csl_fail(CSL_E_STATE, "stopped by a signal after round %u", round);
    }
    return csl_agree(run->communicator, status);
}

/* Said before the rule, which may find that these are too many. */
static void tell_refused(const csl_federated_run *run, uint32_t round)
{
    for (uint32_t row = 0; run->rank == 0 && row < run->study->institutions.per_round; row++) {
        uint32_t institution = run->sampled[row];
        if (run->reports[institution].refused != 0) {
            csl_log(CSL_LOG_WARN, "run",
                    "institution %u (%s), round %u: its training gave values that are not finite; "
                    "the update is refused and counts against aggregation.f",
                    institution, run->facts[institution].site, round);
        }
    }
}

static csl_status run_rounds(csl_federated_run *run)
{
    run->began = csl_clock_seconds();
    CSL_TRY(finish_round(run, 0, 0));
    for (uint32_t round = 1; round <= run->study->rounds; round++) {
        CSL_TRY(csl_run_train_round(run, round));
        double trained = csl_clock_seconds();
        tell_refused(run, round);
        CSL_TRY(csl_run_aggregate(run, round));
        CSL_TRY(finish_round(run, round, csl_clock_seconds() - trained));
    }
    return CSL_OK;
}

static csl_status finish(csl_federated_run *run)
{
    uint32_t count = run->study->institutions.count;
    double *matrix = NULL;
    if (run->study->evaluation.cross_site) {
        matrix = calloc((size_t)(count + 1) * count, sizeof *matrix);
        csl_status status = matrix ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "cross-site matrix");
        status = csl_agree(run->communicator, status);
        status = status == CSL_OK ? csl_run_cross_site(run, matrix) : status;
        if (status != CSL_OK) {
            free(matrix);
            return status;
        }
    }
    csl_status status = csl_run_write_personal(run);
    status = status == CSL_OK ? csl_run_share_memory(run) : status;
    if (status != CSL_OK) {
        free(matrix);
        return status;
    }
    if (run->rank == 0) {
        status = csl_run_write_end(run, matrix);
    }
    free(matrix);
    return csl_agree(run->communicator, status);
}

static void show_waiting(void *context)
{
    csl_federated_run *run = context;
    if (run->news.phase == CSL_PHASE_TRAIN) {
        csl_run_show_progress(run);
    }
}

csl_status csl_run(csl_communicator *communicator, const csl_run_options *options)
{
    csl_federated_run run = {
        .communicator = communicator,
        .options = options,
        .rank = csl_communicator_rank(communicator),
        .rank_count = csl_communicator_size(communicator),
        .began = csl_clock_seconds(),
        .folder_lock = -1,
    };
    /* Updates, the server's step and all control are EXACT, too. */
    csl_float_state float_state = csl_float_enter();
    csl_communicator_on_wait(communicator, show_waiting, &run);
    csl_run_begin_memory(&run);
    csl_status status = set_up(&run);
    if (status != CSL_OK && run.rank == 0) {
        csl_run_abandon_directory(&run);
    } else if (status == CSL_OK) {
        status = run_rounds(&run);
        status = status == CSL_OK ? finish(&run) : status;
        if (status != CSL_OK && run.rank == 0) {
            csl_run_leave_unfinished(&run);
        }
    }
    csl_communicator_on_wait(communicator, NULL, NULL);
    csl_run_clear(&run);
    csl_float_leave(float_state);
    return status;
}
