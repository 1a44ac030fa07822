/*
 * consilium bench aggregate: the kernels of robust aggregation and whole rules against the
 * machine's read bandwidth and, with --peer, against another library on the same rows in the same
 * run. Under mpirun every rank holds its coordinates of all rows, as in a run, and a time is that
 * from all ranks' start to the end of the last one.
 *
 * A kernel is one pass over rows that lie in memory; a whole rule is csl_aggregate: the check that
 * all values are finite, every pass, its control and the selection report. floor_ms is the time
 * that reading n x d float32 and writing d takes at the measured read bandwidth; bandwidth_gbs is
 * the same traffic over min_ms, of all ranks together. f = (n - 3) / 4 as in the papers' tables. A
 * rule that reads the rows twice cannot come nearer than two floors.
 */
#include "bench_support.h"

#include <consilium/bench.h>
#include <consilium/distribute.h>
#include <consilium/kernels.h>
#include <consilium/robust.h>
#include <getopt.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

csl_status
csl_bench_aggregate(csl_communicator *communicator, int argc, char **argv, int *code_out);

enum { LIST_MAX = 16, REPEATS_MAX = 64, HUGE_PAGE = 1 << 21 };

typedef struct aggregate_options {
    bool help;
    const char *rules;
    const char *peer;
    const char *csv;
    const char *json;
    uint64_t row_counts[LIST_MAX];
    uint64_t counts[LIST_MAX];
    size_t row_count_count;
    size_t count_count;
    uint64_t threads;
    uint64_t repeats;
} aggregate_options;

typedef struct aggregate_case {
    csl_communicator *communicator;
    csl_device *device;
    const csl_kernels *kernels;
    const float **rows;
    uint32_t row_count;
    size_t count; /* this rank's coordinates */
    size_t begin; /* the first of them */
    size_t total;
    float *out;
    csl_exact_sum *sums;
    const char *name; /* of the row that is measured */
} aggregate_case;

/* f as in the papers' tables. */
static uint32_t hostile_count(uint32_t row_count)
{
    return row_count > 3 ? (row_count - 3) / 4 : 0;
}

static csl_status run_mean(aggregate_case *c)
{
    return c->kernels->row_mean(c->device, c->rows, c->row_count, c->count, c->out, NULL);
}

static csl_status run_select(aggregate_case *c, csl_select_kind kind)
{
    uint32_t n = c->row_count;
    uint32_t f = hostile_count(n);
    csl_select_spec spec = {.kind = kind, .trim = f, .keep = n - f};
    return c->kernels->row_select(c->device, &spec, c->rows, n, c->count, c->out);
}

static csl_status run_trimmed_mean(aggregate_case *c)
{
    return run_select(c, CSL_SELECT_TRIMMED_MEAN);
}

static csl_status run_median(aggregate_case *c)
{
    return run_select(c, CSL_SELECT_MEDIAN);
}

static csl_status run_meamed(aggregate_case *c)
{
    return run_select(c, CSL_SELECT_MEAMED);
}

static csl_status run_phocas(aggregate_case *c)
{
    return run_select(c, CSL_SELECT_PHOCAS);
}

static csl_status run_distances(aggregate_case *c)
{
    return c->kernels->row_squared_distances(c->device, c->rows, c->row_count, c->row_count,
                                             c->count, c->sums);
}

static csl_status run_norms(aggregate_case *c)
{
    return c->kernels->row_squared_norms(c->device, c->rows, c->row_count, c->count, NULL, c->sums);
}

static csl_status add_over_ranks(void *context, int64_t *values, size_t count)
{
    return csl_sum_integers(context, values, count);
}

/* "rule" or "pre+rule" through the library's front door. */
static csl_status run_whole_rule(aggregate_case *c)
{
    csl_aggregate_spec spec;
    csl_aggregate_spec_init(&spec);
    spec.f = hostile_count(c->row_count);
    const char *rule = strrchr(c->name, '+');
    char pre[CSL_NAME_MAX] = "";
    if (rule) {
        snprintf(pre, sizeof pre, "%.*s", (int)(rule - c->name), c->name);
        CSL_TRY(csl_aggregate_spec_set_pre(&spec, pre));
    }
    snprintf(spec.rule, sizeof spec.rule, "%s", rule ? rule + 1 : c->name);
    csl_aggregate_input input = {.device = c->device,
                                 .row_count = c->row_count,
                                 .column_begin = c->begin,
                                 .column_count = c->count,
                                 .column_total = c->total,
                                 .rows = c->rows};
    if (csl_communicator_size(c->communicator) > 1) {
        input.exchange.context = c->communicator;
        input.exchange.sum_int64 = add_over_ranks;
    }
    csl_aggregate_report *report = NULL;
    csl_status status = csl_aggregate(&spec, &input, c->out, &report);
    csl_aggregate_report_destroy(report);
    return status;
}

