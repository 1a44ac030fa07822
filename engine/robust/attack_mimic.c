/*
 * Mimic (Karimireddy et al. 2022, section 3 and appendix): all attackers copy one honest
 * institution, the one furthest along the direction in which the honest ones differ most. To meet
 * the same one each round they watch some rounds first. The paper estimates the direction by Oja's
 * rule from a random start; here it is the exact top eigenvector for the sums of what each
 * institution has sent, so what a run has to remember is these sums.
 */
#include "attack_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* away_out [n]: component of each row, about their mean, along the direction of largest variance,
 * in units that are the same for all. own: what failed here before. Collective. */
static csl_status measure_outliers(
    csl_attack_job *job, csl_status own, const float *const *rows, uint32_t n, double *away_out)
{
    double *pair = csl_numbers(csl_pair_count(n, n) + 1, 1);
    double *distance = csl_numbers(n, n);
    double *product = csl_numbers(n, n);
    double *vector = csl_numbers(n, 1);
    double *weight = csl_numbers(n, 1);
    bool complete = pair && distance && product && vector && weight;
    double value = 0;
    own = own == CSL_OK && !complete ? CSL_E_NO_MEMORY : own;
    csl_status status = csl_attack_distances(job, own, rows, n, n, pair);
    if (complete && status == CSL_OK) {
        for (uint32_t i = 0; i < n; i++) {
            weight[i] = 1.0 / n;
            for (uint32_t j = i + 1; j < n; j++) {
                distance[i * n + j] = distance[j * n + i] = pair[csl_pair_index(i, j, n)];
            }
        }
        csl_centred_products(weight, distance, n, vector, product);
        status = csl_top_eigenpair(product, n, &value, vector);
    }
    for (uint32_t i = 0; complete && status == CSL_OK && i < n; i++) {
        away_out[i] = fabs(vector[i]);
    }
    free(pair);
    free(distance);
    free(product);
    free(vector);
    free(weight);
    return status;
}

static csl_status find_outermost(csl_attack_job *job, uint32_t *target_out)
{
    double away[CSL_ROWS_MAX] = {0};
    CSL_TRY(measure_outliers(job, CSL_OK, job->honest, job->honest_count, away));
    uint32_t best = 0;
    for (uint32_t i = 1; i < job->honest_count; i++) {
        best = away[i] > away[best] ? i : best;
    }
    *target_out = best;
    return CSL_OK;
}

static uint32_t institution_of(const csl_attack_job *job, uint32_t honest)
{
    uint32_t row = job->honest_rows[honest];
    return job->aggregation->institutions ? job->aggregation->institutions[row] : row;
}

/* Adds the round's honest updates to the sums of those who sent them. */
static csl_status watch(csl_attack_job *job)
{
    csl_aggregate_memory *memory = job->input->memory;
    for (uint32_t i = 0; i < job->honest_count; i++) {
        uint32_t institution = institution_of(job, i);
        CSL_TRY(csl_memory_open_history(memory, institution));
        CSL_TRY(job->kernels->accumulate(job->device, job->honest[i], job->column_count,
                                         memory->history[institution]));
    }
    return CSL_OK;
}

/* Of this round's honest institutions the one whose sum is furthest along the direction in which
 * all watched sums differ most; false: none of them was watched. Collective. */
static csl_status find_watched(csl_attack_job *job, uint32_t *target_out, bool *found_out)
{
    const csl_aggregate_memory *memory = job->input->memory;
    const float *rows[CSL_ROWS_MAX];
    double away[CSL_ROWS_MAX] = {0};
    uint32_t place[CSL_INSTITUTIONS_MAX] = {0}; /* of an institution in rows; watched ones only */
    bool watched[CSL_INSTITUTIONS_MAX] = {false};
    uint32_t count = 0;
    bool watching =
        job->aggregation->round <= (uint32_t)csl_attack_value(job->spec, CSL_ATTACK_WARMUP, 0);
    CSL_TRY(csl_exchange(job->aggregation, watching ? watch(job) : CSL_OK, NULL, 0));
    for (uint32_t i = 0; i < CSL_INSTITUTIONS_MAX && count < CSL_ROWS_MAX; i++) {
        watched[i] = csl_aggregate_memory_has(memory, CSL_MEMORY_HISTORY + i);
        if (watched[i]) {
            place[i] = count;
            rows[count++] = memory->history[i];
        }
    }
    *found_out = false;
    if (count == 0) {
        return CSL_OK;
    }
    CSL_TRY(measure_outliers(job, CSL_OK, rows, count, away));
    double best = -1;
    for (uint32_t i = 0; i < job->honest_count; i++) {
        uint32_t institution = institution_of(job, i);
        if (watched[institution] && away[place[institution]] > best) {
            best = away[place[institution]];
            *target_out = i;
            *found_out = true;
        }
    }
    return CSL_OK;
}

csl_status csl_attack_mimic(csl_attack_job *job)
{
    double wanted = csl_attack_value(job->spec, CSL_ATTACK_TARGET, 0);
    bool remembers = csl_attack_value(job->spec, CSL_ATTACK_WARMUP, 0) > 0;
    bool found = false;
    uint32_t target = 0;
    if (remembers && job->input->memory) {
        CSL_TRY(find_watched(job, &target, &found));
    }
    if (!found && (remembers || wanted < 0)) {
        CSL_TRY(find_outermost(job, &target));
    } else if (!found) {
        target = wanted < job->honest_count ? (uint32_t)wanted : job->honest_count - 1;
    }
    for (uint32_t k = 0; k < job->hostile_count; k++) {
        CSL_TRY(csl_device_copy(job->device, job->out[k], job->honest[target],
                                job->column_count * sizeof(float), CSL_COPY_WITHIN_DEVICE));
    }
    return CSL_OK;
}
