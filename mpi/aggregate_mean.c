/* The rule of a federation that trusts its institutions. */
#include <consilium/distribute.h>
#include <consilium/kernels.h>

csl_status csl_aggregate_mean(void *context, const csl_update_block *block, float *aggregate_out)
{
    if (block->shard.count == 0) {
        return CSL_OK;
    }
    csl_device *device = context;
    return csl_device_kernels(device)->row_weighted_mean(device, block->rows, block->weights,
                                                         block->row_count, block->shard.count,
                                                         aggregate_out, NULL);
}
