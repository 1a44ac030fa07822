#include "bench_options.h"

#include <consilium/device.h>
#include <consilium/text.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WRONG_USAGE = 2, OPTIONS_MAX = 32 };

int csl_bench_usage_error(const csl_bench_command *command, const char *format, ...)
{
    if (command->speaks) {
        va_list arguments;
        va_start(arguments, format);
        fprintf(stderr, "consilium bench %s: ", command->suite);
        vfprintf(stderr, format, arguments);
        fprintf(stderr, "\nTry 'consilium bench %s --help'\n", command->suite);
        va_end(arguments);
    }
    return WRONG_USAGE;
}

/* For what getopt_long, given ":" and opterr 0, answered with '?' or ':'. */
static int option_error(const csl_bench_command *command, char **argv)
{
    const char *given = argv[optind - 1];
    const char *names[OPTIONS_MAX + 1] = {0};
    size_t count = 0;
    for (const struct option *option = command->options; option->name; option++) {
        if (optopt != 0 && option->val == optopt && strncmp(given, "--", 2) == 0) {
            return csl_bench_usage_error(command, "option --%s %s", option->name,
                                         option->has_arg ? "needs a value" : "takes no value");
        }
        if (count < OPTIONS_MAX) {
            names[count++] = option->name;
        }
    }
    char name[CSL_NAME_MAX] = "";
    snprintf(name, sizeof name, "%s", strncmp(given, "--", 2) == 0 ? given + 2 : given);
    name[strcspn(name, "=")] = 0;
    const char *nearest = csl_nearest_name(name, names);
    return nearest ? csl_bench_usage_error(command, "unknown option '%s'; did you mean --%s?",
                                           given, nearest)
                   : csl_bench_usage_error(command, "unknown option '%s'", given);
}

int csl_bench_parse(
    const csl_bench_command *command, int argc, char **argv, csl_bench_take take, void *context)
{
    int option = 0;
    int code = 0;
    opterr = 0;
    optind = 1;
    while (code == 0 && (option = getopt_long(argc, argv, ":h", command->options, NULL)) != -1) {
        code = option == '?' || option == ':' ? option_error(command, argv)
                                              : take(command, option, context);
    }
    return code == 0 && optind < argc
               ? csl_bench_usage_error(command, "'%s' is too much", argv[optind])
               : code;
}

int csl_bench_take_count(const csl_bench_command *command,
                         const char *option,
                         const char *text,
                         uint64_t most,
                         uint64_t *count_out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno == ERANGE || value < 1 || value > most) {
        return csl_bench_usage_error(command,
                                     "--%s: expected a whole number from 1 to %llu, found '%s'",
                                     option, (unsigned long long)most, text);
    }
    *count_out = value;
    return 0;
}

int csl_bench_take_seconds(const csl_bench_command *command, const char *text, double *seconds_out)
{
    char *end = NULL;
    double seconds = strtod(text, &end);
    if (end == text || *end || !(seconds > 0 && seconds < 1e6)) {
        return csl_bench_usage_error(
            command, "--seconds: expected a number above 0 and below 1e6, found '%s'", text);
    }
    *seconds_out = seconds;
    return 0;
}

int csl_bench_take_device(const csl_bench_command *command, const char *text, const char **name_out)
{
    if (csl_device_check_name(text) != CSL_OK) {
        return csl_bench_usage_error(command, "--%s", csl_error_message());
    }
    *name_out = text;
    return 0;
}
