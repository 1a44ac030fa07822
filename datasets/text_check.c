#include "text_check.h"

#include <consilium/text.h>

#include <stdio.h>

bool csl_text_is_sound(const char *bytes, size_t size, char problem_out[CSL_TEXT_PROBLEM_MAX])
{
    size_t good = csl_utf8_check(bytes, size);
    const char *what = "that is not UTF-8";
    for (size_t at = 0; at < good; at++) {
        unsigned char byte = (unsigned char)bytes[at];
        if ((byte < ' ' && byte != '\n' && byte != '\t') || byte == 0x7f) {
            good = at;
            what = "that does not print";
        }
    }
    if (good < size) {
        snprintf(problem_out, CSL_TEXT_PROBLEM_MAX, "byte %zu (0x%02x) %s", good,
                 (unsigned char)bytes[good], what);
    }
    return good == size;
}
