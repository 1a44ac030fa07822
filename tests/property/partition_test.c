/* Partitions of random data sets keep their promises, whatever the scheme. */
#include <consilium/partition.h>
#include <consilium/phantom.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random_dataset.h"
#include "test_support.h"

static csl_dataset *random_pool(void)
{
    csl_shape shape = {{1, 2, 3}, 1};
    csl_dataset *pool = csl_test_random_dataset(CSL_TASK_MULTICLASS, shape, CSL_U8,
                                                2 + (uint32_t)(csl_test_random() % 9),
                                                300 + csl_test_random() % 700);
    for (uint64_t i = 0; i < pool->count; i++) { /* a subject lies in one split and at one site */
        pool->split[i] = pool->subject[i] % 10 < 7 ? 0 : pool->subject[i] % 10 < 8 ? 1 : 2;
    }
    if (csl_test_random() & 1) {
        memset(pool->split, 0, (size_t)pool->count);
    }
    if (csl_test_random() & 1) {
        free(pool->subject);
        pool->subject = NULL;
        for (uint64_t i = 0; i < pool->count; i++) {
            pool->group[i] = (int32_t)(i / 3);
            pool->split[i] = pool->split[0] ? (uint8_t)(i / 3 % 3) : 0;
        }
    }
    return pool;
}

static csl_partition_options random_options(csl_split_scheme scheme)
{
    csl_partition_options options;
    csl_partition_defaults(&options);
    options.split.scheme = scheme;
    options.split.alpha = 0.3 + 3.0 * csl_test_uniform();
    options.split.min_size = 1;
    options.institution_count = 2 + (uint32_t)(csl_test_random() % 5);
    options.seed = csl_test_random();
    options.split.holdout = csl_test_random() & 1 ? CSL_HOLDOUT_REDRAW : CSL_HOLDOUT_KEEP;
    return options;
}

static uint64_t key_of(const csl_dataset *pool, uint64_t i)
{
    return pool->subject ? pool->subject[i] : (uint64_t)pool->group[i];
}

static void check_units_whole(const csl_dataset *pool, const csl_partition_plan *plan)
{
    int broken = 0;
    for (uint64_t i = 0; i < pool->count; i++) {
        broken += plan->institution[i] >= plan->institution_count;
        for (uint64_t j = i + 1; j < pool->count; j++) {
            if (key_of(pool, i) == key_of(pool, j)) {
                broken += plan->institution[i] != plan->institution[j] ||
                          plan->split[i] != plan->split[j];
            }
        }
    }
    CHECK_U64((uint64_t)broken, 0);
}

static void check_extraction(const csl_dataset *pool, const csl_partition_plan *plan)
{
    uint64_t total = 0;
    for (uint32_t j = 0; j < plan->institution_count; j++) {
        csl_dataset *part = NULL;
        csl_partition_summary summary;
        CHECK_OK(csl_partition_extract(pool, plan, j, &part));
        CHECK_OK(csl_partition_summarise(pool, plan, j, &summary));
        CU_ASSERT_PTR_NOT_NULL_FATAL(part);
        CHECK_U64(part->count, summary.size[0] + summary.size[1] + summary.size[2]);
        CHECK_U64(csl_dataset_split_count(part, CSL_SPLIT_TRAIN), summary.size[0]);
        CU_ASSERT(summary.size[0] >= 1);
        CU_ASSERT(summary.jensen_shannon >= -1e-12 && summary.jensen_shannon <= 1.0 + 1e-12);
        CU_ASSERT(summary.earth_mover >= 0.0 && summary.earth_mover <= 1.0);
        total += part->count;
        csl_dataset_destroy(part);
    }
    CHECK_U64(total, pool->count);
    double effective = csl_partition_effective_count(plan);
    CU_ASSERT(effective >= 1.0 - 1e-9 && effective <= plan->institution_count + 1e-9);
}

static void every_scheme_keeps_units_whole_and_loses_nothing(void)
{
    for (int trial = 0; trial < 60; trial++) {
        csl_split_scheme scheme = (csl_split_scheme)(trial % CSL_SPLIT_SCHEME_NATURAL);
        csl_dataset *pool = random_pool();
        csl_partition_options options = random_options(scheme);
        csl_partition_plan *plan = NULL, *again = NULL;
        csl_status status = csl_partition(pool, &options, &plan);
        if (status != CSL_OK) { /* allowed only as the documented refusal of an unlucky draw */
            CHECK_STATUS(status, CSL_E_RANGE);
            CHECK_CONTAINS(csl_error_message(), "min_size");
        } else {
            check_units_whole(pool, plan);
            check_extraction(pool, plan);
            CHECK_OK(csl_partition(pool, &options, &again));
            CU_ASSERT(memcmp(plan->institution, again->institution, pool->count * 4) == 0);
            CU_ASSERT(memcmp(plan->split, again->split, pool->count) == 0);
            for (uint64_t i = 0; options.split.holdout == CSL_HOLDOUT_KEEP && i < pool->count;
                 i++) {
                bool has_splits = csl_dataset_split_count(pool, CSL_SPLIT_TEST) != 0 &&
                                  csl_dataset_split_count(pool, CSL_SPLIT_VALIDATION) != 0;
                CU_ASSERT(!has_splits || plan->split[i] == pool->split[i]);
            }
        }
        csl_partition_plan_destroy(again);
        csl_partition_plan_destroy(plan);
        csl_dataset_destroy(pool);
    }
}

static csl_dataset *phantoms(uint64_t count)
{
    csl_phantom_options options;
    csl_phantom_defaults(&options);
    options.count = count;
    options.size = 16;
    options.class_count = 4;
    csl_dataset *pool = NULL;
    CHECK_OK(csl_phantom_create(&options, &pool));
    return pool;
}

