/*
 * The study file: what a run does, in YAML.
 *
 * One table, engine/base/study_schema.c, gives every key's path, type, default, range, unit,
 * meaning and destination in this structure; parsing, --set, the environment, the reference in
 * docs/STUDY.md and the error messages all come from it. To add a key, add a member here and a row
 * there. Precedence: default < file < environment (CONSILIUM_TRAINING_LR) < override
 * (training.lr=0.1).
 */
#ifndef CONSILIUM_STUDY_H
#define CONSILIUM_STUDY_H

#include <consilium/attack.h>
#include <consilium/federation.h>
#include <consilium/hash.h>
#include <consilium/robust.h>
#include <consilium/text.h>
#include <consilium/train.h>

enum {
    CSL_STUDY_SIZE_MAX = 1 << 20, /* bytes of a study file */
    CSL_STUDY_DEPTH_MAX = 8,      /* nesting of mappings and lists */
    CSL_STUDY_NODES_MAX = 65536,  /* keys, values and list items */
    CSL_STUDY_NAMES_MAX = 8,      /* items of a list of names */
    CSL_STUDY_WINDOW_MAX = 3      /* depth, height, width */
};

/* How a pool becomes institutions (data.md section 4). */
typedef enum csl_split_scheme {
    CSL_SPLIT_SCHEME_IID,
    CSL_SPLIT_SCHEME_DIRICHLET,
    CSL_SPLIT_SCHEME_DIRICHLET_BALANCED,
    CSL_SPLIT_SCHEME_DIRICHLET_INSTITUTION,
    CSL_SPLIT_SCHEME_LABEL_QUANTITY,
    CSL_SPLIT_SCHEME_SHARDS,
    CSL_SPLIT_SCHEME_QUANTITY_DIRICHLET,
    CSL_SPLIT_SCHEME_QUANTITY_LOGNORMAL,
    CSL_SPLIT_SCHEME_QUANTITY_LINEAR,
    CSL_SPLIT_SCHEME_QUANTITY_SQUARE,
    CSL_SPLIT_SCHEME_QUANTITY_EXPONENTIAL,
    CSL_SPLIT_SCHEME_FEATURE_NOISE,
    CSL_SPLIT_SCHEME_FEATURE_SCANNER,
    CSL_SPLIT_SCHEME_NATURAL
} csl_split_scheme;

/* Where training, validation and test images come from. */
typedef enum csl_holdout {
    CSL_HOLDOUT_KEEP,  /* as the data file says; missing validation is drawn from training images */
    CSL_HOLDOUT_REDRAW /* drawn anew at each institution by the two fractions */
} csl_holdout;

typedef struct csl_study_split {
    csl_split_scheme scheme;
    double alpha;         /* concentration of the Dirichlet schemes */
    uint32_t labels_each; /* label-quantity */
    uint32_t shards_each; /* shards */
    double sigma;      /* quantity-lognormal: of the logarithm; feature-noise: largest deviation */
    double strength;   /* feature-scanner: 1 sorted, 0 by chance */
    uint32_t min_size; /* fewest training images of an institution */
    bool force;        /* groups (patients) may be broken up */
    csl_holdout holdout;
    double validation_fraction;
    double test_fraction;
} csl_study_split;

/* A layer as the file lists it; names are resolved by csl_study_model_spec. */
typedef struct csl_study_window {
    uint32_t count; /* 1: all axes alike, 2: height and width, 3: depth too */
    uint32_t values[CSL_STUDY_WINDOW_MAX];
} csl_study_window;

typedef struct csl_study_layer {
    char name[CSL_NAME_MAX]; /* "" becomes the kind and its position: "conv3" */
    csl_layer_kind kind;
    char input[CSL_NAME_MAX]; /* layer it reads, "image", or "" for the one before */
    char from[CSL_NAME_MAX];  /* add: second summand */
    uint32_t channels;
    csl_study_window size;
    csl_study_window stride;
    csl_study_window padding;
    csl_study_window dilation;
    uint32_t groups;
    bool bias;
    float rate;
} csl_study_layer;

typedef struct csl_study_names {
    uint32_t count;
    char values[CSL_STUDY_NAMES_MAX][CSL_NAME_MAX];
} csl_study_names;

typedef struct csl_study_indices {
    uint32_t count;
    uint32_t values[CSL_INSTITUTIONS_MAX];
} csl_study_indices;

typedef enum csl_keep_updates {
    CSL_KEEP_UPDATES_NONE,
    CSL_KEEP_UPDATES_LAST,
    CSL_KEEP_UPDATES_ALL
} csl_keep_updates;

/* aggregation.weights; the first three but auto are those of csl_weights_policy. */
typedef enum csl_study_weights {
    CSL_STUDY_WEIGHTS_AUTO, /* given for a mean that nothing is mixed before, else equal */
    CSL_STUDY_WEIGHTS_EQUAL,
    CSL_STUDY_WEIGHTS_GIVEN,
    CSL_STUDY_WEIGHTS_CAPPED
} csl_study_weights;

