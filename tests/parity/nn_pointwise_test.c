/* Everything that works element by element, row by row or voxel by voxel: activations, dropout,
 * losses, optimisers, sums, input. EXACT operations are compared bit for bit. */
#include "nn_parity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t counts[] = {1, 15, 16, 67, 9001};
enum { COUNT_COUNT = sizeof counts / sizeof *counts };

static void run_activations(nn_case *c)
{
    for (size_t n = 0; n < COUNT_COUNT; n++) {
        size_t count = counts[n];
        nn_array *a = nn_random(c, count), *b = nn_random(c, count), *y = nn_room(c, count);
        CHECK_OK(c->ops->relu_forward(c->device, a->device, count, y->device));
        for (size_t i = 0; i < count; i++) {
            y->wide[i] = a->wide[i] > 0.0 ? a->wide[i] : 0.0;
        }
        nn_check(c, y, NULL, "relu");
        CHECK_OK(c->ops->relu_backward(c->device, y->device, b->device, count, b->device));
        for (size_t i = 0; i < count; i++) {
            b->wide[i] = y->wide[i] > 0.0 ? b->wide[i] : 0.0;
        }
        nn_check(c, b, NULL, "relu backward in place");
        CHECK_OK(c->ops->add_relu(c->device, a->device, b->device, count, n % 2 == 0, y->device));
        for (size_t i = 0; i < count; i++) {
            double sum = (double)(a->host[i] + b->host[i]);
            y->wide[i] = n % 2 == 0 && !(sum > 0.0) ? 0.0 : sum;
        }
        nn_check(c, y, NULL, "add");
        CHECK_OK(c->ops->accumulate(c->device, a->device, count, y->device));
        for (size_t i = 0; i < count; i++) {
            y->wide[i] = (double)(y->host[i] + a->host[i]);
        }
        nn_check(c, y, NULL, "accumulate");
    }
}

static void activations_give_the_same_bits(void)
{
    nn_on_every_device(run_activations);
}

static void run_dropout(nn_case *c)
{
    static const float rates[] = {0.0F, 0.1F, 0.5F, 0.9F};
    for (size_t n = 0; n < COUNT_COUNT; n++) {
        for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
            uint64_t seed = csl_test_random(), offset = csl_test_random();
            nn_array *x = nn_random(c, counts[n]), *y = nn_room(c, counts[n]);
            CHECK_OK(c->ops->dropout(c->device, x->device, counts[n], rates[r], seed, offset,
                                     y->device));
            uint32_t threshold = (uint32_t)((double)rates[r] * 4294967296.0);
            float factor = 1.0F / (1.0F - rates[r]);
            size_t kept = 0;
            for (size_t i = 0; i < counts[n]; i++) {
                uint32_t word = oracle_philox_word(seed, i / 4 + offset, i % 4);
                y->wide[i] = word >= threshold ? (double)(x->host[i] * factor) : 0.0;
                kept += word >= threshold;
            }
            nn_check(c, y, NULL, "dropout");
            if (counts[n] > 9000) { /* five standard deviations of a fair draw */
                CHECK_NEAR((double)kept / (double)counts[n], 1.0 - (double)rates[r], 0.027);
            }
        }
    }
    CHECK_STATUS(c->ops->dropout(c->device, NULL, 0, 1.0F, 0, 0, NULL), CSL_E_RANGE);
}

static void dropout_draws_from_philox(void)
{
    /* Random123's known answers for philox4x32-10: zero counter and key. */
    CHECK_U64(oracle_philox_word(0, 0, 0), 0x6627e8d5u);
    CHECK_U64(oracle_philox_word(0, 0, 3), 0x9b00dbd8u);
    nn_on_every_device(run_dropout);
}

