#include "arm/arm.h"

#include "arm/config.h"
#include "arm/header.h"
#include "arm/http.h"
#include "arm/identity.h"
#include "arm/request.h"
#include "arm/throttle.h"
#include "core/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>

#define SWEEP_MS      250  /* how exactly the time of a waiting request is watched */
#define LINE_LOOK     512  /* so many may be passed over in one look along the line */
#define LINE_RETRY_MS 1000 /* told to who did not get through the line in time */

struct call {
    struct arm_http_call http;
    struct call *next;
    struct arm *arm;
    struct arena *arena; /* holds the call and its copy of the request */
    struct identity *identity;
    struct arm_request req;
    const char *url;
    arm_done_fn *done;
    void *ctx;
    int64_t started; /* mono */
    int64_t deadline;
    uint64_t ticket;     /* of its turn in the bucket */
    unsigned generation; /* of the token it was sent with */
    bool repeated;       /* after a 401 */
};

struct call_list {
    struct call *head;
    struct call *tail;
    unsigned n;
};

struct identity {
    struct arm_identity_token token;
    struct call_list waiting; /* for the token */
};

struct arm {
    struct arena *arena;
    struct arm_config cfg;
    struct arm_throttle *throttle;
    pthread_t thread;

    pthread_mutex_t lock; /* of the next four */
    struct call_list inbox;
    bool stopping;
    struct arm_stats published;
    bool waking; /* a wake is on its way */

    /* The thread's own. */
    struct arm_http *http;
    struct identity *identities;
    struct call_list line; /* may go as soon as there is room */
    unsigned in_flight;
    int64_t swept;
    struct arm_stats stats;
};

static void list_push(struct call_list *l, struct call *c)
{
    c->next = NULL;
    if (l->tail)
        l->tail->next = c;
    else
        l->head = c;
    l->tail = c;
    l->n++;
}

static struct call *list_pop(struct call_list *l)
{
    struct call *c = l->head;
    if (!c)
        return NULL;
    l->head = c->next;
    if (!l->head)
        l->tail = NULL;
    l->n--;
    return c;
}

/* Everything of `from` behind what `l` has. */
static void list_append(struct call_list *l, struct call_list *from)
{
    if (!from->head)
        return;
    if (l->tail)
        l->tail->next = from->head;
    else
        l->head = from->head;
    l->tail = from->tail;
    l->n += from->n;
    *from = (struct call_list){0};
}

/* ---- the end of a request ---- */

static void finish(struct call *c, struct arm_reply *r)
{
    struct arm *arm = c->arm;
    arm_done_fn *done = c->done;
    void *ctx = c->ctx;
    int digit = r->status / 100;
    r->duration_ms = clock_mono(arm->cfg.clock) - c->started;
    arm->stats.replies[digit >= 1 && digit <= 5 ? digit : 0]++;
    arena_free(c->arena);
    done(ctx, r);
}

PRINTF(4, 5)
static void fail(struct call *c, enum arm_failure why, int64_t retry_after_ms, const char *fmt, ...)
{
    struct arm_reply *r = arm_reply_new();
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->detail, sizeof r->detail, fmt, ap);
    va_end(ap);
    r->failure = why;
    r->retry_after_ms = retry_after_ms;
    finish(c, r);
}

/* Without a token: the reason is the identity's. */
static void fail_token(struct call *c, int64_t retry_after_ms)
{
    const struct err_info *e = &c->identity->token.error;
    bool retry = e->code == OK || e->code == ERR_UPSTREAM;
    struct arm_reply *r = arm_reply_new();
    r->failure = retry ? ARM_FAIL_TOKEN_RETRY : ARM_FAIL_TOKEN;
    r->retry_after_ms = retry_after_ms;
    snprintf(r->detail, sizeof r->detail, "%s", e->code == OK ? "no token in time" : e->detail);
    memcpy(r->failure_code, e->upstream_code, sizeof r->failure_code);
    finish(c, r);
}

/* ---- the way of a request: inbox, line, (token), transfer ---- */

/* Tests kill the process here, or take the answer away: ARM has done it and nobody knows. */
static void pass_faults(struct arm_reply *r)
{
    if (!FAULT_POINT("arm.send.after") && !FAULT_POINT("arm.reply.after"))
        return;
    arm_header_reset(r);
    r->failure = ARM_FAIL_BROKEN;
}

