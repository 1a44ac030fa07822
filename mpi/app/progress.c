/* Progress for people: a bar that is redrawn on a terminal, a line now and then in a log. */
#include "commands.h"

#include <consilium/run.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double LOG_SECONDS = 10; /* between two lines in a log */
enum { BAR_WIDTH = 24 };

static bool bar_is_shown;
static double last_line;

static void format_duration(double seconds, char *text, size_t size)
{
    if (!isfinite(seconds) || seconds < 0) {
        snprintf(text, size, "?");
    } else if (seconds < 100) {
        snprintf(text, size, "%.0f s", seconds);
    } else if (seconds < 6000) {
        snprintf(text, size, "%.0f min %02.0f s", floor(seconds / 60), floor(fmod(seconds, 60)));
    } else {
        snprintf(text, size, "%.0f h %02.0f min", floor(seconds / 3600),
                 floor(fmod(seconds, 3600) / 60));
    }
}

void csl_progress_clear(void)
{
    if (bar_is_shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        bar_is_shown = false;
    }
}

static void describe(const csl_run_progress *progress, char *text, size_t size)
{
    static const char *const phases[] = {"starting", "training", "aggregating", "evaluating",
                                         "writing"};
    char left[64];
    char loss[32] = "";
    format_duration(progress->seconds_left, left, sizeof left);
    if (isfinite(progress->loss)) {
        snprintf(loss, sizeof loss, ", loss %.3f", progress->loss);
    }
    snprintf(text, size, "round %u of %u, %s, %u of %u institutions done%s, about %s left",
             progress->round, progress->round_count, phases[progress->phase],
             progress->institutions_done, progress->institutions, loss, left);
}

void csl_progress_show(const csl_run_progress *progress)
{
    char text[256];
    if (!isatty(STDERR_FILENO)) {
        if (progress->seconds - last_line >= LOG_SECONDS) {
            last_line = progress->seconds;
            describe(progress, text, sizeof text);
            fprintf(stderr, "%s\n", text);
        }
        return;
    }
    describe(progress, text, sizeof text);
    char bar[BAR_WIDTH + 1];
    int filled = (int)(progress->round_fraction * BAR_WIDTH);
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)(filled < 0 ? 0 : filled > BAR_WIDTH ? BAR_WIDTH : filled));
    bar[BAR_WIDTH] = 0;
    fprintf(stderr, "\r[%s] %s\033[K", bar, text);
    fflush(stderr);
    bar_is_shown = true;
}
