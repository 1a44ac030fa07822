/* What the parity tests of kernels_nn.h share: devices, arrays on a device, tolerances, gradients.
 */
#ifndef CSL_NN_PARITY_H
#define CSL_NN_PARITY_H

#include "oracle_nn.h"
#include "test_support.h"

/* One run of a test on one device; owns the arrays that it made. */
typedef struct nn_case {
    csl_device *device;
    const csl_kernels *ops;
    const char *resource;
    uint32_t threads;
    struct nn_array *arrays;
} nn_case;

/* A float32 array: on the device, its copy on the host, and that copy in float64. */
typedef struct nn_array {
    size_t count;
    float *device;
    float *host;
    double *wide;
    csl_shape shape; /* of an image, where block is not 0 */
    uint32_t block;  /* the device holds channels in such blocks; host and wide are channels-last */
    struct nn_array *next;
} nn_array;

/* Runs a test on every device, with one and with three threads. */
void nn_on_every_device(void (*run)(nn_case *c));

/* Standard normal values; the same values on each side. */
nn_array *nn_random(nn_case *c, size_t count);
/* Room for results: the device holds NaN, wide is the oracle's to fill. */
nn_array *nn_room(nn_case *c, size_t count);
/* From now on the device holds the array, maps of `shape`, in blocks of channels (0: as the host).
 */
void nn_set_block(nn_case *c, nn_array *array, csl_shape shape, uint32_t block);
/* Copies host to the device and to wide; copies the device to host. */
void nn_upload(nn_case *c, nn_array *array);
void nn_fetch(nn_case *c, nn_array *array);
/* Device memory with a copy of `size` bytes, freed with the case. */
void *nn_bytes(nn_case *c, const void *data, size_t size);

/* Checks the device's values against wide within the tolerance that kernels_nn.h states for the
 * operation, absolute + relative * largest |wide|. NULL operation: bit for bit. */
void nn_check(nn_case *c, nn_array *array, const char *operation, const char *what);

/* A whole number in [low, high]. */
uint32_t nn_between(uint32_t low, uint32_t high);

/* Checks `gradient` of loss(context) with respect to theta[count] by central differences at up to
 * 24 random places, in float64. */
void nn_check_differences(double (*loss)(void *context),
                          void *context,
                          double *theta,
                          const double *gradient,
                          size_t count,
                          const char *what);

#endif
