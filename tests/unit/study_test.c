#include "test_support.h"

#include <consilium/study.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static csl_status parse(const char *text, const csl_study_sources *sources, csl_study **study_out)
{
    return csl_study_parse("s.yaml", text, strlen(text), sources, study_out);
}

static void an_empty_file_gives_every_default(void)
{
    csl_study *study = NULL;
    CHECK_OK(parse("data: {path: x.h5}\n", NULL, &study));
    CU_ASSERT_PTR_NOT_NULL_FATAL(study);
    CU_ASSERT_STRING_EQUAL(study->name, "study");
    CU_ASSERT_STRING_EQUAL(study->device, "auto");
    CHECK_U64(study->rounds, 20);
    CHECK_U64(study->training.round_count, 20);
    CHECK_U64(study->institutions.per_round, 8);
    CHECK_NEAR(study->training.rate, 0.05f, 0.0);
    CHECK_NEAR(study->federation.server_rate, 1.0, 0.0);
    CHECK_NEAR(study->training.proximal_mu, 0.0, 0.0);
    CHECK_U64(study->federation.algorithm, CSL_FEDAVG);
    CU_ASSERT_STRING_EQUAL(study->aggregation.spec.rule, "mean");
    CHECK_U64(study->aggregation.spec.weights, CSL_WEIGHTS_GIVEN);
    csl_study_destroy(study);
    csl_study_destroy(NULL);
}

/* Some editors begin a file so, and end its lines so. */
static void a_byte_order_mark_and_carriage_returns_say_nothing(void)
{
    csl_study *study = NULL;
    CHECK_OK(parse("\xef\xbb\xbf"
                   "rounds: 3\r\ndata: {path: x.h5}\r\n",
                   NULL, &study));
    CU_ASSERT_PTR_NOT_NULL_FATAL(study);
    CHECK_U64(study->rounds, 3);
    CU_ASSERT_STRING_EQUAL(study->data.path, "x.h5");
    csl_study_destroy(study);
}

static void later_sources_win(void)
{
    static const char *const environment[] = {"PATH=/bin", "CONSILIUM_TRAINING_LR=0.2",
                                              "CONSILIUM_TRAINING_CLIP_NORM=3", NULL};
    static const char *const overrides[] = {"training.lr=0.3", "data.path=/a: b, [c]",
                                            "model.layers=[{kind: linear, channels: 2}]"};
    csl_study_sources sources = {overrides, 3, environment};
    csl_study *study = NULL;
    CHECK_OK(parse("training: {lr: 0.1, clip_norm: 1, batch: 7}\nseed: 18446744073709551615\n",
                   &sources, &study));
    CU_ASSERT_PTR_NOT_NULL_FATAL(study);
    CHECK_NEAR(study->training.rate, 0.3f, 0.0);
    CHECK_NEAR(study->training.clip_norm, 3.0, 0.0);
    CHECK_U64(study->training.batch, 7);
    CHECK_U64(study->seed, UINT64_MAX);
    CU_ASSERT_STRING_EQUAL(study->data.path, "/a: b, [c]");
    CHECK_U64(study->model.layer_count, 1);
    csl_study_destroy(study);
}

typedef struct bad_case {
    const char *text;
    csl_status status;
    const char *message; /* part of it */
} bad_case;

static void every_bad_case(const bad_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        csl_study *study = NULL;
        CHECK_STATUS(parse(cases[i].text, NULL, &study), cases[i].status);
        CHECK_CONTAINS(csl_error_message(), cases[i].message);
        CU_ASSERT_PTR_NULL(study);
    }
}

