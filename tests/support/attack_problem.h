/* A round with hostile institutions, for the tests of attacks: fresh rows, and the attack on them.
 */
#ifndef CSL_TEST_ATTACK_PROBLEM_H
#define CSL_TEST_ATTACK_PROBLEM_H

#include <consilium/attack.h>
#include <consilium/kernels.h>

typedef struct problem {
    csl_attack_spec spec;
    csl_aggregate_spec rule;
    uint32_t n;
    uint32_t m;
    size_t d;
    uint32_t hostile[CSL_ROWS_MAX]; /* rows */
    uint32_t honest[CSL_ROWS_MAX];
    float *x;        /* [n][d] */
    float *previous; /* [d] or NULL */
    float *out;      /* [m][d] */
    uint32_t round;
    float *kept; /* [n][d] histories that the attack left, written out and read back; or NULL */
    bool has_kept[CSL_ROWS_MAX];
    csl_attack_report report;
} problem;

uint32_t below(uint32_t bound);
/* m hostile rows in random places; honest rows have a common mean of about 0.5 a column. */
problem make_problem(const char *attack, uint32_t n, uint32_t m, size_t d);
problem any_problem(const char *attack);
void free_problem(problem *p);
/* A parameter of the attack. */
void set(problem *p, const char *name, double value);

/* Which of the columns, on what, and how they come. */
typedef struct place {
    const char *resource;
    uint32_t threads;
    size_t begin;
    size_t count;
    csl_aggregate_exchange exchange;
} place;
csl_status attack_at(problem *p, const place *at);
/* All columns on the host with one thread. */
csl_status attack(problem *p);

#endif
