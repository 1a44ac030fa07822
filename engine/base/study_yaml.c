#include "study_yaml.h"

#include <consilium/study.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { KEYS_MAX = 256 };

/* An open mapping or list. */
typedef struct level {
    uint32_t node;
    uint32_t last_child;
    bool has_key;
} level;

typedef struct tree_builder {
    csl_yaml *yaml;
    level levels[CSL_STUDY_DEPTH_MAX];
    uint32_t depth;
    char *key; /* read, waiting for its value */
    uint32_t key_line;
    uint32_t key_column;
    uint32_t document_count;
} tree_builder;

void csl_yaml_place(
    const csl_yaml *yaml, uint32_t line, uint32_t column, char *place_out, size_t size)
{
    if (yaml->is_file) {
        snprintf(place_out, size, "%s:%u:%u", yaml->source, line, column);
    } else {
        snprintf(place_out, size, "%s", yaml->source);
    }
}

/* Fails with the place of an event or a key. */
static csl_status fail_at(const tree_builder *builder,
                          uint32_t line,
                          uint32_t column,
                          const char *what,
                          const char *detail)
{
    char place[CSL_PATH_MAX + 64];
    csl_yaml_place(builder->yaml, line, column, place, sizeof place);
    return csl_fail(CSL_E_FORMAT, "%s: %s%s", place, what, detail);
}

static csl_status
fail_event(const tree_builder *builder, const yaml_event_t *event, const char *what)
{
    return fail_at(builder, (uint32_t)event->start_mark.line + 1,
                   (uint32_t)event->start_mark.column + 1, what, "");
}

static csl_status
new_node(tree_builder *builder, const yaml_event_t *event, csl_yaml_kind kind, uint32_t *index_out)
{
    csl_yaml *yaml = builder->yaml;
    if (yaml->node_count >= CSL_STUDY_NODES_MAX) {
        return fail_event(builder, event, "too many values");
    }
    if (yaml->node_count == yaml->node_capacity) {
        uint32_t capacity = yaml->node_capacity ? 2 * yaml->node_capacity : 64;
        csl_yaml_node *nodes = realloc(yaml->nodes, capacity * sizeof *nodes);
        if (!nodes) {
            return csl_fail(CSL_E_NO_MEMORY, "no memory for %u YAML nodes", capacity);
        }
        yaml->nodes = nodes;
        yaml->node_capacity = capacity;
    }
    uint32_t index = yaml->node_count++;
    yaml->nodes[index] = (csl_yaml_node){.kind = kind,
                                         .line = (uint32_t)event->start_mark.line + 1,
                                         .column = (uint32_t)event->start_mark.column + 1};
    *index_out = index;
    return CSL_OK;
}

static csl_status check_key(const tree_builder *builder, const csl_yaml_node *parent)
{
    if (parent->child_count >= KEYS_MAX) {
        return fail_at(builder, builder->key_line, builder->key_column,
                       "too many keys in one mapping", "");
    }
    uint32_t child = parent->first_child;
    while (child) {
        const csl_yaml_node *node = &builder->yaml->nodes[child];
        if (strcmp(node->key, builder->key) == 0) {
            char detail[128];
            snprintf(detail, sizeof detail, " '%.64s', first on line %u", builder->key,
                     node->key_line);
            return fail_at(builder, builder->key_line, builder->key_column, "repeated key", detail);
        }
        child = node->next;
    }
    return CSL_OK;
}

/* Adds a node below the innermost open container; takes the waiting key. */
static csl_status
add_node(tree_builder *builder, const yaml_event_t *event, csl_yaml_kind kind, uint32_t *index_out)
{
    uint32_t index = 0;
    if (builder->depth > 0) {
        level *parent = &builder->levels[builder->depth - 1];
        if (builder->yaml->nodes[parent->node].kind == CSL_YAML_MAPPING) {
            if (!parent->has_key) {
                return fail_event(builder, event, "a key must be plain text");
            }
            CSL_TRY(check_key(builder, &builder->yaml->nodes[parent->node]));
        }
    }
    CSL_TRY(new_node(builder, event, kind, &index));
    if (builder->depth > 0) {
        level *parent = &builder->levels[builder->depth - 1];
        csl_yaml_node *nodes = builder->yaml->nodes;
        if (parent->has_key) {
            nodes[index].key = builder->key;
            nodes[index].key_line = builder->key_line;
            nodes[index].key_column = builder->key_column;
            builder->key = NULL;
            parent->has_key = false;
        }
        if (parent->last_child) {
            nodes[parent->last_child].next = index;
        } else {
            nodes[parent->node].first_child = index;
        }
        nodes[parent->node].child_count++;
        parent->last_child = index;
    }
    *index_out = index;
    return CSL_OK;
}

static csl_status
open_container(tree_builder *builder, const yaml_event_t *event, csl_yaml_kind kind)
{
    if (builder->depth >= CSL_STUDY_DEPTH_MAX) {
        return fail_event(builder, event, "nested too deeply");
    }
    uint32_t index;
    CSL_TRY(add_node(builder, event, kind, &index));
    builder->levels[builder->depth++] = (level){.node = index};
    return CSL_OK;
}

/* Whether the UTF-8 text, which libyaml has checked, holds a character that would not come back
 * from a written study: a control character (U+0000 to U+001F, U+007F to U+009F), a line or
 * paragraph separator (U+2028, U+2029), a byte order mark (U+FEFF) or no character at all (U+FFFE,
 * U+FFFF). */
