#include "oracle_robust.h"

#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MOST = 1024 };

typedef struct keyed {
    double key;
    uint32_t index;
} keyed;

static int compare_keyed(const void *left, const void *right)
{
    const keyed *a = left;
    const keyed *b = right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return a->index < b->index ? -1 : a->index > b->index;
}

static void sort_keys(keyed *entries, const double *key, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = (keyed){key[i], i};
    }
    qsort(entries, n, sizeof *entries, compare_keyed);
}

static double distance_to(const double *a, const double *b, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        double difference = a[j] - (b ? b[j] : 0);
        sum += difference * difference;
    }
    return sum;
}

/* To 34 bits. */
static double without_last_digits(double value)
{
    int exponent = 0;
    double part = frexp(value, &exponent);
    return ldexp(nearbyint(ldexp(part, 34)), exponent - 34);
}

static const double *row(const oracle_rows *rows, uint32_t i)
{
    return rows->x + i * rows->d;
}

static double between(const oracle_rows *rows, uint32_t i, uint32_t j)
{
    double distance = distance_to(row(rows, i), row(rows, j), rows->d);
    return rows->noise > 0 ? distance * (1 + rows->noise * csl_test_normal()) : distance;
}

static double median_of(const double *values, uint32_t n)
{
    keyed sorted[ROWS_MOST];
    sort_keys(sorted, values, n);
    return (sorted[(n - 1) / 2].key + sorted[n / 2].key) / 2;
}

static double trimmed_mean_of(const double *values, uint32_t n, uint32_t trim)
{
    keyed sorted[ROWS_MOST];
    sort_keys(sorted, values, n);
    double sum = 0;
    for (uint32_t i = trim; i < n - trim; i++) {
        sum += sorted[i].key;
    }
    return sum / (n - 2 * trim);
}

static double mean_around(const double *values, uint32_t n, double centre, uint32_t keep)
{
    double away[ROWS_MOST];
    keyed sorted[ROWS_MOST];
    for (uint32_t i = 0; i < n; i++) {
        away[i] = fabs(values[i] - centre);
    }
    sort_keys(sorted, away, n);
    if (keep < n && sorted[keep].key - sorted[keep - 1].key < 1e-5) {
        return NAN;
    }
    double sum = 0;
    for (uint32_t i = 0; i < keep; i++) {
        sum += values[sorted[i].index];
    }
    return sum / keep;
}

static bool by_coordinate(const char *name, const oracle_rows *rows, double *out)
{
    uint32_t n = rows->n;
    uint32_t f = rows->f;
    double column[ROWS_MOST];
    for (size_t j = 0; j < rows->d; j++) {
        for (uint32_t i = 0; i < n; i++) {
            column[i] = row(rows, i)[j];
        }
        if (strcmp(name, "mean") == 0) {
            out[j] = trimmed_mean_of(column, n, 0);
        } else if (strcmp(name, "median") == 0) {
            out[j] = median_of(column, n);
        } else if (strcmp(name, "trimmed-mean") == 0) {
            out[j] = trimmed_mean_of(column, n, f);
        } else if (strcmp(name, "meamed") == 0) {
            out[j] = mean_around(column, n, median_of(column, n), n - f);
        } else if (strcmp(name, "phocas") == 0) {
            out[j] = mean_around(column, n, trimmed_mean_of(column, n, f), n - f);
        } else {
            return false;
        }
    }
    return true;
}

static void weighted(const oracle_rows *rows, const double *weight, double *out)
{
    double sum = 0;
    memset(out, 0, rows->d * sizeof *out);
    for (uint32_t i = 0; i < rows->n; i++) {
        sum += weight[i];
        for (size_t j = 0; j < rows->d; j++) {
            out[j] += weight[i] * row(rows, i)[j];
        }
    }
    for (size_t j = 0; j < rows->d; j++) {
        out[j] /= sum;
    }
}

