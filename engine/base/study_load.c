/* From file, environment and overrides to a study. */
#include "study_schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PLACE_SIZE = CSL_PATH_MAX + 64, ENVIRONMENT_NAME_SIZE = 128 };
static const char environment_prefix_[] = "CONSILIUM_";

typedef struct study_loader {
    csl_study *study;
    csl_study_origins origins;
} study_loader;

static size_t find_key(const csl_study_key *keys, size_t count, const char *path)
{
    size_t index = 0;
    while (index < count && strcmp(keys[index].path, path) != 0) {
        index++;
    }
    return index;
}

csl_status
csl_study_refuse(const csl_study_origins *origins, const char *path, const char *format, ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    size_t index = find_key(csl_study_keys, csl_study_key_count, path);
    return csl_fail(CSL_E_RANGE, "%s: %s: %s",
                    index < csl_study_key_count ? origins->place[index] : "study", path, message);
}

/* "place: unknown key 'x' in training; nearest is y", or the keys that exist there. */
static csl_status unknown_key(const csl_yaml *yaml,
                              const csl_yaml_node *node,
                              const csl_study_key *keys,
                              size_t count,
                              const char *section)
{
    char place[PLACE_SIZE];
    const char *names[128] = {NULL};
    char parts[128][CSL_NAME_MAX];
    size_t name_count = 0;
    size_t prefix = strlen(section);
    for (size_t i = 0; i < count && name_count < 127; i++) {
        if (strncmp(keys[i].path, section, prefix) != 0) {
            continue;
        }
        const char *rest = keys[i].path + prefix;
        snprintf(parts[name_count], CSL_NAME_MAX, "%.*s", (int)strcspn(rest, "."), rest);
        if (name_count == 0 || strcmp(parts[name_count], parts[name_count - 1]) != 0) {
            names[name_count] = parts[name_count];
            name_count++;
        }
    }
    csl_yaml_place(yaml, node->key_line, node->key_column, place, sizeof place);
    const char *dot = strrchr(node->key, '.');
    if (dot) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: unknown key '%s%.64s'; what stands before a dot is a section: write "
                        "'%.64s' nested below %s%.*s",
                        place, section, node->key, dot + 1, section,
                        (int)(dot - node->key < 64 ? dot - node->key : 64), node->key);
    }
    csl_text text = {0};
    const char *nearest = csl_nearest_name(node->key, names);
    for (size_t i = 0; !nearest && i < name_count; i++) {
        csl_text_format(&text, "%s%s", i ? ", " : "", names[i]);
    }
    csl_fail(CSL_E_FORMAT, "%s: unknown key '%s%.64s'; %s %s%s", place, section, node->key,
             nearest ? "nearest is" : "known are", nearest ? section : "",
             nearest ? nearest : csl_text_string(&text));
    csl_text_clear(&text);
    return CSL_E_FORMAT;
}

static csl_status set_layer_defaults(csl_study_layer *layer)
{
    for (size_t i = 0; i < csl_study_layer_key_count; i++) {
        const csl_study_key *key = &csl_study_layer_keys[i];
        CSL_TRY(csl_study_set_text(key, "default", key->default_text, layer));
    }
    return CSL_OK;
}

#define KIND(name) (1u << CSL_LAYER_##name)
#define POOLS      (KIND(MAX_POOL) | KIND(AVERAGE_POOL))

/* Keys of a layer that some kinds alone read. */
static const struct {
    const char *path;
    uint32_t kinds;
    const char *names;
} kinds_that_read_[] = {
    {"from", KIND(ADD), "add"},
    {"channels", KIND(CONV) | KIND(LINEAR), "conv and linear"},
    {"size", KIND(CONV) | POOLS, "conv, max-pool and average-pool"},
    {"stride", KIND(CONV) | POOLS, "conv, max-pool and average-pool"},
    {"padding", KIND(CONV) | POOLS, "conv, max-pool and average-pool"},
    {"dilation", KIND(CONV), "conv"},
    {"groups", KIND(CONV) | KIND(GROUP_NORM), "conv and group-norm"},
    {"bias", KIND(CONV) | KIND(LINEAR), "conv and linear"},
    {"rate", KIND(DROPOUT), "dropout"},
};

/* A key that the layer's kind does not read would change nothing. Its default is accepted, as a
 * written study names every key. */
