/* Attacks that are written down at once: multiples of statistics, noise, and constants. */
#include "attack_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

csl_status csl_attack_statistics(csl_attack_job *job, const csl_column_statistics *statistics)
{
    return job->kernels->row_statistics(job->device, job->honest, job->honest_count,
                                        job->column_count, statistics);
}

csl_status
csl_attack_combine(csl_attack_job *job, double mean_weight, double direction_weight, float *target)
{
    const float *rows[] = {job->mean, job->direction};
    const double weights[] = {mean_weight, direction_weight};
    return job->kernels->row_weighted_mean(job->device, rows, weights, 2, job->column_count, target,
                                           NULL);
}

csl_status csl_attack_repeat(csl_attack_job *job)
{
    for (uint32_t k = 1; k < job->hostile_count; k++) {
        CSL_TRY(csl_device_copy(job->device, job->out[k], job->out[0],
                                job->column_count * sizeof(float), CSL_COPY_WITHIN_DEVICE));
    }
    return CSL_OK;
}

/* out[k] = factor row. */
static csl_status scale_row(csl_attack_job *job, const float *row, double factor, uint32_t k)
{
    return job->kernels->row_weighted_mean(job->device, &row, &factor, 1, job->column_count,
                                           job->out[k], NULL);
}

static csl_status send_scaled_mean(csl_attack_job *job, double factor)
{
    CSL_TRY(job->kernels->row_mean(job->device, job->honest, job->honest_count, job->column_count,
                                   job->mean, NULL));
    CSL_TRY(scale_row(job, job->mean, factor, 0));
    return csl_attack_repeat(job);
}

static csl_status send_scaled_own(csl_attack_job *job, double factor)
{
    for (uint32_t k = 0; k < job->hostile_count; k++) {
        CSL_TRY(scale_row(job, job->aggregation->rows[job->input->hostile[k]], factor, k));
    }
    return CSL_OK;
}

csl_status csl_attack_sign_flip(csl_attack_job *job)
{
    double factor = csl_attack_value(job->spec, CSL_ATTACK_FACTOR, 1);
    job->report.factor = factor;
    bool own = csl_attack_value(job->spec, CSL_ATTACK_OWN, 0) != 0;
    return own ? send_scaled_own(job, -factor) : send_scaled_mean(job, -factor);
}

csl_status csl_attack_ipm(csl_attack_job *job)
{
    job->report.factor = csl_attack_value(job->spec, CSL_ATTACK_FACTOR, 2);
    return send_scaled_mean(job, -job->report.factor);
}

csl_status csl_attack_scaling(csl_attack_job *job)
{
    job->report.factor = csl_attack_value(job->spec, CSL_ATTACK_FACTOR, job->row_count);
    return send_scaled_own(job, job->report.factor);
}

/* Wichura 1988, algorithm AS 241 (PPND16), for 1e-10 < p < 1 - 1e-10: quantile of N(0, 1). */
static double normal_quantile(double p)
{
    static const double centre[2][8] = {
        {2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4,
         4.5921953931549871457e+4, 1.3731693765509461125e+4, 1.9715909503065514427e+3,
         1.3314166789178437745e+2, 3.3871328727963666080e0},
        {5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4,
         2.1213794301586595867e+4, 5.3941960214247511077e+3, 6.8718700749205790830e+2,
         4.2313330701600911252e+1, 1.0},
    };
    static const double tail[2][8] = {
        {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
         1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
         4.63033784615654529590e0, 1.42343711074968357734e0},
        {1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
         1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
         2.05319162663775882187e0, 1.0},
    };
    double q = p - 0.5;
    bool central = fabs(q) <= 0.425;
    double r = central ? 0.180625 - q * q : sqrt(-csl_exact_log(q < 0 ? p : 1 - p)) - 1.6;
    double part[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 8; k++) {
            part[i] = part[i] * r + (central ? centre : tail)[i][k];
        }
    }
    double value = part[0] / part[1];
    return central ? q * value : q < 0 ? -value : value;
}

