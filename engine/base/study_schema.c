/*
 * Every key of the study file. A row: path, type, default, accepted values, unit, meaning,
 * destination. Rows of one section stand together; a section's keys without subsections come first.
 */
#include "study_schema.h"

#define AT(member)           offsetof(csl_study, member), sizeof(((csl_study *)NULL)->member), false
#define AT_NO_EFFECT(member) offsetof(csl_study, member), sizeof(((csl_study *)NULL)->member), true
#define IN_LAYER(member)                                                                           \
    offsetof(csl_study_layer, member), sizeof(((csl_study_layer *)NULL)->member), false

/* A row for each parameter of the registry of rules, so that none can be missing here. */
#define AGGREGATION_PARAMETER(symbol, name, paper, byzfl, least, largest, whole, text)             \
    {"aggregation." name,                                                                          \
     CSL_STUDY_OPTIONAL,                                                                           \
     "auto",                                                                                       \
     "[" #least ", " #largest "]",                                                                 \
     "",                                                                                           \
     text,                                                                                         \
     AT(aggregation.parameters[CSL_PARAMETER_##symbol])},

/* The same for attacks. The default and the range are in csl_attack_parameters. */
#define ADVERSARY_PARAMETER(symbol, name, preset, least, largest, whole, text)                     \
    {"adversary." name,                                                                            \
     CSL_STUDY_OPTIONAL,                                                                           \
     "auto",                                                                                       \
     "[" #least ", " #largest "]",                                                                 \
     "",                                                                                           \
     text,                                                                                         \
     AT(adversary.parameters[CSL_ATTACK_##symbol])},

const csl_study_key csl_study_keys[] = {
    {"study", CSL_STUDY_TEXT, "study", NULL, "", "name of the study", AT(name)},
    {"seed", CSL_STUDY_U64, "0", NULL, "", "everything random follows from it", AT(seed)},
    {"rounds", CSL_STUDY_U32, "20", "[1, 1000000]", "rounds", "rounds of the federation",
     AT(rounds)},
    {"device", CSL_STUDY_TEXT, "auto", NULL, "",
     "host, host:guard, cuda:0, ..., or auto: the first GPU, else the host", AT(device)},

    {"data.path", CSL_STUDY_TEXT, "", NULL, "",
     "a pooled HDF5 file that is partitioned, or a folder with one file per institution; a "
     "relative "
     "path begins in the folder the program is started in",
     AT(data.path)},
    {"data.split.scheme", CSL_STUDY_ENUM, "iid",
     "iid|dirichlet|dirichlet-balanced|dirichlet-institution|label-quantity|shards|"
     "quantity-dirichlet|quantity-lognormal|quantity-linear|quantity-square|quantity-exponential|"
     "feature-noise|feature-scanner|natural",
     "", "how a pooled file becomes institutions", AT(data.split.scheme)},
    {"data.split.alpha", CSL_STUDY_F64, "0.5", "(0, 1000000]", "",
     "concentration of the Dirichlet schemes; small is uneven", AT(data.split.alpha)},
    {"data.split.labels_each", CSL_STUDY_U32, "2", "[1, 256]", "classes",
     "label-quantity: classes of one institution", AT(data.split.labels_each)},
    {"data.split.shards_each", CSL_STUDY_U32, "2", "[1, 1024]", "shards",
     "shards: shards of one institution", AT(data.split.shards_each)},
    {"data.split.sigma", CSL_STUDY_F64, "0.5", "[0, 10]", "",
     "quantity-lognormal: deviation of the logarithm of sizes; feature-noise: deviation of the "
     "noise at the last institution, in units of the images' range",
     AT(data.split.sigma)},
    {"data.split.strength", CSL_STUDY_F64, "1", "[0, 1]", "",
     "feature-scanner: 1 sorts by scanner or intensity, 0 deals by chance",
     AT(data.split.strength)},
    {"data.split.min_size", CSL_STUDY_U32, "10", "[1, 1000000000]", "images",
     "fewest training images of an institution", AT(data.split.min_size)},
    {"data.split.force", CSL_STUDY_BOOL, "false", NULL, "",
     "break up groups: a patient's images may go to several institutions", AT(data.split.force)},
    {"data.split.holdout", CSL_STUDY_ENUM, "keep", "keep|redraw", "",
     "validation and test images: as the file says, or drawn anew at each institution",
     AT(data.split.holdout)},
    {"data.split.validation_fraction", CSL_STUDY_F64, "0.1", "[0, 0.9]", "of the images",
     "share drawn for validation, where it is drawn", AT(data.split.validation_fraction)},
    {"data.split.test_fraction", CSL_STUDY_F64, "0.2", "[0, 0.9]", "of the images",
     "share drawn for testing, where it is drawn", AT(data.split.test_fraction)},

    {"institutions.count", CSL_STUDY_U32, "8", "[1, 1024]", "institutions",
     "institutions of the study", AT(institutions.count)},
    {"institutions.per_round", CSL_STUDY_U32, "0", "[0, 1024]", "institutions",
     "sampled each round; 0 is all", AT(institutions.per_round)},
    {"institutions.ranks_each", CSL_STUDY_U32, "1", "[1, 64]", "ranks",
     "data-parallel ranks of one institution", AT(institutions.ranks_each)},

    {"model.name", CSL_STUDY_TEXT, "resnet8-28", NULL, "",
     "a network of the zoo (consilium info lists them), or a name for the listed layers",
     AT(model.name)},
    {"model.norm", CSL_STUDY_TEXT, "default", "default|group|batch|none", "",
     "normalisation of a zoo network; default is group where it has any", AT(model.norm)},
    {"model.layers", CSL_STUDY_LAYERS, "[]", NULL, "",
     "a network layer by layer, see below; empty: a zoo network", AT(model.layers)},

    {"training.optimizer", CSL_STUDY_ENUM, "sgd", "sgd|adamw", "", "optimiser of the institutions",
     AT(training.optimizer)},
    {"training.lr", CSL_STUDY_F32, "0.05", "(0, 100]", "", "learning rate", AT(training.rate)},
    {"training.momentum", CSL_STUDY_F32, "0.9", "[0, 1)", "", "sgd: momentum",
     AT(training.momentum)},
    {"training.nesterov", CSL_STUDY_BOOL, "false", NULL, "", "sgd: Nesterov's momentum",
     AT(training.nesterov)},
    {"training.weight_decay", CSL_STUDY_F32, "0.0001", "[0, 10]", "",
     "pull towards 0; biases and norms are exempt", AT(training.weight_decay)},
    {"training.beta1", CSL_STUDY_F32, "0.9", "[0, 1)", "", "adamw: decay of the first moment",
     AT(training.beta1)},
    {"training.beta2", CSL_STUDY_F32, "0.999", "[0, 1)", "", "adamw: decay of the second moment",
     AT(training.beta2)},
    {"training.epsilon", CSL_STUDY_F32, "1e-8", "(0, 1]", "", "adamw: added to the denominator",
     AT(training.epsilon)},
    {"training.schedule", CSL_STUDY_ENUM, "constant", "constant|step|cosine", "",
     "learning rate over the rounds", AT(training.schedule)},
    {"training.gamma", CSL_STUDY_F32, "0.1", "(0, 1]", "", "step: factor",
     AT(training.schedule_gamma)},
    {"training.step_rounds", CSL_STUDY_U32, "10", "[1, 1000000]", "rounds",
     "step: rounds between two steps", AT(training.schedule_step_rounds)},
    {"training.warmup_rounds", CSL_STUDY_U32, "0", "[0, 1000000]", "rounds",
     "learning rate rises from 0 over so many rounds", AT(training.warmup_rounds)},
    {"training.clip_norm", CSL_STUDY_F32, "0", "[0, 1000000]", "",
     "largest norm of a gradient; 0 is off", AT(training.clip_norm)},
    {"training.batch", CSL_STUDY_U32, "64", "[1, 65536]", "images", "images of one step",
     AT(training.batch)},
    {"training.local_epochs", CSL_STUDY_U32, "1", "[1, 1000]", "passes",
     "passes over an institution's images per round", AT(training.local_epochs)},
    {"training.local_steps", CSL_STUDY_U32, "0", "[0, 100000000]", "steps",
     "steps per round instead of passes; 0 is off", AT(training.local_steps)},
    {"training.class_weights", CSL_STUDY_BOOL, "false", NULL, "",
     "weight the loss by inverse class frequency at the institution", AT(training.class_weights)},
    {"training.keep_optimizer", CSL_STUDY_BOOL, "false", NULL, "",
     "keep the optimiser's state from round to round", AT(training.keep_optimizer_state)},
    {"training.threads", CSL_STUDY_U32, "1", "[1, 1024]", "threads",
     "threads of each rank of an institution; part of what makes a run repeatable", AT(threads)},
    {"training.augmentation.flip_horizontal", CSL_STUDY_BOOL, "false", NULL, "",
     "mirror left and right with probability 1/2", AT(training.augmentation.flip_horizontal)},
    {"training.augmentation.flip_vertical", CSL_STUDY_BOOL, "false", NULL, "",
     "mirror top and bottom with probability 1/2", AT(training.augmentation.flip_vertical)},
    {"training.augmentation.flip_depth", CSL_STUDY_BOOL, "false", NULL, "",
     "3-D: mirror front and back with probability 1/2", AT(training.augmentation.flip_depth)},
    {"training.augmentation.shift", CSL_STUDY_F32, "0", "[0, 1000]", "voxels",
     "largest shift along each axis", AT(training.augmentation.shift)},
    {"training.augmentation.rotation_degrees", CSL_STUDY_F32, "0", "[0, 180]", "degrees",
     "largest rotation either way", AT(training.augmentation.rotation_degrees)},
    {"training.augmentation.scale", CSL_STUDY_F32, "0", "[0, 0.9]", "",
     "zoom between 1 - scale and 1 + scale", AT(training.augmentation.scale)},
    {"training.augmentation.intensity", CSL_STUDY_F32, "0", "[0, 0.9]", "",
     "gain between 1 - intensity and 1 + intensity, offset up to intensity",
     AT(training.augmentation.intensity)},

    {"federation.algorithm", CSL_STUDY_ENUM, "fedavg", "fedavg|fedprox|scaffold|fedadam|fedyogi",
     "", "how updates change the global model", AT(federation.algorithm)},
    {"federation.mu", CSL_STUDY_F32, "0.01", "[0, 1000]", "",
     "fedprox: weight of the proximal term", AT(federation.mu)},
    {"federation.server_lr", CSL_STUDY_F32, "0", "[0, 100]", "",
     "learning rate of the server; 0 is 1, for fedadam and fedyogi 0.01",
     AT(federation.server_rate)},
    {"federation.beta1", CSL_STUDY_F32, "0.9", "[0, 1)", "",
     "fedadam, fedyogi: decay of the first moment", AT(federation.beta1)},
    {"federation.beta2", CSL_STUDY_F32, "0.99", "[0, 1)", "",
     "fedadam, fedyogi: decay of the second moment", AT(federation.beta2)},
    {"federation.tau", CSL_STUDY_F32, "0.001", "(0, 1]", "",
     "fedadam, fedyogi: degree of adaptivity", AT(federation.tau)},
    {"federation.batch_norm", CSL_STUDY_ENUM, "average", "average|local|freeze", "",
     "batch norm: averaged like the rest, kept at the institution, or running values frozen",
     AT(federation.batch_norm)},
    {"federation.weighting", CSL_STUDY_ENUM, "samples", "samples|equal", "",
     "weight of an institution: its training images, or all alike", AT(federation.weighting)},

    {"aggregation.rule", CSL_STUDY_TEXT, "mean", NULL, "",
     "rule that turns updates into one, see docs/AGGREGATION.md", AT(aggregation.spec.rule)},
    {"aggregation.f", CSL_STUDY_U32, "0", "[0, 1023]", "institutions",
     "institutions of a round that may be false", AT(aggregation.spec.f)},
    {"aggregation.pre", CSL_STUDY_NAMES, "[]", NULL, "",
     "pre-aggregators in the order they apply, for example [nnm]", AT(aggregation.pre)},
    {"aggregation.preset", CSL_STUDY_ENUM, "paper", "paper|byzfl", "",
     "where definitions differ: as published, or as ByzFL computes", AT(aggregation.spec.preset)},
    {"aggregation.weights", CSL_STUDY_ENUM, "auto", "auto|equal|given|capped", "",
     "weights of federation.weighting: ignored, used, or used up to twice the median; auto uses "
     "them in a plain mean only",
     AT(aggregation.weights)},
    {"aggregation.root", CSL_STUDY_U32, "0", "[0, 1023]", "",
     "fltrust: institution whose update is the trusted one", AT(aggregation.root)},
    /* Not a call: the list expands to whole rows. */
    CSL_PARAMETER_LIST(AGGREGATION_PARAMETER)

        {"adversary.attack", CSL_STUDY_TEXT, "none", NULL, "",
         "what hostile institutions send instead of their updates, see docs/AGGREGATION.md",
         AT(adversary.spec.attack)},
    {"adversary.data", CSL_STUDY_ENUM, "none", "none|label-flip|label-pair|backdoor", "",
     "what they do to their training images: reverse the order of classes, turn source_class into "
     "target_class, or plant a bright square that shall mean target_class",
     AT(adversary.poison.attack)},
    {"adversary.institutions", CSL_STUDY_INDICES, "[]", "[0, 1023]", "",
     "which institutions are hostile", AT(adversary.institutions)},
    {"adversary.count", CSL_STUDY_U32, "0", "[0, 1024]", "institutions",
     "instead of a list: so many, the last ones", AT(adversary.count)},
    {"adversary.from_round", CSL_STUDY_U32, "1", "[1, 1000000]", "rounds",
     "first round in which they are hostile", AT(adversary.from_round)},
    {"adversary.source_class", CSL_STUDY_U32, "1", "[0, 255]", "", "label-pair: class that changes",
     AT(adversary.poison.source)},
    {"adversary.target_class", CSL_STUDY_U32, "0", "[0, 255]", "",
     "label-pair, backdoor: class it becomes", AT(adversary.poison.target)},
    {"adversary.fraction", CSL_STUDY_F64, "0.5", "(0, 1]", "of the images",
     "backdoor: share of an institution's training images of other classes that get the trigger",
     AT(adversary.poison.fraction)},
    {"adversary.trigger", CSL_STUDY_U32, "3", "[1, 1024]", "voxels",
     "backdoor: side of the bright square", AT(adversary.poison.trigger_size)},
    CSL_ATTACK_PARAMETER_LIST(ADVERSARY_PARAMETER)

        {"evaluation.every_rounds", CSL_STUDY_U32, "1", "[0, 1000000]", "rounds",
         "rounds between evaluations; 0: after the last round only", AT(evaluation.every_rounds)},
    {"evaluation.batch", CSL_STUDY_U32, "256", "[1, 65536]", "images", "images evaluated at once",
     AT(evaluation.batch)},
    {"evaluation.cross_site", CSL_STUDY_BOOL, "true", NULL, "",
     "every institution's model on every institution's data, at the end",
     AT(evaluation.cross_site)},

    {"output.updates", CSL_STUDY_ENUM, "none", "none|last|all", "",
     "updates written to updates/: of no round, the last, or all", AT_NO_EFFECT(output.updates)},
};
const size_t csl_study_key_count = sizeof csl_study_keys / sizeof *csl_study_keys;

_Static_assert(CSL_LAYER_ADD == 10, "the names of layer kinds below follow csl_layer_kind");
_Static_assert(CSL_SPLIT_SCHEME_NATURAL == 13, "data.split.scheme follows csl_split_scheme");
_Static_assert(CSL_FEDYOGI == 4, "federation.algorithm follows csl_algorithm");
_Static_assert(CSL_DATA_ATTACK_BACKDOOR == 3, "adversary.data follows csl_data_attack");
_Static_assert(CSL_PRESET_BYZFL == 1, "aggregation.preset follows csl_preset");
_Static_assert(sizeof(csl_algorithm) == sizeof(int), "enumerations are stored as int");

const csl_study_key csl_study_layer_keys[] = {
    {"name", CSL_STUDY_TEXT, "", NULL, "", "name; default: kind and position", IN_LAYER(name)},
    {"kind", CSL_STUDY_ENUM, "conv",
     "conv|linear|batch-norm|group-norm|relu|max-pool|average-pool|global-max-pool|"
     "global-average-pool|dropout|add",
     "", "what the layer does; always needed", IN_LAYER(kind)},
    {"input", CSL_STUDY_TEXT, "", NULL, "",
     "layer that it reads, or image; default: the one before", IN_LAYER(input)},
    {"from", CSL_STUDY_TEXT, "", NULL, "", "add: the second summand", IN_LAYER(from)},
    {"channels", CSL_STUDY_U32, "0", "[0, 4096]", "", "conv, linear: outputs", IN_LAYER(channels)},
    {"size", CSL_STUDY_WINDOW, "3", "[1, 64]", "voxels", "conv, pools: extent of the window",
     IN_LAYER(size)},
    {"stride", CSL_STUDY_WINDOW, "1", "[1, 64]", "voxels", "conv, pools: step of the window",
     IN_LAYER(stride)},
    {"padding", CSL_STUDY_WINDOW, "0", "[0, 64]", "voxels", "conv, pools: zeros at each side",
     IN_LAYER(padding)},
    {"dilation", CSL_STUDY_WINDOW, "1", "[1, 64]", "voxels", "conv: distance of taps",
     IN_LAYER(dilation)},
    {"groups", CSL_STUDY_U32, "1", "[1, 4096]", "", "conv, group-norm: groups of channels",
     IN_LAYER(groups)},
    {"bias", CSL_STUDY_BOOL, "true", NULL, "", "conv, linear: add a bias", IN_LAYER(bias)},
    {"rate", CSL_STUDY_F32, "0.5", "[0, 1)", "", "dropout: share of values set to 0",
     IN_LAYER(rate)},
};
const size_t csl_study_layer_key_count = sizeof csl_study_layer_keys / sizeof *csl_study_layer_keys;
