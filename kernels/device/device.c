/* Resource names, the device object, and what all backends share: the list of allocations. */
#include "device/kernel_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESOURCE_MAX = CSL_NAME_MAX, GPU_INDEX_MAX = 4095 };

typedef enum resource_kind { RESOURCE_HOST, RESOURCE_GUARD, RESOURCE_CUDA } resource_kind;

static const char *const resource_names[] = {"host", "host:guard", "cuda:0", "auto"};

/* Levenshtein distance of two short names, one row at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[RESOURCE_MAX + 1];
    size_t b_length = strlen(b);
    for (size_t j = 0; j <= b_length; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_length; j++) {
            size_t replaced = diagonal + (a[i] != b[j]);
            size_t shorter = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[b_length];
}

static csl_status fail_unknown(const char *resource)
{
    const char *nearest = resource_names[0];
    size_t distance = SIZE_MAX;
    for (size_t i = 0; strlen(resource) < RESOURCE_MAX && i < 4; i++) {
        size_t candidate = edit_distance(resource, resource_names[i]);
        if (candidate < distance) {
            distance = candidate;
            nearest = resource_names[i];
        }
    }
    return csl_fail(
        CSL_E_NOT_FOUND,
        "device: expected host, host:guard, cuda:N or auto, found '%.64s'; did you mean "
        "'%s'?",
        resource, nearest);
}

static bool parse_gpu_index(const char *text, uint32_t *index_out)
{
    uint32_t index = 0;
    if (!*text) {
        return false;
    }
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || index > GPU_INDEX_MAX) {
            return false;
        }
        index = index * 10 + (uint32_t)(*c - '0');
    }
    *index_out = index;
    return true;
}

static csl_status parse_resource(const char *resource, resource_kind *kind_out, uint32_t *index_out)
{
    *index_out = 0;
    if (strcmp(resource, "auto") == 0) {
        *kind_out = csl_device_gpu_count() > 0 ? RESOURCE_CUDA : RESOURCE_HOST;
    } else if (strcmp(resource, "host") == 0) {
        *kind_out = RESOURCE_HOST;
    } else if (strcmp(resource, "host:guard") == 0) {
        *kind_out = RESOURCE_GUARD;
    } else if (strncmp(resource, "cuda:", 5) == 0 && parse_gpu_index(resource + 5, index_out)) {
        *kind_out = RESOURCE_CUDA;
    } else {
        return fail_unknown(resource);
    }
    return CSL_OK;
}

csl_status csl_device_check_name(const char *resource)
{
    resource_kind kind = RESOURCE_HOST;
    uint32_t index = 0;
    return parse_resource(resource, &kind, &index);
}

static csl_status open_cuda(csl_device *device, uint32_t index)
{
#ifdef CSL_HAVE_CUDA
    uint32_t count = csl_cuda_device_count();
    if (index >= count) {
        return csl_fail(CSL_E_NO_DEVICE,
                        "device: expected an index below the %" PRIu32
                        " GPUs that answer, found cuda:%" PRIu32,
                        count, index);
    }
    return csl_cuda_device_open(device, index);
#else
    (void)device;
    return csl_fail(CSL_E_NO_DEVICE,
                    "device: expected a build with CUDA for cuda:%" PRIu32
                    ", found one without (CONSILIUM_CUDA)",
                    index);
#endif
}

/* Does OpenMP give so many? oneDNN waits for ever for threads that it was promised and did not get,
 * and a result that depends on their number would change unseen. Asked, not tried: threads that run
 * already would be lost to a process that forks after this. */
static csl_status check_threads(uint32_t threads)
{
    omp_set_dynamic(0);
    int limit = omp_get_thread_limit();
    int levels = omp_get_max_active_levels();
    int given = levels < 1 ? 1 : limit;
    return threads == 1 || given >= (int)threads
               ? CSL_OK
               : csl_fail(CSL_E_RANGE,
                          "device: expected %" PRIu32 " threads, OpenMP gives %d; see "
                          "OMP_THREAD_LIMIT (now %d) and OMP_MAX_ACTIVE_LEVELS (now %d)",
                          threads, given, limit, levels);
}

csl_status csl_device_open(const char *resource, uint32_t threads, csl_device **device_out)
{
    if (!resource || !device_out) {
        return csl_fail(CSL_E_INVALID_ARG, "device: expected a resource and an output, found NULL");
    }
    if (threads < 1 || threads > CSL_THREADS_MAX) {
        return csl_fail(CSL_E_RANGE, "device: expected 1 to %d threads, found %" PRIu32,
                        CSL_THREADS_MAX, threads);
    }
    resource_kind kind = RESOURCE_HOST;
    uint32_t index = 0;
    CSL_TRY(parse_resource(resource, &kind, &index));
    CSL_TRY(check_threads(threads));
    csl_device *device = calloc(1, sizeof *device);
    if (!device) {
        return csl_fail(CSL_E_NO_MEMORY, "device: no memory for %zu bytes", sizeof *device);
    }
    device->threads = threads;
    /* The host fills the table first; a device overrides what it has. */
    csl_status status = csl_host_device_open(device);
    if (status == CSL_OK && kind == RESOURCE_GUARD) {
        status = csl_guard_device_open(device);
    } else if (status == CSL_OK && kind == RESOURCE_CUDA) {
        status = open_cuda(device, index);
    }
    if (status != CSL_OK) {
        free(device);
        return status;
    }
    *device_out = device;
    return CSL_OK;
}

