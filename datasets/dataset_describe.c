/* What a person says about a data set, by the attribute's name. */
#include <consilium/files.h>
#include <consilium/text.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "dataset_schema.h"
#include "text_check.h"

#define FIELD_NAME(field, object, attribute)  #field,
#define FIELD_PLACE(field, object, attribute) offsetof(csl_dataset_metadata, field),
static const char *const field_names[] = {CSL_METADATA_LIST(FIELD_NAME) NULL};
static const size_t field_places[] = {CSL_METADATA_LIST(FIELD_PLACE)};

/* Stores a text in a slot of `capacity` bytes, as it is. */
static csl_status store(const char *name, const char *text, char *slot, size_t capacity)
{
    char problem[CSL_TEXT_PROBLEM_MAX];
    size_t length = strlen(text);
    if (length == 0 || length >= capacity) {
        return csl_fail(CSL_E_RANGE, "%s: expected a text of 1 to %zu bytes, found %zu", name,
                        capacity - 1, length);
    }
    if (!csl_text_is_sound(text, length, problem)) {
        return csl_fail(CSL_E_FORMAT, "%s: expected UTF-8 text, found %s", name, problem);
    }
    memcpy(slot, text, length + 1);
    return CSL_OK;
}

csl_status csl_metadata_set(csl_dataset_metadata *metadata, const char *name, const char *text)
{
    for (size_t i = 0; field_names[i]; i++) {
        if (strcmp(name, field_names[i]) == 0) {
            return store(name, text, (char *)metadata + field_places[i], CSL_TEXT_MAX);
        }
    }
    const char *nearest = csl_nearest_name(name, field_names);
    return csl_fail(CSL_E_NOT_FOUND, "no attribute '%s'%s%s%s", name,
                    nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

csl_status csl_site_set(const char *text, char site_out[CSL_NAME_MAX])
{
    if (strcmp(text, CSL_UNKNOWN) == 0) {
        return csl_fail(CSL_E_RANGE, "site: expected a name, found '%s'", text);
    }
    return store("site", text, site_out, CSL_NAME_MAX);
}
