/*
 * The test of the harness: a correct block sum, and kernels with one defect each. Every defect runs
 * in a process of its own under several schedules; it has to be caught by the variant that claims
 * to catch it.
 */
#include "device/launch.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cublas_v2.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 64, COUNT = 256, SEEDS = 4 };

enum variant { PLAIN = 1, ADDRESS = 2, THREAD = 4, ALL = 7 };
#if defined(EXPECT_THREAD)
static const int this_variant = THREAD;
#elif defined(EXPECT_ADDRESS)
static const int this_variant = ADDRESS;
#else
static const int this_variant = PLAIN;
#endif

static __global__ void sum_kernel(const int *x, int *sums, bool barrier, int past)
{
    CSL_SHARED(int, warp_sums, BLOCK / 32);
    int value = x[blockIdx.x * BLOCK + threadIdx.x];
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        value += __shfl_xor_sync(~0u, value, lanes);
    }
    if (threadIdx.x % 32 == 0) {
        warp_sums[threadIdx.x / 32] = value;
    }
    if (barrier) {
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        sums[blockIdx.x + past] = warp_sums[0] + warp_sums[1];
    }
}

static __global__ void add_to_one_address_kernel(const int *x, int *sum, bool atomic)
{
    if (threadIdx.x == 0 && atomic) {
        atomicAdd(sum, x[blockIdx.x * BLOCK]);
    } else if (threadIdx.x == 0) {
        *sum += x[blockIdx.x * BLOCK];
    }
}

static __global__ void return_before_barrier_kernel(int *sums)
{
    if (threadIdx.x == 5) {
        return;
    }
    __syncthreads();
    sums[0] = 1;
}

static __global__ void shared_overrun_kernel(int *sums, int past)
{
    CSL_SHARED(int, cells, BLOCK);
    int *cell = cells + threadIdx.x; /* an index past the array is for the address sanitizer */
    cell[past] = 1;
    __syncthreads();
    if (threadIdx.x == 0) {
        sums[0] = cells[0];
    }
}

static __global__ void dynamic_kernel(int *out)
{
    CSL_SHARED_DYN(int, cells);
    unsigned lane = threadIdx.y * blockDim.x + threadIdx.x;
    cells[lane] = (int)lane;
    __syncthreads();
    unsigned all = blockDim.x * blockDim.y;
    out[(blockIdx.y * gridDim.x + blockIdx.x) * all + lane] = cells[all - 1 - lane];
}

static __global__ void warp_kernel(int *out)
{
    unsigned lane = threadIdx.x % 32;
    unsigned odd = __ballot_sync(~0u, lane & 1);
    int next = __shfl_down_sync(~0u, (int)lane, 1);
    int before = __shfl_up_sync(~0u, (int)lane, 1);
    int first = __shfl_sync(~0u, (int)lane + 7, 0);
    bool good = odd == 0xaaaaaaaau && next == (lane == 31 ? 31 : (int)lane + 1) &&
                before == (lane == 0 ? 0 : (int)lane - 1) && first == 7 &&
                __all_sync(~0u, lane < 32) && !__any_sync(~0u, lane > 31);
    out[threadIdx.x] = good;
}

static cudaStream_t stream_;

static int *device_ints(int count, const int *values)
{
    void *memory = NULL;
    if (cudaMalloc(&memory, (size_t)count * sizeof(int)) != cudaSuccess) {
        exit(9);
    }
    if (values) {
        (void)cudaMemcpy(memory, values, (size_t)count * sizeof(int), cudaMemcpyHostToDevice);
    } else {
        (void)cudaMemset(memory, 0, (size_t)count * sizeof(int));
    }
    return static_cast<int *>(memory);
}

/* True if the first `count` values on the card are as expected; waits for the stream. */
static bool same(const int *device, const int *expected, int count)
{
    int values[COUNT];
    (void)cudaStreamSynchronize(stream_);
    (void)cudaMemcpy(values, device, (size_t)count * sizeof(int), cudaMemcpyDeviceToHost);
    return memcmp(values, expected, (size_t)count * sizeof(int)) == 0;
}

