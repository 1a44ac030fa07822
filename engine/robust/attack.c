/* The table of attacks, their specification, and one attack from check to rows. */
#include "attack_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define P(symbol) CSL_ATTACK_##symbol
#define NO_MORE   (-1)

typedef struct attack_entry {
    csl_attack_info info;
    csl_attack_run run;
} attack_entry;

static const attack_entry attacks[] = {
    {{"sign-flip",
      "the honest mean, or the own update, reversed",
      "-factor mu, or -factor x_own",
      "Allen-Zhu et al. 2020; Karimireddy et al. 2021",
      {P(FACTOR), P(OWN), NO_MORE}},
     csl_attack_sign_flip},
    {{"ipm",
      "inner-product manipulation (fall of empires): the honest mean, reversed and scaled",
      "-factor mu",
      "Xie et al. 2020",
      {P(FACTOR), NO_MORE}},
     csl_attack_ipm},
    {{"alie",
      "a little is enough: the mean shifted within the honest spread",
      "mu + z sigma",
      "Baruch et al. 2019",
      {P(Z), NO_MORE}},
     csl_attack_alie},
    {{"optimal-ipm",
      "ipm with the factor that moves the rule in use furthest",
      "-factor mu, factor = argmax ||aggregate - mu||",
      "Xie et al. 2020; Allouah et al. 2023",
      {P(EVALUATIONS), P(STEP), NO_MORE}},
     csl_attack_optimal_ipm},
    {{"optimal-alie",
      "alie with the z that moves the rule in use furthest",
      "mu + z sigma, z = argmax ||aggregate - mu||",
      "Baruch et al. 2019; Allouah et al. 2023",
      {P(EVALUATIONS), P(STEP), NO_MORE}},
     csl_attack_optimal_alie},
    {{"min-max",
      "as far as no honest update lies from another",
      "mu - g p, largest g with max_i ||x - x_i|| <= max_ij ||x_i - x_j||",
      "Shejwalkar and Houmansadr 2021",
      {P(DIRECTION), NO_MORE}},
     csl_attack_min_max},
    {{"min-sum",
      "as far as keeps the sum of squared distances below an honest one",
      "mu - g p, largest g with sum_i ||x - x_i||^2 <= max_i sum_j ||x_i - x_j||^2",
      "Shejwalkar and Houmansadr 2021",
      {P(DIRECTION), NO_MORE}},
     csl_attack_min_sum},
    {{"mimic",
      "a copy of one honest update, which so counts too often",
      "x_i",
      "Karimireddy et al. 2022",
      {P(TARGET), P(WARMUP), NO_MORE}},
     csl_attack_mimic},
    {{"gaussian",
      "noise that knows no data",
      "N(mean, deviation^2)",
      "Blanchard et al. 2017",
      {P(MEAN), P(DEVIATION), P(SHARED), NO_MORE}},
     csl_attack_gaussian},
    {{"random",
      "uniform noise",
      "U(-range, range)",
      "He et al. 2020 (FedML)",
      {P(RANGE), P(SHARED), NO_MORE}},
     csl_attack_random},
    {{"zero", "nothing", "0", "He et al. 2020 (FedML)", {NO_MORE}}, csl_attack_zero},
    {{"infinity", "values that are not finite", "+infinity", "Blanchard et al. 2017", {NO_MORE}},
     csl_attack_infinity},
    {{"nan", "values that are not numbers", "NaN", "El Mhamdi et al. 2018", {NO_MORE}},
     csl_attack_nan},
    {{"scaling",
      "model replacement: the own update, multiplied",
      "factor x_own",
      "Bagdasaryan et al. 2020",
      {P(FACTOR), NO_MORE}},
     csl_attack_scaling},
    {{"fang-krum",
      "against the mean's signs, as far as Krum still picks it",
      "-lambda sign(mu), lambda halved until Krum picks it",
      "Fang et al. 2020, section 4.2",
      {P(THRESHOLD), NO_MORE}},
     csl_attack_fang_krum},
    {{"fang-trim",
      "just beyond the honest extremes, on the side the mean moves away from",
      "below min_i x_i where mu > 0, above max_i x_i where mu < 0, up to the factor spread",
      "Fang et al. 2020, section 4.3",
      {P(SPREAD), NO_MORE}},
     csl_attack_fang_trim},
    {{"free-rider",
      "the last aggregate again, with noise, instead of training",
      "factor previous + N(0, deviation^2)",
      "Lin et al. 2019",
      {P(FACTOR), P(DEVIATION), NO_MORE}},
     csl_attack_free_rider},
};

