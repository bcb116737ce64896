#include "emulator/arm.h"
#include "emulator/action.h"
#include "emulator/catalogue.h"
#include "emulator/faults.h"
#include "emulator/operation.h"
#include "emulator/promises.h"
#include "emulator/reqlog.h"
#include "emulator/resource.h"
#include "emulator/subscription.h"
#include "emulator/tpm.h"

#include <math.h>
#include <stdarg.h>

static json_t *error_body(const char *code, const char *target, const char *message)
{
    json_t *error = json_pack("{ss ss}", "code", code, "message", message);
    if (target)
        json_object_set_new(error, "target", json_string(target));
    return json_pack("{so}", "error", error);
}

bool arm_error(struct arm_call *c, int status, const char *code, const char *fmt, ...)
{
    char message[2048];
    va_list va;
    va_start(va, fmt);
    vsnprintf(message, sizeof message, fmt, va);
    va_end(va);
    http_reply_json(c->resp, status, error_body(code, NULL, message));
    return false;
}

bool arm_error_at(struct arm_call *c, int status, const char *code, const char *target,
                  const char *fmt, ...)
{
    char message[2048];
    va_list va;
    va_start(va, fmt);
    vsnprintf(message, sizeof message, fmt, va);
    va_end(va);
    http_reply_json(c->resp, status, error_body(code, target, message));
    return false;
}

bool arm_error_inner(struct arm_call *c, int status, const char *code, const char *message,
                     const char *inner, const char *fmt, ...)
{
    char text[2048];
    va_list va;
    va_start(va, fmt);
    vsnprintf(text, sizeof text, fmt, va);
    va_end(va);
    http_reply_json(c->resp, status,
                    json_pack("{s{ss ss s[{ss ss}]}}", "error", "code", code, "message", message,
                              "details", "code", inner, "message", text));
    return false;
}

const char *arm_base(struct arm_call *c)
{
    const char *host = http_header(c->req, "Host");
    return host ? arena_printf(c->arena, "https://%s", host) : c->em->arm_url;
}

const char *arm_text(const json_t *v, const char *path)
{
    const char *text = v ? json_path_str(v, path) : NULL;
    return text ? text : "";
}

bool arm_flag(const json_t *v, const char *path)
{
    return v && json_is_true(json_path(v, path));
}

json_t *arm_member(const json_t *v, const char *path)
{
    return (json_t *)json_path(v, path);
}

void arm_default(json_t *v, const char *name, json_t *value)
{
    if (json_object_get(v, name))
        json_decref(value);
    else
        json_object_set_new(v, name, value);
}

static void common_headers(struct arm_call *c)
{
    uuid_v4(c->request_id);
    const char *given = http_header(c->req, "x-ms-correlation-request-id");
    if (given && uuid_valid(given))
        snprintf(c->correlation_id, sizeof c->correlation_id, "%s", given);
    else
        uuid_v4(c->correlation_id);
    char now[TIME_TEXT_SIZE];
    time_format(c->now, now);
    struct http_response *r = c->resp;
    http_add_header(r, "x-ms-request-id", "%s", c->request_id);
    http_add_header(r, "x-ms-correlation-request-id", "%s", c->correlation_id);
    http_add_header(r, "x-ms-routing-request-id", "WESTEUROPE:%.4s%.2s%.2sT%.2s%.2s%.2sZ:%s", now,
                    now + 5, now + 8, now + 11, now + 14, now + 17, c->correlation_id);
    http_add_header(r, "Cache-Control", "no-cache");
    http_add_header(r, "Pragma", "no-cache");
    http_add_header(r, "Expires", "-1");
    http_add_header(r, "Strict-Transport-Security", "max-age=31536000; includeSubDomains");
    http_add_header(r, "X-Content-Type-Options", "nosniff");
    const char *client = http_header(c->req, "x-ms-client-request-id");
    const char *wish = http_header(c->req, "x-ms-return-client-request-id");
    if (client && wish && strcasecmp(wish, "true") == 0)
        http_add_header(r, "x-ms-client-request-id", "%s", client);
}

