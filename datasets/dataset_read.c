#include <consilium/files.h>
#include <consilium/hash.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataset_check.h"
#include "dataset_schema.h"
#include "hdf5_support.h"

/* What the file says about its arrays, gathered before any of them is read. */
typedef struct outline {
    csl_task task;
    csl_shape shape;
    csl_element_type type;
    uint64_t count;
    uint32_t class_count;
    csl_h5_array labels;
    bool readable; /* task, arrays and class count agree, so that the values can be read */
} outline;

static csl_status expect_text(const csl_h5_file *file, const char *name, const char *expected)
{
    char text[CSL_NAME_MAX];
    CSL_TRY(csl_h5_read_text(file, "/", name, text, sizeof text));
    if (strcmp(text, expected) != 0) {
        return csl_fail(CSL_E_FORMAT, "%s: attribute %s: expected '%s', found '%s'", file->path,
                        name, expected, text);
    }
    return CSL_OK;
}

static csl_status look_at_texts(const csl_h5_file *file, csl_findings *findings)
{
    CSL_TRY(csl_finding(findings, expect_text(file, "schema", CSL_SCHEMA_NAME)));
    CSL_TRY(csl_finding(findings, expect_text(file, "schema_version", CSL_SCHEMA_VERSION)));
    return csl_finding(findings, expect_text(file, "modality_class", "imaging"));
}

static csl_status look_at_task(const csl_h5_file *file, outline *found)
{
    char task[CSL_NAME_MAX];
    CSL_TRY(csl_h5_read_text(file, "/", "task", task, sizeof task));
    for (int value = 0; csl_task_name((csl_task)value); value++) {
        if (strcmp(task, csl_task_name((csl_task)value)) == 0) {
            found->task = (csl_task)value;
            return CSL_OK;
        }
    }
    return csl_fail(CSL_E_FORMAT,
                    "%s: attribute task: expected binary, multiclass, multilabel or regression, "
                    "found '%s'",
                    file->path, task);
}

static csl_status find_type(const csl_h5_file *file, const csl_h5_array *array, outline *found)
{
    if (array->kind == H5T_FLOAT && array->size == 4) {
        found->type = CSL_F32;
    } else if (array->kind == H5T_INTEGER && array->size == 1 && !array->is_signed) {
        found->type = CSL_U8;
    } else if (array->kind == H5T_INTEGER && array->size == 2) {
        found->type = array->is_signed ? CSL_I16 : CSL_U16;
    } else {
        return csl_fail(CSL_E_FORMAT,
                        "%s: /images: expected u8, i16, u16 or f32, found %s of %zu bytes",
                        file->path,
                        array->kind == H5T_FLOAT ? "floats"
                        : array->is_signed       ? "signed integers"
                                                 : "unsigned integers",
                        array->size);
    }
    return CSL_OK;
}

static csl_status look_at_images(const csl_h5_file *file, outline *found)
{
    csl_h5_array array;
    CSL_TRY(csl_h5_look(file, "/images", &array));
    CSL_TRY(find_type(file, &array, found));
    char layout[CSL_NAME_MAX];
    CSL_TRY(csl_h5_read_text(file, "/images", "layout", layout, sizeof layout));
    const char *expected = array.rank == 4 ? "NCHW" : "NCDHW";
    if ((array.rank != 4 && array.rank != 5) || strcmp(layout, expected) != 0) {
        return csl_fail(
            CSL_E_FORMAT,
            "%s: /images: expected 4 dimensions in layout NCHW or 5 in NCDHW, found %u in "
            "'%s'",
            file->path, array.rank, layout);
    }
    found->count = array.extent[0];
    uint64_t extents[4] = {array.rank == 5 ? array.extent[2] : 1, array.extent[array.rank - 2],
                           array.extent[array.rank - 1], array.extent[1]};
    for (int axis = 0; axis < 4; axis++) {
        uint64_t limit = axis == 3 ? CSL_IMAGE_CHANNELS_MAX : CSL_EXTENT_MAX;
        if (extents[axis] == 0 || extents[axis] > limit) {
            return csl_fail(CSL_E_FORMAT,
                            "%s: /images: expected %s in 1..%" PRIu64 ", found %" PRIu64,
                            file->path, axis == 3 ? "channels" : "an extent", limit, extents[axis]);
        }
    }
    for (int axis = 0; axis < 3; axis++) {
        found->shape.extent[axis] = (uint32_t)extents[axis];
    }
    found->shape.channels = (uint32_t)extents[3];
    uint64_t declared = 0;
    CSL_TRY(csl_h5_read_number(file, "/", "n_samples", H5T_NATIVE_UINT64, &declared));
    if (found->count == 0 || declared != found->count) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: /images: expected %" PRIu64 " images as n_samples says, at "
                        "least one, found %" PRIu64,
                        file->path, declared, found->count);
    }
    return CSL_OK;
}

