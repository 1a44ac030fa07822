/* Which variant of the host operations runs: asked of the processor once, never in a loop. */
#include "robust_host.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic(const csl_robust_variant *) chosen_;

static const csl_robust_variant *const variants_[] = {
#if defined(__x86_64__)
    &csl_robust_avx512,
    &csl_robust_avx2,
#endif
    &csl_robust_portable,
};
enum { VARIANT_COUNT = sizeof variants_ / sizeof *variants_ };

static bool processor_runs(const csl_robust_variant *variant)
{
    if (variant->emulated) {
        return true;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (variant == &csl_robust_avx512) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("fma");
    }
    if (variant == &csl_robust_avx2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
#endif
    (void)variant;
    return true;
}

static const csl_robust_variant *find(const char *name)
{
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        if (strcmp(variants_[i]->name, name) == 0) {
            return variants_[i];
        }
    }
    return NULL;
}

static const csl_robust_variant *best(void)
{
    const char *asked = getenv("CSL_INSTRUCTION_SET");
    const csl_robust_variant *variant = asked ? find(asked) : NULL;
    if (variant && processor_runs(variant)) {
        return variant;
    }
    size_t i = 0;
    while (i < VARIANT_COUNT - 1 && (variants_[i]->emulated || !processor_runs(variants_[i]))) {
        i++;
    }
    return variants_[i]; /* at last the portable one, which runs everywhere */
}

const csl_robust_variant *csl_robust_variant_get(void)
{
    const csl_robust_variant *variant = atomic_load_explicit(&chosen_, memory_order_acquire);
    if (!variant) {
        variant = best(); /* two threads may both ask; they get the same answer */
        atomic_store_explicit(&chosen_, variant, memory_order_release);
    }
    return variant;
}

csl_status csl_instruction_set_select(const char *name)
{
    const csl_robust_variant *variant = name ? find(name) : best();
    if (!variant) {
        return csl_fail(CSL_E_NOT_FOUND,
                        "instruction set: expected portable, avx2 or avx512, found %s", name);
    }
    if (!processor_runs(variant)) {
        return csl_fail(CSL_E_UNSUPPORTED, "instruction set: this processor has no %s", name);
    }
    atomic_store_explicit(&chosen_, variant, memory_order_release);
    return CSL_OK;
}

const char *csl_instruction_set_name(void)
{
    return csl_robust_variant_get()->name;
}

csl_status csl_robust_check_rows(const char *operation,
                                 const float *const *host_rows,
                                 uint32_t row_count,
                                 uint32_t row_max)
{
    if (!host_rows) {
        return csl_fail(CSL_E_INVALID_ARG, "%s: expected rows, found NULL", operation);
    }
    if (row_count < 1 || row_count > row_max) {
        return csl_fail(CSL_E_RANGE, "%s: expected 1 to %u rows, found %u", operation, row_max,
                        row_count);
    }
    return CSL_OK;
}
