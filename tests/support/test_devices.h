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
 * The real library: host and host:guard with one and with three threads, and cuda:0 if a GPU
 * answers (else one line "SKIP cuda:0" on standard output, which tests/run.sh counts). cudasim:
 * cuda:0, the simulated one. Returns the number; the list is static.
 */
size_t csl_test_devices(const csl_test_device **devices_out);

#endif
