/* FLTrust, FoolsGold and FLAME: rules that look at angles. */
#include "passes.h"

#include <consilium/random.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double cosine(double inner, double left, double right)
{
    double norms = sqrt(left) * sqrt(right);
    return norms > 0 ? inner / norms : 0;
}

/* Rows are told apart by 1 - cos, of which products of rows as alike as this leave too few digits.
 */
static const double ALIKE = 0.99;
/* What rounding of rows to float32 alone may make of rows that point the same way. */
static const double PARALLEL = 0x1p-46;

/* 1 - cos of all pairs as half the squared distance of the rows brought to length 1; norm [m]:
 * squared. matrix [m][live_count]: the rows; histories: of csl_gather_history. angle [m][m]: about
 * what they are. One more read. */
static csl_status measure_angles(
    csl_aggregation *a, double *matrix, const double *norm, bool histories, double *angle)
{
    uint32_t m = a->row_count;
    for (uint32_t r = 0; r < m; r++) {
        for (uint32_t k = 0; k < a->live_count; k++) {
            matrix[(size_t)r * a->live_count + k] *= norm[r] > 0 ? 1 / sqrt(norm[r]) : 0;
        }
    }
    uint32_t reference = 0;
    double near = 0;
    CSL_TRY(csl_reference(angle, m, m, &reference, &near));
    CSL_TRY(csl_gather_mixture_distances(a, matrix, m, reference, histories, angle));
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t j = 0; j < m; j++) {
            double *pair = angle + (size_t)i * m + j;
            *pair = norm[i] > 0 && norm[j] > 0 ? *pair / 2 : i != j;
            *pair = *pair < PARALLEL ? 0 : *pair;
        }
    }
    return CSL_OK;
}

static void explain_trust(csl_aggregation *a, const double *score)
{
    double largest = 0;
    for (uint32_t i = 0; i < a->row_count; i++) {
        largest = fmax(largest, score[i]);
    }
    for (uint32_t i = 0; i < a->row_count; i++) {
        if (!(score[i] > 0)) {
            csl_explain(a, i, "%s %.6g, expected above 0", a->report->score_name, score[i]);
        } else if (score[i] < largest) {
            csl_explain(a, i, "trusted less: %s %.6g, the largest is %.6g", a->report->score_name,
                        score[i], largest);
        }
    }
}

/* Cao et al. 2021, algorithm 2. Nobody trusted: the zero vector, and `empty` in the report. */
csl_status csl_rule_fltrust(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    double own = a->norm[m]; /* of the trusted update, which follows the rows */
    double *score = csl_numbers(m, 1);
    double *weight = csl_numbers(m, 1);
    csl_status status = score && weight ? CSL_OK : CSL_E_NO_MEMORY;
    double sum = 0;
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        score[i] = cosine(a->centre_product[i], a->norm[i], own);
        sum += score[i] > 0 ? score[i] : 0;
    }
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        weight[i] = score[i] > 0 ? score[i] / sum * (sqrt(own) / sqrt(a->norm[i])) : 0;
    }
    if (status == CSL_OK) {
        a->report->empty = sum == 0;
        csl_set_scores(a, "cosine with the trusted update", score);
        csl_set_margin(a, score, weight, true);
        explain_trust(a, score);
        status = csl_answer_rows(a, weight);
    }
    free(score);
    free(weight);
    return status;
}

/* Row maxima of the similarities; the diagonal counts as 0, as in the authors' program. */
static void row_maxima(const double *similarity, uint32_t m, double *out)
{
    for (uint32_t i = 0; i < m; i++) {
        out[i] = similarity[(size_t)i * m];
        for (uint32_t j = 1; j < m; j++) {
            out[i] = fmax(out[i], similarity[(size_t)i * m + j]);
        }
    }
}

static const double FOOLSGOLD_EPSILON = 1e-5;

/* Fung et al. 2020, algorithm 1 with the constants of the authors' program. */
static bool foolsgold_weights(double *similarity, uint32_t m, double *most, double *weight)
{
    row_maxima(similarity, m, most);
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t j = 0; j < m; j++) {
            double own = most[i] + FOOLSGOLD_EPSILON;
            double other = most[j] + FOOLSGOLD_EPSILON;
            if (i != j && own < other) {
                similarity[(size_t)i * m + j] *= own / other; /* pardoning */
            }
        }
    }
    row_maxima(similarity, m, most);
    double largest = 0;
    for (uint32_t i = 0; i < m; i++) {
        weight[i] = fmin(1, fmax(0, 1 - most[i]));
        largest = fmax(largest, weight[i]);
    }
    for (uint32_t i = 0; i < m; i++) {
        double w = largest > 0 ? weight[i] / largest : 0;
        w = w == 1 ? 0.99 : w;
        weight[i] = fmin(1, fmax(0, csl_exact_log(w / (1 - w) + FOOLSGOLD_EPSILON) + 0.5));
    }
    return largest > 0;
}

