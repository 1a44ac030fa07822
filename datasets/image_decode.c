#include "image_decode.h"

#include <stdlib.h>
#include <string.h>

csl_status csl_image_check(const char *where, const csl_image *image)
{
    if (image->width == 0 || image->height == 0 || image->width > CSL_EXTENT_MAX ||
        image->height > CSL_EXTENT_MAX ||
        (uint64_t)image->width * image->height * 4 * (image->bits / 8) > CSL_IMAGE_SIZE_MAX) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected a picture of at most %d bytes, found %u x %u pixels", where,
                        CSL_IMAGE_SIZE_MAX, image->width, image->height);
    }
    return CSL_OK;
}

csl_status csl_image_allocate(const char *where, csl_image *image)
{
    CSL_TRY(csl_image_check(where, image));
    size_t size = (size_t)image->width * image->height * image->channels * (image->bits / 8);
    image->samples = malloc(size);
    return image->samples ? CSL_OK
                          : csl_fail(CSL_E_NO_MEMORY, "%s: no memory for %zu bytes", where, size);
}

static csl_status
read_image(const char *where, const uint8_t *bytes, size_t size, bool decode, csl_image *image_out)
{
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t jpeg[3] = {0xff, 0xd8, 0xff};
    csl_image image = {0};
    csl_status status;
    if (size >= sizeof png && memcmp(bytes, png, sizeof png) == 0) {
        status = csl_png_read(where, bytes, size, decode, &image);
    } else if (size >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0) {
        status = csl_jpeg_read(where, bytes, size, decode, &image);
    } else {
        status = csl_fail(CSL_E_FORMAT, "%s: expected a PNG or JPEG picture, found %s", where,
                          size == 0 ? "an empty file" : "other bytes");
    }
    if (status != CSL_OK) {
        free(image.samples);
        return status;
    }
    *image_out = image;
    return CSL_OK;
}

csl_status
csl_image_look(const char *where, const uint8_t *bytes, size_t size, csl_image *image_out)
{
    return read_image(where, bytes, size, false, image_out);
}

csl_status
csl_image_decode(const char *where, const uint8_t *bytes, size_t size, csl_image *image_out)
{
    return read_image(where, bytes, size, true, image_out);
}
