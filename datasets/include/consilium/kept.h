/*
 * What an aggregation rule keeps from one call to the next, in an HDF5 file: one centre, or one
 * history of each institution. docs/FORMATS.md has the format. Not collective: every rank that
 * reads opens the file itself, one rank writes. Nothing in it is trusted.
 */
#ifndef CONSILIUM_KEPT_H
#define CONSILIUM_KEPT_H

#include <consilium/updates.h>

/* Whose the kept rows are; all lent. */
typedef struct csl_kept_facts {
    const char *rule;
    bool per_institution;       /* a history of each row of updates; else one centre */
    const csl_updates *updates; /* its row labels and its column count belong to the file */
} csl_kept_facts;

/* Rows of such a file: 1, or the rows of the updates. */
CSL_API uint32_t csl_kept_row_count(const csl_kept_facts *facts);

typedef struct csl_kept csl_kept;
/* Opens for reading and refuses what does not belong to `facts`; reads no values. Errors:
 * E_NOT_FOUND, E_FORMAT (no such file, truncated), E_INVALID_ARG (of another rule, length or other
 * institutions; the message names place, expected and found), E_NO_MEMORY, E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_kept_open(const char *path,
                                                const csl_kept_facts *facts,
                                                csl_kept **kept_out);
/* Columns [begin, begin + count) of a row into values_out (host). Errors: E_RANGE, E_FORMAT (a
 * value that is not finite), E_IO. */
CSL_API CSL_MUST_CHECK csl_status
csl_kept_read(csl_kept *kept, uint32_t row, uint64_t begin, size_t count, float *values_out);
CSL_API void csl_kept_close(csl_kept *kept);

typedef struct csl_kept_writer csl_kept_writer;
/* Begins a file beside path. Errors: E_RANGE (path), E_NO_MEMORY, E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_kept_create(const char *path,
                                                  const csl_kept_facts *facts,
                                                  csl_kept_writer **writer_out);
/* The next `count` values, row after row; none beyond the end of a row. Errors: E_RANGE, E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_kept_append(csl_kept_writer *writer,
                                                  size_t count,
                                                  const float *values);
/* With the outcome so far in `status`: the file replaces an earlier one whole, or nothing is
 * changed and the first error comes back. The writer is gone either way. Errors: also E_STATE
 * (values are missing). */
CSL_API CSL_MUST_CHECK csl_status csl_kept_finish(csl_kept_writer *writer, csl_status status);

#endif
