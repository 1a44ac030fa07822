/* A short list of numbers from a .npy file, an HDF5 dataset or a text file. */
#include <consilium/updates.h>

#include "hdf5_support.h"
#include "npy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static csl_status read_npy(const char *path, double **values_out, size_t *count_out)
{
    csl_npy npy;
    CSL_TRY(csl_npy_look(path, &npy));
    size_t count = (size_t)npy.count;
    double *values = NULL;
    csl_status status = CSL_OK;
    if (npy.count < 1 || npy.count > CSL_ROWS_MAX) {
        status = csl_fail(CSL_E_RANGE, "%s: expected 1 to %d numbers, found %llu", path,
                          CSL_ROWS_MAX, (unsigned long long)npy.count);
    } else {
        values = calloc(count, sizeof *values);
        status = values ? csl_npy_read(&npy, 0, count, values)
                        : csl_fail(CSL_E_NO_MEMORY, "%s: %zu numbers", path, count);
    }
    for (size_t i = count; status == CSL_OK && npy.element_size == sizeof(float) && i-- > 0;) {
        float value = 0;
        memcpy(&value, (const char *)values + i * sizeof value, sizeof value);
        values[i] = (double)value; /* from the end, so that nothing unread is overwritten */
    }
    if (status != CSL_OK) {
        free(values);
        return status;
    }
    *values_out = values;
    *count_out = count;
    return CSL_OK;
}

static csl_status
read_hdf5(const char *path, const char *name, double **values_out, size_t *count_out)
{
    csl_h5_file file;
    csl_h5_array array;
    CSL_TRY(csl_h5_open(path, &file));
    csl_status status = csl_h5_look(&file, name, &array);
    double *values = NULL;
    if (status == CSL_OK && (array.count < 1 || array.count > CSL_ROWS_MAX)) {
        status = csl_fail(CSL_E_RANGE, "%s:%s: expected 1 to %d numbers, found %llu", path, name,
                          CSL_ROWS_MAX, (unsigned long long)array.count);
    }
    if (status == CSL_OK) {
        values = calloc(array.count, sizeof *values);
        status = values ? csl_h5_read(&file, name, H5T_NATIVE_DOUBLE, values)
                        : csl_fail(CSL_E_NO_MEMORY, "%s:%s", path, name);
    }
    csl_h5_close(&file);
    if (status != CSL_OK) {
        free(values);
        return status;
    }
    *values_out = values;
    *count_out = (size_t)array.count;
    return CSL_OK;
}

static csl_status read_text(const char *path, double **values_out, size_t *count_out)
{
    FILE *stream = fopen(path, "r");
    if (!stream) {
        return csl_fail(CSL_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    double *values = calloc(CSL_ROWS_MAX, sizeof *values);
    size_t count = 0;
    csl_status status = values ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s", path);
    char word[64];
    while (status == CSL_OK && fscanf(stream, " %63[^, \n\t\r]%*[, \n\t\r]", word) == 1) {
        char *end = NULL;
        double value = strtod(word, &end);
        if (*end || end == word || strlen(word) == sizeof word - 1) { /* the rest is no number */
            status = csl_fail(CSL_E_FORMAT, "%s: number %zu: expected a number, found '%s'", path,
                              count + 1, word);
        } else if (count == CSL_ROWS_MAX) {
            status = csl_fail(CSL_E_FORMAT, "%s: expected at most %d numbers, found more", path,
                              CSL_ROWS_MAX);
        } else {
            values[count++] = value;
        }
    }
    fclose(stream);
    if (status == CSL_OK && count == 0) {
        status = csl_fail(CSL_E_FORMAT, "%s: expected numbers, found none", path);
    }
    if (status != CSL_OK) {
        free(values);
        return status;
    }
    *values_out = values;
    *count_out = count;
    return CSL_OK;
}

csl_status csl_numbers_read(const char *path, double **values_out, size_t *count_out)
{
    const char *colon = strstr(path, ":/");
    size_t length = strlen(path);
    if (colon && (size_t)(colon - path) < CSL_PATH_MAX) {
        char file[CSL_PATH_MAX] = {0};
        memcpy(file, path, (size_t)(colon - path));
        return read_hdf5(file, colon + 1, values_out, count_out);
    }
    if (length > 4 && strcmp(path + length - 4, ".npy") == 0) {
        return read_npy(path, values_out, count_out);
    }
    return read_text(path, values_out, count_out);
}