typedef struct column {
    const char *name;
    size_t size; /* bytes of an element */
    bool is_signed, optional;
} column;

/* An array of integers with a row for each image; row_count 0 if the images are unknown. */
static csl_status
expect_column(const csl_h5_file *file, const column *expected, uint64_t row_count, uint64_t width)
{
    csl_h5_array array;
    if (expected->optional && !csl_h5_exists(file, expected->name)) {
        return CSL_OK;
    }
    CSL_TRY(csl_h5_look(file, expected->name, &array));
    uint32_t rank = width == 0 ? 1 : 2;
    /* HDF5 converts a sign away without a word, which would put images into the wrong place. */
    if (array.kind != H5T_INTEGER || array.size != expected->size ||
        array.is_signed != expected->is_signed || array.rank != rank ||
        (row_count != 0 &&
         (array.extent[0] != row_count || (rank == 2 && array.extent[1] != width)))) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: %s: expected %" PRIu64 " rows of %" PRIu64 " %s %zu-byte integers, "
                        "found rank %u, %" PRIu64 " rows of %s %zu-byte %s",
                        file->path, expected->name, row_count, width ? width : 1,
                        expected->is_signed ? "signed" : "unsigned", expected->size, array.rank,
                        array.rank ? array.extent[0] : 1, array.is_signed ? "signed" : "unsigned",
                        array.size, array.kind == H5T_FLOAT ? "floats" : "integers");
    }
    return CSL_OK;
}

static csl_status look_at_labels(const csl_h5_file *file, outline *found)
{
    csl_h5_array *labels = &found->labels;
    CSL_TRY(csl_h5_look(file, "/labels", labels));
    bool classes = found->task == CSL_TASK_BINARY || found->task == CSL_TASK_MULTICLASS;
    uint64_t class_count = 0;
    CSL_TRY(csl_h5_read_number(file, "/labels", "class_count", H5T_NATIVE_UINT64, &class_count));
    if (class_count == 0 || class_count > CSL_CLASSES_MAX ||
        (found->task == CSL_TASK_BINARY && class_count != 2)) {
        return csl_fail(
            CSL_E_FORMAT, "%s: /labels attribute class_count: expected %s, found %" PRIu64,
            file->path, found->task == CSL_TASK_BINARY ? "2 for a binary task" : "1..256",
            class_count);
    }
    found->class_count = (uint32_t)class_count;
    uint32_t rank = classes ? 1 : 2;
    if (labels->rank != rank || labels->extent[0] != found->count ||
        (rank == 2 && labels->extent[1] != class_count)) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: /labels: expected %" PRIu64 " rows%s, found rank %u with %" PRIu64
                        " rows",
                        file->path, found->count, classes ? "" : " of one target per class",
                        labels->rank, labels->extent[0]);
    }
    if (classes && labels->kind != H5T_INTEGER) {
        return csl_fail(CSL_E_FORMAT, "%s: /labels: expected integers, found floats", file->path);
    }
    return CSL_OK;
}

static csl_status look_at_all(const csl_h5_file *file, csl_findings *findings, outline *found)
{
    static const column columns[] = {{"/split", 1, false, false},
                                     {"/subject", 8, false, true},
                                     {"/group", 4, true, true},
                                     {"/scanner", 2, false, true}};
    static const column valid = {"/labels_valid", 1, false, true};
    CSL_TRY(look_at_texts(file, findings));
    uint64_t before = findings ? findings->problem_count : 0;
    CSL_TRY(csl_finding(findings, look_at_task(file, found)));
    CSL_TRY(csl_finding(findings, look_at_images(file, found)));
    bool known = !findings || findings->problem_count == before;
    csl_h5_array labels;
    CSL_TRY(csl_finding(findings, known ? look_at_labels(file, found)
                                        : csl_h5_look(file, "/labels", &labels)));
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        CSL_TRY(
            csl_finding(findings, expect_column(file, &columns[i], known ? found->count : 0, 0)));
    }
    if (found->class_count != 0) {
        CSL_TRY(csl_finding(
            findings, expect_column(file, &valid, found->count, (found->class_count + 7u) / 8u)));
    }
    found->readable = !findings || findings->problem_count == before;
    return CSL_OK;
}

