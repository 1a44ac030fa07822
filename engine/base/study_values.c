/* One value of the study file: from text, to text, and what was expected. */
#include "study_schema.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const csl_yaml no_yaml_ = {.source = "default"};

int csl_study_choice(const char *accepts, const char *name)
{
    size_t length = strlen(name);
    int index = 0;
    for (const char *choice = accepts; choice; index++) {
        const char *bar = strchr(choice, '|');
        size_t size = bar ? (size_t)(bar - choice) : strlen(choice);
        if (size == length && strncmp(choice, name, size) == 0) {
            return index;
        }
        choice = bar ? bar + 1 : NULL;
    }
    return -1;
}

/* The choice at an index, into name_out [CSL_NAME_MAX]. */
static void choice_at(const char *accepts, int index, char *name_out)
{
    const char *choice = accepts;
    for (int i = 0; i < index && choice; i++) {
        choice = strchr(choice, '|');
        choice = choice ? choice + 1 : NULL;
    }
    snprintf(name_out, CSL_NAME_MAX, "%.*s", choice ? (int)strcspn(choice, "|") : 0,
             choice ? choice : "");
}

void csl_study_add_expected(csl_text *text, const csl_study_key *key)
{
    static const char *const kinds[] = {
        [CSL_STUDY_BOOL] = "true or false",
        [CSL_STUDY_U32] = "a whole number",
        [CSL_STUDY_U64] = "a whole number",
        [CSL_STUDY_F32] = "a number",
        [CSL_STUDY_F64] = "a number",
        [CSL_STUDY_OPTIONAL] = "auto or a number",
        [CSL_STUDY_TEXT] = "a text",
        [CSL_STUDY_ENUM] = "",
        [CSL_STUDY_INDICES] = "a list of whole numbers",
        [CSL_STUDY_NAMES] = "a list of names",
        [CSL_STUDY_WINDOW] = "a whole number or a list of up to 3",
        [CSL_STUDY_LAYERS] = "a list of layers",
    };
    bool choice = key->accepts && (key->type == CSL_STUDY_TEXT || key->type == CSL_STUDY_ENUM ||
                                   key->type == CSL_STUDY_NAMES);
    if (!choice || key->type == CSL_STUDY_NAMES) {
        csl_text_add(text, kinds[key->type]);
    }
    if (!key->accepts) {
        return;
    }
    if (!choice) {
        csl_text_format(text, " in %s", key->accepts);
        return;
    }
    csl_text_add(text, key->type == CSL_STUDY_NAMES ? " of " : "one of ");
    for (const char *character = key->accepts; *character; character++) {
        csl_text_add_bytes(text, *character == '|' ? ", " : character, *character == '|' ? 2 : 1);
    }
}

/* "place: key: expected ..., found ...", and the nearest choice. */
static csl_status
refuse(csl_status status, const csl_study_key *key, const csl_yaml *yaml, const csl_yaml_node *node)
{
    char place[CSL_PATH_MAX + 64];
    char found[128];
    csl_text expected = {0};
    csl_yaml_place(yaml, node->line, node->column, place, sizeof place);
    csl_yaml_describe(node, found, sizeof found);
    csl_study_add_expected(&expected, key);
    const char *nearest = NULL;
    char names[32][CSL_NAME_MAX];
    const char *pointers[33] = {NULL};
    bool choice = key->accepts && (key->type == CSL_STUDY_TEXT || key->type == CSL_STUDY_ENUM ||
                                   key->type == CSL_STUDY_NAMES);
    if (choice && node->kind == CSL_YAML_SCALAR) {
        for (int i = 0; i < 32; i++) {
            choice_at(key->accepts, i, names[i]);
            pointers[i] = names[i][0] ? names[i] : NULL;
            if (!pointers[i]) {
                break;
            }
        }
        nearest = csl_nearest_name(node->text, pointers);
    }
    csl_fail(status, "%s: %s: expected %s, found %s%s%s", place, key->path,
             csl_text_string(&expected), found, nearest ? "; nearest is " : "",
             nearest ? nearest : "");
    csl_text_clear(&expected);
    return status;
}

/* Whether a number lies in "[1, 10)". */
static bool in_range(const char *accepts, double value)
{
    if (!accepts) {
        return true;
    }
    char *rest;
    double least = strtod(accepts + 1, &rest);
    double largest = strtod(rest + 1, &rest);
    bool above = accepts[0] == '[' ? value >= least : value > least;
    bool below = *rest == ']' ? value <= largest : value < largest;
    return above && below;
}

