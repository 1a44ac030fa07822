/* What a run leaves behind and shows: only rank 0 comes here. */
#include "run_internal.h"

#include <consilium/files.h>
#include <consilium/log.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void csl_run_show(csl_federated_run *run, const csl_text *text)
{
    if (run->options->table) {
        run->options->table(run->options->context, csl_text_string(text));
    }
}

static csl_status append(csl_line_file *file, csl_text *text, csl_status status)
{
    if (status == CSL_OK) {
        status = csl_text_status(text);
    }
    if (status == CSL_OK) {
        status = csl_line_file_append(file, text->bytes, text->size);
    }
    csl_text_clear(text);
    return status;
}

static csl_status write_study(csl_federated_run *run)
{
    char path[CSL_PATH_MAX];
    CSL_TRY(csl_run_path(run, "study.yaml", path));
    csl_text text = {0};
    csl_text_format(&text, "# The study as it was run, every key with its value.\n# sha256: %s\n",
                    run->study_sha256);
    csl_status status = csl_study_write(run->study, &text);
    status = status == CSL_OK ? csl_text_status(&text) : status;
    status = status == CSL_OK ? csl_file_write(path, text.bytes, text.size) : status;
    csl_text_clear(&text);
    return status;
}

csl_status csl_run_open_outputs(csl_federated_run *run)
{
    char path[CSL_PATH_MAX];
    CSL_TRY(write_study(run));
    CSL_TRY(csl_run_path(run, "metrics.csv", path));
    CSL_TRY(csl_line_file_open(path, 0, &run->metrics_file));
    csl_text text = {0};
    CSL_TRY(append(run->metrics_file, &text, csl_metrics_csv_heading(run->spec->task, &text)));
    CSL_TRY(csl_run_path(run, "rounds.jsonl", path));
    return csl_line_file_open(path, 0, &run->rounds_file);
}

static void add_institution_row(const csl_federated_run *run, uint32_t i, csl_table *table)
{
    const institution_facts *facts = &run->facts[i];
    char cells[6][CSL_NAME_MAX];
    csl_text labels = {0};
    uint32_t rank = csl_placement_owner(&run->placement, i);
    snprintf(cells[0], sizeof cells[0], "%u", i);
    snprintf(cells[1], sizeof cells[1], "%u", rank);
    snprintf(cells[2], sizeof cells[2], "%llu", (unsigned long long)facts->train_count);
    snprintf(cells[3], sizeof cells[3], "%llu", (unsigned long long)facts->validation_count);
    snprintf(cells[4], sizeof cells[4], "%llu", (unsigned long long)facts->test_count);
    for (uint32_t c = 0; c < facts->class_count && c < 8; c++) {
        csl_text_format(&labels, c ? " / %llu" : "%llu",
                        (unsigned long long)facts->class_counts[c]);
    }
    if (facts->class_count > 8) {
        csl_text_add(&labels, " / ...");
    }
    bool labelled = facts->task == CSL_TASK_BINARY || facts->task == CSL_TASK_MULTICLASS;
    csl_table_add_row(table,
                      (const char *const[]){cells[0], facts->site, cells[2], cells[3], cells[4],
                                            labelled ? csl_text_string(&labels) : "", cells[1],
                                            csl_communicator_host(run->communicator, rank)});
    csl_text_clear(&labels);
}

static csl_status add_institutions(const csl_federated_run *run, csl_text *text)
{
    csl_table *table = NULL;
    CSL_TRY(csl_table_create((const char *const[]){"institution", "site", "training", "validation",
                                                   "test", "training images by class", "rank",
                                                   "node", NULL},
                             &table));
    for (uint32_t i = 0; i < run->study->institutions.count; i++) {
        add_institution_row(run, i, table);
    }
    csl_status status = csl_table_render(table, text);
    csl_table_destroy(table);
    return status;
}

