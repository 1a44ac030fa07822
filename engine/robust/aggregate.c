/* One aggregation from check to report. */
#include "aggregation.h"

#include <consilium/float_state.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Other rules take no notice of the weights, whatever they are. */
bool csl_uses_weights(const csl_aggregate_spec *spec)
{
    return spec->weights != CSL_WEIGHTS_EQUAL || strcmp(spec->rule, "weighted-mean") == 0;
}

static csl_status check_weights(const csl_aggregate_spec *spec, const csl_aggregate_input *input)
{
    if (!csl_uses_weights(spec)) {
        return CSL_OK;
    }
    if (!input->weights) {
        return csl_fail(CSL_E_INVALID_ARG, "rule %s: no weights are given", spec->rule);
    }
    double sum = 0;
    for (uint32_t i = 0; i < input->row_count; i++) {
        if (!(input->weights[i] >= 0) || isinf(input->weights[i])) {
            return csl_fail(CSL_E_RANGE,
                            "weight of row %u: expected a finite number >= 0, found %g", i,
                            input->weights[i]);
        }
        sum += input->weights[i];
    }
    return sum > 0 && isfinite(sum) ? CSL_OK : csl_fail(CSL_E_RANGE, "weights add up to %g", sum);
}

/* The row of the trusted institution, or the number of rows. */
static uint32_t find_pivot(const csl_aggregate_spec *spec, const csl_aggregate_input *input)
{
    uint32_t pivot = (uint32_t)csl_spec_value(spec, CSL_PARAMETER_PIVOT, 0);
    uint32_t row = 0;
    while (row < input->row_count &&
           (input->institutions ? input->institutions[row] : row) != pivot) {
        row++;
    }
    return row;
}

static csl_status check_pivot(const csl_aggregate_spec *spec, const csl_aggregate_input *input)
{
    if (find_pivot(spec, input) < input->row_count) {
        return CSL_OK;
    }
    return csl_fail(CSL_E_RANGE,
                    "monna: institution %u, which is trusted, sent none of the %u rows",
                    (uint32_t)csl_spec_value(spec, CSL_PARAMETER_PIVOT, 0), input->row_count);
}

static csl_status
check_input(const csl_aggregate_spec *spec, const csl_aggregate_input *input, const csl_rule *rule)
{
    CSL_TRY(csl_aggregate_check(spec, input->row_count));
    CSL_TRY(check_weights(spec, input));
    if (input->column_total == 0) {
        return csl_fail(CSL_E_SHAPE, "aggregation: updates are empty");
    }
    bool on_a_tile = input->column_begin % CSL_TILE == 0 || input->column_count == 0;
    if (!on_a_tile || input->column_begin > input->column_total ||
        input->column_count > input->column_total - input->column_begin) {
        return csl_fail(
            CSL_E_RANGE, "aggregation: columns %zu to %zu of %zu do not begin on a tile",
            input->column_begin, input->column_begin + input->column_count, input->column_total);
    }
    if (!input->rows && input->column_count > 0 &&
        (!input->load || input->chunk_count == 0 || input->chunk_count % CSL_TILE != 0)) {
        return csl_fail(CSL_E_INVALID_ARG, "aggregation: neither rows nor whole chunks to load");
    }
    if ((rule->info.needs & CSL_NEEDS_ROOT) && !input->root && input->column_count > 0) {
        return csl_fail(CSL_E_INVALID_ARG, "rule %s needs a trusted update", spec->rule);
    }
    if (input->memory && input->memory->column_count != input->column_count) {
        return csl_fail(CSL_E_SHAPE, "aggregation: memory of another number of columns");
    }
    for (uint32_t i = 0; input->institutions && i < input->row_count; i++) {
        if (input->institutions[i] >= CSL_INSTITUTIONS_MAX) {
            return csl_fail(CSL_E_RANGE, "institution %u of row %u", input->institutions[i], i);
        }
    }
    return rule->run == csl_rule_monna ? check_pivot(spec, input) : CSL_OK;
}

