/* Pictures to another size or number of channels. */
#ifndef CSL_IMAGE_RESIZE_H
#define CSL_IMAGE_RESIZE_H

#include "image_decode.h"

/* Resamples with a triangle filter as wide as a source or a target pixel, whichever is larger
 * (bilinear when enlarging, smoothed when shrinking; Pillow's BILINEAR), rounding to nearest.
 * Replaces the samples. Errors: E_NO_MEMORY. */
CSL_MUST_CHECK csl_status csl_image_resize(csl_image *image, uint32_t height, uint32_t width);
/* Makes grey of RGB by the luma of ITU-R BT.601, or RGB of grey. Replaces the samples. Errors:
 * E_NO_MEMORY. */
CSL_MUST_CHECK csl_status csl_image_recolour(csl_image *image, uint32_t channels);

#endif
