#include <consilium/files.h>
#include <consilium/hash.h>

#include <string.h>

/* Values go in as little-endian bytes; big-endian machines are refused at build time. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "arrays are hashed as they lie in memory");

typedef struct piece {
    const void *bytes;
    size_t size;
} piece;

/* Absent arrays count as empty; every piece is preceded by its size, so pieces cannot run together.
 */
static csl_status update(csl_hash *hash, const piece *pieces, size_t piece_count)
{
    for (size_t i = 0; i < piece_count; i++) {
        uint64_t size = pieces[i].bytes ? pieces[i].size : 0;
        CSL_TRY(csl_hash_update(hash, &size, sizeof size));
        if (size != 0) {
            CSL_TRY(csl_hash_update(hash, pieces[i].bytes, size));
        }
    }
    return CSL_OK;
}

csl_status csl_dataset_digest(const csl_dataset *dataset, uint8_t digest_out[32])
{
    uint64_t head[9] = {
        (uint64_t)dataset->task,  dataset->class_count,     dataset->shape.extent[0],
        dataset->shape.extent[1], dataset->shape.extent[2], dataset->shape.channels,
        (uint64_t)dataset->type,  dataset->count,           dataset->class_names != NULL};
    double scale[2] = {dataset->slope, dataset->intercept};
    size_t count = (size_t)dataset->count;
    size_t targets = count * dataset->class_count;
    const piece pieces[] = {
        {head, sizeof head},
        {scale, sizeof scale},
        {dataset->images, count * csl_dataset_image_size(dataset)},
        {dataset->labels, count * sizeof *dataset->labels},
        {dataset->targets, targets * sizeof *dataset->targets},
        {dataset->known, targets},
        {dataset->split, count},
        {dataset->subject, count * sizeof *dataset->subject},
        {dataset->group, count * sizeof *dataset->group},
        {dataset->scanner, count * sizeof *dataset->scanner},
    };
    csl_hash *hash = NULL;
    CSL_TRY(csl_hash_create(&hash));
    csl_status status = update(hash, pieces, sizeof pieces / sizeof *pieces);
    for (uint32_t i = 0; status == CSL_OK && dataset->class_names && i < dataset->class_count;
         i++) {
        piece name = {dataset->class_names[i], strnlen(dataset->class_names[i], CSL_NAME_MAX)};
        status = update(hash, &name, 1);
    }
    if (status == CSL_OK) {
        piece site = {dataset->site, strnlen(dataset->site, CSL_NAME_MAX)};
        status = update(hash, &site, 1);
    }
    if (status == CSL_OK) {
        status = csl_hash_finish(hash, digest_out);
    }
    csl_hash_destroy(hash);
    return status;
}
