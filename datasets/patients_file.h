/* A CSV file that says whose each picture of a folder is. */
#ifndef CSL_PATIENTS_FILE_H
#define CSL_PATIENTS_FILE_H

#include "folder_list.h"

/*
 * Columns `file` (path below the folder), `patient` and optionally `site`, named by the first line,
 * in any order among others. Fills subject, and group if there are sites; identities themselves do
 * not enter the data set. Every picture needs one row. Errors: E_NOT_FOUND, E_FORMAT (message names
 * the file, line, expected, found), E_NO_MEMORY, E_IO; the data set is to be destroyed then.
 */
CSL_MUST_CHECK csl_status csl_patients_read(const char *path,
                                            const csl_folder_list *list,
                                            csl_dataset *dataset);

#endif
