#include <consilium/partition.h>
#include <consilium/text.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "partition_units.h"

static const char *const scheme_names[] = {"iid",
                                           "dirichlet",
                                           "dirichlet-balanced",
                                           "dirichlet-institution",
                                           "label-quantity",
                                           "shards",
                                           "quantity-dirichlet",
                                           "quantity-lognormal",
                                           "quantity-linear",
                                           "quantity-square",
                                           "quantity-exponential",
                                           "feature-noise",
                                           "feature-scanner",
                                           "natural",
                                           NULL};

const char *csl_partition_scheme_name(csl_split_scheme scheme)
{
    return (unsigned)scheme <= CSL_SPLIT_SCHEME_NATURAL ? scheme_names[scheme] : "unknown";
}

csl_status csl_partition_scheme_find(const char *name, csl_split_scheme *scheme_out)
{
    for (int i = 0; scheme_names[i]; i++) {
        if (strcmp(name, scheme_names[i]) == 0) {
            *scheme_out = (csl_split_scheme)i;
            return CSL_OK;
        }
    }
    const char *nearest = csl_nearest_name(name, scheme_names);
    return csl_fail(CSL_E_NOT_FOUND, "no partition scheme '%s'%s%s%s", name,
                    nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

void csl_partition_defaults(csl_partition_options *options_out)
{
    *options_out = (csl_partition_options){.split = {.scheme = CSL_SPLIT_SCHEME_IID,
                                                     .alpha = 0.5,
                                                     .labels_each = 2,
                                                     .shards_each = 2,
                                                     .sigma = 0.5,
                                                     .strength = 1.0,
                                                     .min_size = 10,
                                                     .validation_fraction = 0.1,
                                                     .test_fraction = 0.2},
                                           .institution_count = 8,
                                           .seed = 1};
}

static csl_status check_options(const csl_dataset *dataset, const csl_partition_options *options)
{
    const csl_study_split *split = &options->split;
    if (options->institution_count == 0 || options->institution_count > CSL_INSTITUTIONS_MAX) {
        return csl_fail(CSL_E_RANGE, "expected 1..%d institutions, found %u", CSL_INSTITUTIONS_MAX,
                        options->institution_count);
    }
    bool dirichlet = split->scheme == CSL_SPLIT_SCHEME_DIRICHLET ||
                     split->scheme == CSL_SPLIT_SCHEME_DIRICHLET_BALANCED ||
                     split->scheme == CSL_SPLIT_SCHEME_DIRICHLET_INSTITUTION ||
                     split->scheme == CSL_SPLIT_SCHEME_QUANTITY_DIRICHLET;
    if (dirichlet && !(split->alpha > 0.0 && isfinite(split->alpha))) {
        return csl_fail(CSL_E_RANGE, "expected alpha above 0, found %g", split->alpha);
    }
    if (split->scheme == CSL_SPLIT_SCHEME_LABEL_QUANTITY &&
        (split->labels_each == 0 || split->labels_each > csl_stratum_count(dataset))) {
        return csl_fail(CSL_E_RANGE, "expected labels_each in 1..%u, found %u",
                        csl_stratum_count(dataset), split->labels_each);
    }
    if (split->scheme == CSL_SPLIT_SCHEME_SHARDS && split->shards_each == 0) {
        return csl_fail(CSL_E_RANGE, "expected shards_each of 1 at least, found 0");
    }
    if (!(split->sigma >= 0.0 && split->sigma <= 10.0)) {
        return csl_fail(CSL_E_RANGE, "expected sigma in 0..10, found %g", split->sigma);
    }
    if (!(split->strength >= 0.0 && split->strength <= 1.0)) {
        return csl_fail(CSL_E_RANGE, "expected strength in 0..1, found %g", split->strength);
    }
    if (!(split->validation_fraction >= 0.0 && split->test_fraction >= 0.0 &&
          split->validation_fraction + split->test_fraction < 1.0)) {
        return csl_fail(CSL_E_RANGE,
                        "expected validation and test fractions that leave images to train "
                        "on, found %g and %g",
                        split->validation_fraction, split->test_fraction);
    }
    if (split->scheme == CSL_SPLIT_SCHEME_NATURAL && !dataset->group && !dataset->scanner) {
        return csl_fail(CSL_E_RANGE, "scheme natural: expected /group or /scanner, found neither");
    }
    return CSL_OK;
}

typedef struct site_size {
    int64_t site;
    uint64_t size;
    uint32_t institution;
} site_size;

static int compare_site_values(const void *left, const void *right)
{
    const site_size *a = left, *b = right;
    return (a->site > b->site) - (a->site < b->site);
}

/* One institution per site, in the order of the sites' numbers; with more sites than institutions
 * consecutive ones are merged, with fewer it is an error. */
static csl_status deal_natural(csl_units *units, uint32_t institution_count)
{
    site_size *sites = calloc((size_t)units->count, sizeof *sites);
    if (!sites) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory to partition");
    }
    for (uint64_t u = 0; u < units->count; u++) {
        sites[u].site = units->units[u].site;
    }
    qsort(sites, (size_t)units->count, sizeof *sites, compare_site_values);
    uint64_t site_count = 0;
    for (uint64_t u = 0; u < units->count; u++) {
        if (u == 0 || sites[u].site != sites[site_count - 1].site) {
            sites[site_count++].site = sites[u].site;
        }
    }
    csl_status status = CSL_OK;
    if (site_count < institution_count) {
        status = csl_fail(CSL_E_RANGE, "scheme natural: expected at least %u sites, found %" PRIu64,
                          institution_count, site_count);
    }
    for (uint64_t u = 0; status == CSL_OK && u < units->count; u++) {
        site_size key = {.site = units->units[u].site};
        const site_size *found =
            bsearch(&key, sites, (size_t)site_count, sizeof *sites, compare_site_values);
        units->units[u].institution =
            (uint32_t)((uint64_t)(found - sites) * institution_count / site_count);
    }
    free(sites);
    return status;
}

/* Validation and test units follow, class by class, the shares that training gave. */
static csl_status follow_training(csl_units *units,
                                  const csl_partition_options *options,
                                  csl_split split,
                                  uint64_t *order)
{
    uint32_t count = options->institution_count;
    double *shares = calloc(count, sizeof *shares);
    if (!shares) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory to partition");
    }
    for (uint32_t stratum = 0; stratum < units->stratum_count; stratum++) {
        uint64_t order_count = 0;
        double total = 0.0, everything = 0.0;
        for (int all = 0; all < 2 && total <= 0.0;
             all++) { /* a class unknown to training: by size */
            memset(shares, 0, count * sizeof *shares);
            for (uint64_t u = 0; u < units->count; u++) {
                const csl_unit *unit = &units->units[u];
                if (unit->split == CSL_SPLIT_TRAIN && (all || unit->stratum == stratum)) {
                    shares[unit->institution] += (double)unit->count;
                    total += (double)unit->count;
                }
            }
            everything = total;
        }
        for (uint32_t j = 0; j < count; j++) {
            shares[j] /= everything;
        }
        for (uint64_t u = 0; u < units->count; u++) {
            if (units->units[u].split == (uint8_t)split && units->units[u].stratum == stratum) {
                order[order_count++] = u;
            }
        }
        csl_random random = csl_random_stream(options->seed, CSL_RANDOM_SPLIT, (uint32_t)split,
                                              CSL_INSTITUTIONS_MAX + stratum);
        csl_random_shuffle(&random, order, (size_t)order_count);
        csl_units_cut(units, order, order_count, shares, count);
    }
    free(shares);
    return CSL_OK;
}

