#include <consilium/files.h>
#include <consilium/hash.h>
#include <consilium/text.h>

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataset_schema.h"
#include "hdf5_support.h"

#define MODEL_SCHEMA "consilium-model"

/* Columns of /layers/definition; appended to, never reordered. */
enum {
    COLUMN_KIND,
    COLUMN_INPUT,
    COLUMN_FROM,
    COLUMN_CHANNELS,
    COLUMN_SIZE, /* depth, height, width */
    COLUMN_STRIDE = COLUMN_SIZE + 3,
    COLUMN_PADDING = COLUMN_STRIDE + 3,
    COLUMN_DILATION = COLUMN_PADDING + 3,
    COLUMN_GROUPS = COLUMN_DILATION + 3,
    COLUMN_BIAS,
    COLUMN_COUNT
};

static const char column_names[COLUMN_COUNT][CSL_NAME_MAX] = {
    "kind",      "input",      "from",       "channels",   "size_d",    "size_h",
    "size_w",    "stride_d",   "stride_h",   "stride_w",   "padding_d", "padding_h",
    "padding_w", "dilation_d", "dilation_h", "dilation_w", "groups",    "bias"};

static const char kind_names[][CSL_NAME_MAX] = {
    "conv",         "linear",          "batch_norm",          "group_norm", "relu", "max_pool",
    "average_pool", "global_max_pool", "global_average_pool", "dropout",    "add"};

static void layer_to_row(const csl_layer *layer, int64_t *row)
{
    row[COLUMN_KIND] = layer->kind;
    row[COLUMN_INPUT] = layer->input;
    row[COLUMN_FROM] = layer->from;
    row[COLUMN_CHANNELS] = layer->channels;
    for (int axis = 0; axis < 3; axis++) {
        row[COLUMN_SIZE + axis] = layer->window.size[axis];
        row[COLUMN_STRIDE + axis] = layer->window.stride[axis];
        row[COLUMN_PADDING + axis] = layer->window.padding[axis];
        row[COLUMN_DILATION + axis] = layer->window.dilation[axis];
    }
    row[COLUMN_GROUPS] = layer->groups;
    row[COLUMN_BIAS] = layer->bias;
}

static bool row_to_layer(const int64_t *row, csl_layer *layer)
{
    for (int column = 0; column < COLUMN_COUNT; column++) {
        bool index = column == COLUMN_INPUT || column == COLUMN_FROM;
        if (row[column] < (index ? -2 : 0) || row[column] > INT32_MAX) {
            return false;
        }
    }
    if (row[COLUMN_KIND] > CSL_LAYER_ADD || row[COLUMN_BIAS] > 1) {
        return false;
    }
    layer->kind = (csl_layer_kind)row[COLUMN_KIND];
    layer->input = (int32_t)row[COLUMN_INPUT];
    layer->from = (int32_t)row[COLUMN_FROM];
    layer->channels = (uint32_t)row[COLUMN_CHANNELS];
    for (int axis = 0; axis < 3; axis++) {
        layer->window.size[axis] = (uint32_t)row[COLUMN_SIZE + axis];
        layer->window.stride[axis] = (uint32_t)row[COLUMN_STRIDE + axis];
        layer->window.padding[axis] = (uint32_t)row[COLUMN_PADDING + axis];
        layer->window.dilation[axis] = (uint32_t)row[COLUMN_DILATION + axis];
    }
    layer->groups = (uint32_t)row[COLUMN_GROUPS];
    layer->bias = row[COLUMN_BIAS] != 0;
    return true;
}

/* "block1.conv2.weight" lies at /parameters/block1/conv2/weight. */
static void tensor_path(const csl_tensor *tensor, char path_out[128])
{
    snprintf(path_out, 128, "/parameters/%s", tensor->name);
    for (char *byte = path_out; *byte; byte++) {
        *byte = *byte == '.' ? '/' : *byte;
    }
}

/* Weights of 2-D networks are stored as OIHW, without the depth of 1 that the network counts. */
static uint32_t
stored_extent(const csl_model_spec *spec, const csl_tensor *tensor, uint64_t extent[5])
{
    bool flat = tensor->rank == 5 && spec->input.extent[0] == 1 && tensor->extent[2] == 1;
    uint32_t rank = 0;
    for (uint32_t axis = 0; axis < tensor->rank; axis++) {
        if (!(flat && axis == 2)) {
            extent[rank++] = tensor->extent[axis];
        }
    }
    return rank;
}

