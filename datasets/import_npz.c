#include <consilium/hash.h>
#include <consilium/import.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataset_check.h"
#include "import_hash.h"
#include "npy_header.h"
#include "zip_archive.h"

static const char *const split_names[] = {"train", "val", "test"};
static const char image_types[] = "u1, i2, u2, i4, u4, f4 or f8";
static const char label_types[] = "integers of 1, 2, 4 or 8 bytes";

typedef struct npz_member {
    const csl_zip_member *zip; /* NULL if the archive lacks it */
    csl_npy_header npy;
    char where[CSL_PATH_MAX + 64];
} npz_member;

typedef struct npz_archive {
    csl_zip zip;
    npz_member images[3], labels[3], groups[3];
    csl_shape shape;
    csl_element_type type;
    csl_task task;
    bool channels_last; /* images are (..., C) and are transposed */
    uint32_t class_count;
    uint64_t count;
} npz_archive;

static csl_status look(npz_archive *archive, const char *split, const char *what, npz_member *found)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s.npy", split, what);
    snprintf(found->where, sizeof found->where, "%s: %s", archive->zip.path, name);
    found->zip = csl_zip_find(&archive->zip, name);
    if (!found->zip) {
        return CSL_OK;
    }
    uint64_t size =
        found->zip->size < CSL_NPY_HEADER_SIZE_MAX ? found->zip->size : CSL_NPY_HEADER_SIZE_MAX;
    uint8_t *bytes = malloc((size_t)size + 1);
    if (!bytes) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory", found->where);
    }
    csl_status status = csl_zip_read(&archive->zip, found->zip, size, bytes);
    if (status == CSL_OK) {
        const char *accepted = strcmp(what, "images") == 0 ? image_types : label_types;
        status = csl_npy_header_parse(bytes, (size_t)size, found->where, accepted, &found->npy);
    }
    free(bytes);
    CSL_TRY(status);
    uint64_t needed = found->npy.count * found->npy.item_size + found->npy.data_offset;
    if (needed != found->zip->size) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected %" PRIu64 " bytes as its header says, found %" PRIu64,
                        found->where, needed, found->zip->size);
    }
    return CSL_OK;
}

static csl_status find_type(const npz_member *images, csl_element_type *type_out)
{
    const csl_npy_header *npy = &images->npy;
    if (npy->kind == 'f' || npy->item_size == 4) {
        *type_out = CSL_F32;
    } else if (npy->kind == 'u' && npy->item_size == 1) {
        *type_out = CSL_U8;
    } else if (npy->item_size == 2) {
        *type_out = npy->kind == 'u' ? CSL_U16 : CSL_I16;
    } else {
        return csl_fail(CSL_E_FORMAT, "%s: expected %s images, found %c%u", images->where,
                        image_types, npy->kind, npy->item_size);
    }
    return CSL_OK;
}

static csl_status find_shape(const npz_member *images, npz_archive *archive)
{
    const csl_npy_header *npy = &images->npy;
    uint64_t last = npy->extent[npy->rank - 1];
    bool few = last == 1 || last == 3 || last == 4;
    archive->channels_last = npy->rank == 5 || (npy->rank == 4 && few);
    uint32_t space = npy->rank - 1 - (archive->channels_last ? 1 : 0);
    if (npy->rank < 3 || space < 2 || space > 3) {
        return csl_fail(CSL_E_FORMAT, "%s: expected images of 2 or 3 dimensions, found rank %u",
                        images->where, npy->rank);
    }
    uint64_t channels = archive->channels_last ? last : 1;
    archive->shape = (csl_shape){{1, 1, 1}, (uint32_t)channels};
    for (uint32_t axis = 0; axis < space; axis++) {
        uint64_t extent = npy->extent[1 + axis];
        if (extent > CSL_EXTENT_MAX || channels > CSL_IMAGE_CHANNELS_MAX) {
            return csl_fail(CSL_E_FORMAT,
                            "%s: expected extents up to %d and channels up to %d, found %" PRIu64
                            " and %" PRIu64,
                            images->where, CSL_EXTENT_MAX, CSL_IMAGE_CHANNELS_MAX, extent,
                            channels);
        }
        archive->shape.extent[3 - space + axis] = (uint32_t)extent;
    }
    return find_type(images, &archive->type);
}

