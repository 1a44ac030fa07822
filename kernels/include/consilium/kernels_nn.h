/*
 * Operations of neural networks, forward and backward. The list says which are EXACT.
 *
 * Legend: B = batch, C = channels, feature maps x, y [B][D][H][W][C] float32 (see csl_shape), dx =
 * gradient of the loss with respect to x. In blocks of b channels a map is [B][C/b][D][H][W][b]:
 * the order oneDNN's convolutions like best; none but convolutions and norms can tell. Weights keep
 * one order on every device: [out][in/groups] [kd][kh][kw] for convolutions, [out][in] for linear
 * layers. Backward operations overwrite dx and the weight gradients; they do not accumulate.
 */
#ifndef CONSILIUM_KERNELS_NN_H
#define CONSILIUM_KERNELS_NN_H

#include <consilium/device.h>

/* A convolution prepared for one device: owns workspaces for at most batch_max images. */
typedef struct csl_conv csl_conv;

typedef struct csl_conv_spec {
    csl_shape input;
    csl_shape output; /* extents must equal csl_window_output of the input */
    csl_window window;
    uint32_t groups; /* divides both channel counts */
    bool has_bias;
    bool fuse_relu; /* forward gives max(0, conv + bias); backward expects dy already masked */
    uint32_t batch_max;
    uint32_t block; /* channels of a block of x and y, as conv_block gives it; 0: channels-last */
} csl_conv_spec;

/* What a convolution takes of a CUDA device. */
typedef struct csl_conv_memory {
    uint64_t kept_size;    /* bytes: its weights in the order of its product, and their gradient */
    uint64_t columns_size; /* bytes of scratch memory, which all objects of a device share */
    uint32_t image_chunk;  /* images whose columns lie there at a time */
} csl_conv_memory;

#ifdef __cplusplus
extern "C" {
#endif
/* Needs neither a card nor a build with CUDA. The specification is one that conv_create accepts. */
CSL_API csl_conv_memory csl_cuda_conv_memory(const csl_conv_spec *spec);
#ifdef __cplusplus
}
#endif

typedef struct csl_pool_spec {
    csl_shape input;
    csl_shape output;
    csl_window window; /* average pooling divides by the full window, padding included */
} csl_pool_spec;

typedef struct csl_norm_spec {
    csl_shape shape;
    uint32_t groups; /* group norm: divides channels; batch norm: 0 */
    float epsilon;
    uint32_t block; /* channels of a block of x and y, divides channels; 0: channels-last */
} csl_norm_spec;

/* Geometric and intensity change of one image, drawn by the caller; the unit matrix, no shift, gain
 * 1 and offset 0 change nothing. Output voxel o takes input voxel matrix * (o - centre) + centre +
 * shift, linear interpolation, edge voxels repeated; then value * gain + offset. */
typedef struct csl_augment {
    float matrix[9]; /* row major over (depth, height, width) */
    float shift[3];
    float gain;
    float offset; /* in units after normalisation */
} csl_augment;

typedef struct csl_input_spec {
    csl_shape shape;
    csl_element_type type;
    float slope; /* value = (raw * slope + intercept - mean[c]) * inverse_deviation[c] */
    float intercept;
} csl_input_spec;

typedef struct csl_sgd_spec {
    float rate;
    float momentum;
    float weight_decay; /* added to the gradient, as PyTorch's SGD does */
    bool nesterov;
} csl_sgd_spec;

typedef struct csl_adamw_spec {
    float rate;
    float beta1;
    float beta2;
    float epsilon;
    float weight_decay; /* decoupled (Loshchilov & Hutter 2019, algorithm 2) */
    uint64_t step;      /* 1 for the first step */
} csl_adamw_spec;

/* Extent after a window along one axis: floor((extent + 2 padding - dilation (size - 1) - 1) /
 * stride) + 1, or 0 if the window does not fit. */
static inline uint32_t csl_window_output(uint32_t extent, const csl_window *window, int axis)
{
    uint64_t span = (uint64_t)window->dilation[axis] * (window->size[axis] - 1) + 1;
    uint64_t padded = (uint64_t)extent + 2 * (uint64_t)window->padding[axis];
    return padded < span ? 0 : (uint32_t)((padded - span) / window->stride[axis] + 1);
}

