/* From a study file to institutions, a model and devices, on every rank. */
#include "run_internal.h"

#include <consilium/files.h>
#include <consilium/log.h>
#include <consilium/text.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* Rank 0 reads and checks the study with its environment and overrides, and writes it out resolved;
 * that text is what every rank then parses, so all have the same study. */
static csl_status resolve_study(csl_federated_run *run, csl_text *text)
{
    const csl_run_options *options = run->options;
    csl_study_sources sources = {
        .overrides = options->overrides,
        .override_count = options->override_count,
        .environment = (const char *const *)environ,
    };
    char *bytes = NULL;
    size_t size = 0;
    CSL_TRY(csl_study_read(options->study_path, &bytes, &size));
    csl_study *study = NULL;
    csl_status status = csl_study_parse(options->study_path, bytes, size, &sources, &study);
    free(bytes);
    if (status == CSL_OK) {
        status = csl_study_write(study, text);
    }
    csl_study_destroy(study);
    return status == CSL_OK ? csl_text_status(text) : status;
}

/* Every rank parses the same resolved text. */
static csl_status share_study(csl_federated_run *run, csl_text *text)
{
    uint64_t size = text->size;
    CSL_TRY(csl_broadcast(run->communicator, &size, sizeof size, 0));
    char *copy = run->rank == 0 ? text->bytes : malloc(size + 1);
    csl_status status = copy ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "study");
    status = csl_agree(run->communicator, status);
    if (status == CSL_OK) {
        status = csl_broadcast(run->communicator, copy, size, 0);
        if (status == CSL_OK) {
            status = csl_study_parse("study", copy, size, NULL, &run->study);
        }
        if (status == CSL_OK) {
            status = csl_study_sha256(run->study, run->study_digest);
        }
        status = csl_agree(run->communicator, status);
    }
    if (copy != text->bytes) {
        free(copy);
    }
    CSL_TRY(status);
    csl_hex(run->study_digest, CSL_SHA256_SIZE, run->study_sha256);
    return CSL_OK;
}

/* Who names hostile institutions wants them to do something, or switched the attack off to compare:
 * no reason to refuse, but an honest run should not be taken for an attacked one. */
static void warn_of_idle_adversary(const csl_federated_run *run)
{
    const csl_study_adversary *adversary = &run->study->adversary;
    bool attacks = strcmp(adversary->spec.attack, "none") != 0 ||
                   adversary->poison.attack != CSL_DATA_ATTACK_NONE;
    if (run->rank == 0 && adversary->institutions.count > 0 && !attacks) {
        csl_log(CSL_LOG_WARN, "run",
                "the study names %u hostile institution%s and no attack, so all are honest; see "
                "adversary.attack and adversary.data",
                adversary->institutions.count, adversary->institutions.count == 1 ? "" : "s");
    }
}

/* Notes that the study or the options are the failure, and no data or machine. */
static void note_refusal(const csl_federated_run *run, bool refused)
{
    if (refused && run->options->refused) {
        *run->options->refused = true;
    }
}

csl_status csl_run_load_study(csl_federated_run *run)
{
    csl_text text = {0};
    csl_status status = csl_run_check_aggregators(run); /* the same on all ranks */
    if (status == CSL_OK && run->rank == 0) {
        status = resolve_study(run, &text);
    }
    status = csl_agree(run->communicator, status);
    note_refusal(run, csl_study_is_refused(status));
    status = status == CSL_OK ? share_study(run, &text) : status;
    csl_text_clear(&text);
    CSL_TRY(status);
    warn_of_idle_adversary(run);
    return CSL_OK;
}

static void learn_facts(const csl_dataset *dataset, institution_facts *facts)
{
    memcpy(facts->site, dataset->site, sizeof facts->site);
    facts->shape = dataset->shape;
    facts->task = dataset->task;
    facts->class_count = dataset->class_count;
    facts->train_count = csl_dataset_split_count(dataset, CSL_SPLIT_TRAIN);
    facts->validation_count = csl_dataset_split_count(dataset, CSL_SPLIT_VALIDATION);
    facts->test_count = csl_dataset_split_count(dataset, CSL_SPLIT_TEST);
    for (uint64_t i = 0; dataset->labels && i < dataset->count; i++) {
        int32_t label = dataset->labels[i];
        if (dataset->split[i] == CSL_SPLIT_TRAIN && label >= 0 && label < CSL_CLASSES_MAX) {
            facts->class_counts[label]++;
        }
    }
}

