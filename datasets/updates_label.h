/* What the rows of a file of updates are called. */
#ifndef CSL_UPDATES_LABEL_H
#define CSL_UPDATES_LABEL_H

#include "hdf5_support.h"

/* Puts `length` bytes of source, cut to what fits, into label_out [CSL_NAME_MAX]; bytes that do not
 * print or are not UTF-8 become '?'. */
void csl_updates_set_label(char *label_out, const char *source, size_t length);
/* `names` [count] of fixed length, where there are any, into labels_out. Errors:
 * E_FORMAT, E_NO_MEMORY. */
CSL_MUST_CHECK csl_status csl_updates_read_labels(const csl_h5_file *file,
                                                  uint32_t count,
                                                  char (*labels_out)[CSL_NAME_MAX]);

#endif
