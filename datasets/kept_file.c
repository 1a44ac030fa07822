/* What a rule keeps from call to call: /centre [1][d] or /histories [n][d], and whose they are. */
#include <consilium/kept.h>

#include "hdf5_support.h"
#include "updates_label.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SCHEMA[] = "consilium-kept";
static const char VERSION[] = "1.0";

struct csl_kept {
    csl_h5_file file;
    char path[CSL_PATH_MAX];
    const char *array;
    uint32_t row_count;
    uint64_t column_count;
};

struct csl_kept_writer {
    csl_kept kept;
    uint64_t written; /* values, of all rows */
};

uint32_t csl_kept_row_count(const csl_kept_facts *facts)
{
    return facts->per_institution ? csl_updates_row_count(facts->updates) : 1;
}

static csl_status fill(const char *path, const csl_kept_facts *facts, csl_kept *kept)
{
    if (strlen(path) >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "%.200s: name too long", path);
    }
    memcpy(kept->path, path, strlen(path) + 1);
    kept->array = facts->per_institution ? "/histories" : "/centre";
    kept->row_count = csl_kept_row_count(facts);
    kept->column_count = csl_updates_column_count(facts->updates);
    return CSL_OK;
}

static csl_status expect_text(const csl_h5_file *file, const char *name, const char *expected)
{
    char found[CSL_NAME_MAX];
    CSL_TRY(csl_h5_read_text(file, "/", name, found, sizeof found));
    return strcmp(found, expected) == 0
               ? CSL_OK
               : csl_fail(strcmp(name, "rule") == 0 ? CSL_E_INVALID_ARG : CSL_E_FORMAT,
                          "%s: attribute %s: expected '%s', found '%s'", file->path, name, expected,
                          found);
}

static csl_status check_institutions(const csl_h5_file *file, const csl_updates *updates)
{
    uint32_t count = csl_updates_row_count(updates);
    uint32_t stored = 0;
    CSL_TRY(csl_h5_read_number(file, "/", "institution_count", H5T_NATIVE_UINT32, &stored));
    if (stored != count) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "%s: attribute institution_count: expected the %u of the updates, found %u",
                        file->path, count, stored);
    }
    char(*names)[CSL_NAME_MAX] = calloc(count, sizeof *names);
    csl_status status = names ? csl_updates_read_labels(file, count, names)
                              : csl_fail(CSL_E_NO_MEMORY, "%s: %u names", file->path, count);
    for (uint32_t i = 0; status == CSL_OK && i < count; i++) {
        const char *expected = csl_updates_row_label(updates, i);
        if (strcmp(names[i], expected) != 0) {
            status = csl_fail(CSL_E_INVALID_ARG, "%s: /names[%u]: expected '%s', found '%s'",
                              file->path, i, expected, names[i]);
        }
    }
    free(names);
    return status;
}

static csl_status check(const csl_kept *kept, const csl_kept_facts *facts)
{
    const csl_h5_file *file = &kept->file;
    CSL_TRY(expect_text(file, "schema", SCHEMA));
    CSL_TRY(expect_text(file, "schema_version", VERSION));
    CSL_TRY(expect_text(file, "rule", facts->rule));
    CSL_TRY(check_institutions(file, facts->updates));
    csl_h5_array array;
    CSL_TRY(csl_h5_look(file, kept->array, &array));
    if (array.kind != H5T_FLOAT || array.size != sizeof(float) || array.rank != 2 ||
        array.extent[0] != kept->row_count) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: %s: expected [%u][d] of float32, found rank %u of %zu-byte %s",
                        file->path, kept->array, kept->row_count, array.rank, array.size,
                        array.kind == H5T_FLOAT ? "floats" : "integers");
    }
    if (array.extent[1] != kept->column_count) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "%s: %s: expected the %" PRIu64 " values of an update, found %" PRIu64,
                        file->path, kept->array, kept->column_count, array.extent[1]);
    }
    return CSL_OK;
}

csl_status csl_kept_open(const char *path, const csl_kept_facts *facts, csl_kept **kept_out)
{
    csl_kept *kept = calloc(1, sizeof *kept);
    if (!kept) {
        return csl_fail(CSL_E_NO_MEMORY, "%s", path);
    }
    csl_status status = fill(path, facts, kept);
    if (status == CSL_OK) {
        status = csl_h5_open(kept->path, &kept->file);
    }
    if (status != CSL_OK) {
        free(kept);
        return status;
    }
    status = check(kept, facts);
    if (status != CSL_OK) {
        csl_kept_close(kept);
        return status;
    }
    *kept_out = kept;
    return CSL_OK;
}