static csl_status open_institution(csl_federated_run *run, local_institution *local)
{
    const char *path = run->files[local->index];
    CSL_TRY(csl_run_heed_stop(run));
    CSL_TRY(csl_dataset_read(path, &local->dataset));
    if (!local->dataset->site[0]) { /* messages and tables name it as a split would */
        csl_partition_site_name(local->index, run->study->institutions.count, local->dataset->site);
    }
    institution_facts *facts = &run->facts[local->index];
    learn_facts(local->dataset, facts);
    CSL_TRY(csl_run_learn_class_names(local->dataset, facts));
    if (facts->train_count == 0) {
        return csl_fail(CSL_E_RANGE, "%s: expected training images, found none", path);
    }
    CSL_TRY(csl_run_check_images(path, local->dataset));
    return csl_normalisation_measure(local->dataset, &local->normalisation);
}

/* All institutions must hold the same kind of images and answer the same question. */
static csl_status compare_facts(const csl_federated_run *run)
{
    const institution_facts *first = &run->facts[0];
    for (uint32_t i = 1; i < run->study->institutions.count; i++) {
        const institution_facts *other = &run->facts[i];
        if (memcmp(&first->shape, &other->shape, sizeof first->shape) != 0) {
            return csl_fail(CSL_E_SHAPE,
                            "%s: images of %ux%ux%u with %u channels, but %s has %ux%ux%u with %u",
                            run->files[i], other->shape.extent[0], other->shape.extent[1],
                            other->shape.extent[2], other->shape.channels, run->files[0],
                            first->shape.extent[0], first->shape.extent[1], first->shape.extent[2],
                            first->shape.channels);
        }
        if (first->task != other->task || first->class_count != other->class_count) {
            return csl_fail(CSL_E_SHAPE,
                            "%s: another task than %s, or another number of classes (%u, not %u)",
                            run->files[i], run->files[0], other->class_count, first->class_count);
        }
    }
    return CSL_OK;
}

static void add_number(char site[CSL_NAME_MAX], uint32_t institution)
{
    char name[CSL_NAME_MAX];
    size_t length = strlen(site) < 48 ? strlen(site) : 48;
    int whole = (int)csl_utf8_check(site, length); /* a character is not cut in two */
    snprintf(name, sizeof name, "%.*s #%u", whole, site, institution);
    memcpy(site, name, sizeof name);
}

/* Tables and messages call every institution by a name of its own. */
static void name_sites(csl_federated_run *run)
{
    uint32_t count = run->study->institutions.count;
    for (uint32_t i = 0; i < count; i++) {
        bool alone = true;
        for (uint32_t k = i + 1; k < count; k++) {
            if (strcmp(run->facts[k].site, run->facts[i].site) == 0) {
                add_number(run->facts[k].site, k);
                alone = false;
            }
        }
        if (!alone) {
            add_number(run->facts[i].site, i);
        }
    }
}

/* A network that has seen one class says it always. All together must have two; an institution
 * with one is a hard case, but one that studies make on purpose. */
static csl_status check_classes(const csl_federated_run *run)
{
    const institution_facts *first = &run->facts[0];
    if (first->task != CSL_TASK_BINARY && first->task != CSL_TASK_MULTICLASS) {
        return CSL_OK;
    }
    uint32_t pool_classes = 0;
    uint32_t last = 0;
    for (uint32_t c = 0; c < first->class_count; c++) {
        uint64_t images = 0;
        for (uint32_t i = 0; i < run->study->institutions.count; i++) {
            images += run->facts[i].class_counts[c];
        }
        pool_classes += images > 0;
        last = images > 0 ? c : last;
    }
    if (pool_classes < 2) {
        return csl_fail(CSL_E_RANGE,
                        "%s: expected training images of at least 2 classes, found class %u alone "
                        "at all institutions",
                        run->study->data.path, last);
    }
    for (uint32_t i = 0; i < run->study->institutions.count; i++) {
        const institution_facts *facts = &run->facts[i];
        for (uint32_t c = 0; c < facts->class_count; c++) {
            if (facts->class_counts[c] == facts->train_count) {
                csl_log(CSL_LOG_WARN, "run",
                        "%s: all %llu training images are of class %u; %s alone learns nothing "
                        "that tells classes apart",
                        run->files[i], (unsigned long long)facts->train_count, c, facts->site);
            }
        }
    }
    return CSL_OK;
}

