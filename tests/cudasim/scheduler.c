/*
 * Scheduler of cudasim: one fiber per CUDA thread of a block, resumed in an order drawn from a
 * seed.
 *
 * Never instrumented: under ASan and TSan it tells the sanitizer about stacks and fibers itself.
 * What was learnt: begin and end of a launch are two sync objects, else block n + 1 is ordered
 * after block n and races between blocks hide; TSan fibers live until the launch ends, else their
 * numbers are reused and a race is invisible; two sync objects take turns at a barrier, else a
 * thread that has not left yet would also be ordered after what the others did since.
 */
#include "cudasim.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifdef CUDASIM_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *object);
void __tsan_release(void *object);
#define TSAN(statement) statement
#else
#define TSAN(statement)
#endif
#ifdef CUDASIM_ASAN
void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
void __asan_poison_memory_region(const volatile void *address, size_t size);
void __asan_unpoison_memory_region(const volatile void *address, size_t size);
#define ASAN(statement) statement
#else
#define ASAN(statement)
#endif
#if defined(CUDASIM_TSAN) || defined(CUDASIM_ASAN)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum {
    STACK_SIZE = 64 * 1024,
    SHARED_OBJECTS_MAX = 32,
    SHARED_GAP = 64, /* between shared objects, poisoned under ASan */
    ARENA_SIZE = 256 * 1024,
    /* gcc 12's runtime bears 8,000, but what a release costs grows with them. */
    TSAN_FIBERS_MAX = 2048,
    NO_SYNC = 1 /* flag of __tsan_switch_to_fiber */
};

static const uint64_t UNDEFINED = 0xA5A5A5A5A5A5A5A5u; /* what a card leaves to chance */

typedef enum thread_state { UNSTARTED, RUNNABLE, AT_BLOCK_BARRIER, AT_WARP, DONE } thread_state;

typedef struct fiber {
    ucontext_t context;
    jmp_buf jump;
    bool started;
    char *stack;
    void *tsan;
    void *fake_stack;
} fiber;

typedef struct cuda_thread {
    thread_state state;
    fiber *fiber;
    cudasim_warp_operation operation;
    unsigned mask, source_lane;
    uint64_t value, result;
} cuda_thread;

typedef struct shared_object {
    const void *key;
    char *memory;
} shared_object;

cudasim_indices cudasim_now;

#ifndef CUDASIM_TSAN
static fiber fibers[CUDASIM_BLOCK_THREADS_MAX];
#endif
static fiber *idle[CUDASIM_BLOCK_THREADS_MAX];
static unsigned idle_count;
static cuda_thread threads[CUDASIM_BLOCK_THREADS_MAX];
static unsigned thread_count, current;
static const cudasim_launch_spec *launch;

static fiber scheduler;
#ifdef CUDASIM_ASAN
static const void *scheduler_stack;
static size_t scheduler_stack_size;
#endif
#ifdef CUDASIM_TSAN
/* Blocks take these in turn: two blocks of a launch that share fibers are in order for the
 * sanitizer, all others race if they touch the same memory. Making one takes long, so they stay. */
static fiber tsan_fibers[TSAN_FIBERS_MAX];
static unsigned tsan_fiber_count;
static uint64_t block_turn;
static char begin_object, end_object, barrier_objects[2];
static char warp_objects[CUDASIM_BLOCK_THREADS_MAX / CUDASIM_WARP];
static unsigned barrier_turn;
#endif

static shared_object shared[SHARED_OBJECTS_MAX];
static unsigned shared_count;
static size_t shared_used;
static char *arena;

static uint64_t random_state;

static void die(const char *reason)
{
    fprintf(stderr, "cudasim: %s (block %u,%u,%u thread %u,%u,%u)\n", reason, cudasim_now.block.x,
            cudasim_now.block.y, cudasim_now.block.z, cudasim_now.thread.x, cudasim_now.thread.y,
            cudasim_now.thread.z);
    abort();
}

