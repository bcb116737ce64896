/*
 * A few resources behind the ARM client, for the engine's tests: real TLS, real client, answers that a
 * test can bend. Not a model of Azure (that is the emulator): one map from path to body.
 */
#ifndef TESTS_UNIT_JOBS_CLOUD_H
#define TESTS_UNIT_JOBS_CLOUD_H

#include "tests/unit/arm_server.h"

#include "core/clock.h"
#include "core/json.h"

#define SUB      "00000000-0000-0000-0000-000000000001"
#define RG       "/subscriptions/" SUB "/resourceGroups/rg"
#define VM_ID    RG "/providers/Microsoft.Compute/virtualMachines/web-01"
#define NET      RG "/providers/Microsoft.Network/"
#define VMS_VMID "11111111-2222-3333-4444-555555555555"

struct bend {
    const char *method; /* NULL: any */
    const char *part;   /* of the target */
    int skip;           /* let so many pass */
    _Atomic int times;  /* a test may end it */
    int status; /* 0: drop the connection; the request counts as done where `after` is set */
    bool after;
    const char *headers;
    const char *body;
    const char *lro;     /* the operation ends so, with this error */
    const char *removes; /* this, and all below it, by somebody else's hand */
};

struct cloud {
    const struct clock *clock;
    json_t *resources; /* lower-case path to body */
    json_t *operations;
    int next_operation;
    _Atomic int lro_polls;   /* InProgress so many times */
    _Atomic int retry_after; /* seconds, told with that */
    _Atomic int polls, soon; /* polls of operations; those that came before that was over */
    struct bend bends[8];
    _Atomic int creates; /* PUTs that made something */
    _Atomic int writes;
    int early; /* requests that came before the Retry-After of a 429 was over */
    int64_t not_before;
};

static char *cloud_key(const char *target)
{
    static __thread char key[2048];
    snprintf(key, sizeof key, "%s", target);
    key[strcspn(key, "?")] = 0;
    for (char *s = key; *s; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s - 'A' + 'a');
    return key;
}

static struct bend *cloud_bend(struct cloud *c, const struct seen *q)
{
    for (size_t i = 0; i < ARRAY_LEN(c->bends); i++) {
        struct bend *b = &c->bends[i];
        if (!b->part || !b->times || !strcasestr(q->target, b->part) ||
            (b->method && strcmp(b->method, q->method) != 0))
            continue;
        if (b->skip-- > 0)
            continue;
        b->times--;
        return b;
    }
    return NULL;
}

static void cloud_error(struct answer *a, int status, const char *code)
{
    answer_json(a, status, "", "{\"error\":{\"code\":\"%s\",\"message\":\"%s of the test\"}}", code,
                code);
}

static void cloud_reply(struct answer *a, int status, const char *headers, const json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    buf_printf(&a->text,
               "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
               status, strlen(text), headers, text);
    free(text);
}

static void cloud_get(struct cloud *c, const struct seen *q, struct answer *a)
{
    json_t *r = json_object_get(c->resources, cloud_key(q->target));
    if (!r) {
        cloud_error(a, 404, "ResourceNotFound");
        return;
    }
    cloud_reply(a, 200, "", r);
    /* Work goes on also where nobody polls its operation. */
    const char *state = json_path_str(r, "properties/provisioningState");
    if (state && strcmp(state, "Creating") == 0)
        json_object_set_new(json_object_get(r, "properties"), "provisioningState",
                            json_string("Succeeded"));
}

static void cloud_operation_headers(struct server *s, struct cloud *c, const char *header,
                                    const char *key, const char *ends, char *out, size_t size)
{
    char id[16];
    snprintf(id, sizeof id, "%d", ++c->next_operation);
    json_object_set_new(
        c->operations, id,
        json_pack("{ss si ss}", "key", key, "left", (int)c->lro_polls, "ends", ends));
    snprintf(out, size, "%s: %s/operations/%s?api-version=1\r\nRetry-After: 0\r\n", header, s->url,
             id);
}

static bool cloud_has_group(const struct cloud *c, const char *key)
{
    const char *below = strstr(key, "/providers/");
    char group[256];
    snprintf(group, sizeof group, "%.*s", below ? (int)(below - key) : 0, key);
    return !below || json_object_get(c->resources, group);
}

static bool cloud_is_below(const char *key, const char *group)
{
    size_t n = strlen(group);
    return strncmp(key, group, n) == 0 && key[n] == '/';
}

/* GET {group}/resources */
static void cloud_list(struct cloud *c, const struct seen *q, struct answer *a)
{
    const char *key;
    json_t *r;
    json_t *value = json_array();
    char group[256];
    snprintf(group, sizeof group, "%s", cloud_key(q->target));
    *strrchr(group, '/') = 0;
    json_object_foreach(c->resources, key, r)
    {
        if (cloud_is_below(key, group))
            json_array_append_new(value, json_pack("{ss}", "id", key));
    }
    json_t *body = json_pack("{so}", "value", value);
    cloud_reply(a, 200, "", body);
    json_decref(body);
}

static void cloud_remove(struct cloud *c, const char *key)
{
    const char *other;
    json_t *r;
    void *next;
    json_object_foreach_safe(c->resources, next, other, r)
    {
        if (strcmp(other, key) == 0 || cloud_is_below(other, key))
            json_object_del(c->resources, other);
    }
}

