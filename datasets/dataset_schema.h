/* Names of the fedmed-study 1.0 schema that reader and writer share; docs/FORMATS.md explains. */
#ifndef CSL_DATASET_SCHEMA_H
#define CSL_DATASET_SCHEMA_H

#define CSL_SCHEMA_NAME       "fedmed-study"
#define CSL_SCHEMA_VERSION    "1.0"
#define CSL_UNKNOWN           "unknown"
#define CSL_ATTRIBUTE_CONTENT "content_sha256"

#include <consilium/dataset.h>

/* "binary", "multiclass", "multilabel", "regression"; NULL for other values. */
const char *csl_task_name(csl_task task);

#endif
