/* Private to engine/robust: one aggregation in progress, and what rules are made of. */
#ifndef CSL_AGGREGATION_H
#define CSL_AGGREGATION_H

#include <consilium/kernels.h>
#include <consilium/robust.h>

/* Points of the small matrices: the live rows first, then these, whether used or not. */
enum csl_extra_point { CSL_POINT_ORIGIN, CSL_POINT_CENTRE, CSL_POINT_MEDIAN, CSL_EXTRA_POINTS };

typedef enum csl_answer_kind {
    CSL_ANSWER_LINEAR, /* sum over points of weight times point */
    CSL_ANSWER_MEAN,   /* plain mean of the virtual rows */
    CSL_ANSWER_SELECT  /* order statistics of each coordinate over chosen virtual rows */
} csl_answer_kind;

typedef struct csl_aggregation {
    const csl_aggregate_spec *spec;
    const csl_aggregate_input *input;
    const csl_kernels *kernels;
    csl_aggregate_report *report;
    float *out;  /* device [column_count]: the aggregate; NULL where input->store takes it */
    uint32_t f;  /* declared minus refused */
    bool parted; /* the ranks have agreed on a failure: nothing is exchanged any more */
    uint32_t live_count;
    uint32_t *live;       /* [live_count] index of the input row */
    double *live_weights; /* [live_count] by the weights policy, sum 1 */
    double weight_cap;    /* twice the median weight, where weights are cut to it */
    /* Matrices over the points, stride point_count = live_count + CSL_EXTRA_POINTS. */
    uint32_t point_count;
    double *distance;        /* squared distances, or NULL */
    double *product;         /* inner products of live rows and the centre, or NULL */
    bool median_products;    /* of the coordinate median too */
    double *norm;            /* [live_count] squared, or NULL */
    double *centre_distance; /* [live_count] squared, or NULL: distance has them */
    double *centre_product;  /* [live_count] inner products with the centre, or NULL */
    uint32_t pivot;      /* row before any is refused that stands in for the centre in these two, or
                          * its number of rows: the centre itself */
    bool has_centre;     /* the same on all ranks; without one the centre is the zero vector */
    const float *centre; /* device: memory or root; NULL too where there are no local columns */
    float *next_centre;  /* device: where the answer is kept while it is stored, or NULL */
    /* Virtual rows: affine combinations of points, coefficients add up to 1. */
    uint32_t row_count;
    bool mixed;           /* not simply the live rows */
    double *mix;          /* [row_count][point_count] */
    double *row_distance; /* [row_count][row_count] squared, or NULL */
    double *row_norm;     /* [row_count] squared, or NULL */
    double *known_norm;   /* [row_count] squared, where it needs no distances; else NaN */
    uint32_t *row_of;     /* [live_count] virtual row that a live row is reported with */
    double *scale;        /* [live_count] product of all clipping factors */
    /* [row_count] why it was not or not fully taken; "": by its score and `last_score` */
    char (*reason)[CSL_REASON_MAX];
    char (*shortened)[CSL_REASON_MAX]; /* [live_count] by what its scale came about, or "" */
    double last_score;                 /* of the rows taken, the one nearest to being dropped */
    bool takes_largest;                /* the rule takes the rows of the largest scores */
    const char *despite;               /* why a row was dropped whose score is no worse, or NULL */
    bool blended;  /* rows were mixed with their neighbours: scores are of mixtures */
    double *score; /* [row_count] what the rule ranked by; NaN at first */
    /* What the rule decides. */
    csl_answer_kind kind;
    double *weight; /* [point_count] LINEAR */
    csl_select_spec select;
    uint32_t chosen_count; /* SELECT: virtual rows that take part; 0 is all */
    uint32_t *chosen;
    uint32_t sign_threshold; /* above 0: row_sign_filter follows */
    double noise;            /* standard deviation added to each coordinate */
} csl_aggregation;

typedef csl_status (*csl_rule_run)(csl_aggregation *a);

typedef struct csl_rule {
    csl_rule_info info;
    csl_rule_run run;
} csl_rule;

