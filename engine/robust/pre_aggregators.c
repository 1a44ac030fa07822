/* Pre-aggregators: each replaces the virtual rows by affine combinations of them. */
#include "aggregation.h"

#include <consilium/random.h>
#include <math.h>
#include <stdlib.h>

/* Nearest-neighbour mixing: Allouah et al. 2023, "Fixing by mixing", section 4. */
csl_status csl_pre_nnm(csl_aggregation *a)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    uint32_t m = a->row_count;
    uint32_t keep = m > a->f ? m - a->f : 1;
    double *matrix = csl_numbers(m, m);
    bool *near = calloc(m, sizeof *near);
    csl_status status =
        matrix && near ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "nnm: no memory for %u rows", m);
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        status = csl_least(a->row_distance + (size_t)i * m, m, keep, near);
        for (uint32_t k = 0; status == CSL_OK && k < m; k++) {
            matrix[(size_t)i * m + k] = near[k] ? 1.0 / keep : 0;
        }
    }
    if (status == CSL_OK) {
        status = csl_rows_mix(a, matrix, m);
        a->blended = true;
    }
    free(matrix);
    free(near);
    return status;
}

/* Bucketing: Karimireddy et al. 2022, algorithm 1. */
csl_status csl_pre_bucketing(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    uint32_t bucket = csl_whole_value(a, CSL_PARAMETER_BUCKET, 2);
    uint32_t buckets = (m + bucket - 1) / bucket;
    double *matrix = csl_numbers(buckets, m);
    uint64_t *permutation = calloc(m, sizeof *permutation);
    uint32_t *bucket_of = calloc(m, sizeof *bucket_of);
    csl_status status = matrix && permutation && bucket_of
                            ? CSL_OK
                            : csl_fail(CSL_E_NO_MEMORY, "bucketing: no memory for %u rows", m);
    if (status == CSL_OK) {
        csl_random stream =
            csl_random_stream(a->spec->seed, CSL_RANDOM_AGGREGATION, a->input->round, 0);
        csl_random_permutation(&stream, m, permutation);
        for (uint32_t i = 0; i < m; i++) {
            uint32_t place = i / bucket;
            uint32_t size = place + 1 < buckets ? bucket : m - place * bucket;
            matrix[(size_t)place * m + permutation[i]] = 1.0 / size;
            bucket_of[permutation[i]] = place;
        }
        for (uint32_t i = 0; i < a->live_count; i++) {
            a->row_of[i] = bucket_of[a->row_of[i]];
        }
        status = csl_rows_mix(a, matrix, buckets);
    }
    free(matrix);
    free(permutation);
    free(bucket_of);
    return status;
}

/* Shortened rows have exactly that norm afterwards, so that ties among them are ties. */
static csl_status scale_to(csl_aggregation *a, double radius, double squared)
{
    double *factor = csl_numbers(a->row_count, 1);
    if (!factor) {
        return CSL_E_NO_MEMORY;
    }
    for (uint32_t r = 0; r < a->row_count; r++) {
        double norm = sqrt(a->row_norm[r]);
        factor[r] = norm > radius ? radius / norm : 1;
    }
    csl_status status = csl_rows_scale(a, factor, squared, radius);
    free(factor);
    return status;
}

static csl_status clip_rows(csl_aggregation *a, double radius)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_NORMS));
    double squared = radius * radius;
    if (radius == 0) { /* the mean of the two middle norms, not of their squares */
        uint32_t m = a->row_count;
        double low = 0;
        CSL_TRY(csl_order_statistic(a->row_norm, m, (m - 1) / 2, &low));
        CSL_TRY(csl_order_statistic(a->row_norm, m, m / 2, &squared));
        radius = sqrt(squared);
        if (low != squared) {
            radius = (sqrt(low) + sqrt(squared)) / 2;
            squared = radius * radius;
        }
    }
    return scale_to(a, radius, squared);
}

csl_status csl_pre_clipping(csl_aggregation *a)
{
    return clip_rows(a, csl_value(a, CSL_PARAMETER_RADIUS, 0));
}

/* Sun et al. 2019: clip, mean, and (weak differential privacy) noise. */
csl_status csl_rule_norm_clipping(csl_aggregation *a)
{
    CSL_TRY(clip_rows(a, csl_value(a, CSL_PARAMETER_RADIUS, 0)));
    a->noise = csl_value(a, CSL_PARAMETER_NOISE, 0);
    double *weight = csl_numbers(a->row_count, 1);
    if (!weight) {
        return CSL_E_NO_MEMORY;
    }
    for (uint32_t r = 0; r < a->row_count; r++) {
        weight[r] = a->spec->weights != CSL_WEIGHTS_EQUAL ? a->live_weights[r] : 1.0 / a->row_count;
    }
    csl_status status = csl_answer_rows(a, weight);
    free(weight);
    return status;
}

/* Adaptive robust clipping: Allouah et al. 2025, algorithm 2. */
csl_status csl_pre_arc(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    uint64_t clipped = (uint64_t)2 * a->f * (m - a->f) / m;
    if (a->spec->preset == CSL_PRESET_BYZFL) {
        /* ByzFL computes it in float64, one too small for some (n, f); its bits are kept here. */
        clipped = (uint64_t)((2.0 * a->f / m) * (m - a->f));
    }
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_NORMS));
    double limit = 0;
    clipped = clipped < m ? clipped : m - 1;
    CSL_TRY(csl_order_statistic(a->row_norm, m, m - 1 - (uint32_t)clipped, &limit));
    return scale_to(a, sqrt(limit), limit);
}