csl_status csl_alie_z(uint32_t row_count, uint32_t hostile_count, double *z_out)
{
    int64_t h = (int64_t)row_count - hostile_count;
    int64_t s = (int64_t)row_count / 2 + 1 - hostile_count;
    if (s < 1 || 2 * s >= h) {
        return csl_fail(CSL_E_RANGE,
                        "alie: z_max of the paper is not a positive number with %u hostile of %u "
                        "updates; give z",
                        hostile_count, row_count);
    }
    *z_out = normal_quantile((double)(h - s) / (double)h);
    return CSL_OK;
}

csl_status csl_attack_alie(csl_attack_job *job)
{
    double z = csl_attack_value(job->spec, CSL_ATTACK_Z, 0);
    if (z == 0) {
        CSL_TRY(csl_alie_z(job->row_count, job->hostile_count, &z));
    }
    job->report.factor = z;
    const csl_column_statistics statistics = {.mean = job->mean, .deviation = job->direction};
    CSL_TRY(csl_attack_statistics(job, &statistics));
    CSL_TRY(csl_attack_combine(job, 1, z, job->out[0]));
    return csl_attack_repeat(job);
}

csl_status csl_attack_fill(
    csl_attack_job *job, uint32_t k, bool shared, const float *source, csl_attack_tile tile)
{
    const csl_aggregate_input *input = job->aggregation;
    uint32_t row = job->input->hostile[k];
    uint32_t institution = input->institutions ? input->institutions[row] : row;
    uint64_t seed = csl_random_derive(job->spec->seed, CSL_RANDOM_ADVERSARY, input->round,
                                      shared ? CSL_INSTITUTIONS_MAX : institution);
    float values[CSL_TILE];
    for (size_t at = 0; at < job->column_count; at += CSL_TILE) {
        size_t left = job->column_count - at;
        size_t count = left < CSL_TILE ? left : CSL_TILE;
        memset(values, 0, sizeof values);
        if (source) {
            CSL_TRY(csl_device_copy(job->device, values, source + at, count * sizeof(float),
                                    CSL_COPY_TO_HOST));
        }
        uint64_t index = (input->column_begin + at) / CSL_TILE;
        csl_random stream =
            csl_random_stream(seed, CSL_RANDOM_ADVERSARY, input->round, (uint32_t)index);
        tile(job, &stream, at, count, values);
        CSL_TRY(csl_device_copy(job->device, job->out[k] + at, values, count * sizeof(float),
                                CSL_COPY_TO_DEVICE));
    }
    return CSL_OK;
}

static csl_status
fill_all(csl_attack_job *job, bool shared, const float *source, csl_attack_tile tile)
{
    for (uint32_t k = 0; k < job->hostile_count; k++) {
        CSL_TRY(csl_attack_fill(job, k, shared, source, tile));
    }
    return CSL_OK;
}

static void
leave(const csl_attack_job *job, csl_random *stream, size_t first, size_t count, float *values)
{
    (void)job;
    (void)stream;
    (void)first;
    (void)count;
    (void)values;
}

csl_status csl_attack_zero(csl_attack_job *job)
{
    return fill_all(job, true, NULL, leave);
}

static void put_infinity(
    const csl_attack_job *job, csl_random *stream, size_t first, size_t count, float *values)
{
    (void)job;
    (void)stream;
    (void)first;
    for (size_t j = 0; j < count; j++) {
        values[j] = INFINITY;
    }
}

csl_status csl_attack_infinity(csl_attack_job *job)
{
    return fill_all(job, true, NULL, put_infinity);
}

static void
put_nan(const csl_attack_job *job, csl_random *stream, size_t first, size_t count, float *values)
{
    (void)job;
    (void)stream;
    (void)first;
    const uint32_t canonical = 0x7fc00000;
    for (size_t j = 0; j < count; j++) {
        memcpy(&values[j], &canonical, sizeof canonical);
    }
}

csl_status csl_attack_nan(csl_attack_job *job)
{
    return fill_all(job, true, NULL, put_nan);
}

static void draw_normal(
    const csl_attack_job *job, csl_random *stream, size_t first, size_t count, float *values)
{
    (void)first;
    double mean = csl_attack_value(job->spec, CSL_ATTACK_MEAN, 0);
    double deviation = csl_attack_value(job->spec, CSL_ATTACK_DEVIATION, 1);
    for (size_t j = 0; j < count; j++) {
        values[j] = (float)(mean + deviation * csl_random_normal(stream)) + 0.0F;
    }
}

