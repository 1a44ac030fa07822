/*
 * Operations of kernels_nn.h in float64, as obvious loops: what every backend is compared with.
 * The backward functions are themselves checked against finite differences.
 */
#ifndef CSL_ORACLE_NN_H
#define CSL_ORACLE_NN_H

#include <consilium/kernels.h>

void oracle_conv_forward(const csl_conv_spec *spec,
                         const double *x,
                         const double *weights,
                         const double *bias,
                         uint32_t batch,
                         double *y);
/* dy already masked if the convolution fuses ReLU. dbias may be NULL. */
void oracle_conv_backward(const csl_conv_spec *spec,
                          const double *x,
                          const double *weights,
                          const double *dy,
                          uint32_t batch,
                          double *dx,
                          double *dweights,
                          double *dbias);

void oracle_linear_forward(const double *x,
                           const double *weights,
                           const double *bias,
                           uint32_t batch,
                           uint32_t in_count,
                           uint32_t out_count,
                           bool relu,
                           double *y);
void oracle_linear_backward(const double *x,
                            const double *weights,
                            const double *dy,
                            uint32_t batch,
                            uint32_t in_count,
                            uint32_t out_count,
                            double *dx,
                            double *dweights,
                            double *dbias);

/*
 * Normalisation of either kind. groups > 0: statistics per image and group, [batch][groups]; groups
 * == 0: per channel over the batch, [channels]. given: mean and inverse_deviation are inputs (batch
 * norm with running statistics), else outputs.
 */
void oracle_norm_forward(const csl_norm_spec *spec,
                         const double *x,
                         const double *scale,
                         const double *shift,
                         uint32_t batch,
                         bool relu,
                         bool given,
                         double *mean,
                         double *inverse_deviation,
                         double *y);
/* frozen: the statistics are constants. */
void oracle_norm_backward(const csl_norm_spec *spec,
                          const double *x,
                          const double *y,
                          const double *dy,
                          const double *scale,
                          const double *mean,
                          const double *inverse_deviation,
                          uint32_t batch,
                          bool relu,
                          bool frozen,
                          double *dx,
                          double *dscale,
                          double *dshift);

void oracle_max_pool_forward(
    const csl_pool_spec *spec, const double *x, uint32_t batch, double *y, uint32_t *index);
void oracle_max_pool_backward(
    const csl_pool_spec *spec, const double *dy, const uint32_t *index, uint32_t batch, double *dx);
/* The smallest positive lead of a maximum y over another value of its window, or infinity. */
double
oracle_max_pool_margin(const csl_pool_spec *spec, const double *x, uint32_t batch, double *y);
void oracle_average_pool_forward(const csl_pool_spec *spec,
                                 const double *x,
                                 uint32_t batch,
                                 double *y);
void oracle_average_pool_backward(const csl_pool_spec *spec,
                                  const double *dy,
                                  uint32_t batch,
                                  double *dx);

void oracle_softmax_loss(const double *logits,
                         const int32_t *labels,
                         uint32_t batch,
                         uint32_t class_count,
                         double scale,
                         double *loss,
                         double *dlogits,
                         double *probabilities);
void oracle_sigmoid_loss(const double *logits,
                         const double *targets,
                         const uint8_t *mask,
                         uint32_t batch,
                         uint32_t label_count,
                         double scale,
                         double *loss,
                         double *dlogits,
                         double *probabilities);
void oracle_squared_loss(const double *y,
                         const double *targets,
                         uint32_t batch,
                         uint32_t output_count,
                         double scale,
                         double *loss,
                         double *dy);

void oracle_adamw_step(const csl_adamw_spec *spec,
                       const double *gradient,
                       size_t count,
                       double *first,
                       double *second,
                       double *weights);

/* raw: already widened to float64, [batch][channels][depth][height][width]. */
void oracle_input_prepare(const csl_input_spec *spec,
                          const double *raw,
                          const float *mean,
                          const float *inverse_deviation,
                          const csl_augment *augment,
                          uint32_t batch,
                          double *y);

/* Philox4x32-10 (Salmon et al. 2011), written out: word `element % 4` of block counter. */
uint32_t oracle_philox_word(uint64_t seed, uint64_t counter, uint32_t word);

#endif
