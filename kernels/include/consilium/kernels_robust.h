/*
 * Operations of robust aggregation: n rows of float32 in; one row, m rows or a small host matrix
 * out. All EXACT: the comments below give the sequence of IEEE-754 operations that defines every
 * bit, and no device, instruction set, thread count or split of the columns changes one.
 *
 * host_rows is a host array [row_count] of device pointers to `count` float32 each; rows may lie in
 * one [n][d] block or apart, one row may be named twice. row_count: 1..CSL_ROWS_MAX, and for the
 * mixing and the exact sums 1..CSL_KERNEL_ROWS_MAX, so that centre vectors fit in beside the
 * updates. Column operations may be called on any range of columns: offset the pointers. The exact
 * sums must be called on ranges that begin on a multiple of CSL_TILE of the whole vector.
 *
 * Every float32 that is written is canonical: -0.0 is written as +0.0 and any NaN as 0x7fc00000.
 * Denormals are kept. Common errors: E_RANGE (row_count, count 0 is allowed and does nothing),
 * E_INVALID_ARG (a NULL or a field out of its documented range), E_NO_MEMORY, E_DEVICE.
 */
#ifndef CONSILIUM_KERNELS_ROBUST_H
#define CONSILIUM_KERNELS_ROBUST_H

#include <consilium/device.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CSL_KERNEL_ROWS_MAX = 2 * CSL_ROWS_MAX, /* updates and centre vectors of one operation */
    CSL_EXACT_LIMBS = 10,                   /* 32-bit limbs of an exact sum, units of 2^-149 */
    CSL_EXACT_WORDS = CSL_EXACT_LIMBS + 1   /* and one word that counts tiles without a value */
};

/*
 * An exact sum over coordinates: value = 2^-149 * sum_k word[k] * 2^(32 k), k < CSL_EXACT_LIMBS.
 * Words are signed and not carried, so that sums over tiles, threads and ranks are plain integer
 * additions of words (MPI_SUM of int64): associative, hence independent of the order. A tile whose
 * float64 sum is not finite adds 1 to the last word instead. Safe for 2^31 tiles (8e12
 * coordinates).
 */
typedef struct csl_exact_sum {
    int64_t word[CSL_EXACT_WORDS];
} csl_exact_sum;

/* The float64 nearest to the sum (ties to even); +infinity if a tile had no finite value. */
CSL_API double csl_exact_value(const csl_exact_sum *sum);
/* True if a tile overflowed or met a NaN; an inner product then has no value at all. */
CSL_API bool csl_exact_overflowed(const csl_exact_sum *sum);
/* Adds one finite float64 that is a multiple of 2^-149 and below 2^160 in magnitude; else marks. */
CSL_API void csl_exact_add(csl_exact_sum *sum, double value);
/* target[i] += source[i], i < sum_count. */
CSL_API void csl_exact_merge(csl_exact_sum *target, const csl_exact_sum *source, size_t sum_count);

/* Distances: pairs (i, j), i < j < n, in lexicographic order; the pairs with i < lead are a prefix.
 */
static inline size_t csl_pair_index(size_t i, size_t j, size_t n)
{
    return i * n - i * (i + 1) / 2 + (j - i - 1);
}
static inline size_t csl_pair_count(size_t lead, size_t n)
{
    return lead * n - lead * (lead + 1) / 2;
}
/* Inner products: pairs (i, j), i <= j < n, in lexicographic order; i < lead is a prefix. */
static inline size_t csl_product_index(size_t i, size_t j, size_t n)
{
    return i * n - i * (i + 1) / 2 + j;
}
static inline size_t csl_product_count(size_t lead, size_t n)
{
    return lead * n - lead * (lead - 1) / 2;
}

/*
 * What row_select puts into out[j]. v[0..n-1]: the values of column j in ascending order, NaN taken
 * as +infinity. Sums start at +0.0 and run in ascending order in float64; the mean is that sum
 * divided by the number of values in float64, rounded to float32.
 */
typedef enum csl_select_kind {
    CSL_SELECT_TRIMMED_MEAN, /* mean of v[trim..n-trim-1]; 2 trim < n */
    CSL_SELECT_MEDIAN,       /* v[(n-1)/2] for odd n, mean of v[n/2-1] and v[n/2] for even n */
    CSL_SELECT_MEDIAN_LOWER, /* v[(n-1)/2] */
    CSL_SELECT_MEDIAN_UPPER, /* v[n/2] */
    CSL_SELECT_MEAMED,       /* mean of the `keep` values closest to CSL_SELECT_MEDIAN */
    CSL_SELECT_PHOCAS, /* mean of the `keep` values closest to CSL_SELECT_TRIMMED_MEAN(trim) */
    CSL_SELECT_SIGN_MAJORITY, /* sign of the sum of the signs of v: -1, 0 or +1 */
    CSL_SELECT_KIND_COUNT
} csl_select_kind;

