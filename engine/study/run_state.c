/* All state of a run: made, enumerated, written as bytes and read back. */
#include "base/bytes.h"
#include "federation_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char magic_[8] = {'C', 'S', 'L', 'R', 'U', 'N', '0', '1'};

/* Sections of the run itself, in order, and of each institution. */
enum { RUN_SECTIONS = 5, INSTITUTION_SECTIONS = 3, HEADER_SIZE = 84, INSTITUTION_HEADER_SIZE = 16 };

/* What a state holds; bits of the header. */
enum { HAS_MOMENTS = 1, HAS_CONTROL = 2, HAS_BEST = 4 };

static csl_status new_values(size_t count, const float *source, float **values_out)
{
    float *values = count <= SIZE_MAX / 8 ? calloc(count ? count : 1, sizeof *values) : NULL;
    if (!values) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %zu parameters of the run's state", count);
    }
    if (source) {
        memcpy(values, source, count * sizeof *values);
    }
    *values_out = values;
    return CSL_OK;
}

/* Allocates the arrays that `held` and the counts ask for; the caller destroys the state on
 * failure. */
static csl_status allocate(csl_run_state *state, unsigned held)
{
    CSL_TRY(new_values(state->parameter_count, NULL, &state->weights));
    CSL_TRY(new_values(state->parameter_count, NULL, &state->best_weights));
    if (held & HAS_MOMENTS) {
        CSL_TRY(new_values(state->parameter_count, NULL, &state->first));
        CSL_TRY(new_values(state->parameter_count, NULL, &state->second));
    }
    if (held & HAS_CONTROL) {
        CSL_TRY(new_values(state->parameter_count, NULL, &state->control));
    }
    for (uint32_t i = 0; i < state->institution_count; i++) {
        csl_institution_state *institution = &state->institutions[i];
        if (held & HAS_CONTROL) {
            CSL_TRY(new_values(state->parameter_count, NULL, &institution->control));
        }
        if (state->local_count > 0) {
            CSL_TRY(new_values(state->local_count, NULL, &institution->local));
        }
        if (institution->optimizer_count > 0) {
            CSL_TRY(new_values(institution->optimizer_count, NULL, &institution->optimizer));
        }
    }
    return CSL_OK;
}

static csl_status new_state(uint32_t institution_count, csl_run_state **state_out)
{
    if (institution_count > CSL_INSTITUTIONS_MAX) {
        return csl_fail(CSL_E_RANGE, "%u institutions, at most %d", institution_count,
                        CSL_INSTITUTIONS_MAX);
    }
    csl_run_state *state = calloc(1, sizeof *state);
    csl_institution_state *institutions =
        calloc(institution_count ? institution_count : 1, sizeof *institutions);
    if (!state || !institutions) {
        free(state);
        free(institutions);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %u institutions", institution_count);
    }
    state->institution_count = institution_count;
    state->institutions = institutions;
    *state_out = state;
    return CSL_OK;
}

csl_status csl_run_state_create(const csl_federation *federation,
                                const float *weights,
                                const uint32_t *institutions,
                                uint32_t institution_count,
                                const size_t *optimizer_counts,
                                csl_run_state **state_out)
{
    csl_run_state *state = NULL;
    CSL_TRY(new_state(institution_count, &state));
    state->parameter_count = federation->parameter_count;
    state->local_count = federation->local_count;
    for (uint32_t i = 0; i < institution_count; i++) {
        state->institutions[i].institution = institutions[i];
        state->institutions[i].optimizer_count = optimizer_counts ? optimizer_counts[i] : 0;
    }
    bool moments = csl_federation_has_moments(federation);
    unsigned held =
        (moments ? HAS_MOMENTS : 0u) | (csl_federation_has_control(federation) ? HAS_CONTROL : 0u);
    csl_status status = allocate(state, held);
    if (status != CSL_OK) {
        csl_run_state_destroy(state);
        return status;
    }
    memcpy(state->weights, weights, state->parameter_count * sizeof *weights);
    memcpy(state->best_weights, weights, state->parameter_count * sizeof *weights);
    if (moments) {
        csl_federation_initial_moments(federation, state->parameter_count, state->first,
                                       state->second);
    }
    for (uint32_t i = 0; i < institution_count; i++) {
        if (state->local_count > 0) {
            csl_federation_get_local(federation, weights, state->institutions[i].local);
        }
    }
    *state_out = state;
    return CSL_OK;
}

void csl_run_state_destroy(csl_run_state *state)
{
    if (!state) {
        return;
    }
    for (uint32_t i = 0; i < state->institution_count; i++) {
        free(state->institutions[i].control);
        free(state->institutions[i].local);
        free(state->institutions[i].optimizer);
    }
    free(state->institutions);
    free(state->weights);
    free(state->first);
    free(state->second);
    free(state->control);
    free(state->best_weights);
    free(state);
}

