/*
 * Distances of mixtures. Points are taken about one row near most others, y_i = x_i - x_r, through
 * their Gram matrix: a combination of coefficients u and one of w (each add up to 1) are at squared
 * distance (u-w)^T G (u-w), which loses digits only where the mixtures themselves cancel. Neither a
 * shift of all the data nor a row far out, shortened to nearly nothing, costs the others any.
 */
#include "aggregation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums of squares and products are made of float32 terms, so this is their relative error. */
static const double PAIR_ERROR = 0x1p-24;
/* Squared distances that exceed the usual one this many times make a row far. */
static const double FAR = 0x1p12;

csl_status
csl_reference(const double *distance, size_t stride, uint32_t n, uint32_t *row_out, double *near)
{
    double *values = csl_numbers(n, 1);
    csl_status status = values ? CSL_OK : CSL_E_NO_MEMORY;
    *near = INFINITY;
    *row_out = 0;
    for (uint32_t i = 0; status == CSL_OK && i < n; i++) {
        double radius = 0;
        memcpy(values, distance + i * stride, n * sizeof *values);
        status = csl_order_statistic(values, n, n / 2, &radius); /* its own 0 is one of them */
        if (status == CSL_OK && radius < *near) {
            *near = radius;
            *row_out = i;
        }
    }
    free(values);
    return status;
}

/*
 * <x_i - x_r, x_j - x_r> from distances, (D_ir + D_jr - D_ij) / 2, or from inner products,
 * P_ij - P_ir - P_jr + P_rr: whichever has the smaller error. The first is better where all points
 * share a large part, the second where one of them is far from the others.
 */
static double
pair_product(const csl_aggregation *a, bool products, uint32_t r, uint32_t i, uint32_t j)
{
    size_t p = a->point_count;
    const double *d = a->distance;
    double by_distances = (d[i * p + r] + d[j * p + r] - d[i * p + j]) / 2;
    if (!products || i == j) {
        return by_distances;
    }
    uint32_t origin = csl_extra(a, CSL_POINT_ORIGIN);
    double ni = sqrt(d[i * p + origin]);
    double nj = sqrt(d[j * p + origin]);
    double nr = sqrt(d[r * p + origin]);
    double distance_error = fmax(d[i * p + j], fmax(d[i * p + r], d[j * p + r]));
    if (distance_error <= (ni + nr) * (nj + nr)) {
        return by_distances;
    }
    const double *x = a->product;
    return x[i * p + j] - x[i * p + r] - x[j * p + r] + x[r * p + r];
}

/* The Gram matrix of all points about live row r. gram_out [point_count][point_count]. */
static void point_products(const csl_aggregation *a, uint32_t r, double *gram_out)
{
    uint32_t p = a->point_count;
    uint32_t median = csl_extra(a, CSL_POINT_MEDIAN);
    for (uint32_t i = 0; i < p; i++) {
        for (uint32_t j = i; j < p; j++) {
            bool products = a->product && (a->median_products || (i != median && j != median));
            double value = pair_product(a, products, r, i, j);
            gram_out[(size_t)i * p + j] = gram_out[(size_t)j * p + i] = value;
        }
    }
}

/* Whether a row far from most others takes a part so small that its distances, whose error grows
 * with their size, do not tell where the mixture lies: then inner products are needed too. */
static bool
needs_products(const csl_aggregation *a, const double *mix, uint32_t m, uint32_t r, double near)
{
    uint32_t p = a->point_count;
    for (uint32_t u = 0; u < m; u++) {
        const double *row = mix + (size_t)u * p;
        for (uint32_t k = 0; k < a->live_count; k++) {
            double away = a->distance[(size_t)k * p + r];
            if (row[k] != 0 && fabs(row[k]) < 0.03125 && away > FAR * near) {
                return a->product == NULL;
            }
        }
    }
    return false;
}

static bool has_far_row(const csl_aggregation *a, uint32_t r, double near)
{
    for (uint32_t k = 0; k < a->live_count; k++) {
        if (a->distance[(size_t)k * a->point_count + r] > FAR * near) {
            return a->product == NULL;
        }
    }
    return false;
}

/* The point that a mixture is, or point_count. */
static uint32_t only_point(const double *row, uint32_t p)
{
    uint32_t found = p;
    for (uint32_t k = 0; k < p; k++) {
        if (row[k] != 0) {
            if (row[k] != 1 || found < p) {
                return p;
            }
            found = k;
        }
    }
    return found;
}

/* Squared distances of the mixtures, and never less than what rounding may have taken away: rows
 * that cancel each other must not seem near. mixed = mix times gram. */