struct csl_aggregate_memory {
    csl_device *device;
    size_t column_count;
    bool has_centre;                      /* after the first round */
    bool spoiled;                         /* a failed round left what is kept half written */
    float *centre;                        /* device; NULL without local columns */
    float *history[CSL_INSTITUTIONS_MAX]; /* device, by institution; NULL before its first round */
};

/* memory.c: what is kept from round to round. */
/* The history of an institution, zero at first. */
csl_status csl_memory_open_history(csl_aggregate_memory *memory, uint32_t institution);
/* Makes room for a centre, so that keeping it cannot fail for want of memory. */
csl_status csl_memory_open_centre(csl_aggregate_memory *memory);
csl_status csl_memory_copy_centre(csl_aggregate_memory *memory, const float *centre);

/* What a rule needs that compares rows with one row only, instead of CSL_NEEDS_DISTANCES and
 * CSL_NEEDS_PRODUCTS. */
enum { CSL_NEEDS_CENTRE_DISTANCES = 1 << 16, CSL_NEEDS_CENTRE_PRODUCTS = 1 << 17 };
/* One step of centered clipping from where it starts: only distances to the centre matter. */
bool csl_clips_once(const csl_aggregate_spec *spec);

csl_status csl_find_rule(const char *name, const csl_rule **rule_out);
csl_status csl_find_pre(const char *name, const csl_rule **pre_out);
/* The value given, else the preset's, else `derived`. */
double csl_spec_value(const csl_aggregate_spec *spec, csl_parameter parameter, double derived);
/* Whether the rows' weights enter the aggregate. */
bool csl_uses_weights(const csl_aggregate_spec *spec);
static inline double csl_value(const csl_aggregation *a, csl_parameter parameter, double derived)
{
    return csl_spec_value(a->spec, parameter, derived);
}
static inline uint32_t
csl_whole_value(const csl_aggregation *a, csl_parameter parameter, uint32_t derived)
{
    return (uint32_t)csl_spec_value(a->spec, parameter, derived);
}
static inline uint32_t csl_extra(const csl_aggregation *a, enum csl_extra_point extra)
{
    return a->live_count + (uint32_t)extra;
}

/* ranking.c: the order of rows. */

/* The row order by ascending score, NaN last, ties by index. order_out [n]. */
csl_status csl_rank(const double *score, uint32_t n, uint32_t *order_out);
/* Which rows are among the first `count` (1 to n) of that order. least_out [n]. */
csl_status csl_least(const double *values, uint32_t n, uint32_t count, bool *least_out);
/* The k-th smallest (from 0) of n values; 0 for -0. */
csl_status csl_order_statistic(const double *values, uint32_t n, uint32_t k, double *value_out);
/* Median; mean of both middles for an even count. */
csl_status csl_median(const double *values, uint32_t n, double *median_out);

/* geometry.c: float64 control. Squared matrices are [n][n]. */

/* matrix: a, b, c, ... of n float64, zeroed; NULL where there is no memory (message set). */
double *csl_numbers(size_t rows, size_t columns);
/* out[j] += factor * row[j], j < n. */
void csl_add_multiple(double factor, const double *row, uint32_t n, double *out);
/* Inner products <x_i - c, x_j - c> about the weighted centre c of n points. room [n] is written
 * over. */
void csl_centred_products(
    const double *weight, const double *distance, uint32_t n, double *room, double *out);

/* eigen.c */
/*
 * The largest eigenvalue of a symmetric matrix [n][n] that is positive semidefinite up to rounding,
 * and a unit eigenvector (vector_out [n], may be NULL), of either sign. The matrix is destroyed.
 * Both are those of a matrix within a few units of rounding of the largest entry; where the
 * eigenvalue occurs more than once the vector is one of its space. Errors: E_NO_MEMORY, E_INTERNAL
 * (a residual too large, which rounding cannot explain).
 */
csl_status csl_top_eigenpair(double *matrix, uint32_t n, double *value_out, double *vector_out);

/* frame.c: distances of mixtures. */

/* The virtual rows and one more point behind them. */
typedef struct csl_frame {
    uint32_t count;     /* row_count + 1 */
    uint32_t reference; /* the virtual row nearest to most others, where gram is filled */
    double *distance;   /* [count][count] squared */
    double *gram;       /* [count][count] <v_i - v_reference, v_j - v_reference>; see below */
    double *mix;        /* [count][point_count] */
    double *mixed;      /* mix times the points' inner products */
} csl_frame;

