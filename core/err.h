/*
 * Errors: one table is the pivot between C, HTTP and retries.
 *
 * A function that can fail returns enum err (0 is success) and takes a struct err_info * last, which
 * may be NULL. err_info has a fixed size, is plain data and owns nothing. On success it is untouched.
 *
 *     return err_set(e, ERR_NOT_FOUND, "no job %s", id);
 *
 * Threads: an err_info belongs to one thread at a time.
 */
#ifndef CORE_ERR_H
#define CORE_ERR_H

#include "core/attr.h"

#include <stdbool.h>
#include <stddef.h>

/* What the engine does with a failed call. */
enum retry_class {
    RETRY_NEVER,     /* the same call would fail again */
    RETRY_TRANSIENT, /* back off, counts as an attempt */
    RETRY_THROTTLED, /* wait as told, costs no attempt */
    RETRY_CONFLICT,  /* another operation holds the resource: wait, costs no attempt */
};

/* X(NAME, HTTP status, code = last part of the problem type, retry class, title) */
#define ERR_LIST(X)                                                                                \
    X(BAD_REQUEST, 400, "bad_request", NEVER, "The request is not well-formed")                    \
    X(VALIDATION, 400, "validation_failed", NEVER, "The request has invalid members")              \
    X(EVIDENCE_MALFORMED, 400, "evidence_malformed", NEVER, "The evidence is not well-formed")     \
    X(CHALLENGE_INVALID, 400, "challenge_invalid", NEVER, "Not a challenge of this gateway")       \
    X(UNAUTHENTICATED, 401, "unauthenticated", NEVER, "A valid credential is required")            \
    X(FORBIDDEN, 403, "forbidden", NEVER, "The credential does not allow this")                    \
    X(NOT_ENROLLED, 403, "not_enrolled", NEVER, "The evidence is not from an enrolled VM")         \
    X(NOT_FOUND, 404, "not_found", NEVER, "No such resource")                                      \
    X(METHOD_NOT_ALLOWED, 405, "method_not_allowed", NEVER, "The resource has no such method")     \
    X(NOT_ACCEPTABLE, 406, "not_acceptable", NEVER, "No acceptable representation")                \
    X(OPERATION_IN_PROGRESS, 409, "operation_in_progress", NEVER, "The resource is busy")          \
    X(IDEMPOTENCY_IN_FLIGHT, 409, "idempotency_in_flight", NEVER,                                  \
      "A request with this Idempotency-Key is being handled")                                      \
    X(PLAN_STALE, 409, "plan_stale", NEVER, "The plan no longer matches")                          \
    X(NOT_MANAGED, 409, "not_managed", NEVER, "The resource is not managed by this gateway")       \
    X(RESTART_REQUIRED, 409, "restart_required", NEVER, "The change restarts the VM")              \
    X(CHALLENGE_EXPIRED, 409, "challenge_expired", NEVER, "The challenge has expired")             \
    X(CHALLENGE_USED, 409, "challenge_used", NEVER, "The challenge was used before")               \
    X(CHALLENGE_MISMATCH, 409, "challenge_mismatch", NEVER, "The challenge is another VM's")       \
    X(ACTIVATION_USED, 409, "activation_used", NEVER, "The activation was used before")            \
    X(AK_MISMATCH, 409, "ak_mismatch", NEVER, "Another attestation key waits")                     \
    X(EVENT_LOG_REQUIRED, 409, "event_log_required", NEVER, "Send the event log itself")           \
    X(INVALID_STATE, 409, "invalid_state", NEVER, "The resource's state does not allow this")      \
    X(PRECONDITION_FAILED, 412, "precondition_failed", NEVER, "The precondition does not hold")    \
    X(BODY_TOO_LARGE, 413, "body_too_large", NEVER, "The body is too large")                       \
    X(URI_TOO_LONG, 414, "uri_too_long", NEVER, "The request target is too long")                  \
    X(UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type", NEVER, "Unsupported media type")      \
    X(IDEMPOTENCY_KEY_REUSED, 422, "idempotency_key_reused", NEVER,                                \
      "The Idempotency-Key belongs to another request")                                            \
    X(PREFLIGHT_FAILED, 422, "preflight_failed", NEVER, "Azure would refuse this request")         \
    X(RATE_LIMITED, 429, "rate_limited", THROTTLED, "Too many requests")                           \
    X(HEADERS_TOO_LARGE, 431, "headers_too_large", NEVER, "The header fields are too large")       \
    X(INTERNAL, 500, "internal", NEVER, "Internal error")                                          \
    X(UPSTREAM, 502, "upstream_error", TRANSIENT, "Azure answered with an error")                  \
    X(UPSTREAM_FORBIDDEN, 502, "upstream_forbidden", NEVER,                                        \
      "Azure refused the gateway's own identity")                                                  \
    X(UPSTREAM_REJECTED, 502, "upstream_rejected", NEVER, "Azure rejected the request")            \
    X(UPSTREAM_THROTTLED, 503, "upstream_throttled", THROTTLED, "Azure throttles the gateway")     \
    X(UPSTREAM_CONFLICT, 503, "upstream_conflict", CONFLICT, "Azure is busy with the resource")    \
    X(UNAVAILABLE, 503, "unavailable", TRANSIENT, "The gateway cannot serve this now")             \
    X(UPSTREAM_TIMEOUT, 504, "upstream_timeout", TRANSIENT, "Azure did not answer in time")        \
    X(LEASE_LOST, 500, "lease_lost", NEVER, "Another worker owns the job")                         \
    X(RESOURCE_FOREIGN, 409, "resource_exists", NEVER, "The resource exists and is another's")     \
    X(ATTESTATION_FAILED, 500, "attestation_failed", NEVER, "The VM's evidence is untrusted")      \
    X(ATTESTATION_TIMEOUT, 500, "attestation_timeout", NEVER, "No trusted report came in time")    \
    X(DEADLINE_EXCEEDED, 500, "deadline_exceeded", NEVER, "The job's deadline has passed")         \
    X(CANCELED, 500, "canceled", NEVER, "The job was canceled")                                    \
    X(CONFIG, 500, "config_invalid", NEVER, "The configuration is invalid")

enum err {
    OK = 0,
#define X(name, http, code, retry, title) ERR_##name,
    ERR_LIST(X)
#undef X
        ERR_COUNT
};

#define ERR_FIELDS_MAX 16

/* One bad member: pointer is an RFC 6901 pointer in URI fragment form ("#/admin/password"). */
struct err_field {
    char pointer[128];
    char detail[160];
};

struct err_info {
    enum err code;
    int retry_after; /* seconds; 0: none */
    char detail[320];
    char remedy[200];
    char job_id[40];              /* operation_in_progress: the job that holds the resource */
    char upstream_code[64];       /* ARM's error.code */
    char upstream_request_id[64]; /* x-ms-request-id */
    unsigned n_fields;
    struct err_field fields[ERR_FIELDS_MAX]; /* last: n_fields of them mean something */
};

/* The row of the table. err_code(OK) is "ok". */
int err_http_status(enum err code);
const char *err_code(enum err code);
const char *err_title(enum err code);
enum retry_class err_retry_class(enum err code);
/* The err whose code is `code`, or ERR_INTERNAL. */
enum err err_from_code(const char *code);

/* As if nothing had been set: without the fields, of which none means something then. */
void err_clear(struct err_info *e);
/* Fill *e (may be NULL) and return code. Text is truncated, and control bytes become '?'. */
enum err err_set(struct err_info *e, enum err code, const char *fmt, ...) PRINTF(3, 4);
/* Add one bad member; sets ERR_VALIDATION where nothing is set yet. Beyond the limit: counted out. What was
 * said of a member first stays: a value of the wrong type is not missing as well. */
enum err err_add_field(struct err_info *e, const char *pointer, const char *fmt, ...) PRINTF(3, 4);
/* What the caller can do about it; returns e->code. */
enum err err_remedy(struct err_info *e, const char *fmt, ...) PRINTF(2, 3);

#endif
