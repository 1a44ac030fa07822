#include <consilium/train.h>

#include <math.h>

/* Element `index` of an array as stored. */
static double raw_value(const void *values, csl_element_type type, size_t index)
{
    switch (type) {
    case CSL_U8:
        return ((const uint8_t *)values)[index];
    case CSL_I16:
        return ((const int16_t *)values)[index];
    case CSL_U16:
        return ((const uint16_t *)values)[index];
    case CSL_F32:
        return (double)((const float *)values)[index];
    }
    return 0.0;
}

/* Sum over the training images of (value - origin)^power, power 1 or 2, for one channel. */
static double sum_channel(const csl_dataset *dataset, uint32_t channel, double origin, int power)
{
    size_t image_count = csl_shape_count(dataset->shape);
    size_t plane_count = image_count / dataset->shape.channels;
    double total = 0.0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (dataset->split[i] != CSL_SPLIT_TRAIN) {
            continue;
        }
        size_t first = i * image_count + channel * plane_count;
        double sum = 0.0;
        for (size_t k = first; k < first + plane_count; k++) {
            double difference = raw_value(dataset->images, dataset->type, k) - origin;
            sum += power == 1 ? difference : difference * difference;
        }
        total += sum;
    }
    return total;
}

csl_status csl_normalisation_measure(const csl_dataset *dataset,
                                     csl_normalisation *normalisation_out)
{
    uint64_t count = csl_dataset_split_count(dataset, CSL_SPLIT_TRAIN);
    if (count == 0) {
        return csl_fail(CSL_E_RANGE, "data set '%s' has no training images", dataset->site);
    }
    csl_normalisation result = {.channel_count = dataset->shape.channels};
    double plane_count = (double)csl_shape_count(dataset->shape) / dataset->shape.channels;
    for (uint32_t c = 0; c < dataset->shape.channels; c++) {
        double voxels = (double)count * plane_count;
        double mean = sum_channel(dataset, c, 0.0, 1) / voxels;
        double variance = sum_channel(dataset, c, mean, 2) / voxels;
        double deviation = sqrt(variance) * fabs(dataset->slope);
        double value = mean * dataset->slope + dataset->intercept;
        if (!isfinite(value) || !isfinite(deviation)) {
            return csl_fail(CSL_E_RANGE, "data set '%s': channel %u has values that are not finite",
                            dataset->site, c);
        }
        result.mean[c] = (float)value;
        /* A constant channel: what is left are rounding errors. */
        bool is_constant = deviation <= 1e-7 * fabs(value) || (float)deviation == 0.0f;
        result.deviation[c] = is_constant ? 1.0f : (float)deviation;
    }
    *normalisation_out = result;
    return CSL_OK;
}