static csl_status share_facts(csl_federated_run *run)
{
    uint64_t *parts = calloc(run->rank_count + 1, sizeof *parts);
    if (!parts) {
        return csl_agree(run->communicator, csl_fail(CSL_E_NO_MEMORY, "institutions"));
    }
    uint32_t count = run->study->institutions.count;
    uint32_t institution = 0;
    for (uint32_t rank = 0; rank < run->rank_count; rank++) {
        parts[rank] = institution * sizeof *run->facts;
        while (institution < count && csl_placement_owner(&run->placement, institution) == rank) {
            institution++;
        }
    }
    parts[run->rank_count] = count * sizeof *run->facts;
    csl_status status = csl_gather_all(run->communicator, run->facts, parts);
    free(parts);
    CSL_TRY(status);
    name_sites(run);
    if (run->rank == 0) {
        status = compare_facts(run);
        status = status == CSL_OK ? csl_run_compare_class_names(run) : status;
        status = status == CSL_OK ? check_classes(run) : status;
    }
    return csl_agree(run->communicator, status);
}

/* Names of classes for rank 0's tables; it always holds institution 0. */
static csl_status copy_class_names(csl_federated_run *run)
{
    const local_institution *first = csl_run_local(run, 0);
    if (!first || !first->dataset->class_names || first->dataset->class_count == 0) {
        return CSL_OK;
    }
    size_t size = first->dataset->class_count * sizeof *run->class_names;
    run->class_names = malloc(size);
    if (!run->class_names) {
        return csl_fail(CSL_E_NO_MEMORY, "names of classes");
    }
    memcpy(run->class_names, first->dataset->class_names, size);
    return CSL_OK;
}

csl_status csl_run_open_institutions(csl_federated_run *run)
{
    uint32_t count = run->study->institutions.count;
    run->local_count = csl_placement_count(&run->placement, run->rank);
    run->locals = calloc(run->local_count + 1, sizeof *run->locals);
    run->facts = calloc(count, sizeof *run->facts);
    run->reports = calloc(count, sizeof *run->reports);
    run->sampled = calloc(count, sizeof *run->sampled);
    uint32_t *order = calloc(run->local_count + 1, sizeof *order);
    csl_status status = CSL_OK;
    if (!run->locals || !run->facts || !run->reports || !run->sampled || !order) {
        status = csl_fail(CSL_E_NO_MEMORY, "%u institutions", count);
    } else {
        csl_placement_order(&run->placement, run->rank, order);
    }
    for (uint32_t i = 0; i < run->local_count && status == CSL_OK; i++) {
        run->locals[i].index = order[i];
        run->locals[i].owner = csl_placement_owner(&run->placement, order[i]) == run->rank;
        status = open_institution(run, &run->locals[i]);
    }
    free(order);
    if (run->rank == 0 && status == CSL_OK) {
        status = copy_class_names(run);
    }
    CSL_TRY(csl_agree(run->communicator, status));
    return share_facts(run);
}

local_institution *csl_run_local(csl_federated_run *run, uint32_t institution)
{
    for (uint32_t i = 0; i < run->local_count; i++) {
        if (run->locals[i].index == institution) {
            return &run->locals[i];
        }
    }
    return NULL;
}

/* "auto" spreads the ranks of a node over its GPUs; without one it is the host. */
static void choose_device(csl_federated_run *run)
{
    uint32_t gpu_count = csl_device_gpu_count();
    if (strcmp(run->study->device, "auto") != 0) {
        snprintf(run->device_name, sizeof run->device_name, "%s", run->study->device);
    } else if (gpu_count == 0) {
        snprintf(run->device_name, sizeof run->device_name, "host");
        if (run->rank == 0) {
            csl_log(CSL_LOG_INFO, "run", "device auto: %s; training on the host",
                    csl_device_gpu_absence());
        }
    } else {
        snprintf(run->device_name, sizeof run->device_name, "cuda:%u",
                 csl_communicator_local_rank(run->communicator) % gpu_count);
    }
}

