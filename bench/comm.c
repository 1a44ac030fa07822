/*
 * consilium bench comm: what a round costs beside training, and collectives by message size.
 *
 * The first table is one round as `consilium run` does it once its institutions have trained: each
 * turns its new weights into an update, the rule and the server step run on every rank's
 * coordinates, every rank gets the global model, rank 0 writes it. The floor is the time to read
 * and write those bytes once: all updates copied once in memory by the ranks that own them, and one
 * model's bytes written to the same disk and flushed.
 */
#include "bench_options.h"
#include "bench_support.h"

#include <consilium/distribute.h>
#include <consilium/federation.h>
#include <consilium/files.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

csl_status csl_bench_comm(csl_communicator *communicator, int argc, char **argv, int *code_out);

typedef struct comm_options {
    uint32_t institutions;
    size_t parameters;
    uint32_t repetitions;
    const char *folder;
    const char *csv;
    const char *json;
    bool messages;
} comm_options;

enum { PARAMETERS_MIN = 5000 }; /* more than a tile, so that two ranks have some */
enum { UPDATE, COLLECT, AGGREGATE, SHARE, WRITE, PARTS, WHOLE = PARTS, FLOOR, PHASES };

typedef struct round_bench {
    csl_communicator *communicator;
    const comm_options *options;
    uint32_t rank;
    uint32_t size;
    csl_device *device;
    csl_sharding sharding;
    csl_collector *collector;
    csl_federation *federation;
    csl_model_spec *spec;
    size_t total;
    uint32_t owners[CSL_ROWS_MAX];
    double weights[CSL_ROWS_MAX];
    float *trained; /* [total] what an institution's training ends with */
    float *spare;   /* [total] */
    csl_global_vector *global;
    float *model; /* [total] lent by global */
    double seconds[PHASES];
} round_bench;

/* A network of one linear layer with about the asked number of parameters, so that the model file
 * that is written is a real one. */
static csl_status make_network(round_bench *bench)
{
    csl_layer *layers = calloc(2, sizeof *layers);
    csl_model_spec *spec = calloc(1, sizeof *spec);
    bench->spec = spec;
    if (!spec || !layers) {
        free(layers);
        return csl_fail(CSL_E_NO_MEMORY, "network");
    }
    spec->layers = layers;
    spec->layer_count = 2;
    snprintf(spec->name, sizeof spec->name, "bench");
    spec->task = CSL_TASK_BINARY;
    spec->class_count = 2;
    spec->input = (csl_shape){{1, 1, 1}, 1};
    uint32_t side = 32;
    while (bench->options->parameters / (side * side + 3) > CSL_CHANNELS_MAX) {
        side += 8; /* a wider layer is not allowed, so the image grows */
    }
    uint32_t hidden = (uint32_t)(bench->options->parameters / (side * side + 3));
    hidden = hidden < 1 ? 1 : hidden;
    spec->input.extent[1] = side;
    spec->input.extent[2] = side;
    layers[0] = (csl_layer){
        .kind = CSL_LAYER_LINEAR, .input = -1, .from = -2, .channels = hidden, .bias = true};
    layers[1] =
        (csl_layer){.kind = CSL_LAYER_LINEAR, .input = 0, .from = -2, .channels = 2, .bias = true};
    snprintf(layers[0].name, CSL_NAME_MAX, "hidden");
    snprintf(layers[1].name, CSL_NAME_MAX, "output");
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    CSL_TRY(csl_model_spec_tensors(spec, &tensors, &tensor_count, &bench->total));
    csl_federation_options options = {.algorithm = CSL_FEDAVG, .server_rate = 1};
    csl_status status = csl_federation_create(&options, tensors, tensor_count, &bench->federation);
    free(tensors);
    return status;
}

static csl_status allocate(round_bench *bench)
{
    CSL_TRY(make_network(bench));
    CSL_TRY(csl_device_open("host", 1, &bench->device));
    bench->trained = malloc(bench->total * sizeof(float));
    bench->spare = calloc(bench->total, sizeof(float));
    if (!bench->trained || !bench->spare) {
        return csl_fail(CSL_E_NO_MEMORY, "vectors of %zu", bench->total);
    }
    for (size_t i = 0; i < bench->total; i++) {
        bench->trained[i] = (float)((i * 2654435761u + bench->rank) % 2048) * 0x1p-20f;
    }
    return CSL_OK;
}