static csl_status read_column(const csl_h5_file *file,
                              const char *name,
                              hid_t type,
                              size_t size,
                              uint64_t count,
                              void **column_out)
{
    if (!csl_h5_exists(file, name)) {
        return CSL_OK;
    }
    *column_out = calloc(count, size);
    if (!*column_out) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory for %s", file->path, name);
    }
    return csl_h5_read(file, name, type, *column_out);
}

static csl_status read_known(const csl_h5_file *file, csl_dataset *dataset)
{
    void *mask = NULL;
    uint64_t row_size = (dataset->class_count + 7u) / 8u;
    csl_status status =
        read_column(file, "/labels_valid", H5T_NATIVE_UINT8, row_size, dataset->count, &mask);
    if (status == CSL_OK && mask && dataset->targets) {
        dataset->known = calloc(dataset->count, dataset->class_count);
        if (!dataset->known) {
            status = csl_fail(CSL_E_NO_MEMORY, "%s: no memory for /labels_valid", file->path);
        }
        for (uint64_t i = 0; dataset->known && i < dataset->count; i++) {
            for (uint32_t target = 0; target < dataset->class_count; target++) {
                uint8_t byte = ((const uint8_t *)mask)[i * row_size + target / 8];
                dataset->known[i * dataset->class_count + target] = (byte >> (7 - target % 8)) & 1;
            }
        }
    }
    free(mask);
    return status;
}

/* Classes in a wider type than ours, of which HDF5 would make the nearest number that fits without
 * a word: what is no class is told as it stands in the file. */
static csl_status read_wide_labels(const csl_h5_file *file,
                                   const csl_h5_array *array,
                                   csl_findings *findings,
                                   csl_dataset *dataset)
{
    bool is_unsigned = !array->is_signed;
    uint64_t *values = calloc(dataset->count, sizeof *values);
    csl_status status =
        values ? csl_h5_read(file, "/labels", is_unsigned ? H5T_NATIVE_UINT64 : H5T_NATIVE_INT64,
                             values)
               : csl_fail(CSL_E_NO_MEMORY, "%s: no memory for /labels", file->path);
    uint64_t bad_count = 0;
    for (uint64_t i = 0; status == CSL_OK && i < dataset->count; i++) {
        /* A negative number is a large unsigned one. */
        bool good = values[i] < dataset->class_count;
        dataset->labels[i] = good ? (int32_t)values[i] : 0;
        if (!good && bad_count++ < CSL_FINDINGS_LISTED_MAX) {
            char found[24];
            if (is_unsigned) {
                snprintf(found, sizeof found, "%" PRIu64, values[i]);
            } else {
                snprintf(found, sizeof found, "%" PRId64, (int64_t)values[i]);
            }
            status =
                csl_finding(findings, csl_fail(CSL_E_RANGE,
                                               "%s: /labels: image %" PRIu64
                                               ": expected a class in 0..%u, found %s",
                                               file->path, i, dataset->class_count - 1, found));
        }
    }
    free(values);
    return status == CSL_OK ? csl_finding_others(findings, "/labels", bad_count) : status;
}

static csl_status read_labels(const csl_h5_file *file,
                              const csl_h5_array *array,
                              csl_findings *findings,
                              csl_dataset *dataset)
{
    if (!dataset->labels) {
        return csl_h5_read(file, "/labels", H5T_NATIVE_FLOAT, dataset->targets);
    }
    bool fits =
        array->size < sizeof(int32_t) || (array->size == sizeof(int32_t) && array->is_signed);
    return fits ? csl_h5_read(file, "/labels", H5T_NATIVE_INT32, dataset->labels)
                : read_wide_labels(file, array, findings, dataset);
}

static csl_status read_arrays(const csl_h5_file *file,
                              const outline *found,
                              csl_findings *findings,
                              csl_dataset *dataset)
{
    hid_t types[] = {H5T_NATIVE_UINT8, H5T_NATIVE_INT16, H5T_NATIVE_UINT16, H5T_NATIVE_FLOAT};
    CSL_TRY(csl_h5_read(file, "/images", types[dataset->type], dataset->images));
    CSL_TRY(read_labels(file, &found->labels, findings, dataset));
    CSL_TRY(csl_h5_read(file, "/split", H5T_NATIVE_UINT8, dataset->split));
    CSL_TRY(read_known(file, dataset));
    CSL_TRY(read_column(file, "/subject", H5T_NATIVE_UINT64, sizeof(uint64_t), dataset->count,
                        (void **)&dataset->subject));
    CSL_TRY(read_column(file, "/group", H5T_NATIVE_INT32, sizeof(int32_t), dataset->count,
                        (void **)&dataset->group));
    return read_column(file, "/scanner", H5T_NATIVE_UINT16, sizeof(uint16_t), dataset->count,
                       (void **)&dataset->scanner);
}

