/*
 * HTTP transfers: one curl multi on epoll, driven by one thread. Inside arm/ only.
 *
 * Everything except arm_http_wake is for that thread. Connections are kept and reused; easy handles
 * come from a pool. HTTP/1.1 only: some tens of connections outrun ARM's quotas by far, and libcurl
 * 7.88's HTTP/2 would only add state that one broken stream shares with all others.
 */
#ifndef ARM_HTTP_H
#define ARM_HTTP_H

#include "arm/reply.h"
#include "core/clock.h"

struct arm_http;
struct arm_http_call;

typedef void arm_http_done_fn(struct arm_http_call *call);

struct arm_http_config {
    const char *ca_file; /* as in struct arm_config; strings outlive the client */
    const char *proxy;
    const char *user_agent;
    int64_t connect_timeout_ms;
    const struct clock *clock;
};

/* One transfer: the caller fills the first part and keeps all of it until `done`. */
struct arm_http_call {
    enum arm_method method;
    const char *url;   /* checked by the caller */
    struct bytes body; /* sent with PUT, PATCH and POST */
    int64_t timeout_ms;
    bool plain;          /* http:// is allowed */
    bool direct;         /* never through a proxy (IMDS) */
    bool poll;           /* a GET that comes again and again: see arm/wire.h */
    const char *ca_file; /* NULL: the client's */
    size_t body_max;     /* of the answer; 0: ARM_BODY_MAX */
    arm_http_done_fn *done;
    struct arm_reply *reply; /* set before `done`, which owns it */
    void (*sent)(void);      /* NULL, or a fault point: the last byte of the request has left */

    struct arm_http_inner *inner; /* private, either */
    struct arm_wire_call *wire;
};

enum err arm_http_new(const struct arm_http_config *cfg, struct arm_http **out,
                      struct err_info *e) MUST_CHECK;
void arm_http_free(struct arm_http *h); /* no transfer may be open */

/* Adds a header to a call that is not started yet; secrets in it are wiped with the call. */
void arm_http_header(struct arm_http *h, struct arm_http_call *c, const char *name,
                     const char *value);
/* Starts it; done is called later, from arm_http_turn or arm_http_abort. */
void arm_http_start(struct arm_http *h, struct arm_http_call *c);
/* Waits for sockets, a wake or `until` (mono ms), does what there is to do, calls `done`s. */
void arm_http_turn(struct arm_http *h, int64_t until);
/* Ends every open transfer with ARM_FAIL_STOPPED. */
void arm_http_abort(struct arm_http *h);
/* Ends the wait of arm_http_turn; any thread. */
void arm_http_wake(struct arm_http *h);
/* Connections opened so far. */
uint64_t arm_http_connections(const struct arm_http *h);

#endif
