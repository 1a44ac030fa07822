#include "nn/plan.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, BUFFERS_PER_NODE = 6 };

/* What is known while the plan is made. */
typedef struct planner {
    csl_plan *plan;
    const csl_graph *graph;
    uint32_t end;       /* time after which nothing runs */
    uint32_t *last_use; /* [values] time of a value's last use */
    uint32_t *buffer;   /* [values] where a value lies */
    uint32_t *gradient; /* [values] where its gradient lies, CSL_NO_BUFFER so far */
    uint32_t *owners;   /* [buffers] values whose gradient it holds now */
} planner;

static uint32_t backward_time(const planner *p, uint32_t node)
{
    return 2 * p->graph->node_count - node;
}

static uint32_t add_buffer(planner *p, uint64_t image_count, uint64_t fixed_count, uint32_t time)
{
    uint32_t index = p->plan->buffer_count++;
    p->plan->buffers[index] = (csl_buffer){image_count, fixed_count, time, time, 0};
    return index;
}

static void use(planner *p, uint32_t buffer, uint32_t time)
{
    csl_buffer *b = &p->plan->buffers[buffer];
    b->last = time > b->last ? time : b->last;
}

static void note_use(planner *p, uint32_t value, uint32_t time)
{
    p->last_use[value] = time > p->last_use[value] ? time : p->last_use[value];
}

static bool needs_input(csl_layer_kind kind)
{
    return kind == CSL_LAYER_CONV || kind == CSL_LAYER_LINEAR || kind == CSL_LAYER_BATCH_NORM ||
           kind == CSL_LAYER_GROUP_NORM;
}

static void find_last_uses(planner *p)
{
    for (uint32_t n = 0; n < p->graph->node_count; n++) {
        const csl_node *node = &p->graph->nodes[n];
        note_use(p, node->input, n);
        if (node->kind == CSL_LAYER_ADD) {
            note_use(p, node->other, n);
        }
        note_use(p, n + 1, n);
        if (p->plan->training && needs_input(node->kind)) {
            note_use(p, node->input, backward_time(p, n));
        }
        if (p->plan->training && (node->relu || node->kind == CSL_LAYER_RELU)) {
            note_use(p, n + 1, backward_time(p, n));
        }
    }
    note_use(p, p->graph->node_count, p->end); /* the caller reads the logits */
}

static uint32_t aux_buffer(planner *p, uint32_t n)
{
    const csl_node *node = &p->graph->nodes[n];
    uint32_t aux = CSL_NO_BUFFER;
    switch (node->kind) {
    case CSL_LAYER_MAX_POOL:
    case CSL_LAYER_GLOBAL_MAX_POOL:
        aux = add_buffer(p, csl_shape_count(node->out), 0, n);
        break;
    case CSL_LAYER_GROUP_NORM:
        aux = add_buffer(p, 2 * (uint64_t)node->layer->groups, 0, n);
        break;
    case CSL_LAYER_BATCH_NORM:
        aux = add_buffer(p, 0, 2 * (uint64_t)node->out.channels, n);
        break;
    default:
        return CSL_NO_BUFFER;
    }
    if (p->plan->training) {
        use(p, aux, backward_time(p, n));
    }
    return aux;
}

/* The buffer that node n may overwrite with its result, because nothing reads it afterwards. */
static uint32_t in_place_buffer(const planner *p, uint32_t n)
{
    const csl_node *node = &p->graph->nodes[n];
    bool is_identity = node->kind == CSL_LAYER_DROPOUT && !p->plan->training;
    if (node->kind != CSL_LAYER_ADD && node->kind != CSL_LAYER_RELU && !is_identity) {
        return CSL_NO_BUFFER;
    }
    /* The image is the caller's: a pass may be repeated on it. */
    if (node->input != 0 && p->last_use[node->input] <= n) {
        return p->buffer[node->input];
    }
    if (node->kind == CSL_LAYER_ADD && node->other != 0 && p->last_use[node->other] <= n) {
        return p->buffer[node->other];
    }
    return CSL_NO_BUFFER;
}

