/* What the grid of `consilium bench attacks` found, as tables of rules by attacks. */
#ifndef CSL_BENCH_ATTACKS_TABLE_H
#define CSL_BENCH_ATTACKS_TABLE_H

#include "attacks_cell.h"

enum { CSL_GRID_NAMES_MAX = 24 }; /* rules, attacks or seeds of a grid */

typedef struct csl_attack_table {
    const char *study;
    uint32_t f;
    const char *const *rules;   /* [rule_count] */
    const char *const *attacks; /* [attack_count] */
    uint32_t rule_count;
    uint32_t attack_count;
    uint32_t seed_count;
    const csl_attack_result *results; /* [rules][attacks][seeds] */
} csl_attack_table;

/* Prints means over the seeds on standard output. Errors: E_NO_MEMORY. */
csl_status csl_attack_table_print(const csl_attack_table *g);

#endif
