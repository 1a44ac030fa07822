/*
 * Distances of mixtures. Points are taken about one row near most others, y_i = x_i - x_r, through
 * their Gram matrix: a combination of coefficients u and one of w (each add up to 1) are at squared
 * distance (u-w)^T G (u-w), which loses digits only where the mixtures themselves cancel. Neither a
 * shift of all the data nor a row far out, shortened to nearly nothing, costs the others any.
 */
#include "aggregation.h"

#include <consilium/clones.h>
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

/* Mixtures whose distances from one are computed at once, each by its own sums in the order of the
 * points; a term of step 0 adds 0, which changes no sum. */
enum { LANES = 16 };
typedef double lanes __attribute__((vector_size(LANES * sizeof(double)), aligned(8), may_alias));
typedef int64_t lane_bits __attribute__((vector_size(LANES * sizeof(double))));

typedef struct pair_sums {
    double value[LANES]; /* (u - w)^T G (u - w) */
    double size[LANES];  /* sum_k |u_k - w_k| |y_k|: what rounding is relative to */
} pair_sums;

/* left_mix, left_mixed, root [p]; mix, mixed [p][LANES]. */
CSL_CLONES static void add_pairs(const double *left_mix,
                                 const double *left_mixed,
                                 const double *root,
                                 const double *mix,
                                 const double *mixed,
                                 uint32_t p,
                                 pair_sums *sums)
{
    lanes value = {0};
    lanes size = {0};
    for (uint32_t k = 0; k < p; k++) {
        lanes step = left_mix[k] - *(const lanes *)(mix + (size_t)k * LANES);
        value += step * (left_mixed[k] - *(const lanes *)(mixed + (size_t)k * LANES));
        size += (lanes)((lane_bits)step & INT64_MAX) * root[k];
    }
    *(lanes *)sums->value = value;
    *(lanes *)sums->size = size;
}

/* Rows [first, first + LANES) of [m][p], one row a lane; lanes without a row are 0. */
static void pack_lanes(const double *rows, uint32_t m, uint32_t p, uint32_t first, double *packed)
{
    for (uint32_t l = 0; l < LANES; l++) {
        const double *row = rows + (size_t)(first + l) * p;
        for (uint32_t k = 0; k < p; k++) {
            packed[(size_t)k * LANES + l] = first + l < m ? row[k] : 0;
        }
    }
}

/* Squared distances of the mixtures, and never less than what rounding may have taken away: rows
 * that cancel each other must not seem near. mixed = mix times gram. root [p]: of its diagonal;
 * packed [2][p][LANES]. */
static void measure_pairs(const csl_frame *frame, uint32_t p, const double *root, double *packed)
{
    uint32_t m = frame->count;
    double *mix = packed;
    double *mixed = packed + (size_t)p * LANES;
    for (uint32_t first = 0; first < m; first += LANES) {
        uint32_t end = first + LANES < m ? first + LANES : m;
        pack_lanes(frame->mix, m, p, first, mix);
        pack_lanes(frame->mixed, m, p, first, mixed);
        for (uint32_t u = 0; u < end; u++) {
            pair_sums sums;
            const double *left = frame->mix + (size_t)u * p;
            add_pairs(left, frame->mixed + (size_t)u * p, root, mix, mixed, p, &sums);
            for (uint32_t w = first > u ? first : u + 1; w < end; w++) {
                double size = sums.size[w - first];
                double value = fmax(sums.value[w - first], PAIR_ERROR / 4 * size * size);
                frame->distance[(size_t)u * m + w] = frame->distance[(size_t)w * m + u] = value;
            }
        }
    }
}

