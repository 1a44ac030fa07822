/*
 * bench train: images per second of forward, backward and update through csl_trainer, interleaved
 * with PyTorch on the same network, batch and threads.
 */
#include "bench_options.h"
#include "bench_support.h"
#include "peer.h"
#include "suites.h"

#include <consilium/text.h>
#include <consilium/train.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 7, CLASSES = 10, BATCHES_STORED = 16 };

typedef struct train_arguments {
    const char *model;
    const char *norm;
    const char *peer; /* NULL: python3 if it has torch; "none" */
    const char *csv;
    const char *json;
    uint32_t batch;
    uint32_t threads;
    double seconds; /* of training per network and program */
} train_arguments;

static const char *const default_models[] = {"cnn-small", "resnet8-28", "mnist-example",
                                             "resnet18-28", NULL};

static const char usage[] =
    "Usage: consilium bench train [OPTION]...\n"
    "Images per second of training, on random images, beside PyTorch with the same network,\n"
    "batch and threads, the programs taking turns.\n\n"
    "  --model NAME|all    a network of the zoo (all: the four with a bound)\n"
    "  --norm group|batch  its normalisation (what the network has)\n"
    "  --batch N           images of one step (64)\n"
    "  --threads N         (2)\n"
    "  --seconds S         of training for each network and program (7)\n"
    "  --peer PYTHON|none  a Python with PyTorch (python3, if it has it)\n"
    "  --csv FILE, --json FILE   the table for machines\n"
    "      --help          this text\n";

static int take_model(const csl_bench_command *command, train_arguments *a)
{
    bool all = strcmp(optarg, "all") == 0;
    a->model = optarg;
    if (all || csl_model_zoo_text(optarg)) {
        return 0;
    }
    const char *nearest = csl_nearest_name(optarg, csl_model_zoo_names());
    return csl_bench_usage_error(command, "--model: there is no '%s'%s%s%s", optarg,
                                 nearest ? "; did you mean '" : "", nearest ? nearest : "",
                                 nearest ? "'?" : "");
}

static int take_option(const csl_bench_command *command, int option, void *context)
{
    train_arguments *a = context;
    uint64_t count = 0;
    int code = 0;
    switch (option) {
    case 'm':
        return take_model(command, a);
    case 'n':
        a->norm = optarg;
        return strcmp(optarg, "group") == 0 || strcmp(optarg, "batch") == 0
                   ? 0
                   : csl_bench_usage_error(command, "--norm: expected group or batch, found '%s'",
                                           optarg);
    case 'b':
        code = csl_bench_take_count(command, "batch", optarg, CSL_BATCH_MAX, &count);
        a->batch = (uint32_t)count;
        return code;
    case 't':
        code = csl_bench_take_count(command, "threads", optarg, CSL_THREADS_MAX, &count);
        a->threads = (uint32_t)count;
        return code;
    case 's':
        return csl_bench_take_seconds(command, optarg, &a->seconds);
    case 'p':
        a->peer = optarg;
        return 0;
    case 'c':
        a->csv = optarg;
        return 0;
    case 'j':
        a->json = optarg;
        return 0;
    default:
        fputs(usage, stdout);
        return -1;
    }
}

