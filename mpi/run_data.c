/* The institution files: found in a folder, or made once by rank 0 from a pooled file. */
#include "run_internal.h"

#include <consilium/files.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int is_institution_file(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 3 && strcmp(entry->d_name + length - 3, ".h5") == 0;
}

/* Every rank names the same files: rank 0 lists them, in order of name, and sends the names. */
static csl_status list_files(csl_federated_run *run, const char *folder)
{
    struct dirent **entries = NULL;
    int found = scandir(folder, &entries, is_institution_file, alphasort);
    if (found < 0) {
        return csl_fail(errno == ENOENT ? CSL_E_NOT_FOUND : CSL_E_IO, "%s: %s", folder,
                        strerror(errno));
    }
    uint32_t count = run->study->institutions.count;
    csl_status status = CSL_OK;
    if ((uint32_t)found != count) {
        status = csl_fail(CSL_E_RANGE,
                          "%s: expected %u institution files (*.h5), as institutions.count says, "
                          "found %d",
                          folder, count, found);
    }
    for (int i = 0; i < found; i++) {
        if (status == CSL_OK) {
            int length = snprintf(run->files[i], CSL_PATH_MAX, "%s/%s", folder, entries[i]->d_name);
            if (length >= CSL_PATH_MAX) {
                status = csl_fail(CSL_E_RANGE, "%s: the path is too long", folder);
            }
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* One file per institution in RUN/institutions, so that every institution opens only its own. */
static csl_status write_parts(csl_federated_run *run,
                              const csl_dataset *pool,
                              const csl_dataset_metadata *metadata,
                              const csl_partition_plan *plan)
{
    char path[CSL_PATH_MAX + 32];
    CSL_TRY(csl_partition_check_folder(run->data_directory, plan->institution_count,
                                       run->study->data.path));
    for (uint32_t i = 0; i < plan->institution_count; i++) {
        CSL_TRY(csl_run_heed_stop(run));
        CSL_TRY(csl_partition_write(pool, metadata, plan, i, run->data_directory, run->files[i]));
    }
    snprintf(path, sizeof path, "%s/institutions.json", run->directory);
    return csl_partition_report(pool, plan, path);
}

csl_status csl_run_partition(const csl_federated_run *run,
                             const csl_dataset *pool,
                             csl_partition_plan **plan_out)
{
    csl_partition_options options = {
        .split = run->study->data.split,
        .institution_count = run->study->institutions.count,
        .seed = run->study->seed,
    };
    csl_status status = csl_partition(pool, &options, plan_out);
    return status == CSL_OK ? CSL_OK : csl_fail_context(status, "%s", run->study->data.path);
}

static csl_status split_pool(csl_federated_run *run)
{
    int length = snprintf(run->data_directory, CSL_PATH_MAX, "%s/institutions", run->directory);
    if (length >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "%s: the path is too long", run->directory);
    }
    csl_dataset *pool = NULL;
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    csl_status status =
        metadata ? csl_dataset_read_described(run->study->data.path, false, &pool, metadata)
                 : csl_fail(CSL_E_NO_MEMORY, "%s: no memory to read", run->study->data.path);
    csl_partition_plan *plan = NULL;
    if (status == CSL_OK) {
        status = csl_run_partition(run, pool, &plan);
    }
    if (status == CSL_OK && mkdir(run->data_directory, 0777) != 0 && errno != EEXIST) {
        status = csl_fail(CSL_E_IO, "folder %s: %s", run->data_directory, strerror(errno));
    }
    if (status == CSL_OK) {
        status = write_parts(run, pool, metadata, plan);
    }
    csl_partition_plan_destroy(plan);
    csl_dataset_destroy(pool);
    free(metadata);
    return status;
}

csl_status csl_run_find_files(csl_federated_run *run, bool *pooled_out)
{
    const char *path = run->study->data.path;
    struct stat info;
    if (path[0] == 0) {
        return csl_fail(CSL_E_NOT_FOUND,
                        "%s: data.path is empty; name the data with --set data.path=FILE",
                        run->options->study_path);
    }
    if (stat(path, &info) != 0) {
        return csl_fail(CSL_E_NOT_FOUND, "data.path %s: %s", path, strerror(errno));
    }
    *pooled_out = !S_ISDIR(info.st_mode);
    return *pooled_out ? CSL_OK : list_files(run, path);
}

csl_status csl_run_check_images(const char *path, const csl_dataset *dataset)
{
    size_t voxels = csl_shape_count(dataset->shape) / dataset->shape.channels;
    size_t image = csl_dataset_image_size(dataset);
    size_t voxel = image / voxels;
    size_t size = image * dataset->count;
    const uint8_t *bytes = dataset->images;
    if (size > voxel && memcmp(bytes, bytes + voxel, size - voxel) == 0) {
        return csl_fail(CSL_E_RANGE,
                        "%s: expected images, found the same value in every voxel of all %llu "
                        "images",
                        path, (unsigned long long)dataset->count);
    }
    return CSL_OK;
}

csl_status csl_run_prepare_data(csl_federated_run *run)
{
    size_t size = run->study->institutions.count * sizeof *run->files;
    run->files = calloc(1, size);
    csl_status status = run->files ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "names of files");
    if (status == CSL_OK && run->rank == 0) {
        bool pooled = false;
        status = csl_run_find_files(run, &pooled);
        status = status == CSL_OK && pooled ? split_pool(run) : status;
    }
    CSL_TRY(csl_agree(run->communicator, status));
    return csl_broadcast(run->communicator, run->files, size, 0);
}
