/*
 * bench kernels: every operation of networks, on one device, against what the machine can do: the
 * bytes that it has to move at the measured read bandwidth, and its multiply-adds at the measured
 * peak. With PyTorch, the same operations on the same sizes in the same run.
 */
#include "bench_options.h"
#include "bench_support.h"
#include "kernel_case.h"
#include "peer.h"
#include "suites.h"

#include <consilium/text.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const char csl_bench_peer_kernels_script[]; /* bench/peer_kernels.py */

enum { CALLS_MAX = 100000, CALLS_MIN = 3, WINDOW_MAX = 15, EXTENT_MAX = 512 };

typedef struct kernels_options {
    const char *device;
    const char *only; /* NULL: all */
    const char *peer; /* NULL: python3 if it has torch; "none" */
    const char *csv;
    const char *json;
    csl_kernel_sizes sizes;
    uint32_t threads;
    double seconds; /* of each operation and program */
} kernels_options;

static const char usage[] =
    "Usage: consilium bench kernels [OPTION]...\n"
    "Time every operation of networks on maps of BATCH x CHANNELS x EXTENT x EXTENT, on vectors "
    "of\n"
    "as many values, and, where they are of layers and losses, of 1024 features and 1000 classes.\n"
    "  --only a,b           these operations alone (their names stand in the table)\n"
    "  --batch 128 --channels 64 --extent 28\n"
    "  --window 3           edge of the convolution's kernel, odd\n"
    "  --device host        or host:guard, cuda:N\n"
    "  --threads 2\n"
    "  --seconds 0.3        for each operation\n"
    "  --peer PYTHON|none   PyTorch beside it; without this option python3, if it has one\n"
    "  --csv FILE, --json FILE   the table for machines\n"
    "      --help           this text\n\n"
    "floor_ms is the least time for the bytes that have to be read and written, at the read\n"
    "bandwidth of memory measured here: arrays that a cache holds may take less. arithmetic_ms is\n"
    "that for the multiply-adds at the measured peak. x_floor is min_ms over the larger of them.\n";

static int
take_count(const csl_bench_command *command, const char *option, uint64_t most, uint32_t *value_out)
{
    uint64_t value = 0;
    int code = csl_bench_take_count(command, option, optarg, most, &value);
    *value_out = (uint32_t)value;
    return code;
}

/* --only: names of operations. 0, or the exit code after a message. */
static int take_names(const csl_bench_command *command, const char *list)
{
    const char *names[128] = {NULL};
    size_t count = 0;
    for (const csl_kernel_case *k = csl_kernel_cases; k->name; k++) {
        names[count] = k->name;
        count += k->run != NULL;
    }
    names[count] = NULL;
    for (const char *at = list; at;) {
        char name[CSL_NAME_MAX];
        size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < CSL_NAME_MAX ? length : CSL_NAME_MAX),
                 at);
        bool known = false;
        for (size_t k = 0; k < count; k++) {
            known = known || strcmp(name, names[k]) == 0;
        }
        if (!known) {
            const char *nearest = csl_nearest_name(name, names);
            return nearest
                       ? csl_bench_usage_error(command,
                                               "--only: unknown operation '%s'; did you mean '%s'?",
                                               name, nearest)
                       : csl_bench_usage_error(command, "--only: unknown operation '%s'", name);
        }
        at = at[length] ? at + length + 1 : NULL;
    }
    return 0;
}

static int take_option(const csl_bench_command *command, int option, void *context)
{
    kernels_options *o = context;
    int code = 0;
    switch (option) {
    case 'o':
        o->only = optarg;
        return take_names(command, optarg);
    case 'b':
        return take_count(command, "batch", CSL_BATCH_MAX, &o->sizes.batch);
    case 'n':
        return take_count(command, "channels", CSL_CHANNELS_MAX, &o->sizes.channels);
    case 'e':
        code = take_count(command, "extent", EXTENT_MAX, &o->sizes.extent);
        return code == 0 && o->sizes.extent < 2
                   ? csl_bench_usage_error(command, "--extent: expected at least 2, found 1")
                   : code;
    case 'w':
        code = take_count(command, "window", WINDOW_MAX, &o->sizes.window);
        return code == 0 && o->sizes.window % 2 == 0
                   ? csl_bench_usage_error(command, "--window: expected an odd number, found %u",
                                           o->sizes.window)
                   : code;
    case 'd':
        return csl_bench_take_device(command, optarg, &o->device);
    case 't':
        return take_count(command, "threads", CSL_THREADS_MAX, &o->threads);
    case 's':
        return csl_bench_take_seconds(command, optarg, &o->seconds);
    case 'p':
        o->peer = optarg;
        break;
    case 'c':
        o->csv = optarg;
        break;
    case 'j':
        o->json = optarg;
        break;
    default:
        fputs(usage, stdout);
        return -1;
    }
    return 0;
}

