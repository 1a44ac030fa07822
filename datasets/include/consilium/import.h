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

typedef struct csl_import_folder_options {
    uint32_t height;            /* 0: as the first image */
    uint32_t width;             /* 0: as the first image */
    uint32_t channels;          /* 1 grey, 3 RGB, 0: as the first image */
    double validation_fraction; /* of a folder without train, val, test; at most 0.5 together */
    double test_fraction;
    uint64_t seed; /* of that split */
    /* Extended regular expression; what its first group matches in a file's name is the subject.
     * NULL: subjects are unknown. */
    const char *subject_pattern;
} csl_import_folder_options;

/*
 * A folder FOLDER/CLASS/IMAGE or FOLDER/{train,val,test}/CLASS/IMAGE of 8-bit PNG and JPEG files;
 * classes and files in the order of their names. Images of another size are resampled: by area
 * where they shrink, bilinearly where they grow. Without given splits, each class is divided by
 * subject and seed. Errors: as csl_import_npz.
 */
CSL_API CSL_MUST_CHECK csl_status csl_import_folder(const char *path,
                                                    const csl_import_folder_options *options,
                                                    csl_dataset **dataset_out);

#endif
