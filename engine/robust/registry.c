/* The table of rules and pre-aggregators: everything that help, docs and checks know of them. */
#include "aggregation.h"

#include <math.h>
#include <string.h>

static int64_t no_fault(uint32_t n, csl_preset preset)
{
    (void)preset;
    return n >= 1 ? 0 : -1;
}

static int64_t below_half(uint32_t n, csl_preset preset)
{
    (void)preset;
    return n >= 1 ? ((int64_t)n - 1) / 2 : -1;
}

static int64_t below_count(uint32_t n, csl_preset preset)
{
    (void)preset;
    return (int64_t)n - 1;
}

static int64_t krum_bound(uint32_t n, csl_preset preset)
{
    if (preset == CSL_PRESET_BYZFL) {
        return n >= 2 ? ((int64_t)n - 1) / 2 : -1;
    }
    return n >= 3 ? ((int64_t)n - 3) / 2 : -1;
}

static int64_t bulyan_bound(uint32_t n, csl_preset preset)
{
    (void)preset;
    return n >= 3 ? ((int64_t)n - 3) / 4 : -1;
}

#define P(symbol) CSL_PARAMETER_##symbol
#define NO_MORE   (-1)

static const csl_rule rules[] = {
    {{"mean",
      "mean of all rows",
      "f = 0 (behind clipping or arc: 2f < n)",
      "1 read",
      "McMahan et al. 2017",
      CSL_NEEDS_COLUMNS | CSL_TAKES_WEIGHTS,
      {NO_MORE},
      no_fault},
     csl_rule_mean},
    {{"weighted-mean",
      "mean weighted by the given weights",
      "f = 0 (behind clipping or arc: 2f < n)",
      "1 read",
      "McMahan et al. 2017",
      CSL_NEEDS_COLUMNS | CSL_TAKES_WEIGHTS,
      {NO_MORE},
      no_fault},
     csl_rule_mean},
    {{"median",
      "median of each coordinate",
      "2f < n",
      "1 read",
      "Yin et al. 2018",
      CSL_NEEDS_COLUMNS,
      {P(EVEN), NO_MORE},
      below_half},
     csl_rule_median},
    {{"trimmed-mean",
      "mean of each coordinate without its f least and f largest values",
      "2f < n",
      "1 read",
      "Yin et al. 2018",
      CSL_NEEDS_COLUMNS,
      {P(TRIM), NO_MORE},
      below_half},
     csl_rule_trimmed_mean},
    {{"meamed",
      "mean of the n-f values of each coordinate closest to its median",
      "2f < n",
      "1 read",
      "Xie et al. 2018",
      CSL_NEEDS_COLUMNS,
      {NO_MORE},
      below_half},
     csl_rule_meamed},
    {{"phocas",
      "mean of the n-f values of each coordinate closest to its trimmed mean",
      "2f < n",
      "1 read",
      "Xie et al. 2018",
      CSL_NEEDS_COLUMNS,
      {P(TRIM), NO_MORE},
      below_half},
     csl_rule_phocas},
    {{"krum",
      "the row nearest to its neighbours",
      "2f + 2 < n (byzfl: 2f < n)",
      "1 read + 1 row, n^2 log n",
      "Blanchard et al. 2017",
      CSL_NEEDS_DISTANCES,
      {P(NEIGHBOURS), P(POWER), NO_MORE},
      krum_bound},
     csl_rule_krum},
    {{"multi-krum",
      "mean of the rows nearest to their neighbours",
      "2f + 2 < n (byzfl: 2f < n)",
      "1 read + the rows kept, n^2 log n",
      "Blanchard et al. 2017",
      CSL_NEEDS_DISTANCES,
      {P(NEIGHBOURS), P(POWER), P(SELECT), NO_MORE},
      krum_bound},
     csl_rule_multi_krum},
    {{"bulyan",
      "rows picked by repeated Krum, then the values closest to their median",
      "4f + 3 <= n",
      "1 read + the rows kept, n^3",
      "El Mhamdi et al. 2018",
      CSL_NEEDS_DISTANCES,
      {NO_MORE},
      bulyan_bound},
     csl_rule_bulyan},
    {{"mda",
      "mean of the n-f rows of least diameter",
      "2f < n",
      "1 read + n-f rows, branch and bound of depth f",
      "El-Mhamdi et al. 2020",
      CSL_NEEDS_DISTANCES,
      {CSL_PARAMETER_SEARCH, NO_MORE},
      below_half},
     csl_rule_mda},
    {{"monna",
      "mean of the n-f rows closest to a trusted row",
      "2f < n",
      "1 read + n-f rows, n log n",
      "Farhadkhani et al. 2023",
      CSL_NEEDS_DISTANCES,
      {P(PIVOT), NO_MORE},
      below_half},
     csl_rule_monna},
    {{"geometric-median",
      "least sum of distances to the rows (RFA)",
      "2f < n",
      "2 reads, n^2 per step",
      "Pillutla et al. 2019",
      CSL_NEEDS_NORMS | CSL_NEEDS_DISTANCES | CSL_TAKES_WEIGHTS,
      {P(NU), P(ITERATIONS), P(TOLERANCE), NO_MORE},
      below_half},
     csl_rule_geometric_median},
    {{"centered-clipping",
      "last aggregate plus the mean of differences clipped to tau",
      "2f < n",
      "2 reads; n per step, n^2 from the second",
      "Karimireddy et al. 2021",
      CSL_NEEDS_NORMS | CSL_NEEDS_DISTANCES | CSL_NEEDS_CENTRE,
      {P(TAU), P(ITERATIONS), NO_MORE},
      below_half},
     csl_rule_centered_clipping},
    {{"smea",
      "mean of the n-f rows whose covariance has the least top eigenvalue",
      "2f < n",
      "1 read + n-f rows, at most 2^20 subsets",
      "Allouah et al. 2023",
      CSL_NEEDS_DISTANCES,
      {NO_MORE},
      below_half},
     csl_rule_smea},
    {{"caf",
      "rows weighted down along the direction of largest variance",
      "2f < n",
      "2 reads, at most n eigenvectors of n^3",
      "Allouah et al. 2025, algorithm 2",
      CSL_NEEDS_DISTANCES,
      {NO_MORE},
      below_half},
     csl_rule_caf},
    {{"cge",
      "mean of the n-f rows of least norm",
      "2f < n",
      "1 read + n-f rows, n log n",
      "Gupta et al. 2021",
      CSL_NEEDS_NORMS,
      {NO_MORE},
      below_half},
     csl_rule_cge},
    {{"aksel",
      "mean of the rows closest to the coordinate median",
      "2f < n",
      "2 reads + the rows kept, n log n",
      "Boussetta et al. 2021",
      CSL_NEEDS_NORMS | CSL_NEEDS_DISTANCES,
      {P(SELECT), NO_MORE},
      below_half},
     csl_rule_aksel},
    {{"dnc",
      "mean of the rows with least projection on the top singular vector of a sketch",
      "2f < n",
      "1 read, sketch x n^2",
      "Shejwalkar and Houmansadr 2021",
      CSL_NEEDS_COLUMNS,
      {P(SKETCH), P(ITERATIONS), P(FACTOR), NO_MORE},
      below_half},
     csl_rule_dnc},
    {{"fltrust",
      "rows weighted by their cosine with a trusted update",
      "f < n",
      "2 reads, n",
      "Cao et al. 2021",
      CSL_NEEDS_PRODUCTS | CSL_NEEDS_ROOT,
      {NO_MORE},
      below_count},
     csl_rule_fltrust},
    {{"foolsgold",
      "rows weighted down that resemble each other over the rounds",
      "f < n",
      "2 reads, n^2",
      "Fung et al. 2020",
      CSL_NEEDS_PRODUCTS | CSL_NEEDS_HISTORY,
      {NO_MORE},
      below_count},
     csl_rule_foolsgold},
    {{"signguard",
      "mean of the largest cluster of rows by signs and norms, clipped",
      "2f < n",
      "2 reads, n^2 per step",
      "Xu et al. 2022",
      CSL_NEEDS_NORMS,
      {P(LOW), P(HIGH), P(SHARE), NO_MORE},
      below_half},
     csl_rule_signguard},
    {{"flame",
      "mean of the densest half by cosine, clipped to the median norm, and noise",
      "2f < n",
      "2 reads, n^2 log n",
      "Nguyen et al. 2022",
      CSL_NEEDS_NORMS | CSL_NEEDS_DISTANCES | CSL_NEEDS_PRODUCTS,
      {P(NOISE), NO_MORE},
      below_half},
     csl_rule_flame},
    {{"rlr",
      "mean (or median, or majority of signs), reversed where fewer than theta signs agree",
      "2f < n",
      "1 read",
      "Ozdayi et al. 2021",
      CSL_NEEDS_COLUMNS,
      {P(THETA), P(BASE), NO_MORE},
      below_half},
     csl_rule_rlr},
    {{"sign-majority",
      "sign of the sum of the signs of each coordinate",
      "2f < n",
      "1 read",
      "Bernstein et al. 2019",
      CSL_NEEDS_COLUMNS,
      {NO_MORE},
      below_half},
     csl_rule_sign_majority},
    {{"norm-clipping",
      "mean of rows clipped to a radius",
      "2f < n",
      "2 reads, n log n",
      "Sun et al. 2019",
      CSL_NEEDS_NORMS | CSL_TAKES_WEIGHTS,
      {P(RADIUS), P(NOISE), NO_MORE},
      below_half},
     csl_rule_norm_clipping},
};

