/* Virtual rows: what pre-aggregators make of the updates, kept as coefficients only. */
#include "passes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

csl_status csl_rows_start(csl_aggregation *a)
{
    uint32_t n = a->live_count;
    a->row_count = n;
    a->mixed = false;
    a->mix = csl_numbers(n, a->point_count);
    a->scale = csl_numbers(n, 1);
    a->score = csl_numbers(n, 1);
    a->weight = csl_numbers(a->point_count, 1);
    a->row_of = calloc(n, sizeof *a->row_of);
    a->chosen = calloc(n, sizeof *a->chosen);
    a->known_norm = csl_numbers(n, 1);
    a->reason = calloc(n, sizeof *a->reason);
    a->shortened = calloc(n, sizeof *a->shortened);
    a->last_score = NAN;
    a->takes_largest = false;
    a->despite = NULL;
    if (!a->reason || !a->shortened || !a->known_norm || !a->mix || !a->scale || !a->score ||
        !a->weight || !a->row_of || !a->chosen) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for %u rows", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        a->mix[(size_t)i * a->point_count + i] = 1;
        a->scale[i] = 1;
        a->score[i] = NAN;
        a->row_of[i] = i;
        a->known_norm[i] = a->norm ? a->norm[i] : NAN;
    }
    return CSL_OK;
}

/* Distances among the virtual rows, and norms as distances from the origin. */
static csl_status measure_mixed(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    csl_frame frame;
    CSL_TRY(csl_frame_open(a, CSL_POINT_ORIGIN, false, &frame));
    for (uint32_t r = 0; r < m; r++) {
        const double *row = frame.distance + (size_t)r * (m + 1);
        memcpy(a->row_distance + (size_t)r * m, row, m * sizeof *row);
        /* Kept while the row stays as it is: what ties once ties for good. */
        a->known_norm[r] = isnan(a->known_norm[r]) ? row[m] : a->known_norm[r];
        a->row_norm[r] = a->known_norm[r];
    }
    csl_frame_close(&frame);
    return CSL_OK;
}

static bool is_shortened(const csl_aggregation *a, uint32_t r)
{
    return a->mix[(size_t)r * a->point_count + csl_extra(a, CSL_POINT_ORIGIN)] != 0;
}

/* Rows that were shortened by different factors and still lie near each other, seen from the
 * origin, as multiples of one row do: of norms and distances as long as theirs nothing is left. */
static bool needs_measuring(const csl_aggregation *a)
{
    static const double NEAR = 0x1p-10;
    uint32_t m = a->row_count;
    bool scaled_only = !a->blended && m == a->live_count;
    for (uint32_t r = 0; scaled_only && r < m; r++) {
        for (uint32_t s = 0; is_shortened(a, r) && s < m; s++) {
            double longer = fmax(a->row_norm[r], a->row_norm[s]);
            if (s != r && a->row_distance[(size_t)r * m + s] < NEAR * longer) {
                return true;
            }
        }
    }
    return false;
}

/* Distances of shortened rows anew, from the rows themselves: one more read. */
static csl_status measure_shortened(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    uint32_t reference = 0;
    double near = 0;
    double *matrix = csl_live_mix(a, NULL, m);
    double *distance = csl_numbers(m, m);
    csl_status status = matrix && distance ? csl_reference(a->row_distance, m, m, &reference, &near)
                                           : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        status = csl_gather_mixture_distances(a, matrix, m, reference, false, distance);
    }
    for (uint32_t r = 0; status == CSL_OK && r < m; r++) {
        for (uint32_t s = 0; s < m; s++) {
            bool as_measured = !is_shortened(a, r) && !is_shortened(a, s);
            size_t pair = (size_t)r * m + s;
            a->row_distance[pair] = as_measured ? a->row_distance[pair] : distance[pair];
        }
    }
    free(matrix);
    free(distance);
    return status;
}

csl_status csl_rows_measure(csl_aggregation *a, uint32_t needs)
{
    uint32_t m = a->row_count;
    free(a->row_distance);
    free(a->row_norm);
    a->row_norm = csl_numbers(m, 1);
    a->row_distance = csl_numbers(m, m);
    if (!a->row_norm || !a->row_distance) {
        return CSL_E_NO_MEMORY;
    }
    bool unknown = false;
    for (uint32_t i = 0; i < m; i++) {
        unknown = unknown || isnan(a->known_norm[i]);
        a->row_norm[i] = a->known_norm[i];
    }
    if (a->mixed && a->distance && (unknown || (needs & CSL_NEEDS_DISTANCES))) {
        CSL_TRY(measure_mixed(a));
        return (needs & CSL_NEEDS_DISTANCES) && needs_measuring(a) ? measure_shortened(a) : CSL_OK;
    }
    for (uint32_t i = 0; a->distance && !a->mixed && i < m; i++) {
        const double *row = a->distance + (size_t)i * a->point_count;
        memcpy(a->row_distance + (size_t)i * m, row, m * sizeof *row);
    }
    return CSL_OK;
}

