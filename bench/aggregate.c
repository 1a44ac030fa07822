/*
 * consilium bench aggregate: rules of robust aggregation, with what comes before them, and single
 * kernels, against the machine's read bandwidth and, with --peer, against another library on rows
 * of the same kind in the same run. Under mpirun every rank holds its coordinates of all rows, as
 * in a run, and a time is that from all ranks' start to the end of the last one.
 *
 * A rule is csl_aggregate: the refusal of rows that are not finite, every pass, its control and the
 * selection report. floor_ms is the time that the bytes of robust aggregation's traffic table take
 * at the measured read bandwidth: the rows once where something is measured on them, once more
 * those that the aggregate is made of, and the aggregate written. arithmetic_ms is the time of the
 * subtractions and multiply-adds of pairs of rows at the measured peak.
 */
#include "aggregate_case.h"
#include "bench_options.h"
#include "bench_support.h"

#include <consilium/bench.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

csl_status
csl_bench_aggregate(csl_communicator *communicator, int argc, char **argv, int *code_out);

enum { LIST_MAX = 16, RULES_MAX = 96, REPEATS_MAX = 64, HUGE_PAGE = 1 << 21 };

static const char common_[] =
    "mean,trimmed-mean,median,meamed,phocas,krum,multi-krum,bulyan,geometric-median,"
    "centered-clipping,caf,dnc,nnm+mean,nnm+krum,nnm+trimmed-mean,nnm+median,"
    "kernel:trimmed-mean,kernel:distances,kernel:norms";

typedef struct aggregate_options {
    bool help;
    const char *rules;
    const char *device;
    const char *peer;
    const char *csv;
    const char *json;
    uint64_t row_counts[LIST_MAX];
    uint64_t counts[LIST_MAX];
    size_t row_count_count;
    size_t count_count;
    uint64_t threads;
    uint64_t repeats;
    size_t work_count;
    char names[RULES_MAX][CSL_NAME_MAX];
    csl_aggregate_work *work[RULES_MAX];
} aggregate_options;

/* What the machine can do: all ranks together. */
typedef struct machine_limits {
    double bandwidth;     /* bytes a second */
    double multiply_adds; /* a second, float32 */
    double differences;   /* a second, float32, squared and added to a sum */
} machine_limits;

static const char usage_[] =
    "Usage: [mpirun -n RANKS] consilium bench aggregate [OPTION]...\n"
    "Time robust aggregation of n updates of d parameters, and check the aggregates.\n"
    "  --n 16,64            numbers of updates\n"
    "  --d 100000,1000000   numbers of parameters\n"
    "  --rules a,b          what to time: 'RULE' or 'PRE+RULE' as consilium aggregate --list "
    "names\n"
    "                       them, 'kernel:NAME', or 'all' for every rule (a choice of them)\n"
    "  --device host        or host:guard, cuda:N\n"
    "  --threads 2          of each rank\n"
    "  --repeats 9          timed calls, after one to warm up\n"
    "  --csv FILE, --json FILE   the table for machines\n"
    "  --peer COMMAND       another library beside it, with one rank only\n"
    "kernels: mean, weighted-mean, trimmed-mean, median, meamed, phocas, sign-majority,\n"
    "  statistics, sign-filter, norms, distances, products, geometry, mix, gather\n"
    "floor_ms is the least time for the bytes that have to be read and written, at the read\n"
    "bandwidth measured here; arithmetic_ms that for the arithmetic on pairs of rows. f is\n"
    "(n - 3) / 4, or the most that a rule allows.\n"
    "--peer runs COMMAND RULE N D THREADS, which prints its median and least milliseconds;\n"
    "       'PYTHON bench/peer_aggregate.py' measures ByzFL\n";

/* Whole numbers from 1 to `most`. 0, or the exit code after a message. */
static int take_list(const csl_bench_command *command,
                     const char *option,
                     uint64_t most,
                     uint64_t values[LIST_MAX],
                     size_t *count_out)
{
    const char *text = optarg;
    for (size_t count = 0; count < LIST_MAX;) {
        char *end = NULL;
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || errno == ERANGE || value < 1 || value > most ||
            (*end && *end != ',')) {
            break;
        }
        values[count++] = value;
        if (!*end) {
            *count_out = count;
            return 0;
        }
        text = end + 1;
    }
    return csl_bench_usage_error(
        command, "--%s: expected up to %d whole numbers from 1 to %llu, as in 16,64, found '%s'",
        option, LIST_MAX, (unsigned long long)most, optarg);
}

