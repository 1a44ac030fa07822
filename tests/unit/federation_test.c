#include "test_support.h"

#include <consilium/federation.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 40 };

/* conv.weight 0..19, bn.scale 20..23, bn.shift 24..27, bn.mean 28..31, bn.variance 32..35,
 * out 36..39 */
static const csl_tensor tensors_[] = {
    {.name = "conv.weight", .role = CSL_ROLE_WEIGHT, .layer_kind = CSL_LAYER_CONV, .count = 20},
    {.name = "bn.scale",
     .role = CSL_ROLE_NORM_SCALE,
     .layer_kind = CSL_LAYER_BATCH_NORM,
     .offset = 20,
     .count = 4},
    {.name = "bn.shift",
     .role = CSL_ROLE_NORM_SHIFT,
     .layer_kind = CSL_LAYER_BATCH_NORM,
     .offset = 24,
     .count = 4},
    {.name = "bn.mean",
     .role = CSL_ROLE_RUNNING_MEAN,
     .layer_kind = CSL_LAYER_BATCH_NORM,
     .offset = 28,
     .count = 4},
    {.name = "bn.variance",
     .role = CSL_ROLE_RUNNING_VARIANCE,
     .layer_kind = CSL_LAYER_BATCH_NORM,
     .offset = 32,
     .count = 4},
    {.name = "out.weight",
     .role = CSL_ROLE_WEIGHT,
     .layer_kind = CSL_LAYER_LINEAR,
     .offset = 36,
     .count = 4},
};

static csl_federation_options options_for(csl_algorithm algorithm)
{
    return (csl_federation_options){
        .algorithm = algorithm, .server_rate = 1.0f, .beta1 = 0.9f, .beta2 = 0.99f, .tau = 1e-3f};
}

static csl_federation *make(csl_federation_options options)
{
    csl_federation *federation = NULL;
    CHECK_OK(csl_federation_create(&options, tensors_, 6, &federation));
    CU_ASSERT_PTR_NOT_NULL_FATAL(federation);
    return federation;
}

static void fill(float *values, size_t count, double scale)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)(scale * csl_test_normal());
    }
}

static bool same_bits(const float *a, const float *b, size_t count)
{
    return memcmp(a, b, count * sizeof *a) == 0;
}

static void sampling_gives_different_institutions_in_ascending_order(void)
{
    uint64_t seed = csl_test_random();
    unsigned counts[10] = {0};
    for (uint32_t round = 0; round < 5000; round++) {
        uint32_t chosen[3];
        uint32_t again[3];
        CHECK_OK(csl_federation_sample(seed, round, 10, 3, chosen));
        CHECK_OK(csl_federation_sample(seed, round, 10, 3, again));
        CU_ASSERT(memcmp(chosen, again, sizeof chosen) == 0);
        CU_ASSERT(chosen[0] < chosen[1] && chosen[1] < chosen[2] && chosen[2] < 10);
        for (int i = 0; i < 3; i++) {
            counts[chosen[i]]++;
        }
    }
    for (int i = 0; i < 10; i++) {
        CHECK_NEAR(counts[i], 1500, 6.0 * sqrt(5000 * 0.3 * 0.7));
    }
    uint32_t all[4];
    CHECK_OK(csl_federation_sample(seed, 0, 4, 4, all));
    CHECK_U64(all[3], 3);
    CHECK_STATUS(csl_federation_sample(seed, 0, 4, 5, all), CSL_E_RANGE);
    CHECK_STATUS(csl_federation_sample(seed, 0, 4, 0, all), CSL_E_RANGE);
}

static void weights_are_shares_of_the_training_images(void)
{
    const uint64_t samples[3] = {10, 30, 60};
    double weights[3];
    CHECK_OK(csl_federation_weights(CSL_WEIGHTING_SAMPLES, samples, 3, weights));
    CHECK_NEAR(weights[1], 0.3, 0.0);
    CHECK_OK(csl_federation_weights(CSL_WEIGHTING_EQUAL, samples, 3, weights));
    CHECK_NEAR(weights[1], 1.0 / 3.0, 0.0);
    const uint64_t none[2] = {0, 0};
    CHECK_STATUS(csl_federation_weights(CSL_WEIGHTING_SAMPLES, none, 2, weights), CSL_E_RANGE);
    CHECK_STATUS(csl_federation_weights(CSL_WEIGHTING_EQUAL, samples, 0, weights), CSL_E_RANGE);
    const uint64_t absurd[1] = {UINT64_MAX};
    CHECK_STATUS(csl_federation_weights(CSL_WEIGHTING_SAMPLES, absurd, 1, weights), CSL_E_RANGE);
}

