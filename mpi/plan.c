/* `consilium run --plan`: what a run needs, from formulas and one measured training step. */
#include "run_internal.h"

#include <consilium/files.h>
#include <consilium/log.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The data as far as a plan needs it: one set of images to measure with, and the numbers of all. */
typedef struct plan_data {
    csl_dataset *sample;
    uint64_t counts[3]; /* training, validation, test images */
    uint64_t size;      /* bytes of images */
    bool pooled;        /* one file, that rank 0 cuts into institutions */
} plan_data;

static csl_status add_file(const char *path, uint32_t institution_count, plan_data *data)
{
    csl_dataset *dataset = NULL;
    CSL_TRY(csl_dataset_read(path, &dataset));
    csl_status status = csl_run_check_images(path, dataset);
    const csl_dataset *first = data->sample;
    if (status == CSL_OK && first &&
        (memcmp(&first->shape, &dataset->shape, sizeof first->shape) != 0 ||
         first->task != dataset->task || first->class_count != dataset->class_count)) {
        status =
            csl_fail(CSL_E_SHAPE, "%s: images of another shape or task than those before", path);
    }
    if (status != CSL_OK) {
        csl_dataset_destroy(dataset);
        return status;
    }
    for (int split = 0; split < 3; split++) {
        data->counts[split] += csl_dataset_split_count(dataset, (csl_split)split);
    }
    data->size += dataset->count * csl_dataset_image_size(dataset);
    if (data->sample) {
        csl_dataset_destroy(dataset);
        return CSL_OK;
    }
    data->sample = dataset;
    if (!dataset->site[0]) { /* as a run would name it */
        csl_partition_site_name(0, institution_count, dataset->site);
    }
    return CSL_OK;
}

static csl_status add_files(csl_federated_run *run, plan_data *data)
{
    uint32_t count = run->study->institutions.count;
    run->files = calloc(count, sizeof *run->files);
    if (!run->files) {
        return csl_fail(CSL_E_NO_MEMORY, "names of files");
    }
    bool pooled = false;
    CSL_TRY(csl_run_find_files(run, &pooled));
    data->pooled = pooled;
    if (pooled) {
        return add_file(run->study->data.path, count, data);
    }
    for (uint32_t i = 0; i < count; i++) {
        CSL_TRY(add_file(run->files[i], count, data));
    }
    return CSL_OK;
}

/* Seconds that one training image takes on this machine: the second of two short rounds, the first
 * pays for preparation. */
static csl_status measure_image(csl_federated_run *run, const csl_dataset *sample, double *seconds)
{
    csl_normalisation normalisation;
    CSL_TRY(csl_normalisation_measure(sample, &normalisation));
    csl_train_options options = run->study->training;
    options.local_steps = 3;
    options.warmup_rounds = 0;
    csl_trainer *trainer = NULL;
    CSL_TRY(csl_trainer_create(run->devices[0], run->spec, sample, &normalisation, &options, NULL,
                               &trainer));
    float *parameters = malloc(run->parameter_count * sizeof *parameters);
    csl_status status = parameters ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "parameters");
    csl_train_result result = {0};
    for (uint32_t round = 1; round <= 2 && status == CSL_OK; round++) {
        status = csl_model_initialise(run->spec, run->study->seed, parameters);
        if (status == CSL_OK) {
            status = csl_trainer_round(trainer, round, parameters, NULL, NULL, NULL, &result);
        }
    }
    if (status == CSL_OK && result.image_count > 0) {
        *seconds = result.seconds / (double)result.image_count;
    }
    free(parameters);
    csl_trainer_destroy(trainer);
    return status;
}

typedef struct rank_memory {
    uint64_t model;    /* global model, best model, server state, an institution's own vectors */
    uint64_t training; /* activations, gradients, optimiser */
    uint64_t evaluation;
    uint64_t receive;
    uint64_t rule; /* aggregate, hostile updates, what the rule keeps from round to round */
    uint64_t images;
    uint64_t card;     /* of it on the cards of this rank */
    uint64_t together; /* at most, without what is on cards */
} rank_memory;

static bool trains_on_card(const csl_federated_run *run)
{
    return strncmp(run->device_name, "cuda:", 5) == 0;
}

