#include "hdf5_support.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

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

/* Copies a text of at most `size` bytes that may lack its closing zero; refuses control bytes. */
static bool copy_text(char *target, size_t capacity, const char *source, size_t size)
{
    size_t length = source ? strnlen(source, size) : 0;
    if (length >= capacity) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (iscntrl((unsigned char)source[i]) && source[i] != '\n' && source[i] != '\t') {
            return false;
        }
    }
    if (length != 0) {
        memcpy(target, source, length);
    }
    target[length] = 0;
    return true;
}

/* Reads `count` texts of fixed or variable length into slots of `capacity` bytes. */
static bool read_texts(hid_t attribute, uint64_t count, char *texts, size_t capacity)
{
    hid_t type = H5Aget_type(attribute);
    size_t size = H5Tget_size(type);
    bool is_text = H5Tget_class(type) == H5T_STRING;
    bool variable = is_text && H5Tis_variable_str(type) > 0;
    bool good =
        is_text && size != 0 && count <= ATTRIBUTE_SIZE_MAX / (variable ? sizeof(char *) : size);
    char *raw = good ? calloc(count, size) : NULL;
    good = raw && H5Aread(attribute, type, raw) >= 0;
    for (uint64_t i = 0; good && i < count; i++) {
        const char *source = raw + i * size;
        if (variable) {
            memcpy(&source, raw + i * size, sizeof source);
        }
        good = copy_text(texts + i * capacity, capacity, source, variable ? capacity : size);
    }
    if (raw && variable) {
        hid_t space = H5Aget_space(attribute);
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, raw);
        H5Sclose(space);
    }
    free(raw);
    H5Tclose(type);
    return good;
}

csl_status csl_h5_read_text(
    const csl_h5_file *file, const char *object, const char *name, char *text_out, size_t capacity)
{
    hid_t attribute = open_attribute(file, object, name);
    if (attribute < 0) {
        return attribute_fails(file, object, name, "a text", "none");
    }
    char *text = calloc(1, capacity);
    bool good = text && element_count(attribute) == 1 && read_texts(attribute, 1, text, capacity);
    H5Aclose(attribute);
    if (good) {
        memcpy(text_out, text, capacity);
    }
    free(text);
    return good ? CSL_OK
                : attribute_fails(file, object, name, "one short text",
                                  "something else or a longer one");
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
    bool good = count != 0 && count <= count_max &&
                read_texts(attribute, count, names_out[0], CSL_NAME_MAX);
    H5Aclose(attribute);
    if (!good) {
        return attribute_fails(file, object, name, "an array of texts below 64 bytes each",
                               "something else, more or longer ones");
    }
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

csl_status
csl_h5_write_text(const csl_h5_file *file, const char *object, const char *name, const char *text)
{
    size_t length = strlen(text);
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

bool csl_name_identifies(const char *name)
{
    /* HIPAA 45 CFR 164.514(b)(2)(i) and the DICOM keywords that hold the same. */
    static const char *const contained[] = {
        "patientname",    "patientbirth", "patientaddress",  "patienttelephone",
        "birthdate",      "dateofbirth",  "birthday",        "medicalrecord",
        "socialsecurity", "healthplan",   "accessionnumber", "phonenumber",
        "emailaddress",   "insuranceid",  "licensenumber",   "referringphysician",
        "operatorsname",  "familyname",   "surname",         "firstname",
        "lastname",       "fullname",     "streetaddress",   "postcode",
        "zipcode"};
    static const char *const exact[] = {"patientid", "mrn",   "dob", "ssn",
                                        "phone",     "email", "fax", "address"};
    char folded[256];
    size_t length = 0;
    for (; *name && length + 1 < sizeof folded; name++) {
        if (isalnum((unsigned char)*name)) {
            folded[length++] = (char)tolower((unsigned char)*name);
        }
    }
    folded[length] = 0;
    for (size_t i = 0; i < sizeof contained / sizeof *contained; i++) {
        if (strstr(folded, contained[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        if (strcmp(folded, exact[i]) == 0) {
            return true;
        }
    }
    return false;
}

typedef struct identifying_search {
    char object[256];
    char name[256];
    bool found;
} identifying_search;

static herr_t
look_at_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    (void)object;
    (void)info;
    identifying_search *search = context;
    if (!csl_name_identifies(name)) {
        return 0;
    }
    search->found = true;
    strncpy(search->name, name, sizeof search->name - 1);
    return 1;
}

static herr_t look_at_object(hid_t root, const char *name, const H5O_info_t *info, void *context)
{
    (void)info;
    identifying_search *search = context;
    strncpy(search->object, name, sizeof search->object - 1);
    const char *last = strrchr(name, '/');
    if (csl_name_identifies(last ? last + 1 : name)) {
        search->found = true;
        return 1;
    }
    hsize_t position = 0;
    return H5Aiterate_by_name(root, name, H5_INDEX_NAME, H5_ITER_NATIVE, &position,
                              look_at_attribute, search, H5P_DEFAULT);
}

csl_status csl_h5_refuse_identifying(const csl_h5_file *file)
{
    identifying_search search = {0};
    if (H5Ovisit2(file->id, H5_INDEX_NAME, H5_ITER_NATIVE, look_at_object, &search,
                  H5O_INFO_BASIC) < 0) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected a readable tree of objects, found a damaged one", file->path);
    }
    if (search.found) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: %s%s%s: expected de-identified data, found a name that identifies "
                        "patients",
                        file->path, search.object, search.name[0] ? " attribute " : "",
                        search.name);
    }
    return CSL_OK;
}
