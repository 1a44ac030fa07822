/* Files of updates: HDF5 by column ranges, and folders of .npy files. */
#include <consilium/updates.h>

#include "hdf5_support.h"
#include "npy.h"
#include "updates_label.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct csl_updates {
    uint32_t row_count;
    uint64_t column_count;
    bool is_folder;
    csl_h5_file file;
    char dataset[CSL_NAME_MAX + 1]; /* "/updates" */
    csl_npy *npy;                   /* [row_count] files of a folder */
    char (*names)[CSL_PATH_MAX];    /* [row_count] */
    char (*labels)[CSL_NAME_MAX];   /* [row_count] */
    uint32_t *institutions;         /* [row_count], or NULL */
};

static int compare_names(const void *left, const void *right)
{
    return strcmp(left, right);
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name);
    size_t tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* Collects the .npy files of a folder in the order of their names. */
static csl_status list_folder(const char *path, csl_updates *updates)
{
    DIR *folder = opendir(path);
    if (!folder) {
        return csl_fail(CSL_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    csl_status status = CSL_OK;
    const struct dirent *entry = NULL;
    while (status == CSL_OK && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.' || !ends_with(entry->d_name, ".npy")) {
            continue;
        }
        if (updates->row_count == CSL_ROWS_MAX) {
            status = csl_fail(CSL_E_RANGE, "%s: more than %d .npy files", path, CSL_ROWS_MAX);
            break;
        }
        size_t count = (size_t)updates->row_count + 1;
        void *names = realloc(updates->names, count * sizeof *updates->names);
        if (!names) {
            status = csl_fail(CSL_E_NO_MEMORY, "%s: %zu names", path, count);
            break;
        }
        updates->names = names;
        char *name = updates->names[updates->row_count];
        int length = snprintf(name, CSL_PATH_MAX, "%s/%s", path, entry->d_name);
        if (length < 0 || length >= CSL_PATH_MAX) {
            status = csl_fail(CSL_E_RANGE, "%s: name too long", path);
            break;
        }
        updates->row_count++;
    }
    closedir(folder);
    if (status == CSL_OK && updates->row_count == 0) {
        status = csl_fail(CSL_E_RANGE, "%s: expected .npy files, found none", path);
    }
    return status;
}

/* A folder holds one update a file. All of them in one array would be taken for one long update;
 * beside others it has n times their length. */
static csl_status refuse_table(const csl_updates *updates, uint32_t i)
{
    const csl_npy *npy = &updates->npy[i], *first = &updates->npy[0];
    bool alone = updates->row_count == 1;
    bool is_table = npy->rank == 2 && npy->extent[0] > 1 &&
                    (alone || (npy->count != first->count && npy->extent[1] == first->count));
    return is_table
               ? csl_fail(CSL_E_SHAPE,
                          "%s: expected one update a file, found an array of %llu x %llu; write "
                          "several updates to `updates` of an HDF5 file",
                          updates->names[i], (unsigned long long)npy->extent[0],
                          (unsigned long long)npy->extent[1])
               : CSL_OK;
}

static csl_status open_folder(const char *path, csl_updates *updates)
{
    CSL_TRY(list_folder(path, updates));
    uint32_t count = updates->row_count;
    qsort(updates->names, count, sizeof *updates->names, compare_names);
    updates->npy = calloc(count, sizeof *updates->npy);
    updates->labels = calloc(count, sizeof *updates->labels);
    if (!updates->npy || !updates->labels) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: %u files", path, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        CSL_TRY(csl_npy_look(updates->names[i], &updates->npy[i]));
        CSL_TRY(refuse_table(updates, i));
        if (updates->npy[i].count != updates->npy[0].count) {
            return csl_fail(CSL_E_SHAPE, "%s: expected %llu values as in %s, found %llu",
                            updates->names[i], (unsigned long long)updates->npy[0].count,
                            updates->names[0], (unsigned long long)updates->npy[i].count);
        }
    }
    updates->column_count = updates->npy[0].count;
    for (uint32_t i = 0; i < count; i++) {
        const char *name = strrchr(updates->names[i], '/') + 1;
        csl_updates_set_label(updates->labels[i], name, strlen(name) - strlen(".npy"));
    }
    return CSL_OK;
}

