/*
 * consilium bench attacks: a study under every attack by every rule.
 *
 * Each rank trains whole cells by itself, so N ranks take an N-th of the time. Results go into a
 * CSV line by line, under the study's SHA-256: a grid that was stopped goes on where it was.
 */
#include "attacks_table.h"
#include "bench_options.h"
#include "bench_support.h"

#include <consilium/atomic_file.h>
#include <consilium/study.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

csl_status csl_bench_attacks(csl_communicator *communicator, int argc, char **argv, int *code_out);

enum { NAMES_MAX = CSL_GRID_NAMES_MAX, SETS_MAX = 64, LINE_MAX_BYTES = 1024 };

static const char DEFAULT_RULES[] =
    "mean,median,trimmed-mean,geometric-median,multi-krum,mda,caf,dnc,signguard,nnm+median,"
    "nnm+trimmed-mean,nnm+geometric-median";
static const char DEFAULT_ATTACKS[] =
    "none,sign-flip,ipm:factor=5,alie,optimal-alie,min-max,mimic,gaussian,label-flip,"
    "backdoor+scaling";

typedef struct grid {
    const char *study;
    const char *sets[SETS_MAX];
    size_t set_count;
    char *rule_list; /* owned, cut into names */
    char *attack_list;
    char *seed_list;
    const char *rules[NAMES_MAX];
    const char *attacks[NAMES_MAX];
    const char *seeds[NAMES_MAX];
    uint32_t rule_count;
    uint32_t attack_count;
    uint32_t seed_count;
    uint32_t f; /* 0: as the study says, else as many as are hostile */
    const char *csv;
    const char *keep;
    char folder[CSL_PATH_MAX];
    char csv_path[CSL_PATH_MAX];
    csl_communicator *world;
    csl_attack_result *results; /* [rules][attacks][seeds]; status "" if not yet known */
    csl_attack_cell cell;
} grid;

static void print_help(void)
{
    printf(
        "Usage: consilium bench attacks --study STUDY.yaml [OPTION]...\n"
        "   or: mpirun -n RANKS consilium bench attacks ...   (each rank trains its own cells)\n"
        "Train a study under every attack by every rule; print test AUC, accuracy, which updates\n"
        "the rule judged rightly, and how often a backdoor works. The hostile institutions are\n"
        "those of the study's adversary section.\n\n"
        "  --study FILE      the study; its rule and attack give way to those of the grid\n"
        "  --set KEY=VALUE   change a key of the study; repeatable\n"
        "  --rules LIST      names with pre-aggregators in front and parameters behind, as in\n"
        "                    median,nnm+multi-krum,centered-clipping:tau=1:iterations=3\n"
        "                    (%s)\n"
        "  --attacks LIST    the same for attacks on updates and data, as in\n"
        "                    none,alie:z=1.5,label-flip,backdoor+scaling\n"
        "                    (%s)\n"
        "  --seeds LIST      seeds to average over (the study's own)\n"
        "  --f F             updates each rule must bear (the study's aggregation.f, or as many\n"
        "                    as are hostile); a plain mean bears none\n"
        "  --csv FILE        results, a line a cell; cells already in it are not trained again\n"
        "  --keep FOLDER     keep the run directories there\n"
        "      --help        this text\n",
        DEFAULT_RULES, DEFAULT_ATTACKS);
}

static uint32_t cut(char *list, const char *names[NAMES_MAX])
{
    uint32_t count = 0;
    char *rest = NULL;
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        if (count == NAMES_MAX) {
            return NAMES_MAX + 1;
        }
        names[count++] = name;
    }
    return count;
}

