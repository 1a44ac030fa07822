/* Float64 control on small matrices. Every loop runs in the written order, so every machine gets
 * the same bits. */
#include "aggregation.h"

#include <consilium/clones.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { JACOBI_SWEEPS_MAX = 60 };

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

/* One Jacobi rotation that makes a[p][q] zero. */
static void rotate(double *a, double *v, uint32_t n, uint32_t p, uint32_t q)
{
    double apq = a[(size_t)p * n + q];
    double theta = (a[(size_t)q * n + q] - a[(size_t)p * n + p]) / (2 * apq);
    double t = 1 / (fabs(theta) + sqrt(theta * theta + 1));
    t = theta < 0 ? -t : t;
    double c = 1 / sqrt(t * t + 1);
    double s = t * c;
    for (uint32_t k = 0; k < n; k++) {
        double *row = a + (size_t)k * n;
        double kp = row[p];
        double kq = row[q];
        row[p] = c * kp - s * kq;
        row[q] = s * kp + c * kq;
    }
    double *row_p = a + (size_t)p * n;
    double *row_q = a + (size_t)q * n;
    for (uint32_t k = 0; k < n; k++) {
        double pk = row_p[k];
        double qk = row_q[k];
        row_p[k] = c * pk - s * qk;
        row_q[k] = s * pk + c * qk;
    }
    row_p[q] = 0;
    row_q[p] = 0;
    if (!v) {
        return;
    }
    for (uint32_t k = 0; k < n; k++) {
        double *row = v + (size_t)k * n;
        double kp = row[p];
        double kq = row[q];
        row[p] = c * kp - s * kq;
        row[q] = s * kp + c * kq;
    }
}

static bool sweep(double *a, double *v, uint32_t n)
{
    bool moved = false;
    for (uint32_t p = 0; p + 1 < n; p++) {
        for (uint32_t q = p + 1; q < n; q++) {
            double off = fabs(a[(size_t)p * n + q]);
            double pp = fabs(a[(size_t)p * n + p]);
            double qq = fabs(a[(size_t)q * n + q]);
            double weight = sqrt(pp) * sqrt(qq);
            /* Demmel and Veselic's criterion; the second for matrices that are not definite. */
            if (off > 0 && off > 0x1p-53 * weight && pp + qq + off * 0x1p-20 != pp + qq) {
                rotate(a, v, n, p, q);
                moved = true;
            }
        }
    }
    return moved;
}

csl_status csl_jacobi(double *matrix, uint32_t n, double *values_out, double *vectors_out)
{
    double *v = NULL;
    if (vectors_out) {
        v = csl_numbers(n, n);
        if (!v) {
            return CSL_E_NO_MEMORY;
        }
        for (uint32_t i = 0; i < n; i++) {
            v[(size_t)i * n + i] = 1;
        }
    }
    for (int i = 0; i < JACOBI_SWEEPS_MAX && sweep(matrix, v, n); i++) {
    }
    uint32_t *order = malloc((n ? n : 1) * sizeof *order);
    double *negative = csl_numbers(n, 1);
    csl_status status =
        order && negative ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "aggregation: eigenvalues");
    if (status == CSL_OK) {
        for (uint32_t i = 0; i < n; i++) {
            negative[i] = -matrix[(size_t)i * n + i];
        }
        status = csl_rank(negative, n, order);
    }
    for (uint32_t i = 0; status == CSL_OK && i < n; i++) {
        values_out[i] = -negative[order[i]];
        for (uint32_t k = 0; v && k < n; k++) {
            vectors_out[(size_t)k * n + i] = v[(size_t)k * n + order[i]];
        }
    }
    free(order);
    free(negative);
    free(v);
    return status;
}

void csl_centred_products(const double *weight, const double *distance, uint32_t n, double *out)
{
    /* <x_i - c, x_j - c> = (r_i + r_j - D_ij) / 2 - t / 2, r = D w, t = w^T D w. */
    double t = 0;
    for (uint32_t i = 0; i < n; i++) {
        double r = 0;
        for (uint32_t k = 0; k < n; k++) {
            r += weight[k] * distance[(size_t)i * n + k];
        }
        out[(size_t)i * n + i] = r; /* parked on the diagonal */
        t += weight[i] * r;
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = i + 1; j < n; j++) {
            double sum = out[(size_t)i * n + i] + out[(size_t)j * n + j];
            double value = (sum - distance[(size_t)i * n + j] - t) / 2;
            out[(size_t)i * n + j] = value;
            out[(size_t)j * n + i] = value;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        double value = out[(size_t)i * n + i] - t / 2;
        out[(size_t)i * n + i] = value > 0 ? value : 0;
    }
}
