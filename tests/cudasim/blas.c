/*
 * cuBLAS calls, put on the handle's stream and forwarded to OpenBLAS. What cuBLAS refuses returns
 * its status; operands that a card could not read or write end the process with a message.
 */
#include "cublas_v2.h"

#include <cblas.h>
#include <stdbool.h>
#include <stdio.h>
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

/* An operand of [columns] columns of [rows] values, `leading` apart, `count` times `stride` apart.
 */
static void check_operand(const product *p,
                          const char *name,
                          const void *operand,
                          long long rows,
                          long long columns,
                          long long leading,
                          long long stride)
{
    long long last = (columns - 1) * leading + rows - 1 + (p->batch_count - 1) * stride;
    size_t size = (size_t)(last + 1) * (p->is_double ? sizeof(double) : sizeof(float));
    if (!cudasim_is_device(operand, size)) {
        fprintf(stderr,
                "cudasim: cublas: operand %s at %p, %zu bytes, does not lie in one allocation on "
                "the card\n",
                name, operand, size);
        abort();
    }
}

static void check_operands(const product *p)
{
    bool normal = p->transa == CblasNoTrans;
    if (p->is_vector) {
        check_operand(p, "A", p->a, p->m, p->n, p->lda, 0);
        check_operand(p, "x", p->b, 1, normal ? p->n : p->m, p->ldb, 0);
        check_operand(p, "y", p->c, 1, normal ? p->m : p->n, p->ldc, 0);
        return;
    }
    bool normal_b = p->transb == CblasNoTrans;
    if (p->k > 0) {
        check_operand(p, "A", p->a, normal ? p->m : p->k, normal ? p->k : p->m, p->lda,
                      p->stride_a);
        check_operand(p, "B", p->b, normal_b ? p->k : p->n, normal_b ? p->n : p->k, p->ldb,
                      p->stride_b);
    }
    check_operand(p, "C", p->c, p->m, p->n, p->ldc, p->stride_c);
    /* One after the other, or side by side within the columns. */
    bool follow = p->stride_c >= (long long)p->ldc * (p->n - 1) + p->m;
    bool beside = p->stride_c >= p->m && (p->batch_count - 1) * p->stride_c + p->m <= p->ldc;
    if (p->batch_count > 1 && !follow && !beside) {
        fprintf(stderr, "cudasim: cublas: the matrices C of a batch overlap\n");
        abort();
    }
}

static bool is_valid(const product *p)
{
    int rows_a = p->transa == CblasNoTrans ? p->m : p->k;
    int rows_b = p->transb == CblasNoTrans ? p->k : p->n;
    bool valid = p->m >= 0 && p->n >= 0 && p->k >= 0 && p->batch_count >= 0;
    if (p->is_vector) {
        return valid && p->lda >= (p->m > 1 ? p->m : 1) && p->ldb > 0 && p->ldc > 0;
    }
    return valid && p->lda >= (rows_a > 1 ? rows_a : 1) && p->ldb >= (rows_b > 1 ? rows_b : 1) &&
           p->ldc >= (p->m > 1 ? p->m : 1);
}

/* has_scalars: alpha and beta are there. */
static cublasStatus_t enqueue(cublasHandle_t handle, product work, bool has_scalars)
{
    if (!handle) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    if (!has_scalars || !is_valid(&work)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (work.m == 0 || work.n == 0 || work.batch_count == 0) {
        return CUBLAS_STATUS_SUCCESS;
    }
    check_operands(&work);
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
    if (!handle) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    return size == 0 || cudasim_is_device(workspace, size) ? CUBLAS_STATUS_SUCCESS
                                                           : CUBLAS_STATUS_INVALID_VALUE;
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
                    .alpha = alpha ? *alpha : 0,
                    .beta = beta ? *beta : 0,
                    .a = a,
                    .b = b,
                    .c = c};
    return enqueue(handle, work, alpha && beta);
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
                    .batch_count = 1,
                    .transa = transpose(trans),
                    .m = m,
                    .n = n,
                    .lda = lda,
                    .ldb = incx,
                    .ldc = incy,
                    .alpha = alpha ? *alpha : 0,
                    .beta = beta ? *beta : 0,
                    .a = a,
                    .b = x,
                    .c = y};
    return enqueue(handle, work, alpha && beta);
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
                    .alpha = alpha ? *alpha : 0,
                    .beta = beta ? *beta : 0,
                    .a = a,
                    .b = b,
                    .c = c};
    return enqueue(handle, work, alpha && beta);
}
