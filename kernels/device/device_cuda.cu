/* A GPU as a device: one stream, one cuBLAS handle in full float32, one scratch memory. */
#include "device/cuda_device.h"

#include <cstdio>
#include <cstdlib>

typedef struct cuda_state {
    int index;
    int processor_count;
    cudaStream_t stream;
    cublasHandle_t blas;
    void *scratch;
    size_t scratch_size;
} cuda_state;

static cuda_state *state_of(const csl_device *device)
{
    return static_cast<cuda_state *>(device->state);
}

csl_status csl_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess) {
        return CSL_OK;
    }
    (void)cudaGetLastError(); /* an error that was reported is not reported again */
    return csl_fail(error == cudaErrorMemoryAllocation ? CSL_E_NO_MEMORY : CSL_E_DEVICE,
                    "cuda: %s: %s", what, cudaGetErrorString(error));
}

csl_status csl_cuda_check_blas(cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS) {
        return CSL_OK;
    }
    return csl_fail(CSL_E_DEVICE, "cublas: %s: %s", what, csl_cublas()->status_text(status));
}

csl_status csl_cuda_launched(const char *what)
{
    return csl_cuda_check(cudaGetLastError(), what);
}

cudaStream_t csl_cuda_stream(csl_device *device)
{
    (void)cudaSetDevice(state_of(device)->index);
    return state_of(device)->stream;
}

cublasHandle_t csl_cuda_blas(csl_device *device)
{
    (void)cudaSetDevice(state_of(device)->index);
    return state_of(device)->blas;
}

void *csl_cuda_scratch(csl_device *device)
{
    return state_of(device)->scratch;
}

size_t csl_cuda_scratch_size(const csl_device *device)
{
    return state_of(device)->scratch_size;
}

unsigned csl_cuda_blocks(const csl_device *device, size_t count)
{
    size_t most = (size_t)state_of(device)->processor_count * CSL_CUDA_BLOCKS_PER_PROCESSOR;
    size_t blocks = (count + CSL_CUDA_BLOCK - 1) / CSL_CUDA_BLOCK;
    blocks = blocks < most ? blocks : most;
    return blocks > 0 ? (unsigned)blocks : 1;
}

csl_status csl_cuda_reserve_scratch(csl_device *device, size_t size)
{
    cuda_state *state = state_of(device);
    if (size <= state->scratch_size) {
        return CSL_OK;
    }
    CSL_TRY(csl_cuda_check(cudaStreamSynchronize(csl_cuda_stream(device)), "scratch memory"));
    /* The old one goes first: at no time are there two. */
    (void)cudaFree(state->scratch);
    state->scratch = NULL;
    csl_status status = csl_cuda_check(cudaMalloc(&state->scratch, size), "scratch memory");
    if (status == CSL_OK) {
        state->scratch_size = size;
    } else if (state->scratch_size > 0 &&
               cudaMalloc(&state->scratch, state->scratch_size) != cudaSuccess) {
        (void)cudaGetLastError();
        return csl_fail(CSL_E_DEVICE, "scratch memory of %zu bytes is lost", state->scratch_size);
    }
    return status;
}

static csl_status cuda_alloc(csl_device *device, size_t size, csl_allocation *allocation_out)
{
    void *memory = NULL;
    (void)csl_cuda_stream(device);
    cudaError_t error = cudaMalloc(&memory, size ? size : 1);
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory for %zu bytes", device->info.resource,
                        size);
    }
    CSL_TRY(csl_cuda_check(error, "cudaMalloc"));
    allocation_out->memory = memory;
    allocation_out->size = size;
    allocation_out->base = memory;
    allocation_out->base_size = size;
    return CSL_OK;
}

static void cuda_free(csl_device *device, const csl_allocation *allocation)
{
    (void)csl_cuda_stream(device);
    (void)cudaFree(allocation->base);
}

static csl_status cuda_alloc_host(csl_device *device, size_t size, void **memory_out)
{
    (void)csl_cuda_stream(device);
    return csl_cuda_check(cudaMallocHost(memory_out, size ? size : 1), "cudaMallocHost");
}

static void cuda_free_host(csl_device *device, void *memory)
{
    (void)csl_cuda_stream(device);
    (void)cudaFreeHost(memory);
}

static csl_status cuda_copy(
    csl_device *device, void *target, const void *source, size_t size, csl_copy_direction direction)
{
    static const cudaMemcpyKind kinds[] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost,
                                           cudaMemcpyDeviceToDevice};
    cudaStream_t stream = csl_cuda_stream(device);
    CSL_TRY(csl_cuda_check(cudaMemcpyAsync(target, source, size, kinds[direction], stream),
                           "cudaMemcpyAsync"));
    if (direction == CSL_COPY_WITHIN_DEVICE) {
        return CSL_OK;
    }
    return csl_cuda_check(cudaStreamSynchronize(stream), "cudaMemcpyAsync");
}

static csl_status cuda_sync(csl_device *device)
{
    return csl_cuda_check(cudaStreamSynchronize(csl_cuda_stream(device)), "synchronise");
}

static void cuda_close(csl_device *device)
{
    cuda_state *state = state_of(device);
    (void)cudaSetDevice(state->index);
    if (state->stream) {
        (void)cudaStreamSynchronize(state->stream);
    }
    if (state->blas) {
        (void)csl_cublas()->destroy(state->blas);
    }
    (void)cudaFree(state->scratch);
    if (state->stream) {
        (void)cudaStreamDestroy(state->stream);
    }
    free(state);
}

