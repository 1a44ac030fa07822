/* Seeded chest-like images with lesions, so that everything runs with no download. */
#ifndef CONSILIUM_PHANTOM_H
#define CONSILIUM_PHANTOM_H

#include <consilium/dataset.h>

enum { CSL_PHANTOM_SITES_MAX = 64, CSL_PHANTOM_CLASSES_MAX = 4 };

typedef struct csl_phantom_options {
    uint64_t count;       /* images */
    uint32_t size;        /* voxels along each axis, 16..512 (2-D), 16..128 (3-D) */
    uint32_t dims;        /* 2 or 3 */
    uint32_t class_count; /* 2..4: clear, nodule, consolidation, diffuse opacity */
    uint32_t site_count;  /* institutions, 1..64; each has its own scanner */
    uint64_t seed;
} csl_phantom_options;

/* Fills in the defaults: 4000 images of 28x28, 2 classes, 8 sites, seed 1. */
CSL_API void csl_phantom_defaults(csl_phantom_options *options_out);
/* Draws the data set; image i depends on (seed, i) alone. /group is the site, /scanner its scanner,
 * a subject has one to three images, 70/10/20 % of the subjects are training, validation, test.
 * Errors: E_RANGE, E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_phantom_create(const csl_phantom_options *options,
                                                     csl_dataset **dataset_out);

#endif
