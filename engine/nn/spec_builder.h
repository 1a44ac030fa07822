/* Lists a network layer by layer. A failed allocation is remembered until the end. */
#ifndef CSL_NN_SPEC_BUILDER_H
#define CSL_NN_SPEC_BUILDER_H

#include <consilium/model.h>

typedef enum csl_norm_kind { CSL_NORM_GROUP, CSL_NORM_BATCH, CSL_NORM_NONE } csl_norm_kind;

typedef struct csl_spec_builder {
    csl_model_spec *spec; /* NULL once memory ran out */
    csl_norm_kind norm;
    uint32_t group_count; /* of group norm, at most; halved until it divides the channels */
    bool is_3d;           /* windows have depth */
    uint32_t capacity;
    char prefix[CSL_NAME_MAX]; /* put before every name, "block1." or "" */
} csl_spec_builder;

/* Each adds a layer that reads layer `input` (-1: the image) and returns its index. */
int32_t csl_build_conv(csl_spec_builder *builder,
                       const char *name,
                       int32_t input,
                       uint32_t channels,
                       uint32_t size,
                       uint32_t stride,
                       uint32_t padding,
                       bool bias);
int32_t
csl_build_linear(csl_spec_builder *builder, const char *name, int32_t input, uint32_t outputs);
/* Returns `input` itself where the network has no norm. */
int32_t
csl_build_norm(csl_spec_builder *builder, const char *name, int32_t input, uint32_t channels);
int32_t csl_build_pool(csl_spec_builder *builder,
                       const char *name,
                       csl_layer_kind kind,
                       int32_t input,
                       uint32_t size,
                       uint32_t stride,
                       uint32_t padding);
int32_t csl_build_dropout(csl_spec_builder *builder, const char *name, int32_t input, float rate);
int32_t csl_build_add(csl_spec_builder *builder, const char *name, int32_t input, int32_t from);
/* Layers without settings: ReLU and global pools. */
int32_t
csl_build_simple(csl_spec_builder *builder, const char *name, csl_layer_kind kind, int32_t input);

#endif