static csl_status cuda_create_event(csl_device *device, void **event_out)
{
    cudaEvent_t event = NULL;
    (void)csl_cuda_stream(device);
    CSL_TRY(csl_cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "event"));
    *event_out = event;
    return CSL_OK;
}

static void cuda_destroy_event(csl_device *device, void *event)
{
    (void)csl_cuda_stream(device);
    (void)cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

static csl_status cuda_record_event(csl_device *device, void *event)
{
    cudaStream_t stream = csl_cuda_stream(device);
    return csl_cuda_check(cudaEventRecord(static_cast<cudaEvent_t>(event), stream), "event");
}

static csl_status cuda_query_event(csl_device *device, void *event, bool *reached_out)
{
    (void)csl_cuda_stream(device);
    cudaError_t error = cudaEventQuery(static_cast<cudaEvent_t>(event));
    if (error == cudaErrorNotReady) {
        (void)cudaGetLastError(); /* no error, but CUDA remembers it as one */
        *reached_out = false;
        return CSL_OK;
    }
    *reached_out = error == cudaSuccess;
    return csl_cuda_check(error, "event");
}

static void *cuda_stream(csl_device *device)
{
    return csl_cuda_stream(device);
}

static const csl_backend cuda_backend = {cuda_close,        cuda_alloc,        cuda_free,
                                         cuda_alloc_host,   cuda_free_host,    cuda_copy,
                                         cuda_sync,         cuda_create_event, cuda_destroy_event,
                                         cuda_record_event, cuda_query_event,  cuda_stream};

uint32_t csl_cuda_device_count(void)
{
    int count = 0; /* stays 0 where no driver answers (35) and where a driver finds no GPU (100) */
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    return count > 0 ? (uint32_t)count : 0;
}

const char *csl_cuda_absence(void)
{
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess) {
        (void)cudaGetLastError();
        return code == cudaErrorInsufficientDriver
                   ? "no NVIDIA driver, or one too old for this build"
                   : cudaGetErrorString(code);
    }
    return count > 0 ? "" : "the NVIDIA driver finds no GPU";
}

static void fill_table(csl_kernels *kernels)
{
#define FILL_CUDA_OP(name, exactness, absolute, relative, parameters, arguments)                   \
    kernels->name = csl_cuda_##name;
    CSL_NN_OP_LIST(FILL_CUDA_OP)
    CSL_ROBUST_OP_LIST(FILL_CUDA_OP)
}

static csl_status fill_info(csl_device *device, int index)
{
    cuda_state *state = state_of(device);
    csl_device_info *info = &device->info;
    cudaDeviceProp properties;
    CSL_TRY(csl_cuda_check(cudaGetDeviceProperties(&properties, index), "device properties"));
    size_t free_size = 0, total_size = 0;
    CSL_TRY(csl_cuda_check(cudaMemGetInfo(&free_size, &total_size), "device memory"));
    state->processor_count = properties.multiProcessorCount;
    info->memory_size = total_size;
    info->memory_free_size = free_size;
    snprintf(info->resource, sizeof info->resource, "cuda:%d", index);
    static_assert(2 * sizeof properties.uuid < sizeof info->identity, "a UUID in hexadecimal");
    for (size_t i = 0; i < sizeof properties.uuid; i++) {
        snprintf(info->identity + 2 * i, 3, "%02x",
                 (unsigned)(unsigned char)properties.uuid.bytes[i]);
    }
    snprintf(info->description, sizeof info->description, "%.64s, sm_%d%d, %.1f GiB",
             properties.name, properties.major, properties.minor,
             (double)total_size / (1024.0 * 1024.0 * 1024.0));
#ifdef CSL_CUDASIM
    info->simulated = true;
#endif
    return CSL_OK;
}

static csl_status prepare(csl_device *device, int index)
{
    cuda_state *state = state_of(device);
    CSL_TRY(csl_cuda_check(cudaSetDevice(index), "cudaSetDevice"));
    CSL_TRY(fill_info(device, index));
    CSL_TRY(
        csl_cuda_check(cudaStreamCreateWithFlags(&state->stream, cudaStreamNonBlocking), "stream"));
    CSL_TRY(csl_cublas_load());
    CSL_TRY(csl_cuda_check_blas(csl_cublas()->create(&state->blas), "handle"));
    CSL_TRY(csl_cuda_check_blas(csl_cublas()->set_stream(state->blas, state->stream), "stream"));
    /* Full float32 products in a fixed order: no TF32, no atomics. */
    CSL_TRY(csl_cuda_check_blas(csl_cublas()->set_math_mode(state->blas, CUBLAS_PEDANTIC_MATH),
                                "math mode"));
    CSL_TRY(csl_cuda_check_blas(
        csl_cublas()->set_atomics_mode(state->blas, CUBLAS_ATOMICS_NOT_ALLOWED), "atomics mode"));
    return csl_cuda_reserve_scratch(device, CSL_CUDA_SCRATCH_MIN);
}

csl_status csl_cuda_device_open(csl_device *device, uint32_t index)
{
    cuda_state *state = static_cast<cuda_state *>(calloc(1, sizeof *state));
    if (!state) {
        return csl_fail(CSL_E_NO_MEMORY, "cuda: no memory for %zu bytes", sizeof *state);
    }
    device->state = state;
    state->index = (int)index;
    csl_status status = prepare(device, (int)index);
    if (status != CSL_OK) {
        cuda_close(device);
        return status;
    }
    device->backend = &cuda_backend;
    fill_table(&device->kernels);
    return CSL_OK;
}
