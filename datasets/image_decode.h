/* Pictures as files hold them: PNG and JPEG, told apart by their first bytes. */
#ifndef CSL_IMAGE_DECODE_H
#define CSL_IMAGE_DECODE_H

#include <consilium/status.h>
#include <consilium/types.h>

enum {
    CSL_IMAGE_SIZE_MAX = 1 << 28, /* bytes of a picture's samples, and of its file */
    CSL_IMAGE_SCANS_MAX = 200     /* of a progressive JPEG; each costs a pass over the picture */
};

typedef struct csl_image {
    uint32_t width, height;
    uint32_t channels; /* 1 grey, 3 RGB */
    uint32_t bits;     /* of a sample: 8 or 16, the latter in native byte order */
    uint8_t *samples;  /* [height][width][channels]; NULL if only looked at */
} csl_image;

/* Reads the header alone. where: named in messages. Errors: E_FORMAT (neither PNG nor JPEG,
 * damaged, CMYK, too large), E_NO_MEMORY. */
CSL_MUST_CHECK csl_status csl_image_look(const char *where,
                                         const uint8_t *bytes,
                                         size_t size,
                                         csl_image *image_out);
/* Decodes; samples are owned by the caller (free). Sizes are checked before memory is taken.
 * Errors: as above, also E_FORMAT for what the decoder warns of (data cut short or damaged) and for
 * pixels that are not opaque. */
CSL_MUST_CHECK csl_status csl_image_decode(const char *where,
                                           const uint8_t *bytes,
                                           size_t size,
                                           csl_image *image_out);

/* The two formats; samples are decoded if `decode`. */
CSL_MUST_CHECK csl_status csl_png_read(
    const char *where, const uint8_t *bytes, size_t size, bool decode, csl_image *image_out);
CSL_MUST_CHECK csl_status csl_jpeg_read(
    const char *where, const uint8_t *bytes, size_t size, bool decode, csl_image *image_out);

/* Takes memory for the samples after checking extents and size. Errors: E_FORMAT, E_NO_MEMORY. */
CSL_MUST_CHECK csl_status csl_image_check(const char *where, const csl_image *image);
CSL_MUST_CHECK csl_status csl_image_allocate(const char *where, csl_image *image);

#endif
