#include "arm/reply.h"
#include "arm/answer.h"
#include "arm/text.h"

#include "core/json.h"

#include <strings.h>

/* A single resource is small; lists are left to their reader. */
#define STATE_BODY_MAX (256 * 1024)
#define DETAILS_DEPTH  4

static const char *const class_names[] = {
    [ARM_CLASS_SUCCESS] = "success",     [ARM_CLASS_ACCEPTED] = "accepted",
    [ARM_CLASS_MISSING] = "missing",     [ARM_CLASS_THROTTLED] = "throttled",
    [ARM_CLASS_CONFLICT] = "conflict",   [ARM_CLASS_TRANSIENT] = "transient",
    [ARM_CLASS_CAPACITY] = "capacity",   [ARM_CLASS_AUTH] = "auth",
    [ARM_CLASS_PERMANENT] = "permanent",
};

const char *arm_class_name(enum arm_class c)
{
    return class_names[c];
}

/* error.code whose meaning its HTTP status does not tell (facts of the resource providers). */
static const struct {
    const char *code;
    enum arm_class class;
    const char *remedy;
} codes[] = {
    {"AnotherOperationInProgress", ARM_CLASS_CONFLICT, NULL},
    {"AttachDiskWhileBeingDetached", ARM_CLASS_CONFLICT, NULL},
    {"Conflict", ARM_CLASS_CONFLICT, NULL},
    {"NicReservedForAnotherVm", ARM_CLASS_CONFLICT, NULL},
    {"OperationPreempted", ARM_CLASS_CONFLICT, NULL},
    {"ReferencedResourceNotProvisioned", ARM_CLASS_CONFLICT, NULL},
    {"ResourceGroupBeingDeleted", ARM_CLASS_CONFLICT, NULL},
    {"RetryableErrorDueToAnotherOperation", ARM_CLASS_CONFLICT, NULL},

    {"AllocationFailed", ARM_CLASS_CAPACITY, "Try another size, zone or region."},
    {"OverconstrainedAllocationRequest", ARM_CLASS_CAPACITY, "Try another size, zone or region."},
    {"OverconstrainedZonalAllocationRequest", ARM_CLASS_CAPACITY, "Try another size or zone."},
    {"SkuNotAvailable", ARM_CLASS_CAPACITY, "Try another size, zone or region."},
    {"ZonalAllocationFailed", ARM_CLASS_CAPACITY, "Try another size or zone."},

    {"InternalServerError", ARM_CLASS_TRANSIENT, NULL},
    {"NetworkingInternalOperationError", ARM_CLASS_TRANSIENT, NULL},
    {"OperationTimedOut", ARM_CLASS_TRANSIENT, NULL},
    {"RetryableError", ARM_CLASS_TRANSIENT, NULL},
    {"ServerTimeout", ARM_CLASS_TRANSIENT, NULL},
    {"ServiceUnavailable", ARM_CLASS_TRANSIENT, NULL},

    {"SubscriptionRequestsThrottled", ARM_CLASS_THROTTLED, NULL},
    {"TenantRequestsThrottled", ARM_CLASS_THROTTLED, NULL},
    {"TooManyRequests", ARM_CLASS_THROTTLED, NULL},

    {"AuthorizationFailed", ARM_CLASS_AUTH,
     "Give the gateway's identity a role that allows this at that scope."},
    {"ExpiredAuthenticationToken", ARM_CLASS_AUTH, NULL},
    {"InvalidAuthenticationToken", ARM_CLASS_AUTH, NULL},
    {"InvalidAuthenticationTokenTenant", ARM_CLASS_AUTH,
     "The subscription belongs to another tenant than the gateway's identity."},
    {"LinkedAuthorizationFailed", ARM_CLASS_AUTH,
     "Give the gateway's identity a role on the linked resource as well."},

    {"InvalidResourceType", ARM_CLASS_PERMANENT, NULL},
    {"MissingSubscriptionRegistration", ARM_CLASS_PERMANENT,
     "Register the resource provider in the subscription."},
    {"OperationNotAllowed", ARM_CLASS_PERMANENT, NULL},
    {"PropertyChangeNotAllowed", ARM_CLASS_PERMANENT, NULL},
    {"QuotaExceeded", ARM_CLASS_PERMANENT, "Ask Azure for more quota, or free some."},
    {"RequestDisallowedByPolicy", ARM_CLASS_PERMANENT,
     "An Azure Policy assignment denies this: change the request or the assignment."},
    {"ScopeLocked", ARM_CLASS_PERMANENT, "Remove the resource lock."},
    {"SubscriptionNotFound", ARM_CLASS_PERMANENT, NULL},
    {"SubscriptionNotRegistered", ARM_CLASS_PERMANENT,
     "Register the resource provider in the subscription."},

    {"AADSTS700016", ARM_CLASS_AUTH, "The application is unknown in the tenant: check client_id."},
    {"AADSTS700021", ARM_CLASS_AUTH, "Check the federated credential's subject and issuer."},
    {"AADSTS700023", ARM_CLASS_AUTH, "Check the federated credential's audience."},
    {"AADSTS700027", ARM_CLASS_AUTH, "The assertion's signature is not of a known key."},
    {"AADSTS7000215", ARM_CLASS_AUTH, "The client secret is wrong: set the secret's value."},
    {"AADSTS7000222", ARM_CLASS_AUTH, "The client secret has expired: make a new one."},
    {"AADSTS90002", ARM_CLASS_AUTH, "The tenant is unknown: check tenant_id."},
};

