/*
 * Files of updates, for aggregation outside a run: an HDF5 file whose dataset `updates` is [n][d]
 * of float32 or float64, or a folder of .npy files, one vector of d each, in the order of their
 * names (bytes compared). float64 is rounded to float32 on reading; what is beyond float32's range
 * becomes an infinity, which aggregation refuses. Not collective: every rank that reads opens the
 * file itself. Nothing in it is trusted.
 */
#ifndef CONSILIUM_UPDATES_H
#define CONSILIUM_UPDATES_H

#include <consilium/status.h>
#include <consilium/types.h>

typedef struct csl_updates csl_updates;

/* Opens and checks shapes and types; reads no values. dataset: name in an HDF5 file, NULL for
 * "updates". Errors: E_NOT_FOUND, E_FORMAT (message names file, expected and found), E_RANGE (no
 * row, or more than CSL_ROWS_MAX), E_SHAPE (files of unequal lengths, empty updates), E_NO_MEMORY,
 * E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_updates_open(const char *path,
                                                   const char *dataset,
                                                   csl_updates **updates_out);
CSL_API void csl_updates_close(csl_updates *updates);
/* Of .npy files, where a dataset's name means nothing. */
CSL_API bool csl_updates_is_folder(const csl_updates *updates);
CSL_API uint32_t csl_updates_row_count(const csl_updates *updates);
CSL_API uint64_t csl_updates_column_count(const csl_updates *updates);
/* Where row `row` comes from: "file.h5/updates[3]" or "folder/site-3.npy"; lent. */
CSL_API const char *csl_updates_row_name(const csl_updates *updates, uint32_t row);
/* What to call it: its entry in `names`, else "institution 3", "row 3", or the .npy file's name
 * without its ending; printable UTF-8 below CSL_NAME_MAX bytes; lent. */
CSL_API const char *csl_updates_row_label(const csl_updates *updates, uint32_t row);
/* `institutions` [n] of an HDF5 file, ascending, or NULL; lent. */
CSL_API const uint32_t *csl_updates_institutions(const csl_updates *updates);
/* Whether there are `weights` of an HDF5 file. */
CSL_API bool csl_updates_has_weights(const csl_updates *updates);
/* `weights` [n] of an HDF5 file, owned by the caller (free), or NULL where there are none. Errors:
 * E_SHAPE (not n of them), those of csl_numbers_read. */
CSL_API CSL_MUST_CHECK csl_status csl_updates_read_weights(csl_updates *updates,
                                                           double **weights_out);
/* Columns [begin, begin + count) of rows [first, first + row_count) into block_out
 * [row_count][count] (host). Errors: E_RANGE, E_IO, E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_updates_read(csl_updates *updates,
                                                   uint32_t first,
                                                   uint32_t row_count,
                                                   uint64_t begin,
                                                   size_t count,
                                                   float *block_out);
/* One float32 or float64 vector: `weights` [n] or another dataset of an HDF5 file, given as
 * "file.h5:/name", a .npy file, or a text file of numbers. Owned by the caller (free). */
CSL_API CSL_MUST_CHECK csl_status csl_numbers_read(const char *path,
                                                   double **values_out,
                                                   size_t *count_out);
/* Writing the updates of a round: beside /updates the file gets /weights [n] float64, /institutions
 * [n] uint32 and the attributes round and study_sha256. Equal updates make equal files. */
typedef struct csl_updates_facts {
    const double *weights;        /* [row_count] */
    const uint32_t *institutions; /* [row_count] */
    uint32_t round;
    const char *study_sha256; /* hexadecimal */
} csl_updates_facts;
typedef struct csl_updates_writer csl_updates_writer;
/* Begins a file beside path. Errors: E_RANGE (no row, too many, no column), E_NO_MEMORY, E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_updates_create(const char *path,
                                                     uint32_t row_count,
                                                     uint64_t column_count,
                                                     const csl_updates_facts *facts,
                                                     csl_updates_writer **writer_out);
/* The next row, [column_count]. Errors: E_RANGE (all are there), E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_updates_append(csl_updates_writer *writer,
                                                     const float *update);
/* With the outcome so far in `status`: the file appears under its name, or nothing is left and the
 * first error comes back. The writer is gone either way. Errors: also E_STATE (rows are missing).
 */
CSL_API CSL_MUST_CHECK csl_status csl_updates_finish(csl_updates_writer *writer, csl_status status);
/* Writing an aggregate in pieces: `aggregate` [count] and the text attributes rule and report
 * (JSON), or, where path ends in ".npy", a NumPy array [count] of float32 alone; an earlier file
 * stays whole until the new one is complete. */
typedef struct csl_aggregate_writer csl_aggregate_writer;
/* Begins a file beside path. Errors: E_RANGE (path too long), E_NO_MEMORY, E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_create(const char *path,
                                                       uint64_t count,
                                                       csl_aggregate_writer **writer_out);
/* The next `count` values. Errors: E_RANGE (more than there are), E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_append(csl_aggregate_writer *writer,
                                                       size_t count,
                                                       const float *values);
/* Errors: E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_describe(csl_aggregate_writer *writer,
                                                         const char *rule,
                                                         const char *report);
/* With the outcome so far in `status`: the file replaces an earlier one whole, or nothing is
 * changed and the first error comes back. The writer is gone either way. Errors: also E_STATE
 * (values are missing). */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_finish(csl_aggregate_writer *writer,
                                                       csl_status status);
/* Writes bytes to a file that appears whole or not at all. Errors: E_RANGE (path), E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_bytes_write(const char *path, const void *bytes, size_t size);

#endif
