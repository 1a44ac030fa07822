/* metrics.csv */
#include "report_internal.h"

#include <math.h>

static const char *const class_columns_[] = {"loss", "auc", "accuracy", "balanced_accuracy",
                                             "calibration_error"};
static const char *const regression_columns_[] = {"loss", "mse", "mae", "r2"};

uint32_t csl_metric_values(csl_task task, const csl_metrics *metrics, double values_out[5])
{
    bool regression = task == CSL_TASK_REGRESSION;
    if (metrics) {
        values_out[0] = metrics->loss;
        values_out[1] = regression ? metrics->mean_squared_error : metrics->auc;
        values_out[2] = regression ? metrics->mean_absolute_error : metrics->accuracy;
        values_out[3] = regression ? metrics->r_squared : metrics->balanced_accuracy;
        values_out[4] = metrics->calibration_error;
    }
    return regression ? 4 : 5;
}

const char *csl_metric_name(csl_task task, uint32_t index)
{
    return task == CSL_TASK_REGRESSION ? regression_columns_[index] : class_columns_[index];
}

csl_status csl_metrics_csv_heading(csl_task task, csl_text *text)
{
    static const char *const splits[] = {"val", "test"};
    csl_text_add(text, "round,seconds,train_loss");
    uint32_t count = csl_metric_values(task, NULL, NULL);
    for (int split = 0; split < 2; split++) {
        for (uint32_t i = 0; i < count; i++) {
            csl_text_format(text, ",%s_%s", splits[split], csl_metric_name(task, i));
        }
    }
    csl_text_add(text, ",rate,institutions,train_seconds,exchange_seconds,update_bytes");
    return csl_text_status(text);
}

void csl_csv_add_number(csl_text *text, double value)
{
    if (isfinite(value)) {
        csl_text_add_double(text, value);
    }
}

static void add_metrics(csl_task task, const csl_metrics *metrics, csl_text *text)
{
    double values[5];
    uint32_t count = csl_metric_values(task, metrics, values);
    for (uint32_t i = 0; i < count; i++) {
        csl_text_add(text, ",");
        csl_csv_add_number(text, metrics ? values[i] : NAN);
    }
}

csl_status csl_metrics_csv_row(csl_task task, const csl_round_record *record, csl_text *text)
{
    csl_text_format(text, "%u,%.3f,", record->round, record->seconds);
    csl_csv_add_number(text, record->train_loss);
    add_metrics(task, record->validation, text);
    add_metrics(task, record->test, text);
    csl_text_add(text, ",");
    csl_csv_add_number(text, record->rate);
    csl_text_format(text, ",%u,%.3f,%.3f,%llu", record->institution_count, record->train_seconds,
                    record->exchange_seconds, (unsigned long long)record->update_size);
    return csl_text_status(text);
}
