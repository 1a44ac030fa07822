/* The largest eigenvalue of a small symmetric matrix and an eigenvector: Householder's reflections
 * to a tridiagonal matrix, bisection, and a twisted factorisation. Every sum runs in the written
 * order, by lanes, with neither a random start nor an iteration that could fail to converge. */
#include "aggregation.h"

#include <consilium/clones.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PANEL = 32,       /* reflections that change the matrix together */
    PANEL_OF_FEW = 8, /* and of a matrix of at most FEW rows, which stays in a near cache */
    FEW = 512,
    ROWS = 4, /* that a product reads side by side */
    LANES = 4,
    WIDTH = 2 * LANES
};

/* A symmetric tridiagonal matrix and the reflections that led to it. */
typedef struct tridiagonal {
    uint32_t n;
    uint32_t panel;
    double *diagonal; /* [n] */
    double *beside;   /* [n]: beside[i] couples i and i + 1 */
    double *factor;   /* [n]: reflection k is I - factor[k] v v^T; 0 for none */
    double *product;  /* [n] */
    double *above;    /* [n] pivots of value I - T from the first row down */
    double *below;    /* [n] and from the last row up */
    double *image;    /* [panel][n]: w of the updates v w^T + w v^T that are still to be done */
} tridiagonal;

typedef double lanes __attribute__((vector_size(LANES * sizeof(double)), aligned(8), may_alias));

