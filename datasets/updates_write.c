/* Writing the updates of a round, one row after the other, so that only one is in memory. */
#include <consilium/updates.h>

#include "hdf5_support.h"

#include <stdlib.h>
#include <string.h>

struct csl_updates_writer {
    csl_h5_file file;
    char path[CSL_PATH_MAX];
    uint32_t row_count;
    uint64_t column_count;
    uint32_t written;
};

static const char UPDATES[] = "/updates";

static csl_status write_facts(csl_updates_writer *writer, const csl_updates_facts *facts)
{
    uint64_t count = writer->row_count;
    CSL_TRY(csl_h5_write(&writer->file, "/weights", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 1, &count,
                         facts->weights));
    CSL_TRY(csl_h5_write(&writer->file, "/institutions", H5T_STD_U32LE, H5T_NATIVE_UINT32, 1,
                         &count, facts->institutions));
    CSL_TRY(csl_h5_write_number(&writer->file, UPDATES, "round", H5T_STD_U32LE, H5T_NATIVE_UINT32,
                                &facts->round));
    return csl_h5_write_text(&writer->file, UPDATES, "study_sha256", facts->study_sha256);
}

csl_status csl_updates_create(const char *path,
                              uint32_t row_count,
                              uint64_t column_count,
                              const csl_updates_facts *facts,
                              csl_updates_writer **writer_out)
{
    if (row_count == 0 || row_count > CSL_ROWS_MAX || column_count == 0 ||
        strlen(path) >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "%.200s: expected 1 to %d updates that are not empty", path,
                        CSL_ROWS_MAX);
    }
    csl_updates_writer *writer = calloc(1, sizeof *writer);
    if (!writer) {
        return csl_fail(CSL_E_NO_MEMORY, "%s", path);
    }
    memcpy(writer->path, path, strlen(path) + 1);
    writer->row_count = row_count;
    writer->column_count = column_count;
    csl_status status = csl_h5_create(writer->path, &writer->file);
    if (status != CSL_OK) {
        free(writer);
        return status;
    }
    status = csl_h5_rows_create(&writer->file, UPDATES, row_count, column_count);
    status = status == CSL_OK ? write_facts(writer, facts) : status;
    if (status != CSL_OK) {
        return csl_updates_finish(writer, status);
    }
    *writer_out = writer;
    return CSL_OK;
}

csl_status csl_updates_append(csl_updates_writer *writer, const float *update)
{
    if (writer->written == writer->row_count) {
        return csl_fail(CSL_E_RANGE, "%s: more than %u updates", writer->path, writer->row_count);
    }
    CSL_TRY(csl_h5_rows_write(&writer->file, UPDATES, writer->written, 0, writer->column_count,
                              update));
    writer->written++;
    return CSL_OK;
}

csl_status csl_updates_finish(csl_updates_writer *writer, csl_status status)
{
    if (status == CSL_OK && writer->written != writer->row_count) {
        status = csl_fail(CSL_E_STATE, "%s: %u of %u updates were written", writer->path,
                          writer->written, writer->row_count);
    }
    status = csl_h5_finish(&writer->file, status);
    free(writer);
    return status;
}