typedef struct aggregate_rule {
    const char *name;
    csl_status (*run)(aggregate_case *c);
    bool writes_row;
} aggregate_rule;

static const aggregate_rule rules_[] = {
    {"mean", run_mean, true},
    {"trimmed-mean", run_trimmed_mean, true},
    {"median", run_median, true},
    {"meamed", run_meamed, true},
    {"phocas", run_phocas, true},
    {"distances", run_distances, false},
    {"norms", run_norms, false},
    {"krum", run_whole_rule, true},
    {"multi-krum", run_whole_rule, true},
    {"geometric-median", run_whole_rule, true},
    {"centered-clipping", run_whole_rule, true},
    {"caf", run_whole_rule, true},
    {"dnc", run_whole_rule, true},
    {"bulyan", run_whole_rule, true},
    {"nnm+trimmed-mean", run_whole_rule, true},
    {"nnm+median", run_whole_rule, true},
};
enum { RULE_COUNT = sizeof rules_ / sizeof *rules_ };

static const char usage_[] =
    "usage: [mpirun -n RANKS] consilium bench aggregate [OPTION]...\n"
    "Time robust aggregation of n updates of d parameters. floor_ms is the time that reading\n"
    "the updates and writing the aggregate once takes at the read bandwidth measured here.\n"
    "  --n 16,64            numbers of updates\n"
    "  --d 100000,1000000   numbers of parameters\n"
    "  --rules a,b          what to time (all)\n"
    "  --threads 2          of each rank\n"
    "  --repeats 9          timed calls, after one to warm up\n"
    "  --csv FILE, --json FILE   the table for machines\n"
    "  --peer COMMAND       another library beside it, with one rank only\n"
    "kernels: mean, trimmed-mean, median, meamed, phocas, distances, norms\n"
    "whole rules: krum, multi-krum, geometric-median, centered-clipping, caf, dnc, bulyan,\n"
    "       nnm+trimmed-mean, nnm+median\n"
    "--peer runs COMMAND RULE N D THREADS, which prints its median and least milliseconds;\n"
    "       'PYTHON bench/peer_aggregate.py' measures ByzFL\n";

static size_t parse_list(const char *text, uint64_t most, uint64_t values[LIST_MAX])
{
    size_t count = 0;
    while (count < LIST_MAX) {
        char *end;
        unsigned long long value = strtoull(text, &end, 10);
        if (end == text || value < 1 || value > most || (*end && *end != ',')) {
            return 0;
        }
        values[count++] = value;
        if (!*end) {
            return count;
        }
        text = end + 1;
    }
    return 0;
}

static bool parse(int argc, char **argv, aggregate_options *o)
{
    static const struct option names[] = {
        {"n", required_argument, NULL, 'n'},       {"d", required_argument, NULL, 'd'},
        {"rules", required_argument, NULL, 'r'},   {"threads", required_argument, NULL, 't'},
        {"repeats", required_argument, NULL, 'k'}, {"csv", required_argument, NULL, 'c'},
        {"json", required_argument, NULL, 'j'},    {"peer", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    uint64_t one[LIST_MAX];
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        bool good = true;
        switch (option) {
        case 'n':
            good = (o->row_count_count = parse_list(optarg, CSL_ROWS_MAX, o->row_counts)) > 0;
            break;
        case 'd':
            good = (o->count_count = parse_list(optarg, (uint64_t)1 << 40, o->counts)) > 0;
            break;
        case 't':
            good = parse_list(optarg, CSL_THREADS_MAX, one) == 1;
            o->threads = one[0];
            break;
        case 'k':
            good = parse_list(optarg, REPEATS_MAX, one) == 1;
            o->repeats = one[0];
            break;
        case 'r':
            o->rules = optarg;
            break;
        case 'c':
            o->csv = optarg;
            break;
        case 'j':
            o->json = optarg;
            break;
        case 'p':
            o->peer = optarg;
            break;
        case 'h':
            o->help = true;
            break;
        default:
            good = false;
        }
        if (!good) {
            return false;
        }
    }
    return optind == argc;
}

/* Is `name` one of the comma-separated rules? */
static bool asked_for(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || !at[length])) {
            return true;
        }
    }
    return false;
}

static bool rules_exist(const char *list)
{
    size_t asked = 1;
    size_t found = 0;
    for (const char *at = list; *at; at++) {
        asked += *at == ',';
    }
    for (size_t r = 0; r < RULE_COUNT; r++) {
        found += asked_for(list, rules_[r].name);
    }
    return asked == found;
}

