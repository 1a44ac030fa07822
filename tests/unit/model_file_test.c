/* Model files: the file alone rebuilds the network, bit for bit. */
#include <consilium/files.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_support.h"

static char path_[4096];

static csl_model_spec *make(const char *name, float **parameters_out, size_t *count_out)
{
    csl_shape shape = {{strcmp(name, "cnn3d-28") ? 1 : 28, 28, 28}, 1};
    csl_model_spec *spec = NULL;
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    CHECK_OK(csl_model_spec_zoo(name, NULL, shape, CSL_TASK_MULTICLASS, 3, &spec));
    CU_ASSERT_PTR_NOT_NULL_FATAL(spec);
    CHECK_OK(csl_model_spec_tensors(spec, &tensors, &tensor_count, count_out));
    free(tensors);
    *parameters_out = calloc(*count_out, sizeof **parameters_out);
    for (size_t i = 0; i < *count_out; i++) {
        (*parameters_out)[i] = (float)csl_test_normal();
    }
    return spec;
}

static void every_zoo_network_round_trips(void)
{
    for (const char *const *name = csl_model_zoo_names(); *name; name++) {
        if (strcmp(*name, "resnet18") == 0) {
            continue; /* 44 MB of the same layers as resnet18-28 */
        }
        float *written = NULL, *read = NULL;
        size_t count = 0;
        csl_model_spec *spec = make(*name, &written, &count), *back = NULL;
        snprintf(path_, sizeof path_, "%s/model.h5", csl_test_directory());
        CHECK_OK(csl_model_write(path_, spec, written, NULL, 7));
        CHECK_OK(csl_model_read(path_, &back, &read));
        if (back) {
            CU_ASSERT_STRING_EQUAL(back->name, spec->name);
            CHECK_U64(back->layer_count, spec->layer_count);
            CU_ASSERT(
                memcmp(back->layers, spec->layers, spec->layer_count * sizeof *spec->layers) == 0);
            CU_ASSERT(memcmp(read, written, count * sizeof *read) == 0);
        } else {
            printf("%s: %s\n", *name, csl_error_message());
        }
        csl_model_spec_destroy(back);
        csl_model_spec_destroy(spec);
        free(read);
        free(written);
    }
}

static void a_flipped_bit_never_gives_other_parameters(void)
{
    float *written = NULL;
    size_t count = 0;
    csl_model_spec *spec = make("cnn-small", &written, &count);
    snprintf(path_, sizeof path_, "%s/flip.h5", csl_test_directory());
    CHECK_OK(csl_model_write(path_, spec, written, NULL, 0));
    FILE *stream = fopen(path_, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    fseek(stream, 0, SEEK_END);
    size_t size = (size_t)ftell(stream);
    for (int trial = 0; trial < 200; trial++) {
        /* half of the flips among the first bytes, where the structure lies */
        long position = (long)(csl_test_random() % (trial % 2 ? size : 8192));
        int mask = 1 << (csl_test_random() % 8);
        fseek(stream, position, SEEK_SET);
        int byte = fgetc(stream);
        fseek(stream, position, SEEK_SET);
        fputc(byte ^ mask, stream);
        fflush(stream);
        csl_model_spec *back = NULL;
        float *read = NULL;
        if (csl_model_read(path_, &back, &read) == CSL_OK) {
            CU_ASSERT(memcmp(read, written, count * sizeof *read) == 0);
        } else {
            CHECK_CONTAINS(csl_error_message(), path_);
        }
        csl_model_spec_destroy(back);
        free(read);
        fseek(stream, position, SEEK_SET);
        fputc(byte, stream);
    }
    fclose(stream);
    csl_model_spec_destroy(spec);
    free(written);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every zoo network round trips", every_zoo_network_round_trips},
        {"a flipped bit never gives other parameters", a_flipped_bit_never_gives_other_parameters},
    };
    return csl_test_main("model files", cases, sizeof cases / sizeof *cases);
}