/* One row of labels for each image, and as many columns as the first split has. */
static csl_status check_labels(const npz_archive *archive, int split, int first)
{
    const npz_member *labels = &archive->labels[split];
    const csl_npy_header *model = &archive->labels[first].npy, *npy = &labels->npy;
    uint64_t rows = archive->images[split].npy.extent[0];
    uint64_t columns = npy->rank == 2 ? npy->extent[1] : 1;
    uint64_t expected = model->rank == 2 ? model->extent[1] : 1;
    char found[CSL_NPY_HEADER_TEXT_SIZE];
    csl_npy_header_describe(npy, found);
    if (npy->rank > 2 || npy->extent[0] != rows || npy->kind == 'f' || columns != expected) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected %" PRIu64 " rows of %" PRIu64 " integers, found %s",
                        labels->where, rows, expected, found);
    }
    if (columns > CSL_CLASSES_MAX) {
        return csl_fail(CSL_E_FORMAT, "%s: expected at most %d labels of an image, found %s",
                        labels->where, CSL_CLASSES_MAX, found);
    }
    return CSL_OK;
}

static csl_status check_split(const npz_archive *archive, int split, int first)
{
    const npz_member *images = &archive->images[split], *labels = &archive->labels[split];
    const csl_npy_header *model = &archive->images[first].npy;
    char found[CSL_NPY_HEADER_TEXT_SIZE];
    if (!labels->zip) {
        return csl_fail(CSL_E_FORMAT, "%s: expected labels beside images, found none",
                        labels->where);
    }
    bool same = images->npy.rank == model->rank && images->npy.kind == model->kind &&
                images->npy.item_size == model->item_size;
    for (uint32_t axis = 1; same && axis < model->rank; axis++) {
        same = images->npy.extent[axis] == model->extent[axis];
    }
    if (!same) {
        char expected[CSL_NPY_HEADER_TEXT_SIZE];
        csl_npy_header_describe(model, expected);
        csl_npy_header_describe(&images->npy, found);
        return csl_fail(CSL_E_FORMAT, "%s: expected images as in %s, %s but for how many, found %s",
                        images->where, archive->images[first].where, expected, found);
    }
    CSL_TRY(check_labels(archive, split, first));
    const npz_member *groups = &archive->groups[split];
    if (groups->zip && (groups->npy.kind == 'f' || groups->npy.count != images->npy.extent[0])) {
        csl_npy_header_describe(&groups->npy, found);
        return csl_fail(CSL_E_FORMAT, "%s: expected %" PRIu64 " integers, found %s", groups->where,
                        images->npy.extent[0], found);
    }
    return CSL_OK;
}

static csl_status look_at_all(npz_archive *archive)
{
    int first = -1;
    for (int split = 0; split < 3; split++) {
        CSL_TRY(look(archive, split_names[split], "images", &archive->images[split]));
        CSL_TRY(look(archive, split_names[split], "labels", &archive->labels[split]));
        CSL_TRY(look(archive, split_names[split], "group", &archive->groups[split]));
        if (archive->images[split].zip && first < 0) {
            first = split;
            CSL_TRY(find_shape(&archive->images[split], archive));
        }
        if (archive->images[split].zip) {
            CSL_TRY(check_split(archive, split, first));
            archive->count += archive->images[split].npy.extent[0];
        }
    }
    if (first < 0) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected members train_images, val_images or test_images, found "
                        "none",
                        archive->zip.path);
    }
    return CSL_OK;
}

/* Unpacks a whole member; bytes_out is owned by the caller. */
static csl_status unpack(const npz_archive *archive, const npz_member *member, uint8_t **bytes_out)
{
    uint8_t *bytes = malloc((size_t)member->zip->size + 1);
    if (!bytes) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory for %" PRIu64 " bytes", member->where,
                        member->zip->size);
    }
    csl_status status = csl_zip_read(&archive->zip, member->zip, member->zip->size, bytes);
    if (status != CSL_OK) {
        free(bytes);
        return status;
    }
    *bytes_out = bytes;
    return CSL_OK;
}

