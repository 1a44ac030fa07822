/* consilium data: its subcommands, and drawing phantoms. */
#include "cmd_data.h"

#include <consilium/atomic_file.h>
#include <consilium/phantom.h>
#include <consilium/text.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

int csl_cmd_data_fail(void)
{
    fprintf(stderr, "consilium: %s\n", csl_error_message());
    return 1;
}

uint64_t csl_cmd_data_number(
    struct argp_state *state, const char *name, const char *text, uint64_t low, uint64_t high)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno != 0 || value < low || value > high) {
        argp_error(state, "%s: expected %" PRIu64 "..%" PRIu64 ", found '%s'", name, low, high,
                   text);
    }
    return value;
}

const char *csl_cmd_data_path(struct argp_state *state, const char *name, const char *text)
{
    if (!*text) {
        argp_error(state, "%s: expected a name, found ''", name);
    }
    return text;
}

double csl_cmd_data_real(
    struct argp_state *state, const char *name, const char *text, double low, double high)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high)) {
        argp_error(state, "%s: expected %g..%g, found '%s'", name, low, high, text);
    }
    return value;
}

static error_t parse_help(int key, char *text, struct argp_state *state)
{
    (void)text;
    if (key != 'h') {
        return ARGP_ERR_UNKNOWN;
    }
    argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
    return 0;
}

static const struct argp_option help_options[] = {{NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0}, {0}};
static const struct argp help_parser = {help_options, parse_help, NULL, NULL, NULL, NULL, NULL};
const struct argp_child csl_cmd_data_help[] = {{&help_parser, 0, NULL, 0}, {0}};

typedef struct synth_arguments {
    csl_phantom_options options;
    const char *kind, *out;
} synth_arguments;

static error_t parse_synth(int key, char *text, struct argp_state *state)
{
    synth_arguments *arguments = state->input;
    csl_phantom_options *options = &arguments->options;
    switch (key) {
    case 'o':
        arguments->out = csl_cmd_data_path(state, "--out", text);
        return 0;
    case 'n':
        options->count = csl_cmd_data_number(state, "--count", text, 1, UINT32_MAX);
        return 0;
    case 'c':
        options->class_count =
            (uint32_t)csl_cmd_data_number(state, "--classes", text, 2, CSL_PHANTOM_CLASSES_MAX);
        return 0;
    case 'z':
        options->size = (uint32_t)csl_cmd_data_number(state, "--size", text, 16, 512);
        return 0;
    case 'd':
        options->dims = (uint32_t)csl_cmd_data_number(state, "--dims", text, 2, 3);
        return 0;
    case 't':
        options->site_count =
            (uint32_t)csl_cmd_data_number(state, "--sites", text, 1, CSL_PHANTOM_SITES_MAX);
        return 0;
    case 's':
        options->seed = csl_cmd_data_number(state, "--seed", text, 0, UINT64_MAX);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->kind) {
            argp_error(state, "'%s' is too much", text);
        }
        if (strcmp(text, "phantom") != 0) {
            argp_error(state, "expected 'phantom', found '%s'", text);
        }
        arguments->kind = text;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->kind || !arguments->out) {
            argp_error(state, "expected 'phantom' and --out FILE");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int run_synth(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"out", 'o', "FILE", 0, "data set to write (HDF5)", 0},
        {"count", 'n', "N", 0, "images (4000)", 0},
        {"classes", 'c', "N", 0, "2..4: clear, nodule, consolidation, diffuse opacity (2)", 0},
        {"size", 'z', "VOXELS", 0, "along each axis, 16..512, volumes 16..128 (28)", 0},
        {"dims", 'd', "2|3", 0, "pictures or volumes (2)", 0},
        {"sites", 't', "N", 0, "institutions, 1..64, each with its own scanner (8)", 0},
        {"seed", 's', "N", 0, "same seed, same bytes (1)", 0},
        {0}};
    static const struct argp parser = {
        options,
        parse_synth,
        "phantom",
        "Draw chest-like images with lesions, so that everything runs with no download.",
        csl_cmd_data_help,
        NULL,
        NULL};
    synth_arguments arguments = {.out = NULL};
    csl_phantom_defaults(&arguments.options);
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    csl_dataset *dataset = NULL;
    csl_status status = metadata ? csl_atomic_check(arguments.out)
                                 : csl_fail(CSL_E_NO_MEMORY, "%s: no memory", arguments.out);
    status = status == CSL_OK ? csl_phantom_create(&arguments.options, &dataset) : status;
    if (status != CSL_OK) {
        free(metadata);
        int code = csl_cmd_data_fail();
        return status == CSL_E_RANGE ? CSL_EXIT_USAGE : code; /* options that do not go together */
    }
    snprintf(metadata->study_id, CSL_TEXT_MAX, "phantom-%" PRIu64, arguments.options.seed);
    snprintf(metadata->licence, CSL_TEXT_MAX, "CC0-1.0");
    snprintf(metadata->patient_identity_removed, CSL_TEXT_MAX, "YES");
    snprintf(metadata->deid_method, CSL_TEXT_MAX, "synthetic: there is no patient");
    snprintf(metadata->split_method, CSL_TEXT_MAX, "by subject, 70/10/20");
    status = csl_dataset_write_described(arguments.out, dataset, metadata);
    if (status == CSL_OK) {
        fprintf(stderr, "%s: %" PRIu64 " images of %u^%u, %u classes, %u sites\n", arguments.out,
                dataset->count, arguments.options.size, arguments.options.dims,
                dataset->class_count, arguments.options.site_count);
    }
    csl_dataset_destroy(dataset);
    free(metadata);
    return status == CSL_OK ? 0 : csl_cmd_data_fail();
}

