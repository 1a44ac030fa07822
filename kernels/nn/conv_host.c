/*
 * Convolutions through oneDNN, channels-last or in blocks of channels. A prepared object keeps one
 * plan (three primitives) per batch size in use, and the weights in every order that its plans ask
 * for.
 */
#include "conv_gradient.h"
#include "device/kernel_table.h"
#include "nn_host.h"
#include "onednn_compat.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLANS_MAX = 4, /* batch sizes prepared at one time: training, its last batch, evaluation */
    LAYOUTS_MAX = 2 * PLANS_MAX, /* a plan has at most two orders of weights */
    ARGUMENTS_MAX = 6
};

/* The weights in one order; shared by the plans that want it. */
typedef struct weight_layout {
    uint32_t user_count; /* plans; 0 is a free slot */
    csl_memory_desc desc;
    dnnl_memory_t memory;    /* over data */
    void *data;              /* owned */
    dnnl_primitive_t update; /* from the caller's order */
} weight_layout;

/* One pass of one plan: a primitive and the memory objects that it runs on. */
typedef struct conv_pass {
    dnnl_primitive_t primitive; /* NULL: not prepared yet */
    dnnl_memory_t source;
    dnnl_memory_t destination;
    dnnl_memory_t weights; /* backward_weights: the gradient in the primitive's order */
    dnnl_memory_t bias;
    dnnl_memory_t scratchpad;
    size_t scratchpad_size;
    size_t weights_size;
    int32_t layout;           /* index into csl_conv.layouts, -1 if none */
    dnnl_primitive_t reorder; /* backward_weights: to the caller's order; NULL if it is that */
    /* backward_weights of an image: from the caller's image to padded channels; NULL if as it is */
    dnnl_primitive_t pad;
    dnnl_memory_t image;
    size_t source_size;
} conv_pass;

typedef struct conv_plan {
    uint32_t batch; /* 0 is a free slot */
    uint64_t last_used;
    dnnl_primitive_desc_t forward_desc; /* hint of the backward passes */
    conv_pass passes[3];                /* by csl_onednn_pass */
} conv_plan;

struct csl_conv {
    csl_conv_spec spec;
    csl_onednn_conv problem; /* batch dimension set per plan */
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    csl_memory_desc canonical; /* [O][C/groups]... */
    dnnl_memory_t canonical_memory;
    uint64_t clock;
    conv_plan plans[PLANS_MAX]; /* plan 0 is for batch_max and stays */
    weight_layout layouts[LAYOUTS_MAX];
    bool has_weights;
};

/* oneDNN asks OpenMP for its number of threads; the caller's setting is put back. */
static int enter_threads(const csl_device *device)
{
    int before = omp_get_max_threads();
    csl_host_use_threads(device);
    return before;
}

static void destroy_memory(dnnl_memory_t memory)
{
    if (memory) {
        dnnl_memory_destroy(memory);
    }
}

static void destroy_primitive(dnnl_primitive_t primitive)
{
    if (primitive) {
        dnnl_primitive_destroy(primitive);
    }
}

static void release_layout(csl_conv *conv, int32_t index)
{
    if (index < 0 || --conv->layouts[index].user_count > 0) {
        return;
    }
    weight_layout *layout = &conv->layouts[index];
    destroy_primitive(layout->update);
    destroy_memory(layout->memory);
    csl_memory_desc_destroy(layout->desc);
    free(layout->data);
    *layout = (weight_layout){0};
}

static void destroy_pass(csl_conv *conv, conv_pass *pass)
{
    destroy_primitive(pass->primitive);
    destroy_primitive(pass->reorder);
    destroy_primitive(pass->pad);
    destroy_memory(pass->image);
    destroy_memory(pass->source);
    destroy_memory(pass->destination);
    destroy_memory(pass->weights);
    destroy_memory(pass->bias);
    destroy_memory(pass->scratchpad);
    release_layout(conv, pass->layout);
    *pass = (conv_pass){.layout = -1};
}

static void destroy_plan(csl_conv *conv, conv_plan *plan)
{
    for (int i = 0; i < 3; i++) {
        destroy_pass(conv, &plan->passes[i]);
    }
    if (plan->forward_desc) {
        dnnl_primitive_desc_destroy(plan->forward_desc);
    }
    plan->forward_desc = NULL;
    plan->batch = 0;
}