static void every_bad_file_names_the_place_and_what_was_expected(void)
{
    static const bad_case cases[] = {
        {"training:\n  learing_rate: 1\n", CSL_E_FORMAT, "s.yaml:2:3: unknown key 'training."},
        {"training: {momentun: 1}\n", CSL_E_FORMAT, "nearest is training.momentum"},
        {"trainig: {lr: 1}\n", CSL_E_FORMAT, "nearest is training"},
        {"aggregate: {rule: krum}\n", CSL_E_FORMAT, "nearest is aggregation"},
        {"data: {split: {schem: iid}}\n", CSL_E_FORMAT, "nearest is data.split.scheme"},
        {"training.lr: 1\n", CSL_E_FORMAT, "unknown key"},
        {"training: 5\n", CSL_E_FORMAT, "training: expected a section of keys, found '5'"},
        {"rounds: many\n", CSL_E_FORMAT, "s.yaml:1:9: rounds: expected a whole number"},
        {"rounds: 0\n", CSL_E_RANGE, "in [1, 1000000], found '0'"},
        {"rounds: -1\n", CSL_E_FORMAT, "rounds"},
        {"rounds: 1.5\n", CSL_E_FORMAT, "rounds"},
        {"rounds: 99999999999999999999999\n", CSL_E_RANGE, "rounds"},
        {"rounds: [1]\n", CSL_E_FORMAT, "found a list of 1"},
        {"rounds:\n", CSL_E_FORMAT, "found nothing"},
        {"training: {lr: 0}\n", CSL_E_RANGE, "a number in (0, 100]"},
        {"training: {lr: inf}\n", CSL_E_FORMAT, "training.lr"},
        {"training: {lr: nan}\n", CSL_E_FORMAT, "training.lr"},
        {"training: {lr: 0x1}\n", CSL_E_FORMAT, "training.lr"},
        {"training: {lr: 1e400}\n", CSL_E_RANGE, "training.lr"},
        {"training: {lr: '0.1'}\n", CSL_E_FORMAT, "found text '0.1'"},
        {"training: {momentum: 1}\n", CSL_E_RANGE, "[0, 1)"},
        {"training: {nesterov: yes}\n", CSL_E_FORMAT, "expected true or false"},
        {"training: {optimizer: sdg}\n", CSL_E_RANGE,
         "one of sgd, adamw, found 'sdg'; nearest is sgd"},
        {"seed: 1\nseed: 2\n", CSL_E_FORMAT, "s.yaml:2:1: repeated key 'seed', first on line 1"},
        {"seed: &a 1\nrounds: *a\n", CSL_E_FORMAT, "not allowed"},
        {"seed: !!int 1\n", CSL_E_FORMAT, "not allowed"},
        {"seed: 1\n---\nseed: 2\n", CSL_E_FORMAT, "second document"},
        {"- 1\n", CSL_E_FORMAT, "expected keys"},
        {"{[1]: 2}\n", CSL_E_FORMAT, "key must be plain text"},
        {"seed: [[[[[[[[[[1]]]]]]]]]]\n", CSL_E_FORMAT, "too deeply"},
        {"study: \"a\\0b\"\n", CSL_E_FORMAT, "control character"},
        {"study: \"a\\x9fb\"\n", CSL_E_FORMAT, "control character"},
        {"study: \"a\\Lb\"\n", CSL_E_FORMAT, "control character"},
        {"study: \"a\\uFFFF\"\n", CSL_E_FORMAT, "control character"},
        {"study: \xff\n", CSL_E_FORMAT, "byte 7 is not UTF-8"},
        {"seed: {\n", CSL_E_FORMAT, "not valid YAML"},
        {"data: {path: ''}\n", CSL_E_RANGE, "data.path: is not set"},
        {"data: {path: x}\nstudy: ''\n", CSL_E_RANGE, "s.yaml:2:8: study: expected a name"},
        {"study: ../../x\ndata: {path: x}\n", CSL_E_RANGE, "found '../../x'"},
        {"study: /x\ndata: {path: x}\n", CSL_E_RANGE, "found '/x'"},
        {"study: ..\ndata: {path: x}\n", CSL_E_RANGE, "found '..'"},
        {"data: {path: x}\ninstitutions: {count: 3, per_round: 4}\n", CSL_E_RANGE,
         "s.yaml:2:37: institutions.per_round: 4 of 3"},
        {"data: {path: x, split: {test_fraction: 0.6, validation_fraction: 0.5}}\n", CSL_E_RANGE,
         "nothing to train on"},
        {"data: {path: x}\nfederation: {algorithm: scaffold}\ntraining: {optimizer: adamw}\n",
         CSL_E_RANGE, "not of adamw"},
        {"data: {path: x}\nrounds: 5\ntraining: {warmup_rounds: 6}\n", CSL_E_RANGE, "6 of 5"},
        {"data: {path: x}\nmodel: {name: resnet18-82}\n", CSL_E_RANGE,
         "s.yaml:2:15: model.name: expected one of cnn-small, "},
        {"data: {path: x}\nmodel: {name: resnet18-82}\n", CSL_E_RANGE,
         "found 'resnet18-82'; nearest is resnet18-28"},
        {"data.split.force: true\n", CSL_E_FORMAT,
         "s.yaml:1:1: unknown key 'data.split.force'; what stands before a dot is a section: write "
         "'force' nested below data.split"},
        {"data: {split.alpha: 1}\n", CSL_E_FORMAT, "write 'alpha' nested below data.split"},
    };
    every_bad_case(cases, sizeof cases / sizeof *cases);
}

