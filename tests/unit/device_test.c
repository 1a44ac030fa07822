/* Devices by name, memory and its accounts, and the manners of host:guard. */
#define _GNU_SOURCE /* sched_setaffinity */
#include "test_support.h"

#include <consilium/kernels.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static csl_device *open_device(const char *resource)
{
    csl_device *device = NULL;
    CHECK_OK(csl_device_open(resource, 2, &device));
    return device;
}

static float *device_floats(csl_device *device, size_t count)
{
    void *memory = NULL;
    CHECK_OK(csl_device_alloc(device, count * sizeof(float), &memory));
    return memory;
}

static void an_unknown_resource_names_the_nearest(void)
{
    static const struct {
        const char *found, *nearest;
    } rows[] = {{"hots", "'host'"},        {"host:gard", "'host:guard'"},
                {"cuda", "'cuda:0'"},      {"cuda:x", "'cuda:0'"},
                {"cuda:", "'cuda:0'"},     {"atuo", "'auto'"},
                {"cuda:99999999999", "'"}, {"", "'"}};
    csl_device *device = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK_STATUS(csl_device_open(rows[i].found, 1, &device), CSL_E_NOT_FOUND);
        CHECK_CONTAINS(csl_error_message(), rows[i].nearest);
    }
    char large[1000];
    memset(large, 'h', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    CHECK_STATUS(csl_device_open(large, 1, &device), CSL_E_NOT_FOUND);
    CHECK_STATUS(csl_device_open("host", 0, &device), CSL_E_RANGE);
    CHECK_STATUS(csl_device_open("host", CSL_THREADS_MAX + 1, &device), CSL_E_RANGE);
    CHECK_STATUS(csl_device_open(NULL, 1, &device), CSL_E_INVALID_ARG);
    CU_ASSERT_PTR_NULL(device);
}

static void a_gpu_that_does_not_answer_is_no_device(void)
{
    csl_device *device = NULL;
    char resource[32];
    snprintf(resource, sizeof resource, "cuda:%u", csl_device_gpu_count());
    CHECK_STATUS(csl_device_open(resource, 1, &device), CSL_E_NO_DEVICE);
    CHECK_CONTAINS(csl_error_message(), "expected");
    CU_ASSERT_PTR_NULL(device);
}

static void auto_takes_a_gpu_or_the_host(void)
{
    csl_device *device = open_device("auto");
    const char *expected = csl_device_gpu_count() ? "cuda:0" : "host";
    CU_ASSERT_STRING_EQUAL(csl_device_get_info(device)->resource, expected);
    CU_ASSERT_TRUE(csl_device_get_info(device)->memory_size > 0);
    CU_ASSERT_TRUE(strlen(csl_device_get_info(device)->description) > 10);
    CU_ASSERT_FALSE(csl_device_get_info(device)->simulated);
    CHECK_U64(csl_device_threads(device), 2);
    csl_device_close(device);
}

static void memory_is_aligned_and_counted(void)
{
    static const char *const resources[] = {"host", "host:guard"};
    for (int i = 0; i < 2; i++) {
        csl_device *device = open_device(resources[i]);
        size_t sizes[] = {1 + csl_test_random() % 5000, 20u << 20, 0};
        void *memory[3];
        for (int k = 0; k < 3; k++) {
            CHECK_OK(csl_device_alloc(device, sizes[k], &memory[k]));
            CHECK_U64((uintptr_t)memory[k] % 64, 0);
            CU_ASSERT_PTR_NOT_NULL(memory[k]);
        }
        CHECK_U64(csl_device_allocated_size(device), sizes[0] + sizes[1]);
        csl_device_free(device, memory[1]);
        csl_device_free(device, NULL);
        CHECK_U64(csl_device_allocated_size(device), sizes[0]);
        CHECK_U64(csl_device_peak_size(device), sizes[0] + sizes[1]);
        void *untouched = device;
        CHECK_STATUS(csl_device_alloc(device, SIZE_MAX - 4096, &untouched), CSL_E_NO_MEMORY);
        CU_ASSERT_PTR_EQUAL(untouched, device);
        CHECK_U64(csl_device_peak_size(device), sizes[0] + sizes[1]);
        csl_device_close(device); /* gives back what is left */
    }
    csl_device_close(NULL);
}