static csl_status prepare(round_bench *bench)
{
    CSL_TRY(csl_agree(bench->communicator, allocate(bench)));
    uint32_t rows = bench->options->institutions;
    uint32_t own = 0;
    for (uint32_t row = 0; row < rows; row++) {
        bench->owners[row] = (uint32_t)((uint64_t)row * bench->size / rows);
        bench->weights[row] = 1.0 / rows;
        own += bench->owners[row] == bench->rank;
    }
    bench->sharding = (csl_sharding){.total = bench->total, .rank_count = bench->size};
    csl_collector_options options = {.row_count_max = rows, .own_count_max = own};
    CSL_TRY(
        csl_collector_create(bench->communicator, &bench->sharding, &options, &bench->collector));
    CSL_TRY(csl_global_vector_create(bench->communicator, &bench->sharding, bench->spare,
                                     &bench->global));
    bench->model = csl_global_vector_values(bench->global);
    return CSL_OK;
}

/* New weights minus global ones, checked, where they are sent from. */
static csl_status submit(round_bench *bench)
{
    uint32_t count = bench->options->institutions;
    CSL_TRY(csl_collector_begin(bench->collector, bench->owners, count));
    for (uint32_t row = 0; row < count; row++) {
        if (bench->owners[row] == bench->rank) {
            float *update = NULL;
            CSL_TRY(csl_collector_place(bench->collector, row, &update));
            CSL_TRY(csl_federation_update(bench->federation, 0, bench->total, bench->model,
                                          bench->trained, update));
            CSL_TRY(csl_collector_submit(bench->collector, row, update));
        }
    }
    return CSL_OK;
}

static csl_status aggregate(round_bench *bench)
{
    csl_update_block block = {
        .communicator = bench->communicator,
        .rows = csl_collector_rows(bench->collector),
        .weights = bench->weights,
        .row_count = bench->options->institutions,
        .shard = csl_shard_of(&bench->sharding, bench->rank),
        .total = bench->total,
    };
    CSL_TRY(csl_aggregate_mean(bench->device, &block, bench->spare));
    return csl_federation_apply(bench->federation, block.shard.begin, block.shard.count,
                                bench->spare, bench->model + block.shard.begin, NULL, NULL);
}

static csl_status write_model(round_bench *bench)
{
    char path[CSL_PATH_MAX];
    snprintf(path, sizeof path, "%s/consilium-bench-%ld.h5", bench->options->folder,
             (long)getpid());
    char digest[65];
    memset(digest, '0', 64);
    digest[64] = 0;
    csl_status status = csl_model_write(path, bench->spec, bench->model, digest, 1);
    unlink(path);
    return status;
}

/* All updates copied in memory once, by the ranks together, and a model's bytes written plainly. */
static csl_status floor_time(round_bench *bench, double *seconds)
{
    CSL_TRY(csl_agree(bench->communicator, CSL_OK));
    double start = csl_bench_seconds();
    for (uint32_t row = 0; row < bench->options->institutions; row++) {
        if (bench->owners[row] == bench->rank) {
            memcpy(bench->spare, bench->trained, bench->total * sizeof(float));
        }
    }
    CSL_TRY(csl_agree(bench->communicator, CSL_OK));
    if (bench->rank == 0) {
        char path[CSL_PATH_MAX];
        snprintf(path, sizeof path, "%s/consilium-floor-%ld", bench->options->folder,
                 (long)getpid());
        int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        size_t size = bench->total * sizeof(float);
        bool failed =
            file < 0 || write(file, bench->spare, size) != (ssize_t)size || fsync(file) != 0;
        if (file >= 0) {
            close(file);
            unlink(path);
        }
        if (failed) {
            return csl_fail(CSL_E_IO, "%s: cannot write %zu bytes", path, size);
        }
    }
    *seconds = fmin(*seconds, csl_bench_seconds() - start);
    return CSL_OK;
}

static csl_status one_round(round_bench *bench)
{
    double times[PARTS + 1];
    CSL_TRY(csl_agree(bench->communicator, CSL_OK));
    times[UPDATE] = csl_bench_seconds();
    CSL_TRY(csl_agree(bench->communicator, submit(bench)));
    times[COLLECT] = csl_bench_seconds();
    CSL_TRY(csl_agree(bench->communicator, csl_collector_finish(bench->collector)));
    times[AGGREGATE] = csl_bench_seconds();
    CSL_TRY(csl_agree(bench->communicator, aggregate(bench)));
    times[SHARE] = csl_bench_seconds();
    CSL_TRY(csl_global_vector_complete(bench->global));
    times[WRITE] = csl_bench_seconds();
    CSL_TRY(csl_agree(bench->communicator, bench->rank == 0 ? write_model(bench) : CSL_OK));
    times[PARTS] = csl_bench_seconds();
    for (int part = 0; part < PARTS; part++) {
        bench->seconds[part] = fmin(bench->seconds[part], times[part + 1] - times[part]);
    }
    bench->seconds[WHOLE] = fmin(bench->seconds[WHOLE], times[PARTS] - times[0]);
    csl_status status = floor_time(bench, &bench->seconds[FLOOR]);
    return csl_agree(bench->communicator, status);
}

