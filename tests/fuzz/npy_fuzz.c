/* Any bytes as a .npy file in a folder of updates: refused with a message, or read to the end. */
#include "updates_fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[512];
    char path[640];
    snprintf(folder, sizeof folder, "%s/rows", csl_test_directory());
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/a.npy", folder);
    csl_fuzz_write(path, data, size);
    csl_fuzz_read(folder);
    return 0;
}
