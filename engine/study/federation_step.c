/* The server's step, SCAFFOLD's control variates, and batch norm that stays at home. */
#include "federation_internal.h"

#include <math.h>
#include <string.h>

/* Piece of a shard: coordinates [first, last) relative to the shard's begin. */
typedef struct csl_step {
    const csl_federation_options *options;
    const float *aggregate;
    float *weights;
    float *first;
    float *second;
} csl_step;

/* What a coordinate becomes; moments only where the algorithm keeps them. */
typedef struct csl_next {
    float weight;
    float first;
    float second;
} csl_next;

static csl_next next_plain(const csl_step *step, double rate, size_t j)
{
    double move = rate * (double)step->aggregate[j];
    return (csl_next){.weight = (float)((double)step->weights[j] + move)};
}

/* Reddi et al. 2021, algorithm 2, without bias correction, as printed there. */
static csl_next next_adaptive(const csl_step *step, size_t j)
{
    double beta1 = (double)step->options->beta1;
    double beta2 = (double)step->options->beta2;
    double delta = (double)step->aggregate[j];
    double square = delta * delta;
    double moment = beta1 * (double)step->first[j] + (1.0 - beta1) * delta;
    double second = (double)step->second[j];
    if (step->options->algorithm == CSL_FEDYOGI) {
        double sign = second > square ? 1.0 : second < square ? -1.0 : 0.0;
        second = second - (1.0 - beta2) * square * sign;
    } else {
        second = beta2 * second + (1.0 - beta2) * square;
    }
    /* The step uses what is stored, so that a resumed run takes the same one. */
    csl_next next = {.first = (float)moment, .second = (float)second};
    double rate = (double)step->options->server_rate;
    double tau = (double)step->options->tau;
    double move = rate * (double)next.first / (sqrt((double)next.second) + tau);
    next.weight = (float)((double)step->weights[j] + move);
    return next;
}

static csl_next next_of(const csl_step *step, csl_treatment treatment, bool adaptive, size_t j)
{
    if (treatment == CSL_TREAT_KEEP) {
        return (csl_next){.weight = step->weights[j]};
    }
    if (treatment == CSL_TREAT_AVERAGE) {
        return next_plain(step, 1.0, j);
    }
    return adaptive ? next_adaptive(step, j)
                    : next_plain(step, (double)step->options->server_rate, j);
}