/*
 * "The keep values closest to c" (c the float32 that the named kind gives) are the window
 * v[s..s+keep-1] where s is the number of leading t < n - keep with c - v[t] > v[t+keep] - c, both
 * differences in float32: so of two values at the same distance the smaller one is kept. A
 * comparison with NaN (infinity minus infinity) is false.
 *
 * host_mix: NULL, or [mix_count][row_count] float64: selection then runs on the mix_count rows
 * W X, each value rounded as row_mix rounds it, without storing them. A matrix with one nonzero a
 * row scales or picks rows (clipping) at almost no cost. host_magnitude is then left as it is.
 */
typedef struct csl_select_spec {
    csl_select_kind kind;
    uint32_t trim;          /* CSL_SELECT_TRIMMED_MEAN, CSL_SELECT_PHOCAS */
    uint32_t keep;          /* CSL_SELECT_MEAMED, CSL_SELECT_PHOCAS: 1..n */
    uint32_t mix_count;     /* rows of host_mix, 1..CSL_ROWS_MAX; n is then mix_count */
    const double *host_mix; /* or NULL */
    uint32_t
        *host_magnitude; /* or NULL; raised to the largest magnitude of the rows, see row_mean */
} csl_select_spec;

/* Where row_statistics writes: device pointers to [count], each may be NULL. */
typedef struct csl_column_statistics {
    float *mean;         /* as row_mean */
    float *deviation;    /* sqrt(sum_i (x_i - m)^2 / (n - 1)), 0 for n = 1 */
    float *minimum;      /* NaN taken as +infinity */
    float *maximum;      /* NaN taken as +infinity */
    float *sign_of_mean; /* -1, 0, +1; 0 where the mean is NaN */
    int32_t *sign_sum;   /* sum_i sign(x_i), sign(NaN) = 0 */
} csl_column_statistics;

/* Counts over one row's coordinates; additive over ranges and ranks. */
typedef struct csl_row_census {
    int64_t non_finite;
    int64_t negative_zero;
    int64_t positive; /* above zero, +infinity included */
    int64_t negative; /* below zero, -infinity included */
} csl_row_census;

/* What row_geometry adds to; each may be NULL. */
typedef struct csl_row_geometry {
    csl_exact_sum *norms;     /* [n], as row_squared_norms */
    csl_exact_sum *distances; /* [csl_pair_count(n, n)], as row_squared_distances */
    csl_exact_sum *products;  /* [csl_product_count(n, n)], as row_inner_products */
} csl_row_geometry;

/*
 * row_weighted_mean:
 *   out[j] = s rounded to float32; s = +0.0, then s = fma(weights[i], rows[i][j], s) in float64
 *   over the i with weights[i] != 0, ascending. Rows of weight zero are not read. Weights are used
 *   as they are: the caller normalises them. host_magnitude: as in row_mean, of the rows read.
 * row_mean:
 *   out[j] = s / n rounded to float32, s = the float64 sum over i ascending.
 *   host_magnitude: NULL, or raised to the largest of the values' bits without their signs, which
 *   order like magnitudes; 0x7f800000 is infinity, and so is a NaN. So one word tells whether a row
 *   may have to be refused, without a pass of its own.
 * row_mix:
 *   host_out_rows[r] = row_weighted_mean with weights host_matrix[r][0..n-1], r < mix_count
 *   (1..CSL_KERNEL_ROWS_MAX). Outputs overlap neither each other nor any input.
 * row_select:
 *   see csl_select_spec; n = 1..CSL_ROWS_MAX.
 * row_statistics:
 *   m = s / n as in row_mean but kept in float64; e = x_i - m, q = fma(e, e, q) over i ascending;
 *   the deviation is sqrt(q / (n - 1)); all in float64, then rounded to float32.
 * row_sign_filter:
 *   inout[j] = |sum_i sign(rows[i][j])| >= threshold ? inout[j] : -inout[j]; the robust learning
 *   rate (Ozdayi et al. 2021, equation 3).
 * row_squared_norms:
 *   host_sums[i] += ||x_i||^2. host_census: [row_count], added to, or NULL.
 * row_squared_distances:
 *   host_sums[csl_pair_index(i, j, n)] += ||x_i - x_j||^2 for i < j < n and i < lead_count
 *   (1..n; n gives all pairs, 1 the distances to row 0).
 * row_inner_products:
 *   host_sums[csl_product_index(i, j, n)] += <x_i, x_j> for i <= j < n and i < lead_count.
 * row_geometry:
 *   the three above in one pass over the rows; host_sums: host memory.
 * row_gather:
 *   host_out[i * index_count + k] = rows[i][host_index[k]], bits unchanged; E_RANGE if an index is
 *   not below count.
 *
 * Exact sums, per tile of CSL_TILE columns: lane l of 32 starts at +0.0 and takes columns l, l+32
 * and so on in order, in float32: fmaf(a, a, s) for norms, e = a - b and fmaf(e, e, s) for
 * distances, fmaf(a, b, s) for inner products. The 32 lane sums become float64 and are added
 * l + (l+16), then 8, 4, 2, 1; the tile's sum is added to the csl_exact_sum.
 */
