/* Every partition scheme against its definition (docs/FORMATS.md), and the report against sums
 * written from the formulas. Units are single images here, so that definitions hold exactly. */
#include <consilium/partition.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random_dataset.h"
#include "test_support.h"

enum { COUNT_MAX = 64 };

static uint32_t between(uint32_t low, uint32_t high)
{
    return low + (uint32_t)(csl_test_random() % (high - low + 1));
}

/* Images that know nothing of each other, all for training. */
static csl_dataset *loose_pool(uint32_t class_count, uint64_t count, csl_element_type type)
{
    csl_shape shape = {{1, 3, 4}, 1};
    csl_dataset *pool =
        csl_test_random_dataset(CSL_TASK_MULTICLASS, shape, type, class_count, count);
    csl_test_strip_dataset(pool);
    memset(pool->split, 0, (size_t)count);
    return pool;
}

static csl_partition_options options_for(csl_split_scheme scheme, uint32_t institution_count)
{
    csl_partition_options options;
    csl_partition_defaults(&options);
    options.split.scheme = scheme;
    options.split.min_size = 1;
    options.split.validation_fraction = 0.0;
    options.split.test_fraction = 0.0;
    options.institution_count = institution_count;
    options.seed = csl_test_random();
    return options;
}

static csl_partition_plan *deal(const csl_dataset *pool, const csl_partition_options *options)
{
    csl_partition_plan *plan = NULL;
    CHECK_OK(csl_partition(pool, options, &plan));
    CU_ASSERT_PTR_NOT_NULL_FATAL(plan);
    return plan;
}

/* Images of class `class` (any: -1) in split `split` (any: -1) at one institution. */
static uint64_t
held(const csl_dataset *pool, const csl_partition_plan *plan, uint32_t j, int class, int split)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < pool->count; i++) {
        count += plan->institution[i] == j && (class < 0 || pool->labels[i] == class) &&
                 (split < 0 || plan->split[i] == split);
    }
    return count;
}

static uint64_t of_class(const csl_dataset *pool, int class)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < pool->count; i++) {
        count += pool->labels[i] == class;
    }
    return count;
}

static void check_equal_sizes(const csl_dataset *pool, const csl_partition_plan *plan)
{
    for (uint32_t j = 0; j < plan->institution_count; j++) {
        double size = (double)held(pool, plan, j, -1, -1);
        CU_ASSERT(fabs(size - (double)pool->count / plan->institution_count) < 1.0);
    }
}

/* Classes fall on institutions by chance alone: counts are hypergeometric. */
static void check_labels_by_chance(const csl_dataset *pool, const csl_partition_plan *plan)
{
    double n = (double)pool->count;
    for (uint32_t j = 0; j < plan->institution_count; j++) {
        double size = (double)held(pool, plan, j, -1, -1);
        for (uint32_t k = 0; k < pool->class_count; k++) {
            double p = (double)of_class(pool, (int)k) / n;
            double deviation = sqrt(size * p * (1.0 - p) * (n - size) / (n - 1.0));
            double found = (double)held(pool, plan, j, (int)k, -1);
            CU_ASSERT(fabs(found - size * p) <= 7.0 * deviation + 1.0);
        }
    }
}

