/* The round as a pure step over coordinates; see <consilium/federation.h> for the formulas. */
#include <consilium/federation.h>
#include <consilium/random.h>

#include "federation_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool in_unit_interval(float value)
{
    return value >= 0.0f && value < 1.0f;
}

static csl_status check_options(const csl_federation_options *options)
{
    if (options->algorithm > CSL_FEDYOGI || options->batch_norm > CSL_BATCH_NORM_FREEZE ||
        options->weighting > CSL_WEIGHTING_EQUAL) {
        return csl_fail(CSL_E_RANGE,
                        "federation: unknown algorithm, batch norm policy or weighting");
    }
    if (!(options->server_rate > 0.0f) || !isfinite(options->server_rate)) {
        return csl_fail(CSL_E_RANGE, "federation: server rate %g is not above 0",
                        (double)options->server_rate);
    }
    bool adaptive = options->algorithm == CSL_FEDADAM || options->algorithm == CSL_FEDYOGI;
    if (adaptive && (!in_unit_interval(options->beta1) || !in_unit_interval(options->beta2) ||
                     !(options->tau > 0.0f) || !isfinite(options->tau))) {
        return csl_fail(CSL_E_RANGE,
                        "federation: beta1 %g and beta2 %g must be in [0, 1), tau %g above 0",
                        (double)options->beta1, (double)options->beta2, (double)options->tau);
    }
    if (options->algorithm == CSL_FEDPROX && !(options->mu >= 0.0f && isfinite(options->mu))) {
        return csl_fail(CSL_E_RANGE, "federation: mu %g is below 0", (double)options->mu);
    }
    return CSL_OK;
}

static csl_treatment
treat(const csl_federation_options *options, const csl_tensor *tensor, bool *local_out)
{
    bool running =
        tensor->role == CSL_ROLE_RUNNING_MEAN || tensor->role == CSL_ROLE_RUNNING_VARIANCE;
    bool batch_norm = running || tensor->layer_kind == CSL_LAYER_BATCH_NORM;
    *local_out = batch_norm && options->batch_norm == CSL_BATCH_NORM_LOCAL;
    if (*local_out || (running && options->batch_norm == CSL_BATCH_NORM_FREEZE)) {
        return CSL_TREAT_KEEP;
    }
    return running ? CSL_TREAT_AVERAGE : CSL_TREAT_STEP;
}

/* Adds a tensor's coordinates, joined to the segment before where both are treated alike. */
static void append_segment(csl_federation *federation, const csl_tensor *tensor)
{
    bool local;
    csl_treatment treatment = treat(&federation->options, tensor, &local);
    csl_segment *last =
        federation->segment_count ? &federation->segments[federation->segment_count - 1] : NULL;
    if (last && last->treatment == treatment && last->local == local) {
        last->end += tensor->count;
    } else {
        federation->segments[federation->segment_count++] =
            (csl_segment){.begin = tensor->offset,
                          .end = tensor->offset + tensor->count,
                          .treatment = treatment,
                          .local = local};
    }
    federation->parameter_count += tensor->count;
    federation->local_count += local ? tensor->count : 0;
}

csl_status csl_federation_create(const csl_federation_options *options,
                                 const csl_tensor *tensors,
                                 uint32_t tensor_count,
                                 csl_federation **federation_out)
{
    CSL_TRY(check_options(options));
    if (tensor_count == 0) {
        return csl_fail(CSL_E_RANGE, "federation: the model has no tensors");
    }
    csl_federation *federation = calloc(1, sizeof *federation);
    csl_segment *segments = calloc(tensor_count, sizeof *segments);
    if (!federation || !segments) {
        free(federation);
        free(segments);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %u tensors", tensor_count);
    }
    federation->options = *options;
    federation->segments = segments;
    for (uint32_t i = 0; i < tensor_count; i++) {
        if (tensors[i].offset != federation->parameter_count || tensors[i].count == 0) {
            csl_status status = csl_fail(
                CSL_E_SHAPE, "tensor %s: expected at offset %zu, found at %zu with %zu elements",
                tensors[i].name, federation->parameter_count, tensors[i].offset, tensors[i].count);
            csl_federation_destroy(federation);
            return status;
        }
        append_segment(federation, &tensors[i]);
    }
    *federation_out = federation;
    return CSL_OK;
}

void csl_federation_destroy(csl_federation *federation)
{
    if (federation) {
        free(federation->segments);
        free(federation);
    }
}

const csl_federation_options *csl_federation_get_options(const csl_federation *federation)
{
    return &federation->options;
}

size_t csl_federation_parameter_count(const csl_federation *federation)
{
    return federation->parameter_count;
}

size_t csl_federation_local_count(const csl_federation *federation)
{
    return federation->local_count;
}

