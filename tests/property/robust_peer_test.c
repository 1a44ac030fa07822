/* The preset byzfl beside ByzFL's own rules, where its Python package is installed (CSL_PEER_PYTHON
 * names the interpreter; default python3). Skipped, and counted as skipped, elsewhere. */
#include "test_support.h"

#include <consilium/robust.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { ROWS = 10, COLUMNS = 257, FAULTS = 2 };

static float rows_[ROWS][COLUMNS];

/* Two rows are false, and one so long that a radius of 100 cuts it. */
static bool write_rows(void)
{
    char path[512];
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            double value = (i == 3 ? -2 : 1) + (0.5 + 0.1 * i) * csl_test_normal();
            rows_[i][j] = (float)(i == 7 ? 12 * value : value);
        }
    }
    snprintf(path, sizeof path, "%s/rows.f32", csl_test_directory());
    FILE *file = fopen(path, "wb");
    bool complete = file && fwrite(rows_, sizeof rows_, 1, file) == 1;
    return file && fclose(file) == 0 && complete;
}

/* Exit code of the peer. */
static int run_peer(void)
{
    const char *python = getenv("CSL_PEER_PYTHON");
    char command[2048];
    snprintf(command, sizeof command, "'%s' '%s/tests/property/byzfl_rules.py' '%s' %d %d %d",
             python ? python : "python3", CSL_SOURCE_DIR, csl_test_directory(), ROWS, COLUMNS,
             FAULTS);
    int state = system(command);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static void check_rule(const char *rule, const char *pre)
{
    char path[512];
    float theirs[COLUMNS];
    float own[COLUMNS];
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
        rows[i] = rows_[i];
    }
    CHECK_OK(csl_device_open("host", 1, &device));
    csl_aggregate_input input = {.device = device,
                                 .row_count = ROWS,
                                 .column_count = COLUMNS,
                                 .column_total = COLUMNS,
                                 .rows = rows};
    CHECK_OK(csl_aggregate(&spec, &input, own, NULL));
    csl_device_close(device);
    snprintf(path, sizeof path, "%s/%s%s%s.f32", csl_test_directory(), pre, pre[0] ? "+" : "",
             rule);
    FILE *file = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CHECK_U64(fread(theirs, sizeof theirs, 1, file), 1);
    fclose(file);
    int differ = 0;
    for (int j = 0; j < COLUMNS; j++) {
        double value = (double)theirs[j];
        differ += !(fabs((double)own[j] - value) <= 3e-5 * (1 + fabs(value)));
    }
    if (differ > 0) {
        printf("%s after '%s': %d of %d values differ\n", rule, pre, differ, COLUMNS);
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

int main(void)
{
    if (!write_rows()) {
        return 1;
    }
    int code = run_peer();
    if (code == 77 || code == 127) {
        printf("skipped: ByzFL is not installed\n");
        return 77;
    }
    if (code != 0) {
        printf("byzfl_rules.py ended with %d\n", code);
        return 1;
    }
    static const csl_test_case cases[] = {
        {"rules are ByzFL's", rules_are_byzfl_s},
        {"pre-aggregators are ByzFL's", pre_aggregators_are_byzfl_s},
    };
    return csl_test_main("robust peer", cases, sizeof cases / sizeof *cases);
}
