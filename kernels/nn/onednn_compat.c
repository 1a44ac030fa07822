#include "onednn_compat.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

csl_status csl_onednn_status(dnnl_status_t status, const char *what)
{
    switch (status) {
    case dnnl_success:
        return CSL_OK;
    case dnnl_out_of_memory:
        return csl_fail(CSL_E_NO_MEMORY, "oneDNN: out of memory in %.60s", what);
    case dnnl_unimplemented:
        return csl_fail(CSL_E_UNSUPPORTED, "oneDNN: no implementation for %.60s", what);
    default:
        return csl_fail(CSL_E_DEVICE, "oneDNN: status %d from %.60s", (int)status, what);
    }
}

static pthread_once_t engine_once = PTHREAD_ONCE_INIT;
static dnnl_engine_t engine_;
static dnnl_status_t engine_status;

static void create_engine(void)
{
    engine_status = dnnl_engine_create(&engine_, dnnl_cpu, 0);
}

csl_status csl_onednn_engine(dnnl_engine_t *engine_out)
{
    pthread_once(&engine_once, create_engine);
    CSL_TRY(csl_onednn_status(engine_status, "dnnl_engine_create"));
    *engine_out = engine_;
    return CSL_OK;
}

#if DNNL_VERSION_MAJOR >= 3

csl_status csl_memory_desc_create(int rank,
                                  const dnnl_dim_t *dims,
                                  dnnl_format_tag_t tag,
                                  csl_memory_desc *desc_out)
{
    dnnl_memory_desc_t desc = NULL;
    CSL_TRY_ONEDNN(dnnl_memory_desc_create_with_tag(&desc, rank, dims, dnnl_f32, tag));
    *desc_out = desc;
    return CSL_OK;
}

csl_status csl_memory_desc_clone(csl_memory_desc source, csl_memory_desc *desc_out)
{
    dnnl_memory_desc_t desc = NULL;
    CSL_TRY_ONEDNN(dnnl_memory_desc_clone(&desc, source));
    *desc_out = desc;
    return CSL_OK;
}

void csl_memory_desc_destroy(csl_memory_desc desc)
{
    if (desc) {
        dnnl_memory_desc_destroy((dnnl_memory_desc_t)desc);
    }
}

static dnnl_status_t append_relu(dnnl_post_ops_t post_ops)
{
    return dnnl_post_ops_append_eltwise(post_ops, dnnl_eltwise_relu, 0.0F, 0.0F);
}

#else

csl_status csl_memory_desc_create(int rank,
                                  const dnnl_dim_t *dims,
                                  dnnl_format_tag_t tag,
                                  csl_memory_desc *desc_out)
{
    dnnl_memory_desc_t desc;
    CSL_TRY_ONEDNN(dnnl_memory_desc_init_by_tag(&desc, rank, dims, dnnl_f32, tag));
    return csl_memory_desc_clone(&desc, desc_out);
}

csl_status csl_memory_desc_clone(csl_memory_desc source, csl_memory_desc *desc_out)
{
    dnnl_memory_desc_t *desc = malloc(sizeof *desc);
    if (!desc) {
        return csl_fail(CSL_E_NO_MEMORY, "oneDNN: no memory for a %zu byte descriptor",
                        sizeof *desc);
    }
    *desc = *source;
    *desc_out = desc;
    return CSL_OK;
}

void csl_memory_desc_destroy(csl_memory_desc desc)
{
    free((void *)desc);
}

static dnnl_status_t append_relu(dnnl_post_ops_t post_ops)
{
    return dnnl_post_ops_append_eltwise(post_ops, 1.0F, dnnl_eltwise_relu, 0.0F, 0.0F);
}

#endif

/* The four tensors of a convolution as descriptors. */
typedef struct conv_descs {
    csl_memory_desc source;
    csl_memory_desc weights;
    csl_memory_desc bias; /* NULL without bias */
    csl_memory_desc destination;
} conv_descs;

