#include "test_support.h"

#include <consilium/report.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char *read_all(const char *path)
{
    static char content[4096];
    FILE *file = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    content[fread(content, 1, sizeof content - 1, file)] = '\0';
    fclose(file);
    return content;
}

static void lines_are_appended_and_kept_when_a_run_goes_on(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s/lines", csl_test_directory());
    csl_line_file *file = NULL;
    CHECK_OK(csl_line_file_open(path, 0, &file));
    CHECK_OK(csl_line_file_append(file, "one", 3));
    CHECK_OK(csl_line_file_append(file, "two", 3));
    CHECK_OK(csl_line_file_append(file, "three", 5));
    CHECK_OK(csl_line_file_close(file));
    CHECK_OK(csl_line_file_open(path, 2, &file));
    CHECK_OK(csl_line_file_append(file, "3", 1));
    CHECK_OK(csl_line_file_close(file));
    CU_ASSERT_STRING_EQUAL(read_all(path), "one\ntwo\n3\n");
    CHECK_OK(csl_line_file_close(NULL));
}

/* A limit on the size of files stands for a full disk: the write stops in the middle of a line. */
static void a_full_disk_is_noticed_and_what_was_written_stays(void)
{
    char lines[512];
    char whole[512];
    csl_line_file *file = NULL;
    snprintf(lines, sizeof lines, "%s/full", csl_test_directory());
    snprintf(whole, sizeof whole, "%s/whole", csl_test_directory());
    CHECK_OK(csl_file_write(whole, "first", 5));
    CHECK_OK(csl_line_file_open(lines, 0, &file));
    CHECK_OK(csl_line_file_append(file, "short", 5));
    struct rlimit before;
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit tight = {.rlim_cur = 10, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &tight), 0);
    csl_status appended = csl_line_file_append(file, "longer than is left", 19);
    csl_status written = csl_file_write(whole, "longer than is left", 19);
    csl_status again = csl_line_file_append(file, "abc", 3);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &before), 0);
    CHECK_STATUS(appended, CSL_E_IO);
    CHECK_STATUS(written, CSL_E_IO);
    CHECK_OK(again);
    CHECK_OK(csl_line_file_close(file));
    CU_ASSERT_STRING_EQUAL(read_all(lines), "short\nabc\n");
    CU_ASSERT_STRING_EQUAL(read_all(whole), "first");
    CHECK_OK(csl_file_write(whole, "second", 6));
    CU_ASSERT_STRING_EQUAL(read_all(whole), "second");
    snprintf(whole, sizeof whole, "%s/absent/whole", csl_test_directory());
    CHECK_STATUS(csl_file_write(whole, "x", 1), CSL_E_IO);
}

static void the_csv_has_a_value_or_nothing_for_every_column(void)
{
    csl_metrics metrics = {0};
    csl_metrics_clear(&metrics);
    metrics.loss = 0.5;
    csl_round_record record = {.round = 3,
                               .round_count = 9,
                               .seconds = 1.5,
                               .train_loss = NAN,
                               .rate = 0.1,
                               .institution_count = 4,
                               .update_size = 100,
                               .test = &metrics};
    csl_text heading = {0};
    csl_text row = {0};
    CHECK_OK(csl_metrics_csv_heading(CSL_TASK_BINARY, &heading));
    CHECK_OK(csl_metrics_csv_row(CSL_TASK_BINARY, &record, &row));
    CHECK_CONTAINS(csl_text_string(&heading), "round,seconds,train_loss,val_loss,val_auc,");
    CU_ASSERT_STRING_EQUAL(csl_text_string(&row), "3,1.500,,,,,,,0.5,,,,,0.1,4,0.000,0.000,100");
    csl_round_record start = {.train_loss = NAN, .rate = NAN}; /* nothing was trained yet */
    csl_text untrained = {0};
    CHECK_OK(csl_metrics_csv_row(CSL_TASK_BINARY, &start, &untrained));
    CU_ASSERT_STRING_EQUAL(csl_text_string(&untrained), "0,0.000,,,,,,,,,,,,,0,0.000,0.000,0");
    csl_text_clear(&untrained);
    size_t commas[2] = {0};
    for (size_t i = 0; i < heading.size; i++) {
        commas[0] += heading.bytes[i] == ',';
    }
    for (size_t i = 0; i < row.size; i++) {
        commas[1] += row.bytes[i] == ',';
    }
    CHECK_U64(commas[0], commas[1]);
    csl_text_clear(&heading);
    csl_text_clear(&row);
}