/*
 * input_prepare    raw [B][C][D][H][W] of spec.type to y [B][D][H][W][C], normalised and augmented.
 *                  mean, inverse_deviation: [C]; augment: [B] or NULL.
 * conv_*           weights [O][C/groups][kd][kh][kw], bias [O] (NULL without has_bias).
 *                  conv_update_weights tells the object that weights changed since its last call;
 *                  forward and backward_data use the order made then.
 *                  conv_block: the block in which a convolution is fastest on the device, 0 if that
 *                  is channels-last; spec.block is not read. An image of one channel is the same in
 *                  both orders. A block of 0 always works.
 * linear_*         x [B][in], w [out][in], bias [out], y [B][out]; relu: y = max(0, ...).
 * batch_norm_*     train: mean and variance over B, D, H, W (biased); saved_mean and
 *                  saved_inverse_deviation [C] are kept for backward; running = running * (1 -
 *                  momentum) + momentum * batch value (unbiased variance), as PyTorch.
 *                  infer: uses the running values. backward: for train mode; with frozen = true the
 *                  statistics are constants and saved_* hold the running values.
 * group_norm_*     mean and variance over D, H, W and the channels of a group, per image; saved_*:
 *                  [B][groups]. scale, shift: [C]. relu in forward: y = max(0, norm); backward
 *                  masks dy with y > 0 itself.
 * relu_*           y may be x; dx may be dy. backward masks dy where y > 0.
 * add_relu         y = a + b, or max(0, a + b); y may be a or b.
 * accumulate       y += x.
 * max_pool_*       index [output count] uint32: position in the image's input (channels included)
 *                  of the first largest value. A window that lies in the padding gives 0 and index
 *                  UINT32_MAX, and passes no gradient.
 * dropout          keeps with probability 1 - rate and scales by 1 / (1 - rate). Element e takes
 *                  word e mod 4 of Philox4x32-10 with key {low, high half of seed} and counter
 *                  {low, high half of e / 4 + offset, 0, 0}; it is kept where the word is >=
 *                  (uint32_t)(rate * 2^32), and 0 elsewhere. EXACT. backward = forward on dy. y may
 *                  be x.
 * softmax_loss     logits [B][K], labels [B] int32: loss [B] (natural log), dlogits = (p -
 *                  onehot) * scale, probabilities [B][K] or NULL; dlogits may be NULL. Labels lie
 *                  in [0, K): the caller has checked them.
 * sigmoid_loss     targets [B][K], mask [B][K] uint8 or NULL (all known): loss [B] sum over known
 *                  labels, dlogits scaled by scale, probabilities or NULL.
 * squared_loss     loss [B] = 1/2 sum_k (y - t)^2, dlogits = (y - t) * scale.
 * sgd_step         g += weight_decay * w; m = momentum * m + g; w -= rate * (nesterov ? g +
 *                  momentum m : m). m may be NULL if momentum is 0.
 * adamw_step       first and second: [count] moments.
 * axpy             y += a x. scale: x *= a. fill: x = a.
 * proximal         g += mu (w - w0).
 * sum_of_squares   host_out = sum x^2 in float64.
 */
