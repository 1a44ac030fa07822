/* Centered clipping and CAF: iterations that cost no pass over the data, since every iterate is an
 * affine combination of points whose products are known. */
#include "aggregation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Karimireddy et al. 2021, equation 4. weight [m + 1], the last one of the centre; near [m + 1]. */
static csl_status
clip_towards(csl_aggregation *a, const csl_frame *frame, double *weight, double *near)
{
    uint32_t m = a->row_count;
    double given = csl_value(a, CSL_PARAMETER_TAU, 10);
    uint32_t steps = csl_whole_value(a, CSL_PARAMETER_ITERATIONS, 1);
    double tau = given;
    for (uint32_t step = 0; step < steps; step++) {
        if (step > 0) { /* before the first step they are those to the centre, as measured */
            csl_frame_distances(frame, weight, near);
        }
        for (uint32_t i = 0; i < m; i++) {
            near[i] = sqrt(near[i]);
        }
        if (given == 0) {
            CSL_TRY(csl_median(near, m, &tau));
        }
        double sum = 0;
        for (uint32_t i = 0; i < m; i++) {
            near[i] = near[i] > tau ? tau / near[i] : 1; /* from here on: the factor */
            sum += near[i];
        }
        for (uint32_t i = 0; i <= m; i++) {
            weight[i] *= 1 - sum / m;
        }
        for (uint32_t i = 0; i < m; i++) {
            weight[i] += near[i] / m;
        }
        a->report->iterations = step + 1;
    }
    for (uint32_t i = 0; i < a->live_count; i++) {
        double factor = near[a->row_of[i]];
        a->scale[i] *= factor;
        csl_note_shortened(a, i, "distance to the centre", factor, tau);
    }
    return CSL_OK;
}

bool csl_clips_once(const csl_aggregate_spec *spec)
{
    return spec->pre_count == 0 && csl_spec_value(spec, CSL_PARAMETER_ITERATIONS, 1) == 1;
}

csl_status csl_rule_centered_clipping(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    csl_frame frame = {0};
    bool iterates = csl_whole_value(a, CSL_PARAMETER_ITERATIONS, 1) > 1;
    if (!a->centre_distance) {
        CSL_TRY(csl_frame_open(a, CSL_POINT_CENTRE, iterates, &frame));
    }
    double *weight = csl_numbers(m + 1, 1);
    double *near = csl_numbers(m + 1, 1);
    csl_status status = weight && near ? CSL_OK : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        const double *measured =
            a->centre_distance ? a->centre_distance : frame.distance + (size_t)m * (m + 1);
        memcpy(near, measured, m * sizeof *near);
        csl_set_scores(a, "squared distance to the centre", near);
        weight[m] = 1;
        status = clip_towards(a, &frame, weight, near);
    }
    if (status == CSL_OK) {
        status = csl_answer_rows(a, weight);
        a->weight[csl_extra(a, CSL_POINT_CENTRE)] += weight[m];
    }
    csl_frame_close(&frame);
    free(weight);
    free(near);
    return status;
}

enum { CAF_BYZFL_STEPS = 10000 };

typedef struct caf_work {
    double *c;
    double *weight;
    double *root; /* of weight */
    double *best;
    double *products;
    double *matrix;
    double *vector;
    double *tau;
    uint32_t *place; /* of the rows that have weight */
    double least;
} caf_work;

/* sqrt(w_i w_j) <x_i - mu, x_j - mu> of the rows that have weight; returns how many they are. */
static uint32_t caf_matrix(const csl_aggregation *a, caf_work *w)
{
    uint32_t m = a->row_count;
    uint32_t count = 0;
    for (uint32_t i = 0; i < m; i++) {
        w->root[i] = sqrt(w->weight[i]);
        if (w->root[i] > 0) {
            w->place[count++] = i;
        }
    }
    csl_centred_products(w->weight, a->row_distance, m, w->tau, w->products);
    for (uint32_t i = 0; i < count; i++) {
        const double *products = w->products + (size_t)w->place[i] * m;
        for (uint32_t j = 0; j < count; j++) {
            double factor = w->root[w->place[i]] * w->root[w->place[j]];
            w->matrix[(size_t)i * count + j] = factor * products[w->place[j]];
        }
    }
    return count;
}

/* One step of CAF: top eigenpair of the weighted covariance through the n x n matrix
 * sqrt(w_i w_j) <x_i - mu, x_j - mu>; tau_i = <x_i - mu, v>^2. Returns the largest tau. */
