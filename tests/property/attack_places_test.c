/* Every attack gives the same bits on any device, threads and shards of the columns; and what it
 * cannot do is refused. */
#include "attack_problem.h"
#include "test_support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two threads that each hold a part of the columns and add integers over both. */
typedef struct meeting {
    pthread_barrier_t barrier;
    int64_t *values[2];
} meeting;
typedef struct half {
    meeting *both;
    int side;
    problem *p;
    place at;
    csl_status status;
} half;

static csl_status add_over_halves(void *context, int64_t *values, size_t count)
{
    half *one = context;
    one->both->values[one->side] = values;
    pthread_barrier_wait(&one->both->barrier);
    const int64_t *other = one->both->values[1 - one->side];
    int64_t *sum = malloc((count + 1) * sizeof *sum);
    for (size_t i = 0; i < count; i++) {
        sum[i] = values[i] + other[i];
    }
    pthread_barrier_wait(&one->both->barrier);
    memcpy(values, sum, count * sizeof *sum);
    free(sum);
    return CSL_OK;
}

static void *attack_half(void *context)
{
    half *one = context;
    one->status = attack_at(one->p, &one->at);
    return NULL;
}

static void attack_in_halves(problem *p, size_t cut)
{
    meeting both;
    pthread_barrier_init(&both.barrier, NULL, 2);
    problem parts[2] = {*p, *p}; /* both write their columns of the same rows */
    half halves[2];
    pthread_t threads[2];
    for (int side = 0; side < 2; side++) {
        halves[side] = (half){.both = &both, .side = side, .p = &parts[side]};
        halves[side].at = (place){.resource = "host",
                                  .threads = 1,
                                  .begin = side ? cut : 0,
                                  .count = side ? p->d - cut : cut,
                                  .exchange = {&halves[side], add_over_halves}};
        CU_ASSERT(pthread_create(&threads[side], NULL, attack_half, &halves[side]) == 0);
    }
    for (int side = 0; side < 2; side++) {
        pthread_join(threads[side], NULL);
        CHECK_OK(halves[side].status);
    }
    pthread_barrier_destroy(&both.barrier);
}

static void every_attack_gives_the_same_bits_wherever_it_runs(void)
{
    size_t count = 0;
    const csl_attack_info *infos = csl_attacks(&count);
    for (size_t a = 0; a < count; a++) {
        problem p = make_problem(infos[a].name, 9, 2, 2 * CSL_TILE + 1 + below(3000));
        snprintf(p.rule.rule, sizeof p.rule.rule, "centered-clipping");
        size_t size = p.m * p.d * sizeof *p.out;
        if (strcmp(infos[a].name, "mimic") == 0) { /* with sums that lie on each place's shards */
            set(&p, "warmup", 5);
            p.kept = calloc(p.n * p.d, sizeof *p.kept);
        }
        CHECK_OK(attack(&p));
        float *first = malloc(size);
        memcpy(first, p.out, size);
        static const place others[] = {{.resource = "host:guard", .threads = 1},
                                       {.resource = "host", .threads = 3}};
        for (int c = 0; c < 4; c++) {
            memset(p.out, 0x55, size);
            memset(p.has_kept, 0, sizeof p.has_kept);
            if (c < 2) {
                place at = others[c];
                at.count = p.d;
                CHECK_OK(attack_at(&p, &at));
            } else {
                attack_in_halves(&p, c == 2 ? CSL_TILE : 0);
            }
            if (memcmp(first, p.out, size) != 0) {
                printf("%s, case %d\n", infos[a].name, c);
                CU_FAIL("other bits");
            }
        }
        free(first);
        free(p.kept);
        free_problem(&p);
    }
}

static void what_an_attack_cannot_do_is_refused(void)
{
    csl_attack_spec spec = {.attack = "alie"};
    CHECK_OK(csl_attack_check(&spec, 5, 2));
    CHECK_STATUS(csl_attack_check(&spec, 5, 0), CSL_E_RANGE);
    CHECK_STATUS(csl_attack_check(&spec, 5, 6), CSL_E_RANGE);
    CHECK_STATUS(csl_attack_spec_set(&spec, "zz", 1), CSL_E_NOT_FOUND);
    CHECK_CONTAINS(csl_error_message(), "did you mean 'z'");
    CHECK_STATUS(csl_attack_spec_set(&spec, "own", 0.5), CSL_E_RANGE);
    CHECK_OK(csl_attack_spec_set(&spec, "own", 1));
    CHECK_STATUS(csl_attack_check(&spec, 5, 2), CSL_E_INVALID_ARG);
    snprintf(spec.attack, sizeof spec.attack, "allie");
    CHECK_STATUS(csl_attack_check(&spec, 5, 2), CSL_E_NOT_FOUND);
    CHECK_CONTAINS(csl_error_message(), "did you mean 'alie'");
    problem p = make_problem("zero", 5, 2, 10);
    p.hostile[1] = p.hostile[0];
    CHECK_STATUS(attack(&p), CSL_E_RANGE);
    p.hostile[1] = 5;
    CHECK_STATUS(attack(&p), CSL_E_RANGE);
    free_problem(&p);
    /* Nobody honest: the hostile ones play them. */
    p = make_problem("sign-flip", 3, 3, 10);
    CHECK_OK(attack(&p));
    CHECK_NEAR((double)p.out[0], -((double)p.x[0] + (double)p.x[10] + (double)p.x[20]) / 3, 1e-5);
    free_problem(&p);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every attack gives the same bits wherever it runs",
         every_attack_gives_the_same_bits_wherever_it_runs},
        {"what an attack cannot do is refused", what_an_attack_cannot_do_is_refused},
    };
    return csl_test_main("attack places", cases, sizeof cases / sizeof *cases);
}
