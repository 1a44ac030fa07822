/*
 * Attacks of hostile institutions, for studies that ask how much a rule withstands.
 *
 * Attacks on updates know everything: all honest updates of the round and the rule in use. They are
 * EXACT like the rules: the bits of a hostile row depend on the rows, their order, the seed and the
 * round, not on the device, threads, ranks or column ranges. Attacks on data change an
 * institution's training images before it trains. docs/AGGREGATION.md lists both.
 */
#ifndef CONSILIUM_ATTACK_H
#define CONSILIUM_ATTACK_H

#include <consilium/robust.h>

enum {
    CSL_ATTACK_PARAMETERS_MAX = 4, /* parameters of one attack */
    CSL_ATTACK_EVALUATIONS_MAX = 1000
};

/* X(symbol, name, default, least, largest, whole number, text). A default of NAN means what the
 * text says. */
#define CSL_ATTACK_PARAMETER_LIST(X)                                                               \
    X(FACTOR, "factor", NAN, -1e30, 1e30, false,                                                   \
      "multiplier; default 2 for ipm (tau), the number of updates for scaling, else 1")            \
    X(Z, "z", 1.5, -1e6, 1e6, false,                                                               \
      "alie: standard deviations added to the mean; 0: z_max of the paper")                        \
    X(OWN, "own", 0, 0, 1, true, "sign-flip: 0 reverses the honest mean, 1 the own update")        \
    X(DIRECTION, "direction", 0, 0, 2, true,                                                       \
      "min-max, min-sum: 0 standard deviation, 1 sign of the mean, 2 unit vector of the mean")     \
    X(TARGET, "target", 0, -1, 1023, true,                                                         \
      "mimic: which honest update of the round; -1: the one furthest along the direction of "      \
      "largest variance")                                                                          \
    X(WARMUP, "warmup", 0, 0, 1e6, true,                                                           \
      "mimic: rounds up to this one are watched, then the same institution is copied, the one "    \
      "furthest along the direction in which the sums of its updates and others differ most; 0: "  \
      "target decides")                                                                            \
    X(MEAN, "mean", 0, -1e30, 1e30, false, "gaussian: mean of each value")                         \
    X(DEVIATION, "deviation", NAN, 0, 1e30, false,                                                 \
      "gaussian: standard deviation; default 1; free-rider: of the added noise; default 0")        \
    X(RANGE, "range", 1, 0, 1e30, false, "random: values are uniform from -range to range")        \
    X(SHARED, "shared", 0, 0, 1, true, "gaussian, random: 1 sends one draw from all")              \
    X(EVALUATIONS, "evaluations", 20, 2, 1000, true,                                               \
      "optimal attacks: aggregations tried a round")                                               \
    X(STEP, "step", 10, 1e-6, 1e6, false, "optimal attacks: first step of the search")             \
    X(SPREAD, "spread", 2, 1, 1e6, false,                                                          \
      "fang-trim: how far beyond the honest extremes, as a factor")                                \
    X(THRESHOLD, "threshold", 1e-5, 1e-30, 1e30, false,                                            \
      "fang-krum: least step before the search gives up")

#define CSL_ATTACK_PARAMETER_ENUM(symbol, name, preset, least, largest, whole, text)               \
    CSL_ATTACK_##symbol,
typedef enum csl_attack_parameter {
    CSL_ATTACK_PARAMETER_LIST(CSL_ATTACK_PARAMETER_ENUM) CSL_ATTACK_PARAMETER_COUNT
} csl_attack_parameter;

typedef struct csl_attack_parameter_info {
    const char *name;
    double preset; /* NaN: derived, see text */
    double least;
    double largest;
    bool whole;
    const char *text;
} csl_attack_parameter_info;

/* One attack on updates. mu, sigma: mean and standard deviation (divisor h - 1) of each coordinate
 * over the h honest updates; m attackers; n = h + m. */
typedef struct csl_attack_info {
    const char *name;
    const char *summary;
    const char *formula; /* of the rows that the attackers send */
    const char *source;
    int32_t parameters[CSL_ATTACK_PARAMETERS_MAX]; /* of csl_attack_parameter, then -1 */
} csl_attack_info;

/* The registry; static storage. */
CSL_API const csl_attack_info *csl_attacks(size_t *count_out);
CSL_API const csl_attack_parameter_info *csl_attack_parameters(size_t *count_out);
/* Errors: E_NOT_FOUND with the nearest name. */
CSL_API CSL_MUST_CHECK csl_status csl_attack_find(const char *name,
                                                  const csl_attack_info **attack_out);