static void an_update_has_no_negative_zero_and_refuses_what_is_not_finite(void)
{
    csl_federation *federation = make(options_for(CSL_FEDAVG));
    float old[COUNT];
    float new[COUNT];
    float update[COUNT];
    fill(old, COUNT, 1.0);
    fill(new, COUNT, 1.0);
    old[0] = 0.0f;
    new[0] = -0.0f;
    CHECK_OK(csl_federation_update(federation, 0, COUNT, old, new, update));
    CU_ASSERT(!signbit(update[0]));
    for (int i = 1; i < COUNT; i++) {
        CU_ASSERT(update[i] == new[i] - old[i]);
    }
    new[37] = NAN;
    CHECK_STATUS(csl_federation_update(federation, 0, COUNT, old, new, update), CSL_E_DIVERGED);
    CHECK_CONTAINS(csl_error_message(), "coordinate 37");
    new[37] = 3e38f;
    old[37] = -3e38f;
    CHECK_STATUS(csl_federation_update(federation, 30, 10, old + 30, new + 30, update),
                 CSL_E_DIVERGED);
    CHECK_CONTAINS(csl_error_message(), "coordinate 37");
    CHECK_STATUS(csl_federation_update(federation, 30, 11, old, new, update), CSL_E_RANGE);
    csl_federation_destroy(federation);
}

/* Long enough to be written past the caches, from any place of a cache line on. */
static void a_long_update_has_the_same_bits_wherever_it_is_written(void)
{
    enum { LONG = (1 << 18) + 4321, LINE = 16 };
    csl_tensor tensor = {.role = CSL_ROLE_WEIGHT, .count = LONG, .layer_kind = CSL_LAYER_LINEAR};
    csl_federation_options options = options_for(CSL_FEDAVG);
    csl_federation *federation = NULL;
    CHECK_OK(csl_federation_create(&options, &tensor, 1, &federation));
    float *old = malloc(LONG * sizeof *old);
    float *new = malloc(LONG * sizeof *new);
    float *expected = malloc(LONG * sizeof *expected);
    float *place = aligned_alloc(64, (LONG + 3 * LINE) / LINE * LINE * sizeof *place);
    CU_ASSERT_FATAL(old && new &&expected &&place);
    fill(old, LONG, 1.0);
    fill(new, LONG, 1.0);
    for (size_t i = 0; i < LONG; i++) {
        new[i] = i % 7 ? new[i] : old[i]; /* zeros, of either sign */
        expected[i] = new[i] - old[i] == 0.0f ? 0.0f : new[i] - old[i];
    }
    for (size_t shift = 0; shift < LINE; shift++) {
        float *update = place + shift;
        memset(place, 0x5a, (LONG + 2 * LINE) * sizeof *place);
        CHECK_OK(csl_federation_update(federation, 0, LONG, old, new, update));
        CU_ASSERT(same_bits(update, expected, LONG));
        uint32_t behind = 0;
        memcpy(&behind, update + LONG, sizeof behind);
        CHECK_U64(behind, 0x5a5a5a5a);
        const size_t bad[] = {0, 15 - shift, 16, 1023, 1024 + shift, LONG / 2, LONG - 1};
        size_t j = bad[shift % (sizeof bad / sizeof *bad)];
        float kept = new[j];
        char text[64];
        new[j] = shift % 2 ? NAN : -INFINITY;
        snprintf(text, sizeof text, "coordinate %zu", j);
        CHECK_STATUS(csl_federation_update(federation, 0, LONG, old, new, update), CSL_E_DIVERGED);
        CHECK_CONTAINS(csl_error_message(), text);
        new[j] = kept;
    }
    CHECK_OK(csl_federation_update(federation, 0, LONG, old, new, new)); /* in place */
    CU_ASSERT(same_bits(new, expected, LONG));
    free(place);
    free(expected);
    free(new);
    free(old);
    csl_federation_destroy(federation);
}

