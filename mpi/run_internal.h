/* The state of a run in progress, shared by the run_*.c files. */
#ifndef CSL_RUN_INTERNAL_H
#define CSL_RUN_INTERNAL_H

#include <consilium/attack.h>
#include <consilium/federation.h>
#include <consilium/hash.h>
#include <consilium/metrics.h>
#include <consilium/partition.h>
#include <consilium/placement.h>
#include <consilium/report.h>
#include <consilium/robust.h>
#include <consilium/run.h>
#include <consilium/study.h>
#include <consilium/train.h>

#include "nccl_exchange.h"
#include "row_source.h"

enum { FACTS_NAMES_MAX = 160 };

/* What every rank knows of every institution; sent from its owner. */
typedef struct institution_facts {
    char site[CSL_NAME_MAX];
    csl_shape shape;
    uint32_t task;
    uint32_t class_count;
    uint64_t train_count;
    uint64_t validation_count;
    uint64_t test_count;
    uint64_t class_counts[CSL_CLASSES_MAX]; /* training labels */
    uint8_t class_names_sha256[CSL_SHA256_SIZE];
    char class_names[FACTS_NAMES_MAX]; /* for messages: "clear, nodule", cut; "" if unknown */
} institution_facts;

/* What an institution reports of its training in a round. */
typedef struct training_report {
    double image_count;
    double loss_mean;
    double seconds;
    double rate;
    double step_count;
    double refused; /* 1: it diverged, and what it submits is refused */
} training_report;

/* An institution with a shard on this rank. */
typedef struct local_institution {
    uint32_t index;
    bool owner; /* this rank holds its first shard and speaks for it */
    csl_dataset *dataset;
    bool poisoned;          /* its training images were changed */
    csl_dataset *triggered; /* owner, backdoor: test images with the trigger, or NULL */
    csl_normalisation normalisation;
    csl_institution_state *state; /* in csl_run_state */
    csl_trainer **trainers;       /* [shards here] kept over rounds if it is alone on the rank */
    float *last_model;            /* [parameter_count] for the cross-site matrix, or NULL */
    bool has_last_model;
} local_institution;

/* Hostile institutions: what they send, and what the rule made of it. */
typedef struct adversary_state {
    bool sends;                      /* an attack on updates */
    float *block;                    /* [hostile][own coordinates] */
    float *sent[CSL_ROWS_MAX];       /* rows of block */
    const float *rows[CSL_ROWS_MAX]; /* the round's rows with those of hostile institutions */
    uint32_t hostile[CSL_ROWS_MAX];  /* rows of the round that are hostile */
    uint32_t hostile_count;
    float *previous; /* [own coordinates] last aggregate */
    bool has_previous;
    csl_aggregate_memory *memory; /* of the attack */
    csl_attack_report report;     /* of the last round */
    /* Over all rounds since the first hostile one; judged: rows with a known weight. */
    uint64_t hostile_judged;
    uint64_t hostile_left_out;
    uint64_t honest_judged;
    uint64_t honest_kept;
    double hostile_weight_sum; /* of rounds whose weights are all known: hostile share of them */
    uint32_t weighed_rounds;
    /* The last evaluation of a backdoor: images with the trigger, taken for the target class. */
    int64_t triggered;
    int64_t succeeded;
} adversary_state;

typedef struct csl_federated_run {
    csl_communicator *communicator;
    const csl_run_options *options;
    uint32_t rank;
    uint32_t rank_count;
    csl_study *study;
    uint8_t study_digest[CSL_SHA256_SIZE];
    char study_sha256[CSL_SHA256_TEXT_SIZE];
    char home[CSL_PATH_MAX];      /* where the results belong; rank 0 */
    char directory[CSL_PATH_MAX]; /* where they are written */
    bool staged;     /* these differ: an earlier run's results are replaced at the end */
    int folder_lock; /* descriptor of home while this run writes there; -1 none */
    char data_directory[CSL_PATH_MAX]; /* of the institution files */
    char (*files)[CSL_PATH_MAX];       /* [institutions] */
    csl_placement placement;
    institution_facts *facts; /* [institutions] */
    char (*class_names)[CSL_NAME_MAX];
    uint32_t local_count;
    local_institution *locals; /* [local_count] in the order of training */
    csl_model_spec *spec;
    csl_tensor *tensors;
    uint32_t tensor_count;
    size_t parameter_count;
    csl_federation *federation;
    csl_run_state *state;
    csl_global_vector *weights; /* holds state->weights once it is there */
    char device_name[CSL_NAME_MAX];
    uint32_t device_count; /* one per shard that trains at the same time here */
    csl_device **devices;
    csl_device *host;        /* server steps, attacks */
    csl_sharding sharding;   /* who aggregates which coordinates */
    csl_device *aggregating; /* of the rule: the host, or a card of its own stream */
    csl_row_source source;
    csl_nccl *nccl;          /* NULL: updates go over host memory */
    float *device_aggregate; /* [own coordinates] on a card, else NULL */
    float *device_root;      /* the same, of a trusted update, where the rule takes one */
    csl_evaluator *evaluator;
    csl_collector *updates;
    csl_collector *controls;         /* SCAFFOLD */
    csl_aggregate_memory *memory;    /* of the rule, for this rank's coordinates */
    csl_aggregate_report *selection; /* of the last round; NULL before it */
    adversary_state adversary;
    const float *const *used_rows;      /* this rank's coordinates of what the rule got last */
    char (*device_names)[CSL_NAME_MAX]; /* [ranks] on rank 0 of a verbose run */
    bool claimed;                       /* rank 0: what the folder holds of a run is of this one */
    bool made_directory;                /* rank 0: the run's folder was not there before */
    uint32_t *sampled;                  /* [per_round] */
    training_report *reports;           /* [institutions], rank 0 */
    csl_news news;
    double began;  /* first round */
    double looked; /* at the progress, last */
    /* rank 0 only: files and the last evaluation */
    csl_line_file *metrics_file;
    csl_line_file *rounds_file;
    csl_metrics *validation; /* [institutions + 1], the last is the pool */
    csl_metrics *test;
    csl_metrics best_validation; /* of all images, of the best model; without confusion */
    csl_metrics best_test;
    bool evaluated;
    uint64_t memory_before; /* bytes of this process when the run began */
    int64_t *memory_sizes;  /* [ranks][2] before, at most; NULL before the end */
} csl_federated_run;

