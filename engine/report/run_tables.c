/* The tables of a run: rounds, final results, confusion, cross-site. */
#include "report_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL_SIZE = 32, WIDE_MAX = 12 };

/* "0.9512", "undefined", or "" where nothing was measured. */
static const char *put_value(char *cell, const csl_metrics *metrics, double value)
{
    if (!metrics) {
        cell[0] = '\0';
    } else if (isnan(value)) {
        snprintf(cell, CELL_SIZE, "undefined");
    } else {
        snprintf(cell, CELL_SIZE, fabs(value) < 1e4 ? "%.4f" : "%.3e", value);
    }
    return cell;
}

/* Columns of the round table have fixed widths: it is printed as it grows. */
csl_status csl_round_table_heading(csl_task task, csl_text *text)
{
    bool regression = task == CSL_TASK_REGRESSION;
    csl_text_format(text, "%11s %10s %10s %10s %10s %10s %10s %8s\n", "round", "train loss",
                    "val loss", regression ? "val mse" : "val auc",
                    regression ? "val mae" : "val acc", regression ? "test mse" : "test auc",
                    regression ? "test mae" : "test acc", "seconds");
    csl_text_fill(text, '-', 86);
    csl_text_add(text, "\n");
    return csl_text_status(text);
}

csl_status csl_round_table_row(csl_task task, const csl_round_record *record, csl_text *text)
{
    char cells[6][CELL_SIZE];
    double validation[5];
    double test[5];
    char round[CELL_SIZE];
    csl_metric_values(task, record->validation, validation);
    csl_metric_values(task, record->test, test);
    snprintf(round, sizeof round, "%u/%u", record->round, record->round_count);
    snprintf(cells[0], CELL_SIZE, isnan(record->train_loss) ? "" : "%.4f", record->train_loss);
    csl_text_format(text, "%11s %10s", round, cells[0]);
    for (int i = 0; i < 3; i++) {
        csl_text_format(
            text, " %10s",
            put_value(cells[1 + i], record->validation, record->validation ? validation[i] : 0.0));
    }
    for (int i = 1; i < 3; i++) {
        csl_text_format(text, " %10s",
                        put_value(cells[3 + i], record->test, record->test ? test[i] : 0.0));
    }
    csl_text_format(text, " %8.1f\n", record->seconds);
    return csl_text_status(text);
}

static void add_final_row(csl_task task, const csl_final_row *row, csl_table *table)
{
    char train[CELL_SIZE];
    char cells[8][CELL_SIZE];
    double validation[5] = {0};
    double test[5] = {0};
    csl_metric_values(task, row->validation, validation);
    csl_metric_values(task, row->test, test);
    snprintf(train, sizeof train, "%llu", (unsigned long long)row->train_count);
    snprintf(cells[0], CELL_SIZE, "%llu", (unsigned long long)(row->test ? row->test->count : 0));
    csl_table_add_row(
        table,
        (const char *const[]){
            row->name, train, cells[0], put_value(cells[1], row->validation, validation[1]),
            put_value(cells[2], row->validation, validation[2]),
            put_value(cells[3], row->test, test[1]), put_value(cells[4], row->test, test[2]),
            put_value(cells[5], row->test, test[3]),
            put_value(cells[6], row->test, task == CSL_TASK_REGRESSION ? test[0] : test[4])});
}

csl_status
csl_final_table(csl_task task, const csl_final_row *rows, uint32_t row_count, csl_text *text)
{
    static const char *const titles[2][10] = {
        {"institution", "train", "test", "val auc", "val acc", "test auc", "test acc", "balanced",
         "calibration", NULL},
        {"institution", "train", "test", "val mse", "val mae", "test mse", "test mae", "test r2",
         "test loss", NULL}};
    csl_table *table = NULL;
    CSL_TRY(csl_table_create(titles[task == CSL_TASK_REGRESSION], &table));
    for (uint32_t i = 0; i < row_count; i++) {
        if (i + 1 == row_count && i > 0) {
            csl_table_add_rule(table);
        }
        add_final_row(task, &rows[i], table);
    }
    csl_status status = csl_table_render(table, text);
    csl_table_destroy(table);
    return status;
}

/* The cells of one row of the confusion matrix; a multi-label row is one label. */
static void add_confusion_row(
    const csl_metrics *metrics, uint32_t row, const char *name, uint32_t shown, csl_table *table)
{
    char cells[WIDE_MAX][CELL_SIZE];
    const char *pointers[WIDE_MAX + 1];
    uint32_t width = metrics->task == CSL_TASK_MULTILABEL ? 4 : metrics->class_count;
    pointers[0] = name;
    for (uint32_t i = 0; i < shown; i++) {
        uint64_t count = metrics->confusion[(size_t)row * width + i];
        snprintf(cells[i], CELL_SIZE, "%llu", (unsigned long long)count);
        pointers[i + 1] = cells[i];
    }
    csl_table_add_row(table, pointers);
}