static csl_status get_whole(const csl_study_key *key,
                            const csl_yaml *yaml,
                            const csl_yaml_node *node,
                            uint64_t largest,
                            uint64_t *value_out)
{
    if (node->kind != CSL_YAML_SCALAR || node->quoted || !isdigit((unsigned char)node->text[0])) {
        return refuse(CSL_E_FORMAT, key, yaml, node);
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(node->text, &end, 10);
    if (*end) {
        return refuse(CSL_E_FORMAT, key, yaml, node);
    }
    if (errno || value > largest || !in_range(key->accepts, (double)value)) {
        return refuse(CSL_E_RANGE, key, yaml, node);
    }
    *value_out = value;
    return CSL_OK;
}

static csl_status get_number(const csl_study_key *key,
                             const csl_yaml *yaml,
                             const csl_yaml_node *node,
                             double *value_out)
{
    /* Decimal digits only: no hexadecimal, no "inf", no "nan". */
    if (node->kind != CSL_YAML_SCALAR || node->quoted || !node->text[0] ||
        node->text[strspn(node->text, "+-.0123456789eE")]) {
        return refuse(CSL_E_FORMAT, key, yaml, node);
    }
    char *end;
    double value = strtod(node->text, &end);
    if (*end) {
        return refuse(CSL_E_FORMAT, key, yaml, node);
    }
    bool fits = isfinite(value) && (key->type != CSL_STUDY_F32 || isfinite((float)value));
    if (!fits ||
        !in_range(key->accepts, key->type == CSL_STUDY_F32 ? (double)(float)value : value)) {
        return refuse(CSL_E_RANGE, key, yaml, node);
    }
    *value_out = value;
    return CSL_OK;
}

static csl_status set_name(const csl_study_key *key,
                           const csl_yaml *yaml,
                           const csl_yaml_node *node,
                           size_t size,
                           char *name_out)
{
    if (node->kind != CSL_YAML_SCALAR) {
        return refuse(CSL_E_FORMAT, key, yaml, node);
    }
    if (key->accepts && csl_study_choice(key->accepts, node->text) < 0) {
        return refuse(CSL_E_RANGE, key, yaml, node);
    }
    if (strlen(node->text) >= size) {
        char place[CSL_PATH_MAX + 64];
        csl_yaml_place(yaml, node->line, node->column, place, sizeof place);
        return csl_fail(CSL_E_RANGE, "%s: %s: %zu bytes, at most %zu", place, key->path,
                        strlen(node->text), size - 1);
    }
    memset(name_out, 0, size);
    memcpy(name_out, node->text, strlen(node->text));
    return CSL_OK;
}

static csl_status set_list(const csl_study_key *key,
                           const csl_yaml *yaml,
                           const csl_yaml_node *node,
                           uint32_t capacity,
                           uint32_t *count_out,
                           void *items)
{
    if (node->kind != CSL_YAML_LIST) {
        return refuse(CSL_E_FORMAT, key, yaml, node);
    }
    if (node->child_count > capacity) {
        return refuse(CSL_E_RANGE, key, yaml, node);
    }
    uint32_t count = 0;
    const csl_yaml_node *item = csl_yaml_at(yaml, node->first_child);
    for (; item; item = csl_yaml_at(yaml, item->next)) {
        if (key->type == CSL_STUDY_NAMES) {
            char(*names)[CSL_NAME_MAX] = items;
            CSL_TRY(set_name(key, yaml, item, CSL_NAME_MAX, names[count]));
        } else {
            uint64_t value = 0;
            CSL_TRY(get_whole(key, yaml, item, UINT32_MAX, &value));
            ((uint32_t *)items)[count] = (uint32_t)value;
        }
        count++;
    }
    *count_out = count;
    return CSL_OK;
}

static csl_status set_window(const csl_study_key *key,
                             const csl_yaml *yaml,
                             const csl_yaml_node *node,
                             csl_study_window *window)
{
    if (node->kind == CSL_YAML_LIST && node->child_count > 0) {
        return set_list(key, yaml, node, CSL_STUDY_WINDOW_MAX, &window->count, window->values);
    }
    uint64_t value = 0;
    CSL_TRY(get_whole(key, yaml, node, UINT32_MAX, &value));
    *window = (csl_study_window){.count = 1, .values = {(uint32_t)value}};
    return CSL_OK;
}

static csl_status
set_choice(const csl_study_key *key, const csl_yaml *yaml, const csl_yaml_node *node, void *target)
{
    int index = node->kind == CSL_YAML_SCALAR ? csl_study_choice(key->accepts, node->text) : -1;
    if (index < 0) {
        return refuse(node->kind == CSL_YAML_SCALAR ? CSL_E_RANGE : CSL_E_FORMAT, key, yaml, node);
    }
    memcpy(target, &index, sizeof index);
    return CSL_OK;
}

static csl_status
set_bool(const csl_study_key *key, const csl_yaml *yaml, const csl_yaml_node *node, bool *target)
{
    bool scalar = node->kind == CSL_YAML_SCALAR && !node->quoted;
    bool on = scalar && strcmp(node->text, "true") == 0;
    if (!on && !(scalar && strcmp(node->text, "false") == 0)) {
        return refuse(CSL_E_FORMAT, key, yaml, node);
    }
    *target = on;
    return CSL_OK;
}

csl_status csl_study_set_value(const csl_study_key *key,
                               const csl_yaml *yaml,
                               const csl_yaml_node *node,
                               void *object)
{
    void *target = (char *)object + key->offset;
    uint64_t whole = 0;
    double number = 0.0;
    switch (key->type) {
    case CSL_STUDY_BOOL:
        return set_bool(key, yaml, node, target);
    case CSL_STUDY_U32:
        CSL_TRY(get_whole(key, yaml, node, UINT32_MAX, &whole));
        *(uint32_t *)target = (uint32_t)whole;
        return CSL_OK;
    case CSL_STUDY_U64:
        return get_whole(key, yaml, node, UINT64_MAX, target);
    case CSL_STUDY_F32:
        CSL_TRY(get_number(key, yaml, node, &number));
        *(float *)target = (float)number;
        return CSL_OK;
    case CSL_STUDY_F64:
        return get_number(key, yaml, node, target);
    case CSL_STUDY_OPTIONAL:
        if (node->kind == CSL_YAML_SCALAR && strcmp(node->text, "auto") == 0) {
            *(double *)target = NAN;
            return CSL_OK;
        }
        return get_number(key, yaml, node, target);
    case CSL_STUDY_TEXT:
        return set_name(key, yaml, node, key->size, target);
    case CSL_STUDY_ENUM:
        return set_choice(key, yaml, node, target);
    case CSL_STUDY_INDICES: {
        csl_study_indices *list = target;
        return set_list(key, yaml, node, CSL_INSTITUTIONS_MAX, &list->count, list->values);
    }
    case CSL_STUDY_NAMES: {
        csl_study_names *list = target;
        return set_list(key, yaml, node, CSL_STUDY_NAMES_MAX, &list->count, list->values);
    }
    case CSL_STUDY_WINDOW:
        return set_window(key, yaml, node, target);
    case CSL_STUDY_LAYERS:
        break;
    }
    return csl_fail(CSL_E_INTERNAL, "key %s has no plain value", key->path);
}

csl_status
csl_study_set_text(const csl_study_key *key, const char *source, const char *text, void *object)
{
    csl_yaml yaml = no_yaml_;
    yaml.source = source;
    /* Lists that are not empty come through csl_yaml_parse; here only "[]" can stand. */
    bool list = key->type == CSL_STUDY_INDICES || key->type == CSL_STUDY_NAMES;
    csl_yaml_node node = {.kind =
                              list && strcmp(text, "[]") == 0 ? CSL_YAML_LIST : CSL_YAML_SCALAR};
    node.text = strdup(text);
    if (!node.text) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the value of %s", key->path);
    }
    csl_status status = csl_study_set_value(key, &yaml, &node, object);
    free(node.text);
    return status;
}