csl_status
csl_kept_read(csl_kept *kept, uint32_t row, uint64_t begin, size_t count, float *values_out)
{
    if (row >= kept->row_count || begin > kept->column_count ||
        count > kept->column_count - begin) {
        return csl_fail(CSL_E_RANGE, "%s: %s: row %u or columns beyond %" PRIu64, kept->path,
                        kept->array, row, kept->column_count);
    }
    if (count == 0) {
        return CSL_OK;
    }
    CSL_TRY(csl_h5_rows_read(&kept->file, kept->array, row, 1, begin, count, values_out));
    for (size_t j = 0; j < count; j++) {
        if (!isfinite(values_out[j])) {
            return csl_fail(CSL_E_FORMAT,
                            "%s: %s[%u][%" PRIu64 "]: expected a finite number, found %g",
                            kept->path, kept->array, row, begin + j, (double)values_out[j]);
        }
    }
    return CSL_OK;
}

void csl_kept_close(csl_kept *kept)
{
    if (kept) {
        csl_h5_close(&kept->file);
        free(kept);
    }
}

/* The labels of the updates as texts of fixed length, which updates_label.c reads. */
static csl_status write_names(const csl_h5_file *file, const csl_updates *updates)
{
    uint64_t count = csl_updates_row_count(updates);
    char(*names)[CSL_NAME_MAX] = calloc(count, sizeof *names);
    hid_t type = H5Tcopy(H5T_C_S1);
    csl_status status = CSL_OK;
    if (!names || type < 0 || H5Tset_size(type, CSL_NAME_MAX) < 0 ||
        H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        status = csl_fail(CSL_E_NO_MEMORY, "%s: %" PRIu64 " names", file->path, count);
    }
    for (uint32_t i = 0; status == CSL_OK && i < count; i++) {
        snprintf(names[i], sizeof names[i], "%s", csl_updates_row_label(updates, i));
    }
    if (status == CSL_OK) {
        status = csl_h5_write(file, "/names", type, type, 1, &count, names);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    free(names);
    return status;
}

static csl_status write_head(const csl_kept *kept, const csl_kept_facts *facts)
{
    const csl_h5_file *file = &kept->file;
    uint32_t count = csl_updates_row_count(facts->updates);
    CSL_TRY(csl_h5_write_text(file, "/", "schema", SCHEMA));
    CSL_TRY(csl_h5_write_text(file, "/", "schema_version", VERSION));
    CSL_TRY(csl_h5_write_text(file, "/", "rule", facts->rule));
    CSL_TRY(csl_h5_write_number(file, "/", "institution_count", H5T_STD_U32LE, H5T_NATIVE_UINT32,
                                &count));
    CSL_TRY(write_names(file, facts->updates));
    return csl_h5_rows_create(file, kept->array, kept->row_count, kept->column_count);
}

csl_status
csl_kept_create(const char *path, const csl_kept_facts *facts, csl_kept_writer **writer_out)
{
    csl_kept_writer *writer = calloc(1, sizeof *writer);
    if (!writer) {
        return csl_fail(CSL_E_NO_MEMORY, "%s", path);
    }
    csl_status status = fill(path, facts, &writer->kept);
    if (status == CSL_OK) {
        status = csl_h5_create(writer->kept.path, &writer->kept.file);
    }
    if (status != CSL_OK) {
        free(writer);
        return status;
    }
    status = write_head(&writer->kept, facts);
    if (status != CSL_OK) {
        return csl_kept_finish(writer, status);
    }
    *writer_out = writer;
    return CSL_OK;
}

csl_status csl_kept_append(csl_kept_writer *writer, size_t count, const float *values)
{
    const csl_kept *kept = &writer->kept;
    uint64_t row = writer->written / kept->column_count;
    uint64_t begin = writer->written % kept->column_count;
    if (row == kept->row_count || count > kept->column_count - begin) {
        return csl_fail(CSL_E_RANGE, "%s: more than %u rows of %" PRIu64 " values", kept->path,
                        kept->row_count, kept->column_count);
    }
    CSL_TRY(csl_h5_rows_write(&kept->file, kept->array, (uint32_t)row, begin, count, values));
    writer->written += count;
    return CSL_OK;
}

csl_status csl_kept_finish(csl_kept_writer *writer, csl_status status)
{
    csl_kept *kept = &writer->kept;
    if (status == CSL_OK && writer->written != kept->row_count * kept->column_count) {
        status =
            csl_fail(CSL_E_STATE, "%s: %" PRIu64 " values of %u rows of %" PRIu64 " were written",
                     kept->path, writer->written, kept->row_count, kept->column_count);
    }
    status = csl_h5_finish(&kept->file, status);
    free(writer);
    return status;
}
