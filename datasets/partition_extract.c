#include <consilium/partition.h>
#include <consilium/random.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Copies chosen rows of an optional array. */
static csl_status
copy_rows(void **target, const void *source, size_t row_size, const uint64_t *rows, uint64_t count)
{
    if (!source) {
        return CSL_OK;
    }
    if (!*target) {
        *target = calloc((size_t)count, row_size);
    }
    if (!*target) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %" PRIu64 " rows of %zu bytes", count,
                        row_size);
    }
    for (uint64_t i = 0; i < count; i++) {
        memcpy((char *)*target + i * row_size, (const char *)source + rows[i] * row_size, row_size);
    }
    return CSL_OK;
}

static csl_status copy_all(const csl_dataset *from, const uint64_t *rows, csl_dataset *to)
{
    uint64_t count = to->count;
    CSL_TRY(copy_rows(&to->images, from->images, csl_dataset_image_size(from), rows, count));
    CSL_TRY(copy_rows((void **)&to->labels, from->labels, sizeof *to->labels, rows, count));
    CSL_TRY(copy_rows((void **)&to->targets, from->targets, from->class_count * sizeof *to->targets,
                      rows, count));
    CSL_TRY(copy_rows((void **)&to->known, from->known, from->class_count, rows, count));
    CSL_TRY(copy_rows((void **)&to->subject, from->subject, sizeof *to->subject, rows, count));
    CSL_TRY(copy_rows((void **)&to->group, from->group, sizeof *to->group, rows, count));
    CSL_TRY(copy_rows((void **)&to->scanner, from->scanner, sizeof *to->scanner, rows, count));
    if (from->class_names) {
        to->class_names = calloc(from->class_count, sizeof *to->class_names);
        if (!to->class_names) {
            return csl_fail(CSL_E_NO_MEMORY, "no memory for class names");
        }
        memcpy(to->class_names, from->class_names, from->class_count * sizeof *to->class_names);
    }
    to->slope = from->slope;
    to->intercept = from->intercept;
    memcpy(to->source_sha256, from->source_sha256, sizeof to->source_sha256);
    return CSL_OK;
}

static double get(const csl_dataset *dataset, size_t i)
{
    switch (dataset->type) {
    case CSL_U8:
        return ((const uint8_t *)dataset->images)[i];
    case CSL_I16:
        return ((const int16_t *)dataset->images)[i];
    case CSL_U16:
        return ((const uint16_t *)dataset->images)[i];
    default:
        return (double)((const float *)dataset->images)[i];
    }
}

static void put(csl_dataset *dataset, size_t i, double value)
{
    double low = dataset->type == CSL_I16 ? -32768.0 : 0.0;
    double high = dataset->type == CSL_U8 ? 255.0 : dataset->type == CSL_I16 ? 32767.0 : 65535.0;
    double rounded = floor(value + 0.5);
    rounded = rounded < low ? low : rounded > high ? high : rounded;
    switch (dataset->type) {
    case CSL_U8:
        ((uint8_t *)dataset->images)[i] = (uint8_t)rounded;
        break;
    case CSL_I16:
        ((int16_t *)dataset->images)[i] = (int16_t)rounded;
        break;
    case CSL_U16:
        ((uint16_t *)dataset->images)[i] = (uint16_t)rounded;
        break;
    default:
        ((float *)dataset->images)[i] = (float)value;
    }
}

/* NIID-Bench's noise: institution i gets a standard deviation of sigma * i / (N - 1) of the range
 * of values (255 for 8 bits, else the span of the images at hand). */
static void add_noise(const csl_partition_plan *plan, uint32_t institution, csl_dataset *dataset)
{
    size_t count = (size_t)dataset->count * csl_shape_count(dataset->shape);
    double low = get(dataset, 0), high = low;
    for (size_t i = 0; i < count && dataset->type != CSL_U8; i++) {
        double value = get(dataset, i);
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    double range = dataset->type == CSL_U8 ? 255.0 : high - low;
    double deviation = plan->options.split.sigma * range * institution /
                       (plan->institution_count > 1 ? plan->institution_count - 1 : 1);
    csl_random random = csl_random_stream(plan->options.seed, CSL_RANDOM_NOISE, 0, institution);
    for (size_t i = 0; i < count && deviation > 0.0; i++) {
        put(dataset, i, get(dataset, i) + deviation * csl_random_normal(&random));
    }
}

csl_status csl_partition_extract(const csl_dataset *dataset,
                                 const csl_partition_plan *plan,
                                 uint32_t institution,
                                 csl_dataset **dataset_out)
{
    if (institution >= plan->institution_count || plan->image_count != dataset->count) {
        return csl_fail(CSL_E_RANGE,
                        "institution %u of %u, plan of %" PRIu64 " images, data set of %" PRIu64,
                        institution, plan->institution_count, plan->image_count, dataset->count);
    }
    uint64_t *rows = calloc((size_t)dataset->count, sizeof *rows);
    if (!rows) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory to extract an institution");
    }
    uint64_t count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (plan->institution[i] == institution) {
            rows[count++] = i;
        }
    }
    csl_dataset *part = NULL;
    csl_status status = csl_dataset_create(dataset->task, dataset->shape, dataset->type,
                                           dataset->class_count, count, &part);
    if (status == CSL_OK) {
        status = copy_all(dataset, rows, part);
        for (uint64_t i = 0; i < count; i++) {
            part->split[i] = plan->split[rows[i]];
        }
        csl_partition_site_name(institution, plan->institution_count, part->site);
    }
    free(rows);
    if (status != CSL_OK) {
        csl_dataset_destroy(part);
        return status;
    }
    if (plan->options.split.scheme == CSL_SPLIT_SCHEME_FEATURE_NOISE) {
        add_noise(plan, institution, part);
    }
    *dataset_out = part;
    return CSL_OK;
}
