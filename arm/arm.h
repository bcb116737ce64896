/*
 * Client of Azure Resource Manager: tokens, connections, throttling. Knows nothing of jobs or
 * stores.
 *
 * One thread runs one curl multi on epoll. Requests are copied in, replies are handed out; there is
 * no waiting call. A request carries its own identity: the subscription picks tenant, credential
 * and cloud. Retries are the caller's business (its intent must be durable first), with one
 * exception: a 401 drops the cached token and the request is sent once more.
 */
#ifndef ARM_ARM_H
#define ARM_ARM_H

#include "arm/reply.h"
#include "core/clock.h"
#include "core/secret.h"

struct arm;

/* ---- configuration ---- */

struct arm_cloud {
    const char *name;      /* "public", "usgov", "china" */
    const char *endpoint;  /* "https://management.azure.com" */
    const char *authority; /* "https://login.microsoftonline.com" */
    const char *audience;  /* "https://management.azure.com": the token's resource */
};

/* NULL where the name is unknown. NULL or "" is the public cloud. */
const struct arm_cloud *arm_cloud_find(const char *name);

enum arm_credential { ARM_CLIENT_SECRET, ARM_MANAGED_IDENTITY, ARM_WORKLOAD_IDENTITY };

struct arm_identity {
    const char *name; /* unique; in messages and metrics */
    enum arm_credential kind;
    const char *cloud;     /* see arm_cloud_find */
    const char *tenant_id; /* client secret, workload identity */
    const char *client_id; /* managed identity: NULL is the system-assigned one */
    struct secret client_secret;
    const char *client_secret_file;   /* read for each token, so that it may be replaced */
    const char *federated_token_file; /* workload identity: read for each token, it rotates */
    const char *endpoint;             /* overrides of the cloud's; NULL: the cloud's */
    const char *authority;
    const char *audience;
};

struct arm_subscription {
    const char *subscription_id;
    const char *identity; /* name */
};

struct arm_config {
    const struct arm_identity *identities; /* at least one */
    size_t n_identities;
    const struct arm_subscription *subscriptions;
    size_t n_subscriptions;
    const char *default_identity; /* of every other subscription; NULL: the first; "": none */
    const char *imds_endpoint;    /* NULL: http://169.254.169.254 */
    const char *ca_file;          /* PEM; NULL: the system's */
    const char *proxy;            /* NULL: the environment's (https_proxy, no_proxy); "": none */
    const char *user_agent;       /* NULL: tlgate/VERSION */
    const struct clock *clock;    /* NULL: the system's; outlives the client */
    unsigned max_in_flight;       /* requests at once, more wait in line; 0: 64 */
    int64_t connect_timeout_ms;   /* 0: 10 s */
    int64_t timeout_ms; /* of a request that names none; 0: 90 s (ARM answers within 60 s) */
};

/*
 * Copies the configuration and starts the thread. ERR_CONFIG where it does not hold together: https
 * everywhere, except IMDS, and an authority on a loopback address; known clouds; complete
 * credentials. No network is touched.
 */
enum err arm_start(const struct arm_config *cfg, struct arm **out, struct err_info *e) MUST_CHECK;

/*
 * Ends every open request with ARM_FAIL_STOPPED, waits for the thread, wipes the tokens and frees.
 * Nobody else may be in a call, or call, from then on, except `done` callbacks. NULL is fine.
 */
void arm_stop(struct arm *arm);

/* ---- requests ---- */

struct arm_request {
    enum arm_method method;
    const char *subscription; /* picks the identity and the throttle; NULL: the default identity */
    const char *target;       /* "/subscriptions/...?api-version=..." or an absolute poll URL */
    struct bytes body;        /* JSON; sent with PUT, PATCH and POST; wiped after use */
    const char *client_request_id; /* x-ms-client-request-id; NULL: a new UUID */
    const char *correlation_id;    /* x-ms-correlation-request-id; NULL: none */
    const char *traceparent;       /* W3C trace context; NULL: none */
    const char *if_match;          /* NULL: none, so if_none_match */
    const char *if_none_match;
    bool poll;          /* a GET that will come again and again: kept cheap */
    bool more;          /* others follow at once: it need not go before arm_flush */
    int64_t timeout_ms; /* of all, waiting in line and for a token included; 0: the default */
};

/*
 * Called exactly once for each arm_send, on the client's thread, never from within arm_send. Must
 * not block. `reply` belongs to the callee from then on (arm_reply_free, any thread).
 */
typedef void arm_done_fn(void *ctx, struct arm_reply *reply);

/* Copies the request and returns; any thread, also from `done`. */
void arm_send(struct arm *arm, const struct arm_request *req, arm_done_fn *done, void *ctx);

/* What was sent with `more` goes now; any thread. */
void arm_flush(struct arm *arm);

/* A public document of somebody else: nothing of an identity is sent, no redirect is followed. */
struct arm_fetch {
    const char *url;     /* https */
    const char *ca_file; /* PEM roots; NULL: the client's */
    size_t body_max;
    int64_t timeout_ms;
};
/* As arm_send: `done` is called exactly once. */
void arm_get_document(struct arm *arm, const struct arm_fetch *f, arm_done_fn *done, void *ctx);

/* "https://host[:port]" of the subscription's cloud; NULL where no identity serves it. Lives as
 * long as the client. */
const char *arm_endpoint(const struct arm *arm, const char *subscription);

/* ---- throttling ---- */

/* Buckets are per subscription and kind of operation (ARM request limits). */
enum arm_op { ARM_OP_READ, ARM_OP_WRITE, ARM_OP_DELETE, ARM_OPS };

enum arm_op arm_op_of(enum arm_method m); /* POST and PATCH are writes */

/* Wall time in ms before which a request of this kind would end with ARM_FAIL_HELD; 0: it may go.
 */
int64_t arm_not_before(struct arm *arm, const char *subscription, enum arm_op op);

/* ---- metrics ---- */

struct arm_bucket {
    char subscription[64];
    int64_t remaining[ARM_OPS];  /* as ARM told last; -1: never */
    int64_t not_before[ARM_OPS]; /* wall ms; 0: may go */
};

struct arm_stats {
    uint64_t replies[6];  /* by first digit of the status; 0: failures */
    uint64_t held;        /* not sent because of Retry-After */
    uint64_t throttled;   /* 429 answers */
    uint64_t tokens;      /* tokens obtained */
    uint64_t token_fails; /* failed attempts to get one */
    uint64_t connections; /* opened */
    unsigned in_flight;
    unsigned in_line;
};

void arm_stats(struct arm *arm, struct arm_stats *out);
/* Up to `cap` buckets into out; returns how many there are. */
size_t arm_buckets(struct arm *arm, struct arm_bucket *out, size_t cap);

#endif
