/* Losses with their gradients. The few outputs of a batch are worked out in float64. */
#include "device/kernel_table.h"
#include "nn_host.h"

#include <math.h>

/* One image: returns the loss; dlogits and probabilities may be NULL. */
static double softmax_image(const float *logits,
                            uint32_t label,
                            uint32_t class_count,
                            float scale,
                            float *dlogits,
                            float *probabilities)
{
    double largest = (double)logits[0];
    for (uint32_t k = 1; k < class_count; k++) {
        largest = fmax(largest, (double)logits[k]);
    }
    double sum = 0.0;
    for (uint32_t k = 0; k < class_count; k++) {
        sum += exp((double)logits[k] - largest);
    }
    double loss = log(sum) - ((double)logits[label] - largest);
    for (uint32_t k = 0; (dlogits || probabilities) && k < class_count; k++) {
        double probability = exp((double)logits[k] - largest) / sum;
        if (dlogits) {
            dlogits[k] = (float)((probability - (k == label ? 1.0 : 0.0)) * (double)scale);
        }
        if (probabilities) {
            probabilities[k] = (float)probability;
        }
    }
    return loss;
}

csl_status csl_host_softmax_loss(csl_device *device,
                                 const float *logits,
                                 const int32_t *labels,
                                 uint32_t batch,
                                 uint32_t class_count,
                                 float scale,
                                 float *loss,
                                 float *dlogits,
                                 float *probabilities)
{
    for (uint32_t image = 0; image < batch; image++) {
        if (labels[image] < 0 || (uint32_t)labels[image] >= class_count) {
            return csl_fail(CSL_E_RANGE,
                            "softmax loss: expected labels 0..%u, found %d at image %u",
                            class_count - 1, labels[image], image);
        }
    }
#pragma omp parallel for num_threads(csl_nn_threads(device, (size_t)batch *class_count * 8))       \
    schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        size_t at = (size_t)image * class_count;
        loss[image] = (float)softmax_image(logits + at, (uint32_t)labels[image], class_count, scale,
                                           dlogits ? dlogits + at : NULL,
                                           probabilities ? probabilities + at : NULL);
    }
    return CSL_OK;
}

csl_status csl_host_sigmoid_loss(csl_device *device,
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
#pragma omp parallel for num_threads(csl_nn_threads(device, (size_t)batch *label_count * 8))       \
    schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        double sum = 0.0;
        for (uint32_t k = 0; k < label_count; k++) {
            size_t at = (size_t)image * label_count + k;
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
    return CSL_OK;
}

csl_status csl_host_squared_loss(csl_device *device,
                                 const float *y,
                                 const float *targets,
                                 uint32_t batch,
                                 uint32_t output_count,
                                 float scale,
                                 float *loss,
                                 float *dy)
{
#pragma omp parallel for num_threads(csl_nn_threads(device, (size_t)batch *output_count))          \
    schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        double sum = 0.0;
        for (uint32_t k = 0; k < output_count; k++) {
            size_t at = (size_t)image * output_count + k;
            double error = (double)y[at] - (double)targets[at];
            sum += error * error;
            if (dy) {
                dy[at] = (float)(error * (double)scale);
            }
        }
        loss[image] = (float)(0.5 * sum);
    }
    return CSL_OK;
}
