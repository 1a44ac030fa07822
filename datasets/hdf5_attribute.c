#include "hdf5_support.h"

#include <consilium/files.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text_check.h"

/* The bytes of all slots of one attribute; larger ones are no names. */
enum { ATTRIBUTE_SIZE_MAX = 1 << 20 };

bool csl_h5_has_attribute(const csl_h5_file *file, const char *object, const char *name)
{
    return H5Aexists_by_name(file->id, object, name, H5P_DEFAULT) > 0;
}

static csl_status attribute_fails(const csl_h5_file *file,
                                  const char *object,
                                  const char *name,
                                  const char *expected,
                                  const char *found)
{
    return csl_fail(CSL_E_FORMAT, "%s: %s attribute %s: expected %s, found %s", file->path, object,
                    name, expected, found);
}

static hid_t open_attribute(const csl_h5_file *file, const char *object, const char *name)
{
    if (!csl_h5_has_attribute(file, object, name)) {
        return -1;
    }
    return H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
}

/* Elements of an attribute's space, 0 if it is too large or no simple space. */
static uint64_t element_count(hid_t attribute)
{
    hid_t space = H5Aget_space(attribute);
    hssize_t count = H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    return count > 0 && count <= ATTRIBUTE_SIZE_MAX ? (uint64_t)count : 0;
}

/* Copies a text of at most `size` bytes that may lack its closing zero; says in found_out what
 * keeps it from being one. */
static bool copy_text(
    char *target, size_t capacity, const char *source, size_t size, char found_out[CSL_TEXT_MAX])
{
    char problem[CSL_TEXT_PROBLEM_MAX];
    size_t length = strnlen(source, size);
    if (length >= capacity) {
        snprintf(found_out, CSL_TEXT_MAX, "%zu bytes", length);
        return false;
    }
    if (!csl_text_is_sound(source, length, problem)) {
        snprintf(found_out, CSL_TEXT_MAX, "%s", problem);
        return false;
    }
    memcpy(target, source, length);
    target[length] = 0;
    return true;
}

/*
 * Reads `count` texts of fixed length into slots of `capacity` bytes. Those of variable length lie
 * in HDF5's global heap, where a damaged file makes libhdf5 1.10.8 (H5HG_read) copy beyond its own
 * memory or never end: they are refused unread.
 */
static csl_status read_texts(const csl_h5_file *file,
                             const char *object,
                             const char *name,
                             hid_t attribute,
                             uint64_t count,
                             char *texts,
                             size_t capacity)
{
    hid_t type = H5Aget_type(attribute);
    size_t size = H5Tget_size(type);
    bool is_text = H5Tget_class(type) == H5T_STRING;
    bool variable = is_text && H5Tis_variable_str(type) != 0;
    bool sized = is_text && !variable && size != 0 && count <= ATTRIBUTE_SIZE_MAX / size;
    char *raw = sized ? calloc(count, size) : NULL;
    char found[CSL_TEXT_MAX];
    snprintf(found, sizeof found, "%s",
             is_text ? "a damaged one" : csl_h5_class_name(H5Tget_class(type)));
    bool good = raw && H5Aread(attribute, type, raw) >= 0;
    H5Tclose(type);
    for (uint64_t i = 0; good && i < count; i++) {
        good = copy_text(texts + i * capacity, capacity, raw + i * size, size, found);
        if (!good && count > 1) {
            size_t end = strlen(found);
            snprintf(found + end, sizeof found - end, " in text %" PRIu64, i);
        }
    }
    free(raw);
    if (variable) {
        return attribute_fails(file, object, name, "text of fixed length (NumPy type 'S')",
                               "text of variable length, which HDF5 does not read safely");
    }
    char expected[64];
    snprintf(expected, sizeof expected, "UTF-8 text below %zu bytes", capacity);
    return good ? CSL_OK : attribute_fails(file, object, name, expected, found);
}

csl_status csl_h5_read_text(
    const csl_h5_file *file, const char *object, const char *name, char *text_out, size_t capacity)
{
    hid_t attribute = open_attribute(file, object, name);
    if (attribute < 0) {
        return attribute_fails(file, object, name, "a text", "none");
    }
    char *text = calloc(1, capacity);
    csl_status status = text ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s: no memory", file->path);
    if (status == CSL_OK && element_count(attribute) != 1) {
        status = attribute_fails(file, object, name, "one text", "none or several");
    }
    if (status == CSL_OK) {
        status = read_texts(file, object, name, attribute, 1, text, capacity);
    }
    H5Aclose(attribute);
    if (status == CSL_OK) {
        memcpy(text_out, text, capacity);
    }
    free(text);
    return status;
}

