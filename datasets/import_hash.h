/* SHA-256 of a file on disk. */
#ifndef CSL_IMPORT_HASH_H
#define CSL_IMPORT_HASH_H

#include <consilium/hash.h>

CSL_MUST_CHECK csl_status csl_hash_file(const char *path, uint8_t digest_out[CSL_SHA256_SIZE]);

#endif
