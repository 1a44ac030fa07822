#include "partition_units.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* One draw of a scheme; definitions and their sources are in docs/FORMATS.md. */
typedef struct deal_state {
    csl_units *units;
    const csl_partition_options *options;
    uint32_t attempt;
    uint64_t *order; /* the units being dealt */
    uint64_t order_count;
    uint64_t image_count;
    double *shares; /* [institutions] scratch */
    uint64_t *held; /* [institutions] images dealt so far */
} deal_state;

static csl_random stream(const deal_state *deal, uint32_t index)
{
    return csl_random_stream(deal->options->seed, CSL_RANDOM_PARTITION, deal->attempt, index);
}

void csl_units_cut(csl_units *units,
                   const uint64_t *order,
                   uint64_t order_count,
                   const double *shares,
                   uint32_t institution_count)
{
    uint64_t total = 0, before = 0;
    for (uint64_t i = 0; i < order_count; i++) {
        total += units->units[order[i]].count;
    }
    uint32_t institution = 0;
    double boundary = shares[0] * (double)total;
    for (uint64_t i = 0; i < order_count; i++) {
        csl_unit *unit = &units->units[order[i]];
        /* a unit belongs where its middle lies */
        double middle = (double)before + 0.5 * (double)unit->count;
        while (institution + 1 < institution_count &&
               (middle > boundary || shares[institution] <= 0)) {
            boundary += shares[++institution] * (double)total;
        }
        unit->institution = institution;
        before += unit->count;
    }
    /* rounding may leave the last units past the last boundary at one with no share */
    for (uint64_t i = order_count; i-- > 0 && shares[units->units[order[i]].institution] <= 0;) {
        uint32_t last = institution_count - 1;
        while (last > 0 && shares[last] <= 0) {
            last--;
        }
        units->units[order[i]].institution = last;
    }
}

static void set_equal(double *shares, uint32_t count)
{
    for (uint32_t j = 0; j < count; j++) {
        shares[j] = 1.0 / count;
    }
}

/* Moves the units of one stratum to the front of a fresh list; returns how many there are. */
static uint64_t pick(const deal_state *deal, uint32_t stratum, uint64_t *list_out)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < deal->order_count; i++) {
        if (deal->units->units[deal->order[i]].stratum == stratum) {
            list_out[count++] = deal->order[i];
        }
    }
    return count;
}

static void deal_by_shares(deal_state *deal)
{
    csl_random random = stream(deal, UINT32_MAX);
    csl_random_shuffle(&random, deal->order, (size_t)deal->order_count);
    csl_units_cut(deal->units, deal->order, deal->order_count, deal->shares,
                  deal->options->institution_count);
}

/* Size of institution j of `count` up to a factor that is the same for all. */
static double
relative_size(const csl_study_split *split, uint32_t j, uint32_t count, csl_random *random)
{
    double i = (double)j + 1.0;
    switch (split->scheme) {
    case CSL_SPLIT_SCHEME_QUANTITY_LINEAR:
        return i;
    case CSL_SPLIT_SCHEME_QUANTITY_SQUARE:
        return i * i;
    case CSL_SPLIT_SCHEME_QUANTITY_EXPONENTIAL:
        return csl_exact_exp(i - (double)count); /* e^i overflows for hundreds of institutions */
    default:                                     /* log-normal */
        return csl_exact_exp(split->sigma * csl_random_normal(random));
    }
}

/* Share of the dealt images that stay for training where the pool lacks splits. */
static double kept_share(const deal_state *deal)
{
    const csl_study_split *split = &deal->options->split;
    double validation = split->validation_fraction, test = split->test_fraction;
    for (uint64_t u = 0; u < deal->units->count; u++) {
        validation = deal->units->units[u].split == CSL_SPLIT_VALIDATION ? 0.0 : validation;
        test = deal->units->units[u].split == CSL_SPLIT_TEST ? 0.0 : test;
    }
    return 1.0 - validation - test;
}

static uint64_t largest_unit(const deal_state *deal)
{
    uint64_t largest = 1;
    for (uint64_t i = 0; i < deal->order_count; i++) {
        uint64_t count = deal->units->units[deal->order[i]].count;
        largest = count > largest ? count : largest;
    }
    return largest;
}

