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
#include <consilium/files.h>
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
/* Scheme iid, alpha 0.5, two labels, two shards, sigma 0.5, strength 1, 10 training images at
 * least, 10 % validation, 20 % test. */
CSL_API void csl_partition_defaults(csl_partition_options *options_out);

/* Errors: E_RANGE (options; too few units; no draw in CSL_PARTITION_TRIES gave every institution
 * min_size training images; a unit lies in two splits), E_NO_MEMORY. */
enum { CSL_PARTITION_TRIES = 100 };
CSL_API CSL_MUST_CHECK csl_status csl_partition(const csl_dataset *dataset,
                                                const csl_partition_options *options,
                                                csl_partition_plan **plan_out);
CSL_API void csl_partition_plan_destroy(csl_partition_plan *plan);

/* What an institution without a name of its own is called: "institution-07", its number from 0 with
 * as many digits as the last of `institution_count` has, at least two, so that the names sort in
 * the order of the numbers. */
CSL_API void csl_partition_site_name(uint32_t institution,
                                     uint32_t institution_count,
                                     char name_out[CSL_NAME_MAX]);

/* One institution's data set, its site named by csl_partition_site_name, with the noise of scheme
 * feature-noise applied. Owned by the caller. Errors: E_RANGE, E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_partition_extract(const csl_dataset *dataset,
                                                        const csl_partition_plan *plan,
                                                        uint32_t institution,
                                                        csl_dataset **dataset_out);

/* Can the files of institution_count institutions be written into `folder`? Refused: a data set
 * file
 * (*.h5) that would stay beside them and be taken for an institution, and `pool` among them (its
 * path; may be NULL). Errors: E_NOT_FOUND (no folder), E_INVALID_ARG, those of csl_atomic_check. */
CSL_API CSL_MUST_CHECK csl_status csl_partition_check_folder(const char *folder,
                                                             uint32_t institution_count,
                                                             const char *pool);
/* Extracts one institution and writes it to FOLDER/SITE.h5 (csl_partition_site_name) with the
 * pool's descriptive texts: all are kept, to split_method scheme and seed are added, site_uid is
 * the institution's own. metadata may be NULL. path_out [CSL_PATH_MAX] or NULL. Errors: those of
 * csl_partition_extract and csl_dataset_write, E_RANGE (path too long). */
CSL_API CSL_MUST_CHECK csl_status csl_partition_write(const csl_dataset *pool,
                                                      const csl_dataset_metadata *metadata,
                                                      const csl_partition_plan *plan,
                                                      uint32_t institution,
                                                      const char *folder,
                                                      char *path_out);

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