static void destroy_descs(conv_descs *descs)
{
    csl_memory_desc_destroy(descs->source);
    csl_memory_desc_destroy(descs->weights);
    csl_memory_desc_destroy(descs->bias);
    csl_memory_desc_destroy(descs->destination);
}

static csl_status create_descs(const csl_onednn_conv *conv, csl_onednn_pass pass, conv_descs *descs)
{
    bool weights = pass == CSL_ONEDNN_BACKWARD_WEIGHTS;
    CSL_TRY(csl_memory_desc_create(conv->rank, conv->source,
                                   weights ? conv->weights_source_tag : conv->source_tag,
                                   &descs->source));
    CSL_TRY(csl_memory_desc_create(conv->weights_rank, conv->weights, dnnl_format_tag_any,
                                   &descs->weights));
    if (conv->has_bias && pass != CSL_ONEDNN_BACKWARD_DATA) {
        CSL_TRY(csl_memory_desc_create(1, conv->bias, dnnl_a, &descs->bias));
    }
    return csl_memory_desc_create(conv->rank, conv->destination, conv->destination_tag,
                                  &descs->destination);
}

/* Scratchpad from the caller, and ReLU after the forward pass. */
static csl_status create_attributes(const csl_onednn_conv *conv,
                                    csl_onednn_pass pass,
                                    dnnl_primitive_attr_t *attributes_out)
{
    dnnl_primitive_attr_t attributes = NULL;
    CSL_TRY_ONEDNN(dnnl_primitive_attr_create(&attributes));
    dnnl_status_t status =
        dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && pass == CSL_ONEDNN_FORWARD && conv->relu) {
        dnnl_post_ops_t post_ops = NULL;
        status = dnnl_post_ops_create(&post_ops);
        if (status == dnnl_success) {
            status = append_relu(post_ops);
        }
        if (status == dnnl_success) {
            status = dnnl_primitive_attr_set_post_ops(attributes, post_ops);
        }
        dnnl_post_ops_destroy(post_ops);
    }
    if (status != dnnl_success) {
        dnnl_primitive_attr_destroy(attributes);
        return csl_onednn_status(status, "convolution attributes");
    }
    *attributes_out = attributes;
    return CSL_OK;
}

static bool name_begins(const_dnnl_primitive_desc_t descriptor, const char *beginning)
{
    const char *name = NULL;
    dnnl_status_t status =
        dnnl_primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, (void *)&name);
    return status == dnnl_success && strncmp(name, beginning, strlen(beginning)) == 0;
}

/* Threads of 2.6's kernel for windows of one, "jit_1x1:avx2", disturb each other in the gradient of
 * weights where it gathers a strided map of fewer than 8 channels: large errors in one call of a
 * hundred. Maps whose channels fill no register of 16 are left to the other kernels. */
static bool
is_sound(const csl_onednn_conv *conv, csl_onednn_pass pass, const_dnnl_primitive_desc_t descriptor)
{
    bool strided = false;
    for (int i = 0; i < conv->rank - 2; i++) {
        strided = strided || conv->strides[i] > 1;
    }
    int64_t channels = conv->weights[conv->weights_rank - conv->rank + 1];
    return pass != CSL_ONEDNN_BACKWARD_WEIGHTS || !strided || channels % 16 == 0 ||
           !name_begins(descriptor, "jit_1x1");
}

#if DNNL_VERSION_MAJOR >= 3

static dnnl_status_t create_first(const csl_onednn_conv *conv,
                                  csl_onednn_pass pass,
                                  const conv_descs *descs,
                                  dnnl_engine_t engine,
                                  const_dnnl_primitive_attr_t attributes,
                                  const_dnnl_primitive_desc_t forward,
                                  dnnl_primitive_desc_t *descriptor_out)
{
    switch (pass) {
    case CSL_ONEDNN_FORWARD:
        return dnnl_convolution_forward_primitive_desc_create(
            descriptor_out, engine, dnnl_forward_training, dnnl_convolution_direct, descs->source,
            descs->weights, descs->bias, descs->destination, conv->strides, conv->dilates,
            conv->padding, conv->padding, attributes);
    case CSL_ONEDNN_BACKWARD_DATA:
        return dnnl_convolution_backward_data_primitive_desc_create(
            descriptor_out, engine, dnnl_convolution_direct, descs->source, descs->weights,
            descs->destination, conv->strides, conv->dilates, conv->padding, conv->padding, forward,
            attributes);
    default:
        return dnnl_convolution_backward_weights_primitive_desc_create(
            descriptor_out, engine, dnnl_convolution_direct, descs->source, descs->weights,
            descs->bias, descs->destination, conv->strides, conv->dilates, conv->padding,
            conv->padding, forward, attributes);
    }
}