static csl_status write_number(const csl_h5_file *file, const char *name, uint32_t value)
{
    return csl_h5_write_number(file, "/", name, H5T_STD_U32LE, H5T_NATIVE_UINT32, &value);
}

static csl_status write_root(const csl_h5_file *file,
                             const csl_model_spec *spec,
                             const char *study_sha256,
                             uint32_t round)
{
    CSL_TRY(csl_h5_write_text(file, "/", "schema", MODEL_SCHEMA));
    CSL_TRY(csl_h5_write_text(file, "/", "schema_version", "1.0"));
    CSL_TRY(csl_h5_write_text(file, "/", "name", spec->name));
    CSL_TRY(csl_h5_write_text(file, "/", "task", csl_task_name(spec->task)));
    CSL_TRY(
        csl_h5_write_text(file, "/", "study_sha256", study_sha256 ? study_sha256 : CSL_UNKNOWN));
    CSL_TRY(write_number(file, "round", round));
    CSL_TRY(write_number(file, "class_count", spec->class_count));
    CSL_TRY(write_number(file, "input_depth", spec->input.extent[0]));
    CSL_TRY(write_number(file, "input_height", spec->input.extent[1]));
    CSL_TRY(write_number(file, "input_width", spec->input.extent[2]));
    return write_number(file, "input_channels", spec->input.channels);
}

static csl_status write_layers(const csl_h5_file *file, const csl_model_spec *spec)
{
    int64_t *rows = calloc(spec->layer_count, COLUMN_COUNT * sizeof *rows);
    float *rates = calloc(spec->layer_count, sizeof *rates);
    char(*names)[CSL_NAME_MAX] = calloc(spec->layer_count, sizeof *names);
    csl_status status = rows && rates && names
                            ? CSL_OK
                            : csl_fail(CSL_E_NO_MEMORY, "%s: no memory for layers", file->path);
    for (uint32_t i = 0; status == CSL_OK && i < spec->layer_count; i++) {
        layer_to_row(&spec->layers[i], rows + (size_t)i * COLUMN_COUNT);
        rates[i] = spec->layers[i].rate;
        memcpy(names[i], spec->layers[i].name, CSL_NAME_MAX);
    }
    uint64_t extent[2] = {spec->layer_count, COLUMN_COUNT};
    if (status == CSL_OK) {
        status = csl_h5_write(file, "/layers/definition", H5T_STD_I32LE, H5T_NATIVE_INT64, 2,
                              extent, rows);
    }
    if (status == CSL_OK) {
        status =
            csl_h5_write_names(file, "/layers/definition", "columns", COLUMN_COUNT, column_names);
    }
    if (status == CSL_OK) {
        status = csl_h5_write_names(file, "/layers/definition", "kinds",
                                    sizeof kind_names / sizeof *kind_names, kind_names);
    }
    if (status == CSL_OK) {
        status = csl_h5_write_names(file, "/layers/definition", "names", spec->layer_count,
                                    (const char(*)[CSL_NAME_MAX])names);
    }
    if (status == CSL_OK) {
        status =
            csl_h5_write(file, "/layers/rate", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, extent, rates);
    }
    free(names);
    free(rates);
    free(rows);
    return status;
}

static csl_status write_parameters(const csl_h5_file *file,
                                   const csl_model_spec *spec,
                                   const csl_tensor *tensors,
                                   uint32_t tensor_count,
                                   const float *parameters)
{
    for (uint32_t i = 0; i < tensor_count; i++) {
        char path[128];
        uint64_t extent[5];
        tensor_path(&tensors[i], path);
        uint32_t rank = stored_extent(spec, &tensors[i], extent);
        CSL_TRY(csl_h5_write(file, path, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, rank, extent,
                             parameters + tensors[i].offset));
    }
    return CSL_OK;
}

/* The digest of the parameters, computed on a thread of its own while they are written. */
typedef struct digest_work {
    const float *parameters;
    size_t size; /* bytes */
    pthread_t thread;
    bool started;
    csl_status status;
    uint8_t digest[CSL_SHA256_SIZE];
} digest_work;

static void *compute_digest(void *context)
{
    digest_work *work = context;
    work->status = csl_sha256(work->parameters, work->size, work->digest);
    return NULL;
}