csl_status csl_h5_read_names(const csl_h5_file *file,
                             const char *object,
                             const char *name,
                             uint64_t count_max,
                             char (*names_out)[CSL_NAME_MAX],
                             uint64_t *count_out)
{
    hid_t attribute = open_attribute(file, object, name);
    if (attribute < 0) {
        return attribute_fails(file, object, name, "an array of texts", "none");
    }
    uint64_t count = element_count(attribute);
    csl_status status = CSL_OK;
    if (count == 0 || count > count_max) {
        status = csl_fail(CSL_E_FORMAT,
                          "%s: %s attribute %s: expected 1..%" PRIu64 " texts, found %" PRIu64,
                          file->path, object, name, count_max, count);
    } else {
        status = read_texts(file, object, name, attribute, count, names_out[0], CSL_NAME_MAX);
    }
    H5Aclose(attribute);
    CSL_TRY(status);
    *count_out = count;
    return CSL_OK;
}

csl_status csl_h5_read_number(const csl_h5_file *file,
                              const char *object,
                              const char *name,
                              hid_t memory_type,
                              void *value_out)
{
    hid_t attribute = open_attribute(file, object, name);
    if (attribute < 0) {
        return attribute_fails(file, object, name, "a number", "none");
    }
    hid_t type = H5Aget_type(attribute);
    H5T_class_t kind = H5Tget_class(type);
    size_t size = H5Tget_size(type);
    H5Tclose(type);
    bool good = (kind == H5T_INTEGER || kind == H5T_FLOAT) && size <= 8 &&
                element_count(attribute) == 1 && H5Aread(attribute, memory_type, value_out) >= 0;
    H5Aclose(attribute);
    return good ? CSL_OK : attribute_fails(file, object, name, "one number", "something else");
}

/* Writes one attribute and closes all handles; `type` and `space` are taken. */
static csl_status write_attribute(const csl_h5_file *file,
                                  const char *object,
                                  const char *name,
                                  hid_t type,
                                  hid_t memory_type,
                                  hid_t space,
                                  const void *values)
{
    hid_t attribute = H5Acreate_by_name(file->id, object, name, type, space, H5P_DEFAULT,
                                        H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = attribute < 0 ? -1 : H5Awrite(attribute, memory_type, values);
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    H5Sclose(space);
    H5Tclose(type);
    if (result < 0) {
        return csl_fail(CSL_E_IO, "%s: %s attribute %s: HDF5 cannot write it", file->path, object,
                        name);
    }
    return CSL_OK;
}

static hid_t text_type(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    return type;
}

/* What other programs could not read is not written either. */
static csl_status expect_sound(
    const csl_h5_file *file, const char *object, const char *name, const char *text, size_t length)
{
    char problem[CSL_TEXT_PROBLEM_MAX];
    return csl_text_is_sound(text, length, problem)
               ? CSL_OK
               : attribute_fails(file, object, name, "UTF-8 text", problem);
}

csl_status
csl_h5_write_text(const csl_h5_file *file, const char *object, const char *name, const char *text)
{
    size_t length = strlen(text);
    CSL_TRY(expect_sound(file, object, name, text, length));
    hid_t type = text_type(length ? length : 1);
    return write_attribute(file, object, name, type, type, H5Screate(H5S_SCALAR), text);
}

csl_status csl_h5_write_names(const csl_h5_file *file,
                              const char *object,
                              const char *name,
                              uint64_t count,
                              const char (*names)[CSL_NAME_MAX])
{
    hsize_t extent = count;
    for (uint64_t i = 0; i < count; i++) {
        CSL_TRY(expect_sound(file, object, name, names[i], strnlen(names[i], CSL_NAME_MAX)));
    }
    hid_t type = text_type(CSL_NAME_MAX);
    return write_attribute(file, object, name, type, type, H5Screate_simple(1, &extent, NULL),
                           names);
}

csl_status csl_h5_write_number(const csl_h5_file *file,
                               const char *object,
                               const char *name,
                               hid_t stored_type,
                               hid_t memory_type,
                               const void *value)
{
    return write_attribute(file, object, name, H5Tcopy(stored_type), memory_type,
                           H5Screate(H5S_SCALAR), value);
}