static csl_status read_source(const csl_h5_file *file, csl_dataset *dataset)
{
    char text[CSL_SHA256_TEXT_SIZE + 8];
    CSL_TRY(csl_h5_read_text(file, "/", "source_sha256", text, sizeof text));
    if (strcmp(text, CSL_UNKNOWN) != 0 &&
        csl_unhex(text, sizeof dataset->source_sha256, dataset->source_sha256) != CSL_OK) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: attribute source_sha256: expected 64 hexadecimal digits, "
                        "found '%s'",
                        file->path, text);
    }
    return CSL_OK;
}

static csl_status read_class_names(const csl_h5_file *file, csl_dataset *dataset)
{
    if (!csl_h5_has_attribute(file, "/labels", "class_names")) {
        return CSL_OK;
    }
    dataset->class_names = calloc(dataset->class_count, sizeof *dataset->class_names);
    if (!dataset->class_names) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory for class names", file->path);
    }
    uint64_t count = 0;
    CSL_TRY(csl_h5_read_names(file, "/labels", "class_names", dataset->class_count,
                              dataset->class_names, &count));
    return count == dataset->class_count
               ? CSL_OK
               : csl_fail(CSL_E_FORMAT,
                          "%s: /labels attribute class_names: expected %u names, found %" PRIu64,
                          file->path, dataset->class_count, count);
}

static csl_status
read_descriptions(const csl_h5_file *file, csl_findings *findings, csl_dataset *dataset)
{
    CSL_TRY(csl_finding(
        findings, csl_h5_read_text(file, "/", "site_id", dataset->site, sizeof dataset->site)));
    if (strcmp(dataset->site, CSL_UNKNOWN) == 0) {
        dataset->site[0] = 0;
    }
    CSL_TRY(csl_finding(findings, csl_h5_read_number(file, "/images", "rescale_slope",
                                                     H5T_NATIVE_DOUBLE, &dataset->slope)));
    CSL_TRY(csl_finding(findings, csl_h5_read_number(file, "/images", "rescale_intercept",
                                                     H5T_NATIVE_DOUBLE, &dataset->intercept)));
    CSL_TRY(csl_finding(findings, read_source(file, dataset)));
    return csl_finding(findings, read_class_names(file, dataset));
}

/* A file made by another program may lack the checksum; one that has it must match. */
static csl_status verify_content(const csl_h5_file *file, const csl_dataset *dataset)
{
    if (!csl_h5_has_attribute(file, "/", CSL_ATTRIBUTE_CONTENT)) {
        return CSL_OK;
    }
    char stored[CSL_SHA256_TEXT_SIZE + 8], actual[CSL_SHA256_TEXT_SIZE];
    uint8_t digest[CSL_SHA256_SIZE];
    CSL_TRY(csl_h5_read_text(file, "/", CSL_ATTRIBUTE_CONTENT, stored, sizeof stored));
    CSL_TRY(csl_dataset_digest(dataset, digest));
    csl_hex(digest, sizeof digest, actual);
    return strcmp(stored, actual) == 0
               ? CSL_OK
               : csl_fail(CSL_E_VERIFY, "%s: attribute %s: expected %s, found content %s",
                          file->path, CSL_ATTRIBUTE_CONTENT, stored, actual);
}

/* Absent texts stay empty: a file made by another program need not have them all. */
static csl_status
read_metadata(const csl_h5_file *file, csl_findings *findings, csl_dataset_metadata *metadata)
{
#define READ_FIELD(field, object, attribute)                                                       \
    if (csl_h5_exists(file, object) || (object)[1] == 0) {                                         \
        if (csl_h5_has_attribute(file, object, attribute)) {                                       \
            CSL_TRY(csl_finding(findings, csl_h5_read_text(file, object, attribute,                \
                                                           metadata->field, CSL_TEXT_MAX)));       \
        }                                                                                          \
    }                                                                                              \
    if (strcmp(metadata->field, CSL_UNKNOWN) == 0) {                                               \
        metadata->field[0] = 0;                                                                    \
    }
    CSL_METADATA_LIST(READ_FIELD)
    return CSL_OK;
}