static void a_network_that_says_what_nothing_reads_is_refused(void)
{
    static const bad_case cases[] = {
        {"model: {layers: [{channels: 3}]}\n", CSL_E_FORMAT, "a layer without a kind"},
        {"model: {layers: [{kind: konv}]}\n", CSL_E_RANGE, "nearest is conv"},
        {"model: {layers: [{kind: conv, sizes: 3}]}\n", CSL_E_FORMAT, "nearest is size"},
        {"model: {layers: [{kind: conv, size: [1, 2, 3, 4]}]}\n", CSL_E_RANGE, "size"},
        {"model: {layers: 3}\n", CSL_E_FORMAT, "expected a list of at most"},
        {"model: {layers: [{kind: relu, channels: 3}]}\n", CSL_E_RANGE,
         "s.yaml:1:31: channels: only layers of kind conv and linear make use of it"},
        {"model: {layers: [{rate: 0.1, kind: add}]}\n", CSL_E_RANGE, "only layers of kind dropout"},
        {"model: {layers: [{kind: max-pool, dilation: 2}]}\n", CSL_E_RANGE, "kind conv make"},
        {"model: {layers: [{kind: linear, from: x}]}\n", CSL_E_RANGE, "kind add make"},
        {"data: {path: x}\nmodel: {name: cnn-small, norm: batch}\n", CSL_E_RANGE,
         "s.yaml:2:32: model.norm: cnn-small has no norm layers, expected default or none"},
        {"data: {path: x}\nmodel: {name: linear, norm: group}\n", CSL_E_RANGE, "no norm layers"},
        {"data: {path: x}\nmodel: {norm: batch, layers: [{kind: linear, channels: 2}]}\n",
         CSL_E_RANGE, "model.norm: expected default with model.layers"},
    };
    every_bad_case(cases, sizeof cases / sizeof *cases);
}

static void an_aggregation_that_cannot_work_is_refused_before_any_data_are_read(void)
{
    static const bad_case cases[] = {
        {"data: {path: x}\naggregation: {rule: krumm, f: 1}\n", CSL_E_RANGE,
         "s.yaml:2:21: aggregation.rule: no aggregation rule is called 'krumm'; did you mean "
         "'krum'?"},
        {"data: {path: x}\naggregation: {rule: krum, f: 4}\n", CSL_E_RANGE,
         "f = 4 is too large for 8 rows"},
        {"data: {path: x}\ninstitutions: {per_round: 6}\naggregation: {rule: krum, f: 2}\n",
         CSL_E_RANGE, "f = 2 is too large for 6 rows"},
        {"data: {path: x}\naggregation: {f: 1}\n", CSL_E_RANGE, "mean: f = 1 is too large"},
        {"data: {path: x}\naggregation: {rule: median, f: 1, tau: 3}\n", CSL_E_RANGE,
         "rule median has no parameter 'tau'"},
        {"data: {path: x}\naggregation: {rule: median, even: 0.5}\n", CSL_E_RANGE,
         "s.yaml:2:35: aggregation.even: parameter even: expected a whole number"},
        {"aggregation: {tau: some}\n", CSL_E_FORMAT, "expected auto or a number in [0, 1e30]"},
        {"aggregation: {tau: -1}\n", CSL_E_RANGE, "in [0, 1e30]"},
        {"data: {path: x}\naggregation: {rule: median, pre: [nmm]}\n", CSL_E_RANGE,
         "aggregation.pre: no pre-aggregator is called 'nmm'; did you mean 'nnm'?"},
        {"data: {path: x}\naggregation: {rule: nnm}\n", CSL_E_RANGE,
         "no aggregation rule is called 'nnm', which is a pre-aggregator"},
        {"data: {path: x}\naggregation: {pre: [median]}\n", CSL_E_RANGE,
         "no pre-aggregator is called 'median', which is a rule"},
        {"data: {path: x}\naggregation: {pre: [nnm, nnm, nnm, nnm, nnm]}\n", CSL_E_RANGE,
         "at most 4 names, found 5"},
        {"data: {path: x}\naggregation: {rule: krum, weights: given}\n", CSL_E_RANGE,
         "takes no weights"},
        {"data: {path: x}\naggregation: {rule: fltrust, root: 8}\n", CSL_E_RANGE,
         "aggregation.root: institution 8 of 8"},
        {"data: {path: x}\ninstitutions: {per_round: 5}\naggregation: {rule: fltrust}\n",
         CSL_E_RANGE, "needs the trusted institution's update in every round"},
        {"data: {path: x}\naggregation: {rule: monna, pivot: 8}\n", CSL_E_RANGE,
         "aggregation.pivot: institution 8 of 8"},
        {"data: {path: x}\ninstitutions: {per_round: 5}\naggregation: {rule: monna}\n", CSL_E_RANGE,
         "needs the trusted institution's update in every round"},
    };
    every_bad_case(cases, sizeof cases / sizeof *cases);
}

