/* A study as YAML, its hash, and the reference of all keys. */
#include "study_schema.h"

#include <string.h>

/* Opens the sections of `path` that `before` was not in; returns the key's own name. */
static const char *open_sections(csl_text *text, const char *before, const char *path)
{
    size_t shared = 0; /* bytes of the common sections */
    for (size_t i = 0; before[i] && before[i] == path[i]; i++) {
        shared = path[i] == '.' ? i + 1 : shared;
    }
    size_t depth = 0;
    for (size_t i = 0; i < shared; i++) {
        depth += path[i] == '.';
    }
    const char *part = path + shared;
    for (const char *dot = strchr(part, '.'); dot; dot = strchr(part, '.')) {
        csl_text_fill(text, ' ', 2 * depth);
        csl_text_add_bytes(text, part, (size_t)(dot - part));
        csl_text_add(text, ":\n");
        part = dot + 1;
        depth++;
    }
    csl_text_fill(text, ' ', 2 * depth);
    return part;
}

static void add_layers(csl_text *text, const csl_study *study)
{
    csl_text_add(text, study->model.layer_count ? "\n" : " []\n");
    for (uint32_t i = 0; i < study->model.layer_count; i++) {
        csl_text_add(text, "    - {");
        for (size_t k = 0; k < csl_study_layer_key_count; k++) {
            csl_text_format(text, "%s%s: ", k ? ", " : "", csl_study_layer_keys[k].path);
            csl_study_add_value(text, &csl_study_layer_keys[k], &study->model.layers[i]);
        }
        csl_text_add(text, "}\n");
    }
}

static csl_status write_keys(const csl_study *study, bool all, csl_text *text)
{
    const char *before = "";
    for (size_t i = 0; i < csl_study_key_count; i++) {
        const csl_study_key *key = &csl_study_keys[i];
        if (key->no_effect && !all) {
            continue;
        }
        csl_text_add(text, open_sections(text, before, key->path));
        csl_text_add(text, ":");
        if (key->type == CSL_STUDY_LAYERS) {
            add_layers(text, study);
        } else {
            csl_text_add(text, " ");
            csl_study_add_value(text, key, study);
            csl_text_add(text, "\n");
        }
        before = key->path;
    }
    return csl_text_status(text);
}

csl_status csl_study_write(const csl_study *study, csl_text *text)
{
    return write_keys(study, true, text);
}

csl_status csl_study_sha256(const csl_study *study, uint8_t digest_out[CSL_SHA256_SIZE])
{
    csl_text text = {0};
    csl_status status = write_keys(study, false, &text);
    if (status == CSL_OK) {
        status = csl_sha256(text.bytes, text.size, digest_out);
    }
    csl_text_clear(&text);
    return status;
}

/* "a number in (0, 10], batches" with '|' made safe for a Markdown table. */
static void add_accepts(csl_text *text, const csl_study_key *key)
{
    csl_study_add_expected(text, key);
    if (key->unit[0]) {
        csl_text_format(text, "; %s", key->unit);
    }
}

static void add_markdown_rows(csl_text *text, const csl_study_key *keys, size_t count)
{
    csl_text_add(text, "| key | default | accepts | meaning |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < count; i++) {
        const char *value = keys[i].default_text[0] ? keys[i].default_text : "(empty)";
        csl_text_format(text, "| `%s` | %s | ", keys[i].path, value);
        add_accepts(text, &keys[i]);
        csl_text_format(text, " | %s |\n", keys[i].meaning);
    }
}

csl_status csl_study_reference_markdown(csl_text *text)
{
    csl_text_add(text,
                 "# The study file\n\n"
                 "Generated from the table in `engine/base/study_schema.c`; a test keeps it so.\n\n"
                 "A study is YAML. Keys with dots are nested: `training.lr` is `lr` below "
                 "`training`.\n"
                 "Precedence: default, file, environment (`CONSILIUM_TRAINING_LR=0.1`), "
                 "`--set training.lr=0.1`.\n"
                 "An unknown key is an error that names the nearest one.\n"
                 "Aliases, anchors, tags and repeated keys are refused.\n\n");
    add_markdown_rows(text, csl_study_keys, csl_study_key_count);
    csl_text_add(text, "\n## Layers\n\n"
                       "`model.layers` is a list; each layer has these keys, for example\n"
                       "`{name: conv1, kind: conv, channels: 16, size: 3, padding: 1}`.\n"
                       "A window of one number holds for all axes, of two for height and width.\n"
                       "A key that the layer's kind makes no use of is refused.\n\n");
    add_markdown_rows(text, csl_study_layer_keys, csl_study_layer_key_count);
    return csl_text_status(text);
}

static void add_man_rows(csl_text *text, const csl_study_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        csl_text_format(text, ".TP\n.B %s\n%s: ", keys[i].path, keys[i].meaning);
        add_accepts(text, &keys[i]);
        if (keys[i].default_text[0]) {
            csl_text_format(text, ". Default: %s", keys[i].default_text);
        }
        csl_text_add(text, ".\n");
    }
}

csl_status csl_study_reference_man(csl_text *text)
{
    csl_text_add(text, ".SH KEYS\n");
    add_man_rows(text, csl_study_keys, csl_study_key_count);
    csl_text_add(text, ".SH LAYERS\n");
    add_man_rows(text, csl_study_layer_keys, csl_study_layer_key_count);
    return csl_text_status(text);
}