/* The row of n whose (n/2)-th nearest other is nearest, at squared distance *near_out. */
csl_status csl_reference(
    const double *distance, size_t stride, uint32_t n, uint32_t *row_out, double *near_out);
/* Measures the virtual rows; closed by csl_frame_close. weighs: rows far out may get small weights,
 * and gram is filled. May read the columns once more (csl_gather_products). */
csl_status
csl_frame_open(csl_aggregation *a, enum csl_extra_point extra, bool weighs, csl_frame *frame);
void csl_frame_close(csl_frame *frame);
/* Squared distances from the point sum_k weight[k] v_k (weights add up to 1). out [count]. */
void csl_frame_distances(const csl_frame *frame, const double *weight, double *out);
/* ||sum_k step[k] v_k||^2 where the steps add up to 0. room [count] is written over. */
double csl_frame_length(const csl_frame *frame, const double *step, double *room);

/* passes.c: everything that reads the columns. */
/* Norms, distances and products of the live rows; rows that cannot take part leave the live ones.
 * writes: the answer, already decided for all live rows, is written in the same pass. */
csl_status csl_gather_sums(csl_aggregation *a, uint32_t needs, bool writes);
/* Distances from the coordinate median of the virtual rows to the live rows and the origin. */
csl_status csl_gather_median(csl_aggregation *a);
/* Not collective: the caller shares its status. */
csl_status csl_write_answer(csl_aggregation *a);
/* Writes the answer, already decided for all live rows, in one pass without norms, for rules that
 * read every row (CSL_ANSWER_MEAN, SELECT of all, or LINEAR without a weight of zero). *usable_out,
 * the same on all ranks: no value is so large that a row would have to be refused; otherwise norms
 * have to tell. Collective. */
csl_status csl_answer_at_once(csl_aggregation *a, bool *usable_out);
/* sign_counts [live_count][3]: zero, positive, negative in [begin, end) of all columns. */
csl_status csl_gather_signs(csl_aggregation *a, size_t begin, size_t end, int64_t *sign_counts);
/* Values of the live rows at `index` [count], ascending; values_out [live_count][count]. */
csl_status
csl_gather_columns(csl_aggregation *a, const uint64_t *index, size_t count, float *values_out);
/* Inner products of the live rows and the centre into a->product. */
csl_status csl_gather_products(csl_aggregation *a);
/* Inner products of the histories (with the live rows added to them) into a->product. */
csl_status csl_gather_history(csl_aggregation *a);
/* Squared distances among matrix [m][live_count] times the live rows, or times what
 * csl_gather_history left: distance_out [m][m]. Their differences from the row `reference`, which
 * should be near most of them, are rounded to float32. matrix is written over. One more read. */
csl_status csl_gather_mixture_distances(csl_aggregation *a,
                                        double *matrix,
                                        uint32_t m,
                                        uint32_t reference,
                                        bool histories,
                                        double *distance_out);
/* Adds values over the ranks; what one rank fails with, all return. */
csl_status
csl_exchange(const csl_aggregate_input *input, csl_status own, int64_t *values, size_t n);

/*
 * csl_exchange within an aggregation. Every exchange begins with one number, whether a rank failed:
 * a rank that fails anywhere only has to come here once, with its status, and meets the others at
 * whatever they exchange next. After that the ranks have parted, and nobody waits for anybody.
 */
csl_status csl_share(csl_aggregation *a, csl_status own, int64_t *values, size_t n);
#ifdef __clang_analyzer__ /* a failure of this rank is never answered with CSL_OK */
static inline csl_status
csl_exchange_seen(const csl_aggregate_input *input, csl_status own, int64_t *values, size_t n)
{
    csl_status shared = csl_exchange(input, own, values, n);
    return own == CSL_OK ? shared : own;
}
static inline csl_status
csl_share_seen(csl_aggregation *a, csl_status own, int64_t *values, size_t n)
{
    csl_status shared = csl_share(a, own, values, n);
    return own == CSL_OK ? shared : own;
}
#define csl_exchange(input, own, values, n) csl_exchange_seen(input, own, values, n)
#define csl_share(a, own, values, n)        csl_share_seen(a, own, values, n)
#endif
/* The same with one question: *doubt becomes true on all ranks where it is on any. One number. */
csl_status csl_share_doubt(csl_aggregation *a, csl_status own, bool *doubt);
/* The first exchange, at which all ranks arrive, even those that have failed: E_INVALID_ARG on all
 * where their digests differ. */
