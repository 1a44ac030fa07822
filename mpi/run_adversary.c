/* Hostile institutions: poisoned images, what they send, and whether the rule noticed. */
#include "run_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool csl_run_is_attacked(const csl_federated_run *run, uint32_t round)
{
    const csl_study_adversary *adversary = &run->study->adversary;
    bool poisons = adversary->poison.attack != CSL_DATA_ATTACK_NONE;
    return (run->adversary.sends || poisons) && round >= adversary->from_round;
}

csl_status csl_run_poison(csl_federated_run *run, uint32_t round)
{
    const csl_study_adversary *adversary = &run->study->adversary;
    if (adversary->poison.attack == CSL_DATA_ATTACK_NONE || round < adversary->from_round) {
        return CSL_OK;
    }
    for (uint32_t i = 0; i < run->local_count; i++) {
        local_institution *local = &run->locals[i];
        if (local->poisoned || !csl_study_is_hostile(run->study, local->index)) {
            continue;
        }
        csl_poison poison = adversary->poison;
        poison.seed = csl_random_derive(run->study->seed, CSL_RANDOM_ADVERSARY, 0, local->index);
        CSL_TRY(csl_poison_training(local->dataset, &poison, NULL));
        /* A trainer may have counted the labels. */
        csl_run_forget_trainers(run, local);
        local->poisoned = true;
    }
    return CSL_OK;
}

/* Before the first round: the attack may begin in a late one. */
static csl_status check_poison(const csl_federated_run *run)
{
    for (uint32_t i = 0; i < run->local_count; i++) {
        CSL_TRY(csl_poison_check(run->locals[i].dataset, &run->study->adversary.poison));
    }
    return CSL_OK;
}

/* Test images with the trigger; made from what the institution held before it was hostile. */
static csl_status make_triggered(csl_federated_run *run)
{
    const csl_poison *poison = &run->study->adversary.poison;
    for (uint32_t i = 0; i < run->local_count; i++) {
        local_institution *local = &run->locals[i];
        if (local->owner && poison->attack == CSL_DATA_ATTACK_BACKDOOR) {
            CSL_TRY(csl_poison_test(local->dataset, poison, &local->triggered));
        }
    }
    return CSL_OK;
}

csl_status csl_run_open_adversary(csl_federated_run *run)
{
    const csl_study_adversary *study = &run->study->adversary;
    adversary_state *state = &run->adversary;
    state->sends = strcmp(study->spec.attack, "none") != 0;
    CSL_TRY(check_poison(run));
    CSL_TRY(make_triggered(run));
    CSL_TRY(csl_run_poison(run, 1));
    if (!state->sends) {
        return CSL_OK;
    }
    size_t own = csl_shard_of(&run->sharding, run->rank).count;
    uint32_t rows = study->institutions.count;
    state->block = malloc(rows * own * sizeof *state->block + 1);
    state->previous = calloc(own + 1, sizeof *state->previous);
    if (!state->block || !state->previous) {
        return csl_fail(CSL_E_NO_MEMORY, "%u hostile updates of %zu coordinates", rows, own);
    }
    for (uint32_t k = 0; k < rows; k++) {
        state->sent[k] = state->block + k * own;
    }
    return csl_aggregate_memory_create(run->host, own, &state->memory);
}

void csl_run_clear_adversary(csl_federated_run *run)
{
    csl_aggregate_memory_destroy(run->adversary.memory);
    free(run->adversary.block);
    free(run->adversary.previous);
}

csl_status
csl_run_attack(csl_federated_run *run, csl_update_block *block, csl_aggregate_input *input)
{
    adversary_state *state = &run->adversary;
    state->hostile_count = 0;
    state->report = (csl_attack_report){.factor = NAN, .deviation = NAN};
    if (!csl_run_is_attacked(run, block->round)) {
        return CSL_OK;
    }
    for (uint32_t row = 0; row < block->row_count; row++) {
        state->rows[row] = block->rows[row];
        if (csl_study_is_hostile(run->study, block->institutions[row])) {
            state->hostile[state->hostile_count++] = row;
        }
    }
    if (!state->sends || state->hostile_count == 0) {
        return CSL_OK;
    }
    const csl_attack_input attack = {
        .rule = &run->study->aggregation.spec,
        .aggregation = input,
        .hostile = state->hostile,
        .hostile_count = state->hostile_count,
        .previous = state->has_previous ? state->previous : NULL,
        .memory = state->memory,
    };
    CSL_TRY(csl_attack(&run->study->adversary.spec, &attack, state->sent, &state->report));
    for (uint32_t k = 0; k < state->hostile_count; k++) {
        state->rows[state->hostile[k]] = state->sent[k];
    }
    block->rows = state->rows;
    input->rows = state->rows;
    return CSL_OK;
}

