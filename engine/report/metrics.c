/* What an evaluation says; every count an integer, every sum in the order of the images. */
#include <consilium/metrics.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Calibration: predictions by confidence. */
typedef struct calibration {
    uint64_t count[CSL_CALIBRATION_BINS];
    uint64_t correct[CSL_CALIBRATION_BINS];
    double confidence[CSL_CALIBRATION_BINS];
} calibration;

static void add_prediction(calibration *bins, double confidence, bool correct)
{
    double scaled = confidence * CSL_CALIBRATION_BINS;
    int bin = scaled > 0.0 ? (int)ceil(scaled) - 1 : 0;
    bin = bin < CSL_CALIBRATION_BINS ? bin : CSL_CALIBRATION_BINS - 1;
    bins->count[bin]++;
    bins->correct[bin] += correct;
    bins->confidence[bin] += confidence;
}

/* Guo et al. 2017, equation 3: sum over bins of |correct - confidence| / all. */
static double calibration_error(const calibration *bins)
{
    uint64_t count = 0;
    double error = 0.0;
    for (int i = 0; i < CSL_CALIBRATION_BINS; i++) {
        count += bins->count[i];
        error += fabs((double)bins->correct[i] - bins->confidence[i]);
    }
    return count ? error / (double)count : NAN;
}

static void make_undefined(csl_metrics *metrics)
{
    metrics->loss = metrics->accuracy = metrics->balanced_accuracy = metrics->auc = NAN;
    metrics->calibration_error = metrics->mean_squared_error = NAN;
    metrics->mean_absolute_error = metrics->r_squared = NAN;
    for (int i = 0; i < CSL_CLASSES_MAX; i++) {
        metrics->class_auc[i] = metrics->class_recall[i] = NAN;
    }
}

void csl_metrics_clear(csl_metrics *metrics)
{
    free(metrics->confusion);
    memset(metrics, 0, sizeof *metrics);
    make_undefined(metrics);
}

static csl_status check(const csl_evaluation *evaluation)
{
    size_t values = (size_t)evaluation->count * evaluation->class_count;
    for (size_t i = 0; i < values; i++) {
        if (!isfinite(evaluation->scores[i])) {
            return csl_fail(CSL_E_DIVERGED, "score of image %zu is not finite",
                            i / evaluation->class_count);
        }
    }
    for (uint64_t i = 0; evaluation->labels && i < evaluation->count; i++) {
        int32_t label = evaluation->labels[i];
        if (label < 0 || (uint32_t)label >= evaluation->class_count) {
            return csl_fail(CSL_E_RANGE, "label %d of image %llu is outside 0..%u", label,
                            (unsigned long long)i, evaluation->class_count - 1);
        }
    }
    return CSL_OK;
}

/* Mean of the defined values; NaN if there is none. */
static double mean_defined(const double *values, uint32_t count)
{
    double sum = 0.0;
    uint32_t defined = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            sum += values[i];
            defined++;
        }
    }
    return defined ? sum / defined : NAN;
}

/* One-vs-rest AUC of each class or label. */
static csl_status measure_aucs(const csl_evaluation *evaluation, csl_metrics *metrics)
{
    uint32_t width = evaluation->class_count;
    uint8_t *flags = malloc(2 * (size_t)evaluation->count + 1);
    if (!flags) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %llu labels",
                        (unsigned long long)evaluation->count);
    }
    uint8_t *positive = flags;
    uint8_t *used = flags + evaluation->count;
    csl_status status = CSL_OK;
    for (uint32_t k = 0; k < width && status == CSL_OK; k++) {
        for (uint64_t i = 0; i < evaluation->count; i++) {
            size_t at = (size_t)i * width + k;
            positive[i] = evaluation->labels ? evaluation->labels[i] == (int32_t)k
                                             : evaluation->targets[at] > 0.5f;
            used[i] = !evaluation->known || evaluation->known[at];
        }
        status = csl_auc(evaluation->scores + k, width, positive, used, evaluation->count,
                         &metrics->class_auc[k]);
    }
    free(flags);
    return status;
}

static void measure_classes(const csl_evaluation *evaluation, csl_metrics *metrics)
{
    uint32_t width = evaluation->class_count;
    calibration bins = {0};
    uint64_t correct = 0;
    for (uint64_t i = 0; i < evaluation->count; i++) {
        const float *scores = evaluation->scores + (size_t)i * width;
        uint32_t top = 0; /* ties go to the lowest class */
        for (uint32_t k = 1; k < width; k++) {
            top = scores[k] > scores[top] ? k : top;
        }
        uint32_t label = (uint32_t)evaluation->labels[i];
        metrics->confusion[(size_t)label * width + top]++;
        correct += top == label;
        add_prediction(&bins, (double)scores[top], top == label);
    }
    for (uint32_t k = 0; k < width; k++) {
        uint64_t row = 0;
        for (uint32_t j = 0; j < width; j++) {
            row += metrics->confusion[(size_t)k * width + j];
        }
        if (row) {
            metrics->class_recall[k] =
                (double)metrics->confusion[(size_t)k * width + k] / (double)row;
        }
    }
    metrics->accuracy = (double)correct / (double)evaluation->count;
    metrics->balanced_accuracy = mean_defined(metrics->class_recall, width);
    metrics->calibration_error = calibration_error(&bins);
    metrics->auc = evaluation->task == CSL_TASK_BINARY && width > 1
                       ? metrics->class_auc[1]
                       : mean_defined(metrics->class_auc, width);
}

