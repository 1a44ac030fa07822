/*
 * Host kernels, GPU memory manners. Every allocation is its own mapping between two pages that are
 * never readable, and the whole of it is unreadable while the host has control: an operation opens
 * the device's allocations, runs the host kernel, and closes them again. A missing copy, a host
 * dereference and a use after free fault at the instruction that is wrong.
 *
 * Data ends at the guard page, less the padding to 64 bytes; it starts as NaN (bytes 0xff).
 */
#include "device/kernel_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 64, FRESH_BYTE = 0xff };

typedef struct guard_state {
    size_t page_size;
    unsigned open_depth;     /* operations running now; allocations made inside one stay open */
    csl_allocation *retired; /* freed: address space kept so that nothing can move in */
    size_t retired_count;
    size_t retired_capacity;
} guard_state;

static guard_state *state_of(csl_device *device)
{
    return device->state;
}

/* Changes the pages of one allocation, the two guard pages left out. */
static csl_status protect(csl_device *device, const csl_allocation *allocation, int protection)
{
    size_t page_size = state_of(device)->page_size;
    char *first = (char *)allocation->base + page_size;
    if (mprotect(first, allocation->base_size - 2 * page_size, protection) != 0) {
        return csl_fail(CSL_E_DEVICE, "host:guard: mprotect of %zu bytes: %s",
                        allocation->base_size, strerror(errno));
    }
    return CSL_OK;
}

static csl_status protect_all(csl_device *device, int protection)
{
    for (size_t i = 0; i < device->allocation_count; i++) {
        CSL_TRY(protect(device, &device->allocations[i], protection));
    }
    return CSL_OK;
}

static csl_status begin_operation(csl_device *device)
{
    guard_state *state = state_of(device);
    if (state->open_depth == 0) {
        CSL_TRY(protect_all(device, PROT_READ | PROT_WRITE));
    }
    state->open_depth++;
    return CSL_OK;
}

static csl_status end_operation(csl_device *device, csl_status status)
{
    guard_state *state = state_of(device);
    state->open_depth--;
    if (state->open_depth == 0) {
        csl_status closed = protect_all(device, PROT_NONE);
        return status != CSL_OK ? status : closed;
    }
    return status;
}

static csl_status guard_alloc(csl_device *device, size_t size, csl_allocation *allocation_out)
{
    guard_state *state = state_of(device);
    size_t page_size = state->page_size;
    if (size > SIZE_MAX / 2) {
        return csl_fail(CSL_E_NO_MEMORY, "host:guard: no memory for %zu bytes", size);
    }
    size_t padded_size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t data_size = (padded_size + page_size - 1) / page_size * page_size;
    data_size = data_size ? data_size : page_size;
    size_t base_size = data_size + 2 * page_size;
    char *base = mmap(NULL, base_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return csl_fail(CSL_E_NO_MEMORY, "host:guard: no memory for %zu bytes", size);
    }
    csl_allocation allocation = {base + page_size + data_size - padded_size, size, base, base_size};
    csl_status status = protect(device, &allocation, PROT_READ | PROT_WRITE);
    if (status == CSL_OK) {
        memset(base + page_size, FRESH_BYTE, data_size);
        if (state->open_depth == 0) {
            status = protect(device, &allocation, PROT_NONE);
        }
    }
    if (status != CSL_OK) {
        munmap(base, base_size);
        return status;
    }
    *allocation_out = allocation;
    return CSL_OK;
}

static void guard_free(csl_device *device, const csl_allocation *allocation)
{
    guard_state *state = state_of(device);
    if (state->retired_count == state->retired_capacity) {
        size_t capacity = state->retired_capacity ? 2 * state->retired_capacity : 64;
        csl_allocation *retired = realloc(state->retired, capacity * sizeof *retired);
        if (!retired) {
            munmap(allocation->base, allocation->base_size);
            return;
        }
        state->retired = retired;
        state->retired_capacity = capacity;
    }
    /* A fresh mapping over the old one gives the memory back and keeps the addresses. */
    void *base = mmap(allocation->base, allocation->base_size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (base != MAP_FAILED) {
        state->retired[state->retired_count++] = *allocation;
    }
}

/* Opens or closes the one allocation that a copy touches, and checks that it touches only that. */
static csl_status protect_side(csl_device *device, const void *address, size_t size, int protection)
{
    const csl_allocation *allocation = csl_device_find(device, address, size);
    if (!allocation) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "host:guard: expected %zu bytes within one allocation of this device to "
                        "copy, found address %p",
                        size, address);
    }
    return state_of(device)->open_depth ? CSL_OK : protect(device, allocation, protection);
}

static csl_status guard_copy(
    csl_device *device, void *target, const void *source, size_t size, csl_copy_direction direction)
{
    bool device_target = direction != CSL_COPY_TO_HOST;
    bool device_source = direction != CSL_COPY_TO_DEVICE;
    csl_status status = CSL_OK;
    if (device_target) {
        CSL_TRY(protect_side(device, target, size, PROT_READ | PROT_WRITE));
    }
    if (device_source) {
        status = protect_side(device, source, size, PROT_READ | PROT_WRITE);
    }
    if (status == CSL_OK) {
        memmove(target, source, size);
    }
    if (device_source && status == CSL_OK) {
        status = protect_side(device, source, size, PROT_NONE);
    }
    if (device_target) {
        csl_status closed = protect_side(device, target, size, PROT_NONE);
        status = status != CSL_OK ? status : closed;
    }
    return status;
}

static csl_status guard_sync(csl_device *device)
{
    (void)device;
    return CSL_OK;
}

static void guard_close(csl_device *device)
{
    guard_state *state = state_of(device);
    for (size_t i = 0; i < state->retired_count; i++) {
        munmap(state->retired[i].base, state->retired[i].base_size);
    }
    free(state->retired);
    free(state);
}

static const csl_backend guard_backend = {.close = guard_close,
                                          .alloc = guard_alloc,
                                          .free = guard_free,
                                          .alloc_host = csl_host_alloc_host,
                                          .free_host = csl_host_free_host,
                                          .copy = guard_copy,
                                          .sync = guard_sync};

#define GUARD_OP(name, exactness, absolute, relative, parameters, arguments)                       \
    static csl_status guard_##name parameters                                                      \
    {                                                                                              \
        CSL_TRY(begin_operation(device));                                                          \
        return end_operation(device, csl_host_##name arguments);                                   \
    }
CSL_OP_LIST(GUARD_OP)

csl_status csl_guard_device_open(csl_device *device)
{
    guard_state *state = calloc(1, sizeof *state);
    if (!state) {
        return csl_fail(CSL_E_NO_MEMORY, "host:guard: no memory for %zu bytes", sizeof *state);
    }
    state->page_size = (size_t)sysconf(_SC_PAGESIZE);
    device->state = state;
    device->backend = &guard_backend;
#define FILL_GUARD_OP(name, exactness, absolute, relative, parameters, arguments)                  \
    device->kernels.name = guard_##name;
    CSL_OP_LIST(FILL_GUARD_OP)
#undef FILL_GUARD_OP
    snprintf(device->info.resource, sizeof device->info.resource, "host:guard");
    return CSL_OK;
}