#undef P

#define PARAMETER_INFO(symbol, name, preset, least, largest, whole, text)                          \
    {name, preset, least, largest, whole, text},
static const csl_attack_parameter_info parameters[] = {CSL_ATTACK_PARAMETER_LIST(PARAMETER_INFO)};

enum { ATTACK_COUNT = sizeof attacks / sizeof attacks[0] };

/* The public part of the table, which callers walk as a plain array. */
static csl_attack_info attack_infos[ATTACK_COUNT];

__attribute__((constructor)) static void fill_infos(void)
{
    for (size_t i = 0; i < ATTACK_COUNT; i++) {
        attack_infos[i] = attacks[i].info;
    }
}

const csl_attack_info *csl_attacks(size_t *count_out)
{
    *count_out = ATTACK_COUNT;
    return attack_infos;
}

const csl_attack_parameter_info *csl_attack_parameters(size_t *count_out)
{
    *count_out = CSL_ATTACK_PARAMETER_COUNT;
    return parameters;
}

static csl_status find(const char *name, const attack_entry **attack_out)
{
    for (size_t i = 0; i < ATTACK_COUNT; i++) {
        if (strcmp(attacks[i].info.name, name) == 0) {
            *attack_out = &attacks[i];
            return CSL_OK;
        }
    }
    const char *near =
        csl_nearest_name_strided(name, &attacks[0].info.name, sizeof attacks[0], ATTACK_COUNT);
    return csl_fail(CSL_E_NOT_FOUND, "no attack is called '%s'%s%s%s", name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

csl_status csl_attack_find(const char *name, const csl_attack_info **attack_out)
{
    const attack_entry *attack = NULL;
    CSL_TRY(find(name, &attack));
    *attack_out = &attack_infos[attack - attacks];
    return CSL_OK;
}

csl_status csl_attack_spec_set(csl_attack_spec *spec, const char *name, double value)
{
    for (size_t i = 0; i < CSL_ATTACK_PARAMETER_COUNT; i++) {
        const csl_attack_parameter_info *info = &parameters[i];
        if (strcmp(info->name, name) != 0) {
            continue;
        }
        bool whole = !info->whole || value == floor(value);
        if (!(value >= info->least && value <= info->largest) || !whole) {
            return csl_fail(CSL_E_RANGE, "parameter %s: expected %s from %g to %g, found %g", name,
                            info->whole ? "a whole number" : "a number", info->least, info->largest,
                            value);
        }
        spec->given[i] = true;
        spec->value[i] = value;
        return CSL_OK;
    }
    const char *near = csl_nearest_name_strided(name, &parameters[0].name, sizeof parameters[0],
                                                CSL_ATTACK_PARAMETER_COUNT);
    return csl_fail(CSL_E_NOT_FOUND, "no attack has a parameter '%s'%s%s%s", name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

double csl_attack_value(const csl_attack_spec *spec, csl_attack_parameter parameter, double derived)
{
    if (spec->given[parameter]) {
        return spec->value[parameter];
    }
    return isnan(parameters[parameter].preset) ? derived : parameters[parameter].preset;
}

static bool has_parameter(const csl_attack_info *info, int32_t parameter)
{
    for (size_t i = 0; i < CSL_ATTACK_PARAMETERS_MAX && info->parameters[i] >= 0; i++) {
        if (info->parameters[i] == parameter) {
            return true;
        }
    }
    return false;
}

csl_status csl_attack_check(const csl_attack_spec *spec, uint32_t row_count, uint32_t hostile_count)
{
    const attack_entry *attack = NULL;
    CSL_TRY(find(spec->attack, &attack));
    if (row_count > CSL_ROWS_MAX || hostile_count == 0 || hostile_count > row_count) {
        return csl_fail(CSL_E_RANGE, "attack %s: %u hostile updates of %u", spec->attack,
                        hostile_count, row_count);
    }
    for (int32_t p = 0; p < CSL_ATTACK_PARAMETER_COUNT; p++) {
        if (spec->given[p] && !has_parameter(&attack->info, p)) {
            return csl_fail(CSL_E_INVALID_ARG, "attack %s has no parameter '%s'", spec->attack,
                            parameters[p].name);
        }
    }
    if (attack->run == csl_attack_alie && csl_attack_value(spec, CSL_ATTACK_Z, 0) == 0) {
        double z = 0;
        return csl_alie_z(row_count, hostile_count, &z);
    }
    if (attack->run == csl_attack_fang_krum && row_count < hostile_count + 3) {
        return csl_fail(CSL_E_RANGE,
                        "attack %s: Krum has no neighbours to sum over %u updates, %u of them "
                        "hostile; it needs n >= f + 3",
                        spec->attack, row_count, hostile_count);
    }
    return CSL_OK;
}

/* Rows that are not hostile; where there is none, the hostile ones play them. */
static void find_honest(csl_attack_job *job)
{
    const csl_attack_input *input = job->input;
    uint32_t next = 0;
    for (uint32_t row = 0; row < job->row_count; row++) {
        if (next < input->hostile_count && input->hostile[next] == row) {
            next++;
        } else {
            job->honest_rows[job->honest_count] = row;
            job->honest[job->honest_count++] = job->aggregation->rows[row];
        }
    }
    for (uint32_t row = 0; job->honest_count == 0 && row < job->row_count; row++) {
        job->honest_rows[row] = row;
        job->honest[row] = job->aggregation->rows[row];
    }
    job->honest_count = job->honest_count ? job->honest_count : job->row_count;
}

static csl_status allocate(csl_attack_job *job)
{
    size_t size = (job->column_count + 1) * sizeof(float);
    void *mean = NULL;
    void *direction = NULL;
    CSL_TRY(csl_device_alloc(job->device, size, &mean));
    csl_status status = csl_device_alloc(job->device, size, &direction);
    if (status != CSL_OK) {
        csl_device_free(job->device, mean);
        return status;
    }
    job->mean = mean;
    job->direction = direction;
    return CSL_OK;
}

static csl_status check_input(const csl_attack_spec *spec, const csl_attack_input *input)
{
    const csl_aggregate_input *aggregation = input->aggregation;
    CSL_TRY(csl_attack_check(spec, aggregation->row_count, input->hostile_count));
    if (!aggregation->rows) {
        return csl_fail(CSL_E_INVALID_ARG, "attack %s: rows are not in memory", spec->attack);
    }
    for (uint32_t k = 0; k < input->hostile_count; k++) {
        if (input->hostile[k] >= aggregation->row_count ||
            (k > 0 && input->hostile[k] <= input->hostile[k - 1])) {
            return csl_fail(CSL_E_RANGE, "attack %s: row %u of %u is out of place", spec->attack,
                            input->hostile[k], aggregation->row_count);
        }
    }
    return CSL_OK;
}

csl_status csl_attack(const csl_attack_spec *spec,
                      const csl_attack_input *input,
                      float *const *rows_out,
                      csl_attack_report *report_out)
{
    const attack_entry *attack = NULL;
    CSL_TRY(check_input(spec, input));
    CSL_TRY(find(spec->attack, &attack));
    csl_attack_job job = {
        .spec = spec,
        .input = input,
        .aggregation = input->aggregation,
        .kernels = csl_device_kernels(input->aggregation->device),
        .device = input->aggregation->device,
        .column_count = input->aggregation->column_count,
        .row_count = input->aggregation->row_count,
        .hostile_count = input->hostile_count,
        .out = rows_out,
        .report = {.factor = NAN, .deviation = NAN},
    };
    find_honest(&job);
    csl_status status = csl_exchange(job.aggregation, allocate(&job), NULL, 0);
    if (status == CSL_OK) {
        status = attack->run(&job);
        status = csl_exchange(job.aggregation, status, NULL, 0);
    }
    csl_device_free(job.device, job.mean);
    csl_device_free(job.device, job.direction);
    if (status == CSL_OK && report_out) {
        *report_out = job.report;
    }
    return status;
}
