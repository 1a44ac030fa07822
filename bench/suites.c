#include "suites.h"

#include <consilium/bench.h>

#include <stddef.h>

const csl_bench_suite csl_bench_suites[] = {
    {"aggregate", "robust aggregation: kernels against memory bandwidth, and a peer",
     csl_bench_aggregate},
    {NULL, NULL, NULL},
};
