/* The host as a device: memory from malloc, host kernels, and a line about the processor. */
#include "device/kernel_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGNMENT = 64,                      /* one cache line, one AVX-512 register */
    HUGE_PAGE_SIZE = 2 * 1024 * 1024,    /* of x86-64 and of most arm64 */
    HUGE_ALLOCATION = 4 * HUGE_PAGE_SIZE /* from here a huge page wastes less than a quarter */
};

static csl_status allocate(size_t size, void **memory_out)
{
    size_t alignment = size >= HUGE_ALLOCATION ? HUGE_PAGE_SIZE : ALIGNMENT;
    void *memory = NULL;
    if (size > SIZE_MAX / 2 || posix_memalign(&memory, alignment, size ? size : 1) != 0) {
        return csl_fail(CSL_E_NO_MEMORY, "host: no memory for %zu bytes", size);
    }
    if (alignment == HUGE_PAGE_SIZE) {
        (void)madvise(memory, size, MADV_HUGEPAGE); /* a wish; refused where the kernel has none */
    }
    *memory_out = memory;
    return CSL_OK;
}

csl_status csl_host_alloc(csl_device *device, size_t size, csl_allocation *allocation_out)
{
    (void)device;
    CSL_TRY(allocate(size, &allocation_out->memory));
    allocation_out->base = allocation_out->memory;
    allocation_out->base_size = size;
    return CSL_OK;
}

void csl_host_free(csl_device *device, const csl_allocation *allocation)
{
    (void)device;
    free(allocation->base);
}

csl_status csl_host_alloc_host(csl_device *device, size_t size, void **memory_out)
{
    (void)device;
    return allocate(size, memory_out);
}

void csl_host_free_host(csl_device *device, void *memory)
{
    (void)device;
    free(memory);
}

static csl_status copy(
    csl_device *device, void *target, const void *source, size_t size, csl_copy_direction direction)
{
    (void)device;
    (void)direction;
    memmove(target, source, size);
    return CSL_OK;
}

static csl_status synchronise(csl_device *device)
{
    (void)device;
    return CSL_OK;
}

static void close_host(csl_device *device)
{
    (void)device;
}

static const csl_backend host_backend = {.close = close_host,
                                         .alloc = csl_host_alloc,
                                         .free = csl_host_free,
                                         .alloc_host = csl_host_alloc_host,
                                         .free_host = csl_host_free_host,
                                         .copy = copy,
                                         .sync = synchronise};

/* Value of the first line "key : value" of a /proc file; "" if there is none. */
static void read_proc_line(const char *path, const char *key, char *value_out, size_t size)
{
    char line[512];
    value_out[0] = '\0';
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (colon && strncmp(line, key, strlen(key)) == 0) {
            colon += 1 + strspn(colon + 1, " \t");
            colon[strcspn(colon, "\n")] = '\0';
            snprintf(value_out, size, "%s", colon);
            break;
        }
    }
    if (file) {
        fclose(file);
    }
}

static const char *instruction_set(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") ? "AVX-512"
           : __builtin_cpu_supports("avx2")  ? "AVX2"
                                             : "SSE2";
#elif defined(__aarch64__)
    return "NEON";
#else
    return "portable";
#endif
}

static uint64_t memory_info_size(const char *key)
{
    char value[64];
    read_proc_line("/proc/meminfo", key, value, sizeof value);
    return strtoull(value, NULL, 10) * 1024; /* the file says kB and means KiB */
}

csl_status csl_host_device_open(csl_device *device)
{
#define FILL_HOST_OP(name, exactness, absolute, relative, parameters, arguments)                   \
    device->kernels.name = csl_host_##name;
    CSL_OP_LIST(FILL_HOST_OP)
#undef FILL_HOST_OP
    device->backend = &host_backend;
    csl_device_info *info = &device->info;
    char model[64];
    read_proc_line("/proc/cpuinfo", "model name", model, sizeof model);
    info->memory_size = memory_info_size("MemTotal");
    info->memory_free_size = memory_info_size("MemAvailable");
    snprintf(info->resource, sizeof info->resource, "host");
    snprintf(info->description, sizeof info->description, "%s, %s, %.1f GiB",
             model[0] ? model : "processor", instruction_set(),
             (double)info->memory_size / (1024.0 * 1024.0 * 1024.0));
    return CSL_OK;
}
