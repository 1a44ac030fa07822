/*
 * Log lines and clocks. The library prints nothing: lines go to a function that the program
 * installs, and are dropped where none is. Lower case, no trailing full stop, no "=". Never logged:
 * image data, labels of single records, key material, updates.
 */
#ifndef CONSILIUM_LOG_H
#define CONSILIUM_LOG_H

#include <consilium/status.h>
#include <consilium/types.h>

/* Levels are defined by volume, as UCX does. */
typedef enum csl_log_level {
    CSL_LOG_ERROR, /* the run cannot go on */
    CSL_LOG_WARN,  /* it goes on, and a person should know */
    CSL_LOG_INFO,  /* a fixed number of lines per run */
    CSL_LOG_DEBUG, /* proportional to the number of objects: institutions, files, rounds */
    CSL_LOG_TRACE  /* proportional to the work: steps, messages */
} csl_log_level;

/* Gets one line, without a line break: component "study", "train", ...; text lent for the call. May
 * be called from several threads at once. */
typedef void
csl_log_handler(void *context, csl_log_level level, const char *component, const char *text);

/* Installs the handler (NULL: none) and the most talkative level passed to it. Not thread-safe
 * against csl_log: call it before threads start. */
CSL_API void csl_log_install(csl_log_handler *handler, void *context, csl_log_level level);
/* Whether a line of this level would be passed on; guards expensive arguments. */
CSL_API bool csl_log_enabled(csl_log_level level);
CSL_API void csl_log(csl_log_level level, const char *component, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "error", "warn", ...; and the reverse. Errors: E_NOT_FOUND (message names the nearest). */
CSL_API const char *csl_log_level_name(csl_log_level level);
CSL_API CSL_MUST_CHECK csl_status csl_log_level_parse(const char *name, csl_log_level *level_out);

enum { CSL_UTC_TEXT_SIZE = 25 }; /* "2026-08-22T10:11:12.345Z" and the closing zero */

/* Seconds of a clock that never goes back; its zero is arbitrary. */
CSL_API double csl_clock_seconds(void);
CSL_API void csl_clock_utc(char text_out[CSL_UTC_TEXT_SIZE]);

#endif
