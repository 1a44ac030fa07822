#include "bench_support.h"

#include <consilium/atomic_file.h>

#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COLUMNS_MAX = 32 };

struct csl_bench_report {
    json_t *root;    /* {"suite":, "notes": {}, "rows": [[cell, ...]]}, written as it stands */
    json_t *columns; /* borrowed from root */
    json_t *notes;
    json_t *rows;
};

double csl_bench_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

csl_bench_statistics csl_bench_summarise(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    double middle = (values[(count - 1) / 2] + values[count / 2]) / 2.0;
    return (csl_bench_statistics){values[0], middle, values[count - 1]};
}

double csl_bench_copy_bandwidth(uint32_t threads)
{
    const size_t size = (size_t)128 << 20;
    char *from = malloc(size), *to = malloc(size);
    double best = 0.0;
    for (int repeat = 0; from && to && repeat < 5; repeat++) {
        double start = csl_bench_seconds();
#pragma omp parallel num_threads((int)threads)
        {
            size_t part = size / (size_t)omp_get_num_threads();
            size_t first = part * (size_t)omp_get_thread_num();
            if (repeat == 0) {
                memset(from + first, 1, part);
            }
            memcpy(to + first, from + first, part);
        }
        double seconds = csl_bench_seconds() - start;
        best = repeat > 0 ? fmax(best, 2.0 * (double)size / seconds) : best;
    }
    free(from);
    free(to);
    return best;
}

csl_bench_report *csl_bench_report_create(const char *suite, const char *const *columns)
{
    csl_bench_report *report = calloc(1, sizeof *report);
    if (!report) {
        return NULL;
    }
    report->root = json_object();
    report->columns = json_array();
    report->notes = json_object();
    report->rows = json_array();
    json_object_set_new(report->root, "suite", json_string(suite));
    json_object_set_new(report->root, "notes", report->notes);
    json_object_set_new(report->root, "columns", report->columns);
    json_object_set_new(report->root, "rows", report->rows);
    for (size_t i = 0; i < COLUMNS_MAX && columns[i]; i++) {
        json_array_append_new(report->columns, json_string(columns[i]));
    }
    return report;
}

void csl_bench_report_destroy(csl_bench_report *report)
{
    if (report) {
        json_decref(report->root);
        free(report);
    }
}

void csl_bench_report_note(csl_bench_report *report, const char *name, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_object_set_new(report->notes, name, json_string(text));
}

/* A number keeps its printed precision, so that the table and the files say the same. */
static json_t *make_cell(const csl_bench_cell *cell)
{
    if (cell->text) {
        return json_string(cell->text);
    }
    if (!isfinite(cell->number)) {
        return json_null();
    }
    double unit = pow(10.0, cell->decimals);
    return json_pack("{s:f,s:i}", "value", round(cell->number * unit) / unit, "decimals",
                     cell->decimals);
}

void csl_bench_report_row(csl_bench_report *report, const csl_bench_cell *cells)
{
    json_t *row = json_array();
    for (size_t i = 0; i < json_array_size(report->columns); i++) {
        json_array_append_new(row, make_cell(&cells[i]));
    }
    json_array_append_new(report->rows, row);
}

static void format_cell(const json_t *cell, char *text, size_t size)
{
    if (json_is_string(cell)) {
        snprintf(text, size, "%s", json_string_value(cell));
    } else if (json_is_object(cell)) {
        snprintf(text, size, "%.*f", (int)json_integer_value(json_object_get(cell, "decimals")),
                 json_number_value(json_object_get(cell, "value")));
    } else {
        snprintf(text, size, "-");
    }
}

static void print_row(const json_t *row, const int *widths, FILE *stream)
{
    char text[128];
    size_t i;
    json_t *cell;
    json_array_foreach(row, i, cell)
    {
        format_cell(cell, text, sizeof text);
        if (json_is_string(cell) && i == 0) {
            fprintf(stream, "%-*s", widths[i], text);
        } else {
            fprintf(stream, "  %*s", widths[i], text);
        }
    }
    fputc('\n', stream);
}

