#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include "shared_memory.h"

#include "communicator_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* Before the region lies a page with a mark, so that a peer notices when the process number means
 * another process to it. */
enum { HEAD_SIZE = 4096 };

typedef struct region {
    char *base; /* mapping, NULL if none */
    uint64_t size;
} region;

struct csl_shared_memory {
    uint32_t rank_count;
    region *regions; /* [rank_count] */
};

/* What a rank tells the others about its region. */
typedef struct announcement {
    int64_t process;
    int32_t descriptor;
    uint32_t usable;
    uint64_t size;
    uint64_t mark;
} announcement;

static char *map(int descriptor, uint64_t size)
{
    void *base = mmap(NULL, HEAD_SIZE + size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return base == MAP_FAILED ? NULL : base;
}

/* -1 where the system gives no such memory. */
static int make_memory(uint64_t size)
{
    int descriptor = memfd_create("consilium", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    /* A region that cannot shrink never faults under a peer. */
    if (descriptor >= 0 &&
        (ftruncate(descriptor, (off_t)size) != 0 ||
         fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)) {
        close(descriptor);
        descriptor = -1;
    }
    return descriptor;
}

/* A file that has no name, or loses it at once where the file system cannot do without. */
static int open_unnamed(const char *folder)
{
    int descriptor = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (descriptor < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        char path[CSL_PATH_MAX];
        int length = snprintf(path, sizeof path, "%s/.updates-XXXXXX", folder);
        descriptor = length < CSL_PATH_MAX ? mkostemp(path, O_CLOEXEC) : -1;
        if (descriptor >= 0) {
            unlink(path);
        }
    }
    return descriptor;
}

/* All of the file's room is taken now: a page that the disk has no room for later would kill the
 * process that writes to it. */
static csl_status make_file(const char *folder, uint64_t size, int *descriptor_out)
{
    int descriptor = open_unnamed(folder);
    int cause = descriptor < 0 ? errno : posix_fallocate(descriptor, 0, (off_t)size);
    if (cause != 0) {
        if (descriptor >= 0) {
            close(descriptor);
        }
        return csl_fail(CSL_E_IO, "%s: a file of %" PRIu64 " bytes for a round's updates: %s",
                        folder, size, strerror(cause));
    }
    *descriptor_out = descriptor;
    return CSL_OK;
}

/* Leaves `usable` at 0 where the system gives no such memory; a folder that does not take the file
 * is a failure. */
static csl_status make_own(csl_communicator *communicator,
                           uint64_t size,
                           const char *folder,
                           region *own,
                           announcement *announced)
{
    *announced = (announcement){.process = (int64_t)getpid(), .descriptor = -1, .size = size};
    if (communicator->keeps_memory_apart || communicator->local_size != communicator->size ||
        size > INT64_MAX - HEAD_SIZE) {
        return CSL_OK;
    }
    if (folder) {
        CSL_TRY(make_file(folder, HEAD_SIZE + size, &announced->descriptor));
    } else {
        announced->descriptor = make_memory(HEAD_SIZE + size);
    }
    if (announced->descriptor < 0 ||
        getrandom(&announced->mark, sizeof announced->mark, 0) != sizeof announced->mark) {
        return CSL_OK;
    }
    own->base = map(announced->descriptor, size);
    if (own->base) {
        own->size = size;
        memcpy(own->base, &announced->mark, sizeof announced->mark);
        announced->usable = 1;
    }
    return CSL_OK;
}

static bool open_peer(const announcement *announced, region *peer)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRId64 "/fd/%d", announced->process,
             announced->descriptor);
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) {
        return false;
    }
    off_t size = lseek(descriptor, 0, SEEK_END);
    if (size == (off_t)(HEAD_SIZE + announced->size)) {
        peer->base = map(descriptor, announced->size);
    }
    close(descriptor);
    peer->size = announced->size;
    return peer->base && memcmp(peer->base, &announced->mark, sizeof announced->mark) == 0;
}

/* Maps the regions of all peers and tells whether everybody could. */
static csl_status
open_all(csl_communicator *communicator, csl_shared_memory *shared, announcement *all, bool *out)
{
    uint32_t size = communicator->size;
    uint64_t *parts = malloc((size + 1) * sizeof *parts);
    csl_status status =
        csl_agree(communicator, parts ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "shared memory"));
    for (uint32_t rank = 0; status == CSL_OK && rank <= size; rank++) {
        parts[rank] = rank * sizeof *all;
    }
    status = status == CSL_OK ? csl_gather_all(communicator, all, parts) : status;
    free(parts);
    CSL_TRY(status);
    int64_t missing = 0;
    for (uint32_t rank = 0; rank < size; rank++) {
        missing += !all[rank].usable;
    }
    for (uint32_t rank = 0; rank < size && missing == 0; rank++) {
        if (rank != communicator->rank) {
            missing += !open_peer(&all[rank], &shared->regions[rank]);
        }
    }
    CSL_TRY(csl_sum_integers(communicator, &missing, 1));
    *out = missing == 0;
    return CSL_OK;
}

csl_status csl_shared_memory_create(csl_communicator *communicator,
                                    uint64_t own_size,
                                    const char *folder,
                                    csl_shared_memory **shared_out)
{
    uint32_t size = communicator->size;
    csl_shared_memory *shared = calloc(1, sizeof *shared);
    region *regions = calloc(size, sizeof *regions);
    announcement *all = calloc(size, sizeof *all);
    csl_status status =
        shared && regions && all ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "shared memory");
    status = csl_agree(communicator, status);
    bool everywhere = false;
    int descriptor = -1;
    if (status == CSL_OK) {
        *shared = (csl_shared_memory){.rank_count = size, .regions = regions};
        status = make_own(communicator, own_size, folder, &regions[communicator->rank],
                          &all[communicator->rank]);
        descriptor = all[communicator->rank].descriptor;
        status = csl_agree(communicator, status);
    }
    if (status == CSL_OK) {
        status = open_all(communicator, shared, all, &everywhere);
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
    free(all);
    if (status != CSL_OK || !everywhere) {
        if (!shared || !shared->regions) {
            free(regions); /* not yet its own */
        }
        csl_shared_memory_destroy(shared);
        *shared_out = status == CSL_OK ? NULL : *shared_out;
        return status;
    }
    *shared_out = shared;
    return CSL_OK;
}

void csl_shared_memory_destroy(csl_shared_memory *shared)
{
    if (!shared) {
        return;
    }
    for (uint32_t rank = 0; shared->regions && rank < shared->rank_count; rank++) {
        if (shared->regions[rank].base) {
            munmap(shared->regions[rank].base, HEAD_SIZE + shared->regions[rank].size);
        }
    }
    free(shared->regions);
    free(shared);
}

void *csl_shared_memory_of(const csl_shared_memory *shared, uint32_t rank)
{
    const region *of = &shared->regions[rank];
    return of->size > 0 ? of->base + HEAD_SIZE : NULL;
}

static void advise(const void *address, uint64_t size, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)address + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)address + size) / page * page;
    if (end > begin) {
        /* A hint: what it does not do costs memory or time, and no bit. */
        (void)madvise((char *)address + (begin - (uintptr_t)address), end - begin, advice);
    }
}

void csl_shared_memory_release(const void *address, uint64_t size)
{
    advise(address, size, MADV_DONTNEED);
}

void csl_shared_memory_expect(const void *address, uint64_t size)
{
    advise(address, size, MADV_WILLNEED);
}
