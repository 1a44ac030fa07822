/*
 * What the host operations of this folder share. Each operation is an entry point that checks its
 * arguments and deals column ranges out to threads, each in the floating-point state of EXACT
 * operations, and an inner function per instruction set that works through one range on one thread.
 * The inner functions are written once (the *_body.h files) and compiled in variant_<set>.c.
 */
#ifndef CSL_ROBUST_HOST_H
#define CSL_ROBUST_HOST_H

#include "device/kernel_table.h"
#include "magnitude.h"

#include <consilium/float_state.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CSL_CACHE_LINE = 64,     /* bytes */
    CSL_COLUMN_BLOCK = 1024, /* columns whose float64 sums stay in the first-level cache */
    CSL_MIX_ALONE_ROWS = 80, /* of which the widened columns of W X at a time stay in that cache */
    CSL_PAIR_EDGE_MAX = 6,   /* largest edge of a block of pairs */
    CSL_EXACT_LANES = 32     /* float32 sums of a tile before they become one float64 */
};

/*
 * A matrix W in groups of rows. Of each group only the rows of X are listed that it has a weight
 * for, so that a W which scales, picks or averages few rows costs what its nonzeros cost.
 */
typedef struct csl_mix {
    uint32_t height;    /* rows of a group: the variant's mix_height, or 1 */
    uint32_t row_count; /* of X */
    uint32_t mix_count; /* rows of W */
    uint32_t group_count;
    uint32_t *start; /* [group_count + 1]: each group's first entry */
    uint32_t *row;   /* [entries]: row of X, ascending in a group */
    double *weights; /* [entries][height] */
} csl_mix;

typedef enum csl_pair_kind {
    CSL_PAIR_DISTANCE, /* (a - b)^2, of pairs i < j */
    CSL_PAIR_PRODUCT   /* a b, of pairs i <= j */
} csl_pair_kind;

/* Columns copied for the pairs of rows: see exact_body.h. */
typedef struct csl_panel {
    float *values;      /* [lane groups][blocks of pair_edge rows][steps][pair_edge][lanes] */
    size_t group_count; /* values of one lane group */
    size_t steps;       /* each of CSL_EXACT_LANES columns */
    size_t count;       /* columns from the rows' pointers on; zeros are taken behind them */
    bool begins;        /* the first panel of a tile */
} csl_panel;

typedef struct csl_robust_variant {
    const char *name;
    bool emulated; /* plain C in the place of its instructions: any processor runs it */
    /* out[begin..end) of row_weighted_mean; divisor: 0, or the sum is divided by it (row_mean).
     * Gives the largest magnitude that was read, as bits. */
    uint32_t (*weighted_sum)(const float *const *rows,
                             const double *weights,
                             uint32_t row_count,
                             size_t begin,
                             size_t end,
                             double divisor,
                             float *out);
    /* Columns [begin, end) of row_mix; panel: this thread's own, row_count * mix_columns float64,
     * best at the beginning of a cache line. */
    void (*mix)(const csl_mix *mix,
                const float *const *rows,
                size_t begin,
                size_t end,
                double *panel,
                float *const *out);
    uint32_t mix_height;  /* rows of W in a group, where there are several */
    uint32_t mix_columns; /* that are mixed at a time */
    bool mix_alone;       /* groups of one row are taken too */
    /* out[begin..end) of row_select; gives the largest magnitude that was read, as bits. */
    uint32_t (*select)(const csl_select_spec *spec,
                       const float *const *rows,
                       uint32_t row_count,
                       size_t begin,
                       size_t end,
                       float *out);
    void (*statistics)(const float *const *rows,
                       uint32_t row_count,
                       size_t begin,
                       size_t end,
                       const csl_column_statistics *target);
    void (*sign_filter)(const float *const *rows,
                        uint32_t row_count,
                        uint32_t threshold,
                        size_t begin,
                        size_t end,
                        float *inout);
    /* Copies the panel's columns of row_count rows into it, and adds them to the lane sums of their
     * norms, [row][CSL_EXACT_LANES], or begins these; norm_lanes may be NULL. rows: up to a
     * multiple of pair_edge of them. */
    void (*pack_panel)(const csl_panel *panel,
                       const float *const *rows,
                       uint32_t row_count,
                       float *norm_lanes);
    /* Adds one lane group of the panel to the lane sums of the pairs of its blocks a (pair_edge
     * rows) and b (width rows), or begins them; lane: [pair_edge][pair_edge][lanes] of that group.
     * diagonal: a is b, and sums of the lower half are left out. */
    void (*add_block)(csl_pair_kind kind,
                      bool diagonal,
                      uint32_t width,
                      const csl_panel *panel,
                      const float *a,
                      const float *b,
                      float *lane);
    /* Tile sums from lane sums, [sum_count][lanes] of each group, the groups group_count apart. */
    void (*lane_sums)(const float *lane, size_t group_count, uint32_t sum_count, double *sums);
    /* The sum of one pair of rows over a tile. */
    double (*pair_tile)(csl_pair_kind kind, const float *a, const float *b, size_t count);
    uint32_t lanes; /* of a vector */
    uint32_t pair_edge;
} csl_robust_variant;