static const struct option long_options[] = {
    {"study", required_argument, NULL, 'y'}, {"set", required_argument, NULL, 's'},
    {"rules", required_argument, NULL, 'r'}, {"attacks", required_argument, NULL, 'a'},
    {"seeds", required_argument, NULL, 'e'}, {"f", required_argument, NULL, 'f'},
    {"csv", required_argument, NULL, 'c'},   {"keep", required_argument, NULL, 'k'},
    {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};

/* 0, 2 after a message of the rank that speaks, or -1 for --help. */
static int take_option(const csl_bench_command *command, int option, void *context)
{
    grid *g = context;
    char **lists[] = {&g->rule_list, &g->attack_list, &g->seed_list};
    const char *letters = "rae";
    switch (option) {
    case 'y':
        g->study = optarg;
        return 0;
    case 's':
        if (g->set_count == SETS_MAX) {
            return csl_bench_usage_error(command, "--set: at most %d times", SETS_MAX);
        }
        g->sets[g->set_count++] = optarg;
        return 0;
    case 'r':
    case 'a':
    case 'e': {
        char **list = lists[strchr(letters, option) - letters];
        free(*list);
        *list = strdup(optarg);
        return 0;
    }
    case 'f': {
        uint64_t count = 0;
        int code = csl_bench_take_count(command, "f", optarg, CSL_ROWS_MAX - 1, &count);
        g->f = (uint32_t)count;
        return code;
    }
    case 'c':
        g->csv = optarg;
        return 0;
    case 'k':
        g->keep = optarg;
        return 0;
    default:
        return -1;
    }
}

static int parse(int argc, char **argv, grid *g)
{
    g->rule_list = strdup(DEFAULT_RULES);
    g->attack_list = strdup(DEFAULT_ATTACKS);
    const csl_bench_command command = {"attacks", csl_communicator_rank(g->world) == 0,
                                       long_options};
    int code = csl_bench_parse(&command, argc, argv, take_option, g);
    return code == 0 && !g->study ? csl_bench_usage_error(&command, "expected --study FILE") : code;
}

static csl_status check_seeds(const grid *g)
{
    for (uint32_t i = 0; i < g->seed_count; i++) {
        char *end = NULL;
        errno = 0;
        (void)strtoull(g->seeds[i], &end, 10);
        if (*end || errno == ERANGE || g->seeds[i][0] < '0' || g->seeds[i][0] > '9') {
            return csl_fail(CSL_E_RANGE, "--seeds: expected whole numbers, found '%s'",
                            g->seeds[i]);
        }
    }
    return CSL_OK;
}

/* Seed and f that the study gives where the options are silent. Every rank reads the same file. */
static csl_status read_study(grid *g)
{
    csl_study *study = NULL;
    csl_study_sources sources = {.overrides = g->sets, .override_count = g->set_count};
    CSL_TRY(csl_study_load(g->study, &sources, &study));
    uint32_t hostile = study->adversary.institutions.count;
    uint32_t f = study->aggregation.spec.f;
    g->f = g->f > 0 ? g->f : f > 0 ? f : hostile;
    if (!g->seed_list) {
        char seed[24];
        snprintf(seed, sizeof seed, "%llu", (unsigned long long)study->seed);
        g->seed_list = strdup(seed);
    }
    csl_study_destroy(study);
    if (hostile == 0) {
        return csl_fail(CSL_E_RANGE, "%s: no institution is hostile; set adversary.count",
                        g->study);
    }
    if (!g->rule_list || !g->attack_list || !g->seed_list) {
        return csl_fail(CSL_E_NO_MEMORY, "lists");
    }
    g->rule_count = cut(g->rule_list, g->rules);
    g->attack_count = cut(g->attack_list, g->attacks);
    g->seed_count = cut(g->seed_list, g->seeds);
    uint32_t counts[] = {g->rule_count, g->attack_count, g->seed_count};
    for (size_t i = 0; i < 3; i++) {
        if (counts[i] == 0 || counts[i] > NAMES_MAX) {
            return csl_fail(CSL_E_RANGE, "expected 1 to %d rules, attacks and seeds", NAMES_MAX);
        }
    }
    CSL_TRY(check_seeds(g));
    g->results =
        calloc((size_t)g->rule_count * g->attack_count * g->seed_count, sizeof *g->results);
    return g->results ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "results");
}

static csl_status make_folder(const char *path)
{
    struct stat info;
    if (mkdir(path, 0777) == 0 || (stat(path, &info) == 0 && S_ISDIR(info.st_mode))) {
        return CSL_OK;
    }
    return csl_fail(CSL_E_IO, "--keep %s: %s", path,
                    errno == EEXIST ? "expected a folder, found a file" : strerror(errno));
}

static csl_status choose_paths(grid *g)
{
    csl_status status = CSL_OK;
    if (csl_communicator_rank(g->world) == 0) {
        const char *base = getenv("TMPDIR");
        snprintf(g->folder, sizeof g->folder, "%s/consilium-attacks-XXXXXX", base ? base : "/tmp");
        if (g->keep) {
            snprintf(g->folder, sizeof g->folder, "%s", g->keep);
            status = make_folder(g->folder);
        } else if (!mkdtemp(g->folder)) {
            status = csl_fail(CSL_E_IO, "%s: no folder can be made there", g->folder);
        }
        int length =
            g->csv ? snprintf(g->csv_path, sizeof g->csv_path, "%s", g->csv)
                   : snprintf(g->csv_path, sizeof g->csv_path, "%.4000s/attacks.csv", g->folder);
        if (status == CSL_OK && length >= (int)sizeof g->csv_path) {
            status = csl_fail(CSL_E_RANGE, "--csv: the path is too long");
        }
    }
    CSL_TRY(csl_agree(g->world, status));
    CSL_TRY(csl_broadcast(g->world, g->folder, sizeof g->folder, 0));
    return csl_broadcast(g->world, g->csv_path, sizeof g->csv_path, 0);
}

