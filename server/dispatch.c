#include "server/dispatch.h"

#include "core/log.h"
#include "handlers/call.h"
#include "handlers/problem.h"
#include "openapi/query.h"
#include "server/fields.h"
#include "server/routes.h"
#include "server/traffic.h"

#define PREFER_WAIT_MAX_S 30

#define PRINCIPAL_MAX 64

/* Room for replies that an unusual one made larger is not kept. */
#define ROOM_MAX (16 * 1024)

/* Request fields with the caller's ids. */
#define REQUEST_ID  "x-request-id"
#define TRACEPARENT "traceparent"

/* A call and what the dispatcher keeps beside it: the exchange's work. */
struct work {
    struct buf room; /* empty; a reply is written into it */
    struct dispatch *d;
    struct http_exchange *x;
    char traceparent[TRACEPARENT_SIZE];
    char request_id[REQUEST_ID_MAX + 1];
    bool expected; /* by the store */
    struct route_match match;
    struct target target;
    struct call call; /* last, since most of it is not used */
};

/* What an answer rests on that may be given again: x->memo. */
struct memo {
    const struct route *route;
    size_t index;
    uint64_t seen; /* of the principal */
    char principal[PRINCIPAL_MAX];
    struct basis basis;
};

static struct work *work_of(struct call *c)
{
    return CONTAINER_OF(c, struct work, call);
}

/* ---- what a handler may ask of the connection ---- */

static const char *op_header(struct call *c, const char *name)
{
    return http_header(work_of(c)->x, name);
}

static void op_reply_header(struct call *c, const char *name, const char *value)
{
    http_reply_header(work_of(c)->x, name, value);
}

/* What has a body may write; until it waits itself or has its answer, the store may wait for it. */
static void expect(struct work *w, bool expected)
{
    if (w->expected != expected)
        store_expect(w->d->app->store, expected ? 1 : -1);
    w->expected = expected;
}

static void op_suspend(struct call *c)
{
    expect(work_of(c), false);
    http_suspend(work_of(c)->x);
}

static void op_resume(struct call *c)
{
    http_resume(work_of(c)->x);
}

static void op_drop_body(struct call *c, bool secret)
{
    c->raw = (struct bytes){0};
    http_drop_body(work_of(c)->x, secret);
}

static const struct call_ops ops = {.drop_body = op_drop_body,
                                    .header = op_header,
                                    .reply_header = op_reply_header,
                                    .suspend = op_suspend,
                                    .resume = op_resume};

/* ---- a call's beginning ---- */

static struct work *open_work(struct dispatch *d, struct http_exchange *x)
{
    struct work *w = x->work;
    struct call *c = &w->call;
    x->known = true;
    w->d = d;
    w->x = x;
    w->expected = false;
    w->match = (struct route_match){0};
    target_clear(&w->target);
    call_clear(c);
    c->app = d->app;
    c->ops = &ops;
    c->arena = x->arena;
    c->now = clock_wall(d->app->clock);
    c->operation = "";
    c->peer = x->peer;
    c->source = x->source;
    c->request_id = w->request_id;
    c->traceparent = w->traceparent;
    c->out = w->room;
    w->room = (struct buf){0};
    return w;
}

/* The caller's ids where there are such. */
static void take_ids(struct work *w)
{
    const char *request_id = http_header(w->x, REQUEST_ID);
    const char *traceparent = http_header(w->x, TRACEPARENT);
    if (request_id && fields_request_id_ok(request_id))
        memcpy(w->request_id, request_id, strlen(request_id) + 1);
    else
        uuid_v7(w->call.now, w->request_id);
    fields_traceparent(traceparent, w->traceparent);
}

static struct work *begin(struct dispatch *d, struct http_exchange *x)
{
    struct work *w = open_work(d, x);
    take_ids(w);
    return w;
}

/* Leaves the room of the reply, wiped. */
static void close_work(struct work *w)
{
    w->room = w->call.out;
    if (w->room.cap > ROOM_MAX)
        buf_free(&w->room);
    buf_reset(&w->room);
}

static void free_work(void *work)
{
    buf_free(&((struct work *)work)->room);
}

static void give_ids(struct work *w)
{
    http_reply_id(w->x, "X-Request-Id", w->request_id);
    http_reply_id(w->x, "traceparent", w->traceparent);
}