static void plan_forward(planner *p)
{
    p->buffer[0] = add_buffer(p, csl_shape_count(p->graph->spec->input), 0, 0);
    use(p, p->buffer[0], p->last_use[0]);
    for (uint32_t n = 0; n < p->graph->node_count; n++) {
        const csl_node *node = &p->graph->nodes[n];
        csl_node_plan *out = &p->plan->nodes[n];
        uint32_t value = n + 1;
        out->x = p->buffer[node->input];
        out->other = node->kind == CSL_LAYER_ADD ? p->buffer[node->other] : CSL_NO_BUFFER;
        out->y = in_place_buffer(p, n);
        if (out->y == CSL_NO_BUFFER) {
            out->y = add_buffer(p, csl_shape_count(node->out), 0, n);
        }
        use(p, out->y, p->last_use[value]);
        p->buffer[value] = out->y;
        out->aux = aux_buffer(p, n);
        out->dy = out->masked_dy = out->dx = out->dx_addend = CSL_NO_BUFFER;
        out->sum[0] = out->sum[1] = CSL_NO_BUFFER;
        out->sum_addend[0] = out->sum_addend[1] = CSL_NO_BUFFER;
    }
    p->plan->input = p->buffer[0];
    p->plan->output = p->buffer[p->graph->node_count];
}

static void set_gradient(planner *p, uint32_t value, uint32_t buffer)
{
    if (p->gradient[value] != CSL_NO_BUFFER) {
        p->owners[p->gradient[value]]--;
    }
    p->gradient[value] = buffer;
    p->owners[buffer]++;
}

static uint64_t value_count(const planner *p, uint32_t value)
{
    return csl_shape_count(csl_value_shape(p->graph, value));
}

/* Gives one summand of an ADD the gradient dy, added to what other readers gave. */
static void plan_summand(planner *p, uint32_t n, int which, uint32_t dy)
{
    const csl_node *node = &p->graph->nodes[n];
    csl_node_plan *out = &p->plan->nodes[n];
    uint32_t value = which == 0 ? node->input : node->other;
    uint32_t earlier = p->gradient[value];
    uint32_t time = backward_time(p, n);
    if (value == 0) {
        return;
    }
    if (earlier == CSL_NO_BUFFER) {
        set_gradient(p, value, dy);
        return;
    }
    out->sum_addend[which] = earlier;
    use(p, earlier, time);
    if (p->owners[earlier] == 1) {
        out->sum[which] = earlier;
        return;
    }
    out->sum[which] = add_buffer(p, value_count(p, value), 0, time);
    set_gradient(p, value, out->sum[which]);
}

/* dy with the ReLU's mask: in place if nobody else holds dy. */
static void plan_mask(planner *p, uint32_t n, csl_node_plan *out)
{
    const csl_node *node = &p->graph->nodes[n];
    uint32_t time = backward_time(p, n);
    bool is_norm = node->kind == CSL_LAYER_BATCH_NORM || node->kind == CSL_LAYER_GROUP_NORM;
    bool has_mask = node->kind == CSL_LAYER_RELU || (node->relu && !is_norm); /* norms mask alone */
    out->masked_dy = out->dy;
    if (has_mask && p->owners[out->dy] > 1) {
        out->masked_dy = add_buffer(p, csl_shape_count(node->out), 0, time);
        set_gradient(p, n + 1, out->masked_dy);
    }
}

static void plan_backward_node(planner *p, uint32_t n)
{
    const csl_node *node = &p->graph->nodes[n];
    csl_node_plan *out = &p->plan->nodes[n];
    uint32_t time = backward_time(p, n);
    out->dy = p->gradient[n + 1];
    use(p, out->dy, time);
    plan_mask(p, n, out);
    if (node->kind == CSL_LAYER_ADD) {
        plan_summand(p, n, 0, out->masked_dy);
        plan_summand(p, n, 1, out->masked_dy);
    } else if (node->input != 0) {
        out->dx_addend = p->gradient[node->input];
        if (out->dx_addend != CSL_NO_BUFFER) {
            use(p, out->dx_addend, time);
        }
        /* A lone ReLU's masked dy is its dx. */
        out->dx = node->kind == CSL_LAYER_RELU
                      ? out->masked_dy
                      : add_buffer(p, value_count(p, node->input), 0, time);
        set_gradient(p, node->input, out->dx);
    } else if (node->kind == CSL_LAYER_BATCH_NORM || node->kind == CSL_LAYER_GROUP_NORM) {
        out->dx = add_buffer(p, value_count(p, 0), 0, time); /* the operation insists on one */
    }
    p->owners[p->gradient[n + 1]]--; /* the node's own gradient is spent */
}

static void plan_backward(planner *p)
{
    uint32_t count = p->graph->node_count;
    uint32_t seed = add_buffer(p, value_count(p, count), 0, count);
    p->plan->output_gradient = seed;
    set_gradient(p, count, seed);
    for (uint32_t n = count; n-- > 0;) {
        plan_backward_node(p, n);
    }
}

