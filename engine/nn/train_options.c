#include <consilium/train.h>

#include <math.h>

static csl_status check_value(
    const char *key, double value, double low, double high, bool includes_low, bool includes_high)
{
    bool is_inside = (includes_low ? value >= low : value > low) &&
                     (includes_high ? value <= high : value < high);
    if (!is_inside) {
        return csl_fail(CSL_E_RANGE, "training.%s: expected %c%g, %g%c, found %g", key,
                        includes_low ? '[' : '(', low, high, includes_high ? ']' : ')', value);
    }
    return CSL_OK;
}

static csl_status check_optimizer(const csl_train_options *options)
{
    CSL_TRY(check_value("lr", (double)options->rate, 0, 1e6, false, true));
    CSL_TRY(check_value("weight_decay", (double)options->weight_decay, 0, 1e6, true, true));
    if (options->optimizer == CSL_OPTIMIZER_ADAMW) {
        CSL_TRY(check_value("beta1", (double)options->beta1, 0, 1, true, false));
        CSL_TRY(check_value("beta2", (double)options->beta2, 0, 1, true, false));
        return check_value("epsilon", (double)options->epsilon, 0, 1, false, true);
    }
    CSL_TRY(check_value("momentum", (double)options->momentum, 0, 1, true, false));
    if (options->nesterov && options->momentum == 0.0f) {
        return csl_fail(CSL_E_RANGE, "training.nesterov needs training.momentum above 0");
    }
    return CSL_OK;
}

static csl_status check_schedule(const csl_train_options *options)
{
    if (options->schedule == CSL_SCHEDULE_STEP) {
        CSL_TRY(check_value("schedule.gamma", (double)options->schedule_gamma, 0, 1, false, true));
        if (options->schedule_step_rounds == 0) {
            return csl_fail(CSL_E_RANGE, "training.schedule.step_rounds: expected 1 or more");
        }
    }
    if (options->schedule == CSL_SCHEDULE_COSINE &&
        options->round_count <= options->warmup_rounds) {
        return csl_fail(CSL_E_RANGE,
                        "training.schedule: cosine over %u rounds leaves none after %u of warm-up",
                        options->round_count, options->warmup_rounds);
    }
    return CSL_OK;
}

csl_status csl_train_options_check(const csl_train_options *options)
{
    const csl_augmentation *augmentation = &options->augmentation;
    if (options->optimizer != CSL_OPTIMIZER_SGD && options->optimizer != CSL_OPTIMIZER_ADAMW) {
        return csl_fail(CSL_E_RANGE, "training.optimizer: unknown %d", (int)options->optimizer);
    }
    if (options->schedule < CSL_SCHEDULE_CONSTANT || options->schedule > CSL_SCHEDULE_COSINE) {
        return csl_fail(CSL_E_RANGE, "training.schedule: unknown %d", (int)options->schedule);
    }
    CSL_TRY(check_optimizer(options));
    CSL_TRY(check_schedule(options));
    CSL_TRY(check_value("clip_norm", (double)options->clip_norm, 0, 1e30, true, true));
    CSL_TRY(check_value("batch", options->batch, 1, CSL_BATCH_MAX, true, true));
    if (options->local_epochs == 0 && options->local_steps == 0) {
        return csl_fail(CSL_E_RANGE, "training: local_epochs and local_steps are both 0");
    }
    CSL_TRY(check_value("proximal mu", (double)options->proximal_mu, 0, 1e6, true, true));
    CSL_TRY(
        check_value("augment.shift", (double)augmentation->shift, 0, CSL_EXTENT_MAX, true, true));
    CSL_TRY(check_value("augment.rotation", (double)augmentation->rotation_degrees, 0, 180, true,
                        true));
    CSL_TRY(check_value("augment.scale", (double)augmentation->scale, 0, 1, true, false));
    return check_value("augment.intensity", (double)augmentation->intensity, 0, 1, true, false);
}

double
csl_train_rate(const csl_train_options *options, uint32_t round, uint64_t step, uint64_t step_count)
{
    double rate = (double)options->rate;
    double steps = step_count > 0 ? (double)step_count : 1.0;
    double time = round + (double)step / steps; /* in rounds */
    double warmup = options->warmup_rounds;
    if (time < warmup) {
        return rate * (time + 1.0 / steps) / warmup;
    }
    if (options->schedule == CSL_SCHEDULE_STEP) {
        return rate * pow((double)options->schedule_gamma,
                          floor((double)round / options->schedule_step_rounds));
    }
    if (options->schedule == CSL_SCHEDULE_COSINE) {
        double part = (time - warmup) / (options->round_count - warmup);
        return rate * 0.5 * (1.0 + cos(3.14159265358979323846 * (part < 1.0 ? part : 1.0)));
    }
    return rate;
}

size_t csl_train_state_count(const csl_train_options *options, size_t parameter_count)
{
    if (!options->keep_optimizer_state) {
        return 0;
    }
    if (options->optimizer == CSL_OPTIMIZER_ADAMW) {
        return 2 * parameter_count + 2; /* both moments, and the steps taken in two parts */
    }
    return options->momentum > 0.0f ? parameter_count : 0;
}
