/* Arrays of float32, [rows][columns] and [columns], written and read by ranges of columns. */
#include "hdf5_support.h"

static csl_status
create(const csl_h5_file *file, const char *name, uint32_t rank, const hsize_t *extent)
{
    hid_t array = -1;
    hid_t space = H5Screate_simple((int)rank, extent, NULL);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    /* Without the time of day: equal rows are equal files. */
    if (space >= 0 && properties >= 0 && H5Pset_obj_track_times(properties, false) >= 0) {
        array =
            H5Dcreate2(file->id, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    }
    if (properties >= 0) {
        H5Pclose(properties);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    return array >= 0 && H5Dclose(array) >= 0
               ? CSL_OK
               : csl_fail(CSL_E_IO, "%s%s: cannot be made", file->path, name);
}

csl_status csl_h5_rows_create(const csl_h5_file *file,
                              const char *name,
                              uint32_t row_count,
                              uint64_t column_count)
{
    const hsize_t extent[2] = {row_count, column_count};
    return create(file, name, 2, extent);
}

csl_status csl_h5_vector_create(const csl_h5_file *file, const char *name, uint64_t count)
{
    const hsize_t extent[1] = {count};
    return create(file, name, 1, extent);
}

/* Moves a block of the array's `rank` axes; read or write has the other end. */
static bool move_block(const csl_h5_file *file,
                       const char *name,
                       uint32_t rank,
                       const hsize_t *start,
                       const hsize_t *size,
                       float *read,
                       const float *write)
{
    hid_t array = H5Dopen2(file->id, name, H5P_DEFAULT);
    hid_t space = array >= 0 ? H5Dget_space(array) : -1;
    hid_t memory = H5Screate_simple((int)rank, size, NULL);
    bool good = space >= 0 && memory >= 0 &&
                H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL) >= 0;
    if (good && read) {
        good = H5Dread(array, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, read) >= 0;
    } else if (good) {
        good = H5Dwrite(array, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, write) >= 0;
    }
    if (memory >= 0) {
        H5Sclose(memory);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (array >= 0) {
        good = H5Dclose(array) >= 0 && good;
    }
    return good;
}

static csl_status written(const csl_h5_file *file, const char *name, bool good)
{
    return good ? CSL_OK : csl_fail(CSL_E_IO, "%s%s: cannot be written", file->path, name);
}

csl_status csl_h5_rows_write(const csl_h5_file *file,
                             const char *name,
                             uint32_t row,
                             uint64_t begin,
                             uint64_t count,
                             const float *values)
{
    const hsize_t start[2] = {row, begin};
    const hsize_t size[2] = {1, count};
    return written(file, name, move_block(file, name, 2, start, size, NULL, values));
}

csl_status csl_h5_vector_write(
    const csl_h5_file *file, const char *name, uint64_t begin, uint64_t count, const float *values)
{
    const hsize_t start[1] = {begin};
    const hsize_t size[1] = {count};
    return written(file, name, move_block(file, name, 1, start, size, NULL, values));
}

csl_status csl_h5_rows_read(const csl_h5_file *file,
                            const char *name,
                            uint32_t first,
                            uint32_t row_count,
                            uint64_t begin,
                            size_t count,
                            float *block_out)
{
    const hsize_t start[2] = {first, begin};
    const hsize_t size[2] = {row_count, count};
    return move_block(file, name, 2, start, size, block_out, NULL)
               ? CSL_OK
               : csl_fail(CSL_E_IO, "%s%s: expected readable data, found damaged or missing parts",
                          file->path, name);
}
