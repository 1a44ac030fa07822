#include "hdf5_support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deflate never shrinks by more than 1032:1 (zlib's documented limit). */
enum { DEFLATE_RATIO_MAX = 1032 };

const char *csl_h5_class_name(H5T_class_t kind)
{
    static const char *const names[] = {"integers",     "floats",    "times",     "text",
                                        "bit fields",   "opaque",    "compounds", "references",
                                        "enumerations", "sequences", "arrays"};
    bool known = kind >= H5T_INTEGER && (size_t)kind < sizeof names / sizeof *names;
    return known ? names[kind] : "values of an unknown type";
}

static csl_status
look_at_type(const csl_h5_file *file, const char *name, hid_t array, csl_h5_array *array_out)
{
    hid_t type = H5Dget_type(array);
    array_out->kind = H5Tget_class(type);
    array_out->size = H5Tget_size(type);
    array_out->is_signed = array_out->kind == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2;
    bool plain =
        array_out->kind == H5T_INTEGER
            ? array_out->size <= 8
            : array_out->kind == H5T_FLOAT && (array_out->size == 4 || array_out->size == 8);
    H5Tclose(type);
    if (!plain) {
        return csl_fail(
            CSL_E_FORMAT,
            "%s: %s: expected integers of up to 8 bytes or floats of 4 or 8, found %s of %zu "
            "bytes",
            file->path, name, csl_h5_class_name(array_out->kind), array_out->size);
    }
    return CSL_OK;
}

static csl_status
look_at_space(const csl_h5_file *file, const char *name, hid_t array, csl_h5_array *array_out)
{
    hid_t space = H5Dget_space(array);
    int rank = H5Sget_simple_extent_ndims(space);
    hsize_t extent[H5S_MAX_RANK] = {0};
    if (rank >= 0) {
        rank = H5Sget_simple_extent_dims(space, extent, NULL);
    }
    H5Sclose(space);
    if (rank < 0 || rank > CSL_H5_RANK_MAX) {
        return csl_fail(CSL_E_FORMAT, "%s: %s: expected at most %d dimensions, found %d",
                        file->path, name, CSL_H5_RANK_MAX, rank);
    }
    array_out->rank = (uint32_t)rank;
    array_out->count = 1;
    for (int axis = 0; axis < rank; axis++) {
        array_out->extent[axis] = extent[axis];
        if (extent[axis] != 0 && array_out->count > UINT64_MAX / 16 / extent[axis]) {
            return csl_fail(CSL_E_FORMAT,
                            "%s: %s: %" PRIu64 " elements along dimension %d are too "
                            "many",
                            file->path, name, (uint64_t)extent[axis], axis);
        }
        array_out->count *= extent[axis];
    }
    return CSL_OK;
}

static csl_status
look_at_storage(const csl_h5_file *file, const char *name, hid_t array, const csl_h5_array *found)
{
    hid_t creation = H5Dget_create_plist(array);
    H5D_layout_t layout = H5Pget_layout(creation);
    bool outside = H5Pget_external_count(creation) != 0 || layout == H5D_VIRTUAL;
    bool packed = layout == H5D_CHUNKED && H5Pget_nfilters(creation) > 0;
    uint64_t needed = found->count * found->size;
    uint64_t stored = H5Dget_storage_size(array);
    uint64_t ratio = packed ? DEFLATE_RATIO_MAX : 1;
    csl_status status = CSL_OK;
    if (outside) {
        status = csl_fail(CSL_E_FORMAT,
                          "%s: %s: expected data in this file, found a reference to other files",
                          file->path, name);
    } else if (stored > file->size || needed / ratio > stored) {
        status = csl_fail(CSL_E_FORMAT,
                          "%s: %s: expected at least %" PRIu64 " bytes of data, found %" PRIu64,
                          file->path, name, needed / ratio, stored);
    } else if (layout == H5D_CHUNKED) {
        status = csl_h5_check_chunks(file, name, array, creation, found);
    }
    H5Pclose(creation);
    return status;
}

csl_status csl_h5_look(const csl_h5_file *file, const char *name, csl_h5_array *array_out)
{
    if (!csl_h5_exists(file, name)) {
        return csl_fail(CSL_E_FORMAT, "%s: %s: expected an array, found none", file->path, name);
    }
    hid_t array = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (array < 0) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: %s: expected an array, found another object or a damaged "
                        "one",
                        file->path, name);
    }
    csl_h5_array found = {0};
    csl_status status = look_at_type(file, name, array, &found);
    if (status == CSL_OK) {
        status = look_at_space(file, name, array, &found);
    }
    if (status == CSL_OK) {
        status = look_at_storage(file, name, array, &found);
    }
    H5Dclose(array);
    if (status == CSL_OK) {
        *array_out = found;
    }
    return status;
}

csl_status
csl_h5_read(const csl_h5_file *file, const char *name, hid_t memory_type, void *values_out)
{
    hid_t array = H5Dopen2(file->id, name, H5P_DEFAULT);
    herr_t result =
        array < 0 ? -1 : H5Dread(array, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values_out);
    if (array >= 0) {
        H5Dclose(array);
    }
    if (result < 0) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: %s: expected readable data, found a truncated or damaged "
                        "array",
                        file->path, name);
    }
    return CSL_OK;
}

/* HDF5 would make them itself, but with the time of day in them. */
static csl_status make_parents(const csl_h5_file *file, const char *name)
{
    char parent[CSL_PATH_MAX];
    for (const char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - name), name);
        if (H5Lexists(file->id, parent, H5P_DEFAULT) <= 0) {
            CSL_TRY(csl_h5_make_group(file, parent));
        }
    }
    return CSL_OK;
}

csl_status csl_h5_write(const csl_h5_file *file,
                        const char *name,
                        hid_t stored_type,
                        hid_t memory_type,
                        uint32_t rank,
                        const uint64_t *extent,
                        const void *values)
{
    hsize_t dimensions[CSL_H5_RANK_MAX] = {0};
    for (uint32_t axis = 0; axis < rank; axis++) {
        dimensions[axis] = extent[axis];
    }
    CSL_TRY(make_parents(file, name));
    hid_t space = H5Screate_simple((int)rank, dimensions, NULL);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(creation, H5D_CONTIGUOUS);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(creation, false); /* equal content gives equal files */
    hid_t array =
        H5Dcreate2(file->id, name, stored_type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    herr_t result =
        array < 0 ? -1 : H5Dwrite(array, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    if (array >= 0) {
        H5Dclose(array);
    }
    H5Pclose(creation);
    H5Sclose(space);
    if (result < 0) {
        return csl_fail(CSL_E_IO, "%s: %s: HDF5 cannot write the array", file->path, name);
    }
    return CSL_OK;
}
