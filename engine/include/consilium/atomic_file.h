/* A file that appears whole or not at all: written beside its target, then renamed over it. */
#ifndef CONSILIUM_ATOMIC_FILE_H
#define CONSILIUM_ATOMIC_FILE_H

#include <consilium/status.h>
#include <consilium/types.h>

/* Can a file be written at `path`? A link is followed, anything but a regular file is refused: no
 * device, folder or pipe is ever replaced. Errors: E_INVALID_ARG (no regular file), E_IO (folder
 * missing or closed to this user, a link that leads nowhere), E_RANGE (path too long). */
CSL_API CSL_MUST_CHECK csl_status csl_atomic_check(const char *path);
/* Do both paths name one file, there already or to be written? */
CSL_API bool csl_same_file(const char *path, const char *other);
/* Does `path`, there already or to be written, lie in `folder` or below it? Links are followed. */
CSL_API bool csl_file_is_below(const char *path, const char *folder);
/* Puts the name of the temporary file for `path` into temporary_out [CSL_PATH_MAX]; commit or
 * abandon follows. Errors: as csl_atomic_check. */
CSL_API CSL_MUST_CHECK csl_status csl_atomic_begin(const char *path, char *temporary_out);
/* Flushes the temporary file and its folder to disk and renames it; on failure it is removed.
 * Errors: E_IO. */
CSL_API CSL_MUST_CHECK csl_status csl_atomic_commit(const char *temporary, const char *path);
/* Removes the temporary file, if it exists. */
CSL_API void csl_atomic_abandon(const char *temporary);
/* Removes the temporary files of all that was begun and neither committed nor abandoned (the first
 * 64 of them), for a program that is about to end. May be called from a signal's handler. */
CSL_API void csl_atomic_abandon_all(void);

#endif
