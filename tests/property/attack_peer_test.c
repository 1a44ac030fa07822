/* Attacks beside ByzFL's own, where its Python package is installed (CSL_PEER_PYTHON names the
 * interpreter; default python3). Skipped, and counted as skipped, elsewhere. */
#include "attack_problem.h"
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static problem shared;

static bool write_honest(const problem *p)
{
    char path[512];
    snprintf(path, sizeof path, "%s/honest.f32", csl_test_directory());
    FILE *file = fopen(path, "wb");
    bool complete = file != NULL;
    for (uint32_t i = 0; complete && i < p->n - p->m; i++) {
        complete = fwrite(p->x + p->honest[i] * p->d, sizeof *p->x, p->d, file) == p->d;
    }
    return file && fclose(file) == 0 && complete;
}

/* Exit code of the peer. */
static int run_peer(const problem *p)
{
    const char *python = getenv("CSL_PEER_PYTHON");
    char command[2048];
    snprintf(command, sizeof command, "'%s' '%s/tests/property/byzfl_attacks.py' '%s' %u %u %zu",
             python ? python : "python3", CSL_SOURCE_DIR, csl_test_directory(), p->n - p->m, p->m,
             p->d);
    int state = system(command);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static float *peer_row(const char *name, size_t d)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.f32", csl_test_directory(), name);
    FILE *file = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    float *row = malloc(d * sizeof *row);
    CHECK_U64(fread(row, sizeof *row, d, file), d);
    fclose(file);
    return row;
}

static void rows_are_byzfl_s(void)
{
    static const char *const names[] = {"sign-flip", "ipm", "alie", "mimic", "infinity"};
    for (size_t c = 0; c < sizeof names / sizeof *names; c++) {
        memset(&shared.spec, 0, sizeof shared.spec);
        snprintf(shared.spec.attack, sizeof shared.spec.attack, "%s", names[c]);
        CHECK_OK(attack(&shared));
        float *row = peer_row(names[c], shared.d);
        size_t differ = 0;
        for (size_t j = 0; j < shared.d; j++) {
            double value = (double)row[j];
            double found = (double)shared.out[j];
            bool same =
                isinf(value) ? found == value : fabs(found - value) <= 1e-5 * (1 + fabs(value));
            differ += !same;
        }
        if (differ > 0) {
            printf("%s: %zu of %zu values differ\n", names[c], differ, shared.d);
        }
        CHECK_U64(differ, 0);
        free(row);
    }
}

/* ||aggregate - mu|| when all hostile rows are `row`. */
static double deviation_of(const float *row)
{
    csl_device *device = NULL;
    const float *rows[64];
    float *out = malloc(shared.d * sizeof *out);
    double sum = 0;
    for (uint32_t i = 0; i < shared.n; i++) {
        rows[i] = shared.x + i * shared.d;
    }
    for (uint32_t k = 0; k < shared.m; k++) {
        rows[shared.hostile[k]] = row;
    }
    CHECK_OK(csl_device_open("host", 1, &device));
    csl_aggregate_input input = {.device = device,
                                 .row_count = shared.n,
                                 .column_count = shared.d,
                                 .column_total = shared.d,
                                 .rows = rows};
    CHECK_OK(csl_aggregate(&shared.rule, &input, out, NULL));
    csl_device_close(device);
    for (size_t j = 0; j < shared.d; j++) {
        double mean = 0;
        for (uint32_t i = 0; i < shared.n - shared.m; i++) {
            mean += (double)shared.x[shared.honest[i] * shared.d + j] / (shared.n - shared.m);
        }
        sum += pow((double)out[j] - mean, 2);
    }
    free(out);
    return sqrt(sum);
}

static void searches_go_as_far_as_byzfl_s(void)
{
    static const char *const names[] = {"optimal-ipm", "optimal-alie"};
    snprintf(shared.rule.rule, sizeof shared.rule.rule, "trimmed-mean");
    for (int c = 0; c < 2; c++) {
        memset(&shared.spec, 0, sizeof shared.spec);
        snprintf(shared.spec.attack, sizeof shared.spec.attack, "%s", names[c]);
        CHECK_OK(attack(&shared));
        float *row = peer_row(names[c], shared.d);
        double peer = deviation_of(row);
        double own = deviation_of(shared.out);
        if (own < 0.99 * peer) {
            printf("%s: %g, ByzFL %g\n", names[c], own, peer);
        }
        CU_ASSERT(own >= 0.99 * peer);
        free(row);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"rows are ByzFL's", rows_are_byzfl_s},
        {"searches go as far as ByzFL's", searches_go_as_far_as_byzfl_s},
    };
    shared = make_problem("zero", 13, 3, 5000);
    int code = write_honest(&shared) ? run_peer(&shared) : 1;
    if (code == 77 || code == 127) { /* no ByzFL, no such interpreter */
        printf("SKIP: no python with byzfl\n");
        free_problem(&shared);
        return 77;
    }
    if (code != 0) {
        printf("ByzFL failed with exit code %d\n", code);
        free_problem(&shared);
        return 1;
    }
    code = csl_test_main("attacks of ByzFL", cases, sizeof cases / sizeof *cases);
    free_problem(&shared);
    return code;
}