static dnnl_status_t prepare(const csl_onednn_conv *conv,
                             csl_onednn_pass pass,
                             const conv_descs *descs,
                             dnnl_engine_t engine,
                             const_dnnl_primitive_attr_t attributes,
                             const_dnnl_primitive_desc_t forward,
                             dnnl_primitive_desc_t *descriptor_out)
{
    dnnl_status_t status =
        create_first(conv, pass, descs, engine, attributes, forward, descriptor_out);
    while (status == dnnl_success && !is_sound(conv, pass, *descriptor_out)) {
        status = dnnl_primitive_desc_next_impl(*descriptor_out);
        if (status != dnnl_success) {
            dnnl_primitive_desc_destroy(*descriptor_out);
            *descriptor_out = NULL;
        }
    }
    return status;
}

#else

static dnnl_status_t describe(const csl_onednn_conv *conv,
                              csl_onednn_pass pass,
                              const conv_descs *descs,
                              dnnl_convolution_desc_t *desc_out)
{
    switch (pass) {
    case CSL_ONEDNN_FORWARD:
        return dnnl_dilated_convolution_forward_desc_init(
            desc_out, dnnl_forward_training, dnnl_convolution_direct, descs->source, descs->weights,
            descs->bias, descs->destination, conv->strides, conv->dilates, conv->padding,
            conv->padding);
    case CSL_ONEDNN_BACKWARD_DATA:
        return dnnl_dilated_convolution_backward_data_desc_init(
            desc_out, dnnl_convolution_direct, descs->source, descs->weights, descs->destination,
            conv->strides, conv->dilates, conv->padding, conv->padding);
    default:
        return dnnl_dilated_convolution_backward_weights_desc_init(
            desc_out, dnnl_convolution_direct, descs->source, descs->weights, descs->bias,
            descs->destination, conv->strides, conv->dilates, conv->padding, conv->padding);
    }
}

/* Whether a prepared pass is one of oneDNN's generated direct convolutions (jit,
 * jit_1x1, jit_dw). */
static bool is_direct(const_dnnl_primitive_desc_t descriptor)
{
    return name_begins(descriptor, "jit");
}

/*
 * The first sound implementation that is direct, or the first sound one if there is none. For
 * float32 and channels last, 2.6 lists convolutions by batches of small matrix products ("brgconv")
 * before the direct ones, which were faster: a forward pass of resnet18-28 took 343 ms instead of
 * 416 on one core with AVX-512.
 */
static dnnl_status_t choose(const csl_onednn_conv *conv,
                            csl_onednn_pass pass,
                            dnnl_primitive_desc_iterator_t iterator,
                            dnnl_primitive_desc_t *descriptor_out)
{
    dnnl_primitive_desc_t first = NULL;
    do {
        dnnl_primitive_desc_t found = dnnl_primitive_desc_iterator_fetch(iterator);
        bool sound = found && is_sound(conv, pass, found);
        if (sound && is_direct(found)) {
            dnnl_primitive_desc_destroy(first);
            *descriptor_out = found;
            return dnnl_success;
        }
        if (sound && !first) {
            first = found;
        } else {
            dnnl_primitive_desc_destroy(found);
        }
    } while (dnnl_primitive_desc_iterator_next(iterator) == dnnl_success);
    *descriptor_out = first;
    return first ? dnnl_success : dnnl_unimplemented;
}

