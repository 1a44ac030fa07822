/* What every test executable shares: seeds, a CUnit runner, and checks that print both values. */
#ifndef CSL_TEST_SUPPORT_H
#define CSL_TEST_SUPPORT_H

#include <CUnit/CUnit.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __clang_analyzer__ /* which does not see that a fatal assertion does not return */
static inline CU_BOOL csl_test_assert(CU_BOOL value,
                                      unsigned int line,
                                      const char *condition,
                                      const char *file,
                                      const char *function,
                                      CU_BOOL is_fatal)
{
    if (!value && is_fatal) {
        abort();
    }
    return CU_assertImplementation(value, line, condition, file, function, is_fatal);
}
#define CU_assertImplementation csl_test_assert
#endif

typedef struct csl_test_case {
    const char *name;
    void (*run)(void);
} csl_test_case;

/* Runs the cases as one CUnit suite, prints the seed, returns main's exit code. */
int csl_test_main(const char *suite, const csl_test_case *cases, size_t case_count);

/* The seed of this process: CSL_SEED if set, else drawn from the clock; printed once. */
uint64_t csl_test_seed(void);
/* Next number of the seeded test stream (splitmix64), uniform 64 bits; and in [0, 1), and N(0, 1).
 */
uint64_t csl_test_random(void);
double csl_test_uniform(void);
double csl_test_normal(void);

/* How often a law is tried on fresh input: `count` times, once where a sanitizer makes each try
 * five to ten times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CSL_TEST_REPEATS(count) 1
#else
#define CSL_TEST_REPEATS(count) (count)
#endif

/* Whether this is an executable with emulated registers. It repeats nothing of the plain one, whose
 * own sets of instructions it has as well. */
#ifdef CSL_TEST_EMULATED
enum { CSL_TEST_EMULATED_ONLY = 1 };
#else
enum { CSL_TEST_EMULATED_ONLY = 0 };
#endif

/* A fresh directory below the system's temporary folder, removed when the process ends normally.
 * The pointer stays valid until then. */
const char *csl_test_directory(void);
/* Folder of the real medical data (CSL_DATA, else ../shared/data beside the checkout), or NULL. */
const char *csl_test_data_directory(void);

/* The memory behind a pointer that is const to its readers, for its owner. */
void *csl_test_owned(const void *lent);

/* Fails the test with both values in the message. */
#define CHECK_STATUS(actual, expected)                                                             \
    csl_test_check_status((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_OK(actual) csl_test_check_status((actual), 0, #actual, __FILE__, __LINE__)
#define CHECK_NEAR(actual, expected, tol)                                                          \
    csl_test_check_near((actual), (expected), (tol), #actual, __FILE__, __LINE__)
#define CHECK_U64(actual, expected)                                                                \
    csl_test_check_u64((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_CONTAINS(text, part) csl_test_check_contains((text), (part), __FILE__, __LINE__)

void csl_test_check_status(int actual, int expected, const char *what, const char *file, int line);
void csl_test_check_near(
    double actual, double expected, double tolerance, const char *what, const char *file, int line);
void csl_test_check_u64(
    uint64_t actual, uint64_t expected, const char *what, const char *file, int line);
void csl_test_check_contains(const char *text, const char *part, const char *file, int line);

#endif
