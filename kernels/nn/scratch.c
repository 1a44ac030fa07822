#include "nn_host.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct scratch {
    size_t size;
    void *memory;
} scratch;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error;

static void destroy_scratch(void *value)
{
    scratch *mine = value;
    free(mine->memory);
    free(mine);
}

static void create_key(void)
{
    key_error = pthread_key_create(&key, destroy_scratch);
}

/* The calling thread's record, made at its first use. */
static scratch *own_scratch(void)
{
    pthread_once(&key_once, create_key);
    if (key_error) {
        return NULL;
    }
    scratch *mine = pthread_getspecific(key);
    if (!mine) {
        mine = calloc(1, sizeof *mine);
        if (mine && pthread_setspecific(key, mine) != 0) {
            free(mine);
            mine = NULL;
        }
    }
    return mine;
}

csl_status csl_nn_scratch(size_t size, void **memory_out)
{
    scratch *mine = own_scratch();
    if (!mine) {
        return csl_fail(CSL_E_NO_MEMORY, "scratch: no memory for a thread's record");
    }
    if (mine->size < size) {
        size_t rounded = (size + 4095) & ~(size_t)4095;
        void *memory = rounded < size ? NULL : aligned_alloc(64, rounded);
        if (!memory) {
            return csl_fail(CSL_E_NO_MEMORY, "scratch: no memory for %zu bytes", size);
        }
        free(mine->memory);
        mine->memory = memory;
        mine->size = rounded;
    }
    *memory_out = mine->memory;
    return CSL_OK;
}