CSL_CLONES static double inner(const double *left, const double *right, uint32_t n)
{
    lanes sum0 = {0};
    lanes sum1 = {0};
    uint32_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        sum0 += *(const lanes *)(left + i) * *(const lanes *)(right + i);
        sum1 += *(const lanes *)(left + i + LANES) * *(const lanes *)(right + i + LANES);
    }
    lanes all = sum0 + sum1;
    double sum = (all[0] + all[2]) + (all[1] + all[3]);
    for (; i < n; i++) {
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

/* The rows i to i + ROWS of A v among themselves: entries on the diagonal and right of it. */
static inline void multiply_corner(const double *a, size_t stride, const double *v, double *out)
{
    for (uint32_t r = 0; r < ROWS; r++) {
        const double *row = a + r * stride;
        out[r] += row[r] * v[r];
        for (uint32_t j = r + 1; j < ROWS; j++) {
            out[j] += row[j] * v[r];
            out[r] += row[j] * v[j];
        }
    }
}

/* out = A v of a symmetric matrix [n][stride] of which only the diagonal and what is right of it
 * are read, each value once. */
CSL_CLONES static void
multiply(const double *a, size_t stride, uint32_t n, const double *v, double *out)
{
    memset(out, 0, n * sizeof *out);
    uint32_t i = 0;
    for (; i + ROWS <= n; i += ROWS) {
        const double *row = a + i * stride;
        const double *const rows[ROWS] = {row, row + stride, row + 2 * stride, row + 3 * stride};
        multiply_corner(row + i, stride, v + i, out + i);
        lanes sum0 = {0};
        lanes sum1 = {0};
        lanes sum2 = {0};
        lanes sum3 = {0};
        uint32_t j = i + ROWS;
        for (; j + LANES <= n; j += LANES) {
            lanes x = *(const lanes *)(v + j);
            lanes a0 = *(const lanes *)(rows[0] + j);
            lanes a1 = *(const lanes *)(rows[1] + j);
            lanes a2 = *(const lanes *)(rows[2] + j);
            lanes a3 = *(const lanes *)(rows[3] + j);
            *(lanes *)(out + j) += ((v[i] * a0 + v[i + 1] * a1) + (v[i + 2] * a2 + v[i + 3] * a3));
            sum0 += x * a0;
            sum1 += x * a1;
            sum2 += x * a2;
            sum3 += x * a3;
        }
        const double sums[ROWS][LANES] = {{sum0[0], sum0[1], sum0[2], sum0[3]},
                                          {sum1[0], sum1[1], sum1[2], sum1[3]},
                                          {sum2[0], sum2[1], sum2[2], sum2[3]},
                                          {sum3[0], sum3[1], sum3[2], sum3[3]}};
        for (uint32_t r = 0; r < ROWS; r++) {
            double rest = (sums[r][0] + sums[r][2]) + (sums[r][1] + sums[r][3]);
            for (uint32_t k = j; k < n; k++) {
                out[k] += v[i + r] * rows[r][k];
                rest += rows[r][k] * v[k];
            }
            out[i + r] += rest;
        }
    }
    for (; i < n; i++) {
        const double *row = a + i * stride;
        out[i] += row[i] * v[i];
        for (uint32_t j = i + 1; j < n; j++) {
            out[j] += row[j] * v[i];
            out[i] += row[j] * v[j];
        }
    }
}

/* Row -= what `count` reflections from `first` on take from it: of entry k the products of both
 * sides' entries `at` and k. Entries [begin, end) of the whole matrix. */
CSL_CLONES static void take_images(const double *matrix,
                                   const tridiagonal *t,
                                   uint32_t first,
                                   uint32_t count,
                                   uint32_t at,
                                   uint32_t begin,
                                   uint32_t end,
                                   double *row)
{
    size_t n = t->n;
    uint32_t p = 0;
    for (; p + 2 <= count; p += 2) {
        const double *v = matrix + (first + p) * n;
        const double *w = t->image + p * n;
        double v0 = v[at];
        double w0 = w[at];
        double v1 = v[n + at];
        double w1 = w[n + at];
        for (uint32_t j = begin; j < end; j++) {
            row[j] = row[j] - (v0 * w[j] + w0 * v[j]) - (v1 * w[n + j] + w1 * v[n + j]);
        }
    }
    for (; p < count; p++) {
        const double *v = matrix + (first + p) * n;
        const double *w = t->image + p * n;
        double v0 = v[at];
        double w0 = w[at];
        for (uint32_t j = begin; j < end; j++) {
            row[j] -= v0 * w[j] + w0 * v[j];
        }
    }
}

/* ROWS rows and WIDTH columns of a matrix -= sum_p v_p w_p^T + w_p v_p^T, the sum first. left: the
 * rows' entries, right: the columns', [panel][2][WIDTH]. */
CSL_CLONES static void
take_block(const double *left, const double *right, uint32_t panel, size_t stride, double *matrix)
{
    lanes sum00 = {0};
    lanes sum01 = {0};
    lanes sum10 = {0};
    lanes sum11 = {0};
    lanes sum20 = {0};
    lanes sum21 = {0};
    lanes sum30 = {0};
    lanes sum31 = {0};
    for (uint32_t p = 0; p < panel; p++, left += 2 * ROWS, right += 2 * WIDTH) {
        lanes v0 = *(const lanes *)right;
        lanes v1 = *(const lanes *)(right + LANES);
        lanes w0 = *(const lanes *)(right + WIDTH);
        lanes w1 = *(const lanes *)(right + WIDTH + LANES);
        sum00 += left[0] * w0 + left[ROWS] * v0;
        sum01 += left[0] * w1 + left[ROWS] * v1;
        sum10 += left[1] * w0 + left[ROWS + 1] * v0;
        sum11 += left[1] * w1 + left[ROWS + 1] * v1;
        sum20 += left[2] * w0 + left[ROWS + 2] * v0;
        sum21 += left[2] * w1 + left[ROWS + 2] * v1;
        sum30 += left[3] * w0 + left[ROWS + 3] * v0;
        sum31 += left[3] * w1 + left[ROWS + 3] * v1;
    }
    *(lanes *)matrix -= sum00;
    *(lanes *)(matrix + LANES) -= sum01;
    matrix += stride;
    *(lanes *)matrix -= sum10;
    *(lanes *)(matrix + LANES) -= sum11;
    matrix += stride;
    *(lanes *)matrix -= sum20;
    *(lanes *)(matrix + LANES) -= sum21;
    matrix += stride;
    *(lanes *)matrix -= sum30;
    *(lanes *)(matrix + LANES) -= sum31;
}

/* packed [panel][2][count] = entries from `at` on of a panel's v and w, each [panel][n]. */
static void pack(const double *v, const tridiagonal *t, uint32_t at, uint32_t count, double *packed)
{
    size_t n = t->n;
    for (uint32_t p = 0; p < t->panel; p++, packed += 2 * count) {
        memcpy(packed, v + p * n + at, count * sizeof *packed);
        memcpy(packed + count, t->image + p * n + at, count * sizeof *packed);
    }
}

/* What the reflections of a panel, from `first` on, take from all that follows it. */
static void take_panel(double *matrix, const tridiagonal *t, uint32_t first)
{
    enum { STRIPE = 4 }; /* blocks side by side, whose entries of the panel stay in cache */
    double left[PANEL * 2 * ROWS];
    double right[STRIPE][PANEL * 2 * WIDTH];
    uint32_t n = t->n;
    const double *v = matrix + (size_t)first * n;
    for (uint32_t column = first + t->panel; column < n; column += STRIPE * WIDTH) {
        uint32_t stop = n - column < STRIPE * WIDTH ? n : column + STRIPE * WIDTH;
        uint32_t blocks = (stop - column) / WIDTH;
        for (uint32_t b = 0; b < blocks; b++) {
            pack(v, t, column + b * WIDTH, WIDTH, right[b]);
        }
        uint32_t i = first + t->panel;
        for (; i + ROWS <= stop; i += ROWS) {
            pack(v, t, i, ROWS, left);
            for (uint32_t b = 0; b < blocks; b++) {
                double *block = matrix + (size_t)i * n + column + b * WIDTH;
                take_block(left, right[b], t->panel, n, block);
            }
            for (uint32_t r = i; column + blocks * WIDTH < stop && r < i + ROWS; r++) {
                take_images(matrix, t, first, t->panel, r, column + blocks * WIDTH, stop,
                            matrix + (size_t)r * n);
            }
        }
        for (; i < stop; i++) {
            take_images(matrix, t, first, t->panel, i, column, stop, matrix + (size_t)i * n);
        }
    }
}

/* w of the update v w^T + w v^T by reflection k, of `factor`; those from `first` on are still to be
 * done. */
static void find_image(const double *matrix, tridiagonal *t, uint32_t first, uint32_t k)
{
    size_t n = t->n;
    uint32_t left = t->n - k - 1;
    double factor = t->factor[k];
    const double *v = matrix + k * n + k + 1;
    double *y = t->product + k + 1;
    double *w = t->image + (k - first) * n + k + 1;
    multiply(matrix + (k + 1) * n + k + 1, n, left, v, y);
    for (uint32_t p = 0; p < k - first; p++) {
        const double *old_v = matrix + (first + p) * n + k + 1;
        const double *old_w = t->image + p * n + k + 1;
        csl_add_multiple(-inner(old_w, v, left), old_v, left, y);
        csl_add_multiple(-inner(old_v, v, left), old_w, left, y);
    }
    double half = factor * factor / 2 * inner(v, y, left);
    for (uint32_t j = 0; j < left; j++) {
        w[j] = factor * y[j] - half * v[j];
    }
}

/*
 * Householder (Golub and Van Loan, algorithm 8.3.1) in panels, as LAPACK does it: some reflections
 * are found from the matrix as it was before them and what they would have changed, and then taken
 * from all of it at once, so that most of the work reads the matrix and does not write it. Only the
 * diagonal and what is right of it are used. Row k keeps direction k from k + 1 on.
 */
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
    for (uint32_t first = 0; first < n; first += t->panel) {
        uint32_t end = n - first < t->panel ? n : first + t->panel;
        for (uint32_t k = first; k < end; k++) {
            double *row = matrix + (size_t)k * n;
            take_images(matrix, t, first, k - first, k, k, n, row);
            t->diagonal[k] = row[k];
            if (k + 1 < n) {
                t->factor[k] = reflect(row + k + 1, n - k - 1, nothing, &t->beside[k]);
                find_image(matrix, t, first, k);
            }
        }
        if (end < n) {
            take_panel(matrix, t, first);
        }
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
    double *room = csl_numbers(n, 6 + PANEL);
    if (!room) {
        return CSL_E_NO_MEMORY;
    }
    tridiagonal t = {n,
                     n > FEW ? PANEL : PANEL_OF_FEW,
                     room,
                     room + n,
                     room + (size_t)2 * n,
                     room + (size_t)3 * n,
                     room + (size_t)4 * n,
                     room + (size_t)5 * n,
                     room + (size_t)6 * n};
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
