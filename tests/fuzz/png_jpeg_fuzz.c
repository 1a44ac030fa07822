/* Any bytes as a picture of a folder: refused with a message, or a data set that can be written. */
#include <consilium/files.h>
#include <consilium/import.h>

#include <sys/stat.h>
#include <zlib.h>

#include "fuzz_file.h"

/* Makes the checksums of PNG chunks hold, so that changes reach the decoder behind them. */
static void repair_checksums(uint8_t *bytes, size_t size)
{
    for (size_t at = 8; size >= 20 && bytes[0] == 0x89 && at <= size - 12;) {
        size_t length = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 |
                        (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (length > size - at - 12) {
            return;
        }
        uint32_t sum = (uint32_t)crc32_z(0, bytes + at + 4, length + 4);
        for (size_t i = 0; i < 4; i++) {
            bytes[at + 8 + length + i] = (uint8_t)(sum >> (24 - 8 * i));
        }
        at += 12 + length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char root[512], path[640];
    snprintf(root, sizeof root, "%s/pictures", csl_test_directory());
    uint8_t *bytes = malloc(size + 1);
    if (!bytes) {
        abort();
    }
    memcpy(bytes, data, size);
    if (size % 4 != 0) { /* one in four keeps its wrong checksums */
        repair_checksums(bytes, size);
    }
    mkdir(root, 0777);
    for (int class = 0; class < 2; class ++) {
        snprintf(path, sizeof path, "%s/%d", root, class);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/%d/picture", root, class);
        csl_fuzz_write(path, bytes, size);
    }
    free(bytes);
    csl_folder_options options = {size % 3 ? 8 : 0, size % 3 ? 5 : 0, size % 2 ? 1 : 0, NULL};
    csl_dataset *dataset = NULL;
    if (csl_fuzz_accepted(csl_import_folder(root, &options, &dataset), root)) {
        snprintf(path, sizeof path, "%s/imported.h5", csl_test_directory());
        /* Writing waits for the disk: now and then is enough. */
        if (dataset->count != 2 || (size % 16 == 0 && csl_dataset_write(path, dataset) != CSL_OK)) {
            abort();
        }
        csl_dataset_destroy(dataset);
    }
    return 0;
}
