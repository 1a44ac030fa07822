/* What the targets for files of updates share. */
#ifndef CSL_UPDATES_FUZZ_H
#define CSL_UPDATES_FUZZ_H

#include "fuzz_file.h"

#include <consilium/updates.h>

/* Opens and reads all that is small enough; whatever was accepted must have a row and a name. */
static inline void csl_fuzz_read(const char *path)
{
    csl_updates *updates = NULL;
    if (csl_updates_open(path, NULL, &updates) != CSL_OK) {
        if (!csl_error_message()[0]) {
            abort();
        }
        return;
    }
    uint32_t rows = csl_updates_row_count(updates);
    uint64_t columns = csl_updates_column_count(updates);
    if (rows < 1 || rows > CSL_ROWS_MAX || columns < 1 || !csl_updates_row_label(updates, 0)[0]) {
        abort();
    }
    double *weights = NULL;
    csl_status status = csl_updates_read_weights(updates, &weights);
    free(status == CSL_OK ? weights : NULL);
    size_t count = columns < 1000 ? (size_t)columns : 1000;
    float *block = malloc(rows * count * sizeof *block);
    if (block && csl_updates_read(updates, 0, rows, columns - count, count, block) != CSL_OK &&
        !csl_error_message()[0]) {
        abort();
    }
    free(block);
    csl_updates_close(updates);
}

#endif
