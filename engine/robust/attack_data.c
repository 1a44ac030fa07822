/* Attacks on data: labels that change, and images with a trigger. */
#include <consilium/attack.h>
#include <consilium/random.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

csl_status csl_poison_check(const csl_dataset *dataset, const csl_poison *poison)
{
    if (poison->attack == CSL_DATA_ATTACK_NONE) {
        return CSL_OK;
    }
    bool has_classes = dataset->task == CSL_TASK_BINARY || dataset->task == CSL_TASK_MULTICLASS;
    if (!has_classes || !dataset->labels) {
        return csl_fail(CSL_E_INVALID_ARG,
                        "%s: an attack on labels needs a task with classes, which this is not",
                        dataset->site);
    }
    bool pair = poison->attack == CSL_DATA_ATTACK_LABEL_PAIR;
    bool backdoor = poison->attack == CSL_DATA_ATTACK_BACKDOOR;
    bool bad_source = pair && poison->source >= dataset->class_count;
    if (bad_source || ((pair || backdoor) && poison->target >= dataset->class_count)) {
        return csl_fail(CSL_E_RANGE, "%s: expected a %s class below %u for the attack, found %u",
                        dataset->site, bad_source ? "source" : "target", dataset->class_count,
                        bad_source ? poison->source : poison->target);
    }
    uint32_t least = dataset->shape.extent[1] < dataset->shape.extent[2] ? dataset->shape.extent[1]
                                                                         : dataset->shape.extent[2];
    if (backdoor && (poison->trigger_size == 0 || poison->trigger_size > least)) {
        return csl_fail(CSL_E_RANGE, "%s: a trigger of %u voxels in images of %u x %u",
                        dataset->site, poison->trigger_size, dataset->shape.extent[1],
                        dataset->shape.extent[2]);
    }
    return CSL_OK;
}

/* The brightest raw value of a data set, as the bytes of one element. */
static void find_brightest(const csl_dataset *dataset, void *element_out)
{
    size_t count = (size_t)dataset->count * csl_shape_count(dataset->shape);
    size_t size = csl_element_size(dataset->type);
    const uint8_t *bytes = dataset->images;
    double best = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        double value = 0;
        switch (dataset->type) {
        case CSL_U8:
            value = bytes[i];
            break;
        case CSL_I16:
            value = ((const int16_t *)dataset->images)[i];
            break;
        case CSL_U16:
            value = ((const uint16_t *)dataset->images)[i];
            break;
        case CSL_F32:
            value = (double)((const float *)dataset->images)[i];
            break;
        }
        if (value > best) {
            best = value;
            memcpy(element_out, bytes + i * size, size);
        }
    }
}

/* A square (a cube in 3-D) in the last corner, one voxel from the edges where there is room. */
static void stamp(csl_dataset *dataset, uint64_t image, uint32_t side, const void *element)
{
    const csl_shape *shape = &dataset->shape;
    size_t size = csl_element_size(dataset->type);
    uint32_t begin[3];
    uint32_t end[3];
    for (int axis = 0; axis < 3; axis++) {
        uint32_t extent = shape->extent[axis];
        uint32_t margin = extent > side ? 1 : 0;
        end[axis] = extent - margin;
        begin[axis] = end[axis] > side ? end[axis] - side : 0;
    }
    uint8_t *base = (uint8_t *)dataset->images + image * csl_dataset_image_size(dataset);
    for (uint32_t channel = 0; channel < shape->channels; channel++) {
        for (uint32_t z = begin[0]; z < end[0]; z++) {
            for (uint32_t y = begin[1]; y < end[1]; y++) {
                for (uint32_t x = begin[2]; x < end[2]; x++) {
                    size_t place =
                        (((size_t)channel * shape->extent[0] + z) * shape->extent[1] + y) *
                            shape->extent[2] +
                        x;
                    memcpy(base + place * size, element, size);
                }
            }
        }
    }
}

/* Shared by training and testing, so that both carry the same trigger. */
static bool is_victim(const csl_dataset *dataset, uint64_t i, csl_split split, uint32_t target)
{
    return dataset->split[i] == split && dataset->labels[i] != (int32_t)target;
}

static csl_status plant(csl_dataset *dataset, const csl_poison *poison, uint64_t *changed)
{
    uint64_t *order = malloc((size_t)(dataset->count + 1) * sizeof *order);
    if (!order) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: order of images", dataset->site);
    }
    uint64_t victims = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (is_victim(dataset, i, CSL_SPLIT_TRAIN, poison->target)) {
            order[victims++] = i;
        }
    }
    csl_random random = csl_random_stream(poison->seed, CSL_RANDOM_ADVERSARY, 0, 0);
    csl_random_shuffle(&random, order, victims);
    uint8_t element[8] = {0};
    find_brightest(dataset, element);
    *changed = (uint64_t)ceil(poison->fraction * (double)victims);
    for (uint64_t k = 0; k < *changed; k++) {
        stamp(dataset, order[k], poison->trigger_size, element);
        dataset->labels[order[k]] = (int32_t)poison->target;
    }
    free(order);
    return CSL_OK;
}

csl_status
csl_poison_training(csl_dataset *dataset, const csl_poison *poison, uint64_t *changed_out)
{
    uint64_t changed = 0;
    CSL_TRY(csl_poison_check(dataset, poison));
    if (poison->attack == CSL_DATA_ATTACK_BACKDOOR) {
        CSL_TRY(plant(dataset, poison, &changed));
    }
    bool flip = poison->attack == CSL_DATA_ATTACK_LABEL_FLIP;
    bool pair = poison->attack == CSL_DATA_ATTACK_LABEL_PAIR;
    for (uint64_t i = 0; (flip || pair) && i < dataset->count; i++) {
        int32_t label = dataset->labels[i];
        if (dataset->split[i] != CSL_SPLIT_TRAIN || label < 0 ||
            (pair && label != (int32_t)poison->source)) {
            continue;
        }
        dataset->labels[i] =
            flip ? (int32_t)dataset->class_count - 1 - label : (int32_t)poison->target;
        changed += dataset->labels[i] != label;
    }
    if (changed_out) {
        *changed_out = changed;
    }
    return CSL_OK;
}

csl_status
csl_poison_test(const csl_dataset *dataset, const csl_poison *poison, csl_dataset **triggered_out)
{
    CSL_TRY(csl_poison_check(dataset, poison));
    uint64_t count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        count += is_victim(dataset, i, CSL_SPLIT_TEST, poison->target);
    }
    if (count == 0) {
        *triggered_out = NULL;
        return CSL_OK;
    }
    csl_dataset *triggered = NULL;
    CSL_TRY(csl_dataset_create(dataset->task, dataset->shape, dataset->type, dataset->class_count,
                               count, &triggered));
    memcpy(triggered->site, dataset->site, sizeof triggered->site);
    triggered->slope = dataset->slope;
    triggered->intercept = dataset->intercept;
    size_t size = csl_dataset_image_size(dataset);
    uint8_t element[8] = {0};
    find_brightest(dataset, element);
    uint64_t next = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (!is_victim(dataset, i, CSL_SPLIT_TEST, poison->target)) {
            continue;
        }
        memcpy((uint8_t *)triggered->images + next * size,
               (const uint8_t *)dataset->images + i * size, size);
        triggered->labels[next] = dataset->labels[i];
        triggered->split[next] = CSL_SPLIT_TEST;
        stamp(triggered, next, poison->trigger_size, element);
        next++;
    }
    *triggered_out = triggered;
    return CSL_OK;
}
