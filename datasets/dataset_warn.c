/* What loads and is well formed, yet trains badly or measures what it should not. */
#include <consilium/files.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct warner {
    csl_finding_report report;
    void *context;
} warner;

__attribute__((format(printf, 2, 3))) static void warn(const warner *to, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    to->report(to->context, false, text);
}

static void warn_of_constants(const csl_dataset *dataset, const warner *to)
{
    size_t size = csl_dataset_image_size(dataset), item = csl_element_size(dataset->type);
    uint64_t count = 0, first = 0;
    for (uint64_t i = 0; i < dataset->count; i++) {
        const char *image = (const char *)dataset->images + i * size;
        if (memcmp(image, image + item, size - item) == 0) {
            first = count++ == 0 ? i : first;
        }
    }
    if (count != 0) {
        warn(to, "%" PRIu64 " of %" PRIu64 " images are constant, image %" PRIu64 " the first",
             count, dataset->count, first);
    }
}

static void warn_of_classes(const csl_dataset *dataset, const warner *to)
{
    uint64_t total[CSL_CLASSES_MAX] = {0}, training[CSL_CLASSES_MAX] = {0};
    uint32_t present = 0;
    for (uint64_t i = 0; dataset->labels && i < dataset->count; i++) {
        total[dataset->labels[i]]++;
        training[dataset->labels[i]] += dataset->split[i] == CSL_SPLIT_TRAIN;
    }
    for (uint32_t k = 0; dataset->labels && k < dataset->class_count; k++) {
        present += total[k] > 0;
        if (total[k] == 0) {
            warn(to, "class %u has no image", k);
        } else if (training[k] == 0) {
            warn(to, "class %u has no image for training", k);
        }
    }
    if (dataset->labels && present < 2) {
        warn(to, "only one class occurs");
    }
}

static void warn_of_splits(const csl_dataset *dataset, const warner *to)
{
    static const char *const names[] = {"training", "validation", "test"};
    for (int split = 0; split < 3; split++) {
        if (csl_dataset_split_count(dataset, (csl_split)split) == 0) {
            warn(to, "no image is for %s", names[split]);
        }
    }
}

/* An image by its content, or by its patient. */
typedef struct image_key {
    uint64_t key, image;
} image_key;

static int compare_keys(const void *left, const void *right)
{
    const image_key *a = left, *b = right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return (a->image > b->image) - (a->image < b->image);
}

/* FNV-1a over words; only equal keys are compared byte by byte. */
static uint64_t content_key(const uint8_t *bytes, size_t size)
{
    uint64_t key = 0xcbf29ce484222325u;
    for (size_t at = 0; at < size; at += sizeof key) {
        uint64_t word = 0;
        memcpy(&word, bytes + at, size - at < sizeof word ? size - at : sizeof word);
        key = (key ^ word) * 0x100000001b3u;
        key ^= key >> 29;
    }
    return key;
}

/* Images that are the same as the one before them in the order of keys. */
static void warn_of_duplicates(const csl_dataset *dataset, image_key *keys, const warner *to)
{
    size_t size = csl_dataset_image_size(dataset);
    const uint8_t *images = dataset->images;
    for (uint64_t i = 0; i < dataset->count; i++) {
        keys[i] = (image_key){content_key(images + i * size, size), i};
    }
    qsort(keys, (size_t)dataset->count, sizeof *keys, compare_keys);
    uint64_t count = 0, across = 0, first = 0, twin = 0;
    for (uint64_t i = 1; i < dataset->count; i++) {
        uint64_t a = keys[i - 1].image, b = keys[i].image;
        if (keys[i].key == keys[i - 1].key &&
            memcmp(images + a * size, images + b * size, size) == 0) {
            first = count == 0 ? a : first;
            twin = count == 0 ? b : twin;
            count++;
            across += dataset->split[a] != dataset->split[b];
        }
    }
    if (count != 0) {
        warn(to,
             "%" PRIu64 " image%s of others, %" PRIu64 " of them in another split, image %" PRIu64
             " of image %" PRIu64 " the first",
             count, count == 1 ? " is a copy" : "s are copies", across, twin, first);
    }
}

/* Where subjects are unknown, groups are what partitions keep together. */
static void warn_of_subjects(const csl_dataset *dataset, image_key *keys, const warner *to)
{
    for (uint64_t i = 0; i < dataset->count; i++) {
        uint64_t key = dataset->subject ? dataset->subject[i] : (uint64_t)dataset->group[i];
        keys[i] = (image_key){key, i};
    }
    qsort(keys, (size_t)dataset->count, sizeof *keys, compare_keys);
    uint64_t count = 0;
    for (uint64_t i = 0, next = 0; i < dataset->count; i = next) {
        bool divided = false;
        for (next = i; next < dataset->count && keys[next].key == keys[i].key; next++) {
            divided = divided || dataset->split[keys[next].image] != dataset->split[keys[i].image];
        }
        count += divided;
    }
    if (count != 0) {
        warn(to, "%" PRIu64 " %s%s images in more than one split", count,
             dataset->subject ? "subject" : "group", count == 1 ? " has" : "s have");
    }
}

csl_status csl_dataset_warn(const csl_dataset *dataset, csl_finding_report report, void *context)
{
    const warner to = {report, context};
    image_key *keys = calloc((size_t)dataset->count, sizeof *keys);
    if (!keys) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory to compare %" PRIu64 " images", dataset->count);
    }
    warn_of_splits(dataset, &to);
    warn_of_classes(dataset, &to);
    warn_of_constants(dataset, &to);
    warn_of_duplicates(dataset, keys, &to);
    if (dataset->subject || dataset->group) {
        warn_of_subjects(dataset, keys, &to);
    }
    free(keys);
    return CSL_OK;
}
