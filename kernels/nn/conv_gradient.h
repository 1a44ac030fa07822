/* The gradient of a convolution's weights where oneDNN's own is slow. */
#ifndef CSL_CONV_GRADIENT_H
#define CSL_CONV_GRADIENT_H

#include "nn_host.h"

/* Whether csl_conv_gradient computes this convolution here: flat maps in blocks of eight channels,
 * windows one or three wide, no bias. */
bool csl_conv_gradient_fits(const csl_conv_spec *spec);

/* dweights [output channels][channels][rows][columns]. Errors: E_NO_MEMORY; E_UNSUPPORTED. */
csl_status csl_conv_gradient(csl_device *device,
                             const csl_conv_spec *spec,
                             const float *x,
                             const float *dy,
                             uint32_t batch,
                             float *dweights);

#endif
