/* consilium data info and validate: what a data set file holds and whether it is sound. */
#include "cmd_data.h"

#include <consilium/hash.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct info_arguments {
    const char *path;
    bool json, force;
} info_arguments;

static error_t parse_info(int key, char *text, struct argp_state *state)
{
    info_arguments *arguments = state->input;
    switch (key) {
    case 'j':
        arguments->json = true;
        return 0;
    case 'f':
        arguments->force = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->path) {
            argp_error(state, "expected one file, found '%s' too", text);
        }
        arguments->path = csl_cmd_data_path(state, "FILE", text);
        return 0;
    case ARGP_KEY_END:
        if (!arguments->path) {
            argp_error(state, "expected a FILE");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static uint64_t count_split(const csl_dataset *dataset, int split)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        count += dataset->split[i] == split;
    }
    return count;
}

static uint64_t count_class(const csl_dataset *dataset, int split, uint32_t class)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        bool here = dataset->split[i] == split;
        uint64_t at = i * dataset->class_count + class;
        count += here && (dataset->labels ? dataset->labels[i] == (int32_t) class
                                          : (!dataset->known || dataset->known[at]) &&
                                                dataset->targets[at] > 0.5f);
    }
    return count;
}

static int compare_u64(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Different values of an optional column; 0 where it is absent or memory is short. */
static uint64_t count_different(const csl_dataset *dataset, char column)
{
    bool present = column == 'p'   ? dataset->subject != NULL
                   : column == 'g' ? dataset->group != NULL
                                   : dataset->scanner != NULL;
    uint64_t *values = present ? calloc((size_t)dataset->count, sizeof *values) : NULL;
    uint64_t count = 0;
    for (uint64_t i = 0; values && i < dataset->count; i++) {
        values[i] = column == 'p'   ? dataset->subject[i]
                    : column == 'g' ? (uint64_t)(int64_t)dataset->group[i]
                                    : dataset->scanner[i];
    }
    if (values) {
        qsort(values, (size_t)dataset->count, sizeof *values, compare_u64);
    }
    for (uint64_t i = 0; values && i < dataset->count; i++) {
        count += i == 0 || values[i] != values[i - 1];
    }
    free(values);
    return count;
}

static const char *const type_names[] = {"u8", "i16", "u16", "f32"};
static const char *const task_names[] = {"binary", "multiclass", "multilabel", "regression"};
static const char *const split_names[] = {"train", "validation", "test"};

static void print_text(const info_arguments *arguments,
                       const csl_dataset *dataset,
                       const csl_dataset_metadata *metadata,
                       const char *digest)
{
    printf("%s: %" PRIu64 " images, %u x %u x %u, %u channel%s, %s, %s, site %s\n", arguments->path,
           dataset->count, dataset->shape.extent[0], dataset->shape.extent[1],
           dataset->shape.extent[2], dataset->shape.channels,
           dataset->shape.channels == 1 ? "" : "s", type_names[dataset->type],
           task_names[dataset->task], dataset->site[0] ? dataset->site : "unknown");
    printf("subjects %" PRIu64 ", groups %" PRIu64 ", scanners %" PRIu64 " (0: not in the file)\n",
           count_different(dataset, 'p'), count_different(dataset, 'g'),
           count_different(dataset, 's'));
    printf("licence %s, patient identity removed %s\n",
           metadata->licence[0] ? metadata->licence : "unknown",
           metadata->patient_identity_removed[0] ? metadata->patient_identity_removed : "unknown");
    printf("%-24s %10s %10s %10s\n", "", "train", "validation", "test");
    printf("%-24s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n", "images", count_split(dataset, 0),
           count_split(dataset, 1), count_split(dataset, 2));
    for (uint32_t k = 0; dataset->task != CSL_TASK_REGRESSION && k < dataset->class_count; k++) {
        char number[16];
        snprintf(number, sizeof number, "%u", k);
        printf("%-24s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n",
               dataset->class_names ? dataset->class_names[k] : number, count_class(dataset, 0, k),
               count_class(dataset, 1, k), count_class(dataset, 2, k));
    }
    printf("content sha256 %s\n", digest);
}

/* Images of each class, by split; regression has no classes. */
static json_t *describe_classes(const csl_dataset *dataset)
{
    json_t *histogram = json_object();
    for (int split = 0; split < 3 && dataset->task != CSL_TASK_REGRESSION; split++) {
        json_t *counts = json_array();
        for (uint32_t k = 0; k < dataset->class_count; k++) {
            json_array_append_new(counts, json_integer((json_int_t)count_class(dataset, split, k)));
        }
        json_object_set_new(histogram, split_names[split], counts);
    }
    return histogram;
}

static int print_json(const csl_dataset *dataset, const char *digest)
{
    json_t *splits = json_object();
    for (int split = 0; split < 3; split++) {
        json_object_set_new(splits, split_names[split],
                            json_integer((json_int_t)count_split(dataset, split)));
    }
    json_t *root =
        json_pack("{s:I, s:[i,i,i], s:i, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:o, s:o, s:s}",
                  "images", (json_int_t)dataset->count, "extent", (int)dataset->shape.extent[0],
                  (int)dataset->shape.extent[1], (int)dataset->shape.extent[2], "channels",
                  (int)dataset->shape.channels, "type", type_names[dataset->type], "task",
                  task_names[dataset->task], "site", dataset->site, "classes",
                  (int)dataset->class_count, "subjects", (json_int_t)count_different(dataset, 'p'),
                  "groups", (json_int_t)count_different(dataset, 'g'), "scanners",
                  (json_int_t)count_different(dataset, 's'), "split", splits, "class_histogram",
                  describe_classes(dataset), "content_sha256", digest);
    int failed = !root || json_dumpf(root, stdout, JSON_INDENT(2)) != 0;
    putchar('\n');
    json_decref(root);
    return failed;
}

static void print_finding(void *path, bool is_problem, const char *text)
{
    if (is_problem) {
        fprintf(stderr, "consilium: %s\n", text);
    } else {
        fprintf(stderr, "%s: warning: %s\n", (const char *)path, text);
    }
}

static int validate(const info_arguments *arguments)
{
    char path[CSL_PATH_MAX];
    snprintf(path, sizeof path, "%s", arguments->path);
    csl_dataset *dataset = NULL;
    uint64_t problem_count = 0;
    uint8_t digest[CSL_SHA256_SIZE];
    char text[CSL_SHA256_TEXT_SIZE];
    csl_status status = csl_dataset_validate(arguments->path, arguments->force, print_finding, path,
                                             &problem_count, &dataset);
    if (status == CSL_OK && problem_count != 0) {
        printf("%s: not valid, %" PRIu64 " problem%s\n", path, problem_count,
               problem_count == 1 ? "" : "s");
        return 1;
    }
    if (status == CSL_OK) {
        status = csl_dataset_digest(dataset, digest);
    }
    if (status == CSL_OK) {
        csl_hex(digest, sizeof digest, text);
        printf("%s: valid, %" PRIu64 " images, sha256 %s\n", path, dataset->count, text);
    }
    csl_dataset_destroy(dataset);
    return status == CSL_OK ? 0 : csl_cmd_data_fail();
}

static int info(const info_arguments *arguments)
{
    char path[CSL_PATH_MAX];
    snprintf(path, sizeof path, "%s", arguments->path);
    csl_dataset *dataset = NULL;
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    uint8_t digest[CSL_SHA256_SIZE];
    char text[CSL_SHA256_TEXT_SIZE];
    csl_status status =
        metadata ? csl_dataset_read_described(arguments->path, arguments->force, &dataset, metadata)
                 : csl_fail(CSL_E_NO_MEMORY, "no memory");
    if (status == CSL_OK) {
        status = csl_dataset_warn(dataset, print_finding, path);
    }
    if (status == CSL_OK) {
        status = csl_dataset_digest(dataset, digest);
    }
    int code = status == CSL_OK ? 0 : csl_cmd_data_fail();
    if (status == CSL_OK) {
        csl_hex(digest, sizeof digest, text);
        if (arguments->json) {
            code = print_json(dataset, text);
        } else {
            print_text(arguments, dataset, metadata, text);
        }
    }
    csl_dataset_destroy(dataset);
    free(metadata);
    return code;
}

static int run(int argc, char **argv, bool validating)
{
    static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "for a machine", 0},
        {"force", 'f', NULL, 0, "read a file that may identify patients", 0},
        {0}};
    static const struct argp info_parser = {
        options,           parse_info, "FILE", "Say what a data set file holds.",
        csl_cmd_data_help, NULL,       NULL};
    static const struct argp validate_parser = {
        options + 1,
        parse_info,
        "FILE",
        "Check a data set file and list all that is wrong; exit 1 on a problem.",
        csl_cmd_data_help,
        NULL,
        NULL};
    info_arguments arguments = {NULL, false, false};
    argp_parse(validating ? &validate_parser : &info_parser, argc, argv, 0, NULL, &arguments);
    return validating ? validate(&arguments) : info(&arguments);
}

int csl_cmd_data_info(int argc, char **argv)
{
    return run(argc, argv, false);
}

int csl_cmd_data_validate(int argc, char **argv)
{
    return run(argc, argv, true);
}
