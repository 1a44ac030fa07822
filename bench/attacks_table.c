#include "attacks_table.h"

#include <consilium/report.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Mean over the seeds of one number of a cell; NaN unless all have it. */
static double mean_of(const csl_attack_table *g, size_t rule, size_t attack, size_t offset)
{
    double sum = 0;
    for (size_t seed = 0; seed < g->seed_count; seed++) {
        const csl_attack_result *r =
            &g->results[(rule * g->attack_count + attack) * g->seed_count + seed];
        const double *value = (const double *)(const void *)((const char *)r + offset);
        sum += strcmp(r->status, "ok") == 0 ? *value : (double)NAN;
    }
    return sum / g->seed_count;
}

static const char *worst_status(const csl_attack_table *g, size_t rule, size_t attack)
{
    for (size_t seed = 0; seed < g->seed_count; seed++) {
        const csl_attack_result *r =
            &g->results[(rule * g->attack_count + attack) * g->seed_count + seed];
        if (strcmp(r->status, "ok") != 0) {
            return r->status;
        }
    }
    return "-";
}

/* The highest value of each column, and the rule that reaches it. */
static void add_best(const csl_attack_table *g, size_t offset, csl_table *table)
{
    char cells[2][CSL_GRID_NAMES_MAX][CSL_NAME_MAX] = {{{0}}};
    const char *best_row[CSL_GRID_NAMES_MAX + 1] = {"best"};
    const char *rule_row[CSL_GRID_NAMES_MAX + 1] = {"by"};
    for (size_t attack = 0; attack < g->attack_count; attack++) {
        double best = -INFINITY;
        size_t by = 0;
        for (size_t rule = 0; rule < g->rule_count; rule++) {
            double value = mean_of(g, rule, attack, offset);
            if (value > best) {
                best = value;
                by = rule;
            }
        }
        snprintf(cells[0][attack], CSL_NAME_MAX, "%.4f", best);
        snprintf(cells[1][attack], CSL_NAME_MAX, "%.63s", isfinite(best) ? g->rules[by] : "-");
        best_row[attack + 1] = cells[0][attack];
        rule_row[attack + 1] = cells[1][attack];
    }
    csl_table_add_rule(table);
    csl_table_add_row(table, best_row);
    csl_table_add_row(table, rule_row);
}

static csl_status
print_table(const csl_attack_table *g, const char *title, size_t offset, bool best)
{
    const char *titles[CSL_GRID_NAMES_MAX + 2] = {"rule"};
    csl_table *table = NULL;
    bool any = false;
    for (size_t attack = 0; attack < g->attack_count; attack++) {
        titles[attack + 1] = g->attacks[attack];
    }
    CSL_TRY(csl_table_create(titles, &table));
    for (size_t rule = 0; rule < g->rule_count; rule++) {
        char cells[CSL_GRID_NAMES_MAX][32];
        const char *row[CSL_GRID_NAMES_MAX + 1] = {g->rules[rule]};
        for (size_t attack = 0; attack < g->attack_count; attack++) {
            double value = mean_of(g, rule, attack, offset);
            any = any || isfinite(value);
            snprintf(cells[attack], sizeof cells[attack], "%.4f", value);
            if (!isfinite(value)) {
                snprintf(cells[attack], sizeof cells[attack], "%s", worst_status(g, rule, attack));
            }
            row[attack + 1] = cells[attack];
        }
        csl_table_add_row(table, row);
    }
    if (best) {
        add_best(g, offset, table);
    }
    csl_text text = {0};
    csl_status status = any ? csl_table_render(table, &text) : CSL_OK;
    if (status == CSL_OK && any) {
        printf("%s\n\n%s\n", title, csl_text_string(&text));
    }
    csl_text_clear(&text);
    csl_table_destroy(table);
    return status;
}

csl_status csl_attack_table_print(const csl_attack_table *g)
{
    printf("%s: f = %u (plain mean: 0), %u seed%s\n\n", g->study, g->f, g->seed_count,
           g->seed_count == 1 ? "" : "s, means over them");
    CSL_TRY(print_table(
        g, "Test AUC of the last global model:", offsetof(csl_attack_result, test_auc), true));
    CSL_TRY(print_table(g, "Test AUC in the round that validation chooses:",
                        offsetof(csl_attack_result, best_auc), true));
    CSL_TRY(print_table(g, "Test accuracy of the last global model:",
                        offsetof(csl_attack_result, test_accuracy), true));
    CSL_TRY(print_table(g, "Updates judged rightly (hostile left out, honest used):",
                        offsetof(csl_attack_result, selection_accuracy), false));
    CSL_TRY(print_table(g, "Share of hostile updates in the aggregate:",
                        offsetof(csl_attack_result, hostile_weight), false));
    CSL_TRY(print_table(g, "Test images with the trigger taken for the target class:",
                        offsetof(csl_attack_result, backdoor_success), false));
    return print_table(g, "Seconds:", offsetof(csl_attack_result, seconds), false);
}
