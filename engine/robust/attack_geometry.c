/*
 * Attacks whose answer is found on n x n numbers: Min-Max and Min-Sum in closed form, and Fang's
 * attack on Krum. All distances are exact sums, so every rank finds the same answer.
 */
#include "attack_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

csl_status csl_attack_distances(csl_attack_job *job,
                                csl_status own,
                                const float *const *rows,
                                uint32_t n,
                                uint32_t lead,
                                double *out)
{
    size_t pairs = csl_pair_count(lead, n);
    csl_exact_sum *sums = calloc(pairs + 1, sizeof *sums);
    if (own == CSL_OK) {
        own = sums ? job->kernels->row_squared_distances(job->device, rows, n, lead,
                                                         job->column_count, sums)
                   : csl_fail(CSL_E_NO_MEMORY, "attack: no memory for %zu distances", pairs);
    }
    csl_status status =
        csl_exchange(job->aggregation, own, (int64_t *)sums, pairs * CSL_EXACT_WORDS);
    for (size_t i = 0; status == CSL_OK && i < pairs; i++) {
        out[i] = csl_exact_value(&sums[i]);
    }
    free(sums);
    return status;
}

/* The mean into job->mean and the direction the study asks for into job->direction. */
static csl_status find_direction(csl_attack_job *job)
{
    int kind = (int)csl_attack_value(job->spec, CSL_ATTACK_DIRECTION, 0);
    csl_column_statistics statistics = {.mean = job->mean};
    statistics.deviation = kind == 0 ? job->direction : NULL;
    statistics.sign_of_mean = kind == 1 ? job->direction : NULL;
    CSL_TRY(csl_attack_statistics(job, &statistics));
    return kind == 2 ? csl_device_copy(job->device, job->direction, job->mean,
                                       job->column_count * sizeof(float), CSL_COPY_WITHIN_DEVICE)
                     : CSL_OK;
}

/* What both attacks measure: a_i = ||mu - x_i||^2, D_ij, and b_i = <p, mu - x_i> for p scaled to
 * the length sqrt(R), R the largest D_ij; c = ||p||^2 after rounding. */
typedef struct geometry {
    uint32_t h;
    double *pair; /* [pairs of mu, x_1 .. x_h] */
    double *away; /* [pairs of q = mu - p with mu, x_1 .. x_h] */
    double diameter;
    double scale; /* of the direction as it lies in memory */
    double unit;  /* its length where a unit vector is asked for, else 1 */
    double square;
} geometry;

static double honest_pair(const geometry *g, uint32_t i, uint32_t j)
{
    return g->pair[csl_pair_index(i + 1, j + 1, g->h + 1)];
}
static double to_mean(const geometry *g, uint32_t i)
{
    return g->pair[csl_pair_index(0, i + 1, g->h + 1)];
}
static double along(const geometry *g, uint32_t i)
{
    double distance = g->away[csl_pair_index(0, i + 2, g->h + 2)];
    return (to_mean(g, i) + g->square - distance) / 2;
}

static csl_status measure(csl_attack_job *job, geometry *g)
{
    const float *rows[CSL_ROWS_MAX + 2];
    double length = 0;
    /* From the zero vector to the direction: hostile row 0 is not written yet. */
    csl_status status = find_direction(job);
    if (status == CSL_OK) {
        status = csl_attack_combine(job, 0, 0, job->out[0]);
    }
    rows[0] = job->out[0];
    rows[1] = job->direction;
    CSL_TRY(csl_attack_distances(job, status, rows, 2, 1, &length));
    rows[0] = job->mean;
    memcpy(rows + 1, job->honest, g->h * sizeof *rows);
    CSL_TRY(csl_attack_distances(job, CSL_OK, rows, g->h + 1, g->h + 1, g->pair));
    for (uint32_t i = 0; i < g->h; i++) {
        for (uint32_t j = i + 1; j < g->h; j++) {
            g->diameter = fmax(g->diameter, honest_pair(g, i, j));
        }
    }
    bool unit = csl_attack_value(job->spec, CSL_ATTACK_DIRECTION, 0) == 2;
    g->unit = unit ? sqrt(length) : 1;
    g->scale = length > 0 && g->diameter > 0 ? sqrt(g->diameter / length) : 0;
    status = csl_attack_combine(job, 1, -g->scale, job->out[0]);
    rows[0] = job->out[0];
    rows[1] = job->mean;
    memcpy(rows + 2, job->honest, g->h * sizeof *rows);
    CSL_TRY(csl_attack_distances(job, status, rows, g->h + 2, 1, g->away));
    g->square = g->away[csl_pair_index(0, 1, g->h + 2)];
    return CSL_OK;
}