bool csl_run_state_offer_best(csl_run_state *state, double score)
{
    if (isnan(score) || (state->has_best && !(score > state->best_score))) {
        return false;
    }
    state->has_best = true;
    state->best_score = score;
    state->best_round = state->round;
    memcpy(state->best_weights, state->weights, state->parameter_count * sizeof *state->weights);
    return true;
}

/* The section at a fixed place; values is NULL where the state does not hold it. */
static csl_state_section section_at(const csl_run_state *state, uint32_t place)
{
    csl_state_section section = {.institution = -1, .count = state->parameter_count};
    if (place < RUN_SECTIONS) {
        static const char *const names[RUN_SECTIONS] = {"weights", "best_weights", "first",
                                                        "second", "control"};
        float *const values[RUN_SECTIONS] = {state->weights, state->best_weights, state->first,
                                             state->second, state->control};
        snprintf(section.name, sizeof section.name, "%s", names[place]);
        section.values = values[place];
        return section;
    }
    static const char *const names[INSTITUTION_SECTIONS] = {"control", "local", "optimizer"};
    uint32_t part = (place - RUN_SECTIONS) % INSTITUTION_SECTIONS;
    const csl_institution_state *institution =
        &state->institutions[(place - RUN_SECTIONS) / INSTITUTION_SECTIONS];
    float *const values[INSTITUTION_SECTIONS] = {institution->control, institution->local,
                                                 institution->optimizer};
    const size_t counts[INSTITUTION_SECTIONS] = {state->parameter_count, state->local_count,
                                                 institution->optimizer_count};
    snprintf(section.name, sizeof section.name, "institution/%u/%s", institution->institution,
             names[part]);
    section.institution = institution->institution;
    section.values = values[part];
    section.count = counts[part];
    return section;
}

static uint32_t place_count(const csl_run_state *state)
{
    return RUN_SECTIONS + INSTITUTION_SECTIONS * state->institution_count;
}

uint32_t csl_run_state_section_count(const csl_run_state *state)
{
    uint32_t count = 0;
    for (uint32_t place = 0; place < place_count(state); place++) {
        count += section_at(state, place).values != NULL;
    }
    return count;
}

csl_status
csl_run_state_section(const csl_run_state *state, uint32_t index, csl_state_section *section_out)
{
    for (uint32_t place = 0; place < place_count(state); place++) {
        csl_state_section section = section_at(state, place);
        if (section.values && index-- == 0) {
            *section_out = section;
            return CSL_OK;
        }
    }
    return csl_fail(CSL_E_RANGE, "the run's state has %u sections",
                    csl_run_state_section_count(state));
}

/* Bytes of the encoded state; SIZE_MAX if they cannot be addressed. */
static size_t encoded_size(const csl_run_state *state, unsigned held)
{
    const size_t limit = SIZE_MAX / 64 / CSL_INSTITUTIONS_MAX;
    if (state->parameter_count > limit || state->local_count > limit) {
        return SIZE_MAX;
    }
    size_t controls = held & HAS_CONTROL ? 1 : 0;
    size_t values = state->parameter_count * (2u + (held & HAS_MOMENTS ? 2u : 0u) + controls);
    for (uint32_t i = 0; i < state->institution_count; i++) {
        if (state->institutions[i].optimizer_count > limit) {
            return SIZE_MAX;
        }
        values += controls * state->parameter_count + state->local_count +
                  state->institutions[i].optimizer_count;
    }
    return HEADER_SIZE + (size_t)state->institution_count * INSTITUTION_HEADER_SIZE +
           values * sizeof(float) + CSL_SHA256_SIZE;
}

static void put_header(const csl_run_state *state, unsigned held, csl_byte_writer *writer)
{
    csl_put(writer, magic_, sizeof magic_);
    csl_put(writer, state->study_sha256, sizeof state->study_sha256);
    csl_put_u32(writer, held);
    csl_put_u32(writer, state->round);
    csl_put_u64(writer, state->parameter_count);
    csl_put_u64(writer, state->local_count);
    csl_put_f64(writer, state->best_score);
    csl_put_u32(writer, state->best_round);
    csl_put_u32(writer, state->institution_count);
    csl_put_u32(writer, 0);
    for (uint32_t i = 0; i < state->institution_count; i++) {
        csl_put_u32(writer, state->institutions[i].institution);
        csl_put_u32(writer, 0);
        csl_put_u64(writer, state->institutions[i].optimizer_count);
    }
}