/* Lifts shares below `least` to it and shrinks the others in proportion, until none is below; there
 * must be enough for all. */
static void lift_shares(double *shares, uint32_t count, double least)
{
    uint32_t lifted = 0;
    for (uint32_t before = count; before != lifted;) {
        before = lifted;
        lifted = 0;
        double rest = 0.0; /* of those above */
        for (uint32_t j = 0; j < count; j++) {
            lifted += shares[j] <= least;
            rest += shares[j] > least ? shares[j] : 0.0;
        }
        for (uint32_t j = 0; j < count; j++) {
            shares[j] = shares[j] <= least ? least : shares[j] / rest * (1.0 - lifted * least);
        }
    }
}

/* A law of sizes is no draw: repeated, it would leave the same institutions below min_size. They
 * are lifted to it, and with each attempt by half a unit more, since units are not divided. */
static csl_status keep_min_size(deal_state *deal)
{
    uint32_t count = deal->options->institution_count;
    uint32_t min_size = deal->options->split.min_size;
    double least = (min_size ? min_size : 1) / kept_share(deal);
    double most = floor((double)deal->image_count / least);
    if (most < count) {
        return csl_fail(CSL_E_RANGE,
                        "scheme %s: expected at least %u training images at each of %u "
                        "institutions (min_size), the %" PRIu64
                        " images that are dealt suffice for at most %.0f institutions",
                        csl_partition_scheme_name(deal->options->split.scheme), min_size, count,
                        deal->image_count, most);
    }
    least += 0.5 * (deal->attempt - 1) * (double)largest_unit(deal);
    lift_shares(deal->shares, count, fmin(least / (double)deal->image_count, 1.0 / count));
    return CSL_OK;
}

static bool is_law(csl_split_scheme scheme)
{
    return scheme == CSL_SPLIT_SCHEME_QUANTITY_LINEAR ||
           scheme == CSL_SPLIT_SCHEME_QUANTITY_SQUARE ||
           scheme == CSL_SPLIT_SCHEME_QUANTITY_EXPONENTIAL;
}

static void draw_sizes(deal_state *deal)
{
    uint32_t count = deal->options->institution_count;
    csl_random random = stream(deal, UINT32_MAX - 1);
    if (deal->options->split.scheme == CSL_SPLIT_SCHEME_QUANTITY_DIRICHLET) {
        csl_random_dirichlet(&random, deal->options->split.alpha, count, deal->shares);
    } else {
        double sum = 0.0;
        for (uint32_t j = 0; j < count; j++) {
            deal->shares[j] = relative_size(&deal->options->split, j, count, &random);
            sum += deal->shares[j];
        }
        for (uint32_t j = 0; j < count; j++) {
            deal->shares[j] /= sum;
        }
    }
}

/* FedLab's and NIID-Bench's balancing: who already holds its n/N share gets no more. */
static void balance(deal_state *deal)
{
    uint32_t count = deal->options->institution_count;
    double sum = 0.0;
    for (uint32_t j = 0; j < count; j++) {
        if ((double)deal->held[j] * count >= (double)deal->image_count) {
            deal->shares[j] = 0.0;
        }
        sum += deal->shares[j];
    }
    for (uint32_t j = 0; j < count && sum > 0.0; j++) {
        deal->shares[j] /= sum;
    }
    if (sum <= 0.0) {
        set_equal(deal->shares, count);
    }
}

static void deal_dirichlet(deal_state *deal, uint64_t *list)
{
    for (uint32_t stratum = 0; stratum < deal->units->stratum_count; stratum++) {
        csl_random random = stream(deal, stratum);
        uint64_t count = pick(deal, stratum, list);
        csl_random_shuffle(&random, list, (size_t)count);
        csl_random_dirichlet(&random, deal->options->split.alpha, deal->options->institution_count,
                             deal->shares);
        if (deal->options->split.scheme == CSL_SPLIT_SCHEME_DIRICHLET_BALANCED) {
            balance(deal);
        }
        csl_units_cut(deal->units, list, count, deal->shares, deal->options->institution_count);
        for (uint64_t i = 0; i < count; i++) {
            const csl_unit *unit = &deal->units->units[list[i]];
            deal->held[unit->institution] += unit->count;
        }
    }
}