static void answered(struct arm_http_call *http)
{
    struct call *c = CONTAINER_OF(http, struct call, http);
    struct arm *arm = c->arm;
    struct arm_reply *r = http->reply;
    pass_faults(r);
    arm->in_flight--;
    arm_throttle_note(arm->throttle, c->req.subscription, arm_op_of(c->req.method), c->ticket, r);
    if (r->status == 429)
        arm->stats.throttled++;
    if (r->status == 401 && !c->repeated) {
        c->repeated = true;
        arm_identity_drop(&c->identity->token, c->generation);
        arm_reply_free(r);
        list_push(&arm->line, c);
        return;
    }
    finish(c, r);
}

static void transfer(struct call *c, const char *bearer, int64_t now)
{
    const struct arm_request *q = &c->req;
    c->arm->in_flight++;
    if (FAULT_POINT("arm.send.before")) {
        c->http.reply = arm_reply_new();
        c->http.reply->failure = ARM_FAIL_CONNECT;
        answered(&c->http);
        return;
    }
    c->generation = c->identity->token.generation;
    c->http = (struct arm_http_call){
        .method = q->method,
        .url = c->url,
        .body = q->body,
        .timeout_ms = c->deadline - now,
        .done = answered,
    };
    arm_http_header(c->arm->http, &c->http, "Authorization", bearer);
    arm_request_headers(c->arm->http, &c->http, q);
    arm_http_start(c->arm->http, &c->http);
}

static void fail_held(struct call *c)
{
    struct arm *arm = c->arm;
    const char *subscription = c->req.subscription;
    int64_t wait = arm_throttle_wait(arm->throttle, subscription, arm_op_of(c->req.method));
    arm->stats.held++;
    fail(c, ARM_FAIL_HELD, wait, "held back: Azure throttles this subscription");
}

/* One step on: to the transfer, to those who wait for the token, or to its end. False: it has to
 * stay in the line. */
static bool proceed(struct call *c)
{
    struct arm *arm = c->arm;
    int64_t now = clock_mono(arm->cfg.clock);
    int64_t retry_ms = -1;
    if (now >= c->deadline) {
        fail(c, ARM_FAIL_HELD, LINE_RETRY_MS, "held back: too many requests wait");
        return true;
    }
    const char *bearer = arm_identity_bearer(&c->identity->token);
    if (!bearer && arm_identity_hopeless(&c->identity->token, &retry_ms)) {
        fail_token(c, retry_ms);
        return true;
    }
    if (!bearer) {
        list_push(&c->identity->waiting, c);
        return true;
    }
    switch (arm_throttle_turn(arm->throttle, c->req.subscription, arm_op_of(c->req.method),
                              &c->ticket)) {
    case ARM_TURN_GO:
        transfer(c, bearer, now);
        return true;
    case ARM_TURN_HELD:
        fail_held(c);
        return true;
    case ARM_TURN_LATER:
        break;
    }
    return false;
}

/* Who has to wait for the replies of its own bucket lets the others pass. */
static void dispatch(struct arm *arm)
{
    struct call_list stay = {0};
    struct call *c;
    while (arm->in_flight < arm->cfg.max_in_flight && stay.n < LINE_LOOK &&
           (c = list_pop(&arm->line)))
        if (!proceed(c))
            list_push(&stay, c);
    list_append(&stay, &arm->line);
    arm->line = stay;
}

static void token_changed(struct arm_identity_token *t)
{
    struct identity *id = CONTAINER_OF(t, struct identity, token);
    struct arm *arm = t->ctx;
    struct call *c;
    int64_t retry_ms;
    if (t->error.code == OK) {
        list_append(&arm->line, &id->waiting);
        return;
    }
    if (!arm_identity_hopeless(t, &retry_ms))
        return;
    while ((c = list_pop(&id->waiting)))
        fail_token(c, retry_ms);
}

/* Requests whose time ended while they waited. */
static void sweep_list(struct call_list *l, int64_t now, bool for_token)
{
    struct call_list rest = {0};
    struct call *c;
    while ((c = list_pop(l))) {
        if (now < c->deadline)
            list_push(&rest, c);
        else if (for_token)
            fail_token(c, -1);
        else
            fail(c, ARM_FAIL_HELD, LINE_RETRY_MS, "held back: too many requests wait");
    }
    *l = rest;
}

