/* Networks by name. */
#include "nn/spec_builder.h"

#include <consilium/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a network's images may be. */
typedef enum zoo_images { ZOO_2D = 1, ZOO_3D = 2 } zoo_images;

typedef struct zoo_entry {
    const char *name;
    const char *text;
    uint32_t images; /* of zoo_images */
    uint32_t extent_min;
    bool has_norm;
    uint32_t group_count;
    void (*list)(csl_spec_builder *builder, uint32_t class_count);
} zoo_entry;

static int32_t add_relu(csl_spec_builder *b, const char *name, int32_t input)
{
    return csl_build_simple(b, name, CSL_LAYER_RELU, input);
}

static void list_linear(csl_spec_builder *b, uint32_t class_count)
{
    csl_build_linear(b, "linear", -1, class_count);
}

static void list_cnn_small(csl_spec_builder *b, uint32_t class_count)
{
    int32_t x = csl_build_conv(b, "conv1", -1, 16, 3, 1, 1, true);
    x = add_relu(b, "relu1", x);
    x = csl_build_pool(b, "pool1", CSL_LAYER_MAX_POOL, x, 2, 2, 0);
    x = csl_build_conv(b, "conv2", x, 32, 3, 1, 1, true);
    x = add_relu(b, "relu2", x);
    x = csl_build_pool(b, "pool2", CSL_LAYER_MAX_POOL, x, 2, 2, 0);
    x = csl_build_linear(b, "linear1", x, 128);
    x = add_relu(b, "relu3", x);
    csl_build_linear(b, "linear2", x, class_count);
}

static void list_mnist_example(csl_spec_builder *b, uint32_t class_count)
{
    int32_t x = csl_build_conv(b, "conv1", -1, 32, 3, 1, 0, true);
    x = add_relu(b, "relu1", x);
    x = csl_build_conv(b, "conv2", x, 64, 3, 1, 0, true);
    x = add_relu(b, "relu2", x);
    x = csl_build_pool(b, "pool", CSL_LAYER_MAX_POOL, x, 2, 2, 0);
    x = csl_build_dropout(b, "dropout1", x, 0.25f);
    x = csl_build_linear(b, "linear1", x, 128);
    x = add_relu(b, "relu3", x);
    x = csl_build_dropout(b, "dropout2", x, 0.5f);
    csl_build_linear(b, "linear2", x, class_count);
}

/* Convolution, norm, ReLU. */
static int32_t add_stem(csl_spec_builder *b, uint32_t channels, uint32_t size, uint32_t stride)
{
    int32_t x =
        csl_build_conv(b, "conv", -1, channels, size, stride, size / 2, b->norm == CSL_NORM_NONE);
    x = csl_build_norm(b, "norm", x, channels);
    return add_relu(b, "relu", x);
}

/* Basic block (He et al. 2016, "Deep residual learning", figure 5 left), 1x1 convolution on the
 * shortcut where the shape changes (their option B). */
static int32_t add_block(csl_spec_builder *b,
                         const char *name,
                         int32_t input,
                         uint32_t channels,
                         uint32_t stride,
                         bool projects)
{
    snprintf(b->prefix, sizeof b->prefix, "%s.", name);
    bool bias = b->norm == CSL_NORM_NONE;
    int32_t x = csl_build_conv(b, "conv1", input, channels, 3, stride, 1, bias);
    x = csl_build_norm(b, "norm1", x, channels);
    x = add_relu(b, "relu1", x);
    x = csl_build_conv(b, "conv2", x, channels, 3, 1, 1, bias);
    x = csl_build_norm(b, "norm2", x, channels);
    int32_t shortcut = input;
    if (projects) {
        shortcut = csl_build_conv(b, "shortcut", input, channels, 1, stride, 0, bias);
        shortcut = csl_build_norm(b, "shortcut_norm", shortcut, channels);
    }
    x = csl_build_add(b, "add", x, shortcut);
    x = add_relu(b, "relu2", x);
    b->prefix[0] = '\0';
    return x;
}

