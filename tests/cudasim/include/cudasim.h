/*
 * What the kernel-visible headers, the scheduler and the runtime of cudasim share. The scheduler
 * is C and never instrumented by a sanitizer; the headers are compiled with the kernels and are.
 */
#ifndef CUDASIM_H
#define CUDASIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
extern "C" {
#else
typedef struct dim3 {
    unsigned x, y, z;
} dim3;
#endif

enum {
    CUDASIM_BLOCK_THREADS_MAX = 1024,
    CUDASIM_WARP = 32,
    CUDASIM_SHARED_STATIC_MAX = 48 * 1024, /* bytes, as on every card */
    CUDASIM_SHARED_DYNAMIC_MAX = 48 * 1024 /* bytes that need no opt-in */
};

/* Indices of the CUDA thread that runs now. */
typedef struct cudasim_indices {
    dim3 thread, block, block_size, grid_size;
} cudasim_indices;
extern cudasim_indices cudasim_now;

typedef enum cudasim_warp_operation {
    CUDASIM_WARP_SYNC,
    CUDASIM_SHUFFLE, /* parameter: source lane */
    CUDASIM_BALLOT
} cudasim_warp_operation;

typedef struct cudasim_launch_spec {
    dim3 grid, block;
    size_t shared_size;
    void (*call)(void *argument);
    void *argument;
} cudasim_launch_spec;

/* Runs a whole grid now, in an order that the seed (CUDASIM_SEED) chooses. Aborts on what hangs or
 * corrupts a card: a divergent barrier, too much shared memory. */
void cudasim_run_grid(const cudasim_launch_spec *spec);
/* For the kernel-visible header, from inside a kernel. */
void cudasim_block_barrier(void);
uint64_t
cudasim_warp(cudasim_warp_operation operation, unsigned mask, uint64_t value, unsigned source_lane);
unsigned cudasim_lane(void);
/* The block's shared object of this key, made on first use; key NULL: the dynamic part. */
void *cudasim_shared(const void *key, size_t size);
/* Next number of the schedule's seeded stream. */
uint32_t cudasim_random(void);

/* Puts work on a stream. `destroy` frees the argument after the run. */
void cudasim_enqueue(void *stream,
                     void (*run)(void *argument),
                     void (*destroy)(void *argument),
                     void *argument);
/*
 * Work that goes on by itself, on another thread: `begin` runs what the stream has so far and holds
 * back what is put on it later until `end` is called with the same handle, from any thread.
 */
void *cudasim_begin_pending(void *stream);
void cudasim_end_pending(void *pending);
/* Does [memory, memory + size) lie in one device allocation? */
int cudasim_is_device(const void *memory, size_t size);
/* 0 if the card would take this launch; else records the error for cudaGetLastError. */
int cudasim_check_launch(dim3 grid, dim3 block, size_t shared_size);

#ifdef __cplusplus
}
#endif
#endif
