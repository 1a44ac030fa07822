/*
 * Breakdown. Inside a rule's bound on f the aggregate stays where the honest rows say, however far
 * the hostile ones go; the allowance of each rule follows from its definition, see `allowance`.
 * Outside, colluders carry it along, where theory says so.
 */
#include "council.h"
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERNS = 4, REPEATS = CSL_TEST_REPEATS(3) };

typedef enum allowance {
    /* Each coordinate between the honest extremes, and `times` their distance beyond: an order
     * statistic among a majority of honest values, or a mean of values as close to one as these. */
    ALLOW_BOX,
    /* `times` the largest distance between honest rows, from the honest mean. */
    ALLOW_BALL,
    /* As long as the longest honest row: the rule clips at, or drops beyond, an honest norm. */
    ALLOW_NORM,
    ALLOW_ROOT, /* as long as the trusted update */
    ALLOW_SIGNS /* the sign of a coordinate in which all honest rows agree */
} allowance;

typedef struct safe_case {
    const char *rule;
    const char *pre;
    allowance kind;
    double (*times)(uint32_t n, uint32_t f, size_t d);
} safe_case;

static double none(uint32_t n, uint32_t f, size_t d)
{
    (void)n;
    (void)f;
    (void)d;
    return 0;
}
static double one(uint32_t n, uint32_t f, size_t d)
{
    return 1 + none(n, f, d);
}
static double two(uint32_t n, uint32_t f, size_t d)
{
    return 2 + none(n, f, d);
}
/* A picked row scores no more than an honest one, whose n-f-2 distances are honest; at least one
 * of its own neighbours is honest. */
static double krum_times(uint32_t n, uint32_t f, size_t d)
{
    return 1 + sqrt((double)n) + none(n, f, d);
}
/* Minsker 2015, lemma 2.1. */
static double median_times(uint32_t n, uint32_t f, size_t d)
{
    return 2 * (double)(n - f) / (double)(n - 2 * f) + none(n, f, d);
}
/* The subset's top eigenvalue is at most the honest one's, so its hostile part, a share of at most
 * f / (n-f), is at most this far from its honest part. */
static double smea_times(uint32_t n, uint32_t f, size_t d)
{
    return 2 + sqrt((double)f / (double)(n - 2 * f)) + none(n, f, d);
}
/* Allouah et al. 2025, theorem 2, with room: a constant times sqrt(f / (n-2f)) deviations. */
static double caf_times(uint32_t n, uint32_t f, size_t d)
{
    return 6 * (1 + (double)f / (double)(n - 2 * f)) + none(n, f, d);
}
/* From the coordinate median, which is in the honest box, honest rows are at most its diagonal. */
static double box_times(uint32_t n, uint32_t f, size_t d)
{
    return 2 * sqrt((double)d) + 1 + none(n, f, 0);
}
/* Honest rows are mixed with rows no further away than the honest diameter. */
static double mixed_box_times(uint32_t n, uint32_t f, size_t d)
{
    return 3 * sqrt((double)d) + none(n, f, 0);
}
static double mixed_krum_times(uint32_t n, uint32_t f, size_t d)
{
    return 1 + 3 * krum_times(n, f, d);
}

static const safe_case safe_cases[] = {
    {"median", "", ALLOW_BOX, none},
    {"trimmed-mean", "", ALLOW_BOX, none},
    {"meamed", "", ALLOW_BOX, one},
    {"phocas", "", ALLOW_BOX, one},
    {"bulyan", "", ALLOW_BOX, one},
    {"krum", "", ALLOW_BALL, krum_times},
    {"multi-krum", "", ALLOW_BALL, krum_times},
    {"mda", "", ALLOW_BALL, two},
    {"monna", "", ALLOW_BALL, two}, /* the pivot, row 0, is honest here */
    {"geometric-median", "", ALLOW_BALL, median_times},
    {"smea", "", ALLOW_BALL, smea_times},
    {"caf", "", ALLOW_BALL, caf_times},
    {"aksel", "", ALLOW_BALL, box_times},
    {"median", "nnm", ALLOW_BALL, mixed_box_times},
    {"trimmed-mean", "nnm", ALLOW_BALL, mixed_box_times},
    {"krum", "nnm", ALLOW_BALL, mixed_krum_times},
    {"cge", "", ALLOW_NORM, none},
    {"norm-clipping", "", ALLOW_NORM, none},
    {"flame", "", ALLOW_NORM, none},
    {"signguard", "", ALLOW_NORM, none},
    {"mean", "arc", ALLOW_NORM, none},
    {"mean", "clipping", ALLOW_NORM, none},
    {"fltrust", "", ALLOW_ROOT, none},
    {"sign-majority", "", ALLOW_SIGNS, none},
};
enum { SAFE_COUNT = sizeof safe_cases / sizeof safe_cases[0] };

