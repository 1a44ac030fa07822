/* The geometric median: every iterate is a combination of rows whose products are known, so that
 * iterations cost no pass over the data. */
#include "aggregation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct median_search {
    csl_frame frame;
    uint32_t rows; /* the origin follows them */
    double nu;
    double *share;    /* [rows] of each row in the objective, sum 1 */
    double *weight;   /* [rows + 1] of each row in the iterate, sum 1 */
    double *distance; /* [rows + 1] from the iterate */
    double *next;     /* [rows + 1] weights of the next iterate */
    double *pull;     /* [rows + 1] */
    double *room;     /* [rows + 1] */
} median_search;

static double objective_at_row(const median_search *s, uint32_t row)
{
    double sum = 0;
    for (uint32_t i = 0; i < s->rows; i++) {
        sum += s->share[i] * sqrt(s->frame.distance[(size_t)row * s->frame.count + i]);
    }
    return sum;
}

/* The weighted mean, as in the paper, unless a row is better: f rows can drag the mean so far that
 * the way back takes more steps than there are. */
static void start(median_search *s, bool from_zero)
{
    memset(s->weight, 0, (s->rows + 1) * sizeof *s->weight);
    if (from_zero) {
        s->weight[s->rows] = 1;
        return;
    }
    memcpy(s->weight, s->share, s->rows * sizeof *s->weight);
    csl_frame_distances(&s->frame, s->weight, s->distance);
    double least = 0;
    for (uint32_t i = 0; i < s->rows; i++) {
        least += s->share[i] * sqrt(s->distance[i]);
    }
    uint32_t best = s->rows;
    for (uint32_t i = 0; i < s->rows; i++) {
        double value = objective_at_row(s, i);
        if (value < least) {
            least = value;
            best = i;
        }
    }
    if (best < s->rows) {
        memset(s->weight, 0, s->rows * sizeof *s->weight);
        s->weight[best] = 1;
    }
}

/* Smoothed Weiszfeld (Pillutla et al. 2019, algorithm 2): s->next from s->weight. */
static void smoothed_step(median_search *s)
{
    double sum = 0;
    csl_frame_distances(&s->frame, s->weight, s->distance);
    for (uint32_t i = 0; i < s->rows; i++) {
        s->distance[i] = sqrt(s->distance[i]);
        s->next[i] = s->share[i] / fmax(s->nu, s->distance[i]);
        sum += s->next[i];
    }
    for (uint32_t i = 0; i < s->rows; i++) {
        s->next[i] /= sum;
    }
    s->next[s->rows] = 0;
}

/*
 * An iterate on a row stays there, whether it is a minimum or not: a smoothed step leaves it by nu.
 * It is none where the pull of the other rows, sum share_i (x_i - z) / |x_i - z|, is stronger than
 * the share that lies at z; then the step of Vardi and Zhang 2000 (equation 2.6) replaces s->next.
 */
static bool leave_row(median_search *s)
{
    double held = 0;
    double sum = 0;
    for (uint32_t i = 0; i < s->rows; i++) {
        bool here = s->distance[i] <= s->nu;
        held += here ? s->share[i] : 0;
        s->pull[i] = here ? 0 : s->share[i] / s->distance[i];
        sum += s->pull[i];
    }
    if (held == 0 || sum == 0) {
        return false;
    }
    s->pull[s->rows] = 0;
    for (uint32_t i = 0; i <= s->rows; i++) {
        s->pull[i] -= sum * s->weight[i];
    }
    double strength = sqrt(csl_frame_length(&s->frame, s->pull, s->room));
    if (strength <= held) {
        return false;
    }
    for (uint32_t i = 0; i <= s->rows; i++) {
        s->next[i] = s->weight[i] + (1 - held / strength) / sum * s->pull[i];
    }
    return true;
}

/*
 * How many times s->pull, the smoothed step, can be taken while the objective still falls there and
 * no weight is below 0: a power of 2. Near a place where several rows lie, steps shorten by next to
 * nothing from one to the next and thousands of them would be needed. The objective is convex, so
 * it falls as long as its slope along the step, sum share_i <z - x_i, step> / |z - x_i|, is
 * negative; unlike the objective itself, the slope is not hidden by rows far out. s->room holds the
 * products with the step.
 */
