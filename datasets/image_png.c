/*
 * PNG through libpng. Samples are taken as stored: no gamma, no colour profile. libpng leaves by
 * longjmp; the functions that call setjmp touch nothing but what their arguments point to, so no
 * local variable can be lost.
 */
#include "image_decode.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deflate never shrinks by more than 1032:1 (zlib's documented limit). */
enum { DEFLATE_RATIO_MAX = 1032, CHUNKS_KEPT_MAX = 64, CHUNK_SIZE_MAX = 1 << 23 };

typedef struct png_reader {
    png_structp png;
    png_infop info;
    const uint8_t *bytes;
    size_t size, at;
    uint64_t stored_row_size; /* before expansion */
    uint32_t channels;        /* after expansion, alpha included */
    uint8_t *row, **rows;
    char message[128];
} png_reader;

static void take_bytes(png_structp png, png_bytep out, size_t count)
{
    png_reader *reader = png_get_io_ptr(png);
    if (count > reader->size - reader->at) {
        png_error(png, "the file ends early");
    }
    memcpy(out, reader->bytes + reader->at, count);
    reader->at += count;
}

static void on_error(png_structp png, png_const_charp message)
{
    png_reader *reader = png_get_error_ptr(png);
    snprintf(reader->message, sizeof reader->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message; /* of ancillary chunks, which are not used */
}

/* Everything before the pixels, expanded to grey or RGB of 8 or 16 bits, perhaps with alpha. */
static bool read_header(png_reader *reader, csl_image *image)
{
    if (setjmp(png_jmpbuf(reader->png))) {
        return false;
    }
    png_set_read_fn(reader->png, reader, take_bytes);
    png_set_user_limits(reader->png, CSL_EXTENT_MAX, CSL_EXTENT_MAX);
    png_set_chunk_cache_max(reader->png, CHUNKS_KEPT_MAX);
    png_set_chunk_malloc_max(reader->png, CHUNK_SIZE_MAX);
    png_read_info(reader->png, reader->info);
    reader->stored_row_size = png_get_rowbytes(reader->png, reader->info);
    image->width = png_get_image_width(reader->png, reader->info);
    image->height = png_get_image_height(reader->png, reader->info);
    png_set_expand(reader->png); /* palettes, fewer than 8 bits, transparent colours */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    png_set_swap(reader->png);
#endif
    png_set_interlace_handling(reader->png);
    png_read_update_info(reader->png, reader->info);
    reader->channels = png_get_channels(reader->png, reader->info);
    image->channels = reader->channels < 3 ? 1 : 3;
    image->bits = png_get_bit_depth(reader->png, reader->info);
    return true;
}

static bool read_rows(png_reader *reader)
{
    if (setjmp(png_jmpbuf(reader->png))) {
        return false;
    }
    png_read_image(reader->png, reader->rows);
    png_read_end(reader->png, NULL);
    return true;
}

/* Drops an alpha channel that hides nothing. */
static csl_status copy_samples(const char *where, const png_reader *reader, const csl_image *image)
{
    size_t size = image->bits / 8, pixel = reader->channels * size;
    size_t kept = image->channels * size;
    size_t count = (size_t)image->width * image->height;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = reader->row + i * pixel;
        for (size_t k = kept; k < pixel; k++) {
            if (from[k] != 0xff) {
                return csl_fail(CSL_E_FORMAT,
                                "%s: pixel %zu of row %zu: expected an opaque one, found a "
                                "transparent one",
                                where, i % image->width, i / image->width);
            }
        }
        memcpy(image->samples + i * kept, from, kept);
    }
    return CSL_OK;
}

static csl_status decode_pixels(const char *where, png_reader *reader, csl_image *image)
{
    size_t row_size = (size_t)image->width * reader->channels * (image->bits / 8);
    reader->row = malloc(row_size * image->height);
    reader->rows = calloc(image->height, sizeof *reader->rows);
    if (!reader->row || !reader->rows) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory for %u rows", where, image->height);
    }
    for (uint32_t y = 0; y < image->height; y++) {
        reader->rows[y] = reader->row + y * row_size;
    }
    if (!read_rows(reader)) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a whole PNG picture, found: %s", where,
                        reader->message);
    }
    CSL_TRY(csl_image_allocate(where, image));
    return copy_samples(where, reader, image);
}

csl_status csl_png_read(
    const char *where, const uint8_t *bytes, size_t size, bool decode, csl_image *image_out)
{
    png_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory to decode", where);
    }
    reader->bytes = bytes;
    reader->size = size;
    reader->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, reader, on_error, on_warning);
    reader->info = reader->png ? png_create_info_struct(reader->png) : NULL;
    csl_status status = CSL_OK;
    if (!reader->info) {
        status = csl_fail(CSL_E_NO_MEMORY, "%s: no memory to decode", where);
    } else if (!read_header(reader, image_out)) {
        status =
            csl_fail(CSL_E_FORMAT, "%s: expected a PNG picture, found: %s", where, reader->message);
    } else {
        status = csl_image_check(where, image_out);
    }
    if (status == CSL_OK &&
        reader->stored_row_size * image_out->height / DEFLATE_RATIO_MAX > size) {
        status = csl_fail(CSL_E_FORMAT, "%s: %zu bytes cannot hold %u x %u pixels", where, size,
                          image_out->width, image_out->height);
    }
    if (status == CSL_OK && decode) {
        status = decode_pixels(where, reader, image_out);
    }
    png_destroy_read_struct(&reader->png, &reader->info, NULL);
    free(reader->rows);
    free(reader->row);
    free(reader);
    return status;
}