csl_status csl_attack_gaussian(csl_attack_job *job)
{
    return fill_all(job, csl_attack_value(job->spec, CSL_ATTACK_SHARED, 0) != 0, NULL, draw_normal);
}

static void draw_uniform(
    const csl_attack_job *job, csl_random *stream, size_t first, size_t count, float *values)
{
    (void)first;
    double range = csl_attack_value(job->spec, CSL_ATTACK_RANGE, 1);
    for (size_t j = 0; j < count; j++) {
        values[j] = (float)(range * (2 * csl_random_uniform(stream) - 1)) + 0.0F;
    }
}

csl_status csl_attack_random(csl_attack_job *job)
{
    return fill_all(job, csl_attack_value(job->spec, CSL_ATTACK_SHARED, 0) != 0, NULL,
                    draw_uniform);
}

static void add_to_previous(
    const csl_attack_job *job, csl_random *stream, size_t first, size_t count, float *values)
{
    (void)first;
    double factor = csl_attack_value(job->spec, CSL_ATTACK_FACTOR, 1);
    double deviation = csl_attack_value(job->spec, CSL_ATTACK_DEVIATION, 0);
    for (size_t j = 0; j < count; j++) {
        double noise = deviation > 0 ? deviation * csl_random_normal(stream) : 0;
        values[j] = (float)(factor * (double)values[j] + noise) + 0.0F;
    }
}

csl_status csl_attack_free_rider(csl_attack_job *job)
{
    job->report.factor = csl_attack_value(job->spec, CSL_ATTACK_FACTOR, 1);
    return fill_all(job, false, job->input->previous, add_to_previous);
}

/* Uniform between the honest extreme and the extreme times (or divided by) the spread, away from
 * where the mean goes. values: in, the mean; the extremes lie in job->direction and out[k]. */
static float beyond(csl_random *stream, double extreme, bool above, double spread)
{
    bool grow = above == (extreme > 0);
    double end = grow ? extreme * spread : extreme / spread;
    return (float)(extreme + csl_random_uniform(stream) * (end - extreme)) + 0.0F;
}

csl_status csl_attack_fang_trim(csl_attack_job *job)
{
    double spread = csl_attack_value(job->spec, CSL_ATTACK_SPREAD, 2);
    job->report.factor = spread;
    float *largest = job->out[job->hostile_count - 1]; /* written over last, tile by tile */
    const csl_column_statistics statistics = {
        .sign_of_mean = job->mean, .minimum = job->direction, .maximum = largest};
    CSL_TRY(csl_attack_statistics(job, &statistics));
    float tiles[3][CSL_TILE];
    float values[CSL_TILE];
    for (size_t at = 0; at < job->column_count; at += CSL_TILE) {
        size_t left = job->column_count - at;
        size_t count = left < CSL_TILE ? left : CSL_TILE;
        const float *sources[] = {job->mean, job->direction, largest};
        for (int i = 0; i < 3; i++) {
            CSL_TRY(csl_device_copy(job->device, tiles[i], sources[i] + at, count * sizeof(float),
                                    CSL_COPY_TO_HOST));
        }
        for (uint32_t k = 0; k < job->hostile_count; k++) {
            const csl_aggregate_input *input = job->aggregation;
            uint32_t row = job->input->hostile[k];
            uint64_t seed = csl_random_derive(job->spec->seed, CSL_RANDOM_ADVERSARY, input->round,
                                              input->institutions ? input->institutions[row] : row);
            csl_random stream =
                csl_random_stream(seed, CSL_RANDOM_ADVERSARY, input->round,
                                  (uint32_t)((input->column_begin + at) / CSL_TILE));
            for (size_t j = 0; j < count; j++) {
                bool above = tiles[0][j] < 0;
                values[j] = beyond(&stream, (double)tiles[above ? 2 : 1][j], above, spread);
            }
            CSL_TRY(csl_device_copy(job->device, job->out[k] + at, values, count * sizeof(float),
                                    CSL_COPY_TO_DEVICE));
        }
    }
    return CSL_OK;
}
