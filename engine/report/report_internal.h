/* What the files of this folder share. */
#ifndef CSL_REPORT_INTERNAL_H
#define CSL_REPORT_INTERNAL_H

#include <consilium/report.h>

/* The metrics that tables and files show for a task, in order; returns how many. metrics may be
 * NULL (nothing is written then). values_out: [5]. */
uint32_t csl_metric_values(csl_task task, const csl_metrics *metrics, double values_out[5]);
/* "loss", "auc", ... */
const char *csl_metric_name(csl_task task, uint32_t index);
/* A cell of a CSV file: empty where the number does not exist (NaN, infinity). */
void csl_csv_add_number(csl_text *text, double value);

#endif
