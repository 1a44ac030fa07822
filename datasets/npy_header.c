#include "npy_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A walk over the header's text, a Python dictionary of three keys. */
typedef struct npy_walk {
    const char *at, *end;
} npy_walk;

static void skip_spaces(npy_walk *walk)
{
    while (walk->at < walk->end && (*walk->at == ' ' || *walk->at == '\n' || *walk->at == '\t')) {
        walk->at++;
    }
}

static bool take(npy_walk *walk, const char *text)
{
    skip_spaces(walk);
    size_t length = strlen(text);
    if ((size_t)(walk->end - walk->at) < length || memcmp(walk->at, text, length) != 0) {
        return false;
    }
    walk->at += length;
    return true;
}

/* A quoted word of at most capacity - 1 bytes. */
static bool take_word(npy_walk *walk, char *word_out, size_t capacity)
{
    skip_spaces(walk);
    if (walk->at >= walk->end || (*walk->at != '\'' && *walk->at != '"')) {
        return false;
    }
    char quote = *walk->at++;
    size_t length = 0;
    while (walk->at < walk->end && *walk->at != quote && length + 1 < capacity) {
        word_out[length++] = *walk->at++;
    }
    word_out[length] = 0;
    return walk->at < walk->end && *walk->at++ == quote;
}

static bool take_number(npy_walk *walk, uint64_t *value_out)
{
    skip_spaces(walk);
    uint64_t value = 0;
    const char *start = walk->at;
    while (walk->at < walk->end && *walk->at >= '0' && *walk->at <= '9' && walk->at - start < 18) {
        value = value * 10 + (uint64_t)(*walk->at++ - '0');
    }
    *value_out = value;
    return walk->at != start;
}

static csl_status
take_type(npy_walk *walk, const char *where, const char *accepted, csl_npy_header *header)
{
    char word[16] = "";
    if (!take_word(walk, word, sizeof word)) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a simple element type, found a structured one",
                        where);
    }
    if (strchr(word, 'O')) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected numbers, found pickled objects (type '%s'), which "
                        "could run code",
                        where, word);
    }
    size_t length = strlen(word);
    bool order = word[0] == '<' || word[0] == '|' || (word[0] == '=' && length == 3);
    bool known = length == 3 && order && strchr("uif", word[1]) && strchr("1248", word[2]) &&
                 !(word[1] == 'f' && word[2] < '4') && !(word[0] == '|' && word[2] != '1');
    if (!known) {
        return csl_fail(CSL_E_FORMAT, "%s: expected %s, little-endian, found '%s'", where, accepted,
                        word);
    }
    header->kind = word[1];
    header->item_size = (uint32_t)(word[2] - '0');
    return CSL_OK;
}

/* Bytes of what stands in the parentheses at `text`, for a message. */
static int shown_size(const char *text, const char *end)
{
    int size = 0;
    while (text + size < end && size < 60 && text[size] >= ' ' && text[size] <= '~') {
        if (text[size++] == ')') {
            break;
        }
    }
    return size;
}

static csl_status take_shape(npy_walk *walk, const char *where, csl_npy_header *header)
{
    skip_spaces(walk);
    const char *text = walk->at;
    bool good = take(walk, "(");
    header->rank = 0;
    header->count = 1;
    while (good && !take(walk, ")")) {
        uint64_t extent = 0;
        good = header->rank < CSL_NPY_HEADER_RANK_MAX && take_number(walk, &extent) && extent > 0 &&
               header->count <= (UINT64_MAX >> 8) / extent;
        if (good) {
            header->extent[header->rank++] = extent;
            header->count *= extent;
            take(walk, ",");
        }
    }
    return good && header->rank > 0
               ? CSL_OK
               : csl_fail(CSL_E_FORMAT,
                          "%s: expected a shape of 1..%d extents above 0 that fits into memory, "
                          "found %.*s",
                          where, CSL_NPY_HEADER_RANK_MAX, shown_size(text, walk->end), text);
}

static csl_status take_item(
    npy_walk *walk, const char *where, const char *accepted, csl_npy_header *header, unsigned *seen)
{
    char key[24];
    if (!take_word(walk, key, sizeof key) || !take(walk, ":")) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a header of three keys, found damaged text",
                        where);
    }
    if (strcmp(key, "descr") == 0) {
        *seen |= 1;
        return take_type(walk, where, accepted, header);
    }
    if (strcmp(key, "fortran_order") == 0) {
        *seen |= 2;
        return take(walk, "False")
                   ? CSL_OK
                   : csl_fail(CSL_E_FORMAT, "%s: expected C order, found Fortran order", where);
    }
    if (strcmp(key, "shape") == 0) {
        *seen |= 4;
        return take_shape(walk, where, header);
    }
    return csl_fail(CSL_E_FORMAT, "%s: expected descr, fortran_order, shape, found key '%s'", where,
                    key);
}

csl_status csl_npy_header_parse(const uint8_t *bytes,
                                size_t size,
                                const char *where,
                                const char *accepted,
                                csl_npy_header *header_out)
{
    if (size < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0 || bytes[6] < 1 || bytes[6] > 3) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected a .npy array of version 1 to 3, found other bytes", where);
    }
    size_t start = bytes[6] == 1 ? 10 : 12;
    size_t length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1) {
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    }
    if (length > size - start) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a header of %zu bytes, found %zu", where,
                        length, size - start);
    }
    npy_walk walk = {(const char *)bytes + start, (const char *)bytes + start + length};
    csl_npy_header header = {.data_offset = start + length};
    unsigned seen = 0;
    bool open = take(&walk, "{");
    while (open && !take(&walk, "}")) {
        CSL_TRY(take_item(&walk, where, accepted, &header, &seen));
        take(&walk, ",");
    }
    if (!open || seen != 7) {
        return csl_fail(CSL_E_FORMAT, "%s: expected descr, fortran_order and shape, found fewer",
                        where);
    }
    *header_out = header;
    return CSL_OK;
}

void csl_npy_header_describe(const csl_npy_header *header, char text_out[CSL_NPY_HEADER_TEXT_SIZE])
{
    size_t length = 0;
    for (uint32_t axis = 0; axis < header->rank; axis++) {
        length += (size_t)snprintf(text_out + length, CSL_NPY_HEADER_TEXT_SIZE - length,
                                   "%s%" PRIu64, axis ? ", " : "(", header->extent[axis]);
    }
    snprintf(text_out + length, CSL_NPY_HEADER_TEXT_SIZE - length, ") of %c%" PRIu32, header->kind,
             header->item_size);
}
