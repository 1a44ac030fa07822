/* One function body for several instruction sets. */
#ifndef CONSILIUM_CLONES_H
#define CONSILIUM_CLONES_H

/*
 * One function body compiled for three instruction sets, chosen by CPUID when the program loads.
 * -ffp-contract=off holds in every one of them, so they give the same bits. The body must not hold
 * an OpenMP region: GCC outlines it before it makes the clones. Sanitizers instrument the chooser,
 * which runs before they are ready, so there only the portable body remains.
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CSL_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CSL_CLONES
#endif

#endif