static void sweep(struct arm *arm, int64_t now)
{
    if (now - arm->swept < SWEEP_MS)
        return;
    arm->swept = now;
    sweep_list(&arm->line, now, false);
    for (size_t i = 0; i < arm->cfg.n_identities; i++)
        sweep_list(&arm->identities[i].waiting, now, true);
}

/* ---- admission ---- */

static void admit(struct call *c)
{
    struct arm *arm = c->arm;
    const char *why = NULL;
    int i = arm_config_identity(&arm->cfg, c->req.subscription);
    if (i < 0) {
        fail(c, ARM_FAIL_REFUSED, -1, "no identity is configured for the subscription");
        return;
    }
    c->identity = &arm->identities[i];
    c->url = arm_request_url(c->arena, c->identity->token.cfg->endpoint, &c->req, &why);
    if (c->url)
        list_push(&arm->line, c);
    else
        fail(c, ARM_FAIL_REFUSED, -1, "%s", why);
}

static bool take_inbox(struct arm *arm, struct call_list *out)
{
    pthread_mutex_lock(&arm->lock);
    *out = arm->inbox;
    arm->inbox = (struct call_list){0};
    arm->waking = false;
    bool stopping = arm->stopping;
    pthread_mutex_unlock(&arm->lock);
    return !stopping;
}

static unsigned waiting(const struct arm *arm)
{
    unsigned n = arm->line.n;
    for (size_t i = 0; i < arm->cfg.n_identities; i++)
        n += arm->identities[i].waiting.n;
    return n;
}

static void publish_stats(struct arm *arm)
{
    struct arm_stats *s = &arm->stats;
    s->in_flight = arm->in_flight;
    s->in_line = waiting(arm);
    s->connections = arm_http_connections(arm->http);
    s->tokens = s->token_fails = 0;
    for (size_t i = 0; i < arm->cfg.n_identities; i++) {
        s->tokens += arm->identities[i].token.fetched;
        s->token_fails += arm->identities[i].token.failed;
    }
    pthread_mutex_lock(&arm->lock);
    arm->published = *s;
    pthread_mutex_unlock(&arm->lock);
}

static int64_t next_due(const struct arm *arm, int64_t now)
{
    int64_t due = now + 60000;
    for (size_t i = 0; i < arm->cfg.n_identities; i++) {
        const struct identity *id = &arm->identities[i];
        int64_t at = arm_identity_due(&id->token, id->waiting.n > 0);
        if (at < due)
            due = at;
    }
    if (waiting(arm) && arm->swept + SWEEP_MS < due)
        due = arm->swept + SWEEP_MS;
    return due;
}

static void turn(struct arm *arm, struct call_list *in)
{
    struct call *c;
    while ((c = list_pop(in)))
        admit(c);
    sweep(arm, clock_mono(arm->cfg.clock));
    dispatch(arm);
    for (size_t i = 0; i < arm->cfg.n_identities; i++)
        arm_identity_tick(&arm->identities[i].token, arm->identities[i].waiting.n > 0);
    publish_stats(arm);
    arm_http_turn(arm->http, next_due(arm, clock_mono(arm->cfg.clock)));
    dispatch(arm);
}

static void stop_list(struct call_list *l)
{
    struct call *c;
    while ((c = list_pop(l)))
        fail(c, ARM_FAIL_STOPPED, -1, "the client was stopped");
}

/* A `done` may send again: the inbox is emptied until nobody does. */
static void stop_all(struct arm *arm, struct call_list *in)
{
    arm_http_abort(arm->http);
    stop_list(in);
    do {
        stop_list(&arm->line);
        for (size_t i = 0; i < arm->cfg.n_identities; i++)
            stop_list(&arm->identities[i].waiting);
        take_inbox(arm, &arm->line);
    } while (arm->line.n);
}

static void *run(void *ctx)
{
    struct arm *arm = ctx;
    struct call_list in;
    while (take_inbox(arm, &in))
        turn(arm, &in);
    stop_all(arm, &in);
    return NULL;
}

/* ---- the contract ---- */

