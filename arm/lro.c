#include "arm/answer.h"
#include "arm/url.h"

#include "core/json.h"

#include <strings.h>

#define POLL_MIN_MS 200 /* Retry-After: 0 is not an invitation to spin */

static const char *const kind_names[] = {
    [ARM_LRO_NONE] = "none",         [ARM_LRO_ASYNC] = "async",
    [ARM_LRO_LOCATION] = "location", [ARM_LRO_PROVISIONING] = "provisioning",
    [ARM_LRO_ABSENCE] = "absence",
};

const char *arm_lro_kind_name(enum arm_lro_kind k)
{
    return kind_names[k];
}

enum arm_lro_kind arm_lro_kind_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kind_names); i++)
        if (name && strcmp(kind_names[i], name) == 0)
            return (enum arm_lro_kind)i;
    return ARM_LRO_NONE;
}

bool arm_answer_succeeded(const char *state)
{
    return strcasecmp(state, "Succeeded") == 0;
}

bool arm_answer_canceled(const char *state)
{
    return strcasecmp(state, "Canceled") == 0 || strcasecmp(state, "Cancelled") == 0;
}

bool arm_answer_ended_badly(const char *state)
{
    return strcasecmp(state, "Failed") == 0 || arm_answer_canceled(state);
}

static int64_t poll_wait(const struct arm_reply *r)
{
    if (r->retry_after_ms < 0)
        return ARM_POLL_DEFAULT_MS;
    return r->retry_after_ms > POLL_MIN_MS ? r->retry_after_ms : POLL_MIN_MS;
}

/* ---- what to poll ---- */

static const char *absolute(struct arena *a, const char *endpoint, const char *target)
{
    struct arm_origin o;
    if (target[0] == '/' && arm_origin_parse(endpoint, &o))
        return arena_printf(a, "%.*s%s", (int)o.len, endpoint, target);
    return arena_strdup(a, target);
}

static enum err foreign(const char *header, struct err_info *e)
{
    return err_set(e, ERR_UPSTREAM_REJECTED, "%s is not an https URL on the configured ARM host",
                   header);
}

/* Nothing that names an operation: the resource tells, where the method has one. */
static enum err poll_resource(enum arm_method method, const char *url, const struct arm_reply *r,
                              struct arm_lro *out, struct err_info *e)
{
    if (method == ARM_POST && r->status == 202)
        return err_set(e, ERR_UPSTREAM_REJECTED, "202 to a POST without a URL to poll");
    if (r->status == 202) {
        out->kind = method == ARM_DELETE ? ARM_LRO_ABSENCE : ARM_LRO_PROVISIONING;
        out->url = url;
        return OK;
    }
    AUTO(json) json_t *body = NULL;
    if (method == ARM_POST || method == ARM_HEAD || r->body.len == 0 ||
        json_parse(r->body, &body, NULL) != OK)
        return OK;
    const char *state = arm_answer_state(body);
    if (!state || arm_answer_succeeded(state))
        return OK;
    if (arm_answer_ended_badly(state)) {
        /* A GET reports a failed resource and has succeeded; a PUT has not. */
        if (method == ARM_GET)
            return OK;
        out->wait_ms = POLL_MIN_MS;
    }
    out->kind = method == ARM_DELETE ? ARM_LRO_ABSENCE : ARM_LRO_PROVISIONING;
    out->url = url;
    return OK;
}

enum err arm_lro_next(struct arena *a, const char *endpoint, enum arm_method method,
                      const char *target, const struct arm_reply *r, struct arm_lro *out,
                      struct err_info *e)
{
    *out = (struct arm_lro){.kind = ARM_LRO_NONE, .wait_ms = poll_wait(r)};
    if (r->failure != ARM_FAIL_NONE || r->status < 200 || r->status > 299 || r->status == 204)
        return OK;
    const char *url = absolute(a, endpoint, target);
    if (!arm_url_host_ok(endpoint, url))
        return err_set(e, ERR_UPSTREAM_REJECTED, "the request was not to the configured ARM host");
    if (r->async_operation) {
        if (!arm_url_host_ok(endpoint, r->async_operation))
            return foreign("Azure-AsyncOperation", e);
        if (r->location && method == ARM_POST && !arm_url_host_ok(endpoint, r->location))
            return foreign("Location", e);
        out->kind = ARM_LRO_ASYNC;
        out->url = arena_strdup(a, r->async_operation);
        if (method == ARM_PUT || method == ARM_PATCH)
            out->final_url = url;
        else if (method == ARM_POST)
            out->final_url = arena_strdup(a, r->location);
        return OK;
    }
    if (r->location && r->status == 202) {
        if (!arm_url_host_ok(endpoint, r->location))
            return foreign("Location", e);
        out->kind = ARM_LRO_LOCATION;
        out->url = arena_strdup(a, r->location);
        if (method == ARM_PUT || method == ARM_PATCH)
            out->final_url = url;
        return OK;
    }
    return poll_resource(method, url, r, out, e);
}

/* ---- what a poll says ---- */

