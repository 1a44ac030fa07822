/* Rules between keys of the study file, and what follows from other keys. */
#include "study_schema.h"

#include <consilium/model.h>
#include <consilium/text.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static csl_status check_institutions(csl_study *study, const csl_study_origins *origins)
{
    if (study->institutions.per_round > study->institutions.count) {
        return csl_study_refuse(origins, "institutions.per_round", "%u of %u institutions",
                                study->institutions.per_round, study->institutions.count);
    }
    if (study->institutions.per_round == 0) {
        study->institutions.per_round = study->institutions.count;
    }
    if (study->institutions.ranks_each > study->training.batch) {
        return csl_study_refuse(origins, "institutions.ranks_each",
                                "%u ranks share a batch of %u images",
                                study->institutions.ranks_each, study->training.batch);
    }
    return CSL_OK;
}

static csl_status check_split(const csl_study *study, const csl_study_origins *origins)
{
    const csl_study_split *split = &study->data.split;
    if (!study->data.path[0]) {
        return csl_study_refuse(origins, "data.path", "is not set");
    }
    if (split->validation_fraction + split->test_fraction >= 1.0) {
        return csl_study_refuse(origins, "data.split.test_fraction",
                                "%g for testing and %g for validation leave nothing to train on",
                                split->test_fraction, split->validation_fraction);
    }
    return CSL_OK;
}

static csl_status check_federation(csl_study *study, const csl_study_origins *origins)
{
    csl_federation_options *federation = &study->federation;
    if (federation->algorithm == CSL_SCAFFOLD) {
        if (study->training.optimizer != CSL_OPTIMIZER_SGD) {
            return csl_study_refuse(
                origins, "federation.algorithm",
                "scaffold's control variates are gradients of sgd, not of adamw");
        }
        if (study->training.keep_optimizer_state) {
            return csl_study_refuse(
                origins, "training.keep_optimizer",
                "scaffold measures each round's gradients and needs a fresh optimiser");
        }
    }
    if (federation->server_rate <= 0.0f) {
        bool adaptive =
            federation->algorithm == CSL_FEDADAM || federation->algorithm == CSL_FEDYOGI;
        federation->server_rate = adaptive ? 0.01f : 1.0f;
    }
    return CSL_OK;
}

/* The last error again, after the place of a key. */
static csl_status refuse_again(const csl_study_origins *origins, const char *path)
{
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", csl_error_message());
    return csl_study_refuse(origins, path, "%s", reason);
}

/* What only the options together show, as a trainer would; the message begins with the key. */
static csl_status check_training(const csl_train_options *training,
                                 const csl_study_origins *origins)
{
    if (csl_train_options_check(training) == CSL_OK) {
        return CSL_OK;
    }
    char path[CSL_NAME_MAX];
    char reason[512];
    const char *message = csl_error_message();
    size_t length = strcspn(message, ": ");
    snprintf(path, sizeof path, "%.*s", (int)(length < sizeof path ? length : 0), message);
    snprintf(reason, sizeof reason, "%s", message + length + strspn(message + length, ": "));
    return csl_study_refuse(origins, path, "%s", reason);
}

static csl_status take_parameters(csl_study_aggregation *aggregation,
                                  const csl_study_origins *origins)
{
    size_t count = 0;
    const csl_parameter_info *info = csl_rule_parameters(&count);
    for (size_t i = 0; i < count; i++) {
        double value = aggregation->parameters[i];
        if (!isnan(value) &&
            csl_aggregate_spec_set(&aggregation->spec, info[i].name, value) != CSL_OK) {
            char path[CSL_NAME_MAX + 16];
            snprintf(path, sizeof path, "aggregation.%s", info[i].name);
            return refuse_again(origins, path);
        }
    }
    return CSL_OK;
}

static csl_status take_pre_aggregators(csl_study_aggregation *aggregation,
                                       const csl_study_origins *origins)
{
    csl_aggregate_spec *spec = &aggregation->spec;
    if (aggregation->pre.count > CSL_PRE_MAX) {
        return csl_study_refuse(origins, "aggregation.pre", "at most %d names, found %u",
                                CSL_PRE_MAX, aggregation->pre.count);
    }
    spec->pre_count = aggregation->pre.count;
    memcpy(spec->pre, aggregation->pre.values, sizeof spec->pre);
    for (uint32_t i = 0; i < spec->pre_count; i++) {
        const csl_rule_info *pre = NULL;
        if (csl_pre_find(spec->pre[i], &pre) != CSL_OK) {
            return refuse_again(origins, "aggregation.pre");
        }
    }
    return CSL_OK;
}

