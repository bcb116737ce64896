#include "emulator/operation.h"
#include "emulator/action.h"
#include "emulator/resource.h"

#include <math.h>

#define HOUR_MS (60LL * 60 * 1000)

static int64_t duration_ms(const struct emulator *em)
{
    double seconds = em->settings.lro_seconds;
    if (seconds < 0) {
        uint16_t random;
        random_bytes(&random, sizeof random);
        seconds = 1 + (double)random / UINT16_MAX;
    }
    return (int64_t)(seconds * 1000 * em->settings.time_scale);
}

const char *operation_start(struct arm_call *c, const struct arm_type *type, const char *key,
                            const char *element, const char *verb, const char *location)
{
    char *guid = arena_alloc(c->arena, UUID_SIZE);
    uuid_v4(guid);
    int64_t due = c->now + duration_ms(c->em);
    const char *outcome = c->lro_fault ? arm_text(c->lro_fault, "lro") : "Succeeded";
    json_t *op = json_pack("{ss ss ss ss ss ss? ss sI sI ss ss ss ss}", "id", guid, "subscription",
                           c->at.subscription, "ns", type->ns, "location", location, "key", key,
                           "element", element, "verb", verb, "start", (json_int_t)c->now, "due",
                           (json_int_t)due, "status", "InProgress", "outcome", outcome,
                           "apiVersion", c->api_version, "type", type->path);
    const json_t *error = c->lro_fault ? json_object_get(c->lro_fault, "error") : NULL;
    if (error)
        json_object_set(op, "error", (json_t *)error);
    state_put(c->em->state, STATE_OPERATION, guid, op);
    json_object_set_new(c->em->pending, guid, json_integer(due));
    json_t *record = resource_record(c->em, key);
    if (record) {
        json_object_set_new(record, "op", json_string(guid));
        resource_save(c->em, key);
    }
    return guid;
}

static const char *url_of(struct arm_call *c, const json_t *op, bool monitor)
{
    const char *ns = arm_text(op, "ns");
    const char *version = arm_text(op, "apiVersion");
    const char *guid = arm_text(op, "id");
    const char *sub = arm_text(op, "subscription");
    if (strcmp(ns, "Microsoft.Resources") == 0)
        return arena_printf(c->arena, "%s/subscriptions/%s/operationresults/%s?api-version=%s",
                            arm_base(c), sub, guid, version);
    bool compute = strcmp(ns, "Microsoft.Compute") == 0;
    return arena_printf(c->arena,
                        "%s/subscriptions/%s/providers/%s/locations/%s/%s/%s?%sapi-version=%s",
                        arm_base(c), sub, ns, arm_text(op, "location"),
                        monitor && !compute ? "operationResults" : "operations", guid,
                        monitor && compute ? "monitor=true&" : "", version);
}

static void retry_after(struct arm_call *c)
{
    const struct settings *s = &c->em->settings;
    http_add_header(c->resp, "Retry-After", "%lld",
                    (long long)llround((double)s->retry_after * s->time_scale));
}

void operation_headers(struct arm_call *c, const char *guid, enum arm_async async)
{
    const json_t *op = state_get(c->em->state, STATE_OPERATION, guid);
    if (async == ARM_AAO || async == ARM_AAO_LOC) {
        http_add_header(c->resp, "Azure-AsyncOperation", "%s", url_of(c, op, false));
        http_add_header(c->resp, "Azure-AsyncNotification", "Enabled");
    }
    if (async == ARM_LOC || async == ARM_AAO_LOC)
        http_add_header(c->resp, "Location", "%s", url_of(c, op, true));
    retry_after(c);
}

static void set_state(json_t *resource, const char *state)
{
    json_t *properties = json_object_get(resource, "properties");
    if (properties)
        json_object_set_new(properties, "provisioningState", json_string(state));
}