void csl_bench_report_print(const csl_bench_report *report, FILE *stream)
{
    int widths[COLUMNS_MAX] = {0};
    char text[128];
    size_t i, j;
    json_t *row, *cell, *note;
    const char *name;
    json_object_foreach(report->notes, name, note)
    {
        fprintf(stream, "# %s: %s\n", name, json_string_value(note));
    }
    json_array_foreach(report->columns, i, cell)
    {
        widths[i] = (int)strlen(json_string_value(cell));
    }
    json_array_foreach(report->rows, j, row)
    {
        json_array_foreach(row, i, cell)
        {
            format_cell(cell, text, sizeof text);
            int width = (int)strlen(text);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    print_row(report->columns, widths, stream);
    json_array_foreach(report->rows, j, row)
    {
        print_row(row, widths, stream);
    }
}

static void write_csv_row(const json_t *row, FILE *stream)
{
    char text[128];
    size_t i;
    json_t *cell;
    json_array_foreach(row, i, cell)
    {
        format_cell(cell, text, sizeof text);
        fprintf(stream, i ? ",%s" : "%s", json_is_null(cell) ? "" : text);
    }
    fputc('\n', stream);
}

static bool write_csv(const csl_bench_report *report, FILE *stream)
{
    write_csv_row(report->columns, stream);
    size_t i;
    json_t *row;
    json_array_foreach(report->rows, i, row)
    {
        write_csv_row(row, stream);
    }
    return true;
}

static json_t *json_value(const json_t *cell)
{
    if (!json_is_object(cell)) {
        return json_deep_copy(cell);
    }
    double value = json_number_value(json_object_get(cell, "value"));
    bool whole = json_integer_value(json_object_get(cell, "decimals")) == 0 && fabs(value) < 0x1p53;
    return whole ? json_integer((json_int_t)value) : json_real(value);
}

/* {"suite", "notes", "rows": [{column: value, ...}, ...]} */
static bool write_json(const csl_bench_report *report, FILE *stream)
{
    json_t *rows = json_array();
    size_t i, j;
    json_t *row, *cell;
    json_array_foreach(report->rows, i, row)
    {
        json_t *object = json_object();
        json_array_foreach(row, j, cell)
        {
            json_object_set_new(object, json_string_value(json_array_get(report->columns, j)),
                                json_value(cell));
        }
        json_array_append_new(rows, object);
    }
    json_t *json = json_pack("{s:O,s:O,s:o}", "suite", json_object_get(report->root, "suite"),
                             "notes", report->notes, "rows", rows);
    bool written = json && json_dumpf(json, stream, JSON_INDENT(2)) == 0;
    fputc('\n', stream);
    json_decref(json);
    return written;
}

static csl_status write_file(const csl_bench_report *report,
                             const char *path,
                             bool (*write)(const csl_bench_report *report, FILE *stream))
{
    char temporary[CSL_PATH_MAX];
    CSL_TRY(csl_atomic_begin(path, temporary));
    FILE *stream = fopen(temporary, "w");
    bool written = stream && write(report, stream) && !ferror(stream);
    written = stream && fclose(stream) == 0 && written;
    if (!written) {
        csl_atomic_abandon(temporary);
        return csl_fail(CSL_E_IO, "%s: could not be written", path);
    }
    return csl_atomic_commit(temporary, path);
}

csl_status csl_bench_report_check(const char *csv, const char *json)
{
    CSL_TRY(csv ? csl_atomic_check(csv) : CSL_OK);
    CSL_TRY(json ? csl_atomic_check(json) : CSL_OK);
    return csv && json && csl_same_file(csv, json)
               ? csl_fail(CSL_E_INVALID_ARG, "%s: --json would replace the CSV", json)
               : CSL_OK;
}

csl_status csl_bench_report_write(const csl_bench_report *report, const char *csv, const char *json)
{
    CSL_TRY(csv ? write_file(report, csv, write_csv) : CSL_OK);
    return json ? write_file(report, json, write_json) : CSL_OK;
}
