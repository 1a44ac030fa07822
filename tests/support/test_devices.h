/* The devices that a parity test runs on; compiled into each test together with its kernels. */
#ifndef CSL_TEST_DEVICES_H
#define CSL_TEST_DEVICES_H

#include <stddef.h>
#include <stdint.h>

typedef struct csl_test_device {
    const char *resource;
    uint32_t threads;
} csl_test_device;

/*
 * The real library: host and host:guard with one and with three threads; with CSL_TEST_GPU in the
 * environment host and cuda:0, and where no GPU answers the process ends with 77, which CTest
 * counts as skipped. cudasim: cuda:0, the simulated one. Returns the number; the list is static.
 */
size_t csl_test_devices(const csl_test_device **devices_out);

#endif