/* Vectors of a rank's coordinates beside the updates. */
static csl_status count_rule_vectors(const csl_study *study, uint64_t *count_out)
{
    const csl_rule_info *rule = NULL;
    CSL_TRY(csl_rule_find(study->aggregation.spec.rule, &rule));
    *count_out = 1;
    if (rule->needs & CSL_NEEDS_CENTRE) {
        *count_out += 1;
    }
    if (rule->needs & CSL_NEEDS_HISTORY) {
        *count_out += study->institutions.count;
    }
    if (strcmp(study->adversary.spec.attack, "none") != 0) {
        *count_out += study->adversary.institutions.count + 1;
        if (study->adversary.spec.value[CSL_ATTACK_WARMUP] > 0) { /* sums of what each has sent */
            *count_out += study->institutions.count;
        }
    }
    return CSL_OK;
}

/* Vectors of all coordinates that a rank keeps or works on. */
static uint64_t count_vectors(const csl_federated_run *run, uint32_t institutions, uint32_t shards)
{
    const csl_study *study = run->study;
    bool control = csl_federation_has_control(run->federation);
    return 2 + shards + (csl_federation_has_moments(run->federation) ? 2u : 0u) +
           (control ? 3 + institutions : 0u) + (study->evaluation.cross_site ? institutions : 0u) +
           (csl_federation_local_count(run->federation) > 0 ? 1u : 0u);
}

/* On the host a convolution keeps its weights in oneDNN's order, one for each direction of
 * training. */
enum { WEIGHT_ORDERS_MAX = 3 };

static uint64_t count_convolution_weights(const csl_federated_run *run)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < run->tensor_count; i++) {
        const csl_tensor *tensor = &run->tensors[i];
        count += tensor->layer_kind == CSL_LAYER_CONV ? tensor->count : 0;
    }
    return count;
}

static uint64_t larger(uint64_t left, uint64_t right)
{
    return left > right ? left : right;
}

/* Training and evaluation on the host, or on the rank's cards, one for each shard at a time. */
static csl_status count_networks(const csl_federated_run *run,
                                 const csl_dataset *sample,
                                 uint32_t shards,
                                 rank_memory *memory)
{
    const csl_study *study = run->study;
    uint32_t ranks_each = study->institutions.ranks_each;
    uint32_t part = (study->training.batch + ranks_each - 1) / ranks_each;
    uint64_t trainer = 0;
    uint64_t evaluator = 0;
    CSL_TRY(csl_trainer_memory_size(run->spec, &study->training, sample->type, ranks_each,
                                    csl_federation_has_control(run->federation), &trainer));
    CSL_TRY(
        csl_evaluator_memory_size(run->spec, sample->type, study->evaluation.batch, &evaluator));
    if (trains_on_card(run)) {
        uint64_t kept[2] = {0, 0};
        uint64_t scratch[2] = {0, 0};
        CSL_TRY(csl_model_card_memory_size(run->spec, part, &kept[0], &scratch[0]));
        CSL_TRY(
            csl_model_card_memory_size(run->spec, study->evaluation.batch, &kept[1], &scratch[1]));
        memory->training = shards * (trainer + kept[0] + scratch[0]);
        /* The evaluator shares the scratch memory of the first shard's card. */
        memory->evaluation = evaluator + kept[1] + larger(scratch[1], scratch[0]) - scratch[0];
        memory->card = memory->training + memory->evaluation;
    } else {
        uint64_t reordered = count_convolution_weights(run) * sizeof(float);
        memory->training = shards * (trainer + WEIGHT_ORDERS_MAX * reordered);
        memory->evaluation = evaluator + reordered;
    }
    return CSL_OK;
}

/* The larger split's probabilities and labels: at the institutions, and on rank 0 of all of them
 * and once more of the pool that they make. */
static uint64_t count_scores(const csl_federated_run *run,
                             const plan_data *data,
                             uint32_t rank,
                             uint32_t institutions)
{
    uint64_t images = larger(data->counts[1], data->counts[2]);
    uint64_t size = sizeof(int32_t) + data->sample->class_count * sizeof(float);
    return rank == 0 ? 2 * images * size
                     : images * institutions / run->study->institutions.count * size;
}

static uint32_t count_owned(const csl_federated_run *run, uint32_t rank)
{
    uint32_t owned = 0;
    for (uint32_t i = 0; i < run->study->institutions.count; i++) {
        owned += csl_placement_owner(&run->placement, i) == rank;
    }
    uint32_t rows = run->study->institutions.per_round;
    return owned < rows ? owned : rows;
}

