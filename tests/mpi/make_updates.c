/* make_updates FILE ROWS COLUMNS SEED: a file of updates as a run leaves it. */
#include <consilium/random.h>
#include <consilium/updates.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: make_updates FILE ROWS COLUMNS SEED\n", stderr);
        return 2;
    }
    uint32_t rows = (uint32_t)strtoul(argv[2], NULL, 10);
    size_t columns = strtoul(argv[3], NULL, 10);
    csl_random stream = csl_random_stream(strtoul(argv[4], NULL, 10), CSL_RANDOM_AGGREGATION, 0, 0);
    double weights[CSL_ROWS_MAX];
    uint32_t institutions[CSL_ROWS_MAX];
    for (uint32_t i = 0; i < rows && i < CSL_ROWS_MAX; i++) {
        weights[i] = 1 + i;
        institutions[i] = 2 * i;
    }
    csl_updates_facts facts = {weights, institutions, 1, "00"};
    csl_updates_writer *writer = NULL;
    float *update = calloc(columns + 1, sizeof *update);
    csl_status status =
        update ? csl_updates_create(argv[1], rows, columns, &facts, &writer) : CSL_E_NO_MEMORY;
    for (uint32_t i = 0; status == CSL_OK && i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            update[j] = (float)(csl_random_normal(&stream) + (i + 2 >= rows ? 2 : 0));
        }
        status = csl_updates_append(writer, update);
    }
    status = writer ? csl_updates_finish(writer, status) : status;
    free(update);
    if (status != CSL_OK) {
        fprintf(stderr, "%s\n", csl_error_message());
    }
    return status == CSL_OK ? 0 : 1;
}