static enum err start_thread(struct arm *arm, struct err_info *e)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&arm->thread, NULL, run, arm);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_set(e, ERR_INTERNAL, "cannot start the ARM client: %s", strerrordesc_np(rc));
    pthread_setname_np(arm->thread, "arm");
    return OK;
}

static void release(struct arm *arm)
{
    for (size_t i = 0; arm->identities && i < arm->cfg.n_identities; i++)
        arm_identity_wipe(&arm->identities[i].token);
    if (arm->http)
        arm_http_free(arm->http);
    arm_throttle_free(arm->throttle);
    pthread_mutex_destroy(&arm->lock);
    arena_free(arm->arena);
}

static enum err set_up(struct arm *arm, const struct arm_config *cfg, struct err_info *e)
{
    enum err rc = arm_config_copy(arm->arena, cfg, &arm->cfg, e);
    if (rc != OK)
        return rc;
    const struct arm_http_config http = {
        .ca_file = arm->cfg.ca_file,
        .proxy = arm->cfg.proxy,
        .user_agent = arm->cfg.user_agent,
        .connect_timeout_ms = arm->cfg.connect_timeout_ms,
        .clock = arm->cfg.clock,
    };
    rc = arm_http_new(&http, &arm->http, e);
    if (rc != OK)
        return rc;
    arm->throttle = arm_throttle_new(arm->cfg.clock);
    arm->identities = arena_array(arm->arena, arm->cfg.n_identities, sizeof *arm->identities);
    for (size_t i = 0; i < arm->cfg.n_identities; i++) {
        struct arm_identity_token *t = &arm->identities[i].token;
        arm_identity_init(t, &arm->cfg.identities[i], arm->cfg.imds_endpoint, arm->http,
                          arm->cfg.clock);
        t->changed = token_changed;
        t->ctx = arm;
    }
    return start_thread(arm, e);
}

enum err arm_start(const struct arm_config *cfg, struct arm **out, struct err_info *e)
{
    struct arena *a = arena_new();
    struct arm *arm = ARENA_NEW(a, struct arm);
    arm->arena = a;
    pthread_mutex_init(&arm->lock, NULL);
    enum err rc = set_up(arm, cfg, e);
    if (rc != OK) {
        release(arm);
        return rc;
    }
    *out = arm;
    return OK;
}

void arm_stop(struct arm *arm)
{
    if (!arm)
        return;
    pthread_mutex_lock(&arm->lock);
    arm->stopping = true;
    pthread_mutex_unlock(&arm->lock);
    arm_http_wake(arm->http);
    pthread_join(arm->thread, NULL);
    release(arm);
}

void arm_send(struct arm *arm, const struct arm_request *req, arm_done_fn *done, void *ctx)
{
    struct arena *a = arena_new();
    struct call *c = ARENA_NEW(a, struct call);
    c->arm = arm;
    c->arena = a;
    c->req = arm_request_copy(a, req);
    c->done = done;
    c->ctx = ctx;
    c->started = clock_mono(arm->cfg.clock);
    c->deadline = c->started + (req->timeout_ms > 0 ? req->timeout_ms : arm->cfg.timeout_ms);
    pthread_mutex_lock(&arm->lock);
    list_push(&arm->inbox, c);
    bool wake = !arm->waking;
    arm->waking = true;
    pthread_mutex_unlock(&arm->lock);
    if (wake)
        arm_http_wake(arm->http);
}

const char *arm_endpoint(const struct arm *arm, const char *subscription)
{
    int i = arm_config_identity(&arm->cfg, subscription);
    return i < 0 ? NULL : arm->cfg.identities[i].endpoint;
}

int64_t arm_not_before(struct arm *arm, const char *subscription, enum arm_op op)
{
    int64_t wait = arm_throttle_wait(arm->throttle, subscription, op);
    return wait ? clock_wall(arm->cfg.clock) + wait : 0;
}

void arm_stats(struct arm *arm, struct arm_stats *out)
{
    pthread_mutex_lock(&arm->lock);
    *out = arm->published;
    pthread_mutex_unlock(&arm->lock);
}

size_t arm_buckets(struct arm *arm, struct arm_bucket *out, size_t cap)
{
    return arm_throttle_list(arm->throttle, out, cap);
}
