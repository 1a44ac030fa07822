/* The real medical data imports with the published counts. Needs CSL_DATA. */
#include <consilium/files.h>
#include <consilium/import.h>

#include <stdio.h>
#include <stdlib.h>

#include "test_support.h"

static csl_dataset *import(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", csl_test_data_directory(), name);
    csl_dataset *dataset = NULL;
    CHECK_OK(csl_import_npz(path, &dataset));
    if (!dataset) {
        printf("%s\n", csl_error_message());
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(dataset);
    return dataset;
}

static void
check_counts(const csl_dataset *dataset, csl_split split, int32_t label, uint64_t expected)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        count += dataset->split[i] == (uint8_t)split && dataset->labels[i] == label;
    }
    CHECK_U64(count, expected);
}

static void pneumonia_has_its_published_counts(void)
{
    csl_dataset *dataset = import("pneumoniamnist/pneumoniamnist.npz");
    CHECK_U64(dataset->count, 5856);
    CHECK_U64(dataset->shape.extent[0], 1);
    CHECK_U64(dataset->shape.extent[2], 28);
    CHECK_U64(dataset->task, CSL_TASK_BINARY);
    check_counts(dataset, CSL_SPLIT_TRAIN, 0, 1214);
    check_counts(dataset, CSL_SPLIT_TRAIN, 1, 3494);
    check_counts(dataset, CSL_SPLIT_VALIDATION, 1, 389);
    check_counts(dataset, CSL_SPLIT_TEST, 0, 234);
    check_counts(dataset, CSL_SPLIT_TEST, 1, 390);
    csl_dataset_destroy(dataset);
}

static void adrenal_volumes_keep_their_depth(void)
{
    csl_dataset *dataset = import("adrenalmnist3d/adrenalmnist3d.npz");
    CHECK_U64(dataset->count, 1584);
    CHECK_U64(csl_shape_count(dataset->shape), 28 * 28 * 28);
    CHECK_U64(dataset->shape.extent[0], 28);
    check_counts(dataset, CSL_SPLIT_TEST, 1, 69);
    csl_dataset_destroy(dataset);
}

static void blood_cells_are_colour_with_photographs_as_groups(void)
{
    csl_dataset *dataset = import("bccd/bccd28.npz");
    CHECK_U64(dataset->count, 1431);
    CHECK_U64(dataset->shape.channels, 3);
    CHECK_U64(dataset->class_count, 3);
    CU_ASSERT_PTR_NOT_NULL(dataset->group);
    check_counts(dataset, CSL_SPLIT_TRAIN, 2, 209);
    check_counts(dataset, CSL_SPLIT_TEST, 0, 138);
    csl_dataset_destroy(dataset);
}

static void mednist_has_six_classes(void)
{
    csl_dataset *dataset = import("mednist/mednist64.npz");
    CHECK_U64(dataset->count, 1800);
    CHECK_U64(dataset->class_count, 6);
    check_counts(dataset, CSL_SPLIT_TRAIN, 5, 200);
    csl_dataset_destroy(dataset);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"pneumonia has its published counts", pneumonia_has_its_published_counts},
        {"adrenal volumes keep their depth", adrenal_volumes_keep_their_depth},
        {"blood cells are colour, photographs are groups",
         blood_cells_are_colour_with_photographs_as_groups},
        {"mednist has six classes", mednist_has_six_classes},
    };
    if (!csl_test_data_directory()) {
        printf("SKIP: CSL_DATA names no folder\n");
        return 77;
    }
    return csl_test_main("import of real data", cases, sizeof cases / sizeof *cases);
}