static void run_sgd(nn_case *c)
{
    for (size_t n = 0; n < COUNT_COUNT; n++) {
        csl_sgd_spec spec = {.rate = 0.1F,
                             .momentum = n ? 0.9F : 0.0F,
                             .weight_decay = 5e-4F,
                             .nesterov = n % 2 == 1};
        size_t count = counts[n];
        nn_array *g = nn_random(c, count), *m = nn_random(c, count), *w = nn_random(c, count);
        for (size_t i = 0; i < count; i++) {
            float gradient = g->host[i] + spec.weight_decay * w->host[i];
            float momentum = n ? spec.momentum * m->host[i] + gradient : gradient;
            float step = spec.nesterov ? gradient + spec.momentum * momentum : momentum;
            m->wide[i] = n ? (double)momentum : (double)m->host[i];
            w->wide[i] = (double)(w->host[i] - spec.rate * step);
        }
        CHECK_OK(
            c->ops->sgd_step(c->device, &spec, g->device, count, n ? m->device : NULL, w->device));
        nn_check(c, w, NULL, "sgd weights");
        nn_check(c, m, NULL, "sgd momentum");
    }
}

static void sgd_gives_the_same_bits(void)
{
    nn_on_every_device(run_sgd);
}

static void run_vectors(nn_case *c)
{
    for (size_t n = 0; n < COUNT_COUNT; n++) {
        size_t count = counts[n];
        float a = (float)csl_test_normal();
        nn_array *x = nn_random(c, count), *y = nn_random(c, count), *g = nn_random(c, count);
        for (size_t i = 0; i < count; i++) {
            float product = a * x->host[i];
            float pull = a * (x->host[i] - y->host[i]);
            g->wide[i] = (double)(g->host[i] + pull);
            y->wide[i] = (double)(y->host[i] + product);
            x->wide[i] = (double)product;
        }
        CHECK_OK(c->ops->proximal(c->device, a, x->device, y->device, count, g->device));
        nn_check(c, g, NULL, "proximal");
        CHECK_OK(c->ops->axpy(c->device, a, x->device, count, y->device));
        nn_check(c, y, NULL, "axpy");
        CHECK_OK(c->ops->scale(c->device, a, count, x->device));
        nn_check(c, x, NULL, "scale");
        double sum = 0.0, expected = 0.0;
        CHECK_OK(c->ops->sum_of_squares(c->device, x->device, count, &sum));
        for (size_t i = 0; i < count; i++) {
            expected += x->wide[i] * x->wide[i];
        }
        CHECK_NEAR(sum, expected, 1e-12 * expected);
        CHECK_OK(c->ops->fill(c->device, a, count, x->device));
        for (size_t i = 0; i < count; i++) {
            x->wide[i] = (double)a;
        }
        nn_check(c, x, NULL, "fill");
    }
}

static void vector_operations_give_the_same_bits(void)
{
    nn_on_every_device(run_vectors);
}

static void run_adamw(nn_case *c)
{
    for (size_t n = 0; n < COUNT_COUNT; n++) {
        csl_adamw_spec spec = {.rate = 1e-3F,
                               .beta1 = 0.9F,
                               .beta2 = 0.999F,
                               .epsilon = 1e-8F,
                               .weight_decay = 0.01F,
                               .step = 1 + n * 100};
        nn_array *g = nn_random(c, counts[n]), *w = nn_random(c, counts[n]);
        nn_array *first = nn_random(c, counts[n]), *second = nn_random(c, counts[n]);
        for (size_t i = 0; i < counts[n]; i++) {
            second->host[i] = second->host[i] * second->host[i];
        }
        nn_upload(c, second);
        CHECK_OK(c->ops->adamw_step(c->device, &spec, g->device, counts[n], first->device,
                                    second->device, w->device));
        oracle_adamw_step(&spec, g->wide, counts[n], first->wide, second->wide, w->wide);
        nn_check(c, first, "adamw_step", "first moment");
        nn_check(c, second, "adamw_step", "second moment");
        nn_check(c, w, "adamw_step", "weights");
    }
    csl_adamw_spec spec = {.step = 0};
    CHECK_STATUS(c->ops->adamw_step(c->device, &spec, NULL, 0, NULL, NULL, NULL), CSL_E_RANGE);
}

static void adamw_matches_the_oracle(void)
{
    nn_on_every_device(run_adamw);
}