static void add_head(csl_spec_builder *b, int32_t input, uint32_t class_count)
{
    int32_t x = csl_build_simple(b, "pool", CSL_LAYER_GLOBAL_AVERAGE_POOL, input);
    csl_build_linear(b, "linear", x, class_count);
}

static void list_resnet8(csl_spec_builder *b, uint32_t class_count)
{
    int32_t x = add_stem(b, 16, 3, 1);
    x = add_block(b, "block1", x, 16, 1, false);
    x = add_block(b, "block2", x, 32, 2, true);
    x = add_block(b, "block3", x, 64, 2, true);
    add_head(b, x, class_count);
}

static void add_resnet18_stages(csl_spec_builder *b, int32_t x, uint32_t class_count)
{
    for (uint32_t stage = 0; stage < 4; stage++) {
        uint32_t channels = 64u << stage;
        for (uint32_t block = 0; block < 2; block++) {
            char name[32];
            snprintf(name, sizeof name, "stage%u.block%u", stage + 1, block + 1);
            bool shrinks = stage > 0 && block == 0;
            x = add_block(b, name, x, channels, shrinks ? 2 : 1, shrinks);
        }
    }
    add_head(b, x, class_count);
}

static void list_resnet18_28(csl_spec_builder *b, uint32_t class_count)
{
    add_resnet18_stages(b, add_stem(b, 64, 3, 1), class_count);
}

static void list_resnet18(csl_spec_builder *b, uint32_t class_count)
{
    int32_t x = add_stem(b, 64, 7, 2);
    x = csl_build_pool(b, "stem_pool", CSL_LAYER_MAX_POOL, x, 3, 2, 1);
    add_resnet18_stages(b, x, class_count);
}

static void list_cnn3d(csl_spec_builder *b, uint32_t class_count)
{
    int32_t x = -1;
    for (uint32_t stage = 0; stage < 3; stage++) {
        char name[32];
        snprintf(b->prefix, sizeof b->prefix, "stage%u.", stage + 1);
        uint32_t channels = 16u << stage;
        snprintf(name, sizeof name, "conv");
        x = csl_build_conv(b, name, x, channels, 3, 1, 1, b->norm == CSL_NORM_NONE);
        x = csl_build_norm(b, "norm", x, channels);
        x = add_relu(b, "relu", x);
        if (stage < 2) {
            x = csl_build_pool(b, "pool", CSL_LAYER_MAX_POOL, x, 2, 2, 0);
        }
        b->prefix[0] = '\0';
    }
    add_head(b, x, class_count);
}

static const zoo_entry zoo[] = {
    {"cnn-small", "two convolutions of 16 and 32 channels with max pooling, two linear layers",
     ZOO_2D, 4, false, 0, list_cnn_small},
    {"resnet8-28", "stem and three residual blocks of 16, 32, 64 channels; for images near 28x28",
     ZOO_2D, 4, true, 8, list_resnet8},
    {"resnet18-28", "ResNet-18 with a 3x3 stem of stride 1, as MedMNIST uses it at 28x28", ZOO_2D,
     8, true, 32, list_resnet18_28},
    {"resnet18", "ResNet-18 with the 7x7 stem of stride 2, for images from 64x64 to 224x224",
     ZOO_2D, 32, true, 32, list_resnet18},
    {"cnn3d-28", "three 3-D convolutions of 16, 32, 64 channels; for volumes near 28x28x28", ZOO_3D,
     4, true, 8, list_cnn3d},
    {"mnist-example", "PyTorch's MNIST example: two convolutions without padding, dropout", ZOO_2D,
     6, false, 0, list_mnist_example},
    {"linear", "logistic regression on the voxels: the baseline", ZOO_2D | ZOO_3D, 1, false, 0,
     list_linear},
};

enum { ZOO_COUNT = sizeof zoo / sizeof zoo[0] };

static const zoo_entry *find_entry(const char *name)
{
    for (size_t i = 0; i < ZOO_COUNT; i++) {
        if (strcmp(zoo[i].name, name) == 0) {
            return &zoo[i];
        }
    }
    return NULL;
}