static void copies_go_round_and_kernels_run_between(void)
{
    static const char *const resources[] = {"host", "host:guard"};
    enum { COUNT = 3001 };
    float values[COUNT], back[COUNT];
    for (int i = 0; i < 2; i++) {
        csl_device *device = open_device(resources[i]);
        float *x = device_floats(device, COUNT), *y = device_floats(device, COUNT);
        for (int k = 0; k < COUNT; k++) {
            values[k] = (float)csl_test_normal();
        }
        CHECK_OK(csl_device_copy(device, x, values, sizeof values, CSL_COPY_TO_DEVICE));
        CHECK_OK(csl_device_copy(device, y, x, sizeof values, CSL_COPY_WITHIN_DEVICE));
        CHECK_OK(csl_device_kernels(device)->axpy(device, 1.0F, x, COUNT, y));
        CHECK_OK(csl_device_copy(device, back, y, sizeof back, CSL_COPY_TO_HOST));
        int wrong = 0;
        for (int k = 0; k < COUNT; k++) {
            wrong += back[k] != 2.0F * values[k];
        }
        CHECK_U64((uint64_t)wrong, 0);
        CHECK_OK(csl_device_sync(device));
        csl_device_close(device);
    }
}

static void guard_refuses_copies_past_an_allocation(void)
{
    csl_device *device = open_device("host:guard");
    float *x = device_floats(device, 10);
    float values[20] = {0};
    CHECK_STATUS(csl_device_copy(device, x, values, 11 * sizeof *x, CSL_COPY_TO_DEVICE),
                 CSL_E_INVALID_ARG);
    CHECK_STATUS(csl_device_copy(device, values, values + 10, 4, CSL_COPY_TO_HOST),
                 CSL_E_INVALID_ARG);
    CHECK_OK(csl_device_copy(device, x + 9, values, sizeof *x, CSL_COPY_TO_DEVICE));
    csl_device_close(device);
}

/* What a program with one mistake in memory manners does; each has to die of it. */
static void read_on_the_host(csl_device *device, float *x)
{
    (void)device;
    volatile float value = *x;
    (void)value;
}

static void write_on_the_host_after_a_kernel(csl_device *device, float *x)
{
    csl_status status = csl_device_kernels(device)->fill(device, 1.0F, 16, x);
    *(volatile float *)x = (float)status;
}

static void forget_to_copy_the_result(csl_device *device, float *x)
{
    csl_status status = csl_device_kernels(device)->fill(device, 1.0F, 16, x);
    volatile float sum = (float)status;
    for (int i = 0; i < 16; i++) {
        sum = sum + x[i];
    }
}

static void use_after_free(csl_device *device, float *x)
{
    csl_device_free(device, x);
    (void)device_floats(device, 16);
    csl_status status = csl_device_kernels(device)->fill(device, 1.0F, 16, x);
    (void)status;
}

static void run_past_the_end(csl_device *device, float *x)
{
    csl_status status = csl_device_kernels(device)->fill(device, 1.0F, 16 + 16, x);
    (void)status;
}

static bool dies(void (*mistake)(csl_device *device, float *x))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* also under a sanitizer */
        csl_device *device = open_device("host:guard");
        mistake(device, device_floats(device, 16));
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void guard_faults_at_every_wrong_touch(void)
{
    CU_ASSERT_TRUE(dies(read_on_the_host));
    CU_ASSERT_TRUE(dies(write_on_the_host_after_a_kernel));
    CU_ASSERT_TRUE(dies(forget_to_copy_the_result));
    CU_ASSERT_TRUE(dies(use_after_free));
    CU_ASSERT_TRUE(dies(run_past_the_end));
}

