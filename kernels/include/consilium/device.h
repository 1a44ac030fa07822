/*
 * Devices: where memory lies and arithmetic runs.
 *
 * A device is named by a resource: "host", "host:guard", "cuda:0", ..., or "auto" (the first GPU if
 * one answers, else the host). The host fills the kernel table first and a device overrides what it
 * has, so a table is never incomplete and no caller asks which device it is talking to.
 *
 * One device object serves one thread at a time; open one per thread. Not collective, all of it.
 */
#ifndef CONSILIUM_DEVICE_H
#define CONSILIUM_DEVICE_H

#include <consilium/status.h>
#include <consilium/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct csl_device csl_device;
typedef struct csl_kernels csl_kernels;

/* Bytes of scratch memory that a CUDA device takes when it is opened. */
enum { CSL_CUDA_SCRATCH_MIN = 8 << 20 };

typedef enum csl_copy_direction {
    CSL_COPY_TO_DEVICE,
    CSL_COPY_TO_HOST,
    CSL_COPY_WITHIN_DEVICE
} csl_copy_direction;

typedef struct csl_device_info {
    char resource[CSL_NAME_MAX]; /* "host", "host:guard", "cuda:0" */
    char description[128];       /* processor or card, instruction set, memory */
    uint64_t memory_size;        /* bytes in all */
    uint64_t memory_free_size;   /* bytes free now */
    bool simulated;              /* cudasim: correct, never a speed claim */
    char identity[CSL_NAME_MAX]; /* of the card, the same for all that open it; "" on the host */
} csl_device_info;

/*
 * Opens a device. threads: OpenMP threads that its host kernels use, 1..CSL_THREADS_MAX; part of
 * the definition of a BOUNDED result, never of an EXACT one. Errors: E_NOT_FOUND (unknown
 * resource), E_NO_DEVICE (a CUDA resource, and no CUDA in this build or no GPU answers), E_RANGE
 * (threads; also where OpenMP would give fewer than asked, as under OMP_THREAD_LIMIT: a result that
 * depends on the number of threads must not change unseen), E_NO_MEMORY, E_DEVICE.
 */
CSL_API CSL_MUST_CHECK csl_status csl_device_open(const char *resource,
                                                  uint32_t threads,
                                                  csl_device **device_out);
CSL_API void csl_device_close(csl_device *device);
/* Whether a device could be called so, wherever it may be. Errors: E_NOT_FOUND (the message names
 * the nearest). */
CSL_API CSL_MUST_CHECK csl_status csl_device_check_name(const char *resource);

/*
 * Cores that this process may use, at least 1: those of its affinity, at most what its control
 * groups grant (cgroup version 2, cpu.max, rounded up). marks: [CSL_CORES_MAX] set to 1 for the
 * cores of the affinity and 0 for others, or NULL. Cannot fail.
 */
enum { CSL_CORES_MAX = 1024 };
CSL_API uint32_t csl_usable_cores(uint8_t *marks);
/* What the control groups grant alone, UINT32_MAX if anything. root: "", or the folder that stands
 * for / in a test. Cannot fail. */
CSL_API uint32_t csl_core_quota(const char *root);

/* Number of GPUs that answer; 0 where none does, also without a driver. Cannot fail. */
CSL_API uint32_t csl_device_gpu_count(void);
/* Why that is 0, in words: the build has no CUDA, no driver, no GPU; "" where one answers. */
CSL_API const char *csl_device_gpu_absence(void);
CSL_API const csl_device_info *csl_device_get_info(const csl_device *device);
CSL_API uint32_t csl_device_threads(const csl_device *device);

/*
 * Device memory, 64-byte aligned, not initialised. size 0 gives a valid pointer to nothing.
 * free(NULL) is allowed. Errors: E_NO_MEMORY with the size asked for.
 */
CSL_API CSL_MUST_CHECK csl_status csl_device_alloc(csl_device *device,
                                                   size_t size,
                                                   void **memory_out);
CSL_API void csl_device_free(csl_device *device, void *memory);
/* Host memory from which copies to this device are fast (page-locked on CUDA). */
CSL_API CSL_MUST_CHECK csl_status csl_device_alloc_host(csl_device *device,
                                                        size_t size,
                                                        void **memory_out);
CSL_API void csl_device_free_host(csl_device *device, void *memory);

/* Copies size bytes in order with the device's other work; the host sides are free on return. */
CSL_API CSL_MUST_CHECK csl_status csl_device_copy(csl_device *device,
                                                  void *target,
                                                  const void *source,
                                                  size_t size,
                                                  csl_copy_direction direction);
/* Waits for all work of this device. Errors of earlier kernels surface here: E_DEVICE. */
CSL_API CSL_MUST_CHECK csl_status csl_device_sync(csl_device *device);
/*
 * A point in the order of a device's work. set: after all that was put on the device so far;
 * is_reached: without waiting, and true before the first set. Lent the device; destroy(NULL) is
 * allowed. Errors: E_NO_MEMORY, E_DEVICE.
 */
typedef struct csl_mark csl_mark;
CSL_API CSL_MUST_CHECK csl_status csl_mark_create(csl_device *device, csl_mark **mark_out);
CSL_API void csl_mark_destroy(csl_mark *mark);
CSL_API CSL_MUST_CHECK csl_status csl_mark_set(csl_mark *mark);
CSL_API CSL_MUST_CHECK csl_status csl_mark_is_reached(const csl_mark *mark, bool *reached_out);
/* The stream that a CUDA device works on (a cudaStream_t), for a library that puts work of its own
 * on it; makes the device's GPU the calling thread's current one. NULL on the host. */
CSL_API void *csl_device_stream(csl_device *device);
/* Bytes now allocated with csl_device_alloc, and the largest value since open. */
CSL_API uint64_t csl_device_allocated_size(const csl_device *device);
CSL_API uint64_t csl_device_peak_size(const csl_device *device);

/* The operations of this device; lent until it is closed. See <consilium/kernels.h>. */
CSL_API const csl_kernels *csl_device_kernels(const csl_device *device);

#ifdef __cplusplus
}
#endif
#endif