static void begin_digest(digest_work *work)
{
    work->started = pthread_create(&work->thread, NULL, compute_digest, work) == 0;
}

static csl_status finish_digest(digest_work *work)
{
    if (work->started) {
        pthread_join(work->thread, NULL);
        work->started = false;
    } else {
        compute_digest(work);
    }
    return work->status == CSL_OK
               ? CSL_OK
               : csl_fail(work->status, "sha-256 of %zu bytes: openssl refused", work->size);
}

static csl_status write_contents(const csl_h5_file *file,
                                 const csl_model_spec *spec,
                                 const csl_tensor *tensors,
                                 uint32_t tensor_count,
                                 digest_work *work)
{
    CSL_TRY(write_layers(file, spec));
    CSL_TRY(write_parameters(file, spec, tensors, tensor_count, work->parameters));
    CSL_TRY(finish_digest(work));
    char text[CSL_SHA256_TEXT_SIZE];
    csl_hex(work->digest, sizeof work->digest, text);
    return csl_h5_write_text(file, "/", "parameters_sha256", text);
}

csl_status csl_model_write(const char *path,
                           const csl_model_spec *spec,
                           const float *parameters,
                           const char *study_sha256,
                           uint32_t round)
{
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    size_t parameter_count = 0;
    CSL_TRY(csl_model_spec_tensors(spec, &tensors, &tensor_count, &parameter_count));
    csl_h5_file *file = calloc(1, sizeof *file);
    csl_status status = file ? csl_h5_create(path, file)
                             : csl_fail(CSL_E_NO_MEMORY, "%s: no memory to write", path);
    if (status == CSL_OK) {
        digest_work work = {.parameters = parameters, .size = parameter_count * sizeof *parameters};
        begin_digest(&work);
        status = write_root(file, spec, study_sha256, round);
        if (status == CSL_OK) {
            status = write_contents(file, spec, tensors, tensor_count, &work);
        }
        if (work.started) { /* after a failure */
            pthread_join(work.thread, NULL);
        }
        status = csl_h5_finish(file, status);
    }
    free(file);
    free(tensors);
    return status;
}

static csl_status
read_number(const csl_h5_file *file, const char *name, uint64_t limit, uint32_t *out)
{
    uint64_t value = 0;
    CSL_TRY(csl_h5_read_number(file, "/", name, H5T_NATIVE_UINT64, &value));
    if (value == 0 || value > limit) {
        return csl_fail(CSL_E_FORMAT, "%s: attribute %s: expected 1..%" PRIu64 ", found %" PRIu64,
                        file->path, name, limit, value);
    }
    *out = (uint32_t)value;
    return CSL_OK;
}

static csl_status read_root(const csl_h5_file *file, csl_model_spec *spec)
{
    char text[CSL_NAME_MAX];
    CSL_TRY(csl_h5_read_text(file, "/", "schema", text, sizeof text));
    if (strcmp(text, MODEL_SCHEMA) != 0) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: attribute schema: expected '" MODEL_SCHEMA "', found '%s'", file->path,
                        text);
    }
    CSL_TRY(csl_h5_read_text(file, "/", "schema_version", text, sizeof text));
    if (strcmp(text, "1.0") != 0) {
        return csl_fail(CSL_E_FORMAT, "%s: attribute schema_version: expected '1.0', found '%s'",
                        file->path, text);
    }
    CSL_TRY(csl_h5_read_text(file, "/", "name", spec->name, sizeof spec->name));
    CSL_TRY(csl_h5_read_text(file, "/", "task", text, sizeof text));
    int task = 0;
    while (csl_task_name((csl_task)task) && strcmp(text, csl_task_name((csl_task)task)) != 0) {
        task++;
    }
    if (!csl_task_name((csl_task)task)) {
        return csl_fail(CSL_E_FORMAT, "%s: attribute task: expected a task, found '%s'", file->path,
                        text);
    }
    spec->task = (csl_task)task;
    CSL_TRY(read_number(file, "class_count", CSL_CLASSES_MAX, &spec->class_count));
    CSL_TRY(read_number(file, "input_depth", CSL_EXTENT_MAX, &spec->input.extent[0]));
    CSL_TRY(read_number(file, "input_height", CSL_EXTENT_MAX, &spec->input.extent[1]));
    CSL_TRY(read_number(file, "input_width", CSL_EXTENT_MAX, &spec->input.extent[2]));
    return read_number(file, "input_channels", CSL_IMAGE_CHANNELS_MAX, &spec->input.channels);
}