static size_t cell_count(const grid *g)
{
    return (size_t)g->rule_count * g->attack_count * g->seed_count;
}

/* Cells differ in their attack first, so that the plain columns come early. */
static csl_status resolve(grid *g, size_t index)
{
    size_t seed = index % g->seed_count;
    size_t attack = index / g->seed_count % g->attack_count;
    size_t rule = index / g->seed_count / g->attack_count;
    csl_attack_cell *cell = &g->cell;
    cell->rule = g->rules[rule];
    cell->attack = g->attacks[attack];
    cell->seed = strtoull(g->seeds[seed], NULL, 10);
    cell->f = g->f;
    cell->study_path = g->study;
    cell->base = g->sets;
    cell->base_count = g->set_count;
    return csl_attack_cell_resolve(cell);
}

static const char HEADING[] =
    "study_sha256,rule,attack,seed,f,status,test_auc,test_accuracy,test_balanced_accuracy,best_auc,"
    "selection_accuracy,backdoor_success,seconds,hostile_weight\n";

/* One write each, so that lines of several ranks do not mix. */
static csl_status append(const grid *g, const char *line)
{
    int file = open(g->csv_path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    ssize_t size = (ssize_t)strlen(line);
    bool written = file >= 0 && write(file, line, (size_t)size) == size;
    bool closed = file >= 0 && close(file) == 0;
    return written && closed ? CSL_OK : csl_fail(CSL_E_IO, "%s cannot be written", g->csv_path);
}

/* A grid goes on in the file of an earlier one, and adds lines to no other: a study given by
 * mistake would be spoilt, and a device that is read for results never ends. */
static csl_status check_csv(const grid *g)
{
    CSL_TRY(csl_atomic_check(g->csv_path));
    char line[LINE_MAX_BYTES] = "";
    FILE *file = fopen(g->csv_path, "r");
    if (!file) {
        return errno == ENOENT ? append(g, HEADING)
                               : csl_fail(CSL_E_IO, "%s: %s", g->csv_path, strerror(errno));
    }
    bool any = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    if (!any) {
        return append(g, HEADING);
    }
    size_t named = strcspn(HEADING, ","); /* columns were added behind the first ones */
    return strncmp(line, HEADING, named + 1) == 0
               ? CSL_OK
               : csl_fail(CSL_E_FORMAT,
                          "%s: expected results of bench attacks or no file, found "
                          "other text",
                          g->csv_path);
}

/* A mistyped name would else be a column that is refused, seen when the grid is done. */
static csl_status check_names(grid *g)
{
    for (size_t i = 0; i < cell_count(g); i += g->seed_count) {
        CSL_TRY(resolve(g, i));
    }
    return CSL_OK;
}

static csl_status append_result(const grid *g, const csl_attack_result *r)
{
    char line[LINE_MAX_BYTES];
    const csl_attack_cell *cell = &g->cell;
    snprintf(line, sizeof line,
             "%s,%s,%s,%llu,%u,%s,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g,%.3f,%.17g\n", cell->sha256,
             cell->rule, cell->attack, (unsigned long long)cell->seed, cell->f, r->status,
             r->test_auc, r->test_accuracy, r->test_balanced_accuracy, r->best_auc,
             r->selection_accuracy, r->backdoor_success, r->seconds, r->hostile_weight);
    return append(g, line);
}

/* The last line of this study's SHA-256, if there is one. */
static bool find_result(const grid *g, csl_attack_result *result)
{
    FILE *file = fopen(g->csv_path, "r");
    char line[LINE_MAX_BYTES];
    bool found = false;
    while (file && fgets(line, sizeof line, file)) {
        char *rest = NULL;
        char *field = strtok_r(line, ",", &rest);
        if (!field || strcmp(field, g->cell.sha256) != 0) {
            continue;
        }
        csl_attack_result r = {.status = "", .hostile_weight = NAN};
        double *numbers[] = {&r.test_auc, &r.test_accuracy,      &r.test_balanced_accuracy,
                             &r.best_auc, &r.selection_accuracy, &r.backdoor_success,
                             &r.seconds,  &r.hostile_weight};
        for (int skip = 0; skip < 4 && field; skip++) {
            field = strtok_r(NULL, ",", &rest);
        }
        field = strtok_r(NULL, ",", &rest);
        snprintf(r.status, sizeof r.status, "%s", field ? field : "");
        size_t count = 0;
        while (count < 8 && (field = strtok_r(NULL, ",\n", &rest)) != NULL) {
            *numbers[count++] = strtod(field, NULL);
        }
        if (count >= 7) { /* the last column came later */
            *result = r;
            found = true;
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void keep_world_awake(void *context)
{
    grid *g = context;
    csl_news news = {.phase = CSL_PHASE_TRAIN};
    /* A broken world shows at the end of the grid, where its ranks agree. */
    (void)(csl_communicator_report(g->world, &news) == CSL_OK);
}

static csl_status run_cell(grid *g, csl_communicator *alone, size_t index)
{
    csl_attack_result result = {.status = "refused",
                                .test_auc = NAN,
                                .test_accuracy = NAN,
                                .test_balanced_accuracy = NAN,
                                .best_auc = NAN,
                                .selection_accuracy = NAN,
                                .backdoor_success = NAN,
                                .hostile_weight = NAN};
    CSL_TRY(resolve(g, index));
    const csl_attack_cell *cell = &g->cell;
    if (!cell->sha256[0]) {
        fprintf(stderr, "%s, %s: refused: %s\n", cell->rule, cell->attack, csl_error_message());
        return CSL_OK;
    }
    if (find_result(g, &result)) {
        return CSL_OK;
    }
    char folder[CSL_PATH_MAX + 32];
    snprintf(folder, sizeof folder, "%s/cell-%zu", g->folder, index);
    csl_status status = csl_attack_cell_run(alone, cell, folder, keep_world_awake, g, &result);
    if (status != CSL_OK) {
        return csl_fail_context(status, "%s, %s", cell->rule, cell->attack);
    }
    bool ok = strcmp(result.status, "ok") == 0;
    fprintf(stderr, "%zu of %zu: %s, %s, seed %llu: %s%s%s, AUC %.4f, %.1f s\n", index + 1,
            cell_count(g), cell->rule, cell->attack, (unsigned long long)cell->seed, result.status,
            ok ? "" : ": ", result.reason, result.test_auc, result.seconds);
    if (!g->keep) {
        (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    return append_result(g, &result);
}

static csl_status run_cells(grid *g)
{
    csl_communicator *alone = NULL;
    CSL_TRY(csl_communicator_create(MPI_COMM_SELF, 1e6, &alone));
    csl_status status = CSL_OK;
    uint32_t rank = csl_communicator_rank(g->world);
    uint32_t ranks = csl_communicator_size(g->world);
    for (size_t i = rank; i < cell_count(g) && status == CSL_OK; i += ranks) {
        status = run_cell(g, alone, i);
    }
    csl_communicator_destroy(alone);
    return status;
}

static csl_status collect(grid *g)
{
    for (size_t i = 0; i < cell_count(g); i++) {
        CSL_TRY(resolve(g, i));
        if (!g->cell.sha256[0]) {
            snprintf(g->results[i].status, sizeof g->results[i].status, "refused");
        } else if (!find_result(g, &g->results[i])) {
            return csl_fail(CSL_E_INTERNAL, "%s: no result for %s under %s", g->csv_path,
                            g->cell.rule, g->cell.attack);
        }
    }
    return CSL_OK;
}

/* Trains what is not known yet and prints the tables. */
static csl_status fill_grid(grid *g)
{
    bool first = csl_communicator_rank(g->world) == 0;
    CSL_TRY(csl_agree(g->world, first ? check_csv(g) : CSL_OK));
    CSL_TRY(csl_agree(g->world, run_cells(g)));
    const csl_attack_table table = {
        .study = g->study,
        .f = g->f,
        .rules = g->rules,
        .attacks = g->attacks,
        .rule_count = g->rule_count,
        .attack_count = g->attack_count,
        .seed_count = g->seed_count,
        .results = g->results,
    };
    csl_status status = first ? collect(g) : CSL_OK;
    status = first && status == CSL_OK ? csl_attack_table_print(&table) : status;
    return csl_agree(g->world, status);
}

/* What study and options name. Collective. */
static csl_status describe_grid(grid *g)
{
    CSL_TRY(csl_agree(g->world, read_study(g)));
    return csl_agree(g->world, check_names(g));
}

static csl_status run_grid(grid *g)
{
    CSL_TRY(choose_paths(g));
    csl_status status = fill_grid(g);
    if (csl_communicator_rank(g->world) == 0 && !g->keep) {
        (void)nftw(g->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    return status;
}

csl_status csl_bench_attacks(csl_communicator *communicator, int argc, char **argv, int *code_out)
{
    grid *g = calloc(1, sizeof *g);
    csl_status status = csl_agree(communicator, g ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "grid"));
    if (status != CSL_OK || !g) {
        free(g);
        return status;
    }
    g->world = communicator;
    int code = parse(argc, argv, g);
    if (code == -1 && csl_communicator_rank(communicator) == 0) {
        print_help();
    }
    *code_out = code == 2 ? 2 : 0;
    if (code == 0) {
        status = describe_grid(g);
        *code_out = csl_study_is_refused(status) ? 2 : 0;
        status = status == CSL_OK ? run_grid(g) : status;
    }
    free(g->rule_list);
    free(g->attack_list);
    free(g->seed_list);
    free(g->results);
    free(g);
    return status;
}
