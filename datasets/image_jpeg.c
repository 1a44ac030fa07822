/*
 * JPEG through libjpeg-turbo. What it merely warns of (data cut short, damaged entropy codes) is an
 * error here: half a picture is no sample. libjpeg leaves by longjmp; the functions that call
 * setjmp touch nothing but what their arguments point to.
 */
#include "image_decode.h"

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it */
#include <stdlib.h>

#include <jpeglib.h>

typedef struct jpeg_reader {
    struct jpeg_decompress_struct decompress; /* must be first: callbacks cast to the whole */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    char message[JMSG_LENGTH_MAX];
} jpeg_reader;

static void on_error(j_common_ptr common)
{
    jpeg_reader *reader = (jpeg_reader *)common;
    common->err->format_message(common, reader->message);
    longjmp(reader->escape, 1);
}

static void on_message(j_common_ptr common, int level)
{
    if (level < 0) {
        on_error(common);
    }
}

static void stay_silent(j_common_ptr common)
{
    (void)common;
}

/* Many empty scans make a small file decode for hours (libjpeg-turbo's advice on hostile input). */
static void count_scans(j_common_ptr common)
{
    jpeg_reader *reader = (jpeg_reader *)common;
    if (common->is_decompressor && reader->decompress.input_scan_number > CSL_IMAGE_SCANS_MAX) {
        snprintf(reader->message, sizeof reader->message, "more than %d scans",
                 CSL_IMAGE_SCANS_MAX);
        longjmp(reader->escape, 1);
    }
}

static bool read_header(jpeg_reader *reader, const uint8_t *bytes, size_t size, csl_image *image)
{
    if (setjmp(reader->escape)) {
        return false;
    }
    jpeg_create_decompress(&reader->decompress);
    reader->decompress.progress = &reader->progress;
    jpeg_mem_src(&reader->decompress, bytes, (unsigned long)size);
    jpeg_read_header(&reader->decompress, TRUE);
    image->width = reader->decompress.image_width;
    image->height = reader->decompress.image_height;
    image->bits = 8;
    switch (reader->decompress.jpeg_color_space) {
    case JCS_GRAYSCALE:
        image->channels = 1;
        break;
    case JCS_YCbCr:
    case JCS_RGB:
        image->channels = 3;
        break;
    default:
        image->channels = 0;
        break;
    }
    return true;
}

static bool read_rows(jpeg_reader *reader, const csl_image *image)
{
    if (setjmp(reader->escape)) {
        return false;
    }
    reader->decompress.out_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    reader->decompress.dct_method = JDCT_ISLOW;
    jpeg_start_decompress(&reader->decompress);
    while (reader->decompress.output_scanline < reader->decompress.output_height) {
        JSAMPROW row = image->samples +
                       (size_t)reader->decompress.output_scanline * image->width * image->channels;
        jpeg_read_scanlines(&reader->decompress, &row, 1);
    }
    jpeg_finish_decompress(&reader->decompress);
    return true;
}

csl_status csl_jpeg_read(
    const char *where, const uint8_t *bytes, size_t size, bool decode, csl_image *image_out)
{
    jpeg_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory to decode", where);
    }
    reader->decompress.err = jpeg_std_error(&reader->errors);
    reader->errors.error_exit = on_error;
    reader->errors.emit_message = on_message;
    reader->errors.output_message = stay_silent;
    reader->progress.progress_monitor = count_scans;
    csl_status status = CSL_OK;
    if (!read_header(reader, bytes, size, image_out)) {
        status = csl_fail(CSL_E_FORMAT, "%s: expected a JPEG picture, found: %s", where,
                          reader->message);
    } else if (image_out->channels == 0) {
        status =
            csl_fail(CSL_E_FORMAT, "%s: expected grey or RGB, found another colour space", where);
    } else {
        status = csl_image_check(where, image_out);
    }
    if (status == CSL_OK && decode) {
        status = csl_image_allocate(where, image_out);
        if (status == CSL_OK && !read_rows(reader, image_out)) {
            status = csl_fail(CSL_E_FORMAT, "%s: expected a whole JPEG picture, found: %s", where,
                              reader->message);
        }
    }
    jpeg_destroy_decompress(&reader->decompress);
    free(reader);
    return status;
}
