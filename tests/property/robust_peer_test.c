/*
 * The preset byzfl beside ByzFL 0.0.11: always against answers that it gave once
 * (byzfl_answers.txt, written by `byzfl_rules.py --draw`), and on fresh rows where its Python
 * package is installed (CSL_PEER_PYTHON names the interpreter; default python3).
 */
#include "test_support.h"

#include <consilium/robust.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { ROWS = 10, COLUMNS_MAX = 257, FAULTS = 2, ANSWERS_MAX = 32 };

typedef struct answer {
    char name[40];
    float values[COLUMNS_MAX];
} answer;

static float rows_[ROWS * COLUMNS_MAX];
static int columns_;
static answer answers_[ANSWERS_MAX];
static int answer_count_;

/* Two rows are false, and one so long that a radius of 100 cuts it. */
static bool write_rows(const char *path)
{
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS_MAX; j++) {
            double value = (i == 3 ? -2 : 1) + (0.5 + 0.1 * i) * csl_test_normal();
            rows_[i * COLUMNS_MAX + j] = (float)(i == 7 ? 12 * value : value);
        }
    }
    FILE *file = fopen(path, "wb");
    bool complete = file && fwrite(rows_, sizeof rows_, 1, file) == 1;
    return file && fclose(file) == 0 && complete;
}

/* Exit code of the peer. */
static int run_peer(const char *rows, const char *out)
{
    const char *python = getenv("CSL_PEER_PYTHON");
    char command[2048];
    snprintf(command, sizeof command, "'%s' '%s/tests/property/byzfl_rules.py' '%s' '%s' %d %d %d",
             python ? python : "python3", CSL_SOURCE_DIR, rows, out, ROWS, COLUMNS_MAX, FAULTS);
    int state = system(command);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

/* The next word of a file as a number; false at anything else. */
static bool read_value(FILE *file, float *value_out)
{
    char word[64];
    char *end = word;
    if (fscanf(file, "%63s", word) == 1) {
        *value_out = strtof(word, &end);
    }
    return end != word && *end == 0;
}

/* The rows, then the answers: a name, how many numbers follow, and these. */
static bool read_answers(const char *path)
{
    char name[40];
    float number = 0;
    FILE *file = fopen(path, "r");
    bool good = file != NULL;
    answer_count_ = -1;
    while (good && fscanf(file, "%39s", name) == 1) {
        bool first = answer_count_ < 0;
        float *values = first ? rows_ : answers_[answer_count_].values;
        int most = first ? ROWS * COLUMNS_MAX : columns_;
        good = answer_count_ < ANSWERS_MAX - 1 && read_value(file, &number) && number >= 1 &&
               number <= (float)most;
        int count = good ? (int)number : 0;
        for (int k = 0; good && k < count; k++) {
            good = read_value(file, &values[k]);
        }
        if (first) {
            columns_ = count / ROWS;
        } else {
            memcpy(answers_[answer_count_].name, name, sizeof name);
        }
        answer_count_++;
    }
    if (file) {
        fclose(file);
    }
    return good && answer_count_ > 0;
}

static const float *answer_of(const char *name)
{
    for (int k = 0; k < answer_count_; k++) {
        if (strcmp(answers_[k].name, name) == 0) {
            return answers_[k].values;
        }
    }
    return NULL;
}

static void check_rule(const char *rule, const char *pre)
{
    char name[CSL_NAME_MAX * 2];
    float own[COLUMNS_MAX];
    const float *rows[ROWS];
    csl_aggregate_spec spec;
    csl_device *device = NULL;
    csl_aggregate_spec_init(&spec);
    spec.preset = CSL_PRESET_BYZFL;
    /* ByzFL's mean knows no f */
    spec.f = strcmp(rule, "mean") == 0 && !pre[0] ? 0 : FAULTS;
    snprintf(spec.rule, sizeof spec.rule, "%s", rule);
    CHECK_OK(csl_aggregate_spec_set_pre(&spec, pre));
    for (int i = 0; i < ROWS; i++) {
        rows[i] = rows_ + i * columns_;
    }
    CHECK_OK(csl_device_open("host", 1, &device));
    csl_aggregate_input input = {.device = device,
                                 .row_count = ROWS,
                                 .column_count = (size_t)columns_,
                                 .column_total = (size_t)columns_,
                                 .rows = rows};
    CHECK_OK(csl_aggregate(&spec, &input, own, NULL));
    csl_device_close(device);
    snprintf(name, sizeof name, "%s%s%s", pre, pre[0] ? "+" : "", rule);
    const float *theirs = answer_of(name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(theirs);
    int differ = 0;
    for (int j = 0; j < columns_; j++) {
        double value = (double)theirs[j];
        differ += !(fabs((double)own[j] - value) <= 3e-5 * (1 + fabs(value)));
    }
    if (differ > 0) {
        printf("%s: %d of %d values differ\n", name, differ, columns_);
    }
    CHECK_U64((uint64_t)differ, 0);
}

static void rules_are_byzfl_s(void)
{
    static const char *const rules[] = {
        "mean",
        "median",
        "trimmed-mean",
        "meamed",
        "krum",
        "multi-krum",
        "geometric-median",
        "centered-clipping",
        "mda",
        "monna",
        "smea",
        "caf",
    };
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        check_rule(rules[k], "");
    }
}

static void pre_aggregators_are_byzfl_s(void)
{
    check_rule("mean", "nnm");
    check_rule("krum", "nnm");
    check_rule("trimmed-mean", "clipping");
    check_rule("median", "arc");
    check_rule("median", "bucketing");
}

static void stored_answers_are_met(void)
{
    CU_ASSERT_TRUE_FATAL(read_answers(CSL_SOURCE_DIR "/tests/property/byzfl_answers.txt"));
    rules_are_byzfl_s();
    pre_aggregators_are_byzfl_s();
}

static void fresh_answers_are_met(void)
{
    char rows[512];
    char out[512];
    snprintf(rows, sizeof rows, "%s/rows.f32", csl_test_directory());
    snprintf(out, sizeof out, "%s/answers.txt", csl_test_directory());
    CU_ASSERT_TRUE_FATAL(write_rows(rows));
    int code = run_peer(rows, out);
    if (code == 77 || code == 127) {
        printf("ByzFL is not installed, so only its stored answers were compared ");
        return;
    }
    CU_ASSERT_EQUAL_FATAL(code, 0);
    CU_ASSERT_TRUE_FATAL(read_answers(out));
    rules_are_byzfl_s();
    pre_aggregators_are_byzfl_s();
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"stored answers are met", stored_answers_are_met},
        {"fresh answers are met", fresh_answers_are_met},
    };
    return csl_test_main("robust peer", cases, sizeof cases / sizeof *cases);
}
