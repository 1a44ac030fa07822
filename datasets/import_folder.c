/* A folder of PNG and JPEG pictures, one sub-folder for each class, becomes a data set. */
#include <consilium/hash.h>
#include <consilium/import.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dataset_check.h"
#include "folder_list.h"
#include "image_resize.h"
#include "patients_file.h"

typedef struct picture_file {
    char where[CSL_PATH_MAX];
    uint8_t *bytes;
    size_t size;
} picture_file;

static csl_status load(const csl_folder_list *list, uint64_t i, picture_file *file)
{
    int length =
        snprintf(file->where, sizeof file->where, "%s/%s", list->root, list->files[i].path);
    FILE *stream =
        length > 0 && (size_t)length < sizeof file->where ? fopen(file->where, "rb") : NULL;
    struct stat info;
    if (!stream || fstat(fileno(stream), &info) != 0) {
        csl_status status = csl_fail(CSL_E_IO, "%s: %s", file->where, strerror(errno));
        if (stream) {
            fclose(stream);
        }
        return status;
    }
    csl_status status = CSL_OK;
    file->bytes = NULL;
    file->size = (size_t)info.st_size;
    if (!S_ISREG(info.st_mode) || info.st_size > CSL_IMAGE_SIZE_MAX) {
        status = csl_fail(CSL_E_FORMAT, "%s: expected a picture of at most %d bytes, found %lld",
                          file->where, CSL_IMAGE_SIZE_MAX, (long long)info.st_size);
    } else {
        file->bytes = malloc(file->size + 1);
        status = file->bytes ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s: no memory", file->where);
    }
    if (status == CSL_OK && fread(file->bytes, 1, file->size, stream) != file->size) {
        free(file->bytes);
        file->bytes = NULL;
        status = csl_fail(CSL_E_IO, "%s: cannot be read", file->where);
    }
    fclose(stream);
    return status;
}

/* What all pictures become: the options' size and colour, else those that all have. */
static csl_status agree(const csl_folder_list *list,
                        const csl_folder_options *options,
                        const csl_image *first,
                        const csl_image *found,
                        const char *where)
{
    if (options->height == 0 && (found->height != first->height || found->width != first->width)) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected %u x %u pixels as in %s, found %u x %u; a size to resize to "
                        "takes both",
                        where, first->height, first->width, list->files[0].path, found->height,
                        found->width);
    }
    if (options->channels == 0 && found->channels != first->channels) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected %s as in %s, found %s; a colour to convert to takes both",
                        where, first->channels == 1 ? "grey" : "RGB", list->files[0].path,
                        found->channels == 1 ? "grey" : "RGB");
    }
    if (found->bits != first->bits) {
        return csl_fail(CSL_E_FORMAT, "%s: expected %u bits a sample as in %s, found %u", where,
                        first->bits, list->files[0].path, found->bits);
    }
    return CSL_OK;
}

static csl_status
look_at_all(const csl_folder_list *list, const csl_folder_options *options, csl_image *first)
{
    picture_file *file = calloc(1, sizeof *file);
    csl_status status =
        file ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s: no memory to read", list->root);
    for (uint64_t i = 0; status == CSL_OK && i < list->file_count; i++) {
        csl_image image;
        status = load(list, i, file);
        if (status == CSL_OK) {
            status = csl_image_look(file->where, file->bytes, file->size, &image);
            free(file->bytes);
        }
        if (status == CSL_OK) {
            *first = i == 0 ? image : *first;
            status = agree(list, options, first, &image, file->where);
        }
    }
    free(file);
    return status;
}

/* From [height][width][channels] to [channels][height][width]. */
static void copy_planes(const csl_image *image, uint8_t *target)
{
    size_t item = image->bits / 8, pixels = (size_t)image->width * image->height;
    for (size_t pixel = 0; pixel < pixels; pixel++) {
        for (size_t channel = 0; channel < image->channels; channel++) {
            memcpy(target + (channel * pixels + pixel) * item,
                   image->samples + (pixel * image->channels + channel) * item, item);
        }
    }
}

