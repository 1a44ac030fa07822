/* What the suites of `consilium bench` share: clock, statistics, the machine's floors, and a report
 * that prints itself as a table, CSV or JSON. */
#ifndef CSL_BENCH_SUPPORT_H
#define CSL_BENCH_SUPPORT_H

#include <consilium/bench.h>
#include <consilium/device.h>
#include <consilium/status.h>
#include <consilium/types.h>
#include <stdio.h>

/* Seconds of a clock that never goes back. */
double csl_bench_seconds(void);

typedef struct csl_bench_statistics {
    double least;
    double median;
    double most;
} csl_bench_statistics;

/* Statistics of values[count], count >= 1; sorts the array. */
csl_bench_statistics csl_bench_summarise(double *values, size_t count);

/* Floating-point operations per second of float32 multiply-adds in registers on so many threads:
 * the machine's measured peak, with the widest registers that it has or with narrower ones where
 * those are faster. Takes up to 0.75 seconds. */
double csl_bench_peak_flops(uint32_t threads);
/* Differences of two float32 that are squared and added to a sum, as distances need them, a second:
 * at most half the peak's multiply-adds where sums share their units, as many where not. As long.
 */
double csl_bench_peak_differences(uint32_t threads);
/* Bytes per second, read and written, of a copy between arrays larger than the caches. 0 if there
 * is no memory for them. */
double csl_bench_copy_bandwidth(uint32_t threads);
/* Bytes per second of reading 512 MiB once, the best of several numbers of streams side by side.
 * 0 if there is no memory for them. Takes about half a second. */
double csl_bench_read_bandwidth(uint32_t threads);
bool csl_bench_is_card(const csl_device *device);
/* The same for a device: a card's own memory, or the host's with the device's threads. Errors:
 * E_NO_MEMORY, E_DEVICE. */
CSL_MUST_CHECK csl_status csl_bench_device_bandwidth(csl_device *device, double *bandwidth_out);

/* A cell: a text, or a number printed with `decimals` digits after the point; NAN prints "-". */
typedef struct csl_bench_cell {
    const char *text; /* NULL: number */
    double number;
    int decimals;
} csl_bench_cell;

typedef struct csl_bench_report csl_bench_report;

/* A report whose columns have these names (NULL-terminated, at most 32). NULL if memory is out. */
csl_bench_report *csl_bench_report_create(const char *suite, const char *const *columns);
void csl_bench_report_destroy(csl_bench_report *report);
/* One fact of the machine or the run, "cpu_count" "2": printed above the table, kept in JSON. */
void csl_bench_report_note(csl_bench_report *report, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds a row of as many cells as there are columns; texts are copied. */
void csl_bench_report_row(csl_bench_report *report, const csl_bench_cell *cells);
void csl_bench_report_print(const csl_bench_report *report, FILE *stream);
/* Can both be written, one beside the other? NULL: not wanted. Asked before anything is measured.
 * Errors: those of csl_atomic_check, E_INVALID_ARG (one file for both). */
csl_status csl_bench_report_check(const char *csv, const char *json);
/* Writes what is wanted, each file whole or not at all. A number that is not there is an empty
 * cell, null in JSON. Errors: those of csl_atomic_check, E_IO. */
csl_status
csl_bench_report_write(const csl_bench_report *report, const char *csv, const char *json);

#endif
