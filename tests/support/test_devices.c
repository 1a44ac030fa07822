#include "test_devices.h"

#include <consilium/device.h>
#include <stdio.h>

size_t csl_test_devices(const csl_test_device **devices_out)
{
#ifdef CSL_TEST_CUDASIM
    static const csl_test_device devices[] = {{"cuda:0", 1}};
    *devices_out = devices;
    return 1;
#else
    static const csl_test_device devices[] = {
        {"host", 1}, {"host", 3}, {"host:guard", 1}, {"host:guard", 3}, {"cuda:0", 1}};
    *devices_out = devices;
    if (csl_device_gpu_count() > 0) {
        return 5;
    }
    static int said;
    if (!said++) {
        printf("SKIP cuda:0: no GPU answers\n");
    }
    return 4;
#endif
}
