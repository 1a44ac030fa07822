/*
 * Networks: a list of layers, its parameters as one flat vector, forward and backward.
 *
 * The flat vector is what a federation exchanges: float32, tensor after tensor in the order of
 * csl_model_tensor, weights as [out][in/groups][kd][kh][kw] or [out][in] (features flattened
 * [depth][height][width][channels]). Batch norm's running statistics are part of it and marked, so
 * that the batch-norm policy can treat them apart. Not collective, all of it.
 */
#ifndef CONSILIUM_MODEL_H
#define CONSILIUM_MODEL_H

#include <consilium/dataset.h>
#include <consilium/device.h>
#include <consilium/kernels.h>

typedef enum csl_layer_kind {
    CSL_LAYER_CONV,
    CSL_LAYER_LINEAR, /* flattens its input */
    CSL_LAYER_BATCH_NORM,
    CSL_LAYER_GROUP_NORM,
    CSL_LAYER_RELU,
    CSL_LAYER_MAX_POOL,
    CSL_LAYER_AVERAGE_POOL,
    CSL_LAYER_GLOBAL_MAX_POOL,
    CSL_LAYER_GLOBAL_AVERAGE_POOL,
    CSL_LAYER_DROPOUT,
    CSL_LAYER_ADD /* sum of the previous layer and layer `from` */
} csl_layer_kind;

typedef struct csl_layer {
    char name[CSL_NAME_MAX]; /* unique, "conv1", "block1.conv2" */
    csl_layer_kind kind;
    int32_t input;     /* index of the layer whose output this reads; -1 is the image */
    int32_t from;      /* ADD: second summand; else -2 */
    uint32_t channels; /* CONV, LINEAR: outputs */
    csl_window window; /* CONV, pools; in 2-D entry 0 is {1, 1, 0, 1} */
    uint32_t groups;   /* CONV: groups, 1 is dense; GROUP_NORM: groups */
    bool bias;         /* CONV, LINEAR */
    float rate;        /* DROPOUT */
} csl_layer;

typedef struct csl_model_spec {
    char name[CSL_NAME_MAX];
    csl_shape input;
    csl_task task;
    uint32_t class_count;
    uint32_t layer_count;
    csl_layer *layers; /* [layer_count]; the last one gives the logits */
} csl_model_spec;

/* Builds a zoo network: cnn-small, resnet8-28, resnet18-28, resnet18, cnn3d-28, mnist-example,
 * linear. norm: "group" (default when NULL), "batch" or "none"; cnn-small, mnist-example and linear
 * have no norm. Errors: E_NOT_FOUND (message names the nearest), E_SHAPE (input does not suit),
 * E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_model_spec_zoo(const char *name,
                                                     const char *norm,
                                                     csl_shape input,
                                                     csl_task task,
                                                     uint32_t class_count,
                                                     csl_model_spec **spec_out);
/* Names of the zoo, NULL-terminated, and one line about each. */
CSL_API const char *const *csl_model_zoo_names(void);
CSL_API const char *csl_model_zoo_text(const char *name);
/* Whether a network of the zoo has norm layers, whose kind can be chosen. */
CSL_API bool csl_model_zoo_has_norm(const char *name);
/* Checks names, references, shapes and the number of outputs; the message names the layer. */
CSL_API CSL_MUST_CHECK csl_status csl_model_spec_check(const csl_model_spec *spec);
CSL_API void csl_model_spec_destroy(csl_model_spec *spec);

typedef enum csl_tensor_role {
    CSL_ROLE_WEIGHT,
    CSL_ROLE_BIAS,
    CSL_ROLE_NORM_SCALE,
    CSL_ROLE_NORM_SHIFT,
    CSL_ROLE_RUNNING_MEAN,    /* state, not trained by the optimiser */
    CSL_ROLE_RUNNING_VARIANCE /* state */
} csl_tensor_role;

typedef struct csl_tensor {
    char name[CSL_NAME_MAX + 16]; /* "block1.conv2.weight" */
    csl_tensor_role role;
    csl_layer_kind layer_kind; /* BATCH_NORM marks what the batch-norm policy governs */
    uint32_t rank;
    uint32_t extent[5];
    size_t offset; /* in the flat vector, in elements */
    size_t count;
} csl_tensor;

/* The tensors of a network without building it; tensors_out is owned by the caller (free). */
CSL_API CSL_MUST_CHECK csl_status csl_model_spec_tensors(const csl_model_spec *spec,
                                                         csl_tensor **tensors_out,
                                                         uint32_t *tensor_count_out,
                                                         size_t *parameter_count_out);
