/* model_digest MODEL.h5: SHA-256 of the parameters alone, so that two runs can be compared. */
#include <consilium/files.h>
#include <consilium/hash.h>
#include <consilium/model.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: model_digest MODEL.h5\n", stderr);
        return 2;
    }
    csl_model_spec *spec = NULL;
    float *parameters = NULL;
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    size_t parameter_count = 0;
    uint8_t digest[CSL_SHA256_SIZE];
    char text[2 * CSL_SHA256_SIZE + 1];
    csl_status status = csl_model_read(argv[1], &spec, &parameters);
    if (status == CSL_OK) {
        status = csl_model_spec_tensors(spec, &tensors, &tensor_count, &parameter_count);
    }
    if (status == CSL_OK) {
        status = csl_sha256(parameters, parameter_count * sizeof *parameters, digest);
    }
    if (status == CSL_OK) {
        csl_hex(digest, sizeof digest, text);
        puts(text);
    } else {
        fprintf(stderr, "model_digest: %s\n", csl_error_message());
    }
    free(tensors);
    free(parameters);
    csl_model_spec_destroy(spec);
    return status != CSL_OK;
}
