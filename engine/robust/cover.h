/* Private to engine/robust: whether few rows cover all pairs that are too far apart. */
#ifndef CSL_COVER_H
#define CSL_COVER_H

#include "aggregation.h"

/* Sets of rows are bits: row i is bit i % 64 of word i / 64. */
enum { CSL_COVER_WORD = 64 };

static inline bool csl_has_row(const uint64_t *rows, uint32_t row)
{
    return rows[row / CSL_COVER_WORD] >> row % CSL_COVER_WORD & 1;
}
static inline void csl_drop_row(uint64_t *rows, uint32_t row)
{
    rows[row / CSL_COVER_WORD] &= ~((uint64_t)1 << row % CSL_COVER_WORD);
}

typedef struct csl_cover csl_cover;
/* For m rows (1 to CSL_ROWS_MAX). work_max: steps of all searches together. Errors: E_NO_MEMORY. */
csl_status csl_cover_create(uint32_t m, uint64_t work_max, csl_cover **cover_out);
void csl_cover_destroy(csl_cover *cover);
/* Words of a set. */
uint32_t csl_cover_words(const csl_cover *cover);
/* A set of all rows, which the caller frees; NULL where there is no memory (message set). */
uint64_t *csl_cover_all(const csl_cover *cover);
/* Pairs with a distance above the limit are too far apart; distance [m][m]. */
void csl_cover_limit(csl_cover *cover, const double *distance, double limit);
/* Takes those that are too far from row i out of the set; returns how many they were. */
uint32_t csl_cover_isolate(const csl_cover *cover, uint32_t row, uint64_t *rows);
/* Whether at most `budget` of these rows can be removed so that no two that are left are too far
 * apart. The answer is exact and the work the same on every machine. Errors: E_RANGE (the work of
 * all calls together passed work_max). */
csl_status
csl_cover_exists(csl_cover *cover, const uint64_t *rows, uint32_t budget, bool *answer_out);

#endif