static void clear(round_bench *bench)
{
    csl_collector_destroy(bench->collector);
    csl_global_vector_destroy(bench->global);
    csl_device_close(bench->device);
    csl_federation_destroy(bench->federation);
    csl_model_spec_destroy(bench->spec);
    free(bench->trained);
    free(bench->spare);
}

static void report_round(const round_bench *bench, csl_bench_report *report)
{
    static const char *const names[PHASES] = {"update",           "collect", "aggregate and step",
                                              "share model",      "write",   "whole round",
                                              "floor: bytes once"};
    double size = (double)bench->total * sizeof(float);
    for (int phase = 0; phase < PHASES; phase++) {
        double moved = phase == WRITE ? size : size * bench->options->institutions;
        double ratio = bench->seconds[phase] / bench->seconds[FLOOR];
        csl_bench_cell cells[] = {
            {names[phase], 0, 0},
            {NULL, (double)bench->size, 0},
            {NULL, moved, 0},
            {NULL, bench->seconds[phase] * 1e6, 1},
            {NULL, moved / bench->seconds[phase] / 1e9, 2},
            {NULL, NAN, 2},
            {NULL, phase == WHOLE ? ratio : (double)NAN, 2},
        };
        csl_bench_report_row(report, cells);
    }
}

static csl_status collective(round_bench *bench, bool sum, size_t size, double *seconds)
{
    uint64_t parts[CSL_INSTITUTIONS_MAX + 1];
    for (uint32_t rank = 0; rank <= bench->size; rank++) {
        parts[rank] = size * rank / bench->size;
    }
    for (uint32_t i = 0; i <= bench->options->repetitions; i++) {
        CSL_TRY(csl_agree(bench->communicator, CSL_OK));
        double start = csl_bench_seconds();
        if (sum) {
            CSL_TRY(csl_sum_integers(bench->communicator, (int64_t *)(void *)bench->spare,
                                     size / sizeof(int64_t)));
        } else {
            CSL_TRY(csl_gather_all(bench->communicator, bench->spare, parts));
        }
        *seconds = fmin(*seconds, csl_bench_seconds() - start);
    }
    return CSL_OK;
}

/* busbw as nccl-tests defines it: what each link carries, comparable over numbers of ranks. */
static csl_status collectives(round_bench *bench, csl_bench_report *report)
{
    size_t limit = bench->total * sizeof(float);
    memset(bench->spare, 0, limit);
    for (size_t size = 64; size <= limit && size <= (1u << 26); size *= 16) {
        for (int sum = 0; sum < 2; sum++) {
            double seconds = INFINITY;
            CSL_TRY(collective(bench, sum, size, &seconds));
            double bandwidth = (double)size / seconds / 1e9;
            double factor = (sum ? 2.0 : 1.0) * (bench->size - 1) / bench->size;
            csl_bench_cell cells[] = {
                {sum ? "sum of integers (allreduce)" : "gather to all (allgather)", 0, 0},
                {NULL, (double)bench->size, 0},
                {NULL, (double)size, 0},
                {NULL, seconds * 1e6, 1},
                {NULL, bandwidth, 2},
                {NULL, bandwidth * factor, 2},
                {NULL, NAN, 2},
            };
            csl_bench_report_row(report, cells);
        }
    }
    return CSL_OK;
}

static void print_help(void)
{
    fputs(
        "Usage: [mpirun -n RANKS] consilium bench comm [OPTION]...\n"
        "Time a round without its training, then collectives by size, on all ranks of the job.\n"
        "x_floor compares the round with reading and writing its bytes once: every update copied\n"
        "once in memory by the rank that owns it, and one model's bytes written to the same disk\n"
        "and flushed. The bound is 2.\n\n"
        "  --institutions N  updates of a round (8)\n"
        "  --parameters N    coordinates of an update, at least 5000 (11000000)\n"
        "  --repetitions N   the least of so many is shown (5)\n"
        "  --no-shared-memory  send messages also between ranks of one node\n"
        "  --folder DIR      where the model is written and removed again (.)\n"
        "  --csv FILE, --json FILE\n"
        "  --help            this text\n",
        stdout);
}