static bool run_sum(bool barrier, int past)
{
    int x[COUNT], expected[COUNT / BLOCK] = {0};
    for (int i = 0; i < COUNT; i++) {
        x[i] = i * i;
        expected[i / BLOCK] += x[i];
    }
    int *input = device_ints(COUNT, x), *sums = device_ints(COUNT / BLOCK, NULL);
    CSL_LAUNCH(sum_kernel, COUNT / BLOCK, BLOCK, 0, stream_, input, sums, barrier, past);
    return same(sums, expected, COUNT / BLOCK);
}

static bool run_shared_address(bool atomic)
{
    int x[COUNT];
    for (int i = 0; i < COUNT; i++) {
        x[i] = i;
    }
    int expected = 0 + 64 + 128 + 192;
    int *input = device_ints(COUNT, x), *sum = device_ints(1, NULL);
    CSL_LAUNCH(add_to_one_address_kernel, COUNT / BLOCK, BLOCK, 0, stream_, input, sum, atomic);
    return same(sum, &expected, 1);
}

static bool run_correct()
{
    int expected[COUNT], ones[BLOCK];
    for (int i = 0; i < COUNT; i++) {
        expected[i] = 31 - i % 32;
        ones[i % BLOCK] = 1;
    }
    int *out = device_ints(COUNT, NULL), *votes = device_ints(BLOCK, NULL);
    CSL_LAUNCH(dynamic_kernel, dim3(4, 2), dim3(8, 4), 32 * sizeof(int), stream_, out);
    CSL_LAUNCH(warp_kernel, 1, BLOCK, 0, stream_, votes);
    return run_sum(true, 0) && run_shared_address(true) && same(out, expected, COUNT) &&
           same(votes, ones, BLOCK);
}

static bool run_missing_barrier()
{
    return run_sum(false, 0);
}

static bool run_write_past_output()
{
    return run_sum(true, 1);
}

static bool run_race_between_blocks()
{
    return run_shared_address(false);
}

static bool run_return_before_barrier()
{
    int expected = 1;
    int *sums = device_ints(1, NULL);
    CSL_LAUNCH(return_before_barrier_kernel, 1, BLOCK, 0, stream_, sums);
    return same(sums, &expected, 1);
}

static bool run_shared_overrun()
{
    int expected = 1;
    int *sums = device_ints(1, NULL);
    CSL_LAUNCH(shared_overrun_kernel, 1, BLOCK, 0, stream_, sums, 1);
    return same(sums, &expected, 1);
}

/* The calls whose errors must come back: ranges and launches that a card refuses. */
static bool run_refused_calls()
{
    int values[COUNT] = {0};
    int *memory = device_ints(8, NULL);
    bool past = cudaMemcpy(memory, values, 9 * sizeof(int), cudaMemcpyHostToDevice) == cudaSuccess;
    bool host = cudaMemcpy(values, values + 1, 4, cudaMemcpyDeviceToHost) == cudaSuccess;
    bool wrong_way = cudaMemcpy(values, memory, 4, cudaMemcpyHostToDevice) == cudaSuccess;
    (void)cudaGetLastError();
    CSL_LAUNCH(warp_kernel, 1, 2048, 0, stream_, memory);
    bool large = cudaGetLastError() == cudaSuccess;
    return past || host || wrong_way || large;
}

/* Reads a page-locked buffer before the copy into it is known to have run. */
static bool run_missing_synchronisation()
{
    int seven = 7;
    int *memory = device_ints(1, &seven);
    void *buffer = NULL;
    (void)cudaMallocHost(&buffer, sizeof(int));
    *static_cast<int *>(buffer) = 0;
    (void)cudaMemcpyAsync(buffer, memory, sizeof(int), cudaMemcpyDeviceToHost, stream_);
    return *static_cast<volatile int *>(buffer) == 7;
}

/* Two streams ordered by an event: whatever the schedule, the second sees the first's result. */
static bool run_event_order()
{
    int seven = 7;
    int *a = device_ints(1, &seven), *b = device_ints(1, NULL), *c = device_ints(1, NULL);
    cudaStream_t other;
    cudaEvent_t event;
    (void)cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    (void)cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    (void)cudaMemcpyAsync(b, a, sizeof(int), cudaMemcpyDeviceToDevice, other);
    (void)cudaEventRecord(event, other);
    (void)cudaStreamWaitEvent(stream_, event, 0);
    (void)cudaMemcpyAsync(c, b, sizeof(int), cudaMemcpyDeviceToDevice, stream_);
    bool good = same(c, &seven, 1);
    (void)cudaEventDestroy(event);
    (void)cudaStreamDestroy(other);
    return good;
}