void operation_mark(const struct arm_type *type, json_t *body, const char *state)
{
    set_state(body, state);
    for (size_t i = 0; i < ARRAY_LEN(type->embeds) && type->embeds[i]; i++) {
        json_t *list = json_object_get(json_object_get(body, "properties"), type->embeds[i]);
        size_t n;
        json_t *item;
        json_array_foreach(list, n, item) set_state(item, state);
    }
}

static void remove_element(struct emulator *em, const char *key, const char *array,
                           const char *element)
{
    json_t *record = resource_record(em, key);
    json_t *list =
        record
            ? json_object_get(json_object_get(json_object_get(record, "body"), "properties"), array)
            : NULL;
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (strcasecmp(arm_text(item, "name"), element) != 0)
            continue;
        json_array_remove(list, i);
        return;
    }
}

/* What the operation was for has come about. */
static void apply(struct emulator *em, const json_t *op, json_t *record, bool succeeded)
{
    const char *key = arm_text(op, "key");
    const char *verb = arm_text(op, "verb");
    const char *element = json_path_str(op, "element");
    const struct arm_type *row = arm_type_find(arm_text(op, "ns"), arm_text(op, "type"));
    bool delete = strcmp(verb, "delete") == 0;
    if (delete &&succeeded && !element) {
        resource_remove(em, key);
        return;
    }
    json_t *body = json_object_get(record, "body");
    if (delete &&succeeded)
        remove_element(em, key, row->embedded, element);
    const struct arm_type *holder = row;
    if (row->embedded)
        holder = arm_type_find(row->ns, arm_text(record, "type") + strlen(row->ns) + 1);
    operation_mark(holder, body, succeeded ? "Succeeded" : "Failed");
    json_object_del(record, "op");
    if (!delete)
        action_ended(em, key, verb, succeeded);
    resource_save(em, key);
}

static json_t *default_error(const char *outcome)
{
    if (strcmp(outcome, "Canceled") == 0)
        return json_pack("{ss ss}", "code", "OperationCanceled", "message",
                         "The operation was canceled.");
    return json_pack("{ss ss}", "code", "InternalExecutionError", "message",
                     "An internal execution error occurred. Please retry later.");
}

static void end(struct emulator *em, const char *guid, const char *outcome)
{
    json_t *op = state_get(em->state, STATE_OPERATION, guid);
    bool succeeded = strcmp(outcome, "Succeeded") == 0;
    json_object_set_new(op, "status", json_string(outcome));
    json_object_set_new(op, "end", json_integer((json_int_t)clock_wall(em->clock)));
    if (!succeeded && !json_object_get(op, "error"))
        json_object_set_new(op, "error", default_error(outcome));
    json_object_del(em->pending, guid);
    json_t *record = resource_record(em, arm_text(op, "key"));
    if (record && strcmp(arm_text(record, "op"), guid) == 0)
        apply(em, op, record, succeeded);
    state_save(em->state, STATE_OPERATION, guid);
}

void operation_preempt(struct emulator *em, const char *guid)
{
    json_t *op = state_get(em->state, STATE_OPERATION, guid);
    if (!op)
        return;
    json_object_set_new(op, "error",
                        json_pack("{ss ss}", "code", "OperationPreempted", "message",
                                  "Operation execution has been preempted by a more recent "
                                  "operation."));
    end(em, guid, "Canceled");
}

void operation_tick(struct emulator *em)
{
    int64_t now = clock_wall(em->clock);
    AUTO(json) json_t *due = json_array();
    const char *guid;
    json_t *at;
    json_object_foreach(em->pending, guid, at)
    {
        if (json_integer_value(at) <= now)
            json_array_append_new(due, json_string(guid));
    }
    for (size_t i = 0; i < json_array_size(due); i++) {
        guid = json_string_value(json_array_get(due, i));
        char *outcome = strdup(arm_text(state_get(em->state, STATE_OPERATION, guid), "outcome"));
        end(em, guid, outcome);
        free(outcome);
    }
}

