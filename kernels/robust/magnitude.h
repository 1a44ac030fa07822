/* The largest magnitude that an operation reads, on the host and on a card: see row_mean. */
#ifndef CSL_ROBUST_MAGNITUDE_H
#define CSL_ROBUST_MAGNITUDE_H

#include <stdint.h>

#define CSL_MAGNITUDE_INFINITY 0x7f800000u
#define CSL_MAGNITUDE_DOUBLE   0x00800000 /* from a magnitude to twice as much */

/* A NaN counts as infinity. */
static inline uint32_t csl_magnitude_of(uint32_t bits)
{
    return bits < CSL_MAGNITUDE_INFINITY ? bits : CSL_MAGNITUDE_INFINITY;
}

static inline void csl_magnitude_raise(uint32_t *magnitude, uint32_t found)
{
    if (magnitude && found > *magnitude) {
        *magnitude = found;
    }
}

#endif