static csl_status
check_layer_keys(const csl_yaml *yaml, const csl_yaml_node *node, const csl_study_layer *layer)
{
    csl_study_layer normal = {0};
    CSL_TRY(set_layer_defaults(&normal));
    for (const csl_yaml_node *child = csl_yaml_at(yaml, node->first_child); child;
         child = csl_yaml_at(yaml, child->next)) {
        size_t index = find_key(csl_study_layer_keys, csl_study_layer_key_count, child->key);
        const csl_study_key *key = &csl_study_layer_keys[index];
        bool same = memcmp((const char *)layer + key->offset, (const char *)&normal + key->offset,
                           key->size) == 0;
        for (size_t i = 0; !same && i < sizeof kinds_that_read_ / sizeof *kinds_that_read_; i++) {
            if (strcmp(kinds_that_read_[i].path, key->path) == 0 &&
                !(kinds_that_read_[i].kinds >> layer->kind & 1)) {
                char place[PLACE_SIZE];
                csl_yaml_place(yaml, child->key_line, child->key_column, place, sizeof place);
                return csl_fail(CSL_E_RANGE, "%s: %s: only layers of kind %s make use of it", place,
                                key->path, kinds_that_read_[i].names);
            }
        }
    }
    return CSL_OK;
}

static csl_status
read_layer(const csl_yaml *yaml, const csl_yaml_node *node, csl_study_layer *layer)
{
    CSL_TRY(set_layer_defaults(layer));
    char place[PLACE_SIZE];
    csl_yaml_place(yaml, node->line, node->column, place, sizeof place);
    if (node->kind != CSL_YAML_MAPPING) {
        return csl_fail(CSL_E_FORMAT, "%s: model.layers: expected a layer such as {kind: relu}",
                        place);
    }
    bool has_kind = false;
    for (const csl_yaml_node *child = csl_yaml_at(yaml, node->first_child); child;
         child = csl_yaml_at(yaml, child->next)) {
        size_t index = find_key(csl_study_layer_keys, csl_study_layer_key_count, child->key);
        if (index == csl_study_layer_key_count) {
            return unknown_key(yaml, child, csl_study_layer_keys, csl_study_layer_key_count, "");
        }
        CSL_TRY(csl_study_set_value(&csl_study_layer_keys[index], yaml, child, layer));
        has_kind = has_kind || strcmp(child->key, "kind") == 0;
    }
    return has_kind ? check_layer_keys(yaml, node, layer)
                    : csl_fail(CSL_E_FORMAT, "%s: a layer without a kind", place);
}

static csl_status read_layers(const csl_yaml *yaml, const csl_yaml_node *node, csl_study *study)
{
    if (node->kind != CSL_YAML_LIST || node->child_count > CSL_LAYERS_MAX) {
        char place[PLACE_SIZE];
        char found[128];
        csl_yaml_place(yaml, node->line, node->column, place, sizeof place);
        csl_yaml_describe(node, found, sizeof found);
        return csl_fail(CSL_E_FORMAT,
                        "%s: model.layers: expected a list of at most %d layers, found %s", place,
                        CSL_LAYERS_MAX, found);
    }
    csl_study_layer *layers = calloc((size_t)node->child_count + 1, sizeof *layers);
    if (!layers) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for %u layers", node->child_count);
    }
    free(study->model.layers);
    study->model.layers = layers;
    study->model.layer_count = node->child_count;
    uint32_t index = 0;
    for (const csl_yaml_node *child = csl_yaml_at(yaml, node->first_child); child;
         child = csl_yaml_at(yaml, child->next)) {
        CSL_TRY(read_layer(yaml, child, &layers[index++]));
    }
    return CSL_OK;
}

static csl_status
read_value(study_loader *loader, size_t index, const csl_yaml *yaml, const csl_yaml_node *node)
{
    const csl_study_key *key = &csl_study_keys[index];
    csl_yaml_place(yaml, node->line, node->column, loader->origins.place[index], PLACE_SIZE);
    return key->type == CSL_STUDY_LAYERS ? read_layers(yaml, node, loader->study)
                                         : csl_study_set_value(key, yaml, node, loader->study);
}

/* Reads a mapping whose keys begin with `section` ("" or "data.split."). Depth is bounded by the
 * parser. */
static csl_status read_section(study_loader *loader,
                               const csl_yaml *yaml,
                               const csl_yaml_node *mapping,
                               const char *section)
{
    for (const csl_yaml_node *node = csl_yaml_at(yaml, mapping->first_child); node;
         node = csl_yaml_at(yaml, node->next)) {
        char path[2 * CSL_NAME_MAX];
        int length = snprintf(path, sizeof path, "%s%s", section, node->key);
        if (length < 0 || (size_t)length + 1 >= sizeof path || strchr(node->key, '.')) {
            return unknown_key(yaml, node, csl_study_keys, csl_study_key_count, section);
        }
        size_t index = find_key(csl_study_keys, csl_study_key_count, path);
        if (index < csl_study_key_count) {
            CSL_TRY(read_value(loader, index, yaml, node));
            continue;
        }
        snprintf(path + length, sizeof path - (size_t)length, ".");
        bool is_section = false;
        for (size_t i = 0; i < csl_study_key_count && !is_section; i++) {
            is_section = strncmp(csl_study_keys[i].path, path, strlen(path)) == 0;
        }
        if (!is_section) {
            return unknown_key(yaml, node, csl_study_keys, csl_study_key_count, section);
        }
        if (node->kind != CSL_YAML_MAPPING) {
            char place[PLACE_SIZE];
            char found[128];
            csl_yaml_place(yaml, node->line, node->column, place, sizeof place);
            csl_yaml_describe(node, found, sizeof found);
            return csl_fail(CSL_E_FORMAT, "%s: %.*s: expected a section of keys, found %s", place,
                            (int)strlen(path) - 1, path, found);
        }
        CSL_TRY(read_section(loader, yaml, node, path));
    }
    return CSL_OK;
}

