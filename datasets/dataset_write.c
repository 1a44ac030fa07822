#include <consilium/files.h>
#include <consilium/hash.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataset_check.h"
#include "dataset_schema.h"
#include "hdf5_support.h"

static int compare_subjects(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Different subjects; 0 where they are not known. */
static csl_status count_subjects(const csl_dataset *dataset, uint64_t *count_out)
{
    *count_out = 0;
    if (!dataset->subject) {
        return CSL_OK;
    }
    size_t size = (size_t)dataset->count * sizeof(uint64_t);
    uint64_t *sorted = malloc(size);
    if (!sorted) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %zu bytes of subjects", size);
    }
    memcpy(sorted, dataset->subject, size);
    qsort(sorted, (size_t)dataset->count, sizeof *sorted, compare_subjects);
    for (uint64_t i = 0; i < dataset->count; i++) {
        *count_out += i == 0 || sorted[i] != sorted[i - 1];
    }
    free(sorted);
    return CSL_OK;
}

/* SOURCE_DATE_EPOCH (reproducible-builds.org) makes equal content give equal files. */
static void now_utc(char text_out[32])
{
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    time_t now = fixed ? (time_t)strtoll(fixed, NULL, 10) : time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(text_out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        snprintf(text_out, 32, CSL_UNKNOWN);
    }
}

static csl_status write_source(const csl_h5_file *file, const csl_dataset *dataset)
{
    static const uint8_t none[CSL_SHA256_SIZE];
    uint8_t digest[CSL_SHA256_SIZE];
    char text[CSL_SHA256_TEXT_SIZE] = CSL_UNKNOWN;
    if (memcmp(dataset->source_sha256, none, sizeof none) != 0) {
        csl_hex(dataset->source_sha256, sizeof dataset->source_sha256, text);
    }
    CSL_TRY(csl_h5_write_text(file, "/", "source_sha256", text));
    CSL_TRY(csl_dataset_digest(dataset, digest));
    csl_hex(digest, sizeof digest, text);
    return csl_h5_write_text(file, "/", CSL_ATTRIBUTE_CONTENT, text);
}

static csl_status write_root(const csl_h5_file *file, const csl_dataset *dataset)
{
    char created[32];
    now_utc(created);
    const char *const texts[][2] = {
        {"schema", CSL_SCHEMA_NAME},
        {"schema_version", CSL_SCHEMA_VERSION},
        {"site_id", dataset->site[0] ? dataset->site : CSL_UNKNOWN},
        {"created_utc", created},
        {"modality_class", "imaging"},
        {"task", csl_task_name(dataset->task)},
        {"partition", "horizontal"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        CSL_TRY(csl_h5_write_text(file, "/", texts[i][0], texts[i][1]));
    }
    uint64_t subject_count = 0;
    CSL_TRY(count_subjects(dataset, &subject_count));
    CSL_TRY(csl_h5_write_number(file, "/", "n_samples", H5T_STD_U64LE, H5T_NATIVE_UINT64,
                                &dataset->count));
    CSL_TRY(csl_h5_write_number(file, "/", "n_subjects", H5T_STD_U64LE, H5T_NATIVE_UINT64,
                                &subject_count));
    return write_source(file, dataset);
}

static csl_status write_images(const csl_h5_file *file, const csl_dataset *dataset)
{
    hid_t stored[] = {H5T_STD_U8LE, H5T_STD_I16LE, H5T_STD_U16LE, H5T_IEEE_F32LE};
    hid_t memory[] = {H5T_NATIVE_UINT8, H5T_NATIVE_INT16, H5T_NATIVE_UINT16, H5T_NATIVE_FLOAT};
    const csl_shape *shape = &dataset->shape;
    bool flat = shape->extent[0] == 1;
    uint64_t extent[5] = {dataset->count, shape->channels};
    uint32_t rank = 2;
    for (int axis = flat ? 1 : 0; axis < 3; axis++) {
        extent[rank++] = shape->extent[axis];
    }
    CSL_TRY(csl_h5_write(file, "/images", stored[dataset->type], memory[dataset->type], rank,
                         extent, dataset->images));
    CSL_TRY(csl_h5_write_text(file, "/images", "layout", flat ? "NCHW" : "NCDHW"));
    CSL_TRY(csl_h5_write_number(file, "/images", "rescale_slope", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE,
                                &dataset->slope));
    return csl_h5_write_number(file, "/images", "rescale_intercept", H5T_IEEE_F64LE,
                               H5T_NATIVE_DOUBLE, &dataset->intercept);
}

/* One bit per target, the first in the highest bit (numpy.packbits' default order). */
static csl_status write_known(const csl_h5_file *file, const csl_dataset *dataset)
{
    uint64_t row_size = (dataset->class_count + 7u) / 8u;
    uint8_t *mask = calloc(dataset->count, row_size);
    if (!mask) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the mask of known labels");
    }
    for (uint64_t i = 0; i < dataset->count; i++) {
        for (uint32_t target = 0; target < dataset->class_count; target++) {
            if (dataset->known[i * dataset->class_count + target]) {
                mask[i * row_size + target / 8] |= (uint8_t)(0x80u >> (target % 8));
            }
        }
    }
    csl_status status = csl_h5_write(file, "/labels_valid", H5T_STD_U8LE, H5T_NATIVE_UINT8, 2,
                                     (uint64_t[]){dataset->count, row_size}, mask);
    free(mask);
    return status;
}

