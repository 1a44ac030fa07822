#if defined(CSL_HAVE_NCCL)

#include "nccl_library.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static csl_nccl_calls calls_;

#if defined(CSL_CUDASIM) /* the simulator's functions are in the program */

static bool find_calls(char *reason, size_t reason_size)
{
    (void)reason;
    (void)reason_size;
#define TAKE_CALL(name) calls_.name = name;
    CSL_NCCL_CALLS(TAKE_CALL)
    return true;
}

#else

static bool find_calls(char *reason, size_t reason_size)
{
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(reason, reason_size, "%s", dlerror());
        return false;
    }
    /* ISO C has no conversion from an object's address to a function's; POSIX says it is the same.
     */
#define FIND_CALL(name)                                                                            \
    {                                                                                              \
        void *address = dlsym(library, #name);                                                     \
        if (!address) {                                                                            \
            snprintf(reason, reason_size, "libnccl.so.2 has no %s", #name);                        \
            return false;                                                                          \
        }                                                                                          \
        memcpy(&calls_.name, &address, sizeof address);                                            \
    }
    CSL_NCCL_CALLS(FIND_CALL)
    return true;
}

#endif

const csl_nccl_calls *csl_nccl_load(char *reason, size_t reason_size)
{
    static bool found;
    found = found || find_calls(reason, reason_size);
    return found ? &calls_ : NULL;
}

#else
typedef int csl_no_nccl; /* a translation unit may not be empty */
#endif
