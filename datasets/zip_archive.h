/* Reading ZIP archives (PKWARE APPNOTE 6.3.10): stored and deflated members, ZIP64, checksums. */
#ifndef CSL_ZIP_ARCHIVE_H
#define CSL_ZIP_ARCHIVE_H

#include <consilium/status.h>
#include <consilium/types.h>

enum { CSL_ZIP_MEMBERS_MAX = 4096, CSL_ZIP_NAME_MAX = 256 };

typedef struct csl_zip_member {
    char name[CSL_ZIP_NAME_MAX];
    uint32_t method;
    uint32_t crc32;
    uint64_t packed_size;
    uint64_t size;
    uint64_t header_offset;
} csl_zip_member;

typedef struct csl_zip {
    const char *path; /* lent, for messages */
    int descriptor;
    uint64_t file_size;
    uint32_t member_count;
    csl_zip_member *members;
} csl_zip;

CSL_MUST_CHECK csl_status csl_zip_open(const char *path, csl_zip *zip_out);
void csl_zip_close(csl_zip *zip);
/* NULL if there is none of that name. */
const csl_zip_member *csl_zip_find(const csl_zip *zip, const char *name);
/* Unpacks the first `size` bytes; the whole member's checksum is verified when it is read whole. */
CSL_MUST_CHECK csl_status csl_zip_read(const csl_zip *zip,
                                       const csl_zip_member *member,
                                       uint64_t size,
                                       void *bytes_out);

#endif