/* What every reply carries, once the handler has decided on its status. */
static int answer(struct work *w, int status)
{
    struct http_exchange *x = w->x;
    struct call *c = &w->call;
    if (status == CALL_PENDING)
        return HTTP_PENDING;
    x->out = &c->out;
    x->stream = c->stream;
    x->content_type = c->content_type ? c->content_type : "application/json";
    give_ids(w);
    return status;
}

static int fail(struct work *w)
{
    return answer(w, call_fail(&w->call));
}

/* ---- the checks, in the order in which they may tell something ---- */

static enum err check_route(struct work *w)
{
    struct http_exchange *x = w->x;
    struct err_info *e = &w->call.err;
    enum err err = target_parse(x->target, w->call.arena, &w->target, e);
    if (err)
        return err;
    routes_match(w->d->routes, x->head.method, &w->target, &w->match);
    if (!w->match.path_found)
        return err_set(e, ERR_NOT_FOUND, "there is nothing at this path");
    if (!w->match.route) {
        http_reply_header(x, "Allow", w->match.allow);
        return err_set(e, ERR_METHOD_NOT_ALLOWED, "this path allows %s", w->match.allow);
    }
    w->call.operation = w->match.route->operation;
    for (size_t i = 0; i < w->match.n_params; i++)
        w->call.params[i] = w->match.params[i];
    return OK;
}

static enum err check_rate(struct work *w, struct limiter *limiter, const char *what,
                           const char *key)
{
    int retry_after = 0;
    if (limiter_take(limiter, key, clock_mono(w->d->app->clock), &retry_after))
        return OK;
    err_set(&w->call.err, ERR_RATE_LIMITED, "too many requests; slow down");
    w->call.err.retry_after = retry_after;
    http_reply_header(w->x, "RateLimit", call_rate_limit(&w->call, what));
    return ERR_RATE_LIMITED;
}

static enum err check_caller(struct work *w)
{
    const struct route *r = w->match.route;
    struct call *c = &w->call;
    if (r->role == ROUTE_NONE)
        return OK;
    enum err err = auth_authenticate(w->d->auth, http_header(w->x, "authorization"), c->arena,
                                     &c->who, &c->err);
    if (err == ERR_UNAUTHENTICATED && check_rate(w, w->d->by_peer, "address", w->x->source))
        return ERR_RATE_LIMITED;
    if (err)
        return err;
    err = check_rate(w, w->d->by_principal, "principal", c->who->id);
    if (err)
        return err;
    /* ROUTE_READER is 1, ROLE_READER is 0; both rise in the same order. */
    if ((int)c->who->role + 1 < (int)r->role)
        return err_set(&c->err, ERR_FORBIDDEN, "the role %s does not allow this",
                       role_text(c->who->role));
    err = routes_check_params(&w->match, &c->err);
    if (err)
        return err;
    const char *scope = routes_scope(&w->match, c->arena);
    if (scope && !scope_covers(c->who->scope, scope))
        return err_set(&c->err, ERR_FORBIDDEN, "the credential's scope does not cover this path");
    return OK;
}

static enum err check_accept(struct work *w)
{
    const char *accept = http_header(w->x, "accept");
    for (const char *const *media = w->match.route->produces; *media; media++)
        if (fields_accepts(accept, *media))
            return OK;
    return err_set(&w->call.err, ERR_NOT_ACCEPTABLE, "this resource is available as %s",
                   w->match.route->produces[0]);
}

static enum err check_query(struct work *w)
{
    const struct schema *s = w->match.route->query;
    void *query = s ? arena_alloc(w->call.arena, s->size) : NULL;
    w->call.query = query;
    return query_decode(w->target.query, w->target.n_query, s, w->call.arena, query, &w->call.err);
}

static enum err check_fields(struct work *w)
{
    struct call *c = &w->call;
    const char *key = http_header(w->x, "idempotency-key");
    c->prefer_wait_s = fields_prefer_wait(http_header(w->x, "prefer"), PREFER_WAIT_MAX_S);
    if (!key || !(w->match.route->flags & ROUTE_IDEMPOTENT))
        return OK;
    c->idempotency_key = fields_idempotency_key(key, c->arena);
    if (!c->idempotency_key)
        return err_set(&c->err, ERR_BAD_REQUEST,
                       "Idempotency-Key must be a string of 1 to 255 characters");
    return OK;
}

