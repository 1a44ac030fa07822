/* YAML as a bounded tree of nodes with their places, built from libyaml's events. */
#ifndef CSL_STUDY_YAML_H
#define CSL_STUDY_YAML_H

#include <consilium/status.h>
#include <consilium/types.h>

typedef enum csl_yaml_kind { CSL_YAML_SCALAR, CSL_YAML_MAPPING, CSL_YAML_LIST } csl_yaml_kind;

typedef struct csl_yaml_node {
    csl_yaml_kind kind;
    char *key;  /* in a mapping; else NULL */
    char *text; /* of a scalar; else NULL */
    bool quoted;
    uint32_t line; /* of the value, from 1 */
    uint32_t column;
    uint32_t key_line;
    uint32_t key_column;
    uint32_t first_child; /* index, 0: none (node 0 is the root) */
    uint32_t next;        /* index of the next sibling, 0: none */
    uint32_t child_count;
} csl_yaml_node;

typedef struct csl_yaml {
    const char *source; /* file name, or what stands for it; lent */
    bool is_file;       /* messages name line and column */
    csl_yaml_node *nodes;
    uint32_t node_count;
    uint32_t node_capacity;
} csl_yaml;

/*
 * One document. Refused: more than CSL_STUDY_SIZE_MAX bytes, bytes that are not UTF-8, nesting
 * beyond CSL_STUDY_DEPTH_MAX, more than CSL_STUDY_NODES_MAX nodes or 256 keys in one mapping,
 * aliases, anchors, tags, repeated keys, a second document. An empty document has node_count 0. The
 * tree is the caller's also on failure: csl_yaml_clear.
 */
CSL_MUST_CHECK csl_status csl_yaml_parse(
    const char *source, bool is_file, const void *bytes, size_t size, csl_yaml *yaml_out);
void csl_yaml_clear(csl_yaml *yaml);

/* "file:3:5" of a value (or of its key), or the source alone; into place_out [size]. */
void csl_yaml_place(
    const csl_yaml *yaml, uint32_t line, uint32_t column, char *place_out, size_t size);
/* Child at an index, NULL for index 0. */
const csl_yaml_node *csl_yaml_at(const csl_yaml *yaml, uint32_t index);
/* "text 'abc'", "a list of 3", "nothing": what was found, for messages; into text_out [size]. */
void csl_yaml_describe(const csl_yaml_node *node, char *text_out, size_t size);

#endif