/* Mean of the `keep` rows of least score. */
static void mean_of_best(const oracle_rows *rows, const double *score, uint32_t keep, double *out)
{
    keyed sorted[ROWS_MOST];
    double weight[ROWS_MOST] = {0};
    sort_keys(sorted, score, rows->n);
    for (uint32_t i = 0; i < keep; i++) {
        weight[sorted[i].index] = 1;
    }
    weighted(rows, weight, out);
}

/* Krum scores among the rows that are not `taken`; the others get infinity. */
static void krum_scores(const oracle_rows *rows, const bool *taken, double *score)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < rows->n; i++) {
        left += !taken[i];
    }
    uint32_t neighbours = left > rows->f + 2 ? left - rows->f - 2 : 1;
    for (uint32_t i = 0; i < rows->n; i++) {
        double others[ROWS_MOST];
        keyed sorted[ROWS_MOST];
        uint32_t count = 0;
        score[i] = taken[i] ? INFINITY : 0;
        for (uint32_t j = 0; j < rows->n; j++) {
            if (j != i && !taken[i] && !taken[j]) {
                others[count++] = between(rows, i, j);
            }
        }
        sort_keys(sorted, others, count);
        for (uint32_t k = 0; k < neighbours && k < count; k++) {
            score[i] += sorted[k].key;
        }
    }
}

static void bulyan(const oracle_rows *rows, double *out)
{
    uint32_t picks = rows->n - 2 * rows->f;
    bool taken[ROWS_MOST] = {false};
    uint32_t picked[ROWS_MOST];
    double score[ROWS_MOST];
    double column[ROWS_MOST];
    for (uint32_t k = 0; k < picks; k++) {
        krum_scores(rows, taken, score);
        picked[k] = 0;
        for (uint32_t i = 1; i < rows->n; i++) {
            picked[k] = score[i] < score[picked[k]] ? i : picked[k];
        }
        taken[picked[k]] = true;
    }
    for (size_t j = 0; j < rows->d; j++) {
        for (uint32_t k = 0; k < picks; k++) {
            column[k] = row(rows, picked[k])[j];
        }
        out[j] = mean_around(column, picks, median_of(column, picks), picks - 2 * rows->f);
    }
}

/* All subsets of n - f rows; the first in lexicographic order of those of least diameter. */
static void mda(const oracle_rows *rows, double *out)
{
    uint32_t n = rows->n;
    double *pair = malloc((size_t)n * n * sizeof *pair);
    uint32_t subset[ROWS_MOST] = {0};
    double best_weight[ROWS_MOST] = {0};
    double least = INFINITY;
    uint32_t keep = n - rows->f;
    for (uint32_t i = 0; i < n; i++) {
        subset[i] = i;
        for (uint32_t j = 0; j < n; j++) {
            pair[i * n + j] = between(rows, i, j);
        }
    }
    for (;;) {
        double diameter = 0;
        for (uint32_t i = 0; i < keep; i++) {
            for (uint32_t j = 0; j < i; j++) {
                diameter = fmax(diameter, pair[subset[i] * n + subset[j]]);
            }
        }
        if (diameter < least) {
            least = diameter;
            memset(best_weight, 0, sizeof best_weight);
            for (uint32_t i = 0; i < keep; i++) {
                best_weight[subset[i]] = 1;
            }
        }
        uint32_t place = keep;
        while (place > 0 && subset[place - 1] == n - keep + place - 1) {
            place--;
        }
        if (place == 0) {
            break;
        }
        subset[place - 1]++;
        for (uint32_t i = place; i < keep; i++) {
            subset[i] = subset[i - 1] + 1;
        }
    }
    weighted(rows, best_weight, out);
    free(pair);
}

/* Plain Weiszfeld on the vectors themselves until it stands still: beside a place where several
 * rows lie that takes some ten thousand steps. */