/* Reads memory of the card from the host, after the work on it is done. */
static bool run_host_reads_device()
{
    int seven = 7;
    int *memory = device_ints(1, &seven);
    (void)cudaStreamSynchronize(stream_);
    return *static_cast<volatile int *>(memory) == 7;
}

static bool run_host_writes_device()
{
    int *memory = device_ints(1, NULL);
    (void)cudaStreamSynchronize(stream_);
    *static_cast<volatile int *>(memory) = 7;
    return true;
}

enum { SIDE = 4, SIDE_COUNT = SIDE * SIDE };

/* Three square matrices on the card and what a product of them needs. */
typedef struct blas_case {
    cublasHandle_t handle;
    float *a, *b, *c;
    int lda, count;
    float alpha, beta;
} blas_case;

static blas_case make_blas_case()
{
    static cublasHandle_t handle; /* kept to the end: no leak that would pass for a report */
    int ones[SIDE_COUNT];
    float one = 1.0f;
    for (int i = 0; i < SIDE_COUNT; i++) {
        memcpy(&ones[i], &one, sizeof one);
    }
    blas_case p = {NULL, NULL, NULL, NULL, SIDE, 1, 1.0f, 0.0f};
    (void)cublasCreate(&handle);
    p.handle = handle;
    p.a = reinterpret_cast<float *>(device_ints(SIDE_COUNT, ones));
    p.b = reinterpret_cast<float *>(device_ints(SIDE_COUNT, ones));
    p.c = reinterpret_cast<float *>(device_ints(SIDE_COUNT, NULL));
    (void)cublasSetStream(p.handle, stream_);
    return p;
}

/* Whether cuBLAS takes the call and the product of ones is right. */
static bool run_blas(const blas_case &p, const float *alpha)
{
    cublasStatus_t status = cublasSgemmStridedBatched(
        p.handle, CUBLAS_OP_T, CUBLAS_OP_N, SIDE, SIDE, SIDE, alpha, p.a, p.lda, SIDE_COUNT, p.b,
        SIDE, 0, &p.beta, p.c, SIDE, SIDE_COUNT, p.count);
    float values[SIDE_COUNT];
    (void)cudaStreamSynchronize(stream_);
    (void)cudaMemcpy(values, p.c, sizeof values, cudaMemcpyDeviceToHost);
    return status == CUBLAS_STATUS_SUCCESS && values[0] == SIDE && values[SIDE_COUNT - 1] == SIDE;
}

static bool run_blas_correct()
{
    blas_case p = make_blas_case();
    cublasStatus_t status = cublasSgemv(p.handle, CUBLAS_OP_N, SIDE, SIDE, &p.alpha, p.a, SIDE, p.b,
                                        1, &p.beta, p.c, 1);
    return run_blas(p, &p.alpha) && status == CUBLAS_STATUS_SUCCESS;
}

static bool run_blas_host_operand()
{
    float host[SIDE_COUNT] = {0};
    blas_case p = make_blas_case();
    p.b = host;
    return run_blas(p, &p.alpha);
}

static bool run_blas_null_operand()
{
    blas_case p = make_blas_case();
    p.a = NULL;
    return run_blas(p, &p.alpha);
}

static bool run_blas_past_operand()
{
    blas_case p = make_blas_case();
    p.a += 1;
    return run_blas(p, &p.alpha);
}

static bool run_blas_past_batch()
{
    blas_case p = make_blas_case();
    p.count = 2;
    return run_blas(p, &p.alpha);
}

static bool run_blas_overlapping_batch()
{
    blas_case p = make_blas_case();
    (void)cublasSgemmStridedBatched(p.handle, CUBLAS_OP_N, CUBLAS_OP_N, 2, 2, 2, &p.alpha, p.a, 2,
                                    0, p.b, 2, 0, &p.beta, p.c, 2, 1, 3);
    return true;
}

static bool run_blas_past_vector()
{
    blas_case p = make_blas_case();
    (void)cublasSgemv(p.handle, CUBLAS_OP_T, SIDE, SIDE, &p.alpha, p.a, SIDE, p.b, SIDE + 2,
                      &p.beta, p.c, 1);
    return true;
}

