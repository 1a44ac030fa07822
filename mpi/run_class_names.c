/* Institutions that name their classes must name them alike. */
#include "run_internal.h"

#include <stdio.h>
#include <string.h>

csl_status csl_run_learn_class_names(const csl_dataset *dataset, institution_facts *facts)
{
    if (!dataset->class_names) {
        return CSL_OK;
    }
    size_t end = 0;
    for (uint32_t k = 0; k < dataset->class_count && end < FACTS_NAMES_MAX - 4; k++) {
        size_t length = strlen(dataset->class_names[k]);
        bool fits = end + length + 6 < FACTS_NAMES_MAX;
        snprintf(facts->class_names + end, FACTS_NAMES_MAX - end, "%s%s", k ? ", " : "",
                 fits ? dataset->class_names[k] : "...");
        end = fits ? strlen(facts->class_names) : FACTS_NAMES_MAX;
    }
    return csl_sha256(dataset->class_names, dataset->class_count * sizeof *dataset->class_names,
                      facts->class_names_sha256);
}

/* Class 1 of one institution must be class 1 of another; files without names are believed. */
csl_status csl_run_compare_class_names(const csl_federated_run *run)
{
    const institution_facts *named = NULL;
    const char *file = "";
    for (uint32_t i = 0; i < run->study->institutions.count; i++) {
        const institution_facts *other = &run->facts[i];
        if (!other->class_names[0]) {
            continue;
        }
        if (named && memcmp(named->class_names_sha256, other->class_names_sha256,
                            sizeof named->class_names_sha256) != 0) {
            return csl_fail(CSL_E_FORMAT,
                            "%s: /labels attribute class_names: expected the classes of %s (%s), "
                            "found %s",
                            run->files[i], file, named->class_names, other->class_names);
        }
        if (!named) {
            named = other;
            file = run->files[i];
        }
    }
    return CSL_OK;
}
