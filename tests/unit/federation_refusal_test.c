#include "test_support.h"

#include <consilium/federation.h>

#include <float.h>
#include <string.h>

enum { COUNT = 64 };

static void a_refused_step_changes_nothing(void)
{
    static const csl_algorithm algorithms[] = {CSL_FEDAVG, CSL_FEDADAM, CSL_FEDYOGI};
    for (size_t a = 0; a < sizeof algorithms / sizeof *algorithms; a++) {
        csl_federation_options options = {.algorithm = algorithms[a],
                                          .server_rate = algorithms[a] == CSL_FEDAVG ? 2 : 0.01f,
                                          .beta1 = 0.9f,
                                          .beta2 = 0.99f,
                                          .tau = 0.001f};
        csl_tensor tensor = {.offset = 0, .count = COUNT};
        csl_federation *federation = NULL;
        CHECK_OK(csl_federation_create(&options, &tensor, 1, &federation));
        CU_ASSERT_PTR_NOT_NULL_FATAL(federation);
        float values[4][COUNT]; /* aggregate, weights, moments */
        float before[4][COUNT];
        for (size_t j = 0; j < COUNT; j++) {
            values[0][j] = 0.5f;
            values[1][j] = (float)j;
            values[2][j] = 0.25f;
            values[3][j] = 0.125f;
        }
        values[0][COUNT - 1] = FLT_MAX; /* finite, but what follows from it is not */
        memcpy(before, values, sizeof before);
        CHECK_STATUS(
            csl_federation_apply(federation, 0, COUNT, values[0], values[1], values[2], values[3]),
            CSL_E_DIVERGED);
        CHECK_CONTAINS(csl_error_message(), "coordinate 63");
        CU_ASSERT(memcmp(before, values, sizeof before) == 0);
        values[0][COUNT - 1] = 0.5f;
        CHECK_OK(
            csl_federation_apply(federation, 0, COUNT, values[0], values[1], values[2], values[3]));
        CU_ASSERT(values[1][0] > before[1][0]);
        csl_federation_destroy(federation);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"a refused step changes nothing", a_refused_step_changes_nothing}};
    return csl_test_main("federation_refusal", cases, sizeof cases / sizeof *cases);
}