static csl_status refuse_identified(const csl_h5_file *file,
                                    csl_findings *findings,
                                    const csl_dataset_metadata *metadata)
{
    CSL_TRY(csl_finding(findings, csl_h5_refuse_identifying(file, findings)));
    const char *removed = metadata->patient_identity_removed;
    if (removed[0] && strcmp(removed, "YES") != 0) {
        return csl_finding(findings,
                           csl_fail(CSL_E_FORMAT,
                                    "%s: /governance attribute patient_identity_removed: expected "
                                    "YES or unknown, found '%s'",
                                    file->path, removed));
    }
    return CSL_OK;
}

/* Values and descriptions into a data set that has the outline's shape. */
static csl_status read_values(const csl_h5_file *file,
                              const outline *found,
                              csl_findings *findings,
                              csl_dataset *dataset)
{
    uint64_t before = findings ? findings->problem_count : 0;
    csl_status arrays = csl_finding(findings, read_arrays(file, found, findings, dataset));
    CSL_TRY(arrays);
    CSL_TRY(read_descriptions(file, findings, dataset));
    if (csl_dataset_check_all(dataset, findings) != CSL_OK) {
        return csl_fail_context(CSL_E_FORMAT, "%s", file->path);
    }
    if (findings && findings->problem_count != before) {
        return CSL_OK; /* the digest is of other content then */
    }
    return csl_finding(findings, verify_content(file, dataset));
}

/* With findings dataset_out may stay NULL: there are problems then. */
static csl_status read_all(const csl_h5_file *file,
                           bool force,
                           csl_findings *findings,
                           csl_dataset_metadata *metadata,
                           csl_dataset **dataset_out)
{
    outline found = {0};
    CSL_TRY(look_at_all(file, findings, &found));
    CSL_TRY(read_metadata(file, findings, metadata));
    if (!force) {
        CSL_TRY(refuse_identified(file, findings, metadata));
    }
    if (!found.readable) {
        return CSL_OK;
    }
    csl_dataset *dataset = NULL;
    csl_status status = csl_dataset_create(found.task, found.shape, found.type, found.class_count,
                                           found.count, &dataset);
    if (status != CSL_OK) {
        return csl_fail_context(status, "%s", file->path);
    }
    status = read_values(file, &found, findings, dataset);
    if (status != CSL_OK) {
        csl_dataset_destroy(dataset);
        return status;
    }
    *dataset_out = dataset;
    return CSL_OK;
}

csl_status csl_dataset_read_described(const char *path,
                                      bool force,
                                      csl_dataset **dataset_out,
                                      csl_dataset_metadata *metadata_out)
{
    csl_h5_file *file = calloc(1, sizeof *file);
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    csl_status status = file && metadata ? csl_h5_open(path, file)
                                         : csl_fail(CSL_E_NO_MEMORY, "%s: no memory to read", path);
    if (status == CSL_OK) {
        status = read_all(file, force, NULL, metadata, dataset_out);
        csl_h5_close(file);
    }
    if (status == CSL_OK && metadata_out) {
        *metadata_out = *metadata;
    }
    free(metadata);
    free(file);
    return status;
}

csl_status csl_dataset_read(const char *path, csl_dataset **dataset_out)
{
    return csl_dataset_read_described(path, false, dataset_out, NULL);
}

csl_status csl_dataset_validate(const char *path,
                                bool force,
                                csl_finding_report report,
                                void *context,
                                uint64_t *problem_count_out,
                                csl_dataset **dataset_out)
{
    csl_findings findings = {path, report, context, 0};
    csl_h5_file *file = calloc(1, sizeof *file);
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    csl_dataset *dataset = NULL;
    csl_status status = file && metadata ? csl_h5_open(path, file)
                                         : csl_fail(CSL_E_NO_MEMORY, "%s: no memory to read", path);
    if (status == CSL_OK) {
        H5F_info2_t info;
        bool checked = H5Fget_info2(file->id, &info) >= 0 && info.super.version >= 2;
        status = read_all(file, force, &findings, metadata, &dataset);
        if (status == CSL_OK && !checked) {
            report(context, false,
                   "the file is of the oldest HDF5 format, whose structure carries no checksums "
                   "(h5py: libver='v110')");
        }
        csl_h5_close(file);
    }
    if (status == CSL_OK && findings.problem_count == 0) {
        status = csl_dataset_warn(dataset, report, context);
    }
    free(metadata);
    free(file);
    if (status != CSL_OK || findings.problem_count != 0) {
        csl_dataset_destroy(dataset);
        dataset = NULL;
    }
    if (status == CSL_OK) {
        *problem_count_out = findings.problem_count;
        *dataset_out = dataset;
    }
    return status;
}
