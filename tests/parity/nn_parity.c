#include "nn_parity.h"
#include "test_devices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tolerance {
    const char *name;
    csl_exactness exactness;
    double absolute;
    double relative;
} tolerance;

#define TOLERANCE_ROW(name, exactness, absolute, relative, parameters, arguments)                  \
    {#name, exactness, absolute, relative},
static const tolerance tolerances[] = {CSL_NN_OP_LIST(TOLERANCE_ROW)};

void nn_on_every_device(void (*run)(nn_case *c))
{
    const csl_test_device *devices = NULL;
    size_t device_count = csl_test_devices(&devices);
    for (size_t i = 0; i < device_count; i++) {
        nn_case c = {.resource = devices[i].resource, .threads = devices[i].threads};
        CHECK_OK(csl_device_open(c.resource, c.threads, &c.device));
        c.ops = csl_device_kernels(c.device);
        run(&c);
        while (c.arrays) {
            nn_array *array = c.arrays;
            c.arrays = array->next;
            csl_device_free(c.device, array->device);
            free(array->host);
            free(array->wide);
            free(array);
        }
        csl_device_close(c.device);
    }
}

static nn_array *add_array(nn_case *c, size_t count)
{
    nn_array *array = calloc(1, sizeof *array);
    void *memory = NULL;
    CHECK_OK(csl_device_alloc(c->device, count * sizeof(float), &memory));
    array->count = count;
    array->device = memory;
    array->host = malloc((count + 1) * sizeof *array->host);
    array->wide = malloc((count + 1) * sizeof *array->wide);
    array->next = c->arrays;
    c->arrays = array;
    return array;
}

/* Place of a channels-last element on the device. */
static size_t place_of(const nn_array *array, size_t element)
{
    if (array->block == 0) {
        return element;
    }
    size_t channels = array->shape.channels;
    size_t image_count = csl_shape_count(array->shape);
    size_t rows = image_count / channels;
    size_t row = element % image_count / channels;
    size_t lane = element % channels % array->block;
    size_t first = element % channels - lane;
    return element / image_count * image_count + first * rows + row * array->block + lane;
}

void nn_upload(nn_case *c, nn_array *array)
{
    float *ordered = malloc((array->count + 1) * sizeof *ordered);
    for (size_t i = 0; i < array->count; i++) {
        array->wide[i] = (double)array->host[i];
        ordered[place_of(array, i)] = array->host[i];
    }
    CHECK_OK(csl_device_copy(c->device, array->device, ordered, array->count * sizeof(float),
                             CSL_COPY_TO_DEVICE));
    free(ordered);
}

void nn_fetch(nn_case *c, nn_array *array)
{
    float *ordered = malloc((array->count + 1) * sizeof *ordered);
    CHECK_OK(csl_device_copy(c->device, ordered, array->device, array->count * sizeof(float),
                             CSL_COPY_TO_HOST));
    for (size_t i = 0; i < array->count; i++) {
        array->host[i] = ordered[place_of(array, i)];
    }
    free(ordered);
}

void nn_set_block(nn_case *c, nn_array *array, csl_shape shape, uint32_t block)
{
    array->shape = shape;
    array->block = block;
    nn_upload(c, array);
}

nn_array *nn_random(nn_case *c, size_t count)
{
    nn_array *array = add_array(c, count);
    for (size_t i = 0; i < count; i++) {
        array->host[i] = (float)csl_test_normal();
    }
    nn_upload(c, array);
    return array;
}

nn_array *nn_room(nn_case *c, size_t count)
{
    nn_array *array = add_array(c, count);
    for (size_t i = 0; i < count; i++) {
        array->host[i] = NAN;
    }
    nn_upload(c, array);
    return array;
}

void *nn_bytes(nn_case *c, const void *data, size_t size)
{
    nn_array *array = add_array(c, (size + sizeof(float) - 1) / sizeof(float));
    CHECK_OK(csl_device_copy(c->device, array->device, data, size, CSL_COPY_TO_DEVICE));
    return array->device;
}

static void find_tolerance(const char *operation, double *absolute, double *relative)
{
    for (size_t i = 0; i < sizeof tolerances / sizeof *tolerances; i++) {
        if (strcmp(tolerances[i].name, operation) == 0) {
            *absolute = tolerances[i].absolute;
            *relative = tolerances[i].relative;
            return;
        }
    }
    CU_FAIL("no such operation in CSL_NN_OP_LIST");
}

void nn_check(nn_case *c, nn_array *array, const char *operation, const char *what)
{
    double absolute = 0.0, relative = 0.0, largest = 0.0;
    if (operation) {
        find_tolerance(operation, &absolute, &relative);
    }
    nn_fetch(c, array);
    for (size_t i = 0; i < array->count; i++) {
        largest = fmax(largest, fabs(array->wide[i]));
    }
    double bound = absolute + relative * largest;
    size_t worst = 0;
    double worst_error = 0.0;
    for (size_t i = 0; i < array->count; i++) {
        double error = fabs((double)array->host[i] - array->wide[i]);
        if (!(error <= worst_error)) { /* also when it is NaN */
            worst = i;
            worst_error = error;
        }
    }
    char text[256];
    snprintf(text, sizeof text, "%s %s[%zu] on %s with %u threads", operation ? operation : "exact",
             what, worst, c->resource, c->threads);
    if (array->count > 0) {
        csl_test_check_near((double)array->host[worst], array->wide[worst], bound, text, __FILE__,
                            __LINE__);
    }
}

uint32_t nn_between(uint32_t low, uint32_t high)
{
    return low + (uint32_t)(csl_test_random() % (high - low + 1));
}

void nn_check_differences(double (*loss)(void *context),
                          void *context,
                          double *theta,
                          const double *gradient,
                          size_t count,
                          const char *what)
{
    const double step = 1e-5;
    double largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(gradient[i]));
    }
    for (size_t n = 0; n < 24 && n < count; n++) {
        size_t i = count <= 24 ? n : csl_test_random() % count;
        double before = theta[i];
        theta[i] = before + step;
        double above = loss(context);
        theta[i] = before - step;
        double below = loss(context);
        theta[i] = before;
        csl_test_check_near(gradient[i], (above - below) / (2.0 * step), 1e-6 * (1.0 + largest),
                            what, __FILE__, __LINE__);
    }
}