static int64_t integer_at(const csl_npy_header *npy, const uint8_t *bytes, uint64_t i)
{
    const uint8_t *item = bytes + npy->data_offset + i * npy->item_size;
    uint64_t value = 0;
    memcpy(&value, item, npy->item_size);
    unsigned shift = 64 - 8 * npy->item_size;
    return npy->kind == 'i' ? (int64_t)(value << shift) >> shift : (int64_t)value;
}

static float real_at(const csl_npy_header *npy, const uint8_t *bytes, uint64_t i)
{
    const uint8_t *item = bytes + npy->data_offset + i * npy->item_size;
    if (npy->kind != 'f') {
        return (float)integer_at(npy, bytes, i);
    }
    float single;
    double wide;
    if (npy->item_size == 4) {
        memcpy(&single, item, sizeof single);
        return single;
    }
    memcpy(&wide, item, sizeof wide);
    return (float)wide;
}

static csl_status
copy_images(const npz_archive *archive, int split, uint64_t base, csl_dataset *dataset)
{
    const npz_member *images = &archive->images[split];
    uint8_t *bytes = NULL;
    CSL_TRY(unpack(archive, images, &bytes));
    size_t item = csl_element_size(dataset->type);
    size_t channels = dataset->shape.channels, voxels = csl_shape_count(dataset->shape) / channels;
    uint8_t *target = (uint8_t *)dataset->images + base * csl_dataset_image_size(dataset);
    for (uint64_t i = 0; i < images->npy.extent[0]; i++) {
        for (size_t voxel = 0; voxel < voxels; voxel++) {
            for (size_t channel = 0; channel < channels; channel++) {
                uint64_t from = (i * voxels + voxel) * channels + channel;
                size_t to = (size_t)(i * channels + channel) * voxels + voxel;
                if (dataset->type == CSL_F32) {
                    float value = real_at(&images->npy, bytes, from);
                    memcpy(target + to * item, &value, item);
                } else {
                    memcpy(target + to * item, bytes + images->npy.data_offset + from * item, item);
                }
            }
        }
    }
    free(bytes);
    return CSL_OK;
}

/* Labels of one split as int64 [rows][columns]. */
static csl_status
read_integers(const npz_archive *archive, const npz_member *member, int64_t *values_out)
{
    uint8_t *bytes = NULL;
    CSL_TRY(unpack(archive, member, &bytes));
    for (uint64_t i = 0; i < member->npy.count; i++) {
        values_out[i] = integer_at(&member->npy, bytes, i);
    }
    free(bytes);
    return CSL_OK;
}

static csl_status count_classes(npz_archive *archive, const int64_t *labels, uint64_t columns)
{
    int64_t largest = 0;
    for (uint64_t i = 0; i < archive->count * columns; i++) {
        int64_t limit = columns > 1 ? 1 : CSL_CLASSES_MAX - 1;
        if (labels[i] < 0 || labels[i] > limit) {
            return csl_fail(CSL_E_FORMAT,
                            "%s: labels of image %" PRIu64 ": expected 0..%" PRId64
                            ", found %" PRId64,
                            archive->zip.path, i / columns, limit, labels[i]);
        }
        largest = labels[i] > largest ? labels[i] : largest;
    }
    archive->task = columns > 1   ? CSL_TASK_MULTILABEL
                    : largest > 1 ? CSL_TASK_MULTICLASS
                                  : CSL_TASK_BINARY;
    archive->class_count = columns > 1   ? (uint32_t)columns
                           : largest > 1 ? (uint32_t)largest + 1
                                         : 2;
    return CSL_OK;
}

static csl_status
copy_groups(const npz_archive *archive, int split, uint64_t base, csl_dataset *dataset)
{
    const npz_member *groups = &archive->groups[split];
    uint64_t rows = archive->images[split].npy.extent[0];
    if (!dataset->group || !groups->zip) {
        return CSL_OK;
    }
    int64_t *values = calloc((size_t)rows, sizeof *values);
    if (!values) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory", groups->where);
    }
    csl_status status = read_integers(archive, groups, values);
    for (uint64_t i = 0; status == CSL_OK && i < rows; i++) {
        if (values[i] < INT32_MIN || values[i] > INT32_MAX) {
            status =
                csl_fail(CSL_E_FORMAT, "%s: image %" PRIu64 ": expected 32 bits, found %" PRId64,
                         groups->where, i, values[i]);
        }
        dataset->group[base + i] = (int32_t)values[i];
    }
    free(values);
    return status;
}