/* Codes that only wrap what is in details (ARM deployments). */
static const char *const wrappers[] = {"DeploymentFailed", "InvalidTemplateDeployment",
                                       "MultipleErrorsOccurred", "ResourceDeploymentFailure"};

static const char *code_remedy(const char *code)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcasecmp(codes[i].code, code) == 0)
            return codes[i].remedy;
    return NULL;
}

bool arm_answer_class_of_code(const char *code, enum arm_class *out)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (strcasecmp(codes[i].code, code) == 0) {
            *out = codes[i].class;
            return true;
        }
    }
    return false;
}

static bool is_wrapper(const char *code)
{
    for (size_t i = 0; i < ARRAY_LEN(wrappers); i++)
        if (code && strcmp(wrappers[i], code) == 0)
            return true;
    return false;
}

bool arm_answer_error(const json_t *body, struct arm_outcome *out)
{
    const json_t *error = json_object_get(body, "error");
    if (!json_is_object(error))
        error = json_is_string(json_object_get(body, "code")) ? body : NULL;
    for (unsigned depth = 0; error && depth < DETAILS_DEPTH; depth++) {
        const json_t *inner = json_array_get(json_object_get(error, "details"), 0);
        const char *code = json_path_str(error, "code");
        if (!is_wrapper(code) || !json_path_str(inner, "code"))
            break;
        error = inner;
    }
    if (!error)
        return false;
    arm_text_copy(out->code, sizeof out->code, json_path_str(error, "code"));
    arm_text_copy(out->message, sizeof out->message, json_path_str(error, "message"));
    return true;
}

const char *arm_answer_state(const json_t *body)
{
    return json_path_str(body, "properties/provisioningState");
}

static void failure_class(const struct arm_reply *r, struct arm_outcome *out)
{
    static const enum arm_class classes[] = {
        [ARM_FAIL_NONE] = ARM_CLASS_TRANSIENT,        [ARM_FAIL_HELD] = ARM_CLASS_THROTTLED,
        [ARM_FAIL_REFUSED] = ARM_CLASS_PERMANENT,     [ARM_FAIL_TOKEN] = ARM_CLASS_AUTH,
        [ARM_FAIL_TOKEN_RETRY] = ARM_CLASS_TRANSIENT, [ARM_FAIL_CONNECT] = ARM_CLASS_TRANSIENT,
        [ARM_FAIL_TLS] = ARM_CLASS_TRANSIENT,         [ARM_FAIL_TIMEOUT] = ARM_CLASS_TRANSIENT,
        [ARM_FAIL_BROKEN] = ARM_CLASS_TRANSIENT,      [ARM_FAIL_TOO_LARGE] = ARM_CLASS_PERMANENT,
        [ARM_FAIL_STOPPED] = ARM_CLASS_TRANSIENT,
    };
    out->class = classes[r->failure];
    out->sent = r->failure == ARM_FAIL_TIMEOUT || r->failure == ARM_FAIL_BROKEN ||
                r->failure == ARM_FAIL_TOO_LARGE || r->failure == ARM_FAIL_STOPPED;
    arm_text_copy(out->code, sizeof out->code, r->failure_code);
    arm_text_copy(out->message, sizeof out->message, r->detail);
}

static bool state_is_terminal(const char *state)
{
    return !state || arm_answer_succeeded(state) || arm_answer_ended_badly(state);
}

