/* The selection report: who took part, with which weight, and why not. */
#include "aggregation.h"

#include <math.h>
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
    a->report->margin = isfinite(kept) && isfinite(dropped) ? dropped - kept : NAN;
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
    const char *known = a->reason[a->row_of[i]];
    if (a->live_weights[i] == 0) {
        known = "its weight is 0";
    } else if (a->blended && a->kind == CSL_ANSWER_LINEAR) {
        known = "no neighbour of what was selected";
    }
    if (known) {
        snprintf(row->reason, sizeof row->reason, "%s", known);
    } else {
        snprintf(row->reason, sizeof row->reason, name[0] ? "%s %.6g" : "not selected", name,
                 row->score);
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
        snprintf(row->reason, sizeof row->reason, "shortened to %.4g of its length", row->scale);
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
            snprintf(row->reason, sizeof row->reason, "%lld values are not finite",
                     (long long)row->non_finite);
        } else {
            snprintf(row->reason, sizeof row->reason, "norm is 2^62 or more");
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
        csl_text_format(text, ",\"non_finite\":%lld,\"reason\":\"%s\"}", (long long)row->non_finite,
                        row->reason);
    }
    csl_text_add(text, "]}");
    return csl_text_status(text);
}
