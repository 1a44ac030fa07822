/* Private to engine/robust/attack*.c: one attack in progress, and what attacks are made of. */
#ifndef CSL_ATTACK_INTERNAL_H
#define CSL_ATTACK_INTERNAL_H

#include "aggregation.h"

#include <consilium/attack.h>
#include <consilium/random.h>

typedef struct csl_attack_job {
    const csl_attack_spec *spec;
    const csl_attack_input *input;
    const csl_aggregate_input *aggregation;
    const csl_kernels *kernels;
    csl_device *device;
    size_t column_count; /* local */
    uint32_t row_count;
    uint32_t hostile_count;
    uint32_t honest_count;
    const float *honest[CSL_ROWS_MAX];  /* device */
    uint32_t honest_rows[CSL_ROWS_MAX]; /* of the round */
    float *const *out;                  /* [hostile_count] device */
    float *mean;                        /* device, of the honest rows */
    float *direction;                   /* device: sigma, a sign, or what the attack puts there */
    csl_attack_report report;
} csl_attack_job;

typedef csl_status (*csl_attack_run)(csl_attack_job *job);

/* The value given, else the preset, else `derived`. */
double
csl_attack_value(const csl_attack_spec *spec, csl_attack_parameter parameter, double derived);

/* Squared distances over all columns and ranks between rows [n], pairs with the first index below
 * lead; out [csl_pair_count(lead, n)]. own: what failed here before. Collective. */
csl_status csl_attack_distances(csl_attack_job *job,
                                csl_status own,
                                const float *const *rows,
                                uint32_t n,
                                uint32_t lead,
                                double *out);
/* target = mean * mean_weight + direction * direction_weight. Not collective. */
csl_status
csl_attack_combine(csl_attack_job *job, double mean_weight, double direction_weight, float *target);
/* The first hostile row also for all others. Not collective. */
csl_status csl_attack_repeat(csl_attack_job *job);
/* Statistics of the honest rows; NULL: not wanted. Not collective. */
csl_status csl_attack_statistics(csl_attack_job *job, const csl_column_statistics *statistics);

/* Values of one tile of hostile row k: in, what `source` holds there (zeros without), out, what is
 * sent. `stream` is the tile's own. */
typedef void (*csl_attack_tile)(const csl_attack_job *job,
                                csl_random *stream,
                                size_t first, /* local column of values[0] */
                                size_t count,
                                float *values);
/* Fills hostile row k tile by tile on the host. shared: all rows draw from one stream. */
csl_status csl_attack_fill(
    csl_attack_job *job, uint32_t k, bool shared, const float *source, csl_attack_tile tile);

/* attack_simple.c */
csl_status csl_attack_sign_flip(csl_attack_job *job);
csl_status csl_attack_ipm(csl_attack_job *job);
csl_status csl_attack_alie(csl_attack_job *job);
csl_status csl_attack_scaling(csl_attack_job *job);
csl_status csl_attack_zero(csl_attack_job *job);
csl_status csl_attack_gaussian(csl_attack_job *job);
csl_status csl_attack_random(csl_attack_job *job);
csl_status csl_attack_infinity(csl_attack_job *job);
csl_status csl_attack_nan(csl_attack_job *job);
csl_status csl_attack_free_rider(csl_attack_job *job);
csl_status csl_attack_fang_trim(csl_attack_job *job);
/* attack_geometry.c: answers found on n x n numbers */
csl_status csl_attack_min_max(csl_attack_job *job);
csl_status csl_attack_min_sum(csl_attack_job *job);
csl_status csl_attack_fang_krum(csl_attack_job *job);
/* attack_mimic.c */
csl_status csl_attack_mimic(csl_attack_job *job);
/* attack_search.c: a line search against the rule in use */
csl_status csl_attack_optimal_ipm(csl_attack_job *job);
csl_status csl_attack_optimal_alie(csl_attack_job *job);

#endif
