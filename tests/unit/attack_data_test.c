/* Attacks on data: what changes, what stays, and that training and testing see the same trigger. */
#include "test_support.h"

#include <consilium/attack.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 9, CHANNELS = 2, CLASSES = 3 };

static uint32_t below(uint32_t bound)
{
    return (uint32_t)(csl_test_random() % bound);
}

/* Random images; the brightest voxel of all is known. */
static csl_dataset *make_dataset(csl_element_type type, uint32_t depth, uint64_t count)
{
    csl_dataset *dataset = NULL;
    csl_shape shape = {{depth, SIDE, SIDE}, CHANNELS};
    CHECK_OK(csl_dataset_create(CSL_TASK_MULTICLASS, shape, type, CLASSES, count, &dataset));
    CU_ASSERT_PTR_NOT_NULL_FATAL(dataset);
    size_t elements = (size_t)count * csl_shape_count(shape);
    for (size_t i = 0; i < elements; i++) {
        int value = (int)below(200);
        switch (type) {
        case CSL_U8:
            ((uint8_t *)dataset->images)[i] = (uint8_t)value;
            break;
        case CSL_I16:
            ((int16_t *)dataset->images)[i] = (int16_t)(value - 300);
            break;
        case CSL_U16:
            ((uint16_t *)dataset->images)[i] = (uint16_t)(value * 100);
            break;
        case CSL_F32:
            ((float *)dataset->images)[i] = (float)(value - 250) / 3;
            break;
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        dataset->labels[i] = (int32_t)below(CLASSES);
        dataset->split[i] = (uint8_t)below(3);
    }
    return dataset;
}

static double voxel(const csl_dataset *dataset, uint64_t image, size_t place)
{
    size_t i = (size_t)image * csl_shape_count(dataset->shape) + place;
    switch (dataset->type) {
    case CSL_U8:
        return ((const uint8_t *)dataset->images)[i];
    case CSL_I16:
        return ((const int16_t *)dataset->images)[i];
    case CSL_U16:
        return ((const uint16_t *)dataset->images)[i];
    case CSL_F32:
        break;
    }
    return (double)((const float *)dataset->images)[i];
}

static double brightest(const csl_dataset *dataset)
{
    double best = -INFINITY;
    for (uint64_t i = 0; i < dataset->count; i++) {
        for (size_t place = 0; place < csl_shape_count(dataset->shape); place++) {
            best = fmax(best, voxel(dataset, i, place));
        }
    }
    return best;
}

/* A copy to compare with afterwards. */
static csl_dataset *copy_of(const csl_dataset *dataset)
{
    csl_dataset *copy = NULL;
    CHECK_OK(csl_dataset_create(dataset->task, dataset->shape, dataset->type, dataset->class_count,
                                dataset->count, &copy));
    memcpy(copy->images, dataset->images, (size_t)dataset->count * csl_dataset_image_size(dataset));
    memcpy(copy->labels, dataset->labels, (size_t)dataset->count * sizeof *copy->labels);
    memcpy(copy->split, dataset->split, (size_t)dataset->count);
    return copy;
}

/* Whether a place of the image lies in the square of `side` one voxel from the far edges. */
static bool in_trigger(csl_shape shape, size_t place, uint32_t side)
{
    uint32_t at[3];
    at[2] = (uint32_t)(place % shape.extent[2]);
    at[1] = (uint32_t)(place / shape.extent[2] % shape.extent[1]);
    at[0] = (uint32_t)(place / shape.extent[2] / shape.extent[1] % shape.extent[0]);
    for (int axis = 0; axis < 3; axis++) {
        uint32_t end = shape.extent[axis] > side ? shape.extent[axis] - 1 : shape.extent[axis];
        uint32_t begin = end > side ? end - side : 0;
        if (at[axis] < begin || at[axis] >= end) {
            return false;
        }
    }
    return true;
}

static bool has_trigger(const csl_dataset *dataset, uint64_t image, uint32_t side, double bright)
{
    for (size_t place = 0; place < csl_shape_count(dataset->shape); place++) {
        if (in_trigger(dataset->shape, place, side) && voxel(dataset, image, place) != bright) {
            return false;
        }
    }
    return true;
}

static bool
same_outside(const csl_dataset *a, uint64_t i, const csl_dataset *b, uint64_t k, uint32_t side)
{
    for (size_t place = 0; place < csl_shape_count(a->shape); place++) {
        if (!in_trigger(a->shape, place, side) && voxel(a, i, place) != voxel(b, k, place)) {
            return false;
        }
    }
    return true;
}

static void only_training_labels_flip(void)
{
    for (int pair = 0; pair < 2; pair++) {
        csl_dataset *dataset = make_dataset(CSL_U8, 1, 60);
        csl_dataset *before = copy_of(dataset);
        csl_poison poison = {.attack =
                                 pair ? CSL_DATA_ATTACK_LABEL_PAIR : CSL_DATA_ATTACK_LABEL_FLIP,
                             .source = 2,
                             .target = 1};
        uint64_t changed = 0;
        uint64_t expected_changes = 0;
        CHECK_OK(csl_poison_training(dataset, &poison, &changed));
        for (uint64_t i = 0; i < dataset->count; i++) {
            int32_t label = before->labels[i];
            int32_t expected = label;
            if (dataset->split[i] == CSL_SPLIT_TRAIN) {
                expected = !pair ? CLASSES - 1 - label : label == 2 ? 1 : label;
            }
            CHECK_U64((uint64_t)dataset->labels[i], (uint64_t)expected);
            expected_changes += expected != label;
        }
        CHECK_U64(changed, expected_changes);
        CU_ASSERT(memcmp(dataset->images, before->images,
                         (size_t)dataset->count * csl_dataset_image_size(dataset)) == 0);
        csl_dataset_destroy(dataset);
        csl_dataset_destroy(before);
    }
}

static void a_backdoor_changes_its_share_of_the_other_classes(void)
{
    static const csl_element_type types[] = {CSL_U8, CSL_I16, CSL_U16, CSL_F32};
    for (int c = 0; c < 4; c++) {
        csl_dataset *dataset = make_dataset(types[c], c == 3 ? 5 : 1, 80);
        csl_dataset *before = copy_of(dataset);
        csl_poison poison = {.attack = CSL_DATA_ATTACK_BACKDOOR,
                             .target = 1,
                             .fraction = 0.3,
                             .trigger_size = 1 + below(SIDE),
                             .seed = csl_test_random()};
        double bright = brightest(dataset);
        uint64_t changed = 0;
        uint64_t victims = 0;
        uint64_t stamped = 0;
        CHECK_OK(csl_poison_training(dataset, &poison, &changed));
        for (uint64_t i = 0; i < dataset->count; i++) {
            bool victim = before->split[i] == CSL_SPLIT_TRAIN && before->labels[i] != 1;
            bool relabelled = dataset->labels[i] != before->labels[i];
            victims += victim;
            stamped += relabelled;
            CU_ASSERT(!relabelled || (victim && dataset->labels[i] == 1));
            CU_ASSERT(!relabelled || has_trigger(dataset, i, poison.trigger_size, bright));
            CU_ASSERT(same_outside(dataset, i, before, i, relabelled ? poison.trigger_size : 0));
        }
        CHECK_U64(changed, stamped);
        CHECK_U64(stamped, (uint64_t)ceil(0.3 * (double)victims));
        csl_dataset_destroy(dataset);
        csl_dataset_destroy(before);
    }
}

static void test_images_carry_the_same_trigger_and_their_true_label(void)
{
    csl_dataset *dataset = make_dataset(CSL_I16, 1, 70);
    csl_poison poison = {.attack = CSL_DATA_ATTACK_BACKDOOR, .target = 2, .trigger_size = 3};
    csl_dataset *triggered = NULL;
    CHECK_OK(csl_poison_test(dataset, &poison, &triggered));
    CU_ASSERT_PTR_NOT_NULL_FATAL(triggered);
    double bright = brightest(dataset);
    uint64_t next = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        if (dataset->split[i] != CSL_SPLIT_TEST || dataset->labels[i] == 2) {
            continue;
        }
        CU_ASSERT_FATAL(next < triggered->count);
        CHECK_U64((uint64_t)triggered->labels[next], (uint64_t)dataset->labels[i]);
        CU_ASSERT(triggered->split[next] == CSL_SPLIT_TEST);
        CU_ASSERT(has_trigger(triggered, next, 3, bright));
        CU_ASSERT(same_outside(triggered, next, dataset, i, 3));
        next++;
    }
    CHECK_U64(triggered->count, next);
    csl_dataset_destroy(triggered);
    for (uint64_t i = 0; i < dataset->count; i++) {
        dataset->labels[i] = 2;
    }
    triggered = dataset;
    CHECK_OK(csl_poison_test(dataset, &poison, &triggered));
    CU_ASSERT_PTR_NULL(triggered);
    csl_dataset_destroy(dataset);
}