static csl_status create_reorder(csl_conv *conv,
                                 csl_memory_desc from,
                                 csl_memory_desc to,
                                 dnnl_primitive_t *reorder_out)
{
    dnnl_primitive_desc_t desc = NULL;
    CSL_TRY_ONEDNN(
        dnnl_reorder_primitive_desc_create(&desc, from, conv->engine, to, conv->engine, NULL));
    dnnl_primitive_t reorder = NULL;
    dnnl_status_t status = dnnl_primitive_create(&reorder, desc);
    dnnl_primitive_desc_destroy(desc);
    CSL_TRY(csl_onednn_status(status, "weight reorder"));
    *reorder_out = reorder;
    return CSL_OK;
}

static csl_status
run_reorder(csl_conv *conv, dnnl_primitive_t reorder, dnnl_memory_t from, dnnl_memory_t to)
{
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    CSL_TRY_ONEDNN(dnnl_primitive_execute(reorder, conv->stream, 2, arguments));
    return csl_onednn_status(dnnl_stream_wait(conv->stream), "dnnl_stream_wait");
}

/* Fills a new layout from the weights that another layout already holds. */
static csl_status copy_from_other(csl_conv *conv, weight_layout *layout)
{
    if (!conv->has_weights) {
        return CSL_OK;
    }
    weight_layout *other = conv->layouts; /* plan 0 keeps one alive */
    while (other == layout || other->user_count == 0) {
        other++;
    }
    dnnl_primitive_t reorder = NULL;
    CSL_TRY(create_reorder(conv, other->desc, layout->desc, &reorder));
    csl_status status = run_reorder(conv, reorder, other->memory, layout->memory);
    dnnl_primitive_destroy(reorder);
    return status;
}

static csl_status create_layout(csl_conv *conv, csl_memory_desc desc, weight_layout *layout)
{
    size_t size = dnnl_memory_desc_get_size(desc);
    layout->data = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!layout->data) {
        return csl_fail(CSL_E_NO_MEMORY, "convolution: no memory for %zu bytes of weights", size);
    }
    CSL_TRY(csl_memory_desc_clone(desc, &layout->desc));
    CSL_TRY_ONEDNN(dnnl_memory_create(&layout->memory, desc, conv->engine, layout->data));
    CSL_TRY(create_reorder(conv, conv->canonical, desc, &layout->update));
    return copy_from_other(conv, layout);
}

/* Finds or makes the weights in the order `desc`. */
static csl_status acquire_layout(csl_conv *conv, csl_memory_desc desc, int32_t *index_out)
{
    int32_t free_index = -1;
    for (int32_t i = 0; i < LAYOUTS_MAX; i++) {
        weight_layout *layout = &conv->layouts[i];
        if (layout->user_count == 0) {
            free_index = free_index < 0 ? i : free_index;
        } else if (dnnl_memory_desc_equal(layout->desc, desc)) {
            layout->user_count++;
            *index_out = i;
            return CSL_OK;
        }
    }
    weight_layout *layout = &conv->layouts[free_index];
    csl_status status = create_layout(conv, desc, layout);
    layout->user_count = 1;
    if (status != CSL_OK) {
        release_layout(conv, free_index);
        return status;
    }
    *index_out = free_index;
    return CSL_OK;
}

/* A memory object whose data pointer is set at each run, NULL if the primitive has none. */
static csl_status create_memory(csl_conv *conv,
                                const_dnnl_primitive_desc_t desc,
                                dnnl_query_t what,
                                size_t *size_out,
                                dnnl_memory_t *memory_out)
{
    csl_memory_desc memory_desc = dnnl_primitive_desc_query_md(desc, what, 0);
    size_t size = memory_desc ? dnnl_memory_desc_get_size(memory_desc) : 0;
    if (size_out) {
        *size_out = size;
    }
    if (size == 0) {
        *memory_out = NULL;
        return CSL_OK;
    }
    return csl_onednn_status(
        dnnl_memory_create(memory_out, memory_desc, conv->engine, DNNL_MEMORY_NONE),
        "dnnl_memory_create");
}

/* The reorder of the source that backward_weights may need. */
static csl_status
create_pad(csl_conv *conv, const conv_plan *plan, const_dnnl_primitive_desc_t desc, conv_pass *pass)
{
    if (conv->problem.weights_source_tag == conv->problem.source_tag) {
        return CSL_OK;
    }
    csl_memory_desc image = dnnl_primitive_desc_query_md(plan->forward_desc, dnnl_query_src_md, 0);
    CSL_TRY_ONEDNN(dnnl_memory_create(&pass->image, image, conv->engine, DNNL_MEMORY_NONE));
    return create_reorder(conv, image, dnnl_primitive_desc_query_md(desc, dnnl_query_src_md, 0),
                          &pass->pad);
}

