/* Any bytes as a file of what a rule keeps: refused with a message, or read to the end. */
#include "fuzz_file.h"

#include <consilium/kept.h>

enum { ROWS = 3, COLUMNS = 40 };

/* The updates that the file has to belong to: those of the seeds. */
static csl_updates *open_updates(void)
{
    static const double weights[ROWS] = {1, 1, 1};
    static const uint32_t institutions[ROWS] = {0, 2, 5};
    const csl_updates_facts facts = {
        .weights = weights, .institutions = institutions, .round = 1, .study_sha256 = "none"};
    const float values[COLUMNS] = {0};
    char path[640];
    snprintf(path, sizeof path, "%s/updates.h5", csl_test_directory());
    csl_updates_writer *writer = NULL;
    csl_updates *updates = NULL;
    csl_status status = csl_updates_create(path, ROWS, COLUMNS, &facts, &writer);
    for (int i = 0; status == CSL_OK && i < ROWS; i++) {
        status = csl_updates_append(writer, values);
    }
    status = writer ? csl_updates_finish(writer, status) : status;
    if (status != CSL_OK || csl_updates_open(path, NULL, &updates) != CSL_OK) {
        abort();
    }
    return updates;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    csl_updates *updates = open_updates();
    char path[640];
    snprintf(path, sizeof path, "%s/kept.h5", csl_test_directory());
    csl_fuzz_write(path, data, size);
    for (int kind = 0; kind < 2; kind++) {
        const csl_kept_facts facts = {.rule = kind ? "foolsgold" : "centered-clipping",
                                      .per_institution = kind,
                                      .updates = updates};
        csl_kept *kept = NULL;
        if (!csl_fuzz_accepted(csl_kept_open(path, &facts, &kept), path)) {
            continue;
        }
        float values[COLUMNS];
        for (uint32_t row = 0; row < csl_kept_row_count(&facts); row++) {
            (void)csl_fuzz_accepted(csl_kept_read(kept, row, 0, COLUMNS, values), path);
        }
        csl_kept_close(kept);
    }
    csl_updates_close(updates);
    return 0;
}
