/* Any bytes as an HDF5 file of updates: refused with a message, or read to the end. */
#include "updates_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[640];
    snprintf(path, sizeof path, "%s/updates.h5", csl_test_directory());
    csl_fuzz_write(path, data, size);
    csl_fuzz_read(path);
    return 0;
}
