#include <consilium/log.h>
#include <consilium/text.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LINE_SIZE = 1024 };

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace", NULL};

static csl_log_handler *handler_;
static void *context_;
static csl_log_level level_;

void csl_log_install(csl_log_handler *handler, void *context, csl_log_level level)
{
    handler_ = handler;
    context_ = context;
    level_ = level;
}

bool csl_log_enabled(csl_log_level level)
{
    return handler_ && level <= level_;
}

void csl_log(csl_log_level level, const char *component, const char *format, ...)
{
    if (!csl_log_enabled(level)) {
        return;
    }
    char line[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *character = line; *character; character++) {
        if ((unsigned char)*character < ' ') {
            *character = ' '; /* text from a file must not forge a second line */
        }
    }
    handler_(context_, level, component, line);
}

const char *csl_log_level_name(csl_log_level level)
{
    return level_names[level <= CSL_LOG_TRACE ? level : CSL_LOG_TRACE];
}

csl_status csl_log_level_parse(const char *name, csl_log_level *level_out)
{
    for (int i = 0; level_names[i]; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level_out = (csl_log_level)i;
            return CSL_OK;
        }
    }
    const char *nearest = csl_nearest_name(name, level_names);
    return csl_fail(CSL_E_NOT_FOUND, "unknown log level '%s'%s%s", name,
                    nearest ? "; nearest is " : ", expected error, warn, info, debug or trace",
                    nearest ? nearest : "");
}

double csl_clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void csl_clock_utc(char text_out[CSL_UTC_TEXT_SIZE])
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    char text[64];
    size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + length, sizeof text - length, ".%03dZ", (int)(now.tv_nsec / 1000000));
    memcpy(text_out, text, CSL_UTC_TEXT_SIZE - 1);
    text_out[CSL_UTC_TEXT_SIZE - 1] = '\0';
}
