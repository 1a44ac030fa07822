#include "oracle_network.h"
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void oracle_network_open(oracle_network *network, const csl_model_spec *spec)
{
    *network = (oracle_network){.spec = spec};
    CU_ASSERT_FATAL(spec->layer_count <= ORACLE_LAYERS_MAX);
    CHECK_OK(csl_model_spec_tensors(spec, &network->tensors, &network->tensor_count,
                                    &network->parameter_count));
}

static void release_maps(oracle_network *network)
{
    for (uint32_t i = 0; i < network->spec->layer_count; i++) {
        oracle_layer *layer = &network->layers[i];
        free(layer->y);
        free(layer->dy);
        free(layer->mean);
        free(layer->inverse_deviation);
        free(layer->index);
        *layer = (oracle_layer){0};
    }
}

void oracle_network_close(oracle_network *network)
{
    release_maps(network);
    free(network->tensors);
}

const csl_tensor *
oracle_network_tensor(const oracle_network *network, uint32_t layer, csl_tensor_role role)
{
    const char *layer_name = network->spec->layers[layer].name;
    size_t length = strlen(layer_name);
    for (uint32_t t = 0; t < network->tensor_count; t++) {
        const char *name = network->tensors[t].name;
        if (network->tensors[t].role == role && strncmp(name, layer_name, length) == 0 &&
            name[length] == '.' && strchr(name + length + 1, '.') == NULL) {
            return &network->tensors[t];
        }
    }
    return NULL;
}

/* Where a tensor's values lie in a flat vector; NULL for a tensor that the layer lacks. */
static const double *values_of(const oracle_network *network, uint32_t layer, csl_tensor_role role)
{
    const csl_tensor *tensor = oracle_network_tensor(network, layer, role);
    return tensor ? network->theta + tensor->offset : NULL;
}

static double *
gradient_of(const oracle_network *network, uint32_t layer, csl_tensor_role role, double *gradient)
{
    const csl_tensor *tensor = oracle_network_tensor(network, layer, role);
    return tensor ? gradient + tensor->offset : NULL;
}

static bool is_global_pool(csl_layer_kind kind)
{
    return kind == CSL_LAYER_GLOBAL_AVERAGE_POOL || kind == CSL_LAYER_GLOBAL_MAX_POOL;
}

static csl_shape output_shape(const csl_layer *layer, csl_shape in, csl_window *window)
{
    csl_shape out = in;
    bool is_global = is_global_pool(layer->kind);
    for (int a = 0; is_global && a < 3; a++) {
        window->size[a] = in.extent[a];
        window->stride[a] = window->dilation[a] = 1;
        window->padding[a] = 0;
    }
    bool slides = is_global || layer->kind == CSL_LAYER_CONV || layer->kind == CSL_LAYER_MAX_POOL ||
                  layer->kind == CSL_LAYER_AVERAGE_POOL;
    for (int a = 0; slides && a < 3; a++) {
        out.extent[a] = csl_window_output(in.extent[a], window, a);
    }
    if (layer->kind == CSL_LAYER_CONV) {
        out.channels = layer->channels;
    } else if (layer->kind == CSL_LAYER_LINEAR) {
        out = (csl_shape){{1, 1, 1}, layer->channels};
    }
    return out;
}

static const double *output_of(const oracle_network *network, int32_t layer)
{
    return layer < 0 ? network->images : network->layers[layer].y;
}

/* ReLU, sum, and dropout that is off. */
static void
pointwise(const oracle_network *network, const csl_layer *layer, size_t count, double *y)
{
    const double *x = output_of(network, layer->input);
    bool adds = layer->kind == CSL_LAYER_ADD;
    const double *other = adds ? output_of(network, layer->from) : NULL;
    for (size_t k = 0; k < count; k++) {
        double value = x[k] + (adds ? other[k] : 0.0);
        y[k] = layer->kind == CSL_LAYER_RELU && value < 0.0 ? 0.0 : value;
    }
}

static csl_conv_spec conv_spec(const oracle_network *network, uint32_t i)
{
    const csl_layer *layer = &network->spec->layers[i];
    const oracle_layer *l = &network->layers[i];
    return (csl_conv_spec){l->in,       l->out, l->window,      layer->groups,
                           layer->bias, false,  network->batch, 0};
}