static void add_summary(const csl_federated_run *run, csl_text *text)
{
    static const char *const algorithms[] = {"FedAvg", "FedProx", "SCAFFOLD", "FedAdam", "FedYogi"};
    const csl_study *study = run->study;
    double forward = 0;
    double training = 0;
    csl_model_spec_operations(run->spec, &forward, &training);
    csl_text_format(text,
                    "Study %s: %u institution%s %s (%zu parameters, %.1f MFLOP an image) by "
                    "%s for %u round%s.\n",
                    study->name, study->institutions.count,
                    study->institutions.count == 1 ? " trains" : "s train", run->spec->name,
                    run->parameter_count, training / 1e6, algorithms[study->federation.algorithm],
                    study->rounds, study->rounds == 1 ? "" : "s");
    if (study->institutions.per_round < study->institutions.count) {
        csl_text_format(text, "%u of them take part in each round.\n",
                        study->institutions.per_round);
    }
    csl_text_format(
        text, "%u rank%s, device %s, %u thread%s an institution%s.\nResults go to %s%s%s\n\n",
        run->rank_count, run->rank_count == 1 ? "" : "s",
        csl_device_get_info(run->devices[0])->description, study->threads,
        study->threads == 1 ? "" : "s", study->institutions.ranks_each > 1 ? " shard" : "",
        run->directory, run->staged ? ", and at the end replace those in " : "",
        run->staged ? run->home : "");
    csl_run_describe_attackers(run, text);
}

/* Of a verbose run: which rank sits where, and on what it computes. */
static csl_status add_ranks(const csl_federated_run *run, csl_text *text)
{
    csl_table *table = NULL;
    CSL_TRY(csl_table_create((const char *const[]){"rank", "node", "device", "institutions", NULL},
                             &table));
    for (uint32_t rank = 0; rank < run->rank_count; rank++) {
        char cells[2][16];
        snprintf(cells[0], sizeof cells[0], "%u", rank);
        snprintf(cells[1], sizeof cells[1], "%u", csl_placement_count(&run->placement, rank));
        csl_table_add_row(
            table, (const char *const[]){cells[0], csl_communicator_host(run->communicator, rank),
                                         run->device_names[rank], cells[1]});
    }
    csl_status status = csl_table_render(table, text);
    csl_table_destroy(table);
    csl_text_add(text, "\n");
    return status;
}

csl_status csl_run_write_start(csl_federated_run *run)
{
    csl_text text = {0};
    add_summary(run, &text);
    if (run->options->verbose) {
        csl_text_format(&text, "Updates travel by: %s\n\n", csl_run_transport(run));
    }
    csl_status status = run->device_names ? add_ranks(run, &text) : CSL_OK;
    status = status == CSL_OK ? add_institutions(run, &text) : status;
    csl_text_add(&text, "\n");
    if (status == CSL_OK) {
        status = csl_round_table_heading(run->spec->task, &text);
    }
    if (status == CSL_OK) {
        csl_run_show(run, &text);
    }
    csl_text_clear(&text);
    CSL_TRY(status);
    csl_event *event = NULL;
    CSL_TRY(csl_event_create("start", &event));
    csl_event_add_text(event, "study", run->study->name);
    csl_event_add_text(event, "study_sha256", run->study_sha256);
    csl_event_add_integer(event, "ranks", run->rank_count);
    csl_event_add_integer(event, "institutions", run->study->institutions.count);
    csl_event_add_integer(event, "parameters", run->parameter_count);
    csl_event_add_text(event, "model", run->spec->name);
    csl_event_add_text(event, "device", run->device_name);
    csl_event_add_integer(event, "threads", run->study->threads);
    csl_event_add_text(event, "mpi", csl_mpi_library());
    status = csl_event_write(event, run->rounds_file);
    csl_event_destroy(event);
    return status;
}

static csl_status
write_model(csl_federated_run *run, const char *name, const float *weights, uint32_t round)
{
    char path[CSL_PATH_MAX];
    CSL_TRY(csl_run_path(run, name, path));
    return csl_model_write(path, run->spec, weights, run->study_sha256, round);
}

/* The last model is the best one: one file under both names until the next is written, which
 * replaces a name and never writes into a file. False where the file system knows no such names. */
static bool give_second_name(const csl_federated_run *run, const char *name, const char *second)
{
    char paths[2][CSL_PATH_MAX];
    char temporary[CSL_PATH_MAX + 8];
    if (csl_run_path(run, name, paths[0]) != CSL_OK ||
        csl_run_path(run, second, paths[1]) != CSL_OK) {
        return false;
    }
    snprintf(temporary, sizeof temporary, "%s.tmp", paths[1]);
    remove(temporary);
    if (link(paths[0], temporary) != 0) {
        return false;
    }
    bool done = rename(temporary, paths[1]) == 0;
    remove(temporary); /* stays where both were one file already, or after a failure */
    return done;
}