static uint64_t buffer_size(const csl_plan *plan, const csl_buffer *buffer)
{
    /* At most 2^32 elements an image, 2^16 images, 4 bytes. */
    uint64_t size = 4 * (buffer->image_count * plan->batch_max + buffer->fixed_count);
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

typedef struct sized {
    uint64_t size;
    uint32_t index;
} sized;

/* Largest first, then by index, so that the plan is the same everywhere. */
static int compare_sizes(const void *left, const void *right)
{
    const sized *a = left;
    const sized *b = right;
    if (a->size != b->size) {
        return a->size > b->size ? -1 : 1;
    }
    return a->index < b->index ? -1 : a->index > b->index;
}

/* The lowest place that is free for the whole life of `buffer`. placed: buffers before it, in order
 * of placement. */
static uint64_t find_place(const csl_plan *plan,
                           const csl_buffer *buffer,
                           const sized *placed,
                           uint32_t placed_count)
{
    uint64_t size = buffer_size(plan, buffer);
    uint64_t offset = 0;
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < placed_count; i++) {
            const csl_buffer *other = &plan->buffers[placed[i].index];
            bool meets = buffer->first <= other->last && other->first <= buffer->last;
            if (meets && offset < other->offset + placed[i].size && other->offset < offset + size) {
                offset = other->offset + placed[i].size;
                moved = true;
            }
        }
    }
    return offset;
}

static csl_status place_buffers(csl_plan *plan)
{
    sized *order = malloc(plan->buffer_count * sizeof *order);
    if (!order) {
        return csl_fail(CSL_E_NO_MEMORY, "model: no memory for its memory plan");
    }
    for (uint32_t i = 0; i < plan->buffer_count; i++) {
        order[i] = (sized){buffer_size(plan, &plan->buffers[i]), i};
    }
    qsort(order, plan->buffer_count, sizeof *order, compare_sizes);
    for (uint32_t i = 0; i < plan->buffer_count; i++) {
        csl_buffer *buffer = &plan->buffers[order[i].index];
        buffer->offset = find_place(plan, buffer, order, i);
        uint64_t end = buffer->offset + order[i].size;
        plan->arena_size = end > plan->arena_size ? end : plan->arena_size;
    }
    free(order);
    return CSL_OK;
}

static csl_status make_plan(planner *p)
{
    uint32_t value_count_all = p->graph->node_count + 1;
    size_t buffer_max = (size_t)value_count_all * BUFFERS_PER_NODE + 2;
    p->plan->nodes = calloc(p->graph->node_count, sizeof *p->plan->nodes);
    p->plan->buffers = calloc(buffer_max, sizeof *p->plan->buffers);
    p->last_use = calloc(value_count_all, sizeof *p->last_use);
    p->buffer = calloc(value_count_all, sizeof *p->buffer);
    p->gradient = malloc(value_count_all * sizeof *p->gradient);
    p->owners = calloc(buffer_max, sizeof *p->owners);
    if (!p->plan->nodes || !p->plan->buffers || !p->last_use || !p->buffer || !p->gradient ||
        !p->owners) {
        return csl_fail(CSL_E_NO_MEMORY, "model: no memory for its memory plan");
    }
    memset(p->gradient, 0xff, value_count_all * sizeof *p->gradient); /* CSL_NO_BUFFER */
    p->end = p->plan->training ? 2 * p->graph->node_count : p->graph->node_count;
    find_last_uses(p);
    plan_forward(p);
    p->plan->output_gradient = CSL_NO_BUFFER;
    if (p->plan->training) {
        plan_backward(p);
    }
    return place_buffers(p->plan);
}

csl_status
csl_plan_create(const csl_graph *graph, uint32_t batch_max, bool training, csl_plan **plan_out)
{
    if (batch_max == 0 || batch_max > CSL_BATCH_MAX) {
        return csl_fail(CSL_E_RANGE, "model %s: batch of %u images, expected 1..%d",
                        graph->spec->name, batch_max, CSL_BATCH_MAX);
    }
    csl_plan *plan = calloc(1, sizeof *plan);
    if (!plan) {
        return csl_fail(CSL_E_NO_MEMORY, "model: no memory for its memory plan");
    }
    plan->graph = graph;
    plan->batch_max = batch_max;
    plan->training = training;
    planner p = {.plan = plan, .graph = graph};
    csl_status status = make_plan(&p);
    free(p.last_use);
    free(p.buffer);
    free(p.gradient);
    free(p.owners);
    if (status != CSL_OK) {
        csl_plan_destroy(plan);
        return status;
    }
    *plan_out = plan;
    return CSL_OK;
}

void csl_plan_destroy(csl_plan *plan)
{
    if (plan) {
        free(plan->nodes);
        free(plan->buffers);
        free(plan);
    }
}