/* Training wants gradients alone and evaluation probabilities alone. */
static void check_softmax_alone(nn_case *c,
                                const nn_array *logits,
                                const int32_t *device_labels,
                                nn_array *d,
                                nn_array *p,
                                nn_array *loss,
                                uint32_t batch,
                                float scale)
{
    uint32_t classes = (uint32_t)(d->count / batch);
    CHECK_OK(c->ops->fill(c->device, 7.0F, d->count, d->device));
    CHECK_OK(c->ops->fill(c->device, 7.0F, p->count, p->device));
    CHECK_OK(c->ops->softmax_loss(c->device, logits->device, device_labels, batch, classes, scale,
                                  loss->device, d->device, NULL));
    nn_check(c, d, "softmax_loss", "dlogits alone");
    CHECK_OK(c->ops->softmax_loss(c->device, logits->device, device_labels, batch, classes, scale,
                                  loss->device, NULL, p->device));
    nn_check(c, p, "softmax_loss", "probabilities alone");
}

static void run_losses(nn_case *c)
{
    static const uint32_t sizes[][2] = {{1, 1}, {7, 2}, {64, 10}, {3, 256}, {5, 131}};
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        uint32_t batch = sizes[n][0], classes = sizes[n][1];
        size_t count = (size_t)batch * classes;
        nn_array *logits = nn_random(c, count), *targets = nn_random(c, count);
        nn_array *loss = nn_room(c, batch), *d = nn_room(c, count), *p = nn_room(c, count);
        int32_t *labels = malloc(batch * sizeof *labels);
        uint8_t *mask = malloc(count);
        for (size_t i = 0; i < count; i++) { /* also far out, where exp overflows or vanishes */
            logits->host[i] *= n == 1 ? 100.0F : 3.0F;
            targets->host[i] = (float)(csl_test_random() & 1);
            mask[i] = csl_test_random() & 1;
        }
        for (uint32_t b = 0; b < batch; b++) {
            labels[b] = (int32_t)nn_between(0, classes - 1);
        }
        nn_upload(c, logits);
        nn_upload(c, targets);
        const int32_t *device_labels = nn_bytes(c, labels, batch * sizeof *labels);
        const uint8_t *device_mask = n % 2 ? nn_bytes(c, mask, count) : NULL;
        float scale = 1.0F / (float)batch;
        CHECK_OK(c->ops->softmax_loss(c->device, logits->device, device_labels, batch, classes,
                                      scale, loss->device, d->device, p->device));
        oracle_softmax_loss(logits->wide, labels, batch, classes, (double)scale, loss->wide,
                            d->wide, p->wide);
        nn_check(c, loss, "softmax_loss", "loss");
        nn_check(c, d, "softmax_loss", "dlogits");
        nn_check(c, p, "softmax_loss", "probabilities");
        CHECK_OK(c->ops->softmax_loss(c->device, logits->device, device_labels, batch, classes,
                                      scale, loss->device, NULL, NULL));
        check_softmax_alone(c, logits, device_labels, d, p, loss, batch, scale);
        CHECK_OK(c->ops->sigmoid_loss(c->device, logits->device, targets->device, device_mask,
                                      batch, classes, scale, loss->device, d->device, p->device));
        oracle_sigmoid_loss(logits->wide, targets->wide, n % 2 ? mask : NULL, batch, classes,
                            (double)scale, loss->wide, d->wide, p->wide);
        nn_check(c, loss, "sigmoid_loss", "loss");
        nn_check(c, d, "sigmoid_loss", "dlogits");
        nn_check(c, p, "sigmoid_loss", "probabilities");
        CHECK_OK(c->ops->squared_loss(c->device, logits->device, targets->device, batch, classes,
                                      scale, loss->device, d->device));
        oracle_squared_loss(logits->wide, targets->wide, batch, classes, (double)scale, loss->wide,
                            d->wide);
        nn_check(c, loss, "squared_loss", "loss");
        nn_check(c, d, "squared_loss", "dy");
        free(labels);
        free(mask);
    }
}