/* 0, or the exit code: 2 after a message, -1 after --help. */
static int parse_arguments(int argc, char **argv, train_arguments *a)
{
    static const struct option options[] = {
        {"model", required_argument, NULL, 'm'},   {"norm", required_argument, NULL, 'n'},
        {"batch", required_argument, NULL, 'b'},   {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'}, {"peer", required_argument, NULL, 'p'},
        {"csv", required_argument, NULL, 'c'},     {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    const csl_bench_command command = {"train", true, options};
    return csl_bench_parse(&command, argc, argv, take_option, a);
}

/* One network with its trainer and what it needs. */
typedef struct train_bench {
    csl_device *device;
    csl_model_spec *spec;
    csl_dataset *dataset;
    csl_trainer *trainer;
    csl_train_options options;
    csl_normalisation normalisation;
    float *parameters;
    uint32_t round;
} train_bench;

static csl_shape shape_for(const char *model)
{
    uint32_t extent = strcmp(model, "resnet18") == 0 ? 64 : 28;
    return (csl_shape){{strcmp(model, "cnn3d-28") == 0 ? extent : 1, extent, extent}, 1};
}

/* Random images and labels: the speed of training does not depend on them. */
static csl_status
create_dataset(const csl_model_spec *spec, uint32_t batch, csl_dataset **dataset_out)
{
    csl_dataset *dataset = NULL;
    uint64_t count = (uint64_t)batch * BATCHES_STORED;
    CSL_TRY(csl_dataset_create(CSL_TASK_MULTICLASS, spec->input, CSL_U8, CLASSES, count, &dataset));
    uint64_t state = 1;
    size_t size = csl_dataset_image_size(dataset) * count;
    for (size_t i = 0; i < size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)dataset->images)[i] = (uint8_t)(state >> 56);
    }
    for (uint64_t i = 0; i < count; i++) {
        dataset->labels[i] = (int32_t)(i % CLASSES);
    }
    *dataset_out = dataset;
    return CSL_OK;
}

static csl_status create_trainer(train_bench *bench, uint32_t steps)
{
    csl_trainer_destroy(bench->trainer);
    bench->trainer = NULL;
    bench->options.local_steps = steps;
    return csl_trainer_create(bench->device, bench->spec, bench->dataset, &bench->normalisation,
                              &bench->options, NULL, &bench->trainer);
}

/* Trains one round; images per second of wall time. */
static csl_status run_round(train_bench *bench, double *rate_out)
{
    csl_train_result result;
    double start = csl_bench_seconds();
    CSL_TRY(csl_trainer_round(bench->trainer, bench->round++, bench->parameters, NULL, NULL, NULL,
                              &result));
    *rate_out = (double)result.image_count / (csl_bench_seconds() - start);
    return CSL_OK;
}

static void close_bench(train_bench *bench)
{
    csl_trainer_destroy(bench->trainer);
    csl_dataset_destroy(bench->dataset);
    csl_model_spec_destroy(bench->spec);
    csl_device_close(bench->device);
    free(bench->parameters);
}

/* Builds everything, warms up, and sets the rounds' length to about `seconds`. */
static csl_status
open_bench(const train_arguments *a, const char *model, double seconds, train_bench *bench)
{
    csl_tensor *tensors = NULL;
    uint32_t tensor_count;
    size_t parameter_count;
    bench->options = (csl_train_options){.optimizer = CSL_OPTIMIZER_SGD,
                                         .rate = 0.01F,
                                         .momentum = 0.9F,
                                         .batch = a->batch,
                                         .seed = 1};
    CSL_TRY(csl_device_open("host", a->threads, &bench->device));
    CSL_TRY(csl_model_spec_zoo(model, a->norm, shape_for(model), CSL_TASK_MULTICLASS, CLASSES,
                               &bench->spec));
    CSL_TRY(create_dataset(bench->spec, a->batch, &bench->dataset));
    CSL_TRY(csl_normalisation_measure(bench->dataset, &bench->normalisation));
    CSL_TRY(csl_model_spec_tensors(bench->spec, &tensors, &tensor_count, &parameter_count));
    free(tensors);
    bench->parameters = malloc(parameter_count * sizeof *bench->parameters);
    if (!bench->parameters) {
        return csl_fail(CSL_E_NO_MEMORY, "bench: no memory for %zu parameters", parameter_count);
    }
    CSL_TRY(csl_model_initialise(bench->spec, 1, bench->parameters));
    double rate;
    CSL_TRY(create_trainer(bench, 2));
    CSL_TRY(run_round(bench, &rate));
    CSL_TRY(run_round(bench, &rate));
    double steps = ceil(seconds * rate / a->batch);
    CSL_TRY(create_trainer(bench, steps < 1e6 ? (uint32_t)steps : 1000000));
    return run_round(bench, &rate);
}

/* Rates of one network: ours, PyTorch's default format, PyTorch's channels-last. */
typedef struct train_rates {
    double values[3][ROUNDS];
} train_rates;

/* The programs take turns, so that a disturbance of the machine meets all of them. */
static csl_status
measure(train_bench *bench, csl_bench_peer *peer, double seconds, train_rates *rates)
{
    for (int round = 0; round < ROUNDS; round++) {
        CSL_TRY(run_round(bench, &rates->values[0][round]));
        rates->values[1][round] = peer ? csl_bench_peer_run(peer, "default", seconds) : NAN;
        rates->values[2][round] = peer ? csl_bench_peer_run(peer, "channels_last", seconds) : NAN;
    }
    return CSL_OK;
}

static void add_row(csl_bench_report *report,
                    const train_arguments *a,
                    const train_bench *bench,
                    const char *peer_name,
                    double peak,
                    train_rates *rates)
{
    csl_bench_statistics own = csl_bench_summarise(rates->values[0], ROUNDS);
    csl_bench_statistics plain = csl_bench_summarise(rates->values[1], ROUNDS);
    csl_bench_statistics last = csl_bench_summarise(rates->values[2], ROUNDS);
    double forward, training;
    csl_model_spec_operations(bench->spec, &forward, &training);
    const csl_bench_cell cells[] = {
        {bench->spec->name, 0, 0},
        {NULL, a->batch, 0},
        {NULL, a->threads, 0},
        {NULL, own.median, 0},
        {NULL, own.most, 0},
        {NULL, own.most * training / 1e9, 1},
        {NULL, 100.0 * own.most * training / peak, 1},
        {peer_name, 0, 0},
        {NULL, plain.median, 0},
        {NULL, last.median, 0},
        {NULL, own.median / plain.median, 2},
        {NULL, own.median / last.median, 2},
        {NULL, own.most / fmax(plain.most, last.most), 2},
    };
    csl_bench_report_row(report, cells);
}

static csl_status
run_model(const train_arguments *a, const char *model, double peak, csl_bench_report *report)
{
    train_bench bench = {0};
    double seconds = a->seconds / ROUNDS;
    csl_status status = open_bench(a, model, seconds, &bench);
    csl_bench_peer *peer = NULL;
    if (status == CSL_OK && !(a->peer && strcmp(a->peer, "none") == 0)) {
        peer = csl_bench_peer_start(a->peer ? a->peer : "python3", bench.spec, a->batch, a->threads,
                                    !a->peer);
        if (!peer && a->peer) {
            status = csl_fail(CSL_E_NOT_FOUND, "bench: %s did not start with PyTorch", a->peer);
        }
        if (!peer && !a->peer) {
            csl_bench_report_note(report, "no peer",
                                  "%s: python3 has no PyTorch that runs this "
                                  "network; --peer PYTHON names another",
                                  model);
        }
    }
    train_rates rates;
    if (status == CSL_OK) {
        status = measure(&bench, peer, seconds, &rates);
    }
    if (status == CSL_OK) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", peer ? "torch " : "-",
                 peer ? csl_bench_peer_version(peer) : "");
        add_row(report, a, &bench, name, peak, &rates);
    }
    csl_bench_peer_stop(peer);
    close_bench(&bench);
    return status;
}