static csl_status fill_pass(csl_conv *conv,
                            const conv_plan *plan,
                            csl_onednn_pass kind,
                            const_dnnl_primitive_desc_t desc,
                            conv_pass *pass)
{
    bool forward = kind == CSL_ONEDNN_FORWARD;
    bool weights = kind == CSL_ONEDNN_BACKWARD_WEIGHTS;
    CSL_TRY_ONEDNN(dnnl_primitive_create(&pass->primitive, desc));
    CSL_TRY(create_memory(
        conv, desc, kind == CSL_ONEDNN_BACKWARD_DATA ? dnnl_query_diff_src_md : dnnl_query_src_md,
        &pass->source_size, &pass->source));
    CSL_TRY(create_memory(conv, desc, forward ? dnnl_query_dst_md : dnnl_query_diff_dst_md, NULL,
                          &pass->destination));
    CSL_TRY(create_memory(conv, desc, dnnl_query_scratchpad_md, &pass->scratchpad_size,
                          &pass->scratchpad));
    if (conv->spec.has_bias && kind != CSL_ONEDNN_BACKWARD_DATA) {
        csl_memory_desc bias = NULL;
        CSL_TRY(csl_memory_desc_create(1, conv->problem.bias, dnnl_a, &bias));
        dnnl_status_t status =
            dnnl_memory_create(&pass->bias, bias, conv->engine, DNNL_MEMORY_NONE);
        csl_memory_desc_destroy(bias);
        CSL_TRY(csl_onednn_status(status, "bias memory"));
    }
    if (!weights) {
        return acquire_layout(conv, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0),
                              &pass->layout);
    }
    CSL_TRY(
        create_memory(conv, desc, dnnl_query_diff_weights_md, &pass->weights_size, &pass->weights));
    CSL_TRY(create_pad(conv, plan, desc, pass));
    csl_memory_desc order = dnnl_primitive_desc_query_md(desc, dnnl_query_diff_weights_md, 0);
    return dnnl_memory_desc_equal(order, conv->canonical)
               ? CSL_OK
               : create_reorder(conv, order, conv->canonical, &pass->reorder);
}

/* Prepares one pass of a plan unless it is there. */
static csl_status prepare_pass(csl_conv *conv, conv_plan *plan, csl_onednn_pass kind)
{
    conv_pass *pass = &plan->passes[kind];
    if (pass->primitive) {
        return CSL_OK;
    }
    csl_onednn_conv problem = conv->problem;
    problem.source[0] = problem.destination[0] = plan->batch;
    dnnl_primitive_desc_t desc = NULL;
    CSL_TRY(csl_onednn_conv_prepare(&problem, kind, plan->forward_desc, &desc));
    csl_status status = fill_pass(conv, plan, kind, desc, pass);
    if (status != CSL_OK) {
        destroy_pass(conv, pass);
    }
    if (status == CSL_OK && kind == CSL_ONEDNN_FORWARD) {
        plan->forward_desc = desc;
    } else {
        dnnl_primitive_desc_destroy(desc);
    }
    return status;
}

static csl_status check_batch(const csl_conv *conv, uint32_t batch)
{
    if (batch == 0 || batch > conv->spec.batch_max) {
        return csl_fail(CSL_E_RANGE, "convolution: expected a batch of 1..%u, found %u",
                        conv->spec.batch_max, batch);
    }
    return CSL_OK;
}

/* The plan for a batch size, with `kind` prepared; the least recently used one makes room. */
static csl_status
find_pass(csl_conv *conv, uint32_t batch, csl_onednn_pass kind, conv_pass **pass_out)
{
    CSL_TRY(check_batch(conv, batch));
    conv_plan *plan = NULL;
    conv_plan *oldest = &conv->plans[1];
    for (uint32_t i = 0; i < PLANS_MAX && !plan; i++) {
        conv_plan *candidate = &conv->plans[i];
        plan = candidate->batch == batch ? candidate : NULL;
        if (i > 0 && candidate->last_used < oldest->last_used) {
            oldest = candidate;
        }
    }
    if (!plan) {
        plan = conv->plans[0].batch == 0 ? &conv->plans[0] : oldest;
        destroy_plan(conv, plan);
        plan->batch = batch;
    }
    plan->last_used = ++conv->clock;
    CSL_TRY(prepare_pass(conv, plan, CSL_ONEDNN_FORWARD));
    CSL_TRY(prepare_pass(conv, plan, kind));
    *pass_out = &plan->passes[kind];
    return CSL_OK;
}

