/* The network of a study: from the zoo, or from the listed layers. */
#include <consilium/study.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names_[] = {
    "conv",         "linear",          "batch_norm",          "group_norm", "relu", "max_pool",
    "average_pool", "global_max_pool", "global_average_pool", "dropout",    "add"};

/* Index of a layer before `count`; -1 is the image. */
static csl_status
find_layer(const csl_model_spec *spec, uint32_t count, const char *name, int32_t *index_out)
{
    if (strcmp(name, "image") == 0) {
        *index_out = -1;
        return CSL_OK;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(spec->layers[i].name, name) == 0) {
            *index_out = (int32_t)i;
            return CSL_OK;
        }
    }
    const char *names[CSL_LAYERS_MAX + 1] = {NULL};
    for (uint32_t i = 0; i < count; i++) {
        names[i] = spec->layers[i].name;
    }
    const char *nearest = csl_nearest_name(name, names);
    return csl_fail(
        CSL_E_NOT_FOUND,
        "model.layers, entry %u: layer %s reads '%s', and no layer before has that name%s%s",
        count + 1, spec->layers[count].name, name, nearest ? "; nearest is " : "",
        nearest ? nearest : "");
}

/* A window of 1, 2 or 3 numbers over depth, height and width; `flat` in the depth of 2-D images. */
static void
spread(const csl_study_window *window, bool has_depth, uint32_t flat, uint32_t *axes_out)
{
    for (uint32_t axis = 0; axis < 3; axis++) {
        uint32_t index = window->count == 3 ? axis : window->count == 2 && axis == 2 ? 1 : 0;
        axes_out[axis] = window->values[index];
    }
    if (!has_depth || window->count == 2) {
        axes_out[0] = flat;
    }
}

static csl_status build_layer(const csl_study_layer *source, csl_model_spec *spec, uint32_t index)
{
    csl_layer *layer = &spec->layers[index];
    bool has_depth = spec->input.extent[0] > 1;
    if (source->name[0]) {
        snprintf(layer->name, sizeof layer->name, "%s", source->name);
    } else {
        snprintf(layer->name, sizeof layer->name, "%s%u", kind_names_[source->kind], index + 1);
    }
    if (strcmp(layer->name, "image") == 0) {
        return csl_fail(CSL_E_SHAPE,
                        "model.layers, entry %u: expected another name, image is what the first "
                        "layer reads",
                        index + 1);
    }
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(spec->layers[i].name, layer->name) == 0) {
            return csl_fail(CSL_E_SHAPE, "model.layers, entry %u: a second layer is named %s",
                            index + 1, layer->name);
        }
    }
    layer->kind = source->kind;
    layer->input = (int32_t)index - 1;
    layer->from = -2;
    layer->channels = source->channels;
    layer->groups = source->groups;
    layer->bias = source->bias;
    layer->rate = source->rate;
    spread(&source->size, has_depth, 1, layer->window.size);
    spread(&source->stride, has_depth, 1, layer->window.stride);
    spread(&source->padding, has_depth, 0, layer->window.padding);
    spread(&source->dilation, has_depth, 1, layer->window.dilation);
    if (source->input[0]) {
        CSL_TRY(find_layer(spec, index, source->input, &layer->input));
    }
    if (source->kind == CSL_LAYER_ADD) {
        CSL_TRY(find_layer(spec, index, source->from[0] ? source->from : "(none)", &layer->from));
    }
    return CSL_OK;
}

static csl_status build_layers(const csl_study *study, csl_model_spec *spec)
{
    for (uint32_t i = 0; i < study->model.layer_count; i++) {
        CSL_TRY(build_layer(&study->model.layers[i], spec, i));
    }
    return csl_model_spec_check(spec);
}

/* Only images that have one class each can be weighted by it. */
static csl_status check_task(const csl_study *study, csl_task task)
{
    bool has_class = task == CSL_TASK_BINARY || task == CSL_TASK_MULTICLASS;
    if (study->training.class_weights && !has_class) {
        return csl_fail(CSL_E_RANGE,
                        "training.class_weights: expected images of one class each, found %s",
                        task == CSL_TASK_REGRESSION ? "regression" : "several labels");
    }
    return CSL_OK;
}

csl_status csl_study_model_spec(const csl_study *study,
                                csl_shape input,
                                csl_task task,
                                uint32_t class_count,
                                csl_model_spec **spec_out)
{
    CSL_TRY(check_task(study, task));
    if (study->model.layer_count == 0) {
        const char *norm = strcmp(study->model.norm, "default") == 0 ? NULL : study->model.norm;
        return csl_model_spec_zoo(study->model.name, norm, input, task, class_count, spec_out);
    }
    csl_model_spec *spec = calloc(1, sizeof *spec);
    csl_layer *layers = calloc(study->model.layer_count, sizeof *layers);
    if (!spec || !layers) {
        free(spec);
        free(layers);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %u layers", study->model.layer_count);
    }
    *spec = (csl_model_spec){.input = input,
                             .task = task,
                             .class_count = class_count,
                             .layer_count = study->model.layer_count,
                             .layers = layers};
    snprintf(spec->name, sizeof spec->name, "%s", study->model.name);
    csl_status status = build_layers(study, spec);
    if (status != CSL_OK) {
        csl_model_spec_destroy(spec);
        return status;
    }
    *spec_out = spec;
    return CSL_OK;
}