/* run_setup.c */
CSL_MUST_CHECK csl_status csl_run_load_study(csl_federated_run *run);
CSL_MUST_CHECK csl_status csl_run_open_institutions(csl_federated_run *run);
/* run_class_names.c */
/* The names of one institution's classes into zeroed facts. Errors: E_IO. */
CSL_MUST_CHECK csl_status csl_run_learn_class_names(const csl_dataset *dataset,
                                                    institution_facts *facts);
/* Rank 0 alone. Errors: E_FORMAT (the message names both files and both lists). */
CSL_MUST_CHECK csl_status csl_run_compare_class_names(const csl_federated_run *run);
/* After csl_study_model_spec, where it ran: layers that do not fit are the study's fault. */
CSL_MUST_CHECK csl_status csl_run_agree_on_network(const csl_federated_run *run, csl_status status);
CSL_MUST_CHECK csl_status csl_run_build_model(csl_federated_run *run);
/* From the study and the placement alone, so that what is wrong is told before data are read. */
CSL_MUST_CHECK csl_status csl_run_open_devices(csl_federated_run *run);
local_institution *csl_run_local(csl_federated_run *run, uint32_t institution);
void csl_run_clear(csl_federated_run *run);

/* run_data.c: rank 0 makes or finds the institution files */
CSL_MUST_CHECK csl_status csl_run_prepare_data(csl_federated_run *run);
/* Checks data.path: a pooled file, or a folder whose files are then in run->files. */
CSL_MUST_CHECK csl_status csl_run_find_files(csl_federated_run *run, bool *pooled_out);
/* How the study cuts a pool. The caller destroys the plan. Errors: those of csl_partition. */
CSL_MUST_CHECK csl_status csl_run_partition(const csl_federated_run *run,
                                            const csl_dataset *pool,
                                            csl_partition_plan **plan_out);
/* Refuses images from which nothing can be learnt; `path` is for the message. Errors: E_RANGE. */
CSL_MUST_CHECK csl_status csl_run_check_images(const char *path, const csl_dataset *dataset);

/* run_train.c */
CSL_MUST_CHECK csl_status csl_run_train_round(csl_federated_run *run, uint32_t round);
bool csl_run_is_stopped(const csl_federated_run *run);
/* Before the first round, wherever much is done at once. Not collective. Errors: E_STATE. */
CSL_MUST_CHECK csl_status csl_run_heed_stop(const csl_federated_run *run);
void csl_run_show_progress(csl_federated_run *run);
CSL_MUST_CHECK csl_status csl_run_report(csl_federated_run *run);

/* run_transport.c: collective; who aggregates, on which device, and how updates get there */
CSL_MUST_CHECK csl_status csl_run_open_aggregation(csl_federated_run *run);
/* Chooses the device that aggregates and sets run->nccl if the cards of the ranks can talk to each
 * other; else the reason. */
CSL_MUST_CHECK csl_status csl_run_find_cards(csl_federated_run *run, char *reason, size_t size);
/* Bytes of a rank's card for the updates that arrive and the own ones that leave, where cards talk
 * to each other, and how many they may be; more than that go over host memory. Not collective. */
uint64_t csl_run_card_rows_size(const csl_federated_run *run, uint32_t rank, uint32_t own_rows_max);
uint64_t csl_run_card_limit(const csl_federated_run *run);
/* Of the collector of updates; own_rows_max: updates of a round that the rank submits at most. */
csl_collector_options csl_run_collector_options(const csl_federated_run *run,
                                                uint32_t own_rows_max);
