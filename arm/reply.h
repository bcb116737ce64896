/*
 * What Azure Resource Manager answered, and what that means. Pure: no I/O, no time, no allocation
 * except in the caller's arena.
 *
 * A reply is plain data. The client makes it; tests may build one on the stack (ARM_REPLY_INIT).
 */
#ifndef ARM_REPLY_H
#define ARM_REPLY_H

#include "core/arena.h"
#include "core/err.h"

#include <stdint.h>

#define ARM_BODY_MAX (4u * 1024 * 1024)
#define ARM_URL_MAX  8192 /* clients must take poll URLs of 4 KB (ARM RPC); more is refused */

#define ARM_RETRY_AFTER_MAX_MS (60 * 60 * 1000) /* a longer Retry-After is cut to this */
#define ARM_POLL_DEFAULT_MS    10000            /* poll again in, where ARM does not say */
#define ARM_POLL_GRACE_MS      (3 * 60 * 1000)  /* a young operation may answer 404 this long */

enum arm_method { ARM_GET, ARM_HEAD, ARM_PUT, ARM_PATCH, ARM_POST, ARM_DELETE };

const char *arm_method_name(enum arm_method m); /* "GET" */

/* Why there is no HTTP answer. */
enum arm_failure {
    ARM_FAIL_NONE,        /* there is one: see status */
    ARM_FAIL_HELD,        /* not sent: come again in retry_after_ms (a Retry-After, or the line) */
    ARM_FAIL_REFUSED,     /* not sent: foreign host, bad target, no identity for the subscription */
    ARM_FAIL_TOKEN,       /* not sent: no token; the identity is wrong (permanent) */
    ARM_FAIL_TOKEN_RETRY, /* not sent: no token at the moment */
    ARM_FAIL_CONNECT,     /* not sent: no connection (DNS, TCP, proxy) */
    ARM_FAIL_TLS,         /* not sent: the peer's certificate or the handshake */
    ARM_FAIL_TIMEOUT,     /* may have been sent */
    ARM_FAIL_BROKEN,      /* may have been sent: the connection ended early */
    ARM_FAIL_TOO_LARGE,   /* answered with more than ARM_BODY_MAX */
    ARM_FAIL_STOPPED,     /* the client was stopped; may have been sent */
};

struct arm_reply {
    enum arm_failure failure;
    int status;            /* 100..599; 0 with a failure */
    char detail[320];      /* of the failure: text without secrets and control bytes */
    char failure_code[64]; /* of the failure: "AADSTS7000215", else empty */

    struct bytes body; /* one NUL follows it where it came from the client */
    const char *content_type;
    const char *async_operation; /* Azure-AsyncOperation; NULL where absent, so the rest */
    const char *location;
    const char *etag;
    const char *request_id;     /* x-ms-request-id */
    const char *correlation_id; /* x-ms-correlation-request-id */
    int64_t retry_after_ms;  /* -1: absent or not understood; at most ARM_RETRY_AFTER_MAX_MS. A 429
                               without the header gets the client's own backoff */
    int64_t remaining_reads; /* x-ms-ratelimit-remaining-subscription-*; -1: absent */
    int64_t remaining_writes;
    int64_t remaining_deletes;
    int64_t duration_ms; /* from arm_send to the end */

    struct arena *arena; /* holds all of it; NULL where the caller made the reply */
};

#define ARM_REPLY_INIT                                                                             \
    {                                                                                              \
        .retry_after_ms = -1, .remaining_reads = -1, .remaining_writes = -1,                       \
        .remaining_deletes = -1                                                                    \
    }

/* Frees a reply that the client made; any thread. NULL is fine. */
void arm_reply_free(struct arm_reply *r);

/* ---- meaning ---- */

enum arm_class {
    ARM_CLASS_SUCCESS,   /* done: 2xx with nothing left to wait for */
    ARM_CLASS_ACCEPTED,  /* 2xx and an operation goes on: arm_lro_next */
    ARM_CLASS_MISSING,   /* 404, 410: the resource (or its parent: see code) does not exist */
    ARM_CLASS_THROTTLED, /* 429, or held back: wait retry_after_ms; costs no attempt */
    ARM_CLASS_CONFLICT,  /* another operation holds the resource: wait; costs no attempt */
    ARM_CLASS_TRANSIENT, /* 408, 5xx, network: back off; an attempt */
    ARM_CLASS_CAPACITY,  /* AllocationFailed, SkuNotAvailable, ...: few attempts */
    ARM_CLASS_AUTH,      /* 401, 403: the gateway's own identity */
    ARM_CLASS_PERMANENT, /* the same request would fail again */
};