typedef struct csl_attack_spec {
    char attack[CSL_NAME_MAX];
    uint64_t seed;
    bool given[CSL_ATTACK_PARAMETER_COUNT];
    double value[CSL_ATTACK_PARAMETER_COUNT];
} csl_attack_spec;

/* Sets a parameter by name. Errors: E_NOT_FOUND (nearest name), E_RANGE. */
CSL_API CSL_MUST_CHECK csl_status csl_attack_spec_set(csl_attack_spec *spec,
                                                      const char *name,
                                                      double value);
/* Everything that can be refused before any work: the name, parameters the attack does not have,
 * numbers of updates it cannot work with. Errors: E_NOT_FOUND, E_RANGE, E_INVALID_ARG. */
CSL_API CSL_MUST_CHECK csl_status csl_attack_check(const csl_attack_spec *spec,
                                                   uint32_t row_count,
                                                   uint32_t hostile_count);

/* z_max of ALIE (Baruch et al. 2019, section 3.2): the quantile (h - s) / h of the normal
 * distribution, s = floor(n / 2 + 1) - m. EXACT. Errors: E_RANGE where it is not a positive number
 * (s < 1, or s >= h / 2). */
CSL_API CSL_MUST_CHECK csl_status csl_alie_z(uint32_t row_count,
                                             uint32_t hostile_count,
                                             double *z_out);

typedef struct csl_attack_input {
    const csl_aggregate_spec *rule; /* in use: what the optimal attacks search against */
    /* The aggregation to come, with `rows` (not `load`): the updates as they were trained, also
     * those of the hostile institutions. Its memory is only looked at. */
    const csl_aggregate_input *aggregation;
    const uint32_t *hostile; /* [hostile_count] rows, ascending */
    uint32_t hostile_count;
    const float
        *previous; /* device: local columns of the last aggregate; NULL in the first round */
    /* What an attack keeps from round to round, apart from the rule's memory (mimic with a warm-up:
     * the history slots); written out and read back like that one. NULL: every round is a first. */
    csl_aggregate_memory *memory;
} csl_attack_input;

typedef struct csl_attack_report {
    double factor;        /* multiplier in use or found: tau, z, gamma, lambda; NaN without */
    double deviation;     /* optimal attacks: ||aggregate - mu||; NaN otherwise */
    uint32_t evaluations; /* aggregations tried */
} csl_attack_report;

/*
 * What the attackers send. rows_out: [hostile_count] device, local columns, apart from every input.
 * Where all rows are hostile, they play the honest ones too. Collective over the ranks of the
 * exchange. report_out may be NULL. Errors: those of csl_attack_check and csl_aggregate.
 */
CSL_API CSL_MUST_CHECK csl_status csl_attack(const csl_attack_spec *spec,
                                             const csl_attack_input *input,
                                             float *const *rows_out,
                                             csl_attack_report *report_out);

typedef enum csl_data_attack {
    CSL_DATA_ATTACK_NONE,
    CSL_DATA_ATTACK_LABEL_FLIP, /* every label y becomes C - 1 - y */
    CSL_DATA_ATTACK_LABEL_PAIR, /* labels `source` become `target` */
    CSL_DATA_ATTACK_BACKDOOR    /* some images get a bright square and the label `target` */
} csl_data_attack;

typedef struct csl_poison {
    csl_data_attack attack;
    uint32_t source;
    uint32_t target;
    double fraction;       /* BACKDOOR: of the training images with another label */
    uint32_t trigger_size; /* BACKDOOR: voxels along each side */
    uint64_t seed;
} csl_poison;

/* Whether the attack can be done to these data. Errors: E_INVALID_ARG (a task without classes),
 * E_RANGE (a class or trigger that does not fit). */
CSL_API CSL_MUST_CHECK csl_status csl_poison_check(const csl_dataset *dataset,
                                                   const csl_poison *poison);
/*
 * Changes the training images and labels of a hostile institution in place (Biggio et al. 2012;
 * Gu et al. 2017, BadNets). changed_out: training images changed, may be NULL. Errors: those of
 * csl_poison_check.
 */
CSL_API CSL_MUST_CHECK csl_status csl_poison_training(csl_dataset *dataset,
                                                      const csl_poison *poison,
                                                      uint64_t *changed_out);
/*
 * Test images whose label is not the target, with the trigger, all in the split TEST: the share of
 * them that a model takes for the target is the attack's success rate. May hold no image
 * (*triggered_out NULL). Errors as above, E_NO_MEMORY.
 */
CSL_API CSL_MUST_CHECK csl_status csl_poison_test(const csl_dataset *dataset,
                                                  const csl_poison *poison,
                                                  csl_dataset **triggered_out);

#endif
