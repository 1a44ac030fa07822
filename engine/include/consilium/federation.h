/*
 * The round as a pure step: sampling, updates, weights, the server's step, and the state of a run.
 *
 * Everything works on flat float32 vectors in host memory in the order of csl_model_spec_tensors.
 * All arithmetic is EXACT and acts on each coordinate alone: in float64 in the written order, one
 * rounding to float32 at the end. So a caller may cut the coordinates into any ranges [begin, begin
 * + count) and give each to another rank: pointers named shard_* point at coordinate `begin`. No
 * function here knows MPI, files or time. Not collective, all of it.
 */
#ifndef CONSILIUM_FEDERATION_H
#define CONSILIUM_FEDERATION_H

#include <consilium/hash.h>
#include <consilium/model.h>
#include <consilium/train.h>

typedef enum csl_algorithm {
    CSL_FEDAVG,   /* McMahan et al. 2017 */
    CSL_FEDPROX,  /* Li et al. 2020: FedAvg here, the proximal term acts in training */
    CSL_SCAFFOLD, /* Karimireddy et al. 2020, algorithm 1, option II */
    CSL_FEDADAM,  /* Reddi et al. 2021, algorithm 2 */
    CSL_FEDYOGI   /* the same */
} csl_algorithm;

/* What happens to batch norm. Group norm is unaffected. */
typedef enum csl_batch_norm_policy {
    CSL_BATCH_NORM_AVERAGE, /* scale and shift are trained and aggregated, running values averaged
                             */
    CSL_BATCH_NORM_LOCAL, /* FedBN (Li et al. 2021): all batch-norm tensors stay at the institution
                           */
    CSL_BATCH_NORM_FREEZE /* running values keep their initial 0 and 1; scale and shift are trained
                           */
} csl_batch_norm_policy;

typedef enum csl_weighting {
    CSL_WEIGHTING_SAMPLES, /* proportional to the institution's training images */
    CSL_WEIGHTING_EQUAL
} csl_weighting;

typedef struct csl_federation_options {
    csl_algorithm algorithm;
    float mu;          /* FedProx */
    float server_rate; /* eta of the server */
    float beta1;       /* FedAdam, FedYogi */
    float beta2;
    float tau; /* FedAdam, FedYogi: degree of adaptivity; second moments start at tau^2 */
    csl_batch_norm_policy batch_norm;
    csl_weighting weighting;
} csl_federation_options;

/* How the server treats a stretch of coordinates. */
typedef enum csl_treatment {
    CSL_TREAT_STEP,    /* the algorithm's step */
    CSL_TREAT_AVERAGE, /* w += aggregate, whatever the algorithm (running values) */
    CSL_TREAT_KEEP     /* never changes at the server */
} csl_treatment;

/* The coordinates by treatment; made once per run. Immutable after creation, thread-safe. */
typedef struct csl_federation csl_federation;

/* tensors: [tensor_count] in ascending order of offset, without gaps. Errors: E_RANGE (options),
 * E_SHAPE (gaps or overlaps), E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_federation_create(const csl_federation_options *options,
                                                        const csl_tensor *tensors,
                                                        uint32_t tensor_count,
                                                        csl_federation **federation_out);
CSL_API void csl_federation_destroy(csl_federation *federation);
CSL_API const csl_federation_options *csl_federation_get_options(const csl_federation *federation);
CSL_API size_t csl_federation_parameter_count(const csl_federation *federation);
CSL_API csl_treatment csl_federation_treatment(const csl_federation *federation, size_t coordinate);
/* Whether the algorithm exchanges control variates (SCAFFOLD), or keeps server moments. */
CSL_API bool csl_federation_has_control(const csl_federation *federation);
CSL_API bool csl_federation_has_moments(const csl_federation *federation);

/* The institutions of a round, ascending: `per_round` different ones of `institution_count`, a
 * function of (seed, round). institutions_out: [per_round]. Errors: E_RANGE unless 1 <= per_round
 * <= count. */
