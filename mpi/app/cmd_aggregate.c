/* consilium aggregate: options, help and the table of rules; the work is csl_aggregate_file. */
#include "commands.h"

#include <consilium/aggregate_file.h>
#include <consilium/text.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double SILENCE_SECONDS = 1800;
enum { FIRST_PARAMETER = 1000, BASE_OPTIONS = 20 };

typedef struct aggregate_arguments {
    csl_aggregate_job job;
    const char *rule;
    const char *pre;
    const char *parameters[CSL_PARAMETER_COUNT];
    bool help;
    bool list;
    bool quiet;
} aggregate_arguments;

static void print_rules(const csl_rule_info *infos, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const csl_rule_info *info = &infos[i];
        printf("  %-18s %s\n%20s f: %s; cost: %s; %s\n", info->name, info->summary, "", info->bound,
               info->cost, info->source);
        bool weighs = (info->needs & CSL_TAKES_WEIGHTS) != 0;
        if (info->parameters[0] >= 0 || weighs) {
            size_t known = 0;
            const csl_parameter_info *parameters = csl_rule_parameters(&known);
            printf("%20s", "");
            for (size_t k = 0; k < CSL_RULE_PARAMETERS_MAX && info->parameters[k] >= 0; k++) {
                printf(" --%s", parameters[info->parameters[k]].name);
            }
            puts(weighs ? " --weights" : "");
        }
    }
}

static void print_list(void)
{
    size_t count = 0;
    const csl_rule_info *rules = csl_rules(&count);
    puts("Rules (bound on f of n updates, cost in reads of the updates and control, source):\n");
    print_rules(rules, count);
    const csl_rule_info *pre = csl_pre_aggregators(&count);
    puts("\nPre-aggregators, for --pre (not before fltrust, foolsgold, rlr and signguard):\n");
    print_rules(pre, count);
    const csl_parameter_info *parameters = csl_rule_parameters(&count);
    puts("\nParameters (default of the preset paper, of byzfl; range):\n");
    for (size_t i = 0; i < count; i++) {
        const csl_parameter_info *info = &parameters[i];
        printf("  --%-14s %s (", info->name, info->text);
        for (int preset = 0; preset < 2; preset++) {
            if (info->preset[preset] < 0) {
                printf("derived%s", preset ? "; " : ", ");
            } else {
                printf("%g%s", info->preset[preset], preset ? "; " : ", ");
            }
        }
        printf("%g to %g)\n", info->least, info->largest);
    }
}

static void print_help(void)
{
    fputs(
        "Usage: consilium aggregate --rule NAME --f F UPDATES --out FILE [OPTION]...\n"
        "   or: mpirun -n RANKS consilium aggregate ...\n"
        "Turn the updates of another trainer into one aggregate, whatever f of them hold.\n\n"
        "UPDATES is an HDF5 file with `updates` [n][d] of float32 or float64 (and optionally\n"
        "`weights` [n] and `names` [n]), a file that output.updates of consilium run left, or a\n"
        "folder of .npy files, one update each, in the order of their names. The result has the\n"
        "same bits for any number of ranks and threads, on host and GPU. An update with a NaN or\n"
        "an infinity is refused and counts against f.\n\n"
        "  --in UPDATES        the same as UPDATES alone\n"
        "  --out FILE          .h5 (`aggregate` [d], with the report) or .npy\n"
        "  --rule NAME         a rule of the list below (mean)\n"
        "  --f F               updates that may be false (0)\n"
        "  --pre A,B           pre-aggregators, applied in this order\n"
        "  --preset paper|byzfl  defaults as the papers define them, or as ByzFL does (paper)\n"
        "  --weights equal|given|capped  ignore weights, use them, or use them cut to twice\n"
        "                      their median; rules that accept them say so below (equal)\n"
        "  --weights-from FILE weights from a text file, a .npy file, or FILE.h5:/NAME, where\n"
        "                      they are used\n"
        "  --root ROW          index of the trusted update of fltrust\n"
        "  --dataset NAME      name of the updates in the HDF5 file (updates)\n"
        "  --report FILE       selection report as JSON: weights, scores, who was dropped and why\n"
        "  --memory FILE       what centered-clipping (its centre) and foolsgold (its histories) "
        "keep\n"
        "                      from round to round: read where FILE exists, replaced after "
        "success\n"
        "  --seed N            of what is drawn at random: bucketing, dnc, signguard, noise (0)\n"
        "  --round N           of the same (0)\n"
        "  --device NAME       host, cuda:0, auto (auto)\n"
        "  --threads N         of each rank (the cores of the node over its ranks)\n"
        "  --memory-limit SIZE buffers of a rank, as 500M or 4G (half of the node's memory over\n"
        "                      its ranks); below n x d x 4 bytes the file is read in pieces\n"
        "  --quiet             no table on standard output\n"
        "  --list              only the list below\n"
        "  --PARAMETER VALUE   a parameter of the rule or of a pre-aggregator, as listed\n"
        "      --help          this text\n\n",
        stdout);
    print_list();
}

