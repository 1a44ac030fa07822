/* What the rule decided in a round: for rounds.jsonl, and in words. */
#include "run_internal.h"

#include <math.h>
#include <string.h>

/* A plain mean decides nothing: its report would only repeat the weights in every round. */
static bool decides(const csl_aggregate_report *report)
{
    return report->refused_count > 0 || strcmp(report->rule, "mean") != 0;
}

csl_status csl_run_add_selection(const csl_federated_run *run, uint32_t round, csl_event *event)
{
    const csl_aggregate_report *report = run->selection;
    if (round == 0 || !report || !decides(report)) {
        return CSL_OK;
    }
    csl_text text = {0};
    csl_status status = csl_aggregate_report_json(report, &text);
    if (status == CSL_OK) {
        csl_event_add_json(event, "aggregation", csl_text_string(&text));
    }
    csl_text_clear(&text);
    return status;
}

static void add_rows(const csl_aggregate_report *report, csl_row_verdict verdict, csl_text *text)
{
    bool any = false;
    for (uint32_t i = 0; i < report->row_count; i++) {
        if (report->rows[i].verdict == verdict) {
            if (!any) {
                csl_text_format(text, "; %s", csl_row_verdict_name(verdict));
            }
            csl_text_format(text, " %u", report->rows[i].institution);
            any = true;
        }
    }
}

void csl_run_describe_selection(const csl_federated_run *run, csl_text *text)
{
    const csl_aggregate_report *report = run->selection;
    if (!report || !decides(report)) {
        return;
    }
    csl_text_format(text, "      %s, f = %u", report->rule, report->f);
    for (csl_row_verdict verdict = CSL_ROW_KEPT; verdict <= CSL_ROW_REFUSED; verdict++) {
        add_rows(report, verdict, text);
    }
    if (isfinite(report->margin)) {
        csl_text_format(text, "; margin %.4g (%s)", report->margin, report->score_name);
    }
    csl_text_add(text, report->empty ? "; nothing was trusted\n" : "\n");
}