static double value(const council *c, uint32_t i, size_t j)
{
    return (double)c->x[i * c->d + j];
}

static double honest_mean(const council *c, uint32_t honest, size_t j)
{
    double sum = 0;
    for (uint32_t i = 0; i < honest; i++) {
        sum += value(c, i, j) / honest;
    }
    return sum;
}

static double honest_diameter(const council *c, uint32_t honest)
{
    double most = 0;
    for (uint32_t a = 0; a < honest; a++) {
        for (uint32_t b = 0; b < a; b++) {
            double sum = 0;
            for (size_t j = 0; j < c->d; j++) {
                sum += pow(value(c, a, j) - value(c, b, j), 2);
            }
            most = fmax(most, sqrt(sum));
        }
    }
    return most;
}

/* The last rows are hostile: colluders far out; each far out elsewhere; colluders just outside;
 * honest rows reversed and made long. */
static void corrupt(council *c, uint32_t honest, int pattern, double far)
{
    double *direction = malloc(c->d * sizeof *direction);
    double diameter = honest_diameter(c, honest);
    for (uint32_t i = honest; i < c->n; i++) {
        double norm = 0;
        for (size_t j = 0; j < c->d && (i == honest || pattern == 1); j++) {
            direction[j] = csl_test_normal();
        }
        for (size_t j = 0; j < c->d; j++) {
            norm += direction[j] * direction[j];
        }
        for (size_t j = 0; j < c->d; j++) {
            double step = (pattern == 2 ? 3 * diameter : far) * direction[j] / sqrt(norm);
            double sent = honest_mean(c, honest, j) + step;
            c->x[i * c->d + j] = (float)(pattern == 3 ? -far * value(c, i % honest, j) : sent);
        }
    }
    free(direction);
}

static double length(const float *row, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        sum += (double)row[j] * (double)row[j];
    }
    return sqrt(sum);
}

static bool in_box(const council *c, uint32_t honest, double beyond)
{
    for (size_t j = 0; j < c->d; j++) {
        double low = INFINITY;
        double high = -INFINITY;
        for (uint32_t i = 0; i < honest; i++) {
            low = fmin(low, value(c, i, j));
            high = fmax(high, value(c, i, j));
        }
        double room = beyond * (high - low) + 1e-6 * fmax(fabs(low), fabs(high));
        double found = (double)c->out[j];
        if (!(found >= low - room && found <= high + room)) {
            return false;
        }
    }
    return true;
}

static double from_mean(const council *c, uint32_t honest)
{
    double sum = 0;
    for (size_t j = 0; j < c->d; j++) {
        sum += pow((double)c->out[j] - honest_mean(c, honest, j), 2);
    }
    return sqrt(sum);
}

static bool signs_stand(const council *c, uint32_t honest)
{
    for (size_t j = 0; j < c->d; j++) {
        uint32_t positive = 0;
        uint32_t negative = 0;
        for (uint32_t i = 0; i < honest; i++) {
            positive += value(c, i, j) > 0;
            negative += value(c, i, j) < 0;
        }
        if ((positive == honest && c->out[j] != 1) || (negative == honest && c->out[j] != -1)) {
            return false;
        }
    }
    return true;
}

static bool is_allowed(const council *c, uint32_t honest, const safe_case *safe)
{
    double times = safe->times(c->n, c->spec.f, c->d);
    double longest = 0;
    for (uint32_t i = 0; i < honest; i++) {
        longest = fmax(longest, length(c->x + i * c->d, c->d));
    }
    switch (safe->kind) {
    case ALLOW_BOX:
        return in_box(c, honest, times);
    case ALLOW_BALL:
        return from_mean(c, honest) <= times * honest_diameter(c, honest) + 1e-5 * (1 + longest);
    case ALLOW_NORM:
        return length(c->out, c->d) <= longest * (1 + 1e-5);
    case ALLOW_ROOT:
        return length(c->out, c->d) <= length(c->root, c->d) * (1 + 1e-5);
    case ALLOW_SIGNS:
        return signs_stand(c, honest);
    }
    return false;
}

