#include "hdf5_support.h"

#include <consilium/atomic_file.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void silence(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL,
                 NULL); /* per thread in a thread-safe build, so on every entry */
}

csl_status csl_h5_open(const char *path, csl_h5_file *file_out)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return csl_fail(errno == ENOENT || errno == ENOTDIR ? CSL_E_NOT_FOUND : CSL_E_IO, "%s: %s",
                        path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a file, found %s", path,
                        S_ISDIR(info.st_mode) ? "a folder" : "a special file");
    }
    int descriptor = open(path, O_RDONLY | O_CLOEXEC); /* HDF5 does not say why it cannot */
    if (descriptor < 0) {
        return csl_fail(CSL_E_IO, "%s: %s", path, strerror(errno));
    }
    close(descriptor);
    silence();
    hid_t access_list = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(access_list, H5F_CLOSE_STRONG);
    csl_status status = csl_h5_set_reader(access_list);
    hid_t id = status == CSL_OK ? H5Fopen(path, H5F_ACC_RDONLY, access_list) : -1;
    H5Pclose(access_list);
    CSL_TRY(status);
    if (id < 0) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a whole HDF5 file, found %s (%lld bytes)", path,
                        H5Fis_hdf5(path) > 0 ? "a damaged or truncated one" : "something else",
                        (long long)info.st_size);
    }
    memset(file_out, 0, sizeof *file_out);
    file_out->id = id;
    file_out->path = path;
    file_out->size = (uint64_t)info.st_size;
    return CSL_OK;
}

void csl_h5_close(csl_h5_file *file)
{
    H5Fclose(file->id);
    file->id = -1;
}

csl_status csl_h5_create(const char *path, csl_h5_file *file_out)
{
    csl_h5_file file = {.id = -1, .path = path};
    CSL_TRY(csl_atomic_begin(path, file.temporary));
    *file_out = file;
    silence();
    hid_t access_list = H5Pcreate(H5P_FILE_ACCESS);
    csl_status status = csl_h5_set_writer(access_list, &file_out->writer);
    if (status == CSL_OK) {
        /* The newer format carries checksums over its metadata. */
        H5Pset_libver_bounds(access_list, H5F_LIBVER_V110, H5F_LIBVER_V110);
        hid_t creation = H5Pcreate(H5P_FILE_CREATE);
        H5Pset_obj_track_times(creation, false); /* equal content gives equal files */
        file_out->id = H5Fcreate(file_out->temporary, H5F_ACC_TRUNC, creation, access_list);
        H5Pclose(creation);
        if (file_out->id < 0) {
            status = csl_fail(CSL_E_IO, "%s: %s", path,
                              file_out->writer.failure ? strerror(file_out->writer.failure)
                                                       : "HDF5 cannot create a file here");
            csl_atomic_abandon(file_out->temporary);
        }
    }
    H5Pclose(access_list);
    return status;
}

csl_status csl_h5_finish(csl_h5_file *file, csl_status status)
{
    if (H5Fclose(file->id) < 0 && status == CSL_OK && file->writer.failure == 0) {
        status = csl_fail(CSL_E_IO, "%s: HDF5 cannot complete the file", file->path);
    }
    if (file->writer.failure != 0) { /* the cause of whatever HDF5 complained about since */
        status = csl_fail(CSL_E_IO, "%s: %s", file->path, strerror(file->writer.failure));
    }
    if (status != CSL_OK) {
        csl_atomic_abandon(file->temporary);
        return status;
    }
    return csl_atomic_commit(file->temporary, file->path);
}

/* Every link on the way must be a hard one: a soft or external link would let a file that came
 * from outside name other files of this machine. */
bool csl_h5_exists(const csl_h5_file *file, const char *name)
{
    char prefix[CSL_PATH_MAX];
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof prefix || name[0] != '/') {
        return false;
    }
    for (size_t end = 1; end < length; end++) {
        end += strcspn(name + end, "/");
        memcpy(prefix, name, end);
        prefix[end] = 0;
        H5L_info_t info;
        if (H5Lexists(file->id, prefix, H5P_DEFAULT) <= 0 ||
            H5Lget_info(file->id, prefix, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD) {
            return false;
        }
    }
    return true;
}

csl_status csl_h5_make_group(const csl_h5_file *file, const char *name)
{
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(creation, false);
    hid_t group = H5Gcreate2(file->id, name, H5P_DEFAULT, creation, H5P_DEFAULT);
    H5Pclose(creation);
    if (group < 0 || H5Gclose(group) < 0) {
        return csl_fail(CSL_E_IO, "%s: %s: HDF5 cannot create the group", file->path, name);
    }
    return CSL_OK;
}