static void cloud_put(struct server *s, struct cloud *c, const struct seen *q, const char *ends,
                      struct answer *a)
{
    char headers[512];
    const char *key = cloud_key(q->target);
    if (!cloud_has_group(c, key)) {
        cloud_error(a, 404, "ResourceGroupNotFound");
        return;
    }
    json_t *body = json_loads(q->body.data, 0, NULL);
    json_t *old = json_object_get(c->resources, key);
    bool patch = strcmp(q->method, "PATCH") == 0;
    char none[8];
    seen_header(q, "If-None-Match", none, sizeof none);
    if (old && none[0] == '*') {
        json_decref(body);
        cloud_error(a, 412, "PreconditionFailed");
        return;
    }
    c->writes++;
    c->creates += !old;
    if (patch) {
        json_object_update(old, body);
        json_decref(body);
        cloud_reply(a, 200, "", old);
        return;
    }
    if (!json_object_get(body, "properties"))
        json_object_set_new(body, "properties", json_object());
    json_t *p = json_object_get(body, "properties");
    bool group = !strstr(key, "/providers/");
    json_object_set_new(p, "provisioningState", json_string(group ? "Succeeded" : "Creating"));
    if (strstr(key, "/virtualmachines/") && !strstr(key, "/extensions/"))
        json_object_set_new(p, "vmId", json_string(VMS_VMID));
    json_object_set_new(c->resources, key, body);
    headers[0] = 0;
    if (!group)
        cloud_operation_headers(s, c, "Azure-AsyncOperation", key, ends, headers, sizeof headers);
    cloud_reply(a, old ? 200 : 201, headers, body);
}

static void cloud_delete(struct server *s, struct cloud *c, const struct seen *q, struct answer *a)
{
    char headers[512];
    const char *key = cloud_key(q->target);
    c->writes++;
    if (!json_object_get(c->resources, key)) {
        buf_add_str(&a->text, "HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    cloud_operation_headers(s, c, "Location", key, "deleted", headers, sizeof headers);
    buf_printf(&a->text, "HTTP/1.1 202 X\r\nContent-Length: 0\r\n%s\r\n", headers);
}

static void cloud_in_progress(const struct cloud *c, struct answer *a)
{
    char header[40];
    snprintf(header, sizeof header, "Retry-After: %d\r\n", c->retry_after);
    answer_json(a, 200, header, "{\"status\":\"InProgress\"}");
}

static void cloud_poll(struct server *s, struct cloud *c, const struct seen *q, struct answer *a)
{
    char id[16];
    snprintf(id, sizeof id, "%.*s", (int)strcspn(q->target + 12, "?"), q->target + 12);
    json_t *o = json_object_get(c->operations, id);
    const char *ends = json_string_value(json_object_get(o, "ends"));
    const char *key = json_string_value(json_object_get(o, "key"));
    json_int_t left = json_integer_value(json_object_get(o, "left"));
    bool deletion = strcmp(ends, "deleted") == 0;
    json_int_t now = clock_mono(c->clock);
    c->polls++;
    c->soon += now < json_integer_value(json_object_get(o, "notBefore"));
    json_object_set_new(o, "notBefore", json_integer(now + c->retry_after * 1000));
    if (left > 0) {
        json_object_set_new(o, "left", json_integer(left - 1));
        if (deletion)
            buf_printf(&a->text,
                       "HTTP/1.1 202 X\r\nContent-Length: 0\r\nRetry-After: %d\r\nLocation: %s%s"
                       "\r\n\r\n",
                       c->retry_after, s->url, q->target);
        else
            cloud_in_progress(c, a);
        return;
    }
    if (deletion) {
        cloud_remove(c, key);
        buf_add_str(&a->text, "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    bool good = strcmp(ends, "Succeeded") == 0;
    json_t *r = json_object_get(c->resources, key);
    if (r)
        json_object_set_new(json_object_get(r, "properties"), "provisioningState",
                            json_string(good ? "Succeeded" : "Failed"));
    if (good)
        answer_json(a, 200, "", "{\"status\":\"Succeeded\"}");
    else
        answer_json(a, 200, "",
                    "{\"status\":\"Failed\",\"error\":{\"code\":\"%s\",\"message\":\"it failed\"}}",
                    ends);
}

static void cloud_serve(struct server *s, struct cloud *c, const struct seen *q, const char *ends,
                        struct answer *a)
{
    if (strncmp(q->target, "/operations/", 12) == 0)
        cloud_poll(s, c, q, a);
    else if (strstr(q->target, "/resources?"))
        cloud_list(c, q, a);
    else if (strcmp(q->method, "GET") == 0)
        cloud_get(c, q, a);
    else if (strcmp(q->method, "DELETE") == 0)
        cloud_delete(s, c, q, a);
    else
        cloud_put(s, c, q, ends, a);
}

static void cloud_answer(struct server *s, const struct seen *q, struct answer *a)
{
    struct cloud *c = s->ctx;
    if (strstr(q->target, "/oauth2/")) {
        answer_json(a, 200, "",
                    "{\"token_type\":\"Bearer\",\"access_token\":\"t\",\"expires_in\":3600}");
        return;
    }
    int64_t now = clock_mono(c->clock);
    c->early += now < c->not_before;
    struct bend *b = cloud_bend(c, q);
    if (!b || b->lro) {
        cloud_serve(s, c, q, b ? b->lro : "Succeeded", a);
        return;
    }
    if (b->removes)
        cloud_remove(c, cloud_key(b->removes));
    if (b->after)
        cloud_serve(s, c, q, "Succeeded", a);
    buf_reset(&a->text);
    if (!b->status)
        return;
    if (b->status == 429)
        c->not_before = now + 950; /* of Retry-After: 1 */
    answer_json(a, b->status, b->headers ? b->headers : "", "%s",
                b->body ? b->body : "{\"error\":{\"code\":\"Bent\",\"message\":\"bent\"}}");
}

#endif