static const csl_command data_commands[] = {
    {"import", "MedMNIST-style .npz or a folder of pictures to a data set file",
     csl_cmd_data_import},
    {"synth", "seeded chest-like phantoms", run_synth},
    {"split", "a pool into one file per institution", csl_cmd_data_split},
    {"info", "what a data set file holds", csl_cmd_data_info},
    {"validate", "every check there is; exit 1 on a problem", csl_cmd_data_validate},
    {NULL, NULL, NULL}};

static void print_help(FILE *stream)
{
    fputs("Usage: consilium data COMMAND [OPTION]...\nImages in files.\n\nCommands:\n", stream);
    for (const csl_command *command = data_commands; command->name; command++) {
        fprintf(stream, "  %-10s %s\n", command->name, command->summary);
    }
    fputs("\n  --help     this text; consilium data COMMAND --help for one command\n", stream);
}

int csl_command_data(int argc, char **argv)
{
    if (!csl_app_works_alone()) {
        return 0;
    }
    argp_err_exit_status = 2;
    static char option[] = "--help";
    char *words[] = {argv[0], argc >= 3 ? argv[2] : option, option, NULL};
    if (argc >= 2 && strcmp(argv[1], "help") == 0) { /* `data help split` is `data split --help` */
        argc = argc >= 3 ? 3 : 2;
        argv = words;
    }
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help(stdout);
        return 0;
    }
    for (const csl_command *command = data_commands; argc >= 2 && command->name; command++) {
        if (strcmp(argv[1], command->name) == 0) {
            char name[64];
            snprintf(name, sizeof name, "consilium data %s", command->name);
            argv[1] = name;
            return command->run(argc - 1, argv + 1);
        }
    }
    if (argc >= 2) {
        const char *nearest =
            csl_nearest_name_strided(argv[1], &data_commands[0].name, sizeof *data_commands,
                                     sizeof data_commands / sizeof *data_commands - 1);
        return nearest ? csl_app_usage_error("data", "unknown command '%s'; did you mean '%s'?",
                                             argv[1], nearest)
                       : csl_app_usage_error("data", "unknown command '%s'", argv[1]);
    }
    print_help(stderr);
    return 2;
}