/* Bytes per second of summing one array much larger than the caches. */
static double read_bandwidth(const float *memory, size_t count, int threads)
{
    double best = 0.0;
    volatile uint32_t sink = 0;
    for (int repeat = 0; repeat < 7; repeat++) {
        double start = csl_bench_seconds();
        uint32_t sum = 0;
#pragma omp parallel for reduction(+ : sum) num_threads(threads) schedule(static)
        for (size_t block = 0; block < count / 4096; block++) {
            uint32_t part = 0;
            for (size_t j = block * 4096; j < (block + 1) * 4096; j++) {
                uint32_t bits;
                memcpy(&bits, memory + j, sizeof bits);
                part += bits;
            }
            sum += part;
        }
        sink = sink + sum;
        double seconds = csl_bench_seconds() - start;
        best = fmax(best, (double)(count / 4096 * 4096 * sizeof(float)) / seconds);
    }
    return best;
}

static void fill(float *values, size_t count, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < count; i++) { /* splitmix64; the sum of two parts is roughly normal */
        uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        values[i] = (float)((double)(uint32_t)z + (double)(z >> 32) - 0x1p32) * 0x1p-31F;
    }
}

/* Median and least milliseconds that the peer prints, NAN where it fails. */
static void ask_peer(const aggregate_options *o,
                     const char *rule,
                     const aggregate_case *c,
                     double *median_out,
                     double *least_out)
{
    char command[4096];
    char line[256];
    int length = snprintf(command, sizeof command, "%s %s %u %zu %u", o->peer, rule, c->row_count,
                          c->count, (unsigned)o->threads);
    FILE *stream = length > 0 && (size_t)length < sizeof command ? popen(command, "r") : NULL;
    if (!stream) {
        return;
    }
    if (fgets(line, sizeof line, stream)) {
        char *end;
        double median = strtod(line, &end);
        double least = strtod(end, NULL);
        if (end != line && median > 0.0 && least > 0.0) {
            *median_out = median;
            *least_out = least;
        }
    }
    pclose(stream);
}

/* Milliseconds from the start of all ranks to the end of the last one. */
static csl_status time_once(const aggregate_rule *rule, aggregate_case *c, double *time_out)
{
    CSL_TRY(csl_agree(c->communicator, CSL_OK));
    double start = csl_bench_seconds();
    CSL_TRY(csl_agree(c->communicator, rule->run(c)));
    *time_out = 1e3 * (csl_bench_seconds() - start);
    return CSL_OK;
}

static csl_status measure(const aggregate_options *o,
                          const aggregate_rule *rule,
                          aggregate_case *c,
                          double bandwidth,
                          csl_bench_report *report)
{
    double times[REPEATS_MAX];
    uint32_t ranks = csl_communicator_size(c->communicator);
    c->name = rule->name;
    CSL_TRY(time_once(rule, c, &times[0])); /* warm-up */
    for (uint64_t k = 0; k < o->repeats; k++) {
        CSL_TRY(time_once(rule, c, &times[k]));
    }
    csl_bench_statistics s = csl_bench_summarise(times, o->repeats);
    double traffic = 4.0 * ((double)c->row_count + rule->writes_row) * (double)c->total;
    double peer_median = NAN;
    double peer_least = NAN;
    if (o->peer && ranks == 1) {
        ask_peer(o, rule->name, c, &peer_median, &peer_least);
    }
    const csl_bench_cell cells[] = {{rule->name, 0, 0},
                                    {NULL, c->row_count, 0},
                                    {NULL, (double)c->total, 0},
                                    {NULL, (double)o->threads, 0},
                                    {NULL, s.median, 3},
                                    {NULL, s.least, 3},
                                    {NULL, 1e3 * traffic / bandwidth, 3},
                                    {NULL, 1e-6 * traffic / s.least, 2},
                                    {NULL, 1e-9 * bandwidth, 2},
                                    {NULL, peer_median, 3},
                                    {NULL, peer_least, 3},
                                    {NULL, peer_least / s.least, 1},
                                    {NULL, ranks, 0}};
    csl_bench_report_row(report, cells);
    return CSL_OK;
}

/* Rows of this rank's coordinates, and the sum of the ranks' read bandwidths. */
static csl_status
fill_rows(const aggregate_options *o, aggregate_case *c, float *memory, double *bandwidth_out)
{
    size_t values = (size_t)c->row_count * c->count;
    fill(memory, values, (int)o->threads);
    for (uint32_t i = 0; i < c->row_count; i++) {
        c->rows[i] = memory + i * c->count;
    }
    CSL_TRY(csl_agree(c->communicator, CSL_OK));
    int64_t megabytes = (int64_t)(1e-6 * read_bandwidth(memory, values, (int)o->threads));
    CSL_TRY(csl_sum_integers(c->communicator, &megabytes, 1));
    *bandwidth_out = 1e6 * (double)megabytes;
    return CSL_OK;
}

