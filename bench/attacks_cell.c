#include "attacks_cell.h"

#include "bench_support.h"

#include <consilium/run.h>
#include <consilium/study.h>

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static csl_status
add(csl_attack_cell *cell, const char *format, ...)
{
    if (cell->override_count == CSL_CELL_OVERRIDES_MAX) {
        return csl_fail(CSL_E_RANGE, "more than %d keys", CSL_CELL_OVERRIDES_MAX);
    }
    char *text = cell->text[cell->override_count];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, CSL_CELL_TEXT_MAX, format, arguments);
    va_end(arguments);
    if (length < 0 || length >= CSL_CELL_TEXT_MAX) {
        return csl_fail(CSL_E_RANGE, "'%.40s...' is longer than %d bytes", text, CSL_CELL_TEXT_MAX);
    }
    cell->overrides[cell->override_count++] = text;
    return CSL_OK;
}

/* What the study says of rules and attacks gives way, parameters and all. */
static csl_status clear_sections(csl_attack_cell *cell)
{
    size_t count = 0;
    const csl_parameter_info *rule = csl_rule_parameters(&count);
    for (size_t i = 0; i < count; i++) {
        CSL_TRY(add(cell, "aggregation.%s=auto", rule[i].name));
    }
    const csl_attack_parameter_info *attack = csl_attack_parameters(&count);
    for (size_t i = 0; i < count; i++) {
        CSL_TRY(add(cell, "adversary.%s=auto", attack[i].name));
    }
    CSL_TRY(add(cell, "aggregation.weights=auto"));
    CSL_TRY(add(cell, "adversary.attack=none"));
    return add(cell, "adversary.data=none");
}

/* ":key=value:key=value" behind a name, which is cut off there. */
static csl_status take_parameters(csl_attack_cell *cell, const char *section, char *description)
{
    char *rest = NULL;
    strtok_r(description, ":", &rest);
    for (char *one = strtok_r(NULL, ":", &rest); one; one = strtok_r(NULL, ":", &rest)) {
        CSL_TRY(add(cell, "%s.%s", section, one));
    }
    return CSL_OK;
}

/* "A,B" */
static csl_status check_pre(const char *names)
{
    char text[CSL_CELL_TEXT_MAX];
    char *rest = NULL;
    const csl_rule_info *known = NULL;
    snprintf(text, sizeof text, "%s", names);
    for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        CSL_TRY(csl_pre_find(one, &known));
    }
    return CSL_OK;
}

static csl_status take_rule(csl_attack_cell *cell)
{
    char description[CSL_CELL_TEXT_MAX];
    snprintf(description, sizeof description, "%s", cell->rule);
    CSL_TRY(take_parameters(cell, "aggregation", description));
    char *rule = strrchr(description, '+');
    const char *pre = "";
    if (rule) {
        *rule++ = 0;
        pre = description;
        for (char *plus = description; *plus; plus++) {
            *plus = *plus == '+' ? ',' : *plus;
        }
    } else {
        rule = description;
    }
    bool bears_none = !*pre && (strcmp(rule, "mean") == 0 || strcmp(rule, "weighted-mean") == 0);
    cell->f = bears_none ? 0 : cell->f;
    const csl_rule_info *known = NULL;
    CSL_TRY(csl_rule_find(rule, &known));
    CSL_TRY(check_pre(pre));
    CSL_TRY(add(cell, "aggregation.rule=%s", rule));
    CSL_TRY(add(cell, "aggregation.pre=[%s]", pre));
    return add(cell, "aggregation.f=%u", cell->f);
}

static csl_status take_attack(csl_attack_cell *cell)
{
    static const char *const data_attacks[] = {"label-flip", "label-pair", "backdoor"};
    char description[CSL_CELL_TEXT_MAX];
    snprintf(description, sizeof description, "%s", cell->attack);
    char *rest = NULL;
    for (char *one = strtok_r(description, "+", &rest); one; one = strtok_r(NULL, "+", &rest)) {
        CSL_TRY(take_parameters(cell, "adversary", one));
        bool data = false;
        for (size_t i = 0; i < sizeof data_attacks / sizeof *data_attacks; i++) {
            data = data || strcmp(one, data_attacks[i]) == 0;
        }
        const csl_attack_info *known = NULL;
        CSL_TRY(data || strcmp(one, "none") == 0 ? CSL_OK : csl_attack_find(one, &known));
        CSL_TRY(add(cell, "adversary.%s=%s", data ? "data" : "attack", one));
    }
    return CSL_OK;
}