/* Class of the next unit of an institution whose mixture is `mixture`, among classes with units
 * left (their number `left`): the definition redraws exhausted classes, which is to draw from what
 * remains of the mixture. A mixture that lies on exhausted classes alone gives the last other. */
static uint32_t
draw_class(const double *mixture, const uint64_t *left, uint32_t strata, double uniform)
{
    double sum = 0.0, passed = 0.0;
    uint32_t chosen = strata;
    for (uint32_t k = 0; k < strata; k++) {
        sum += left[k] ? mixture[k] : 0.0;
    }
    for (uint32_t k = 0; k < strata; k++) {
        if (left[k] && (chosen == strata || passed <= uniform * sum)) {
            chosen = k;
        }
        passed += left[k] ? mixture[k] : 0.0;
    }
    return chosen;
}

typedef struct mixture_state {
    double *mixtures; /* [institutions][strata] */
    uint64_t *first;  /* [strata] where a class begins in the list of units */
    uint64_t *left;   /* [strata] units of a class not yet dealt */
    uint32_t *open;   /* institutions that are not full */
} mixture_state;

static void deal_mixtures(deal_state *deal, uint64_t *list, const mixture_state *state)
{
    uint32_t strata = deal->units->stratum_count, count = deal->options->institution_count;
    uint64_t listed = 0;
    for (uint32_t j = 0; j < count; j++) {
        csl_random random = stream(deal, j);
        csl_random_dirichlet(&random, deal->options->split.alpha, strata,
                             state->mixtures + (size_t)j * strata);
        state->open[j] = j;
    }
    for (uint32_t k = 0; k < strata; k++) {
        csl_random random = stream(deal, count + 1 + k);
        state->first[k] = listed;
        state->left[k] = pick(deal, k, list + listed);
        csl_random_shuffle(&random, list + listed, (size_t)state->left[k]);
        listed += state->left[k];
    }
    csl_random random = stream(deal, count);
    uint32_t open_count = count;
    for (uint64_t i = 0; i < listed; i++) { /* sizes sum to all images: one is open to the end */
        uint64_t at = csl_random_below(&random, open_count);
        uint32_t j = state->open[at];
        uint32_t k = draw_class(state->mixtures + (size_t)j * strata, state->left, strata,
                                csl_random_uniform(&random));
        csl_unit *unit = &deal->units->units[list[state->first[k] + --state->left[k]]];
        unit->institution = j;
        deal->held[j] += unit->count;
        uint64_t size = deal->image_count / count + (j < deal->image_count % count);
        if (deal->held[j] >= size && open_count > 1) {
            state->open[at] = state->open[--open_count];
        }
    }
}

/* FedDyn's split (Acar et al. 2021): equal sizes, and a mixture of classes for each institution. */
static csl_status deal_dirichlet_institution(deal_state *deal, uint64_t *list)
{
    uint32_t strata = deal->units->stratum_count, count = deal->options->institution_count;
    mixture_state state = {.mixtures = calloc((size_t)count * strata, sizeof *state.mixtures),
                           .first = calloc(strata, sizeof *state.first),
                           .left = calloc(strata, sizeof *state.left),
                           .open = calloc(count, sizeof *state.open)};
    csl_status status = CSL_OK;
    if (state.mixtures && state.first && state.left && state.open) {
        deal_mixtures(deal, list, &state);
    } else {
        status = csl_fail(CSL_E_NO_MEMORY, "no memory to partition");
    }
    free(state.open);
    free(state.left);
    free(state.first);
    free(state.mixtures);
    return status;
}

/* owns: [institutions][strata]. Institution i owns class i mod K and labels_each - 1 others; a
 * class nobody owns (fewer institutions than classes) goes to the next institution in turn, so that
 * no class vanishes. */