static bool has_body(const struct http_exchange *x)
{
    return x->head.chunked || x->head.length > 0;
}

static enum err check_media(struct work *w)
{
    const struct route *r = w->match.route;
    struct call *c = &w->call;
    const char *type = http_header(w->x, "content-type");
    const char *coding = http_header(w->x, "content-encoding");
    if (r->accepts == 0) {
        if (has_body(w->x))
            return err_set(&c->err, ERR_BAD_REQUEST, "this operation takes no body");
        return OK;
    }
    if (r->flags & ROUTE_BODY_OPTIONAL && !has_body(w->x))
        return OK; /* whatever type a client names for the body that it does not send */
    if (coding)
        return err_set(&c->err, ERR_UNSUPPORTED_MEDIA_TYPE, "a body must not be encoded (%s)",
                       coding);
    if (type && r->accepts & ROUTE_BODY_JSON && fields_media_is(type, "application/json"))
        c->media = MEDIA_JSON;
    else if (type && r->accepts & ROUTE_BODY_CBOR && strcmp(type, "application/cbor") == 0)
        c->media = MEDIA_CBOR;
    else if (type || has_body(w->x))
        return err_set(&c->err, ERR_UNSUPPORTED_MEDIA_TYPE, "the body must be application/json%s",
                       r->accepts & ROUTE_BODY_CBOR ? " or application/cbor" : "");
    return OK;
}

/* ---- the exchange ---- */

static int on_head(void *ctx, struct http_exchange *x)
{
    struct work *w = begin(ctx, x);
    enum err err = check_route(w);
    /* RFC 9110 section 9.3.7. It says what a 405 says to anybody. */
    if (err == ERR_METHOD_NOT_ALLOWED && strcmp(x->head.method, "OPTIONS") == 0) {
        err_clear(&w->call.err);
        return answer(w, 204);
    }
    if (err || check_caller(w))
        return fail(w);
    const struct route *r = w->match.route;
    if ((r->role == ROUTE_NONE && routes_check_params(&w->match, &w->call.err)) ||
        check_accept(w) || check_query(w) || check_fields(w) || check_media(w))
        return fail(w);
    x->max_body = r->accepts ? r->max_body : 0;
    expect(w, r->accepts != 0);
    if (x->head.length && x->head.length <= x->max_body)
        http_reserve_body(x, x->head.length);
    return HTTP_GO_ON;
}

static int run(struct work *w)
{
    struct http_exchange *x = w->x;
    struct call *c = &w->call;
    const struct route *r = w->match.route;
    /* Again: what had not expired when the head came may have while the body did. */
    if (has_body(x))
        c->now = clock_wall(w->d->app->clock);
    c->raw = buf_bytes(&x->body);
    if (r->body && (c->raw.len || !(r->flags & ROUTE_BODY_OPTIONAL))) {
        void *body = arena_alloc(c->arena, r->body->size);
        if (json_decode_text(c->raw, r->body, c->arena, body, &c->err))
            return fail(w);
        c->body = body;
    }
    return answer(w, r->handler(c));
}

static int on_body(void *ctx, struct http_exchange *x)
{
    int status = run(x->work);
    expect(x->work, false);
    return status;
}

static int on_resumed(void *ctx, struct http_exchange *x)
{
    struct work *w = x->work;
    return answer(w, w->call.then(&w->call));
}

static int on_refused(void *ctx, struct http_exchange *x, const struct err_info *why)
{
    struct work *w = x->known ? x->work : begin(ctx, x);
    w->call.err = *why;
    return fail(w);
}

/* An answer to a GET. */
static bool on_remember(void *ctx, const struct http_exchange *x, void *memo)
{
    const struct work *w = x->work;
    const struct principal *who = w->call.who;
    struct memo *m = memo;
    if (!w->call.basis.vm || !who || !who->seen || strcmp(x->head.method, "GET") != 0 ||
        strlen(who->id) >= sizeof m->principal || strcmp(x->target, w->target.path) != 0)
        return false;
    *m = (struct memo){.route = w->match.route,
                       .index = w->match.index,
                       .seen = who->seen,
                       .basis = w->call.basis};
    memcpy(m->principal, who->id, strlen(who->id) + 1);
    return true;
}

/* What is not well-formed may be refused for that; what a later version of traceparent adds may have
 * anything in it. */
