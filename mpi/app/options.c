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

/* What is wrong with a known option, or with a letter that is none. */
static int wrong_option(const char *command, const char *given, const struct option *options)
{
    size_t length = strncmp(given, "--", 2) == 0 ? strcspn(given + 2, "=") : 0;
    for (const struct option *option = options; length > 0 && option->name; option++) {
        if (option->val == optopt && strncmp(given + 2, option->name, length) == 0) {
            return csl_app_usage_error(command, "option --%s %s", option->name,
                                       option->has_arg ? "needs a value" : "takes no value");
        }
    }
    return csl_app_usage_error(command, "unknown option '-%c'", optopt);
}

int csl_app_unknown_option(const char *command, char **argv, const struct option *options)
{
    const char *given = argv[optind - 1];
    char name[CSL_NAME_MAX] = "";
    if (optopt != 0) { /* its val, where getopt_long knows the option */
        return wrong_option(command, given, options);
    }
    if (strncmp(given, "--", 2) == 0) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(given + 2, "="), given + 2);
    }
    const char *names[64] = {0};
    const char *longer[2] = {0}; /* that begin with what was given */
    size_t found = 0;
    for (size_t i = 0; options[i].name && i < 63; i++) {
        names[i] = options[i].name;
        if (found < 2 && *name && strncmp(name, options[i].name, strlen(name)) == 0) {
            longer[found++] = options[i].name;
        }
    }
    if (found == 2) {
        return csl_app_usage_error(command, "option '%s' can be --%s or --%s", given, longer[0],
                                   longer[1]);
    }
    const char *nearest = csl_nearest_name(name, names);
    return nearest ? csl_app_usage_error(command, "unknown option '%s'; did you mean --%s?", given,
                                         nearest)
                   : csl_app_usage_error(command, "unknown option '%s'", given);
}

int csl_app_take_path(const char *command,
                      const char *option,
                      const char *text,
                      const char **path_out)
{
    if (!*text) {
        return csl_app_usage_error(command, "--%s: expected a name, found ''", option);
    }
    *path_out = text;
    return 0;
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
        csl_app_usage_error(command, "--%s: expected a number from %.16g to %.16g, found '%s'",
                            option, least, most, text);
        return false;
    }
    *value_out = value;
    return true;
}

bool csl_app_parse_size(const char *command,
                        const char *option,
                        const char *text,
                        uint64_t *size_out)
{
    char *end = NULL;
    double value = strtod(text, &end);
    static const char units[] = "KMGT";
    const char *unit = end != text && *end ? strchr(units, *end) : NULL;
    for (const char *step = units; unit && step <= unit; step++) {
        value *= 1024;
    }
    end += unit != NULL;
    end += unit && strncmp(end, "iB", 2) == 0 ? 2 : unit && *end == 'B' ? 1 : 0;
    if (end == text || *end || !(value >= 1 && value < 0x1p62)) {
        csl_app_usage_error(command, "--%s: expected a size such as 500M or 4G, found '%s'", option,
                            text);
        return false;
    }
    *size_out = (uint64_t)value;
    return true;
}

int csl_app_parse_word(const char *command,
                       const char *option,
                       const char *text,
                       const char *const *names)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            return i;
        }
    }
    char all[256] = "";
    for (int i = 0; names[i]; i++) {
        size_t length = strlen(all);
        snprintf(all + length, sizeof all - length, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = csl_nearest_name(text, names);
    csl_app_usage_error(command, "--%s: expected one of %s, found '%s'%s%s%s", option, all, text,
                        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return -1;
}

bool csl_app_parse_ranks(const char *command,
                         const char *option,
                         const char *text,
                         uint32_t *ranks,
                         uint32_t most,
                         uint32_t *count_out)
{
    uint32_t count = 0;
    const char *at = text;
    bool good = true;
    while (good) {
        char *end = NULL;
        unsigned long first = strtoul(at, &end, 10);
        unsigned long last = first;
        good = end != at && *at >= '0' && *at <= '9';
        if (good && *end == '-') {
            at = end + 1;
            last = strtoul(at, &end, 10);
            good = end != at && *at >= '0' && *at <= '9';
        }
        /* Ascending, and no more than there may be. */
        good = good && last >= first && last - first < most - count &&
               (count == 0 || first > ranks[count - 1]) && last < UINT32_MAX;
        for (unsigned long rank = first; good && rank <= last; rank++) {
            ranks[count++] = (uint32_t)rank;
        }
        good = good && (*end == ',' || *end == 0);
        if (good && *end == 0) {
            *count_out = count;
            return true;
        }
        at = end + 1;
    }
    csl_app_usage_error(command, "--%s: expected ascending ranks such as 0,3,5-7, found '%s'",
                        option, text);
    return false;
}