csl_status csl_attack_cell_resolve(csl_attack_cell *cell)
{
    cell->override_count = 0;
    cell->sha256[0] = 0;
    CSL_TRY(clear_sections(cell));
    for (size_t i = 0; i < cell->base_count; i++) {
        if (cell->override_count == CSL_CELL_OVERRIDES_MAX) {
            return csl_fail(CSL_E_RANGE, "more than %d keys", CSL_CELL_OVERRIDES_MAX);
        }
        cell->overrides[cell->override_count++] = cell->base[i];
    }
    CSL_TRY(take_rule(cell));
    CSL_TRY(take_attack(cell));
    CSL_TRY(add(cell, "seed=%llu", (unsigned long long)cell->seed));
    CSL_TRY(add(cell, "evaluation.cross_site=false"));
    csl_study *study = NULL;
    csl_study_sources sources = {.overrides = cell->overrides,
                                 .override_count = cell->override_count};
    uint8_t digest[CSL_SHA256_SIZE];
    csl_status status = csl_study_load(cell->study_path, &sources, &study);
    if (status != CSL_OK) { /* values that do not fit each other are this cell's matter alone */
        return status == CSL_E_RANGE ? CSL_OK : status;
    }
    status = csl_study_sha256(study, digest);
    csl_study_destroy(study);
    if (status == CSL_OK) {
        csl_hex(digest, CSL_SHA256_SIZE, cell->sha256);
    }
    return status;
}

static double number_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void take_event(const json_t *event, double *best_score, csl_attack_result *result)
{
    const char *kind = json_string_value(json_object_get(event, "event"));
    const json_t *test = json_object_get(event, "test");
    if (kind && strcmp(kind, "round") == 0) {
        double score = number_at(json_object_get(event, "validation"), "auc");
        if (score > *best_score) {
            *best_score = score;
            result->best_auc = number_at(test, "auc");
        }
    }
    if (kind && strcmp(kind, "end") == 0) {
        result->test_auc = number_at(test, "auc");
        result->test_accuracy = number_at(test, "accuracy");
        result->test_balanced_accuracy = number_at(test, "balanced_accuracy");
        result->selection_accuracy = number_at(event, "selection_accuracy");
        result->hostile_weight = number_at(event, "hostile_weight");
        result->backdoor_success = number_at(event, "backdoor_success");
        result->seconds = number_at(event, "seconds");
    }
}

/* Whether a round was trained or at least begun: what fails before is no result. */
static csl_status read_events(const char *path, csl_attack_result *result, bool *began_out)
{
    FILE *file = fopen(path, "r");
    double best_score = -INFINITY;
    json_t *event = NULL;
    *began_out = false;
    while (file && (event = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
        take_event(event, &best_score, result);
        *began_out = true;
        json_decref(event);
    }
    return file && fclose(file) != 0 ? csl_fail(CSL_E_IO, "%s cannot be read", path) : CSL_OK;
}

typedef struct watcher {
    void (*alive)(void *context);
    void *context;
} watcher;

static void pass_on(void *context, const csl_run_progress *progress)
{
    (void)progress;
    const watcher *one = context;
    one->alive(one->context);
}

csl_status csl_attack_cell_run(csl_communicator *communicator,
                               const csl_attack_cell *cell,
                               const char *folder,
                               void (*alive)(void *context),
                               void *context,
                               csl_attack_result *result_out)
{
    watcher one = {alive, context};
    csl_run_options options = {
        .study_path = cell->study_path,
        .overrides = cell->overrides,
        .override_count = cell->override_count,
        .directory = folder,
        .overwrite = true,
        .context = &one,
        .progress = pass_on,
    };
    csl_attack_result result = {
        .test_auc = NAN,
        .test_accuracy = NAN,
        .test_balanced_accuracy = NAN,
        .best_auc = NAN,
        .selection_accuracy = NAN,
        .backdoor_success = NAN,
        .hostile_weight = NAN,
    };
    char path[CSL_PATH_MAX];
    if (snprintf(path, sizeof path, "%s/rounds.jsonl", folder) >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "%s: the path is too long", folder);
    }
    (void)remove(path); /* of an earlier grid */
    double begin = csl_bench_seconds();
    csl_status status = csl_run(communicator, &options);
    result.seconds = csl_bench_seconds() - begin;
    snprintf(result.reason, sizeof result.reason, "%s",
             status == CSL_OK ? "" : csl_error_message());
    bool began = false;
    CSL_TRY(read_events(path, &result, &began));
    bool lost = status == CSL_E_NO_QUORUM || status == CSL_E_DIVERGED;
    if (status != CSL_OK && !(lost && began)) {
        return csl_fail(status, "%s", result.reason);
    }
    snprintf(result.status, sizeof result.status, "%s",
             status == CSL_OK            ? "ok"
             : status == CSL_E_NO_QUORUM ? "no-quorum"
                                         : "diverged");
    *result_out = result;
    return CSL_OK;
}