CSL_MUST_CHECK csl_status csl_run_check_aggregators(const csl_federated_run *run);
void csl_run_choose_aggregators(csl_federated_run *run);
void csl_run_clear_aggregation(csl_federated_run *run);
const char *csl_run_transport(const csl_federated_run *run);

/* run_aggregate.c */
CSL_MUST_CHECK csl_status csl_run_aggregate(csl_federated_run *run, uint32_t round);

/* run_evaluate.c */
CSL_MUST_CHECK csl_status csl_run_evaluate(csl_federated_run *run, uint32_t round);
/* values_out: [institutions + 1][institutions] on rank 0, rows: global model, then local ones. */
CSL_MUST_CHECK csl_status csl_run_cross_site(csl_federated_run *run, double *values_out);

/* run_adversary.c */
CSL_MUST_CHECK csl_status csl_run_open_adversary(csl_federated_run *run);
void csl_run_clear_adversary(csl_federated_run *run);
/* Hostile institutions on this rank change their training images, once, in their first round. */
CSL_MUST_CHECK csl_status csl_run_poison(csl_federated_run *run, uint32_t round);
/* Replaces what hostile institutions trained by what they send. Collective. */
CSL_MUST_CHECK csl_status csl_run_attack(csl_federated_run *run,
                                         csl_update_block *block,
                                         csl_aggregate_input *input);
/* Remembers the aggregate and counts what the rule left out. */
void csl_run_judge(csl_federated_run *run, const float *aggregate, uint32_t round);
bool csl_run_is_attacked(const csl_federated_run *run, uint32_t round);
/* Shares in 0..1, NaN where nothing was counted: rows the rule judged rightly, triggered images
 * taken for the target. */
double csl_run_selection_accuracy(const csl_federated_run *run);
/* Mean share of hostile updates in the aggregate's weights. */
double csl_run_hostile_weight(const csl_federated_run *run);
double csl_run_backdoor_success(const csl_federated_run *run);
void csl_run_add_attack(const csl_federated_run *run, uint32_t round, csl_event *event);
void csl_run_describe_attackers(const csl_federated_run *run, csl_text *text);
void csl_run_describe_outcome(const csl_federated_run *run, csl_text *text);

/* run_train.c: the trainers of an institution are made anew when next needed */
void csl_run_forget_trainers(csl_federated_run *run, local_institution *local);

/* run_selection.c: what the rule decided in the last round */
CSL_MUST_CHECK csl_status csl_run_add_selection(const csl_federated_run *run,
                                                uint32_t round,
                                                csl_event *event);
void csl_run_describe_selection(const csl_federated_run *run, csl_text *text);

/* run_memory.c: resets the process's peak; collective: all learn what each rank took; into an event
 */
void csl_run_begin_memory(csl_federated_run *run);
CSL_MUST_CHECK csl_status csl_run_share_memory(csl_federated_run *run);
void csl_run_add_memory(const csl_federated_run *run, csl_event *event);

/* run_updates.c: collective; writes the round's updates if the study keeps them. weights: [rows] */
CSL_MUST_CHECK csl_status csl_run_keep_updates(csl_federated_run *run,
                                               uint32_t round,
                                               const double *weights);

/* run_setup.c: collective; rank 0 of a verbose run learns what every rank computes on */
CSL_MUST_CHECK csl_status csl_run_share_devices(csl_federated_run *run);

/* run_personal.c: collective; the models of institutions whose batch norm stays with them, into
 * personal/ */
CSL_MUST_CHECK csl_status csl_run_write_personal(csl_federated_run *run);

/* run_folder.c: all on rank 0 only */
CSL_MUST_CHECK csl_status csl_run_claim_directory(csl_federated_run *run);
/* Lets other runs write there. */
void csl_run_release_directory(csl_federated_run *run);
/* Takes away what a run made that could not start; an earlier folder is left as it is. */
void csl_run_abandon_directory(const csl_federated_run *run);
/* Says where a run that ends early left its results, if not in the folder that was asked for. */
void csl_run_leave_unfinished(const csl_federated_run *run);
/* The complete results take the place of an earlier run's, by renaming alone: no room is needed. */
CSL_MUST_CHECK csl_status csl_run_publish(csl_federated_run *run);
/* path_out: [CSL_PATH_MAX] of a file of the run. */
CSL_MUST_CHECK csl_status csl_run_path(const csl_federated_run *run,
                                       const char *name,
                                       char *path_out);

/* run_output.c: all on rank 0 only */
CSL_MUST_CHECK csl_status csl_run_open_outputs(csl_federated_run *run);
CSL_MUST_CHECK csl_status csl_run_write_start(csl_federated_run *run);
CSL_MUST_CHECK csl_status csl_run_write_round(csl_federated_run *run,
                                              const csl_round_record *record,
                                              bool is_best);
/* Closes the files, publishes them, then shows the results. */
CSL_MUST_CHECK csl_status csl_run_write_end(csl_federated_run *run, const double *cross_site);
void csl_run_show(csl_federated_run *run, const csl_text *text);

#endif