static void an_adversary_that_cannot_act_is_refused(void)
{
    static const bad_case cases[] = {
        {"data: {path: x}\nadversary: {attack: alie}\n", CSL_E_RANGE,
         "s.yaml:2:21: adversary.attack: name the hostile institutions"},
        {"data: {path: x}\nadversary: {data: backdoor}\n", CSL_E_RANGE, "adversary.data: name"},
        {"data: {path: x}\nadversary: {data: label-pair, count: 1, target_class: 1}\n", CSL_E_RANGE,
         "s.yaml:2:55: adversary.target_class: label-pair would turn class 1 into itself"},
        {"data: {path: x}\nadversary: {attack: aile, count: 1}\n", CSL_E_RANGE,
         "adversary.attack: no attack is called 'aile'; did you mean 'alie'?"},
        {"data: {path: x}\nadversary: {attack: alie, count: 9}\n", CSL_E_RANGE, "9 of 8"},
        {"data: {path: x}\nadversary: {attack: alie, count: 1, institutions: [2]}\n", CSL_E_RANGE,
         "adversary.count: adversary.institutions says"},
        {"data: {path: x}\nadversary: {attack: alie, institutions: [2, 8]}\n", CSL_E_RANGE,
         "institution 8 of 8"},
        {"data: {path: x}\nadversary: {attack: alie, institutions: [2, 3, 2]}\n", CSL_E_RANGE,
         "institution 2 is named twice"},
        {"data: {path: x}\nadversary: {attack: alie, count: 1, spread: 2}\n", CSL_E_RANGE,
         "attack alie has no parameter 'spread'"},
        {"data: {path: x}\nadversary: {attack: alie, count: 5, z: 0}\n", CSL_E_RANGE,
         "z_max of the paper is not a positive number with 5 hostile of 8"},
        {"data: {path: x}\ninstitutions: {count: 11, per_round: 10}\n"
         "adversary: {attack: alie, count: 3, z: 0}\n",
         CSL_E_RANGE, "with 1 hostile of 10"},
        {"data: {path: x}\nadversary: {attack: mimic, count: 1, target: 0.5}\n", CSL_E_RANGE,
         "adversary.target: parameter target: expected a whole number"},
        {"data: {path: x}\nadversary: {attack: fang-krum, count: 6}\n", CSL_E_RANGE,
         "it needs n >= f + 3"},
        {"data: {path: x}\nrounds: 4\nadversary: {attack: alie, count: 1, from_round: 5}\n",
         CSL_E_RANGE, "adversary.from_round: round 5 of 4: nobody would ever be hostile"},
        {"adversary: {data: labelflip}\n", CSL_E_RANGE, "nearest is label-flip"},
        {"adversary: {factor: -1e31}\n", CSL_E_RANGE, "in [-1e30, 1e30]"},
    };
    every_bad_case(cases, sizeof cases / sizeof *cases);
}