static csl_status look_at_layers(const csl_h5_file *file, csl_model_spec *spec)
{
    csl_h5_array definition, rate;
    CSL_TRY(csl_h5_look(file, "/layers/definition", &definition));
    CSL_TRY(csl_h5_look(file, "/layers/rate", &rate));
    if (definition.rank != 2 || definition.kind != H5T_INTEGER || definition.extent[0] == 0 ||
        definition.extent[0] > CSL_LAYERS_MAX || definition.extent[1] != COLUMN_COUNT ||
        rate.rank != 1 || rate.extent[0] != definition.extent[0]) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: /layers: expected 1..%d rows of %d integers and as many "
                        "rates, found %" PRIu64 " values in %u dimensions and %" PRIu64 " in %u",
                        file->path, CSL_LAYERS_MAX, COLUMN_COUNT, definition.count, definition.rank,
                        rate.count, rate.rank);
    }
    spec->layer_count = (uint32_t)definition.extent[0];
    spec->layers = calloc(spec->layer_count, sizeof *spec->layers);
    return spec->layers ? CSL_OK
                        : csl_fail(CSL_E_NO_MEMORY, "%s: no memory for layers", file->path);
}

static csl_status fill_layers(const csl_h5_file *file,
                              csl_model_spec *spec,
                              int64_t *rows,
                              float *rates,
                              char (*names)[CSL_NAME_MAX])
{
    uint64_t name_count = 0;
    CSL_TRY(csl_h5_read(file, "/layers/definition", H5T_NATIVE_INT64, rows));
    CSL_TRY(csl_h5_read(file, "/layers/rate", H5T_NATIVE_FLOAT, rates));
    CSL_TRY(csl_h5_read_names(file, "/layers/definition", "names", spec->layer_count, names,
                              &name_count));
    for (uint32_t i = 0; i < spec->layer_count; i++) {
        if (name_count != spec->layer_count || !isfinite(rates[i]) ||
            !row_to_layer(rows + (size_t)i * COLUMN_COUNT, &spec->layers[i])) {
            return csl_fail(CSL_E_FORMAT,
                            "%s: /layers/definition: layer %u: expected values in range, "
                            "found others",
                            file->path, i);
        }
        spec->layers[i].rate = rates[i];
        memcpy(spec->layers[i].name, names[i], CSL_NAME_MAX);
    }
    return CSL_OK;
}

static csl_status read_layers(const csl_h5_file *file, csl_model_spec *spec)
{
    CSL_TRY(look_at_layers(file, spec));
    int64_t *rows = calloc(spec->layer_count, COLUMN_COUNT * sizeof *rows);
    float *rates = calloc(spec->layer_count, sizeof *rates);
    char(*names)[CSL_NAME_MAX] = calloc(spec->layer_count, sizeof *names);
    csl_status status = rows && rates && names
                            ? fill_layers(file, spec, rows, rates, names)
                            : csl_fail(CSL_E_NO_MEMORY, "%s: no memory for layers", file->path);
    free(names);
    free(rates);
    free(rows);
    return status;
}

static void add_shape(csl_text *text, uint32_t rank, const uint64_t *extent)
{
    for (uint32_t axis = 0; axis < rank; axis++) {
        csl_text_format(text, "%s%" PRIu64, axis ? " x " : "", extent[axis]);
    }
}

static csl_status
look_at_tensor(const csl_h5_file *file, const csl_model_spec *spec, const csl_tensor *tensor)
{
    char path[128];
    csl_h5_array found;
    uint64_t extent[5];
    tensor_path(tensor, path);
    CSL_TRY(csl_h5_look(file, path, &found));
    uint32_t rank = stored_extent(spec, tensor, extent);
    bool same = found.kind == H5T_FLOAT && found.size == 4 && found.rank == rank;
    for (uint32_t axis = 0; same && axis < rank; axis++) {
        same = found.extent[axis] == extent[axis];
    }
    if (same) {
        return CSL_OK;
    }
    csl_text wanted = {0}, actual = {0};
    add_shape(&wanted, rank, extent);
    add_shape(&actual, found.rank, found.extent);
    csl_status status = csl_fail(
        CSL_E_FORMAT, "%s: %s: expected %s floats of 4 bytes as the layers say, found %s %s of %zu",
        file->path, path, csl_text_string(&wanted), csl_text_string(&actual),
        csl_h5_class_name(found.kind), found.size);
    csl_text_clear(&wanted);
    csl_text_clear(&actual);
    return status;
}

