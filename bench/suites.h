/* The suites of `consilium bench`; argv[0] is the suite's name, the result is the exit code. */
#ifndef CSL_BENCH_SUITES_H
#define CSL_BENCH_SUITES_H

int csl_bench_aggregate(int argc, char **argv);

#endif
