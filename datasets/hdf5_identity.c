/* Names in an HDF5 file that identify patients. */
#include "hdf5_support.h"

#include "findings.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* A whole study needs two levels and some dozens of objects. Groups of a hostile file may contain
 * themselves, so the walk must end by itself. */
enum { DEPTH_MAX = 8, OBJECTS_MAX = 65536 };

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
    const csl_h5_file *file;
    csl_findings *findings;
    char object[CSL_PATH_MAX]; /* where the walk is */
    size_t length;             /* of that name */
    uint32_t depth, object_count;
    csl_status status; /* of what ended the walk early */
} identifying_search;

static csl_status found_name(const identifying_search *search, const char *attribute)
{
    csl_status status =
        csl_fail(CSL_E_FORMAT,
                 "%s: %s%s%s: expected de-identified data, found a name that identifies "
                 "patients",
                 search->file->path, search->object, attribute ? " attribute " : "",
                 attribute ? attribute : "");
    return csl_finding(search->findings, status);
}

static herr_t
look_at_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    (void)object;
    (void)info;
    identifying_search *search = context;
    search->status = csl_name_identifies(name) ? found_name(search, name) : CSL_OK;
    return search->status != CSL_OK;
}

static herr_t look_at_group(hid_t id, identifying_search *search);

static herr_t look_at_link(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    identifying_search *search = context;
    size_t before = search->length;
    int added = snprintf(search->object + before, sizeof search->object - before, "%s%s",
                         before > 1 ? "/" : "", name);
    search->object_count++;
    if (added < 0 || (size_t)added >= sizeof search->object - before ||
        search->depth >= DEPTH_MAX || search->object_count > OBJECTS_MAX) {
        search->object[before] = 0;
        search->status =
            csl_fail(CSL_E_FORMAT, "%s: %s: expected at most %d levels and %d objects, found more",
                     search->file->path, search->object, DEPTH_MAX, OBJECTS_MAX);
        return 1;
    }
    search->length += (size_t)added;
    if (csl_name_identifies(name)) {
        search->status = found_name(search, NULL);
    }
    herr_t result = search->status != CSL_OK;
    if (result == 0 && info->type == H5L_TYPE_HARD) {
        hid_t object = H5Oopen(group, name, H5P_DEFAULT);
        result = object < 0 ? -1 : look_at_group(object, search);
        if (object >= 0) {
            H5Oclose(object);
        }
    }
    search->object[before] = 0;
    search->length = before;
    return result;
}

/* Attributes of an object and, of a group, all that lies below; below zero if it is damaged. */
static herr_t look_at_group(hid_t id, identifying_search *search)
{
    hsize_t position = 0;
    herr_t result =
        H5Aiterate2(id, H5_INDEX_NAME, H5_ITER_NATIVE, &position, look_at_attribute, search);
    if (result == 0 && H5Iget_type(id) == H5I_GROUP) {
        position = 0;
        search->depth++;
        result = H5Literate(id, H5_INDEX_NAME, H5_ITER_NATIVE, &position, look_at_link, search);
        search->depth--;
    }
    return result;
}

csl_status csl_h5_refuse_identifying(const csl_h5_file *file, csl_findings *findings)
{
    identifying_search search = {
        .file = file, .findings = findings, .object = "/", .length = 1, .status = CSL_OK};
    hid_t root = H5Gopen2(file->id, "/", H5P_DEFAULT);
    herr_t result = root < 0 ? -1 : look_at_group(root, &search);
    if (root >= 0) {
        H5Gclose(root);
    }
    CSL_TRY(search.status);
    return result >= 0 ? CSL_OK
                       : csl_fail(CSL_E_FORMAT,
                                  "%s: expected a readable tree of objects, found a damaged one",
                                  file->path);
}