typedef struct csl_study_aggregation {
    csl_aggregate_spec spec; /* complete: the members below are already in it */
    csl_study_names pre;
    csl_study_weights weights;
    uint32_t root;                          /* institution whose update fltrust trusts */
    double parameters[CSL_PARAMETER_COUNT]; /* NaN: auto */
} csl_study_aggregation;

typedef struct csl_study_adversary {
    csl_attack_spec spec;           /* complete; attack "none": updates are left as they are */
    csl_poison poison;              /* complete but for its seed, which is an institution's own */
    csl_study_indices institutions; /* hostile, ascending; `count` is already in it */
    uint32_t count;                 /* in the file: the last so many; here 0 */
    uint32_t from_round;
    double parameters[CSL_ATTACK_PARAMETER_COUNT]; /* NaN: auto */
} csl_study_adversary;

typedef struct csl_study {
    char name[CSL_NAME_MAX]; /* key `study` */
    uint64_t seed;
    uint32_t rounds;
    char device[CSL_NAME_MAX];
    struct {
        char path[CSL_PATH_MAX]; /* a pooled file that is partitioned, or a folder of institution
                                    files */
        csl_study_split split;
    } data;
    struct {
        uint32_t count;
        uint32_t per_round;  /* 0 in the file means all; here always the number */
        uint32_t ranks_each; /* data-parallel shards of one institution */
    } institutions;
    struct {
        char name[CSL_NAME_MAX]; /* a zoo network, or a name for the listed layers */
        char norm[CSL_NAME_MAX];
        uint32_t layer_count;
        csl_study_layer *layers; /* [layer_count], owned; NULL for a zoo network */
    } model;
    /* Complete options: seed, round_count, proximal_mu and freeze_batch_norm are filled in from the
     * other sections. A caller gives each institution its own seed (CSL_RANDOM_INSTITUTION). */
    csl_train_options training;
    uint32_t threads; /* training.threads, of one institution shard */
    csl_federation_options federation;
    csl_study_aggregation aggregation;
    csl_study_adversary adversary;
    struct {
        uint32_t every_rounds; /* 0: after the last round only */
        uint32_t batch;
        bool cross_site;
    } evaluation;
    struct {
        csl_keep_updates updates;
    } output;
} csl_study;

typedef struct csl_study_sources {
    const char *const *overrides; /* [override_count] "training.lr=0.1" */
    size_t override_count;
    const char *const
        *environment; /* "NAME=value"..., NULL-terminated (environ), or NULL for none */
} csl_study_sources;

/*
 * Reads a study. sources may be NULL. Errors: E_NOT_FOUND (no such file), E_IO, E_FORMAT (not YAML,
 * not UTF-8, too large or deep, unknown or repeated key, wrong type; the message starts
 * file:line:column and names the nearest key), E_RANGE (value outside its range, or values that
 * contradict each other), E_NO_MEMORY.
 */
CSL_API CSL_MUST_CHECK csl_status csl_study_load(const char *path,
                                                 const csl_study_sources *sources,
                                                 csl_study **study_out);
/* The bytes of a study file alone, to be freed. Errors: E_NOT_FOUND, E_IO, E_FORMAT (a folder, or
 * too large), E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_study_read(const char *path,
                                                 char **bytes_out,
                                                 size_t *size_out);
/* A study from memory; `name` stands for the file in messages. */
CSL_API CSL_MUST_CHECK csl_status csl_study_parse(const char *name,
                                                  const void *bytes,
                                                  size_t size,
                                                  const csl_study_sources *sources,
                                                  csl_study **study_out);
CSL_API void csl_study_destroy(csl_study *study);
/* Whether such a failure to load says that the study cannot be used, not that memory is short. */
CSL_API bool csl_study_is_refused(csl_status status);

/* Every key with its value, in YAML that loads back to the same study. */
CSL_API CSL_MUST_CHECK csl_status csl_study_write(const csl_study *study, csl_text *text);
/* SHA-256 of that text without the keys that cannot change a result (output.*). */
CSL_API CSL_MUST_CHECK csl_status csl_study_sha256(const csl_study *study,
                                                   uint8_t digest_out[CSL_SHA256_SIZE]);

/* The reference of all keys: Markdown (docs/STUDY.md), and troff for the man page's KEYS section.
 */
CSL_API CSL_MUST_CHECK csl_status csl_study_reference_markdown(csl_text *text);
CSL_API CSL_MUST_CHECK csl_status csl_study_reference_man(csl_text *text);

/* Whether a study declares an institution hostile. */
CSL_API bool csl_study_is_hostile(const csl_study *study, uint32_t institution);

/* The network of a study for the data at hand: a zoo network, or the listed layers with names
 * resolved and checked. Errors: E_NOT_FOUND (message names the nearest), E_SHAPE, E_NO_MEMORY,
 * E_RANGE where the task cannot be trained as the study says (class weights without classes). */
CSL_API CSL_MUST_CHECK csl_status csl_study_model_spec(const csl_study *study,
                                                       csl_shape input,
                                                       csl_task task,
                                                       uint32_t class_count,
                                                       csl_model_spec **spec_out);

#endif
