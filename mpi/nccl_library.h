/*
 * NCCL, found when it is first needed: the library is 200 MB that a run without it should not load,
 * and a program built where NCCL is must also start where it is not.
 */
#ifndef CSL_NCCL_LIBRARY_H
#define CSL_NCCL_LIBRARY_H

#include <nccl.h>
#include <stddef.h>

#define CSL_NCCL_CALLS(X)                                                                          \
    X(ncclGetUniqueId)                                                                             \
    X(ncclCommInitRank)                                                                            \
    X(ncclCommDestroy)                                                                             \
    X(ncclCommAbort)                                                                               \
    X(ncclGroupStart)                                                                              \
    X(ncclGroupEnd)                                                                                \
    X(ncclSend)                                                                                    \
    X(ncclRecv)                                                                                    \
    X(ncclGetErrorString)

typedef struct csl_nccl_calls {
#define CSL_NCCL_FIELD(name)                                                                       \
    __typeof__(&(name)) name; /* NOLINT(bugprone-macro-parentheses): a declarator */
    CSL_NCCL_CALLS(CSL_NCCL_FIELD)
#undef CSL_NCCL_FIELD
} csl_nccl_calls;

/* The library's functions, or NULL with the reason [reason_size]. Loaded once. */
const csl_nccl_calls *csl_nccl_load(char *reason, size_t reason_size);

#endif
