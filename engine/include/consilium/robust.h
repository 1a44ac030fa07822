/*
 * Robust aggregation: n updates of d parameters in, one aggregate out, whatever f of them hold.
 *
 * EXACT, all of it: the bits of the aggregate depend on the rows, their order and the
 * specification, not on the device, threads, ranks or column ranges. Control (who is near whom, who
 * is dropped) runs on small float64 matrices in a written order; ties go to the lowest row index.
 *
 * Pass 1 reads the local columns and adds exact integer sums, which `exchange` adds over ranks;
 * control is replicated; pass 2 writes the local columns of the aggregate. docs/AGGREGATION.md has
 * the rules, their bounds, costs and sources.
 */
#ifndef CONSILIUM_ROBUST_H
#define CONSILIUM_ROBUST_H

#include <consilium/dataset.h>
#include <consilium/device.h>
#include <consilium/text.h>

enum {
    CSL_PRE_MAX = 4,             /* pre-aggregators of one specification */
    CSL_RULE_PARAMETERS_MAX = 6, /* parameters of one rule */
    CSL_SUBSETS_MAX = 1 << 20,   /* subsets that SMEA may have to look at */
    CSL_SKETCH_MAX = 65536,      /* coordinates that DnC draws */
    CSL_STORE_COUNT = 1 << 18,   /* columns that csl_aggregate_input.store gets at most */
    CSL_REASON_MAX = 160         /* bytes of a row's reason, with the closing zero */
};

/* Parameters of rules and pre-aggregators: X(symbol, name, paper default, byzfl default, least,
 * largest, whole number, text). A default of -1 means what the text says. */
#define CSL_PARAMETER_LIST(X)                                                                      \
    X(TRIM, "trim", -1, -1, 0, 511, true, "values dropped at each end; default f")                 \
    X(EVEN, "even", 0, 0, 0, 2, true, "median of an even count: 0 mean of both, 1 lower, 2 upper") \
    X(NEIGHBOURS, "neighbours", -1, -1, 1, 1023, true,                                             \
      "neighbours summed; default n-f-2 (byzfl: n-f-1)")                                           \
    X(POWER, "power", 2, 2, 1, 4, true, "of the distances that Krum adds up; 2: squared")          \
    X(SELECT, "select", -1, -1, 1, 1023, true,                                                     \
      "rows averaged; default n-f-2 (byzfl: n-f), aksel (n+1)/2")                                  \
    X(PIVOT, "pivot", 0, 0, 0, 1023, true, "trusted institution; rows without one count from 0")   \
    X(NU, "nu", 1e-6, 0.1, 0, 1e30, false, "smoothing of the geometric median")                    \
    X(ITERATIONS, "iterations", -1, -1, 1, 100000, true,                                           \
      "steps; default 1000 for the geometric median (byzfl: 3), 1 for centered clipping and DnC")  \
    X(TOLERANCE, "tolerance", 1e-12, 0, 0, 1, false, "relative change that ends the iteration")    \
    X(TAU, "tau", 10, 100, 0, 1e30, false, "clipping radius; 0: median distance to the centre")    \
    X(RADIUS, "radius", 0, 2, 0, 1e30, false, "clipping radius; 0: median norm")                   \
    X(NOISE, "noise", -1, -1, 0, 1e30, false,                                                      \
      "standard deviation of added noise (FLAME: times the median norm; default 0.001), default "  \
      "0")                                                                                         \
    X(THETA, "theta", -1, -1, 1, 1023, true, "signs that must agree; default f+1")                 \
    X(SKETCH, "sketch", 10000, 10000, 1, 65536, true, "coordinates drawn at random")               \
    X(FACTOR, "factor", 1, 1, 0, 1023, false, "rows dropped per round of DnC, in units of f")      \
    X(LOW, "low", 0.1, 0.1, 0, 1, false, "least norm kept, in median norms")                       \
    X(HIGH, "high", 3, 3, 1, 1e30, false, "largest norm kept, in median norms")                    \
    X(SHARE, "share", 0.1, 0.1, 0, 1, false, "share of coordinates whose signs are counted")       \
    X(BUCKET, "bucket", 2, 1, 1, 1024, true, "rows per bucket")                                    \
    X(BASE, "base", 0, 0, 0, 2, true, "what RLR reverses: 0 mean, 1 median, 2 sign-majority")      \
    X(SEARCH, "search", 32, 32, 10, 50, true,                                                      \
      "MDA gives up its search after 2 to this power of steps")

#define CSL_PARAMETER_ENUM(symbol, name, paper, byzfl, least, largest, whole, text)                \
    CSL_PARAMETER_##symbol,
typedef enum csl_parameter {
    CSL_PARAMETER_LIST(CSL_PARAMETER_ENUM) CSL_PARAMETER_COUNT
} csl_parameter;

typedef struct csl_parameter_info {
    const char *name;
    double preset[2]; /* default by csl_preset; -1: derived from n and f */
    double least;
    double largest;
    bool whole;
    const char *text;
} csl_parameter_info;

typedef enum csl_preset {
    CSL_PRESET_PAPER, /* as the paper defines the rule */
    CSL_PRESET_BYZFL  /* as ByzFL 0.0.11 computes it */
} csl_preset;

