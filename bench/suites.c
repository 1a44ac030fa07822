#include "suites.h"

#include <consilium/bench.h>
#include <stddef.h>

const csl_bench_suite csl_bench_suites[] = {
    {"kernels", "every operation of networks against memory and arithmetic, and PyTorch",
     csl_bench_kernels},
    {"train", "images per second of training, beside PyTorch where it is installed",
     csl_bench_train},
    {NULL, NULL, NULL},
};

csl_status
csl_bench_aggregate(csl_communicator *communicator, int argc, char **argv, int *code_out);
csl_status csl_bench_comm(csl_communicator *communicator, int argc, char **argv, int *code_out);
csl_status csl_bench_attacks(csl_communicator *communicator, int argc, char **argv, int *code_out);

const csl_bench_parallel_suite csl_bench_parallel_suites[] = {
    {"aggregate", "robust aggregation: kernels and rules against memory bandwidth, and a peer",
     csl_bench_aggregate},
    {"attacks", "a study under every attack by every rule: AUC, selection, backdoors",
     csl_bench_attacks},
    {"comm", "a round without its training, and collectives by size", csl_bench_comm},
    {NULL, NULL, NULL},
};
