#include "shared_memory.h"

#include <consilium/distribute.h>

#include <stdlib.h>
#include <string.h>

struct csl_global_vector {
    csl_communicator *communicator;
    csl_sharding sharding;
    csl_shared_memory *shared; /* rank 0's region is the vector; NULL: `values` is our own */
    float *values;
};

static csl_status fill(csl_global_vector *vector, const float *values)
{
    size_t size = vector->sharding.total * sizeof *values;
    bool first = csl_communicator_rank(vector->communicator) == 0;
    if (csl_communicator_size(vector->communicator) > 1) {
        CSL_TRY(csl_shared_memory_create(vector->communicator, first ? size : 0, NULL,
                                         &vector->shared));
    }
    csl_status status = CSL_OK;
    if (vector->shared) {
        vector->values = csl_shared_memory_of(vector->shared, 0);
    } else {
        vector->values = malloc(size ? size : 1);
        status = vector->values
                     ? CSL_OK
                     : csl_fail(CSL_E_NO_MEMORY, "a vector of %zu", vector->sharding.total);
    }
    if (status == CSL_OK && first) {
        memcpy(vector->values, values, size);
    }
    CSL_TRY(csl_agree(vector->communicator, status));
    return vector->shared ? CSL_OK : csl_broadcast(vector->communicator, vector->values, size, 0);
}

csl_status csl_global_vector_create(csl_communicator *communicator,
                                    const csl_sharding *sharding,
                                    const float *values,
                                    csl_global_vector **vector_out)
{
    csl_global_vector *vector = calloc(1, sizeof *vector);
    csl_status status =
        vector ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "a vector of %zu", sharding->total);
    status = csl_agree(communicator, status);
    if (status == CSL_OK) {
        vector->communicator = communicator;
        vector->sharding = *sharding;
        status = fill(vector, values);
    }
    if (status != CSL_OK) {
        csl_global_vector_destroy(vector);
        return status;
    }
    *vector_out = vector;
    return CSL_OK;
}

void csl_global_vector_destroy(csl_global_vector *vector)
{
    if (!vector) {
        return;
    }
    if (!vector->shared) {
        free(vector->values);
    }
    csl_shared_memory_destroy(vector->shared);
    free(vector);
}

float *csl_global_vector_values(const csl_global_vector *vector)
{
    return vector->values;
}

csl_status csl_global_vector_complete(csl_global_vector *vector)
{
    return vector->shared
               ? csl_agree(vector->communicator, CSL_OK)
               : csl_gather_coordinates(vector->communicator, &vector->sharding, vector->values);
}
