#include "test_devices.h"

#include <consilium/device.h>
#include <stdio.h>
#include <stdlib.h>

size_t csl_test_devices(const csl_test_device **devices_out)
{
#ifdef CSL_TEST_CUDASIM
    static const csl_test_device devices[] = {{"cuda:0", 1}};
    *devices_out = devices;
    return 1;
#else
    static const csl_test_device devices[] = {
        {"host", 1}, {"host", 3}, {"host:guard", 1}, {"host:guard", 3}};
    static const csl_test_device gpu[] = {{"host", 1}, {"cuda:0", 1}};
    bool on_gpu = getenv("CSL_TEST_GPU") != NULL;
    if (on_gpu && csl_device_gpu_count() == 0) {
        printf("SKIP: no GPU answers\n");
        exit(77);
    }
    *devices_out = on_gpu ? gpu : devices;
    return on_gpu ? 2 : 4;
#endif
}
