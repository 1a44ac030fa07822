/* consilium run: options, signals and output; the run itself is csl_run. */
#include "commands.h"

#include <consilium/log.h>
#include <consilium/run.h>

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double SILENCE_SECONDS = 1800;
enum { OVERRIDES_MAX = 256, AGGREGATORS_MAX = 4096 };

static volatile sig_atomic_t stop_signal;

static void remember_signal(int number)
{
    if (stop_signal) {
        csl_app_end_by_signal(number); /* a second one ends the program at once */
    }
    stop_signal = number;
}

static void print_help(void)
{
    fputs("Usage: consilium run STUDY.yaml [OPTION]...\n"
          "   or: mpirun -n RANKS consilium run STUDY.yaml [OPTION]...\n"
          "Train one model across the institutions of a study. Each keeps its images; each round\n"
          "they train on their own, and their updates are combined into the next global model.\n\n"
          "The number of ranks is free: institutions are spread over them, several on one rank or\n"
          "one on several, and the result is the same. Without mpirun one process does it all.\n\n"
          "  --set KEY=VALUE   change a key of the study, for example --set rounds=3; repeatable\n"
          "  --out FOLDER      where the results go (runs/ and the study's name)\n"
          "  --overwrite       replace the results of an earlier run in that folder, once the new\n"
          "                    ones are complete; until then these are in its folder unfinished/\n"
          "  --plan            say how much memory, traffic and time the run needs; train nothing\n"
          "  --timeout SECONDS give up when a rank sends no sign of life for so long (1800)\n"
          "  --transport WAY   how updates travel: memory (shared on a node, messages between\n"
          "                    nodes), messages, nccl (from card to card), auto (auto)\n"
          "  --aggregators LIST  ranks that aggregate, as 0,3,5-7 (all)\n"
          "  --aggregate-on host|device  aggregate on the host, or on the GPU a rank trains on\n"
          "                    (device); the same bits\n"
          "  --memory-limit SIZE  memory that a round's updates take at a time, as 4G: of the GPU\n"
          "                    that aggregates, to which the rest is copied in pieces (half of\n"
          "                    what is free there), else of a rank, beyond which they lie in a\n"
          "                    file in the results' folder (half of the node's over its ranks)\n"
          "  --quiet           no progress on standard error\n"
          "  -v, --verbose     say what happens in more detail, and which rank runs where\n"
          "  -h, --help        this text\n\n"
          "In the folder afterwards: model.h5 (best by validation), model-last.h5, metrics.csv (a\n"
          "line per round), rounds.jsonl (the same for machines), study.yaml (every key as used),\n"
          "institutions/ (each institution's data), cross-site.csv, updates/ where the study\n"
          "keeps them, and personal/ where batch norm stays at the institutions.\n\n"
          "A study, shortest form:\n"
          "  study: phantom-8\n"
          "  data: {path: phantom.h5, split: {scheme: natural}}\n"
          "  institutions: {count: 8}\n"
          "  model: {name: cnn-small}\n"
          "  training: {optimizer: adamw, lr: 0.002, batch: 32}\n"
          "  rounds: 15\n"
          "docs/STUDY.md has every key, datasets/studies/ more studies.\n",
          stdout);
}

static void print_table(void *context, const char *text)
{
    (void)context;
    csl_progress_clear();
    fputs(text, stdout);
    fflush(stdout);
}

static void show_progress(void *context, const csl_run_progress *progress)
{
    (void)context;
    csl_progress_show(progress);
}

static void print_log(void *context, csl_log_level level, const char *component, const char *text)
{
    (void)context;
    csl_progress_clear();
    fprintf(stderr, "%s: %s: %s\n", csl_log_level_name(level), component, text);
}