static bool authenticate(struct arm_call *c)
{
    char why[512];
    const char *code =
        entra_check(c->em, http_header(c->req, "Authorization"), &c->caller, why, sizeof why);
    if (!code)
        return true;
    http_add_header(c->resp, "WWW-Authenticate",
                    "Bearer authorization_uri=\"%s/%s\", error=\"invalid_token\", "
                    "error_description=\"%s\"",
                    arm_base(c), EMULATOR_TENANT, why);
    return arm_error(c, 401, code, "%s", why);
}

/* The service principal and the host's identity are Contributors; a VM's own identity has no role. */
static bool authorise(struct arm_call *c)
{
    const struct directory *d = &c->em->directory;
    if (strcmp(c->caller.object_id, d->client_oid) == 0 ||
        strcmp(c->caller.object_id, d->identity_oid) == 0)
        return true;
    return arm_error(
        c, 403, "AuthorizationFailed",
        "The client '%s' with object id '%s' does not have authorization to perform action '%s' "
        "over scope '%s' or the scope is invalid. If access was recently granted, please refresh "
        "your credentials.",
        c->caller.client_id, c->caller.object_id, c->req->method, c->req->path);
}

static bool throttled(struct arm_call *c, const struct throttle_answer *t)
{
    reqlog_note(c, t->early ? "early" : "throttled");
    http_add_header(c->resp, "Retry-After", "%lld", (long long)t->retry_after);
    return true;
}

static struct bucket_size scaled(const struct emulator *em, struct bucket_size b)
{
    return (struct bucket_size){b.size, b.per_second / em->settings.time_scale};
}

/* ARM's own buckets: one per subscription, principal and class of operation. */
static bool pass_arm_buckets(struct arm_call *c)
{
    const char *m = c->req->method;
    bool read = strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0;
    const char *class = read ? "reads" : strcmp(m, "DELETE") == 0 ? "deletes" : "writes";
    struct bucket_size size =
        scaled(c->em, read ? c->em->settings.read_bucket : c->em->settings.write_bucket);
    const char *sub = c->at.subscription ? c->at.subscription : "tenant";
    struct throttle_answer own = throttle_take(
        c->em->throttle, arena_printf(c->arena, "arm/%s/%s/%s", sub, c->caller.object_id, class),
        size, c->now);
    if (!own.allowed) {
        throttled(c, &own);
        return arm_error(c, 429, "SubscriptionRequestsThrottled",
                         "Number of requests for subscription '%s' and operation '%s' exceeded. "
                         "Please try again after '%lld' seconds.",
                         sub, class, (long long)own.retry_after);
    }
    /* All principals together have fifteen times as much. */
    struct bucket_size global = {size.size * 15, size.per_second * 15};
    struct throttle_answer all = throttle_take(
        c->em->throttle, arena_printf(c->arena, "arm/%s/%s", sub, class), global, c->now);
    const char *scope = c->at.subscription ? "subscription" : "tenant";
    http_add_header(c->resp, arena_printf(c->arena, "x-ms-ratelimit-remaining-%s-%s", scope, class),
                    "%lld", (long long)own.remaining);
    http_add_header(c->resp,
                    arena_printf(c->arena, "x-ms-ratelimit-remaining-%s-global-%s", scope, class),
                    "%lld", (long long)all.remaining);
    return true;
}

