/*
 * cuBLAS, opened when the first GPU is: linked in, its libraries would cost every process 120 MB
 * and half a second of start, also where there is no card.
 */
#ifndef CSL_CUBLAS_CALLS_H
#define CSL_CUBLAS_CALLS_H

#include <consilium/status.h>

#include <cublas_v2.h>

#define CSL_CUBLAS_CALLS(X)                                                                        \
    X(create, cublasCreate)                                                                        \
    X(destroy, cublasDestroy)                                                                      \
    X(set_stream, cublasSetStream)                                                                 \
    X(set_math_mode, cublasSetMathMode)                                                            \
    X(set_atomics_mode, cublasSetAtomicsMode)                                                      \
    X(status_text, cublasGetStatusString)                                                          \
    X(sgemm, cublasSgemm)                                                                          \
    X(sgemm_batched, cublasSgemmStridedBatched)

typedef struct csl_cublas_calls {
#define CSL_CUBLAS_FIELD(field, function) decltype(&(function)) field;
    CSL_CUBLAS_CALLS(CSL_CUBLAS_FIELD)
#undef CSL_CUBLAS_FIELD
} csl_cublas_calls;

/* Opens the library, once. Errors: E_DEVICE with the loader's reason. */
csl_status csl_cublas_load(void);
/* Its functions; only after csl_cublas_load returned CSL_OK. */
const csl_cublas_calls *csl_cublas(void);

#endif
