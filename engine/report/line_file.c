/* Files that grow by whole lines, and files that appear whole. */
#include <consilium/atomic_file.h>
#include <consilium/report.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct csl_line_file {
    int descriptor;
    off_t size; /* after the last whole line */
    char path[CSL_PATH_MAX];
};

static csl_status fail_io(const char *path, const char *what, int cause)
{
    return csl_fail(CSL_E_IO, "%s: %s: %s", path, what, strerror(cause));
}

/* Writes all bytes; a short write is continued, an interruption retried. 0 or the cause. */
static int write_all(int descriptor, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(descriptor, bytes, size);
        if (written < 0 && errno != EINTR) {
            return errno;
        }
        size_t step = written > 0 ? (size_t)written : 0;
        bytes += step;
        size -= step;
    }
    return 0;
}

csl_status csl_file_write(const char *path, const void *bytes, size_t size)
{
    char temporary[CSL_PATH_MAX];
    CSL_TRY(csl_atomic_begin(path, temporary));
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        return fail_io(temporary, "create", errno);
    }
    int cause = write_all(descriptor, bytes, size);
    if (close(descriptor) != 0 && cause == 0) {
        cause = errno;
    }
    if (cause) {
        csl_atomic_abandon(temporary);
        return fail_io(path, "write", cause);
    }
    return csl_atomic_commit(temporary, path);
}

/* Size of the first `count` whole lines of an open file. */
static csl_status measure_lines(csl_line_file *file, uint64_t count)
{
    char buffer[65536];
    off_t position = 0;
    while (count > 0) {
        ssize_t size = pread(file->descriptor, buffer, sizeof buffer, position);
        if (size < 0) {
            return fail_io(file->path, "read", errno);
        }
        if (size == 0) {
            break; /* fewer lines than asked for: all of them are kept */
        }
        for (ssize_t i = 0; i < size && count > 0; i++) {
            if (buffer[i] == '\n') {
                file->size = position + i + 1;
                count--;
            }
        }
        position += size;
    }
    return CSL_OK;
}

csl_status csl_line_file_open(const char *path, uint64_t keep_lines, csl_line_file **file_out)
{
    csl_line_file *file = calloc(1, sizeof *file);
    if (!file) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory to open %s", path);
    }
    snprintf(file->path, sizeof file->path, "%s", path);
    file->descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file->descriptor < 0) {
        csl_status status = fail_io(path, "open", errno);
        free(file);
        return status;
    }
    csl_status status = measure_lines(file, keep_lines);
    if (status == CSL_OK && (ftruncate(file->descriptor, file->size) != 0 ||
                             lseek(file->descriptor, file->size, SEEK_SET) < 0)) {
        status = fail_io(path, "cut back", errno);
    }
    if (status != CSL_OK) {
        close(file->descriptor);
        free(file);
        return status;
    }
    *file_out = file;
    return CSL_OK;
}

csl_status csl_line_file_append(csl_line_file *file, const char *bytes, size_t size)
{
    int cause = write_all(file->descriptor, bytes, size);
    cause = cause ? cause : write_all(file->descriptor, "\n", 1);
    if (cause) {
        /* Back to the last whole line; if even that fails, a reader meets one broken last line. */
        int cut = ftruncate(file->descriptor, file->size);
        off_t end = cut == 0 ? lseek(file->descriptor, file->size, SEEK_SET) : -1;
        return csl_fail(CSL_E_IO, "%s: write: %s%s", file->path, strerror(cause),
                        end < 0 ? "; the last line may be broken" : "");
    }
    file->size += (off_t)size + 1;
    return CSL_OK;
}

csl_status csl_line_file_close(csl_line_file *file)
{
    if (!file) {
        return CSL_OK;
    }
    /* Pipes and special files cannot be flushed; that is no loss. */
    int cause = fsync(file->descriptor) != 0 && errno != EINVAL && errno != EROFS ? errno : 0;
    if (close(file->descriptor) != 0 && cause == 0) {
        cause = errno;
    }
    csl_status status = cause ? fail_io(file->path, "flush to disk", cause) : CSL_OK;
    free(file);
    return status;
}
