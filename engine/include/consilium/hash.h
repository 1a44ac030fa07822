/* SHA-256 (FIPS 180-4, by OpenSSL) and hexadecimal text. */
#ifndef CONSILIUM_HASH_H
#define CONSILIUM_HASH_H

#include <consilium/status.h>
#include <consilium/types.h>

enum {
    CSL_SHA256_SIZE = 32,     /* bytes of a digest */
    CSL_SHA256_TEXT_SIZE = 65 /* bytes of its hexadecimal text, the closing zero included */
};

/* Digest of `size` bytes. Errors: E_INTERNAL where OpenSSL refuses. */
CSL_API CSL_MUST_CHECK csl_status csl_sha256(const void *bytes,
                                             size_t size,
                                             uint8_t digest_out[CSL_SHA256_SIZE]);

/* Digest of bytes that arrive in pieces: create, any number of updates, finish (once), destroy. */
typedef struct csl_hash csl_hash;
CSL_API CSL_MUST_CHECK csl_status csl_hash_create(csl_hash **hash_out);
CSL_API CSL_MUST_CHECK csl_status csl_hash_update(csl_hash *hash, const void *bytes, size_t size);
CSL_API CSL_MUST_CHECK csl_status csl_hash_finish(csl_hash *hash,
                                                  uint8_t digest_out[CSL_SHA256_SIZE]);
CSL_API void csl_hash_destroy(csl_hash *hash);

/* Lower-case hexadecimal of `size` bytes and a closing zero: text_out [2 * size + 1]. */
CSL_API void csl_hex(const void *bytes, size_t size, char *text_out);
/* The reverse; upper case is accepted. Errors: E_FORMAT unless text is 2 * size digits. */
CSL_API CSL_MUST_CHECK csl_status csl_unhex(const char *text, size_t size, void *bytes_out);

#endif