static dnnl_status_t prepare(const csl_onednn_conv *conv,
                             csl_onednn_pass pass,
                             const conv_descs *descs,
                             dnnl_engine_t engine,
                             const_dnnl_primitive_attr_t attributes,
                             const_dnnl_primitive_desc_t forward,
                             dnnl_primitive_desc_t *descriptor_out)
{
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_iterator_t iterator = NULL;
    dnnl_status_t status = describe(conv, pass, descs, &desc);
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_iterator_create(&iterator, &desc, attributes, engine, forward);
    }
    if (status == dnnl_success) {
        status = choose(conv, pass, iterator, descriptor_out);
        dnnl_primitive_desc_iterator_destroy(iterator);
    }
    return status;
}

#endif

csl_status csl_onednn_conv_prepare(const csl_onednn_conv *conv,
                                   csl_onednn_pass pass,
                                   const_dnnl_primitive_desc_t forward,
                                   dnnl_primitive_desc_t *descriptor_out)
{
    dnnl_engine_t engine;
    CSL_TRY(csl_onednn_engine(&engine));
    dnnl_primitive_attr_t attributes = NULL;
    CSL_TRY(create_attributes(conv, pass, &attributes));
    conv_descs descs = {0};
    csl_status status = create_descs(conv, pass, &descs);
    if (status == CSL_OK) {
        status = csl_onednn_status(
            prepare(conv, pass, &descs, engine, attributes, forward, descriptor_out),
            "convolution descriptor");
    }
    destroy_descs(&descs);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

void csl_onednn_conv_set_block(csl_onednn_conv *conv, uint32_t block)
{
    dnnl_format_tag_t blocked = block == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    bool image = conv->source[1] == 1;
    conv->source_tag = image ? dnnl_nchw : blocked;
    /* With AVX2 the only direct pass for the weights of an image's convolution pads its channels.*/
    conv->weights_source_tag = image && block == 16 ? dnnl_nchw : blocked;
    conv->destination_tag = blocked;
}

#if DNNL_VERSION_MAJOR >= 3

csl_status csl_onednn_conv_block(const csl_onednn_conv *conv, uint32_t *block_out)
{
    (void)conv;
    *block_out = 0;
    return CSL_OK;
}

#else

/* The channels that fill one register. */
static uint32_t register_block(void)
{
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    if ((isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core) {
        return 16;
    }
    return (isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2 ? 8 : 0;
}

/* Whether the backward passes are direct; an image's gradient is never asked for. */
static bool has_direct_backward(const csl_onednn_conv *conv, const_dnnl_primitive_desc_t forward)
{
    bool direct = true;
    bool image = conv->source[1] == 1;
    int first = image ? CSL_ONEDNN_BACKWARD_WEIGHTS : CSL_ONEDNN_BACKWARD_DATA;
    for (int pass = first; direct && pass <= CSL_ONEDNN_BACKWARD_WEIGHTS; pass++) {
        dnnl_primitive_desc_t backward = NULL;
        direct =
            csl_onednn_conv_prepare(conv, (csl_onednn_pass)pass, forward, &backward) == CSL_OK &&
            is_direct(backward);
        if (backward) {
            dnnl_primitive_desc_destroy(backward);
        }
    }
    return direct;
}

csl_status csl_onednn_conv_block(const csl_onednn_conv *conv, uint32_t *block_out)
{
    uint32_t block = register_block();
    bool image = conv->source[1] == 1;
    *block_out = 0;
    if (block == 0 || conv->rank != 4 || conv->weights_rank != 4 ||
        conv->destination[1] % block != 0 || (!image && conv->source[1] % block != 0)) {
        return CSL_OK;
    }
    csl_onednn_conv blocked = *conv;
    csl_onednn_conv_set_block(&blocked, block);
    dnnl_primitive_desc_t forward = NULL;
    CSL_TRY(csl_onednn_conv_prepare(&blocked, CSL_ONEDNN_FORWARD, NULL, &forward));
    *block_out = is_direct(forward) && has_direct_backward(&blocked, forward) ? block : 0;
    dnnl_primitive_desc_destroy(forward);
    return CSL_OK;
}

#endif