const char *arm_class_name(enum arm_class c); /* "success" */

struct arm_outcome {
    enum arm_class class;
    int status;          /* of the reply */
    char code[64];       /* error.code, the innermost that says more; empty where there is none */
    char message[320];   /* error.message without control bytes; valid UTF-8, cut at a character */
    char request_id[64]; /* x-ms-request-id */
    int64_t retry_after_ms; /* -1: not told */
    bool sent;              /* ARM may have seen the request */
};

/* Total: every reply has a class. The body is read only for its error or provisioningState. */
void arm_classify(const struct arm_reply *r, struct arm_outcome *out);

/* The error for people: fills code, detail, remedy, upstream_code, upstream_request_id and
 * retry_after. OK for SUCCESS and ACCEPTED. MISSING is ERR_NOT_FOUND. */
enum err arm_outcome_err(const struct arm_outcome *o, struct err_info *e);

/* Retry-After (RFC 9110 10.2.3): seconds or an HTTP-date, against now (wall ms). -1: not
 * understood. */
int64_t arm_retry_after(const char *text, int64_t now_ms);

/* ---- long-running operations (ARM RPC, async-api-reference) ---- */

enum arm_lro_kind {
    ARM_LRO_NONE,         /* nothing to poll: the reply is final */
    ARM_LRO_ASYNC,        /* Azure-AsyncOperation: `status` in a 200 body */
    ARM_LRO_LOCATION,     /* Location: 202 while it runs */
    ARM_LRO_PROVISIONING, /* the resource itself: properties.provisioningState */
    ARM_LRO_ABSENCE,      /* the resource itself until it is 404 (DELETE without a poll URL) */
};

const char *
arm_lro_kind_name(enum arm_lro_kind k); /* stable, for the store: "none", "async", ... */
enum arm_lro_kind arm_lro_kind_parse(const char *name); /* ARM_LRO_NONE where unknown */

struct arm_lro {
    enum arm_lro_kind kind;
    const char *url;       /* absolute, on the ARM host; NULL for ARM_LRO_NONE */
    const char *final_url; /* GET this after success to have the result; NULL: not needed */
    int64_t wait_ms;       /* before the first poll */
};

/*
 * What to poll after a 2xx `r` to `method target`, sent to `endpoint` ("https://host[:port]").
 * `target` is the path and query or URL that was sent. Azure-AsyncOperation is preferred to
 * Location. Strings are in the arena. ERR_UPSTREAM_REJECTED where ARM points to another host.
 */
enum err arm_lro_next(struct arena *a, const char *endpoint, enum arm_method method,
                      const char *target, const struct arm_reply *r, struct arm_lro *out,
                      struct err_info *e) MUST_CHECK;

enum arm_lro_state {
    ARM_LRO_IN_PROGRESS, /* poll again in wait_ms */
    ARM_LRO_SUCCEEDED,
    ARM_LRO_FAILED,   /* see outcome: code, message, class of the cause */
    ARM_LRO_CANCELED, /* see outcome (OperationPreempted: somebody else did it) */
    ARM_LRO_GONE,     /* the operation, or its resource, is unknown: observe the resource */
    ARM_LRO_UNKNOWN,  /* the poll itself failed: see outcome.class (throttled, transient, auth, ...)
                       */
};

struct arm_lro_status {
    enum arm_lro_state state;
    int64_t wait_ms; /* before the next poll (IN_PROGRESS, UNKNOWN where told) */
    bool has_result; /* SUCCEEDED: the body of this reply is the result (LOCATION, PROVISIONING) */
    struct arm_outcome outcome;
};

/* What a poll's answer says. age_ms is the time since the operation was accepted: 404 is
 * IN_PROGRESS while it is less than ARM_POLL_GRACE_MS. */
void arm_lro_read(enum arm_lro_kind kind, const struct arm_reply *r, int64_t age_ms,
                  struct arm_lro_status *out);

/* True where `url` is https, on the very host and port of `endpoint`, without userinfo, control
 * bytes or blanks, and not longer than ARM_URL_MAX. The one guard before a bearer token leaves. */
bool arm_url_host_ok(const char *endpoint, const char *url);

#endif
