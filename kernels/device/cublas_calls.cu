#include "device/cublas_calls.h"

#include <cstring>
#include <dlfcn.h>
#include <pthread.h>

static csl_cublas_calls calls_;
static bool found_;
static pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;

#ifdef CSL_CUDASIM /* the simulator's functions are in the program */

static csl_status find_calls(void)
{
#define TAKE_CALL(field, function) calls_.field = &(function);
    CSL_CUBLAS_CALLS(TAKE_CALL)
    return CSL_OK;
}

#else

/* The header's names are macros: the library knows what they stand for. */
#define SYMBOL_OF(name)     SYMBOL_TEXT(name)
#define SYMBOL_TEXT(name)   #name
#define LIBRARY_OF(major)   LIBRARY_TEXT(major)
#define LIBRARY_TEXT(major) "libcublas.so." #major

static csl_status find_calls(void)
{
    const char *file = LIBRARY_OF(CUBLAS_VER_MAJOR);
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return csl_fail(CSL_E_DEVICE, "cublas: %s", dlerror());
    }
#define FIND_CALL(field, function)                                                                 \
    {                                                                                              \
        void *address = dlsym(library, SYMBOL_OF(function));                                       \
        if (!address) {                                                                            \
            return csl_fail(CSL_E_DEVICE, "cublas: %s has no %s", file, SYMBOL_OF(function));      \
        }                                                                                          \
        memcpy(&calls_.field, &address, sizeof address);                                           \
    }
    CSL_CUBLAS_CALLS(FIND_CALL)
    return CSL_OK;
}

#endif

csl_status csl_cublas_load(void)
{
    pthread_mutex_lock(&mutex_);
    csl_status status = found_ ? CSL_OK : find_calls();
    found_ = status == CSL_OK;
    pthread_mutex_unlock(&mutex_);
    return status;
}

const csl_cublas_calls *csl_cublas(void)
{
    return &calls_;
}
