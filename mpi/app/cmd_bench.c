/* consilium bench: hands over to a suite of bench/. */
#include "commands.h"

#include <consilium/bench.h>
#include <consilium/text.h>

#include <stdio.h>
#include <string.h>

static void print_help(FILE *stream)
{
    fputs("Usage: consilium bench SUITE [OPTION]...\n"
          "Measure a part of the program; prints a table.\n\nSuites:\n",
          stream);
    for (const csl_bench_suite *suite = csl_bench_suites; suite->name; suite++) {
        fprintf(stream, "  %-10s %s\n", suite->name, suite->summary);
    }
    for (const csl_bench_parallel_suite *suite = csl_bench_parallel_suites; suite->name; suite++) {
        fprintf(stream, "  %-10s %s\n", suite->name, suite->summary);
    }
    fputs("\n  --help     this text; consilium bench SUITE --help for one suite\n", stream);
}

/* 0..count-1 names of both tables, for the nearest one. */
static const char *nearest_suite(const char *name)
{
    const char *names[64] = {0};
    size_t count = 0;
    for (const csl_bench_suite *suite = csl_bench_suites; suite->name && count < 31; suite++) {
        names[count++] = suite->name;
    }
    for (const csl_bench_parallel_suite *suite = csl_bench_parallel_suites;
         suite->name && count < 63; suite++) {
        names[count++] = suite->name;
    }
    return csl_nearest_name(name, names);
}

int csl_command_bench(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? CSL_EXIT_USAGE : 0;
    }
    for (const csl_bench_suite *suite = csl_bench_suites; suite->name; suite++) {
        if (strcmp(argv[1], suite->name) == 0) {
            return csl_app_works_alone() ? suite->run(argc - 1, argv + 1) : 0;
        }
    }
    for (const csl_bench_parallel_suite *suite = csl_bench_parallel_suites; suite->name; suite++) {
        if (strcmp(argv[1], suite->name) == 0) {
            int code = 0;
            csl_communicator *communicator = csl_app_start_mpi(1800);
            csl_status status = suite->run(communicator, argc - 1, argv + 1, &code);
            int finished = csl_app_finish(status);
            return code ? code : finished;
        }
    }
    const char *nearest = nearest_suite(argv[1]);
    return nearest ? csl_app_usage_error("bench", "unknown suite '%s'; did you mean '%s'?", argv[1],
                                         nearest)
                   : csl_app_usage_error("bench", "unknown suite '%s'", argv[1]);
}
