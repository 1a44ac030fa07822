/* Area under the ROC curve from ranks, in integers. */
#include <consilium/metrics.h>

#include <math.h>
#include <stdlib.h>

typedef struct scored {
    float score;
    uint8_t positive;
} scored;

static int by_score(const void *a, const void *b)
{
    float left = ((const scored *)a)->score;
    float right = ((const scored *)b)->score;
    return (left > right) - (left < right);
}

/* Twice the number of pairs in which the positive lies above the negative; a tie counts one. */
static uint64_t doubled_pairs(const scored *sorted, uint64_t count)
{
    uint64_t pairs = 0;
    uint64_t negatives_below = 0;
    uint64_t begin = 0;
    while (begin < count) {
        uint64_t positives = 0;
        uint64_t end = begin;
        while (end < count && !(sorted[end].score > sorted[begin].score)) {
            positives += sorted[end++].positive;
        }
        uint64_t negatives = end - begin - positives;
        pairs += positives * (2 * negatives_below + negatives);
        negatives_below += negatives;
        begin = end;
    }
    return pairs;
}

csl_status csl_auc(const float *scores,
                   size_t stride,
                   const uint8_t *positive,
                   const uint8_t *used,
                   uint64_t count,
                   double *auc_out)
{
    scored *sorted = count < SIZE_MAX / 16 ? malloc((count ? count : 1) * sizeof *sorted) : NULL;
    if (!sorted) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory to sort %llu scores",
                        (unsigned long long)count);
    }
    uint64_t used_count = 0;
    uint64_t positives = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!used || used[i]) {
            sorted[used_count++] = (scored){scores[i * stride], positive[i]};
            positives += positive[i];
        }
    }
    qsort(sorted, used_count, sizeof *sorted, by_score);
    uint64_t negatives = used_count - positives;
    *auc_out = positives && negatives ? (double)doubled_pairs(sorted, used_count) /
                                            (2.0 * (double)positives * (double)negatives)
                                      : NAN;
    free(sorted);
    return CSL_OK;
}