/* Cosines of the histories, the diagonal 0. room [m][m], norm [m]. */
static csl_status
history_cosines(csl_aggregation *a, double *similarity, double *room, double *norm)
{
    uint32_t m = a->row_count;
    uint32_t p = a->point_count;
    bool alike = false;
    for (uint32_t i = 0; i < m; i++) {
        norm[i] = a->product[(size_t)i * p + i];
        room[(size_t)i * m + i] = 1;
        for (uint32_t j = 0; j < m; j++) { /* at first 1 - cos */
            double value =
                cosine(a->product[(size_t)i * p + j], norm[i], a->product[(size_t)j * p + j]);
            similarity[(size_t)i * m + j] = i == j ? 0 : 1 - value;
            alike = alike || (i != j && value > ALIKE);
        }
    }
    if (alike) {
        CSL_TRY(measure_angles(a, room, norm, true, similarity));
    }
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t j = 0; j < m; j++) {
            double *pair = similarity + (size_t)i * m + j;
            *pair = i == j ? 0 : 1 - *pair;
        }
    }
    return CSL_OK;
}

csl_status csl_rule_foolsgold(csl_aggregation *a)
{
    CSL_TRY(csl_gather_history(a));
    uint32_t m = a->row_count;
    double *similarity = csl_numbers(m, m);
    double *room = csl_numbers(m, m);
    double *most = csl_numbers(m, 1);
    double *weight = csl_numbers(m, 1);
    csl_status status = similarity && room && most && weight ? CSL_OK : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        status = history_cosines(a, similarity, room, weight);
    }
    if (status == CSL_OK) {
        a->report->empty = !foolsgold_weights(similarity, m, most, weight);
        csl_set_scores(a, "largest similarity after pardoning", most);
        for (uint32_t i = 0; i < m; i++) {
            if (weight[i] < 1) {
                csl_explain(a, i, "history alike to another: %s %.6g, weighs %.3g of 1",
                            a->report->score_name, most[i], weight[i]);
            }
        }
        status = csl_answer_rows(a, weight);
    }
    free(similarity);
    free(room);
    free(most);
    free(weight);
    return status;
}

/* Inner products of the virtual rows, which may have been mixed: A G A^T. */
static csl_status mixed_products(const csl_aggregation *a, double *out)
{
    uint32_t m = a->row_count;
    uint32_t n = a->live_count;
    uint32_t p = a->point_count;
    double *half = csl_numbers(m, n);
    uint32_t *part = calloc((size_t)n + 1, sizeof *part); /* the rows that row s is mixed of */
    if (!half || !part) {
        free(half);
        free(part);
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: products of %u rows", m);
    }
    for (uint32_t r = 0; r < m; r++) {
        for (uint32_t k = 0; k < n; k++) {
            double factor = a->mix[(size_t)r * p + k];
            for (uint32_t j = 0; factor != 0 && j < n; j++) {
                half[(size_t)r * n + j] += factor * a->product[(size_t)k * p + j];
            }
        }
    }
    for (uint32_t s = 0; s < m; s++) {
        uint32_t count = 0;
        for (uint32_t k = 0; k < n; k++) {
            part[count] = k;
            count += a->mix[(size_t)s * p + k] != 0;
        }
        for (uint32_t r = 0; r < m; r++) {
            double sum = 0;
            for (uint32_t k = 0; k < count; k++) {
                sum += half[(size_t)r * n + part[k]] * a->mix[(size_t)s * p + part[k]];
            }
            out[(size_t)r * m + s] = sum;
        }
    }
    free(half);
    free(part);
    return CSL_OK;
}

/* By how much, of themselves, sums in float32 may tell angles apart that are the same. */
static const double ANGLE_TIE = 0x1p-20;

/* The first component of single linkage that holds more than half of the rows, with all rows that
 * are no further away than the last it took, which is what HDBSCAN (min_cluster_size n/2+1,
 * min_samples 1, one cluster allowed) labels. */