static void mixture_distances(const csl_aggregation *a, csl_frame *frame, const double *gram)
{
    uint32_t p = a->point_count;
    uint32_t m = frame->count;
    for (uint32_t u = 0; u < m; u++) {
        const double *left = frame->mix + (size_t)u * p;
        uint32_t own = only_point(left, p);
        for (uint32_t w = u + 1; w < m; w++) {
            const double *right = frame->mix + (size_t)w * p;
            uint32_t other = own < p ? only_point(right, p) : p;
            double value = 0;
            double size = 0;
            for (uint32_t k = 0; k < p && other == p; k++) {
                double step = left[k] - right[k];
                if (step != 0) {
                    value +=
                        step * (frame->mixed[(size_t)u * p + k] - frame->mixed[(size_t)w * p + k]);
                    size += fabs(step) * sqrt(gram[(size_t)k * p + k]);
                }
            }
            value = other < p ? a->distance[(size_t)own * p + other]
                              : fmax(value, PAIR_ERROR / 4 * size * size);
            frame->distance[(size_t)u * m + w] = frame->distance[(size_t)w * m + u] = value;
        }
    }
}

/* The Gram matrix of the mixtures about one of them. */
static void mixture_products(const csl_aggregation *a, csl_frame *frame)
{
    uint32_t p = a->point_count;
    uint32_t m = frame->count;
    const double *centre = frame->mix + (size_t)frame->reference * p;
    const double *mixed = frame->mixed + (size_t)frame->reference * p;
    for (uint32_t u = 0; u < m; u++) {
        for (uint32_t w = u; w < m; w++) {
            double value = 0;
            for (uint32_t k = 0; k < p; k++) {
                double step = frame->mix[(size_t)u * p + k] - centre[k];
                if (step != 0) {
                    value += step * (frame->mixed[(size_t)w * p + k] - mixed[k]);
                }
            }
            frame->gram[(size_t)u * m + w] = frame->gram[(size_t)w * m + u] = value;
        }
    }
}

static void multiply(const double *mix, uint32_t m, const double *gram, uint32_t p, double *out)
{
    for (uint32_t u = 0; u < m; u++) {
        for (uint32_t k = 0; k < p; k++) {
            double factor = mix[(size_t)u * p + k];
            for (uint32_t j = 0; factor != 0 && j < p; j++) {
                out[(size_t)u * p + j] += factor * gram[(size_t)k * p + j];
            }
        }
    }
}

csl_status
csl_frame_open(csl_aggregation *a, enum csl_extra_point extra, bool weighs, csl_frame *frame)
{
    uint32_t m = a->row_count;
    uint32_t p = a->point_count;
    *frame = (csl_frame){.count = m + 1};
    frame->mix = csl_numbers(m + 1, p);
    frame->mixed = csl_numbers(m + 1, p);
    frame->distance = csl_numbers(m + 1, m + 1);
    frame->gram = csl_numbers(m + 1, m + 1);
    double *gram = csl_numbers(p, p);
    bool complete = frame->mix && frame->mixed && frame->distance && frame->gram && gram;
    csl_status status = complete ? CSL_OK : CSL_E_NO_MEMORY;
    uint32_t r = 0;
    double near = 0;
    if (status == CSL_OK) {
        memcpy(frame->mix, a->mix, (size_t)m * p * sizeof *frame->mix);
        frame->mix[(size_t)m * p + csl_extra(a, extra)] = 1;
        status = csl_reference(a->distance, p, a->live_count, &r, &near);
    }
    if (status == CSL_OK &&
        (needs_products(a, frame->mix, m, r, near) || (weighs && has_far_row(a, r, near)))) {
        status = csl_gather_products(a);
    }
    if (status == CSL_OK) {
        point_products(a, r, gram);
        multiply(frame->mix, m + 1, gram, p, frame->mixed);
        mixture_distances(a, frame, gram);
        status = csl_reference(frame->distance, m + 1, m, &frame->reference, &frame->near);
    }
    if (status == CSL_OK && weighs) {
        mixture_products(a, frame);
    }
    free(gram);
    if (status != CSL_OK) {
        csl_frame_close(frame);
    }
    return status;
}

void csl_frame_close(csl_frame *frame)
{
    free(frame->mix);
    free(frame->mixed);
    free(frame->distance);
    free(frame->gram);
    *frame = (csl_frame){0};
}

double csl_frame_length(const csl_frame *frame, const double *step)
{
    double sum = 0;
    uint32_t m = frame->count;
    for (uint32_t i = 0; i < m; i++) {
        double inner = 0;
        for (uint32_t j = 0; step[i] != 0 && j < m; j++) {
            inner += frame->gram[(size_t)i * m + j] * step[j];
        }
        sum += step[i] * inner;
    }
    return sum > 0 ? sum : 0;
}

void csl_frame_distances(const csl_frame *frame, const double *weight, double *out)
{
    uint32_t m = frame->count;
    memset(out, 0, m * sizeof *out);
    for (uint32_t k = 0; k < m; k++) {
        for (uint32_t j = 0; weight[k] != 0 && j < m; j++) {
            out[j] += weight[k] * frame->gram[(size_t)k * m + j];
        }
    }
    double own = 0;
    for (uint32_t k = 0; k < m; k++) {
        own += weight[k] * out[k];
    }
    for (uint32_t j = 0; j < m; j++) {
        double value = frame->gram[(size_t)j * m + j] - 2 * out[j] + own;
        out[j] = value > 0 ? value : 0;
    }
}