static void inside_the_bound_hostile_rows_go_nowhere(void)
{
    static const double distances[] = {1e2, 1e4, 1e6};
    for (size_t k = 0; k < SAFE_COUNT; k++) {
        const safe_case *safe = &safe_cases[k];
        for (int run = 0; run < REPEATS * PATTERNS * 3; run++) {
            uint32_t n = 7 + (uint32_t)(csl_test_random() % 7);
            int64_t most = most_faults(safe->rule, safe->pre, n);
            most = most < (n - 1) / 2 ? most : (n - 1) / 2; /* fltrust takes any f */
            CU_ASSERT_FATAL(most > 0);
            size_t d = run % 4 == 0 ? 1 : 1 + (size_t)(csl_test_random() % 60);
            council c = make_council(safe->rule, safe->pre, (uint32_t)most, n, d);
            uint32_t honest = n - (uint32_t)most;
            for (uint32_t i = 0; i < honest; i++) {
                for (size_t j = 0; j < d; j++) {
                    c.x[i * d + j] += j % 2 ? -1.0F : 2.0F;
                }
            }
            corrupt(&c, honest, run % PATTERNS, distances[run / PATTERNS % 3]);
            if (strcmp(safe->rule, "flame") == 0) {
                set_parameter(&c, "noise", 0);
            }
            CHECK_OK(decide(&c, NULL));
            bool allowed = is_allowed(&c, honest, safe);
            if (!allowed) {
                say_council(&c, "carried away");
                printf("pattern %d, distance %g: %g from the mean, diameter %g\n", run % PATTERNS,
                       distances[run / PATTERNS % 3], from_mean(&c, honest),
                       honest_diameter(&c, honest));
            }
            CU_ASSERT(allowed);
            free_council(&c);
        }
    }
}

/* The last `hostile` of 11 rows collude, one more than the rule stands: f + 1 where the rule keeps
 * n - f rows or values and so at least one of theirs; a majority where it follows one (Krum: the
 * n - f - 2 neighbours of each and itself). */
static void outside_the_bound_colluders_carry_the_aggregate(void)
{
    static const struct {
        const char *rule;
        const char *pre;
        uint32_t f;
        uint32_t hostile;
    } cases[] = {{"mean", "", 0, 1},
                 {"weighted-mean", "", 0, 1},
                 {"rlr", "", 2, 1},
                 {"foolsgold", "", 2, 1},
                 {"trimmed-mean", "", 2, 3},
                 {"meamed", "", 2, 3},
                 {"phocas", "", 2, 3},
                 {"mda", "", 2, 3},
                 {"monna", "", 2, 3},
                 {"smea", "", 2, 3},
                 {"dnc", "", 2, 3},
                 {"cge", "", 2, 3},
                 {"median", "nnm", 2, 3},
                 {"trimmed-mean", "nnm", 2, 3},
                 {"median", "", 5, 6},
                 {"trimmed-mean", "", 5, 6},
                 {"geometric-median", "", 5, 6},
                 {"aksel", "", 5, 6},
                 {"caf", "", 5, 6},
                 {"krum", "", 4, 6},
                 {"multi-krum", "", 4, 6},
                 {"bulyan", "", 2, 6}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        double moved[2];
        council c = make_council(cases[k].rule, cases[k].pre, cases[k].f, 11, 400);
        uint32_t honest = c.n - cases[k].hostile;
        for (int step = 0; step < 2; step++) {
            double far = step ? 1e7 : 1e5;
            for (uint32_t i = honest; i < c.n; i++) {
                for (size_t j = 0; j < c.d; j++) {
                    c.x[i * c.d + j] = (float)(j % 2 ? far : -far);
                }
            }
            CHECK_OK(decide(&c, NULL));
            moved[step] = from_mean(&c, honest);
        }
        if (!(moved[0] > 1e3 && moved[1] > 20 * moved[0])) {
            say_council(&c, "stays");
            printf("%g, then %g\n", moved[0], moved[1]);
            CU_FAIL("the aggregate does not follow the colluders");
        }
        free_council(&c);
    }
}

/* One step from zero moves by at most tau, and hostile rows have f / n of it. */
static void centered_clipping_gives_f_rows_their_share_of_tau(void)
{
    for (int run = 0; run < 12; run++) {
        council c = make_council("centered-clipping", "", 3, 8, 30);
        double tau = 0.5 + csl_test_uniform();
        set_parameter(&c, "tau", tau);
        float *zeros = malloc(c.d * sizeof *zeros);
        for (uint32_t i = 5; i < 8; i++) {
            memset(c.x + i * c.d, 0, c.d * sizeof *c.x);
        }
        CHECK_OK(decide(&c, NULL));
        memcpy(zeros, c.out, c.d * sizeof *zeros);
        corrupt(&c, 5, run % PATTERNS, 1e6);
        CHECK_OK(decide(&c, NULL));
        CU_ASSERT(length(c.out, c.d) <= tau * (1 + 1e-5));
        for (size_t j = 0; j < c.d; j++) {
            zeros[j] -= c.out[j];
        }
        CU_ASSERT(length(zeros, c.d) <= 3 * tau / 8 * (1 + 1e-5));
        free(zeros);
        free_council(&c);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"inside the bound hostile rows go nowhere", inside_the_bound_hostile_rows_go_nowhere},
        {"outside the bound colluders carry the aggregate",
         outside_the_bound_colluders_carry_the_aggregate},
        {"centered clipping gives f rows their share of tau",
         centered_clipping_gives_f_rows_their_share_of_tau},
    };
    return csl_test_main("robust breakdown", cases, sizeof cases / sizeof *cases);
}
