/* Importers: foreign files in, a data set out. Not collective. Everything read is hostile: sizes
 * are checked against the file's before memory is taken. */
#ifndef CONSILIUM_IMPORT_H
#define CONSILIUM_IMPORT_H

#include <consilium/dataset.h>

/*
 * A MedMNIST-style archive: {train,val,test}_images and _labels, optionally _group. Images are u1,
 * i2, u2, i4, f4 or f8 as (N,H,W), (N,H,W,C) with C of 1, 3 or 4, (N,D,H,W) or (N,D,H,W,C); labels
 * (N) or (N,1) are classes, (N,L) of 0 and 1 a multi-label task. Pickled objects and Fortran order
 * are refused. Errors: E_NOT_FOUND, E_FORMAT (message names file, member, expected, found),
 * E_VERIFY (checksum), E_NO_MEMORY, E_IO.
 */
CSL_API CSL_MUST_CHECK csl_status csl_import_npz(const char *path, csl_dataset **dataset_out);

typedef struct csl_folder_options {
    uint32_t height, width; /* to resize to; both 0: all pictures must have one size */
    uint32_t channels;      /* 1 grey, 3 RGB, 0: all pictures must have the same */
    const char *patients;   /* CSV file of patients and sites, see docs/FORMATS.md; or NULL */
} csl_folder_options;

/*
 * A folder of PNG and JPEG pictures: one sub-folder for each class (CLASS/FILE), or below train,
 * val and test (SPLIT/CLASS/FILE; without them all images are for training). Classes are numbered
 * in the order of their names' bytes; two make a binary task whose class 1 is the positive one.
 * Grey or RGB of 8 bits, PNG also of 16; samples are taken as stored, without gamma or profile.
 * Hidden files are passed over; any other file that is no picture is refused. Errors: E_NOT_FOUND,
 * E_FORMAT (message names the file, expected, found), E_RANGE (options), E_NO_MEMORY, E_IO.
 */
CSL_API CSL_MUST_CHECK csl_status csl_import_folder(const char *path,
                                                    const csl_folder_options *options,
                                                    csl_dataset **dataset_out);

#endif