static csl_status check_spec(const csl_conv_spec *spec)
{
    static const char *const axes[3] = {"depth", "height", "width"};
    if (spec->batch_max == 0 || spec->batch_max > CSL_BATCH_MAX) {
        return csl_fail(CSL_E_RANGE, "convolution: expected batch_max 1..%d, found %u",
                        CSL_BATCH_MAX, spec->batch_max);
    }
    if (spec->groups == 0 || spec->input.channels == 0 || spec->output.channels == 0 ||
        spec->input.channels % spec->groups != 0 || spec->output.channels % spec->groups != 0) {
        return csl_fail(CSL_E_SHAPE,
                        "convolution: expected groups that divide %u and %u channels, found %u",
                        spec->input.channels, spec->output.channels, spec->groups);
    }
    for (int i = 0; i < 3; i++) {
        const csl_window *window = &spec->window;
        if (window->size[i] == 0 || window->stride[i] == 0 || window->dilation[i] == 0 ||
            window->size[i] > CSL_EXTENT_MAX || window->dilation[i] > CSL_EXTENT_MAX ||
            window->padding[i] > CSL_EXTENT_MAX) {
            return csl_fail(CSL_E_RANGE, "convolution: window of axis %s is not valid", axes[i]);
        }
        uint32_t expected = csl_window_output(spec->input.extent[i], window, i);
        if (expected == 0 || expected != spec->output.extent[i]) {
            return csl_fail(CSL_E_SHAPE, "convolution: expected output %s %u, found %u", axes[i],
                            expected, spec->output.extent[i]);
        }
    }
    return CSL_OK;
}

/* The problem in oneDNN's terms: two extents where depth plays no part. */
static csl_onednn_conv describe_problem(const csl_conv_spec *spec)
{
    bool flat = spec->input.extent[0] == 1 && spec->output.extent[0] == 1 &&
                spec->window.size[0] == 1 && spec->window.padding[0] == 0;
    int axis_count = flat ? 2 : 3;
    int shift = spec->groups > 1 ? 1 : 0;
    csl_onednn_conv problem = {
        .rank = 2 + axis_count,
        .weights_rank = 2 + axis_count + shift,
        .has_bias = spec->has_bias,
        .relu = spec->fuse_relu,
        .destination_tag = flat ? dnnl_nhwc : dnnl_ndhwc,
        .source_tag = flat ? dnnl_nhwc : dnnl_ndhwc,
    };
    problem.source[1] = spec->input.channels;
    problem.destination[1] = problem.bias[0] = spec->output.channels;
    problem.weights[0] = spec->groups; /* overwritten without groups */
    problem.weights[shift] = spec->output.channels / spec->groups;
    problem.weights[shift + 1] = spec->input.channels / spec->groups;
    for (int i = 0; i < axis_count; i++) {
        int axis = i + 3 - axis_count;
        problem.source[2 + i] = spec->input.extent[axis];
        problem.destination[2 + i] = spec->output.extent[axis];
        problem.weights[shift + 2 + i] = spec->window.size[axis];
        problem.strides[i] = spec->window.stride[axis];
        problem.dilates[i] = (dnnl_dim_t)spec->window.dilation[axis] - 1;
        problem.padding[i] = spec->window.padding[axis];
    }
    problem.weights_source_tag = problem.source_tag;
    if (spec->block != 0) { /* conv_block gives blocks for flat maps only */
        csl_onednn_conv_set_block(&problem, spec->block);
    }
    return problem;
}

csl_status csl_host_conv_block(csl_device *device, const csl_conv_spec *spec, uint32_t *block_out)
{
    CSL_TRY(check_spec(spec));
    csl_conv_spec plain = *spec;
    plain.block = 0;
    csl_onednn_conv problem = describe_problem(&plain);
    problem.source[0] = problem.destination[0] = spec->batch_max;
    int threads = enter_threads(device);
    csl_status status = csl_onednn_conv_block(&problem, block_out);
    omp_set_num_threads(threads);
    return status;
}