static csl_status read_file(study_loader *loader, const char *name, const void *bytes, size_t size)
{
    csl_yaml yaml;
    csl_status status = csl_yaml_parse(name, true, bytes, size, &yaml);
    if (status == CSL_OK && yaml.node_count > 0) {
        char found[128];
        csl_yaml_describe(&yaml.nodes[0], found, sizeof found);
        status = yaml.nodes[0].kind == CSL_YAML_MAPPING
                     ? read_section(loader, &yaml, &yaml.nodes[0], "")
                     : csl_fail(CSL_E_FORMAT, "%s: expected keys such as 'seed: 7', found %s", name,
                                found);
    }
    csl_yaml_clear(&yaml);
    return status;
}

/* Sets one key from text outside the file. Lists are YAML ("[6, 7]"), everything else stands for
 * itself. */
static csl_status
read_text(study_loader *loader, size_t index, const char *source, const char *value)
{
    const csl_study_key *key = &csl_study_keys[index];
    if (csl_utf8_check(value, strlen(value)) < strlen(value)) {
        return csl_fail(CSL_E_FORMAT, "%s: value is not UTF-8", source);
    }
    for (const char *character = value; *character; character++) {
        if ((unsigned char)*character < ' ' || *character == 0x7f) {
            return csl_fail(CSL_E_FORMAT, "%s: control character in the value", source);
        }
    }
    snprintf(loader->origins.place[index], PLACE_SIZE, "%s", source);
    if (key->type != CSL_STUDY_INDICES && key->type != CSL_STUDY_NAMES &&
        key->type != CSL_STUDY_LAYERS) {
        return csl_study_set_text(key, source, value, loader->study);
    }
    csl_yaml yaml;
    csl_status status = csl_yaml_parse(source, false, value, strlen(value), &yaml);
    if (status == CSL_OK && yaml.node_count == 0) {
        status = csl_fail(CSL_E_FORMAT, "%s: expected a list, found nothing", source);
    }
    if (status == CSL_OK) {
        status = read_value(loader, index, &yaml, &yaml.nodes[0]);
    }
    csl_yaml_clear(&yaml);
    return status;
}

/* "training.clip_norm" to "CONSILIUM_TRAINING_CLIP_NORM". */
static void environment_name(const char *path, char *name_out)
{
    size_t length =
        (size_t)snprintf(name_out, ENVIRONMENT_NAME_SIZE, "%s%s", environment_prefix_, path);
    for (size_t i = 0; i < length && i < ENVIRONMENT_NAME_SIZE - 1; i++) {
        char character = name_out[i];
        name_out[i] = character == '.'                       ? '_'
                      : character >= 'a' && character <= 'z' ? (char)(character - 'a' + 'A')
                                                             : character;
    }
}

static csl_status read_environment(study_loader *loader, const char *entry)
{
    const char *equals = strchr(entry, '=');
    if (!equals || strncmp(entry, environment_prefix_, sizeof environment_prefix_ - 1) != 0) {
        return CSL_OK;
    }
    char name[ENVIRONMENT_NAME_SIZE];
    char known[128][ENVIRONMENT_NAME_SIZE];
    const char *names[129] = {NULL};
    snprintf(name, sizeof name, "%.*s", (int)(equals - entry), entry);
    for (size_t i = 0; i < csl_study_key_count && i < 128; i++) {
        environment_name(csl_study_keys[i].path, known[i]);
        names[i] = known[i];
        if (strcmp(known[i], name) == 0) {
            char source[ENVIRONMENT_NAME_SIZE + 16];
            snprintf(source, sizeof source, "environment %s", name);
            return read_text(loader, i, source, equals + 1);
        }
    }
    const char *nearest = csl_nearest_name(name, names);
    return csl_fail(CSL_E_FORMAT, "environment: %s names no key of a study%s%s", name,
                    nearest ? "; nearest is " : "", nearest ? nearest : "");
}

