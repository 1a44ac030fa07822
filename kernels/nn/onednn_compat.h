/*
 * The part of oneDNN that differs between 2.x (operation descriptors; Debian 12) and 3.x
 * (primitive descriptors made directly; Debian 13). The only file that asks for its version.
 */
#ifndef CSL_ONEDNN_COMPAT_H
#define CSL_ONEDNN_COMPAT_H

#include <consilium/status.h>
#include <dnnl.h>
#include <stdbool.h>

/* A lent memory descriptor. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t csl_memory_desc;
#else
typedef const dnnl_memory_desc_t *csl_memory_desc;
#endif

/* One convolution in oneDNN's terms: batch, channels, then 2 or 3 extents. */
typedef struct csl_onednn_conv {
    int rank; /* 4 or 5 */
    dnnl_dims_t source;
    dnnl_dims_t destination;
    int weights_rank; /* rank, or rank + 1 with groups */
    dnnl_dims_t weights;
    dnnl_dims_t bias;
    dnnl_dims_t strides;
    dnnl_dims_t dilates; /* 0 is dense */
    dnnl_dims_t padding;
    dnnl_format_tag_t source_tag;
    dnnl_format_tag_t weights_source_tag; /* of the source in backward_weights */
    dnnl_format_tag_t destination_tag;
    bool has_bias;
    bool relu; /* fused into forward */
} csl_onednn_conv;

typedef enum csl_onednn_pass {
    CSL_ONEDNN_FORWARD,
    CSL_ONEDNN_BACKWARD_DATA,
    CSL_ONEDNN_BACKWARD_WEIGHTS
} csl_onednn_pass;

/* E_DEVICE with oneDNN's status in the message; CSL_OK for success; E_NO_MEMORY; E_UNSUPPORTED. */
csl_status csl_onednn_status(dnnl_status_t status, const char *what);
#define CSL_TRY_ONEDNN(call) CSL_TRY(csl_onednn_status((call), #call))

/* The process's one CPU engine. */
csl_status csl_onednn_engine(dnnl_engine_t *engine_out);

/* An owned float32 descriptor. */
csl_status csl_memory_desc_create(int rank,
                                  const dnnl_dim_t *dims,
                                  dnnl_format_tag_t tag,
                                  csl_memory_desc *desc_out);
csl_status csl_memory_desc_clone(csl_memory_desc source, csl_memory_desc *desc_out);
/* NULL is allowed. */
void csl_memory_desc_destroy(csl_memory_desc desc);

/*
 * Prepares one pass with a scratchpad from the caller and weights in the order oneDNN likes best.
 * forward: hint of the backward passes, NULL for the forward one. Errors: E_UNSUPPORTED.
 */
csl_status csl_onednn_conv_prepare(const csl_onednn_conv *conv,
                                   csl_onednn_pass pass,
                                   const_dnnl_primitive_desc_t forward,
                                   dnnl_primitive_desc_t *descriptor_out);

/*
 * The block of channels of oneDNN's direct convolutions on this processor, 8 with AVX2 and 16 with
 * AVX-512, if all three passes of `conv` exist in it; else 0. The tags of `conv` are not read.
 * 0 with oneDNN 3, whose convolutions were not compared.
 */
csl_status csl_onednn_conv_block(const csl_onednn_conv *conv, uint32_t *block_out);
/* Sets the tags of a 2-D convolution on blocks of 8 or 16 channels. */
void csl_onednn_conv_set_block(csl_onednn_conv *conv, uint32_t block);

#endif
