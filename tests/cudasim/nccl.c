/*
 * NCCL's point-to-point calls for cudasim. Ranks are processes; between each two lies a mailbox in
 * shared memory that holds a part of a message. As on a card, what a group asks for goes on while
 * the host does other things: a thread of the communicator carries it out, in the order of the
 * groups, and the stream's later work waits for it.
 */
#include "nccl.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MAILBOX_SIZE = 64 * 1024, RANKS_MAX = 64, PATIENCE_SECONDS = 120 };

typedef struct mailbox {
    _Atomic uint32_t size; /* bytes that wait for the receiver; 0: the sender may write */
    char bytes[MAILBOX_SIZE];
} mailbox;

typedef struct region {
    _Atomic uint32_t arrived;
    mailbox boxes[]; /* [from][to] */
} region;

typedef struct message {
    char *values;
    size_t size;
    size_t done;
    int peer;
    bool sends;
    struct ncclComm *communicator;
    cudaStream_t stream;
} message;

/* Messages of one group on one communicator. */
typedef struct group {
    message *messages;
    size_t count;
    void *pending; /* of the stream */
    struct group *next;
} group;

struct ncclComm {
    region *shared;
    size_t shared_size;
    int rank;
    int rank_count;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    group *first, *last;
    bool closing;
};

static __thread message *open_messages;
static __thread size_t open_count;
static __thread size_t open_capacity;
static __thread unsigned depth;

const char *ncclGetErrorString(ncclResult_t result)
{
    return result == ncclSuccess         ? "no error"
           : result == ncclSystemError   ? "unhandled system error"
           : result == ncclInvalidUsage  ? "invalid usage"
           : result == ncclInternalError ? "internal error"
                                         : "invalid argument";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "/cudasim-nccl-%ld-%lld-%ld", (long)getpid(),
             (long long)now.tv_sec, now.tv_nsec);
    return ncclSuccess;
}

static mailbox *box_of(const struct ncclComm *communicator, int from, int to)
{
    return &communicator->shared->boxes[from * communicator->rank_count + to];
}

/* Moves what can be moved of a message; false if nothing could. */
static bool advance(message *m)
{
    struct ncclComm *communicator = m->communicator;
    mailbox *box = m->sends ? box_of(communicator, communicator->rank, m->peer)
                            : box_of(communicator, m->peer, communicator->rank);
    uint32_t waiting = atomic_load_explicit(&box->size, memory_order_acquire);
    if ((waiting == 0) != m->sends) {
        return false;
    }
    size_t left = m->size - m->done;
    if (m->sends) {
        size_t part = left < MAILBOX_SIZE ? left : MAILBOX_SIZE;
        memcpy(box->bytes, m->values + m->done, part);
        m->done += part;
        atomic_store_explicit(&box->size, (uint32_t)part, memory_order_release);
    } else {
        if (waiting > left) {
            fprintf(stderr, "cudasim: NCCL: rank %d sends more than rank %d receives\n", m->peer,
                    communicator->rank);
            abort();
        }
        memcpy(m->values + m->done, box->bytes, waiting);
        m->done += waiting;
        atomic_store_explicit(&box->size, 0, memory_order_release);
    }
    return true;
}

/* Messages to or from one peer keep their order; those of different peers do not wait for each
 * other. */
static bool is_next(const group *work, size_t index)
{
    const message *m = &work->messages[index];
    for (size_t i = 0; i < index; i++) {
        const message *earlier = &work->messages[i];
        if (earlier->peer == m->peer && earlier->sends == m->sends &&
            earlier->done < earlier->size) {
            return false;
        }
    }
    return true;
}

static void carry_out(group *work)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (size_t done = 0; done < work->count;) {
        bool moved = false;
        done = 0;
        for (size_t i = 0; i < work->count; i++) {
            message *m = &work->messages[i];
            done += m->done == m->size;
            moved = (m->done < m->size && is_next(work, i) && advance(m)) || moved;
        }
        if (moved) {
            clock_gettime(CLOCK_MONOTONIC, &begin);
            continue;
        }
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - begin.tv_sec > PATIENCE_SECONDS) {
            fprintf(stderr, "cudasim: NCCL: nothing moved for %d s: a send without its receive\n",
                    PATIENCE_SECONDS);
            abort();
        }
    }
}

static void *serve(void *argument)
{
    struct ncclComm *communicator = argument;
    pthread_mutex_lock(&communicator->mutex);
    while (communicator->first || !communicator->closing) {
        group *work = communicator->first;
        if (!work) {
            pthread_cond_wait(&communicator->changed, &communicator->mutex);
            continue;
        }
        communicator->first = work->next;
        pthread_mutex_unlock(&communicator->mutex);
        carry_out(work);
        cudasim_end_pending(work->pending);
        free(work->messages);
        free(work);
        pthread_mutex_lock(&communicator->mutex);
    }
    pthread_mutex_unlock(&communicator->mutex);
    return NULL;
}

