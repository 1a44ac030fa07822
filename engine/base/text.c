#include <consilium/text.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for `size` more bytes and the closing zero. */
static bool reserve(csl_text *text, size_t size)
{
    if (text->failed || size > SIZE_MAX / 4 - text->size) {
        text->failed = true;
        return false;
    }
    size_t needed = text->size + size + 1;
    if (needed <= text->capacity) {
        return true;
    }
    size_t capacity = text->capacity < 128 ? 128 : text->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *bytes = realloc(text->bytes, capacity);
    if (!bytes) {
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void csl_text_add_bytes(csl_text *text, const void *bytes, size_t size)
{
    if (reserve(text, size)) {
        if (size > 0) {
            memcpy(text->bytes + text->size, bytes, size);
        }
        text->size += size;
        text->bytes[text->size] = '\0';
    }
}

void csl_text_add(csl_text *text, const char *string)
{
    csl_text_add_bytes(text, string, strlen(string));
}

void csl_text_format(csl_text *text, const char *format, ...)
{
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        text->failed = true;
    } else if (reserve(text, (size_t)length)) {
        vsnprintf(text->bytes + text->size, (size_t)length + 1, format, again);
        text->size += (size_t)length;
    }
    va_end(again);
}

void csl_text_fill(csl_text *text, char character, size_t count)
{
    if (reserve(text, count)) {
        memset(text->bytes + text->size, character, count);
        text->size += count;
        text->bytes[text->size] = '\0';
    }
}

void csl_text_add_double(csl_text *text, double value)
{
    char digits[32];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (isnan(value) || strtod(digits, NULL) == value) {
            break;
        }
    }
    csl_text_add(text, isnan(value) ? "nan" : digits);
}

void csl_text_add_float(csl_text *text, float value)
{
    char digits[32];
    for (int precision = 1; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
        if (isnan(value) || strtof(digits, NULL) == value) {
            break;
        }
    }
    csl_text_add(text, isnan(value) ? "nan" : digits);
}

csl_status csl_text_status(const csl_text *text)
{
    return text->failed ? csl_fail(CSL_E_NO_MEMORY, "no memory for a text of %zu bytes", text->size)
                        : CSL_OK;
}

const char *csl_text_string(const csl_text *text)
{
    return text->bytes ? text->bytes : "";
}

void csl_text_clear(csl_text *text)
{
    free(text->bytes);
    *text = (csl_text){0};
}

/* Bytes that follow a lead byte, and the least code point that needs so many; -1: no lead byte. */
static int utf8_tail(uint8_t lead, uint32_t *least_out)
{
    if (lead < 0x80) {
        *least_out = 0;
        return 0;
    }
    if ((lead & 0xe0) == 0xc0) {
        *least_out = 0x80;
        return 1;
    }
    if ((lead & 0xf0) == 0xe0) {
        *least_out = 0x800;
        return 2;
    }
    *least_out = 0x10000;
    return (lead & 0xf8) == 0xf0 ? 3 : -1;
}

size_t csl_utf8_check(const void *bytes, size_t size)
{
    const uint8_t *source = bytes;
    size_t position = 0;
    while (position < size) {
        uint32_t least;
        int tail = utf8_tail(source[position], &least);
        if (tail < 0 || (size_t)tail >= size - position) {
            return position;
        }
        uint32_t code = tail == 0 ? source[position] : source[position] & (0x3fu >> tail);
        for (int i = 1; i <= tail; i++) {
            uint8_t next = source[position + (size_t)i];
            if ((next & 0xc0) != 0x80) {
                return position;
            }
            code = code << 6 | (next & 0x3fu);
        }
        /* Over-long forms, surrogates and values beyond Unicode have no valid encoding. */
        if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
            return position;
        }
        position += (size_t)tail + 1;
    }
    return size;
}

size_t csl_utf8_width(const char *string)
{
    size_t width = 0;
    for (; *string; string++) {
        width += ((unsigned char)*string & 0xc0) != 0x80;
    }
    return width;
}
