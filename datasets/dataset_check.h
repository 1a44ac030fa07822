/* Whether the values of a data set keep to its own description. */
#ifndef CSL_DATASET_CHECK_H
#define CSL_DATASET_CHECK_H

#include "findings.h"

/* Fails on the first label, split, target, known flag or pixel out of range; the message says which
 * image. Errors: E_RANGE. */
CSL_MUST_CHECK csl_status csl_dataset_check(const csl_dataset *dataset);
/* The same, or with findings every one of them; one that findings took is no failure. */
CSL_MUST_CHECK csl_status csl_dataset_check_all(const csl_dataset *dataset, csl_findings *findings);

#endif