void operation_open(struct emulator *em)
{
    int64_t now = clock_wall(em->clock);
    AUTO(json) json_t *old = json_array();
    const char *guid;
    json_t *op;
    json_object_foreach(state_all(em->state, STATE_OPERATION), guid, op)
    {
        const json_t *ended = json_object_get(op, "end");
        if (!ended)
            json_object_set_new(em->pending, guid, json_incref(json_object_get(op, "due")));
        else if (json_integer_value(ended) < now - HOUR_MS)
            json_array_append_new(old, json_string(guid));
    }
    for (size_t i = 0; i < json_array_size(old); i++)
        state_del(em->state, STATE_OPERATION, json_string_value(json_array_get(old, i)));
}

static void answer_status(struct arm_call *c, const json_t *op)
{
    char start[TIME_TEXT_SIZE];
    char stop[TIME_TEXT_SIZE];
    const char *status = arm_text(op, "status");
    const json_t *ended = json_object_get(op, "end");
    time_format(json_integer_value(json_object_get(op, "start")), start);
    json_t *body =
        json_pack("{ss ss ss}", "startTime", start, "status", status, "name", arm_text(op, "id"));
    if (ended) {
        time_format(json_integer_value(ended), stop);
        json_object_set_new(body, "endTime", json_string(stop));
    } else {
        retry_after(c);
    }
    if (ended && strcmp(status, "Succeeded") != 0)
        json_object_set(body, "error", json_object_get(op, "error"));
    http_reply_json(c->resp, 200, body);
}

/* The Location: 202 while it runs, then what the synchronous call would have answered. */
static void answer_result(struct arm_call *c, const json_t *op)
{
    const char *status = arm_text(op, "status");
    if (!json_object_get(op, "end")) {
        http_add_header(c->resp, "Location", "%s", url_of(c, op, true));
        retry_after(c);
        c->resp->status = 202;
        return;
    }
    if (strcmp(status, "Succeeded") != 0) {
        http_reply_json(c->resp, 409, json_pack("{sO}", "error", json_object_get(op, "error")));
        return;
    }
    const char *verb = arm_text(op, "verb");
    json_t *record = resource_record(c->em, arm_text(op, "key"));
    bool shows = strcmp(verb, "put") == 0 || strcmp(verb, "patch") == 0;
    if (shows && record) {
        const struct arm_type *row = arm_type_find(arm_text(op, "ns"), arm_text(op, "type"));
        http_reply_json(c->resp, 200, resource_view(c, row, json_object_get(record, "body")));
        return;
    }
    bool network = strcmp(arm_text(op, "ns"), "Microsoft.Network") == 0;
    c->resp->status = network && strcmp(verb, "delete") == 0 ? 204 : 200;
}

bool operation_poll(struct arm_call *c)
{
    char **s = c->at.segments;
    bool provider = c->at.n_segments == 8 && strcasecmp(s[2], "providers") == 0 &&
                    strcasecmp(s[4], "locations") == 0 && strncasecmp(s[6], "operation", 9) == 0;
    bool resources = c->at.n_segments == 4 && strcasecmp(s[2], "operationresults") == 0;
    if ((!provider && !resources) || strcmp(c->req->method, "GET") != 0)
        return false;
    const char *guid = provider ? s[7] : s[3];
    const json_t *op = state_get(c->em->state, STATE_OPERATION, guid);
    if (!op || strcasecmp(arm_text(op, "subscription"), c->at.subscription) != 0 ||
        (provider && strcasecmp(arm_text(op, "ns"), s[3]) != 0)) {
        arm_error(c, 404, "NotFound", "The operation '%s' was not found.", guid);
        return true;
    }
    if (strcmp(arm_text(op, "ns"), "Microsoft.Compute") == 0 &&
        !arm_compute_bucket(c, "GetOperation", guid, (struct bucket_size){45, 15.0 / 60},
                            (struct bucket_size){15000, 5000.0 / 60}))
        return true;
    const char *monitor = http_query(c->req, "monitor");
    bool result = resources || strcasecmp(s[6], "operationResults") == 0 ||
                  (monitor && strcasecmp(monitor, "true") == 0);
    if (result)
        answer_result(c, op);
    else
        answer_status(c, op);
    return true;
}
