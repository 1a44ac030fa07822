/* SignGuard (Xu et al. 2022, algorithm 1): rows filtered by norm and clustered by their signs. */
#include "aggregation.h"

#include <consilium/random.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 3, SHIFT_STEPS_MAX = 300 };

static double feature_distance(const double *left, const double *right)
{
    double sum = 0;
    for (int k = 0; k < FEATURES; k++) {
        sum += (left[k] - right[k]) * (left[k] - right[k]);
    }
    return sqrt(sum);
}

/* Mean distance to the n/2-th nearest, itself included: the bandwidth of quantile 0.5. */
static csl_status bandwidth(const double *features, uint32_t m, double *width_out)
{
    double *distance = csl_numbers(m, 1);
    if (!distance) {
        return CSL_E_NO_MEMORY;
    }
    uint32_t neighbours = m / 2 > 0 ? m / 2 : 1;
    double sum = 0;
    csl_status status = CSL_OK;
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        for (uint32_t j = 0; j < m; j++) {
            distance[j] = feature_distance(features + FEATURES * i, features + FEATURES * j);
        }
        double value = 0;
        status = csl_order_statistic(distance, m, neighbours - 1, &value);
        sum += value;
    }
    *width_out = sum / m;
    free(distance);
    return status;
}

/* Flat-kernel mean shift from one point; returns how many points end up in its window. */
static uint32_t shift(const double *features, uint32_t m, double width, double *centre)
{
    uint32_t inside = 0;
    for (int step = 0; step < SHIFT_STEPS_MAX; step++) {
        double next[FEATURES] = {0};
        inside = 0;
        for (uint32_t i = 0; i < m; i++) {
            if (feature_distance(features + FEATURES * i, centre) <= width) {
                inside++;
                for (int k = 0; k < FEATURES; k++) {
                    next[k] += features[FEATURES * i + (uint32_t)k];
                }
            }
        }
        if (inside == 0) {
            break;
        }
        for (int k = 0; k < FEATURES; k++) {
            next[k] /= inside;
        }
        double moved = feature_distance(next, centre);
        memcpy(centre, next, sizeof next);
        if (moved <= 1e-3 * width) {
            break;
        }
    }
    return inside;
}

/* The largest cluster of mean shift: centres by falling count, those within the bandwidth of an
 * earlier one dropped; each row belongs to the nearest centre. */
static csl_status largest_cluster(const double *features, uint32_t m, bool *member)
{
    double width = 0;
    CSL_TRY(bandwidth(features, m, &width));
    double *centres = csl_numbers(m, FEATURES);
    double *density = csl_numbers(m, 1);
    uint32_t *order = calloc(m, sizeof *order);
    uint32_t *label = calloc(m, sizeof *label);
    uint32_t *size = calloc(m, sizeof *size);
    bool *dropped = calloc(m, sizeof *dropped);
    bool complete = centres && density && order && label && size && dropped;
    csl_status status = complete ? CSL_OK : CSL_E_NO_MEMORY;
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        memcpy(centres + FEATURES * i, features + FEATURES * i, FEATURES * sizeof *centres);
        density[i] = -(double)shift(features, m, width, centres + FEATURES * i);
    }
    if (status == CSL_OK) {
        status = csl_rank(density, m, order);
    }
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        for (uint32_t k = 0; k < i; k++) {
            const double *earlier = centres + FEATURES * order[k];
            bool close = feature_distance(centres + FEATURES * order[i], earlier) <= width;
            dropped[order[i]] = dropped[order[i]] || (close && !dropped[order[k]]);
        }
    }
    uint32_t winner = 0;
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        double best = INFINITY;
        for (uint32_t k = 0; k < m; k++) {
            uint32_t c = order[k];
            double to = feature_distance(features + FEATURES * i, centres + FEATURES * c);
            if (!dropped[c] && to < best) {
                best = to;
                label[i] = k;
            }
        }
        size[label[i]]++;
    }
    for (uint32_t k = 1; status == CSL_OK && k < m; k++) {
        winner = size[k] > size[winner] ? k : winner;
    }
    for (uint32_t i = 0; status == CSL_OK && i < m; i++) {
        member[i] = label[i] == winner;
    }
    free(centres);
    free(density);
    free(order);
    free(label);
    free(size);
    free(dropped);
    return status;
}