CSL_API CSL_MUST_CHECK csl_status csl_federation_sample(uint64_t seed,
                                                        uint32_t round,
                                                        uint32_t institution_count,
                                                        uint32_t per_round,
                                                        uint32_t *institutions_out);

/* Weights of the sampled institutions, normalised: samples[i] / sum in float64, or 1 / count.
 * Errors: E_RANGE (no institution, or no sample in any). */
CSL_API CSL_MUST_CHECK csl_status csl_federation_weights(csl_weighting weighting,
                                                         const uint64_t *samples,
                                                         uint32_t count,
                                                         double *weights_out);

/*
 * update = new - old, rounded once, -0.0 made +0.0; +0.0 where the treatment is KEEP. Works on
 * [begin, begin + count). shard_update_out may be shard_new. Errors: E_DIVERGED where the
 * difference is not finite (message names the first such coordinate); the output is then
 * unspecified.
 */
CSL_API CSL_MUST_CHECK csl_status csl_federation_update(const csl_federation *federation,
                                                        size_t begin,
                                                        size_t count,
                                                        const float *shard_old,
                                                        const float *shard_new,
                                                        float *shard_update_out);

/*
 * The server's step from the aggregate of the updates (D below) to the next global model:
 *   FedAvg, FedProx, SCAFFOLD: w = w + server_rate D
 *   FedAdam, FedYogi:  m = beta1 m + (1 - beta1) D
 *     FedAdam:         v = beta2 v + (1 - beta2) D^2
 *     FedYogi:         v = v - (1 - beta2) D^2 sign(v - D^2)
 *                      w = w + server_rate m / (sqrt(v) + tau)
 * shard_first, shard_second: server moments, NULL unless csl_federation_has_moments.
 * shard_aggregate, shard_weights and the moments: [count]. Errors: E_DIVERGED where a new weight or
 * moment is not finite; nothing is then changed.
 */
CSL_API CSL_MUST_CHECK csl_status csl_federation_apply(const csl_federation *federation,
                                                       size_t begin,
                                                       size_t count,
                                                       const float *shard_aggregate,
                                                       float *shard_weights,
                                                       float *shard_first,
                                                       float *shard_second);
/* Fills second moments with tau^2, as algorithm 2 asks (v_-1 >= tau^2), first moments with 0. */
CSL_API void csl_federation_initial_moments(const csl_federation *federation,
                                            size_t count,
                                            float *shard_first,
                                            float *shard_second);

/* SCAFFOLD. c: server's control variate, c_i: the institution's, both zero at the start. */

/* correction = c - c_i, what training adds to every gradient; 0 where the treatment is not STEP. */
CSL_API void csl_scaffold_correction(const csl_federation *federation,
                                     const float *server_control,
                                     const float *control,
                                     float *correction_out);
/*
 * What an update divided by gives the mean gradient along the way: K eta for plain SGD at a
 * constant rate, the sum of csl_train_rate over the steps of `round` (from 0) under a schedule.
 * With momentum b, step s moves by rate_s sum_{i <= s} b^(s - i) g_i, so that a constant gradient
 * acts (1 - b^(s + 1)) / (1 - b) times in it, one power more with Nesterov. Errors: E_RANGE (no
 * step, momentum outside 0..1, rates that add up to nothing).
 */
CSL_API CSL_MUST_CHECK csl_status csl_scaffold_divisor(const csl_train_options *options,
                                                       uint32_t round,
                                                       uint64_t step_count,
                                                       double *divisor_out);
/*
 * Option II: c_i+ = c_i - c - update / divisor (the paper writes (x - y_i) / (K eta), and update =
 * y_i - x). control becomes c_i+, difference_out = c_i+ - c_i. Errors: E_DIVERGED where not finite;
 * control is then unchanged.
 */
CSL_API CSL_MUST_CHECK csl_status csl_scaffold_control(const csl_federation *federation,
                                                       const float *server_control,
                                                       const float *update,
                                                       double divisor,
                                                       float *control,
                                                       float *difference_out);