/* A run that diverges is known by its loss: no place of a NaN may hide it. */
static void run_nan_losses(nn_case *c)
{
    enum { IMAGES = 2, CLASSES = 75 };
    const int32_t labels[IMAGES] = {3, 74};
    const int32_t *device_labels = nn_bytes(c, labels, sizeof labels);
    for (size_t at = 0; at < CLASSES; at++) {
        nn_array *logits = nn_random(c, (size_t)IMAGES * CLASSES);
        nn_array *targets = nn_random(c, (size_t)IMAGES * CLASSES);
        nn_array *loss = nn_room(c, IMAGES);
        logits->host[at] = NAN;
        nn_upload(c, logits);
        nn_upload(c, targets);
        for (int kind = 0; kind < 3; kind++) {
            float found[IMAGES];
            csl_status status =
                kind == 0   ? c->ops->softmax_loss(c->device, logits->device, device_labels, IMAGES,
                                                   CLASSES, 1.0F, loss->device, NULL, NULL)
                : kind == 1 ? c->ops->sigmoid_loss(c->device, logits->device, targets->device, NULL,
                                                   IMAGES, CLASSES, 1.0F, loss->device, NULL, NULL)
                            : c->ops->squared_loss(c->device, logits->device, targets->device,
                                                   IMAGES, CLASSES, 1.0F, loss->device, NULL);
            CHECK_OK(status);
            CHECK_OK(
                csl_device_copy(c->device, found, loss->device, sizeof found, CSL_COPY_TO_HOST));
            CU_ASSERT(isnan(found[0]) && isfinite(found[1]));
        }
    }
}

static void a_nan_makes_the_loss_nan(void)
{
    nn_on_every_device(run_nan_losses);
}

static void losses_match_the_oracle(void)
{
    nn_on_every_device(run_losses);
}

enum { LOSS_BATCH = 3, LOSS_CLASSES = 5, LOSS_COUNT = LOSS_BATCH * LOSS_CLASSES };

typedef struct loss_case {
    int kind;
    double logits[LOSS_COUNT], targets[LOSS_COUNT], d[LOSS_COUNT], p[LOSS_COUNT];
    int32_t labels[LOSS_BATCH];
    uint8_t mask[LOSS_COUNT];
} loss_case;

static double evaluate_loss(void *opaque)
{
    loss_case *l = opaque;
    double loss[LOSS_BATCH];
    if (l->kind == 0) {
        oracle_softmax_loss(l->logits, l->labels, LOSS_BATCH, LOSS_CLASSES, 1.0, loss, l->d, l->p);
    } else if (l->kind == 1) {
        oracle_sigmoid_loss(l->logits, l->targets, l->mask, LOSS_BATCH, LOSS_CLASSES, 1.0, loss,
                            l->d, l->p);
    } else {
        oracle_squared_loss(l->logits, l->targets, LOSS_BATCH, LOSS_CLASSES, 1.0, loss, l->d);
    }
    return loss[0] + loss[1] + loss[2];
}

static void the_oracle_of_losses_matches_finite_differences(void)
{
    for (int kind = 0; kind < 3; kind++) {
        loss_case l = {.kind = kind};
        double gradient[LOSS_COUNT];
        for (int i = 0; i < LOSS_COUNT; i++) {
            l.logits[i] = 2.0 * csl_test_normal();
            l.targets[i] = (double)(csl_test_random() & 1);
            l.mask[i] = csl_test_random() & 1;
            l.labels[i % LOSS_BATCH] = (int32_t)nn_between(0, LOSS_CLASSES - 1);
        }
        evaluate_loss(&l);
        memcpy(gradient, l.d, sizeof gradient);
        nn_check_differences(evaluate_loss, &l, l.logits, gradient, LOSS_COUNT, "dlogits");
    }
}

/* An image value that every element type can hold. */
static double fill_raw(csl_element_type type, void *raw, size_t i)
{
    double value = floor(255.0 * csl_test_uniform());
    switch (type) {
    case CSL_U8:
        ((uint8_t *)raw)[i] = (uint8_t)value;
        return value;
    case CSL_I16:
        value = value * 16.0 - 1024.0;
        ((int16_t *)raw)[i] = (int16_t)value;
        return value;
    case CSL_U16:
        value *= 257.0;
        ((uint16_t *)raw)[i] = (uint16_t)value;
        return value;
    default:
        value = value / 256.0 - 0.5;
        ((float *)raw)[i] = (float)value;
        return value;
    }
}

