/* Which bytes are a text that files of this project hold. */
#ifndef CSL_TEXT_CHECK_H
#define CSL_TEXT_CHECK_H

#include <consilium/types.h>

#include <stdbool.h>
#include <stddef.h>

enum { CSL_TEXT_PROBLEM_MAX = 64 };

/* Is it UTF-8 without control characters other than newline and tab? If not, problem_out says what
 * is wrong and where: "byte 3 (0xe9) that is not UTF-8". */
bool csl_text_is_sound(const char *bytes, size_t size, char problem_out[CSL_TEXT_PROBLEM_MAX]);

#endif
