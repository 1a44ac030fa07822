/* Any bytes as a study file: refused with a message, or written and read back to the same study. */
#include <consilium/study.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    csl_study *study = NULL;
    if (csl_study_parse("fuzz", data, size, NULL, &study) != CSL_OK) {
        return 0;
    }
    csl_text text = {0};
    csl_study *again = NULL;
    uint8_t digests[2][CSL_SHA256_SIZE];
    if (csl_study_write(study, &text) != CSL_OK ||
        csl_study_parse("written", text.bytes, text.size, NULL, &again) != CSL_OK ||
        csl_study_sha256(study, digests[0]) != CSL_OK ||
        csl_study_sha256(again, digests[1]) != CSL_OK ||
        memcmp(digests[0], digests[1], CSL_SHA256_SIZE) != 0) {
        abort(); /* what was accepted must survive writing and reading */
    }
    csl_text_clear(&text);
    csl_study_destroy(study);
    csl_study_destroy(again);
    return 0;
}