const char *const *csl_model_zoo_names(void)
{
    static const char *const names[] = {"cnn-small", "resnet8-28",    "resnet18-28", "resnet18",
                                        "cnn3d-28",  "mnist-example", "linear",      NULL};
    _Static_assert(sizeof names / sizeof names[0] == ZOO_COUNT + 1, "one name for each network");
    return names;
}

const char *csl_model_zoo_text(const char *name)
{
    const zoo_entry *entry = find_entry(name);
    return entry ? entry->text : NULL;
}

bool csl_model_zoo_has_norm(const char *name)
{
    const zoo_entry *entry = find_entry(name);
    return entry && entry->has_norm;
}

static csl_status find_norm(const zoo_entry *entry, const char *name, csl_norm_kind *norm_out)
{
    static const char *const names[] = {"group", "batch", "none", NULL};
    if (!name) {
        *norm_out = entry->has_norm ? CSL_NORM_GROUP : CSL_NORM_NONE;
        return CSL_OK;
    }
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], name) != 0) {
            continue;
        }
        if (!entry->has_norm && i != CSL_NORM_NONE && i != CSL_NORM_GROUP) {
            return csl_fail(CSL_E_UNSUPPORTED, "model %s has no norm layers, found norm '%s'",
                            entry->name, name);
        }
        *norm_out = entry->has_norm ? (csl_norm_kind)i : CSL_NORM_NONE;
        return CSL_OK;
    }
    const char *nearest = csl_nearest_name(name, names);
    return csl_fail(CSL_E_NOT_FOUND,
                    "model %s: unknown norm '%s', expected group, batch or none%s%s%s", entry->name,
                    name, nearest ? "; did you mean '" : "", nearest ? nearest : "",
                    nearest ? "'?" : "");
}

static csl_status check_images(const zoo_entry *entry, csl_shape input)
{
    bool is_3d = input.extent[0] > 1;
    if (!(entry->images & (is_3d ? ZOO_3D : ZOO_2D))) {
        return csl_fail(CSL_E_SHAPE, "model %s is for %s images, found %ux%ux%u", entry->name,
                        is_3d ? "2-D" : "3-D", input.extent[0], input.extent[1], input.extent[2]);
    }
    for (int axis = is_3d ? 0 : 1; axis < 3; axis++) {
        if (input.extent[axis] < entry->extent_min) {
            return csl_fail(CSL_E_SHAPE, "model %s needs extents of %u at least, found %ux%ux%u",
                            entry->name, entry->extent_min, input.extent[0], input.extent[1],
                            input.extent[2]);
        }
    }
    return CSL_OK;
}

csl_status csl_model_spec_zoo(const char *name,
                              const char *norm,
                              csl_shape input,
                              csl_task task,
                              uint32_t class_count,
                              csl_model_spec **spec_out)
{
    const zoo_entry *entry = find_entry(name);
    if (!entry) {
        const char *nearest = csl_nearest_name(name, csl_model_zoo_names());
        return csl_fail(CSL_E_NOT_FOUND, "unknown model '%.100s'%s%s%s", name,
                        nearest ? "; did you mean '" : "", nearest ? nearest : "",
                        nearest ? "'?" : "");
    }
    csl_norm_kind norm_kind = CSL_NORM_NONE;
    CSL_TRY(find_norm(entry, norm, &norm_kind));
    CSL_TRY(check_images(entry, input));
    csl_spec_builder builder = {.norm = norm_kind,
                                .group_count = entry->group_count,
                                .is_3d = input.extent[0] > 1,
                                .spec = calloc(1, sizeof *builder.spec)};
    if (builder.spec) {
        snprintf(builder.spec->name, sizeof builder.spec->name, "%s", entry->name);
        builder.spec->input = input;
        builder.spec->task = task;
        builder.spec->class_count = class_count;
        entry->list(&builder, class_count);
    }
    if (!builder.spec) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the layers of model %s", name);
    }
    csl_status status = csl_model_spec_check(builder.spec);
    if (status != CSL_OK) {
        csl_model_spec_destroy(builder.spec);
        return status;
    }
    *spec_out = builder.spec;
    return CSL_OK;
}