/* The options above and one per parameter, ending with a NULL name. */
static void fill_options(struct option *options)
{
    static const struct option base[BASE_OPTIONS] = {
        {"in", required_argument, NULL, 'i'},      {"out", required_argument, NULL, 'o'},
        {"rule", required_argument, NULL, 'r'},    {"f", required_argument, NULL, 'f'},
        {"pre", required_argument, NULL, 'p'},     {"preset", required_argument, NULL, 'P'},
        {"weights", required_argument, NULL, 'w'}, {"weights-from", required_argument, NULL, 'W'},
        {"root", required_argument, NULL, 'R'},    {"dataset", required_argument, NULL, 'd'},
        {"report", required_argument, NULL, 'j'},  {"seed", required_argument, NULL, 's'},
        {"round", required_argument, NULL, 'n'},   {"device", required_argument, NULL, 'D'},
        {"threads", required_argument, NULL, 't'}, {"memory-limit", required_argument, NULL, 'm'},
        {"quiet", no_argument, NULL, 'q'},         {"list", no_argument, NULL, 'l'},
        {"memory", required_argument, NULL, 'M'},  {"help", no_argument, NULL, 'h'},
    };
    size_t count = 0;
    const csl_parameter_info *parameters = csl_rule_parameters(&count);
    memcpy(options, base, sizeof base);
    for (size_t i = 0; i < count; i++) {
        options[BASE_OPTIONS + i] =
            (struct option){parameters[i].name, required_argument, NULL, FIRST_PARAMETER + (int)i};
    }
    options[BASE_OPTIONS + count] = (struct option){NULL, 0, NULL, 0};
}

/* 0, or an exit code after printing what was expected. */
static int take_whole(const char *name, const char *text, uint64_t most, uint64_t *value_out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno == ERANGE || value > most) {
        return csl_app_usage_error(
            "aggregate", "--%s: expected a whole number from 0 to %" PRIu64 ", found '%s'", name,
            most, text);
    }
    *value_out = value;
    return 0;
}

static int take_number_option(aggregate_arguments *arguments, int option)
{
    csl_aggregate_job *job = &arguments->job;
    uint64_t value = 0;
    int code = 0;
    switch (option) {
    case 'f':
        code = take_whole("f", optarg, CSL_ROWS_MAX - 1, &value);
        job->spec.f = (uint32_t)value;
        return code;
    case 'R':
        code = take_whole("root", optarg, CSL_ROWS_MAX - 1, &value);
        job->root = (int64_t)value;
        return code;
    case 's':
        code = take_whole("seed", optarg, UINT64_MAX, &value);
        job->spec.seed = value;
        return code;
    case 'n':
        code = take_whole("round", optarg, UINT32_MAX, &value);
        job->round = (uint32_t)value;
        return code;
    case 't':
        code = take_whole("threads", optarg, CSL_THREADS_MAX, &value);
        job->threads = (uint32_t)value;
        return code;
    default:
        return csl_app_parse_size("aggregate", "memory-limit", optarg, &job->memory_limit)
                   ? 0
                   : CSL_EXIT_USAGE;
    }
}

static int take_option(aggregate_arguments *arguments, int option)
{
    static const char *const presets[] = {"paper", "byzfl", NULL};
    static const char *const policies[] = {"equal", "given", "capped", NULL};
    csl_aggregate_job *job = &arguments->job;
    const char **texts[] = {&job->in,        &job->out,          &arguments->rule,
                            &arguments->pre, &job->weights_from, &job->dataset,
                            &job->report,    &job->device,       &job->memory};
    static const char keys[] = "iorpWdjDM";
    static const char paths[] = "ioWjM";
    static const char *const path_names[] = {"in", "out", "weights-from", "report", "memory"};
    const char *key = strchr(keys, option);
    int word = 0;
    if (option >= FIRST_PARAMETER) {
        arguments->parameters[option - FIRST_PARAMETER] = optarg;
    } else if (option == 'D' && csl_device_check_name(optarg) != CSL_OK) {
        return csl_app_usage_error("aggregate", "--%s", csl_error_message());
    } else if (option == 'd' && (!*optarg || strlen(optarg) >= CSL_NAME_MAX)) {
        return csl_app_usage_error("aggregate", "--dataset: expected a name of 1 to %d bytes",
                                   CSL_NAME_MAX - 1);
    } else if (key && strchr(paths, option)) {
        return csl_app_take_path("aggregate", path_names[strchr(paths, option) - paths], optarg,
                                 texts[key - keys]);
    } else if (key) {
        *texts[key - keys] = optarg;
    } else if (option == 'P') {
        word = csl_app_parse_word("aggregate", "preset", optarg, presets);
        job->spec.preset = (csl_preset)word;
    } else if (option == 'w') {
        word = csl_app_parse_word("aggregate", "weights", optarg, policies);
        job->spec.weights = (csl_weights_policy)word;
    } else if (option == 'q') {
        arguments->quiet = true;
    } else if (option == 'l' || option == 'h') {
        arguments->list = option == 'l';
        arguments->help = option == 'h';
    } else {
        return take_number_option(arguments, option);
    }
    return word < 0 ? CSL_EXIT_USAGE : 0;
}

