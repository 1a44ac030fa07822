/*
 * Ten updates of a thousand parameters, three of them false, to one aggregate by Multi-Krum.
 *
 *   cc aggregate.c -o aggregate $(pkg-config --cflags --libs --static consilium)
 */
#include <consilium/device.h>
#include <consilium/robust.h>

#include <stdio.h>

enum { ROWS = 10, COLUMNS = 1000, FALSE_ROWS = 3 };

static float updates[ROWS][COLUMNS];
static float aggregate[COLUMNS];

int main(void)
{
    const float *rows[ROWS];
    for (int i = 0; i < ROWS; i++) {
        rows[i] = updates[i];
        for (int j = 0; j < COLUMNS; j++) {
            float honest = 1.0F + 0.01F * (float)((7 * i + j) % 5);
            updates[i][j] = i < ROWS - FALSE_ROWS ? honest : -100.0F;
        }
    }

    csl_device *device = NULL;
    csl_aggregate_report *report = NULL;
    csl_aggregate_spec spec;
    csl_aggregate_spec_init(&spec);
    spec.f = FALSE_ROWS;
    snprintf(spec.rule, sizeof spec.rule, "multi-krum");

    csl_status status = csl_device_open("host", 2, &device);
    if (status == CSL_OK) {
        csl_aggregate_input input = {
            .device = device,
            .row_count = ROWS,
            .column_count = COLUMNS,
            .column_total = COLUMNS,
            .rows = rows, /* host memory is the memory of the device "host" */
        };
        status = csl_aggregate(&spec, &input, aggregate, &report);
    }
    if (status != CSL_OK) {
        fprintf(stderr, "aggregate: %s\n", csl_error_message());
        csl_device_close(device);
        return 1;
    }
    for (uint32_t i = 0; i < report->row_count; i++) {
        printf("update %u: %s, weight %.3f %s\n", i, csl_row_verdict_name(report->rows[i].verdict),
               report->rows[i].weight, report->rows[i].reason);
    }
    printf("dropped %u, first value %.4f\n", report->dropped_count, (double)aggregate[0]);
    csl_aggregate_report_destroy(report);
    csl_device_close(device);
    return 0;
}
