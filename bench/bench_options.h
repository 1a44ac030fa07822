/* What the suites of `consilium bench` answer to a command line that they do not understand: the
 * option or word at fault, and what was expected. */
#ifndef CSL_BENCH_OPTIONS_H
#define CSL_BENCH_OPTIONS_H

#include <consilium/types.h>
#include <getopt.h>

typedef struct csl_bench_command {
    const char *suite;
    bool speaks; /* one rank of a job does */
    const struct option *options;
} csl_bench_command;

/* Prints the message and where the help is; returns the exit code 2. */
int csl_bench_usage_error(const csl_bench_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* For what getopt_long, given ":" and opterr 0, answered with '?' or ':'. */
int csl_bench_option_error(const csl_bench_command *command, char **argv);
/* A whole number from 1 to `most`. 0, or the exit code after a message. */
int csl_bench_take_count(const csl_bench_command *command,
                         const char *option,
                         const char *text,
                         uint64_t most,
                         uint64_t *count_out);
/* --seconds: a number above 0 and below a million. The same. */
int csl_bench_take_seconds(const csl_bench_command *command, const char *text, double *seconds_out);

#endif
