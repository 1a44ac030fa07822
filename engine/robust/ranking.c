/* Rows in order, and the k-th of them: by value, ties by index, NaN last. A total order, so that
 * every way to sort gives the same answer. */
#include "aggregation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct ranked {
    uint64_t key; /* in the order of the values */
    uint32_t index;
} ranked;

/* An integer that orders as the number does; all NaN are one and come last, -0 is 0. */
static uint64_t key_of(double value)
{
    uint64_t bits = 0;
    double number = value + 0.0;
    memcpy(&bits, &number, sizeof bits);
    uint64_t sign = (uint64_t)1 << 63;
    bits = bits & sign ? ~bits : bits | sign;
    return isnan(value) ? UINT64_MAX : bits;
}

static double value_of(uint64_t key)
{
    uint64_t sign = (uint64_t)1 << 63;
    uint64_t bits = key & sign ? key ^ sign : ~key;
    double value = 0;
    memcpy(&value, &bits, sizeof value);
    return key == UINT64_MAX ? (double)NAN : value;
}

/* Merges the ascending runs [0, middle) and [middle, n) of `from`; of equal keys the left first. */
static void merge_ranked(const ranked *from, uint32_t middle, uint32_t n, ranked *to)
{
    const ranked *left = from;
    const ranked *right = from + middle;
    const ranked *left_end = right;
    const ranked *right_end = from + n;
    while (left < left_end && right < right_end) {
        bool second = right->key < left->key;
        *to++ = *(second ? right : left); /* no branch: it could not be predicted */
        left += !second;
        right += second;
    }
    memcpy(to, left, (size_t)(left_end - left) * sizeof *to);
    memcpy(to + (left_end - left), right, (size_t)(right_end - right) * sizeof *to);
}

/* Stable, from runs of one entry; returns which of the two arrays holds the result. */
static const ranked *sort_ranked(ranked *entries, ranked *spare, uint32_t n)
{
    for (uint32_t run = 1; run < n; run *= 2) {
        for (uint32_t at = 0; at < n; at += 2 * run) {
            uint32_t left = n - at;
            uint32_t count = left < 2 * run ? left : 2 * run;
            merge_ranked(entries + at, run < count ? run : count, count, spare + at);
        }
        ranked *other = entries;
        entries = spare;
        spare = other;
    }
    return entries;
}

csl_status csl_rank(const double *score, uint32_t n, uint32_t *order_out)
{
    ranked *entries = malloc(((size_t)n + 1) * 2 * sizeof *entries);
    if (!entries) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory to rank %u rows", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = (ranked){key_of(score[i]), i};
    }
    const ranked *sorted = sort_ranked(entries, entries + n, n);
    for (uint32_t i = 0; i < n; i++) {
        order_out[i] = sorted[i].index;
    }
    free(entries);
    return CSL_OK;
}

/* Moves the keys below `bound` to the front; returns how many they are. */
static uint32_t split(uint64_t *keys, uint32_t n, uint64_t bound)
{
    uint32_t below = 0;
    for (uint32_t i = 0; i < n; i++) { /* no branch here either */
        uint64_t key = keys[i];
        keys[i] = keys[below];
        keys[below] = key;
        below += key < bound;
    }
    return below;
}

static uint64_t middle_of_three(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t low = a < b ? a : b;
    uint64_t high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* Quickselect (Hoare 1961) in three parts, so that many equal keys, which colluders who send the
 * same row bring about, end it. k < n. */
static uint64_t select_key(uint64_t *keys, uint32_t n, uint32_t k)
{
    for (;;) {
        uint64_t pivot = middle_of_three(keys[0], keys[n / 2], keys[n - 1]);
        uint32_t below = split(keys, n, pivot);
        if (k < below) {
            n = below;
            continue;
        }
        keys += below;
        n -= below;
        k -= below;
        uint32_t same = pivot == UINT64_MAX ? n : split(keys, n, pivot + 1);
        if (k < same) {
            return pivot;
        }
        keys += same;
        n -= same;
        k -= same;
    }
}

csl_status csl_order_statistic(const double *values, uint32_t n, uint32_t k, double *value_out)
{
    uint64_t *keys = calloc((size_t)n + 1, sizeof *keys);
    if (!keys) {
        return csl_fail(CSL_E_NO_MEMORY, "aggregation: no memory to rank %u values", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = key_of(values[i]);
    }
    *value_out = value_of(select_key(keys, n, k));
    free(keys);
    return CSL_OK;
}

csl_status csl_least(const double *values, uint32_t n, uint32_t count, bool *least_out)
{
    double last = 0;
    CSL_TRY(csl_order_statistic(values, n, count - 1, &last));
    uint64_t bound = key_of(last);
    uint32_t ties = count;
    for (uint32_t i = 0; i < n; i++) {
        least_out[i] = key_of(values[i]) < bound;
        ties -= least_out[i];
    }
    for (uint32_t i = 0; i < n && ties > 0; i++) {
        if (key_of(values[i]) == bound) {
            least_out[i] = true;
            ties--;
        }
    }
    return CSL_OK;
}

csl_status csl_median(const double *values, uint32_t n, double *median_out)
{
    double low = 0;
    double high = 0;
    CSL_TRY(csl_order_statistic(values, n, (n - 1) / 2, &low));
    CSL_TRY(csl_order_statistic(values, n, n / 2, &high));
    *median_out = low == high ? low : (low + high) / 2;
    return CSL_OK;
}
