/* Text: a buffer that grows, UTF-8, and the nearest name for an error message. */
#ifndef CONSILIUM_TEXT_H
#define CONSILIUM_TEXT_H

#include <consilium/status.h>
#include <consilium/types.h>

/* A buffer that grows; {0} is an empty one. `bytes` is zero-terminated once something was added.
 * After a failed allocation it stays as it was and remembers the failure, so that a long sequence
 * of additions needs one check at its end: csl_text_status. */
typedef struct csl_text {
    char *bytes;
    size_t size; /* without the closing zero */
    size_t capacity;
    bool failed;
} csl_text;

CSL_API void csl_text_add(csl_text *text, const char *string);
CSL_API void csl_text_add_bytes(csl_text *text, const void *bytes, size_t size);
CSL_API void csl_text_format(csl_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* `count` times one character. */
CSL_API void csl_text_fill(csl_text *text, char character, size_t count);
/* The shortest decimal text that reads back as the same value. */
CSL_API void csl_text_add_double(csl_text *text, double value);
CSL_API void csl_text_add_float(csl_text *text, float value);
/* Errors: E_NO_MEMORY if any addition failed. */
CSL_API CSL_MUST_CHECK csl_status csl_text_status(const csl_text *text);
/* The text, "" if nothing was added; lent until the next addition. */
CSL_API const char *csl_text_string(const csl_text *text);
/* Frees the bytes and makes it empty. */
CSL_API void csl_text_clear(csl_text *text);

/* Position of the first byte that does not belong to a valid UTF-8 sequence, or `size`. */
CSL_API size_t csl_utf8_check(const void *bytes, size_t size);
/* Code points of a valid UTF-8 string: its width in a terminal for the names that occur here. */
CSL_API size_t csl_utf8_width(const char *string);

/*
 * The candidate that a person most likely meant: least Damerau-Levenshtein distance (insertion,
 * deletion, substitution, swap of neighbours; letter case and '-' against '_' count nothing), the
 * first among equals, NULL if none is near (distance above 1 + length / 3). candidates:
 * NULL-terminated.
 */
CSL_API const char *csl_nearest_name(const char *name, const char *const *candidates);
/* The same with a count, and candidates at `stride` bytes (pointers inside an array of structures).
 */
CSL_API const char *
csl_nearest_name_strided(const char *name, const char *const *first, size_t stride, size_t count);

#endif