void csl_device_close(csl_device *device)
{
    if (!device) {
        return;
    }
    while (device->allocation_count) {
        csl_device_free(device, device->allocations[device->allocation_count - 1].memory);
    }
    device->backend->close(device);
    free(device->allocations);
    free(device);
}

uint32_t csl_device_gpu_count(void)
{
#ifdef CSL_HAVE_CUDA
    return csl_cuda_device_count();
#else
    return 0;
#endif
}

const char *csl_device_gpu_absence(void)
{
#ifdef CSL_HAVE_CUDA
    return csl_cuda_absence();
#else
    return "this build has no CUDA";
#endif
}

const csl_device_info *csl_device_get_info(const csl_device *device)
{
    return &device->info;
}

uint32_t csl_device_threads(const csl_device *device)
{
    return device->threads;
}

static csl_status reserve_allocation(csl_device *device)
{
    if (device->allocation_count < device->allocation_capacity) {
        return CSL_OK;
    }
    size_t capacity = device->allocation_capacity ? 2 * device->allocation_capacity : 64;
    csl_allocation *allocations =
        realloc(device->allocations, capacity * sizeof *device->allocations);
    if (!allocations) {
        return csl_fail(CSL_E_NO_MEMORY, "device: no memory to list %zu allocations", capacity);
    }
    device->allocations = allocations;
    device->allocation_capacity = capacity;
    return CSL_OK;
}

csl_status csl_device_alloc(csl_device *device, size_t size, void **memory_out)
{
    if (!device || !memory_out) {
        return csl_fail(CSL_E_INVALID_ARG, "device: expected a device and an output, found NULL");
    }
    CSL_TRY(reserve_allocation(device));
    csl_allocation allocation = {NULL, size, NULL, 0};
    CSL_TRY(device->backend->alloc(device, size, &allocation));
    device->allocations[device->allocation_count++] = allocation;
    device->allocated_size += size;
    if (device->allocated_size > device->peak_size) {
        device->peak_size = device->allocated_size;
    }
    *memory_out = allocation.memory;
    return CSL_OK;
}

void csl_device_free(csl_device *device, void *memory)
{
    if (!device || !memory) {
        return;
    }
    /* From the end: what was allocated last is mostly freed first. */
    for (size_t i = device->allocation_count; i-- > 0;) {
        if (device->allocations[i].memory == memory) {
            csl_allocation allocation = device->allocations[i];
            device->allocations[i] = device->allocations[--device->allocation_count];
            device->allocated_size -= allocation.size;
            device->backend->free(device, &allocation);
            return;
        }
    }
}

const csl_allocation *csl_device_find(const csl_device *device, const void *address, size_t size)
{
    uintptr_t first = (uintptr_t)address;
    for (size_t i = 0; i < device->allocation_count; i++) {
        const csl_allocation *allocation = &device->allocations[i];
        uintptr_t start = (uintptr_t)allocation->memory;
        if (first >= start && first - start <= allocation->size &&
            size <= allocation->size - (first - start)) {
            return allocation;
        }
    }
    return NULL;
}

csl_status csl_device_alloc_host(csl_device *device, size_t size, void **memory_out)
{
    if (!device || !memory_out) {
        return csl_fail(CSL_E_INVALID_ARG, "device: expected a device and an output, found NULL");
    }
    return device->backend->alloc_host(device, size, memory_out);
}

void csl_device_free_host(csl_device *device, void *memory)
{
    if (device && memory) {
        device->backend->free_host(device, memory);
    }
}

csl_status csl_device_copy(
    csl_device *device, void *target, const void *source, size_t size, csl_copy_direction direction)
{
    if (size == 0) {
        return CSL_OK;
    }
    if (!device || !target || !source) {
        return csl_fail(CSL_E_INVALID_ARG, "device: expected two addresses to copy, found NULL");
    }
    return device->backend->copy(device, target, source, size, direction);
}

csl_status csl_device_sync(csl_device *device)
{
    return device->backend->sync(device);
}

struct csl_mark {
    csl_device *device;
    void *event; /* NULL where work is done when the call returns */
};

csl_status csl_mark_create(csl_device *device, csl_mark **mark_out)
{
    csl_mark *mark = calloc(1, sizeof *mark);
    if (!mark) {
        return csl_fail(CSL_E_NO_MEMORY, "device: no memory for a mark");
    }
    mark->device = device;
    if (device->backend->create_event) {
        csl_status status = device->backend->create_event(device, &mark->event);
        if (status != CSL_OK) {
            free(mark);
            return status;
        }
    }
    *mark_out = mark;
    return CSL_OK;
}

void csl_mark_destroy(csl_mark *mark)
{
    if (mark && mark->event) {
        mark->device->backend->destroy_event(mark->device, mark->event);
    }
    free(mark);
}

csl_status csl_mark_set(csl_mark *mark)
{
    return mark->event ? mark->device->backend->record_event(mark->device, mark->event) : CSL_OK;
}

csl_status csl_mark_is_reached(const csl_mark *mark, bool *reached_out)
{
    if (mark->event) {
        return mark->device->backend->query_event(mark->device, mark->event, reached_out);
    }
    *reached_out = true;
    return CSL_OK;
}

void *csl_device_stream(csl_device *device)
{
    return device->backend->stream ? device->backend->stream(device) : NULL;
}

uint64_t csl_device_allocated_size(const csl_device *device)
{
    return device->allocated_size;
}

uint64_t csl_device_peak_size(const csl_device *device)
{
    return device->peak_size;
}

const csl_kernels *csl_device_kernels(const csl_device *device)
{
    return &device->kernels;
}