static void iid_cuts_equally_and_by_chance(void)
{
    for (int trial = 0; trial < 20; trial++) {
        csl_dataset *pool = loose_pool(between(2, 9), between(200, 900), CSL_U8);
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_IID, between(2, 12));
        csl_partition_plan *plan = deal(pool, &options);
        check_equal_sizes(pool, plan);
        check_labels_by_chance(pool, plan);
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

typedef struct moments {
    double sum, squares, count;
} moments;

static void add_moment(moments *to, double value)
{
    to->sum += value;
    to->squares += value * value;
    to->count += 1.0;
}

/* Mean and variance as expected, within six standard errors of a distribution of that variance. */
static void check_moments(const moments *found, double mean, double variance, const char *what)
{
    double average = found->sum / found->count;
    double spread = found->squares / found->count - average * average;
    printf("%s: mean %.4f (%.4f), variance %.5f (%.5f)\n", what, average, mean, spread, variance);
    CU_ASSERT(fabs(average - mean) <= 6.0 * sqrt(variance / found->count) + 1e-12);
    CU_ASSERT(fabs(spread - variance) <= 0.2 * variance + 1e-12);
}

/* A class's share of one institution has mean 1/N and variance (1/N)(1 - 1/N)/(N alpha + 1). */
static void dirichlet_shares_have_the_moments_of_the_distribution(void)
{
    uint32_t n = between(2, 5);
    double alpha = 0.2 + 2.0 * csl_test_uniform();
    moments found = {0};
    for (int trial = 0; trial < 150; trial++) {
        csl_dataset *pool = loose_pool(10, 2000, CSL_U8);
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_DIRICHLET, n);
        options.split.alpha = alpha;
        csl_partition_plan *plan = deal(pool, &options);
        for (int k = 0; k < 10; k++) { /* one institution: shares of a class depend on each other */
            uint32_t j = (uint32_t)(k + trial) % n;
            add_moment(&found, (double)held(pool, plan, j, k, -1) / (double)of_class(pool, k));
        }
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
    double mean = 1.0 / n;
    check_moments(&found, mean, mean * (1.0 - mean) / (n * alpha + 1.0), "dirichlet share");
}

/* How often an institution that already held n/N images, classes taken in order, got more. */
static uint64_t overfilled(const csl_dataset *pool, const csl_partition_plan *plan)
{
    uint64_t before[COUNT_MAX] = {0}, count = 0;
    for (int k = 0; k < (int)pool->class_count; k++) {
        for (uint32_t j = 0; j < plan->institution_count; j++) {
            uint64_t more = held(pool, plan, j, k, -1);
            count += more > 0 && before[j] * plan->institution_count >= pool->count;
            before[j] += more;
        }
    }
    return count;
}

static void balancing_gives_nothing_to_who_has_enough(void)
{
    uint64_t plain = 0;
    for (int trial = 0; trial < 20; trial++) {
        csl_dataset *pool = loose_pool(between(3, 12), between(300, 900), CSL_U8);
        csl_partition_options options =
            options_for(CSL_SPLIT_SCHEME_DIRICHLET_BALANCED, between(2, 6));
        options.split.alpha = 0.3;
        csl_partition_plan *plan = deal(pool, &options);
        CHECK_U64(overfilled(pool, plan), 0);
        csl_partition_plan_destroy(plan);
        options.split.scheme = CSL_SPLIT_SCHEME_DIRICHLET;
        plan = deal(pool, &options);
        plain += overfilled(pool, plan);
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
    CU_ASSERT(plain > 0); /* the check can tell */
}

static void label_quantity_gives_each_its_classes_in_equal_parts(void)
{
    for (int trial = 0; trial < 20; trial++) {
        uint32_t class_count = between(2, 9), n = between(class_count, 12);
        csl_dataset *pool = loose_pool(class_count, between(600, 900), CSL_U8);
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_LABEL_QUANTITY, n);
        options.split.labels_each = between(1, class_count);
        csl_partition_plan *plan = deal(pool, &options);
        for (uint32_t j = 0; j < n; j++) {
            uint32_t present = 0;
            for (int k = 0; k < (int)class_count; k++) {
                present += held(pool, plan, j, k, -1) > 0;
            }
            CHECK_U64(present, options.split.labels_each);
            CU_ASSERT(held(pool, plan, j, (int)(j % class_count), -1) > 0);
        }
        for (int k = 0; k < (int)class_count; k++) {
            double owners = 0.0;
            for (uint32_t j = 0; j < n; j++) {
                owners += held(pool, plan, j, k, -1) > 0;
            }
            for (uint32_t j = 0; j < n; j++) {
                double found = (double)held(pool, plan, j, k, -1);
                CU_ASSERT(found == 0.0 || fabs(found - (double)of_class(pool, k) / owners) <= 1.0);
            }
        }
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* N S intervals of the list sorted by class meet at most N S + K - 1 classes in all. */
static void shards_are_intervals_of_the_sorted_pool(void)
{
    for (int trial = 0; trial < 20; trial++) {
        uint32_t class_count = between(2, 10), n = between(2, 8), each = between(1, 3);
        csl_dataset *pool = loose_pool(class_count, between(300, 900), CSL_U8);
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_SHARDS, n);
        options.split.shards_each = each;
        csl_partition_plan *plan = deal(pool, &options);
        uint32_t meetings = 0;
        for (uint32_t j = 0; j < n; j++) {
            double size = (double)held(pool, plan, j, -1, -1);
            CU_ASSERT(fabs(size - (double)pool->count / n) <= each);
            for (int k = 0; k < (int)class_count; k++) {
                meetings += held(pool, plan, j, k, -1) > 0;
            }
        }
        CU_ASSERT(meetings <= n * each + class_count - 1);
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* Images by which two dealings differ in their histograms of classes. */
static uint64_t
apart(const csl_dataset *pool, const csl_partition_plan *one, const csl_partition_plan *other)
{
    uint64_t sum = 0;
    for (uint32_t j = 0; j < one->institution_count; j++) {
        for (int k = 0; k < (int)pool->class_count; k++) {
            uint64_t here = held(pool, one, j, k, -1);
            uint64_t there = held(pool, other, j, k, -1);
            sum += here > there ? here - there : there - here;
        }
    }
    return sum / 2;
}

/* Which shards come together is drawn: two seeds give the institutions other classes. */
static void shards_are_dealt_at_random(void)
{
    uint32_t different = 0;
    for (int trial = 0; trial < 20; trial++) {
        csl_dataset *pool = loose_pool(10, between(300, 900), CSL_U8);
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_SHARDS, 8);
        options.split.shards_each = 2;
        csl_partition_plan *one = deal(pool, &options);
        options.seed = csl_test_random();
        csl_partition_plan *other = deal(pool, &options);
        different += apart(pool, one, other) > pool->count / 3;
        csl_partition_plan_destroy(other);
        csl_partition_plan_destroy(one);
        csl_dataset_destroy(pool);
    }
    CU_ASSERT(different > 15);
}

/* However much is held out, and be it the only image of its class. */
static void every_class_that_an_institution_has_trains(void)
{
    uint64_t alone = 0;
    for (int trial = 0; trial < 20; trial++) {
        csl_dataset *pool = loose_pool(10, 120, CSL_U8);
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_DIRICHLET, 5);
        options.split.alpha = 0.5;
        options.split.validation_fraction = 0.5;
        options.split.test_fraction = 0.4;
        csl_partition_plan *plan = deal(pool, &options);
        for (uint32_t j = 0; j < plan->institution_count; j++) {
            for (int k = 0; k < (int)pool->class_count; k++) {
                uint64_t count = held(pool, plan, j, k, -1);
                alone += count == 1;
                CU_ASSERT(count == 0 || held(pool, plan, j, k, CSL_SPLIT_TRAIN) > 0);
            }
        }
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
    CU_ASSERT(alone > 0);
}

static void sizes_follow_their_distributions_and_labels_chance(void)
{
    uint32_t n = between(2, 5);
    moments share = {0}, ratio = {0};
    double alpha = 1.0 + 2.0 * csl_test_uniform(), sigma = 0.2 + 0.4 * csl_test_uniform();
    for (int trial = 0; trial < 800; trial++) {
        csl_dataset *pool = loose_pool(3, 3000, CSL_U8);
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_QUANTITY_DIRICHLET, n);
        options.split.alpha = alpha;
        csl_partition_plan *plan = deal(pool, &options);
        add_moment(&share, (double)held(pool, plan, (uint32_t)trial % n, -1, -1) / 3000.0);
        if (trial < 5) {
            check_labels_by_chance(pool, plan);
        }
        csl_partition_plan_destroy(plan);
        options.split.scheme = CSL_SPLIT_SCHEME_QUANTITY_LOGNORMAL;
        options.split.sigma = sigma;
        plan = deal(pool, &options);
        add_moment(&ratio,
                   log((double)held(pool, plan, 0, -1, -1) / (double)held(pool, plan, 1, -1, -1)));
        csl_partition_plan_destroy(plan);
        if (trial < 5) {
            options.split.sigma = 0.0;
            plan = deal(pool, &options);
            check_equal_sizes(pool, plan);
            csl_partition_plan_destroy(plan);
        }
        csl_dataset_destroy(pool);
    }
    double mean = 1.0 / n;
    check_moments(&share, mean, mean * (1.0 - mean) / (n * alpha + 1.0), "dirichlet size");
    check_moments(&ratio, 0.0, 2.0 * sigma * sigma, "log ratio of two log-normal sizes");
}

/* Size of institution i of 1..N proportional to i, to i^2, to e^i; labels by chance. */
static void sizes_follow_their_laws(void)
{
    for (int trial = 0; trial < 21; trial++) {
        csl_dataset *pool = loose_pool(3, between(500, 900), CSL_U8);
        uint32_t n = between(2, 5);
        csl_split_scheme scheme = (csl_split_scheme)(CSL_SPLIT_SCHEME_QUANTITY_LINEAR + trial % 3);
        csl_partition_options options = options_for(scheme, n);
        csl_partition_plan *plan = deal(pool, &options);
        double law[COUNT_MAX], sum = 0.0;
        for (uint32_t j = 0; j < n; j++) {
            double i = j + 1.0;
            law[j] = scheme == CSL_SPLIT_SCHEME_QUANTITY_LINEAR   ? i
                     : scheme == CSL_SPLIT_SCHEME_QUANTITY_SQUARE ? i * i
                                                                  : exp(i);
            sum += law[j];
        }
        for (uint32_t j = 0; j < n; j++) {
            double expected = (double)pool->count * law[j] / sum;
            CU_ASSERT(fabs((double)held(pool, plan, j, -1, -1) - expected) <= 1.0);
        }
        check_labels_by_chance(pool, plan);
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* Where a law gives some institutions less than min_size, they get about that many and the others
 * keep their ratios; as many institutions as there are images for, and not one more. */
static void laws_keep_the_least_size(void)
{
    for (int trial = 0; trial < 21; trial++) {
        csl_split_scheme scheme = (csl_split_scheme)(CSL_SPLIT_SCHEME_QUANTITY_LINEAR + trial % 3);
        uint32_t n = between(12, 40);
        csl_dataset *pool = loose_pool(3, between(700, 900), CSL_U8);
        csl_partition_options options = options_for(scheme, n);
        options.split.min_size = between(10, 15);
        csl_partition_plan *plan = deal(pool, &options);
        for (uint32_t j = 0; j < n; j++) {
            CU_ASSERT(held(pool, plan, j, -1, -1) >= options.split.min_size);
            CU_ASSERT(j == 0 || held(pool, plan, j, -1, -1) + 2 >= held(pool, plan, j - 1, -1, -1));
        }
        double last = (double)held(pool, plan, n - 1, -1, -1);
        double next = (double)held(pool, plan, n - 2, -1, -1);
        double ratio = scheme == CSL_SPLIT_SCHEME_QUANTITY_LINEAR   ? n / (n - 1.0)
                       : scheme == CSL_SPLIT_SCHEME_QUANTITY_SQUARE ? pow(n / (n - 1.0), 2)
                                                                    : exp(1.0);
        CU_ASSERT(next <= options.split.min_size + 2.0 || fabs(last - ratio * next) <= 1 + ratio);
        csl_partition_plan_destroy(plan);
        options.institution_count = (uint32_t)(pool->count / options.split.min_size) + 1;
        CHECK_STATUS(csl_partition(pool, &options, &plan), CSL_E_RANGE);
        char most[64];
        snprintf(most, sizeof most, "at most %u institutions", options.institution_count - 1);
        CHECK_CONTAINS(csl_error_message(), most);
        options.institution_count--;
        plan = deal(pool, &options);
        csl_partition_plan_destroy(plan);
        options.institution_count = n / 2;
        options.split.validation_fraction = 0.1; /* taken from what is dealt */
        options.split.test_fraction = 0.2;
        plan = deal(pool, &options);
        for (uint32_t j = 0; j < n / 2; j++) {
            CU_ASSERT(held(pool, plan, j, -1, CSL_SPLIT_TRAIN) >= options.split.min_size);
        }
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* Equal sizes; m draws from shares of variance v = (1/K)(1 - 1/K)/(K alpha + 1) have variance
 * v (1 - 1/m) + (1/K)(1 - 1/K)/m. Of many institutions only the last to be filled meet exhausted
 * classes. */
static void each_institution_draws_its_mixture_of_classes(void)
{
    enum { N = 60, M = 50, TRIALS = 25 };
    moments found = {0};
    uint32_t class_count = between(3, 5);
    double alpha = 1.0 + 2.0 * csl_test_uniform(), mean = 1.0 / class_count;
    for (int trial = 0; trial < TRIALS; trial++) {
        csl_dataset *pool = loose_pool(class_count, N * M, CSL_U8);
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_DIRICHLET_INSTITUTION, N);
        options.split.alpha = alpha;
        csl_partition_plan *plan = deal(pool, &options);
        for (uint32_t j = 0; j < N; j++) {
            CHECK_U64(held(pool, plan, j, -1, -1), M);
            add_moment(&found, (double)held(pool, plan, j, (int)(j % class_count), -1) / M);
        }
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
    double once = mean * (1.0 - mean), shares = once / (class_count * alpha + 1.0);
    check_moments(&found, mean, shares * (1.0 - 1.0 / M) + once / M, "share of a mixture");
}

/* Mixtures that lie on one class each, fewer of them than classes: what nobody wants is dealt too.
 */
static void mixtures_end_when_their_classes_are_exhausted(void)
{
    for (int trial = 0; trial < 20; trial++) {
        csl_dataset *pool = loose_pool(between(2, 9), between(200, 900), CSL_U8);
        csl_partition_options options =
            options_for(CSL_SPLIT_SCHEME_DIRICHLET_INSTITUTION, between(1, 12));
        options.split.alpha = pow(10.0, -1.0 - 5.0 * csl_test_uniform());
        csl_partition_plan *plan = deal(pool, &options);
        check_equal_sizes(pool, plan);
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* Institution i of N: iid, then noise of standard deviation sigma i / (N - 1) of the range. */
static void noise_grows_with_the_institution(void)
{
    uint32_t n = between(2, 5);
    csl_dataset *pool = loose_pool(2, 1500, CSL_F32);
    size_t voxels = csl_shape_count(pool->shape);
    for (size_t i = 0; i < pool->count * voxels; i++) { /* the range of every part is 1 */
        ((float *)pool->images)[i] = (float)(csl_test_random() & 1);
    }
    csl_partition_options options = options_for(CSL_SPLIT_SCHEME_FEATURE_NOISE, n);
    options.split.sigma = 0.05 + 0.3 * csl_test_uniform();
    csl_partition_plan *plan = deal(pool, &options);
    check_equal_sizes(pool, plan);
    check_labels_by_chance(pool, plan);
    for (uint32_t j = 0; j < n; j++) {
        csl_dataset *part = NULL;
        moments noise = {0};
        CHECK_OK(csl_partition_extract(pool, plan, j, &part));
        uint64_t row = 0;
        for (uint64_t i = 0; part && i < pool->count; i++) {
            for (size_t v = 0; plan->institution[i] == j && v < voxels; v++) {
                add_moment(&noise, (double)((const float *)part->images)[row * voxels + v] -
                                       (double)((const float *)pool->images)[i * voxels + v]);
            }
            row += plan->institution[i] == j;
        }
        double deviation = options.split.sigma * j / (n - 1);
        check_moments(&noise, 0.0, deviation * deviation, "noise");
        csl_dataset_destroy(part);
    }
    csl_partition_plan_destroy(plan);
    csl_dataset_destroy(pool);
}

static double property_of(const csl_dataset *pool, uint64_t image)
{
    if (pool->scanner) {
        return pool->scanner[image];
    }
    size_t voxels = csl_shape_count(pool->shape);
    double sum = 0.0;
    for (size_t v = 0; v < voxels; v++) {
        sum += ((const uint8_t *)pool->images)[image * voxels + v];
    }
    return sum;
}

static void feature_scanner_sorts_by_scanner_or_intensity(void)
{
    for (int trial = 0; trial < 12; trial++) {
        csl_dataset *pool = loose_pool(3, between(100, 500), CSL_U8);
        if (trial & 1) {
            pool->scanner = calloc((size_t)pool->count, sizeof *pool->scanner);
            for (uint64_t i = 0; i < pool->count; i++) {
                pool->scanner[i] = (uint16_t)between(0, 20);
            }
        }
        csl_partition_options options =
            options_for(CSL_SPLIT_SCHEME_FEATURE_SCANNER, between(2, 6));
        csl_partition_plan *plan = deal(pool, &options);
        check_equal_sizes(pool, plan);
        uint64_t disorder = 0;
        for (uint64_t a = 0; a < pool->count; a++) {
            for (uint64_t b = 0; b < pool->count; b++) {
                disorder += plan->institution[a] < plan->institution[b] &&
                            property_of(pool, a) > property_of(pool, b);
            }
        }
        CHECK_U64(disorder, 0);
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* With a normal property, b = s z + (1 - s) e is normal too, and its correlation with z is
 * r = s / sqrt(s^2 + (1 - s)^2). The institution's rank u is the distribution function of b, of
 * which E[z u] = r / (2 sqrt(pi)) (Stein's lemma). */
static void feature_scanner_blends_with_chance(void)
{
    enum { N = 50, IMAGES = 20000 };
    const double strengths[] = {0.0, 0.2 + 0.6 * csl_test_uniform(), 0.999999};
    for (size_t trial = 0; trial < sizeof strengths / sizeof *strengths; trial++) {
        csl_dataset *pool = loose_pool(2, IMAGES, CSL_U8);
        double s = strengths[trial], product = 0.0;
        pool->scanner = calloc(IMAGES, sizeof *pool->scanner);
        for (uint64_t i = 0; i < IMAGES; i++) {
            pool->scanner[i] = (uint16_t)(30000.0 + 5000.0 * csl_test_normal());
        }
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_FEATURE_SCANNER, N);
        options.split.strength = s;
        csl_partition_plan *plan = deal(pool, &options);
        check_equal_sizes(pool, plan);
        for (uint64_t i = 0; i < IMAGES; i++) {
            double z = (pool->scanner[i] - 30000.0) / 5000.0;
            product += z * ((plan->institution[i] + 0.5) / N - 0.5);
        }
        double found = 2.0 * sqrt(acos(-1.0)) * product / IMAGES, expected = s / hypot(s, 1.0 - s);
        printf("strength %.3f: correlation %.4f (%.4f)\n", s, found, expected);
        CHECK_NEAR(found, expected, 0.05); /* standard error 0.007 */
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* S sites in the order of their numbers; the s-th of them goes to institution floor(s N / S). */
static void natural_merges_surplus_sites_in_order(void)
{
    for (int trial = 0; trial < 12; trial++) {
        uint32_t site_count = between(2, 30), n = between(1, site_count);
        csl_dataset *pool = loose_pool(2, between(400, 600), CSL_U8);
        int32_t first = (int32_t)between(0, 1000) - 500, step = (int32_t)between(1, 9);
        pool->group = calloc((size_t)pool->count, sizeof *pool->group);
        for (uint64_t i = 0; i < pool->count; i++) {
            uint32_t site = i < site_count ? (uint32_t)i : between(0, site_count - 1);
            pool->group[i] = first + step * (int32_t)site;
        }
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_NATURAL, n);
        csl_partition_plan *plan = deal(pool, &options);
        for (uint64_t i = 0; i < pool->count; i++) {
            uint32_t site = (uint32_t)((pool->group[i] - first) / step);
            CHECK_U64(plan->institution[i], site * n / site_count);
        }
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* Validation and test images of a class are shared as its training images were. */
static void held_out_images_follow_the_training_shares(void)
{
    for (int trial = 0; trial < 12; trial++) {
        csl_dataset *pool = loose_pool(between(2, 6), between(500, 900), CSL_U8);
        for (uint64_t i = 0; i < pool->count; i++) {
            pool->split[i] = (uint8_t)between(0, 2);
        }
        csl_partition_options options = options_for(CSL_SPLIT_SCHEME_DIRICHLET, between(2, 6));
        csl_partition_plan *plan = deal(pool, &options);
        for (int split = 0; split < 3; split++) {
            for (int k = 0; k < (int)pool->class_count; k++) {
                double training = 0.0, all = 0.0;
                for (uint32_t j = 0; j < plan->institution_count; j++) {
                    training += (double)held(pool, plan, j, k, 0);
                    all += (double)held(pool, plan, j, k, split);
                }
                for (uint32_t j = 0; j < plan->institution_count; j++) {
                    double share = (double)held(pool, plan, j, k, 0) / training;
                    CU_ASSERT(fabs((double)held(pool, plan, j, k, split) - share * all) <= 1.0);
                }
            }
        }
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

/* Lin 1991: JS = H((p + q) / 2) - (H(p) + H(q)) / 2 in bits; another form than the code's. */
static double entropy(const double *p, uint32_t count)
{
    double sum = 0.0;
    for (uint32_t k = 0; k < count; k++) {
        sum -= p[k] > 0.0 ? p[k] * log2(p[k]) : 0.0;
    }
    return sum;
}

static void check_summary(const csl_dataset *pool, const csl_partition_plan *plan, uint32_t j)
{
    csl_partition_summary summary;
    double p[COUNT_MAX] = {0}, q[COUNT_MAX] = {0}, middle[COUNT_MAX], apart = 0.0;
    double size = (double)held(pool, plan, j, -1, -1);
    CHECK_OK(csl_partition_summarise(pool, plan, j, &summary));
    for (uint32_t k = 0; k < pool->class_count; k++) {
        CHECK_U64(summary.class_size[k], held(pool, plan, j, (int)k, -1));
        p[k] = (double)held(pool, plan, j, (int)k, -1) / size;
        q[k] = (double)of_class(pool, (int)k) / (double)pool->count;
        middle[k] = 0.5 * (p[k] + q[k]);
        apart += fabs(p[k] - q[k]);
    }
    for (int split = 0; split < 3; split++) {
        CHECK_U64(summary.size[split], held(pool, plan, j, -1, split));
    }
    double divergence = entropy(middle, pool->class_count) -
                        0.5 * (entropy(p, pool->class_count) + entropy(q, pool->class_count));
    CHECK_NEAR(summary.jensen_shannon, divergence, 1e-12);
    CHECK_NEAR(summary.earth_mover, 0.5 * apart, 1e-12);
}

static void the_report_holds_what_its_definitions_say(void)
{
    for (int trial = 0; trial < 12; trial++) {
        csl_dataset *pool = loose_pool(between(2, 9), between(300, 900), CSL_U8);
        for (uint64_t i = 0; i < pool->count; i++) {
            pool->split[i] = (uint8_t)between(0, 2);
        }
        csl_partition_options options =
            options_for((csl_split_scheme)(trial % CSL_SPLIT_SCHEME_FEATURE_NOISE), between(2, 6));
        options.split.alpha = 1.0;
        csl_partition_plan *plan = deal(pool, &options);
        double squares = 0.0;
        for (uint32_t j = 0; j < plan->institution_count; j++) {
            double size = (double)held(pool, plan, j, -1, -1);
            squares += size * size;
            check_summary(pool, plan, j);
        }
        CHECK_NEAR(csl_partition_effective_count(plan),
                   (double)pool->count * (double)pool->count / squares, 1e-9);
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"iid cuts equally and by chance", iid_cuts_equally_and_by_chance},
        {"Dirichlet shares have the moments of the distribution",
         dirichlet_shares_have_the_moments_of_the_distribution},
        {"balancing gives nothing to who has enough", balancing_gives_nothing_to_who_has_enough},
        {"label quantity gives each its classes in equal parts",
         label_quantity_gives_each_its_classes_in_equal_parts},
        {"shards are intervals of the sorted pool", shards_are_intervals_of_the_sorted_pool},
        {"shards are dealt at random", shards_are_dealt_at_random},
        {"every class that an institution has trains", every_class_that_an_institution_has_trains},
        {"sizes follow their distributions, labels chance",
         sizes_follow_their_distributions_and_labels_chance},
        {"sizes follow their laws", sizes_follow_their_laws},
        {"laws keep the least size", laws_keep_the_least_size},
        {"each institution draws its mixture of classes",
         each_institution_draws_its_mixture_of_classes},
        {"mixtures end when their classes are exhausted",
         mixtures_end_when_their_classes_are_exhausted},
        {"noise grows with the institution", noise_grows_with_the_institution},
        {"feature-scanner sorts by scanner or intensity",
         feature_scanner_sorts_by_scanner_or_intensity},
        {"feature-scanner blends with chance", feature_scanner_blends_with_chance},
        {"natural merges surplus sites in order", natural_merges_surplus_sites_in_order},
        {"held-out images follow the training shares", held_out_images_follow_the_training_shares},
        {"the report holds what its definitions say", the_report_holds_what_its_definitions_say},
    };
    return csl_test_main("partition schemes", cases, sizeof cases / sizeof *cases);
}