/* ||mu - g p - x_i||^2 = a_i - 2 g b_i + g^2 c: largest g with all of them at most R. */
static double largest_for_maximum(const geometry *g)
{
    double best = INFINITY;
    for (uint32_t i = 0; i < g->h; i++) {
        double b = along(g, i);
        double room = fmax(g->diameter - to_mean(g, i), 0);
        best = fmin(best, (b + sqrt(b * b + g->square * room)) / g->square);
    }
    return best;
}

/* The same for the sum over i, and the largest honest sum. */
static double largest_for_sum(const geometry *g)
{
    double bound = 0;
    double a = 0;
    double b = 0;
    for (uint32_t i = 0; i < g->h; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < g->h; j++) {
            sum += i < j ? honest_pair(g, i, j) : i > j ? honest_pair(g, j, i) : 0;
        }
        bound = fmax(bound, sum);
        a += to_mean(g, i);
        b += along(g, i);
    }
    double c = g->h * g->square;
    return (b + sqrt(b * b + c * fmax(bound - a, 0))) / c;
}

static csl_status push_away(csl_attack_job *job, double (*largest)(const geometry *))
{
    geometry g = {.h = job->honest_count};
    g.pair = csl_numbers(csl_pair_count(g.h + 1, g.h + 1) + 1, 1);
    g.away = csl_numbers(g.h + 2, 1);
    csl_status status =
        csl_exchange(job->aggregation, g.pair && g.away ? CSL_OK : CSL_E_NO_MEMORY, NULL, 0);
    if (status == CSL_OK) {
        status = measure(job, &g);
    }
    if (status == CSL_OK) {
        /* All honest rows alike, or no direction: nothing but the mean passes. */
        double factor = g.square > 0 ? largest(&g) : 0;
        job->report.factor = factor * g.scale * g.unit;
        status = csl_attack_combine(job, 1, -factor * g.scale, job->out[0]);
    }
    if (status == CSL_OK) {
        status = csl_attack_repeat(job);
    }
    free(g.pair);
    free(g.away);
    return status;
}

csl_status csl_attack_min_max(csl_attack_job *job)
{
    return push_away(job, largest_for_maximum);
}

csl_status csl_attack_min_sum(csl_attack_job *job)
{
    return push_away(job, largest_for_sum);
}

/* Fang's attack on Krum: distances between honest rows, norms a_i and products b_i with the sign
 * vector s, from which every distance from -lambda s follows. */
typedef struct krum_view {
    uint32_t h;
    uint32_t m;
    uint32_t neighbours;
    double *pair;  /* [pairs of the zero vector, -s, x_1 .. x_h] */
    double *score; /* [h + m] room */
} krum_view;

static double view_pair(const krum_view *view, uint32_t i, uint32_t j)
{
    return view->pair[csl_pair_index(i < j ? i : j, i < j ? j : i, view->h + 2)];
}

