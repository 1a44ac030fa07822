#include <consilium/device.h>
#include <consilium/model.h>

#include <stdio.h>

int main(void)
{
    csl_device *device = NULL;
    csl_shape shape = {{1, 28, 28}, 1};
    csl_model_spec *spec = NULL;
    if (csl_device_open("host", 1, &device) != CSL_OK ||
        csl_model_spec_zoo("cnn-small", NULL, shape, CSL_TASK_BINARY, 2, &spec) != CSL_OK) {
        fprintf(stderr, "%s\n", csl_error_message());
        return 1;
    }
    printf("%s on %s\n", spec->name, csl_device_get_info(device)->resource);
    csl_model_spec_destroy(spec);
    csl_device_close(device);
    return 0;
}