static void geometric_median(const oracle_rows *rows, double *out)
{
    double weight[ROWS_MOST];
    double *before = malloc(rows->d * sizeof *before);
    for (uint32_t i = 0; i < rows->n; i++) {
        weight[i] = 1;
    }
    weighted(rows, weight, out);
    double nearest = 0;
    double step = INFINITY;
    for (int steps = 0; before && steps < 200000 && step > 1e-9 * nearest; steps++) {
        nearest = INFINITY;
        for (uint32_t i = 0; i < rows->n; i++) {
            double distance = fmax(1e-6, sqrt(distance_to(row(rows, i), out, rows->d)));
            nearest = fmin(nearest, distance);
            weight[i] = 1 / distance;
        }
        memcpy(before, out, rows->d * sizeof *before);
        weighted(rows, weight, out);
        step = sqrt(distance_to(before, out, rows->d));
    }
    free(before);
}

static void centered_clipping(const oracle_rows *rows, double *out)
{
    memset(out, 0, rows->d * sizeof *out);
    for (uint32_t i = 0; i < rows->n; i++) {
        double norm = sqrt(distance_to(row(rows, i), NULL, rows->d));
        double factor = norm > 10 ? 10 / norm : 1;
        for (size_t j = 0; j < rows->d; j++) {
            out[j] += factor * row(rows, i)[j] / rows->n;
        }
    }
}

bool oracle_rule(const char *name, const oracle_rows *rows, const double *weights, double *out)
{
    double score[ROWS_MOST];
    const bool taken[ROWS_MOST] = {false};
    uint32_t n = rows->n;
    uint32_t f = rows->f;
    if (strcmp(name, "weighted-mean") == 0) {
        weighted(rows, weights, out);
    } else if (strcmp(name, "krum") == 0 || strcmp(name, "multi-krum") == 0) {
        krum_scores(rows, taken, score);
        mean_of_best(rows, score, name[0] == 'k' ? 1 : n - f - 2, out);
    } else if (strcmp(name, "bulyan") == 0) {
        bulyan(rows, out);
    } else if (strcmp(name, "mda") == 0) {
        mda(rows, out);
    } else if (strcmp(name, "monna") == 0 || strcmp(name, "cge") == 0) {
        for (uint32_t i = 0; i < n; i++) {
            score[i] =
                name[0] == 'm' ? between(rows, i, 0) : distance_to(row(rows, i), NULL, rows->d);
            /* Norms that clipping made equal up to float64's rounding tie. */
            score[i] = name[0] == 'c' ? without_last_digits(score[i]) : score[i];
        }
        mean_of_best(rows, score, n - f, out);
    } else if (strcmp(name, "geometric-median") == 0) {
        geometric_median(rows, out);
    } else if (strcmp(name, "centered-clipping") == 0) {
        centered_clipping(rows, out);
    } else {
        return by_coordinate(name, rows, out);
    }
    return true;
}

static void nnm(oracle_rows *rows)
{
    double *mixed = calloc(rows->n * rows->d + 1, sizeof *mixed);
    for (uint32_t i = 0; mixed && i < rows->n; i++) {
        double score[ROWS_MOST];
        for (uint32_t j = 0; j < rows->n; j++) {
            score[j] = between(rows, i, j);
        }
        mean_of_best(rows, score, rows->n - rows->f, mixed + i * rows->d);
    }
    if (mixed) {
        memcpy(rows->x, mixed, rows->n * rows->d * sizeof *mixed);
    }
    free(mixed);
}

bool oracle_pre(const char *name, oracle_rows *rows)
{
    double norm[ROWS_MOST];
    keyed sorted[ROWS_MOST];
    uint32_t n = rows->n;
    CU_ASSERT_FATAL(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        norm[i] = sqrt(distance_to(row(rows, i), NULL, rows->d));
    }
    double radius = median_of(norm, n);
    if (strcmp(name, "nnm") == 0) {
        nnm(rows);
        return true;
    }
    if (strcmp(name, "arc") == 0) {
        sort_keys(sorted, norm, n);
        radius = sorted[n - 1 - 2 * rows->f * (n - rows->f) / n].key;
    } else if (strcmp(name, "clipping") != 0) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        for (size_t j = 0; j < rows->d; j++) {
            rows->x[i * rows->d + j] *= fmin(1, radius / norm[i]);
        }
    }
    return true;
}