static csl_status sign_features(csl_aggregation *a, double *features)
{
    uint32_t m = a->live_count;
    size_t total = a->input->column_total;
    size_t count = (size_t)(csl_value(a, CSL_PARAMETER_SHARE, 0.1) * (double)total);
    count = count < 1 ? 1 : count;
    csl_random stream =
        csl_random_stream(a->spec->seed, CSL_RANDOM_AGGREGATION, a->input->round, 0);
    size_t begin = csl_random_below(&stream, total - count + 1);
    int64_t *signs = calloc((size_t)m * FEATURES, sizeof *signs);
    if (!signs) {
        return csl_fail(CSL_E_NO_MEMORY, "signguard: no memory for %u rows", m);
    }
    csl_status status = csl_gather_signs(a, begin, begin + count, signs);
    for (uint32_t k = 0; status == CSL_OK && k < FEATURES; k++) {
        double most = 0;
        for (uint32_t i = 0; i < m; i++) {
            most = fmax(most, (double)signs[FEATURES * i + k]);
        }
        for (uint32_t i = 0; i < m; i++) {
            features[FEATURES * i + k] = most > 0 ? (double)signs[FEATURES * i + k] / most : 0;
        }
    }
    free(signs);
    return status;
}

/* Of the signs counted, the positive ones, in units of the most that any row has. */
static void
explain_signs(csl_aggregation *a, uint32_t row, const double *features, const bool *member)
{
    enum { ZERO, POSITIVE, NEGATIVE };
    double mean[FEATURES] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->row_count; i++) {
        count += member[i];
        for (int k = 0; member[i] && k < FEATURES; k++) {
            mean[k] += features[FEATURES * i + (uint32_t)k];
        }
    }
    const double *own = features + (size_t)FEATURES * row;
    csl_explain(a, row,
                "outside the largest cluster of signs (%u rows): positive %.4g, negative %.4g of "
                "the most, there %.4g and %.4g",
                count, own[POSITIVE], own[NEGATIVE], mean[POSITIVE] / count,
                mean[NEGATIVE] / count);
}

static csl_status signguard(csl_aggregation *a, double *features, double *norm, bool *member)
{
    uint32_t m = a->row_count;
    CSL_TRY(csl_rows_measure(a, CSL_NEEDS_NORMS));
    CSL_TRY(sign_features(a, features));
    CSL_TRY(largest_cluster(features, m, member));
    for (uint32_t i = 0; i < m; i++) {
        norm[i] = sqrt(a->row_norm[i]);
    }
    double median = 0;
    CSL_TRY(csl_median(norm, m, &median));
    double low = csl_value(a, CSL_PARAMETER_LOW, 0.1) * median;
    double high = csl_value(a, CSL_PARAMETER_HIGH, 3) * median;
    csl_set_scores(a, "norm", norm);
    uint32_t kept = 0;
    double nearest = INFINITY; /* by how little a norm was within or outside its bounds */
    for (uint32_t i = 0; i < m; i++) {
        nearest = fmin(nearest, fmin(fabs(norm[i] - low), fabs(norm[i] - high)));
        if (!(norm[i] > low) || !(norm[i] < high)) {
            bool shorter = !(norm[i] > low);
            csl_explain(a, i, "norm %.6g, %s than the norms kept (%.6g to %.6g)", norm[i],
                        shorter ? "shorter" : "longer", low, high);
        } else if (!member[i]) {
            explain_signs(a, i, features, member);
        }
    }
    for (uint32_t i = 0; i < m; i++) {
        member[i] = !a->reason[i][0];
        kept += member[i];
        norm[i] = norm[i] > median ? median / norm[i] : 1;
    }
    CSL_TRY(csl_rows_scale(a, norm, NAN, median));
    a->report->empty = kept == 0;
    a->report->margin = nearest;
    for (uint32_t i = 0; i < m; i++) {
        norm[i] = member[i] ? 1.0 / kept : 0;
    }
    return csl_answer_rows(a, norm);
}

csl_status csl_rule_signguard(csl_aggregation *a)
{
    uint32_t m = a->row_count;
    double *features = csl_numbers(m, FEATURES);
    double *norm = csl_numbers(m, 1);
    bool *member = calloc(m, sizeof *member);
    csl_status status =
        features && norm && member ? signguard(a, features, norm, member) : CSL_E_NO_MEMORY;
    free(features);
    free(norm);
    free(member);
    return status;
}
