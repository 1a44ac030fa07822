/* make_images POOL.h5 COUNT CLASSES SIZE SEED [TASK]: small images whose class is the place of a
 * bright spot, in noise; easy to learn in a round or two, so that a test can tell training from
 * chance. TASK multilabel: every class is there or not, every tenth label is unknown; regression:
 * how far to the right the spot is, and how far to the left; broken: regression whose loss
 * overflows. */
#include "test_support.h"

#include <consilium/files.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void draw(uint8_t *image, uint32_t size, int32_t label, uint32_t class_count)
{
    uint32_t row = (uint32_t)(csl_test_random() % (size - 6));
    uint32_t width = size / class_count;
    uint32_t column = (uint32_t)label * width + (uint32_t)(csl_test_random() % (width - 3));
    for (uint32_t i = 0; i < size * size; i++) {
        image[i] = (uint8_t)(csl_test_random() % 96);
    }
    for (uint32_t y = row; y < row + 5; y++) {
        for (uint32_t x = column; x < column + 4 && x < size; x++) {
            image[y * size + x] = (uint8_t)(140 + csl_test_random() % 80);
        }
    }
}

/* Fills the targets of image i. */
static void draw_targets(csl_dataset *dataset, uint64_t i, uint32_t size, bool broken)
{
    uint32_t count = dataset->class_count;
    uint8_t *image = (uint8_t *)dataset->images + i * size * size;
    float *targets = dataset->targets + i * count;
    if (dataset->task == CSL_TASK_REGRESSION) {
        uint32_t place = (uint32_t)(csl_test_random() % count);
        draw(image, size, (int32_t)place, count);
        for (uint32_t k = 0; k < count; k++) {
            float distance = (float)place / (float)count;
            targets[k] = broken ? 1e30f : k % 2 ? 1 - distance : distance;
        }
        return;
    }
    uint8_t empty[64 * 64];
    for (uint32_t k = 0; k < count; k++) {
        bool there = csl_test_random() % 2;
        targets[k] = there;
        dataset->known[i * count + k] = csl_test_random() % 10 != 0;
        if (k == 0 || there) {
            draw(empty, size, (int32_t)k, count);
        }
        for (uint32_t j = 0; j < size * size; j++) {
            bool spot = there && empty[j] >= 140;
            image[j] = spot || k == 0 ? (spot ? empty[j] : (uint8_t)(empty[j] % 96)) : image[j];
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 6 && argc != 7) {
        fputs("usage: make_images POOL.h5 COUNT CLASSES SIZE SEED [TASK]\n", stderr);
        return 2;
    }
    setenv("CSL_SEED", argv[5], 1);
    uint64_t count = strtoull(argv[2], NULL, 10);
    uint32_t class_count = (uint32_t)strtoul(argv[3], NULL, 10);
    uint32_t size = (uint32_t)strtoul(argv[4], NULL, 10);
    csl_dataset *dataset = NULL;
    csl_shape shape = {.extent = {1, size, size}, .channels = 1};
    const char *name = argc == 7 ? argv[6] : "";
    bool broken = strcmp(name, "broken") == 0;
    csl_task task = strcmp(name, "multilabel") == 0             ? CSL_TASK_MULTILABEL
                    : broken || strcmp(name, "regression") == 0 ? CSL_TASK_REGRESSION
                    : class_count == 2                          ? CSL_TASK_BINARY
                                                                : CSL_TASK_MULTICLASS;
    csl_status status = csl_dataset_create(task, shape, CSL_U8, class_count, count, &dataset);
    if (status == CSL_OK && task == CSL_TASK_MULTILABEL) {
        dataset->known = calloc(count, class_count);
        status = dataset->known && size <= 64 ? CSL_OK : csl_fail(CSL_E_RANGE, "at most 64");
    }
    for (uint64_t i = 0; i < count && status == CSL_OK; i++) {
        if (!dataset->labels) {
            draw_targets(dataset, i, size, broken);
            dataset->split[i] = (uint8_t)(i % 10 < 7 ? 0 : i % 10 < 8 ? 1 : 2);
            continue;
        }
        dataset->labels[i] = (int32_t)(csl_test_random() % class_count);
        dataset->split[i] = (uint8_t)(i % 10 < 7 ? 0 : i % 10 < 8 ? 1 : 2);
        draw((uint8_t *)dataset->images + i * size * size, size, dataset->labels[i], class_count);
    }
    if (status == CSL_OK) {
        dataset->slope = 1.0 / 255;
        status = csl_dataset_write(argv[1], dataset);
    }
    csl_dataset_destroy(dataset);
    if (status != CSL_OK) {
        fprintf(stderr, "make_images: %s\n", csl_error_message());
    }
    return status != CSL_OK;
}