static csl_status read_override(study_loader *loader, const char *override)
{
    const char *equals = strchr(override, '=');
    if (!equals) {
        return csl_fail(CSL_E_FORMAT, "--set %.64s: expected key=value", override);
    }
    char path[2 * CSL_NAME_MAX];
    char source[2 * CSL_NAME_MAX + 16];
    snprintf(path, sizeof path, "%.*s", (int)(equals - override), override);
    size_t index = find_key(csl_study_keys, csl_study_key_count, path);
    if (index == csl_study_key_count) {
        const char *nearest = csl_nearest_name_strided(path, &csl_study_keys[0].path,
                                                       sizeof *csl_study_keys, csl_study_key_count);
        return csl_fail(CSL_E_FORMAT, "--set: unknown key '%.64s'%s%s", path,
                        nearest ? "; nearest is " : "", nearest ? nearest : "");
    }
    snprintf(source, sizeof source, "--set %s", path);
    return read_text(loader, index, source, equals + 1);
}

static csl_status read_all(study_loader *loader,
                           const char *name,
                           const void *bytes,
                           size_t size,
                           const csl_study_sources *sources)
{
    for (size_t i = 0; i < csl_study_key_count; i++) {
        const csl_study_key *key = &csl_study_keys[i];
        snprintf(loader->origins.place[i], PLACE_SIZE, "%s", name);
        if (key->type != CSL_STUDY_LAYERS) {
            CSL_TRY(csl_study_set_text(key, "default", key->default_text, loader->study));
        }
    }
    CSL_TRY(read_file(loader, name, bytes, size));
    for (size_t i = 0; sources && sources->environment && sources->environment[i]; i++) {
        CSL_TRY(read_environment(loader, sources->environment[i]));
    }
    for (size_t i = 0; sources && i < sources->override_count; i++) {
        CSL_TRY(read_override(loader, sources->overrides[i]));
    }
    return csl_study_check(loader->study, &loader->origins);
}

csl_status csl_study_parse(const char *name,
                           const void *bytes,
                           size_t size,
                           const csl_study_sources *sources,
                           csl_study **study_out)
{
    study_loader loader = {.study = calloc(1, sizeof *loader.study)};
    loader.origins.place = calloc(csl_study_key_count, sizeof *loader.origins.place);
    csl_status status = loader.study && loader.origins.place
                            ? read_all(&loader, name, bytes, size, sources)
                            : csl_fail(CSL_E_NO_MEMORY, "no memory for a study");
    free(loader.origins.place);
    if (status != CSL_OK) {
        csl_study_destroy(loader.study);
        return status;
    }
    *study_out = loader.study;
    return CSL_OK;
}

csl_status csl_study_read(const char *path, char **bytes_out, size_t *size_out)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) != 0) {
        csl_status status = csl_fail(errno == ENOENT ? CSL_E_NOT_FOUND : CSL_E_IO, "study %s: %s",
                                     path, strerror(errno));
        if (file) {
            fclose(file);
        }
        return status;
    }
    /* One byte more than allowed tells a file that is too large from one that just fits. */
    bool is_folder = S_ISDIR(info.st_mode);
    char *bytes = is_folder ? NULL : malloc(CSL_STUDY_SIZE_MAX + 1);
    size_t size = bytes ? fread(bytes, 1, CSL_STUDY_SIZE_MAX + 1, file) : 0;
    csl_status status = CSL_OK;
    if (is_folder) {
        status = csl_fail(CSL_E_FORMAT, "study %s: expected a YAML file, found a folder", path);
    } else if (!bytes) {
        status = csl_fail(CSL_E_NO_MEMORY, "no memory for study %s", path);
    } else if (ferror(file)) {
        status = csl_fail(CSL_E_IO, "study %s: %s", path, strerror(errno));
    } else if (size > CSL_STUDY_SIZE_MAX) {
        status = csl_fail(CSL_E_FORMAT, "study %s: expected at most %d bytes, found more", path,
                          CSL_STUDY_SIZE_MAX);
    }
    fclose(file);
    if (status != CSL_OK) {
        free(bytes);
        return status;
    }
    *bytes_out = bytes;
    *size_out = size;
    return CSL_OK;
}

csl_status csl_study_load(const char *path, const csl_study_sources *sources, csl_study **study_out)
{
    char *bytes = NULL;
    size_t size = 0;
    CSL_TRY(csl_study_read(path, &bytes, &size));
    csl_status status = csl_study_parse(path, bytes, size, sources, study_out);
    free(bytes);
    return status;
}

bool csl_study_is_refused(csl_status status)
{
    return status == CSL_E_FORMAT || status == CSL_E_RANGE || status == CSL_E_NOT_FOUND ||
           status == CSL_E_IO;
}

void csl_study_destroy(csl_study *study)
{
    if (study) {
        free(study->model.layers);
        free(study);
    }
}
