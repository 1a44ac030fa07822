/*
 * Memory, streams and events of cudasim. Work put on a stream runs later: at a synchronisation, or
 * earlier if the seed says so, and streams take turns in an order that the seed draws. A copy from
 * or to page-locked memory is deferred like that too; one with ordinary memory is not, as on a
 * card.
 *
 * CUDASIM_MEMORY limits the simulated memory (bytes); CUDASIM_GPU_COUNT says how many cards there
 * are (1), 0 plays a machine without a driver.
 */
#include "cuda_runtime.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef CUDASIM_ASAN
#include <sanitizer/asan_interface.h>
#endif

enum { ALIGNMENT = 256, FRESH_BYTE = 0xff, GRID_YZ_MAX = 65535 };

typedef struct memory_block {
    char *memory;
    size_t size;
    bool page_locked; /* host memory */
    struct memory_block *next;
} memory_block;

typedef struct operation {
    void (*run)(void *argument); /* NULL for a record or a wait */
    void (*destroy)(void *argument);
    void *argument;
    cudaEvent_t event;
    uint64_t ticket; /* the event's record that is made or awaited */
    bool waits;
    struct operation *next;
} operation;

struct CUstream_st {
    operation *first, *last;
    struct CUstream_st *next;
};

struct CUevent_st {
    uint64_t recorded; /* records asked for */
    uint64_t completed;
    struct CUevent_st *next; /* among those of work that is done */
};

typedef struct copy_argument {
    void *target;
    const void *source;
    size_t size;
    int value; /* of a memset: source is NULL */
    void *owned;
} copy_argument;

static pthread_mutex_t mutex;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static memory_block *blocks;
static size_t allocated_size;
static cudaStream_t streams;
static unsigned pending_count; /* pieces of work that other threads carry out */
static cudaEvent_t finished;   /* events of such work, for the life of the process */
static __thread cudaError_t last_error;

/* Under the address sanitizer memory of the card is poisoned while the host has control, so that a
 * host that reads or writes it is caught. `open` says how deep work of the card is nested. */
#ifdef CUDASIM_ASAN
static unsigned open;

static void open_memory(void)
{
    for (memory_block *block = blocks; block && open == 0; block = block->next) {
        if (!block->page_locked) {
            ASAN_UNPOISON_MEMORY_REGION(block->memory, block->size);
        }
    }
    open++;
}

static void close_memory(void)
{
    open--;
    for (memory_block *block = blocks; block && open == 0; block = block->next) {
        if (!block->page_locked) {
            ASAN_POISON_MEMORY_REGION(block->memory, block->size);
        }
    }
}
#else
static void open_memory(void)
{
}

static void close_memory(void)
{
}
#endif

/* Does a piece of work, with the mutex held. */
static void carry_out(void (*run)(void *argument), void *argument)
{
    open_memory();
    run(argument);
    close_memory();
}

static void initialise(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&mutex, &attributes);
}

static void lock(void)
{
    pthread_once(&once, initialise);
    pthread_mutex_lock(&mutex);
}

static cudaError_t unlock(cudaError_t error)
{
    pthread_mutex_unlock(&mutex);
    if (error != cudaSuccess) {
        last_error = error;
    }
    return error;
}

static size_t environment_size(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    return text ? (size_t)strtoull(text, NULL, 0) : otherwise;
}

static size_t total_size(void)
{
    return environment_size("CUDASIM_MEMORY", (size_t)2 << 30);
}

static int card_count(void)
{
    return (int)environment_size("CUDASIM_GPU_COUNT", 1);
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "cudaSuccess";
    case cudaErrorInvalidValue:
        return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
        return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
        return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
        return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
        return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
        return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
        return "cudaErrorNotReady";
    }
    return "cudaErrorUnknown";
}

