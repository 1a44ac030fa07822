/* Headers of NumPy's .npy format, versions 1 to 3 (NEP 1). */
#ifndef CSL_NPY_HEADER_H
#define CSL_NPY_HEADER_H

#include <consilium/status.h>
#include <consilium/types.h>

enum { CSL_NPY_HEADER_RANK_MAX = 5, CSL_NPY_HEADER_SIZE_MAX = 65536 };

typedef struct csl_npy_header {
    char kind;          /* 'u', 'i', 'f' */
    uint32_t item_size; /* 1, 2, 4, 8 */
    uint32_t rank;
    uint64_t extent[CSL_NPY_HEADER_RANK_MAX];
    uint64_t count;       /* elements */
    uint64_t data_offset; /* bytes before the elements */
} csl_npy_header;

/* Parses the header at the start of `bytes`. where: named in messages; accepted: the element types
 * that the caller takes, for the message about one that nobody does. Errors: E_FORMAT. */
CSL_MUST_CHECK csl_status csl_npy_header_parse(const uint8_t *bytes,
                                               size_t size,
                                               const char *where,
                                               const char *accepted,
                                               csl_npy_header *header_out);

/* "(6, 28, 28) of u1", for messages. */
enum { CSL_NPY_HEADER_TEXT_SIZE = 128 };
void csl_npy_header_describe(const csl_npy_header *header, char text_out[CSL_NPY_HEADER_TEXT_SIZE]);

#endif
