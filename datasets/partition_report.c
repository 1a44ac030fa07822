#include <consilium/atomic_file.h>
#include <consilium/partition.h>
#include <consilium/random.h>

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Adds one image to a histogram over classes, or over positive labels. */
static void count_image(const csl_dataset *dataset, uint64_t image, uint64_t *histogram)
{
    if (dataset->labels) {
        histogram[dataset->labels[image]]++;
    }
    for (uint32_t k = 0; dataset->task == CSL_TASK_MULTILABEL && k < dataset->class_count; k++) {
        uint64_t at = image * dataset->class_count + k;
        histogram[k] += (!dataset->known || dataset->known[at]) && dataset->targets[at] > 0.5f;
    }
}

static double share(const uint64_t *histogram, uint32_t class_count, uint32_t k)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < class_count; i++) {
        total += histogram[i];
    }
    return total ? (double)histogram[k] / (double)total : 0.0;
}

static double information(double p, double middle)
{
    return p > 0.0 ? p * (csl_exact_log(p / middle) / csl_exact_log(2.0)) : 0.0;
}

csl_status csl_partition_summarise(const csl_dataset *dataset,
                                   const csl_partition_plan *plan,
                                   uint32_t institution,
                                   csl_partition_summary *summary_out)
{
    if (institution >= plan->institution_count || plan->image_count != dataset->count) {
        return csl_fail(CSL_E_RANGE, "institution %u of %u", institution, plan->institution_count);
    }
    csl_partition_summary summary = {0};
    uint64_t pool[CSL_CLASSES_MAX] = {0};
    for (uint64_t i = 0; i < dataset->count; i++) {
        count_image(dataset, i, pool);
        if (plan->institution[i] == institution) {
            summary.size[plan->split[i]]++;
            count_image(dataset, i, summary.class_size);
        }
    }
    for (uint32_t k = 0; k < dataset->class_count; k++) {
        double p = share(summary.class_size, dataset->class_count, k);
        double q = share(pool, dataset->class_count, k);
        double middle = 0.5 * (p + q);
        summary.jensen_shannon += 0.5 * (information(p, middle) + information(q, middle));
        summary.earth_mover += 0.5 * fabs(p - q);
    }
    *summary_out = summary;
    return CSL_OK;
}

double csl_partition_effective_count(const csl_partition_plan *plan)
{
    double squares = 0.0, total = (double)plan->image_count;
    for (uint32_t j = 0; j < plan->institution_count; j++) {
        double size = 0.0;
        for (uint64_t i = 0; i < plan->image_count; i++) {
            size += plan->institution[i] == j;
        }
        squares += size * size;
    }
    return squares > 0.0 ? total * total / squares : 0.0;
}

static json_t *describe_institution(const csl_dataset *dataset,
                                    uint32_t institution,
                                    const csl_partition_summary *summary)
{
    json_t *classes = json_array();
    for (uint32_t k = 0; k < dataset->class_count; k++) {
        json_array_append_new(classes, json_integer((json_int_t)summary->class_size[k]));
    }
    return json_pack("{s:i, s:I, s:I, s:I, s:o, s:f, s:f}", "institution", (int)institution,
                     "train", (json_int_t)summary->size[0], "validation",
                     (json_int_t)summary->size[1], "test", (json_int_t)summary->size[2],
                     "class_histogram", classes, "jensen_shannon_bits", summary->jensen_shannon,
                     "earth_mover", summary->earth_mover);
}

static csl_status write_whole(const char *path, const char *text)
{
    char temporary[CSL_PATH_MAX];
    CSL_TRY(csl_atomic_begin(path, temporary));
    FILE *stream = fopen(temporary, "w");
    if (!stream) {
        return csl_fail(CSL_E_IO, "%s: %s", path, strerror(errno));
    }
    size_t size = strlen(text);
    bool written = fwrite(text, 1, size, stream) == size && fputc('\n', stream) != EOF;
    int cause = errno;
    if (fclose(stream) != 0) {
        cause = written ? errno : cause;
        written = false;
    }
    if (!written) {
        csl_atomic_abandon(temporary);
        return csl_fail(CSL_E_IO, "%s: %s", path, strerror(cause));
    }
    return csl_atomic_commit(temporary, path);
}

csl_status
csl_partition_report(const csl_dataset *dataset, const csl_partition_plan *plan, const char *path)
{
    const csl_study_split *split = &plan->options.split;
    json_t *institutions = json_array();
    for (uint32_t j = 0; j < plan->institution_count; j++) {
        csl_partition_summary summary;
        csl_status status = csl_partition_summarise(dataset, plan, j, &summary);
        if (status != CSL_OK) {
            json_decref(institutions);
            return status;
        }
        json_array_append_new(institutions, describe_institution(dataset, j, &summary));
    }
    json_t *report =
        json_pack("{s:s, s:I, s:f, s:i, s:i, s:f, s:f, s:i, s:b, s:b, s:I, s:f, s:o}", "scheme",
                  csl_partition_scheme_name(split->scheme), "seed", (json_int_t)plan->options.seed,
                  "alpha", split->alpha, "labels_each", (int)split->labels_each, "shards_each",
                  (int)split->shards_each, "sigma", split->sigma, "strength", split->strength,
                  "min_size", (int)split->min_size, "force", (int)split->force, "splits_redrawn",
                  (int)(split->holdout == CSL_HOLDOUT_REDRAW), "images",
                  (json_int_t)plan->image_count, "effective_institutions",
                  csl_partition_effective_count(plan), "institutions", institutions);
    char *text = report ? json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    csl_status status = text ? write_whole(path, text)
                             : csl_fail(CSL_E_NO_MEMORY, "%s: no memory for the report", path);
    free(text);
    json_decref(report);
    return status;
}