static void ended(struct arm_lro_status *out, const char *state)
{
    out->state = arm_answer_canceled(state) ? ARM_LRO_CANCELED : ARM_LRO_FAILED;
    out->outcome.class = ARM_CLASS_PERMANENT;
    arm_answer_class_of_code(out->outcome.code, &out->outcome.class);
    if (!out->outcome.message[0])
        snprintf(out->outcome.message, sizeof out->outcome.message,
                 "Azure ended the operation as %s and gave no reason",
                 out->state == ARM_LRO_CANCELED ? "Canceled" : "Failed");
}

static void unknown(struct arm_lro_status *out, const char *why)
{
    out->state = ARM_LRO_UNKNOWN;
    out->outcome.class = ARM_CLASS_TRANSIENT;
    snprintf(out->outcome.message, sizeof out->outcome.message, "%s", why);
}

static void read_async(const json_t *body, struct arm_lro_status *out)
{
    const char *state = json_path_str(body, "status");
    if (!state)
        state = arm_answer_state(body);
    bool has_error = arm_answer_error(body, &out->outcome);
    if (!state && has_error)
        ended(out, "Failed");
    else if (!state)
        unknown(out, "the operation's status document has no status");
    else if (arm_answer_ended_badly(state))
        ended(out, state);
    else if (arm_answer_succeeded(state))
        out->state = ARM_LRO_SUCCEEDED;
    else
        out->state = ARM_LRO_IN_PROGRESS;
}

static void read_location(const json_t *body, struct arm_lro_status *out)
{
    const char *state = body ? arm_answer_state(body) : NULL;
    out->state = ARM_LRO_SUCCEEDED;
    out->has_result = body != NULL;
    if (json_is_object(json_object_get(body, "error")) && arm_answer_error(body, &out->outcome))
        ended(out, "Failed");
    else if (state && arm_answer_ended_badly(state))
        ended(out, state);
}

static void read_resource(const json_t *body, struct arm_lro_status *out)
{
    const char *state = arm_answer_state(body);
    if (state && arm_answer_ended_badly(state))
        ended(out, state);
    else if (state && !arm_answer_succeeded(state))
        out->state = ARM_LRO_IN_PROGRESS;
    else
        out->state = ARM_LRO_SUCCEEDED; /* ARM RPC: a missing provisioningState is Succeeded */
    out->has_result = out->state == ARM_LRO_SUCCEEDED;
}

/* The resource is still there: only a failed deletion ends the wait. */
static void read_absence(const json_t *body, struct arm_lro_status *out)
{
    const char *state = body ? arm_answer_state(body) : NULL;
    out->state = ARM_LRO_IN_PROGRESS;
    if (state && arm_answer_ended_badly(state))
        ended(out, state);
}

static void read_ok(enum arm_lro_kind kind, const struct arm_reply *r, struct arm_lro_status *out)
{
    if (r->status == 204) {
        out->state = ARM_LRO_SUCCEEDED;
        return;
    }
    if (r->status == 202) {
        out->state = ARM_LRO_IN_PROGRESS;
        return;
    }
    AUTO(json) json_t *body = NULL;
    bool unreadable = r->body.len && json_parse(r->body, &body, NULL) != OK;
    switch (kind) {
    case ARM_LRO_ASYNC:
    case ARM_LRO_PROVISIONING:
        if (!json_is_object(body))
            unknown(out, "the poll's answer is not a JSON object");
        else if (kind == ARM_LRO_ASYNC)
            read_async(body, out);
        else
            read_resource(body, out);
        return;
    case ARM_LRO_LOCATION:
        if (unreadable)
            unknown(out, "the poll's answer is not JSON");
        else
            read_location(body, out);
        return;
    case ARM_LRO_ABSENCE:
        read_absence(body, out);
        return;
    case ARM_LRO_NONE:
        out->state = ARM_LRO_SUCCEEDED;
        return;
    }
}

void arm_lro_read(enum arm_lro_kind kind, const struct arm_reply *r, int64_t age_ms,
                  struct arm_lro_status *out)
{
    *out = (struct arm_lro_status){.wait_ms = poll_wait(r)};
    arm_classify(r, &out->outcome);
    switch (out->outcome.class) {
    case ARM_CLASS_SUCCESS:
    case ARM_CLASS_ACCEPTED:
        out->outcome.class = ARM_CLASS_SUCCESS;
        read_ok(kind, r, out);
        return;
    case ARM_CLASS_MISSING:
        if (kind == ARM_LRO_ABSENCE)
            out->state = ARM_LRO_SUCCEEDED;
        else if (r->status == 404 && age_ms < ARM_POLL_GRACE_MS)
            out->state = ARM_LRO_IN_PROGRESS;
        else
            out->state = ARM_LRO_GONE;
        return;
    case ARM_CLASS_PERMANENT:
    case ARM_CLASS_CAPACITY:
        /* Location answers with what the synchronous call would have: its error is the result. */
        out->state = r->failure == ARM_FAIL_NONE ? ARM_LRO_FAILED : ARM_LRO_UNKNOWN;
        return;
    case ARM_CLASS_THROTTLED:
    case ARM_CLASS_CONFLICT:
    case ARM_CLASS_TRANSIENT:
    case ARM_CLASS_AUTH:
        break;
    }
    out->state = ARM_LRO_UNKNOWN;
}
