/* The updates of a round in a file, as the rule got them. */
#include "run_internal.h"

#include <consilium/updates.h>

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

/* Row by row to rank 0, which writes. vector: [parameters] on rank 0, elsewhere [own] where rows
 * lie on a card. A failure is remembered, so that nobody waits. */
static csl_status send_rows(csl_federated_run *run, float *vector, csl_updates_writer *writer)
{
    csl_status failed = CSL_OK;
    csl_coordinate_shard shard = csl_shard_of(&run->sharding, run->rank);
    for (uint32_t row = 0; row < run->study->institutions.per_round; row++) {
        const float *own = run->used_rows[row];
        if (csl_collector_device(run->updates)) {
            float *copy = vector + (run->rank == 0 ? shard.begin : 0);
            csl_status copied = csl_device_copy(run->aggregating, copy, own,
                                                shard.count * sizeof *copy, CSL_COPY_TO_HOST);
            failed = failed == CSL_OK ? copied : failed;
            own = copy;
        }
        CSL_TRY(csl_collect_coordinates(run->communicator, &run->sharding, own, vector));
        csl_collector_release(run->updates); /* one row is in memory at a time */
        if (run->rank == 0 && failed == CSL_OK) {
            failed = csl_updates_append(writer, vector);
        }
    }
    return failed;
}

csl_status csl_run_keep_updates(csl_federated_run *run, uint32_t round, const double *weights)
{
    if (!is_kept(run, round)) {
        return CSL_OK;
    }
    size_t count =
        run->rank == 0 ? run->parameter_count : csl_shard_of(&run->sharding, run->rank).count;
    float *vector = malloc(count * sizeof *vector + 1);
    csl_updates_writer *writer = NULL;
    csl_status status = vector ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "updates of round %u", round);
    if (status == CSL_OK && run->rank == 0) {
        status = begin_file(run, round, weights, &writer);
    }
    status = csl_agree(run->communicator, status);
    if (status == CSL_OK) {
        status = send_rows(run, vector, writer);
    }
    if (writer) {
        status = csl_updates_finish(writer, status);
    }
    free(vector);
    return csl_communicator_is_broken(run->communicator) ? status
                                                         : csl_agree(run->communicator, status);
}
