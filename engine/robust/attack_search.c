/* Optimal IPM and ALIE: a line search for the factor that moves the rule in use furthest. */
#include "attack_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_COUNT = 7 };

typedef struct search {
    csl_attack_job *job;
    bool reversed;         /* ipm: -x mu; else mu + x sigma */
    const float **rows;    /* [row_count] with hostile row 0 in every hostile place */
    float *aggregate;      /* device */
    double best;           /* factor */
    double best_deviation; /* squared */
} search;

static csl_status copy_row(const csl_aggregate_memory *from, const float *row, float **row_out)
{
    void *copy = NULL;
    size_t size = from->column_count * sizeof(float);
    if (!row) {
        return CSL_OK;
    }
    CSL_TRY(csl_device_alloc(from->device, size + 1, &copy));
    *row_out = copy;
    return csl_device_copy(from->device, copy, row, size, CSL_COPY_WITHIN_DEVICE);
}

/* What the rule remembers must be as before at every trial. */
static csl_status copy_memory(const csl_aggregate_memory *memory, csl_aggregate_memory **copy_out)
{
    csl_aggregate_memory *copy = NULL;
    CSL_TRY(csl_aggregate_memory_create(memory->device, memory->column_count, &copy));
    copy->has_centre = memory->has_centre;
    copy->spoiled = memory->spoiled;
    csl_status status = copy_row(memory, memory->centre, &copy->centre);
    for (size_t i = 0; status == CSL_OK && i < CSL_INSTITUTIONS_MAX; i++) {
        status = copy_row(memory, memory->history[i], &copy->history[i]);
    }
    if (status != CSL_OK) {
        csl_aggregate_memory_destroy(copy);
        return status;
    }
    *copy_out = copy;
    return CSL_OK;
}

static csl_status send(search *s, double factor)
{
    return s->reversed ? csl_attack_combine(s->job, -factor, 0, s->job->out[0])
                       : csl_attack_combine(s->job, 1, factor, s->job->out[0]);
}

/* Squared deviation of the aggregate from the honest mean; 0 where the rule refuses to answer. */
static csl_status try_factor(search *s, double factor, double *deviation_out)
{
    csl_attack_job *job = s->job;
    csl_aggregate_input input = *job->aggregation;
    csl_aggregate_memory *memory = NULL;
    csl_status status = send(s, factor);
    if (status == CSL_OK && input.memory) {
        status = copy_memory(input.memory, &memory);
    }
    status = csl_exchange(job->aggregation, status, NULL, 0);
    if (status == CSL_OK) {
        input.rows = s->rows;
        input.memory = memory;
        for (uint32_t k = 0; input.root && k < job->hostile_count; k++) {
            bool own = input.root == job->aggregation->rows[job->input->hostile[k]];
            input.root = own ? job->out[0] : input.root;
        }
        status = csl_aggregate(job->input->rule, &input, s->aggregate, NULL);
    }
    csl_aggregate_memory_destroy(memory);
    job->report.evaluations++;
    *deviation_out = 0;
    if (status == CSL_E_NO_QUORUM) {
        return CSL_OK;
    }
    CSL_TRY(status);
    const float *rows[] = {job->mean, s->aggregate};
    return csl_attack_distances(job, CSL_OK, rows, 2, 1, deviation_out);
}

static csl_status offer(search *s, double factor, bool *better_out)
{
    double deviation = 0;
    CSL_TRY(try_factor(s, factor, &deviation));
    *better_out = deviation > s->best_deviation;
    if (*better_out) {
        s->best = factor;
        s->best_deviation = deviation;
    }
    return CSL_OK;
}

/* The first stride and those below it, each half as long: a rule that drops updates has its peak
 * somewhere there, and a little deviation, which is none of the attack's, everywhere beyond. */
static csl_status scan(search *s, double step, uint32_t most)
{
    bool better = false;
    for (uint32_t i = 0; i <= SCAN_COUNT && s->job->report.evaluations < most; i++) {
        CSL_TRY(offer(s, step, &better));
        step /= 2;
    }
    return CSL_OK;
}

/* A scan; from its end strides that double while they help; then steps to both sides that halve. */
static csl_status find_best(search *s)
{
    csl_attack_job *job = s->job;
    uint32_t most = (uint32_t)csl_attack_value(job->spec, CSL_ATTACK_EVALUATIONS, 0);
    double step = csl_attack_value(job->spec, CSL_ATTACK_STEP, 0);
    CSL_TRY(try_factor(s, 0, &s->best_deviation));
    CSL_TRY(scan(s, step, most));
    bool better = s->best >= step;
    while (better && job->report.evaluations < most) {
        step *= 2;
        CSL_TRY(offer(s, s->best + step, &better));
    }
    step = s->best > 0 ? fmin(step, s->best) / 2 : step / (2 << SCAN_COUNT);
    while (job->report.evaluations < most) {
        CSL_TRY(offer(s, s->best + step, &better));
        if (!better && s->best - step >= 0 && job->report.evaluations < most) {
            CSL_TRY(offer(s, s->best - step, &better));
        }
        step /= 2;
    }
    return CSL_OK;
}

static csl_status prepare(search *s)
{
    csl_attack_job *job = s->job;
    void *aggregate = NULL;
    s->rows = calloc(job->row_count, sizeof *s->rows);
    if (!s->rows) {
        return csl_fail(CSL_E_NO_MEMORY, "attack: no memory for %u rows", job->row_count);
    }
    memcpy(s->rows, job->aggregation->rows, job->row_count * sizeof *s->rows);
    for (uint32_t k = 0; k < job->hostile_count; k++) {
        s->rows[job->input->hostile[k]] = job->out[0];
    }
    CSL_TRY(csl_device_alloc(job->device, (job->column_count + 1) * sizeof(float), &aggregate));
    s->aggregate = aggregate;
    const csl_column_statistics statistics = {.mean = job->mean, .deviation = job->direction};
    return csl_attack_statistics(job, &statistics);
}

static csl_status run_search(csl_attack_job *job, bool reversed)
{
    search s = {.job = job, .reversed = reversed};
    csl_status status = csl_exchange(job->aggregation, prepare(&s), NULL, 0);
    if (status == CSL_OK) {
        status = find_best(&s);
    }
    if (status == CSL_OK) {
        job->report.factor = s.best;
        job->report.deviation = sqrt(s.best_deviation);
        status = send(&s, s.best);
    }
    if (status == CSL_OK) {
        status = csl_attack_repeat(job);
    }
    csl_device_free(job->device, s.aggregate);
    free(s.rows);
    return status;
}

csl_status csl_attack_optimal_ipm(csl_attack_job *job)
{
    return run_search(job, true);
}

csl_status csl_attack_optimal_alie(csl_attack_job *job)
{
    return run_search(job, false);
}
