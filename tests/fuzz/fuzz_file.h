/* What the targets for files share: the input as a file, and a refusal that says why. */
#ifndef CSL_FUZZ_FILE_H
#define CSL_FUZZ_FILE_H

#include "test_support.h"

#include <consilium/status.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* The sanitizer's runtime finds them only if the executable exports them. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_suppressions(void);

/*
 * For the address sanitizer. libhdf5 1.10 copies some bytes too many while it decodes damaged
 * attributes of the old format (H5O_attr_decode), before any of our code sees them; that is its
 * fault and not what these targets look for. A size beyond all memory is an error to be handled.
 */
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__asan_default_suppressions(void)
{
    return "interceptor_via_lib:libhdf5\n";
}

static inline void csl_fuzz_write(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        abort();
    }
}

/* True if accepted. A refusal names the file, says something, and is no fault of the program's. */
static inline int csl_fuzz_accepted(csl_status status, const char *path)
{
    if (status == CSL_OK) {
        return 1;
    }
    if (status <= CSL_E_CORRUPT || !strstr(csl_error_message(), path)) {
        fprintf(stderr, "status %d: %s\n", (int)status, csl_error_message());
        abort();
    }
    return 0;
}

#endif
