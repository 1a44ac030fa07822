/*
 * Sixteen float32 values in one register of 64 bytes, or in as many smaller ones as the instruction
 * set has: the compiler keeps vectors that are wider than a register in memory. Only for the files
 * lanes_*.c, each of which is compiled for one instruction set.
 */
#ifndef CSL_NN_LANES_H
#define CSL_NN_LANES_H

#include "nn_host.h"

#if defined(__AVX512F__)
enum { PART_LANES = 16 };
#define EACH_PART(STEP) STEP(0)
#elif defined(__AVX2__)
enum { PART_LANES = 8 };
#define EACH_PART(STEP) STEP(0) STEP(1)
#else
enum { PART_LANES = 4 };
#define EACH_PART(STEP) STEP(0) STEP(1) STEP(2) STEP(3)
#endif
#define LANES_INLINE static inline __attribute__((always_inline))

/* One register; may lie at any float. */
typedef float lane_part __attribute__((vector_size(4 * PART_LANES), aligned(4), may_alias));
typedef int32_t lane_mask __attribute__((vector_size(4 * PART_LANES), aligned(4), may_alias));

typedef struct lanes {
    lane_part part[CSL_LANES / PART_LANES];
} lanes;

LANES_INLINE lanes lanes_load(const float *p)
{
    lanes result;
#define STEP(i) result.part[i] = *(const lane_part *)(p + (i)*PART_LANES);
    EACH_PART(STEP)
#undef STEP
    return result;
}

LANES_INLINE void lanes_store(float *p, lanes a)
{
#define STEP(i) *(lane_part *)(p + (i)*PART_LANES) = a.part[i];
    EACH_PART(STEP)
#undef STEP
}

LANES_INLINE lanes lanes_add(lanes a, lanes b)
{
#define STEP(i) a.part[i] += b.part[i];
    EACH_PART(STEP)
#undef STEP
    return a;
}

LANES_INLINE lanes lanes_subtract(lanes a, lanes b)
{
#define STEP(i) a.part[i] -= b.part[i];
    EACH_PART(STEP)
#undef STEP
    return a;
}

LANES_INLINE lanes lanes_multiply(lanes a, lanes b)
{
#define STEP(i) a.part[i] *= b.part[i];
    EACH_PART(STEP)
#undef STEP
    return a;
}

/* Lanes of `a` where `gate` > 0, 0 elsewhere. */
LANES_INLINE lanes lanes_gate(lanes a, lanes gate)
{
    const lane_part zero = {0};
#define STEP(i) a.part[i] = (lane_part)((lane_mask)a.part[i] & (lane_mask)(gate.part[i] > zero));
    EACH_PART(STEP)
#undef STEP
    return a;
}

LANES_INLINE void lanes_add_to(lanes a, double *target)
{
    for (int i = 0; i < CSL_LANES; i++) {
        target[i] += (double)a.part[i / PART_LANES][i % PART_LANES];
    }
}

#endif
