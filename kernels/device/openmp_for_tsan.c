/*
 * Tells the thread sanitizer what OpenMP orders: the compiler's OpenMP library is not built with
 * it, so that every parallel region would look like a race between its threads and their caller.
 * The calls that the compiler writes for our own regions end here, say what comes before what, and
 * go on to the real library. Races between the threads of one region are still found.
 */
#ifdef __SANITIZE_THREAD__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <string.h>

/* oneDNN's code, much of it made while it runs, is not instrumented either, but its calls of memcpy
 * and the allocator are seen, without what orders them. Ours is never below it. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libdnnl.so\n";
}

void __tsan_acquire(void *address);
void __tsan_release(void *address);

void GOMP_parallel(void (*body)(void *), void *data, unsigned thread_count, unsigned flags);
void GOMP_barrier(void);
void GOMP_loop_end(void);
void GOMP_critical_start(void);
void GOMP_critical_end(void);

/* One parallel region; `body_data` is what the compiler hands to the body. */
typedef struct region {
    void (*body)(void *);
    void *body_data;
    char barrier;
} region;

static _Thread_local region *current_region;
static char critical_section;

/* POSIX lets a pointer to data hold a function, C does not: hence the copy. */
static void find_real(const char *name, void *function_out, size_t size)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function_out, &found, size);
}

static void call_plain(const char *name)
{
    void (*real)(void) = NULL;
    find_real(name, &real, sizeof real);
    real();
}

static void run_body(void *context)
{
    region *own = context;
    region *outer = current_region;
    __tsan_acquire(own);
    current_region = own;
    own->body(own->body_data);
    current_region = outer;
    __tsan_release(own);
}

void GOMP_parallel(void (*body)(void *), void *data, unsigned thread_count, unsigned flags)
{
    void (*real)(void (*)(void *), void *, unsigned, unsigned) = NULL;
    region own = {body, data, 0};
    find_real("GOMP_parallel", &real, sizeof real);
    __tsan_release(&own);
    real(run_body, &own, thread_count, flags);
    __tsan_acquire(&own);
}

static void meet(const char *name)
{
    region *own = current_region;
    if (own) {
        __tsan_release(&own->barrier);
    }
    call_plain(name);
    if (own) {
        __tsan_acquire(&own->barrier);
    }
}

void GOMP_barrier(void)
{
    meet("GOMP_barrier");
}

void GOMP_loop_end(void)
{
    meet("GOMP_loop_end");
}

void GOMP_critical_start(void)
{
    call_plain("GOMP_critical_start");
    __tsan_acquire(&critical_section);
}

void GOMP_critical_end(void)
{
    __tsan_release(&critical_section);
    call_plain("GOMP_critical_end");
}
#else
typedef int csl_no_thread_sanitizer; /* a translation unit is not empty */
#endif
