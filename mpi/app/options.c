/* Option errors that name what was probably meant. */
#include "commands.h"

#include <consilium/text.h>

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What launchers call a process's rank; NULL where there is no launcher. */
static const char *launched_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                        "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *rank = getenv(names[i]);
        if (rank && *rank) {
            return rank;
        }
    }
    return NULL;
}

bool csl_app_is_launched(void)
{
    return launched_rank() != NULL;
}

bool csl_app_is_first(void)
{
    const char *rank = launched_rank();
    return !rank || strcmp(rank, "0") == 0;
}

int csl_app_usage_error(const char *command, const char *format, ...)
{
    if (!csl_app_is_first()) {
        return CSL_EXIT_USAGE;
    }
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "consilium %s: ", command);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nTry 'consilium %s --help'\n", command);
    va_end(arguments);
    return CSL_EXIT_USAGE;
}

int csl_app_unknown_option(const char *command, char **argv, const struct option *options)
{
    const char *given = argv[optind - 1];
    char name[CSL_NAME_MAX] = "";
    if (optopt > 0 && optopt < 256) {
        for (const struct option *option = options; option->name; option++) {
            if (option->val == optopt) {
                return csl_app_usage_error(command, "option --%s needs a value", option->name);
            }
        }
        return csl_app_usage_error(command, "unknown option '-%c'", optopt);
    }
    if (strncmp(given, "--", 2) == 0) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(given + 2, "="), given + 2);
    }
    const char *names[64] = {0};
    for (size_t i = 0; options[i].name && i < 63; i++) {
        names[i] = options[i].name;
        if (strcmp(name, options[i].name) == 0) {
            return csl_app_usage_error(command, "option --%s %s", name,
                                       options[i].has_arg ? "needs a value" : "takes no value");
        }
    }
    const char *nearest = csl_nearest_name(name, names);
    return nearest ? csl_app_usage_error(command, "unknown option '%s'; did you mean --%s?", given,
                                         nearest)
                   : csl_app_usage_error(command, "unknown option '%s'", given);
}

bool csl_app_parse_number(const char *command,
                          const char *option,
                          const char *text,
                          double least,
                          double most,
                          double *value_out)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most)) {
        csl_app_usage_error(command, "--%s: expected a number from %g to %g, found '%s'", option,
                            least, most, text);
        return false;
    }
    *value_out = value;
    return true;
}