/* c = c + (sampled_count / institution_count) mean difference, on a range of coordinates. */
CSL_API CSL_MUST_CHECK csl_status csl_scaffold_apply(const csl_federation *federation,
                                                     size_t begin,
                                                     size_t count,
                                                     const float *shard_difference,
                                                     uint32_t sampled_count,
                                                     uint32_t institution_count,
                                                     float *shard_server_control);

/* Batch norm that stays at the institution (policy `local`): its coordinates, packed. 0 otherwise.
 */
CSL_API size_t csl_federation_local_count(const csl_federation *federation);
/* Packs the local coordinates of a full vector; and puts them into one. */
CSL_API void
csl_federation_get_local(const csl_federation *federation, const float *vector, float *local_out);
CSL_API void
csl_federation_set_local(const csl_federation *federation, const float *local, float *vector);

/*
 * All state of a run, in one place. A rank holds the institutions it trains; their number may
 * differ from rank to rank. Arrays that the algorithm does not need are NULL. Functions own
 * everything in it.
 */
typedef struct csl_institution_state {
    uint32_t institution;
    float *control;   /* [parameter_count] SCAFFOLD's c_i */
    float *local;     /* [local_count] its batch norm */
    float *optimizer; /* [optimizer_count], 0 with a fresh optimiser each round */
    size_t optimizer_count;
} csl_institution_state;

typedef struct csl_run_state {
    uint8_t study_sha256[CSL_SHA256_SIZE];
    uint32_t round; /* rounds completed */
    size_t parameter_count;
    size_t local_count;
    float *weights; /* [parameter_count] global model */
    float *first;   /* [parameter_count] server moments */
    float *second;
    float *control;      /* [parameter_count] SCAFFOLD's c */
    uint32_t best_round; /* round whose model is best, 0: the initial model or none yet */
    bool has_best;
    double best_score;          /* by validation, larger is better */
    float *best_weights;        /* [parameter_count] */
    uint32_t institution_count; /* held here */
    csl_institution_state *institutions;
} csl_run_state;

/* Zero rounds done; weights: [parameter_count] copied; moments and controls at their start; local
 * from the weights. institutions: ids held here. optimizer_counts: [institution_count] or NULL for
 * none. */
CSL_API CSL_MUST_CHECK csl_status csl_run_state_create(const csl_federation *federation,
                                                       const float *weights,
                                                       const uint32_t *institutions,
                                                       uint32_t institution_count,
                                                       const size_t *optimizer_counts,
                                                       csl_run_state **state_out);
CSL_API void csl_run_state_destroy(csl_run_state *state);
/* Keeps the present weights as the best if score is larger than any before (NaN never is); returns
 * whether it did. */
CSL_API bool csl_run_state_offer_best(csl_run_state *state, double score);

/* One array of the state: for code that writes or reads it piece by piece. */
typedef struct csl_state_section {
    char name[CSL_NAME_MAX]; /* "weights", "institution/3/control" */
    int64_t institution;     /* -1: the run's own, the same on every rank */
    float *values;           /* lent, to be read or overwritten */
    size_t count;
} csl_state_section;
CSL_API uint32_t csl_run_state_section_count(const csl_run_state *state);
CSL_API CSL_MUST_CHECK csl_status csl_run_state_section(const csl_run_state *state,
                                                        uint32_t index,
                                                        csl_state_section *section_out);

/* All of it as bytes (little endian, SHA-256 at the end), allocated with malloc, owned by the
 * caller. */
CSL_API CSL_MUST_CHECK csl_status csl_run_state_encode(const csl_run_state *state,
                                                       uint8_t **bytes_out,
                                                       size_t *size_out);
/* The reverse. Errors: E_FORMAT (not such bytes, message names offset), E_VERIFY (digest),
 * E_NO_MEMORY. */
CSL_API CSL_MUST_CHECK csl_status csl_run_state_decode(const void *bytes,
                                                       size_t size,
                                                       csl_run_state **state_out);

#endif
