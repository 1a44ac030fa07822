/*
 * Slow, obvious float64 versions of the aggregation rules, written from the papers' definitions:
 * rows are plain vectors, every distance is a loop over the coordinates, subsets are enumerated.
 */
#ifndef CSL_ORACLE_ROBUST_H
#define CSL_ORACLE_ROBUST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct oracle_rows {
    uint32_t n;
    size_t d;
    uint32_t f;
    double *x; /* [n][d], changed by pre-aggregators */
    /* Standard deviation of the error that squared distances between two rows are given, relative
     * to them: 0, or what measuring costs, where a test asks whether a choice depends on it. */
    double noise;
} oracle_rows;

/* In place. Names as in the registry: nnm, clipping (radius: median norm), arc. False: unknown. */
bool oracle_pre(const char *name, oracle_rows *rows);
/*
 * out [d]: NaN marks a coordinate at which two values are equally far from the centre up to
 * rounding, so that the definition leaves a choice. weights [n] or NULL. False: unknown rule.
 */
bool oracle_rule(const char *name, const oracle_rows *rows, const double *weights, double *out);

#endif