static void success_class(const struct arm_reply *r, struct arm_outcome *out)
{
    out->class = ARM_CLASS_SUCCESS;
    if (r->status == 202 || (r->status != 204 && r->async_operation)) {
        out->class = ARM_CLASS_ACCEPTED;
        return;
    }
    if (r->status > 201 || r->body.len == 0 || r->body.len > STATE_BODY_MAX)
        return;
    AUTO(json) json_t *body = NULL;
    if (json_parse(r->body, &body, NULL) == OK && !state_is_terminal(arm_answer_state(body)))
        out->class = ARM_CLASS_ACCEPTED;
}

static enum arm_class status_class(int status, bool has_code, bool told_to_wait)
{
    switch (status) {
    case 401:
    case 403:
        return ARM_CLASS_AUTH;
    case 404:
    case 410:
        return ARM_CLASS_MISSING;
    case 408:
        return ARM_CLASS_TRANSIENT;
    case 409:
        return told_to_wait || !has_code ? ARM_CLASS_CONFLICT : ARM_CLASS_PERMANENT;
    case 429:
        return ARM_CLASS_THROTTLED;
    case 501:
    case 505:
        return ARM_CLASS_PERMANENT;
    default:
        return status >= 500 || status < 200 ? ARM_CLASS_TRANSIENT : ARM_CLASS_PERMANENT;
    }
}

static void error_class(const struct arm_reply *r, struct arm_outcome *out)
{
    AUTO(json) json_t *body = NULL;
    if (r->body.len && json_parse(r->body, &body, NULL) == OK)
        arm_answer_error(body, out);
    out->class = status_class(r->status, out->code[0] != '\0', r->retry_after_ms >= 0);
    enum arm_class by_code;
    if (!arm_answer_class_of_code(out->code, &by_code))
        return;
    /* 429 and 401 mean what they say, but for a lock that is only called a throttle. */
    if (r->status == 401 || (r->status == 429 && by_code != ARM_CLASS_CONFLICT))
        return;
    out->class = by_code;
}

void arm_classify(const struct arm_reply *r, struct arm_outcome *out)
{
    *out = (struct arm_outcome){.status = r->status, .retry_after_ms = r->retry_after_ms};
    arm_text_copy(out->request_id, sizeof out->request_id, r->request_id);
    if (r->failure != ARM_FAIL_NONE) {
        failure_class(r, out);
        return;
    }
    out->sent = true;
    if (r->status >= 200 && r->status < 300)
        success_class(r, out);
    else
        error_class(r, out);
    if (!out->message[0] && out->class > ARM_CLASS_ACCEPTED)
        snprintf(out->message, sizeof out->message, "HTTP status %d without an error body",
                 r->status);
}

static enum err class_err(const struct arm_outcome *o)
{
    switch (o->class) {
    case ARM_CLASS_SUCCESS:
    case ARM_CLASS_ACCEPTED:
        return OK;
    case ARM_CLASS_MISSING:
        return ERR_NOT_FOUND;
    case ARM_CLASS_THROTTLED:
        return ERR_UPSTREAM_THROTTLED;
    case ARM_CLASS_CONFLICT:
        return ERR_UPSTREAM_CONFLICT;
    case ARM_CLASS_TRANSIENT:
        return o->status == 408 || o->status == 504 ? ERR_UPSTREAM_TIMEOUT : ERR_UPSTREAM;
    case ARM_CLASS_AUTH:
        return ERR_UPSTREAM_FORBIDDEN;
    case ARM_CLASS_CAPACITY:
    case ARM_CLASS_PERMANENT:
        break;
    }
    return ERR_UPSTREAM_REJECTED;
}

enum err arm_outcome_err(const struct arm_outcome *o, struct err_info *e)
{
    enum err code = class_err(o);
    if (code == OK || !e)
        return code;
    if (o->code[0])
        err_set(e, code, "%s: %s", o->code, o->message);
    else
        err_set(e, code, "%s", o->message);
    const char *remedy = code_remedy(o->code);
    if (remedy)
        err_remedy(e, "%s", remedy);
    snprintf(e->upstream_code, sizeof e->upstream_code, "%s", o->code);
    snprintf(e->upstream_request_id, sizeof e->upstream_request_id, "%s", o->request_id);
    if (o->retry_after_ms > 0)
        e->retry_after = (int)((o->retry_after_ms + 999) / 1000);
    return code;
}