bool csl_federation_has_control(const csl_federation *federation)
{
    return federation->options.algorithm == CSL_SCAFFOLD;
}

bool csl_federation_has_moments(const csl_federation *federation)
{
    return federation->options.algorithm == CSL_FEDADAM ||
           federation->options.algorithm == CSL_FEDYOGI;
}

/* Index of the segment that holds a coordinate. */
static uint32_t find_segment(const csl_federation *federation, size_t coordinate)
{
    uint32_t low = 0;
    uint32_t high = federation->segment_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (federation->segments[middle].begin <= coordinate) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

csl_treatment csl_federation_treatment(const csl_federation *federation, size_t coordinate)
{
    return federation->segments[find_segment(federation, coordinate)].treatment;
}

csl_status csl_federation_check_range(const csl_federation *federation, size_t begin, size_t count)
{
    if (begin > federation->parameter_count || count > federation->parameter_count - begin) {
        return csl_fail(CSL_E_RANGE, "coordinates %zu and %zu more are outside a model of %zu",
                        begin, count, federation->parameter_count);
    }
    return CSL_OK;
}

csl_piece csl_federation_first_piece(const csl_federation *federation, size_t begin, size_t count)
{
    csl_piece piece = {.federation = federation, .next = begin, .stop = begin + count};
    piece.index = count ? find_segment(federation, begin) : 0;
    return piece;
}

bool csl_federation_next_piece(csl_piece *piece)
{
    if (piece->next >= piece->stop) {
        return false;
    }
    const csl_segment *segment = &piece->federation->segments[piece->index++];
    piece->begin = piece->next;
    piece->end = segment->end < piece->stop ? segment->end : piece->stop;
    piece->treatment = segment->treatment;
    piece->local = segment->local;
    piece->next = piece->end;
    return true;
}

csl_status csl_federation_sample(uint64_t seed,
                                 uint32_t round,
                                 uint32_t institution_count,
                                 uint32_t per_round,
                                 uint32_t *institutions_out)
{
    if (institution_count > CSL_INSTITUTIONS_MAX || per_round == 0 ||
        per_round > institution_count) {
        return csl_fail(CSL_E_RANGE, "cannot sample %u of %u institutions, at most %d", per_round,
                        institution_count, CSL_INSTITUTIONS_MAX);
    }
    csl_random random = csl_random_stream(seed, CSL_RANDOM_SAMPLING, round, 0);
    /* Selection sampling (Knuth 1969, algorithm 3.4.2 S): ascending, each subset equally likely. */
    uint32_t chosen = 0;
    for (uint32_t i = 0; chosen < per_round; i++) {
        if (csl_random_below(&random, institution_count - i) < per_round - chosen) {
            institutions_out[chosen++] = i;
        }
    }
    return CSL_OK;
}

csl_status csl_federation_weights(csl_weighting weighting,
                                  const uint64_t *samples,
                                  uint32_t count,
                                  double *weights_out)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (samples[i] > (UINT64_C(1) << 53) / CSL_INSTITUTIONS_MAX) {
            return csl_fail(CSL_E_RANGE, "institution %u of this round reports %llu images", i,
                            (unsigned long long)samples[i]);
        }
        sum += samples[i];
    }
    if (count == 0 || count > CSL_INSTITUTIONS_MAX || sum == 0) {
        return csl_fail(CSL_E_RANGE,
                        "%u institutions with %llu training images: nothing to average", count,
                        (unsigned long long)sum);
    }
    for (uint32_t i = 0; i < count; i++) {
        weights_out[i] =
            weighting == CSL_WEIGHTING_EQUAL ? 1.0 / count : (double)samples[i] / (double)sum;
    }
    return CSL_OK;
}

csl_status csl_federation_update(const csl_federation *federation,
                                 size_t begin,
                                 size_t count,
                                 const float *shard_old,
                                 const float *shard_new,
                                 float *shard_update_out)
{
    CSL_TRY(csl_federation_check_range(federation, begin, count));
    csl_piece piece = csl_federation_first_piece(federation, begin, count);
    while (csl_federation_next_piece(&piece)) {
        size_t first = piece.begin - begin;
        size_t piece_count = piece.end - piece.begin;
        if (piece.treatment == CSL_TREAT_KEEP) {
            memset(shard_update_out + first, 0, piece_count * sizeof *shard_update_out);
            continue;
        }
        size_t bad = csl_federation_subtract(shard_new + first, shard_old + first,
                                             shard_update_out + first, piece_count);
        if (bad < piece_count) {
            return csl_fail(CSL_E_DIVERGED, "update is not finite at coordinate %zu",
                            piece.begin + bad);
        }
    }
    return CSL_OK;
}