bool arm_compute_bucket(struct arm_call *c, const char *policy, const char *resource,
                        struct bucket_size each, struct bucket_size sub)
{
    if (!c->em->settings.compute_throttling)
        return true;
    struct throttle_answer one = {.allowed = true};
    if (resource)
        one = throttle_take(c->em->throttle, arena_printf(c->arena, "crp/%s/%s", policy, resource),
                            scaled(c->em, each), c->now);
    struct throttle_answer all = {.allowed = true};
    if (one.allowed)
        all = throttle_take(c->em->throttle,
                            arena_printf(c->arena, "crp/%s/%s", policy, c->at.subscription),
                            scaled(c->em, sub), c->now);
    if (one.allowed && all.allowed) {
        const char *own = resource ? arena_printf(c->arena, "Microsoft.Compute/%sResource;%lld,",
                                                  policy, (long long)one.remaining)
                                   : "";
        http_add_header(c->resp, "x-ms-ratelimit-remaining-resource",
                        "%sMicrosoft.Compute/%sSubscriptionMaximum;%lld", own, policy,
                        (long long)all.remaining);
        return true;
    }
    throttled(c, one.allowed ? &all : &one);
    return arm_error_inner(c, 429, "OperationNotAllowed",
                           "The server rejected the request because too many requests have been "
                           "received for this subscription.",
                           "TooManyRequests", "{\"operationGroup\":\"%s%s\"}", policy,
                           one.allowed ? "SubscriptionMaximum" : "Resource");
}

static bool read_body(struct arm_call *c)
{
    if (c->req->body_too_large)
        return arm_error(c, 413, "RequestContentTooLarge",
                         "The request content size exceeds the maximum size of 4 MB.");
    if (c->req->body.len == 0)
        return true;
    json_error_t why;
    c->body =
        json_loadb((const char *)c->req->body.data, c->req->body.len, JSON_REJECT_DUPLICATES, &why);
    if (json_is_object(c->body))
        return true;
    return arm_error(c, 400, "InvalidRequestContent",
                     "The request content was invalid and could not be deserialized: '%s. Path "
                     "'', line %d, position %d.'.",
                     c->body ? "The root is not an object" : why.text, c->body ? 1 : why.line,
                     c->body ? 1 : why.column);
}

static bool subscription_known(struct arm_call *c)
{
    if (!c->at.subscription || subscription_exists(c->em, c->at.subscription))
        return true;
    if (!uuid_valid(c->at.subscription))
        return arm_error(c, 400, "InvalidSubscriptionId",
                         "The provided subscription identifier '%s' is malformed or invalid.",
                         c->at.subscription);
    return arm_error(c, 404, "SubscriptionNotFound", "The subscription '%s' could not be found.",
                     c->at.subscription);
}

static bool has_api_version(struct arm_call *c)
{
    c->api_version = http_query(c->req, "api-version");
    if (c->api_version && *c->api_version)
        return true;
    return arm_error(c, 400, "MissingApiVersionParameter",
                     "The api-version query parameter (?api-version=) is required for all "
                     "requests.");
}

static void route(struct arm_call *c)
{
    if (subscription_handle(c) || operation_poll(c) || catalogue_handle(c) || action_handle(c) ||
        resource_list_all(c))
        return;
    resource_handle(c);
}

/* What ARM's front door checks, in its order, before a provider sees the call. */
static void serve(struct arm_call *c)
{
    if (!authenticate(c) || !arm_target_parse(c) || !has_api_version(c) || !subscription_known(c) ||
        !authorise(c) || !pass_arm_buckets(c) || !read_body(c))
        return;
    operation_tick(c->em);
    route(c);
}

void arm_handle(struct emulator *em, const struct http_request *req, struct http_response *resp)
{
    struct arm_call c = {.em = em, .req = req, .resp = resp, .arena = req->arena};
    pthread_mutex_lock(&em->lock);
    c.now = clock_wall(em->clock);
    bool early = promises_early(&c);
    common_headers(&c);
    struct fault_action fault = faults_match(em, req);
    pthread_mutex_unlock(&em->lock);
    faults_before(&fault, resp);
    pthread_mutex_lock(&em->lock);
    c.lro_fault = fault.lro;
    if (!fault.answered)
        serve(&c);
    if (fault.drop_after)
        resp->drop = true;
    promises_note(&c);
    if (early)
        reqlog_note(&c, "early");
    reqlog_write(&c);
    pthread_mutex_unlock(&em->lock);
    if (c.reboot)
        tpm_reboot(em, c.reboot);
    json_decref(c.body);
    json_decref(fault.rule);
}
