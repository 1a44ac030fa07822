/* Data set files: what is written comes back, and what is damaged does not. */
#include <consilium/files.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "random_dataset.h"
#include "test_support.h"

static char path_[4096];

static const char *path_to(const char *name)
{
    snprintf(path_, sizeof path_, "%s/%s", csl_test_directory(), name);
    return path_;
}

static void check_same_bytes(const void *left, const void *right, size_t size, const char *what)
{
    bool same = (left == NULL) == (right == NULL) && (!left || memcmp(left, right, size) == 0);
    if (!same) {
        printf("%s differs\n", what);
    }
    CU_ASSERT(same);
}

static void check_same(const csl_dataset *left, const csl_dataset *right)
{
    CHECK_U64(left->count, right->count);
    CHECK_U64(left->class_count, right->class_count);
    CHECK_U64(left->task, right->task);
    CHECK_U64(left->type, right->type);
    CU_ASSERT_STRING_EQUAL(left->site, right->site);
    check_same_bytes(&left->shape, &right->shape, sizeof left->shape, "shape");
    CHECK_NEAR(left->slope, right->slope, 0.0);
    CHECK_NEAR(left->intercept, right->intercept, 0.0);
    size_t count = (size_t)left->count, targets = count * left->class_count;
    check_same_bytes(left->images, right->images, count * csl_dataset_image_size(left), "images");
    check_same_bytes(left->labels, right->labels, count * 4, "labels");
    check_same_bytes(left->targets, right->targets, targets * 4, "targets");
    check_same_bytes(left->known, right->known, targets, "known");
    check_same_bytes(left->split, right->split, count, "split");
    check_same_bytes(left->subject, right->subject, count * 8, "subject");
    check_same_bytes(left->group, right->group, count * 4, "group");
    check_same_bytes(left->scanner, right->scanner, count * 2, "scanner");
    check_same_bytes(left->source_sha256, right->source_sha256, 32, "source_sha256");
    check_same_bytes(left->class_names, right->class_names, left->class_count * CSL_NAME_MAX,
                     "class names");
}

static csl_shape random_shape(bool volume)
{
    csl_shape shape = {{volume ? 2 + (uint32_t)(csl_test_random() % 5) : 1,
                        1 + (uint32_t)(csl_test_random() % 9),
                        1 + (uint32_t)(csl_test_random() % 9)},
                       1 + (uint32_t)(csl_test_random() % 4)};
    return shape;
}

static void every_task_type_and_rank_round_trips(void)
{
    for (int variant = 0; variant < 64; variant++) {
        csl_task task = (csl_task)(variant % 4);
        uint32_t class_count = task == CSL_TASK_BINARY ? 2 : 1 + (uint32_t)(csl_test_random() % 20);
        csl_dataset *written = csl_test_random_dataset(task, random_shape(variant & 32),
                                                       (csl_element_type)(variant / 4 % 4),
                                                       class_count, 1 + csl_test_random() % 40);
        if (variant & 16) {
            csl_test_strip_dataset(written);
        }
        csl_dataset *read = NULL;
        const char *path = path_to("trip.h5");
        CHECK_OK(csl_dataset_write(path, written));
        CHECK_OK(csl_dataset_read(path, &read));
        if (read) {
            check_same(written, read);
        } else {
            printf("%s\n", csl_error_message());
        }
        csl_dataset_destroy(read);
        csl_dataset_destroy(written);
    }
}

static csl_dataset *small(void)
{
    csl_shape shape = {{1, 6, 5}, 1};
    return csl_test_random_dataset(CSL_TASK_BINARY, shape, CSL_U8, 2, 12);
}

static void descriptions_round_trip_and_missing_ones_are_unknown(void)
{
    csl_dataset *dataset = small();
    csl_dataset_metadata *metadata = calloc(2, sizeof *metadata);
    snprintf(metadata->licence, CSL_TEXT_MAX, "CC BY 4.0");
    snprintf(metadata->patient_identity_removed, CSL_TEXT_MAX, "YES");
    CHECK_OK(csl_dataset_write_described(path_to("described.h5"), dataset, metadata));
    csl_dataset *read = NULL;
    CHECK_OK(csl_dataset_read_described(path_, false, &read, &metadata[1]));
    CU_ASSERT_STRING_EQUAL(metadata[1].licence, "CC BY 4.0");
    CU_ASSERT_STRING_EQUAL(metadata[1].patient_identity_removed, "YES");
    CU_ASSERT_STRING_EQUAL(metadata[1].irb_id, "");
    csl_dataset_destroy(read);
    free(metadata);
    csl_dataset_destroy(dataset);
}