#define CSL_ROBUST_OP_LIST(X)                                                                      \
    X(row_weighted_mean, CSL_EXACT, 0, 0,                                                          \
      (csl_device * device, const float *const *host_rows, const double *host_weights,             \
       uint32_t row_count, size_t count, float *out, uint32_t *host_magnitude),                    \
      (device, host_rows, host_weights, row_count, count, out, host_magnitude))                    \
    X(row_mean, CSL_EXACT, 0, 0,                                                                   \
      (csl_device * device, const float *const *host_rows, uint32_t row_count, size_t count,       \
       float *out, uint32_t *host_magnitude),                                                      \
      (device, host_rows, row_count, count, out, host_magnitude))                                  \
    X(row_mix, CSL_EXACT, 0, 0,                                                                    \
      (csl_device * device, const float *const *host_rows, uint32_t row_count,                     \
       const double *host_matrix, uint32_t mix_count, size_t count, float *const *host_out_rows),  \
      (device, host_rows, row_count, host_matrix, mix_count, count, host_out_rows))                \
    X(row_select, CSL_EXACT, 0, 0,                                                                 \
      (csl_device * device, const csl_select_spec *spec, const float *const *host_rows,            \
       uint32_t row_count, size_t count, float *out),                                              \
      (device, spec, host_rows, row_count, count, out))                                            \
    X(row_statistics, CSL_EXACT, 0, 0,                                                             \
      (csl_device * device, const float *const *host_rows, uint32_t row_count, size_t count,       \
       const csl_column_statistics *statistics),                                                   \
      (device, host_rows, row_count, count, statistics))                                           \
    X(row_sign_filter, CSL_EXACT, 0, 0,                                                            \
      (csl_device * device, const float *const *host_rows, uint32_t row_count, uint32_t threshold, \
       size_t count, float *inout),                                                                \
      (device, host_rows, row_count, threshold, count, inout))                                     \
    X(row_squared_norms, CSL_EXACT, 0, 0,                                                          \
      (csl_device * device, const float *const *host_rows, uint32_t row_count, size_t count,       \
       csl_row_census *host_census, csl_exact_sum *host_sums),                                     \
      (device, host_rows, row_count, count, host_census, host_sums))                               \
    X(row_squared_distances, CSL_EXACT, 0, 0,                                                      \
      (csl_device * device, const float *const *host_rows, uint32_t row_count,                     \
       uint32_t lead_count, size_t count, csl_exact_sum *host_sums),                               \
      (device, host_rows, row_count, lead_count, count, host_sums))                                \
    X(row_inner_products, CSL_EXACT, 0, 0,                                                         \
      (csl_device * device, const float *const *host_rows, uint32_t row_count,                     \
       uint32_t lead_count, size_t count, csl_exact_sum *host_sums),                               \
      (device, host_rows, row_count, lead_count, count, host_sums))                                \
    X(row_geometry, CSL_EXACT, 0, 0,                                                               \
      (csl_device * device, const float *const *host_rows, uint32_t row_count, size_t count,       \
       const csl_row_geometry *host_sums),                                                         \
      (device, host_rows, row_count, count, host_sums))                                            \
    X(row_gather, CSL_EXACT, 0, 0,                                                                 \
      (csl_device * device, const float *const *host_rows, uint32_t row_count, size_t count,       \
       const uint64_t *host_index, size_t index_count, float *host_out),                           \
      (device, host_rows, row_count, count, host_index, index_count, host_out))

/*
 * The instruction set of the host operations above: "portable", "avx2" or "avx512". The best one
 * the processor has is taken on first use; the environment variable CSL_INSTRUCTION_SET takes
 * precedence. select changes it for the whole process while no operation runs (tests,
 * measurements); NULL goes back to the best. Errors: E_NOT_FOUND (unknown name), E_UNSUPPORTED
 * (this processor lacks it).
 */
CSL_API CSL_MUST_CHECK csl_status csl_instruction_set_select(const char *name);
CSL_API const char *csl_instruction_set_name(void);

#ifdef __cplusplus
}
#endif
#endif
