#include "reference_trainer.h"
#include "test_support.h"

#include <consilium/random.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t pixel_count(const reference_trainer *t)
{
    return csl_shape_count(t->data->shape);
}

/* [channel][voxel] in the file, [voxel][channel] in the network. */
static void copy_image(reference_trainer *t, uint64_t from, uint64_t to)
{
    const uint8_t *raw = (const uint8_t *)t->data->images + from * pixel_count(t);
    uint32_t channels = t->data->shape.channels;
    CU_ASSERT_FATAL(channels > 0);
    uint64_t voxels = pixel_count(t) / channels;
    for (uint32_t c = 0; c < channels; c++) {
        for (uint64_t v = 0; v < voxels; v++) {
            t->images[to * pixel_count(t) + v * channels + c] =
                raw[c * voxels + v] * (double)t->data->slope + (double)t->data->intercept;
        }
    }
    t->labels[to] = t->data->labels[from];
}

/* Mean 0 and deviation 1 per channel over the training images. */
static void normalise(reference_trainer *t)
{
    uint32_t channels = t->data->shape.channels;
    CU_ASSERT_FATAL(channels > 0);
    uint64_t values = t->train_count * pixel_count(t);
    uint64_t each = values / channels;
    double n = (double)each;
    for (uint32_t c = 0; c < channels; c++) {
        double mean = 0.0, variance = 0.0;
        for (uint64_t k = c; k < values; k += channels) {
            mean += t->images[k] / n;
        }
        for (uint64_t k = c; k < values; k += channels) {
            variance += (t->images[k] - mean) * (t->images[k] - mean) / n;
        }
        for (uint64_t k = c; k < values; k += channels) {
            t->images[k] = (t->images[k] - mean) / sqrt(variance);
        }
    }
}

/* Inverse frequency of an image's class, with mean 1 over the images. */
static void weigh_classes(reference_trainer *t)
{
    double sum = 0.0;
    for (uint64_t i = 0; i < t->train_count; i++) {
        double alike = 0.0;
        for (uint64_t k = 0; k < t->train_count; k++) {
            alike += t->labels[k] == t->labels[i];
        }
        t->weighting[i] = t->options.class_weights ? 1.0 / alike : 1.0;
        sum += t->weighting[i];
    }
    for (uint64_t i = 0; i < t->train_count; i++) {
        t->weighting[i] *= (double)t->train_count / sum;
    }
}

void reference_trainer_open(reference_trainer *t,
                            const csl_model_spec *spec,
                            const csl_dataset *data,
                            const csl_train_options *options)
{
    *t = (reference_trainer){.data = data, .options = *options, .kink = INFINITY};
    oracle_network_open(&t->network, spec);
    t->network.frozen = options->freeze_batch_norm;
    t->images = calloc(data->count * pixel_count(t), sizeof *t->images);
    t->labels = calloc(data->count, sizeof *t->labels);
    t->weighting = calloc(data->count, sizeof *t->weighting);
    t->first = calloc(t->network.parameter_count, sizeof *t->first);
    t->second = calloc(t->network.parameter_count, sizeof *t->second);
    for (uint64_t i = 0; i < data->count; i++) {
        if (data->split[i] == CSL_SPLIT_TRAIN) {
            copy_image(t, i, t->train_count++);
        }
    }
    normalise(t);
    weigh_classes(t);
}

void reference_trainer_close(reference_trainer *t)
{
    oracle_network_close(&t->network);
    free(t->images);
    free(t->labels);
    free(t->weighting);
    free(t->first);
    free(t->second);
}

/* Steps are counted over all rounds, from 0; every round takes `per_round`. */
static double
learning_rate(const csl_train_options *o, uint32_t round, uint64_t at, uint64_t per_round)
{
    double warmup = (double)o->warmup_rounds * (double)per_round;
    double now = (double)round * (double)per_round + (double)at;
    double base = (double)o->rate;
    if (now < warmup) {
        return base * (now + 1.0) / warmup; /* the last step of warm-up has the full rate */
    }
    if (o->schedule == CSL_SCHEDULE_COSINE) {
        double end = (double)o->round_count * (double)per_round;
        return now >= end ? 0.0
                          : base * (1.0 + cos(acos(-1.0) * (now - warmup) / (end - warmup))) / 2;
    }
    if (o->schedule == CSL_SCHEDULE_STEP) {
        for (uint32_t r = 1; r <= round; r++) {
            base *= r % o->schedule_step_rounds == 0 ? (double)o->schedule_gamma : 1.0;
        }
    }
    return base;
}

typedef struct reference_step {
    double rate;
    const double *start; /* the round's starting weights */
    const double *correction;
    double *weights;
    double *gradient;
} reference_step;

static bool is_trained(const csl_tensor *tensor)
{
    return tensor->role != CSL_ROLE_RUNNING_MEAN && tensor->role != CSL_ROLE_RUNNING_VARIANCE;
}

/* FedProx, SCAFFOLD, clipping, in this order. */
static void finish_gradient(reference_trainer *t, const reference_step *s)
{
    const oracle_network *network = &t->network;
    double squares = 0.0;
    for (uint32_t k = 0; k < network->tensor_count; k++) {
        const csl_tensor *tensor = &network->tensors[k];
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            if (is_trained(tensor)) {
                s->gradient[i] += (double)t->options.proximal_mu * (s->weights[i] - s->start[i]);
                s->gradient[i] += s->correction ? s->correction[i] : 0.0;
                squares += s->gradient[i] * s->gradient[i];
            }
        }
    }
    double norm = sqrt(squares), limit = (double)t->options.clip_norm;
    if (!(limit > 0.0 && norm > limit)) {
        t->unclipped_steps++;
        return;
    }
    t->clipped_steps++;
    for (size_t i = 0; i < network->parameter_count; i++) {
        s->gradient[i] *= limit / norm;
    }
}