static void natural_gives_each_site_to_one_institution(void)
{
    csl_dataset *pool = phantoms(600);
    csl_partition_options options = random_options(CSL_SPLIT_SCHEME_NATURAL);
    options.institution_count = 8;
    options.split.holdout = CSL_HOLDOUT_KEEP;
    csl_partition_plan *plan = NULL;
    CHECK_OK(csl_partition(pool, &options, &plan));
    for (uint64_t i = 0; plan && i < pool->count; i++) {
        CHECK_U64(plan->institution[i], (uint64_t)pool->group[i]);
    }
    csl_partition_plan_destroy(plan);
    options.institution_count = 9;
    CHECK_STATUS(csl_partition(pool, &options, &plan), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "9 sites, found 8");
    csl_dataset_destroy(pool);
}

static double mean_divergence(const csl_dataset *pool, csl_split_scheme scheme, double alpha)
{
    csl_partition_options options = random_options(scheme);
    options.institution_count = 4;
    options.split.alpha = alpha;
    csl_partition_plan *plan = NULL;
    CHECK_OK(csl_partition(pool, &options, &plan));
    double sum = 0.0;
    for (uint32_t j = 0; plan && j < 4; j++) {
        csl_partition_summary summary;
        CHECK_OK(csl_partition_summarise(pool, plan, j, &summary));
        sum += summary.jensen_shannon / 4;
    }
    csl_partition_plan_destroy(plan);
    return sum;
}

static void label_skew_grows_as_alpha_falls(void)
{
    csl_dataset *pool = phantoms(1200);
    double iid = mean_divergence(pool, CSL_SPLIT_SCHEME_IID, 1.0);
    double mild = mean_divergence(pool, CSL_SPLIT_SCHEME_DIRICHLET_BALANCED, 100.0);
    double strong = mean_divergence(pool, CSL_SPLIT_SCHEME_DIRICHLET, 0.2);
    double shards = mean_divergence(pool, CSL_SPLIT_SCHEME_SHARDS, 1.0);
    printf("divergence from the pool: iid %.4f, alpha 100 %.4f, alpha 0.2 %.4f, shards %.4f\n", iid,
           mild, strong, shards);
    CU_ASSERT(iid < 0.03 && mild < 0.05 && strong > 0.05 && shards > 0.1);
    csl_dataset_destroy(pool);
}

static void impossible_sizes_end_with_a_message(void)
{
    csl_dataset *pool = phantoms(60);
    csl_partition_plan *plan = NULL;
    for (int scheme = 0; scheme < CSL_SPLIT_SCHEME_NATURAL; scheme++) {
        csl_partition_options options = random_options((csl_split_scheme)scheme);
        options.split.min_size = 50;
        CHECK_STATUS(csl_partition(pool, &options, &plan), CSL_E_RANGE);
        CHECK_CONTAINS(csl_error_message(), "at least 50 training images");
        CU_ASSERT_PTR_NULL(plan);
    }
    csl_dataset_destroy(pool);
}

static void a_subject_in_two_splits_is_refused_unless_forced(void)
{
    csl_dataset *pool = phantoms(100);
    csl_partition_options options = random_options(CSL_SPLIT_SCHEME_IID);
    options.split.holdout = CSL_HOLDOUT_KEEP;
    csl_partition_plan *plan = NULL;
    for (uint64_t i = 0; i < pool->count; i++) {
        pool->subject[i] = 42;
        pool->split[i] = (uint8_t)(i % 3);
    }
    CHECK_STATUS(csl_partition(pool, &options, &plan), CSL_E_RANGE);
    CHECK_CONTAINS(csl_error_message(), "lies in two splits");
    options.split.force = true;
    CHECK_OK(csl_partition(pool, &options, &plan));
    CU_ASSERT(plan && plan->groups_broken);
    csl_partition_plan_destroy(plan);
    csl_dataset_destroy(pool);
}

/* A shard has an image at least. */
static void more_shards_than_images_are_refused(void)
{
    csl_dataset *pool = phantoms(100);
    csl_partition_options options = random_options(CSL_SPLIT_SCHEME_SHARDS);
    csl_partition_plan *plan = NULL;
    uint64_t training = csl_dataset_split_count(pool, CSL_SPLIT_TRAIN);
    options.split.holdout = CSL_HOLDOUT_KEEP;
    options.institution_count = 4;
    options.split.shards_each = (uint32_t)training / 4 + 1;
    CHECK_STATUS(csl_partition(pool, &options, &plan), CSL_E_RANGE);
    char expected[128];
    snprintf(expected, sizeof expected, "each of the %u training images, found %u: 4 institutions",
             (unsigned)training, 4 * options.split.shards_each);
    CHECK_CONTAINS(csl_error_message(), expected);
    options.split.shards_each = (uint32_t)training / 4;
    CHECK_OK(csl_partition(pool, &options, &plan));
    csl_partition_plan_destroy(plan);
    csl_dataset_destroy(pool);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"every scheme keeps units whole and loses nothing",
         every_scheme_keeps_units_whole_and_loses_nothing},
        {"natural gives each site to one institution", natural_gives_each_site_to_one_institution},
        {"label skew grows as alpha falls", label_skew_grows_as_alpha_falls},
        {"impossible sizes end with a message", impossible_sizes_end_with_a_message},
        {"a subject in two splits is refused unless forced",
         a_subject_in_two_splits_is_refused_unless_forced},
        {"more shards than images are refused", more_shards_than_images_are_refused},
    };
    return csl_test_main("partitions", cases, sizeof cases / sizeof *cases);
}
