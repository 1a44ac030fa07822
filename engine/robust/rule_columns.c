/* Rules that work on each coordinate alone, and DnC, which works on drawn coordinates. */
#include "aggregation.h"

#include <consilium/clones.h>
#include <consilium/random.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

csl_status csl_rule_mean(csl_aggregation *a)
{
    bool weighted =
        a->spec->weights != CSL_WEIGHTS_EQUAL || strcmp(a->spec->rule, "weighted-mean") == 0;
    uint32_t m = a->row_count;
    double *weight = csl_numbers(m, 1);
    if (!weight) {
        return CSL_E_NO_MEMORY;
    }
    for (uint32_t r = 0; r < m; r++) {
        weight[r] = weighted ? a->live_weights[r] : 1.0 / m;
    }
    csl_status status = csl_answer_rows(a, weight);
    if (status == CSL_OK && !weighted && !a->mixed) {
        a->kind = CSL_ANSWER_MEAN;
    }
    free(weight);
    return status;
}

static csl_status select_columns(csl_aggregation *a, csl_select_kind kind, uint32_t trim)
{
    a->kind = CSL_ANSWER_SELECT;
    a->select.kind = kind;
    a->select.trim = trim;
    a->select.keep = a->row_count - a->f;
    return CSL_OK;
}

csl_status csl_rule_median(csl_aggregation *a)
{
    static const csl_select_kind kinds[] = {CSL_SELECT_MEDIAN, CSL_SELECT_MEDIAN_LOWER,
                                            CSL_SELECT_MEDIAN_UPPER};
    return select_columns(a, kinds[csl_whole_value(a, CSL_PARAMETER_EVEN, 0)], 0);
}

static uint32_t trim_count(const csl_aggregation *a)
{
    uint32_t trim = csl_whole_value(a, CSL_PARAMETER_TRIM, a->f);
    uint32_t most = (a->row_count - 1) / 2; /* refused rows may have made a given trim too large */
    return trim < most ? trim : most;
}

csl_status csl_rule_trimmed_mean(csl_aggregation *a)
{
    return select_columns(a, CSL_SELECT_TRIMMED_MEAN, trim_count(a));
}

csl_status csl_rule_meamed(csl_aggregation *a)
{
    return select_columns(a, CSL_SELECT_MEAMED, 0);
}

csl_status csl_rule_phocas(csl_aggregation *a)
{
    return select_columns(a, CSL_SELECT_PHOCAS, trim_count(a));
}

/* signSGD with majority vote: Bernstein et al. 2019, algorithm 1. */
csl_status csl_rule_sign_majority(csl_aggregation *a)
{
    return select_columns(a, CSL_SELECT_SIGN_MAJORITY, 0);
}

/* Ozdayi et al. 2021, equation 3; its base is the mean there, the other two in the authors'
 * program.
 */
csl_status csl_rule_rlr(csl_aggregation *a)
{
    static const csl_rule_run bases[] = {csl_rule_mean, csl_rule_median, csl_rule_sign_majority};
    CSL_TRY(bases[csl_whole_value(a, CSL_PARAMETER_BASE, 0)](a));
    a->sign_threshold = csl_whole_value(a, CSL_PARAMETER_THETA, a->f + 1);
    return CSL_OK;
}