/* Turns training units of one institution and class into test and validation ones. */
static void
draw_stratum(csl_units *units, const uint64_t *list, uint64_t count, double validation, double test)
{
    uint64_t total = 0, before = 0;
    for (uint64_t i = 0; i < count; i++) {
        total += units->units[list[i]].count;
    }
    for (uint64_t i = 0; i + 1 < count; i++) { /* the last unit always trains */
        csl_unit *unit = &units->units[list[i]];
        double middle = ((double)before + 0.5 * (double)unit->count) / (double)total;
        if (middle < test) {
            unit->split = CSL_SPLIT_TEST;
        } else if (middle < test + validation) {
            unit->split = CSL_SPLIT_VALIDATION;
        }
        before += unit->count;
    }
}

static void draw_holdout(csl_units *units,
                         const csl_partition_options *options,
                         double validation,
                         double test,
                         uint64_t *list)
{
    for (uint32_t j = 0; j < options->institution_count && validation + test > 0.0; j++) {
        csl_random random = csl_random_stream(options->seed, CSL_RANDOM_SPLIT, 0, j);
        for (uint32_t stratum = 0; stratum < units->stratum_count; stratum++) {
            uint64_t count = 0;
            for (uint64_t u = 0; u < units->count; u++) {
                const csl_unit *unit = &units->units[u];
                if (unit->institution == j && unit->stratum == stratum &&
                    unit->split == CSL_SPLIT_TRAIN) {
                    list[count++] = u;
                }
            }
            csl_random_shuffle(&random, list, (size_t)count);
            draw_stratum(units, list, count, validation, test);
        }
    }
}

static uint64_t smallest_training(const csl_units *units,
                                  uint32_t institution_count,
                                  uint64_t *sizes,
                                  uint32_t *where_out)
{
    memset(sizes, 0, institution_count * sizeof *sizes);
    for (uint64_t u = 0; u < units->count; u++) {
        if (units->units[u].split == CSL_SPLIT_TRAIN) {
            sizes[units->units[u].institution] += units->units[u].count;
        }
    }
    *where_out = 0;
    for (uint32_t j = 1; j < institution_count; j++) {
        *where_out = sizes[j] < sizes[*where_out] ? j : *where_out;
    }
    return sizes[*where_out];
}

typedef struct holdout {
    bool has_validation, has_test;
} holdout;

