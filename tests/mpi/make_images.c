/* make_images POOL.h5 COUNT CLASSES SIZE SEED: small images whose class is the place of a bright
 * spot, in noise; easy to learn in a round or two, so that a test can tell training from chance. */
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

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: make_images POOL.h5 COUNT CLASSES SIZE SEED\n", stderr);
        return 2;
    }
    setenv("CSL_SEED", argv[5], 1);
    uint64_t count = strtoull(argv[2], NULL, 10);
    uint32_t class_count = (uint32_t)strtoul(argv[3], NULL, 10);
    uint32_t size = (uint32_t)strtoul(argv[4], NULL, 10);
    csl_dataset *dataset = NULL;
    csl_shape shape = {.extent = {1, size, size}, .channels = 1};
    csl_task task = class_count == 2 ? CSL_TASK_BINARY : CSL_TASK_MULTICLASS;
    csl_status status = csl_dataset_create(task, shape, CSL_U8, class_count, count, &dataset);
    for (uint64_t i = 0; i < count && status == CSL_OK; i++) {
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