static csl_status run_models(const train_arguments *a, csl_bench_report *report)
{
    const char *const one[] = {a->model, NULL};
    const char *const *models = strcmp(a->model, "all") == 0 ? default_models : one;
    double peak = csl_bench_peak_flops(a->threads);
    csl_bench_report_note(report, "peak_gflops", "%.1f float32 multiply-add, %u threads",
                          peak / 1e9, a->threads);
    if (a->peer && strcmp(a->peer, "none") == 0) {
        csl_bench_report_note(report, "no peer", "left out by --peer none");
    }
    csl_bench_report_note(report, "counted",
                          "operations of convolutions and linear layers, x%d "
                          "rounds, the programs taking turns",
                          ROUNDS);
    for (size_t i = 0; models[i]; i++) {
        CSL_TRY(run_model(a, models[i], peak, report));
    }
    return CSL_OK;
}

int csl_bench_train(int argc, char **argv)
{
    static const char *const columns[] = {"network",        "batch",
                                          "threads",        "images/s",
                                          "best",           "GFLOP/s",
                                          "% of peak",      "peer",
                                          "peer images/s",  "peer channels_last",
                                          "ratio",          "ratio channels_last",
                                          "ratio of bests", NULL};
    train_arguments a = {.model = "all", .batch = 64, .threads = 2, .seconds = 7.0};
    int code = parse_arguments(argc, argv, &a);
    if (code != 0) {
        return code < 0 ? 0 : code;
    }
    csl_bench_report *report = csl_bench_report_create("train", columns);
    if (!report) {
        fputs("bench: out of memory\n", stderr);
        return 1;
    }
    csl_status status = csl_bench_report_check(a.csv, a.json);
    if (status == CSL_OK) {
        status = run_models(&a, report);
        csl_bench_report_print(report, stdout);
    }
    status = status == CSL_OK ? csl_bench_report_write(report, a.csv, a.json) : status;
    if (status != CSL_OK) {
        fprintf(stderr, "consilium bench: %s\n", csl_error_message());
    }
    csl_bench_report_destroy(report);
    return status == CSL_OK ? 0 : 1;
}
