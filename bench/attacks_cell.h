/* One cell of the grid of `consilium bench attacks`: a rule under an attack. */
#ifndef CSL_BENCH_ATTACKS_CELL_H
#define CSL_BENCH_ATTACKS_CELL_H

#include <consilium/communicator.h>
#include <consilium/hash.h>

enum {
    CSL_CELL_OVERRIDES_MAX = 160,
    CSL_CELL_TEXT_MAX = 192 /* bytes of an override, of a rule's or an attack's description */
};

/* What the grid asks for. rule: "nnm+multi-krum:select=3", pre-aggregators first; attack:
 * "alie:z=1" "label-flip", "backdoor+scaling", "none". */
typedef struct csl_attack_cell {
    const char *rule;
    const char *attack;
    uint64_t seed;
    uint32_t f; /* of every rule but a plain mean, which bears none */
    /* The study and the keys that are the same for all cells. */
    const char *study_path;
    const char *const *base; /* [base_count] */
    size_t base_count;
    /* Filled in by csl_attack_cell_resolve. */
    char text[CSL_CELL_OVERRIDES_MAX][CSL_CELL_TEXT_MAX];
    const char *overrides[CSL_CELL_OVERRIDES_MAX];
    size_t override_count;
    char sha256[CSL_SHA256_TEXT_SIZE]; /* of the study so changed; "" where it is refused */
} csl_attack_cell;

/* All shares and areas in 0..1; NaN where there is none. */
typedef struct csl_attack_result {
    char status[16];  /* ok, refused, no-quorum, diverged */
    char reason[256]; /* why it ended early; not kept in the CSV */
    double test_auc;  /* of the last global model, all institutions together */
    double test_accuracy;
    double test_balanced_accuracy;
    double best_auc; /* test, in the round that validation would choose */
    double selection_accuracy;
    double backdoor_success;
    double seconds;
    double hostile_weight; /* share of hostile updates in the aggregate */
} csl_attack_result;

/* The overrides of a cell. Errors: E_RANGE (too many or too long). A study that the overrides make
 * impossible is no error: sha256 stays empty, and csl_error_message says why. */
csl_status csl_attack_cell_resolve(csl_attack_cell *cell);
/* Trains it in `folder`, alone on `communicator`. A model that the attack ruins is a result, not an
 * error; what has another cause (data, disk, a signal) is one. */
csl_status csl_attack_cell_run(csl_communicator *communicator,
                               const csl_attack_cell *cell,
                               const char *folder,
                               void (*alive)(void *context),
                               void *context,
                               csl_attack_result *result_out);

#endif