static void move_weight(reference_trainer *t, const reference_step *s, size_t i, double decay)
{
    const csl_train_options *o = &t->options;
    double g = s->gradient[i], w = s->weights[i];
    if (o->optimizer == CSL_OPTIMIZER_ADAMW) {
        double beta1 = (double)o->beta1, beta2 = (double)o->beta2;
        t->first[i] = beta1 * t->first[i] + (1.0 - beta1) * g;
        t->second[i] = beta2 * t->second[i] + (1.0 - beta2) * g * g;
        double m = t->first[i] / (1.0 - pow(beta1, (double)t->steps));
        double v = t->second[i] / (1.0 - pow(beta2, (double)t->steps));
        s->weights[i] = w - s->rate * (m / (sqrt(v) + (double)o->epsilon) + decay * w);
        return;
    }
    g += decay * w;
    t->first[i] = (double)o->momentum * t->first[i] + g;
    double direction = o->nesterov ? g + (double)o->momentum * t->first[i] : t->first[i];
    s->weights[i] = w - s->rate * direction;
}

static void move_weights(reference_trainer *t, const reference_step *s)
{
    t->steps++;
    for (uint32_t k = 0; k < t->network.tensor_count; k++) {
        const csl_tensor *tensor = &t->network.tensors[k];
        bool decays = tensor->role == CSL_ROLE_WEIGHT;
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            if (is_trained(tensor)) {
                move_weight(t, s, i, decays ? (double)t->options.weight_decay : 0.0);
            }
        }
    }
}

/* A tenth of the batch's mean and of its unbiased variance go into the running values. */
static void move_running_values(const reference_trainer *t, double *weights)
{
    const oracle_network *network = &t->network;
    for (uint32_t i = 0; i < network->spec->layer_count; i++) {
        if (network->spec->layers[i].kind != CSL_LAYER_BATCH_NORM || network->frozen) {
            continue;
        }
        const oracle_layer *l = &network->layers[i];
        double n = (double)csl_shape_count(l->in) / l->in.channels * network->batch;
        double *mean = weights + oracle_network_tensor(network, i, CSL_ROLE_RUNNING_MEAN)->offset;
        double *variance =
            weights + oracle_network_tensor(network, i, CSL_ROLE_RUNNING_VARIANCE)->offset;
        for (uint32_t c = 0; c < l->in.channels; c++) {
            double biased = 1.0 / (l->inverse_deviation[c] * l->inverse_deviation[c]) - 1e-5;
            mean[c] = 0.9 * mean[c] + 0.1 * l->mean[c];
            variance[c] = 0.9 * variance[c] + 0.1 * biased * n / (n - 1.0);
        }
    }
}

/* Loss over a batch, summed; the images are those of `order`, positions [first, first + batch). */
static double train_batch(
    reference_trainer *t, const uint64_t *order, uint64_t first, uint32_t batch, reference_step *s)
{
    uint64_t pixels = pixel_count(t);
    double *images = calloc(batch * pixels, sizeof *images);
    double *weighting = calloc(batch, sizeof *weighting);
    int32_t *labels = calloc(batch, sizeof *labels);
    double *before = calloc(t->network.parameter_count, sizeof *before);
    for (uint32_t b = 0; b < batch; b++) {
        uint64_t image = order[first + b];
        memcpy(images + b * pixels, t->images + image * pixels, pixels * sizeof *images);
        labels[b] = t->labels[image];
        weighting[b] = t->weighting[image];
    }
    memcpy(before, s->weights, t->network.parameter_count * sizeof *before);
    oracle_network_forward(&t->network, before, images, batch);
    double loss = oracle_network_loss(&t->network, labels, weighting);
    oracle_network_backward(&t->network, s->gradient);
    t->kink = fmin(t->kink, oracle_network_margin(&t->network));
    finish_gradient(t, s);
    move_weights(t, s);
    move_running_values(t, s->weights);
    free(images);
    free(weighting);
    free(labels);
    free(before);
    return loss * batch;
}

double reference_trainer_round(reference_trainer *t,
                               uint32_t round,
                               const double *correction,
                               double *weights)
{
    const csl_train_options *o = &t->options;
    size_t count = t->network.parameter_count;
    uint64_t per_epoch = (t->train_count + o->batch - 1) / o->batch;
    uint64_t step_count = o->local_steps ? o->local_steps : o->local_epochs * per_epoch;
    double *start = calloc(count, sizeof *start);
    double *gradient = calloc(count, sizeof *gradient);
    uint64_t *order = calloc(t->train_count, sizeof *order);
    memcpy(start, weights, count * sizeof *start);
    if (!o->keep_optimizer_state) {
        memset(t->first, 0, count * sizeof *t->first);
        memset(t->second, 0, count * sizeof *t->second);
        t->steps = 0;
    }
    double loss_sum = 0.0, image_count = 0.0;
    for (uint64_t at = 0; at < step_count; at++) {
        uint64_t first = at % per_epoch * o->batch;
        if (first == 0) { /* a new epoch, a new order */
            csl_random random =
                csl_random_stream(o->seed, CSL_RANDOM_SHUFFLE, round, (uint32_t)(at / per_epoch));
            csl_random_permutation(&random, t->train_count, order);
        }
        uint64_t left = t->train_count - first;
        uint32_t batch = left < o->batch ? (uint32_t)left : o->batch;
        reference_step step = {learning_rate(o, round, at, step_count), start, correction, weights,
                               gradient};
        loss_sum += train_batch(t, order, first, batch, &step);
        image_count += batch;
    }
    free(start);
    free(gradient);
    free(order);
    return loss_sum / image_count;
}