static csl_status mixture_distances(const csl_aggregation *a, csl_frame *frame, const double *gram)
{
    uint32_t p = a->point_count;
    uint32_t m = frame->count;
    uint32_t *point = calloc(m, sizeof *point);
    double *root = csl_numbers(p, 1);
    double *packed = csl_numbers((size_t)2 * p, LANES);
    csl_status status =
        point && root && packed ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "aggregation: distances");
    bool mixes = false;
    for (uint32_t u = 0; status == CSL_OK && u < m; u++) {
        point[u] = only_point(frame->mix + (size_t)u * p, p);
        mixes = mixes || point[u] == p;
    }
    for (uint32_t k = 0; status == CSL_OK && k < p; k++) {
        root[k] = sqrt(gram[(size_t)k * p + k]);
    }
    if (status == CSL_OK && mixes) {
        measure_pairs(frame, p, root, packed);
    }
    for (uint32_t u = 0; status == CSL_OK && u < m; u++) { /* points as they were measured */
        for (uint32_t w = 0; point[u] < p && w < m; w++) {
            if (point[w] < p && w != u) {
                frame->distance[(size_t)u * m + w] = a->distance[(size_t)point[u] * p + point[w]];
            }
        }
    }
    free(point);
    free(root);
    free(packed);
    return status;
}

/* The Gram matrix of the mixtures about one of them. turned [point_count][count]: room. */
static void mixture_products(const csl_aggregation *a, csl_frame *frame, double *turned)
{
    uint32_t p = a->point_count;
    uint32_t m = frame->count;
    const double *centre = frame->mix + (size_t)frame->reference * p;
    const double *mixed = frame->mixed + (size_t)frame->reference * p;
    for (uint32_t w = 0; w < m; w++) {
        for (uint32_t k = 0; k < p; k++) {
            turned[(size_t)k * m + w] = frame->mixed[(size_t)w * p + k] - mixed[k];
        }
    }
    for (uint32_t u = 0; u < m; u++) {
        double *row = frame->gram + (size_t)u * m;
        for (uint32_t k = 0; k < p; k++) {
            double step = frame->mix[(size_t)u * p + k] - centre[k];
            if (step != 0) {
                csl_add_multiple(step, turned + (size_t)k * m + u, m - u, row + u);
            }
        }
        for (uint32_t w = u + 1; w < m; w++) {
            frame->gram[(size_t)w * m + u] = row[w];
        }
    }
}

static void multiply(const double *mix, uint32_t m, const double *gram, uint32_t p, double *out)
{
    for (uint32_t u = 0; u < m; u++) {
        for (uint32_t k = 0; k < p; k++) {
            double factor = mix[(size_t)u * p + k];
            if (factor != 0) {
                csl_add_multiple(factor, gram + (size_t)k * p, p, out + (size_t)u * p);
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
    double *turned = weighs ? csl_numbers(p, m + 1) : NULL;
    bool complete = frame->mix && frame->mixed && frame->distance && frame->gram && gram;
    complete = complete && (turned || !weighs);
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
        status = mixture_distances(a, frame, gram);
    }
    if (status == CSL_OK && weighs) {
        status = csl_reference(frame->distance, m + 1, m, &frame->reference, &near);
    }
    if (status == CSL_OK && weighs) {
        mixture_products(a, frame, turned);
    }
    free(gram);
    free(turned);
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

double csl_frame_length(const csl_frame *frame, const double *step, double *room)
{
    double sum = 0;
    uint32_t m = frame->count;
    memset(room, 0, m * sizeof *room);
    for (uint32_t j = 0; j < m; j++) {
        csl_add_multiple(step[j], frame->gram + (size_t)j * m, m, room);
    }
    for (uint32_t i = 0; i < m; i++) {
        sum += step[i] * room[i];
    }
    return sum > 0 ? sum : 0;
}

void csl_frame_distances(const csl_frame *frame, const double *weight, double *out)
{
    uint32_t m = frame->count;
    memset(out, 0, m * sizeof *out);
    for (uint32_t k = 0; k < m; k++) {
        if (weight[k] != 0) {
            csl_add_multiple(weight[k], frame->gram + (size_t)k * m, m, out);
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
