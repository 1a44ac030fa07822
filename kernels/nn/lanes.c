/* Which of the inner functions run. */
#include "nn_host.h"

#include <consilium/kernels_robust.h>
#include <string.h>

const csl_lane_functions *csl_lanes(void)
{
#if defined(__x86_64__)
    const char *name = csl_instruction_set_name();
    if (strcmp(name, csl_lanes_avx512.name) == 0 && __builtin_cpu_supports("x86-64-v4")) {
        return &csl_lanes_avx512;
    }
    if (strcmp(name, csl_lanes_portable.name) != 0 && __builtin_cpu_supports("x86-64-v3")) {
        return &csl_lanes_avx2;
    }
#endif
    return &csl_lanes_portable;
}
