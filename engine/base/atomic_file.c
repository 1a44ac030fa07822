#include <consilium/atomic_file.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Temporary files that are neither committed nor abandoned, for a signal's handler: it reads a name
 * only while its place is OPEN, and names are written only by who has claimed the place. */
enum { PLACES = 64 };
enum { PLACE_FREE, PLACE_CLAIMED, PLACE_OPEN };
static struct {
    atomic_int state;
    char path[CSL_PATH_MAX];
} pending[PLACES];

/* Where all places are taken the file is written all the same; a signal leaves it behind. */
static void note_pending(const char *temporary)
{
    for (int i = 0; i < PLACES; i++) {
        int expected = PLACE_FREE;
        if (atomic_compare_exchange_strong(&pending[i].state, &expected, PLACE_CLAIMED)) {
            snprintf(pending[i].path, sizeof pending[i].path, "%s", temporary);
            atomic_store(&pending[i].state, PLACE_OPEN);
            return;
        }
    }
}

static void forget_pending(const char *temporary)
{
    for (int i = 0; i < PLACES; i++) {
        if (atomic_load(&pending[i].state) == PLACE_OPEN &&
            strcmp(pending[i].path, temporary) == 0) {
            atomic_store(&pending[i].state, PLACE_FREE);
            return;
        }
    }
}

static csl_status split_path(const char *path, char folder[CSL_PATH_MAX], const char **name_out)
{
    const char *slash = strrchr(path, '/');
    if (strlen(path) >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "%.80s...: a path of %zu bytes, longer than %d", path,
                        strlen(path), CSL_PATH_MAX);
    }
    snprintf(folder, CSL_PATH_MAX, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    *name_out = slash ? slash + 1 : path;
    return CSL_OK;
}

static csl_status refuse(const char *path, mode_t mode)
{
    const char *what = S_ISDIR(mode)                    ? "a folder"
                       : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
                       : S_ISFIFO(mode)                 ? "a pipe"
                                                        : "no regular file";
    return csl_fail(CSL_E_INVALID_ARG, "%s: expected a file or nothing to write to, found %s", path,
                    what);
}

/* Where the file really is: links are followed, so that none is replaced. */
static csl_status resolve(const char *path, char resolved[CSL_PATH_MAX])
{
    char folder[CSL_PATH_MAX];
    const char *name = NULL;
    struct stat info;
    if (!*path) {
        return csl_fail(CSL_E_INVALID_ARG, "expected the name of a file to write to, found ''");
    }
    CSL_TRY(split_path(path, folder, &name));
    if (stat(path, &info) == 0) {
        if (!S_ISREG(info.st_mode)) {
            return refuse(path, info.st_mode);
        }
    } else if (lstat(path, &info) == 0) {
        return csl_fail(CSL_E_IO, "%s: a link that leads nowhere", path);
    }
    char *real = realpath(path, NULL);
    char *real_folder = real ? NULL : realpath(folder, NULL);
    int length = 0;
    if (real || real_folder) {
        length = real ? snprintf(resolved, CSL_PATH_MAX, "%s", real)
                      : snprintf(resolved, CSL_PATH_MAX, "%s/%s", real_folder, name);
    }
    free(real);
    free(real_folder);
    if (length <= 0) {
        return csl_fail(CSL_E_IO, "%s: its folder: %s", path, strerror(errno));
    }
    return *name && length < CSL_PATH_MAX
               ? CSL_OK
               : csl_fail(CSL_E_RANGE, "%s: expected the name of a file, of at most %d bytes", path,
                          CSL_PATH_MAX);
}

csl_status csl_atomic_check(const char *path)
{
    char resolved[CSL_PATH_MAX];
    char folder[CSL_PATH_MAX];
    const char *name;
    CSL_TRY(resolve(path, resolved));
    CSL_TRY(split_path(resolved, folder, &name));
    return access(folder, W_OK | X_OK) == 0
               ? CSL_OK
               : csl_fail(CSL_E_IO, "%s: its folder: %s", path, strerror(errno));
}

bool csl_same_file(const char *path, const char *other)
{
    struct stat first;
    struct stat second;
    char resolved[2][CSL_PATH_MAX];
    if (stat(path, &first) == 0 && stat(other, &second) == 0) {
        return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
    }
    return resolve(path, resolved[0]) == CSL_OK && resolve(other, resolved[1]) == CSL_OK &&
           strcmp(resolved[0], resolved[1]) == 0;
}

bool csl_file_is_below(const char *path, const char *folder)
{
    char resolved[CSL_PATH_MAX];
    char *real = realpath(folder, NULL);
    size_t length = real ? strlen(real) : 0;
    bool below = real && resolve(path, resolved) == CSL_OK &&
                 strncmp(resolved, real, length) == 0 &&
                 (resolved[length] == '/' || strcmp(real, "/") == 0);
    free(real);
    return below;
}

csl_status csl_atomic_begin(const char *path, char *temporary_out)
{
    char resolved[CSL_PATH_MAX];
    CSL_TRY(resolve(path, resolved));
    int length = snprintf(temporary_out, CSL_PATH_MAX, "%s.%ld.tmp", resolved, (long)getpid());
    if (length >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "%s: a path longer than %d bytes", path, CSL_PATH_MAX);
    }
    note_pending(temporary_out);
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
    char target[CSL_PATH_MAX];
    char folder[CSL_PATH_MAX];
    const char *name;
    csl_status status = resolve(path, target);
    if (status == CSL_OK) {
        status = flush_to_disk(temporary, O_RDONLY);
    }
    if (status == CSL_OK && rename(temporary, target) != 0) {
        status = csl_fail(CSL_E_IO, "%s: rename: %s", path, strerror(errno));
    }
    if (status != CSL_OK) {
        csl_atomic_abandon(temporary);
        return status;
    }
    forget_pending(temporary);
    CSL_TRY(split_path(target, folder, &name));
    return flush_to_disk(folder, O_RDONLY | O_DIRECTORY);
}

void csl_atomic_abandon(const char *temporary)
{
    unlink(temporary);
    forget_pending(temporary);
}

void csl_atomic_abandon_all(void)
{
    int cause = errno;
    for (int i = 0; i < PLACES; i++) {
        if (atomic_load(&pending[i].state) == PLACE_OPEN) {
            unlink(pending[i].path);
        }
    }
    errno = cause;
}