static csl_status write_labels(const csl_h5_file *file, const csl_dataset *dataset)
{
    uint64_t extent[2] = {dataset->count, dataset->class_count};
    if (dataset->labels) {
        CSL_TRY(csl_h5_write(file, "/labels", H5T_STD_I32LE, H5T_NATIVE_INT32, 1, extent,
                             dataset->labels));
    } else {
        CSL_TRY(csl_h5_write(file, "/labels", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 2, extent,
                             dataset->targets));
    }
    CSL_TRY(csl_h5_write_number(file, "/labels", "class_count", H5T_STD_U32LE, H5T_NATIVE_UINT32,
                                &dataset->class_count));
    if (dataset->task == CSL_TASK_BINARY) {
        int32_t positive = 1;
        CSL_TRY(csl_h5_write_number(file, "/labels", "positive_class", H5T_STD_I32LE,
                                    H5T_NATIVE_INT32, &positive));
    }
    if (dataset->class_names) {
        CSL_TRY(csl_h5_write_names(file, "/labels", "class_names", dataset->class_count,
                                   (const char(*)[CSL_NAME_MAX])dataset->class_names));
    }
    return dataset->known ? write_known(file, dataset) : CSL_OK;
}

static csl_status write_columns(const csl_h5_file *file, const csl_dataset *dataset)
{
    uint64_t extent[1] = {dataset->count};
    CSL_TRY(
        csl_h5_write(file, "/split", H5T_STD_U8LE, H5T_NATIVE_UINT8, 1, extent, dataset->split));
    if (dataset->subject) {
        CSL_TRY(csl_h5_write(file, "/subject", H5T_STD_U64LE, H5T_NATIVE_UINT64, 1, extent,
                             dataset->subject));
    }
    if (dataset->group) {
        CSL_TRY(csl_h5_write(file, "/group", H5T_STD_I32LE, H5T_NATIVE_INT32, 1, extent,
                             dataset->group));
    }
    if (dataset->scanner) {
        CSL_TRY(csl_h5_write(file, "/scanner", H5T_STD_U16LE, H5T_NATIVE_UINT16, 1, extent,
                             dataset->scanner));
    }
    return CSL_OK;
}

static csl_status write_metadata(const csl_h5_file *file, const csl_dataset_metadata *metadata)
{
#define WRITE_FIELD(field, object, attribute)                                                      \
    CSL_TRY(csl_h5_write_text(file, object, attribute,                                             \
                              metadata && metadata->field[0] ? metadata->field : CSL_UNKNOWN));
    CSL_METADATA_LIST(WRITE_FIELD)
    return CSL_OK;
}

static csl_status
write_all(const csl_h5_file *file, const csl_dataset *dataset, const csl_dataset_metadata *metadata)
{
    CSL_TRY(write_root(file, dataset));
    CSL_TRY(write_images(file, dataset));
    CSL_TRY(write_labels(file, dataset));
    CSL_TRY(write_columns(file, dataset));
    CSL_TRY(csl_h5_make_group(file, "/governance"));
    return write_metadata(file, metadata);
}

csl_status csl_dataset_write_described(const char *path,
                                       const csl_dataset *dataset,
                                       const csl_dataset_metadata *metadata)
{
    csl_status status = csl_dataset_check(dataset);
    if (status != CSL_OK) {
        return csl_fail_context(status, "%s", path);
    }
    csl_h5_file *file =
        calloc(1, sizeof *file); /* holds a path: too large for the stack's comfort */
    if (!file) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory to write", path);
    }
    status = csl_h5_create(path, file);
    if (status == CSL_OK) {
        status = csl_h5_finish(file, write_all(file, dataset, metadata));
    }
    free(file);
    return status;
}

csl_status csl_dataset_write(const char *path, const csl_dataset *dataset)
{
    return csl_dataset_write_described(path, dataset, NULL);
}