/* Floating-point operations of one image: forward, and forward plus backward. */
CSL_API void
csl_model_spec_operations(const csl_model_spec *spec, double *forward_out, double *training_out);

/* Initial parameters: He normal for convolutions and linear layers followed by ReLU, uniform
 * +-1/sqrt(in) for the last layer and biases zero, norm scale 1, shift 0; a function of seed alone.
 * parameters_out: [parameter_count], the caller's. */
CSL_API CSL_MUST_CHECK csl_status csl_model_initialise(const csl_model_spec *spec,
                                                       uint64_t seed,
                                                       float *parameters_out);

typedef struct csl_model csl_model;

/* Prepares a network for batches of at most batch_max images on a device (lent, must outlive the
 * model). training: also gradients and what backward needs. Errors as spec_check, E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_model_create(csl_device *device,
                                                   const csl_model_spec *spec,
                                                   uint32_t batch_max,
                                                   bool training,
                                                   csl_model **model_out);
CSL_API void csl_model_destroy(csl_model *model);
CSL_API size_t csl_model_parameter_count(const csl_model *model);
/* Bytes that create allocates on the device, by the formula in docs/ARCHITECTURE.md, without
 * building: parameters, gradient, activations. What a convolution keeps for itself comes on top: on
 * the host in memory of oneDNN, on a card as csl_model_card_memory_size says. Errors as spec_check,
 * E_RANGE (batch_max). */
CSL_API CSL_MUST_CHECK csl_status csl_model_memory_size(const csl_model_spec *spec,
                                                        uint32_t batch_max,
                                                        bool training,
                                                        uint64_t *size_out);
/* What a CUDA device needs for it beyond that, in bytes: kept_out by the model's convolutions,
 * scratch_out of the memory that all models of the device share, one after the other. Needs no
 * card. Errors as spec_check. */
CSL_API CSL_MUST_CHECK csl_status csl_model_card_memory_size(const csl_model_spec *spec,
                                                             uint32_t batch_max,
                                                             uint64_t *kept_out,
                                                             uint64_t *scratch_out);

/*
 * One pass through the network, for benches, tests and whoever writes another training loop. The
 * caller fills csl_model_input, runs forward, computes a loss from csl_model_output into
 * csl_model_output_gradient, and runs backward. All three are device memory owned by the model and
 * valid until it is destroyed; what they hold is valid until the next forward,
 * which may overwrite the input too.
 */
typedef enum csl_pass {
    CSL_PASS_INFER, /* dropout off, batch norm by running values */
    CSL_PASS_TRAIN, /* dropout on, batch norm by the batch; moves the running values */
    CSL_PASS_FROZEN /* dropout on, batch norm by running values, which stay */
} csl_pass;

CSL_API float *csl_model_input(csl_model *model);  /* [batch_max][depth][height][width][channels] */
CSL_API float *csl_model_output(csl_model *model); /* [batch_max][class_count] logits */
CSL_API float *csl_model_output_gradient(csl_model *model); /* the same; NULL without training */
/* dropout_seed names the masks; first_image is the position of this batch's first image in the
 * institution's batch, so that shards of one batch draw different masks. Errors: E_RANGE (batch not
 * in 1..batch_max), E_STATE (a training pass on an inference model), device errors. */
CSL_API CSL_MUST_CHECK csl_status csl_model_forward(
    csl_model *model, uint32_t batch, csl_pass pass, uint64_t dropout_seed, uint32_t first_image);
/* Gradient of every trained parameter, overwritten. Must follow a training pass of the same batch
 * (E_STATE). */
CSL_API CSL_MUST_CHECK csl_status csl_model_backward(csl_model *model);
/* The flat vectors in device memory; csl_model_changed after writing weights there. */
CSL_API float *csl_model_device_parameters(csl_model *model);
CSL_API float *csl_model_device_gradient(csl_model *model);
CSL_API void csl_model_changed(csl_model *model);

/* Copies the flat vector between the model and host memory [parameter_count]. */
CSL_API CSL_MUST_CHECK csl_status csl_model_set_parameters(csl_model *model, const float *values);
CSL_API CSL_MUST_CHECK csl_status csl_model_get_parameters(csl_model *model, float *values_out);
/* Copies the gradient of the last backward (state entries are 0). */
CSL_API CSL_MUST_CHECK csl_status csl_model_get_gradient(csl_model *model, float *gradient_out);

#endif
