/* What an aggregation of a file is asked to do, before a value is read. */
#include "aggregate_file_internal.h"

#include <consilium/atomic_file.h>
#include <stdio.h>
#include <string.h>

/* Every .npy file of a folder is an update, so an aggregate among them would be one of the next
 * call. */
static bool joins_updates(const char *path, const char *updates)
{
    char folder[CSL_PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    size_t length = strlen(path);
    if (length < 4 || strcmp(path + length - 4, ".npy") != 0) {
        return false;
    }
    if (slash) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path + 1), path);
    }
    return csl_same_file(folder, updates);
}

csl_status csl_file_check_outputs(const csl_aggregate_job *job)
{
    char weights[CSL_PATH_MAX] = ""; /* FILE of FILE.h5:/NAME */
    if (job->weights_from) {
        size_t length = strlen(job->weights_from);
        const char *colon = strstr(job->weights_from, ":/");
        length = colon ? (size_t)(colon - job->weights_from) : length;
        snprintf(weights, sizeof weights, "%.*s", (int)length, job->weights_from);
    }
    const char *const inputs[] = {job->in, weights};
    const struct {
        const char *option, *name, *path;
    } outputs[] = {{"--out", "the aggregate", job->out},
                   {"--report", "the report", job->report},
                   {"--memory", "the memory", job->memory}};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        const char *path = outputs[i].path;
        if (!path) {
            continue;
        }
        CSL_TRY(csl_atomic_check(path));
        for (size_t k = 0; k < sizeof inputs / sizeof *inputs; k++) {
            if (*inputs[k] && csl_same_file(path, inputs[k])) {
                return csl_fail(CSL_E_INVALID_ARG, "%s: %s would replace what is read", path,
                                outputs[i].option);
            }
        }
        if (joins_updates(path, job->in)) {
            return csl_fail(CSL_E_INVALID_ARG,
                            "%s: the next call would take %s for an update of %s", path,
                            outputs[i].name, job->in);
        }
        for (size_t k = 0; k < i; k++) {
            if (outputs[k].path && csl_same_file(path, outputs[k].path)) {
                return csl_fail(CSL_E_INVALID_ARG, "%s: %s would replace %s", path,
                                outputs[i].option, outputs[k].name);
            }
        }
    }
    return CSL_OK;
}

/* Whether a row is of the institution that monna trusts. */
static bool has_pivot(const csl_file_aggregation *a)
{
    const csl_aggregate_spec *spec = &a->job->spec;
    const uint32_t *institutions = csl_updates_institutions(a->updates);
    double pivot = spec->given[CSL_PARAMETER_PIVOT] ? spec->value[CSL_PARAMETER_PIVOT] : 0;
    bool found = false;
    for (uint32_t i = 0; i < a->row_count; i++) {
        found = found || (institutions ? institutions[i] : i) == (uint32_t)pivot;
    }
    return found;
}

/* Rows that the rule trusts: those that the job names, and that there are. */
static csl_status check_trust(const csl_file_aggregation *a, const csl_rule_info *rule)
{
    int64_t root = a->job->root;
    bool takes_root = (rule->needs & CSL_NEEDS_ROOT) != 0;
    if (takes_root && root < 0) {
        return csl_fail(CSL_E_INVALID_ARG, "rule %s needs a trusted update: --root says which",
                        rule->name);
    }
    if (!takes_root && root >= 0) {
        return csl_fail(CSL_E_INVALID_ARG, "--root: rule %s trusts no update", rule->name);
    }
    if (root >= (int64_t)a->row_count) {
        return csl_fail(CSL_E_RANGE, "--root: expected a row below %u, found %lld", a->row_count,
                        (long long)root);
    }
    return strcmp(rule->name, "monna") != 0 || has_pivot(a)
               ? CSL_OK
               : csl_fail(CSL_E_RANGE, "--pivot: none of the %u rows is of that institution",
                          a->row_count);
}

/* What the job names and nothing would use, and weights that are asked for and nowhere to be found.
 */
static csl_status check_use(const csl_file_aggregation *a, const csl_rule_info *rule)
{
    const csl_aggregate_job *job = a->job;
    bool weighs =
        job->spec.weights != CSL_WEIGHTS_EQUAL || strcmp(rule->name, "weighted-mean") == 0;
    if (job->weights_from && !weighs) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "--weights-from: %s with equal weights uses none; see --weights",
                        rule->name);
    }
    if (weighs && !job->weights_from && !csl_updates_has_weights(a->updates)) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "rule %s: no weights: %s has none; --weights-from says where they are",
                        rule->name, job->in);
    }
    if (job->dataset && csl_updates_is_folder(a->updates)) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "--dataset: %s is a folder of .npy files, which have no names in them",
                        job->in);
    }
    return CSL_OK;
}

csl_status csl_file_check_sources(const csl_file_aggregation *a)
{
    const csl_rule_info *rule = NULL;
    CSL_TRY(csl_rule_find(a->job->spec.rule, &rule));
    CSL_TRY(check_trust(a, rule));
    return check_use(a, rule);
}
