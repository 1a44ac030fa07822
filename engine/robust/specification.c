/* Specifications: defaults, parameters by name, and the refusals that need no data. */
#include "aggregation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void csl_aggregate_spec_init(csl_aggregate_spec *spec)
{
    memset(spec, 0, sizeof *spec);
    snprintf(spec->rule, sizeof spec->rule, "mean");
}

csl_status csl_aggregate_spec_set(csl_aggregate_spec *spec, const char *name, double value)
{
    size_t count = 0;
    const csl_parameter_info *info = csl_rule_parameters(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(info[i].name, name) != 0) {
            continue;
        }
        bool whole = !info[i].whole || value == floor(value);
        if (!(value >= info[i].least && value <= info[i].largest) || !whole) {
            return csl_fail(CSL_E_RANGE, "parameter %s: expected %s from %g to %g, found %g", name,
                            info[i].whole ? "a whole number" : "a number", info[i].least,
                            info[i].largest, value);
        }
        spec->given[i] = true;
        spec->value[i] = value;
        return CSL_OK;
    }
    const char *near = csl_nearest_name_strided(name, &info[0].name, sizeof info[0], count);
    return csl_fail(CSL_E_NOT_FOUND, "no rule has a parameter '%s'%s%s%s", name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

csl_status csl_aggregate_spec_set_pre(csl_aggregate_spec *spec, const char *list)
{
    uint32_t count = 0;
    char names[CSL_PRE_MAX][CSL_NAME_MAX] = {{0}};
    const char *cursor = list;
    while (*cursor) {
        size_t length = strcspn(cursor, ",");
        if (count == CSL_PRE_MAX || length >= CSL_NAME_MAX) {
            return csl_fail(CSL_E_RANGE, "pre-aggregators: at most %d names, in '%s'", CSL_PRE_MAX,
                            list);
        }
        memcpy(names[count], cursor, length);
        const csl_rule *pre = NULL;
        CSL_TRY(csl_find_pre(names[count], &pre));
        count++;
        cursor += length;
        cursor += *cursor == ',';
    }
    memcpy(spec->pre, names, sizeof names);
    spec->pre_count = count;
    return CSL_OK;
}

double csl_spec_value(const csl_aggregate_spec *spec, csl_parameter parameter, double derived)
{
    size_t count = 0;
    const csl_parameter_info *info = csl_rule_parameters(&count);
    if (spec->given[parameter]) {
        return spec->value[parameter];
    }
    double preset = info[parameter].preset[spec->preset];
    return preset < 0 ? derived : preset;
}

/* bounded: no row that reaches the rule is longer than an honest one or a given radius. */
static csl_status check_bound(
    const csl_rule *rule, const csl_aggregate_spec *spec, uint32_t n, uint32_t f, bool bounded)
{
    int64_t most = rule->info.f_max(n, spec->preset);
    const char *bound = rule->info.bound;
    if (rule->run == csl_rule_mean) {
        /* One false row moves a mean without limit, also behind nnm (which averages the false row
         * with those around it) and bucketing; shortened rows move it by f/n of their length, as in
         * norm clipping. ByzFL's Average knows no f. */
        bool free = spec->preset == CSL_PRESET_BYZFL && spec->pre_count > 0;
        most = bounded || free ? ((int64_t)n - 1) / 2 : most;
        bound = bounded || free ? "2f < n" : "f = 0, or clipping or arc before it";
    }
    if (spec->preset == CSL_PRESET_BYZFL && rule->run == csl_pre_nnm) {
        most = (int64_t)n - 1;
    }
    if (most < 0) {
        return csl_fail(CSL_E_RANGE, "%s: %u rows are too few for any f: it needs %s",
                        rule->info.name, n, bound);
    }
    if ((int64_t)f > most) {
        return csl_fail(CSL_E_RANGE,
                        "%s: f = %u is too large for %u rows: it needs %s, so f is at most %lld",
                        rule->info.name, f, n, bound, (long long)most);
    }
    return CSL_OK;
}

static bool has_parameter(const csl_rule *rule, int32_t parameter)
{
    for (size_t i = 0; i < CSL_RULE_PARAMETERS_MAX && rule->info.parameters[i] >= 0; i++) {
        if (rule->info.parameters[i] == parameter) {
            return true;
        }
    }
    return false;
}

static csl_status
check_parameters(const csl_aggregate_spec *spec, const csl_rule *rule, const csl_rule *const *pre)
{
    size_t count = 0;
    const csl_parameter_info *info = csl_rule_parameters(&count);
    for (int32_t p = 0; p < (int32_t)count; p++) {
        if (!spec->given[p]) {
            continue;
        }
        bool known = has_parameter(rule, p);
        for (uint32_t i = 0; i < spec->pre_count; i++) {
            known = known || has_parameter(pre[i], p);
        }
        if (!known) {
            return csl_fail(CSL_E_INVALID_ARG, "rule %s has no parameter '%s'", spec->rule,
                            info[p].name);
        }
        double value = spec->value[p];
        if (!(value >= info[p].least && value <= info[p].largest)) {
            return csl_fail(CSL_E_RANGE, "parameter %s: expected %g to %g, found %g", info[p].name,
                            info[p].least, info[p].largest, value);
        }
    }
    return CSL_OK;
}

/* Counts that a parameter gives must leave at least one value and exist among n rows. */
static csl_status check_counts(const csl_aggregate_spec *spec, const csl_rule *rule, uint32_t n)
{
    double trim = csl_spec_value(spec, CSL_PARAMETER_TRIM, spec->f);
    if (has_parameter(rule, CSL_PARAMETER_TRIM) && 2 * trim >= n) {
        return csl_fail(CSL_E_RANGE, "%s: trim %g leaves nothing of %u rows", spec->rule, trim, n);
    }
    double factor = csl_spec_value(spec, CSL_PARAMETER_FACTOR, 1);
    if (has_parameter(rule, CSL_PARAMETER_FACTOR) && floor(factor * spec->f) >= n) {
        return csl_fail(CSL_E_RANGE, "%s: factor %g times f = %u drops all of %u rows", spec->rule,
                        factor, spec->f, n);
    }
    static const csl_parameter counts[] = {CSL_PARAMETER_NEIGHBOURS, CSL_PARAMETER_SELECT,
                                           CSL_PARAMETER_THETA};
    static const uint32_t excess[] = {1, 0, 0};
    size_t parameter_count = 0;
    const csl_parameter_info *info = csl_rule_parameters(&parameter_count);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        csl_parameter p = counts[i];
        if (has_parameter(rule, (int32_t)p) && spec->given[p] &&
            spec->value[p] > (double)n - excess[i]) {
            return csl_fail(CSL_E_RANGE, "%s: %s %g is too large for %u rows", spec->rule,
                            info[p].name, spec->value[p], n);
        }
    }
    return CSL_OK;
}