static csl_status
take_institution(csl_updates *updates, const char *name, const int64_t *stored, uint32_t row)
{
    if (stored[row] < 0 || stored[row] >= CSL_INSTITUTIONS_MAX) {
        return csl_fail(CSL_E_RANGE, "%s%s[%u]: expected an index from 0 to %d, found %lld",
                        updates->file.path, name, row, CSL_INSTITUTIONS_MAX - 1,
                        (long long)stored[row]);
    }
    if (row > 0 && stored[row] <= stored[row - 1]) {
        return csl_fail(CSL_E_RANGE, "%s%s[%u]: expected an index above %lld, found %lld",
                        updates->file.path, name, row, (long long)stored[row - 1],
                        (long long)stored[row]);
    }
    updates->institutions[row] = (uint32_t)stored[row];
    return CSL_OK;
}

/* /institutions [n], as files of a run have it: ascending, so that ties of a rule, which go to the
 * lowest row, go to the lowest institution, and a history belongs to one row. */
static csl_status read_institutions(csl_updates *updates)
{
    static const char name[] = "/institutions";
    csl_h5_array array;
    if (!csl_h5_exists(&updates->file, name)) {
        return CSL_OK;
    }
    CSL_TRY(csl_h5_look(&updates->file, name, &array));
    if (array.kind != H5T_INTEGER || array.count != updates->row_count) {
        return csl_fail(CSL_E_FORMAT, "%s%s: expected %u integers, found %llu %s",
                        updates->file.path, name, updates->row_count,
                        (unsigned long long)array.count,
                        array.kind == H5T_INTEGER ? "integers" : "floats");
    }
    updates->institutions = calloc(updates->row_count, sizeof *updates->institutions);
    int64_t *stored = calloc(updates->row_count, sizeof *stored);
    csl_status status = updates->institutions && stored
                            ? csl_h5_read(&updates->file, name, H5T_NATIVE_INT64, stored)
                            : csl_fail(CSL_E_NO_MEMORY, "%s%s", updates->file.path, name);
    for (uint32_t i = 0; status == CSL_OK && i < updates->row_count; i++) {
        status = take_institution(updates, name, stored, i);
    }
    free(stored);
    return status;
}

static csl_status name_rows(csl_updates *updates)
{
    uint32_t count = updates->row_count;
    updates->names = calloc(count, sizeof *updates->names);
    updates->labels = calloc(count, sizeof *updates->labels);
    if (!updates->names || !updates->labels) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: %u names", updates->file.path, count);
    }
    CSL_TRY(read_institutions(updates));
    for (uint32_t i = 0; i < count; i++) {
        snprintf(updates->names[i], CSL_PATH_MAX, "%.3900s%s[%u]", updates->file.path,
                 updates->dataset, i);
        snprintf(updates->labels[i], CSL_NAME_MAX,
                 updates->institutions ? "institution %u" : "row %u",
                 updates->institutions ? updates->institutions[i] : i);
    }
    return csl_updates_read_labels(&updates->file, count, updates->labels);
}

static csl_status open_hdf5(const char *path, csl_updates *updates)
{
    CSL_TRY(csl_h5_open(path, &updates->file));
    csl_h5_array array;
    const char *name = updates->dataset;
    CSL_TRY(csl_h5_look(&updates->file, name, &array));
    if (array.rank != 2 || array.kind != H5T_FLOAT) {
        return csl_fail(CSL_E_FORMAT,
                        "%s%s: expected [n][d] of float32 or float64, found rank %u of %zu-byte %s",
                        path, name, array.rank, array.size,
                        array.kind == H5T_FLOAT ? "floats" : "integers");
    }
    if (array.extent[0] < 1 || array.extent[0] > CSL_ROWS_MAX) {
        return csl_fail(CSL_E_RANGE, "%s%s: expected 1 to %d rows, found %llu", path, name,
                        CSL_ROWS_MAX, (unsigned long long)array.extent[0]);
    }
    updates->row_count = (uint32_t)array.extent[0];
    updates->column_count = array.extent[1];
    return name_rows(updates);
}

