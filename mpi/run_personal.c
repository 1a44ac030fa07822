/* FedBN: the model of each institution is the global one with its own batch norm. */
#include "run_internal.h"

#include <consilium/files.h>
#include <consilium/partition.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static csl_status make_folder(const csl_federated_run *run)
{
    char path[CSL_PATH_MAX];
    CSL_TRY(csl_run_path(run, "personal", path));
    return mkdir(path, 0777) == 0 || errno == EEXIST
               ? CSL_OK
               : csl_fail(CSL_E_IO, "folder %s: %s", path, strerror(errno));
}

static csl_status
write_one(const csl_federated_run *run, uint32_t institution, const float *local, float *model)
{
    char site[CSL_NAME_MAX];
    char name[CSL_NAME_MAX + 16];
    char path[CSL_PATH_MAX];
    csl_partition_site_name(institution, run->study->institutions.count, site);
    snprintf(name, sizeof name, "personal/%s.h5", site);
    CSL_TRY(csl_run_path(run, name, path));
    memcpy(model, run->state->weights, run->parameter_count * sizeof *model);
    csl_federation_set_local(run->federation, local, model);
    return csl_model_write(path, run->spec, model, run->study_sha256, run->state->round);
}

/* local: [what stays at an institution]; model: [parameters] on rank 0, else NULL. */
static csl_status write_all(csl_federated_run *run, float *local, float *model)
{
    size_t size = csl_federation_local_count(run->federation) * sizeof *local;
    for (uint32_t i = 0; i < run->study->institutions.count; i++) {
        uint32_t owner = csl_placement_owner(&run->placement, i);
        if (run->rank == owner) {
            memcpy(local, csl_run_local(run, i)->state->local, size);
        }
        CSL_TRY(csl_broadcast(run->communicator, local, size, owner));
        csl_status status = model ? write_one(run, i, local, model) : CSL_OK;
        CSL_TRY(csl_agree(run->communicator, status));
    }
    return CSL_OK;
}

csl_status csl_run_write_personal(csl_federated_run *run)
{
    size_t count = csl_federation_local_count(run->federation);
    if (count == 0) {
        return CSL_OK;
    }
    float *local = malloc(count * sizeof *local);
    float *model = run->rank == 0 ? malloc(run->parameter_count * sizeof *model) : NULL;
    csl_status status = CSL_OK;
    if (!local || (run->rank == 0 && !model)) {
        status = csl_fail(CSL_E_NO_MEMORY, "models of institutions");
    } else if (run->rank == 0) {
        status = make_folder(run);
    }
    status = csl_agree(run->communicator, status);
    status = status == CSL_OK ? write_all(run, local, model) : status;
    free(local);
    free(model);
    return status;
}
