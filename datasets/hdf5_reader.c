/*
 * Reading files that nobody vouches for. libhdf5 1.10's stock driver gathers metadata in an
 * accumulator whose arithmetic overflows on damaged addresses (H5F__accum_read copies out of
 * bounds) and fills what lies beyond the end of a file with zeros. This driver offers neither:
 * every read is checked against the file's size.
 */
#include "hdf5_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct reader_file {
    H5FD_t base; /* must be first: HDF5 casts */
    haddr_t allocated_end;
    haddr_t size;
    int descriptor;
} reader_file;

static hid_t driver_id_ = -1;
static pthread_mutex_t driver_lock_ = PTHREAD_MUTEX_INITIALIZER;

static H5FD_t *reader_open(const char *name, unsigned flags, hid_t access_list, haddr_t limit)
{
    (void)access_list;
    (void)limit;
    reader_file *file = flags & H5F_ACC_RDWR ? NULL : calloc(1, sizeof *file);
    if (!file) {
        return NULL;
    }
    struct stat info;
    file->descriptor = open(name, O_RDONLY | O_CLOEXEC);
    if (file->descriptor < 0 || fstat(file->descriptor, &info) != 0 || info.st_size < 0) {
        if (file->descriptor >= 0) {
            close(file->descriptor);
        }
        free(file);
        return NULL;
    }
    file->size = (haddr_t)info.st_size;
    return &file->base;
}

static herr_t reader_close(H5FD_t *base)
{
    reader_file *file = (reader_file *)base;
    close(file->descriptor);
    free(file);
    return 0;
}

static herr_t reader_query(const H5FD_t *base, unsigned long *flags)
{
    (void)base;
    if (flags) {
        *flags = H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    }
    return 0;
}

static haddr_t reader_get_eoa(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return ((const reader_file *)base)->allocated_end;
}

static herr_t reader_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    ((reader_file *)base)->allocated_end = address;
    return 0;
}

static haddr_t reader_get_eof(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return ((const reader_file *)base)->size;
}

static herr_t reader_read(
    H5FD_t *base, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, void *buffer)
{
    (void)type;
    (void)transfer;
    const reader_file *file = (const reader_file *)base;
    if (address > file->size || size > file->size - address) {
        return -1;
    }
    for (size_t done = 0; done < size;) {
        ssize_t step =
            pread(file->descriptor, (char *)buffer + done, size - done, (off_t)(address + done));
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step <= 0) {
            return -1;
        }
        done += (size_t)step;
    }
    return 0;
}

/* HDF5 refuses to register a driver without it. */
static herr_t reader_write(
    H5FD_t *base, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, const void *buffer)
{
    (void)base;
    (void)type;
    (void)transfer;
    (void)address;
    (void)size;
    (void)buffer;
    return -1;
}

static const H5FD_class_t reader_class_ = {
    .name = "consilium_reader",
    .maxaddr = ((haddr_t)1 << 62) - 1,
    .fc_degree = H5F_CLOSE_STRONG,
    .open = reader_open,
    .close = reader_close,
    .query = reader_query,
    .get_eoa = reader_get_eoa,
    .set_eoa = reader_set_eoa,
    .get_eof = reader_get_eof,
    .read = reader_read,
    .write = reader_write,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

csl_status csl_h5_set_reader(hid_t access_list)
{
    pthread_mutex_lock(&driver_lock_);
    if (driver_id_ < 0) {
        driver_id_ = H5FDregister(&reader_class_);
    }
    hid_t driver = driver_id_;
    pthread_mutex_unlock(&driver_lock_);
    return driver >= 0 && H5Pset_driver(access_list, driver, NULL) >= 0
               ? CSL_OK
               : csl_fail(CSL_E_INTERNAL, "HDF5 refuses the file driver");
}
