/* The last pass: what a rule decided becomes one row of columns. */
#include "passes.h"

#include <consilium/random.h>
#include <stdlib.h>
#include <string.h>

/* The virtual rows as coefficients of live rows only: [row_count][live_count]. */
double *csl_live_mix(const csl_aggregation *a, const uint32_t *chosen, uint32_t chosen_count)
{
    double *mix = csl_numbers(chosen_count, a->live_count);
    for (uint32_t r = 0; mix && r < chosen_count; r++) {
        const double *row = a->mix + (size_t)(chosen ? chosen[r] : r) * a->point_count;
        memcpy(mix + (size_t)r * a->live_count, row, a->live_count * sizeof *mix);
    }
    return mix;
}

struct csl_answer_pass {
    float *stored;  /* device: a block on its way to input->store, or NULL */
    double *mix;    /* coefficients on live rows for CSL_ANSWER_SELECT, or NULL */
    double *weight; /* LINEAR: live rows and centre */
    csl_select_spec select;
    bool pick;          /* SELECT on chosen live rows themselves */
    uint32_t magnitude; /* the largest that was read, as bits; see row_mean */
    bool looks;         /* LINEAR: raises magnitude too, which waits for a card */
    csl_device *device;
};

/* Noise by tile of the whole vector, so that who holds which columns does not matter. */
static csl_status add_noise(csl_aggregation *a, const csl_block *columns, float *out)
{
    const csl_aggregate_input *input = a->input;
    float tile[CSL_TILE];
    for (size_t at = 0; at < columns->count; at += CSL_TILE) {
        size_t left = columns->count - at;
        size_t count = left < CSL_TILE ? left : CSL_TILE;
        size_t size = count * sizeof(float);
        CSL_TRY(csl_device_copy(input->device, tile, out + at, size, CSL_COPY_TO_HOST));
        uint64_t index = (input->column_begin + columns->begin + at) / CSL_TILE;
        csl_random stream = csl_random_stream(a->spec->seed, CSL_RANDOM_AGGREGATION, input->round,
                                              1 + (uint32_t)index);
        for (size_t j = 0; j < count; j++) {
            double value = (double)tile[j] + a->noise * csl_random_normal(&stream);
            tile[j] = (float)value + 0.0F;
        }
        CSL_TRY(csl_device_copy(input->device, out + at, tile, size, CSL_COPY_TO_DEVICE));
    }
    return CSL_OK;
}

/* The centre's columns are overwritten only after the answer was computed from them. */
static csl_status store_block(csl_aggregation *a, const csl_block *columns, const float *out)
{
    const csl_aggregate_input *input = a->input;
    if (a->next_centre) {
        input->memory->spoiled = true; /* until the call has succeeded on all ranks */
        CSL_TRY(csl_device_copy(input->device, a->next_centre + columns->begin, out,
                                columns->count * sizeof *out, CSL_COPY_WITHIN_DEVICE));
    }
    return input->store(input->store_context, columns->begin, columns->count, out);
}

csl_status csl_answer_block(csl_aggregation *a, const csl_block *columns, void *context)
{
    csl_answer_pass *pass = context;
    csl_device *device = a->input->device;
    float *out = pass->stored ? pass->stored : a->out + columns->begin;
    size_t count = columns->count;
    uint32_t n = a->live_count;
    const float **rows = columns->rows;
    if (a->kind == CSL_ANSWER_MEAN) {
        CSL_TRY(a->kernels->row_mean(device, rows, n, count, out, &pass->magnitude));
    } else if (a->kind == CSL_ANSWER_LINEAR) {
        uint32_t used = n + (a->has_centre ? 1 : 0);
        CSL_TRY(a->kernels->row_weighted_mean(device, rows, pass->weight, used, count, out,
                                              pass->looks ? &pass->magnitude : NULL));
    } else if (pass->pick) {
        const float *picked[CSL_ROWS_MAX];
        for (uint32_t i = 0; i < a->chosen_count; i++) {
            picked[i] = rows[a->chosen[i]];
        }
        CSL_TRY(a->kernels->row_select(device, &pass->select, picked, a->chosen_count, count, out));
    } else {
        CSL_TRY(a->kernels->row_select(device, &pass->select, rows, n, count, out));
    }
    if (a->sign_threshold > 0) {
        CSL_TRY(a->kernels->row_sign_filter(device, rows, n, a->sign_threshold, count, out));
    }
    if (a->noise > 0) {
        CSL_TRY(add_noise(a, columns, out));
    }
    return pass->stored ? store_block(a, columns, out) : CSL_OK;
}