csl_status csl_updates_open(const char *path, const char *dataset, csl_updates **updates_out)
{
    struct stat information;
    size_t length = dataset ? strlen(dataset) : 0;
    if (dataset && (length < 1 || length >= CSL_NAME_MAX || strlen(path) >= CSL_PATH_MAX)) {
        return csl_fail(CSL_E_RANGE, "dataset '%.80s': expected a name of 1 to %d bytes", dataset,
                        CSL_NAME_MAX - 1);
    }
    if (stat(path, &information) != 0) {
        return csl_fail(CSL_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    csl_updates *updates = calloc(1, sizeof *updates);
    if (!updates) {
        return csl_fail(CSL_E_NO_MEMORY, "%s", path);
    }
    updates->file.id = -1;
    updates->is_folder = S_ISDIR(information.st_mode);
    const char *name = dataset ? dataset : "updates";
    snprintf(updates->dataset, sizeof updates->dataset, "/%s", name + (name[0] == '/'));
    csl_status status = updates->is_folder ? open_folder(path, updates) : open_hdf5(path, updates);
    if (status == CSL_OK && updates->column_count == 0) {
        status = csl_fail(CSL_E_SHAPE, "%s: updates are empty", path);
    }
    if (status != CSL_OK) {
        csl_updates_close(updates);
        return status;
    }
    *updates_out = updates;
    return CSL_OK;
}

void csl_updates_close(csl_updates *updates)
{
    if (!updates) {
        return;
    }
    if (updates->file.id >= 0) {
        csl_h5_close(&updates->file);
    }
    free(updates->npy);
    free(updates->labels);
    free(updates->institutions);
    free(updates->names);
    free(updates);
}

bool csl_updates_is_folder(const csl_updates *updates)
{
    return updates->is_folder;
}

uint32_t csl_updates_row_count(const csl_updates *updates)
{
    return updates->row_count;
}

uint64_t csl_updates_column_count(const csl_updates *updates)
{
    return updates->column_count;
}

const char *csl_updates_row_name(const csl_updates *updates, uint32_t row)
{
    return row < updates->row_count ? updates->names[row] : "";
}

const char *csl_updates_row_label(const csl_updates *updates, uint32_t row)
{
    return row < updates->row_count ? updates->labels[row] : "";
}

const uint32_t *csl_updates_institutions(const csl_updates *updates)
{
    return updates->institutions;
}

bool csl_updates_has_weights(const csl_updates *updates)
{
    return !updates->is_folder && csl_h5_exists(&updates->file, "/weights");
}

csl_status csl_updates_read_weights(csl_updates *updates, double **weights_out)
{
    char place[CSL_PATH_MAX + 16];
    double *weights = NULL;
    size_t count = 0;
    if (!csl_updates_has_weights(updates)) {
        *weights_out = NULL;
        return CSL_OK;
    }
    snprintf(place, sizeof place, "%s:/weights", updates->file.path);
    CSL_TRY(csl_numbers_read(place, &weights, &count));
    if (count != updates->row_count) {
        free(weights);
        return csl_fail(CSL_E_SHAPE, "%s: expected %u weights, found %zu", place,
                        updates->row_count, count);
    }
    *weights_out = weights;
    return CSL_OK;
}

csl_status csl_updates_read(csl_updates *updates,
                            uint32_t first,
                            uint32_t row_count,
                            uint64_t begin,
                            size_t count,
                            float *block_out)
{
    if (begin > updates->column_count || count > updates->column_count - begin ||
        first > updates->row_count || row_count > updates->row_count - first) {
        return csl_fail(CSL_E_RANGE, "updates: rows beyond %u or columns beyond %llu",
                        updates->row_count, (unsigned long long)updates->column_count);
    }
    if (count == 0 || row_count == 0) {
        return CSL_OK;
    }
    if (!updates->is_folder) {
        return csl_h5_rows_read(&updates->file, updates->dataset, first, row_count, begin, count,
                                block_out);
    }
    for (uint32_t i = 0; i < row_count; i++) {
        CSL_TRY(csl_npy_read_float(&updates->npy[first + i], begin, count, block_out + i * count));
    }
    return CSL_OK;
}