/* Rows larger than the limit lie in a file where ranks can share it. */
static bool may_use_files(const csl_federated_run *run)
{
    return run->options->transport != CSL_TRANSPORT_MESSAGES &&
           csl_communicator_local_size(run->communicator) == run->rank_count;
}

/* The updates of a round and what the rule makes of them; where the card aggregates, it holds them
 * or a part of them, the aggregate, and what the rule keeps, and the host the aggregate too. */
static csl_status count_exchange(const csl_federated_run *run, uint32_t rank, rank_memory *memory)
{
    const csl_study *study = run->study;
    uint64_t vector = run->parameter_count * sizeof(float);
    uint64_t own = csl_shard_of(&run->sharding, rank).count * sizeof(float);
    csl_collector_options options = csl_run_collector_options(run, count_owned(run, rank));
    uint64_t collector = csl_collector_size(&run->sharding, &options, may_use_files(run), rank);
    uint64_t controls = csl_federation_has_control(run->federation) ? collector : 0;
    uint64_t vectors = 0;
    CSL_TRY(count_rule_vectors(study, &vectors));
    memory->receive = collector + controls;
    memory->rule = vectors * own;
    if (!trains_on_card(run) || run->aggregating == run->host) {
        return CSL_OK;
    }
    const csl_rule_info *rule = NULL;
    CSL_TRY(csl_rule_find(study->aggregation.spec.rule, &rule));
    uint64_t limit = csl_run_card_limit(run);
    uint64_t rows = csl_run_card_rows_size(run, rank, count_owned(run, rank));
    uint64_t staged = study->institutions.per_round * own;
    if (run->nccl && rows <= limit) {
        memory->receive = vector + controls;
        memory->card += rows + CSL_CUDA_SCRATCH_MIN; /* NCCL opens the card once more */
    } else {
        memory->card += staged < limit ? staged : limit;
    }
    memory->card += vectors * own + (rule->needs & CSL_NEEDS_ROOT ? own : 0);
    memory->rule = own;
    return CSL_OK;
}

/* docs/ARCHITECTURE.md, "Memory of a rank". */
static csl_status count_memory(const csl_federated_run *run,
                               const plan_data *data,
                               uint32_t rank,
                               rank_memory *memory)
{
    const csl_study *study = run->study;
    uint64_t vector = run->parameter_count * sizeof(float);
    uint32_t institutions = csl_placement_count(&run->placement, rank);
    uint32_t first = 0;
    uint32_t end = 0;
    csl_placement_shards(&run->placement, rank, &first, &end);
    uint32_t shards =
        end - first < study->institutions.ranks_each ? end - first : study->institutions.ranks_each;
    uint64_t kept = csl_train_state_count(&study->training, run->parameter_count) +
                    csl_federation_local_count(run->federation);
    memory->model =
        count_vectors(run, institutions, shards) * vector + institutions * kept * sizeof(float);
    CSL_TRY(count_networks(run, data->sample, shards, memory));
    CSL_TRY(count_exchange(run, rank, memory));
    memory->images = data->size / study->institutions.count * institutions;
    if (study->adversary.poison.attack == CSL_DATA_ATTACK_BACKDOOR) { /* test images once more */
        uint64_t count = data->counts[0] + data->counts[1] + data->counts[2];
        memory->images += memory->images / count * data->counts[2];
    }
    uint64_t networks = trains_on_card(run) ? 0 : memory->training + memory->evaluation;
    memory->together = memory->model + networks + memory->receive + memory->rule + memory->images +
                       count_scores(run, data, rank, institutions);
    if (rank == 0 && data->pooled) { /* the pool and a part of it, before anything else */
        uint64_t cutting = data->size + data->size / study->institutions.count;
        memory->together = larger(cutting, memory->together);
    }
    return CSL_OK;
}

