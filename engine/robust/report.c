/* The selection report: who took part, with which weight, and why not. */
#include "aggregation.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void csl_aggregate_report_destroy(csl_aggregate_report *report)
{
    if (report) {
        free(report->rows);
        free(report);
    }
}

const char *csl_row_verdict_name(csl_row_verdict verdict)
{
    static const char *const names[] = {"kept", "shared", "clipped", "dropped", "refused"};
    return names[verdict];
}

void csl_set_margin(csl_aggregation *a, const double *score, const double *weight, bool largest)
{
    double sign = largest ? -1 : 1;
    double kept = -INFINITY;
    double dropped = INFINITY;
    for (uint32_t r = 0; r < a->row_count; r++) {
        if (weight[r] != 0) {
            kept = fmax(kept, sign * score[r]);
        } else {
            dropped = fmin(dropped, sign * score[r]);
        }
    }
    a->takes_largest = largest;
    a->last_score = isfinite(kept) ? sign * kept : (double)NAN;
    a->report->margin = isfinite(kept) && isfinite(dropped) ? dropped - kept : NAN;
}

void csl_explain(csl_aggregation *a, uint32_t r, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(a->reason[r], sizeof a->reason[r], format, arguments);
    va_end(arguments);
}

static void say_score(const csl_aggregation *a,
                      const char *name,
                      double score,
                      double last,
                      char text[CSL_REASON_MAX])
{
    double worse = a->takes_largest ? last - score : score - last;
    int size = snprintf(text, CSL_REASON_MAX, "%.60s %.6g", name, score);
    size_t left = CSL_REASON_MAX - (size_t)size;
    if (worse > 0) {
        snprintf(text + size, left, ", %.6g %s the last taken (%.6g)", worse,
                 a->takes_largest ? "below" : "above", last);
    } else if (!isnan(last)) {
        snprintf(text + size, left, ", no worse than the last taken (%.6g), but %s", last,
                 a->despite ? a->despite : "of equal rows the first are taken");
    }
}

void csl_explain_score(csl_aggregation *a, uint32_t r, const char *name, double score, double last)
{
    say_score(a, name, score, last, a->reason[r]);
}

static bool is_chosen(const csl_aggregation *a, uint32_t row)
{
    for (uint32_t i = 0; i < a->chosen_count; i++) {
        if (a->chosen[i] == row) {
            return true;
        }
    }
    return a->chosen_count == 0;
}

static void say_why_dropped(const csl_aggregation *a, uint32_t i, csl_row_report *row)
{
    const char *name = a->report->score_name;
    const char *whose = a->blended                     ? "its mixture's "
                        : a->row_count < a->live_count ? "its bucket's "
                                                       : "";
    const char *known = a->reason[a->row_of[i]];
    char score[CSL_REASON_MAX] = "not selected";
    if (known[0]) {
        snprintf(score, sizeof score, "%s", known);
    } else if (name[0]) {
        say_score(a, name, row->score, a->last_score, score);
    }
    if (a->live_weights[i] == 0) {
        snprintf(row->reason, sizeof row->reason, "its weight is 0");
    } else if (a->blended && a->kind == CSL_ANSWER_LINEAR) {
        snprintf(row->reason, sizeof row->reason, "no neighbour of what was selected; %s%.*s",
                 whose, CSL_REASON_MAX - 64, score);
    } else {
        snprintf(row->reason, sizeof row->reason, "%s%.*s", whose, CSL_REASON_MAX - 16, score);
    }
}

/* What counts of a row whose coordinates the rule takes one by one. */
static void say_share(const csl_aggregation *a, csl_row_report *row)
{
    uint32_t count = a->chosen_count ? a->chosen_count : a->row_count;
    size_t size = sizeof row->reason;
    switch (a->select.kind) {
    case CSL_SELECT_TRIMMED_MEAN:
        snprintf(row->reason, size, "of %u values of a coordinate, %u at each end are left out",
                 count, a->select.trim);
        break;
    case CSL_SELECT_MEAMED:
        snprintf(row->reason, size, "of %u values of a coordinate, the %u nearest the median count",
                 count, a->select.keep);
        break;
    case CSL_SELECT_PHOCAS:
        snprintf(row->reason, size,
                 "of %u values of a coordinate, the %u nearest the trimmed mean count", count,
                 a->select.keep);
        break;
    case CSL_SELECT_SIGN_MAJORITY:
        snprintf(row->reason, size, "of %u values of a coordinate, only the signs count", count);
        break;
    default:
        snprintf(row->reason, size, "of %u values of a coordinate, only the middle counts", count);
    }
}