static csl_status dense_half(const double *distance, uint32_t m, bool *member)
{
    uint32_t pairs = m * (m - 1) / 2;
    double *value = csl_numbers(pairs + 1, 1);
    uint32_t *order = calloc((size_t)pairs + 1, sizeof *order);
    uint32_t *ends = calloc((size_t)pairs * 2 + 2, sizeof *ends);
    uint32_t *component = calloc(m, sizeof *component);
    csl_status status = value && order && ends && component ? CSL_OK : CSL_E_NO_MEMORY;
    uint32_t count = 0;
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        component[i] = i;
        for (uint32_t j = i + 1; j < m; j++) {
            value[count] = distance[(size_t)i * m + j];
            ends[2 * count] = i;
            ends[2 * count + 1] = j;
            count++;
        }
    }
    if (status == CSL_OK) {
        status = csl_rank(value, count, order);
    }
    uint32_t largest = 1;
    uint32_t witness = 0; /* a row of the largest component */
    double reached = -1;
    for (uint32_t k = 0; status == CSL_OK && k < count; k++) {
        if (largest > m / 2 && value[order[k]] > reached * (1 + ANGLE_TIE)) {
            break;
        }
        reached = largest > m / 2 ? reached : value[order[k]];
        uint32_t into = component[ends[2 * order[k]]];
        uint32_t from = component[ends[2 * order[k] + 1]];
        if (into == from) {
            continue;
        }
        uint32_t size = 0;
        for (uint32_t i = 0; i < m; i++) {
            component[i] = component[i] == from ? into : component[i];
            size += component[i] == into;
        }
        witness = size > largest ? into : witness;
        largest = size > largest ? size : largest;
    }
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        member[i] = component[i] == component[witness];
    }
    free(value);
    free(order);
    free(ends);
    free(component);
    return status;
}

typedef struct flame_work {
    double *products;
    double *distance;
    double *norm;
    double *factor;
    double *score;
    bool *member;
} flame_work;

/* 1 - cos of the virtual rows, which may have been mixed. */
static csl_status flame_angles(csl_aggregation *a, flame_work *w)
{
    uint32_t m = a->row_count;
    bool alike = false;
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_DISTANCES | CSL_NEEDS_NORMS));
    CSL_TRY(mixed_products(a, w->products));
    for (uint32_t i = 0; i < m; i++) {
        w->norm[i] = sqrt(a->row_norm[i]);
        for (uint32_t j = 0; j < m; j++) {
            size_t pair = (size_t)i * m + j;
            double value = cosine(w->products[pair], a->row_norm[i], a->row_norm[j]);
            w->distance[pair] = i == j ? 0 : fmax(0, 1 - value);
            alike = alike || (i != j && value > ALIKE);
        }
    }
    if (!alike) {
        return CSL_OK;
    }
    double *matrix = csl_live_mix(a, NULL, m);
    csl_status status =
        matrix ? measure_angles(a, matrix, a->row_norm, false, w->distance) : CSL_E_NO_MEMORY;
    free(matrix);
    return status;
}

static csl_status flame(csl_aggregation *a, flame_work *w)
{
    uint32_t m = a->row_count;
    CSL_TRY(flame_angles(a, w));
    CSL_TRY(dense_half(w->distance, m, w->member));
    double median = 0;
    CSL_TRY(csl_median(w->norm, m, &median));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m; i++) {
        kept += w->member[i];
        w->factor[i] = w->norm[i] > median ? median / w->norm[i] : 1;
        w->score[i] = 2; /* least cosine distance to another member */
        for (uint32_t j = 0; j < m; j++) {
            if (j != i && w->member[j]) {
                w->score[i] = fmin(w->score[i], w->distance[(size_t)i * m + j]);
            }
        }
    }
    csl_set_scores(a, "least cosine distance to a row kept", w->score);
    CSL_TRY(csl_rows_scale(a, w->factor, NAN, median));
    for (uint32_t i = 0; i < m; i++) {
        w->score[i] = w->member[i] ? 1.0 / kept : 0;
    }
    csl_set_margin(a, a->score, w->score, false);
    a->noise = csl_value(a, CSL_PARAMETER_NOISE, 0.001) * median;
    return csl_answer_rows(a, w->score);
}

/* Nguyen et al. 2022, algorithm 1. */
csl_status csl_rule_flame(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    flame_work w = {csl_numbers(m, m), csl_numbers(m, m), csl_numbers(m, 1),
                    csl_numbers(m, 1), csl_numbers(m, 1), calloc(m, sizeof(bool))};
    bool complete = w.products && w.distance && w.norm && w.factor && w.score && w.member;
    csl_status status = complete ? flame(a, &w) : CSL_E_NO_MEMORY;
    free(w.products);
    free(w.distance);
    free(w.norm);
    free(w.factor);
    free(w.score);
    free(w.member);
    return status;
}