csl_status csl_confusion_table(const csl_metrics *metrics,
                               const char (*class_names)[CSL_NAME_MAX],
                               csl_text *text)
{
    if (!metrics->confusion) {
        return CSL_OK;
    }
    bool labels = metrics->task == CSL_TASK_MULTILABEL;
    uint32_t rows = metrics->class_count < WIDE_MAX ? metrics->class_count : WIDE_MAX;
    uint32_t columns = labels ? 4 : rows;
    char names[WIDE_MAX][CSL_NAME_MAX];
    static const char *const outcomes[] = {"true -", "false +", "false -", "true +"};
    const char *titles[WIDE_MAX + 2] = {labels ? "label" : "true \\ predicted"};
    for (uint32_t i = 0; i < rows; i++) {
        if (class_names && class_names[i][0]) {
            snprintf(names[i], sizeof names[i], "%s", class_names[i]);
        } else {
            snprintf(names[i], sizeof names[i], "class %u", i);
        }
    }
    for (uint32_t i = 0; i < columns; i++) {
        titles[i + 1] = labels ? outcomes[i] : names[i];
    }
    csl_table *table = NULL;
    CSL_TRY(csl_table_create(titles, &table));
    for (uint32_t i = 0; i < rows; i++) {
        add_confusion_row(metrics, i, names[i], columns, table);
    }
    csl_status status = csl_table_render(table, text);
    csl_table_destroy(table);
    return status;
}

static void put_cell(char *cell, double value)
{
    snprintf(cell, CELL_SIZE, isnan(value) ? "undefined" : "%.3f", value);
}

/* Too wide for a screen: own value and a summary of the others. A row whose name is a column's owns
 * it. */
static void summarise(const char *const *row_names,
                      uint32_t row_count,
                      const char *const *column_names,
                      uint32_t column_count,
                      const double *values,
                      csl_table *table)
{
    for (uint32_t i = 0; i < row_count; i++) {
        double own = NAN, sum = 0.0, least = NAN, largest = NAN;
        uint32_t others = 0;
        for (uint32_t j = 0; j < column_count; j++) {
            double value = values[(size_t)i * column_count + j];
            if (strcmp(row_names[i], column_names[j]) == 0) {
                own = value;
            } else if (!isnan(value)) {
                sum += value;
                others++;
                least = fmin(least, value);
                largest = fmax(largest, value);
            }
        }
        char cells[4][CELL_SIZE];
        put_cell(cells[0], own);
        put_cell(cells[1], others ? sum / others : NAN);
        put_cell(cells[2], least);
        put_cell(cells[3], largest);
        csl_table_add_row(
            table, (const char *const[]){row_names[i], cells[0], cells[1], cells[2], cells[3]});
    }
}

csl_status csl_cross_site_table(const char *const *row_names,
                                uint32_t row_count,
                                const char *const *column_names,
                                uint32_t column_count,
                                const double *values,
                                csl_text *text)
{
    static const char *const narrow[] = {"model \\ data", "own",     "mean of others",
                                         "least",         "largest", NULL};
    const char *titles[WIDE_MAX + 2] = {"model \\ data"};
    bool wide = column_count > WIDE_MAX;
    for (uint32_t j = 0; !wide && j < column_count; j++) {
        titles[j + 1] = column_names[j];
    }
    csl_table *table = NULL;
    CSL_TRY(csl_table_create(wide ? narrow : titles, &table));
    if (wide) {
        summarise(row_names, row_count, column_names, column_count, values, table);
    }
    for (uint32_t i = 0; !wide && i < row_count; i++) {
        char cells[WIDE_MAX][CELL_SIZE];
        const char *pointers[WIDE_MAX + 1] = {row_names[i]};
        for (uint32_t j = 0; j < column_count; j++) {
            put_cell(cells[j], values[(size_t)i * column_count + j]);
            pointers[j + 1] = cells[j];
        }
        csl_table_add_row(table, pointers);
    }
    csl_status status = csl_table_render(table, text);
    csl_table_destroy(table);
    return status;
}

/* A name as a field: quoted if it holds what separates fields. */
static void add_field(csl_text *text, const char *name)
{
    if (!strpbrk(name, ",\"\n\r")) {
        csl_text_add(text, name);
        return;
    }
    csl_text_add(text, "\"");
    for (; *name; name++) {
        csl_text_add_bytes(text, name, 1);
        csl_text_add(text, *name == '"' ? "\"" : "");
    }
    csl_text_add(text, "\"");
}

csl_status csl_cross_site_csv(const char *const *row_names,
                              uint32_t row_count,
                              const char *const *column_names,
                              uint32_t column_count,
                              const double *values,
                              csl_text *text)
{
    csl_text_add(text, "model");
    for (uint32_t j = 0; j < column_count; j++) {
        csl_text_add(text, ",");
        add_field(text, column_names[j]);
    }
    csl_text_add(text, "\n");
    for (uint32_t i = 0; i < row_count; i++) {
        add_field(text, row_names[i]);
        for (uint32_t j = 0; j < column_count; j++) {
            csl_text_add(text, ",");
            csl_csv_add_number(text, values[(size_t)i * column_count + j]);
        }
        csl_text_add(text, "\n");
    }
    return csl_text_status(text);
}
