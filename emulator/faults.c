#include "emulator/faults.h"

#include <fnmatch.h>

#define KEY "faults"

static int64_t number(const json_t *rule, const char *name, int64_t dflt)
{
    const json_t *v = json_object_get(rule, name);
    return json_is_integer(v) ? json_integer_value(v) : dflt;
}

static bool matches(const json_t *rule, const struct http_request *req)
{
    const char *method = json_path_str(rule, "method");
    const char *path = json_path_str(rule, "path");
    if (method && strcmp(method, "*") != 0 && strcasecmp(method, req->method) != 0)
        return false;
    return !path || fnmatch(path, req->path, FNM_CASEFOLD) == 0;
}

static struct fault_action as_action(json_t *rule)
{
    json_t *action = json_object_get(rule, "action");
    struct fault_action out = {.rule = json_incref(action)};
    const char *drop = json_path_str(action, "drop");
    out.drop_before = drop && strcmp(drop, "before") == 0;
    out.drop_after = drop && strcmp(drop, "after") == 0;
    out.delay_ms = number(action, "delayMs", 0);
    out.lro = json_object_get(action, "lro") ? action : NULL;
    return out;
}

struct fault_action faults_match(struct emulator *em, const struct http_request *req)
{
    json_t *state = state_get(em->state, STATE_MISC, KEY);
    json_t *list = json_object_get(state, "list");
    size_t i;
    json_t *rule;
    json_array_foreach(list, i, rule)
    {
        if (!matches(rule, req))
            continue;
        int64_t seen = number(rule, "seen", 0) + 1;
        int64_t nth = number(rule, "nth", 1);
        json_object_set_new(rule, "seen", json_integer(seen));
        state_save(em->state, STATE_MISC, KEY);
        if (seen >= nth && seen < nth + number(rule, "times", 1))
            return as_action(rule);
    }
    return (struct fault_action){0};
}

static void add_header(struct http_response *resp, const char *name, const json_t *value)
{
    AUTO(free) char *text = json_dumps(value, JSON_ENCODE_ANY);
    const char *plain = json_is_string(value) ? json_string_value(value) : text;
    if (plain && strcasecmp(name, "Content-Type") == 0)
        resp->media = arena_strdup(resp->arena, plain);
    else if (plain)
        http_add_header(resp, arena_strdup(resp->arena, name), "%s", plain);
}

/* A body that is text is sent as it is: what a broken proxy says. */
static void answer(const json_t *action, struct http_response *resp)
{
    json_t *body = json_object_get(action, "body");
    resp->status = (int)number(action, "status", 500);
    if (json_is_string(body)) {
        buf_add_str(&resp->body, json_string_value(body));
        AUTO(json) json_t *parsed = json_loads(json_string_value(body), JSON_DECODE_ANY, NULL);
        if (!parsed)
            resp->media = "text/plain; charset=utf-8";
    } else if (body) {
        http_reply_json(resp, resp->status, json_incref(body));
    }
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(action, "headers"), name, value)
        add_header(resp, name, value);
}

void faults_before(struct fault_action *fault, struct http_response *resp)
{
    if (!fault->rule)
        return;
    if (fault->delay_ms > 0) {
        const struct timespec wait = {fault->delay_ms / 1000, (fault->delay_ms % 1000) * 1000000};
        nanosleep(&wait, NULL);
    }
    if (fault->drop_before) {
        resp->drop = true;
        fault->answered = true;
    } else if (json_object_get(fault->rule, "status")) {
        answer(fault->rule, resp);
        fault->answered = true;
    }
}

static const char *check_action(const json_t *action)
{
    static const char *const known[] = {"status",  "headers", "body", "drop",
                                        "delayMs", "lro",     "error"};
    if (!json_is_object(action) || json_object_size(action) == 0)
        return "action must be an object with one of status, drop, delayMs, lro";
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)action, key, v)
    {
        bool ok = false;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            ok = ok || strcmp(known[i], key) == 0;
        if (!ok)
            return "action has an unknown member";
    }
    const char *drop = json_path_str(action, "drop");
    if (json_object_get(action, "drop") &&
        (!drop || (strcmp(drop, "before") != 0 && strcmp(drop, "after") != 0)))
        return "action.drop must be before or after";
    const char *lro = json_path_str(action, "lro");
    if (json_object_get(action, "lro") &&
        (!lro || (strcmp(lro, "Failed") != 0 && strcmp(lro, "Canceled") != 0)))
        return "action.lro must be Failed or Canceled";
    return NULL;
}

static const char *check_rule(const json_t *rule)
{
    static const char *const known[] = {"method", "path", "nth", "times", "action"};
    if (!json_is_object(rule))
        return "a fault must be an object";
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)rule, key, v)
    {
        bool ok = false;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            ok = ok || strcmp(known[i], key) == 0;
        if (!ok)
            return "a fault has the members method, path, nth, times, action";
    }
    return check_action(json_object_get(rule, "action"));
}

const char *faults_set(struct emulator *em, const json_t *list)
{
    if (!json_is_array(list))
        return "the body must be an array of faults";
    size_t i;
    json_t *rule;
    json_array_foreach((json_t *)list, i, rule)
    {
        const char *wrong = check_rule(rule);
        if (wrong)
            return wrong;
    }
    state_put(em->state, STATE_MISC, KEY, json_pack("{so}", "list", json_deep_copy(list)));
    return NULL;
}