static bool has_ending(const char *path, const char *ending)
{
    size_t length = strlen(path);
    size_t tail = strlen(ending);
    return length > tail && strcmp(path + length - tail, ending) == 0;
}

static int parse(int argc, char **argv, aggregate_arguments *arguments)
{
    struct option options[BASE_OPTIONS + CSL_PARAMETER_COUNT + 1];
    csl_aggregate_job *job = &arguments->job;
    fill_options(options);
    opterr = 0;
    optind = 1;
    int option = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        int code = option == '?' || option == ':'
                       ? csl_app_unknown_option("aggregate", argv, options)
                       : take_option(arguments, option);
        if (code != 0 || arguments->help || arguments->list) {
            return code;
        }
    }
    if (optind < argc && !job->in) {
        job->in = argv[optind++];
    }
    if (optind < argc) {
        return csl_app_usage_error("aggregate", "one file or folder at a time: '%s' is too much",
                                   argv[optind]);
    }
    if (!job->in || !*job->in || !job->out) {
        return csl_app_usage_error("aggregate", "expected %s",
                                   job->in && *job->in ? "--out FILE for the aggregate"
                                   : job->out          ? "UPDATES, a file or a folder"
                                                       : "UPDATES and --out FILE");
    }
    if (!has_ending(job->out, ".h5") && !has_ending(job->out, ".npy")) {
        return csl_app_usage_error("aggregate", "--out: expected FILE.h5 or FILE.npy, found '%s'",
                                   job->out);
    }
    return 0;
}

/* Names and values that the registry knows better than the parser of options. */
static csl_status specify(aggregate_arguments *arguments)
{
    csl_aggregate_spec *spec = &arguments->job.spec;
    size_t count = 0;
    const csl_parameter_info *info = csl_rule_parameters(&count);
    const csl_rule_info *rule = NULL;
    if (arguments->rule) {
        CSL_TRY(csl_rule_find(arguments->rule, &rule));
        snprintf(spec->rule, sizeof spec->rule, "%s", rule->name);
    }
    if (arguments->pre) {
        CSL_TRY(csl_aggregate_spec_set_pre(spec, arguments->pre));
    }
    for (size_t i = 0; i < count; i++) {
        const char *text = arguments->parameters[i];
        char *end = NULL;
        if (!text) {
            continue;
        }
        double value = strtod(text, &end);
        if (end == text || *end) {
            return csl_fail(CSL_E_RANGE, "--%s: expected a number, found '%s'", info[i].name, text);
        }
        CSL_TRY(csl_aggregate_spec_set(spec, info[i].name, value));
    }
    return CSL_OK;
}

static void print_outcome(const aggregate_arguments *arguments,
                          const csl_aggregate_outcome *outcome)
{
    if (!arguments->quiet) {
        fputs(csl_text_string(&outcome->table), stdout);
        printf("%s written; buffers of a rank %.1f MiB, %llu values of each update at a time\n",
               arguments->job.out, (double)outcome->memory_size / 0x1p20,
               (unsigned long long)outcome->piece_count);
    }
    if (outcome->empty) { /* also to who reads no table */
        fflush(stdout);
        fprintf(stderr, "consilium aggregate: warning: %s trusted no update: %s is zero\n",
                arguments->job.spec.rule, arguments->job.out);
    }
}

int csl_command_aggregate(int argc, char **argv)
{
    aggregate_arguments arguments = {.job = {.root = -1, .device = "auto"}};
    csl_aggregate_spec_init(&arguments.job.spec);
    int code = parse(argc, argv, &arguments);
    if (code != 0) {
        return code;
    }
    if (arguments.help || arguments.list) {
        arguments.help ? print_help() : print_list();
        return 0;
    }
    csl_communicator *communicator = csl_app_start_mpi(SILENCE_SECONDS);
    csl_status status = csl_agree(communicator, specify(&arguments));
    if (status != CSL_OK) {
        csl_app_finish(status);
        return CSL_EXIT_USAGE;
    }
    csl_aggregate_outcome outcome = {.memory_size = 0};
    bool refused = false;
    arguments.job.refused = &refused;
    status = csl_aggregate_file(communicator, &arguments.job, &outcome);
    if (status == CSL_OK && csl_communicator_rank(communicator) == 0) {
        print_outcome(&arguments, &outcome);
    }
    csl_text_clear(&outcome.table);
    code = csl_app_finish(status);
    return refused ? CSL_EXIT_USAGE : code;
}