static csl_status prepare_conv(csl_conv *conv)
{
    static const dnnl_format_tag_t plain[] = {dnnl_abcd, dnnl_abcde, dnnl_abcdef};
    CSL_TRY(csl_onednn_engine(&conv->engine));
    CSL_TRY_ONEDNN(dnnl_stream_create(&conv->stream, conv->engine, dnnl_stream_default_flags));
    CSL_TRY(csl_memory_desc_create(conv->problem.weights_rank, conv->problem.weights,
                                   plain[conv->problem.weights_rank - 4], &conv->canonical));
    CSL_TRY_ONEDNN(dnnl_memory_create(&conv->canonical_memory, conv->canonical, conv->engine,
                                      DNNL_MEMORY_NONE));
    conv_pass *pass = NULL;
    return find_pass(conv, conv->spec.batch_max, CSL_ONEDNN_FORWARD, &pass);
}

csl_status csl_host_conv_create(csl_device *device, const csl_conv_spec *spec, csl_conv **conv_out)
{
    CSL_TRY(check_spec(spec));
    if (spec->block != 0) {
        uint32_t block = 0;
        CSL_TRY(csl_host_conv_block(device, spec, &block));
        if (spec->block != block) {
            return csl_fail(CSL_E_UNSUPPORTED,
                            "convolution: expected blocks of 0 or %u channels, found %u", block,
                            spec->block);
        }
    }
    csl_conv *conv = calloc(1, sizeof *conv);
    if (!conv) {
        return csl_fail(CSL_E_NO_MEMORY, "convolution: no memory for %zu bytes", sizeof *conv);
    }
    conv->spec = *spec;
    conv->problem = describe_problem(spec);
    for (int i = 0; i < PLANS_MAX; i++) {
        for (int kind = 0; kind < 3; kind++) {
            conv->plans[i].passes[kind].layout = -1;
        }
    }
    int threads = enter_threads(device);
    csl_status status = prepare_conv(conv);
    omp_set_num_threads(threads);
    if (status != CSL_OK) {
        (void)csl_host_conv_destroy(device, conv);
        return status;
    }
    *conv_out = conv;
    return CSL_OK;
}

csl_status csl_host_conv_destroy(csl_device *device, csl_conv *conv)
{
    (void)device;
    if (!conv) {
        return CSL_OK;
    }
    for (int i = 0; i < PLANS_MAX; i++) {
        destroy_plan(conv, &conv->plans[i]);
    }
    destroy_memory(conv->canonical_memory);
    csl_memory_desc_destroy(conv->canonical);
    if (conv->stream) {
        dnnl_stream_destroy(conv->stream);
    }
    free(conv);
    return CSL_OK;
}

csl_status csl_host_conv_update_weights(csl_device *device, csl_conv *conv, const float *weights)
{
    CSL_TRY_ONEDNN(dnnl_memory_set_data_handle(conv->canonical_memory, (void *)weights));
    int threads = enter_threads(device);
    csl_status status = CSL_OK;
    for (int i = 0; i < LAYOUTS_MAX && status == CSL_OK; i++) {
        weight_layout *layout = &conv->layouts[i];
        if (layout->user_count > 0) {
            status = run_reorder(conv, layout->update, conv->canonical_memory, layout->memory);
        }
    }
    omp_set_num_threads(threads);
    conv->has_weights = conv->has_weights || status == CSL_OK;
    return status;
}

/* Runs a prepared pass on the caller's arrays; the argument numbers are oneDNN's. */
static csl_status run_pass(csl_conv *conv,
                           conv_pass *pass,
                           const int numbers[4],
                           const void *source,
                           const void *destination,
                           const void *bias,
                           dnnl_memory_t weights,
                           void *scratch)
{
    dnnl_memory_t memories[4] = {pass->source, pass->destination, weights, pass->bias};
    const void *data[4] = {source, destination, NULL, bias};
    dnnl_exec_arg_t arguments[ARGUMENTS_MAX];
    int count = 0;
    for (int i = 0; i < 4; i++) {
        if (!memories[i]) {
            continue;
        }
        if (data[i]) {
            CSL_TRY_ONEDNN(dnnl_memory_set_data_handle(memories[i], (void *)data[i]));
        }
        arguments[count++] = (dnnl_exec_arg_t){numbers[i], memories[i]};
    }
    if (pass->scratchpad) {
        CSL_TRY_ONEDNN(dnnl_memory_set_data_handle(pass->scratchpad, scratch));
        arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, pass->scratchpad};
    }
    CSL_TRY_ONEDNN(dnnl_primitive_execute(pass->primitive, conv->stream, count, arguments));
    return csl_onednn_status(dnnl_stream_wait(conv->stream), "dnnl_stream_wait");
}