static csl_status caf_step(const csl_aggregation *a, caf_work *w, double sum, double *largest_out)
{
    uint32_t m = a->row_count;
    for (uint32_t i = 0; i < m; i++) {
        w->weight[i] = w->c[i] / sum;
    }
    uint32_t count = caf_matrix(a, w);
    double lambda = 0;
    CSL_TRY(csl_top_eigenpair(w->matrix, count, &lambda, w->vector));
    if (lambda < w->least) {
        w->least = lambda;
        memcpy(w->best, w->weight, m * sizeof *w->best);
    }
    memset(w->tau, 0, m * sizeof *w->tau);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = w->place[i];
        csl_add_multiple(w->root[row] * w->vector[i], w->products + (size_t)row * m, m, w->tau);
    }
    double largest = 0;
    for (uint32_t j = 0; j < m; j++) {
        w->tau[j] = lambda > 0 ? w->tau[j] * w->tau[j] / lambda : 0;
        if (w->c[j] > 0 || a->spec->preset == CSL_PRESET_BYZFL) {
            largest = fmax(largest, w->tau[j]);
        }
    }
    *largest_out = largest;
    return CSL_OK;
}

static csl_status caf_iterate(csl_aggregation *a, caf_work *w)
{
    uint32_t m = a->row_count;
    w->least = INFINITY;
    double sum = m;
    /* Every step takes one row's weight to zero, so m steps are enough. ByzFL compares with rows
     * that have no weight left, too, which may be far longer: its steps are smaller, and these are
     * many. */
    uint32_t steps = a->spec->preset == CSL_PRESET_BYZFL ? CAF_BYZFL_STEPS : m;
    for (uint32_t step = 0; step < steps && sum > (double)m - 2.0 * a->f; step++) {
        double largest = 0;
        CSL_TRY(caf_step(a, w, sum, &largest));
        a->report->iterations = step + 1;
        if (largest == 0) {
            break;
        }
        sum = 0;
        for (uint32_t i = 0; i < m; i++) {
            double factor = 1 - w->tau[i] / largest;
            if (w->c[i] > 0 && !(factor > 0)) {
                csl_explain(a, i,
                            "filtered out in step %u: squared distance %.6g from the mean where "
                            "rows vary most, further than any other",
                            step + 1, w->tau[i]);
            }
            w->c[i] *= factor > 0 ? factor : 0;
            sum += w->c[i];
        }
    }
    if (w->least == INFINITY) { /* f = 0: no step was taken */
        for (uint32_t i = 0; i < m; i++) {
            w->best[i] = 1.0 / m;
        }
    }
    return CSL_OK;
}

/* Rows that the filter left with less; those with nothing are explained where it took the rest. */
static void explain_filter(csl_aggregation *a, const double *weight)
{
    double largest = 0;
    for (uint32_t i = 0; i < a->row_count; i++) {
        largest = fmax(largest, weight[i]);
    }
    for (uint32_t i = 0; i < a->row_count; i++) {
        if (weight[i] == largest) {
            a->reason[i][0] = 0;
        } else if (weight[i] > 0) {
            csl_explain(a, i, "the filter left it %.3g of a full weight", weight[i] / largest);
        }
    }
}

/* Covariance-bound agnostic filter: Allouah et al. 2025, algorithm 2. */
csl_status csl_rule_caf(csl_aggregation *a)
{
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES));
    uint32_t m = a->row_count;
    caf_work w = {csl_numbers(m, 1), csl_numbers(m, 1), csl_numbers(m, 1),
                  csl_numbers(m, 1), csl_numbers(m, m), csl_numbers(m, m),
                  csl_numbers(m, 1), csl_numbers(m, 1), calloc(m, sizeof(uint32_t)),
                  INFINITY};
    bool complete = w.c && w.weight && w.root && w.best && w.products && w.matrix && w.vector &&
                    w.tau && w.place;
    csl_status status = complete ? CSL_OK : CSL_E_NO_MEMORY;
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        w.c[i] = 1;
    }
    if (status == CSL_OK) {
        status = caf_iterate(a, &w);
    }
    if (status == CSL_OK) {
        csl_set_scores(a, "weight left by the filter", w.best);
        csl_set_margin(a, w.best, w.best, true);
        explain_filter(a, w.best);
        status = csl_answer_rows(a, w.best);
    }
    free(w.c);
    free(w.weight);
    free(w.root);
    free(w.best);
    free(w.products);
    free(w.matrix);
    free(w.vector);
    free(w.tau);
    free(w.place);
    return status;
}
