/* consilium data: importing, synthesising, splitting and looking at data sets. */
#include "cmd_data.h"

#include <consilium/import.h>
#include <consilium/phantom.h>
#include <consilium/text.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
        arguments->out = text;
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
        if (arguments->kind || strcmp(text, "phantom") != 0) {
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
        {"size", 'z', "VOXELS", 0, "along each axis (28)", 0},
        {"dims", 'd', "2|3", 0, "pictures or volumes (2)", 0},
        {"sites", 't', "N", 0, "institutions, each with its own scanner (8)", 0},
        {"seed", 's', "N", 0, "same seed, same bytes (1)", 0},
        {0}};
    static const struct argp parser = {
        options,   parse_synth,
        "phantom", "Draw chest-like images with lesions, so that everything runs with no download.",
        NULL,      NULL,
        NULL};
    synth_arguments arguments = {.out = NULL};
    csl_phantom_defaults(&arguments.options);
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    csl_dataset *dataset = NULL;
    if (!metadata || csl_phantom_create(&arguments.options, &dataset) != CSL_OK) {
        free(metadata);
        return csl_cmd_data_fail();
    }
    snprintf(metadata->study_id, CSL_TEXT_MAX, "phantom-%" PRIu64, arguments.options.seed);
    snprintf(metadata->licence, CSL_TEXT_MAX, "CC0-1.0");
    snprintf(metadata->patient_identity_removed, CSL_TEXT_MAX, "YES");
    snprintf(metadata->deid_method, CSL_TEXT_MAX, "synthetic: there is no patient");
    snprintf(metadata->split_method, CSL_TEXT_MAX, "by subject, 70/10/20");
    csl_status status = csl_dataset_write_described(arguments.out, dataset, metadata);
    if (status == CSL_OK) {
        fprintf(stderr, "%s: %" PRIu64 " images of %u^%u, %u classes, %u sites\n", arguments.out,
                dataset->count, arguments.options.size, arguments.options.dims,
                dataset->class_count, arguments.options.site_count);
    }
    csl_dataset_destroy(dataset);
    free(metadata);
    return status == CSL_OK ? 0 : csl_cmd_data_fail();
}

typedef struct import_arguments {
    const char *paths[2];
    const char *licence;
    csl_folder_options folder;
} import_arguments;

/* "224" or "224x160": height and width. */
static void parse_size(struct argp_state *state, const char *text, csl_folder_options *folder)
{
    char height[16];
    size_t length = strcspn(text, "x");
    snprintf(height, sizeof height, "%.*s", (int)(length < 15 ? length : 15), text);
    folder->height = (uint32_t)csl_cmd_data_number(state, "--size", height, 1, CSL_EXTENT_MAX);
    folder->width = text[length] ? (uint32_t)csl_cmd_data_number(state, "--size", text + length + 1,
                                                                 1, CSL_EXTENT_MAX)
                                 : folder->height;
}

static error_t parse_import(int key, char *text, struct argp_state *state)
{
    import_arguments *arguments = state->input;
    switch (key) {
    case 'l':
        arguments->licence = text;
        return 0;
    case 'z':
        parse_size(state, text, &arguments->folder);
        return 0;
    case 'p':
        arguments->folder.patients = text;
        return 0;
    case 'c':
        if (strcmp(text, "grey") != 0 && strcmp(text, "rgb") != 0) {
            argp_error(state, "--colour: expected grey or rgb, found '%s'", text);
        }
        arguments->folder.channels = text[0] == 'g' ? 1 : 3;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num >= 2) {
            argp_error(state, "expected IN and OUT.h5, found '%s' too", text);
        }
        arguments->paths[state->arg_num] = text;
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2) {
            argp_error(state, "expected IN.npz or a FOLDER, and OUT.h5");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Reads the archive or folder and says in the metadata what is known of it. */
static csl_status
import(const import_arguments *arguments, csl_dataset_metadata *metadata, csl_dataset **dataset_out)
{
    const csl_folder_options *folder = &arguments->folder;
    struct stat info;
    snprintf(metadata->licence, CSL_TEXT_MAX, "%s", arguments->licence ? arguments->licence : "");
    if (stat(arguments->paths[0], &info) != 0 || !S_ISDIR(info.st_mode)) {
        if (folder->height != 0 || folder->channels != 0 || folder->patients) {
            return csl_fail(CSL_E_INVALID_ARG,
                            "%s: --size, --colour and --patients are for folders of pictures, "
                            "found no folder",
                            arguments->paths[0]);
        }
        snprintf(metadata->split_method, CSL_TEXT_MAX, "as in the archive");
        return csl_import_npz(arguments->paths[0], dataset_out);
    }
    CSL_TRY(csl_import_folder(arguments->paths[0], folder, dataset_out));
    snprintf(metadata->split_method, CSL_TEXT_MAX, "as in the folders");
    snprintf(metadata->photometric, CSL_TEXT_MAX, "%s",
             (*dataset_out)->shape.channels == 1 ? "MONOCHROME2" : "RGB");
    snprintf(metadata->bits_stored, CSL_TEXT_MAX, "%d", (*dataset_out)->type == CSL_U16 ? 16 : 8);
    if (folder->height != 0) {
        snprintf(metadata->resampling, CSL_TEXT_MAX, "triangle filter to %u x %u", folder->height,
                 folder->width);
    }
    return CSL_OK;
}

static int run_import(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"licence", 'l', "TEXT", 0, "terms the images are under; kept with the file", 0},
        {"size", 'z', "N|HxW", 0, "of a folder: resize to N x N or H x W (all must be equal)", 0},
        {"colour", 'c', "grey|rgb", 0, "of a folder: convert to it (all must be alike)", 0},
        {"patients", 'p', "FILE.csv", 0,
         "of a folder: whose each picture is; columns file, patient and, if known, site", 0},
        {0}};
    static const struct argp parser = {options,
                                       parse_import,
                                       "IN.npz|FOLDER OUT.h5",
                                       "Turn a MedMNIST-style archive (train_images, train_labels, "
                                       "...) or a folder of PNG and JPEG "
                                       "pictures into a data set file. A folder has a sub-folder "
                                       "for each class, in train, val and "
                                       "test where there are splits.",
                                       NULL,
                                       NULL,
                                       NULL};
    import_arguments arguments = {.licence = NULL};
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    csl_dataset *dataset = NULL;
    csl_status status =
        metadata ? import(&arguments, metadata, &dataset) : csl_fail(CSL_E_NO_MEMORY, "no memory");
    if (status == CSL_OK) {
        status = csl_dataset_write_described(arguments.paths[1], dataset, metadata);
    }
    if (status == CSL_OK) {
        fprintf(stderr, "%s: %" PRIu64 " images, %u classes\n", arguments.paths[1], dataset->count,
                dataset->class_count);
    }
    csl_dataset_destroy(dataset);
    free(metadata);
    return status == CSL_OK ? 0 : csl_cmd_data_fail();
}

static const csl_command data_commands[] = {
    {"import", "MedMNIST-style .npz or a folder of pictures to a data set file", run_import},
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
    argp_err_exit_status = 2;
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
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