static void bad_overrides_and_variables_name_the_nearest(void)
{
    static const char *const bad[][2] = {{"training.momentun=1", "nearest is training.momentum"},
                                         {"training.lr", "expected key=value"},
                                         {"training.lr=fast", "--set training.lr: training.lr"},
                                         {"rounds=\x01", "control character"},
                                         {"model.layers=", "--set model.layers"}};
    csl_study *study = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        csl_study_sources sources = {&bad[i][0], 1, NULL};
        CU_ASSERT(parse("data: {path: x}\n", &sources, &study) != CSL_OK);
        CHECK_CONTAINS(csl_error_message(), bad[i][1]);
    }
    static const char *const environment[] = {"CONSILIUM_TRAINING_LRR=1", NULL};
    csl_study_sources sources = {NULL, 0, environment};
    CHECK_STATUS(parse("data: {path: x}\n", &sources, &study), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), "nearest is CONSILIUM_TRAINING_LR");
    CU_ASSERT_PTR_NULL(study);
}

static void missing_and_huge_files_are_refused(void)
{
    char path[512];
    csl_study *study = NULL;
    snprintf(path, sizeof path, "%s/absent.yaml", csl_test_directory());
    CHECK_STATUS(csl_study_load(path, NULL, &study), CSL_E_NOT_FOUND);
    CHECK_CONTAINS(csl_error_message(), "absent.yaml");
    snprintf(path, sizeof path, "%s/huge.yaml", csl_test_directory());
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < 200000; i++) {
        fputs("# filling\n", file);
    }
    fclose(file);
    CHECK_STATUS(csl_study_load(path, NULL, &study), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), "at most 1048576");
    CHECK_STATUS(csl_study_load(csl_test_directory(), NULL, &study), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), "expected a YAML file, found a folder");
    CU_ASSERT_PTR_NULL(study);
}

static const char full_text_[] =
    "study: \"a \\\"b\\\" \\\\ c: #d\"\nseed: 7\nrounds: 3\ndata: {path: 'x y.h5', split: {scheme: "
    "dirichlet-balanced, alpha: 0.1}}\n"
    "model:\n  name: own\n  layers:\n"
    "    - {name: c1, kind: conv, channels: 8, size: [3, 5], padding: 1, bias: false}\n"
    "    - {kind: group-norm, groups: 4}\n    - {kind: dropout, rate: 0.3}\n"
    "    - {kind: add, from: c1}\n    - {kind: linear, channels: 2}\n"
    "training: {lr: 0.033333, optimizer: adamw, schedule: cosine, augmentation: {shift: 2}}\n"
    "federation: {algorithm: fedyogi, tau: 0.0123}\noutput: {updates: all}\n"
    "aggregation: {rule: centered-clipping, f: 1, pre: [arc, nnm], tau: 0.1, iterations: 3}\n"
    "adversary: {attack: gaussian, data: backdoor, count: 2, deviation: 3, trigger: 4}\n";

static void a_written_study_reads_back_the_same(void)
{
    csl_study *study = NULL;
    csl_study *again = NULL;
    csl_text text = {0};
    csl_text second = {0};
    CHECK_OK(parse(full_text_, NULL, &study));
    CU_ASSERT_PTR_NOT_NULL_FATAL(study);
    CHECK_OK(csl_study_write(study, &text));
    CHECK_OK(parse(csl_text_string(&text), NULL, &again));
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    CHECK_OK(csl_study_write(again, &second));
    CU_ASSERT_STRING_EQUAL(csl_text_string(&text), csl_text_string(&second));
    CU_ASSERT_STRING_EQUAL(again->name, "a \"b\" \\ c: #d");
    CHECK_U64(again->model.layer_count, 5);
    CHECK_NEAR(again->training.rate, 0.033333f, 0.0);
    const csl_aggregate_spec *spec = &again->aggregation.spec;
    CU_ASSERT_STRING_EQUAL(spec->rule, "centered-clipping");
    CU_ASSERT_STRING_EQUAL(spec->pre[1], "nnm");
    CHECK_U64(spec->pre_count, 2);
    CU_ASSERT(spec->given[CSL_PARAMETER_TAU] && !spec->given[CSL_PARAMETER_NU]);
    CHECK_NEAR(spec->value[CSL_PARAMETER_TAU], 0.1, 0.0);
    CHECK_U64(spec->weights, CSL_WEIGHTS_EQUAL);
    CHECK_U64(spec->seed, 7);
    const csl_study_adversary *adversary = &again->adversary;
    CHECK_U64(adversary->institutions.count, 2);
    CHECK_U64(adversary->institutions.values[0], 6);
    CU_ASSERT(csl_study_is_hostile(again, 7) && !csl_study_is_hostile(again, 5));
    CHECK_NEAR(adversary->spec.value[CSL_ATTACK_DEVIATION], 3, 0.0);
    CU_ASSERT(!adversary->spec.given[CSL_ATTACK_MEAN]);
    CHECK_U64(adversary->poison.attack, CSL_DATA_ATTACK_BACKDOOR);
    CHECK_U64(adversary->poison.trigger_size, 4);
    csl_text_clear(&text);
    csl_text_clear(&second);
    csl_study_destroy(study);
    csl_study_destroy(again);
}

