/*
 * HDF5 in the manners of this project: every call checked, no handle outlives the call that opened
 * it (files apart), nothing printed, messages that name file and object.
 */
#ifndef CSL_HDF5_SUPPORT_H
#define CSL_HDF5_SUPPORT_H

#include <hdf5.h>

#include <consilium/status.h>
#include <consilium/types.h>

#include "hdf5_driver.h"

enum { CSL_H5_RANK_MAX = 5 };

/* A file being read or written; path is for messages and lent. */
typedef struct csl_h5_file {
    hid_t id;
    const char *path;
    uint64_t size; /* bytes on disk, when reading */
    csl_h5_writer writer;
    char temporary[CSL_PATH_MAX];
} csl_h5_file;

/* Opens for reading. Errors: E_NOT_FOUND, E_FORMAT (not HDF5), E_IO. */
CSL_MUST_CHECK csl_status csl_h5_open(const char *path, csl_h5_file *file_out);
void csl_h5_close(csl_h5_file *file);

/* Creates a temporary file beside path. With the outcome so far in `status`, finish either renames
 * it over path or removes it, and returns the first error. */
CSL_MUST_CHECK csl_status csl_h5_create(const char *path, csl_h5_file *file_out);
CSL_MUST_CHECK csl_status csl_h5_finish(csl_h5_file *file, csl_status status);

typedef struct csl_h5_array {
    uint32_t rank;
    uint64_t extent[CSL_H5_RANK_MAX];
    uint64_t count;   /* elements */
    H5T_class_t kind; /* H5T_INTEGER or H5T_FLOAT */
    size_t size;      /* bytes of an element */
    bool is_signed;
} csl_h5_array;

/* What a class of types is called in messages: "integers", "text", "compounds". */
const char *csl_h5_class_name(H5T_class_t kind);
/* Whether an object lies at an absolute name of hard links alone ("/governance"). */
bool csl_h5_exists(const csl_h5_file *file, const char *name);
/*
 * Looks at an array before anything is allocated. Refused: soft, external and user links; external
 * and virtual storage; filters other than deflate, shuffle and fletcher32; types other than
 * integers and floats; a rank above CSL_H5_RANK_MAX; contents larger than the file can hold.
 */
CSL_MUST_CHECK csl_status csl_h5_look(const csl_h5_file *file,
                                      const char *name,
                                      csl_h5_array *array_out);
/* The part of csl_h5_look that unpacks every chunk once, since HDF5 does not check that it unpacks
 * to its declared size. creation: the array's creation list. */
CSL_MUST_CHECK csl_status csl_h5_check_chunks(const csl_h5_file *file,
                                              const char *name,
                                              hid_t array,
                                              hid_t creation,
                                              const csl_h5_array *found);
CSL_MUST_CHECK csl_status csl_h5_read(const csl_h5_file *file,
                                      const char *name,
                                      hid_t memory_type,
                                      void *values_out);
CSL_MUST_CHECK csl_status csl_h5_write(const csl_h5_file *file,
                                       const char *name,
                                       hid_t stored_type,
                                       hid_t memory_type,
                                       uint32_t rank,
                                       const uint64_t *extent,
                                       const void *values);
/* Rows of float32: an array [row_count][column_count] to be filled, columns from `begin` on of one
 * row, and a block [row_count][count] of neighbouring rows, of any float type. */
CSL_MUST_CHECK csl_status csl_h5_rows_create(const csl_h5_file *file,
                                             const char *name,
                                             uint32_t row_count,
                                             uint64_t column_count);
CSL_MUST_CHECK csl_status csl_h5_rows_write(const csl_h5_file *file,
                                            const char *name,
                                            uint32_t row,
                                            uint64_t begin,
                                            uint64_t count,
                                            const float *values);
CSL_MUST_CHECK csl_status csl_h5_rows_read(const csl_h5_file *file,
                                           const char *name,
                                           uint32_t first,
                                           uint32_t row_count,
                                           uint64_t begin,
                                           size_t count,
                                           float *block_out);
/* The same of a vector [count]. */
CSL_MUST_CHECK csl_status csl_h5_vector_create(const csl_h5_file *file,
                                               const char *name,
                                               uint64_t count);
CSL_MUST_CHECK csl_status csl_h5_vector_write(
    const csl_h5_file *file, const char *name, uint64_t begin, uint64_t count, const float *values);
CSL_MUST_CHECK csl_status csl_h5_make_group(const csl_h5_file *file, const char *name);

bool csl_h5_has_attribute(const csl_h5_file *file, const char *object, const char *name);
/* Text attribute of fixed length; at most capacity - 1 bytes. Missing is E_FORMAT, and so is one of
 * variable length, which libhdf5 does not read safely. */
CSL_MUST_CHECK csl_status csl_h5_read_text(
    const csl_h5_file *file, const char *object, const char *name, char *text_out, size_t capacity);
CSL_MUST_CHECK csl_status csl_h5_write_text(const csl_h5_file *file,
                                            const char *object,
                                            const char *name,
                                            const char *text);
/* Array of texts, each in a slot of CSL_NAME_MAX bytes. count_out is checked against count_max. */
CSL_MUST_CHECK csl_status csl_h5_read_names(const csl_h5_file *file,
                                            const char *object,
                                            const char *name,
                                            uint64_t count_max,
                                            char (*names_out)[CSL_NAME_MAX],
                                            uint64_t *count_out);
CSL_MUST_CHECK csl_status csl_h5_write_names(const csl_h5_file *file,
                                             const char *object,
                                             const char *name,
                                             uint64_t count,
                                             const char (*names)[CSL_NAME_MAX]);
/* One number, converted from whatever numeric type is stored. */
CSL_MUST_CHECK csl_status csl_h5_read_number(const csl_h5_file *file,
                                             const char *object,
                                             const char *name,
                                             hid_t memory_type,
                                             void *value_out);
CSL_MUST_CHECK csl_status csl_h5_write_number(const csl_h5_file *file,
                                              const char *object,
                                              const char *name,
                                              hid_t stored_type,
                                              hid_t memory_type,
                                              const void *value);

/* Fails if an object or attribute is named like identifying data; findings (or NULL) take all. */
struct csl_findings;
CSL_MUST_CHECK csl_status csl_h5_refuse_identifying(const csl_h5_file *file,
                                                    struct csl_findings *findings);
/* Whether a name reads like identifying data: "PatientName", "mrn", "Date-of-Birth", ... */
bool csl_name_identifies(const char *name);

#endif