static void measure_labels(const csl_evaluation *evaluation, csl_metrics *metrics)
{
    uint32_t width = evaluation->class_count;
    calibration bins = {0};
    uint64_t correct = 0;
    uint64_t known = 0;
    for (size_t at = 0; at < (size_t)evaluation->count * width; at++) {
        if (evaluation->known && !evaluation->known[at]) {
            continue;
        }
        double score = (double)evaluation->scores[at];
        bool truth = evaluation->targets[at] > 0.5f;
        bool answer = score > 0.5;
        metrics->confusion[at % width * 4 + truth * 2u + answer]++;
        known++;
        correct += truth == answer;
        add_prediction(&bins, answer ? score : 1.0 - score, truth == answer);
    }
    double balanced[CSL_CLASSES_MAX];
    for (uint32_t k = 0; k < width; k++) {
        const uint64_t *cell = metrics->confusion + (size_t)k * 4;
        uint64_t negatives = cell[0] + cell[1];
        uint64_t positives = cell[2] + cell[3];
        double specificity = negatives ? (double)cell[0] / (double)negatives : NAN;
        metrics->class_recall[k] = positives ? (double)cell[3] / (double)positives : NAN;
        double sides[2] = {specificity, metrics->class_recall[k]};
        balanced[k] = mean_defined(sides, 2);
    }
    metrics->accuracy = known ? (double)correct / (double)known : NAN;
    metrics->balanced_accuracy = mean_defined(balanced, width);
    metrics->calibration_error = calibration_error(&bins);
    metrics->auc = mean_defined(metrics->class_auc, width);
}

static void measure_regression(const csl_evaluation *evaluation, csl_metrics *metrics)
{
    uint32_t width = evaluation->class_count;
    double count = (double)evaluation->count;
    double squares = 0.0;
    double absolutes = 0.0;
    double explained[CSL_CLASSES_MAX];
    for (uint32_t k = 0; k < width; k++) {
        double mean = 0.0;
        for (uint64_t i = 0; i < evaluation->count; i++) {
            mean += (double)evaluation->targets[(size_t)i * width + k];
        }
        mean /= count;
        double residual = 0.0;
        double total = 0.0;
        for (uint64_t i = 0; i < evaluation->count; i++) {
            size_t at = (size_t)i * width + k;
            double error = (double)evaluation->scores[at] - (double)evaluation->targets[at];
            double spread = (double)evaluation->targets[at] - mean;
            residual += error * error;
            total += spread * spread;
            absolutes += fabs(error);
        }
        squares += residual;
        explained[k] = total > 0.0 ? 1.0 - residual / total : NAN;
    }
    metrics->mean_squared_error = squares / (count * width);
    metrics->mean_absolute_error = absolutes / (count * width);
    metrics->r_squared = mean_defined(explained, width);
}

static csl_status measure(const csl_evaluation *evaluation, csl_metrics *metrics)
{
    size_t width = evaluation->class_count;
    metrics->loss = evaluation->loss_sum / (double)evaluation->count;
    if (evaluation->task == CSL_TASK_REGRESSION) {
        measure_regression(evaluation, metrics);
        return CSL_OK;
    }
    size_t cells = evaluation->task == CSL_TASK_MULTILABEL ? width * 4 : width * width;
    metrics->confusion = calloc(cells, sizeof *metrics->confusion);
    if (!metrics->confusion) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a confusion matrix of %zu cells", cells);
    }
    CSL_TRY(measure_aucs(evaluation, metrics));
    if (evaluation->task == CSL_TASK_MULTILABEL) {
        measure_labels(evaluation, metrics);
    } else {
        measure_classes(evaluation, metrics);
    }
    return CSL_OK;
}

csl_status csl_metrics_compute(const csl_evaluation *evaluation, csl_metrics *metrics_out)
{
    CSL_TRY(check(evaluation));
    csl_metrics metrics = {.task = evaluation->task,
                           .class_count = evaluation->class_count,
                           .count = evaluation->count};
    make_undefined(&metrics);
    if (evaluation->count > 0) {
        csl_status status = measure(evaluation, &metrics);
        if (status != CSL_OK) {
            free(metrics.confusion);
            return status;
        }
    }
    *metrics_out = metrics;
    return CSL_OK;
}

double csl_metrics_selection_score(const csl_metrics *metrics)
{
    if (metrics->task == CSL_TASK_REGRESSION) {
        return -metrics->mean_squared_error;
    }
    return isnan(metrics->auc) ? metrics->balanced_accuracy : metrics->auc;
}