static csl_status create_report(const csl_aggregate_spec *spec,
                                const csl_aggregate_input *input,
                                csl_aggregate_report **report_out)
{
    csl_aggregate_report *report = calloc(1, sizeof *report);
    csl_row_report *rows = calloc(input->row_count, sizeof *rows);
    if (!report || !rows) {
        free(report);
        free(rows);
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for the report");
    }
    report->rows = rows;
    report->row_count = input->row_count;
    report->f = spec->f;
    report->margin = NAN;
    snprintf(report->rule, sizeof report->rule, "%s", spec->rule);
    for (uint32_t i = 0; i < input->row_count; i++) {
        rows[i].institution = input->institutions ? input->institutions[i] : i;
        rows[i].score = NAN;
        rows[i].scale = 1;
        rows[i].first_non_finite = -1;
    }
    *report_out = report;
    return CSL_OK;
}

static void free_rows(csl_aggregation *a)
{
    free(a->mix);
    free(a->row_distance);
    free(a->row_norm);
    free(a->known_norm);
    free(a->row_of);
    free(a->scale);
    free(a->score);
    free(a->weight);
    free(a->chosen);
    free(a->reason);
    free(a->shortened);
    a->mix = a->row_distance = a->row_norm = a->known_norm = a->scale = a->score = a->weight = NULL;
    a->row_of = a->chosen = NULL;
    a->reason = a->shortened = NULL;
    a->blended = false;
    a->chosen_count = 0;
}

static csl_status normalise_weights(csl_aggregation *a)
{
    free(a->live_weights);
    a->live_weights = csl_numbers(a->live_count, 1);
    if (!a->live_weights) {
        return CSL_E_NO_MEMORY;
    }
    bool used = csl_uses_weights(a->spec);
    for (uint32_t i = 0; i < a->live_count; i++) {
        a->live_weights[i] = used ? a->input->weights[a->live[i]] : 1;
    }
    if (a->spec->weights == CSL_WEIGHTS_CAPPED) {
        double median = 0;
        CSL_TRY(csl_median(a->live_weights, a->live_count, &median));
        a->weight_cap = 2 * median;
        for (uint32_t i = 0; i < a->live_count; i++) {
            a->live_weights[i] = fmin(a->live_weights[i], 2 * median);
        }
    }
    double sum = 0;
    for (uint32_t i = 0; i < a->live_count; i++) {
        sum += a->live_weights[i];
    }
    if (!(sum > 0)) {
        return csl_fail(CSL_E_RANGE, "the rows that are left have no weight");
    }
    for (uint32_t i = 0; i < a->live_count; i++) {
        a->live_weights[i] /= sum;
    }
    return CSL_OK;
}

/* MoNNA, and one step of centered clipping, on the rows as they are. */
static bool compares_with_one(const csl_aggregate_spec *spec, const csl_rule *rule)
{
    return (rule->run == csl_rule_centered_clipping && csl_clips_once(spec)) ||
           (rule->run == csl_rule_monna && spec->pre_count == 0);
}

/* What has to be measured for the rule and its pre-aggregators together. */
static uint32_t all_needs(const csl_aggregate_spec *spec, const csl_rule *rule)
{
    uint32_t needs = rule->info.needs;
    bool mixed = false;
    if (compares_with_one(spec, rule)) {
        return (needs & ~(uint32_t)CSL_NEEDS_DISTANCES) | CSL_NEEDS_CENTRE_DISTANCES;
    }
    if (rule->run == csl_rule_fltrust) {
        return (needs & ~(uint32_t)CSL_NEEDS_PRODUCTS) | CSL_NEEDS_CENTRE_PRODUCTS;
    }
    for (uint32_t i = 0; i < spec->pre_count; i++) {
        const csl_rule *pre = NULL;
        if (csl_find_pre(spec->pre[i], &pre) == CSL_OK) {
            uint32_t own = pre->info.needs;
            needs |= own;
            /* Norms of rows that are mixtures follow from distances and norms together. */
            needs |= mixed && (own & CSL_NEEDS_NORMS) ? CSL_NEEDS_DISTANCES : 0;
            mixed = mixed || pre->run == csl_pre_nnm || pre->run == csl_pre_bucketing;
        }
    }
    needs |= mixed && (rule->info.needs & CSL_NEEDS_NORMS) ? CSL_NEEDS_DISTANCES : 0;
    return needs;
}

static csl_status decide(csl_aggregation *a, const csl_rule *rule)
{
    free_rows(a);
    CSL_TRY(normalise_weights(a));
    CSL_TRY(csl_rows_start(a));
    for (uint32_t i = 0; i < a->spec->pre_count; i++) {
        const csl_rule *pre = NULL;
        CSL_TRY(csl_find_pre(a->spec->pre[i], &pre));
        CSL_TRY(pre->run(a));
    }
    return rule->run(a);
}

