/* Float64 control on small matrices. Every loop runs in the written order, so every machine gets
 * the same bits. */
#include "aggregation.h"

#include <consilium/clones.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

double *csl_numbers(size_t rows, size_t columns)
{
    size_t count = rows * columns;
    double *numbers = calloc(count ? count : 1, sizeof *numbers);
    if (!numbers) {
        csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for %zu x %zu numbers", rows, columns);
    }
    return numbers;
}

CSL_CLONES void csl_add_multiple(double factor, const double *row, uint32_t n, double *out)
{
    for (uint32_t j = 0; j < n; j++) {
        out[j] += factor * row[j];
    }
}

/* <x_i - c, x_j - c> for all j from r_i (own), r, t and the distances of i. */
CSL_CLONES static void
centre_row(const double *distance, const double *r, double own, double t, uint32_t n, double *out)
{
    for (uint32_t j = 0; j < n; j++) {
        out[j] = (own + r[j] - distance[j] - t) / 2;
    }
}

void csl_centred_products(
    const double *weight, const double *distance, uint32_t n, double *room, double *out)
{
    /* <x_i - c, x_j - c> = (r_i + r_j - D_ij) / 2 - t / 2, r = D w, t = w^T D w. */
    double t = 0;
    memset(room, 0, n * sizeof *room);
    for (uint32_t k = 0; k < n; k++) {
        csl_add_multiple(weight[k], distance + (size_t)k * n, n, room);
    }
    for (uint32_t i = 0; i < n; i++) {
        t += weight[i] * room[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        centre_row(distance + (size_t)i * n, room, room[i], t, n, out + (size_t)i * n);
        double value = room[i] - t / 2;
        out[(size_t)i * n + i] = value > 0 ? value : 0;
    }
}