/* 0, or the exit code: 2 after a message, -1 after --help. */
static int parse_options(int argc, char **argv, kernels_options *o)
{
    static const struct option options[] = {{"only", required_argument, NULL, 'o'},
                                            {"batch", required_argument, NULL, 'b'},
                                            {"channels", required_argument, NULL, 'n'},
                                            {"extent", required_argument, NULL, 'e'},
                                            {"window", required_argument, NULL, 'w'},
                                            {"device", required_argument, NULL, 'd'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"peer", required_argument, NULL, 'p'},
                                            {"csv", required_argument, NULL, 'c'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const csl_bench_command command = {"kernels", true, options};
    return csl_bench_parse(&command, argc, argv, take_option, o);
}

/* Whether the list "a,b" has this name. */
static bool is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0)) {
            return true;
        }
    }
    return false;
}

/* Milliseconds of calls during about so many seconds. */
static csl_status time_case(csl_kernel_bench *bench,
                            const csl_kernel_case *chosen,
                            double seconds,
                            csl_bench_statistics *statistics_out)
{
    double *times = malloc(CALLS_MAX * sizeof *times);
    if (!times) {
        return csl_fail(CSL_E_NO_MEMORY, "bench kernels");
    }
    size_t count = 0;
    csl_status status = CSL_OK;
    double start = csl_bench_seconds();
    double now = start;
    while (status == CSL_OK && count < CALLS_MAX && (count < CALLS_MIN || now - start < seconds)) {
        double begin = now;
        status = chosen->run(bench);
        if (status == CSL_OK) {
            status = csl_device_sync(bench->device);
        }
        now = csl_bench_seconds();
        times[count++] = 1e3 * (now - begin);
    }
    if (status == CSL_OK) {
        *statistics_out = csl_bench_summarise(times, count);
    }
    free(times);
    return status;
}

typedef struct machine_limits {
    double bandwidth; /* bytes a second */
    double peak;      /* floating-point operations a second; NAN: not known */
} machine_limits;

static csl_status measure(const kernels_options *o,
                          csl_kernel_bench *bench,
                          const csl_kernel_case *chosen,
                          const machine_limits *machine,
                          csl_bench_peer *peer,
                          csl_bench_report *report)
{
    csl_kernel_cost cost;
    csl_bench_statistics time;
    CSL_TRY(csl_kernel_bench_prepare(bench, chosen, &cost));
    CSL_TRY(time_case(bench, chosen, o->seconds, &time));
    double memory = cost.bytes > 0 ? 1e3 * cost.bytes / machine->bandwidth : NAN;
    double arithmetic = cost.operations > 0 ? 1e3 * cost.operations / machine->peak : NAN;
    double other = peer ? csl_bench_peer_run(peer, chosen->name, o->seconds) : NAN;
    const csl_bench_cell cells[] = {
        {chosen->name, 0, 0},
        {NULL, o->threads, 0},
        {NULL, time.median, 6},
        {NULL, time.least, 6},
        {NULL, memory, 4},
        {NULL, arithmetic, 4},
        {NULL, time.least / fmax(memory, arithmetic), 2},
        {NULL, cost.bytes > 0 ? 1e-6 * cost.bytes / time.least : NAN, 2},
        {NULL, cost.operations > 0 ? 1e-6 * cost.operations / time.least : NAN, 1},
        {NULL, other, 6},
        {NULL, other / time.least, 2},
    };
    csl_bench_report_row(report, cells);
    return CSL_OK;
}

