#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sync_file_range */
#endif
#include "hdf5_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The driver's access-list entry; HDF5 copies it byte by byte. */
typedef struct writer_info {
    csl_h5_writer *writer;
} writer_info;

typedef struct writer_file {
    H5FD_t base; /* must be first: HDF5 casts */
    csl_h5_writer *writer;
    haddr_t allocated_end; /* end of the address space HDF5 has handed out */
    haddr_t written_end;   /* end of the bytes on disk */
    int descriptor;
} writer_file;

static hid_t driver_id_ = -1;
static pthread_mutex_t driver_lock_ = PTHREAD_MUTEX_INITIALIZER;

static H5FD_t *writer_open(const char *name, unsigned flags, hid_t access_list, haddr_t limit)
{
    (void)limit;
    const writer_info *info = H5Pget_driver_info(access_list);
    writer_file *file = info ? calloc(1, sizeof *file) : NULL;
    if (!file) {
        return NULL;
    }
    int mode = O_RDWR | O_CLOEXEC;
    mode |= flags & H5F_ACC_CREAT ? O_CREAT : 0;
    mode |= flags & H5F_ACC_TRUNC ? O_TRUNC : 0;
    mode |= flags & H5F_ACC_EXCL ? O_EXCL : 0;
    file->descriptor = open(name, mode, 0666);
    if (file->descriptor < 0) {
        info->writer->failure = errno;
        free(file);
        return NULL;
    }
    file->writer = info->writer;
    return &file->base;
}

static herr_t writer_close(H5FD_t *base)
{
    writer_file *file = (writer_file *)base;
    if (close(file->descriptor) != 0 && file->writer->failure == 0) {
        file->writer->failure = errno;
    }
    free(file);
    return 0;
}

static herr_t writer_query(const H5FD_t *base, unsigned long *flags)
{
    (void)base;
    if (flags) {
        *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA |
                 H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_AGGREGATE_SMALLDATA |
                 H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    }
    return 0;
}

static haddr_t writer_get_eoa(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return ((const writer_file *)base)->allocated_end;
}

static herr_t writer_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    ((writer_file *)base)->allocated_end = address;
    return 0;
}

static haddr_t writer_get_eof(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return ((const writer_file *)base)->written_end;
}

static herr_t writer_read(
    H5FD_t *base, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, void *buffer)
{
    (void)type;
    (void)transfer;
    const writer_file *file = (const writer_file *)base;
    size_t done = 0;
    while (done < size) {
        ssize_t step =
            pread(file->descriptor, (char *)buffer + done, size - done, (off_t)(address + done));
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step <= 0) {
            break;
        }
        done += (size_t)step;
    }
    memset((char *)buffer + done, 0, size - done); /* what was never written reads as zero */
    return 0;
}

/* Bytes of one write. After each the disk is asked to begin, so that it works while the next one is
 * prepared and the flush at the end has little left. */
enum { PIECE_SIZE = 4 << 20 };

static herr_t writer_write(
    H5FD_t *base, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, const void *buffer)
{
    (void)type;
    (void)transfer;
    writer_file *file = (writer_file *)base;
    for (size_t done = 0; done < size && file->writer->failure == 0;) {
        size_t piece = size - done < PIECE_SIZE ? size - done : PIECE_SIZE;
        ssize_t step =
            pwrite(file->descriptor, (const char *)buffer + done, piece, (off_t)(address + done));
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step <= 0) {
            file->writer->failure = step < 0 ? errno : EIO;
            break;
        }
        if (step == PIECE_SIZE) { /* a hint: what it cannot do, the flush does */
            (void)sync_file_range(file->descriptor, (off_t)(address + done), step,
                                  SYNC_FILE_RANGE_WRITE);
        }
        done += (size_t)step;
    }
    if (address + size > file->written_end) {
        file->written_end = address + size;
    }
    return 0;
}

static herr_t writer_truncate(H5FD_t *base, hid_t transfer, hbool_t closing)
{
    (void)transfer;
    (void)closing;
    writer_file *file = (writer_file *)base;
    if (file->written_end != file->allocated_end) {
        if (ftruncate(file->descriptor, (off_t)file->allocated_end) != 0 &&
            file->writer->failure == 0) {
            file->writer->failure = errno;
        }
        file->written_end = file->allocated_end;
    }
    return 0;
}

static const H5FD_class_t writer_class_ = {
    .name = "consilium_writer",
    .maxaddr = ((haddr_t)1 << 62) - 1,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(writer_info),
    .open = writer_open,
    .close = writer_close,
    .query = writer_query,
    .get_eoa = writer_get_eoa,
    .set_eoa = writer_set_eoa,
    .get_eof = writer_get_eof,
    .read = writer_read,
    .write = writer_write,
    .truncate = writer_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

csl_status csl_h5_set_writer(hid_t access_list, csl_h5_writer *writer)
{
    pthread_mutex_lock(&driver_lock_);
    if (driver_id_ < 0) {
        driver_id_ = H5FDregister(&writer_class_);
    }
    hid_t driver = driver_id_;
    pthread_mutex_unlock(&driver_lock_);
    writer_info info = {writer};
    writer->failure = 0;
    if (driver < 0 || H5Pset_driver(access_list, driver, &info) < 0) {
        return csl_fail(CSL_E_INTERNAL, "HDF5 refuses the file driver");
    }
    return CSL_OK;
}
