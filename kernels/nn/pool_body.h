/* Rows of max pooling, one register of channels at a time, every tap one load; nn_host.h says what
 * each does. */
#include "lanes.h"
#include "pool_taps.h"

LANES_INLINE void
max_part(const tap_box *box, const float *x, uint32_t channel, float *y, uint32_t *index)
{
    lane_mask lane;
    for (int i = 0; i < PART_LANES; i++) {
        lane[i] = (int32_t)channel + i;
    }
    size_t origin = tap_offset(box, 0, 0, 0);
    lane_part best = *(const lane_part *)(x + origin + channel);
    lane_mask where = lane + (int32_t)(uint32_t)origin;
    for (uint32_t d = 0; d < box->axis[0].count; d++) {
        for (uint32_t h = 0; h < box->axis[1].count; h++) {
            for (uint32_t w = 0; w < box->axis[2].count; w++) {
                size_t offset = tap_offset(box, d, h, w);
                lane_part value = *(const lane_part *)(x + offset + channel);
                lane_mask larger = value > best;
                lane_mask here = lane + (int32_t)(uint32_t)offset;
                best = (lane_part)(((lane_mask)value & larger) | ((lane_mask)best & ~larger));
                where = (here & larger) | (where & ~larger);
            }
        }
    }
    *(lane_part *)y = best;
    *(lane_mask *)index = where;
}

static inline void
max1(const tap_box *box, const float *x, uint32_t channel, float *y, uint32_t *index)
{
    size_t where = tap_offset(box, 0, 0, 0) + channel;
    for (uint32_t d = 0; d < box->axis[0].count; d++) {
        for (uint32_t h = 0; h < box->axis[1].count; h++) {
            for (uint32_t w = 0; w < box->axis[2].count; w++) {
                size_t offset = tap_offset(box, d, h, w) + channel;
                where = x[offset] > x[where] ? offset : where;
            }
        }
    }
    *y = x[where];
    *index = (uint32_t)where;
}

/* One row of output voxels along the width of one image. */
static void max_row(
    const csl_pool_spec *spec, const float *x, uint32_t d, uint32_t h, float *y, uint32_t *index)
{
    uint32_t channels = spec->output.channels;
    tap_box box = box_for_row(spec, d, h);
    for (uint32_t w = 0; w < spec->output.extent[2]; w++, y += channels, index += channels) {
        box.axis[2] = taps_of(&spec->window, 2, spec->input.extent[2], w);
        if (is_empty(&box)) {
            for (uint32_t c = 0; c < channels; c++) {
                y[c] = 0.0F;
                index[c] = UINT32_MAX;
            }
            continue;
        }
        uint32_t c = 0;
        for (; c + PART_LANES <= channels; c += PART_LANES) {
            max_part(&box, x, c, y + c, index + c);
        }
        for (; c < channels; c++) {
            max1(&box, x, c, y + c, index + c);
        }
    }
}

LANES_INLINE void store_max_part(
    const tap_box *box, const float *dy, const uint32_t *index, uint32_t channel, float *dx)
{
    lane_mask lane;
    for (int i = 0; i < PART_LANES; i++) {
        lane[i] = (int32_t)channel + i;
    }
    const lane_mask where = *(const lane_mask *)(index + channel) - lane;
    const lane_mask value = *(const lane_mask *)(dy + channel);
    for (uint32_t d = 0; d < box->axis[0].count; d++) {
        for (uint32_t h = 0; h < box->axis[1].count; h++) {
            for (uint32_t w = 0; w < box->axis[2].count; w++) {
                size_t offset = tap_offset(box, d, h, w);
                *(lane_mask *)(dx + offset + channel) =
                    value & (where == (int32_t)(uint32_t)offset);
            }
        }
    }
}

/* dx of one row of windows that share no voxel: every tap is stored once. */
static void max_gradient_row(const csl_pool_spec *spec,
                             const float *dy,
                             const uint32_t *index,
                             uint32_t d,
                             uint32_t h,
                             float *dx)
{
    uint32_t channels = spec->output.channels;
    tap_box box = box_for_row(spec, d, h);
    for (uint32_t w = 0; w < spec->output.extent[2]; w++, dy += channels, index += channels) {
        box.axis[2] = taps_of(&spec->window, 2, spec->input.extent[2], w);
        if (is_empty(&box)) {
            continue;
        }
        for (uint32_t c = 0; c + PART_LANES <= channels; c += PART_LANES) {
            store_max_part(&box, dy, index, c, dx);
        }
    }
}