/* Forward or backward_data: the pass runs on prepared weights. */
static csl_status run_with_weights(csl_conv *conv,
                                   csl_onednn_pass kind,
                                   const int numbers[4],
                                   uint32_t batch,
                                   const float *source,
                                   const float *bias,
                                   const float *destination)
{
    if (!conv->has_weights) {
        return csl_fail(CSL_E_STATE, "convolution: expected conv_update_weights before a pass");
    }
    conv_pass *pass = NULL;
    CSL_TRY(find_pass(conv, batch, kind, &pass));
    void *scratch = NULL;
    CSL_TRY(csl_nn_scratch(pass->scratchpad_size, &scratch));
    return run_pass(conv, pass, numbers, source, destination, bias,
                    conv->layouts[pass->layout].memory, scratch);
}

csl_status csl_host_conv_forward(
    csl_device *device, csl_conv *conv, const float *x, const float *bias, uint32_t batch, float *y)
{
    static const int numbers[4] = {DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS};
    int threads = enter_threads(device);
    csl_status status = run_with_weights(conv, CSL_ONEDNN_FORWARD, numbers, batch, x, bias, y);
    omp_set_num_threads(threads);
    return status;
}

csl_status csl_host_conv_backward_data(
    csl_device *device, csl_conv *conv, const float *dy, uint32_t batch, float *dx)
{
    static const int numbers[4] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, 0};
    int threads = enter_threads(device);
    csl_status status =
        run_with_weights(conv, CSL_ONEDNN_BACKWARD_DATA, numbers, batch, dx, NULL, dy);
    omp_set_num_threads(threads);
    return status;
}

static csl_status backward_weights(
    csl_conv *conv, const float *x, const float *dy, uint32_t batch, float *dweights, float *dbias)
{
    static const int numbers[4] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS,
                                   DNNL_ARG_DIFF_BIAS};
    conv_pass *pass = NULL;
    CSL_TRY(find_pass(conv, batch, CSL_ONEDNN_BACKWARD_WEIGHTS, &pass));
    size_t gradient_size = (pass->weights_size + 63) / 64 * 64;
    size_t image_size = pass->pad ? (pass->source_size + 63) / 64 * 64 : 0;
    void *scratch = NULL;
    CSL_TRY(csl_nn_scratch(gradient_size + image_size + pass->scratchpad_size, &scratch));
    if (pass->pad) {
        void *padded = (char *)scratch + gradient_size;
        CSL_TRY_ONEDNN(dnnl_memory_set_data_handle(pass->image, (void *)x));
        CSL_TRY_ONEDNN(dnnl_memory_set_data_handle(pass->source, padded));
        CSL_TRY(run_reorder(conv, pass->pad, pass->image, pass->source));
        x = padded;
    }
    CSL_TRY_ONEDNN(
        dnnl_memory_set_data_handle(pass->weights, pass->reorder ? scratch : (void *)dweights));
    CSL_TRY(run_pass(conv, pass, numbers, x, dy, dbias, pass->weights,
                     (char *)scratch + gradient_size + image_size));
    if (!pass->reorder) {
        return CSL_OK;
    }
    CSL_TRY_ONEDNN(dnnl_memory_set_data_handle(conv->canonical_memory, dweights));
    return run_reorder(conv, pass->reorder, pass->weights, conv->canonical_memory);
}

csl_status csl_host_conv_backward_weights(csl_device *device,
                                          csl_conv *conv,
                                          const float *x,
                                          const float *dy,
                                          uint32_t batch,
                                          float *dweights,
                                          float *dbias)
{
    if (csl_conv_gradient_fits(&conv->spec)) {
        CSL_TRY(check_batch(conv, batch));
        return csl_conv_gradient(device, &conv->spec, x, dy, batch, dweights);
    }
    int threads = enter_threads(device);
    csl_status status = backward_weights(conv, x, dy, batch, dweights, dbias);
    omp_set_num_threads(threads);
    return status;
}