/* Each of these must come back as an error, and the right call must not. */
static bool run_blas_refused_calls()
{
    blas_case p = make_blas_case();
    bool any = run_blas(p, NULL);
    p.lda = SIDE - 1;
    any = any || run_blas(p, &p.alpha);
    p.lda = SIDE;
    p.count = -1;
    any = any || run_blas(p, &p.alpha);
    p.count = 1;
    cublasHandle_t handle = p.handle;
    p.handle = NULL;
    any = any || run_blas(p, &p.alpha);
    p.handle = handle;
    return any || !run_blas(p, &p.alpha);
}

typedef struct defect {
    const char *name;
    bool (*run)();
    int caught_by;    /* variants that have to catch it; 0: it is correct */
    const char *text; /* what the report says there; NULL: a wrong result is enough */
} defect;

static const defect defects[] = {
    {"correct kernels", run_correct, 0, NULL},
    {"streams ordered by an event", run_event_order, 0, NULL},
    {"missing barrier, by its result", run_missing_barrier, PLAIN | ADDRESS, NULL},
    {"missing barrier, as a race", run_missing_barrier, THREAD, "data race"},
    {"write past the output", run_write_past_output, ADDRESS, "heap-buffer-overflow"},
    {"write past shared memory", run_shared_overrun, ADDRESS, "use-after-poison"},
    {"race between blocks", run_race_between_blocks, THREAD, "data race"},
    {"return before a barrier", run_return_before_barrier, ALL, "divergent barrier"},
    {"copies out of range, block too large", run_refused_calls, ALL, NULL},
    {"missing synchronisation", run_missing_synchronisation, PLAIN, NULL},
    {"host reads memory of the card", run_host_reads_device, ADDRESS, "use-after-poison"},
    {"host writes memory of the card", run_host_writes_device, ADDRESS, "use-after-poison"},
    {"cuBLAS products", run_blas_correct, 0, NULL},
    {"cuBLAS operand on the host", run_blas_host_operand, ALL, "operand B"},
    {"cuBLAS operand that is null", run_blas_null_operand, ALL, "operand A"},
    {"cuBLAS matrix past its allocation", run_blas_past_operand, ALL, "operand A"},
    {"cuBLAS batch past its allocation", run_blas_past_batch, ALL, "operand A"},
    {"cuBLAS batch whose results overlap", run_blas_overlapping_batch, ALL, "overlap"},
    {"cuBLAS vector past its allocation", run_blas_past_vector, ALL, "operand x"},
    {"cuBLAS calls that it refuses", run_blas_refused_calls, ALL, NULL},
};

/* Runs in a child; returns whether something was reported, and the report's text. */
static bool is_reported(const defect *entry, int seed, char *text, size_t size)
{
    int channel[2];
    if (pipe(channel) != 0) {
        exit(9);
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", seed);
        setenv("CUDASIM_SEED", number, 1);
        dup2(channel[1], 2);
        close(channel[0]);
        (void)cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
        exit(entry->run() ? 0 : 3);
    }
    close(channel[1]);
    size_t used = 0;
    char block[4096];
    for (ssize_t got; (got = read(channel[0], block, sizeof block)) > 0;) {
        size_t room = size - 1 - used;
        size_t taken = (size_t)got < room ? (size_t)got : room;
        memcpy(text + used, block, taken);
        used += taken;
    }
    text[used] = '\0';
    close(channel[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main()
{
    static char text[1 << 20];
    /* Memory that a child still holds when it ends is no defect here. */
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    setenv("TSAN_OPTIONS", "halt_on_error=0", 1);
    int failures = 0;
    for (const defect &entry : defects) {
        if (entry.caught_by && !(entry.caught_by & this_variant)) {
            continue;
        }
        int reports = 0, named = 0;
        for (int seed = 1; seed <= SEEDS; seed++) {
            reports += is_reported(&entry, seed, text, sizeof text);
            named += entry.text && strstr(text, entry.text);
        }
        bool good =
            entry.caught_by == 0 ? reports == 0 : reports > 0 && (!entry.text || named == reports);
        printf("%s: %s: reported under %d of %d schedules\n", good ? "ok" : "FAILED", entry.name,
               reports, SEEDS);
        if (!good) {
            printf("%.2000s\n", text);
            failures++;
        }
    }
    return failures ? 1 : 0;
}
