/* consilium data split: a pool becomes one file per institution. */
#include "cmd_data.h"

#include <consilium/atomic_file.h>
#include <consilium/partition.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct split_arguments {
    csl_partition_options options;
    const char *path, *out;
    uint32_t given; /* of scheme_options, by their position */
} split_arguments;

/* Options that some schemes alone read: under another they would change nothing. */
static const struct {
    int key;
    const char *option;
    const char *schemes; /* a space around each */
} scheme_options[] = {
    {'a', "--alpha", " dirichlet dirichlet-balanced dirichlet-institution quantity-dirichlet "},
    {'l', "--labels-each", " label-quantity "},
    {'d', "--shards-each", " shards "},
    {'g', "--sigma", " quantity-lognormal feature-noise "},
    {'t', "--strength", " feature-scanner "},
};
enum { SCHEME_OPTION_COUNT = sizeof scheme_options / sizeof *scheme_options };

static void note_scheme_option(split_arguments *arguments, int key)
{
    for (uint32_t i = 0; i < SCHEME_OPTION_COUNT; i++) {
        arguments->given |= (uint32_t)(scheme_options[i].key == key) << i;
    }
}

static void check_scheme_options(struct argp_state *state, const split_arguments *arguments)
{
    const char *scheme = csl_partition_scheme_name(arguments->options.split.scheme);
    char word[CSL_NAME_MAX];
    snprintf(word, sizeof word, " %s ", scheme);
    for (uint32_t i = 0; i < SCHEME_OPTION_COUNT; i++) {
        if ((arguments->given >> i & 1) && !strstr(scheme_options[i].schemes, word)) {
            argp_error(state, "%s: scheme %s makes no use of it; these do: %.*s",
                       scheme_options[i].option, scheme, (int)strlen(scheme_options[i].schemes) - 2,
                       scheme_options[i].schemes + 1);
        }
    }
}

