#include "robust_parity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t robust_devices(const csl_test_device **devices_out)
{
    enum { DEVICES_MAX = 8 };
    static csl_test_device kept[DEVICES_MAX];
    const csl_test_device *all = NULL;
    size_t all_count = csl_test_devices(&all);
    size_t count = 0;
    for (size_t k = 0; k < all_count && count < DEVICES_MAX; k++) {
        if (!ROBUST_THREAD_SANITIZER || all[k].threads == 1) {
            kept[count++] = all[k];
        }
    }
    *devices_out = kept;
    return count;
}

uint32_t robust_below(uint32_t bound)
{
    return (uint32_t)(csl_test_random() % bound);
}

static float draw_value(robust_kind kind)
{
    static const float special[] = {INFINITY, -INFINITY, NAN, -0.0F, 0.0F, 1e-45F, 3e38F, -3e38F};
    switch (kind) {
    case ROBUST_SHIFTED:
        return (float)(1e4 + csl_test_normal());
    case ROBUST_TIES:
        return (float)((int)robust_below(5) - 2) * (robust_below(2) ? 1.0F : -1.0F);
    case ROBUST_WILD:
        if (robust_below(16) == 0) {
            return special[robust_below(8)];
        }
        return (float)ldexp(csl_test_normal(), (int)robust_below(250) - 140);
    default:
        return (float)csl_test_normal();
    }
}

robust_sample robust_draw(uint32_t n, size_t d, robust_kind kind)
{
    robust_sample sample = {n,
                            d,
                            kind,
                            robust_below(40),
                            robust_below(2) ? n - 1 : robust_below(n),
                            malloc(n * d * sizeof(float) + 1)};
    for (size_t k = 0; k < n * d; k++) {
        sample.x[k] = draw_value(kind);
    }
    return sample;
}

void robust_free(robust_sample *sample)
{
    free(sample->x);
}

static size_t block_size(const robust_sample *sample)
{
    return (sample->gap + sample->n * sample->d) * sizeof(float);
}

size_t robust_place_size(const robust_sample *sample)
{
    return block_size(sample) + sample->d * sizeof(float);
}

robust_place robust_open(const char *resource, uint32_t threads, const robust_sample *sample)
{
    robust_place place = {.n = sample->n};
    void *memory = NULL;
    CHECK_OK(csl_device_open(resource, threads, &place.device));
    place.ops = csl_device_kernels(place.device);
    CHECK_OK(csl_device_alloc(place.device, block_size(sample), &memory));
    place.block = memory;
    CHECK_OK(csl_device_copy(place.device, place.block + sample->gap, sample->x,
                             sample->n * sample->d * sizeof(float), CSL_COPY_TO_DEVICE));
    place.rows = malloc(sample->n * sizeof *place.rows);
    for (uint32_t i = 0; i < sample->n; i++) {
        uint32_t source = i == sample->n - 1 ? sample->twice : i;
        place.rows[i] = place.block + sample->gap + source * sample->d;
    }
    CHECK_OK(csl_device_alloc(place.device, sample->d * sizeof(float), &memory));
    place.out = memory;
    return place;
}

void robust_close(robust_place *place)
{
    csl_device_free(place->device, place->block);
    csl_device_free(place->device, place->out);
    csl_device_close(place->device);
    free(place->rows);
}
