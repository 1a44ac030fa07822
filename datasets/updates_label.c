#include "updates_label.h"

#include <consilium/text.h>

#include <stdlib.h>
#include <string.h>

enum { TEXT_SIZE_MAX = 4096 }; /* bytes of a name of fixed length as it is stored */

static const char NAMES[] = "/names";

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

void csl_updates_set_label(char *label_out, const char *source, size_t length)
{
    if (length > CSL_NAME_MAX - 1) {
        length = CSL_NAME_MAX - 1;
        while (length > 0 && continues_character(source[length])) {
            length--; /* a character is not cut in two */
        }
    }
    for (size_t at = 0; at < length;) {
        size_t good = csl_utf8_check(source + at, length - at);
        for (size_t end = at + good; at < end; at++) {
            unsigned char byte = (unsigned char)source[at];
            label_out[at] = byte < ' ' || byte == 0x7f ? '?' : source[at];
        }
        if (at < length) {
            label_out[at++] = '?';
        }
    }
    label_out[length] = '\0';
}

static csl_status wrong_names(const csl_h5_file *file, uint32_t count)
{
    return csl_fail(CSL_E_FORMAT, "%s%s: expected %u texts, found something else", file->path,
                    NAMES, count);
}

/* The texts of an open array of the right shape. Those of variable length lie in HDF5's global
 * heap, where a damaged file makes libhdf5 1.10.8 (H5HG_read) copy beyond its own memory or never
 * end. */
static csl_status read_texts(const csl_h5_file *file,
                             hid_t array,
                             hid_t type,
                             uint32_t count,
                             char (*labels_out)[CSL_NAME_MAX])
{
    if (H5Tis_variable_str(type) != 0) {
        return csl_fail(CSL_E_FORMAT,
                        "%s%s: expected texts of fixed length (NumPy type 'S'), found texts of "
                        "variable length, which HDF5 does not read safely",
                        file->path, NAMES);
    }
    size_t size = H5Tget_size(type);
    if (size == 0 || size > TEXT_SIZE_MAX) {
        return wrong_names(file, count);
    }
    char *raw = calloc(count, size);
    if (!raw) {
        return csl_fail(CSL_E_NO_MEMORY, "%s%s: %u texts", file->path, NAMES, count);
    }
    bool good = H5Dread(array, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw) >= 0;
    for (uint32_t i = 0; good && i < count; i++) {
        size_t length = strnlen(raw + i * size, size);
        if (length > 0) { /* an empty name leaves the row's number */
            csl_updates_set_label(labels_out[i], raw + i * size, length);
        }
    }
    free(raw);
    return good ? CSL_OK : wrong_names(file, count);
}

csl_status
csl_updates_read_labels(const csl_h5_file *file, uint32_t count, char (*labels_out)[CSL_NAME_MAX])
{
    if (!csl_h5_exists(file, NAMES)) {
        return CSL_OK;
    }
    hid_t array = H5Dopen2(file->id, NAMES, H5P_DEFAULT);
    if (array < 0) {
        return wrong_names(file, count);
    }
    hid_t type = H5Dget_type(array);
    hid_t space = H5Dget_space(array);
    hid_t creation = H5Dget_create_plist(array);
    hsize_t extent = 0;
    bool good = type >= 0 && space >= 0 && creation >= 0 && H5Tget_class(type) == H5T_STRING &&
                H5Sget_simple_extent_ndims(space) == 1 &&
                H5Sget_simple_extent_dims(space, &extent, NULL) == 1 && extent == count &&
                H5Pget_external_count(creation) == 0 && H5Pget_layout(creation) != H5D_VIRTUAL;
    csl_status status = good ? CSL_OK : wrong_names(file, count);
    if (good && H5Pget_layout(creation) == H5D_CHUNKED) {
        csl_h5_array found = {
            .rank = 1, .extent = {count}, .count = count, .size = H5Tget_size(type)};
        status = csl_h5_check_chunks(file, NAMES, array, creation, &found);
    }
    if (status == CSL_OK) {
        status = read_texts(file, array, type, count, labels_out);
    }
    H5Pclose(creation);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(array);
    return status;
}
