/* The pictures of a folder by class: CLASS/FILE, or SPLIT/CLASS/FILE. */
#ifndef CSL_FOLDER_LIST_H
#define CSL_FOLDER_LIST_H

#include <consilium/dataset.h>

typedef struct csl_folder_file {
    char *path; /* below the root */
    uint32_t class_index;
    uint8_t split; /* of csl_split */
} csl_folder_file;

typedef struct csl_folder_list {
    const char *root; /* lent */
    uint32_t class_count;
    char class_names[CSL_CLASSES_MAX][CSL_NAME_MAX]; /* in the order of their bytes */
    uint64_t file_count;
    csl_folder_file *files; /* by split, class and name, bytes compared */
} csl_folder_list;

/* Hidden names are passed over; anything else in the wrong place is refused by name. Errors:
 * E_NOT_FOUND, E_FORMAT, E_NO_MEMORY, E_IO. */
CSL_MUST_CHECK csl_status csl_folder_list_create(const char *root, csl_folder_list **list_out);
void csl_folder_list_destroy(csl_folder_list *list);

#endif
