/* Losses with their gradients. The few outputs of a batch are worked out in float64. */
#include "device/kernel_table.h"
#include "nn_host.h"

#include <math.h>
#include <string.h>

/* One image: returns the loss; dlogits and probabilities may be NULL. */
static double softmax_image(const csl_lane_functions *lanes,
                            const float *logits,
                            uint32_t label,
                            uint32_t class_count,
                            float scale,
                            float *dlogits,
                            float *probabilities)
{
    float largest = lanes->largest(logits, class_count);
    float *kept = probabilities ? probabilities : dlogits;
    double sum = lanes->exponentials(logits, class_count, (double)largest, kept);
    double own = (double)logits[label] - (double)largest;
    if (kept) {
        lanes->finish_softmax(kept, sum, class_count, scale, dlogits, probabilities);
    }
    if (dlogits) {
        dlogits[label] = (float)((exp(own) / sum - 1.0) * (double)scale);
    }
    return log(sum) - own;
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
    const csl_lane_functions *lanes = csl_lanes();
#pragma omp parallel for num_threads(csl_nn_threads(device, (size_t)batch *class_count * 8))       \
    schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        size_t at = (size_t)image * class_count;
        loss[image] = (float)softmax_image(lanes, logits + at, (uint32_t)labels[image], class_count,
                                           scale, dlogits ? dlogits + at : NULL,
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
    const csl_lane_functions *lanes = csl_lanes();
#pragma omp parallel for num_threads(csl_nn_threads(device, (size_t)batch *label_count * 8))       \
    schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        size_t at = (size_t)image * label_count;
        loss[image] = (float)lanes->sigmoid_image(
            logits + at, targets + at, mask ? mask + at : NULL, label_count, scale,
            dlogits ? dlogits + at : NULL, probabilities ? probabilities + at : NULL);
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
    const csl_lane_functions *lanes = csl_lanes();
#pragma omp parallel for num_threads(csl_nn_threads(device, (size_t)batch *output_count))          \
    schedule(static)
    for (uint32_t image = 0; image < batch; image++) {
        size_t at = (size_t)image * output_count;
        loss[image] = (float)lanes->squared_image(y + at, targets + at, output_count, scale,
                                                  dy ? dy + at : NULL);
    }
    return CSL_OK;
}
