/* cuBLAS calls, put on the handle's stream and forwarded to OpenBLAS. */
#include "cublas_v2.h"

#include <cblas.h>
#include <stdbool.h>
#include <stdlib.h>

struct cublasContext {
    cudaStream_t stream;
};

typedef struct product {
    bool is_double;
    bool is_vector;
    CBLAS_TRANSPOSE transa, transb;
    int m, n, k, lda, ldb, ldc, batch_count;
    long long stride_a, stride_b, stride_c;
    double alpha, beta;
    const void *a, *b;
    void *c;
} product;

static void run_product(void *argument)
{
    const product *p = argument;
    if (p->is_double) {
        cblas_dgemm(CblasColMajor, p->transa, p->transb, p->m, p->n, p->k, p->alpha, p->a, p->lda,
                    p->b, p->ldb, p->beta, p->c, p->ldc);
        return;
    }
    float alpha = (float)p->alpha, beta = (float)p->beta;
    if (p->is_vector) {
        cblas_sgemv(CblasColMajor, p->transa, p->m, p->n, alpha, p->a, p->lda, p->b, p->ldb, beta,
                    p->c, p->ldc);
        return;
    }
    for (long long i = 0; i < p->batch_count; i++) {
        cblas_sgemm(CblasColMajor, p->transa, p->transb, p->m, p->n, p->k, alpha,
                    (const float *)p->a + i * p->stride_a, p->lda,
                    (const float *)p->b + i * p->stride_b, p->ldb, beta,
                    (float *)p->c + i * p->stride_c, p->ldc);
    }
}

static cublasStatus_t enqueue(cublasHandle_t handle, product work)
{
    int rows_a = work.transa == CblasNoTrans ? work.m : work.k;
    int rows_b = work.transb == CblasNoTrans ? work.k : work.n;
    bool valid = work.m >= 0 && work.n >= 0 && work.k >= 0 && work.batch_count >= 0;
    if (work.is_vector) {
        valid = valid && work.lda >= work.m && work.lda >= 1;
    } else {
        valid = valid && work.lda >= (rows_a > 1 ? rows_a : 1) &&
                work.ldb >= (rows_b > 1 ? rows_b : 1) && work.ldc >= (work.m > 1 ? work.m : 1);
    }
    if (!valid) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (work.m == 0 || work.n == 0) {
        return CUBLAS_STATUS_SUCCESS;
    }
    product *argument = malloc(sizeof *argument);
    if (!argument) {
        return CUBLAS_STATUS_ALLOC_FAILED;
    }
    *argument = work;
    cudasim_enqueue(handle->stream, run_product, free, argument);
    return CUBLAS_STATUS_SUCCESS;
}

static CBLAS_TRANSPOSE transpose(cublasOperation_t operation)
{
    return operation == CUBLAS_OP_T ? CblasTrans : CblasNoTrans;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
           : status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
           : status == CUBLAS_STATUS_ALLOC_FAILED  ? "CUBLAS_STATUS_ALLOC_FAILED"
                                                   : "CUBLAS_STATUS_NOT_INITIALIZED";
}

cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    *handle = calloc(1, sizeof **handle);
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    (void)handle;
    (void)mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetAtomicsMode(cublasHandle_t handle, cublasAtomicsMode_t mode)
{
    (void)handle;
    (void)mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void *workspace, size_t size)
{
    (void)handle;
    (void)workspace;
    (void)size;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSgemm(cublasHandle_t handle,
                           cublasOperation_t transa,
                           cublasOperation_t transb,
                           int m,
                           int n,
                           int k,
                           const float *alpha,
                           const float *a,
                           int lda,
                           const float *b,
                           int ldb,
                           const float *beta,
                           float *c,
                           int ldc)
{
    return cublasSgemmStridedBatched(handle, transa, transb, m, n, k, alpha, a, lda, 0, b, ldb, 0,
                                     beta, c, ldc, 0, 1);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle,
                                         cublasOperation_t transa,
                                         cublasOperation_t transb,
                                         int m,
                                         int n,
                                         int k,
                                         const float *alpha,
                                         const float *a,
                                         int lda,
                                         long long stride_a,
                                         const float *b,
                                         int ldb,
                                         long long stride_b,
                                         const float *beta,
                                         float *c,
                                         int ldc,
                                         long long stride_c,
                                         int batch_count)
{
    product work = {.transa = transpose(transa),
                    .transb = transpose(transb),
                    .m = m,
                    .n = n,
                    .k = k,
                    .lda = lda,
                    .ldb = ldb,
                    .ldc = ldc,
                    .batch_count = batch_count,
                    .stride_a = stride_a,
                    .stride_b = stride_b,
                    .stride_c = stride_c,
                    .alpha = *alpha,
                    .beta = *beta,
                    .a = a,
                    .b = b,
                    .c = c};
    return enqueue(handle, work);
}

cublasStatus_t cublasSgemv(cublasHandle_t handle,
                           cublasOperation_t trans,
                           int m,
                           int n,
                           const float *alpha,
                           const float *a,
                           int lda,
                           const float *x,
                           int incx,
                           const float *beta,
                           float *y,
                           int incy)
{
    product work = {.is_vector = true,
                    .transa = transpose(trans),
                    .m = m,
                    .n = n,
                    .lda = lda,
                    .ldb = incx,
                    .ldc = incy,
                    .alpha = *alpha,
                    .beta = *beta,
                    .a = a,
                    .b = x,
                    .c = y};
    return enqueue(handle, work);
}

cublasStatus_t cublasDgemm(cublasHandle_t handle,
                           cublasOperation_t transa,
                           cublasOperation_t transb,
                           int m,
                           int n,
                           int k,
                           const double *alpha,
                           const double *a,
                           int lda,
                           const double *b,
                           int ldb,
                           const double *beta,
                           double *c,
                           int ldc)
{
    product work = {.is_double = true,
                    .transa = transpose(transa),
                    .transb = transpose(transb),
                    .m = m,
                    .n = n,
                    .k = k,
                    .lda = lda,
                    .ldb = ldb,
                    .ldc = ldc,
                    .batch_count = 1,
                    .alpha = *alpha,
                    .beta = *beta,
                    .a = a,
                    .b = b,
                    .c = c};
    return enqueue(handle, work);
}
