/* The name a person most likely meant. */
#include <consilium/text.h>

#include <string.h>

/* Longer names are compared by their first bytes. */
enum { COMPARED_SIZE = 64 };

static unsigned char fold(char character)
{
    unsigned char byte = (unsigned char)character;
    if (byte >= 'A' && byte <= 'Z') {
        return (unsigned char)(byte + ('a' - 'A'));
    }
    return byte == '-' ? '_' : byte;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: Damerau-Levenshtein in which no letter moves twice. */
static uint32_t distance(const char *a, const char *b)
{
    uint32_t rows[3][COMPARED_SIZE + 1];
    uint32_t a_size = (uint32_t)strnlen(a, COMPARED_SIZE);
    uint32_t b_size = (uint32_t)strnlen(b, COMPARED_SIZE);
    for (uint32_t j = 0; j <= b_size; j++) {
        rows[0][j] = j;
    }
    for (uint32_t i = 1; i <= a_size; i++) {
        uint32_t *row = rows[i % 3];
        const uint32_t *above = rows[(i + 2) % 3];
        const uint32_t *second_above = rows[(i + 1) % 3];
        row[0] = i;
        for (uint32_t j = 1; j <= b_size; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            row[j] = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + !same);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1])) {
                row[j] = least(row[j], second_above[j - 2] + 1);
            }
        }
    }
    return rows[a_size % 3][b_size];
}

const char *
csl_nearest_name_strided(const char *name, const char *const *first, size_t stride, size_t count)
{
    const char *nearest = NULL;
    uint32_t smallest = 1 + (uint32_t)(strnlen(name, COMPARED_SIZE) / 3);
    for (size_t i = 0; i < count; i++) {
        const char *candidate = *(const char *const *)((const char *)first + i * stride);
        uint32_t found = distance(name, candidate);
        if (found < smallest || (found == smallest && !nearest)) {
            smallest = found;
            nearest = candidate;
        }
    }
    return nearest;
}

const char *csl_nearest_name(const char *name, const char *const *candidates)
{
    size_t count = 0;
    while (candidates[count]) {
        count++;
    }
    return csl_nearest_name_strided(name, candidates, sizeof *candidates, count);
}
