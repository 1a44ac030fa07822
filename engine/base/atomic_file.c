#include <consilium/atomic_file.h>

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
    int cause = fsync(descriptor) != 0 ? errno : 0;
    close(descriptor);
    /* Some file systems refuse to flush a folder; the file itself is safe by then. */
    return cause == 0 || (cause == EINVAL && (flags & O_DIRECTORY))
               ? CSL_OK
               : csl_fail(CSL_E_IO, "%s: flush to disk: %s", path, strerror(cause));
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