static double stretch(const median_search *s, double squared_length)
{
    double own = 0;
    double most = 0x1p40;
    for (uint32_t i = 0; i <= s->rows; i++) {
        own += s->weight[i] * s->room[i];
        most = s->pull[i] < 0 ? fmin(most, -s->weight[i] / s->pull[i]) : most;
    }
    double factor = 1;
    for (int power = 1; ldexp(1, power) <= most; power++) {
        double longer = ldexp(1, power);
        double slope = 0;
        for (uint32_t i = 0; i < s->rows; i++) {
            double toward = own - s->room[i];
            double moved = longer * (2 * toward + longer * squared_length);
            double away = sqrt(fmax(0, s->distance[i] * s->distance[i] + moved));
            slope += s->share[i] * (toward + longer * squared_length) / fmax(s->nu, away);
        }
        if (!(slope < 0)) {
            break;
        }
        factor = longer;
    }
    return factor;
}

/*
 * Ends where a step is a small part (the root of the tolerance, which so bounds the change of the
 * objective) of the distance to the nearest row: the rows far out, which make up most of the
 * objective, have no say in it. A stretched step follows one that is not: the weights of such a
 * pair are functions of the iterate, so that their difference tells where weights go, too.
 */
static void iterate(csl_aggregation *a, median_search *s)
{
    bool byzfl = a->spec->preset == CSL_PRESET_BYZFL;
    bool stretched = true;
    double tolerance = csl_value(a, CSL_PARAMETER_TOLERANCE, 1e-12);
    uint32_t steps = csl_whole_value(a, CSL_PARAMETER_ITERATIONS, byzfl ? 3 : 1000);
    for (uint32_t step = 0; step < steps; step++) {
        smoothed_step(s);
        bool left = !byzfl && leave_row(s);
        double nearest = INFINITY;
        for (uint32_t i = 0; i < s->rows; i++) {
            nearest = fmin(nearest, fmax(s->nu, s->distance[i]));
        }
        for (uint32_t i = 0; i <= s->rows; i++) {
            s->pull[i] = s->next[i] - s->weight[i];
        }
        double length = csl_frame_length(&s->frame, s->pull, s->room);
        double factor = byzfl || left || stretched ? 1 : stretch(s, length);
        stretched = left || factor > 1;
        for (uint32_t i = 0; factor > 1 && i <= s->rows; i++) {
            s->next[i] = s->weight[i] + factor * s->pull[i];
        }
        memcpy(s->weight, s->next, (s->rows + 1) * sizeof *s->weight);
        a->report->iterations = step + 1;
        bool still = tolerance > 0 && !left;
        if (still && factor * factor * length <= tolerance * nearest * nearest) {
            break;
        }
    }
}

/* With half of the weight at one place the median is there. */
static csl_status check_shares(const csl_aggregation *a)
{
    double largest = 0;
    for (uint32_t k = 0; csl_uses_weights(a->spec) && k < a->f; k++) {
        double share = 0;
        uint32_t place = a->live_count - 1 - k;
        CSL_TRY(csl_order_statistic(a->live_weights, a->live_count, place, &share));
        largest += share;
    }
    return largest < 0.5 ? CSL_OK
                         : csl_fail(CSL_E_RANGE,
                                    "geometric-median: the %u largest weights are %.3g of their "
                                    "sum: expected less than 0.5, or f institutions could decide",
                                    a->f, largest);
}

csl_status csl_rule_geometric_median(csl_aggregation *a)
{
    CSL_TRY(check_shares(a));
    uint32_t m = a->row_count;
    median_search s = {.rows = m, .nu = fmax(1e-300, csl_value(a, CSL_PARAMETER_NU, 1e-6))};
    CSL_TRY(csl_frame_open(a, CSL_POINT_ORIGIN, true, &s.frame));
    s.share = csl_numbers(m, 1);
    s.weight = csl_numbers(m + 1, 1);
    s.distance = csl_numbers(m + 1, 1);
    s.next = csl_numbers(m + 1, 1);
    s.pull = csl_numbers(m + 1, 1);
    s.room = csl_numbers(m + 1, 1);
    bool complete = s.share && s.weight && s.distance && s.next && s.pull && s.room;
    csl_status status = complete ? CSL_OK : CSL_E_NO_MEMORY;
    if (status == CSL_OK) {
        for (uint32_t i = 0; i < m; i++) {
            s.share[i] = a->spec->weights != CSL_WEIGHTS_EQUAL ? a->live_weights[i] : 1.0 / m;
        }
        start(&s, a->spec->preset == CSL_PRESET_BYZFL); /* ByzFL starts at zero */
        iterate(a, &s);
        status = csl_answer_rows(a, s.weight);
    }
    if (status == CSL_OK) {
        csl_frame_distances(&s.frame, s.weight, s.distance);
        csl_set_scores(a, "squared distance to the aggregate", s.distance);
    }
    csl_frame_close(&s.frame);
    free(s.share);
    free(s.weight);
    free(s.distance);
    free(s.next);
    free(s.pull);
    free(s.room);
    return status;
}