/* Shards of one institution that lie on this rank, at most; 1 where nothing trains. */
static uint32_t count_devices(const csl_federated_run *run)
{
    uint32_t first = 0;
    uint32_t end = 0;
    csl_placement_shards(&run->placement, run->rank, &first, &end);
    uint32_t most = 1;
    uint32_t here = 0;
    for (uint32_t shard = first; shard < end; shard++) {
        here = shard % run->placement.ranks_each == 0 ? 1 : here + 1;
        most = here > most ? here : most;
    }
    return most;
}

static csl_status open_devices(csl_federated_run *run)
{
    choose_device(run);
    uint32_t shards = count_devices(run);
    run->devices = calloc(shards, sizeof(csl_device *));
    if (!run->devices) {
        return csl_fail(CSL_E_NO_MEMORY, "devices");
    }
    run->device_count = shards;
    for (uint32_t i = 0; i < shards; i++) {
        CSL_TRY(csl_device_open(run->device_name, run->study->threads, &run->devices[i]));
    }
    return csl_device_open("host", run->study->threads, &run->host);
}

csl_status csl_run_open_devices(csl_federated_run *run)
{
    csl_status status = open_devices(run);
    if (status != CSL_OK) {
        status = csl_fail_context(status, "study %s", run->options->study_path);
    }
    status = csl_agree(run->communicator, status);
    note_refusal(run, status == CSL_E_NOT_FOUND); /* no device has such a name anywhere */
    CSL_TRY(status);
    uint32_t cores = csl_communicator_local_cores(run->communicator);
    uint32_t used = csl_communicator_local_size(run->communicator) * run->study->threads;
    if (run->rank == 0 && used > cores && strncmp(run->device_name, "host", 4) == 0) {
        csl_log(CSL_LOG_WARN, "run",
                "%u rank%s with %u thread%s each share %u core%s of %s; expect it to be slower "
                "than with fewer",
                csl_communicator_local_size(run->communicator),
                csl_communicator_local_size(run->communicator) == 1 ? "" : "s", run->study->threads,
                run->study->threads == 1 ? "" : "s", cores, cores == 1 ? "" : "s",
                csl_communicator_host(run->communicator, 0));
    }
    return CSL_OK;
}

csl_status csl_run_share_devices(csl_federated_run *run)
{
    if (!run->options->verbose) {
        return CSL_OK;
    }
    uint64_t *parts = calloc(run->rank_count + 1, sizeof *parts);
    run->device_names = calloc(run->rank_count, sizeof *run->device_names);
    bool ready = parts && run->device_names;
    csl_status status = csl_agree(run->communicator,
                                  ready ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "names of devices"));
    if (status == CSL_OK) {
        for (uint32_t rank = 0; rank <= run->rank_count; rank++) {
            parts[rank] = rank * sizeof *run->device_names;
        }
        snprintf(run->device_names[run->rank], CSL_NAME_MAX, "%.*s", CSL_NAME_MAX - 1,
                 csl_device_get_info(run->devices[0])->description);
        status = csl_gather(run->communicator, run->device_names, parts);
    }
    free(parts);
    return status;
}

static csl_status build_state(csl_federated_run *run)
{
    csl_text text = {0};
    float *weights = malloc(run->parameter_count * sizeof *weights);
    uint32_t *ids = calloc(run->local_count + 1, sizeof *ids);
    csl_status status = CSL_OK;
    if (!weights || !ids) {
        status = csl_fail(CSL_E_NO_MEMORY, "a model of %zu parameters", run->parameter_count);
    }
    if (status == CSL_OK && run->rank == 0) {
        status = csl_model_initialise(run->spec, run->study->seed, weights);
    }
    status = csl_agree(run->communicator, status);
    if (status == CSL_OK) {
        status =
            csl_broadcast(run->communicator, weights, run->parameter_count * sizeof *weights, 0);
    }
    for (uint32_t i = 0; i < run->local_count && status == CSL_OK; i++) {
        ids[i] = run->locals[i].index;
    }
    if (status == CSL_OK) {
        status = csl_run_state_create(run->federation, weights, ids, run->local_count, NULL,
                                      &run->state);
    }
    for (uint32_t i = 0; i < run->local_count && status == CSL_OK; i++) {
        run->locals[i].state = &run->state->institutions[i];
    }
    if (status == CSL_OK) {
        memcpy(run->state->study_sha256, run->study_digest, CSL_SHA256_SIZE);
    }
    csl_text_clear(&text);
    free(weights);
    free(ids);
    return csl_agree(run->communicator, status);
}