static int compare_index(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* `count` different coordinates, ascending: what repeats is drawn again, which favours no set of
 * coordinates over another. */
static size_t draw_columns(csl_random *stream, size_t total, size_t count, uint64_t *index_out)
{
    if (count >= total) {
        for (size_t k = 0; k < total; k++) {
            index_out[k] = k;
        }
        return total;
    }
    size_t kept = 0;
    while (kept < count) {
        for (size_t k = kept; k < count; k++) {
            index_out[k] = csl_random_below(stream, total);
        }
        qsort(index_out, count, sizeof *index_out, compare_index);
        kept = 0;
        for (size_t k = 0; k < count; k++) {
            if (kept == 0 || index_out[kept - 1] != index_out[k]) {
                index_out[kept++] = index_out[k];
            }
        }
    }
    return count;
}

/* Drawn column k of the virtual rows about their mean: centred [row_count]. */
static void centre_column(
    const csl_aggregation *a, const float *values, size_t width, size_t k, double *centred)
{
    uint32_t m = a->row_count;
    double sum = 0;
    for (uint32_t r = 0; r < m; r++) {
        double value = a->mixed ? 0 : (double)values[r * width + k];
        const double *mix = a->mix + (size_t)r * a->point_count;
        for (uint32_t i = 0; a->mixed && i < a->live_count; i++) {
            if (mix[i] != 0) {
                value += mix[i] * (double)values[(size_t)i * width + k];
            }
        }
        centred[r] = value;
        sum += value;
    }
    for (uint32_t r = 0; r < m; r++) {
        centred[r] -= sum / m;
    }
}

/* gram [m][m] += x x^T, the columns from each row's own on. */
CSL_CLONES static void add_products(const double *x, uint32_t m, double *gram)
{
    for (uint32_t r = 0; r < m; r++) {
        double *row = gram + (size_t)r * m;
        double factor = x[r];
        for (uint32_t s = r; s < m; s++) {
            row[s] += factor * x[s];
        }
    }
}

/* Squared projections of the centred virtual rows on their top singular vector: the eigenvector u
 * of the n x n matrix C C^T gives <c_i, v>^2 = lambda u_i^2. */
static csl_status
outlier_scores(csl_aggregation *a, const float *values, size_t width, double *score)
{
    uint32_t m = a->row_count;
    double *centred = csl_numbers(m, 1);
    double *gram = csl_numbers(m, m);
    double *vector = csl_numbers(m, 1);
    double lambda = 0;
    csl_status status = centred && gram && vector ? CSL_OK : CSL_E_NO_MEMORY;
    for (size_t k = 0; status == CSL_OK && k < width; k++) {
        centre_column(a, values, width, k, centred);
        add_products(centred, m, gram);
    }
    for (uint32_t r = 0; status == CSL_OK && r < m; r++) {
        for (uint32_t s = r; s < m; s++) {
            gram[(size_t)s * m + r] = gram[(size_t)r * m + s];
        }
    }
    if (status == CSL_OK) {
        status = csl_top_eigenpair(gram, m, &lambda, vector);
    }
    for (uint32_t r = 0; status == CSL_OK && r < m; r++) {
        score[r] = lambda * vector[r] * vector[r];
    }
    free(centred);
    free(gram);
    free(vector);
    return status;
}

typedef struct dnc_work {
    uint64_t *index;
    float *values;
    double *score;
    double *worst; /* largest score over the rounds */
    uint32_t *order;
    bool *dropped;
} dnc_work;

static csl_status dnc_round(csl_aggregation *a, csl_random *stream, size_t sketch, dnc_work *w)
{
    uint32_t m = a->row_count;
    size_t width = draw_columns(stream, a->input->column_total, sketch, w->index);
    CSL_TRY(csl_gather_columns(a, w->index, width, w->values));
    CSL_TRY(outlier_scores(a, w->values, width, w->score));
    CSL_TRY(csl_rank(w->score, m, w->order));
    double drop = floor(csl_value(a, CSL_PARAMETER_FACTOR, 1) * a->f);
    uint32_t keep = m - (uint32_t)drop; /* at least 1, as csl_aggregate_check saw to */
    for (uint32_t i = 0; i < m; i++) {
        uint32_t row = w->order[i];
        if (i >= keep && !w->dropped[row]) {
            double last = w->score[w->order[keep - 1]];
            csl_explain_score(a, row, "squared projection", w->score[row], last);
        }
        w->dropped[row] = w->dropped[row] || i >= keep;
        w->worst[i] = fmax(w->worst[i], w->score[i]);
    }
    if (keep < m) {
        a->report->margin = w->score[w->order[keep]] - w->score[w->order[keep - 1]];
    }
    return CSL_OK;
}

/* Divide and conquer: Shejwalkar and Houmansadr 2021, algorithm 2. What is left after each of the
 * rounds may be nothing, of which there is no mean: the zero vector, and `empty` in the report. */
csl_status csl_rule_dnc(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    size_t sketch = csl_whole_value(a, CSL_PARAMETER_SKETCH, 10000);
    uint32_t rounds = csl_whole_value(a, CSL_PARAMETER_ITERATIONS, 1);
    sketch = sketch < a->input->column_total ? sketch : a->input->column_total;
    dnc_work w = {calloc(sketch, sizeof(uint64_t)),
                  calloc(sketch * a->live_count, sizeof(float)),
                  csl_numbers(m, 1),
                  csl_numbers(m, 1),
                  calloc(m, sizeof(uint32_t)),
                  calloc(m, sizeof(bool))};
    bool complete = w.index && w.values && w.score && w.worst && w.order && w.dropped;
    csl_status status =
        complete ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "dnc: no memory for %zu columns", sketch);
    csl_random stream =
        csl_random_stream(a->spec->seed, CSL_RANDOM_AGGREGATION, a->input->round, 0);
    for (uint32_t i = 0; status == CSL_OK && i < rounds; i++) {
        status = dnc_round(a, &stream, sketch, &w);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        kept += !w.dropped[i];
    }
    if (status == CSL_OK) {
        csl_set_scores(a, "squared projection", w.worst);
        a->report->empty = kept == 0;
        for (uint32_t i = 0; i < m; i++) {
            w.score[i] = w.dropped[i] ? 0 : 1.0 / kept;
        }
        status = csl_answer_rows(a, w.score);
    }
    free(w.index);
    free(w.values);
    free(w.score);
    free(w.worst);
    free(w.order);
    free(w.dropped);
    return status;
}
