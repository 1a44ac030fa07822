#include "image_resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double sample_at(const csl_image *image, size_t i)
{
    uint16_t wide;
    if (image->bits == 8) {
        return image->samples[i];
    }
    memcpy(&wide, image->samples + 2 * i, sizeof wide);
    return wide;
}

static void set_sample(const csl_image *image, size_t i, double value)
{
    uint16_t wide = (uint16_t)lround(value);
    if (image->bits == 8) {
        image->samples[i] = (uint8_t)wide;
    } else {
        memcpy(image->samples + 2 * i, &wide, sizeof wide);
    }
}

/* Source pixels that make one target pixel; weights_out [2 * ceil(scale) + 2] sum to 1. */
static uint32_t
weigh(uint32_t source, uint32_t target, uint32_t place, uint32_t *first_out, double *weights_out)
{
    double scale = (double)source / target, support = scale > 1.0 ? scale : 1.0;
    double centre = (place + 0.5) * scale, sum = 0.0;
    double low = floor(centre - support + 0.5), high = floor(centre + support + 0.5);
    uint32_t first = low > 0.0 ? (uint32_t)low : 0;
    uint32_t end = high < (double)source ? (uint32_t)high : source;
    for (uint32_t at = first; at < end; at++) {
        double weight = 1.0 - fabs((at + 0.5 - centre) / support);
        weights_out[at - first] = weight > 0.0 ? weight : 0.0;
        sum += weights_out[at - first];
    }
    for (uint32_t at = first; at < end; at++) {
        weights_out[at - first] /= sum;
    }
    *first_out = first;
    return end - first;
}

/* Rows first: [height][width] becomes float64 [height][target width]. */
static void resize_rows(const csl_image *image, uint32_t width, double *weights, double *rows_out)
{
    uint32_t channels = image->channels;
    for (uint32_t x = 0; x < width; x++) {
        uint32_t first = 0, count = weigh(image->width, width, x, &first, weights);
        for (uint32_t y = 0; y < image->height; y++) {
            for (uint32_t channel = 0; channel < channels; channel++) {
                double sum = 0.0;
                for (uint32_t i = 0; i < count; i++) {
                    size_t at = ((size_t)y * image->width + first + i) * channels + channel;
                    sum += weights[i] * sample_at(image, at);
                }
                rows_out[((size_t)y * width + x) * channels + channel] = sum;
            }
        }
    }
}

static void
resize_columns(const double *rows, uint32_t source_height, const csl_image *target, double *weights)
{
    size_t row_count = (size_t)target->width * target->channels;
    for (uint32_t y = 0; y < target->height; y++) {
        uint32_t first = 0, count = weigh(source_height, target->height, y, &first, weights);
        for (size_t x = 0; x < row_count; x++) {
            double sum = 0.0;
            for (uint32_t i = 0; i < count; i++) {
                sum += weights[i] * rows[(first + i) * row_count + x];
            }
            set_sample(target, y * row_count + x, sum);
        }
    }
}

csl_status csl_image_resize(csl_image *image, uint32_t height, uint32_t width)
{
    if (image->height == height && image->width == width) {
        return CSL_OK;
    }
    csl_image target = *image;
    target.height = height;
    target.width = width;
    CSL_TRY(csl_image_allocate("resized picture", &target));
    uint32_t largest = image->width > image->height ? image->width : image->height;
    double *weights = calloc(2 * (size_t)largest + 4, sizeof *weights);
    double *rows = calloc((size_t)image->height * width * image->channels, sizeof *rows);
    if (weights && rows) {
        resize_rows(image, width, weights, rows);
        resize_columns(rows, image->height, &target, weights);
    }
    bool done = weights && rows;
    free(rows);
    free(weights);
    if (!done) {
        free(target.samples);
        return csl_fail(CSL_E_NO_MEMORY, "no memory to resize %u x %u pixels", image->width,
                        image->height);
    }
    free(image->samples);
    *image = target;
    return CSL_OK;
}

csl_status csl_image_recolour(csl_image *image, uint32_t channels)
{
    if (image->channels == channels) {
        return CSL_OK;
    }
    csl_image target = *image;
    target.channels = channels;
    CSL_TRY(csl_image_allocate("recoloured picture", &target));
    size_t count = (size_t)image->width * image->height;
    for (size_t i = 0; i < count; i++) {
        double grey = 0.0;
        if (channels == 1) {
            grey = 0.299 * sample_at(image, 3 * i) + 0.587 * sample_at(image, 3 * i + 1) +
                   0.114 * sample_at(image, 3 * i + 2);
        } else {
            grey = sample_at(image, i);
        }
        for (size_t channel = 0; channel < channels; channel++) {
            set_sample(&target, i * channels + channel, grey);
        }
    }
    free(image->samples);
    *image = target;
    return CSL_OK;
}
