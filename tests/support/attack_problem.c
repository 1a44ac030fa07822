#include "attack_problem.h"

#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

uint32_t below(uint32_t bound)
{
    return (uint32_t)(csl_test_random() % bound);
}

problem make_problem(const char *attack, uint32_t n, uint32_t m, size_t d)
{
    problem p = {.n = n, .m = m, .d = d, .round = 3};
    snprintf(p.spec.attack, sizeof p.spec.attack, "%s", attack);
    p.spec.seed = csl_test_random();
    csl_aggregate_spec_init(&p.rule);
    snprintf(p.rule.rule, sizeof p.rule.rule, "median");
    p.rule.f = m;
    p.x = malloc(n * d * sizeof *p.x);
    p.out = calloc(m * d, sizeof *p.out);
    p.previous = malloc(d * sizeof *p.previous);
    uint32_t hostile = 0;
    uint32_t honest = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool chosen = below(n - i) < m - hostile;
        if (chosen) {
            p.hostile[hostile++] = i;
        } else {
            p.honest[honest++] = i;
        }
        for (size_t j = 0; j < d; j++) {
            double mean = sin((double)j) + 0.5;
            p.x[i * d + j] = (float)(mean + (chosen ? 3 : 1) * csl_test_normal());
        }
    }
    for (size_t j = 0; j < d; j++) {
        p.previous[j] = (float)csl_test_normal();
    }
    return p;
}

problem any_problem(const char *attack)
{
    uint32_t n = 5 + below(14);
    uint32_t m = 1 + below((n - 3) / 2);
    return make_problem(attack, n, m, 1 + below(6000));
}

void free_problem(problem *p)
{
    free(p->x);
    free(p->previous);
    free(p->out);
}

void set(problem *p, const char *name, double value)
{
    CHECK_OK(csl_attack_spec_set(&p->spec, name, value));
}

static float *to_device(csl_device *device, const float *values, size_t count)
{
    void *memory = NULL;
    CHECK_OK(csl_device_alloc(device, (count + 1) * sizeof(float), &memory));
    CHECK_OK(csl_device_copy(device, memory, values, count * sizeof(float), CSL_COPY_TO_DEVICE));
    return memory;
}

static csl_aggregate_memory *read_back(const problem *p, csl_device *device, const place *at)
{
    csl_aggregate_memory *memory = NULL;
    CHECK_OK(csl_aggregate_memory_create(device, at->count, &memory));
    for (uint32_t i = 0; i < p->n; i++) {
        if (p->has_kept[i]) {
            CHECK_OK(csl_aggregate_memory_set(memory, CSL_MEMORY_HISTORY + i, 0, at->count,
                                              p->kept + i * p->d + at->begin));
        }
    }
    return memory;
}

static void write_out(problem *p, csl_aggregate_memory *memory, const place *at)
{
    for (uint32_t i = 0; i < p->n; i++) {
        p->has_kept[i] = csl_aggregate_memory_has(memory, CSL_MEMORY_HISTORY + i);
        if (p->has_kept[i]) {
            CHECK_OK(csl_aggregate_memory_get(memory, CSL_MEMORY_HISTORY + i, 0, at->count,
                                              p->kept + i * p->d + at->begin));
        }
    }
    csl_aggregate_memory_destroy(memory);
}

csl_status attack_at(problem *p, const place *at)
{
    csl_device *device = NULL;
    CHECK_OK(csl_device_open(at->resource, at->threads, &device));
    const float *rows[64];
    float *sent[64];
    for (uint32_t i = 0; i < p->n; i++) {
        rows[i] = to_device(device, p->x + i * p->d + at->begin, at->count);
    }
    for (uint32_t k = 0; k < p->m; k++) {
        sent[k] = to_device(device, p->out, at->count);
    }
    float *previous = p->previous ? to_device(device, p->previous + at->begin, at->count) : NULL;
    csl_aggregate_input aggregation = {.device = device,
                                       .row_count = p->n,
                                       .column_begin = at->begin,
                                       .column_count = at->count,
                                       .column_total = p->d,
                                       .rows = rows,
                                       .round = p->round,
                                       .exchange = at->exchange};
    csl_aggregate_memory *memory = p->kept ? read_back(p, device, at) : NULL;
    csl_attack_input input = {&p->rule, &aggregation, p->hostile, p->m, previous, memory};
    csl_status status = csl_attack(&p->spec, &input, sent, &p->report);
    if (memory) {
        write_out(p, memory, at);
    }
    for (uint32_t k = 0; k < p->m; k++) {
        if (status == CSL_OK) {
            CHECK_OK(csl_device_copy(device, p->out + k * p->d + at->begin, sent[k],
                                     at->count * sizeof(float), CSL_COPY_TO_HOST));
        }
        csl_device_free(device, sent[k]);
    }
    for (uint32_t i = 0; i < p->n; i++) {
        csl_device_free(device, csl_test_owned(rows[i]));
    }
    csl_device_free(device, previous);
    csl_device_close(device);
    return status;
}

csl_status attack(problem *p)
{
    place at = {.resource = "host", .threads = 1, .count = p->d};
    return attack_at(p, &at);
}
