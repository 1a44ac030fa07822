#include <consilium/status.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_SIZE = 1024 };

static _Thread_local char message_[MESSAGE_SIZE];

const char *csl_status_text(csl_status status)
{
#define TEXT_CASE(name, code, text)                                                                \
    case CSL_##name:                                                                               \
        return text;
    switch (status) {
        CSL_STATUS_LIST(TEXT_CASE)
    }
#undef TEXT_CASE
    return "unknown status";
}

const char *csl_status_name(csl_status status)
{
#define NAME_CASE(name, code, text)                                                                \
    case CSL_##name:                                                                               \
        return #name;
    switch (status) {
        CSL_STATUS_LIST(NAME_CASE)
    }
#undef NAME_CASE
    return "unknown";
}

csl_status(csl_fail)(csl_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message_, sizeof message_, format, arguments);
    va_end(arguments);
    return status;
}

csl_status csl_fail_context(csl_status status, const char *format, ...)
{
    char cause[MESSAGE_SIZE];
    memcpy(cause, message_, sizeof cause);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message_, sizeof message_, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof message_) {
        /* The precision cuts a long cause on purpose, which the compiler can then see. */
        int room = (int)(sizeof message_ - (size_t)length) - 3;
        if (room > 0) {
            snprintf(message_ + length, sizeof message_ - (size_t)length, ": %.*s", room, cause);
        }
    }
    return status;
}

const char *csl_error_message(void)
{
    return message_;
}
