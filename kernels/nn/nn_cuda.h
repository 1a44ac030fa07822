/* Private to the CUDA files of kernels/nn: sums over the columns of a channels-last tensor. */
#ifndef CSL_NN_CUDA_H
#define CSL_NN_CUDA_H

#include "device/cuda_device.h"

/* out[c] = sum over rows of x [row_count][channels], in float64; uses the scratch memory's start.
 */
csl_status csl_cuda_column_sums(
    csl_device *device, const float *x, size_t row_count, uint32_t channels, float *out);

#endif