const char *cudaGetErrorString(cudaError_t error)
{
    return cudaGetErrorName(error);
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    if (card_count() == 0) {
        return last_error = cudaErrorInsufficientDriver; /* and the count stays as it was */
    }
    *count = card_count();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return device >= 0 && device < card_count() ? cudaSuccess
                                                : (last_error = cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    if (device < 0 || device >= card_count()) {
        return last_error = cudaErrorInvalidDevice;
    }
    memset(properties, 0, sizeof *properties);
    memcpy(properties->uuid.bytes, &device, sizeof device); /* the same in every process */
    properties->uuid.bytes[sizeof properties->uuid - 1] = 1;
    snprintf(properties->name, sizeof properties->name, "cudasim");
    properties->totalGlobalMem = total_size();
    properties->sharedMemPerBlock = CUDASIM_SHARED_DYNAMIC_MAX;
    properties->warpSize = CUDASIM_WARP;
    properties->maxThreadsPerBlock = CUDASIM_BLOCK_THREADS_MAX;
    properties->multiProcessorCount = 4;
    properties->major = 8;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_size, size_t *total_size_out)
{
    lock();
    *total_size_out = total_size();
    *free_size = total_size() - allocated_size;
    return unlock(cudaSuccess);
}

/* Runs the first operation of a stream; false if there is none or it waits for an event. */
static bool run_one(cudaStream_t stream)
{
    operation *work = stream->first;
    if (!work || (work->waits && work->event->completed < work->ticket)) {
        return false;
    }
    stream->first = work->next;
    if (!stream->first) {
        stream->last = NULL;
    }
    if (work->run) {
        carry_out(work->run, work->argument);
        work->destroy(work->argument);
    } else if (!work->waits) {
        work->event->completed = work->ticket;
    }
    free(work);
    return true;
}

/* Runs one operation of a stream that can go on, drawn by the seed; false if none can. */
static bool run_any(void)
{
    unsigned count = 0;
    for (cudaStream_t stream = streams; stream; stream = stream->next) {
        count++;
    }
    unsigned skip = count ? cudasim_random() % count : 0;
    for (unsigned i = 0; i < 2 * count; i++) {
        cudaStream_t stream = streams;
        for (unsigned j = (skip + i) % count; j > 0; j--) {
            stream = stream->next;
        }
        if (run_one(stream)) {
            return true;
        }
    }
    return false;
}

/* Lets threads that carry out pending work go on; false if there are none, and nothing will. */
static bool wait_for_pending(void)
{
    if (pending_count == 0) {
        return false;
    }
    pthread_mutex_unlock(&mutex);
    sched_yield();
    lock();
    return true;
}

static void run_all(void)
{
    bool left = true;
    while (left) {
        while (run_any()) {
        }
        left = false;
        for (cudaStream_t stream = streams; stream; stream = stream->next) {
            left = left || stream->first;
        }
        left = left && wait_for_pending();
    }
}

static void enqueue(cudaStream_t stream, operation work)
{
    if (!stream) { /* the legacy stream waits for all others */
        run_all();
        if (work.run) {
            carry_out(work.run, work.argument);
            work.destroy(work.argument);
        } else if (!work.waits) {
            work.event->completed = work.ticket;
        }
        return;
    }
    operation *entry = malloc(sizeof *entry);
    if (!entry) {
        abort();
    }
    *entry = work;
    entry->next = NULL;
    if (stream->last) {
        stream->last->next = entry;
    } else {
        stream->first = entry;
    }
    stream->last = entry;
    while (cudasim_random() % 2 && run_any()) {
    }
}

void cudasim_enqueue(void *stream,
                     void (*run)(void *argument),
                     void (*destroy)(void *argument),
                     void *argument)
{
    lock();
    enqueue(stream, (operation){run, destroy, argument, NULL, 0, false, NULL});
    unlock(cudaSuccess);
}

int cudasim_check_launch(dim3 grid, dim3 block, size_t shared_size)
{
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    bool valid = threads > 0 && threads <= CUDASIM_BLOCK_THREADS_MAX && block.z <= 64 &&
                 grid.x > 0 && grid.x <= INT32_MAX && grid.y > 0 && grid.y <= GRID_YZ_MAX &&
                 grid.z > 0 && grid.z <= GRID_YZ_MAX && shared_size <= CUDASIM_SHARED_DYNAMIC_MAX;
    if (!valid) {
        last_error = cudaErrorInvalidConfiguration;
    }
    return !valid;
}

static memory_block *find(const void *address, size_t size, bool page_locked)
{
    uintptr_t first = (uintptr_t)address;
    for (memory_block *block = blocks; block; block = block->next) {
        uintptr_t start = (uintptr_t)block->memory;
        if (block->page_locked == page_locked && first >= start && first - start <= block->size &&
            size <= block->size - (first - start)) {
            return block;
        }
    }
    return NULL;
}

static cudaError_t allocate(void **memory, size_t size, bool page_locked)
{
    lock();
    if (card_count() == 0) {
        return unlock(cudaErrorInsufficientDriver);
    }
    if (size == 0) {
        *memory = NULL;
        return unlock(cudaSuccess);
    }
    void *data = NULL;
    memory_block *block = malloc(sizeof *block);
    if (!block || (!page_locked && size > total_size() - allocated_size) ||
        posix_memalign(&data, ALIGNMENT, size) != 0) {
        free(block);
        return unlock(cudaErrorMemoryAllocation);
    }
    memset(data, FRESH_BYTE, size);
    *block = (memory_block){data, size, page_locked, blocks};
    open_memory();
    blocks = block;
    close_memory(); /* the new block with the others */
    allocated_size += page_locked ? 0 : size;
    *memory = data;
    return unlock(cudaSuccess);
}

static cudaError_t release(void *memory, bool page_locked)
{
    if (!memory) {
        return cudaSuccess;
    }
    lock();
    run_all(); /* freeing waits for the card */
    for (memory_block **link = &blocks; *link; link = &(*link)->next) {
        memory_block *block = *link;
        if (block->memory == memory && block->page_locked == page_locked) {
            open_memory();
            *link = block->next;
            close_memory(); /* all but this block */
            allocated_size -= page_locked ? 0 : block->size;
            free(memory);
            free(block);
            return unlock(cudaSuccess);
        }
    }
    return unlock(cudaErrorInvalidValue);
}

cudaError_t cudaMalloc(void **memory, size_t size)
{
    return allocate(memory, size, false);
}

cudaError_t cudaFree(void *memory)
{
    return release(memory, false);
}

cudaError_t cudaMallocHost(void **memory, size_t size)
{
    return allocate(memory, size, true);
}

cudaError_t cudaFreeHost(void *memory)
{
    return release(memory, true);
}

static void run_copy(void *argument)
{
    copy_argument *copy = argument;
    if (copy->source) {
        memmove(copy->target, copy->source, copy->size);
    } else {
        memset(copy->target, copy->value, copy->size);
    }
}

static void destroy_copy(void *argument)
{
    copy_argument *copy = argument;
    free(copy->owned);
    free(copy);
}

static cudaError_t enqueue_copy(copy_argument copy, cudaStream_t stream)
{
    copy_argument *argument = malloc(sizeof *argument);
    if (!argument) {
        return cudaErrorMemoryAllocation;
    }
    *argument = copy;
    enqueue(stream, (operation){run_copy, destroy_copy, argument, NULL, 0, false, NULL});
    return cudaSuccess;
}

static void drain(cudaStream_t stream)
{
    while (stream->first && (run_any() || wait_for_pending())) {
    }
}

void *cudasim_begin_pending(void *stream)
{
    lock();
    cudaEvent_t event = calloc(1, sizeof *event);
    if (!event) {
        abort();
    }
    drain(stream);
    event->recorded = 1;
    open_memory();
    pending_count++;
    enqueue(stream, (operation){NULL, NULL, NULL, event, 1, true, NULL});
    unlock(cudaSuccess);
    return event;
}

void cudasim_end_pending(void *pending)
{
    lock();
    cudaEvent_t event = pending;
    event->completed = 1;
    close_memory();
    pending_count--;
    event->next = finished; /* the stream still looks at it */
    finished = event;
    unlock(cudaSuccess);
}

int cudasim_is_device(const void *memory, size_t size)
{
    lock();
    bool is = find(memory, size, false) != NULL;
    unlock(cudaSuccess);
    return is;
}

cudaError_t cudaMemcpyAsync(
    void *target, const void *source, size_t size, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (size == 0) {
        return cudaSuccess;
    }
    lock();
    bool device_target = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool device_source = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    /* Exactly the sides that `kind` says must lie in one device allocation, whole. */
    if ((find(target, size, false) != NULL) != device_target ||
        (find(source, size, false) != NULL) != device_source) {
        return unlock(cudaErrorInvalidValue);
    }
    copy_argument copy = {target, source, size, 0, NULL};
    if (kind == cudaMemcpyHostToDevice && !find(source, size, true)) {
        copy.owned = malloc(size); /* the driver stages ordinary memory before it returns */
        if (!copy.owned) {
            return unlock(cudaErrorMemoryAllocation);
        }
        memcpy(copy.owned, source, size);
        copy.source = copy.owned;
    }
    cudaError_t error = enqueue_copy(copy, stream);
    if (error == cudaSuccess && stream && kind == cudaMemcpyDeviceToHost &&
        !find(target, size, true)) {
        drain(stream);
    }
    return unlock(error);
}

cudaError_t cudaMemcpy(void *target, const void *source, size_t size, cudaMemcpyKind kind)
{
    return cudaMemcpyAsync(target, source, size, kind, NULL);
}

cudaError_t cudaMemsetAsync(void *target, int value, size_t size, cudaStream_t stream)
{
    if (size == 0) {
        return cudaSuccess;
    }
    lock();
    cudaError_t error = cudaErrorInvalidValue;
    if (find(target, size, false)) {
        error = enqueue_copy((copy_argument){target, NULL, size, value, NULL}, stream);
    }
    return unlock(error);
}

cudaError_t cudaMemset(void *target, int value, size_t size)
{
    return cudaMemsetAsync(target, value, size, NULL);
}

cudaError_t cudaDeviceSynchronize(void)
{
    lock();
    run_all();
    return unlock(cudaSuccess);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    (void)flags;
    lock();
    cudaStream_t created = calloc(1, sizeof *created);
    if (!created) {
        return unlock(cudaErrorMemoryAllocation);
    }
    created->next = streams;
    streams = created;
    *stream = created;
    return unlock(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    lock();
    if (stream) {
        drain(stream);
    } else {
        run_all();
    }
    return unlock(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    lock();
    drain(stream);
    for (cudaStream_t *link = &streams; *link; link = &(*link)->next) {
        if (*link == stream) {
            *link = stream->next;
            free(stream);
            return unlock(cudaSuccess);
        }
    }
    return unlock(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    (void)flags;
    *event = calloc(1, sizeof **event);
    return *event ? cudaSuccess : (last_error = cudaErrorMemoryAllocation);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    lock();
    run_all(); /* simpler than a card, which lets pending work keep the event alive */
    free(event);
    return unlock(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    lock();
    enqueue(stream, (operation){NULL, NULL, NULL, event, ++event->recorded, false, NULL});
    return unlock(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    lock();
    enqueue(stream, (operation){NULL, NULL, NULL, event, event->recorded, true, NULL});
    return unlock(cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    lock();
    while (event->completed < event->recorded && (run_any() || wait_for_pending())) {
    }
    return unlock(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    lock();
    run_any(); /* a card goes on while the host asks */
    bool ready = event->completed >= event->recorded;
    pthread_mutex_unlock(&mutex);
    return ready ? cudaSuccess : cudaErrorNotReady; /* not an error that cudaGetLastError reports */
}