static int take_option(const csl_bench_command *command, int option, void *context)
{
    aggregate_options *o = context;
    switch (option) {
    case 'n':
        return take_list(command, "n", CSL_ROWS_MAX, o->row_counts, &o->row_count_count);
    case 'd':
        return take_list(command, "d", (uint64_t)1 << 40, o->counts, &o->count_count);
    case 't':
        return csl_bench_take_count(command, "threads", optarg, CSL_THREADS_MAX, &o->threads);
    case 'k':
        return csl_bench_take_count(command, "repeats", optarg, REPEATS_MAX, &o->repeats);
    case 'r':
        o->rules = optarg;
        break;
    case 'v':
        return csl_bench_take_device(command, optarg, &o->device);
    case 'c':
        o->csv = optarg;
        break;
    case 'j':
        o->json = optarg;
        break;
    case 'p':
        o->peer = optarg;
        break;
    default:
        o->help = true;
    }
    return 0;
}

/* 0, or the exit code after a message of the rank that speaks. */
static int parse(int argc, char **argv, bool speaks, aggregate_options *o)
{
    static const struct option names[] = {{"n", required_argument, NULL, 'n'},
                                          {"d", required_argument, NULL, 'd'},
                                          {"rules", required_argument, NULL, 'r'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"repeats", required_argument, NULL, 'k'},
                                          {"csv", required_argument, NULL, 'c'},
                                          {"json", required_argument, NULL, 'j'},
                                          {"peer", required_argument, NULL, 'p'},
                                          {"device", required_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const csl_bench_command command = {"aggregate", speaks, names};
    return csl_bench_parse(&command, argc, argv, take_option, o);
}

static csl_status add_name(aggregate_options *o, const char *name, size_t length)
{
    if (o->work_count == RULES_MAX || length == 0 || length >= CSL_NAME_MAX) {
        return csl_fail(CSL_E_RANGE,
                        "--rules: expected at most %d names of 1 to %d characters, found '%.80s'",
                        RULES_MAX, CSL_NAME_MAX - 1, o->rules);
    }
    memcpy(o->names[o->work_count], name, length);
    o->work_count++;
    return CSL_OK;
}

static csl_status choose_rules(aggregate_options *o)
{
    if (strcmp(o->rules, "all") == 0) {
        size_t count = 0;
        const csl_rule_info *rules = csl_rules(&count);
        for (size_t i = 0; i < count; i++) {
            CSL_TRY(add_name(o, rules[i].name, strlen(rules[i].name)));
        }
    } else {
        const char *at = o->rules;
        for (size_t length = 0; at; at = at[length] ? at + length + 1 : NULL) {
            length = strcspn(at, ",");
            CSL_TRY(add_name(o, at, length));
        }
    }
    for (size_t r = 0; r < o->work_count; r++) {
        CSL_TRY(csl_aggregate_work_create(o->names[r], &o->work[r]));
    }
    return CSL_OK;
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
                     const csl_aggregate_case *c,
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
    bool answered = fgets(line, sizeof line, stream) != NULL;
    if (answered) {
        char *end;
        double median = strtod(line, &end);
        double least = strtod(end, NULL);
        if (end != line && median > 0.0 && least > 0.0) {
            *median_out = median;
            *least_out = least;
        }
    }
    if (pclose(stream) != 0 || !answered) {
        fprintf(stderr, "bench aggregate: the peer has no times for %s: '%s' failed\n", rule,
                command);
    }
}

/* Milliseconds from the start of all ranks to the end of the last one. */
static csl_status time_once(const csl_aggregate_work *work, csl_aggregate_case *c, double *time_out)
{
    CSL_TRY(csl_agree(c->communicator, CSL_OK));
    double start = csl_bench_seconds();
    csl_status status = csl_aggregate_work_run(work, c);
    CSL_TRY(csl_agree(c->communicator, status == CSL_OK ? csl_device_sync(c->device) : status));
    *time_out = 1e3 * (csl_bench_seconds() - start);
    return CSL_OK;
}

static csl_status measure(const aggregate_options *o,
                          size_t index,
                          const machine_limits *machine,
                          csl_aggregate_case *c,
                          csl_bench_report *report)
{
    csl_aggregate_work *work = o->work[index];
    double times[REPEATS_MAX];
    uint32_t f = 0;
    uint32_t ranks = csl_communicator_size(c->communicator);
    if (!csl_aggregate_work_suits(work, c->row_count, &f)) {
        return CSL_OK;
    }
    CSL_TRY(time_once(work, c, &times[0])); /* warm-up */
    CSL_TRY(csl_agree(c->communicator, csl_aggregate_work_check(work, c)));
    for (uint64_t k = 0; k < o->repeats; k++) {
        CSL_TRY(time_once(work, c, &times[k]));
    }
    csl_bench_statistics s = csl_bench_summarise(times, o->repeats);
    csl_aggregate_floor floor = csl_aggregate_work_floor(work, c);
    double arithmetic = 1e3 * (floor.multiply_adds / machine->multiply_adds +
                               floor.differences / machine->differences);
    double peer_median = NAN;
    double peer_least = NAN;
    if (o->peer && ranks == 1) {
        ask_peer(o, o->names[index], c, &peer_median, &peer_least);
    }
    const csl_bench_cell cells[] = {{o->names[index], 0, 0},
                                    {NULL, c->row_count, 0},
                                    {NULL, (double)c->total, 0},
                                    {NULL, (double)o->threads, 0},
                                    {NULL, s.median, 3},
                                    {NULL, s.least, 3},
                                    {NULL, 1e3 * floor.bytes / machine->bandwidth, 3},
                                    {NULL, arithmetic > 0 ? arithmetic : (double)NAN, 3},
                                    {NULL, 1e-6 * floor.bytes / s.least, 2},
                                    {NULL, 1e-9 * machine->bandwidth, 2},
                                    {NULL, peer_median, 3},
                                    {NULL, peer_least, 3},
                                    {NULL, peer_least / s.least, 1},
                                    {NULL, f, 0},
                                    {NULL, ranks, 0}};
    csl_bench_report_row(report, cells);
    return CSL_OK;
}

/* Rows of this rank's coordinates, on the device. */
static csl_status
fill_rows(const aggregate_options *o, csl_aggregate_case *c, float *memory, float *on_device)
{
    size_t values = (size_t)c->row_count * c->count;
    fill(memory, values, (int)o->threads);
    for (uint32_t i = 0; i < c->row_count; i++) {
        c->rows[i] = on_device + i * c->count;
    }
    for (size_t k = 0; k < (size_t)c->row_count * c->row_count; k++) {
        c->mix[k] = (double)memory[k % (values ? values : 1)];
    }
    return on_device == memory ? CSL_OK
                               : csl_device_copy(c->device, on_device, memory,
                                                 values * sizeof(float), CSL_COPY_TO_DEVICE);
}

static csl_status measure_rules(const aggregate_options *o,
                                const machine_limits *machine,
                                csl_aggregate_case *c,
                                csl_bench_report *report)
{
    for (size_t r = 0; r < o->work_count; r++) {
        void *many = NULL;
        if (csl_aggregate_work_wants_many(o->work[r])) {
            size_t size = (size_t)c->row_count * c->count * sizeof(float);
            CSL_TRY(csl_agree(c->communicator, csl_device_alloc(c->device, size, &many)));
        }
        c->many = many;
        csl_status status = measure(o, r, machine, c, report);
        csl_device_free(c->device, many);
        CSL_TRY(status);
    }
    return CSL_OK;
}

/* Memory for the rows, in large pages, and for all that is measured on them. */
typedef struct bench_memory {
    float *rows;  /* host */
    void *device; /* the same on a card; NULL on the host, which has them already */
    void *out;
    const float **pointers;
    const float **see;
} bench_memory;

static csl_status allocate(csl_aggregate_case *c, bench_memory *m)
{
    uint32_t n = c->row_count;
    size_t values = (size_t)n * c->count;
    size_t size = (values * sizeof(float) / HUGE_PAGE + 1) * HUGE_PAGE;
    bool card = csl_bench_is_card(c->device);
    m->rows = aligned_alloc(HUGE_PAGE, size);
    m->pointers = malloc(n * sizeof *m->pointers);
    m->see = malloc(n * sizeof *m->see);
    c->sums = calloc(csl_product_count(n, n) + csl_pair_count(n, n) + n, sizeof *c->sums);
    c->gathered = malloc((size_t)n * CSL_GATHER_COUNT * sizeof *c->gathered);
    c->mix = malloc((size_t)n * n * sizeof *c->mix);
    if (!m->rows || !m->pointers || !m->see || !c->sums || !c->gathered || !c->mix) {
        return csl_fail(CSL_E_NO_MEMORY, "bench aggregate: no memory for %u rows of %zu", n,
                        c->count);
    }
    madvise(m->rows, size, MADV_HUGEPAGE);
    for (uint32_t i = 0; i < n; i++) {
        m->see[i] = m->rows + i * c->count;
    }
    c->rows = m->pointers;
    c->see = m->see;
    CSL_TRY(csl_device_alloc(c->device, c->count * sizeof(float), &m->out));
    c->out = m->out;
    return card ? csl_device_alloc(c->device, values * sizeof(float), &m->device) : CSL_OK;
}

static csl_status measure_shape(const aggregate_options *o,
                                const machine_limits *machine,
                                csl_aggregate_case *c,
                                csl_bench_report *report)
{
    csl_sharding sharding = {.total = c->total,
                             .rank_count = csl_communicator_size(c->communicator)};
    csl_coordinate_shard own = csl_shard_of(&sharding, csl_communicator_rank(c->communicator));
    bench_memory memory = {0};
    c->begin = own.begin;
    c->count = own.count;
    csl_status status = csl_agree(c->communicator, allocate(c, &memory));
    if (status == CSL_OK) {
        status = csl_agree(
            c->communicator,
            fill_rows(o, c, memory.rows, memory.device ? (float *)memory.device : memory.rows));
    }
    if (status == CSL_OK) {
        status = measure_rules(o, machine, c, report);
    }
    csl_aggregate_report_destroy(c->report);
    c->report = NULL;
    csl_device_free(c->device, memory.device);
    csl_device_free(c->device, memory.out);
    free(memory.rows);
    free(memory.pointers);
    free(memory.see);
    free(c->sums);
    free(c->gathered);
    free(c->mix);
    return status;
}

/* Which rules take which numbers of updates: said of each that does not, and refused where nothing
 * is left to time. */
static csl_status check_counts(const aggregate_options *o, bool first)
{
    size_t suited = 0;
    for (size_t i = 0; i < o->row_count_count; i++) {
        for (size_t r = 0; r < o->work_count; r++) {
            uint32_t f = 0;
            bool suits = csl_aggregate_work_suits(o->work[r], (uint32_t)o->row_counts[i], &f);
            suited += suits;
            if (!suits && first) {
                fprintf(stderr, "bench aggregate: not timed: %s\n", csl_error_message());
            }
        }
    }
    return suited > 0 ? CSL_OK : csl_fail(CSL_E_RANGE, "--rules and --n leave nothing to time");
}

/* What the options name. Collective. */
static csl_status choose_work(aggregate_options *o, csl_communicator *communicator)
{
    csl_status status = choose_rules(o);
    if (status == CSL_OK) {
        status = check_counts(o, csl_communicator_rank(communicator) == 0);
    }
    return csl_agree(communicator, status);
}

/* The sum over the ranks, which measure at the same time: they share the machine. */
static csl_status
measure_machine(const aggregate_options *o, csl_aggregate_case *c, machine_limits *machine_out)
{
    bool card = csl_bench_is_card(c->device);
    double bandwidth = 0;
    CSL_TRY(csl_agree(c->communicator, CSL_OK));
    CSL_TRY(csl_bench_device_bandwidth(c->device, &bandwidth));
    double peak = card ? 0 : csl_bench_peak_flops((uint32_t)o->threads);
    double differences = card ? 0 : csl_bench_peak_differences((uint32_t)o->threads);
    int64_t sums[] = {(int64_t)(1e-6 * bandwidth), (int64_t)(1e-6 * peak),
                      (int64_t)(1e-6 * differences)};
    CSL_TRY(csl_sum_integers(c->communicator, sums, 3));
    machine_out->bandwidth = 1e6 * (double)sums[0];
    machine_out->multiply_adds = card ? NAN : 0.5e6 * (double)sums[1];
    machine_out->differences = card ? NAN : 1e6 * (double)sums[2];
    return CSL_OK;
}

static csl_status
measure_all(const aggregate_options *o, csl_communicator *communicator, csl_bench_report *report)
{
    csl_aggregate_case c = {.communicator = communicator};
    machine_limits machine = {0};
    csl_status opened = csl_device_open(o->device, (uint32_t)o->threads, &c.device);
    CSL_TRY(csl_agree(communicator, opened));
    c.kernels = csl_device_kernels(c.device);
    csl_bench_report_note(report, "device", "%s", csl_device_get_info(c.device)->description);
    csl_bench_report_note(report, "instruction_set", "%s", csl_instruction_set_name());
    csl_status status = csl_agree(communicator, measure_machine(o, &c, &machine));
    if (status == CSL_OK) {
        csl_bench_report_note(report, "read_bandwidth_gbs", "%.2f", 1e-9 * machine.bandwidth);
        csl_bench_report_note(report, "peak_gflops", "%.1f", 2e-9 * machine.multiply_adds);
        csl_bench_report_note(report, "peak_gdifferences", "%.1f", 1e-9 * machine.differences);
    }
    for (size_t i = 0; i < o->row_count_count && status == CSL_OK; i++) {
        for (size_t k = 0; k < o->count_count && status == CSL_OK; k++) {
            c.row_count = (uint32_t)o->row_counts[i];
            c.total = (size_t)o->counts[k];
            status = measure_shape(o, &machine, &c, report);
        }
    }
    csl_device_close(c.device);
    return status;
}

static csl_status run(aggregate_options *o, csl_communicator *communicator)
{
    static const char *const columns[] = {"rule",
                                          "n",
                                          "d",
                                          "threads",
                                          "median_ms",
                                          "min_ms",
                                          "floor_ms",
                                          "arithmetic_ms",
                                          "bandwidth_gbs",
                                          "read_gbs",
                                          "peer_median_ms",
                                          "peer_min_ms",
                                          "times_faster",
                                          "f",
                                          "ranks",
                                          NULL};
    csl_bench_report *report = csl_bench_report_create("aggregate", columns);
    bool first = csl_communicator_rank(communicator) == 0;
    csl_status status = report ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "bench aggregate");
    status = status == CSL_OK && first ? csl_bench_report_check(o->csv, o->json) : status;
    status = csl_agree(communicator, status);
    if (status == CSL_OK) {
        status = measure_all(o, communicator, report);
    }
    if (status == CSL_OK) {
        csl_status written = CSL_OK;
        if (first) {
            csl_bench_report_print(report, stdout);
            written = csl_bench_report_write(report, o->csv, o->json);
        }
        status = csl_agree(communicator, written);
    }
    csl_bench_report_destroy(report);
    return status;
}

csl_status csl_bench_aggregate(csl_communicator *communicator, int argc, char **argv, int *code_out)
{
    bool first = csl_communicator_rank(communicator) == 0;
    aggregate_options *o = calloc(1, sizeof *o);
    csl_status status =
        csl_agree(communicator, o ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "bench aggregate"));
    if (status != CSL_OK) {
        free(o);
        return status;
    }
    *o = (aggregate_options){.rules = common_,
                             .device = "host",
                             .row_counts = {16, 64},
                             .row_count_count = 2,
                             .counts = {100000, 1000000},
                             .count_count = 2,
                             .threads = 2,
                             .repeats = 9};
    *code_out = parse(argc, argv, first, o);
    if (*code_out == 0 && o->help) {
        fputs(first ? usage_ : "", stdout);
    } else if (*code_out == 0) {
        status = choose_work(o, communicator);
        *code_out = status == CSL_E_NOT_FOUND || status == CSL_E_RANGE ? 2 : 0;
        status = status == CSL_OK ? run(o, communicator) : status;
        for (size_t r = 0; r < o->work_count; r++) {
            csl_aggregate_work_destroy(o->work[r]);
        }
    }
    free(o);
    return status;
}