void csl_run_judge(csl_federated_run *run, const float *aggregate, uint32_t round)
{
    adversary_state *state = &run->adversary;
    size_t own = csl_shard_of(&run->sharding, run->rank).count;
    if (state->previous) {
        memcpy(state->previous, aggregate, own * sizeof *aggregate);
        state->has_previous = true;
    }
    const csl_aggregate_report *report = run->selection;
    double sums[2] = {0, 0}; /* honest, hostile */
    for (uint32_t row = 0; csl_run_is_attacked(run, round) && row < report->row_count; row++) {
        double weight = report->rows[row].weight;
        bool hostile = csl_study_is_hostile(run->study, report->rows[row].institution);
        sums[hostile] += fabs(weight); /* NaN where the rule picks single coordinates */
        if (isnan(weight)) {
            continue;
        }
        state->hostile_judged += hostile;
        state->honest_judged += !hostile;
        state->hostile_left_out += hostile && weight == 0;
        state->honest_kept += !hostile && weight != 0;
    }
    if (sums[0] + sums[1] > 0) {
        state->hostile_weight_sum += sums[1] / (sums[0] + sums[1]);
        state->weighed_rounds++;
    }
}

double csl_run_selection_accuracy(const csl_federated_run *run)
{
    const adversary_state *state = &run->adversary;
    uint64_t judged = state->hostile_judged + state->honest_judged;
    uint64_t right = state->hostile_left_out + state->honest_kept;
    return judged > 0 ? (double)right / (double)judged : (double)NAN;
}

double csl_run_hostile_weight(const csl_federated_run *run)
{
    const adversary_state *state = &run->adversary;
    return state->weighed_rounds > 0 ? state->hostile_weight_sum / state->weighed_rounds
                                     : (double)NAN;
}

double csl_run_backdoor_success(const csl_federated_run *run)
{
    const adversary_state *state = &run->adversary;
    return state->triggered > 0 ? (double)state->succeeded / (double)state->triggered : (double)NAN;
}

void csl_run_add_attack(const csl_federated_run *run, uint32_t round, csl_event *event)
{
    const adversary_state *state = &run->adversary;
    if (round > 0 && state->sends && state->hostile_count > 0) {
        uint64_t institutions[CSL_ROWS_MAX];
        for (uint32_t k = 0; k < state->hostile_count; k++) {
            institutions[k] = run->sampled[state->hostile[k]];
        }
        csl_event_add_text(event, "attack", run->study->adversary.spec.attack);
        csl_event_add_integers(event, "attackers", institutions, state->hostile_count);
        csl_event_add_number(event, "attack_factor", state->report.factor);
        csl_event_add_number(event, "attack_deviation", state->report.deviation);
    }
    if (run->evaluated && state->triggered > 0) {
        csl_event_add_number(event, "backdoor_success", csl_run_backdoor_success(run));
    }
}

static void add_attack_names(const csl_federated_run *run, csl_text *text)
{
    static const char *const data_attacks[] = {"", "reversed labels",
                                               "labels changed from one class to another",
                                               "training images with a trigger"};
    const csl_study_adversary *adversary = &run->study->adversary;
    if (run->adversary.sends) {
        csl_text_format(text, "attack %s", adversary->spec.attack);
    }
    if (adversary->poison.attack != CSL_DATA_ATTACK_NONE) {
        csl_text_format(text, "%s%s", run->adversary.sends ? " and " : "",
                        data_attacks[adversary->poison.attack]);
    }
}

void csl_run_describe_attackers(const csl_federated_run *run, csl_text *text)
{
    const csl_study_adversary *adversary = &run->study->adversary;
    const csl_aggregate_spec *rule = &run->study->aggregation.spec;
    if (rule->f > 0 || strcmp(rule->rule, "mean") != 0) {
        csl_text_format(text, "Aggregation: ");
        for (uint32_t i = 0; i < rule->pre_count; i++) {
            csl_text_format(text, "%s, then ", rule->pre[i]);
        }
        csl_text_format(text, "%s against f = %u false updates.\n", rule->rule, rule->f);
    }
    if (!csl_run_is_attacked(run, adversary->from_round)) {
        return;
    }
    csl_text_add(text, "Hostile institutions:");
    for (uint32_t i = 0; i < adversary->institutions.count; i++) {
        csl_text_format(text, " %u", adversary->institutions.values[i]);
    }
    csl_text_format(text, ", from round %u, with ", adversary->from_round);
    add_attack_names(run, text);
    csl_text_add(text, ".\n\n");
}

void csl_run_describe_outcome(const csl_federated_run *run, csl_text *text)
{
    const adversary_state *state = &run->adversary;
    if (state->hostile_judged > 0) {
        csl_text_format(text,
                        "\nThe rule left out %llu of %llu hostile updates and %llu of %llu honest "
                        "ones (selection accuracy %.3f).\n"
                        "Hostile updates made up %.3f of the aggregate, in the mean of all "
                        "attacked rounds.\n",
                        (unsigned long long)state->hostile_left_out,
                        (unsigned long long)state->hostile_judged,
                        (unsigned long long)(state->honest_judged - state->honest_kept),
                        (unsigned long long)state->honest_judged, csl_run_selection_accuracy(run),
                        csl_run_hostile_weight(run));
    }
    if (state->triggered > 0) {
        csl_text_format(text,
                        "Backdoor: %lld of %lld test images with the trigger are taken for class "
                        "%u (success rate %.3f).\n",
                        (long long)state->succeeded, (long long)state->triggered,
                        run->study->adversary.poison.target, csl_run_backdoor_success(run));
    }
}