static void the_batch_norm_policy_decides_what_leaves_and_what_changes(void)
{
    static const csl_treatment expected[3][3] = {
        /* scale, running mean, convolution */
        {CSL_TREAT_STEP, CSL_TREAT_AVERAGE, CSL_TREAT_STEP},
        {CSL_TREAT_KEEP, CSL_TREAT_KEEP, CSL_TREAT_STEP},
        {CSL_TREAT_STEP, CSL_TREAT_KEEP, CSL_TREAT_STEP}};
    static const size_t local_counts[3] = {0, 16, 0};
    for (int policy = 0; policy < 3; policy++) {
        csl_federation_options options = options_for(CSL_FEDADAM);
        options.batch_norm = (csl_batch_norm_policy)policy;
        csl_federation *federation = make(options);
        CHECK_U64(csl_federation_treatment(federation, 21), expected[policy][0]);
        CHECK_U64(csl_federation_treatment(federation, 33), expected[policy][1]);
        CHECK_U64(csl_federation_treatment(federation, 39), expected[policy][2]);
        CHECK_U64(csl_federation_local_count(federation), local_counts[policy]);
        float old[COUNT];
        float new[COUNT];
        float update[COUNT];
        float first[COUNT];
        float second[COUNT];
        fill(old, COUNT, 1.0);
        fill(new, COUNT, 1.0);
        CHECK_OK(csl_federation_update(federation, 0, COUNT, old, new, update));
        float weights[COUNT];
        memcpy(weights, old, sizeof old);
        csl_federation_initial_moments(federation, COUNT, first, second);
        CHECK_OK(csl_federation_apply(federation, 0, COUNT, update, weights, first, second));
        for (size_t i = 0; i < COUNT; i++) {
            csl_treatment treatment = csl_federation_treatment(federation, i);
            if (treatment == CSL_TREAT_KEEP) {
                CU_ASSERT(update[i] == 0.0f && weights[i] == old[i]);
            } else if (treatment == CSL_TREAT_AVERAGE) {
                CU_ASSERT(weights[i] == (float)((double)old[i] + (double)update[i]));
            } else {
                CU_ASSERT(weights[i] != old[i]);
            }
        }
        csl_federation_destroy(federation);
    }
}

static void local_batch_norm_goes_out_and_back_unchanged(void)
{
    csl_federation_options options = options_for(CSL_FEDAVG);
    options.batch_norm = CSL_BATCH_NORM_LOCAL;
    csl_federation *federation = make(options);
    float own[COUNT];
    float global[COUNT];
    float expected[COUNT];
    float local[16];
    fill(own, COUNT, 1.0);
    fill(global, COUNT, 1.0);
    memcpy(expected, global, sizeof expected);
    memcpy(expected + 20, own + 20, 16 * sizeof *own);
    csl_federation_get_local(federation, own, local);
    csl_federation_set_local(federation, local, global);
    CU_ASSERT(same_bits(global, expected, COUNT));
    csl_federation_destroy(federation);
}

static void bad_options_and_gaps_between_tensors_are_refused(void)
{
    csl_federation *federation = NULL;
    csl_federation_options options = options_for(CSL_FEDADAM);
    options.beta2 = 1.0f;
    CHECK_STATUS(csl_federation_create(&options, tensors_, 6, &federation), CSL_E_RANGE);
    options = options_for(CSL_FEDAVG);
    options.server_rate = NAN;
    CHECK_STATUS(csl_federation_create(&options, tensors_, 6, &federation), CSL_E_RANGE);
    options = options_for(CSL_FEDAVG);
    csl_tensor gap[2] = {tensors_[0], tensors_[2]};
    CHECK_STATUS(csl_federation_create(&options, gap, 2, &federation), CSL_E_SHAPE);
    CHECK_CONTAINS(csl_error_message(), "bn.shift");
    CHECK_STATUS(csl_federation_create(&options, gap, 0, &federation), CSL_E_RANGE);
    CU_ASSERT_PTR_NULL(federation);
    csl_federation_destroy(NULL);
}

/* A state with random contents for every section. */
static csl_run_state *random_state(csl_algorithm algorithm)
{
    csl_federation_options options = options_for(algorithm);
    options.batch_norm = CSL_BATCH_NORM_LOCAL;
    csl_federation *federation = make(options);
    float weights[COUNT];
    const uint32_t institutions[3] = {2, 5, 7};
    const size_t optimizer_counts[3] = {0, 11, COUNT};
    fill(weights, COUNT, 1.0);
    csl_run_state *state = NULL;
    CHECK_OK(csl_run_state_create(federation, weights, institutions, 3, optimizer_counts, &state));
    CU_ASSERT_PTR_NOT_NULL_FATAL(state);
    state->round = 17;
    for (uint32_t i = 0; i < csl_run_state_section_count(state); i++) {
        csl_state_section section;
        CHECK_OK(csl_run_state_section(state, i, &section));
        fill(section.values, section.count, 1.0);
    }
    csl_run_state_offer_best(state, 0.75);
    csl_federation_destroy(federation);
    return state;
}

