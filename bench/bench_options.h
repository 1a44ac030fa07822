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
/* Takes the option, whose value is optarg, into the suite's own structure. 0, or what
 * csl_bench_parse is to return. */
typedef int (*csl_bench_take)(const csl_bench_command *command, int option, void *context);
/* Hands every option to `take` until one is refused. 0, the exit code 2 after a message (also of an
 * unknown option or a word too much), or what `take` returned. */
int csl_bench_parse(
    const csl_bench_command *command, int argc, char **argv, csl_bench_take take, void *context);
/* A whole number from 1 to `most`. 0, or the exit code after a message. */
int csl_bench_take_count(const csl_bench_command *command,
                         const char *option,
                         const char *text,
                         uint64_t most,
                         uint64_t *count_out);
/* --seconds: a number above 0 and below a million. The same. */
int csl_bench_take_seconds(const csl_bench_command *command, const char *text, double *seconds_out);
/* --device: a name that a device could have. The same. */
int csl_bench_take_device(const csl_bench_command *command,
                          const char *text,
                          const char **name_out);

#endif
