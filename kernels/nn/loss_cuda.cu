/* Losses with their gradients: one thread per image, in float64, as on the host. */
#include "device/cuda_device.h"

#include <cmath>

static __global__ void softmax_kernel(const float *logits,
                                      const int32_t *labels,
                                      uint32_t batch,
                                      uint32_t class_count,
                                      float scale,
                                      float *loss,
                                      float *dlogits,
                                      float *probabilities)
{
    for (size_t image = csl_cuda_first(); image < batch; image += csl_cuda_step()) {
        const float *row = logits + image * class_count;
        int32_t label = labels[image];
        double largest = (double)row[0];
        for (uint32_t k = 1; k < class_count; k++) {
            largest = fmax(largest, (double)row[k]);
        }
        double sum = 0.0;
        for (uint32_t k = 0; k < class_count; k++) {
            sum += exp((double)row[k] - largest);
        }
        bool known = label >= 0 && (uint32_t)label < class_count;
        double error = log(sum) - ((double)row[known ? label : 0] - largest);
        loss[image] = known ? (float)error : NAN; /* a label out of range shows at once */
        for (uint32_t k = 0; k < class_count; k++) {
            double probability = exp((double)row[k] - largest) / sum;
            if (dlogits) {
                dlogits[image * class_count + k] =
                    (float)((probability - ((int32_t)k == label ? 1.0 : 0.0)) * (double)scale);
            }
            if (probabilities) {
                probabilities[image * class_count + k] = (float)probability;
            }
        }
    }
}

static __global__ void sigmoid_kernel(const float *logits,
                                      const float *targets,
                                      const uint8_t *mask,
                                      uint32_t batch,
                                      uint32_t label_count,
                                      float scale,
                                      float *loss,
                                      float *dlogits,
                                      float *probabilities)
{
    for (size_t image = csl_cuda_first(); image < batch; image += csl_cuda_step()) {
        double sum = 0.0;
        for (uint32_t k = 0; k < label_count; k++) {
            size_t at = image * label_count + k;
            bool known = !mask || mask[at] != 0;
            double logit = (double)logits[at];
            double small = exp(-fabs(logit)); /* never overflows */
            double probability = (logit >= 0.0 ? 1.0 : small) / (1.0 + small);
            if (known) {
                sum += fmax(logit, 0.0) - logit * (double)targets[at] + log1p(small);
            }
            if (dlogits) {
                double error = known ? probability - (double)targets[at] : 0.0;
                dlogits[at] = (float)(error * (double)scale);
            }
            if (probabilities) {
                probabilities[at] = (float)probability;
            }
        }
        loss[image] = (float)sum;
    }
}

static __global__ void squared_kernel(const float *y,
                                      const float *targets,
                                      uint32_t batch,
                                      uint32_t output_count,
                                      float scale,
                                      float *loss,
                                      float *dy)
{
    for (size_t image = csl_cuda_first(); image < batch; image += csl_cuda_step()) {
        double sum = 0.0;
        for (uint32_t k = 0; k < output_count; k++) {
            size_t at = image * output_count + k;
            double error = (double)y[at] - (double)targets[at];
            sum += error * error;
            if (dy) {
                dy[at] = (float)(error * (double)scale);
            }
        }
        loss[image] = (float)(0.5 * sum);
    }
}

csl_status csl_cuda_softmax_loss(csl_device *device,
                                 const float *logits,
                                 const int32_t *labels,
                                 uint32_t batch,
                                 uint32_t class_count,
                                 float scale,
                                 float *loss,
                                 float *dlogits,
                                 float *probabilities)
{
    CSL_LAUNCH(softmax_kernel, csl_cuda_blocks(device, batch), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), logits, labels, batch, class_count, scale, loss, dlogits,
               probabilities);
    return csl_cuda_launched("softmax_loss");
}

csl_status csl_cuda_sigmoid_loss(csl_device *device,
                                 const float *logits,
                                 const float *targets,
                                 const uint8_t *mask,
                                 uint32_t batch,
                                 uint32_t label_count,
                                 float scale,
                                 float *loss,
                                 float *dlogits,
                                 float *probabilities)
{
    CSL_LAUNCH(sigmoid_kernel, csl_cuda_blocks(device, batch), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), logits, targets, mask, batch, label_count, scale, loss,
               dlogits, probabilities);
    return csl_cuda_launched("sigmoid_loss");
}

csl_status csl_cuda_squared_loss(csl_device *device,
                                 const float *y,
                                 const float *targets,
                                 uint32_t batch,
                                 uint32_t output_count,
                                 float scale,
                                 float *loss,
                                 float *dy)
{
    CSL_LAUNCH(squared_kernel, csl_cuda_blocks(device, batch), CSL_CUDA_BLOCK, 0,
               csl_cuda_stream(device), y, targets, batch, output_count, scale, loss, dy);
    return csl_cuda_launched("squared_loss");
}
