/* Writing the updates of a round, one row after the other, so that only one is in memory. */
#include <consilium/updates.h>

#include "hdf5_support.h"

#include <stdlib.h>
#include <string.h>

struct csl_updates_writer {
    csl_h5_file file;
    char path[CSL_PATH_MAX];
    hid_t dataset;
    uint32_t row_count;
    uint64_t column_count;
    uint32_t written;
};

/* [rows][columns] of float32, without the time of day: equal updates are equal files. */
static csl_status make_dataset(csl_updates_writer *writer)
{
    hsize_t extent[2] = {writer->row_count, writer->column_count};
    hid_t space = H5Screate_simple(2, extent, NULL);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (space >= 0 && properties >= 0 && H5Pset_obj_track_times(properties, false) >= 0) {
        writer->dataset = H5Dcreate2(writer->file.id, "/updates", H5T_IEEE_F32LE, space,
                                     H5P_DEFAULT, properties, H5P_DEFAULT);
    }
    if (properties >= 0) {
        H5Pclose(properties);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    return writer->dataset >= 0 ? CSL_OK
                                : csl_fail(CSL_E_IO, "%s/updates: cannot be made", writer->path);
}

static csl_status write_facts(csl_updates_writer *writer, const csl_updates_facts *facts)
{
    uint64_t count = writer->row_count;
    CSL_TRY(csl_h5_write(&writer->file, "/weights", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 1, &count,
                         facts->weights));
    CSL_TRY(csl_h5_write(&writer->file, "/institutions", H5T_STD_U32LE, H5T_NATIVE_UINT32, 1,
                         &count, facts->institutions));
    CSL_TRY(csl_h5_write_number(&writer->file, "/updates", "round", H5T_STD_U32LE,
                                H5T_NATIVE_UINT32, &facts->round));
    return csl_h5_write_text(&writer->file, "/updates", "study_sha256", facts->study_sha256);
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
    writer->dataset = -1;
    writer->row_count = row_count;
    writer->column_count = column_count;
    csl_status status = csl_h5_create(writer->path, &writer->file);
    if (status != CSL_OK) {
        free(writer);
        return status;
    }
    status = make_dataset(writer);
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
    hsize_t start[2] = {writer->written, 0};
    hsize_t size[2] = {1, writer->column_count};
    hid_t space = H5Dget_space(writer->dataset);
    hid_t memory = H5Screate_simple(2, size, NULL);
    bool good =
        space >= 0 && memory >= 0 &&
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL) >= 0 &&
        H5Dwrite(writer->dataset, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, update) >= 0;
    if (space >= 0) {
        H5Sclose(space);
    }
    if (memory >= 0) {
        H5Sclose(memory);
    }
    writer->written += good;
    return good ? CSL_OK : csl_fail(CSL_E_IO, "%s/updates: cannot be written", writer->path);
}

csl_status csl_updates_finish(csl_updates_writer *writer, csl_status status)
{
    if (status == CSL_OK && writer->written != writer->row_count) {
        status = csl_fail(CSL_E_STATE, "%s: %u of %u updates were written", writer->path,
                          writer->written, writer->row_count);
    }
    if (writer->dataset >= 0) {
        H5Dclose(writer->dataset);
    }
    status = csl_h5_finish(&writer->file, status);
    free(writer);
    return status;
}