static csl_status
measure_shape(const aggregate_options *o, aggregate_case *c, csl_bench_report *report)
{
    csl_sharding sharding = {.total = c->total,
                             .rank_count = csl_communicator_size(c->communicator)};
    csl_coordinate_shard own = csl_shard_of(&sharding, csl_communicator_rank(c->communicator));
    c->begin = own.begin;
    c->count = own.count;
    size_t values = (size_t)c->row_count * c->count;
    size_t size = (values * sizeof(float) / HUGE_PAGE + 1) * HUGE_PAGE;
    float *memory = aligned_alloc(HUGE_PAGE, size);
    c->rows = malloc(c->row_count * sizeof *c->rows);
    c->out = malloc(c->count * sizeof *c->out + 1);
    c->sums = calloc(csl_product_count(c->row_count, c->row_count), sizeof *c->sums);
    csl_status status = CSL_OK;
    if (!memory || !c->rows || !c->out || !c->sums) {
        status = csl_fail(CSL_E_NO_MEMORY, "bench aggregate: no memory for %u rows of %zu",
                          c->row_count, c->count);
    }
    status = csl_agree(c->communicator, status);
    if (status == CSL_OK) {
        double bandwidth = 0;
        madvise(memory, size, MADV_HUGEPAGE);
        status = fill_rows(o, c, memory, &bandwidth);
        for (size_t r = 0; r < RULE_COUNT && status == CSL_OK; r++) {
            if (asked_for(o->rules, rules_[r].name)) {
                status = measure(o, &rules_[r], c, bandwidth, report);
            }
        }
    }
    free(memory);
    free(c->rows);
    free(c->out);
    free(c->sums);
    return status;
}

static csl_status
measure_all(const aggregate_options *o, csl_communicator *communicator, csl_bench_report *report)
{
    aggregate_case c = {.communicator = communicator};
    csl_status opened = csl_device_open("host", (uint32_t)o->threads, &c.device);
    CSL_TRY(csl_agree(communicator, opened));
    c.kernels = csl_device_kernels(c.device);
    csl_bench_report_note(report, "device", "%s", csl_device_get_info(c.device)->description);
    csl_bench_report_note(report, "instruction_set", "%s", csl_instruction_set_name());
    csl_status status = CSL_OK;
    for (size_t i = 0; i < o->row_count_count && status == CSL_OK; i++) {
        for (size_t k = 0; k < o->count_count && status == CSL_OK; k++) {
            c.row_count = (uint32_t)o->row_counts[i];
            c.total = (size_t)o->counts[k];
            status = measure_shape(o, &c, report);
        }
    }
    csl_device_close(c.device);
    return status;
}

csl_status csl_bench_aggregate(csl_communicator *communicator, int argc, char **argv, int *code_out)
{
    static const char *const columns[] = {"rule",        "n",
                                          "d",           "threads",
                                          "median_ms",   "min_ms",
                                          "floor_ms",    "bandwidth_gbs",
                                          "read_gbs",    "peer_median_ms",
                                          "peer_min_ms", "times_faster",
                                          "ranks",       NULL};
    aggregate_options o = {.rules = "mean,trimmed-mean,median,meamed,phocas,distances,norms,krum,"
                                    "multi-krum,geometric-median,centered-clipping,caf,dnc,bulyan,"
                                    "nnm+trimmed-mean,nnm+median",
                           .row_counts = {16, 64},
                           .row_count_count = 2,
                           .counts = {100000, 1000000},
                           .count_count = 2,
                           .threads = 2,
                           .repeats = 9};
    bool first = csl_communicator_rank(communicator) == 0;
    opterr = first;
    bool good = parse(argc, argv, &o) && rules_exist(o.rules);
    if (!good || o.help) {
        if (first) {
            fputs(usage_, good ? stdout : stderr);
        }
        *code_out = good ? 0 : 2;
        return CSL_OK;
    }
    csl_bench_report *report = csl_bench_report_create("aggregate", columns);
    csl_status status = report ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "bench aggregate: no memory");
    status = csl_agree(communicator, status);
    if (status == CSL_OK) {
        status = measure_all(&o, communicator, report);
    }
    if (status == CSL_OK && first) {
        csl_bench_report_print(report, stdout);
        int failed =
            csl_bench_report_write_csv(report, o.csv) | csl_bench_report_write_json(report, o.json);
        *code_out = failed ? 1 : 0;
    }
    csl_bench_report_destroy(report);
    return status;
}