static csl_weights_policy weights_policy(const csl_study_aggregation *aggregation)
{
    const csl_aggregate_spec *spec = &aggregation->spec;
    bool mean = strcmp(spec->rule, "mean") == 0 || strcmp(spec->rule, "weighted-mean") == 0;
    switch (aggregation->weights) {
    case CSL_STUDY_WEIGHTS_AUTO:
        return mean && spec->pre_count == 0 ? CSL_WEIGHTS_GIVEN : CSL_WEIGHTS_EQUAL;
    case CSL_STUDY_WEIGHTS_GIVEN:
        return CSL_WEIGHTS_GIVEN;
    case CSL_STUDY_WEIGHTS_CAPPED:
        return CSL_WEIGHTS_CAPPED;
    case CSL_STUDY_WEIGHTS_EQUAL:
        break;
    }
    return CSL_WEIGHTS_EQUAL;
}

static csl_status check_aggregation(csl_study *study, const csl_study_origins *origins)
{
    csl_study_aggregation *aggregation = &study->aggregation;
    csl_aggregate_spec *spec = &aggregation->spec;
    const csl_rule_info *rule = NULL;
    if (csl_rule_find(spec->rule, &rule) != CSL_OK) {
        return refuse_again(origins, "aggregation.rule");
    }
    CSL_TRY(take_pre_aggregators(aggregation, origins));
    CSL_TRY(take_parameters(aggregation, origins));
    spec->weights = weights_policy(aggregation);
    spec->seed = study->seed;
    if (csl_aggregate_check(spec, study->institutions.per_round) != CSL_OK) {
        return refuse_again(origins, "aggregation.rule");
    }
    bool root = (rule->needs & CSL_NEEDS_ROOT) != 0;
    if (!root && strcmp(spec->rule, "monna") != 0) {
        return CSL_OK;
    }
    double pivot = spec->given[CSL_PARAMETER_PIVOT] ? spec->value[CSL_PARAMETER_PIVOT] : 0;
    uint32_t trusted = root ? aggregation->root : (uint32_t)pivot;
    if (trusted >= study->institutions.count) {
        return csl_study_refuse(origins, root ? "aggregation.root" : "aggregation.pivot",
                                "institution %u of %u", trusted, study->institutions.count);
    }
    if (study->institutions.per_round < study->institutions.count) {
        return csl_study_refuse(origins, "aggregation.rule",
                                "%s needs the trusted institution's update in every round, but %u "
                                "of %u institutions are sampled",
                                spec->rule, study->institutions.per_round,
                                study->institutions.count);
    }
    return CSL_OK;
}

bool csl_study_is_hostile(const csl_study *study, uint32_t institution)
{
    const csl_study_indices *hostile = &study->adversary.institutions;
    for (uint32_t i = 0; i < hostile->count; i++) {
        if (hostile->values[i] == institution) {
            return true;
        }
    }
    return false;
}