/* The variant in use; chosen once, see csl_instruction_set_select. */
const csl_robust_variant *csl_robust_variant_get(void);

extern const csl_robust_variant csl_robust_portable;
#if defined(__x86_64__)
extern const csl_robust_variant csl_robust_avx2;
extern const csl_robust_variant csl_robust_avx512;
#endif

/* NULL without memory. */
csl_mix *csl_mix_create(const csl_robust_variant *variant,
                        const double *matrix,
                        uint32_t mix_count,
                        uint32_t row_count);
void csl_mix_destroy(csl_mix *mix);
/* What each thread widens columns into: count_out float64, one behind the other, each at the
 * beginning of a cache line. NULL without memory. */
double *csl_mix_panels_create(const csl_robust_variant *variant,
                              uint32_t row_count,
                              size_t threads,
                              size_t *count_out);
/* Sums of pairs (i, j) of rows, i < lead_count, i <= j < row_count, of one kind. */
typedef struct csl_pair_sums {
    csl_pair_kind kind;
    csl_exact_sum *sums;
} csl_pair_sums;

enum { CSL_PAIR_KINDS = 2 };

/* What one thread adds to. */
typedef struct csl_pair_task {
    const csl_robust_variant *variant;
    uint32_t row_count;
    uint32_t lead_count;
    uint32_t kind_count;
    csl_pair_sums kinds[CSL_PAIR_KINDS];
    bool shared;          /* other threads add to the same sums of pairs */
    csl_exact_sum *norms; /* [row_count], or NULL; this thread's own */
    float *workspace;     /* csl_pair_workspace_size bytes, this thread's own */
} csl_pair_task;

size_t csl_pair_workspace_size(const csl_pair_task *task);
/* Adds all pairs of one tile; rows point at it; count <= CSL_TILE. */
void csl_pair_add_tile(const csl_pair_task *task, const float *const *rows, size_t count);
size_t csl_pair_sum_count(const csl_pair_task *task, csl_pair_kind kind);

/* What a device checks before row_select. */
csl_status csl_robust_check_select(const csl_select_spec *spec,
                                   const float *const *host_rows,
                                   uint32_t row_count,
                                   size_t count,
                                   const float *out);
csl_status csl_robust_check_geometry(const float *const *host_rows,
                                     uint32_t row_count,
                                     const csl_row_geometry *sums);
csl_status csl_robust_check_rows(const char *operation,
                                 const float *const *host_rows,
                                 uint32_t row_count,
                                 uint32_t row_max);

#ifdef __cplusplus
}
#endif
#endif
