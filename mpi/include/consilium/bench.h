/* Suites of `consilium bench`, defined in bench/ and handed down to the program through this table.
 */
#ifndef CONSILIUM_BENCH_H
#define CONSILIUM_BENCH_H

#include <consilium/communicator.h>

typedef struct csl_bench_suite {
    const char *name;
    const char *summary; /* one line for --help */
    /* argv[0] is the suite's name; prints its table itself; returns the exit code. */
    int (*run)(int argc, char **argv);
} csl_bench_suite;

/* Ends with an entry whose name is NULL. */
extern const csl_bench_suite csl_bench_suites[];
/* Suites that run on all ranks of a job, or alone. */
typedef struct csl_bench_parallel_suite {
    const char *name;
    const char *summary;
    /* Collective; rank 0 prints. Returns the same status on every rank; code_out: the exit code of
     * wrong usage, else 0. */
    csl_status (*run)(csl_communicator *communicator, int argc, char **argv, int *code_out);
} csl_bench_parallel_suite;
extern const csl_bench_parallel_suite csl_bench_parallel_suites[];

#endif
