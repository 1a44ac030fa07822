/* A few short rows and their float64 copy, for tests that write a rule down word by word. */
#ifndef CSL_TEST_SMALL_ROWS_H
#define CSL_TEST_SMALL_ROWS_H

#include <consilium/robust.h>

enum { ROWS = 9, COLUMNS = 40, FAULTS = 2, CANDIDATES = 900 };

extern double x_[ROWS][COLUMNS];
extern float rows_[ROWS][COLUMNS];
extern float out_[COLUMNS];
/* Answers that a rule with a draw may give. */
extern double candidates_[CANDIDATES][COLUMNS];
extern int candidate_count_;

/* Fresh rows with something in common, two of them against it. */
void draw_rows(void);
double inner(const double *a, const double *b);
/* out [COLUMNS] = sum of weight[i] x_[i]. */
void combine(const double *weight, double *out);
/* The k-th smallest of n values, n at most ROWS. */
double ranked(const double *values, int n, int k);
csl_aggregate_spec spec_of(const char *rule);
/* Into out_; weights are 1 + i^2. memory: or NULL. */
void run(const csl_aggregate_spec *spec,
         uint32_t round,
         csl_device *device,
         csl_aggregate_memory *memory);
void run_once(const csl_aggregate_spec *spec, uint32_t round);
void check_answer(const double *expected, const char *what);
/* Which of the candidates is the answer; -1: none. */
int candidate(void);
/* Over rounds and seeds: always one of the candidates, and not always the same one. */
void check_candidates(csl_aggregate_spec *spec, const char *what);

#endif
