/*
 * Files: data sets, models and updates as HDF5; importers; partitions. Not collective: each file is
 * opened by one process for writing, by any number for reading.
 */
#ifndef CONSILIUM_FILES_H
#define CONSILIUM_FILES_H

#include <consilium/dataset.h>
#include <consilium/model.h>

/* Reads a data set file of schema fedmed-study 1.0 (docs/FORMATS.md). Everything in it is checked
 * before memory is taken. Errors: E_NOT_FOUND, E_FORMAT (message names file, object, expected and
 * found), E_NO_MEMORY, E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_read(const char *path, csl_dataset **dataset_out);
/* Writes a data set to path through a temporary file and a rename: an earlier file stays whole until
 * the new one is complete. */
CSL_API CSL_MUST_CHECK csl_status csl_dataset_write(const char *path, const csl_dataset *dataset);

/* Writes a model: its layers, tensors by name with shapes, and attributes; same care. */
CSL_API CSL_MUST_CHECK csl_status csl_model_write(const char *path, const csl_model_spec *spec,
                                                  const float *parameters, const char *study_sha256,
                                                  uint32_t round);
/* Reads a model file; spec_out and parameters_out are owned by the caller (destroy, free). */
CSL_API CSL_MUST_CHECK csl_status csl_model_read(const char *path, csl_model_spec **spec_out,
                                                 float **parameters_out);

#endif