csl_status csl_rows_mix(csl_aggregation *a, const double *matrix, uint32_t m)
{
    uint32_t p = a->point_count;
    double *mix = csl_numbers(m, p);
    if (!mix) {
        return CSL_E_NO_MEMORY;
    }
    for (uint32_t r = 0; r < m; r++) {
        const double *factor = matrix + (size_t)r * a->row_count;
        double *row = mix + (size_t)r * p;
        if (!a->mixed) { /* virtual row k is live row k */
            memcpy(row, factor, a->row_count * sizeof *row);
            continue;
        }
        for (uint32_t k = 0; k < a->row_count; k++) {
            if (factor[k] != 0) {
                csl_add_multiple(factor[k], a->mix + (size_t)k * p, p, row);
            }
        }
    }
    for (uint32_t r = 0; r < m && r < a->row_count; r++) {
        a->known_norm[r] = NAN;
    }
    free(a->mix);
    a->mix = mix;
    a->row_count = m;
    a->mixed = true;
    return CSL_OK;
}

void csl_note_shortened(
    csl_aggregation *a, uint32_t i, const char *length, double factor, double radius)
{
    if (factor < 1) {
        snprintf(a->shortened[i], sizeof a->shortened[i], "%s %.6g cut to %.6g, by a factor %.4g",
                 length, radius / factor, radius, factor);
    }
}

/* What a number of the virtual row belongs to that a live row has its part in. */
static const char *length_name(const csl_aggregation *a)
{
    return a->blended                      ? "norm of its mixture"
           : a->row_count != a->live_count ? "norm of its bucket"
                                           : "norm";
}

csl_status
csl_rows_scale(csl_aggregation *a, const double *factor, double squared_norm, double radius)
{
    uint32_t p = a->point_count;
    for (uint32_t r = 0; r < a->row_count; r++) {
        if (factor[r] == 1) {
            continue;
        }
        a->mixed = true;
        a->known_norm[r] = squared_norm;
        for (uint32_t j = 0; j < p; j++) {
            a->mix[(size_t)r * p + j] *= factor[r];
        }
        a->mix[(size_t)r * p + csl_extra(a, CSL_POINT_ORIGIN)] += 1 - factor[r];
    }
    for (uint32_t i = 0; i < a->live_count; i++) {
        a->scale[i] *= factor[a->row_of[i]];
        csl_note_shortened(a, i, length_name(a), factor[a->row_of[i]], radius);
    }
    return CSL_OK;
}

csl_status csl_answer_rows(csl_aggregation *a, const double *weight)
{
    a->kind = CSL_ANSWER_LINEAR;
    memset(a->weight, 0, a->point_count * sizeof *a->weight);
    for (uint32_t r = 0; r < a->row_count; r++) {
        if (weight[r] != 0) {
            const double *row = a->mix + (size_t)r * a->point_count;
            csl_add_multiple(weight[r], row, a->point_count, a->weight);
        }
    }
    return CSL_OK;
}

void csl_set_scores(csl_aggregation *a, const char *name, const double *score)
{
    snprintf(a->report->score_name, sizeof a->report->score_name, "%s", name);
    memcpy(a->score, score, a->row_count * sizeof *score);
}

csl_status csl_answer_best(csl_aggregation *a, const double *score, uint32_t keep)
{
    uint32_t m = a->row_count;
    uint32_t *order = calloc(m, sizeof *order);
    double *weight = csl_numbers(m, 1);
    csl_status status = order && weight ? csl_rank(score, m, order)
                                        : csl_fail(CSL_E_NO_MEMORY, "aggregation: ranking");
    if (status == CSL_OK) {
        keep = keep < m ? keep : m;
        for (uint32_t i = 0; i < keep; i++) {
            weight[order[i]] = 1.0 / keep;
        }
        if (keep < m) {
            a->report->margin = score[order[keep]] - score[order[keep - 1]];
            a->last_score = score[order[keep - 1]];
        }
        status = csl_answer_rows(a, weight);
    }
    free(order);
    free(weight);
    return status;
}
