#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

csl_status csl_atomic_begin(const char *path, char *temporary_out)
{
    int length = snprintf(temporary_out, CSL_PATH_MAX, "%s.%ld.tmp", path, (long)getpid());
    if (length < 0 || length >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "path of %zu bytes is longer than %d", strlen(path),
                        CSL_PATH_MAX);
    }
    return CSL_OK;
}

static csl_status flush_to_disk(const char *path, int flags)
{
    int descriptor = open(path, flags);
    if (descriptor < 0) {
        return csl_fail(CSL_E_IO, "%s: %s", path, strerror(errno));
    }
    int failed = fsync(descriptor) != 0;
    int cause = errno;
    close(descriptor);
    return failed ? csl_fail(CSL_E_IO, "%s: flush to disk: %s", path, strerror(cause)) : CSL_OK;
}

csl_status csl_atomic_commit(const char *temporary, const char *path)
{
    csl_status status = flush_to_disk(temporary, O_RDONLY);
    if (status == CSL_OK && rename(temporary, path) != 0) {
        status = csl_fail(CSL_E_IO, "%s: rename: %s", path, strerror(errno));
    }
    if (status != CSL_OK) {
        csl_atomic_abandon(temporary);
        return status;
    }
    char folder[CSL_PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1,
             slash ? path : ".");
    return flush_to_disk(folder, O_RDONLY | O_DIRECTORY);
}

void csl_atomic_abandon(const char *temporary)
{
    unlink(temporary);
}