uint32_t cudasim_random(void)
{
    if (random_state == 0) {
        const char *seed = getenv("CUDASIM_SEED");
        random_state = 0x9e3779b97f4a7c15u ^ (seed ? strtoull(seed, NULL, 0) : 1);
    }
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

/* Leaves `from` for `to`; returns when somebody comes back. */
static void switch_fiber(fiber *from, fiber *to)
{
#if SANITIZED
    swapcontext(&from->context, &to->context);
#else
    /* swapcontext costs two system calls; a jump costs none, once the fiber has started. */
    if (_setjmp(from->jump) == 0) {
        if (to->started) {
            _longjmp(to->jump, 1);
        }
        to->started = true;
        setcontext(&to->context);
    }
#endif
}

static void to_scheduler(void)
{
    fiber *self = threads[current].fiber;
    TSAN(__tsan_switch_to_fiber(scheduler.tsan, NO_SYNC);)
    ASAN(__sanitizer_start_switch_fiber(&self->fake_stack, scheduler_stack, scheduler_stack_size);)
    switch_fiber(self, &scheduler);
    ASAN(
        __sanitizer_finish_switch_fiber(self->fake_stack, &scheduler_stack, &scheduler_stack_size);)
}

/* Body of a fiber: runs the CUDA threads that the scheduler gives it, one after the other. */
static void fiber_main(void)
{
    ASAN(__sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_stack_size);)
    for (;;) {
        TSAN(__tsan_acquire(&begin_object);)
        launch->call(launch->argument);
        TSAN(__tsan_release(&end_object);)
        threads[current].state = DONE;
        to_scheduler();
    }
}

static void prepare_fiber(fiber *self)
{
    if (!self->stack) {
        self->stack =
            mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (self->stack == MAP_FAILED) {
            die("no memory for a stack");
        }
    }
    getcontext(&self->context);
    self->context.uc_stack.ss_sp = self->stack;
    self->context.uc_stack.ss_size = STACK_SIZE;
    self->context.uc_link = NULL;
    makecontext(&self->context, fiber_main, 0);
    self->started = false;
    self->fake_stack = NULL;
    TSAN(self->tsan = __tsan_create_fiber(0);)
}

static void run_thread(unsigned index)
{
    cuda_thread *thread = &threads[index];
    if (thread->state == UNSTARTED) {
        thread->fiber = idle[--idle_count];
        thread->state = RUNNABLE;
    }
    dim3 size = cudasim_now.block_size;
    current = index;
    cudasim_now.thread.x = index % size.x;
    cudasim_now.thread.y = index / size.x % size.y;
    cudasim_now.thread.z = index / (size.x * size.y);
    TSAN(__tsan_switch_to_fiber(thread->fiber->tsan, NO_SYNC);)
    ASAN(__sanitizer_start_switch_fiber(&scheduler.fake_stack, thread->fiber->stack, STACK_SIZE);)
    switch_fiber(&scheduler, thread->fiber);
    ASAN(__sanitizer_finish_switch_fiber(scheduler.fake_stack, NULL, NULL);)
#ifndef CUDASIM_TSAN
    if (thread->state == DONE) {
        idle[idle_count++] = thread->fiber; /* under TSan a thread keeps its fiber and its stack */
    }
#endif
}

void cudasim_block_barrier(void)
{
    TSAN(char *object = &barrier_objects[barrier_turn]; __tsan_release(object);)
    threads[current].state = AT_BLOCK_BARRIER;
    to_scheduler();
    TSAN(__tsan_acquire(object);)
}

unsigned cudasim_lane(void)
{
    return current % CUDASIM_WARP;
}