#define CSL_NN_OP_LIST(X)                                                                          \
    X(input_prepare, CSL_BOUNDED, 1e-5, 1e-5,                                                      \
      (csl_device * device, const csl_input_spec *spec, const void *raw, const float *mean,        \
       const float *inverse_deviation, const csl_augment *augment, uint32_t batch, float *y),      \
      (device, spec, raw, mean, inverse_deviation, augment, batch, y))                             \
    X(conv_block, CSL_EXACT, 0, 0,                                                                 \
      (csl_device * device, const csl_conv_spec *spec, uint32_t *block_out),                       \
      (device, spec, block_out))                                                                   \
    X(conv_create, CSL_BOUNDED, 0, 0,                                                              \
      (csl_device * device, const csl_conv_spec *spec, csl_conv **conv_out),                       \
      (device, spec, conv_out))                                                                    \
    X(conv_destroy, CSL_BOUNDED, 0, 0, (csl_device * device, csl_conv * conv), (device, conv))     \
    X(conv_update_weights, CSL_BOUNDED, 0, 0,                                                      \
      (csl_device * device, csl_conv * conv, const float *weights), (device, conv, weights))       \
    X(conv_forward, CSL_BOUNDED, 1e-5, 2e-5,                                                       \
      (csl_device * device, csl_conv * conv, const float *x, const float *bias, uint32_t batch,    \
       float *y),                                                                                  \
      (device, conv, x, bias, batch, y))                                                           \
    X(conv_backward_data, CSL_BOUNDED, 1e-5, 2e-5,                                                 \
      (csl_device * device, csl_conv * conv, const float *dy, uint32_t batch, float *dx),          \
      (device, conv, dy, batch, dx))                                                               \
    X(conv_backward_weights, CSL_BOUNDED, 1e-5, 5e-5,                                              \
      (csl_device * device, csl_conv * conv, const float *x, const float *dy, uint32_t batch,      \
       float *dweights, float *dbias),                                                             \
      (device, conv, x, dy, batch, dweights, dbias))                                               \
    X(linear_forward, CSL_BOUNDED, 1e-5, 2e-5,                                                     \
      (csl_device * device, const float *x, const float *weights, const float *bias,               \
       uint32_t batch, uint32_t in_count, uint32_t out_count, bool relu, float *y),                \
      (device, x, weights, bias, batch, in_count, out_count, relu, y))                             \
    X(linear_backward_data, CSL_BOUNDED, 1e-5, 2e-5,                                               \
      (csl_device * device, const float *dy, const float *weights, uint32_t batch,                 \
       uint32_t in_count, uint32_t out_count, float *dx),                                          \
      (device, dy, weights, batch, in_count, out_count, dx))                                       \
    X(linear_backward_weights, CSL_BOUNDED, 1e-5, 5e-5,                                            \
      (csl_device * device, const float *x, const float *dy, uint32_t batch, uint32_t in_count,    \
       uint32_t out_count, float *dweights, float *dbias),                                         \
      (device, x, dy, batch, in_count, out_count, dweights, dbias))                                \
    X(batch_norm_train, CSL_BOUNDED, 1e-5, 2e-5,                                                   \
      (csl_device * device, const csl_norm_spec *spec, const float *x, const float *scale,         \
       const float *shift, uint32_t batch, bool relu, float momentum, float *running_mean,         \
       float *running_variance, float *saved_mean, float *saved_inverse_deviation, float *y),      \
      (device, spec, x, scale, shift, batch, relu, momentum, running_mean, running_variance,       \
       saved_mean, saved_inverse_deviation, y))                                                    \
    X(batch_norm_infer, CSL_BOUNDED, 1e-5, 2e-5,                                                   \
      (csl_device * device, const csl_norm_spec *spec, const float *x, const float *scale,         \
       const float *shift, const float *running_mean, const float *running_variance,               \
       uint32_t batch, bool relu, float *saved_mean, float *saved_inverse_deviation, float *y),    \
      (device, spec, x, scale, shift, running_mean, running_variance, batch, relu, saved_mean,     \
       saved_inverse_deviation, y))                                                                \
    X(batch_norm_backward, CSL_BOUNDED, 1e-5, 5e-5,                                                \
      (csl_device * device, const csl_norm_spec *spec, const float *x, const float *y,             \
       const float *dy, const float *scale, const float *saved_mean,                               \
       const float *saved_inverse_deviation, uint32_t batch, bool relu, bool frozen, float *dx,    \
       float *dscale, float *dshift),                                                              \
      (device, spec, x, y, dy, scale, saved_mean, saved_inverse_deviation, batch, relu, frozen,    \
       dx, dscale, dshift))                                                                        \
    X(group_norm_forward, CSL_BOUNDED, 1e-5, 2e-5,                                                 \
      (csl_device * device, const csl_norm_spec *spec, const float *x, const float *scale,         \
       const float *shift, uint32_t batch, bool relu, float *saved_mean,                           \
       float *saved_inverse_deviation, float *y),                                                  \
      (device, spec, x, scale, shift, batch, relu, saved_mean, saved_inverse_deviation, y))        \
    X(group_norm_backward, CSL_BOUNDED, 1e-5, 5e-5,                                                \
      (csl_device * device, const csl_norm_spec *spec, const float *x, const float *y,             \
       const float *dy, const float *scale, const float *saved_mean,                               \
       const float *saved_inverse_deviation, uint32_t batch, bool relu, float *dx, float *dscale,  \
       float *dshift),                                                                             \
      (device, spec, x, y, dy, scale, saved_mean, saved_inverse_deviation, batch, relu, dx,        \
       dscale, dshift))                                                                            \
    X(relu_forward, CSL_EXACT, 0, 0,                                                               \
      (csl_device * device, const float *x, size_t count, float *y), (device, x, count, y))        \
    X(relu_backward, CSL_EXACT, 0, 0,                                                              \
      (csl_device * device, const float *y, const float *dy, size_t count, float *dx),             \
      (device, y, dy, count, dx))                                                                  \
    X(add_relu, CSL_EXACT, 0, 0,                                                                   \
      (csl_device * device, const float *a, const float *b, size_t count, bool relu, float *y),    \
      (device, a, b, count, relu, y))                                                              \
    X(accumulate, CSL_EXACT, 0, 0, (csl_device * device, const float *x, size_t count, float *y),  \
      (device, x, count, y))                                                                       \
    X(max_pool_forward, CSL_EXACT, 0, 0,                                                           \
      (csl_device * device, const csl_pool_spec *spec, const float *x, uint32_t batch, float *y,   \
       uint32_t *index),                                                                           \
      (device, spec, x, batch, y, index))                                                          \
    X(max_pool_backward, CSL_BOUNDED, 1e-6, 1e-6,                                                  \
      (csl_device * device, const csl_pool_spec *spec, const float *dy, const uint32_t *index,     \
       uint32_t batch, float *dx),                                                                 \
      (device, spec, dy, index, batch, dx))                                                        \
    X(average_pool_forward, CSL_BOUNDED, 1e-6, 1e-5,                                               \
      (csl_device * device, const csl_pool_spec *spec, const float *x, uint32_t batch, float *y),  \
      (device, spec, x, batch, y))                                                                 \
    X(average_pool_backward, CSL_BOUNDED, 1e-6, 1e-5,                                              \
      (csl_device * device, const csl_pool_spec *spec, const float *dy, uint32_t batch,            \
       float *dx),                                                                                 \
      (device, spec, dy, batch, dx))                                                               \
    X(dropout, CSL_EXACT, 0, 0,                                                                    \
      (csl_device * device, const float *x, size_t count, float rate, uint64_t seed,               \
       uint64_t offset, float *y),                                                                 \
      (device, x, count, rate, seed, offset, y))                                                   \
    X(softmax_loss, CSL_BOUNDED, 1e-6, 1e-5,                                                       \
      (csl_device * device, const float *logits, const int32_t *labels, uint32_t batch,            \
       uint32_t class_count, float scale, float *loss, float *dlogits, float *probabilities),      \
      (device, logits, labels, batch, class_count, scale, loss, dlogits, probabilities))           \
    X(sigmoid_loss, CSL_BOUNDED, 1e-6, 1e-5,                                                       \
      (csl_device * device, const float *logits, const float *targets, const uint8_t *mask,        \
       uint32_t batch, uint32_t label_count, float scale, float *loss, float *dlogits,             \
       float *probabilities),                                                                      \
      (device, logits, targets, mask, batch, label_count, scale, loss, dlogits, probabilities))    \
    X(squared_loss, CSL_BOUNDED, 1e-6, 1e-5,                                                       \
      (csl_device * device, const float *y, const float *targets, uint32_t batch,                  \
       uint32_t output_count, float scale, float *loss, float *dy),                                \
      (device, y, targets, batch, output_count, scale, loss, dy))                                  \
    X(sgd_step, CSL_EXACT, 0, 0,                                                                   \
      (csl_device * device, const csl_sgd_spec *spec, const float *gradient, size_t count,         \
       float *momentum, float *weights),                                                           \
      (device, spec, gradient, count, momentum, weights))                                          \
    X(adamw_step, CSL_BOUNDED, 1e-7, 1e-5,                                                         \
      (csl_device * device, const csl_adamw_spec *spec, const float *gradient, size_t count,       \
       float *first, float *second, float *weights),                                               \
      (device, spec, gradient, count, first, second, weights))                                     \
    X(axpy, CSL_EXACT, 0, 0,                                                                       \
      (csl_device * device, float a, const float *x, size_t count, float *y),                      \
      (device, a, x, count, y))                                                                    \
    X(scale, CSL_EXACT, 0, 0, (csl_device * device, float a, size_t count, float *x),              \
      (device, a, count, x))                                                                       \
    X(fill, CSL_EXACT, 0, 0, (csl_device * device, float a, size_t count, float *x),               \
      (device, a, count, x))                                                                       \
    X(proximal, CSL_EXACT, 0, 0,                                                                   \
      (csl_device * device, float mu, const float *weights, const float *reference, size_t count,  \
       float *gradient),                                                                           \
      (device, mu, weights, reference, count, gradient))                                           \
    X(sum_of_squares, CSL_BOUNDED, 0, 1e-12,                                                       \
      (csl_device * device, const float *x, size_t count, double *host_out),                       \
      (device, x, count, host_out))

#endif
