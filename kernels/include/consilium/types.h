/* Value types and limits that every layer shares. Every limit of the program has its name here. */
#ifndef CONSILIUM_TYPES_H
#define CONSILIUM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CSL_INSTITUTIONS_MAX = 1024,  /* institutions of one study */
    CSL_ROWS_MAX = 1024,          /* updates in one aggregation */
    CSL_CLASSES_MAX = 256,        /* classes, or labels of a multi-label task */
    CSL_CHANNELS_MAX = 4096,      /* channels of a feature map */
    CSL_IMAGE_CHANNELS_MAX = 16,  /* channels of an image */
    CSL_EXTENT_MAX = 65536,       /* voxels along one axis of an image */
    CSL_LAYERS_MAX = 512,         /* layers of a network */
    CSL_FEATURES_MAX = 1 << 30,   /* elements of one image's feature map */
    CSL_PARAMETERS_MAX = 1 << 30, /* elements of a network's flat vector */
    CSL_BATCH_MAX = 65536,        /* images in one batch */
    CSL_NAME_MAX = 64,            /* bytes of a name, the closing zero included */
    CSL_PATH_MAX = 4096,          /* bytes of a path, the closing zero included */
    CSL_THREADS_MAX = 1024,       /* threads of one institution */
    CSL_TILE = 4096               /* coordinates of a tile; part of the definition of EXACT sums */
};

/* How equal an operation is across backends, ranks and threads. */
typedef enum csl_exactness {
    CSL_BOUNDED, /* within a stated tolerance of a float64 oracle */
    CSL_EXACT    /* bit-identical everywhere */
} csl_exactness;

/*
 * Shape of one image or feature map. Feature maps lie in memory as [batch][depth][height][width]
 * [channels] (channels last, float32), on the host and on CUDA alike, unless an operation's spec
 * has a block; 2-D data has depth 1.
 */
typedef struct csl_shape {
    uint32_t extent[3]; /* depth, height, width */
    uint32_t channels;
} csl_shape;

/* A sliding window over depth, height and width; in 2-D entry 0 is {1, 1, 0, 1}. */
typedef struct csl_window {
    uint32_t size[3];
    uint32_t stride[3];
    uint32_t padding[3];  /* zeros before and after */
    uint32_t dilation[3]; /* 1 is dense */
} csl_window;

typedef enum csl_element_type { CSL_U8, CSL_I16, CSL_U16, CSL_F32 } csl_element_type;

static inline size_t csl_element_size(csl_element_type type)
{
    return type == CSL_U8 ? 1 : type == CSL_F32 ? 4 : 2;
}

/* Elements of one image or feature map. */
static inline size_t csl_shape_count(csl_shape shape)
{
    return (size_t)shape.extent[0] * shape.extent[1] * shape.extent[2] * shape.channels;
}

#endif
