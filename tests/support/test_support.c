#include "test_support.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t seed_;
static uint64_t stream_;
static char directory_[256];

uint64_t csl_test_seed(void)
{
    if (seed_ == 0) {
        const char *text = getenv("CSL_SEED");
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed_ = text ? strtoull(text, NULL, 0)
                     : (uint64_t)now.tv_sec * 1000003u + (uint64_t)now.tv_nsec;
        seed_ = seed_ ? seed_ : 1;
        stream_ = seed_;
        printf("seed %" PRIu64 " (CSL_SEED replays it)\n", seed_);
        fflush(stdout); /* known even when the test dies */
    }
    return seed_;
}

uint64_t csl_test_random(void)
{
    csl_test_seed();
    uint64_t z = (stream_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double csl_test_uniform(void)
{
    return (double)(csl_test_random() >> 11) * 0x1p-53;
}

double csl_test_normal(void)
{
    double u = 1.0 - csl_test_uniform();
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * csl_test_uniform());
}

void *csl_test_owned(const void *lent)
{
    void *own;
    memcpy(&own, &lent, sizeof own);
    return own;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_directory(void)
{
    nftw(directory_, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *csl_test_directory(void)
{
    if (!directory_[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(directory_, sizeof directory_, "%s/consilium-test-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(directory_)) {
            perror("mkdtemp");
            exit(1);
        }
        atexit(remove_directory);
    }
    return directory_;
}

const char *csl_test_data_directory(void)
{
    const char *path = getenv("CSL_DATA");
    struct stat info;
    return path && stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? path : NULL;
}

static void report(int ok, const char *message, const char *file, int line)
{
    CU_assertImplementation(ok ? CU_TRUE : CU_FALSE, (unsigned)line, message, file, "", CU_FALSE);
}

void csl_test_check_status(int actual, int expected, const char *what, const char *file, int line)
{
    char message[512];
    snprintf(message, sizeof message, "%s gave %d, expected %d", what, actual, expected);
    report(actual == expected, message, file, line);
}

void csl_test_check_near(
    double actual, double expected, double tolerance, const char *what, const char *file, int line)
{
    char message[512];
    snprintf(message, sizeof message, "%s is %.17g, expected %.17g within %g", what, actual,
             expected, tolerance);
    report(fabs(actual - expected) <= tolerance, message, file, line);
}

void csl_test_check_u64(
    uint64_t actual, uint64_t expected, const char *what, const char *file, int line)
{
    char message[512];
    snprintf(message, sizeof message, "%s is %" PRIu64 ", expected %" PRIu64, what, actual,
             expected);
    report(actual == expected, message, file, line);
}

void csl_test_check_contains(const char *text, const char *part, const char *file, int line)
{
    char message[1024];
    snprintf(message, sizeof message, "'%.400s' does not contain '%s'", text ? text : "(null)",
             part);
    report(text && strstr(text, part), message, file, line);
}

int csl_test_main(const char *suite_name, const csl_test_case *cases, size_t case_count)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    csl_test_seed();
    if (CU_initialize_registry() != CUE_SUCCESS) {
        return 1;
    }
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (size_t i = 0; suite && i < case_count; i++) {
        CU_add_test(suite, cases[i].name, cases[i].run);
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