/* What is done with the rows' weights (sample counts), which an institution may invent. */
typedef enum csl_weights_policy {
    CSL_WEIGHTS_EQUAL, /* weights are ignored */
    CSL_WEIGHTS_GIVEN, /* used as given; only rules that say so accept it */
    CSL_WEIGHTS_CAPPED /* the same, each cut to twice the median weight */
} csl_weights_policy;

/* What a rule needs of the data beside a last pass. */
typedef enum csl_rule_needs {
    CSL_NEEDS_NORMS = 1,
    CSL_NEEDS_DISTANCES = 2,
    CSL_NEEDS_PRODUCTS = 4,
    CSL_NEEDS_CENTRE = 8,   /* keeps one row from round to round */
    CSL_NEEDS_ROOT = 16,    /* update computed on trusted data */
    CSL_NEEDS_HISTORY = 32, /* keeps a row per institution from round to round */
    CSL_NEEDS_COLUMNS = 64, /* works on each coordinate alone */
    CSL_TAKES_WEIGHTS = 128
} csl_rule_needs;

/* One aggregation rule or pre-aggregator. */
typedef struct csl_rule_info {
    const char *name;
    const char *summary;
    const char *bound;                           /* on f, as text */
    const char *cost;                            /* reads of the n x d data, and control */
    const char *source;                          /* paper */
    uint32_t needs;                              /* of csl_rule_needs */
    int32_t parameters[CSL_RULE_PARAMETERS_MAX]; /* of csl_parameter, then -1 */
    int64_t (*f_max)(uint32_t row_count, csl_preset preset); /* -1: no f is allowed */
} csl_rule_info;

/* The registry; static storage. */
CSL_API const csl_rule_info *csl_rules(size_t *count_out);
CSL_API const csl_rule_info *csl_pre_aggregators(size_t *count_out);
CSL_API const csl_parameter_info *csl_rule_parameters(size_t *count_out);
/* Errors: E_NOT_FOUND with the nearest name. */
CSL_API CSL_MUST_CHECK csl_status csl_rule_find(const char *name, const csl_rule_info **rule_out);
CSL_API CSL_MUST_CHECK csl_status csl_pre_find(const char *name, const csl_rule_info **pre_out);

/* What to do; csl_aggregate_spec_init gives the mean of all rows. */
typedef struct csl_aggregate_spec {
    char rule[CSL_NAME_MAX];
    csl_preset preset;
    uint32_t f; /* rows that may be Byzantine */
    uint32_t pre_count;
    char pre[CSL_PRE_MAX][CSL_NAME_MAX]; /* applied in this order before the rule */
    csl_weights_policy weights;
    uint64_t seed; /* bucketing, DnC, SignGuard, noise: with the round, all that is random */
    bool given[CSL_PARAMETER_COUNT];
    double value[CSL_PARAMETER_COUNT];
} csl_aggregate_spec;

CSL_API void csl_aggregate_spec_init(csl_aggregate_spec *spec);
/* Sets a parameter by name. Errors: E_NOT_FOUND (nearest name), E_RANGE. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_spec_set(csl_aggregate_spec *spec,
                                                         const char *name,
                                                         double value);
/* "a,b" to the list of pre-aggregators. Errors: E_NOT_FOUND, E_RANGE. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_spec_set_pre(csl_aggregate_spec *spec,
                                                             const char *list);
/*
 * Everything that can be refused before any work: names, f against the bound of each stage for
 * row_count rows, parameters the rule does not have, weights it does not take. Errors: E_NOT_FOUND,
 * E_RANGE, E_INVALID_ARG.
 */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_check(const csl_aggregate_spec *spec,
                                                      uint32_t row_count);
/* Are the rows read once only, unless some of them are refused? Then nothing is gained by keeping
 * them in memory, and the one pass, which writes too, may have to be repeated. */
CSL_API bool csl_aggregate_reads_once(const csl_aggregate_spec *spec);

/* How sums are added over the ranks that hold the columns. sum_int64 adds values [count] in place
 * and leaves the same numbers on every rank. NULL: one rank holds all. */
typedef struct csl_aggregate_exchange {
    void *context;
    csl_status (*sum_int64)(void *context, int64_t *values, size_t count);
} csl_aggregate_exchange;

/* What rules keep from round to round (centre, history); of the local columns. */
typedef struct csl_aggregate_memory csl_aggregate_memory;
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_memory_create(csl_device *device,
                                                              size_t column_count,
                                                              csl_aggregate_memory **memory_out);
CSL_API void csl_aggregate_memory_destroy(csl_aggregate_memory *memory);

/*
 * A memory is slots of local columns, so that a checkpoint can write it out and read it back on
 * another number of ranks: slot CSL_MEMORY_CENTRE is the kept centre, CSL_MEMORY_HISTORY + i the
 * history of institution i. A slot that was never used does not exist and need not be written.
 */