static void choose_owners(const deal_state *deal, uint8_t *owns)
{
    uint32_t strata = deal->units->stratum_count, count = deal->options->institution_count;
    for (uint32_t j = 0; j < count; j++) {
        csl_random random = stream(deal, j);
        uint64_t others[CSL_CLASSES_MAX + 1];
        uint32_t other_count = 0;
        owns[(size_t)j * strata + j % strata] = 1;
        for (uint32_t k = 0; k < strata; k++) {
            if (k != j % strata) {
                others[other_count++] = k;
            }
        }
        csl_random_shuffle(&random, others, other_count);
        for (uint32_t i = 0; i + 1 < deal->options->split.labels_each && i < other_count; i++) {
            owns[(size_t)j * strata + others[i]] = 1;
        }
    }
    for (uint32_t k = count, next = 0; k < strata; k++) {
        bool owned = false;
        for (uint32_t j = 0; j < count; j++) {
            owned = owned || owns[(size_t)j * strata + k];
        }
        if (!owned) {
            owns[(size_t)(next++ % count) * strata + k] = 1;
        }
    }
}

static csl_status deal_label_quantity(deal_state *deal, uint64_t *list)
{
    uint32_t strata = deal->units->stratum_count, count = deal->options->institution_count;
    uint8_t *owns = calloc((size_t)count, strata);
    if (!owns) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory to partition");
    }
    choose_owners(deal, owns);
    for (uint32_t k = 0; k < strata; k++) {
        csl_random random = stream(deal, count + k);
        uint64_t unit_count = pick(deal, k, list);
        uint32_t owner_count = 0;
        for (uint32_t j = 0; j < count; j++) {
            owner_count += owns[(size_t)j * strata + k];
        }
        for (uint32_t j = 0; j < count; j++) {
            deal->shares[j] = owns[(size_t)j * strata + k] ? 1.0 / owner_count : 0.0;
        }
        csl_random_shuffle(&random, list, (size_t)unit_count);
        csl_units_cut(deal->units, list, unit_count, deal->shares, count);
    }
    free(owns);
    return CSL_OK;
}

/* Sorted by class, cut into institutions x shards_each pieces of equal size, dealt at random. */
static csl_status deal_shards(deal_state *deal, uint64_t *list)
{
    uint32_t count = deal->options->institution_count;
    uint64_t shard_count = (uint64_t)count * deal->options->split.shards_each;
    if (shard_count > deal->image_count) {
        return csl_fail(CSL_E_RANGE,
                        "scheme shards: expected at most one shard for each of the %" PRIu64
                        " training images, found %" PRIu64 ": %u institutions of %u each "
                        "(shards_each)",
                        deal->image_count, shard_count, count, deal->options->split.shards_each);
    }
    uint64_t *owner = calloc((size_t)shard_count, sizeof *owner);
    if (!owner) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %" PRIu64 " shards", shard_count);
    }
    csl_random random = stream(deal, 0);
    csl_random_permutation(&random, (size_t)shard_count, owner);
    uint64_t before = 0;
    for (uint32_t k = 0; k < deal->units->stratum_count; k++) {
        uint64_t unit_count = pick(deal, k, list);
        csl_random_shuffle(&random, list, (size_t)unit_count);
        for (uint64_t i = 0; i < unit_count; i++) {
            csl_unit *unit = &deal->units->units[list[i]];
            double middle = (double)before + 0.5 * (double)unit->count;
            uint64_t shard = (uint64_t)(middle * (double)shard_count / (double)deal->image_count);
            shard = shard < shard_count ? shard : shard_count - 1;
            unit->institution = (uint32_t)(owner[shard] % count);
            before += unit->count;
        }
    }
    free(owner);
    return CSL_OK;
}

typedef struct ranked {
    double property;
    uint64_t position, unit;
} ranked;

static int compare_ranked(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->property != b->property) {
        return a->property < b->property ? -1 : 1;
    }
    return (a->position > b->position) - (a->position < b->position);
}

/* Blends z-scores of the property (mean 0, variance 1 over the units) with normal numbers. */
static void blend(ranked *list, uint64_t count, double strength, csl_random *random)
{
    double sum = 0.0, squares = 0.0, n = (double)count;
    for (uint64_t i = 0; i < count; i++) {
        sum += list[i].property;
    }
    for (uint64_t i = 0; i < count; i++) {
        double apart = list[i].property - sum / n;
        squares += apart * apart;
    }
    double deviation = sqrt(squares / n);
    for (uint64_t i = 0; i < count; i++) {
        double z = deviation > 0.0 ? (list[i].property - sum / n) / deviation : 0.0;
        list[i].property = strength * z + (1.0 - strength) * csl_random_normal(random);
    }
}

