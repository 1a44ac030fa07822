/* Status codes and the text of the last error. */
#ifndef CONSILIUM_STATUS_H
#define CONSILIUM_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define CSL_API        __attribute__((visibility("default")))
#define CSL_MUST_CHECK __attribute__((warn_unused_result))

/* After -1..-29 the object is unchanged and usable; after -30 and below it may only be destroyed.
 */
#define CSL_STATUS_LIST(X)                                                                         \
    X(OK, 0, "success")                                                                            \
    X(E_INVALID_ARG, -1, "argument is not valid")                                                  \
    X(E_SHAPE, -2, "shapes do not agree")                                                          \
    X(E_RANGE, -3, "value is outside its documented range")                                        \
    X(E_STATE, -4, "call is not allowed in this state")                                            \
    X(E_UNSUPPORTED, -5, "not supported by this backend or build")                                 \
    X(E_NOT_FOUND, -6, "no such name, key or file")                                                \
    X(E_DIVERGED, -7, "training left the finite numbers")                                          \
    X(E_NO_MEMORY, -10, "out of memory")                                                           \
    X(E_IO, -11, "input or output failed")                                                         \
    X(E_FORMAT, -12, "data is not in the expected format")                                         \
    X(E_TIMEOUT, -13, "deadline passed")                                                           \
    X(E_NO_DEVICE, -14, "no such device")                                                          \
    X(E_COMM, -15, "communication failed")                                                         \
    X(E_VERIFY, -20, "signature, hash or certificate does not verify")                             \
    X(E_NO_QUORUM, -21, "not enough valid votes or updates")                                       \
    X(E_CORRUPT, -30, "stored state is corrupt")                                                   \
    X(E_DEVICE, -31, "device failed")                                                              \
    X(E_INTERNAL, -32, "internal invariant broken")

#define CSL_STATUS_ENUM(name, code, text) CSL_##name = (code),
typedef enum csl_status { CSL_STATUS_LIST(CSL_STATUS_ENUM) } csl_status;

/* Text and name ("E_SHAPE") of a status; static storage, never NULL. Thread-safe. */
CSL_API const char *csl_status_text(csl_status status);
CSL_API const char *csl_status_name(csl_status status);

/*
 * Records why this thread is about to return `status`, and returns `status`. The function that
 * first decides the error calls it; callers propagate, or add where it happened with
 * csl_fail_context. The message is one line without a full stop that names file, place,
 * expectation and what was found.
 */
CSL_API csl_status csl_fail(csl_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
#ifdef __clang_analyzer__ /* which does not see that it returns its first argument */
#define csl_fail(status, ...) ((void)(csl_fail)((status), __VA_ARGS__), (status))
#endif
/* Puts "prefix: " before the recorded message; returns `status`. */
CSL_API csl_status csl_fail_context(csl_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
/* The calling thread's last message, "" if none; valid until its next csl_fail on this thread. */
CSL_API const char *csl_error_message(void);

/* Propagates a failure; needs no cleanup at the call site. */
#define CSL_TRY(expression)                                                                        \
    do {                                                                                           \
        csl_status csl_try_status_ = (expression);                                                 \
        if (csl_try_status_ != CSL_OK) {                                                           \
            return csl_try_status_;                                                                \
        }                                                                                          \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
