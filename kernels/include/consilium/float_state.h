/*
 * The floating-point state that EXACT operations are defined in: round to nearest, denormals kept.
 * Another library in the process may have changed it (one built with -ffast-math flushes denormals
 * from the moment it is loaded), so they set it and put back what was there. It belongs to a
 * thread.
 */
#ifndef CONSILIUM_FLOAT_STATE_H
#define CONSILIUM_FLOAT_STATE_H

#if defined(__x86_64__)

typedef unsigned csl_float_state;

static inline csl_float_state csl_float_enter(void)
{
    enum { RESET_VALUE = 0x1f80 }; /* of MXCSR: all exceptions masked, nearest, no flush to zero */
    csl_float_state before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(RESET_VALUE);
    return before;
}

static inline void csl_float_leave(csl_float_state before)
{
    __builtin_ia32_ldmxcsr(before);
}

#else

#include <fenv.h>

typedef fenv_t csl_float_state;

static inline csl_float_state csl_float_enter(void)
{
    csl_float_state before;
    fegetenv(&before);
    fesetenv(FE_DFL_ENV);
    return before;
}

static inline void csl_float_leave(csl_float_state before)
{
    fesetenv(&before);
}

#endif
#endif
