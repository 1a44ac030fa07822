#include <consilium/hash.h>

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct csl_hash {
    EVP_MD_CTX *context;
};

csl_status csl_sha256(const void *bytes, size_t size, uint8_t digest_out[CSL_SHA256_SIZE])
{
    unsigned digest_size = 0;
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(bytes, size, digest, &digest_size, EVP_sha256(), NULL) != 1 ||
        digest_size != CSL_SHA256_SIZE) {
        return csl_fail(CSL_E_INTERNAL, "sha-256 of %zu bytes: openssl refused", size);
    }
    memcpy(digest_out, digest, CSL_SHA256_SIZE);
    return CSL_OK;
}

csl_status csl_hash_create(csl_hash **hash_out)
{
    csl_hash *hash = calloc(1, sizeof *hash);
    if (!hash) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a hash");
    }
    hash->context = EVP_MD_CTX_new();
    if (!hash->context) {
        free(hash);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a hash");
    }
    if (EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) {
        csl_hash_destroy(hash);
        return csl_fail(CSL_E_INTERNAL, "sha-256: openssl refused to begin");
    }
    *hash_out = hash;
    return CSL_OK;
}

csl_status csl_hash_update(csl_hash *hash, const void *bytes, size_t size)
{
    if (EVP_DigestUpdate(hash->context, bytes, size) != 1) {
        return csl_fail(CSL_E_INTERNAL, "sha-256 of %zu bytes more: openssl refused", size);
    }
    return CSL_OK;
}

csl_status csl_hash_finish(csl_hash *hash, uint8_t digest_out[CSL_SHA256_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    if (EVP_DigestFinal_ex(hash->context, digest, &digest_size) != 1 ||
        digest_size != CSL_SHA256_SIZE) {
        return csl_fail(CSL_E_INTERNAL, "sha-256: openssl refused to finish");
    }
    memcpy(digest_out, digest, CSL_SHA256_SIZE);
    return CSL_OK;
}

void csl_hash_destroy(csl_hash *hash)
{
    if (hash) {
        EVP_MD_CTX_free(hash->context);
        free(hash);
    }
}

void csl_hex(const void *bytes, size_t size, char *text_out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *source = bytes;
    for (size_t i = 0; i < size; i++) {
        text_out[2 * i] = digits[source[i] >> 4];
        text_out[2 * i + 1] = digits[source[i] & 15];
    }
    text_out[2 * size] = '\0';
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

csl_status csl_unhex(const char *text, size_t size, void *bytes_out)
{
    size_t digit_count = strlen(text);
    if (digit_count != 2 * size) {
        return csl_fail(CSL_E_FORMAT, "hexadecimal text: expected %zu digits, found %zu", 2 * size,
                        digit_count);
    }
    for (size_t i = 0; i < digit_count; i++) {
        if (digit_value(text[i]) < 0) {
            return csl_fail(CSL_E_FORMAT, "hexadecimal text: character %zu is no digit", i + 1);
        }
    }
    uint8_t *target = bytes_out;
    for (size_t i = 0; i < size; i++) {
        target[i] = (uint8_t)(digit_value(text[2 * i]) * 16 + digit_value(text[2 * i + 1]));
    }
    return CSL_OK;
}