static int ascending(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* The list of hostile institutions, whichever way the study gives it. */
static csl_status list_hostile(csl_study *study, const csl_study_origins *origins)
{
    csl_study_adversary *adversary = &study->adversary;
    csl_study_indices *hostile = &adversary->institutions;
    uint32_t institutions = study->institutions.count;
    if (adversary->count > 0 && hostile->count > 0) {
        return csl_study_refuse(origins, "adversary.count",
                                "adversary.institutions says who is hostile already");
    }
    if (adversary->count > institutions) {
        return csl_study_refuse(origins, "adversary.count", "%u of %u institutions",
                                adversary->count, institutions);
    }
    for (uint32_t i = 0; i < adversary->count; i++) {
        hostile->values[hostile->count++] = institutions - adversary->count + i;
    }
    adversary->count = 0;
    qsort(hostile->values, hostile->count, sizeof *hostile->values, ascending);
    for (uint32_t i = 0; i < hostile->count; i++) {
        if (hostile->values[i] >= institutions) {
            return csl_study_refuse(origins, "adversary.institutions", "institution %u of %u",
                                    hostile->values[i], institutions);
        }
        if (i > 0 && hostile->values[i] == hostile->values[i - 1]) {
            return csl_study_refuse(origins, "adversary.institutions",
                                    "institution %u is named twice", hostile->values[i]);
        }
    }
    return CSL_OK;
}

static csl_status take_attack(csl_study *study, const csl_study_origins *origins)
{
    csl_study_adversary *adversary = &study->adversary;
    size_t count = 0;
    const csl_attack_parameter_info *info = csl_attack_parameters(&count);
    const csl_attack_info *attack = NULL;
    if (csl_attack_find(adversary->spec.attack, &attack) != CSL_OK) {
        return refuse_again(origins, "adversary.attack");
    }
    for (size_t i = 0; i < count; i++) {
        double value = adversary->parameters[i];
        if (!isnan(value) && csl_attack_spec_set(&adversary->spec, info[i].name, value) != CSL_OK) {
            char path[CSL_NAME_MAX + 16];
            snprintf(path, sizeof path, "adversary.%s", info[i].name);
            return refuse_again(origins, path);
        }
    }
    uint32_t hostile = adversary->institutions.count;
    uint32_t rows = study->institutions.per_round;
    uint32_t most = hostile < rows ? hostile : rows;
    /* A round that samples institutions may meet any number of hostile ones. */
    uint32_t least = rows < study->institutions.count ? 1 : most;
    for (uint32_t met = least; met <= most; met++) {
        if (csl_attack_check(&adversary->spec, rows, met) != CSL_OK) {
            return refuse_again(origins, "adversary.attack");
        }
    }
    return CSL_OK;
}

static csl_status check_adversary(csl_study *study, const csl_study_origins *origins)
{
    csl_study_adversary *adversary = &study->adversary;
    bool sends = strcmp(adversary->spec.attack, "none") != 0;
    bool poisons = adversary->poison.attack != CSL_DATA_ATTACK_NONE;
    adversary->spec.seed = study->seed;
    CSL_TRY(list_hostile(study, origins));
    if ((sends || poisons) && adversary->institutions.count == 0) {
        return csl_study_refuse(
            origins, sends ? "adversary.attack" : "adversary.data",
            "name the hostile institutions in adversary.institutions, or how many in "
            "adversary.count");
    }
    if (adversary->poison.attack == CSL_DATA_ATTACK_LABEL_PAIR &&
        adversary->poison.source == adversary->poison.target) {
        return csl_study_refuse(origins, "adversary.target_class",
                                "label-pair would turn class %u into itself",
                                adversary->poison.target);
    }
    if ((sends || poisons) && adversary->from_round > study->rounds) {
        return csl_study_refuse(origins, "adversary.from_round",
                                "round %u of %u: nobody would ever be hostile",
                                adversary->from_round, study->rounds);
    }
    return sends ? take_attack(study, origins) : CSL_OK;
}

/* Only some networks of the zoo have a normalisation to choose; listed layers bring their own. */
static csl_status check_norm(const csl_study *study, const csl_study_origins *origins)
{
    const char *norm = study->model.norm;
    if (strcmp(norm, "default") == 0) {
        return CSL_OK;
    }
    if (study->model.layer_count > 0) {
        return csl_study_refuse(origins, "model.norm",
                                "expected default with model.layers, which list the norms of the "
                                "network, found %s",
                                norm);
    }
    if (strcmp(norm, "none") != 0 && !csl_model_zoo_has_norm(study->model.name)) {
        return csl_study_refuse(origins, "model.norm",
                                "%s has no norm layers, expected default or none, found %s",
                                study->model.name, norm);
    }
    return CSL_OK;
}

/* A network is of the zoo by its name, unless its layers are listed. */
static csl_status check_model(const csl_study *study, const csl_study_origins *origins)
{
    const char *name = study->model.name;
    if (study->model.layer_count > 0 || csl_model_zoo_text(name)) {
        return check_norm(study, origins);
    }
    char known[256] = "";
    for (const char *const *names = csl_model_zoo_names(); *names; names++) {
        size_t length = strlen(known);
        snprintf(known + length, sizeof known - length, "%s%s", length ? ", " : "", *names);
    }
    const char *nearest = csl_nearest_name(name, csl_model_zoo_names());
    return csl_study_refuse(origins, "model.name", "expected one of %s, found '%s'%s%s", known,
                            name, nearest ? "; nearest is " : "", nearest ? nearest : "");
}

/* A run goes to runs/NAME unless told otherwise, and a study may come from anybody. */
static csl_status check_name(const csl_study *study, const csl_study_origins *origins)
{
    const char *name = study->name;
    bool good = *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    return good ? CSL_OK
                : csl_study_refuse(origins, "study",
                                   "expected a name that can be a folder's, found '%s'", name);
}

csl_status csl_study_check(csl_study *study, const csl_study_origins *origins)
{
    CSL_TRY(check_name(study, origins));
    CSL_TRY(check_split(study, origins));
    CSL_TRY(check_model(study, origins));
    CSL_TRY(check_institutions(study, origins));
    CSL_TRY(check_federation(study, origins));
    CSL_TRY(check_aggregation(study, origins));
    CSL_TRY(check_adversary(study, origins));
    csl_train_options *training = &study->training;
    if (training->warmup_rounds > study->rounds) {
        return csl_study_refuse(origins, "training.warmup_rounds", "%u of %u rounds",
                                training->warmup_rounds, study->rounds);
    }
    training->seed = study->seed;
    training->round_count = study->rounds;
    training->proximal_mu =
        study->federation.algorithm == CSL_FEDPROX ? study->federation.mu : 0.0f;
    training->freeze_batch_norm = study->federation.batch_norm == CSL_BATCH_NORM_FREEZE;
    return check_training(training, origins);
}
