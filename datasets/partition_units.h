/* What a partition deals out: units of images that stay together. Internal to the partitioner. */
#ifndef CSL_PARTITION_UNITS_H
#define CSL_PARTITION_UNITS_H

#include <consilium/partition.h>
#include <consilium/random.h>

typedef struct csl_unit {
    uint64_t key;     /* subject, group or image */
    uint64_t first;   /* position of its first image in csl_units.images */
    uint64_t count;   /* images */
    uint32_t stratum; /* class most of its images have */
    uint8_t split;
    double property; /* scanner or mean intensity, for scheme feature-scanner */
    int64_t site;    /* group or scanner, for scheme natural */
    uint32_t institution;
} csl_unit;

typedef struct csl_units {
    uint64_t count;
    csl_unit *units;  /* [count], in the order of their first image */
    uint64_t *images; /* unit after unit */
    uint32_t stratum_count;
} csl_units;

/* The class an image counts for: its label; of several labels the first positive one; else 0. */
uint32_t csl_image_stratum(const csl_dataset *dataset, uint64_t image);
uint32_t csl_stratum_count(const csl_dataset *dataset);
CSL_MUST_CHECK csl_status csl_units_create(const csl_dataset *dataset,
                                           const csl_study_split *split,
                                           csl_units **units_out);
void csl_units_destroy(csl_units *units);

/* Gives chosen units, in the order of `order`, to institutions by shares of their images. */
void csl_units_cut(csl_units *units,
                   const uint64_t *order,
                   uint64_t order_count,
                   const double *shares,
                   uint32_t institution_count);
/* One draw of the scheme over the units of one split; `order` is scratch [units->count]. */
CSL_MUST_CHECK csl_status csl_units_deal(csl_units *units,
                                         const csl_partition_options *options,
                                         csl_split split,
                                         uint32_t attempt,
                                         uint64_t *order);

#endif