static bool is_finite(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

static csl_status check_finite(const char *what, size_t begin, size_t count, const float *values)
{
    uint32_t broken = 0;
#pragma omp simd reduction(| : broken)
    for (size_t j = 0; j < count; j++) {
        broken |= (uint32_t)!is_finite(values[j]);
    }
    for (size_t j = 0; broken && j < count; j++) {
        if (!is_finite(values[j])) {
            return csl_fail(CSL_E_DIVERGED, "%s is not finite at coordinate %zu", what, begin + j);
        }
    }
    return CSL_OK;
}

/* Whether the plain step of [first, end) takes finite values to finite weights; the loop has one
 * way out, so the compiler can take several coordinates at a time. */
static bool stays_finite(const csl_step *step, double rate, size_t first, size_t end)
{
    uint32_t broken = 0;
#pragma omp simd reduction(| : broken)
    for (size_t j = first; j < end; j++) {
        broken |= (uint32_t)!is_finite(step->aggregate[j]);
        broken |= (uint32_t)!is_finite(next_plain(step, rate, j).weight);
    }
    return broken == 0;
}

static void move_plain(const csl_step *step, double rate, size_t first, size_t end)
{
#pragma omp simd
    for (size_t j = first; j < end; j++) {
        step->weights[j] = next_plain(step, rate, j).weight;
    }
}

/* Whether a piece is moved by the plain step, and how far. */
static bool is_plain(const csl_step *step, csl_treatment treatment, bool adaptive, double *rate_out)
{
    *rate_out = treatment == CSL_TREAT_AVERAGE ? 1.0 : (double)step->options->server_rate;
    return treatment == CSL_TREAT_AVERAGE || (treatment == CSL_TREAT_STEP && !adaptive);
}

/* Whether the aggregate and all that the step makes of it are finite, on the pieces of [begin,
 * begin + count); nothing is changed. */
static csl_status
check_step(const csl_federation *federation, const csl_step *step, size_t begin, size_t count)
{
    bool adaptive = csl_federation_has_moments(federation);
    double rate = 0;
    csl_piece piece = csl_federation_first_piece(federation, begin, count);
    while (csl_federation_next_piece(&piece)) {
        size_t first = piece.begin - begin;
        size_t end = piece.end - begin;
        if (is_plain(step, piece.treatment, adaptive, &rate) &&
            stays_finite(step, rate, first, end)) {
            continue;
        }
        CSL_TRY(check_finite("aggregate", piece.begin, end - first, step->aggregate + first));
        for (size_t j = first; j < end; j++) {
            csl_next next = next_of(step, piece.treatment, adaptive, j);
            if (!isfinite(next.weight) || !isfinite(next.first) || !isfinite(next.second)) {
                return csl_fail(CSL_E_DIVERGED, "new global weight is not finite at coordinate %zu",
                                begin + j);
            }
        }
    }
    return CSL_OK;
}

csl_status csl_federation_apply(const csl_federation *federation,
                                size_t begin,
                                size_t count,
                                const float *shard_aggregate,
                                float *shard_weights,
                                float *shard_first,
                                float *shard_second)
{
    CSL_TRY(csl_federation_check_range(federation, begin, count));
    bool adaptive = csl_federation_has_moments(federation);
    if (adaptive && count > 0 && (!shard_first || !shard_second)) {
        return csl_fail(CSL_E_INVALID_ARG, "this algorithm needs the server's moments");
    }
    csl_step step = {&federation->options, shard_aggregate, shard_weights, shard_first,
                     shard_second};
    /* All is computed once to look at it and once more to keep it: a refused step leaves the shard
     * as it was. */
    CSL_TRY(check_step(federation, &step, begin, count));
    double rate = 0;
    csl_piece piece = csl_federation_first_piece(federation, begin, count);
    while (csl_federation_next_piece(&piece)) {
        size_t first = piece.begin - begin;
        size_t end = piece.end - begin;
        if (is_plain(&step, piece.treatment, adaptive, &rate)) {
            move_plain(&step, rate, first, end);
            continue;
        }
        bool moments = adaptive && piece.treatment == CSL_TREAT_STEP;
        for (size_t j = first; j < end; j++) {
            csl_next next = next_of(&step, piece.treatment, adaptive, j);
            shard_weights[j] = next.weight;
            if (moments) {
                shard_first[j] = next.first;
                shard_second[j] = next.second;
            }
        }
    }
    return CSL_OK;
}

void csl_federation_initial_moments(const csl_federation *federation,
                                    size_t count,
                                    float *shard_first,
                                    float *shard_second)
{
    double tau = (double)federation->options.tau;
    float start = (float)(tau * tau);
    for (size_t j = 0; j < count; j++) {
        shard_first[j] = 0.0f;
        shard_second[j] = start;
    }
}

void csl_scaffold_correction(const csl_federation *federation,
                             const float *server_control,
                             const float *control,
                             float *correction_out)
{
    csl_piece piece = csl_federation_first_piece(federation, 0, federation->parameter_count);
    while (csl_federation_next_piece(&piece)) {
        for (size_t j = piece.begin; j < piece.end; j++) {
            correction_out[j] =
                piece.treatment == CSL_TREAT_STEP ? server_control[j] - control[j] : 0.0f;
        }
    }
}

csl_status csl_scaffold_divisor(const csl_train_options *options,
                                uint32_t round,
                                uint64_t step_count,
                                double *divisor_out)
{
    double momentum = (double)options->momentum;
    if (step_count == 0 || !(momentum >= 0.0) || !(momentum < 1.0)) {
        return csl_fail(CSL_E_RANGE, "scaffold: %llu steps with momentum %g",
                        (unsigned long long)step_count, momentum);
    }
    double divisor = 0.0;
    double power = options->nesterov ? momentum : 1.0; /* of the momentum, raised at every step */
    for (uint64_t step = 0; step < step_count; step++) {
        power *= momentum;
        divisor += csl_train_rate(options, round, step, step_count) * (1.0 - power);
    }
    divisor /= 1.0 - momentum;
    if (!(divisor > 0.0) || !isfinite(divisor)) {
        return csl_fail(CSL_E_RANGE, "scaffold: %llu steps whose rates add up to %g",
                        (unsigned long long)step_count, divisor);
    }
    *divisor_out = divisor;
    return CSL_OK;
}

/* One coordinate of option II; the same sequence of operations in both passes below. */
static float next_control(const float *server_control,
                          const float *control,
                          const float *update,
                          double divisor,
                          size_t j)
{
    double kept = (double)control[j] - (double)server_control[j];
    return (float)(kept - (double)update[j] / divisor);
}

csl_status csl_scaffold_control(const csl_federation *federation,
                                const float *server_control,
                                const float *update,
                                double divisor,
                                float *control,
                                float *difference_out)
{
    if (!(divisor > 0.0) || !isfinite(divisor)) {
        return csl_fail(CSL_E_RANGE, "scaffold: divisor %g is not above 0", divisor);
    }
    csl_piece piece = csl_federation_first_piece(federation, 0, federation->parameter_count);
    while (csl_federation_next_piece(&piece)) {
        for (size_t j = piece.begin; j < piece.end; j++) {
            float next = piece.treatment == CSL_TREAT_STEP
                             ? next_control(server_control, control, update, divisor, j)
                             : 0.0f;
            difference_out[j] = piece.treatment == CSL_TREAT_STEP ? next - control[j] + 0.0f : 0.0f;
            if (!isfinite(difference_out[j])) {
                return csl_fail(CSL_E_DIVERGED, "control variate is not finite at coordinate %zu",
                                j);
            }
        }
    }
    piece = csl_federation_first_piece(federation, 0, federation->parameter_count);
    while (csl_federation_next_piece(&piece)) {
        for (size_t j = piece.begin; piece.treatment == CSL_TREAT_STEP && j < piece.end; j++) {
            control[j] = next_control(server_control, control, update, divisor, j);
        }
    }
    return CSL_OK;
}

csl_status csl_scaffold_apply(const csl_federation *federation,
                              size_t begin,
                              size_t count,
                              const float *shard_difference,
                              uint32_t sampled_count,
                              uint32_t institution_count,
                              float *shard_server_control)
{
    CSL_TRY(csl_federation_check_range(federation, begin, count));
    if (sampled_count == 0 || sampled_count > institution_count) {
        return csl_fail(CSL_E_RANGE, "scaffold: %u of %u institutions took part", sampled_count,
                        institution_count);
    }
    double share = (double)sampled_count / (double)institution_count;
    for (size_t j = 0; j < count; j++) {
        double move = share * (double)shard_difference[j];
        shard_server_control[j] = (float)((double)shard_server_control[j] + move);
    }
    return check_finite("server control variate", begin, count, shard_server_control);
}

void csl_federation_get_local(const csl_federation *federation,
                              const float *vector,
                              float *local_out)
{
    csl_piece piece = csl_federation_first_piece(federation, 0, federation->parameter_count);
    while (csl_federation_next_piece(&piece)) {
        if (piece.local) {
            size_t count = piece.end - piece.begin;
            memcpy(local_out, vector + piece.begin, count * sizeof *vector);
            local_out += count;
        }
    }
}

void csl_federation_set_local(const csl_federation *federation, const float *local, float *vector)
{
    csl_piece piece = csl_federation_first_piece(federation, 0, federation->parameter_count);
    while (csl_federation_next_piece(&piece)) {
        if (piece.local) {
            size_t count = piece.end - piece.begin;
            memcpy(vector + piece.begin, local, count * sizeof *vector);
            local += count;
        }
    }
}