static region *attach(const char *name, size_t size)
{
    int descriptor = shm_open(name, O_CREAT | O_RDWR, 0600);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)size) != 0) {
        return NULL;
    }
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    return memory == MAP_FAILED ? NULL : memory;
}

ncclResult_t ncclCommInitRank(ncclComm_t *communicator, int rank_count, ncclUniqueId id, int rank)
{
    if (rank_count < 1 || rank_count > RANKS_MAX || rank < 0 || rank >= rank_count) {
        return ncclInvalidArgument;
    }
    struct ncclComm *made = calloc(1, sizeof *made);
    if (!made) {
        return ncclSystemError;
    }
    made->shared_size = sizeof(region) + (size_t)rank_count * (size_t)rank_count * sizeof(mailbox);
    made->shared = attach(id.internal, made->shared_size);
    made->rank = rank;
    made->rank_count = rank_count;
    if (!made->shared) {
        free(made);
        return ncclSystemError;
    }
    atomic_fetch_add(&made->shared->arrived, 1);
    while (atomic_load(&made->shared->arrived) < (uint32_t)rank_count) {
        sched_yield();
    }
    if (rank == 0) {
        shm_unlink(id.internal); /* everybody has it */
    }
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->changed, NULL);
    if (pthread_create(&made->thread, NULL, serve, made) != 0) {
        abort();
    }
    *communicator = made;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t communicator)
{
    pthread_mutex_lock(&communicator->mutex);
    communicator->closing = true;
    pthread_cond_signal(&communicator->changed);
    pthread_mutex_unlock(&communicator->mutex);
    pthread_join(communicator->thread, NULL);
    munmap(communicator->shared, communicator->shared_size);
    pthread_mutex_destroy(&communicator->mutex);
    pthread_cond_destroy(&communicator->changed);
    free(communicator);
    return ncclSuccess;
}

/* The thread may wait for a peer that will never come: it is left behind, the process ends soon. */
ncclResult_t ncclCommAbort(ncclComm_t communicator)
{
    pthread_detach(communicator->thread);
    return ncclSuccess;
}

ncclResult_t ncclGroupStart(void)
{
    depth++;
    return ncclSuccess;
}

/* One group for each communicator among the messages: in the project there is one. */
static ncclResult_t launch(void)
{
    struct ncclComm *communicator = open_messages[0].communicator;
    group *work = calloc(1, sizeof *work);
    if (!work) {
        return ncclSystemError;
    }
    work->messages = open_messages;
    work->count = open_count;
    for (size_t i = 1; i < open_count; i++) {
        if (open_messages[i].communicator != communicator ||
            open_messages[i].stream != open_messages[0].stream) {
            fprintf(stderr, "cudasim: NCCL: groups over several communicators are not simulated\n");
            abort();
        }
    }
    work->pending = cudasim_begin_pending(open_messages[0].stream);
    pthread_mutex_lock(&communicator->mutex);
    if (communicator->first) {
        communicator->last->next = work;
    } else {
        communicator->first = work;
    }
    communicator->last = work;
    pthread_cond_signal(&communicator->changed);
    pthread_mutex_unlock(&communicator->mutex);
    open_messages = NULL;
    open_count = open_capacity = 0;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (depth == 0) {
        return ncclInvalidUsage;
    }
    return --depth == 0 && open_count > 0 ? launch() : ncclSuccess;
}

static ncclResult_t add(message m)
{
    bool valid = m.peer >= 0 && m.peer < m.communicator->rank_count &&
                 m.peer != m.communicator->rank && cudasim_is_device(m.values, m.size);
    if (!valid) {
        return ncclInvalidArgument;
    }
    if (m.size == 0) {
        return ncclSuccess;
    }
    if (open_count == open_capacity) {
        open_capacity = open_capacity ? 2 * open_capacity : 16;
        open_messages = realloc(open_messages, open_capacity * sizeof m);
        if (!open_messages) {
            abort();
        }
    }
    open_messages[open_count++] = m;
    return depth == 0 ? launch() : ncclSuccess;
}

ncclResult_t ncclSend(const void *values,
                      size_t count,
                      ncclDataType_t type,
                      int peer,
                      ncclComm_t communicator,
                      cudaStream_t stream)
{
    (void)type; /* float32 is the only one */
    char *bytes = (char *)(uintptr_t)values;
    return add((message){bytes, count * sizeof(float), 0, peer, true, communicator, stream});
}

ncclResult_t ncclRecv(void *values,
                      size_t count,
                      ncclDataType_t type,
                      int peer,
                      ncclComm_t communicator,
                      cudaStream_t stream)
{
    (void)type;
    return add((message){values, count * sizeof(float), 0, peer, false, communicator, stream});
}