static int take_option(const csl_bench_command *command, int option, void *context)
{
    comm_options *options = context;
    uint64_t count = 0;
    int code = 0;
    switch (option) {
    case 'i':
        code = csl_bench_take_count(command, "institutions", optarg, CSL_ROWS_MAX, &count);
        options->institutions = (uint32_t)count;
        return code;
    case 'p':
        code = csl_bench_take_count(command, "parameters", optarg, 200000000, &count);
        options->parameters = (size_t)count;
        return code == 0 && count < PARAMETERS_MIN
                   ? csl_bench_usage_error(command,
                                           "--parameters: expected at least %d, found '%s'",
                                           PARAMETERS_MIN, optarg)
                   : code;
    case 'r':
        code = csl_bench_take_count(command, "repetitions", optarg, 1000, &count);
        options->repetitions = (uint32_t)count;
        return code;
    case 'm':
        options->messages = true;
        return 0;
    case 'f':
        options->folder = optarg;
        return 0;
    case 'c':
        options->csv = optarg;
        return 0;
    case 'j':
        options->json = optarg;
        return 0;
    default:
        return -1;
    }
}

/* 0, 2 after a message of the rank that speaks, -1 for --help. */
static int parse(int argc, char **argv, bool speaks, comm_options *options)
{
    static const struct option list[] = {
        {"institutions", required_argument, NULL, 'i'},
        {"parameters", required_argument, NULL, 'p'},
        {"repetitions", required_argument, NULL, 'r'},
        {"no-shared-memory", no_argument, NULL, 'm'},
        {"folder", required_argument, NULL, 'f'},
        {"csv", required_argument, NULL, 'c'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const csl_bench_command command = {"comm", speaks, list};
    return csl_bench_parse(&command, argc, argv, take_option, options);
}

static csl_status measure(round_bench *bench, csl_bench_report *report)
{
    CSL_TRY(prepare(bench));
    for (int phase = 0; phase < PHASES; phase++) {
        bench->seconds[phase] = INFINITY;
    }
    for (uint32_t i = 0; i < bench->options->repetitions; i++) {
        CSL_TRY(one_round(bench));
    }
    report_round(bench, report);
    return collectives(bench, report);
}

static csl_status tell(const round_bench *bench, csl_bench_report *report)
{
    const comm_options *options = bench->options;
    csl_bench_report_note(report, "mpi", "%s", csl_mpi_library());
    csl_bench_report_note(
        report, "round", "%u updates of %zu parameters, %s", options->institutions, bench->total,
        csl_collector_is_shared(bench->collector) ? "in shared memory" : "sent as messages");
    csl_bench_report_note(report, "floor",
                          "every update copied once in memory by its rank, and one model's bytes "
                          "written to %s and flushed",
                          options->folder);
    csl_bench_report_print(report, stdout);
    return csl_bench_report_write(report, options->csv, options->json);
}

csl_status csl_bench_comm(csl_communicator *communicator, int argc, char **argv, int *code_out)
{
    comm_options options = {
        .institutions = 8, .parameters = 11000000, .repetitions = 5, .folder = "."};
    bool speaks = csl_communicator_rank(communicator) == 0;
    int parsed = parse(argc, argv, speaks, &options);
    if (parsed != 0) {
        if (speaks && parsed < 0) {
            print_help();
        }
        *code_out = parsed < 0 ? 0 : 2;
        return CSL_OK;
    }
    if (options.messages) {
        csl_communicator_keep_memory_apart(communicator);
    }
    round_bench bench = {
        .communicator = communicator,
        .options = &options,
        .rank = csl_communicator_rank(communicator),
        .size = csl_communicator_size(communicator),
    };
    static const char *const columns[] = {"operation", "ranks",     "bytes",   "time_us",
                                          "algbw_gbs", "busbw_gbs", "x_floor", NULL};
    csl_bench_report *report = csl_bench_report_create("comm", columns);
    csl_status status = report ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "report");
    status =
        status == CSL_OK && speaks ? csl_bench_report_check(options.csv, options.json) : status;
    status = csl_agree(communicator, status);
    status = status == CSL_OK ? measure(&bench, report) : status;
    if (status == CSL_OK) {
        status = csl_agree(communicator, speaks ? tell(&bench, report) : CSL_OK);
    }
    csl_bench_report_destroy(report);
    clear(&bench);
    return status;
}