static const csl_rule pre_aggregators[] = {
    {{"nnm",
      "each row becomes the mean of the n-f rows closest to it",
      "2f < n (byzfl: f < n)",
      "1 read shared with the rule, n^2",
      "Allouah et al. 2023",
      CSL_NEEDS_DISTANCES,
      {NO_MORE},
      below_half},
     csl_pre_nnm},
    {{"bucketing",
      "means of rows drawn together at random",
      "f < n / bucket",
      "nothing",
      "Karimireddy et al. 2022",
      0,
      {P(BUCKET), NO_MORE},
      below_count},
     csl_pre_bucketing},
    {{"clipping",
      "rows shortened to a radius",
      "f < n",
      "1 read shared with the rule",
      "Karimireddy et al. 2021",
      CSL_NEEDS_NORMS,
      {P(RADIUS), NO_MORE},
      below_count},
     csl_pre_clipping},
    {{"arc",
      "the floor(2 f (n-f) / n) longest rows shortened to the next norm",
      "2f < n",
      "1 read shared with the rule, n log n",
      "Allouah et al. 2025",
      CSL_NEEDS_NORMS,
      {NO_MORE},
      below_half},
     csl_pre_arc},
};

#undef P

#define PARAMETER_INFO(symbol, name, paper, byzfl, least, largest, whole, text)                    \
    {name, {paper, byzfl}, least, largest, whole, text},