static csl_status
start_peer(const kernels_options *o, csl_bench_report *report, csl_bench_peer **peer_out)
{
    *peer_out = NULL;
    if (o->peer && strcmp(o->peer, "none") == 0) {
        csl_bench_report_note(report, "no peer", "left out by --peer none");
        return CSL_OK;
    }
    const csl_kernel_sizes *s = &o->sizes;
    json_t *run =
        json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "batch", (int)s->batch, "channels",
                  (int)s->channels, "extent", (int)s->extent, "window", (int)s->window, "threads",
                  (int)o->threads, "features", CSL_BENCH_FEATURES, "classes", CSL_BENCH_CLASSES);
    *peer_out = csl_bench_peer_open(o->peer ? o->peer : "python3", csl_bench_peer_kernels_script,
                                    run, !o->peer);
    if (*peer_out) {
        csl_bench_report_note(report, "peer", "torch %s", csl_bench_peer_version(*peer_out));
    } else if (o->peer) {
        return csl_fail(CSL_E_NOT_FOUND, "bench: %s did not start with PyTorch", o->peer);
    } else {
        csl_bench_report_note(report, "no peer",
                              "python3 has no PyTorch; --peer PYTHON names another");
    }
    return CSL_OK;
}

static csl_status
measure_all(const kernels_options *o, csl_kernel_bench *bench, csl_bench_report *report)
{
    machine_limits machine = {.peak = NAN};
    CSL_TRY(csl_bench_device_bandwidth(bench->device, &machine.bandwidth));
    const csl_device_info *info = csl_device_get_info(bench->device);
    csl_bench_report_note(report, "device", "%s%s", info->description,
                          info->simulated ? " (simulated: its times say nothing)" : "");
    csl_bench_report_note(report, "sizes",
                          "maps of %u x %u x %u x %u, %zu values; convolutions of %u x %u, in "
                          "blocks of %u channels (0: channels last)",
                          o->sizes.batch, o->sizes.channels, o->sizes.extent, o->sizes.extent,
                          bench->count, o->sizes.window, o->sizes.window, bench->conv_spec.block);
    csl_bench_report_note(report, "read_bandwidth_gbs", "%.2f", 1e-9 * machine.bandwidth);
    if (!csl_bench_is_card(bench->device)) {
        machine.peak = csl_bench_peak_flops(o->threads);
        csl_bench_report_note(report, "peak_gflops", "%.1f float32 multiply-add, %u threads",
                              1e-9 * machine.peak, o->threads);
    }
    csl_bench_peer *peer = NULL;
    csl_status status = start_peer(o, report, &peer);
    for (const csl_kernel_case *k = csl_kernel_cases; k->name && status == CSL_OK; k++) {
        if (k->run && (!o->only || is_listed(o->only, k->name))) {
            status = measure(o, bench, k, &machine, peer, report);
        }
    }
    csl_bench_peer_stop(peer);
    return status;
}

int csl_bench_kernels(int argc, char **argv)
{
    static const char *const columns[] = {
        "operation", "threads",       "median_ms", "min_ms",      "floor_ms",     "arithmetic_ms",
        "x_floor",   "bandwidth_gbs", "gflops",    "peer_min_ms", "times_faster", NULL};
    kernels_options o = {.device = "host",
                         .sizes = {.batch = 128, .channels = 64, .extent = 28, .window = 3},
                         .threads = 2,
                         .seconds = 0.3};
    int code = parse_options(argc, argv, &o);
    if (code != 0) {
        return code < 0 ? 0 : code;
    }
    csl_bench_report *report = csl_bench_report_create("kernels", columns);
    csl_kernel_bench *bench = NULL;
    csl_status status = report ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "bench kernels");
    if (status == CSL_OK) {
        status = csl_bench_report_check(o.csv, o.json);
    }
    if (status == CSL_OK) {
        status = csl_kernel_bench_create(o.device, o.threads, &o.sizes, &bench);
    }
    if (status == CSL_OK) {
        status = measure_all(&o, bench, report);
    }
    if (status == CSL_OK) {
        csl_bench_report_print(report, stdout);
        status = csl_bench_report_write(report, o.csv, o.json);
    }
    if (status != CSL_OK) {
        fprintf(stderr, "consilium bench kernels: %s\n", csl_error_message());
    }
    csl_kernel_bench_destroy(bench);
    csl_bench_report_destroy(report);
    return status == CSL_OK ? 0 : 1;
}