uint64_t
cudasim_warp(cudasim_warp_operation operation, unsigned mask, uint64_t value, unsigned source_lane)
{
    cuda_thread *thread = &threads[current];
    if (!(mask >> cudasim_lane() & 1)) {
        die("warp operation whose mask leaves out the caller");
    }
    /* Only __syncwarp orders memory; a shuffle hands over registers. */
    TSAN(char *object = &warp_objects[current / CUDASIM_WARP];
         if (operation == CUDASIM_WARP_SYNC) { __tsan_release(object); })
    thread->operation = operation;
    thread->mask = mask;
    thread->value = value;
    thread->source_lane = source_lane;
    thread->state = AT_WARP;
    to_scheduler();
    TSAN(if (operation == CUDASIM_WARP_SYNC) { __tsan_acquire(object); })
    return thread->result;
}

void *cudasim_shared(const void *key, size_t size)
{
    for (unsigned i = 0; i < shared_count; i++) {
        if (shared[i].key == key) {
            return shared[i].memory;
        }
    }
    if (shared_count == SHARED_OBJECTS_MAX || size > CUDASIM_SHARED_STATIC_MAX) {
        die("too much shared memory");
    }
    size_t padded_size = (size + SHARED_GAP - 1) / SHARED_GAP * SHARED_GAP + SHARED_GAP;
    if (shared_used + padded_size > ARENA_SIZE) {
        die("too much shared memory");
    }
    shared_object *object = &shared[shared_count++];
    object->key = key;
    object->memory = arena + shared_used;
    shared_used += padded_size;
    ASAN(__asan_unpoison_memory_region(object->memory, padded_size);)
    /* volatile: a call of memset would be intercepted and recorded as an access of this thread. */
    for (volatile uint64_t *word = (uint64_t *)object->memory;
         word < (volatile uint64_t *)(object->memory + padded_size); word++) {
        *word = UNDEFINED;
    }
    ASAN(__asan_poison_memory_region(object->memory + size, padded_size - size);)
    return object->memory;
}

/* Lets the lanes of one mask go on if all of them that still run are at the same operation. */
static bool release_warp_group(unsigned first, unsigned lane)
{
    cuda_thread *leader = &threads[first + lane];
    unsigned present = 0;
    for (unsigned l = 0; l < CUDASIM_WARP && first + l < thread_count; l++) {
        cuda_thread *thread = &threads[first + l];
        if (!(leader->mask >> l & 1) || thread->state == DONE) {
            continue;
        }
        if (thread->state != AT_WARP || thread->mask != leader->mask ||
            thread->operation != leader->operation) {
            return false;
        }
        present |= 1u << l;
    }
    uint64_t votes = 0;
    for (unsigned l = 0; l < CUDASIM_WARP; l++) {
        votes |= (present >> l & 1 && threads[first + l].value) ? (uint64_t)1 << l : 0;
    }
    for (unsigned l = 0; l < CUDASIM_WARP; l++) {
        if (present >> l & 1) {
            cuda_thread *thread = &threads[first + l];
            unsigned source = thread->source_lane;
            bool readable = source < CUDASIM_WARP && (present >> source & 1);
            thread->result = thread->operation == CUDASIM_BALLOT ? votes
                             : readable                          ? threads[first + source].value
                                                                 : UNDEFINED;
            thread->state = RUNNABLE;
        }
    }
    return true;
}

static bool release_warps(void)
{
    bool released = false;
    for (unsigned t = 0; t < thread_count; t++) {
        if (threads[t].state == AT_WARP) {
            released |= release_warp_group(t / CUDASIM_WARP * CUDASIM_WARP, t % CUDASIM_WARP);
        }
    }
    return released;
}

/* Opens the block's barrier; aborts if a thread has left or waits elsewhere, which hangs a card. */
static void release_block(void)
{
    for (unsigned t = 0; t < thread_count; t++) {
        if (threads[t].state != AT_BLOCK_BARRIER) {
            die("divergent barrier: not every thread of the block reaches it");
        }
    }
    for (unsigned t = 0; t < thread_count; t++) {
        threads[t].state = RUNNABLE;
    }
    TSAN(barrier_turn ^= 1;)
}