static void what_does_not_fit_is_refused(void)
{
    csl_dataset *dataset = make_dataset(CSL_U8, 1, 10);
    csl_dataset *before = copy_of(dataset);
    csl_poison poison = {.attack = CSL_DATA_ATTACK_LABEL_PAIR, .source = 3};
    CHECK_STATUS(csl_poison_training(dataset, &poison, NULL), CSL_E_RANGE);
    poison = (csl_poison){.attack = CSL_DATA_ATTACK_BACKDOOR, .fraction = 1};
    CHECK_STATUS(csl_poison_training(dataset, &poison, NULL), CSL_E_RANGE);
    poison.trigger_size = SIDE + 1;
    CHECK_STATUS(csl_poison_training(dataset, &poison, NULL), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "a trigger of 10 voxels in images of 9 x 9");
    CU_ASSERT(memcmp(dataset->labels, before->labels, 10 * sizeof *dataset->labels) == 0);
    poison = (csl_poison){.attack = CSL_DATA_ATTACK_NONE, .source = 99};
    CHECK_OK(csl_poison_training(dataset, &poison, NULL));
    csl_dataset_destroy(dataset);
    csl_dataset_destroy(before);
    csl_shape shape = {{1, 4, 4}, 1};
    CHECK_OK(csl_dataset_create(CSL_TASK_REGRESSION, shape, CSL_U8, 1, 3, &dataset));
    poison.attack = CSL_DATA_ATTACK_LABEL_FLIP;
    CHECK_STATUS(csl_poison_training(dataset, &poison, NULL), CSL_E_INVALID_ARG);
    csl_dataset_destroy(dataset);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"only training labels flip", only_training_labels_flip},
        {"a backdoor changes its share of the other classes",
         a_backdoor_changes_its_share_of_the_other_classes},
        {"test images carry the same trigger and their true label",
         test_images_carry_the_same_trigger_and_their_true_label},
        {"what does not fit is refused", what_does_not_fit_is_refused},
    };
    return csl_test_main("attack data", cases, sizeof cases / sizeof *cases);
}