static csl_status read_values(const csl_h5_file *file,
                              const csl_tensor *tensors,
                              uint32_t tensor_count,
                              size_t parameter_count,
                              float *parameters)
{
    for (uint32_t i = 0; i < tensor_count; i++) {
        char path[128];
        tensor_path(&tensors[i], path);
        float *values = parameters + tensors[i].offset;
        CSL_TRY(csl_h5_read(file, path, H5T_NATIVE_FLOAT, values));
        for (size_t k = 0; k < tensors[i].count; k++) {
            if (!isfinite(values[k])) {
                return csl_fail(CSL_E_FORMAT,
                                "%s: %s: value %zu: expected a finite number, found %g", file->path,
                                path, k, (double)values[k]);
            }
        }
    }
    uint8_t digest[CSL_SHA256_SIZE];
    char stored[CSL_SHA256_TEXT_SIZE + 8], actual[CSL_SHA256_TEXT_SIZE];
    CSL_TRY(csl_h5_read_text(file, "/", "parameters_sha256", stored, sizeof stored));
    CSL_TRY(csl_sha256(parameters, parameter_count * sizeof *parameters, digest));
    csl_hex(digest, sizeof digest, actual);
    return strcmp(stored, actual) == 0
               ? CSL_OK
               : csl_fail(CSL_E_VERIFY,
                          "%s: attribute parameters_sha256: expected %s, found "
                          "parameters of %s",
                          file->path, stored, actual);
}

static csl_status
read_parameters(const csl_h5_file *file, const csl_model_spec *spec, float **parameters_out)
{
    csl_tensor *tensors = NULL;
    uint32_t tensor_count = 0;
    size_t parameter_count = 0;
    csl_status status = csl_model_spec_tensors(spec, &tensors, &tensor_count, &parameter_count);
    if (status != CSL_OK) {
        return csl_fail_context(CSL_E_FORMAT, "%s: /layers", file->path);
    }
    for (uint32_t i = 0; status == CSL_OK && i < tensor_count; i++) {
        status = look_at_tensor(file, spec, &tensors[i]);
    }
    if (status == CSL_OK && parameter_count > file->size / sizeof(float)) {
        status = csl_fail(CSL_E_FORMAT, "%s: expected %zu parameters, found %" PRIu64 " bytes",
                          file->path, parameter_count, file->size);
    }
    float *parameters = status == CSL_OK ? calloc(parameter_count + 1, sizeof *parameters) : NULL;
    if (status == CSL_OK) {
        status = parameters ? read_values(file, tensors, tensor_count, parameter_count, parameters)
                            : csl_fail(CSL_E_NO_MEMORY, "%s: no memory for %zu parameters",
                                       file->path, parameter_count);
    }
    free(tensors);
    if (status != CSL_OK) {
        free(parameters);
        return status;
    }
    *parameters_out = parameters;
    return CSL_OK;
}

static csl_status read_model(const csl_h5_file *file, csl_model_spec *spec, float **parameters_out)
{
    CSL_TRY(read_root(file, spec));
    CSL_TRY(read_layers(file, spec));
    if (csl_model_spec_check(spec) != CSL_OK) {
        return csl_fail_context(CSL_E_FORMAT, "%s: /layers", file->path);
    }
    return read_parameters(file, spec, parameters_out);
}

csl_status csl_model_read(const char *path, csl_model_spec **spec_out, float **parameters_out)
{
    csl_h5_file *file = calloc(1, sizeof *file);
    csl_model_spec *spec = calloc(1, sizeof *spec);
    csl_status status = file && spec ? csl_h5_open(path, file)
                                     : csl_fail(CSL_E_NO_MEMORY, "%s: no memory to read", path);
    if (status == CSL_OK) {
        status = read_model(file, spec, parameters_out);
        csl_h5_close(file);
    }
    free(file);
    if (status != CSL_OK) {
        csl_model_spec_destroy(spec);
        return status;
    }
    *spec_out = spec;
    return CSL_OK;
}