static void files_that_identify_patients_are_refused_unless_forced(void)
{
    csl_dataset *dataset = small(), *read = NULL;
    csl_dataset_metadata *metadata = calloc(1, sizeof *metadata);
    snprintf(metadata->patient_identity_removed, CSL_TEXT_MAX, "NO");
    CHECK_OK(csl_dataset_write_described(path_to("identified.h5"), dataset, metadata));
    CHECK_STATUS(csl_dataset_read(path_, &read), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), "patient_identity_removed");
    CU_ASSERT_PTR_NULL(read);
    CHECK_OK(csl_dataset_read_described(path_, true, &read, NULL));
    csl_dataset_destroy(read);
    free(metadata);
    csl_dataset_destroy(dataset);
}

static uint8_t *load(const char *path, size_t *size_out)
{
    FILE *stream = fopen(path, "rb");
    if (!stream) {
        return NULL;
    }
    fseek(stream, 0, SEEK_END);
    *size_out = (size_t)ftell(stream);
    rewind(stream);
    uint8_t *bytes = malloc(*size_out);
    *size_out = bytes ? fread(bytes, 1, *size_out, stream) : 0;
    fclose(stream);
    return bytes;
}

static void store(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *stream = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    CHECK_U64(fwrite(bytes, 1, size, stream), size);
    fclose(stream);
}

/* A damaged file is refused, or the damage lay in bytes that mean nothing. */
static void check_refused_or_same(const char *path, const csl_dataset *original, int *refused)
{
    csl_dataset *read = NULL;
    csl_status status = csl_dataset_read(path, &read);
    if (status == CSL_OK) {
        check_same(original, read);
    } else {
        *refused += 1;
        CHECK_CONTAINS(csl_error_message(), path);
    }
    csl_dataset_destroy(read);
}

static void a_flipped_bit_is_refused_or_means_nothing(void)
{
    csl_dataset *dataset = small();
    CHECK_OK(csl_dataset_write(path_to("whole.h5"), dataset));
    size_t size = 0;
    uint8_t *bytes = load(path_, &size);
    CU_ASSERT_FATAL(bytes && size > 0);
    int refused = 0;
    for (int trial = 0; trial < 400; trial++) {
        size_t position = (size_t)(csl_test_random() % size);
        uint8_t mask = (uint8_t)(1u << (csl_test_random() % 8));
        bytes[position] ^= mask;
        store(path_to("flipped.h5"), bytes, size);
        check_refused_or_same(path_, dataset, &refused);
        bytes[position] ^= mask;
    }
    printf("%d of 400 flipped bits refused, the others harmless\n", refused);
    CU_ASSERT(refused > 40);
    free(bytes);
    csl_dataset_destroy(dataset);
}

static void every_truncation_is_refused(void)
{
    csl_dataset *dataset = small(), *read = NULL;
    CHECK_OK(csl_dataset_write(path_to("whole.h5"), dataset));
    size_t size = 0;
    uint8_t *bytes = load(path_, &size);
    for (size_t cut = 0; cut < size; cut += 1 + (size_t)(csl_test_random() % 97)) {
        store(path_to("cut.h5"), bytes, cut);
        CU_ASSERT(csl_dataset_read(path_, &read) != CSL_OK);
        CU_ASSERT_PTR_NULL_FATAL(read);
    }
    free(bytes);
    csl_dataset_destroy(dataset);
}

static void missing_files_and_folders_are_named(void)
{
    csl_dataset *read = NULL, *dataset = small();
    CHECK_STATUS(csl_dataset_read("/nowhere/at-all.h5", &read), CSL_E_NOT_FOUND);
    CHECK_CONTAINS(csl_error_message(), "/nowhere/at-all.h5");
    CHECK_STATUS(csl_dataset_read(csl_test_directory(), &read), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), "a folder");
    CHECK_STATUS(csl_dataset_write("/nowhere/at-all.h5", dataset), CSL_E_IO);
    CHECK_CONTAINS(csl_error_message(), "/nowhere/at-all.h5");
    csl_dataset_destroy(dataset);
}

