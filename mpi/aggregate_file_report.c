/* What an aggregation of a file reports: JSON for machines, a table for people. */
#include "aggregate_file_internal.h"

#include <consilium/report.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static json_t *names_of(const csl_file_aggregation *a)
{
    json_t *names = json_array();
    for (uint32_t i = 0; names && i < a->row_count; i++) {
        json_array_append_new(names, json_string(csl_updates_row_label(a->updates, i)));
    }
    return names;
}

static json_t *weights_of(const csl_file_aggregation *a)
{
    if (!a->weights) {
        return json_null();
    }
    json_t *weights = json_array();
    for (uint32_t i = 0; weights && i < a->row_count; i++) {
        json_array_append_new(weights, json_real(a->weights[i]));
    }
    return weights;
}

/* The specification, with the parameters that were given. */
static json_t *specification(const csl_aggregate_spec *spec)
{
    static const char *const policies[] = {"equal", "given", "capped"};
    size_t count = 0;
    const csl_parameter_info *info = csl_rule_parameters(&count);
    json_t *pre = json_array();
    json_t *parameters = json_object();
    for (uint32_t i = 0; i < spec->pre_count; i++) {
        json_array_append_new(pre, json_string(spec->pre[i]));
    }
    for (size_t i = 0; i < count; i++) {
        if (spec->given[i]) {
            json_object_set_new(parameters, info[i].name, json_real(spec->value[i]));
        }
    }
    return json_pack("{s:s, s:i, s:o, s:s, s:s, s:I, s:o}", "rule", spec->rule, "f", (int)spec->f,
                     "pre", pre, "preset", spec->preset == CSL_PRESET_BYZFL ? "byzfl" : "paper",
                     "weights", policies[spec->weights], "seed", (json_int_t)spec->seed,
                     "parameters", parameters);
}

csl_status csl_file_report(const csl_file_aggregation *a,
                           const uint8_t digest[CSL_SHA256_SIZE],
                           csl_text *text)
{
    char hexadecimal[2 * CSL_SHA256_SIZE + 1];
    csl_hex(digest, CSL_SHA256_SIZE, hexadecimal);
    csl_text selection = {0};
    csl_status status = csl_aggregate_report_json(a->report, &selection);
    json_t *report = NULL;
    if (status == CSL_OK) {
        json_t *parsed = json_loads(csl_text_string(&selection), 0, NULL);
        report = json_pack("{s:s, s:I, s:I, s:s, s:o, s:o, s:o, s:o}", "input", a->job->in,
                           "row_count", (json_int_t)a->row_count, "column_count",
                           (json_int_t)a->total, "aggregate_sha256", hexadecimal, "specification",
                           specification(&a->job->spec), "names", names_of(a), "weights",
                           weights_of(a), "selection", parsed);
    }
    csl_text_clear(&selection);
    CSL_TRY(status);
    char *line = report ? json_dumps(report, JSON_COMPACT) : NULL;
    json_decref(report);
    if (!line) {
        return csl_fail(CSL_E_FORMAT, "%s: the report cannot be written as JSON", a->job->in);
    }
    csl_text_add(text, line);
    free(line);
    return csl_text_status(text);
}

static const char *number(csl_text *cell, double value)
{
    csl_text_clear(cell);
    if (!isnan(value)) {
        csl_text_format(cell, "%.6g", value);
    }
    return csl_text_string(cell);
}

static void add_rows(const csl_file_aggregation *a, csl_table *table)
{
    csl_text cells[3] = {{0}, {0}, {0}};
    for (uint32_t i = 0; i < a->row_count; i++) {
        const csl_row_report *row = &a->report->rows[i];
        const char *const line[] = {
            csl_updates_row_label(a->updates, i), csl_row_verdict_name(row->verdict),
            number(&cells[0], row->weight),       number(&cells[1], row->score),
            number(&cells[2], row->scale),        row->reason};
        csl_table_add_row(table, line);
    }
    for (size_t i = 0; i < 3; i++) {
        csl_text_clear(&cells[i]);
    }
}

csl_status csl_file_table(const csl_file_aggregation *a, csl_text *text)
{
    static const char *const titles[] = {"update", "verdict", "weight", "score",
                                         "scale",  "reason",  NULL};
    const csl_aggregate_report *report = a->report;
    csl_table *table = NULL;
    CSL_TRY(csl_table_create(titles, &table));
    add_rows(a, table);
    csl_text_format(text, "%s of %u updates of %zu values, f = %u", report->rule, a->row_count,
                    a->total, report->f);
    for (uint32_t i = 0; i < a->job->spec.pre_count; i++) {
        csl_text_format(text, "%s%s", i ? ", " : ", behind ", a->job->spec.pre[i]);
    }
    csl_text_add(text, "\n\n");
    csl_status status = csl_table_render(table, text);
    csl_table_destroy(table);
    csl_text_format(text, "\n%u dropped, %u clipped, %u refused", report->dropped_count,
                    report->clipped_count, report->refused_count);
    if (report->score_name[0]) {
        csl_text_format(text, "; score: %s", report->score_name);
    }
    if (!isnan(report->margin)) {
        csl_text_format(text, "; margin %.6g", report->margin);
    }
    csl_text_add(text, report->empty ? "\nno update was trusted: the aggregate is zero\n" : "\n");
    CSL_TRY(status);
    return csl_text_status(text);
}
