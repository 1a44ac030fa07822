/* Files of updates: HDF5 by column ranges, and folders of .npy files. */
#include <consilium/updates.h>

#include "hdf5_support.h"
#include "npy.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char UPDATES[] = "/updates";

struct csl_updates {
    uint32_t row_count;
    uint64_t column_count;
    bool is_folder;
    csl_h5_file file;
    csl_npy *npy; /* [row_count] open files of a folder */
    char (*names)[CSL_PATH_MAX];
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

static csl_status open_folder(const char *path, csl_updates *updates)
{
    CSL_TRY(list_folder(path, updates));
    uint32_t count = updates->row_count;
    qsort(updates->names, count, sizeof *updates->names, compare_names);
    updates->npy = calloc(count, sizeof *updates->npy);
    if (!updates->npy) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: %u files", path, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        CSL_TRY(csl_npy_open(updates->names[i], &updates->npy[i]));
        if (updates->npy[i].element_size != sizeof(float)) {
            return csl_fail(CSL_E_FORMAT, "%s: expected float32 ('<f4'), found float64",
                            updates->names[i]);
        }
        if (updates->npy[i].count != updates->npy[0].count) {
            return csl_fail(CSL_E_SHAPE, "%s: expected %llu values as in %s, found %llu",
                            updates->names[i], (unsigned long long)updates->npy[0].count,
                            updates->names[0], (unsigned long long)updates->npy[i].count);
        }
    }
    updates->column_count = updates->npy[0].count;
    return CSL_OK;
}

static csl_status open_hdf5(const char *path, csl_updates *updates)
{
    CSL_TRY(csl_h5_open(path, &updates->file));
    csl_h5_array array;
    CSL_TRY(csl_h5_look(&updates->file, UPDATES, &array));
    if (array.rank != 2 || array.kind != H5T_FLOAT || array.size != sizeof(float)) {
        return csl_fail(
            CSL_E_FORMAT, "%s%s: expected [n][d] of float32, found rank %u of %zu-byte %s", path,
            UPDATES, array.rank, array.size, array.kind == H5T_FLOAT ? "floats" : "integers");
    }
    if (array.extent[0] < 1 || array.extent[0] > CSL_ROWS_MAX) {
        return csl_fail(CSL_E_RANGE, "%s%s: expected 1 to %d rows, found %llu", path, UPDATES,
                        CSL_ROWS_MAX, (unsigned long long)array.extent[0]);
    }
    updates->row_count = (uint32_t)array.extent[0];
    updates->column_count = array.extent[1];
    updates->names = calloc(updates->row_count, sizeof *updates->names);
    if (!updates->names) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: %u names", path, updates->row_count);
    }
    for (uint32_t i = 0; i < updates->row_count; i++) {
        snprintf(updates->names[i], CSL_PATH_MAX, "%.4000s%s[%u]", path, UPDATES, i);
    }
    return CSL_OK;
}

csl_status csl_updates_open(const char *path, csl_updates **updates_out)
{
    struct stat information;
    if (stat(path, &information) != 0) {
        return csl_fail(CSL_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    csl_updates *updates = calloc(1, sizeof *updates);
    if (!updates) {
        return csl_fail(CSL_E_NO_MEMORY, "%s", path);
    }
    updates->file.id = -1;
    updates->is_folder = S_ISDIR(information.st_mode);
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
    for (uint32_t i = 0; updates->npy && i < updates->row_count; i++) {
        csl_npy_close(&updates->npy[i]);
    }
    free(updates->npy);
    free(updates->names);
    free(updates);
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

static csl_status read_rows(csl_updates *updates,
                            hid_t dataset,
                            hid_t space,
                            uint64_t begin,
                            size_t count,
                            float *const *rows)
{
    hsize_t extent = count;
    hid_t memory = H5Screate_simple(1, &extent, NULL);
    bool good = memory >= 0;
    for (uint32_t i = 0; good && i < updates->row_count; i++) {
        hsize_t start[2] = {i, begin};
        hsize_t size[2] = {1, count};
        good = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL) >= 0 &&
               H5Dread(dataset, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, rows[i]) >= 0;
    }
    if (memory >= 0) {
        H5Sclose(memory);
    }
    return good ? CSL_OK : csl_fail(CSL_E_IO, "%s%s: cannot be read", updates->file.path, UPDATES);
}

csl_status
csl_updates_read(csl_updates *updates, uint64_t begin, size_t count, float *const *rows_out)
{
    if (begin > updates->column_count || count > updates->column_count - begin) {
        return csl_fail(CSL_E_RANGE, "updates: columns beyond %llu",
                        (unsigned long long)updates->column_count);
    }
    if (count == 0) {
        return CSL_OK;
    }
    for (uint32_t i = 0; updates->is_folder && i < updates->row_count; i++) {
        CSL_TRY(csl_npy_read(&updates->npy[i], begin, count, rows_out[i]));
    }
    if (updates->is_folder) {
        return CSL_OK;
    }
    csl_status status = CSL_OK;
    hid_t dataset = H5Dopen2(updates->file.id, UPDATES, H5P_DEFAULT);
    hid_t space = dataset >= 0 ? H5Dget_space(dataset) : -1;
    if (space < 0) {
        status = csl_fail(CSL_E_IO, "%s%s: cannot be opened", updates->file.path, UPDATES);
    } else {
        status = read_rows(updates, dataset, space, begin, count, rows_out);
        H5Sclose(space);
    }
    if (dataset >= 0) {
        H5Dclose(dataset);
    }
    return status;
}

csl_status csl_aggregate_write(
    const char *path, const float *aggregate, size_t count, const char *rule, const char *report)
{
    csl_h5_file file;
    uint64_t extent = count;
    CSL_TRY(csl_h5_create(path, &file));
    csl_status status =
        csl_h5_write(&file, "/aggregate", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, &extent, aggregate);
    if (status == CSL_OK) {
        status = csl_h5_write_text(&file, "/aggregate", "rule", rule);
    }
    /* HDF5 keeps attributes below 64 KiB; longer reports are for --report alone. */
    if (status == CSL_OK && strlen(report) < 60000) {
        status = csl_h5_write_text(&file, "/aggregate", "report", report);
    }
    return csl_h5_finish(&file, status);
}