static void values_out_of_range_are_not_written(void)
{
    csl_shape shape = {{1, 2, 2}, 1};
    csl_dataset *dataset = csl_test_random_dataset(CSL_TASK_MULTICLASS, shape, CSL_F32, 3, 5);
    const char *path = path_to("never.h5");
    dataset->labels[4] = 3;
    CHECK_STATUS(csl_dataset_write(path, dataset), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "image 4: expected a class in 0..2, found 3");
    dataset->labels[4] = 2;
    dataset->split[1] = 3;
    CHECK_STATUS(csl_dataset_write(path, dataset), CSL_E_RANGE);
    dataset->split[1] = 0;
    uint32_t not_a_number = 0x7fc00000;
    memcpy((float *)dataset->images + 9, &not_a_number, sizeof not_a_number);
    CHECK_STATUS(csl_dataset_write(path, dataset), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "image 2: expected finite values");
    CU_ASSERT(access(path, F_OK) != 0);
    csl_dataset_destroy(dataset);
}

/* RLIMIT_FSIZE makes write(2) fail as a full disk does, at every size up to the whole file's. */
static void a_full_disk_leaves_the_earlier_file_whole(void)
{
    csl_dataset *earlier = small(), *later = small();
    CHECK_OK(csl_dataset_write(path_to("kept.h5"), earlier));
    struct stat info;
    CU_ASSERT_EQUAL_FATAL(stat(path_, &info), 0);
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    int failed = 0;
    for (rlim_t size = 0; size < (rlim_t)info.st_size;
         size += 1 + (rlim_t)(csl_test_random() % 700)) {
        struct rlimit narrow = {size, limit.rlim_max};
        setrlimit(RLIMIT_FSIZE, &narrow);
        failed += csl_dataset_write(path_, later) == CSL_E_IO;
        setrlimit(RLIMIT_FSIZE, &limit);
        CHECK_CONTAINS(csl_error_message(), "File too large");
        csl_dataset *read = NULL;
        CHECK_OK(csl_dataset_read(path_, &read));
        if (read) {
            check_same(earlier, read);
        }
        csl_dataset_destroy(read);
    }
    CU_ASSERT(failed > 5);
    char command[4200];
    snprintf(command, sizeof command, "ls '%s' | grep -q tmp", csl_test_directory());
    CU_ASSERT(system(command) != 0);
    csl_dataset_destroy(earlier);
    csl_dataset_destroy(later);
}

static void equal_content_has_equal_digests_and_any_change_shows(void)
{
    csl_dataset *dataset = small();
    uint8_t before[32], after[32];
    CHECK_OK(csl_dataset_digest(dataset, before));
    CHECK_OK(csl_dataset_digest(dataset, after));
    CU_ASSERT(memcmp(before, after, 32) == 0);
    dataset->scanner[3] ^= 1;
    CHECK_OK(csl_dataset_digest(dataset, after));
    CU_ASSERT(memcmp(before, after, 32) != 0);
    csl_dataset_destroy(dataset);
}

/* Files that once ended the program by a signal, kept as seeds of the fuzz target. */
static void files_that_broke_libhdf5_are_refused(void)
{
    const char *const cases[][2] = {
        {"variable.h5", "attribute class_names: expected text of fixed length"},
        {"cycle.h5", "expected at most 8 levels"},
        {"chunk-too-large.h5", "/images: chunk at image 0: expected 1573008 bytes when unpacked"},
        {"address-too-large.h5", "a damaged or truncated one"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        csl_dataset *read = NULL;
        snprintf(path_, sizeof path_, "%s/tests/fuzz/corpus/dataset/%s", CSL_SOURCE_DIR,
                 cases[i][0]);
        CHECK_STATUS(csl_dataset_read(path_, &read), CSL_E_FORMAT);
        CHECK_CONTAINS(csl_error_message(), cases[i][0]);
        CHECK_CONTAINS(csl_error_message(), cases[i][1]);
        CU_ASSERT_PTR_NULL(read);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every task, type and rank round trips", every_task_type_and_rank_round_trips},
        {"descriptions round trip, missing ones are unknown",
         descriptions_round_trip_and_missing_ones_are_unknown},
        {"files that identify patients are refused unless forced",
         files_that_identify_patients_are_refused_unless_forced},
        {"a flipped bit is refused or means nothing", a_flipped_bit_is_refused_or_means_nothing},
        {"every truncation is refused", every_truncation_is_refused},
        {"missing files and folders are named", missing_files_and_folders_are_named},
        {"values out of range are not written", values_out_of_range_are_not_written},
        {"files that broke libhdf5 are refused", files_that_broke_libhdf5_are_refused},
        {"a full disk leaves the earlier file whole", a_full_disk_leaves_the_earlier_file_whole},
        {"equal content has equal digests, any change shows",
         equal_content_has_equal_digests_and_any_change_shows},
    };
    return csl_test_main("data set files", cases, sizeof cases / sizeof *cases);
}