static csl_norm_spec norm_spec(const oracle_network *network, uint32_t i)
{
    const csl_layer *layer = &network->spec->layers[i];
    uint32_t groups = layer->kind == CSL_LAYER_GROUP_NORM ? layer->groups : 0;
    return (csl_norm_spec){network->layers[i].in, groups, 1e-5f, 0};
}

static bool uses_running_values(const oracle_network *network, uint32_t i)
{
    return network->frozen && network->spec->layers[i].kind == CSL_LAYER_BATCH_NORM;
}

static void forward_norm(oracle_network *network, uint32_t i, const double *x)
{
    oracle_layer *l = &network->layers[i];
    csl_norm_spec norm = norm_spec(network, i);
    bool given = uses_running_values(network, i);
    for (uint32_t c = 0; given && c < l->in.channels; c++) {
        l->mean[c] = values_of(network, i, CSL_ROLE_RUNNING_MEAN)[c];
        double variance = values_of(network, i, CSL_ROLE_RUNNING_VARIANCE)[c];
        l->inverse_deviation[c] = 1.0 / sqrt(variance + (double)norm.epsilon);
    }
    oracle_norm_forward(&norm, x, values_of(network, i, CSL_ROLE_NORM_SCALE),
                        values_of(network, i, CSL_ROLE_NORM_SHIFT), network->batch, false, given,
                        l->mean, l->inverse_deviation, l->y);
}

static void forward_layer(oracle_network *network, uint32_t i)
{
    const csl_layer *layer = &network->spec->layers[i];
    oracle_layer *l = &network->layers[i];
    l->in = layer->input < 0 ? network->spec->input : network->layers[layer->input].out;
    l->window = layer->window;
    l->out = output_shape(layer, l->in, &l->window);
    size_t count = csl_shape_count(l->out) * network->batch;
    size_t statistics = (size_t)network->batch * l->in.channels; /* at most */
    CU_ASSERT_FATAL(count > 0);
    l->y = calloc(count, sizeof *l->y);
    l->dy = calloc(count, sizeof *l->dy);
    l->mean = calloc(statistics, sizeof *l->mean);
    l->inverse_deviation = calloc(statistics, sizeof *l->inverse_deviation);
    l->index = calloc(count, sizeof *l->index);
    const double *x = output_of(network, layer->input);
    const double *weight = values_of(network, i, CSL_ROLE_WEIGHT);
    const double *bias = values_of(network, i, CSL_ROLE_BIAS);
    csl_pool_spec pool = {l->in, l->out, l->window};
    csl_conv_spec conv = conv_spec(network, i);
    switch (layer->kind) {
    case CSL_LAYER_CONV:
        oracle_conv_forward(&conv, x, weight, bias, network->batch, l->y);
        break;
    case CSL_LAYER_LINEAR:
        oracle_linear_forward(x, weight, bias, network->batch, (uint32_t)csl_shape_count(l->in),
                              layer->channels, false, l->y);
        break;
    case CSL_LAYER_BATCH_NORM:
    case CSL_LAYER_GROUP_NORM:
        forward_norm(network, i, x);
        break;
    case CSL_LAYER_MAX_POOL:
    case CSL_LAYER_GLOBAL_MAX_POOL:
        oracle_max_pool_forward(&pool, x, network->batch, l->y, l->index);
        break;
    case CSL_LAYER_AVERAGE_POOL:
    case CSL_LAYER_GLOBAL_AVERAGE_POOL:
        oracle_average_pool_forward(&pool, x, network->batch, l->y);
        break;
    default:
        pointwise(network, layer, count, l->y);
    }
}

void oracle_network_forward(oracle_network *network,
                            const double *theta,
                            const double *images,
                            uint32_t batch)
{
    release_maps(network);
    network->theta = theta;
    network->images = images;
    network->batch = batch;
    for (uint32_t i = 0; i < network->spec->layer_count; i++) {
        forward_layer(network, i);
    }
}

double oracle_network_margin(const oracle_network *network)
{
    double margin = INFINITY;
    for (uint32_t i = 0; i < network->spec->layer_count; i++) {
        const csl_layer *layer = &network->spec->layers[i];
        const oracle_layer *l = &network->layers[i];
        const double *x = output_of(network, layer->input);
        if (layer->kind == CSL_LAYER_RELU) {
            size_t count = csl_shape_count(l->in) * network->batch;
            for (size_t k = 0; k < count; k++) {
                margin = fmin(margin, fabs(x[k]));
            }
        }
        if (layer->kind == CSL_LAYER_MAX_POOL || layer->kind == CSL_LAYER_GLOBAL_MAX_POOL) {
            csl_pool_spec pool = {l->in, l->out, l->window};
            margin = fmin(margin, oracle_max_pool_margin(&pool, x, network->batch, l->y));
        }
    }
    return margin;
}