/* SMEA looks at each subset of n - f rows: C(n, f) of them at worst, which refused rows only lower.
 * After each factor the product is itself a binomial coefficient, so the division is exact. */
static csl_status check_subsets(const csl_aggregate_spec *spec, uint32_t n)
{
    uint64_t subsets = 1;
    for (uint32_t i = 1; i <= spec->f; i++) {
        subsets = subsets * (n - spec->f + i) / i;
        if (subsets > CSL_SUBSETS_MAX) {
            return csl_fail(CSL_E_RANGE,
                            "%s: %u of %u rows can be chosen in more than %d ways; use fewer rows, "
                            "a smaller f, or mda (subsets are not enumerated there)",
                            spec->rule, n - spec->f, n, CSL_SUBSETS_MAX);
        }
    }
    return CSL_OK;
}

csl_status csl_aggregate_check(const csl_aggregate_spec *spec, uint32_t row_count)
{
    if (row_count < 1 || row_count > CSL_ROWS_MAX) {
        return csl_fail(CSL_E_RANGE, "aggregation: expected 1 to %d updates, found %u",
                        CSL_ROWS_MAX, row_count);
    }
    const csl_rule *rule = NULL;
    const csl_rule *pre[CSL_PRE_MAX] = {NULL};
    CSL_TRY(csl_find_rule(spec->rule, &rule));
    if (spec->pre_count > CSL_PRE_MAX) {
        return csl_fail(CSL_E_RANGE, "more than %d pre-aggregators", CSL_PRE_MAX);
    }
    uint32_t n = row_count;
    bool bounded = false;
    for (uint32_t i = 0; i < spec->pre_count; i++) {
        CSL_TRY(csl_find_pre(spec->pre[i], &pre[i]));
        CSL_TRY(check_bound(pre[i], spec, n, spec->f, false));
        bounded = bounded || pre[i]->run == csl_pre_clipping || pre[i]->run == csl_pre_arc;
        if (pre[i]->run == csl_pre_bucketing) {
            uint32_t bucket = (uint32_t)csl_spec_value(spec, CSL_PARAMETER_BUCKET, 2);
            n = (n + bucket - 1) / bucket;
        }
        if (pre[i]->run == csl_pre_bucketing || pre[i]->run == csl_pre_nnm) {
            if (spec->weights != CSL_WEIGHTS_EQUAL || strcmp(spec->rule, "weighted-mean") == 0) {
                return csl_fail(CSL_E_INVALID_ARG,
                                "weights have no meaning behind %s, which mixes rows",
                                spec->pre[i]);
            }
        }
    }
    CSL_TRY(check_bound(rule, spec, n, spec->f, bounded));
    if (spec->weights != CSL_WEIGHTS_EQUAL && !(rule->info.needs & CSL_TAKES_WEIGHTS)) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "rule %s takes no weights: an institution could claim any; use equal "
                        "weights, or mean, geometric-median or norm-clipping",
                        spec->rule);
    }
    bool rows_only = (rule->info.needs & (CSL_NEEDS_HISTORY | CSL_NEEDS_ROOT)) != 0 ||
                     rule->run == csl_rule_signguard || rule->run == csl_rule_rlr;
    if (rows_only && spec->pre_count > 0) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "rule %s takes no pre-aggregator: it judges rows as they were sent",
                        spec->rule);
    }
    if (rule->run == csl_rule_smea) {
        CSL_TRY(check_subsets(spec, n));
    }
    CSL_TRY(check_parameters(spec, rule, pre));
    return check_counts(spec, rule, n);
}
