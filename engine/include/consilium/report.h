/*
 * What a run leaves behind and shows: metrics.csv, rounds.jsonl, tables for people.
 *
 * Files are appended to one whole line at a time and flushed; when a write fails (disk full) the
 * file is cut back to its last whole line, so what was written before stays readable, and E_IO
 * names file and cause. Nothing here prints: tables are put into a csl_text.
 */
#ifndef CONSILIUM_REPORT_H
#define CONSILIUM_REPORT_H

#include <consilium/metrics.h>
#include <consilium/text.h>

/* Writes a whole file through a temporary one, flushed to disk and renamed: it appears whole or the
 * earlier one stays. Errors: E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_file_write(const char *path, const void *bytes, size_t size);

/* What is known of one round. metrics are lent, NULL where the round was not evaluated. */
typedef struct csl_round_record {
    uint32_t round; /* 1 for the first; 0 is the initial model */
    uint32_t round_count;
    double seconds;                /* since the run began */
    double train_seconds;          /* of this round: longest institution */
    double exchange_seconds;       /* collect, aggregate, distribute */
    double train_loss;             /* mean over images seen; NaN in round 0 */
    double rate;                   /* learning rate */
    uint32_t institution_count;    /* that took part */
    uint64_t update_size;          /* bytes sent by them together */
    const csl_metrics *validation; /* pooled */
    const csl_metrics *test;
} csl_round_record;

/* A file of lines that is appended to. */
typedef struct csl_line_file csl_line_file;
/* keep_lines: an existing file is kept up to that many lines (resume), 0 begins anew. */
CSL_API CSL_MUST_CHECK csl_status csl_line_file_open(const char *path,
                                                     uint64_t keep_lines,
                                                     csl_line_file **file_out);
/* Appends bytes and a line break. */
CSL_API CSL_MUST_CHECK csl_status csl_line_file_append(csl_line_file *file,
                                                       const char *bytes,
                                                       size_t size);
/* Flushes to disk and closes; the object is gone also on failure. NULL is allowed. */
CSL_API csl_status csl_line_file_close(csl_line_file *file);

/* metrics.csv: the heading for a task, and one row. Columns: round, seconds, train_loss, val_loss,
 * val_auc, val_accuracy, val_balanced_accuracy, val_calibration_error, test_..., rate,
 * institutions, train_seconds, exchange_seconds, update_bytes; for regression mse, mae, r2 instead
 * of the four. Not evaluated is empty, undefined is nan. */
CSL_API CSL_MUST_CHECK csl_status csl_metrics_csv_heading(csl_task task, csl_text *text);
CSL_API CSL_MUST_CHECK csl_status csl_metrics_csv_row(csl_task task,
                                                      const csl_round_record *record,
                                                      csl_text *text);

/* rounds.jsonl: one JSON object per line. A number that is not finite becomes null. Additions
 * remember a failure; csl_event_write reports it. destroy in any case. */
typedef struct csl_event csl_event;
/* {"event": kind, "utc": now} */
CSL_API CSL_MUST_CHECK csl_status csl_event_create(const char *kind, csl_event **event_out);
CSL_API void csl_event_destroy(csl_event *event);
CSL_API void csl_event_add_text(csl_event *event, const char *key, const char *value);
CSL_API void csl_event_add_integer(csl_event *event, const char *key, uint64_t value);
CSL_API void csl_event_add_number(csl_event *event, const char *key, double value);
CSL_API void csl_event_add_bool(csl_event *event, const char *key, bool value);
CSL_API void
csl_event_add_integers(csl_event *event, const char *key, const uint64_t *values, size_t count);
CSL_API void
csl_event_add_numbers(csl_event *event, const char *key, const double *values, size_t count);
/* Summary of metrics as an object; nothing if metrics is NULL. */
CSL_API void csl_event_add_metrics(csl_event *event, const char *key, const csl_metrics *metrics);
/* A value that is JSON already; text that is not fails the event. */
CSL_API void csl_event_add_json(csl_event *event, const char *key, const char *json);
/* Fields of a round record. */
CSL_API void csl_event_add_round(csl_event *event, const csl_round_record *record);
CSL_API CSL_MUST_CHECK csl_status csl_event_write(const csl_event *event, csl_line_file *file);
/* The line without a line break, into text. */
CSL_API CSL_MUST_CHECK csl_status csl_event_text(const csl_event *event, csl_text *text);

/* Tables that line up. Cells are copied; a cell that reads as a number or "undefined" stands right.
 */
typedef struct csl_table csl_table;
/* titles: NULL-terminated, at most 32. */
CSL_API CSL_MUST_CHECK csl_status csl_table_create(const char *const *titles,
                                                   csl_table **table_out);
CSL_API void csl_table_destroy(csl_table *table);
/* cells: as many as titles; NULL is an empty cell. A failed allocation shows in render. */
CSL_API void csl_table_add_row(csl_table *table, const char *const *cells);
/* A rule below the rows so far. */
CSL_API void csl_table_add_rule(csl_table *table);
CSL_API CSL_MUST_CHECK csl_status csl_table_render(const csl_table *table, csl_text *text);

/* The round table is printed as it grows: a heading of two lines, then a line per round. */
CSL_API CSL_MUST_CHECK csl_status csl_round_table_heading(csl_task task, csl_text *text);
CSL_API CSL_MUST_CHECK csl_status csl_round_table_row(csl_task task,
                                                      const csl_round_record *record,
                                                      csl_text *text);

/* One line of the final table: an institution or the pool. metrics may be NULL. */
typedef struct csl_final_row {
    const char *name;
    uint64_t train_count; /* images */
    const csl_metrics *validation;
    const csl_metrics *test;
} csl_final_row;
/* The last row is the pool, set apart by a rule. */
CSL_API CSL_MUST_CHECK csl_status csl_final_table(csl_task task,
                                                  const csl_final_row *rows,
                                                  uint32_t row_count,
                                                  csl_text *text);
/* Confusion matrix with class names (NULL: numbers); classes beyond 12 are left to the JSON. */
CSL_API CSL_MUST_CHECK csl_status csl_confusion_table(const csl_metrics *metrics,
                                                      const char (*class_names)[CSL_NAME_MAX],
                                                      csl_text *text);
/* Cross-site matrix: values [row_count][column_count], NaN is undefined; rows are models, columns
 * data. Beyond 12 columns, each row's own value, and the mean, least and largest of the others. */
CSL_API CSL_MUST_CHECK csl_status csl_cross_site_table(const char *const *row_names,
                                                       uint32_t row_count,
                                                       const char *const *column_names,
                                                       uint32_t column_count,
                                                       const double *values,
                                                       csl_text *text);
/* The same as comma-separated values, whole. */
CSL_API CSL_MUST_CHECK csl_status csl_cross_site_csv(const char *const *row_names,
                                                     uint32_t row_count,
                                                     const char *const *column_names,
                                                     uint32_t column_count,
                                                     const double *values,
                                                     csl_text *text);

#endif
