/* Any number of rows of any length before one rule: for tests of bounds, limits and ties. */
#ifndef CSL_TEST_COUNCIL_H
#define CSL_TEST_COUNCIL_H

#include <consilium/robust.h>

typedef struct council {
    csl_aggregate_spec spec;
    uint32_t n;
    size_t d;
    float *x;        /* [n][d] */
    float *root;     /* [d] */
    double *weights; /* [n], whole numbers from 1 */
    float *out;      /* [d] */
} council;

/* Rows are standard normal, the root too. pre: "a,b" or "". */
council make_council(const char *rule, const char *pre, uint32_t f, uint32_t n, size_t d);
void free_council(council *c);
/* A parameter of the rule. */
void set_parameter(council *c, const char *name, double value);
/* Aggregates into c->out; report_out may be NULL. */
csl_status decide(council *c, csl_aggregate_report **report_out);
/* The largest f that is allowed for n rows, -1 if none is. */
int64_t most_faults(const char *rule, const char *pre, uint32_t n);
/* The oracle's answer [d], to be freed; NaN where it leaves a choice. */
double *ask_oracle(const council *c);
/* The same with distances that are measured so badly (oracle_rows.noise). */
double *ask_noisy_oracle(const council *c, double noise);
/* |out - expected| <= absolute + relative |expected| wherever expected is not NaN. */
void check_close(const council *c, const double *expected, double absolute, double relative);
void say_council(const council *c, const char *what);

#endif