static void the_hash_follows_what_can_change_a_result(void)
{
    static const char *const texts[] = {"data: {path: x}\n", "data: {path: x}\nseed: 1\n",
                                        "data: {path: x}\ntraining: {threads: 2}\n"};
    uint8_t digests[4][CSL_SHA256_SIZE];
    csl_study *study = NULL;
    for (int i = 0; i < 3; i++) {
        CHECK_OK(parse(texts[i], NULL, &study));
        CHECK_OK(csl_study_sha256(study, digests[i]));
        csl_study_destroy(study);
    }
    CHECK_OK(parse("data: {path: x}\noutput: {updates: all}\n", NULL, &study));
    CHECK_OK(csl_study_sha256(study, digests[3]));
    csl_study_destroy(study);
    CU_ASSERT(memcmp(digests[0], digests[1], CSL_SHA256_SIZE) != 0);
    CU_ASSERT(memcmp(digests[0], digests[2], CSL_SHA256_SIZE) != 0);
    CU_ASSERT(memcmp(digests[0], digests[3], CSL_SHA256_SIZE) == 0);
}

/* CSL_WRITE_DOCS writes the page anew, for whoever changed the table. */
static void the_reference_in_docs_is_the_table(void)
{
    csl_text text = {0};
    CHECK_OK(csl_study_reference_markdown(&text));
    const char *path = CSL_SOURCE_DIR "/docs/STUDY.md";
    if (getenv("CSL_WRITE_DOCS")) {
        FILE *out = fopen(path, "w");
        CU_ASSERT_PTR_NOT_NULL_FATAL(out);
        fputs(csl_text_string(&text), out);
        fclose(out);
    }
    FILE *file = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char *page = calloc(1, text.size + 2);
    CU_ASSERT_PTR_NOT_NULL_FATAL(page);
    CHECK_U64(fread(page, 1, text.size + 1, file), text.size);
    fclose(file);
    CU_ASSERT_STRING_EQUAL(page, csl_text_string(&text));
    free(page);
    csl_text_clear(&text);
    CHECK_OK(csl_study_reference_man(&text));
    CHECK_CONTAINS(csl_text_string(&text), ".B training.lr\nlearning rate");
    csl_text_clear(&text);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"an empty file gives every default", an_empty_file_gives_every_default},
        {"a byte order mark says nothing", a_byte_order_mark_and_carriage_returns_say_nothing},
        {"later sources win", later_sources_win},
        {"every bad file names the place", every_bad_file_names_the_place_and_what_was_expected},
        {"a network that says what nothing reads is refused",
         a_network_that_says_what_nothing_reads_is_refused},
        {"an aggregation that cannot work is refused",
         an_aggregation_that_cannot_work_is_refused_before_any_data_are_read},
        {"an adversary that cannot act is refused", an_adversary_that_cannot_act_is_refused},
        {"bad overrides and variables", bad_overrides_and_variables_name_the_nearest},
        {"missing and huge files are refused", missing_and_huge_files_are_refused},
        {"a written study reads back the same", a_written_study_reads_back_the_same},
        {"the hash follows what can change a result", the_hash_follows_what_can_change_a_result},
        {"the reference in docs is the table", the_reference_in_docs_is_the_table},
    };
    return csl_test_main("study", cases, sizeof cases / sizeof *cases);
}
