/*
 * Partitions: a pool becomes institutions. EXACT: a function of the data set, the options and the
 * seed, the same on every machine. Not collective; cheap enough to repeat on every rank.
 *
 * The unit is what must stay together: the images of a subject; where subjects are unknown, of a
 * group; else one image. A unit is never in two institutions nor in two splits unless forced. Where
 * the pool has splits they are kept: the scheme deals training units, and validation and test units
 * follow, class by class, the shares that training gave. Splits the pool lacks are drawn at each
 * institution, stratified by class.
 */
#ifndef CONSILIUM_PARTITION_H
#define CONSILIUM_PARTITION_H

#include <consilium/dataset.h>
#include <consilium/study.h>

typedef struct csl_partition_options {
    csl_study_split split;
    uint32_t institution_count;
    uint64_t seed;
} csl_partition_options;

typedef struct csl_partition_plan {
    csl_partition_options options;
    uint32_t institution_count;
    uint64_t image_count;
    uint32_t *institution; /* [image_count] */
    uint8_t *split;        /* [image_count] of csl_split, after holdout */
    bool groups_broken;    /* force was needed */
} csl_partition_plan;

/* Name of a scheme ("dirichlet-balanced") and the reverse. Errors: E_NOT_FOUND (the nearest). */
CSL_API const char *csl_partition_scheme_name(csl_split_scheme scheme);
CSL_API CSL_MUST_CHECK csl_status csl_partition_scheme_find(const char *name,
                                                            csl_split_scheme *scheme_out);
/* Scheme iid, alpha 0.5, two labels, two shards, sigma 0.5, 10 training images at least, 10 %
 * validation, 20 % test. */
CSL_API void csl_partition_defaults(csl_partition_options *options_out);

/* Errors: E_RANGE (options; too few units; no draw in CSL_PARTITION_TRIES gave every institution
 * min_size training images; a unit lies in two splits), E_NO_MEMORY. */
enum { CSL_PARTITION_TRIES = 100 };
CSL_API CSL_MUST_CHECK csl_status csl_partition(const csl_dataset *dataset,
                                                const csl_partition_options *options,
                                                csl_partition_plan **plan_out);
CSL_API void csl_partition_plan_destroy(csl_partition_plan *plan);

/* One institution's data set, its site named "institution-NN" unless the pool has one, with the
 * noise of scheme feature-noise applied. Owned by the caller. Errors: E_RANGE, E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_partition_extract(const csl_dataset *dataset,
                                                        const csl_partition_plan *plan,
                                                        uint32_t institution,
                                                        csl_dataset **dataset_out);

/* How an institution differs from the pool. Distances are between class shares (multi-label: shares
 * of positive labels) of all its images and all of the pool's. */
typedef struct csl_partition_summary {
    uint64_t size[3]; /* images of train, validation, test */
    uint64_t class_size[CSL_CLASSES_MAX];
    double jensen_shannon; /* divergence in bits, 0..1 (Lin 1991) */
    double earth_mover;    /* total variation: half the L1 distance, 0..1 */
} csl_partition_summary;
CSL_API CSL_MUST_CHECK csl_status csl_partition_summarise(const csl_dataset *dataset,
                                                          const csl_partition_plan *plan,
                                                          uint32_t institution,
                                                          csl_partition_summary *summary_out);
/* Effective number of institutions: (sum of sizes)^2 / sum of squared sizes (Kish 1965). */
CSL_API double csl_partition_effective_count(const csl_partition_plan *plan);
/* Writes the report as JSON beside the files; whole or not at all. */
CSL_API CSL_MUST_CHECK csl_status csl_partition_report(const csl_dataset *dataset,
                                                       const csl_partition_plan *plan,
                                                       const char *path);

#endif
