/* The updates of a round in a file, as the rule got them. */
#include "run_internal.h"

#include <consilium/updates.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_kept(const csl_federated_run *run, uint32_t round)
{
    csl_keep_updates keep = run->study->output.updates;
    return keep == CSL_KEEP_UPDATES_ALL ||
           (keep == CSL_KEEP_UPDATES_LAST && round == run->study->rounds);
}

static csl_status
begin_file(csl_federated_run *run, uint32_t round, const double *weights, csl_updates_writer **out)
{
    char path[CSL_PATH_MAX + 64];
    int length = snprintf(path, CSL_PATH_MAX, "%s/updates", run->directory);
    if (length < 0 || length + 32 >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "%s: the path is too long", run->directory);
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return csl_fail(CSL_E_IO, "folder %s: %s", path, strerror(errno));
    }
    snprintf(path + length, 32, "/round-%06u.h5", round);
    csl_updates_facts facts = {.weights = weights,
                               .institutions = run->sampled,
                               .round = round,
                               .study_sha256 = run->study_sha256};
    return csl_updates_create(path, run->study->institutions.per_round, run->parameter_count,
                              &facts, out);
}

/* Row by row to rank 0, which writes; a failure to write is remembered, so that nobody waits. */
static csl_status
send_rows(csl_federated_run *run, float *vector, uint64_t *parts, csl_updates_writer *writer)
{
    csl_coordinate_shard own = csl_coordinates_of(run->parameter_count, run->rank, run->rank_count);
    csl_status written = CSL_OK;
    for (uint32_t row = 0; row < run->study->institutions.per_round; row++) {
        memcpy(vector + own.begin, run->used_rows[row], own.count * sizeof *vector);
        CSL_TRY(csl_gather(run->communicator, vector, parts));
        if (run->rank == 0 && written == CSL_OK) {
            written = csl_updates_append(writer, vector);
        }
    }
    return written;
}

csl_status csl_run_keep_updates(csl_federated_run *run, uint32_t round, const double *weights)
{
    if (!is_kept(run, round)) {
        return CSL_OK;
    }
    float *vector = malloc(run->parameter_count * sizeof *vector);
    uint64_t *parts = calloc(run->rank_count + 1, sizeof *parts);
    csl_updates_writer *writer = NULL;
    csl_status status =
        vector && parts ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "updates of round %u", round);
    if (status == CSL_OK && run->rank == 0) {
        status = begin_file(run, round, weights, &writer);
    }
    for (uint32_t rank = 0; parts && rank <= run->rank_count; rank++) {
        size_t begin = rank < run->rank_count
                           ? csl_coordinates_of(run->parameter_count, rank, run->rank_count).begin
                           : run->parameter_count;
        parts[rank] = begin * sizeof *vector;
    }
    status = csl_agree(run->communicator, status);
    if (status == CSL_OK) {
        status = send_rows(run, vector, parts, writer);
    }
    if (writer) {
        status = csl_updates_finish(writer, status);
    }
    free(vector);
    free(parts);
    return csl_communicator_is_broken(run->communicator) ? status
                                                         : csl_agree(run->communicator, status);
}

static int is_update_file(const struct dirent *entry)
{
    unsigned round = 0;
    char end[4] = "";
    return sscanf(entry->d_name, "round-%6u.%3s", &round, end) == 2 && strcmp(end, "h5") == 0;
}

void csl_run_forget_updates(const csl_federated_run *run)
{
    char folder[CSL_PATH_MAX + 16];
    snprintf(folder, sizeof folder, "%s/updates", run->directory);
    struct dirent **entries = NULL;
    int found = scandir(folder, &entries, is_update_file, alphasort);
    for (int i = 0; i < found; i++) {
        char path[CSL_PATH_MAX + 320];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        remove(path);
        free(entries[i]);
    }
    free(entries);
}