/* Refused rows count against f. */
static csl_status count_refused(csl_aggregation *a)
{
    csl_aggregate_report *report = a->report;
    if (report->refused_count > a->spec->f || a->live_count == 0) {
        return csl_fail(CSL_E_NO_QUORUM,
                        "%u of %u updates are not finite or too large, more than f = %u",
                        report->refused_count, report->row_count, a->spec->f);
    }
    a->f = a->spec->f - report->refused_count;
    return CSL_OK;
}

/* The point that the rule measures from, and room to keep the next one. */
static csl_status open_memory(csl_aggregation *a, const csl_rule *rule)
{
    csl_aggregate_memory *memory = a->input->memory;
    if (rule->info.needs & CSL_NEEDS_ROOT) {
        a->has_centre = true;
        a->centre = a->input->root;
    }
    if (!memory) {
        return CSL_OK;
    }
    if ((rule->info.needs & (CSL_NEEDS_CENTRE | CSL_NEEDS_HISTORY)) && memory->spoiled) {
        return csl_fail(CSL_E_STATE, "aggregation: a failed round left what is kept half written");
    }
    if (rule->info.needs & CSL_NEEDS_CENTRE) {
        a->has_centre = memory->has_centre;
        CSL_TRY(csl_memory_open_centre(memory));
        a->centre = memory->has_centre ? memory->centre : NULL;
        a->next_centre = a->input->store ? memory->centre : NULL;
    }
    return CSL_OK;
}

static uint32_t digest_bytes(uint32_t digest, const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < size; i++) { /* FNV-1a */
        uint32_t next = byte[i];        /* NOLINT(clang-analyzer-core.*): of larger numbers */
        digest = (digest ^ next) * 16777619U;
    }
    return digest;
}

/* A number that tells whether the ranks were handed the same task. */
static uint32_t digest_task(const csl_aggregation *a)
{
    const csl_aggregate_spec *spec = a->spec;
    const csl_aggregate_input *input = a->input;
    const uint64_t numbers[] = {(uint64_t)spec->preset,  spec->f,      spec->pre_count,
                                (uint64_t)spec->weights, spec->seed,   input->row_count,
                                input->column_total,     input->round, a->has_centre,
                                input->memory != NULL};
    uint32_t digest = digest_bytes(2166136261U, numbers, sizeof numbers);
    digest = digest_bytes(digest, spec->rule, strlen(spec->rule));
    for (uint32_t i = 0; i < spec->pre_count; i++) {
        digest = digest_bytes(digest, spec->pre[i], strlen(spec->pre[i]));
    }
    for (int i = 0; i < CSL_PARAMETER_COUNT; i++) {
        if (spec->given[i]) {
            digest = digest_bytes(digest ^ (uint32_t)i, &spec->value[i], sizeof spec->value[i]);
        }
    }
    if (csl_uses_weights(spec)) {
        digest = digest_bytes(digest, input->weights, input->row_count * sizeof *input->weights);
    }
    if (input->institutions) {
        size_t size = input->row_count * sizeof *input->institutions;
        digest = digest_bytes(digest, input->institutions, size);
    }
    return digest;
}

/* gathered: how measuring the rows ended here. A rank that fails on the way goes straight to the
 * last exchange, where it meets the others at whatever they exchange next. */
static csl_status decide_and_write(csl_aggregation *a, const csl_rule *rule, csl_status gathered)
{
    csl_status status = gathered;
    if (status == CSL_OK) {
        status = count_refused(a); /* from shared sums: the same everywhere */
    }
    if (status == CSL_OK) {
        status = decide(a, rule);
    }
    if (status == CSL_OK) {
        status = csl_write_answer(a);
    }
    return csl_share(a, status, NULL, 0);
}

static bool works_by_columns(const csl_aggregate_spec *spec, const csl_rule *rule)
{
    return (rule->info.needs & CSL_NEEDS_COLUMNS) && spec->pre_count == 0 &&
           rule->run != csl_rule_dnc;
}

bool csl_aggregate_reads_once(const csl_aggregate_spec *spec)
{
    const csl_rule *rule = NULL;
    return csl_find_rule(spec->rule, &rule) == CSL_OK && works_by_columns(spec, rule);
}

