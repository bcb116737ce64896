/*
 * A call: one HTTP request on its way through a handler.
 *
 * The dispatcher (server/) has already matched the route, authenticated and authorised the caller,
 * checked path and query parameters, limits and media type, and decoded the body with the schema of
 * the contract. A handler is `int operation_id(struct call *c)`: it returns the HTTP status, and no
 * path can forget to. It never blocks and never calls the network:
 *
 *     int get_job(struct call *c)
 *     {
 *         struct job job;
 *         if (store_get_job(c->app->store, c->arena, c->params[0], &job, &c->err))
 *             return call_fail(c);
 *         write_job(call_json(c), &job);
 *         return 200;
 *     }
 *
 * To wait (a commit, a query, a job's end) it hands call_wait(c, then) to whoever will finish, and
 * returns CALL_PENDING; `then` runs on a server thread once call_resume(c) was called, from any
 * thread. Exactly one call_resume answers one call_wait; it may come before CALL_PENDING is
 * returned.
 *
 * Memory: everything hangs on c->arena or c->out, both freed when the reply is sent. One thread at
 * a time works on a call.
 */
#ifndef HANDLERS_CALL_H
#define HANDLERS_CALL_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "db/store.h"
#include "handlers/app.h"
#include "handlers/basis.h"

#define CALL_PENDING    0
#define CALL_PARAMS_MAX 8

enum media { MEDIA_NONE, MEDIA_JSON, MEDIA_CBOR };

struct call;
struct principal;
struct stream;

typedef int call_fn(struct call *c);

/* What the server does for a call; the handlers' only way to the connection. */
struct call_ops {
    const char *(*header)(struct call *c, const char *name); /* request header or NULL */
    void (*reply_header)(struct call *c, const char *name, const char *value);
    /* Nothing points into c->raw any more; it is wiped where it may hold a secret. */
    void (*drop_body)(struct call *c, bool secret);
    void (*suspend)(struct call *c);
    void (*resume)(struct call *c);
};

struct call {
    const struct app *app;
    const struct call_ops *ops;
    struct arena *arena;
    int64_t now; /* wall clock, ms, when the request was complete */

    const char *operation;               /* operationId */
    const char *params[CALL_PARAMS_MAX]; /* path parameters in the order of the path, decoded */
    const void *query;                   /* struct <operation>_query of the contract, or NULL */
    const void *body;                    /* struct of the body's schema, or NULL */
    struct bytes raw;                    /* the body as it came (routes with x-raw-body) */
    enum media media;

    const struct principal *who; /* NULL where the route takes no credential */
    const char *peer;            /* address of the client, without port */
    const char *source;          /* the same, or the /64 around it: whom limits count */
    const char *request_id;
    const char *traceparent;     /* W3C, always valid: the caller's or a new one */
    const char *idempotency_key; /* NULL where absent */
    int prefer_wait_s;           /* Prefer: wait=N, 0 where absent */

    struct buf out; /* the reply's body */
    struct jw jw;
    const char *content_type; /* default application/json */
    struct stream *stream;    /* set by call_stream */
    struct basis basis;       /* of the answer to a GET; where it is set, it may be given again */

    call_fn *then; /* set by call_wait */
    void *state;   /* the handler's own between waits, in the arena */

    struct err_info err;
    struct store_done done; /* completion of this call's commit, see call_commit */
};

/* Zeros, but for what means nothing then: the fields of an error that there is not, the completion
 * of a commit that was not asked for. Together they are ten times as large as the rest. */
static inline void call_clear(struct call *c)
{
    memset(c, 0, offsetof(struct call, err) + offsetof(struct err_info, fields));
}

/* A JSON writer over an empty reply body. */
struct jw *call_json(struct call *c);
/* RateLimit of c->err, a limit that was hit: none remains until Retry-After
 * (draft-ietf-httpapi-ratelimit-headers-11 section 4). */
const char *call_rate_limit(struct call *c, const char *what);
/* problem+json from c->err; returns its status. */
int call_fail(struct call *c);
/* The same left open, for members of its own: add them, jw_close('}') and return the status. */
struct jw *call_problem(struct call *c);
/* err_set on c->err and call_fail. */
int call_refuse(struct call *c, enum err code, const char *fmt, ...) PRINTF(3, 4);
/* Arrange for `then` after call_resume(c). Suspends the connection first. */
void call_wait(struct call *c, call_fn *then);
void call_resume(struct call *c);
/* call_wait and a completion for one store write: store_x(..., call_commit(c, then)). When `then`
 * runs, c->done.err holds the outcome and, where that is an error, c->err the reason. */
struct store_done *call_commit(struct call *c, call_fn *then);
/* 202 with the job as body, Location, Operation-Location and Retry-After. */
int call_accepted(struct call *c, const struct job *job);
/* Sets ETag; where If-None-Match names it, drops the body and returns 304, else returns 200.
 * `etag` is the opaque part, without quotes. */
int call_etag(struct call *c, const char *etag);
/* The same as a weak ETag: bodies that say the same differ in bytes (a fresh signature). */
int call_etag_weak(struct call *c, const char *etag);
/* Strong ETag of the body; anybody's cache may keep it for that long. */
int call_etag_public(struct call *c, int seconds);
/* Strong ETag of the body that was written. */
int call_etag_of_body(struct call *c);
/* The opaque part of If-Match, in the arena; NULL where there is none. One strong tag: "*" and lists are
 * refused (ERR_BAD_REQUEST), nobody needs them here. */
enum err call_if_match(struct call *c, const char **etag) MUST_CHECK;

/* The 32 hex digits of traceparent, in the arena. */
const char *call_trace_id(const struct call *c);
/* The audit row of what this call does. */
struct audit call_audit(const struct call *c, const char *action, const char *resource_id);
/* The caller's scope; NULL where the route takes no credential. */
const char *call_scope(const struct call *c);

/*
 * A stream (server-sent events): the body is produced piece by piece. `next` adds what there is to
 * `out` and says how to go on; with STREAM_WAIT the server calls again after stream_wake, or after
 * heartbeat_ms with heartbeat set.
 */
enum stream_next { STREAM_MORE, STREAM_WAIT, STREAM_END };
struct stream {
    enum stream_next (*next)(struct stream *s, struct buf *out, bool heartbeat);
    void (*done)(struct stream *s); /* the connection is gone; frees what is not the arena's */
    int64_t heartbeat_ms;
    void *server; /* the server's own */
};
/* Answer 200 with the stream, which lives in c->arena until `done` has returned. */
int call_stream(struct call *c, struct stream *s, const char *content_type);
/* From any thread, between call_stream and `done`. */
void stream_wake(struct stream *s);

#endif
