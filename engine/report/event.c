/* rounds.jsonl: one JSON object per line. */
#include "report_internal.h"

#include <consilium/log.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

struct csl_event {
    json_t *object;
    bool failed;
};

/* Takes the value; NULL or a refused key is remembered. */
static void put(csl_event *event, const char *key, json_t *value)
{
    if (!value || json_object_set_new(event->object, key, value) != 0) {
        event->failed = true;
    }
}

/* JSON knows no infinity and no NaN. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

csl_status csl_event_create(const char *kind, csl_event **event_out)
{
    csl_event *event = calloc(1, sizeof *event);
    if (event) {
        event->object = json_object();
    }
    if (!event || !event->object) {
        free(event);
        return csl_fail(CSL_E_NO_MEMORY, "no memory for event %s", kind);
    }
    char now[CSL_UTC_TEXT_SIZE];
    csl_clock_utc(now);
    csl_event_add_text(event, "event", kind);
    csl_event_add_text(event, "utc", now);
    *event_out = event;
    return CSL_OK;
}

void csl_event_destroy(csl_event *event)
{
    if (event) {
        json_decref(event->object);
        free(event);
    }
}

void csl_event_add_text(csl_event *event, const char *key, const char *value)
{
    put(event, key, json_string(value));
}

void csl_event_add_integer(csl_event *event, const char *key, uint64_t value)
{
    /* JSON numbers here are signed; what is larger keeps its digits as text. */
    char digits[24];
    if (value <= INT64_MAX) {
        put(event, key, json_integer((json_int_t)value));
    } else {
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
        put(event, key, json_string(digits));
    }
}

void csl_event_add_number(csl_event *event, const char *key, double value)
{
    put(event, key, number(value));
}

void csl_event_add_bool(csl_event *event, const char *key, bool value)
{
    put(event, key, json_boolean(value));
}

static void append(csl_event *event, json_t *list, json_t *value)
{
    if (!value || json_array_append_new(list, value) != 0) {
        event->failed = true;
    }
}

void csl_event_add_integers(csl_event *event, const char *key, const uint64_t *values, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++) {
        append(event, list, json_integer((json_int_t)values[i]));
    }
    put(event, key, list);
}

void csl_event_add_numbers(csl_event *event, const char *key, const double *values, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++) {
        append(event, list, number(values[i]));
    }
    put(event, key, list);
}

void csl_event_add_json(csl_event *event, const char *key, const char *json)
{
    put(event, key, json_loads(json, JSON_DECODE_ANY, NULL));
}

static json_t *metrics_object(const csl_metrics *metrics)
{
    json_t *object = json_object();
    double values[5];
    uint32_t count = csl_metric_values(metrics->task, metrics, values);
    bool complete = object && json_object_set_new(object, "images",
                                                  json_integer((json_int_t)metrics->count)) == 0;
    for (uint32_t i = 0; complete && i < count; i++) {
        complete =
            json_object_set_new(object, csl_metric_name(metrics->task, i), number(values[i])) == 0;
    }
    size_t width = metrics->class_count;
    size_t cells = metrics->task == CSL_TASK_MULTILABEL ? width * 4 : width * width;
    json_t *list = complete && metrics->confusion ? json_array() : NULL;
    for (size_t i = 0; list && complete && i < cells; i++) {
        complete =
            json_array_append_new(list, json_integer((json_int_t)metrics->confusion[i])) == 0;
    }
    if (list) {
        complete = json_object_set_new(object, "confusion", list) == 0 && complete;
    }
    if (!complete) {
        json_decref(object);
        return NULL;
    }
    return object;
}

void csl_event_add_metrics(csl_event *event, const char *key, const csl_metrics *metrics)
{
    if (metrics) {
        put(event, key, metrics_object(metrics));
    }
}

void csl_event_add_round(csl_event *event, const csl_round_record *record)
{
    csl_event_add_integer(event, "round", record->round);
    csl_event_add_number(event, "seconds", record->seconds);
    csl_event_add_number(event, "train_seconds", record->train_seconds);
    csl_event_add_number(event, "exchange_seconds", record->exchange_seconds);
    csl_event_add_number(event, "train_loss", record->train_loss);
    csl_event_add_number(event, "rate", record->rate);
    csl_event_add_integer(event, "institutions", record->institution_count);
    csl_event_add_integer(event, "update_bytes", record->update_size);
    csl_event_add_metrics(event, "validation", record->validation);
    csl_event_add_metrics(event, "test", record->test);
}

csl_status csl_event_text(const csl_event *event, csl_text *text)
{
    char *line = event->failed ? NULL : json_dumps(event->object, JSON_COMPACT);
    if (!line) {
        return csl_fail(CSL_E_NO_MEMORY, "an event could not be put together");
    }
    csl_text_add(text, line);
    free(line);
    return csl_text_status(text);
}

csl_status csl_event_write(const csl_event *event, csl_line_file *file)
{
    csl_text text = {0};
    csl_status status = csl_event_text(event, &text);
    if (status == CSL_OK) {
        status = csl_line_file_append(file, text.bytes, text.size);
    }
    csl_text_clear(&text);
    return status;
}
