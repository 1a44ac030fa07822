#include <consilium/bench.h>

#include <stddef.h>

const csl_bench_suite csl_bench_suites[] = {
    {NULL, NULL, NULL},
};