/* A weighted mean does not read rows of weight zero. */
static bool reads_every_row(const csl_aggregation *a)
{
    for (uint32_t i = 0; a->kind == CSL_ANSWER_LINEAR && i < a->live_count; i++) {
        if (a->weight[i] == 0) {
            return false;
        }
    }
    return true;
}

/* Nothing is measured: decide at once and look on the way for values that are not finite, or too
 * large; where there are any, the pass is repeated without their rows. */
static csl_status run_by_columns(csl_aggregation *a, const csl_rule *rule)
{
    csl_status status = decide(a, rule);
    uint32_t needs = all_needs(a->spec, rule);
    bool at_once = status == CSL_OK && reads_every_row(a);
    bool usable = false;
    if (at_once) {
        CSL_TRY(csl_answer_at_once(a, &usable));
    }
    if (!usable && status == CSL_OK) {
        status = csl_gather_sums(a, needs, !at_once);
    }
    if (status == CSL_OK && a->report->refused_count > 0) {
        return decide_and_write(a, rule, status);
    }
    return usable ? CSL_OK : csl_share(a, status, NULL, 0);
}

static csl_status run(csl_aggregation *a, const csl_rule *rule)
{
    if (works_by_columns(a->spec, rule)) {
        CSL_TRY(run_by_columns(a, rule));
    } else {
        csl_status gathered = csl_gather_sums(a, all_needs(a->spec, rule), false);
        CSL_TRY(decide_and_write(a, rule, gathered));
    }
    csl_aggregate_memory *memory = a->input->memory;
    if (memory && (rule->info.needs & CSL_NEEDS_CENTRE)) {
        csl_status kept = a->next_centre ? CSL_OK : csl_memory_copy_centre(memory, a->out);
        CSL_TRY(csl_share(a, kept, NULL, 0));
        memory->has_centre = true;
    }
    if (memory && (rule->info.needs & (CSL_NEEDS_CENTRE | CSL_NEEDS_HISTORY))) {
        memory->spoiled = false;
    }
    return CSL_OK;
}

static void free_aggregation(csl_aggregation *a)
{
    free_rows(a);
    free(a->live);
    free(a->live_weights);
    free(a->distance);
    free(a->product);
    free(a->norm);
    free(a->centre_distance);
    free(a->centre_product);
}

/* Everything that can be refused or run short before any work. */
static csl_status prepare(csl_aggregation *a, const csl_rule **rule_out)
{
    const csl_aggregate_input *input = a->input;
    CSL_TRY(csl_find_rule(a->spec->rule, rule_out));
    CSL_TRY(check_input(a->spec, input, *rule_out));
    CSL_TRY(open_memory(a, *rule_out));
    CSL_TRY(create_report(a->spec, input, &a->report));
    a->live_count = input->row_count;
    a->point_count = input->row_count + CSL_EXTRA_POINTS;
    bool monna = (*rule_out)->run == csl_rule_monna;
    a->pivot = monna ? find_pivot(a->spec, input) : input->row_count;
    a->live = calloc(input->row_count, sizeof *a->live);
    if (!a->live) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: %u rows", input->row_count);
    }
    for (uint32_t i = 0; i < input->row_count; i++) {
        a->live[i] = i;
    }
    return CSL_OK;
}

static csl_status aggregate(const csl_aggregate_spec *spec,
                            const csl_aggregate_input *input,
                            float *out,
                            csl_aggregate_report **report_out)
{
    const csl_rule *rule = NULL;
    csl_aggregation a = {.spec = spec,
                         .input = input,
                         .kernels = csl_device_kernels(input->device),
                         .out = input->store ? NULL : out,
                         .f = spec->f};
    csl_status status = prepare(&a, &rule);
    status = csl_share_task(&a, status, status == CSL_OK ? digest_task(&a) : 0);
    if (status == CSL_OK) {
        status = run(&a, rule);
    }
    if (status == CSL_OK) {
        csl_report_fill(&a);
    }
    free_aggregation(&a);
    if (status != CSL_OK || !report_out) {
        csl_aggregate_report_destroy(a.report);
        return status;
    }
    *report_out = a.report;
    return CSL_OK;
}

csl_status csl_aggregate(const csl_aggregate_spec *spec,
                         const csl_aggregate_input *input,
                         float *out,
                         csl_aggregate_report **report_out)
{
    csl_float_state state = csl_float_enter();
    csl_status status = aggregate(spec, input, out, report_out);
    csl_float_leave(state);
    return status;
}