/* Double quotes always: a text that looks like a number stays a text. */
static void add_quoted(csl_text *text, const char *value)
{
    csl_text_add(text, "\"");
    for (const char *character = value; *character; character++) {
        if (*character == '"' || *character == '\\') {
            csl_text_add(text, "\\");
        }
        csl_text_add_bytes(text, character, 1);
    }
    csl_text_add(text, "\"");
}

static void add_indices(csl_text *text, const uint32_t *values, uint32_t count)
{
    csl_text_add(text, "[");
    for (uint32_t i = 0; i < count; i++) {
        csl_text_format(text, "%s%u", i ? ", " : "", values[i]);
    }
    csl_text_add(text, "]");
}

static void add_names(csl_text *text, const csl_study_names *names)
{
    csl_text_add(text, "[");
    for (uint32_t i = 0; i < names->count; i++) {
        csl_text_add(text, i ? ", " : "");
        add_quoted(text, names->values[i]);
    }
    csl_text_add(text, "]");
}

void csl_study_add_value(csl_text *text, const csl_study_key *key, const void *object)
{
    const void *source = (const char *)object + key->offset;
    char name[CSL_NAME_MAX];
    int index;
    switch (key->type) {
    case CSL_STUDY_BOOL:
        csl_text_add(text, *(const bool *)source ? "true" : "false");
        break;
    case CSL_STUDY_U32:
        csl_text_format(text, "%u", *(const uint32_t *)source);
        break;
    case CSL_STUDY_U64:
        csl_text_format(text, "%llu", (unsigned long long)*(const uint64_t *)source);
        break;
    case CSL_STUDY_F32:
        csl_text_add_float(text, *(const float *)source);
        break;
    case CSL_STUDY_F64:
        csl_text_add_double(text, *(const double *)source);
        break;
    case CSL_STUDY_OPTIONAL:
        if (isnan(*(const double *)source)) {
            csl_text_add(text, "auto");
        } else {
            csl_text_add_double(text, *(const double *)source);
        }
        break;
    case CSL_STUDY_TEXT:
        if (key->accepts) {
            csl_text_add(text, source);
        } else {
            add_quoted(text, source);
        }
        break;
    case CSL_STUDY_ENUM:
        memcpy(&index, source, sizeof index);
        choice_at(key->accepts, index, name);
        csl_text_add(text, name);
        break;
    case CSL_STUDY_INDICES:
        add_indices(text, ((const csl_study_indices *)source)->values,
                    ((const csl_study_indices *)source)->count);
        break;
    case CSL_STUDY_NAMES:
        add_names(text, source);
        break;
    case CSL_STUDY_WINDOW:
        add_indices(text, ((const csl_study_window *)source)->values,
                    ((const csl_study_window *)source)->count);
        break;
    case CSL_STUDY_LAYERS:
        break;
    }
}