double oracle_network_loss(oracle_network *network, const int32_t *labels, const double *weights)
{
    uint32_t classes = network->spec->class_count;
    oracle_layer *last = &network->layers[network->spec->layer_count - 1];
    double *probabilities = calloc(classes, sizeof *probabilities);
    double sum = 0.0;
    for (uint32_t b = 0; b < network->batch; b++) {
        double weight = (weights ? weights[b] : 1.0) / network->batch;
        double loss = 0.0;
        oracle_softmax_loss(last->y + (size_t)b * classes, labels + b, 1, classes, weight, &loss,
                            last->dy + (size_t)b * classes, probabilities);
        sum += weight * loss;
    }
    free(probabilities);
    return sum;
}

/* dx: gradient of the layer's input; the layer's own parameters into gradient. */
static void backward_layer(oracle_network *network, uint32_t i, double *dx, double *gradient)
{
    const csl_layer *layer = &network->spec->layers[i];
    const oracle_layer *l = &network->layers[i];
    const double *x = output_of(network, layer->input);
    const double *weight = values_of(network, i, CSL_ROLE_WEIGHT);
    double *dweight = gradient_of(network, i, CSL_ROLE_WEIGHT, gradient);
    double *dbias = gradient_of(network, i, CSL_ROLE_BIAS, gradient);
    size_t count = csl_shape_count(l->out) * network->batch;
    csl_pool_spec pool = {l->in, l->out, l->window};
    csl_conv_spec conv = conv_spec(network, i);
    csl_norm_spec norm = norm_spec(network, i);
    switch (layer->kind) {
    case CSL_LAYER_CONV:
        oracle_conv_backward(&conv, x, weight, l->dy, network->batch, dx, dweight, dbias);
        break;
    case CSL_LAYER_LINEAR: {
        double *unused = calloc(layer->channels, sizeof *unused);
        oracle_linear_backward(x, weight, l->dy, network->batch, (uint32_t)csl_shape_count(l->in),
                               layer->channels, dx, dweight, dbias ? dbias : unused);
        free(unused);
        break;
    }
    case CSL_LAYER_BATCH_NORM:
    case CSL_LAYER_GROUP_NORM:
        oracle_norm_backward(&norm, x, l->y, l->dy, values_of(network, i, CSL_ROLE_NORM_SCALE),
                             l->mean, l->inverse_deviation, network->batch, false,
                             uses_running_values(network, i), dx,
                             gradient_of(network, i, CSL_ROLE_NORM_SCALE, gradient),
                             gradient_of(network, i, CSL_ROLE_NORM_SHIFT, gradient));
        break;
    case CSL_LAYER_MAX_POOL:
    case CSL_LAYER_GLOBAL_MAX_POOL:
        oracle_max_pool_backward(&pool, l->dy, l->index, network->batch, dx);
        break;
    case CSL_LAYER_AVERAGE_POOL:
    case CSL_LAYER_GLOBAL_AVERAGE_POOL:
        oracle_average_pool_backward(&pool, l->dy, network->batch, dx);
        break;
    default:
        for (size_t k = 0; k < count; k++) {
            dx[k] = layer->kind == CSL_LAYER_RELU && !(l->y[k] > 0.0) ? 0.0 : l->dy[k];
        }
    }
}

/* Gradients of readers add up in the layer that they read; the image needs none. */
static void add_to(oracle_network *network, int32_t layer, const double *dx, size_t count)
{
    for (size_t k = 0; layer >= 0 && k < count; k++) {
        network->layers[layer].dy[k] += dx[k];
    }
}

void oracle_network_backward(oracle_network *network, double *gradient)
{
    memset(gradient, 0, network->parameter_count * sizeof *gradient);
    for (uint32_t i = network->spec->layer_count; i-- > 0;) {
        const csl_layer *layer = &network->spec->layers[i];
        size_t count = csl_shape_count(network->layers[i].in) * network->batch;
        double *dx = calloc(count, sizeof *dx);
        backward_layer(network, i, dx, gradient);
        add_to(network, layer->input, dx, count);
        if (layer->kind == CSL_LAYER_ADD) {
            add_to(network, layer->from, dx, count);
        }
        free(dx);
    }
}
