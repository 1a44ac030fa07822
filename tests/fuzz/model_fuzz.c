/* Any bytes as a model file: refused with a message, or a model that can be written. */
#include <consilium/files.h>

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[640], copy[640];
    snprintf(path, sizeof path, "%s/model.h5", csl_test_directory());
    snprintf(copy, sizeof copy, "%s/copy.h5", csl_test_directory());
    csl_fuzz_write(path, data, size);
    csl_model_spec *spec = NULL;
    float *parameters = NULL;
    if (csl_fuzz_accepted(csl_model_read(path, &spec, &parameters), path)) {
        if (csl_model_write(copy, spec, parameters, NULL, 1) != CSL_OK) {
            abort();
        }
        csl_model_spec_destroy(spec);
        free(parameters);
    }
    return 0;
}
