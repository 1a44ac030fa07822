/* The suites of this folder; bench/suites.c lists them. Each takes argv[0] = its name and returns
 * the exit code. */
#ifndef CSL_BENCH_SUITES_H
#define CSL_BENCH_SUITES_H

int csl_bench_kernels(int argc, char **argv);
int csl_bench_train(int argc, char **argv);

#endif