static void run_block(void)
{
    unsigned order[CUDASIM_BLOCK_THREADS_MAX];
    for (;;) {
        unsigned ready = 0, live = 0;
        for (unsigned t = 0; t < thread_count; t++) {
            live += threads[t].state != DONE;
            if (threads[t].state == UNSTARTED || threads[t].state == RUNNABLE) {
                order[ready++] = t;
            }
        }
        if (!live) {
            return;
        }
        for (unsigned i = ready; i > 1; i--) {
            unsigned j = cudasim_random() % i, swapped = order[i - 1];
            order[i - 1] = order[j];
            order[j] = swapped;
        }
        for (unsigned i = 0; i < ready; i++) {
            run_thread(order[i]);
        }
        if (!ready && !release_warps()) {
            release_block();
        }
    }
}

static void begin_block(const cudasim_launch_spec *spec)
{
    shared_count = 0;
    shared_used = 0;
    ASAN(__asan_unpoison_memory_region(arena, ARENA_SIZE);)
#ifdef CUDASIM_TSAN
    /* A new mapping has no history, so blocks do not seem to share their shared memory. */
    munmap(arena, ARENA_SIZE);
    arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) {
        die("no memory for shared memory");
    }
    __tsan_release(&begin_object); /* the mapping counts as a write, which comes before the block */
#endif
    ASAN(__asan_poison_memory_region(arena, ARENA_SIZE);)
    cudasim_shared(NULL, spec->shared_size);
    for (unsigned t = 0; t < thread_count; t++) {
        threads[t].state = UNSTARTED;
    }
#ifdef CUDASIM_TSAN
    unsigned first = (unsigned)(block_turn++ % (TSAN_FIBERS_MAX / thread_count)) * thread_count;
    while (tsan_fiber_count < first + thread_count) {
        prepare_fiber(&tsan_fibers[tsan_fiber_count++]);
    }
    for (unsigned t = 0; t < thread_count; t++) {
        idle[t] = &tsan_fibers[first + t];
    }
    idle_count = thread_count;
#endif
}

static void begin_grid(const cudasim_launch_spec *spec)
{
    launch = spec;
    thread_count = spec->block.x * spec->block.y * spec->block.z;
    cudasim_now.block_size = spec->block;
    cudasim_now.grid_size = spec->grid;
    if (!arena) {
        arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (arena == MAP_FAILED) {
            die("no memory for shared memory");
        }
    }
    scheduler.started = true;
#ifndef CUDASIM_TSAN
    idle_count = 0;
    for (unsigned t = 0; t < thread_count; t++) {
        if (!fibers[t].stack) {
            prepare_fiber(&fibers[t]);
        }
        idle[idle_count++] = &fibers[t];
    }
#endif
    TSAN(scheduler.tsan = __tsan_get_current_fiber(); __tsan_release(&begin_object);)
}

void cudasim_run_grid(const cudasim_launch_spec *spec)
{
    begin_grid(spec);
    uint64_t block_count = (uint64_t)spec->grid.x * spec->grid.y * spec->grid.z;
    /* Blocks run in an order of their own: a random start and a stride prime to the count. */
    uint64_t block = cudasim_random() % block_count;
    uint64_t stride = 1 + cudasim_random() % block_count;
    for (uint64_t a = stride, b = block_count; b;) {
        uint64_t remainder = a % b;
        a = b;
        b = remainder;
        stride = b ? stride : a == 1 ? stride : 1;
    }
    for (uint64_t i = 0; i < block_count; i++) {
        cudasim_now.block.x = (unsigned)(block % spec->grid.x);
        cudasim_now.block.y = (unsigned)(block / spec->grid.x % spec->grid.y);
        cudasim_now.block.z = (unsigned)(block / ((uint64_t)spec->grid.x * spec->grid.y));
        begin_block(spec);
        run_block();
        block = (block + stride) % block_count;
    }
    TSAN(__tsan_acquire(&end_object);) /* all that the launch did comes before what follows */
}