static void draw_augment(csl_augment *augment, uint32_t kind)
{
    static const float identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    memset(augment, 0, sizeof *augment);
    memcpy(augment->matrix, identity, sizeof identity);
    augment->gain = 1.0F;
    if (kind > 0) {
        augment->gain = 0.9F + 0.2F * (float)csl_test_uniform();
        augment->offset = 0.1F * (float)csl_test_normal();
    }
    for (int i = 0; kind > 1 && i < 9; i++) {
        augment->matrix[i] += 0.15F * (float)csl_test_normal();
        augment->shift[i % 3] = 2.0F * (float)csl_test_normal();
    }
}

static void check_input(nn_case *c, csl_element_type type, csl_shape shape, bool augmented)
{
    enum { BATCH = 3 };
    csl_input_spec spec = {.shape = shape, .type = type, .slope = 1.5F, .intercept = -3.0F};
    size_t count = csl_shape_count(shape) * BATCH;
    void *raw = malloc(count * csl_element_size(type));
    double *wide = malloc(count * sizeof *wide);
    for (size_t i = 0; i < count; i++) {
        wide[i] = fill_raw(type, raw, i);
    }
    double span = type == CSL_U8 ? 255 : type == CSL_I16 ? 4096 : type == CSL_U16 ? 65536 : 1;
    nn_array *mean = nn_random(c, shape.channels), *inverse = nn_random(c, shape.channels);
    for (uint32_t i = 0; i < shape.channels; i++) {
        mean->host[i] = (float)(span * (0.5 + 0.1 * csl_test_normal()));
        inverse->host[i] = (float)(3.0 / span);
    }
    nn_upload(c, mean);
    nn_upload(c, inverse);
    csl_augment augment[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        draw_augment(&augment[i], i);
    }
    const void *device_raw = nn_bytes(c, raw, count * csl_element_size(type));
    const csl_augment *device_augment = nn_bytes(c, augment, sizeof augment);
    nn_array *y = nn_room(c, count);
    CHECK_OK(c->ops->input_prepare(c->device, &spec, device_raw, mean->device, inverse->device,
                                   augmented ? device_augment : NULL, BATCH, y->device));
    oracle_input_prepare(&spec, wide, mean->host, inverse->host, augmented ? augment : NULL, BATCH,
                         y->wide);
    nn_check(c, y, "input_prepare", "y");
    free(raw);
    free(wide);
}

static void run_input(nn_case *c)
{
    static const csl_shape image_shapes[] = {
        {{1, 28, 28}, 1}, {{1, 9, 12}, 3}, {{6, 7, 5}, 1}, {{1, 1, 1}, 2}, {{3, 8, 4}, 2}};
    for (size_t i = 0; i < sizeof image_shapes / sizeof *image_shapes; i++) {
        for (int type = CSL_U8; type <= CSL_F32; type++) {
            check_input(c, (csl_element_type)type, image_shapes[i], false);
            check_input(c, (csl_element_type)type, image_shapes[i], true);
        }
    }
}

static void input_is_normalised_and_resampled_like_the_oracle(void)
{
    nn_on_every_device(run_input);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"activations give the same bits", activations_give_the_same_bits},
        {"dropout draws from Philox", dropout_draws_from_philox},
        {"SGD gives the same bits", sgd_gives_the_same_bits},
        {"vector operations give the same bits", vector_operations_give_the_same_bits},
        {"AdamW matches the oracle", adamw_matches_the_oracle},
        {"losses match the oracle", losses_match_the_oracle},
        {"a NaN makes the loss NaN", a_nan_makes_the_loss_nan},
        {"the oracle of losses matches finite differences",
         the_oracle_of_losses_matches_finite_differences},
        {"input is normalised and resampled like the oracle",
         input_is_normalised_and_resampled_like_the_oracle},
    };
    return csl_test_main("nn pointwise", cases, sizeof cases / sizeof *cases);
}
