/* Any bytes as a list of patients of two pictures: refused with a message, or a data set. */
#include <consilium/import.h>

#include <sys/stat.h>

#include "fuzz_file.h"

/* One grey pixel. */
static const uint8_t picture[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00,
    0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00, 0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78,
    0x9c, 0x63, 0x68, 0x00, 0x00, 0x00, 0x82, 0x00, 0x81, 0x77, 0xcd, 0x72, 0xb6, 0x00,
    0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready = false;
    char root[512], path[640];
    snprintf(root, sizeof root, "%s/owned", csl_test_directory());
    if (!ready) {
        mkdir(root, 0777);
        for (int class = 0; class < 2; class ++) {
            snprintf(path, sizeof path, "%s/%d", root, class);
            mkdir(path, 0777);
            snprintf(path, sizeof path, "%s/%d/a.png", root, class);
            csl_fuzz_write(path, picture, sizeof picture);
        }
        ready = true;
    }
    snprintf(path, sizeof path, "%s/patients.csv", csl_test_directory());
    csl_fuzz_write(path, data, size);
    csl_folder_options options = {.patients = path};
    csl_dataset *dataset = NULL;
    if (csl_fuzz_accepted(csl_import_folder(root, &options, &dataset), path)) {
        if (dataset->count != 2 || !dataset->subject) {
            abort();
        }
        csl_dataset_destroy(dataset);
    }
    return 0;
}