static csl_status write_round_event(csl_federated_run *run, const csl_round_record *record)
{
    csl_event *event = NULL;
    CSL_TRY(csl_event_create("round", &event));
    csl_event_add_round(event, record);
    uint32_t count = run->study->institutions.per_round;
    uint64_t *ids = calloc(count, sizeof *ids);
    double *losses = calloc(count, sizeof *losses);
    if (ids && losses && record->round > 0) {
        for (uint32_t row = 0; row < count; row++) {
            ids[row] = run->sampled[row];
            losses[row] = run->reports[run->sampled[row]].loss_mean;
        }
        csl_event_add_integers(event, "sampled", ids, count);
        csl_event_add_numbers(event, "sampled_train_loss", losses, count);
    }
    free(ids);
    free(losses);
    csl_run_add_attack(run, record->round, event);
    csl_status status = csl_run_add_selection(run, record->round, event);
    status = status == CSL_OK ? csl_event_write(event, run->rounds_file) : status;
    csl_event_destroy(event);
    return status;
}

csl_status csl_run_write_round(csl_federated_run *run, const csl_round_record *record, bool is_best)
{
    csl_text text = {0};
    csl_status status =
        append(run->metrics_file, &text, csl_metrics_csv_row(run->spec->task, record, &text));
    CSL_TRY(status);
    CSL_TRY(write_round_event(run, record));
    if (record->validation) {
        CSL_TRY(write_model(run, "model-last.h5", run->state->weights, record->round));
    }
    if (is_best && !give_second_name(run, "model-last.h5", "model.h5")) {
        CSL_TRY(write_model(run, "model.h5", run->state->weights, record->round));
    }
    status = csl_round_table_row(run->spec->task, record, &text);
    if (run->options->verbose && record->round > 0) {
        csl_run_describe_selection(run, &text);
    }
    if (status == CSL_OK) {
        csl_run_show(run, &text);
    }
    csl_text_clear(&text);
    return status;
}

static csl_status add_final_table(csl_federated_run *run, csl_text *text)
{
    uint32_t count = run->study->institutions.count;
    csl_final_row *rows = calloc(count + 1, sizeof *rows);
    if (!rows) {
        return csl_fail(CSL_E_NO_MEMORY, "final table");
    }
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = (csl_final_row){.name = run->facts[i].site,
                                  .train_count = run->facts[i].train_count,
                                  .validation = &run->validation[i],
                                  .test = &run->test[i]};
        rows[count].train_count += rows[i].train_count;
    }
    rows[count].name = "all together";
    rows[count].validation = &run->validation[count];
    rows[count].test = &run->test[count];
    csl_status status = csl_final_table(run->spec->task, rows, count + 1, text);
    free(rows);
    return status;
}

static csl_status add_cross_site(csl_federated_run *run, const double *values, csl_text *text)
{
    uint32_t count = run->study->institutions.count;
    const char **names = calloc(count + 1, sizeof *names);
    if (!names) {
        return csl_fail(CSL_E_NO_MEMORY, "cross-site matrix");
    }
    names[0] = "global model";
    for (uint32_t i = 0; i < count; i++) {
        names[i + 1] = run->facts[i].site;
    }
    csl_text file = {0};
    char path[CSL_PATH_MAX];
    csl_text_format(
        text,
        "\nWhat each model is worth elsewhere: the global model, and each institution's "
        "own\nas it left its last round of training (rows), on each institution's test "
        "images\n(columns); %s.\n\n",
        run->spec->task == CSL_TASK_REGRESSION
            ? "minus the mean squared error, larger is better"
            : "AUC, or balanced accuracy where an institution tests one class alone");
    csl_status status = csl_cross_site_table(names, count + 1, names + 1, count, values, text);
    if (status == CSL_OK) {
        status = csl_cross_site_csv(names, count + 1, names + 1, count, values, &file);
    }
    status = status == CSL_OK ? csl_text_status(&file) : status;
    status = status == CSL_OK ? csl_run_path(run, "cross-site.csv", path) : status;
    status = status == CSL_OK ? csl_file_write(path, file.bytes, file.size) : status;
    csl_text_clear(&file);
    free(names);
    return status;
}

static csl_status write_institution_events(csl_federated_run *run)
{
    for (uint32_t i = 0; i < run->study->institutions.count; i++) {
        csl_event *event = NULL;
        CSL_TRY(csl_event_create("institution", &event));
        csl_event_add_integer(event, "institution", i);
        csl_event_add_text(event, "site", run->facts[i].site);
        csl_event_add_integer(event, "training_images", run->facts[i].train_count);
        csl_event_add_metrics(event, "validation", &run->validation[i]);
        csl_event_add_metrics(event, "test", &run->test[i]);
        csl_status status = csl_event_write(event, run->rounds_file);
        csl_event_destroy(event);
        CSL_TRY(status);
    }
    return CSL_OK;
}