enum {
    CSL_MEMORY_CENTRE = 0,
    CSL_MEMORY_HISTORY = 1,
    CSL_MEMORY_SLOTS = CSL_MEMORY_HISTORY + CSL_INSTITUTIONS_MAX
};
CSL_API bool csl_aggregate_memory_has(const csl_aggregate_memory *memory, uint32_t slot);
/* `count` local columns from `begin` on, out of a slot that exists and into one, which then exists
 * (columns not yet written are 0). values: host. Errors: E_RANGE, E_NOT_FOUND (get), E_DEVICE,
 * E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_memory_get(const csl_aggregate_memory *memory,
                                                           uint32_t slot,
                                                           size_t begin,
                                                           size_t count,
                                                           float *values_out);
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_memory_set(
    csl_aggregate_memory *memory, uint32_t slot, size_t begin, size_t count, const float *values);

/*
 * The rows. Either `rows` lists device pointers to the local columns, or `load` brings a range of
 * them: called in ascending order, once per pass, ranges of at most chunk_count columns that begin
 * on a multiple of CSL_TILE; rows_out [row_count] stay valid until the next call.
 */
typedef struct csl_aggregate_input {
    csl_device *device;
    uint32_t row_count;
    size_t column_begin; /* first local column, a multiple of CSL_TILE; 0 for one rank */
    size_t column_count; /* local columns; 0 is allowed */
    size_t column_total; /* over all ranks, at least 1 */
    const float *const *rows;
    csl_status (*load)(void *context, size_t begin, size_t count, const float **rows_out);
    void *load_context;
    size_t chunk_count;           /* with load: columns at a time, a multiple of CSL_TILE */
    const double *weights;        /* [row_count] >= 0, or NULL */
    const uint32_t *institutions; /* [row_count] for the report and the history; NULL: 0, 1, ... */
    const float *root;            /* device: local columns of the trusted update, or NULL */
    uint32_t round;
    csl_aggregate_exchange exchange;
    csl_aggregate_memory *memory; /* or NULL: every call is a first round */
    /*
     * Or NULL. Where the aggregate goes instead of to `out`: local columns [begin, begin + count)
     * in ascending order, at most CSL_STORE_COUNT at a time; values: device, until the return.
     * Columns that were stored are not read again, so that the aggregate may take the place of one
     * of the rows, unless csl_aggregate_reads_once: there all may come a second time, which counts.
     * A call that fails may have stored some.
     */
    csl_status (*store)(void *context, size_t begin, size_t count, const float *values);
    void *store_context;
} csl_aggregate_input;

typedef enum csl_row_verdict {
    CSL_ROW_KEPT,
    CSL_ROW_SHARED,  /* the rule keeps and drops single coordinates */
    CSL_ROW_CLIPPED, /* shortened */
    CSL_ROW_DROPPED,
    CSL_ROW_REFUSED /* not finite, or too large to measure */
} csl_row_verdict;

typedef struct csl_row_report {
    uint32_t institution;
    csl_row_verdict verdict;
    double weight;               /* in the aggregate; NaN where the verdict is CSL_ROW_SHARED */
    double score;                /* what the rule ranked by; NaN if nothing */
    double scale;                /* factor of clipping, 1 without */
    int64_t non_finite;          /* values that are not finite */
    int64_t first_non_finite;    /* column of the first of them, -1 without */
    char reason[CSL_REASON_MAX]; /* why not taken or not fully, with what decided; "" if fully */
} csl_row_report;

typedef struct csl_aggregate_report {
    char rule[CSL_NAME_MAX];
    char score_name[CSL_NAME_MAX]; /* "sum of squared distances", ...; "" without scores */
    uint32_t row_count;
    csl_row_report *rows; /* [row_count] */
    uint32_t f;           /* declared */
    uint32_t f_left;      /* declared minus refused: what the rule worked with */
    uint32_t refused_count;
    uint32_t dropped_count;
    uint32_t clipped_count;
    double margin; /* score of the first row dropped minus that of the last kept; NaN if none */
    bool empty;    /* nothing was trusted: the aggregate is the zero vector */
    uint32_t iterations; /* of iterative rules */
} csl_aggregate_report;

CSL_API void csl_aggregate_report_destroy(csl_aggregate_report *report);
/* One JSON object on one line. Errors: E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate_report_json(const csl_aggregate_report *report,
                                                            csl_text *text);
CSL_API const char *csl_row_verdict_name(csl_row_verdict verdict);

/*
 * Aggregates. out: device, [column_count] local columns of the aggregate; with input->store it is
 * not used. report_out may be NULL;
 * else the caller destroys the report. Collective over the ranks of the exchange: what one rank
 * fails with, all return, also before any work; where several fail differently, the code nearest to
 * 0. Ranks that were handed different specifications, row counts, weights or rounds get
 * E_INVALID_ARG. Errors: those of csl_aggregate_check, E_NO_QUORUM (more rows refused than f),
 * E_NO_MEMORY, E_DEVICE, E_STATE (a failed round left what is kept half written), what load and
 * store return.
 */
CSL_API CSL_MUST_CHECK csl_status csl_aggregate(const csl_aggregate_spec *spec,
                                                const csl_aggregate_input *input,
                                                float *out,
                                                csl_aggregate_report **report_out);

#endif
