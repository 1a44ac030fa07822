/* Any bytes as an archive to import: refused with a message, or a data set that can be written. */
#include <consilium/files.h>
#include <consilium/import.h>

#include <zlib.h>

#include "fuzz_file.h"

static uint32_t little(const uint8_t *bytes, int count)
{
    uint32_t value = 0;
    for (int i = count - 1; i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* Makes the checksums of stored members hold, so that changes reach the parser behind them. */
static void repair_checksums(uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at + 46 <= size; at++) {
        if (memcmp(bytes + at, "PK\1\2", 4) != 0 || little(bytes + at + 10, 2) != 0) {
            continue;
        }
        size_t member = little(bytes + at + 42, 4), packed = little(bytes + at + 20, 4);
        if (member > size || size - member < 30) {
            continue;
        }
        size_t start = 30 + little(bytes + member + 26, 2) + little(bytes + member + 28, 2);
        if (start <= size - member && packed <= size - member - start) {
            uint32_t sum = (uint32_t)crc32_z(0, bytes + member + start, packed);
            for (int i = 0; i < 4; i++) {
                bytes[at + 16 + (size_t)i] = (uint8_t)(sum >> (8 * i));
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[640], copy[640];
    snprintf(path, sizeof path, "%s/archive.npz", csl_test_directory());
    snprintf(copy, sizeof copy, "%s/imported.h5", csl_test_directory());
    uint8_t *bytes = malloc(size + 1);
    if (!bytes) {
        abort();
    }
    memcpy(bytes, data, size);
    if (size % 4 != 0) { /* one in four keeps its wrong checksums */
        repair_checksums(bytes, size);
    }
    csl_fuzz_write(path, bytes, size);
    free(bytes);
    csl_dataset *dataset = NULL;
    if (csl_fuzz_accepted(csl_import_npz(path, &dataset), path)) {
        if (dataset->count == 0 || csl_dataset_write(copy, dataset) != CSL_OK) {
            abort();
        }
        csl_dataset_destroy(dataset);
    }
    return 0;
}