static csl_status build_parts(csl_federated_run *run)
{
    CSL_TRY(csl_model_spec_tensors(run->spec, &run->tensors, &run->tensor_count,
                                   &run->parameter_count));
    CSL_TRY(csl_federation_create(&run->study->federation, run->tensors, run->tensor_count,
                                  &run->federation));
    for (uint32_t i = 0; i < run->local_count && run->study->evaluation.cross_site; i++) {
        local_institution *local = &run->locals[i];
        local->last_model = local->owner ? malloc(run->parameter_count * sizeof(float)) : NULL;
        if (local->owner && !local->last_model) {
            return csl_fail(CSL_E_NO_MEMORY, "local models for the cross-site matrix");
        }
    }
    return CSL_OK;
}

/* The state's weights become the vector that all ranks write together. */
static csl_status share_weights(csl_federated_run *run)
{
    CSL_TRY(csl_global_vector_create(run->communicator, &run->sharding, run->state->weights,
                                     &run->weights));
    free(run->state->weights);
    run->state->weights = csl_global_vector_values(run->weights);
    return CSL_OK;
}

csl_status csl_run_agree_on_network(const csl_federated_run *run, csl_status status)
{
    status = csl_agree(run->communicator, status);
    note_refusal(run, csl_study_is_refused(status) || status == CSL_E_SHAPE ||
                          status == CSL_E_INVALID_ARG);
    return status;
}

csl_status csl_run_build_model(csl_federated_run *run)
{
    const institution_facts *facts = &run->facts[0];
    CSL_TRY(csl_run_agree_on_network(run, csl_study_model_spec(run->study, facts->shape,
                                                               (csl_task)facts->task,
                                                               facts->class_count, &run->spec)));
    CSL_TRY(csl_agree(run->communicator, build_parts(run)));
    CSL_TRY(csl_run_open_aggregation(run));
    CSL_TRY(csl_agree(run->communicator, csl_run_open_adversary(run)));
    CSL_TRY(build_state(run));
    CSL_TRY(share_weights(run));
    csl_status status = csl_evaluator_create(run->devices[0], run->spec,
                                             run->study->evaluation.batch, &run->evaluator);
    if (status == CSL_OK && run->rank == 0) {
        size_t count = run->study->institutions.count + 1;
        run->validation = calloc(count, sizeof *run->validation);
        run->test = calloc(count, sizeof *run->test);
        if (!run->validation || !run->test) {
            status = csl_fail(CSL_E_NO_MEMORY, "metrics of %zu institutions", count);
        }
    }
    return csl_agree(run->communicator, status);
}

static void clear_locals(csl_federated_run *run)
{
    for (uint32_t i = 0; run->locals && i < run->local_count; i++) {
        local_institution *local = &run->locals[i];
        for (uint32_t k = 0; local->trainers && k < run->device_count; k++) {
            csl_trainer_destroy(local->trainers[k]);
        }
        free(local->trainers);
        csl_dataset_destroy(local->dataset);
        csl_dataset_destroy(local->triggered);
        free(local->last_model);
    }
    free(run->locals);
}

void csl_run_clear(csl_federated_run *run)
{
    csl_run_clear_aggregation(run);
    csl_run_clear_adversary(run);
    csl_evaluator_destroy(run->evaluator);
    clear_locals(run);
    for (uint32_t i = 0; run->validation && run->test && i <= run->study->institutions.count; i++) {
        csl_metrics_clear(&run->validation[i]);
        csl_metrics_clear(&run->test[i]);
    }
    free(run->validation);
    free(run->test);
    if (run->weights) { /* they are not the state's own */
        run->state->weights = NULL;
        csl_global_vector_destroy(run->weights);
    }
    csl_run_state_destroy(run->state);
    csl_federation_destroy(run->federation);
    free(run->tensors);
    csl_model_spec_destroy(run->spec);
    for (uint32_t i = 0; run->devices && i < run->device_count; i++) {
        csl_device_close(run->devices[i]);
    }
    free(run->devices);
    csl_device_close(run->host);
    free(run->facts);
    free(run->class_names);
    free(run->device_names);
    free(run->reports);
    free(run->memory_sizes);
    free(run->sampled);
    free(run->files);
    csl_line_file_close(run->metrics_file);
    csl_line_file_close(run->rounds_file);
    csl_run_release_directory(run);
    csl_study_destroy(run->study);
}