static csl_status
decode_one(const picture_file *file, const csl_image *expected, csl_dataset *dataset, uint64_t i)
{
    csl_image image;
    CSL_TRY(csl_image_decode(file->where, file->bytes, file->size, &image));
    csl_status status = CSL_OK;
    if (image.bits != expected->bits) {
        status = csl_fail(CSL_E_FORMAT, "%s: changed while it was read", file->where);
    }
    if (status == CSL_OK) {
        status = csl_image_recolour(&image, dataset->shape.channels);
    }
    if (status == CSL_OK) {
        status = csl_image_resize(&image, dataset->shape.extent[1], dataset->shape.extent[2]);
    }
    if (status == CSL_OK) {
        copy_planes(&image, (uint8_t *)dataset->images + i * csl_dataset_image_size(dataset));
    }
    free(image.samples);
    return status == CSL_OK ? CSL_OK : csl_fail_context(status, "%s", file->where);
}

static csl_status fill(const csl_folder_list *list, const csl_image *first, csl_dataset *dataset)
{
    csl_hash *hash = NULL;
    picture_file *file = calloc(1, sizeof *file);
    dataset->class_names = calloc(list->class_count, sizeof *dataset->class_names);
    csl_status status = file && dataset->class_names
                            ? csl_hash_create(&hash)
                            : csl_fail(CSL_E_NO_MEMORY, "%s: no memory", list->root);
    if (status == CSL_OK) {
        memcpy(dataset->class_names, list->class_names, list->class_count * CSL_NAME_MAX);
    }
    for (uint64_t i = 0; status == CSL_OK && i < list->file_count; i++) {
        const csl_folder_file *entry = &list->files[i];
        status = load(list, i, file);
        if (status == CSL_OK) {
            status = decode_one(file, first, dataset, i);
            if (status == CSL_OK) { /* the digest of the source covers names and bytes */
                status = csl_hash_update(hash, entry->path, strlen(entry->path) + 1);
            }
            if (status == CSL_OK) {
                status = csl_hash_update(hash, file->bytes, file->size);
            }
            free(file->bytes);
        }
        dataset->labels[i] = (int32_t)entry->class_index;
        dataset->split[i] = entry->split;
    }
    if (status == CSL_OK) {
        status = csl_hash_finish(hash, dataset->source_sha256);
    }
    csl_hash_destroy(hash);
    free(file);
    return status;
}

csl_status
csl_import_folder(const char *path, const csl_folder_options *options, csl_dataset **dataset_out)
{
    bool resized = options->height != 0 || options->width != 0;
    if ((resized && (options->height == 0 || options->width == 0 ||
                     options->height > CSL_EXTENT_MAX || options->width > CSL_EXTENT_MAX)) ||
        (options->channels != 0 && options->channels != 1 && options->channels != 3)) {
        return csl_fail(CSL_E_RANGE,
                        "%s: expected a size of 1..%d and 1 or 3 channels, found %u x %u and %u",
                        path, CSL_EXTENT_MAX, options->height, options->width, options->channels);
    }
    csl_folder_list *list = NULL;
    csl_dataset *dataset = NULL;
    csl_image first = {0};
    CSL_TRY(csl_folder_list_create(path, &list));
    csl_status status = look_at_all(list, options, &first);
    if (status == CSL_OK) {
        csl_shape shape = {
            {1, resized ? options->height : first.height, resized ? options->width : first.width},
            options->channels ? options->channels : first.channels};
        status = csl_dataset_create(list->class_count == 2 ? CSL_TASK_BINARY : CSL_TASK_MULTICLASS,
                                    shape, first.bits == 16 ? CSL_U16 : CSL_U8, list->class_count,
                                    list->file_count, &dataset);
    }
    if (status == CSL_OK) {
        status = fill(list, &first, dataset);
    }
    if (status == CSL_OK && options->patients) {
        status = csl_patients_read(options->patients, list, dataset);
    }
    csl_folder_list_destroy(list);
    if (status != CSL_OK) {
        csl_dataset_destroy(dataset);
        return status;
    }
    *dataset_out = dataset;
    return CSL_OK;
}