static void the_state_of_a_run_reads_back_from_its_bytes(void)
{
    static const csl_algorithm algorithms[] = {CSL_FEDAVG, CSL_SCAFFOLD, CSL_FEDADAM};
    static const uint32_t section_counts[] = {2 + 3 + 2, 3 + 6 + 2, 4 + 3 + 2};
    for (int k = 0; k < 3; k++) {
        csl_run_state *state = random_state(algorithms[k]);
        CHECK_U64(csl_run_state_section_count(state), section_counts[k]);
        uint8_t *bytes = NULL;
        uint8_t *again = NULL;
        size_t size = 0;
        size_t size_again = 0;
        csl_run_state *read = NULL;
        CHECK_OK(csl_run_state_encode(state, &bytes, &size));
        CHECK_OK(csl_run_state_decode(bytes, size, &read));
        CU_ASSERT_PTR_NOT_NULL_FATAL(read);
        CHECK_U64(read->round, 17);
        CHECK_U64(read->best_round, 17);
        CHECK_NEAR(read->best_score, 0.75, 0.0);
        CHECK_U64(read->institutions[2].institution, 7);
        CHECK_OK(csl_run_state_encode(read, &again, &size_again));
        CHECK_U64(size_again, size);
        CU_ASSERT(size == size_again && memcmp(bytes, again, size) == 0);
        csl_run_state_destroy(state);
        csl_run_state_destroy(read);
        free(bytes);
        free(again);
    }
}

static void a_damaged_state_is_refused(void)
{
    csl_run_state *state = random_state(CSL_SCAFFOLD);
    uint8_t *bytes = NULL;
    size_t size = 0;
    CHECK_OK(csl_run_state_encode(state, &bytes, &size));
    CU_ASSERT_FATAL(bytes && size > 0);
    csl_run_state *read = NULL;
    for (size_t length = 0; length < size; length += 1 + length / 8) {
        CU_ASSERT(csl_run_state_decode(bytes, length, &read) != CSL_OK);
    }
    for (int i = 0; i < 500; i++) {
        size_t bit = csl_test_random() % (size * 8);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CU_ASSERT(csl_run_state_decode(bytes, size, &read) != CSL_OK);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    CU_ASSERT_PTR_NULL(read);
    CHECK_OK(csl_run_state_decode(bytes, size, &read));
    csl_run_state_destroy(read);
    csl_run_state_destroy(state);
    free(bytes);
}

static void the_best_model_is_the_first_of_the_highest_score(void)
{
    csl_run_state *state = random_state(CSL_FEDAVG);
    CU_ASSERT_FALSE(csl_run_state_offer_best(state, 0.75));
    CU_ASSERT_FALSE(csl_run_state_offer_best(state, NAN));
    state->round = 18;
    state->weights[0] += 1.0f;
    CU_ASSERT_FALSE(same_bits(state->weights, state->best_weights, COUNT));
    CU_ASSERT_TRUE(csl_run_state_offer_best(state, 0.76));
    CHECK_U64(state->best_round, 18);
    CU_ASSERT(same_bits(state->weights, state->best_weights, COUNT));
    csl_run_state_destroy(state);
    csl_run_state_destroy(NULL);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"sampling gives different institutions",
         sampling_gives_different_institutions_in_ascending_order},
        {"weights are shares of the images", weights_are_shares_of_the_training_images},
        {"an update has no negative zero",
         an_update_has_no_negative_zero_and_refuses_what_is_not_finite},
        {"a long update has the same bits", a_long_update_has_the_same_bits_wherever_it_is_written},
        {"the batch-norm policy decides",
         the_batch_norm_policy_decides_what_leaves_and_what_changes},
        {"local batch norm goes out and back", local_batch_norm_goes_out_and_back_unchanged},
        {"bad options are refused", bad_options_and_gaps_between_tensors_are_refused},
        {"the state of a run reads back", the_state_of_a_run_reads_back_from_its_bytes},
        {"a damaged state is refused", a_damaged_state_is_refused},
        {"the best model is the first of the highest score",
         the_best_model_is_the_first_of_the_highest_score},
    };
    return csl_test_main("federation", cases, sizeof cases / sizeof *cases);
}