static void guard_memory_starts_as_nan(void)
{
    csl_device *device = open_device("host:guard");
    float *x = device_floats(device, 100);
    float values[100];
    CHECK_OK(csl_device_copy(device, values, x, sizeof values, CSL_COPY_TO_HOST));
    int numbers = 0;
    for (int i = 0; i < 100; i++) {
        numbers += values[i] == values[i];
    }
    CHECK_U64((uint64_t)numbers, 0);
    csl_device_close(device);
}

static void write_text(const char *root, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(path, 0777);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

/* A group's own limit and those of all groups above it hold; what is no limit is none. */
static void control_groups_limit_cores(void)
{
    char root[] = "/tmp/consilium-cgroup-XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
    CHECK_U64(csl_core_quota(root), UINT32_MAX);
    write_text(root, "proc/self/cgroup", "4:memory:/other\n0::/job/step\n");
    CHECK_U64(csl_core_quota(root), UINT32_MAX);
    write_text(root, "sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
    CHECK_U64(csl_core_quota(root), UINT32_MAX);
    uint32_t cores = 2 + (uint32_t)(csl_test_random() % 60);
    char text[64];
    snprintf(text, sizeof text, "%u 100000\n", cores * 100000 - 50000);
    write_text(root, "sys/fs/cgroup/job/cpu.max", text);
    CHECK_U64(csl_core_quota(root), cores); /* a part of a core counts as one */
    write_text(root, "sys/fs/cgroup/cpu.max", "100000 100000\n");
    CHECK_U64(csl_core_quota(root), 1);
    write_text(root, "sys/fs/cgroup/cpu.max", "no number\n");
    write_text(root, "sys/fs/cgroup/job/step/cpu.max", "1000 100000\n");
    CHECK_U64(csl_core_quota(root), 1);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    CHECK_U64((uint64_t)system(command), 0);
}

static void usable_cores_are_those_of_the_affinity(void)
{
    uint8_t marks[CSL_CORES_MAX];
    uint32_t count = csl_usable_cores(marks);
    uint32_t marked = 0;
    uint32_t first = CSL_CORES_MAX;
    for (uint32_t core = 0; core < CSL_CORES_MAX; core++) {
        marked += marks[core];
        first = marks[core] && first == CSL_CORES_MAX ? core : first;
    }
    CU_ASSERT_TRUE(count >= 1 && count <= marked && first < CSL_CORES_MAX);
    cpu_set_t before;
    cpu_set_t one;
    CU_ASSERT_FALSE(sched_getaffinity(0, sizeof before, &before));
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CU_ASSERT_FALSE(sched_setaffinity(0, sizeof one, &one));
    CHECK_U64(csl_usable_cores(NULL), 1);
    CU_ASSERT_FALSE(sched_setaffinity(0, sizeof before, &before));
    CHECK_U64(csl_usable_cores(NULL), count);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"an unknown resource names the nearest", an_unknown_resource_names_the_nearest},
        {"a GPU that does not answer is no device", a_gpu_that_does_not_answer_is_no_device},
        {"auto takes a GPU or the host", auto_takes_a_gpu_or_the_host},
        {"memory is aligned and counted", memory_is_aligned_and_counted},
        {"copies go round and kernels run between", copies_go_round_and_kernels_run_between},
        {"guard refuses copies past an allocation", guard_refuses_copies_past_an_allocation},
        {"guard faults at every wrong touch", guard_faults_at_every_wrong_touch},
        {"guard memory starts as NaN", guard_memory_starts_as_nan},
        {"control groups limit cores", control_groups_limit_cores},
        {"usable cores are those of the affinity", usable_cores_are_those_of_the_affinity},
    };
    return csl_test_main("device", cases, sizeof cases / sizeof *cases);
}
