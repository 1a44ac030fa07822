/* Order statistics over rows, column by column. */
#include "robust_host.h"

#include <stdlib.h>

enum {
    SELECT_CHUNK = 4096, /* columns that a thread takes at a time */
    MIXED_BLOCK = 288,   /* columns of W X that lie in cache between mixing and selecting */
    MIXED_STRIDE = MIXED_BLOCK + 16 /* odd in cache lines: rows fall on different sets */
};

csl_status csl_robust_check_select(const csl_select_spec *spec,
                                   const float *const *host_rows,
                                   uint32_t row_count,
                                   size_t count,
                                   const float *out)
{
    CSL_TRY(csl_robust_check_rows("row_select", host_rows, row_count,
                                  spec && spec->host_mix ? CSL_KERNEL_ROWS_MAX : CSL_ROWS_MAX));
    if (!spec || (count && !out)) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "row_select: expected a specification and a result, found NULL");
    }
    uint32_t n = spec->host_mix ? spec->mix_count : row_count;
    if (n < 1 || n > CSL_ROWS_MAX) {
        return csl_fail(CSL_E_RANGE, "row_select: expected 1 to %u mixed rows, found %u",
                        CSL_ROWS_MAX, n);
    }
    if ((unsigned)spec->kind >= CSL_SELECT_KIND_COUNT) {
        return csl_fail(CSL_E_INVALID_ARG, "row_select: expected a kind below %d, found %d",
                        CSL_SELECT_KIND_COUNT, (int)spec->kind);
    }
    bool trims = spec->kind == CSL_SELECT_TRIMMED_MEAN || spec->kind == CSL_SELECT_PHOCAS;
    bool keeps = spec->kind == CSL_SELECT_MEAMED || spec->kind == CSL_SELECT_PHOCAS;
    if (trims && spec->trim >= (n + 1) / 2) {
        return csl_fail(CSL_E_RANGE,
                        "row_select: expected to drop fewer than half of %u at each end, found %u",
                        n, spec->trim);
    }
    if (keeps && (spec->keep < 1 || spec->keep > n)) {
        return csl_fail(CSL_E_RANGE, "row_select: expected to keep 1 to %u values, found %u", n,
                        spec->keep);
    }
    return CSL_OK;
}

/* What one thread mixes and selects in. */
typedef struct mixed_block {
    double *panel; /* widened columns of the rows */
    float *values; /* [mix_count][MIXED_BLOCK] */
} mixed_block;

static void select_mixed_chunk(const csl_select_spec *spec,
                               const csl_mix *mix,
                               const float *const *rows,
                               size_t begin,
                               size_t end,
                               mixed_block block,
                               float *out)
{
    const csl_robust_variant *variant = csl_robust_variant_get();
    const float *moved[CSL_KERNEL_ROWS_MAX];
    float *mixed[CSL_ROWS_MAX];
    for (uint32_t r = 0; r < spec->mix_count; r++) {
        mixed[r] = block.values + (size_t)r * MIXED_STRIDE;
    }
    for (size_t j = begin; j < end; j += MIXED_BLOCK) {
        size_t width = end - j < MIXED_BLOCK ? end - j : MIXED_BLOCK;
        for (uint32_t i = 0; i < mix->row_count; i++) {
            moved[i] = rows[i] + j;
        }
        variant->mix(mix, moved, 0, width, block.panel, mixed);
        variant->select(spec, (const float *const *)mixed, spec->mix_count, 0, width, out + j);
    }
}

static csl_status select_mixed(csl_device *device,
                               const csl_select_spec *spec,
                               const float *const *rows,
                               uint32_t row_count,
                               size_t count,
                               float *out)
{
    size_t threads = (size_t)csl_host_threads(device);
    size_t panel_count = 0;
    size_t value_count = (size_t)spec->mix_count * MIXED_STRIDE;
    const csl_robust_variant *variant = csl_robust_variant_get();
    csl_mix *mix = csl_mix_create(variant, spec->host_mix, spec->mix_count, row_count);
    double *panels = csl_mix_panels_create(variant, row_count, threads, &panel_count);
    float *values = aligned_alloc(CSL_CACHE_LINE, value_count * threads * sizeof *values);
    if (!mix || !panels || !values) {
        csl_mix_destroy(mix);
        free(panels);
        free(values);
        return csl_fail(CSL_E_NO_MEMORY, "row_select: no memory for mixing %u rows", row_count);
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)threads) if (count > SELECT_CHUNK)
    for (size_t begin = 0; begin < count; begin += SELECT_CHUNK) {
        size_t end = count - begin < SELECT_CHUNK ? count : begin + SELECT_CHUNK;
        size_t thread = (size_t)omp_get_thread_num();
        mixed_block block = {panels + panel_count * thread, values + value_count * thread};
        csl_float_state state = csl_float_enter();
        select_mixed_chunk(spec, mix, rows, begin, end, block, out);
        csl_float_leave(state);
    }
    csl_mix_destroy(mix);
    free(panels);
    free(values);
    return CSL_OK;
}

csl_status csl_host_row_select(csl_device *device,
                               const csl_select_spec *spec,
                               const float *const *host_rows,
                               uint32_t row_count,
                               size_t count,
                               float *out)
{
    CSL_TRY(csl_robust_check_select(spec, host_rows, row_count, count, out));
    if (spec->host_mix) {
        return select_mixed(device, spec, host_rows, row_count, count, out);
    }
    const csl_robust_variant *variant = csl_robust_variant_get();
    uint32_t largest = 0;
#pragma omp parallel for schedule(dynamic, 1)                                                      \
    num_threads(csl_host_threads(device)) if (count > SELECT_CHUNK) reduction(max                  \
                                                                              : largest)
    for (size_t begin = 0; begin < count; begin += SELECT_CHUNK) {
        size_t end = count - begin < SELECT_CHUNK ? count : begin + SELECT_CHUNK;
        csl_float_state state = csl_float_enter();
        uint32_t found = variant->select(spec, host_rows, row_count, begin, end, out);
        csl_float_leave(state);
        largest = found > largest ? found : largest;
    }
    csl_magnitude_raise(spec->host_magnitude, largest);
    return CSL_OK;
}
