#include "import_hash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

csl_status csl_hash_file(const char *path, uint8_t digest_out[CSL_SHA256_SIZE])
{
    FILE *stream = fopen(path, "rb");
    if (!stream) {
        return csl_fail(CSL_E_IO, "%s: %s", path, strerror(errno));
    }
    csl_hash *hash = NULL;
    csl_status status = csl_hash_create(&hash);
    uint8_t piece[16384];
    for (size_t size = 1; status == CSL_OK && size > 0;) {
        size = fread(piece, 1, sizeof piece, stream);
        status = size ? csl_hash_update(hash, piece, size) : CSL_OK;
    }
    if (status == CSL_OK && ferror(stream)) {
        status = csl_fail(CSL_E_IO, "%s: %s", path, strerror(errno));
    }
    fclose(stream);
    if (status == CSL_OK) {
        status = csl_hash_finish(hash, digest_out);
    }
    csl_hash_destroy(hash);
    return status;
}