static const csl_parameter_info parameters[] = {CSL_PARAMETER_LIST(PARAMETER_INFO)};

enum {
    RULE_COUNT = sizeof rules / sizeof rules[0],
    PRE_COUNT = sizeof pre_aggregators / sizeof pre_aggregators[0]
};

/* The public part of the two tables, which callers walk as plain arrays. */
static csl_rule_info rule_infos[RULE_COUNT];
static csl_rule_info pre_infos[PRE_COUNT];

__attribute__((constructor)) static void fill_infos(void)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        rule_infos[i] = rules[i].info;
    }
    for (size_t i = 0; i < PRE_COUNT; i++) {
        pre_infos[i] = pre_aggregators[i].info;
    }
}

const csl_rule_info *csl_rules(size_t *count_out)
{
    *count_out = RULE_COUNT;
    return rule_infos;
}

const csl_rule_info *csl_pre_aggregators(size_t *count_out)
{
    *count_out = PRE_COUNT;
    return pre_infos;
}

const csl_parameter_info *csl_rule_parameters(size_t *count_out)
{
    *count_out = CSL_PARAMETER_COUNT;
    return parameters;
}

static const csl_rule *look_up(const csl_rule *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].info.name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

static csl_status
refuse(const char *what, const csl_rule *table, size_t count, const char *name, const char *other)
{
    const char *near = csl_nearest_name_strided(name, &table[0].info.name, sizeof table[0], count);
    if (other) {
        return csl_fail(CSL_E_NOT_FOUND, "no %s is called '%s', which is %s", what, name, other);
    }
    return csl_fail(CSL_E_NOT_FOUND, "no %s is called '%s'%s%s%s", what, name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

csl_status csl_find_rule(const char *name, const csl_rule **rule_out)
{
    const csl_rule *rule = look_up(rules, RULE_COUNT, name);
    const csl_rule *pre = look_up(pre_aggregators, PRE_COUNT, name);
    if (!rule) {
        return refuse("aggregation rule", rules, RULE_COUNT, name,
                      pre ? "a pre-aggregator: it goes before a rule" : NULL);
    }
    *rule_out = rule;
    return CSL_OK;
}

csl_status csl_find_pre(const char *name, const csl_rule **pre_out)
{
    const csl_rule *pre = look_up(pre_aggregators, PRE_COUNT, name);
    const csl_rule *rule = look_up(rules, RULE_COUNT, name);
    if (!pre) {
        return refuse("pre-aggregator", pre_aggregators, PRE_COUNT, name,
                      rule ? "a rule: it goes behind pre-aggregators" : NULL);
    }
    *pre_out = pre;
    return CSL_OK;
}

csl_status csl_rule_find(const char *name, const csl_rule_info **rule_out)
{
    const csl_rule *rule = NULL;
    CSL_TRY(csl_find_rule(name, &rule));
    *rule_out = &rule_infos[rule - rules];
    return CSL_OK;
}

csl_status csl_pre_find(const char *name, const csl_rule_info **pre_out)
{
    const csl_rule *pre = NULL;
    CSL_TRY(csl_find_pre(name, &pre));
    *pre_out = &pre_infos[pre - pre_aggregators];
    return CSL_OK;
}