static csl_status write_end_event(csl_federated_run *run)
{
    csl_event *event = NULL;
    CSL_TRY(csl_event_create("end", &event));
    csl_event_add_number(event, "seconds", csl_clock_seconds() - run->began);
    csl_run_add_memory(run, event);
    csl_event_add_integer(event, "best_round", run->state->best_round);
    csl_event_add_number(event, "best_score",
                         run->state->has_best ? run->state->best_score : (double)NAN);
    csl_event_add_metrics(event, "test", &run->test[run->study->institutions.count]);
    if (run->study->adversary.institutions.count > 0) {
        csl_event_add_number(event, "selection_accuracy", csl_run_selection_accuracy(run));
        csl_event_add_number(event, "hostile_weight", csl_run_hostile_weight(run));
        csl_event_add_number(event, "backdoor_success", csl_run_backdoor_success(run));
    }
    csl_status status = csl_event_write(event, run->rounds_file);
    csl_event_destroy(event);
    return status;
}

static csl_status close_outputs(csl_federated_run *run)
{
    csl_status metrics = csl_line_file_close(run->metrics_file);
    run->metrics_file = NULL;
    csl_status rounds = csl_line_file_close(run->rounds_file);
    run->rounds_file = NULL;
    return metrics != CSL_OK ? metrics : rounds;
}

/* Which model is where, and what it is worth. */
static void describe_models(const csl_federated_run *run, csl_text *text)
{
    const csl_metrics *validation = &run->best_validation;
    const csl_metrics *test = &run->best_test;
    csl_text_format(text, "\nStudy %s took %.1f s.\n", run->study->name,
                    csl_clock_seconds() - run->began);
    if (!run->state->has_best) {
        csl_text_format(text, "No validation images, so the last model is kept: %s/model.h5\n",
                        run->directory);
        return;
    }
    csl_text_format(text, "Best model by validation: round %u, ", run->state->best_round);
    if (run->spec->task == CSL_TASK_REGRESSION) {
        csl_text_format(text, "mean squared error %.4g in validation",
                        validation->mean_squared_error);
    } else {
        csl_text_format(text, "AUC %.4f in validation", validation->auc);
    }
    if (test->count > 0 && run->spec->task == CSL_TASK_REGRESSION) {
        csl_text_format(text, ", %.4g in test", test->mean_squared_error);
    } else if (test->count > 0) {
        csl_text_format(text, ", %.4f in test, test accuracy %.4f", test->auc, test->accuracy);
    }
    csl_text_format(text, ": %s/model.h5\n", run->directory);
    if (csl_federation_local_count(run->federation) > 0) {
        csl_text_format(text, "Models of the institutions: %s/personal/\n", run->directory);
    }
    csl_text_format(text, "Last model: %s/model-last.h5\n", run->directory);
}

csl_status csl_run_write_end(csl_federated_run *run, const double *cross_site)
{
    CSL_TRY(write_institution_events(run));
    CSL_TRY(write_end_event(run));
    csl_run_state *state = run->state;
    /* The file is made again from the state, so that it is there also when nothing was ever best
     * (no institution has validation images). */
    const float *best = state->has_best ? state->best_weights : state->weights;
    CSL_TRY(write_model(run, "model.h5", best, state->has_best ? state->best_round : state->round));
    csl_text text = {0};
    bool personal = csl_federation_local_count(run->federation) > 0;
    csl_text_format(&text, "\nStudy %s: the last global model%s, at each institution:\n\n",
                    run->study->name, personal ? " with the institution's own batch norm" : "");
    csl_status status = add_final_table(run, &text);
    const csl_metrics *pool = &run->test[run->study->institutions.count];
    if (status == CSL_OK && pool->confusion && pool->count > 0) {
        csl_text_add(&text, "\nTest images of all institutions, what is true (rows) against what "
                            "the model says (columns):\n\n");
        status = csl_confusion_table(pool, (const char(*)[CSL_NAME_MAX])run->class_names, &text);
    }
    if (status == CSL_OK && cross_site) {
        status = add_cross_site(run, cross_site, &text);
    }
    csl_status closed = close_outputs(run);
    status = status == CSL_OK ? closed : status;
    status = status == CSL_OK ? csl_run_publish(run) : status;
    if (status == CSL_OK) {
        csl_run_describe_outcome(run, &text);
        describe_models(run, &text);
        csl_run_show(run, &text);
    }
    csl_text_clear(&text);
    return status;
}
