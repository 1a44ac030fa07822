/* HDF5 file drivers: one whose writes never fail from HDF5's point of view, one that reads what
 * nobody vouches for. */
#ifndef CSL_HDF5_DRIVER_H
#define CSL_HDF5_DRIVER_H

#include <hdf5.h>

#include <consilium/status.h>

/* What happened to a file while HDF5 wrote it; lives until the file is closed. */
typedef struct csl_h5_writer {
    int failure; /* errno of the first write that failed, 0 if none did */
} csl_h5_writer;

/*
 * Sets the driver on a file access list. libhdf5 1.10 crashes in H5Fclose when the metadata cache
 * cannot be flushed (disk full), so this driver swallows the failure, keeps its errno in *writer
 * and lets HDF5 close normally; the caller looks at writer->failure afterwards and drops the file.
 */
CSL_MUST_CHECK csl_status csl_h5_set_writer(hid_t access_list, csl_h5_writer *writer);

/* Sets the driver for reading: no metadata accumulator, no byte beyond the end of the file. */
CSL_MUST_CHECK csl_status csl_h5_set_reader(hid_t access_list);

#endif
