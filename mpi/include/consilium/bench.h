/* Suites of `consilium bench`, defined in bench/ and handed down to the program through this table.
 */
#ifndef CONSILIUM_BENCH_H
#define CONSILIUM_BENCH_H

#include <consilium/status.h>

typedef struct csl_bench_suite {
    const char *name;
    const char *summary; /* one line for --help */
    /* argv[0] is the suite's name; prints its table itself; returns the exit code. */
    int (*run)(int argc, char **argv);
} csl_bench_suite;

/* Ends with an entry whose name is NULL. */
extern const csl_bench_suite csl_bench_suites[];

#endif
