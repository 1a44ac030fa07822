/* The largest eigenvalue of a small symmetric matrix and an eigenvector: Householder's reflections
 * to a tridiagonal matrix, bisection, and a twisted factorisation. Every loop runs in the written
 * order, with neither a random start nor an iteration that could fail to converge. */
#include "aggregation.h"

#include <consilium/clones.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A symmetric tridiagonal matrix and the reflections that led to it. */
typedef struct tridiagonal {
    uint32_t n;
    double *diagonal; /* [n] */
    double *beside;   /* [n]: beside[i] couples i and i + 1 */
    double *factor;   /* [n]: reflection k is I - factor[k] v v^T; 0 for none */
    double *image;    /* [n]: w of the update v w^T + w v^T that is still to be done */
    double *product;  /* [n] */
    double *none;     /* [n] zeros: v before the first reflection */
    double *above;    /* [n] pivots of value I - T from the first row down */
    double *below;    /* [n] and from the last row up */
} tridiagonal;

static double inner(const double *left, const double *right, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += left[i] * right[i];
    }
    return sum;
}

/* Replaces x [n] by the direction v of the reflection that leaves of x only its first entry, which
 * goes to *rest_out; returns its factor 2 / v^T v (Golub and Van Loan, algorithm 5.1.1). Where the
 * others' squares add up to no more than `nothing` they are taken as 0, as is v. */
static double reflect(double *x, uint32_t n, double nothing, double *rest_out)
{
    double first = x[0];
    double others = inner(x + 1, x + 1, n - 1);
    *rest_out = first;
    if (others <= nothing) {
        memset(x, 0, n * sizeof *x);
        return 0;
    }
    double norm = sqrt(first * first + others);
    x[0] = first > 0 ? first + norm : first - norm;
    *rest_out = first > 0 ? -norm : norm;
    return 2 / (x[0] * x[0] + others);
}

/* out = A v and, on the way, A -= v w^T + w v^T of the reflection before, where there is one. The
 * matrix is [n][stride] and symmetric, bit for bit. */
CSL_CLONES static void update_and_multiply(double *a,
                                           size_t stride,
                                           uint32_t n,
                                           const double *old_v,
                                           const double *old_w,
                                           const double *v,
                                           double *out)
{
    memset(out, 0, n * sizeof *out);
    for (uint32_t i = 0; i < n; i++) {
        double *row = a + i * stride;
        double vi = old_v[i];
        double wi = old_w[i];
        double factor = v[i];
        for (uint32_t j = 0; j < n; j++) {
            row[j] -= vi * old_w[j] + wi * old_v[j];
            out[j] += factor * row[j];
        }
    }
}

/* Householder (Golub and Van Loan, algorithm 8.3.1); each update waits for the next product, so
 * that the matrix is read once for both. Row k of the matrix keeps direction k from k + 1 on. */
static void reduce(double *matrix, tridiagonal *t)
{
    uint32_t n = t->n;
    double largest = 0;
    for (uint32_t k = 0; k < n; k++) {
        largest = fmax(largest, matrix[(size_t)k * n + k]);
    }
    /* What is left of a matrix of low rank is rounding of rounding, down to where squares vanish.
     */
    double nothing = 0x1p-100 * largest * (0x1p-100 * largest);
    for (uint32_t k = 0; k < n; k++) {
        double *row = matrix + (size_t)k * n;
        uint32_t left = n - k - 1;
        const double *old_v = k > 0 ? row - n + k : t->none;
        if (k > 0) {
            for (uint32_t j = k; j < n; j++) {
                row[j] -= old_v[0] * t->image[j] + t->image[k] * old_v[j - k];
            }
        }
        t->diagonal[k] = row[k];
        if (left == 0) {
            return;
        }
        double *v = row + k + 1;
        double factor = reflect(v, left, nothing, &t->beside[k]);
        update_and_multiply(row + n + k + 1, n, left, old_v + 1, t->image + k + 1, v,
                            t->product + k + 1);
        double *w = t->product + k + 1;
        double half = factor * factor / 2 * inner(v, w, left);
        for (uint32_t j = 0; j < left; j++) {
            t->image[k + 1 + j] = factor * w[j] - half * v[j];
        }
        t->factor[k] = factor;
    }
}

/* Whether value I - T is positive definite; its pivots into t->above. */
static bool is_above(const tridiagonal *t, double value)
{
    double pivot = value - t->diagonal[0];
    t->above[0] = pivot;
    for (uint32_t i = 1; pivot > 0 && i < t->n; i++) {
        pivot = value - t->diagonal[i] - t->beside[i - 1] * t->beside[i - 1] / pivot;
        t->above[i] = pivot;
    }
    return pivot > 0;
}

/* The least number found above all eigenvalues, by bisection from the largest entry of the diagonal
 * and Gershgorin's circles. *scale_out: of the matrix. */
