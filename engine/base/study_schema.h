/*
 * The table of the study file's keys, and what reads and writes a single value.
 *
 * A new section (aggregation, chain, ...): members in csl_study (<consilium/study.h>), rows in
 * study_schema.c next to each other, rules between keys in study_check.c. Nothing else.
 */
#ifndef CSL_STUDY_SCHEMA_H
#define CSL_STUDY_SCHEMA_H

#include <consilium/study.h>

#include "study_yaml.h"

typedef enum csl_study_type {
    CSL_STUDY_BOOL,
    CSL_STUDY_U32,
    CSL_STUDY_U64,
    CSL_STUDY_F32,
    CSL_STUDY_F64,
    CSL_STUDY_OPTIONAL, /* double, or auto, which is stored as NaN */
    CSL_STUDY_TEXT,     /* char [size]; accepts: allowed values, or NULL for any */
    CSL_STUDY_ENUM,     /* an enum whose values are 0, 1, ... in the order of accepts */
    CSL_STUDY_INDICES,  /* csl_study_indices */
    CSL_STUDY_NAMES,    /* csl_study_names */
    CSL_STUDY_WINDOW,   /* csl_study_window: a number, or a list of 1 to 3 */
    CSL_STUDY_LAYERS    /* model.layers */
} csl_study_type;

typedef struct csl_study_key {
    const char *path; /* "training.lr"; in the table of layer keys "channels" */
    csl_study_type type;
    const char *default_text;
    const char *accepts; /* numbers: "[1, 10)", NULL for all; names: "sgd|adamw" */
    const char *unit;    /* "" for none */
    const char *meaning; /* one line, no full stop */
    size_t offset;       /* of the destination in csl_study or csl_study_layer */
    size_t size;         /* of the destination */
    bool no_effect;      /* cannot change a result: left out of the study's hash */
} csl_study_key;

extern const csl_study_key csl_study_keys[];
extern const size_t csl_study_key_count;
extern const csl_study_key csl_study_layer_keys[];
extern const size_t csl_study_layer_key_count;

/* Puts a node's value into `object` (csl_study or csl_study_layer). Errors name place, key, what
 * was expected and found. */
CSL_MUST_CHECK csl_status csl_study_set_value(const csl_study_key *key,
                                              const csl_yaml *yaml,
                                              const csl_yaml_node *node,
                                              void *object);
/* The same from plain text (defaults, and scalar keys from the environment and overrides). */
CSL_MUST_CHECK csl_status csl_study_set_text(const csl_study_key *key,
                                             const char *source,
                                             const char *text,
                                             void *object);
/* The value as YAML that reads back the same. Not for LAYERS. */
void csl_study_add_value(csl_text *text, const csl_study_key *key, const void *object);
/* "number in (0, 10]", "one of sgd, adamw", ...: for messages and the reference. */
void csl_study_add_expected(csl_text *text, const csl_study_key *key);
/* Whether a name is in a list "a|b|c", and where; -1 if not. */
int csl_study_choice(const char *accepts, const char *name);

/* Where each key's value came from, for messages of rules between keys. */
typedef struct csl_study_origins {
    char (*place)[CSL_PATH_MAX + 64]; /* [csl_study_key_count] "file:3:5" or "default" */
} csl_study_origins;

/* E_RANGE: "<where the key was set>: training.warmup_rounds: ...". */
csl_status
csl_study_refuse(const csl_study_origins *origins, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
/* Rules between keys; fills in what follows from other keys. */
CSL_MUST_CHECK csl_status csl_study_check(csl_study *study, const csl_study_origins *origins);

#endif