csl_status csl_run_state_encode(const csl_run_state *state, uint8_t **bytes_out, size_t *size_out)
{
    unsigned held = (state->first ? HAS_MOMENTS : 0u) | (state->control ? HAS_CONTROL : 0u) |
                    (state->has_best ? HAS_BEST : 0u);
    size_t size = encoded_size(state, held);
    csl_byte_writer writer = {.bytes = size == SIZE_MAX ? NULL : malloc(size)};
    if (!writer.bytes) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the %zu bytes of the run's state", size);
    }
    put_header(state, held, &writer);
    for (uint32_t place = 0; place < place_count(state); place++) {
        csl_state_section section = section_at(state, place);
        if (section.values) {
            csl_put(&writer, section.values, section.count * sizeof *section.values);
        }
    }
    csl_status status = csl_sha256(writer.bytes, writer.position, writer.bytes + writer.position);
    if (status != CSL_OK) {
        free(writer.bytes);
        return status;
    }
    *bytes_out = writer.bytes;
    *size_out = size;
    return CSL_OK;
}

static csl_status get_header(csl_byte_reader *reader, unsigned *held_out, csl_run_state **state_out)
{
    char magic[sizeof magic_];
    uint8_t study_sha256[CSL_SHA256_SIZE];
    csl_get(reader, magic, sizeof magic);
    if (memcmp(magic, magic_, sizeof magic) != 0) {
        return csl_fail(CSL_E_FORMAT, "run state, byte 0: expected %.8s", magic_);
    }
    csl_get(reader, study_sha256, sizeof study_sha256);
    unsigned held = csl_get_u32(reader);
    csl_run_state header = {.round = csl_get_u32(reader)};
    header.parameter_count = (size_t)csl_get_u64(reader);
    header.local_count = (size_t)csl_get_u64(reader);
    header.best_score = csl_get_f64(reader);
    header.best_round = csl_get_u32(reader);
    uint32_t institution_count = csl_get_u32(reader);
    uint32_t reserved = csl_get_u32(reader);
    if (reader->failed || held > (HAS_MOMENTS | HAS_CONTROL | HAS_BEST) || reserved != 0 ||
        institution_count > CSL_INSTITUTIONS_MAX) {
        return csl_fail(CSL_E_FORMAT, "run state: header of %zu bytes is not valid", reader->size);
    }
    csl_run_state *state = NULL;
    CSL_TRY(new_state(institution_count, &state));
    memcpy(state->study_sha256, study_sha256, sizeof study_sha256);
    state->round = header.round;
    state->parameter_count = header.parameter_count;
    state->local_count = header.local_count;
    state->has_best = (held & HAS_BEST) != 0;
    state->best_score = header.best_score;
    state->best_round = header.best_round;
    for (uint32_t i = 0; i < institution_count; i++) {
        state->institutions[i].institution = csl_get_u32(reader);
        csl_get_u32(reader);
        state->institutions[i].optimizer_count = (size_t)csl_get_u64(reader);
    }
    *held_out = held;
    *state_out = state;
    return CSL_OK;
}

static csl_status get_values(csl_byte_reader *reader, unsigned held, csl_run_state *state)
{
    size_t expected = encoded_size(state, held);
    if (reader->failed || expected != reader->size) {
        return csl_fail(CSL_E_FORMAT, "run state: expected %zu bytes for %zu parameters, found %zu",
                        expected, state->parameter_count, reader->size);
    }
    uint8_t digest[CSL_SHA256_SIZE];
    CSL_TRY(csl_sha256(reader->bytes, reader->size - CSL_SHA256_SIZE, digest));
    if (memcmp(digest, reader->bytes + reader->size - CSL_SHA256_SIZE, sizeof digest) != 0) {
        return csl_fail(CSL_E_VERIFY, "run state: its sha-256 does not match its %zu bytes",
                        reader->size);
    }
    CSL_TRY(allocate(state, held));
    for (uint32_t place = 0; place < place_count(state); place++) {
        csl_state_section section = section_at(state, place);
        if (section.values) {
            csl_get(reader, section.values, section.count * sizeof *section.values);
        }
    }
    return CSL_OK;
}

csl_status csl_run_state_decode(const void *bytes, size_t size, csl_run_state **state_out)
{
    csl_byte_reader reader = {.bytes = bytes, .size = size};
    csl_run_state *state = NULL;
    unsigned held = 0;
    CSL_TRY(get_header(&reader, &held, &state));
    csl_status status = get_values(&reader, held, state);
    if (status != CSL_OK) {
        csl_run_state_destroy(state);
        return status;
    }
    *state_out = state;
    return CSL_OK;
}