/* Flower's continuous property: sorted by scanner or exposure, at a strength below 1 blended with
 * chance; cut equally. */
static csl_status deal_by_property(deal_state *deal)
{
    ranked *list = calloc((size_t)deal->order_count + 1, sizeof *list);
    if (!list) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory to sort %" PRIu64 " units", deal->order_count);
    }
    csl_random random = stream(deal, 0);
    csl_random_shuffle(&random, deal->order, (size_t)deal->order_count);
    for (uint64_t i = 0; i < deal->order_count; i++) {
        list[i] = (ranked){deal->units->units[deal->order[i]].property, i, deal->order[i]};
    }
    if (deal->options->split.strength < 1.0) {
        blend(list, deal->order_count, deal->options->split.strength, &random);
    }
    qsort(list, (size_t)deal->order_count, sizeof *list, compare_ranked);
    for (uint64_t i = 0; i < deal->order_count; i++) {
        deal->order[i] = list[i].unit;
    }
    free(list);
    set_equal(deal->shares, deal->options->institution_count);
    csl_units_cut(deal->units, deal->order, deal->order_count, deal->shares,
                  deal->options->institution_count);
    return CSL_OK;
}

static csl_status deal_scheme(deal_state *deal, uint64_t *list)
{
    switch (deal->options->split.scheme) {
    case CSL_SPLIT_SCHEME_DIRICHLET:
    case CSL_SPLIT_SCHEME_DIRICHLET_BALANCED:
        deal_dirichlet(deal, list);
        return CSL_OK;
    case CSL_SPLIT_SCHEME_DIRICHLET_INSTITUTION:
        return deal_dirichlet_institution(deal, list);
    case CSL_SPLIT_SCHEME_LABEL_QUANTITY:
        return deal_label_quantity(deal, list);
    case CSL_SPLIT_SCHEME_SHARDS:
        return deal_shards(deal, list);
    case CSL_SPLIT_SCHEME_QUANTITY_DIRICHLET:
    case CSL_SPLIT_SCHEME_QUANTITY_LOGNORMAL:
    case CSL_SPLIT_SCHEME_QUANTITY_LINEAR:
    case CSL_SPLIT_SCHEME_QUANTITY_SQUARE:
    case CSL_SPLIT_SCHEME_QUANTITY_EXPONENTIAL:
        draw_sizes(deal);
        if (is_law(deal->options->split.scheme) && deal->attempt > 0) {
            CSL_TRY(keep_min_size(deal));
        }
        deal_by_shares(deal);
        return CSL_OK;
    case CSL_SPLIT_SCHEME_FEATURE_SCANNER:
        return deal_by_property(deal);
    default: /* iid; feature-noise is iid with noise added when an institution is extracted */
        set_equal(deal->shares, deal->options->institution_count);
        deal_by_shares(deal);
        return CSL_OK;
    }
}

csl_status csl_units_deal(csl_units *units,
                          const csl_partition_options *options,
                          csl_split split,
                          uint32_t attempt,
                          uint64_t *order)
{
    deal_state deal = {.units = units, .options = options, .attempt = attempt, .order = order};
    for (uint64_t u = 0; u < units->count; u++) {
        if (units->units[u].split == (uint8_t)split) {
            order[deal.order_count++] = u;
            deal.image_count += units->units[u].count;
        }
    }
    deal.shares = calloc(options->institution_count, sizeof *deal.shares);
    deal.held = calloc(options->institution_count, sizeof *deal.held);
    uint64_t *list = calloc((size_t)deal.order_count + 1, sizeof *list);
    csl_status status = deal.shares && deal.held && list
                            ? deal_scheme(&deal, list)
                            : csl_fail(CSL_E_NO_MEMORY, "no memory to partition");
    free(list);
    free(deal.held);
    free(deal.shares);
    return status;
}