static void an_event_is_one_line_of_json(void)
{
    csl_event *event = NULL;
    csl_text text = {0};
    const double values[2] = {1.5, NAN};
    CHECK_OK(csl_event_create("round", &event));
    csl_event_add_text(event, "note", "two\nlines \"quoted\"");
    csl_event_add_numbers(event, "values", values, 2);
    csl_event_add_integer(event, "seed", UINT64_MAX);
    CHECK_OK(csl_event_text(event, &text));
    CHECK_CONTAINS(csl_text_string(&text), "{\"event\":\"round\",\"utc\":\"");
    CHECK_CONTAINS(csl_text_string(&text), "\"values\":[1.5,null]");
    CHECK_CONTAINS(csl_text_string(&text), "two\\nlines");
    CU_ASSERT_PTR_NULL(strchr(csl_text_string(&text), '\n'));
    csl_text_clear(&text);
    csl_event_destroy(event);
    event = NULL;
    CHECK_OK(csl_event_create("bad", &event));
    csl_event_add_text(event, "bytes", "\xff");
    CU_ASSERT(csl_event_text(event, &text) != CSL_OK);
    csl_event_destroy(event);
    csl_event_destroy(NULL);
}

static void tables_line_up(void)
{
    csl_table *table = NULL;
    csl_text text = {0};
    CHECK_OK(csl_table_create((const char *const[]){"site", "auc", NULL}, &table));
    csl_table_add_row(table, (const char *const[]){"M\xc3\xbcnchen", "0.9"});
    csl_table_add_rule(table);
    csl_table_add_row(table, (const char *const[]){"pool", "undefined"});
    CHECK_OK(csl_table_render(table, &text));
    CU_ASSERT_STRING_EQUAL(csl_text_string(&text), "site           auc\n"
                                                   "------------------\n"
                                                   "M\xc3\xbcnchen        0.9\n"
                                                   "------------------\n"
                                                   "pool     undefined\n");
    csl_text_clear(&text);
    csl_table_destroy(table);
    csl_table_destroy(NULL);
}

static void a_score_that_does_not_exist_is_an_empty_cell(void)
{
    static const char *const names[] = {"global, all", "site"};
    static const double values[] = {0.5, NAN, INFINITY, 1.0};
    csl_text text = {0};
    CHECK_OK(csl_cross_site_csv(names, 2, names, 2, values, &text));
    CU_ASSERT_STRING_EQUAL(csl_text_string(&text), "model,\"global, all\",site\n"
                                                   "\"global, all\",0.5,\nsite,,1\n");
    csl_text_clear(&text);
}

static void run_tables_fit_a_screen(void)
{
    enum { COUNT = 20 };
    csl_text text = {0};
    csl_round_record record = {.round = 12, .round_count = 100, .train_loss = 0.4};
    CHECK_OK(csl_round_table_heading(CSL_TASK_BINARY, &text));
    CHECK_OK(csl_round_table_row(CSL_TASK_BINARY, &record, &text));
    const char *names[COUNT];
    static char storage[COUNT][CSL_NAME_MAX];
    static double values[COUNT * COUNT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(storage[i], sizeof storage[i], "site %d", i);
        names[i] = storage[i];
        values[i * COUNT + i] = 0.5 + i / 100.0;
    }
    CHECK_OK(csl_cross_site_table(names, COUNT, names, COUNT, values, &text));
    CHECK_OK(csl_cross_site_table(names, 3, names, 3, values, &text));
    CHECK_CONTAINS(csl_text_string(&text), "0.690");
    const char *line = csl_text_string(&text);
    while (*line) {
        size_t length = strcspn(line, "\n");
        CU_ASSERT(length <= 100);
        line += length + 1;
    }
    csl_text_clear(&text);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"lines are appended and kept", lines_are_appended_and_kept_when_a_run_goes_on},
        {"a full disk is noticed", a_full_disk_is_noticed_and_what_was_written_stays},
        {"the CSV has every column", the_csv_has_a_value_or_nothing_for_every_column},
        {"an event is one line of JSON", an_event_is_one_line_of_json},
        {"tables line up", tables_line_up},
        {"a score that does not exist is an empty cell",
         a_score_that_does_not_exist_is_an_empty_cell},
        {"run tables fit a screen", run_tables_fit_a_screen},
    };
    return csl_test_main("report", cases, sizeof cases / sizeof *cases);
}