static csl_status deal_once(csl_units *units,
                            const csl_partition_options *options,
                            const uint8_t *splits,
                            holdout present,
                            uint32_t attempt,
                            uint64_t *order)
{
    for (uint64_t u = 0; u < units->count; u++) {
        units->units[u].split = splits[u];
    }
    if (options->split.scheme == CSL_SPLIT_SCHEME_NATURAL) {
        CSL_TRY(deal_natural(units, options->institution_count));
    } else {
        CSL_TRY(csl_units_deal(units, options, CSL_SPLIT_TRAIN, attempt, order));
        for (int split = CSL_SPLIT_VALIDATION; split <= CSL_SPLIT_TEST; split++) {
            if (options->split.scheme == CSL_SPLIT_SCHEME_FEATURE_SCANNER) {
                CSL_TRY(csl_units_deal(units, options, (csl_split)split, attempt, order));
            } else {
                CSL_TRY(follow_training(units, options, (csl_split)split, order));
            }
        }
    }
    draw_holdout(units, options, present.has_validation ? 0.0 : options->split.validation_fraction,
                 present.has_test ? 0.0 : options->split.test_fraction, order);
    return CSL_OK;
}

static csl_status deal_until_large_enough(csl_units *units,
                                          const csl_partition_options *options,
                                          const uint8_t *splits,
                                          uint64_t *order,
                                          uint64_t *sizes)
{
    holdout present = {false, false};
    for (uint64_t u = 0; u < units->count; u++) {
        present.has_validation |= splits[u] == CSL_SPLIT_VALIDATION;
        present.has_test |= splits[u] == CSL_SPLIT_TEST;
    }
    uint64_t needed = options->split.min_size ? options->split.min_size : 1, best = 0;
    bool fixed = options->split.scheme == CSL_SPLIT_SCHEME_NATURAL;
    uint32_t where = 0;
    for (uint32_t attempt = 0; attempt < (fixed ? 1 : CSL_PARTITION_TRIES); attempt++) {
        CSL_TRY(deal_once(units, options, splits, present, attempt, order));
        uint64_t smallest = smallest_training(units, options->institution_count, sizes, &where);
        if (smallest >= needed) {
            return CSL_OK;
        }
        best = smallest > best ? smallest : best;
    }
    return csl_fail(CSL_E_RANGE,
                    "scheme %s: expected at least %" PRIu64 " training images at each of %u "
                    "institutions (min_size), found at most %" PRIu64
                    " at the smallest in %d draws",
                    csl_partition_scheme_name(options->split.scheme), needed,
                    options->institution_count, best, fixed ? 1 : CSL_PARTITION_TRIES);
}

static csl_status fill_plan(const csl_units *units,
                            const csl_dataset *dataset,
                            const csl_partition_options *options,
                            csl_partition_plan *plan)
{
    plan->options = *options;
    plan->institution_count = options->institution_count;
    plan->image_count = dataset->count;
    plan->groups_broken = options->split.force;
    plan->institution = calloc((size_t)dataset->count, sizeof *plan->institution);
    plan->split = calloc((size_t)dataset->count, 1);
    if (!plan->institution || !plan->split) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a partition");
    }
    for (uint64_t u = 0; u < units->count; u++) {
        const csl_unit *unit = &units->units[u];
        for (uint64_t i = unit->first; i < unit->first + unit->count; i++) {
            plan->institution[units->images[i]] = unit->institution;
            plan->split[units->images[i]] = unit->split;
        }
    }
    return CSL_OK;
}

static csl_status partition_units(csl_units *units,
                                  const csl_dataset *dataset,
                                  const csl_partition_options *options,
                                  csl_partition_plan *plan)
{
    uint64_t *order = calloc((size_t)units->count + 1, sizeof *order);
    uint64_t *sizes = calloc(options->institution_count, sizeof *sizes);
    uint8_t *splits = calloc((size_t)units->count, 1);
    csl_status status = CSL_OK;
    if (!order || !sizes || !splits) {
        status = csl_fail(CSL_E_NO_MEMORY, "no memory to partition");
    }
    for (uint64_t u = 0; status == CSL_OK && u < units->count; u++) {
        splits[u] = units->units[u].split;
    }
    if (status == CSL_OK) {
        status = deal_until_large_enough(units, options, splits, order, sizes);
    }
    free(splits);
    free(sizes);
    free(order);
    return status == CSL_OK ? fill_plan(units, dataset, options, plan) : status;
}

csl_status csl_partition(const csl_dataset *dataset,
                         const csl_partition_options *options,
                         csl_partition_plan **plan_out)
{
    CSL_TRY(check_options(dataset, options));
    csl_units *units = NULL;
    CSL_TRY(csl_units_create(dataset, &options->split, &units));
    csl_partition_plan *plan = calloc(1, sizeof *plan);
    csl_status status = plan ? partition_units(units, dataset, options, plan)
                             : csl_fail(CSL_E_NO_MEMORY, "no memory for a partition");
    csl_units_destroy(units);
    if (status != CSL_OK) {
        csl_partition_plan_destroy(plan);
        return status;
    }
    *plan_out = plan;
    return CSL_OK;
}

void csl_partition_plan_destroy(csl_partition_plan *plan)
{
    if (plan) {
        free(plan->institution);
        free(plan->split);
        free(plan);
    }
}