/* A row that takes part, but not as much as an equal share. */
static void say_why_less(const csl_aggregation *a, uint32_t i, csl_row_report *row)
{
    const csl_aggregate_input *input = a->input;
    const char *known = a->reason[a->row_of[i]];
    double share = row->weight * a->live_count;
    double given = csl_uses_weights(a->spec) ? input->weights[a->live[i]] : 0;
    if (row->verdict == CSL_ROW_SHARED) {
        say_share(a, row);
    } else if (known[0]) {
        snprintf(row->reason, sizeof row->reason, "%s", known);
    } else if (a->spec->weights == CSL_WEIGHTS_CAPPED && given > a->weight_cap) {
        snprintf(row->reason, sizeof row->reason,
                 "weight %.6g cut to %.6g, twice the median weight", given, a->weight_cap);
    } else if (a->sign_threshold > 0) {
        snprintf(row->reason, sizeof row->reason,
                 "coordinates whose signs add up to less than %u are reversed", a->sign_threshold);
    } else if (!csl_uses_weights(a->spec) && share < 0.999) {
        bool scored = a->report->score_name[0] && !isnan(row->score);
        snprintf(row->reason, sizeof row->reason,
                 scored ? "weighs %.3g of an equal share; %s %.6g"
                        : "weighs %.3g of an equal share",
                 share, a->report->score_name, row->score);
    }
}

static void fill_live(csl_aggregation *a, uint32_t i)
{
    csl_aggregate_report *report = a->report;
    csl_row_report *row = &report->rows[a->live[i]];
    uint32_t virtual_row = a->row_of[i];
    row->score = a->score[virtual_row];
    row->scale = a->scale[i];
    row->weight = a->kind == CSL_ANSWER_MEAN ? 1.0 / a->live_count : a->weight[i];
    if (a->kind == CSL_ANSWER_SELECT) {
        bool chosen = is_chosen(a, virtual_row);
        row->weight = chosen ? NAN : 0;
        row->verdict = chosen ? CSL_ROW_SHARED : CSL_ROW_DROPPED;
    } else {
        row->verdict = row->weight == 0 ? CSL_ROW_DROPPED : CSL_ROW_KEPT;
    }
    if (row->verdict == CSL_ROW_DROPPED) {
        report->dropped_count++;
        say_why_dropped(a, i, row);
    } else if (row->scale < 1) {
        row->verdict = row->verdict == CSL_ROW_SHARED ? CSL_ROW_SHARED : CSL_ROW_CLIPPED;
        report->clipped_count++;
        snprintf(row->reason, sizeof row->reason, "%s", a->shortened[i]);
    } else {
        say_why_less(a, i, row);
    }
}

void csl_report_fill(csl_aggregation *a)
{
    csl_aggregate_report *report = a->report;
    report->f_left = a->f;
    for (uint32_t i = 0; i < a->live_count; i++) {
        fill_live(a, i);
    }
    for (uint32_t i = 0; i < report->row_count; i++) {
        csl_row_report *row = &report->rows[i];
        if (row->verdict != CSL_ROW_REFUSED) {
            continue;
        }
        row->weight = 0;
        if (row->non_finite > 0) {
            snprintf(row->reason, sizeof row->reason,
                     "%lld of %zu values are not finite, the first at index %lld",
                     (long long)row->non_finite, a->input->column_total,
                     (long long)row->first_non_finite);
        } else {
            snprintf(row->reason, sizeof row->reason,
                     "norm is 2^62 (4.6e18) or more, too large to measure");
        }
    }
}

static void add_number(csl_text *text, const char *key, double value)
{
    csl_text_format(text, ",\"%s\":", key);
    if (isfinite(value)) {
        csl_text_add_double(text, value);
    } else {
        csl_text_add(text, "null");
    }
}

csl_status csl_aggregate_report_json(const csl_aggregate_report *report, csl_text *text)
{
    csl_text_format(text,
                    "{\"rule\":\"%s\",\"f\":%u,\"f_left\":%u,\"refused\":%u,\"dropped\":%u,"
                    "\"clipped\":%u,\"empty\":%s,\"iterations\":%u,\"score\":\"%s\"",
                    report->rule, report->f, report->f_left, report->refused_count,
                    report->dropped_count, report->clipped_count, report->empty ? "true" : "false",
                    report->iterations, report->score_name);
    add_number(text, "margin", report->margin);
    csl_text_add(text, ",\"rows\":[");
    for (uint32_t i = 0; i < report->row_count; i++) {
        const csl_row_report *row = &report->rows[i];
        csl_text_format(text, "%s{\"institution\":%u,\"verdict\":\"%s\"", i ? "," : "",
                        row->institution, csl_row_verdict_name(row->verdict));
        add_number(text, "weight", row->weight);
        add_number(text, "score", row->score);
        add_number(text, "scale", row->scale);
        csl_text_format(text, ",\"non_finite\":%lld", (long long)row->non_finite);
        if (row->first_non_finite >= 0) {
            csl_text_format(text, ",\"first_non_finite\":%lld", (long long)row->first_non_finite);
        }
        csl_text_format(text, ",\"reason\":\"%s\"}", row->reason);
    }
    csl_text_add(text, "]}");
    return csl_text_status(text);
}