static const struct option long_options[] = {
    {"set", required_argument, NULL, 's'},
    {"out", required_argument, NULL, 'o'},
    {"overwrite", no_argument, NULL, 'w'},
    {"plan", no_argument, NULL, 'p'},
    {"timeout", required_argument, NULL, 't'},
    {"transport", required_argument, NULL, 'T'},
    {"aggregators", required_argument, NULL, 'a'},
    {"aggregate-on", required_argument, NULL, 'A'},
    {"memory-limit", required_argument, NULL, 'M'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

typedef struct run_arguments {
    csl_run_options options;
    const char *overrides[OVERRIDES_MAX];
    double silence_seconds_max;
    bool plan;
    bool quiet;
    uint32_t aggregators[AGGREGATORS_MAX];
    bool help;
} run_arguments;

/* Where and how updates are aggregated. */
static int take_aggregation_option(run_arguments *arguments, int option)
{
    static const char *const ways[] = {"auto", "memory", "messages", "nccl", NULL};
    static const char *const places[] = {"device", "host", NULL};
    csl_run_options *options = &arguments->options;
    int word = 0;
    switch (option) {
    case 'T':
        word = csl_app_parse_word("run", "transport", optarg, ways);
        options->transport = (csl_transport)word;
        return word < 0 ? CSL_EXIT_USAGE : 0;
    case 'A':
        word = csl_app_parse_word("run", "aggregate-on", optarg, places);
        options->aggregate_on_host = word == 1;
        return word < 0 ? CSL_EXIT_USAGE : 0;
    case 'a':
        options->aggregators = arguments->aggregators;
        return csl_app_parse_ranks("run", "aggregators", optarg, arguments->aggregators,
                                   AGGREGATORS_MAX, &options->aggregator_count)
                   ? 0
                   : CSL_EXIT_USAGE;
    default:
        return csl_app_parse_size("run", "memory-limit", optarg, &options->memory_limit)
                   ? 0
                   : CSL_EXIT_USAGE;
    }
}

static int take_option(run_arguments *arguments, int option, char **argv)
{
    csl_run_options *options = &arguments->options;
    switch (option) {
    case 's':
        if (options->override_count == OVERRIDES_MAX) {
            return csl_app_usage_error("run", "more than %d --set", OVERRIDES_MAX);
        }
        arguments->overrides[options->override_count++] = optarg;
        return 0;
    case 'o':
        return csl_app_take_path("run", "out", optarg, &options->directory);
    case 'w':
        options->overwrite = true;
        return 0;
    case 'p':
        arguments->plan = true;
        return 0;
    case 't':
        return csl_app_parse_number("run", "timeout", optarg, 1, 1e7,
                                    &arguments->silence_seconds_max)
                   ? 0
                   : CSL_EXIT_USAGE;
    case 'T':
    case 'A':
    case 'a':
    case 'M':
        return take_aggregation_option(arguments, option);
    case 'q':
        arguments->quiet = true;
        return 0;
    case 'v':
        options->verbose = true;
        return 0;
    case 'h':
        arguments->help = true;
        return 0;
    default:
        return csl_app_unknown_option("run", argv, long_options);
    }
}

static int parse(int argc, char **argv, run_arguments *arguments)
{
    opterr = 0;
    optind = 1;
    int option = 0;
    while ((option = getopt_long(argc, argv, ":hv", long_options, NULL)) != -1) {
        int code = take_option(arguments, option, argv);
        if (code != 0) {
            return code;
        }
        if (arguments->help) {
            return 0;
        }
    }
    if (optind == argc || !*argv[optind]) {
        return csl_app_usage_error("run", "which study? Expected the name of a YAML file");
    }
    if (optind + 1 < argc) {
        return csl_app_usage_error("run", "one study at a time: '%s' is too much",
                                   argv[optind + 1]);
    }
    arguments->options.study_path = argv[optind];
    return 0;
}

int csl_command_run(int argc, char **argv)
{
    run_arguments arguments = {.silence_seconds_max = SILENCE_SECONDS};
    int code = parse(argc, argv, &arguments);
    if (code != 0) {
        return code;
    }
    if (arguments.help) {
        print_help();
        return 0;
    }
    csl_communicator *communicator = csl_app_start_mpi(arguments.silence_seconds_max);
    if (arguments.options.transport == CSL_TRANSPORT_MESSAGES) {
        csl_communicator_keep_memory_apart(communicator);
    }
    if (!arguments.plan) { /* which has nothing to end in order */
        struct sigaction action = {.sa_handler = remember_signal};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
    }
    csl_run_options *options = &arguments.options;
    options->overrides = arguments.overrides;
    bool refused = false;
    options->refused = &refused;
    options->stop = &stop_signal;
    options->table = print_table;
    options->progress = arguments.quiet ? NULL : show_progress;
    if (csl_communicator_rank(communicator) == 0) {
        csl_log_level level = arguments.quiet    ? CSL_LOG_ERROR
                              : options->verbose ? CSL_LOG_DEBUG
                                                 : CSL_LOG_WARN;
        csl_log_install(print_log, NULL, level);
    }
    csl_status status =
        arguments.plan ? csl_run_plan(communicator, options) : csl_run(communicator, options);
    csl_progress_clear();
    code = csl_app_finish(status);
    return refused ? CSL_EXIT_USAGE : code;
}
