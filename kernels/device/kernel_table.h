/*
 * Private to kernels/: the device object and the functions that fill its table.
 *
 * An operation is written once per backend as csl_host_<op> (a .c file) and csl_cuda_<op> (a .cu
 * file); both are declared here from the list, so a signature cannot drift from the table.
 *
 * For writers of host operations:
 *  - loops: #pragma omp parallel for num_threads(csl_host_threads(device)); an EXACT operation
 * gives the same bits for every number of threads;
 *  - libraries that read OpenMP's setting themselves (oneDNN): call csl_host_use_threads(device)
 *    first, the setting belongs to the calling thread and the device may have moved;
 *  - memory that belongs to a prepared object comes from malloc; it is the host's, also on
 * host:guard.
 */
#ifndef CSL_KERNEL_TABLE_H
#define CSL_KERNEL_TABLE_H

#include <consilium/kernels.h>
#include <omp.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct csl_allocation {
    void *memory; /* what the caller got */
    size_t size;  /* what the caller asked for */
    void *base;   /* what the backend has to give back */
    size_t base_size;
} csl_allocation;

/* What a backend implements; the device object keeps the list of allocations for all of them. */
typedef struct csl_backend {
    void (*close)(csl_device *device);
    csl_status (*alloc)(csl_device *device, size_t size, csl_allocation *allocation_out);
    void (*free)(csl_device *device, const csl_allocation *allocation);
    csl_status (*alloc_host)(csl_device *device, size_t size, void **memory_out);
    void (*free_host)(csl_device *device, void *memory);
    csl_status (*copy)(csl_device *device,
                       void *target,
                       const void *source,
                       size_t size,
                       csl_copy_direction direction);
    csl_status (*sync)(csl_device *device);
    /* NULL where work is done when the call returns. */
    csl_status (*create_event)(csl_device *device, void **event_out);
    void (*destroy_event)(csl_device *device, void *event);
    csl_status (*record_event)(csl_device *device, void *event);
    csl_status (*query_event)(csl_device *device, void *event, bool *reached_out);
    void *(*stream)(csl_device *device);
} csl_backend;

struct csl_device {
    const csl_backend *backend;
    csl_kernels kernels;
    csl_device_info info;
    uint32_t threads;
    csl_allocation *allocations;
    size_t allocation_count;
    size_t allocation_capacity;
    uint64_t allocated_size;
    uint64_t peak_size;
    void *state; /* the backend's own */
};

/* Each fills backend, kernels, info and state of a zeroed device. */
csl_status csl_host_device_open(csl_device *device);
csl_status csl_guard_device_open(csl_device *device);
csl_status csl_cuda_device_open(csl_device *device, uint32_t index);
/* 0 where no driver and where no GPU answers. */
uint32_t csl_cuda_device_count(void);
/* Why: static storage, "" where one answers. */
const char *csl_cuda_absence(void);

csl_status csl_host_alloc(csl_device *device, size_t size, csl_allocation *allocation_out);
void csl_host_free(csl_device *device, const csl_allocation *allocation);
csl_status csl_host_alloc_host(csl_device *device, size_t size, void **memory_out);
void csl_host_free_host(csl_device *device, void *memory);

/* The allocation that holds [address, address + size), or NULL. */
const csl_allocation *csl_device_find(const csl_device *device, const void *address, size_t size);

/* The calling thread may be one that OpenMP has not seen before: OMP_DYNAMIC would let it take
 * fewer threads than the result is defined for. */
static inline int csl_host_threads(const csl_device *device)
{
    omp_set_dynamic(0);
    return (int)csl_device_threads(device);
}

static inline void csl_host_use_threads(const csl_device *device)
{
    omp_set_num_threads(csl_host_threads(device));
}

#define CSL_DECLARE_HOST_OP(name, exactness, absolute, relative, parameters, arguments)            \
    csl_status csl_host_##name parameters;
#define CSL_DECLARE_CUDA_OP(name, exactness, absolute, relative, parameters, arguments)            \
    csl_status csl_cuda_##name parameters;
CSL_OP_LIST(CSL_DECLARE_HOST_OP)
CSL_OP_LIST(CSL_DECLARE_CUDA_OP)

#ifdef __cplusplus
}
#endif
#endif