/* ||-lambda s - x_i||^2 = lambda^2 ||s||^2 - lambda (||s||^2 + ||x_i||^2 - ||-s - x_i||^2) ... */
static double attacker_to(const krum_view *view, double lambda, uint32_t i)
{
    double square = view_pair(view, 0, 1);
    double norm = view_pair(view, 0, i + 2);
    double product = (square + norm - view_pair(view, 1, i + 2)) / 2; /* <-s, x_i> */
    return fmax(lambda * lambda * square - 2 * lambda * product + norm, 0);
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static double sum_of_least(double *values, uint32_t count, uint32_t keep)
{
    qsort(values, count, sizeof *values, ascending);
    double sum = 0;
    for (uint32_t i = 0; i < keep && i < count; i++) {
        sum += values[i];
    }
    return sum;
}

static bool krum_picks(const krum_view *view, double lambda)
{
    uint32_t count = 0;
    for (; count + 1 < view->m; count++) {
        view->score[count] = 0; /* the other attackers */
    }
    for (uint32_t i = 0; i < view->h; i++) {
        view->score[count++] = attacker_to(view, lambda, i);
    }
    double own = sum_of_least(view->score, count, view->neighbours);
    for (uint32_t i = 0; i < view->h; i++) {
        count = 0;
        for (uint32_t j = 0; j < view->h; j++) {
            if (j != i) {
                view->score[count++] = view_pair(view, i + 2, j + 2);
            }
        }
        for (uint32_t k = 0; k < view->m; k++) {
            view->score[count++] = attacker_to(view, lambda, i);
        }
        if (sum_of_least(view->score, count, view->neighbours) <= own) {
            return false;
        }
    }
    return true;
}

/* Fang et al. 2020, theorem 1: lambda above this is never picked. distances, not squared. */
static double upper_bound(const krum_view *view)
{
    double root = sqrt(view_pair(view, 0, 1));
    double least = INFINITY;
    double farthest = 0;
    for (uint32_t i = 0; i < view->h; i++) {
        uint32_t count = 0;
        for (uint32_t j = 0; j < view->h; j++) {
            if (j != i) {
                view->score[count++] = sqrt(view_pair(view, i + 2, j + 2));
            }
        }
        least = fmin(least, sum_of_least(view->score, count, view->neighbours));
        farthest = fmax(farthest, sqrt(view_pair(view, 0, i + 2)));
    }
    int64_t divisor = (int64_t)view->h - view->m - 1;
    return (least / (double)(divisor > 1 ? divisor : 1) + farthest) / root;
}

static csl_status find_lambda(csl_attack_job *job, krum_view *view, double *lambda_out)
{
    const float *rows[CSL_ROWS_MAX + 2];
    const csl_column_statistics statistics = {.sign_of_mean = job->direction};
    csl_status status = csl_attack_statistics(job, &statistics);
    if (status == CSL_OK) {
        status = csl_attack_combine(job, 0, -1, job->out[0]); /* -s */
    }
    const float *sign = job->direction;
    double zero = 0;
    if (status == CSL_OK) {
        status = job->kernels->row_weighted_mean(job->device, &sign, &zero, 1, job->column_count,
                                                 job->mean, NULL);
    }
    rows[0] = job->mean; /* the zero vector from here on */
    rows[1] = job->out[0];
    memcpy(rows + 2, job->honest, view->h * sizeof *rows);
    CSL_TRY(csl_attack_distances(job, status, rows, view->h + 2, view->h + 2, view->pair));
    if (!(view_pair(view, 0, 1) > 0)) {
        *lambda_out = 0; /* the mean is zero: no direction to deviate from */
        return CSL_OK;
    }
    double threshold = csl_attack_value(job->spec, CSL_ATTACK_THRESHOLD, 0);
    double lambda = upper_bound(view);
    while (lambda >= threshold && !krum_picks(view, lambda)) {
        lambda /= 2;
        job->report.evaluations++;
    }
    *lambda_out = lambda;
    return CSL_OK;
}

csl_status csl_attack_fang_krum(csl_attack_job *job)
{
    krum_view view = {.h = job->honest_count,
                      .m = job->hostile_count,
                      .neighbours = job->row_count - job->hostile_count - 2};
    view.pair = csl_numbers(csl_pair_count(view.h + 2, view.h + 2), 1);
    view.score = csl_numbers(view.h + view.m, 1);
    csl_status status = view.pair && view.score ? CSL_OK : CSL_E_NO_MEMORY;
    status = csl_exchange(job->aggregation, status, NULL, 0);
    double lambda = 0;
    if (status == CSL_OK) {
        status = find_lambda(job, &view, &lambda);
    }
    if (status == CSL_OK) {
        job->report.factor = lambda;
        status = csl_attack_combine(job, 0, -lambda, job->out[0]);
    }
    if (status == CSL_OK) {
        status = csl_attack_repeat(job);
    }
    free(view.pair);
    free(view.score);
    return status;
}
