/* A partition as files: one for each institution, in a folder that holds no others. */
#include <consilium/atomic_file.h>
#include <consilium/hash.h>
#include <consilium/partition.h>

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void csl_partition_site_name(uint32_t institution,
                             uint32_t institution_count,
                             char name_out[CSL_NAME_MAX])
{
    int digits = 2;
    for (uint32_t last = institution_count > 0 ? institution_count - 1 : 0; last >= 100;
         last /= 10) {
        digits++;
    }
    snprintf(name_out, CSL_NAME_MAX, "institution-%0*" PRIu32, digits, institution);
}

static csl_status
name_file(const char *folder, uint32_t institution, uint32_t institution_count, char *path_out)
{
    char site[CSL_NAME_MAX];
    csl_partition_site_name(institution, institution_count, site);
    int length = snprintf(path_out, CSL_PATH_MAX, "%s/%s.h5", folder, site);
    return length > 0 && length < CSL_PATH_MAX
               ? CSL_OK
               : csl_fail(CSL_E_RANGE, "%s: expected a path below %d bytes, found a longer one",
                          folder, CSL_PATH_MAX);
}

/* Is `name` that of one of the files that will be written? */
static bool is_expected(const char *name, uint32_t institution_count)
{
    char site[CSL_NAME_MAX];
    size_t length = strlen(name) - 3;
    for (uint32_t j = 0; j < institution_count; j++) {
        csl_partition_site_name(j, institution_count, site);
        if (strlen(site) == length && strncmp(site, name, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Whoever is given the folder takes every data set file in it for an institution. */
static csl_status refuse_others(const char *path, DIR *folder, uint32_t institution_count)
{
    for (struct dirent *entry; (entry = readdir(folder));) {
        const char *name = entry->d_name;
        size_t length = strlen(name);
        bool is_data = name[0] != '.' && length > 3 && strcmp(name + length - 3, ".h5") == 0;
        if (is_data && !is_expected(name, institution_count)) {
            return csl_fail(CSL_E_INVALID_ARG,
                            "%s: expected no data set files but those of a split into %" PRIu32
                            ", found %s, which would be taken for an institution; remove it or "
                            "name another folder",
                            path, institution_count, name);
        }
    }
    return CSL_OK;
}

csl_status
csl_partition_check_folder(const char *folder, uint32_t institution_count, const char *pool)
{
    DIR *listing = opendir(folder);
    if (!listing) {
        return csl_fail(errno == ENOENT ? CSL_E_NOT_FOUND : CSL_E_IO, "%s: %s", folder,
                        strerror(errno));
    }
    csl_status status = CSL_OK;
    for (uint32_t j = 0; status == CSL_OK && j < institution_count; j++) {
        char path[CSL_PATH_MAX];
        status = name_file(folder, j, institution_count, path);
        if (status == CSL_OK && pool && csl_same_file(path, pool)) {
            status =
                csl_fail(CSL_E_INVALID_ARG,
                         "%s: expected another file than the pool to write institution %" PRIu32
                         " to, found the pool",
                         path, j);
        }
        if (status == CSL_OK) {
            status = csl_atomic_check(path);
        }
    }
    if (status == CSL_OK) {
        status = refuse_others(folder, listing, institution_count);
    }
    closedir(listing);
    return status;
}

/* Random-looking, tells nothing, and is the same in every repetition. */
static csl_status
name_site(const csl_dataset *pool, const csl_partition_plan *plan, uint32_t institution, char *uid)
{
    uint8_t parts[2 * sizeof(uint64_t) + sizeof pool->source_sha256];
    uint64_t numbers[2] = {plan->options.seed, institution};
    uint8_t digest[CSL_SHA256_SIZE];
    memcpy(parts, numbers, sizeof numbers);
    memcpy(parts + sizeof numbers, pool->source_sha256, sizeof pool->source_sha256);
    CSL_TRY(csl_sha256(parts, sizeof parts, digest));
    csl_hex(digest, 8, uid);
    return CSL_OK;
}

/* What the pool said of its splits stays in front of what this partition did. */
static void describe_split(const csl_dataset_metadata *pool,
                           const csl_partition_plan *plan,
                           csl_dataset_metadata *part)
{
    const char *before = pool ? pool->split_method : "";
    snprintf(part->split_method, CSL_TEXT_MAX, "%.384s%s%s, seed %" PRIu64, before,
             before[0] ? "; " : "", csl_partition_scheme_name(plan->options.split.scheme),
             plan->options.seed);
}

csl_status csl_partition_write(const csl_dataset *pool,
                               const csl_dataset_metadata *metadata,
                               const csl_partition_plan *plan,
                               uint32_t institution,
                               const char *folder,
                               char *path_out)
{
    char path[CSL_PATH_MAX];
    csl_dataset *part = NULL;
    CSL_TRY(name_file(folder, institution, plan->institution_count, path));
    csl_dataset_metadata *own = calloc(1, sizeof *own);
    if (!own) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory to write", path);
    }
    if (metadata) {
        *own = *metadata;
    }
    describe_split(metadata, plan, own);
    csl_status status = name_site(pool, plan, institution, own->site_uid);
    if (status == CSL_OK) {
        status = csl_partition_extract(pool, plan, institution, &part);
    }
    if (status == CSL_OK) {
        status = csl_dataset_write_described(path, part, own);
    }
    csl_dataset_destroy(part);
    free(own);
    if (status == CSL_OK && path_out) {
        memcpy(path_out, path, strlen(path) + 1);
    }
    return status;
}
