/* consilium data import: an archive or a folder of pictures becomes a data set file. */
#include "cmd_data.h"

#include <consilium/atomic_file.h>
#include <consilium/import.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct import_arguments {
    const char *paths[2];
    char site[CSL_NAME_MAX];
    csl_dataset_metadata *metadata;
    csl_folder_options folder;
} import_arguments;

/* "224" or "224x160": height and width. */
static void parse_size(struct argp_state *state, const char *text, csl_folder_options *folder)
{
    char height[16];
    size_t length = strcspn(text, "x");
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits != length ||
        (text[length] && (!text[length + 1] || strchr(text + length + 1, 'x')))) {
        argp_error(state, "--size: expected a number or HEIGHTxWIDTH, found '%s'", text);
    }
    snprintf(height, sizeof height, "%.*s", (int)(length < 15 ? length : 15), text);
    folder->height = (uint32_t)csl_cmd_data_number(state, "--size", height, 1, CSL_EXTENT_MAX);
    folder->width = text[length] ? (uint32_t)csl_cmd_data_number(state, "--size", text + length + 1,
                                                                 1, CSL_EXTENT_MAX)
                                 : folder->height;
}

/* "NAME=TEXT" for one attribute of the file. */
static void parse_description(struct argp_state *state, const char *text, csl_dataset_metadata *to)
{
    char name[CSL_NAME_MAX];
    size_t length = strcspn(text, "=");
    if (text[length] == 0 || length >= sizeof name) {
        argp_error(state, "--describe: expected NAME=TEXT, found '%s'", text);
    }
    memcpy(name, text, length);
    name[length] = 0;
    if (csl_metadata_set(to, name, text + length + 1) != CSL_OK) {
        argp_error(state, "--describe: %s", csl_error_message());
    }
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Options of folders say nothing of an archive. */
static void check_folder_options(struct argp_state *state, const import_arguments *arguments)
{
    const csl_folder_options *folder = &arguments->folder;
    struct stat info;
    if ((folder->height != 0 || folder->channels != 0 || folder->patients) &&
        stat(arguments->paths[0], &info) == 0 && !S_ISDIR(info.st_mode)) {
        argp_error(state,
                   "%s: --size, --colour and --patients are for folders of pictures, found no "
                   "folder",
                   arguments->paths[0]);
    }
}

static error_t parse_import(int key, char *text, struct argp_state *state)
{
    import_arguments *arguments = state->input;
    switch (key) {
    case 'l':
        if (csl_metadata_set(arguments->metadata, "licence", text) != CSL_OK) {
            argp_error(state, "--licence: %s", csl_error_message());
        }
        return 0;
    case 's':
        if (csl_site_set(text, arguments->site) != CSL_OK) {
            argp_error(state, "--site: %s", csl_error_message());
        }
        return 0;
    case 'd':
        parse_description(state, text, arguments->metadata);
        return 0;
    case 'z':
        parse_size(state, text, &arguments->folder);
        return 0;
    case 'p':
        arguments->folder.patients = csl_cmd_data_path(state, "--patients", text);
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
        arguments->paths[state->arg_num] =
            csl_cmd_data_path(state, state->arg_num == 0 ? "IN" : "OUT.h5", text);
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2) {
            argp_error(state, "expected IN.npz or a FOLDER, and OUT.h5");
        }
        check_folder_options(state, arguments);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Nothing that is read may be written over, nor may the result become a picture of the folder. */
static csl_status check_paths(const import_arguments *arguments)
{
    const char *in = arguments->paths[0], *out = arguments->paths[1];
    const char *patients = arguments->folder.patients;
    CSL_TRY(csl_atomic_check(out));
    if (csl_same_file(in, out) || (patients && csl_same_file(patients, out))) {
        return csl_fail(CSL_E_INVALID_ARG, "%s: expected another file to write to than those read",
                        out);
    }
    if (is_folder(in) && csl_file_is_below(out, in)) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "%s: expected a file outside the folder that is read, found one in it",
                        out);
    }
    return CSL_OK;
}

/* What the source says of itself, unless the user knows better. */
static void describe(char field[CSL_TEXT_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void describe(char field[CSL_TEXT_MAX], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (!field[0]) {
        vsnprintf(field, CSL_TEXT_MAX, format, arguments);
    }
    va_end(arguments);
}

/* Reads the archive or folder and says in the metadata what is known of it. */
static csl_status import(const import_arguments *arguments, csl_dataset **dataset_out)
{
    const csl_folder_options *folder = &arguments->folder;
    csl_dataset_metadata *metadata = arguments->metadata;
    CSL_TRY(check_paths(arguments));
    if (!is_folder(arguments->paths[0])) {
        describe(metadata->split_method, "as in the archive");
        return csl_import_npz(arguments->paths[0], dataset_out);
    }
    CSL_TRY(csl_import_folder(arguments->paths[0], folder, dataset_out));
    describe(metadata->split_method, "as in the folders");
    describe(metadata->photometric, "%s",
             (*dataset_out)->shape.channels == 1 ? "MONOCHROME2" : "RGB");
    describe(metadata->bits_stored, "%d", (*dataset_out)->type == CSL_U16 ? 16 : 8);
    if (folder->height != 0) {
        describe(metadata->resampling, "triangle filter to %u x %u", folder->height, folder->width);
    }
    return CSL_OK;
}

int csl_cmd_data_import(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"licence", 'l', "TEXT", 0, "terms the images are under; kept with the file", 0},
        {"site", 's', "NAME", 0, "institution the images are from (unknown)", 0},
        {"describe", 'd', "NAME=TEXT", 0,
         "any other text of the file: consent, irb_id, patient_identity_removed, dicom_modality, "
         "spacing_mm, ... (docs/FORMATS.md lists them); as often as needed",
         0},
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
                                       csl_cmd_data_help,
                                       NULL,
                                       NULL};
    import_arguments arguments = {.metadata = calloc(1, sizeof *arguments.metadata)};
    if (!arguments.metadata) {
        fputs("consilium: no memory\n", stderr);
        return 1;
    }
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    csl_dataset *dataset = NULL;
    csl_status status = import(&arguments, &dataset);
    if (status == CSL_OK) {
        memcpy(dataset->site, arguments.site, sizeof dataset->site);
        status = csl_dataset_write_described(arguments.paths[1], dataset, arguments.metadata);
    }
    if (status == CSL_OK) {
        fprintf(stderr, "%s: %" PRIu64 " images, %u classes\n", arguments.paths[1], dataset->count,
                dataset->class_count);
    }
    csl_dataset_destroy(dataset);
    free(arguments.metadata);
    return status == CSL_OK ? 0 : csl_cmd_data_fail();
}