static double top_value(const tridiagonal *t, double *scale_out)
{
    double low = t->diagonal[0];
    double high = low;
    for (uint32_t i = 0; i < t->n; i++) {
        double radius = i > 0 ? fabs(t->beside[i - 1]) : 0;
        radius += i + 1 < t->n ? fabs(t->beside[i]) : 0;
        low = fmax(low, t->diagonal[i]);
        high = fmax(high, t->diagonal[i] + radius);
    }
    double scale = fmax(fabs(low), fabs(high));
    high += 0x1p-50 * scale;
    while (high - low > 0x1p-53 * scale) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) {
            break;
        }
        if (is_above(t, middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    *scale_out = scale;
    return high;
}

/*
 * The eigenvector of a value just above the largest eigenvalue, by the twisted factorisation of
 * Dhillon and Parlett (2004): pivots from both ends meet at the row where the residual is least.
 * Of an eigenvalue that occurs more than once it is one of the vectors, the same on every machine.
 */
static csl_status top_vector(const tridiagonal *t, double value, double scale, double *z)
{
    uint32_t n = t->n;
    double tiny = 0x1p-105 * scale;
    uint32_t twist = 0;
    double least = INFINITY;
    memset(z, 0, n * sizeof *z);
    (void)is_above(t, value);
    for (uint32_t i = n; i-- > 0;) {
        double rest = value - t->diagonal[i];
        double next = i + 1 < n ? t->beside[i] * t->beside[i] / t->below[i + 1] : 0;
        t->below[i] = fmax(tiny, rest - next);
        t->above[i] = fmax(tiny, t->above[i]);
        double residual = fabs(t->above[i] - next);
        if (residual <= least) { /* of equal ones the first */
            least = residual;
            twist = i;
        }
    }
    z[twist] = 1;
    for (uint32_t i = twist; i-- > 0;) {
        z[i] = t->beside[i] / t->above[i] * z[i + 1];
    }
    for (uint32_t i = twist + 1; i < n; i++) {
        z[i] = t->beside[i - 1] / t->below[i] * z[i - 1];
    }
    double length = sqrt(inner(z, z, n));
    if (!(least <= 0x1p-30 * scale * length) || !isfinite(length)) {
        return csl_fail(CSL_E_INTERNAL, "aggregation: no eigenvector for %g: residual %g", value,
                        least / length);
    }
    for (uint32_t i = 0; i < n; i++) {
        z[i] /= length;
    }
    return CSL_OK;
}

/* Where the entries are so large or small that powers of them would leave the range of float64, all
 * are multiplied by a power of two, which rounds nothing. Gives its exponent. */
static int move_into_range(double *matrix, uint32_t n)
{
    enum { RANGE = 100 }; /* the fourth power of what is left of 2^-RANGE is still there */
    size_t count = (size_t)n * n;
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(matrix[i]));
    }
    int exponent = largest > 0 && isfinite(largest) ? -ilogb(largest) : 0;
    if (exponent >= -RANGE && exponent <= RANGE) {
        return 0;
    }
    double first = ldexp(1, exponent / 2); /* in two steps: 2^1074 is no float64 */
    double second = ldexp(1, exponent - exponent / 2);
    for (size_t i = 0; i < count; i++) {
        matrix[i] = matrix[i] * first * second;
    }
    return exponent;
}

csl_status csl_top_eigenpair(double *matrix, uint32_t n, double *value_out, double *vector_out)
{
    double *room = csl_numbers(n, 8);
    if (!room) {
        return CSL_E_NO_MEMORY;
    }
    tridiagonal t = {n,
                     room,
                     room + n,
                     room + (size_t)2 * n,
                     room + (size_t)3 * n,
                     room + (size_t)4 * n,
                     room + (size_t)5 * n,
                     room + (size_t)6 * n,
                     room + (size_t)7 * n};
    int exponent = move_into_range(matrix, n);
    reduce(matrix, &t);
    double scale = 0;
    double value = top_value(&t, &scale);
    *value_out = ldexp(value, -exponent);
    csl_status status = CSL_OK;
    if (vector_out && scale == 0) {
        memset(vector_out, 0, n * sizeof *vector_out);
        vector_out[0] = 1;
    } else if (vector_out) {
        status = top_vector(&t, value, scale, vector_out);
    }
    for (uint32_t k = n; vector_out && status == CSL_OK && k-- > 0;) {
        const double *v = matrix + (size_t)k * n + k + 1;
        uint32_t left = n - k - 1;
        double part = t.factor[k] * inner(v, vector_out + k + 1, left);
        for (uint32_t j = 0; j < left; j++) {
            vector_out[k + 1 + j] -= part * v[j];
        }
    }
    free(room);
    return status;
}