static error_t parse_more(int key, char *text, struct argp_state *state)
{
    csl_study_split *split = &((split_arguments *)state->input)->options.split;
    note_scheme_option(state->input, key);
    switch (key) {
    case 'a':
        split->alpha = csl_cmd_data_real(state, "--alpha", text, 1e-6, 1e9);
        return 0;
    case 'l':
        split->labels_each =
            (uint32_t)csl_cmd_data_number(state, "--labels-each", text, 1, CSL_CLASSES_MAX);
        return 0;
    case 'd':
        split->shards_each =
            (uint32_t)csl_cmd_data_number(state, "--shards-each", text, 1, 1000000);
        return 0;
    case 'g':
        split->sigma = csl_cmd_data_real(state, "--sigma", text, 0.0, 10.0);
        return 0;
    case 't':
        split->strength = csl_cmd_data_real(state, "--strength", text, 0.0, 1.0);
        return 0;
    case 'm':
        split->min_size = (uint32_t)csl_cmd_data_number(state, "--min-size", text, 1, 1000000000);
        return 0;
    case 'f':
        split->force = true;
        return 0;
    case 'r':
        split->holdout = CSL_HOLDOUT_REDRAW;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_split(int key, char *text, struct argp_state *state)
{
    split_arguments *arguments = state->input;
    switch (key) {
    case 'o':
        arguments->out = csl_cmd_data_path(state, "--out", text);
        return 0;
    case 'c':
        if (csl_partition_scheme_find(text, &arguments->options.split.scheme) != CSL_OK) {
            argp_error(state, "--scheme: %s", csl_error_message());
        }
        return 0;
    case 'n':
        arguments->options.institution_count =
            (uint32_t)csl_cmd_data_number(state, "--institutions", text, 1, CSL_INSTITUTIONS_MAX);
        return 0;
    case 's':
        arguments->options.seed = csl_cmd_data_number(state, "--seed", text, 0, UINT64_MAX);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->path) {
            argp_error(state, "expected one pool, found '%s' too", text);
        }
        arguments->path = csl_cmd_data_path(state, "IN.h5", text);
        return 0;
    case ARGP_KEY_END:
        if (!arguments->path || !arguments->out) {
            argp_error(state, "expected IN.h5 and --out DIR");
        }
        check_scheme_options(state, arguments);
        return 0;
    default:
        return parse_more(key, text, state);
    }
}

static void
print_row(uint32_t institution, const csl_dataset *dataset, const csl_partition_summary *summary)
{
    printf("%11u %8" PRIu64 " %10" PRIu64 " %8" PRIu64 " %8.4f %8.4f  ", institution,
           summary->size[0], summary->size[1], summary->size[2], summary->jensen_shannon,
           summary->earth_mover);
    for (uint32_t k = 0; k < dataset->class_count; k++) {
        printf("%s%" PRIu64, k ? "/" : "", summary->class_size[k]);
    }
    putchar('\n');
}

static csl_status write_institution(const split_arguments *arguments,
                                    const csl_dataset *pool,
                                    const csl_partition_plan *plan,
                                    uint32_t institution,
                                    const csl_dataset_metadata *metadata)
{
    csl_partition_summary summary;
    CSL_TRY(csl_partition_summarise(pool, plan, institution, &summary));
    CSL_TRY(csl_partition_write(pool, metadata, plan, institution, arguments->out, NULL));
    print_row(institution, pool, &summary);
    return CSL_OK;
}

static csl_status write_all(const split_arguments *arguments,
                            const csl_dataset *pool,
                            const csl_partition_plan *plan,
                            const csl_dataset_metadata *metadata)
{
    char path[CSL_PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/partition.json", arguments->out);
    if (length < 0 || (size_t)length >= sizeof path) {
        return csl_fail(CSL_E_RANGE, "%s: path is too long", arguments->out);
    }
    if (mkdir(arguments->out, 0777) != 0 && errno != EEXIST) {
        return csl_fail(CSL_E_IO, "%s: %s", arguments->out, strerror(errno));
    }
    CSL_TRY(csl_partition_check_folder(arguments->out, plan->institution_count, arguments->path));
    CSL_TRY(csl_atomic_check(path));
    if (csl_same_file(path, arguments->path)) {
        return csl_fail(CSL_E_INVALID_ARG, "%s: expected another file than the pool for the report",
                        path);
    }
    printf("institution    train validation     test   JS bits      EMD  classes\n");
    for (uint32_t j = 0; j < plan->institution_count; j++) {
        CSL_TRY(write_institution(arguments, pool, plan, j, metadata));
    }
    printf("scheme %s, seed %" PRIu64 ", effective number of institutions %.2f\n",
           csl_partition_scheme_name(plan->options.split.scheme), plan->options.seed,
           csl_partition_effective_count(plan));
    return csl_partition_report(pool, plan, path);
}

int csl_cmd_data_split(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"out", 'o', "DIR", 0, "folder for institution-NN.h5 and partition.json", 0},
        {"scheme", 'c', "NAME", 0,
         "iid, dirichlet, dirichlet-balanced, dirichlet-institution, label-quantity, shards, "
         "quantity-dirichlet, quantity-lognormal, quantity-linear, quantity-square, "
         "quantity-exponential, feature-noise, feature-scanner, natural (iid)",
         0},
        {"institutions", 'n', "N", 0, "how many (8)", 0},
        {"alpha", 'a', "X", 0, "concentration of the Dirichlet schemes (0.5)", 0},
        {"labels-each", 'l', "N", 0, "label-quantity: classes of an institution (2)", 0},
        {"shards-each", 'd', "N", 0, "shards: of an institution (2)", 0},
        {"sigma", 'g', "X", 0, "quantity-lognormal, feature-noise: deviation (0.5)", 0},
        {"strength", 't', "X", 0, "feature-scanner: 1 sorted, 0 by chance (1)", 0},
        {"min-size", 'm', "N", 0, "fewest training images of an institution (10)", 0},
        {"redraw", 'r', NULL, 0, "draw validation and test anew at each institution", 0},
        {"force", 'f', NULL, 0, "break up patients and groups", 0},
        {"seed", 's', "N", 0, "same seed, same partition (1)", 0},
        {0}};
    static const struct argp parser = {options,
                                       parse_split,
                                       "IN.h5",
                                       "Deal a pool to institutions; patients stay whole.",
                                       csl_cmd_data_help,
                                       NULL,
                                       NULL};
    split_arguments arguments = {.path = NULL};
    csl_partition_defaults(&arguments.options);
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    csl_dataset *pool = NULL;
    csl_partition_plan *plan = NULL;
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    csl_status status = metadata
                            ? csl_dataset_read_described(arguments.path, false, &pool, metadata)
                            : csl_fail(CSL_E_NO_MEMORY, "no memory");
    if (status == CSL_OK) {
        status = csl_partition(pool, &arguments.options, &plan);
    }
    if (status == CSL_OK) {
        status = write_all(&arguments, pool, plan, metadata);
    }
    csl_partition_plan_destroy(plan);
    csl_dataset_destroy(pool);
    free(metadata);
    return status == CSL_OK ? 0 : csl_cmd_data_fail();
}