static bool has_control_character(const unsigned char *text, size_t length)
{
    static const unsigned char wide[][3] = {
        {0xe2, 0x80, 0xa8}, {0xe2, 0x80, 0xa9}, {0xef, 0xbb, 0xbf},
        {0xef, 0xbf, 0xbe}, {0xef, 0xbf, 0xbf},
    };
    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] == 0x7f ||
            (text[i] == 0xc2 && i + 1 < length && text[i + 1] < 0xa0)) {
            return true;
        }
        for (size_t k = 0; k < sizeof wide / sizeof wide[0] && i + 2 < length; k++) {
            if (memcmp(text + i, wide[k], sizeof wide[k]) == 0) {
                return true;
            }
        }
    }
    return false;
}

static csl_status add_scalar(tree_builder *builder, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (has_control_character(event->data.scalar.value, length)) {
        return fail_event(builder, event, "control character in a text");
    }
    char *copy = strndup(value, length);
    if (!copy) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a text of %zu bytes", length);
    }
    if (builder->depth > 0) {
        level *parent = &builder->levels[builder->depth - 1];
        if (builder->yaml->nodes[parent->node].kind == CSL_YAML_MAPPING && !parent->has_key) {
            builder->key = copy;
            builder->key_line = (uint32_t)event->start_mark.line + 1;
            builder->key_column = (uint32_t)event->start_mark.column + 1;
            parent->has_key = true;
            return CSL_OK;
        }
    }
    uint32_t index;
    csl_status status = add_node(builder, event, CSL_YAML_SCALAR, &index);
    if (status != CSL_OK) {
        free(copy);
        return status;
    }
    builder->yaml->nodes[index].text = copy;
    builder->yaml->nodes[index].quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return CSL_OK;
}

static csl_status take_event(tree_builder *builder, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return builder->document_count++ == 0 ? CSL_OK
                                              : fail_event(builder, event, "a second document");
    case YAML_ALIAS_EVENT:
        return fail_event(builder, event, "aliases are not allowed");
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor || event->data.scalar.tag) {
            return fail_event(builder, event, "anchors and tags are not allowed");
        }
        return add_scalar(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor || event->data.sequence_start.tag) {
            return fail_event(builder, event, "anchors and tags are not allowed");
        }
        return open_container(builder, event, CSL_YAML_LIST);
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor || event->data.mapping_start.tag) {
            return fail_event(builder, event, "anchors and tags are not allowed");
        }
        return open_container(builder, event, CSL_YAML_MAPPING);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        builder->depth--;
        return CSL_OK;
    default:
        return CSL_OK;
    }
}

static csl_status check_bytes(const tree_builder *builder, const char *bytes, size_t size)
{
    if (size > CSL_STUDY_SIZE_MAX) {
        return csl_fail(CSL_E_FORMAT, "%s: %zu bytes, at most %d", builder->yaml->source, size,
                        CSL_STUDY_SIZE_MAX);
    }
    size_t valid = csl_utf8_check(bytes, size);
    if (valid < size) {
        return csl_fail(CSL_E_FORMAT, "%s: byte %zu is not UTF-8", builder->yaml->source, valid);
    }
    return CSL_OK;
}

static csl_status parse_events(tree_builder *builder, yaml_parser_t *parser)
{
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return fail_at(builder, (uint32_t)parser->problem_mark.line + 1,
                           (uint32_t)parser->problem_mark.column + 1,
                           "not valid YAML: ", parser->problem ? parser->problem : "out of memory");
        }
        yaml_event_type_t type = event.type;
        csl_status status = take_event(builder, &event);
        yaml_event_delete(&event);
        if (status != CSL_OK || type == YAML_STREAM_END_EVENT) {
            return status;
        }
    }
}

csl_status
csl_yaml_parse(const char *source, bool is_file, const void *bytes, size_t size, csl_yaml *yaml_out)
{
    *yaml_out = (csl_yaml){.source = source, .is_file = is_file};
    tree_builder builder = {.yaml = yaml_out};
    CSL_TRY(check_bytes(&builder, bytes, size));
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a YAML parser");
    }
    /* Some editors begin every file with a byte order mark; in UTF-8 it says nothing. */
    static const unsigned char mark[3] = {0xef, 0xbb, 0xbf};
    size_t begin = size >= sizeof mark && memcmp(bytes, mark, sizeof mark) == 0 ? sizeof mark : 0;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes + begin, size - begin);
    csl_status status = parse_events(&builder, &parser);
    yaml_parser_delete(&parser);
    free(builder.key);
    return status;
}

void csl_yaml_clear(csl_yaml *yaml)
{
    for (uint32_t i = 0; i < yaml->node_count; i++) {
        free(yaml->nodes[i].key);
        free(yaml->nodes[i].text);
    }
    free(yaml->nodes);
    *yaml = (csl_yaml){0};
}

const csl_yaml_node *csl_yaml_at(const csl_yaml *yaml, uint32_t index)
{
    return index ? &yaml->nodes[index] : NULL;
}

void csl_yaml_describe(const csl_yaml_node *node, char *text_out, size_t size)
{
    if (node->kind == CSL_YAML_MAPPING) {
        snprintf(text_out, size, "keys");
    } else if (node->kind == CSL_YAML_LIST) {
        snprintf(text_out, size, "a list of %u", node->child_count);
    } else if (node->text[0] == '\0' && !node->quoted) {
        snprintf(text_out, size, "nothing");
    } else {
        snprintf(text_out, size, node->quoted ? "text '%.64s'" : "'%.64s'", node->text);
    }
}