/* Groups of some splits alone would be lost, and with them what a partition must keep together. */
static csl_status make_groups(const npz_archive *archive, csl_dataset *dataset)
{
    int with = -1, without = -1; /* a split that has groups, and one that has none */
    for (int split = 0; split < 3; split++) {
        if (archive->images[split].zip) {
            *(archive->groups[split].zip ? &with : &without) = split;
        }
    }
    if (with >= 0 && without >= 0) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected groups of all images or of none, found %s_group"
                        " and no %s_group",
                        archive->zip.path, split_names[with], split_names[without]);
    }
    if (with >= 0) {
        dataset->group = calloc((size_t)dataset->count, sizeof *dataset->group);
        if (!dataset->group) {
            return csl_fail(CSL_E_NO_MEMORY, "%s: no memory for groups", archive->zip.path);
        }
    }
    return CSL_OK;
}

static csl_status fill(const npz_archive *archive, const int64_t *labels, csl_dataset *dataset)
{
    uint64_t base = 0;
    CSL_TRY(make_groups(archive, dataset));
    for (int split = 0; split < 3; split++) {
        if (!archive->images[split].zip) {
            continue;
        }
        uint64_t rows = archive->images[split].npy.extent[0];
        CSL_TRY(copy_images(archive, split, base, dataset));
        CSL_TRY(copy_groups(archive, split, base, dataset));
        memset(dataset->split + base, split, (size_t)rows);
        base += rows;
    }
    for (uint64_t i = 0; dataset->labels && i < dataset->count; i++) {
        dataset->labels[i] = (int32_t)labels[i];
    }
    for (uint64_t i = 0; dataset->targets && i < dataset->count * dataset->class_count; i++) {
        dataset->targets[i] = (float)labels[i];
    }
    return csl_dataset_check(dataset) == CSL_OK
               ? CSL_OK
               : csl_fail_context(CSL_E_FORMAT, "%s", archive->zip.path);
}

static csl_status build(npz_archive *archive, csl_dataset **dataset_out)
{
    CSL_TRY(look_at_all(archive));
    uint64_t columns = 1, base = 0;
    for (int split = 0; split < 3; split++) {
        columns = archive->images[split].zip && archive->labels[split].npy.rank == 2
                      ? archive->labels[split].npy.extent[1]
                      : columns;
    }
    int64_t *labels = calloc((size_t)archive->count, (size_t)columns * sizeof *labels);
    csl_status status =
        labels ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s: no memory for labels", archive->zip.path);
    for (int split = 0; split < 3 && status == CSL_OK; split++) {
        if (archive->images[split].zip) {
            status = read_integers(archive, &archive->labels[split], labels + base * columns);
            base += archive->images[split].npy.extent[0];
        }
    }
    csl_dataset *dataset = NULL;
    if (status == CSL_OK) {
        status = count_classes(archive, labels, columns);
    }
    if (status == CSL_OK) {
        status = csl_dataset_create(archive->task, archive->shape, archive->type,
                                    archive->class_count, archive->count, &dataset);
    }
    if (status == CSL_OK) {
        status = fill(archive, labels, dataset);
    }
    free(labels);
    if (status != CSL_OK) {
        csl_dataset_destroy(dataset);
        return status;
    }
    *dataset_out = dataset;
    return CSL_OK;
}

csl_status csl_import_npz(const char *path, csl_dataset **dataset_out)
{
    npz_archive *found = calloc(1, sizeof *found);
    csl_dataset *dataset = NULL;
    if (!found) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory", path);
    }
    csl_status status = csl_zip_open(path, &found->zip);
    if (status == CSL_OK) {
        status = build(found, &dataset);
        csl_zip_close(&found->zip);
    }
    free(found);
    if (status == CSL_OK) {
        status = csl_hash_file(path, dataset->source_sha256);
    }
    if (status != CSL_OK) {
        csl_dataset_destroy(dataset);
        return status;
    }
    *dataset_out = dataset;
    return CSL_OK;
}
