/* Tables that line up. */
#include <consilium/report.h>

#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 32 };

/* A row of cells, or a rule (no cells). */
typedef struct table_row {
    char **cells;
} table_row;

struct csl_table {
    uint32_t column_count;
    uint32_t row_count;
    uint32_t capacity;
    table_row *rows; /* the first is the titles */
    bool failed;
};

static void destroy_row(const csl_table *table, table_row *row)
{
    for (uint32_t i = 0; row->cells && i < table->column_count; i++) {
        free(row->cells[i]);
    }
    free(row->cells);
}

/* cells NULL makes a rule. */
static void add(csl_table *table, const char *const *cells)
{
    if (table->row_count == table->capacity) {
        uint32_t capacity = table->capacity ? 2 * table->capacity : 16;
        table_row *rows = realloc(table->rows, capacity * sizeof *rows);
        if (!rows) {
            table->failed = true;
            return;
        }
        table->rows = rows;
        table->capacity = capacity;
    }
    table_row new_row = {.cells = cells ? calloc(table->column_count, sizeof(char *)) : NULL};
    table->failed = table->failed || (cells && !new_row.cells);
    for (uint32_t i = 0; new_row.cells && i < table->column_count; i++) {
        new_row.cells[i] = strdup(cells[i] ? cells[i] : "");
        table->failed = table->failed || !new_row.cells[i];
    }
    table->rows[table->row_count++] = new_row;
}

csl_status csl_table_create(const char *const *titles, csl_table **table_out)
{
    csl_table *table = calloc(1, sizeof *table);
    if (!table) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a table");
    }
    while (titles[table->column_count]) {
        table->column_count++;
    }
    if (table->column_count == 0 || table->column_count > COLUMNS_MAX) {
        uint32_t count = table->column_count;
        free(table);
        return csl_fail(CSL_E_RANGE, "table of %u columns, expected 1..%d", count, COLUMNS_MAX);
    }
    add(table, titles);
    add(table, NULL);
    *table_out = table;
    return CSL_OK;
}

void csl_table_destroy(csl_table *table)
{
    if (table) {
        for (uint32_t i = 0; i < table->row_count; i++) {
            destroy_row(table, &table->rows[i]);
        }
        free(table->rows);
        free(table);
    }
}

void csl_table_add_row(csl_table *table, const char *const *cells)
{
    add(table, cells);
}

void csl_table_add_rule(csl_table *table)
{
    add(table, NULL);
}

static bool stands_right(const char *cell)
{
    return strspn(cell, "+-.,0123456789e% ") == strlen(cell) || strcmp(cell, "undefined") == 0;
}

static void render_row(const csl_table *table,
                       const table_row *row,
                       const size_t *widths,
                       const bool *right,
                       csl_text *text)
{
    for (uint32_t column = 0; column < table->column_count; column++) {
        const char *gap = column ? "  " : "";
        if (!row->cells) {
            csl_text_fill(text, '-', widths[column] + strlen(gap));
            continue;
        }
        const char *cell = row->cells[column];
        size_t blank = widths[column] - csl_utf8_width(cell);
        csl_text_add(text, gap);
        csl_text_fill(text, ' ', right[column] ? blank : 0);
        csl_text_add(text, cell);
        bool last = column + 1 == table->column_count;
        csl_text_fill(text, ' ', right[column] || last ? 0 : blank);
    }
    csl_text_add(text, "\n");
}

csl_status csl_table_render(const csl_table *table, csl_text *text)
{
    if (table->failed || table->row_count < 2) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a table of %u rows", table->row_count);
    }
    size_t widths[COLUMNS_MAX] = {0};
    bool right[COLUMNS_MAX];
    for (uint32_t column = 0; column < table->column_count; column++) {
        right[column] = true;
        for (uint32_t i = 0; i < table->row_count; i++) {
            const char *cell = table->rows[i].cells ? table->rows[i].cells[column] : "";
            size_t width = csl_utf8_width(cell);
            widths[column] = width > widths[column] ? width : widths[column];
            right[column] = right[column] && (i == 0 || stands_right(cell));
        }
    }
    for (uint32_t i = 0; i < table->row_count; i++) {
        render_row(table, &table->rows[i], widths, right, text);
    }
    return csl_text_status(text);
}