static void format_size(uint64_t size, char *text, size_t capacity)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)size;
    size_t unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(text, capacity, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

/* Three digits in the unit a person would use. */
static void format_duration(double seconds, char *text, size_t capacity)
{
    static const struct {
        double end; /* the unit is used below so many seconds */
        double size;
        const char *name;
    } units[] = {{1e-3, 1e-6, "us"}, {1, 1e-3, "ms"},     {120, 1, "s"},
                 {7200, 60, "min"},  {172800, 3600, "h"}, {INFINITY, 86400, "days"}};
    size_t unit = 0;
    while (unit + 1 < sizeof units / sizeof *units && !(seconds < units[unit].end)) {
        unit++;
    }
    double value = seconds / units[unit].size;
    snprintf(text, capacity, "%.*f %s", value < 10 ? 1 : 0, value, units[unit].name);
}

static csl_status
add_rank(const csl_federated_run *run, const plan_data *data, uint32_t rank, csl_table *table)
{
    rank_memory memory = {0};
    CSL_TRY(count_memory(run, data, rank, &memory));
    const uint64_t sizes[] = {memory.model, memory.training, memory.evaluation, memory.receive,
                              memory.rule,  memory.images,   memory.card,       memory.together};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    char cells[2 + SIZES][32];
    snprintf(cells[0], sizeof cells[0], "%u", rank);
    snprintf(cells[1], sizeof cells[1], "%u", csl_placement_count(&run->placement, rank));
    for (size_t i = 0; i < SIZES; i++) {
        format_size(sizes[i], cells[2 + i], sizeof cells[2 + i]);
    }
    const char *host = csl_communicator_host(run->communicator, rank);
    csl_table_add_row(
        table, trains_on_card(run)
                   ? (const char *const[]){cells[0], host, cells[1], cells[2], cells[3], cells[4],
                                           cells[5], cells[6], cells[7], cells[8], cells[9]}
                   : (const char *const[]){cells[0], host, cells[1], cells[2], cells[3], cells[4],
                                           cells[5], cells[6], cells[7], cells[9]});
    return CSL_OK;
}

static csl_status add_memory(const csl_federated_run *run, const plan_data *data, csl_text *text)
{
    static const char *const of_host[] = {
        "rank",           "node", "institutions", "model",    "training", "evaluation",
        "receive buffer", "rule", "images",       "together", NULL};
    static const char *const of_card[] = {"rank",     "node",       "institutions",   "model",
                                          "training", "evaluation", "receive buffer", "rule",
                                          "images",   "on cards",   "on the host",    NULL};
    csl_table *table = NULL;
    CSL_TRY(csl_table_create(trains_on_card(run) ? of_card : of_host, &table));
    csl_status status = CSL_OK;
    for (uint32_t rank = 0; rank < run->rank_count && status == CSL_OK; rank++) {
        status = add_rank(run, data, rank, table);
    }
    if (status == CSL_OK) {
        status = csl_table_render(table, text);
    }
    csl_table_destroy(table);
    return status;
}

/* Seconds of the whole run, if institutions are of equal size and ranks beyond the cores share. */
static double
estimate_seconds(const csl_federated_run *run, const plan_data *data, double image_seconds)
{
    const csl_study *study = run->study;
    double images = (double)data->counts[0] / study->institutions.count;
    if (study->training.local_steps > 0) {
        images = study->training.local_steps * fmin(study->training.batch, images);
    } else {
        images *= study->training.local_epochs;
    }
    double busiest = ceil((double)study->institutions.per_round / run->rank_count);
    double shards = fmin(study->institutions.ranks_each,
                         fmax(1, (double)run->rank_count / study->institutions.count));
    double cores = csl_communicator_local_cores(run->communicator);
    double wanted = csl_communicator_local_size(run->communicator) * (double)study->threads;
    double crowding = strncmp(run->device_name, "host", 4) == 0 ? fmax(1, wanted / cores) : 1;
    double forward = 0;
    double training = 1;
    csl_model_spec_operations(run->spec, &forward, &training);
    double evaluations = study->evaluation.every_rounds
                             ? 1 + ceil((double)study->rounds / study->evaluation.every_rounds)
                             : 1;
    double evaluated = (double)(data->counts[1] + data->counts[2]) /
                       fmin(run->rank_count, study->institutions.count);
    return crowding * image_seconds *
           (study->rounds * busiest * images / shards +
            evaluations * evaluated * forward / training);
}

static csl_status
add_costs(const csl_federated_run *run, const plan_data *data, double image_seconds, csl_text *text)
{
    const csl_study *study = run->study;
    uint64_t vectors = csl_federation_has_control(run->federation) ? 2 : 1;
    uint64_t up = vectors * study->institutions.per_round * run->parameter_count * sizeof(float);
    uint64_t down = vectors * run->rank_count * run->parameter_count * sizeof(float);
    char sizes[2][32];
    format_size(up, sizes[0], sizeof sizes[0]);
    format_size(down, sizes[1], sizeof sizes[1]);
    double seconds = estimate_seconds(run, data, image_seconds);
    char durations[2][32];
    format_duration(seconds, durations[0], sizeof durations[0]);
    format_duration(seconds / study->rounds, durations[1], sizeof durations[1]);
    csl_text_format(
        text,
        "\nA round sends %s of updates and brings %s of global models back.\n"
        "Measured here on %s: %.0f training images a second.\n"
        "Training and evaluating for %u round%s should take about %s, %s a round, if the "
        "institutions are of equal size.\n",
        sizes[0], sizes[1], csl_device_get_info(run->devices[0])->description, 1 / image_seconds,
        study->rounds, study->rounds == 1 ? "" : "s", durations[0], durations[1]);
    return csl_text_status(text);
}

static csl_status look_at_data(csl_federated_run *run, plan_data *data)
{
    CSL_TRY(add_files(run, data));
    if (data->counts[0] == 0) {
        return csl_fail(CSL_E_RANGE, "%s: no training images", run->study->data.path);
    }
    if (data->pooled) { /* whether it can be cut as the study says */
        csl_partition_plan *plan = NULL;
        CSL_TRY(csl_run_partition(run, data->sample, &plan));
        csl_partition_plan_destroy(plan);
    }
    return csl_poison_check(data->sample, &run->study->adversary.poison);
}

static csl_status choose_network(csl_federated_run *run, const csl_dataset *sample)
{
    return csl_study_model_spec(run->study, sample->shape, sample->task, sample->class_count,
                                &run->spec);
}

static csl_status describe_plan(csl_federated_run *run, const plan_data *data, csl_text *text)
{
    CSL_TRY(csl_model_spec_tensors(run->spec, &run->tensors, &run->tensor_count,
                                   &run->parameter_count));
    CSL_TRY(csl_federation_create(&run->study->federation, run->tensors, run->tensor_count,
                                  &run->federation));
    csl_run_choose_aggregators(run);
    double image_seconds = 0;
    CSL_TRY(measure_image(run, data->sample, &image_seconds));
    csl_text_format(text,
                    "Plan of study %s: %u institutions, %llu training, %llu validation, %llu test "
                    "images; %s with %zu parameters.\n\n",
                    run->study->name, run->study->institutions.count,
                    (unsigned long long)data->counts[0], (unsigned long long)data->counts[1],
                    (unsigned long long)data->counts[2], run->spec->name, run->parameter_count);
    CSL_TRY(add_memory(run, data, text));
    return add_costs(run, data, image_seconds, text);
}

/* Rank 0 alone reads the data, measures and counts. Collective. */
static csl_status plan_on_first_rank(csl_federated_run *run, plan_data *data, csl_text *text)
{
    bool first = run->rank == 0;
    CSL_TRY(csl_agree(run->communicator, first ? look_at_data(run, data) : CSL_OK));
    CSL_TRY(csl_run_agree_on_network(run, first ? choose_network(run, data->sample) : CSL_OK));
    return csl_agree(run->communicator, first ? describe_plan(run, data, text) : CSL_OK);
}

csl_status csl_run_plan(csl_communicator *communicator, const csl_run_options *options)
{
    csl_federated_run run = {
        .communicator = communicator,
        .options = options,
        .rank = csl_communicator_rank(communicator),
        .rank_count = csl_communicator_size(communicator),
        .folder_lock = -1,
    };
    plan_data data = {0};
    csl_text text = {0};
    csl_status status = csl_run_load_study(&run);
    if (status == CSL_OK) {
        run.placement = (csl_placement){.institution_count = run.study->institutions.count,
                                        .ranks_each = run.study->institutions.ranks_each,
                                        .rank_count = run.rank_count};
        status = csl_run_open_devices(&run);
    }
    char reason[256] = "";
    if (status == CSL_OK) {
        status = csl_run_find_cards(&run, reason, sizeof reason);
    }
    if (status == CSL_OK) {
        status = plan_on_first_rank(&run, &data, &text);
    }
    if (status == CSL_OK && run.rank == 0) {
        csl_run_show(&run, &text);
    }
    csl_text_clear(&text);
    csl_dataset_destroy(data.sample);
    csl_run_clear(&run);
    return status;
}