size_t csl_answer_step(const csl_aggregation *a, size_t step)
{
    bool fits = step > 0 && step < CSL_STORE_COUNT;
    return a->input->store && !fits ? CSL_STORE_COUNT : step;
}

static csl_status open_store(const csl_aggregation *a, csl_answer_pass *pass)
{
    const csl_aggregate_input *input = a->input;
    size_t count = input->rows || input->column_count < input->chunk_count ? input->column_count
                                                                           : input->chunk_count;
    count = count < CSL_STORE_COUNT ? count : CSL_STORE_COUNT;
    void *memory = NULL;
    if (!input->store) {
        return CSL_OK;
    }
    CSL_TRY(csl_device_alloc(input->device, count * sizeof(float), &memory));
    pass->stored = memory;
    return CSL_OK;
}

csl_status csl_answer_prepare(csl_aggregation *a, csl_answer_pass **pass_out)
{
    uint32_t n = a->live_count;
    csl_answer_pass *pass = calloc(1, sizeof *pass);
    double *weight = csl_numbers(n + 1, 1);
    if (!pass || !weight) {
        free(pass);
        free(weight);
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory for weights");
    }
    *pass = (csl_answer_pass){.select = a->select, .weight = weight, .device = a->input->device};
    csl_status status = open_store(a, pass);
    if (status != CSL_OK) {
        csl_answer_finish(pass);
        return status;
    }
    if (a->kind == CSL_ANSWER_LINEAR) {
        memcpy(weight, a->weight, n * sizeof *weight);
        weight[n] = a->weight[csl_extra(a, CSL_POINT_CENTRE)];
    }
    uint32_t *chosen = a->chosen_count ? a->chosen : NULL;
    uint32_t taken = chosen ? a->chosen_count : a->row_count;
    pass->pick = chosen && !a->mixed;
    if (a->kind == CSL_ANSWER_SELECT && a->mixed) {
        pass->mix = csl_live_mix(a, chosen, taken);
        if (!pass->mix) {
            csl_answer_finish(pass);
            return CSL_E_NO_MEMORY;
        }
        pass->select.mix_count = taken;
        pass->select.host_mix = pass->mix;
    }
    if (!a->mixed) {
        pass->select.host_magnitude = &pass->magnitude;
    }
    *pass_out = pass;
    return CSL_OK;
}

void csl_answer_finish(csl_answer_pass *pass)
{
    if (pass) {
        csl_device_free(pass->device, pass->stored);
        free(pass->weight);
        free(pass->mix);
        free(pass);
    }
}

csl_status csl_write_answer(csl_aggregation *a)
{
    csl_answer_pass *pass = NULL;
    csl_status status = csl_answer_prepare(a, &pass);
    if (status == CSL_OK) {
        size_t step = csl_answer_step(a, a->sign_threshold ? csl_cache_step(a) : 0);
        status = csl_visit(a, step, a->centre, csl_answer_block, pass);
    }
    csl_answer_finish(pass);
    return status;
}

/* Its norm is below the limit whatever rounding does to it: that adds less than a part in 2^16. */
static bool is_surely_usable(const csl_aggregation *a, uint32_t magnitude)
{
    float largest;
    memcpy(&largest, &magnitude, sizeof largest);
    return (double)largest * (double)largest * (double)a->input->column_total < CSL_NORM_LIMIT / 2;
}

csl_status csl_answer_at_once(csl_aggregation *a, bool *usable_out)
{
    csl_answer_pass *pass = NULL;
    csl_status status = csl_answer_prepare(a, &pass);
    bool doubtful = false;
    if (status == CSL_OK) {
        size_t step = csl_answer_step(a, a->sign_threshold ? csl_cache_step(a) : 0);
        pass->looks = true;
        status = csl_visit(a, step, NULL, csl_answer_block, pass);
        doubtful = !is_surely_usable(a, pass->magnitude);
    }
    csl_answer_finish(pass);
    CSL_TRY(csl_share_doubt(a, status, &doubtful));
    *usable_out = !doubtful;
    return CSL_OK;
}