static bool ids_plain(const struct http_exchange *x)
{
    const char *request_id = http_header(x, REQUEST_ID), *traceparent = http_header(x, TRACEPARENT);
    return (!request_id || fields_request_id_ok(request_id)) &&
           (!traceparent ||
            (fields_traceparent_ok(traceparent) && strlen(traceparent) == TRACEPARENT_SIZE - 1));
}

/* The same head again: what was found in it is so still. What else the answer rests on is looked at. */
static bool on_again(void *ctx, struct http_exchange *x, const void *memo)
{
    struct dispatch *d = ctx;
    const struct memo *m = memo;
    int64_t now = clock_wall(d->app->clock);
    if (!ids_plain(x) || !basis_stands(d->app, &m->basis, now) || !auth_stands(d->auth, m->seen) ||
        !limiter_take(d->by_principal, m->principal, clock_mono(d->app->clock), NULL))
        return false;
    struct work *w = open_work(d, x);
    struct principal *who = ARENA_NEW(x->arena, struct principal);
    who->id = arena_strdup(x->arena, m->principal);
    w->call.who = who;
    w->call.operation = m->route->operation;
    w->match.route = m->route;
    w->match.index = m->index;
    w->target.path = x->target;
    x->head.method = "GET";
    take_ids(w);
    give_ids(w);
    return true;
}

/* Status 0: the client was gone before there was an answer. Paths hold no secrets; queries and
 * header fields might, so they are not logged. */
static void on_done(void *ctx, struct http_exchange *x)
{
    struct work *w = x->work;
    struct call *c = &w->call;
    int64_t ms = x->ended - x->started;
    traffic_count(w->d->traffic, &(struct traffic_request){.method = x->head.method,
                                                           .route = w->match.route,
                                                           .index = w->match.index,
                                                           .status = x->status,
                                                           .code = c->err.code,
                                                           .ms = ms});
    expect(w, false);
    log_info("request", LOG_S("requestId", w->request_id), LOG_S("traceId", call_trace_id(c)),
             LOG_S("method", x->head.method), LOG_S("path", w->target.path),
             LOG_S("operation", c->operation), LOG_I("status", x->status),
             LOG_S("code", c->err.code ? err_code(c->err.code) : ""), LOG_I("durationMs", ms),
             LOG_S("principal", c->who ? c->who->id : ""), LOG_S("peer", x->peer));
    if (x->status >= 500)
        log_error("request failed", LOG_S("requestId", w->request_id),
                  LOG_S("detail", c->err.detail));
    close_work(w);
}

static enum err code_of(int status)
{
    switch (status) {
    case 413:
        return ERR_BODY_TOO_LARGE;
    case 414:
        return ERR_URI_TOO_LONG;
    case 431:
        return ERR_HEADERS_TOO_LARGE;
    case 500:
        return ERR_INTERNAL;
    case 503:
        return ERR_UNAVAILABLE;
    default:
        return ERR_BAD_REQUEST;
    }
}

static void on_unparsed(void *ctx, int status, const char *peer, struct buf *out,
                        char request_id[HTTP_REQUEST_ID_SIZE])
{
    struct dispatch *d = ctx;
    struct err_info why;
    char traceparent[TRACEPARENT_SIZE], *trace_id = traceparent + 3;
    uuid_v7(clock_wall(d->app->clock), request_id);
    fields_traceparent(NULL, traceparent);
    trace_id[32] = 0;
    err_set(&why, code_of(status), "the request is not well-formed HTTP/1.1");
    problem_write(out, &why, request_id, trace_id);
    traffic_count_unparsed(d->traffic);
    log_info("request not parsed", LOG_S("requestId", request_id), LOG_S("traceId", trace_id),
             LOG_I("status", status), LOG_S("peer", peer));
}

struct http_handler dispatch_handler(struct dispatch *d)
{
    return (struct http_handler){.ctx = d,
                                 .work_size = sizeof(struct work),
                                 .work_free = free_work,
                                 .memo_size = sizeof(struct memo),
                                 .ids = {REQUEST_ID, TRACEPARENT},
                                 .remember = on_remember,
                                 .again = on_again,
                                 .head = on_head,
                                 .body = on_body,
                                 .resumed = on_resumed,
                                 .refused = on_refused,
                                 .done = on_done,
                                 .unparsed = on_unparsed};
}
