/* Private to bench/kernel*.c: every operation of networks, ready to run. */
#ifndef CSL_KERNEL_CASE_H
#define CSL_KERNEL_CASE_H

#include <consilium/kernels.h>

enum {
    CSL_BENCH_FEATURES = 1024, /* in and out of a linear layer */
    CSL_BENCH_CLASSES = 1000,
    CSL_BENCH_GROUP_CHANNELS = 8, /* of a group norm, where they divide the channels */
    CSL_BENCH_SMALL = 8,          /* arrays of channels, groups and classes */
    CSL_BENCH_MAPS = 4,
    CSL_BENCH_OWNED_MAX = CSL_BENCH_MAPS + CSL_BENCH_SMALL + 6
};

/* What the operations work on; square maps [batch][1][extent][extent][channels]. */
typedef struct csl_kernel_sizes {
    uint32_t batch;
    uint32_t channels;
    uint32_t extent;
    uint32_t window; /* edge of a convolution's kernel, odd */
} csl_kernel_sizes;

/* What an operation cannot do without: the bytes that it has to read and to write once, and the
 * floating-point operations of products (a multiply-add counts as two). */
typedef struct csl_kernel_cost {
    double bytes;
    double operations;
} csl_kernel_cost;

typedef struct csl_kernel_bench csl_kernel_bench;

struct csl_kernel_bench {
    csl_device *device;
    const csl_kernels *kernels;
    csl_kernel_sizes sizes;
    void *owned[CSL_BENCH_OWNED_MAX]; /* all arrays below, on the device */
    size_t owned_count;
    float *random;                 /* on the host: more roughly normal values than an array takes */
    size_t count;                  /* values of a map, and of a vector of parameters */
    size_t map_size;               /* values allocated for each of these */
    float *map[CSL_BENCH_MAPS];    /* roughly normal */
    float *small[CSL_BENCH_SMALL]; /* 0.5 to 1.5 */
    size_t small_size;
    uint32_t *index;
    int32_t *labels;
    uint8_t *raw;
    csl_augment *augment;
    csl_conv_spec conv_spec;
    csl_conv *conv;
    float *weights; /* of the convolution, or of a linear layer */
    float *dweights;
    size_t weight_count;
    bool first; /* the call that prepares: it may do more than what is timed */
    csl_kernel_cost cost;
};

typedef struct csl_kernel_case {
    const char *name; /* of CSL_NN_OP_LIST, or that and what is special about it; no spaces */
    csl_status (*run)(csl_kernel_bench *bench);
} csl_kernel_case;

/* Every operation of CSL_NN_OP_LIST has a case, or the program does not compile. Ends with NULL. */
extern const csl_kernel_case csl_kernel_cases[];

/* Errors: E_NO_MEMORY, and those of csl_device_open. */
CSL_MUST_CHECK csl_status csl_kernel_bench_create(const char *device,
                                                  uint32_t threads,
                                                  const csl_kernel_sizes *sizes,
                                                  csl_kernel_bench **bench_out);
void csl_kernel_bench_destroy(csl_kernel_bench *bench);
csl_shape csl_kernel_bench_shape(const csl_kernel_bench *bench);
/* Fills all arrays anew, so that no case sees what another left, runs the case once, and says what
 * it costs at least. */
CSL_MUST_CHECK csl_status csl_kernel_bench_prepare(csl_kernel_bench *bench,
                                                   const csl_kernel_case *chosen,
                                                   csl_kernel_cost *cost_out);

#endif
