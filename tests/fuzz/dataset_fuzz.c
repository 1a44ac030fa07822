/* Any bytes as a data set file: refused with a message, or a data set that can be written. */
#include <consilium/files.h>

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static csl_dataset_metadata metadata;
    char path[640], copy[640];
    snprintf(path, sizeof path, "%s/dataset.h5", csl_test_directory());
    snprintf(copy, sizeof copy, "%s/copy.h5", csl_test_directory());
    csl_fuzz_write(path, data, size);
    csl_dataset *dataset = NULL;
    if (csl_fuzz_accepted(csl_dataset_read_described(path, size % 2 != 0, &dataset, &metadata),
                          path)) {
        if (dataset->count == 0 ||
            csl_dataset_write_described(copy, dataset, &metadata) != CSL_OK) {
            abort();
        }
        csl_dataset_destroy(dataset);
    }
    return 0;
}