csl_status csl_share_task(csl_aggregation *a, csl_status own, uint32_t digest);

/* rows.c: virtual rows and answers. */
csl_status csl_rows_start(csl_aggregation *a);
/* row_distance and row_norm of the virtual rows as they are now. */
csl_status csl_rows_measure(csl_aggregation *a, uint32_t needs);
/* Replaces the virtual rows by matrix [m][row_count] times them. */
csl_status csl_rows_mix(csl_aggregation *a, const double *matrix, uint32_t m);
/* Scales virtual row r by factor[r] towards the origin. squared_norm: what those with a factor
 * other than 1 then have, or NaN; radius: the norm they are cut to, for the report. */
csl_status
csl_rows_scale(csl_aggregation *a, const double *factor, double squared_norm, double radius);
/* Live row i, measured by `length` ("norm"), was cut to radius. */
void csl_note_shortened(
    csl_aggregation *a, uint32_t i, const char *length, double factor, double radius);
/* The answer is sum_r weight[r] times virtual row r, plus remainder times the origin. */
csl_status csl_answer_rows(csl_aggregation *a, const double *weight);
/* The answer is the mean of the `keep` virtual rows first in the order of `score`. */
csl_status csl_answer_best(csl_aggregation *a, const double *score, uint32_t keep);
void csl_set_scores(csl_aggregation *a, const char *name, const double *score);

/* report.c */
/* margin: between the scores of the last row kept and the first one dropped; weight [row_count] is
 * 0 where a row is dropped. */
void csl_set_margin(csl_aggregation *a, const double *score, const double *weight, bool largest);
/* Why virtual row r was not or not fully taken, in printf's words. */
__attribute__((format(printf, 3, 4))) void
csl_explain(csl_aggregation *a, uint32_t r, const char *format, ...);
/* "NAME SCORE, MORE above the last taken (LAST)", with the digits that tell them apart. */
void csl_explain_score(csl_aggregation *a, uint32_t r, const char *name, double score, double last);
void csl_report_fill(csl_aggregation *a);

csl_status csl_rule_mean(csl_aggregation *a);
csl_status csl_rule_median(csl_aggregation *a);
csl_status csl_rule_trimmed_mean(csl_aggregation *a);
csl_status csl_rule_meamed(csl_aggregation *a);
csl_status csl_rule_phocas(csl_aggregation *a);
csl_status csl_rule_rlr(csl_aggregation *a);
csl_status csl_rule_sign_majority(csl_aggregation *a);
csl_status csl_rule_dnc(csl_aggregation *a);
csl_status csl_rule_krum(csl_aggregation *a);
csl_status csl_rule_multi_krum(csl_aggregation *a);
csl_status csl_rule_bulyan(csl_aggregation *a);
csl_status csl_rule_mda(csl_aggregation *a);
csl_status csl_rule_monna(csl_aggregation *a);
csl_status csl_rule_smea(csl_aggregation *a);
csl_status csl_rule_caf(csl_aggregation *a);
csl_status csl_rule_geometric_median(csl_aggregation *a);
csl_status csl_rule_centered_clipping(csl_aggregation *a);
csl_status csl_rule_aksel(csl_aggregation *a);
csl_status csl_rule_cge(csl_aggregation *a);
csl_status csl_rule_norm_clipping(csl_aggregation *a);
csl_status csl_rule_fltrust(csl_aggregation *a);
csl_status csl_rule_foolsgold(csl_aggregation *a);
csl_status csl_rule_signguard(csl_aggregation *a);
csl_status csl_rule_flame(csl_aggregation *a);
csl_status csl_pre_nnm(csl_aggregation *a);
csl_status csl_pre_bucketing(csl_aggregation *a);
csl_status csl_pre_clipping(csl_aggregation *a);
csl_status csl_pre_arc(csl_aggregation *a);

#endif
