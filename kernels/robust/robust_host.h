/*
 * What the host operations of this folder share. Each operation is an entry point that checks its
 * arguments and deals column ranges out to threads, and an inner function per instruction set that
 * works through one range on one thread. The inner functions are written once (the *_body.h files)
 * and compiled in variant_<set>.c.
 */
#ifndef CSL_ROBUST_HOST_H
#define CSL_ROBUST_HOST_H

#include "device/kernel_table.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CSL_COLUMN_BLOCK = 1024, /* columns whose float64 sums stay in the first-level cache */
    CSL_MIX_HEIGHT = 8,      /* rows of W X whose sums stay in registers */
    CSL_PAIR_EDGE_MAX = 4,   /* largest edge of a block of pairs */
    CSL_EXACT_LANES = 32     /* float32 sums of a tile before they become one float64 */
};

typedef struct csl_robust_variant {
    const char *name;
    /* out[begin..end) of row_weighted_mean; divisor: 0, or the sum is divided by it (row_mean). */
    void (*weighted_sum)(const float *const *rows,
                         const double *weights,
                         uint32_t row_count,
                         size_t begin,
                         size_t end,
                         double divisor,
                         float *out);
    /* `height` rows of row_mix; weights: [row_count][CSL_MIX_HEIGHT]. */
    void (*mix)(const float *const *rows,
                uint32_t row_count,
                const double *weights,
                uint32_t height,
                size_t begin,
                size_t end,
                float *const *out);
    void (*select)(const csl_select_spec *spec,
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
    /* Adds a strip of columns to the lane sums of the pairs of a (height: 1 or pair_edge rows) and
     * b (pair_edge rows), [height][pair_edge][CSL_EXACT_LANES], or begins them; count is a multiple
     * of CSL_EXACT_LANES except at the end of a tile. Of a block on the diagonal the sums of the
     * lower half are not to be used. */
    void (*distance_strip)(uint32_t height,
                           const float *const *a,
                           const float *const *b,
                           size_t count,
                           bool diagonal,
                           bool begins,
                           float *lane);
    void (*product_strip)(uint32_t height,
                          const float *const *a,
                          const float *const *b,
                          size_t count,
                          bool diagonal,
                          bool begins,
                          float *lane);
    /* Tile sums from lane sums [sum_count][CSL_EXACT_LANES]. */
    void (*lane_sums)(const float *lane, uint32_t sum_count, double *sums);
    double (*norm_tile)(const float *row, size_t count);
    uint32_t pair_edge;
} csl_robust_variant;

/* The variant in use; chosen once, see csl_instruction_set_select. */
const csl_robust_variant *csl_robust_variant_get(void);

extern const csl_robust_variant csl_robust_portable;
#if defined(__x86_64__)
extern const csl_robust_variant csl_robust_avx2;
extern const csl_robust_variant csl_robust_avx512;
#endif

/* W repacked as [group][row_count][CSL_MIX_HEIGHT], zero filled; NULL without memory; free it. */
double *csl_robust_pack_mix(const double *matrix, uint32_t mix_count, uint32_t row_count);
/* out[r][begin..end) of row_mix on one thread. */
void csl_robust_mix_range(const csl_robust_variant *variant,
                          const double *packed,
                          const float *const *rows,
                          uint32_t row_count,
                          uint32_t mix_count,
                          size_t begin,
                          size_t end,
                          float *const *out);
/* The sums of pairs (i, j), i < lead_count, i <= j < row_count, that one thread adds to. */
typedef struct csl_pair_sums {
    const csl_robust_variant *variant;
    uint32_t row_count;
    uint32_t lead_count;
    bool product; /* inner products of pairs i <= j, else squared distances of pairs i < j */
    bool shared;  /* other threads add to the same sums */
    csl_exact_sum *sums;
    float *lanes; /* csl_robust_lanes_size bytes, this thread's own */
} csl_pair_sums;

size_t csl_robust_lanes_size(uint32_t row_count, uint32_t lead_count);
/* Adds all pairs of one tile; rows point at it; count <= CSL_TILE. */
void csl_robust_add_pairs(const csl_pair_sums *pairs, const float *const *rows, size_t count);
size_t csl_robust_pair_count(const csl_pair_sums *pairs);

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
