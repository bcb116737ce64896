#include "arm/client.h"

#include "arm/config.h"
#include "arm/header.h"
#include "arm/request.h"
#include "arm/url.h"
#include "core/fault.h"

#include <stdarg.h>

#define SWEEP_MS      250  /* how exactly the time of a waiting request is watched */
#define LINE_LOOK     512  /* so many may be passed over in one look along the line */
#define LINE_RETRY_MS 1000 /* told to who did not get through the line in time */

void arm_call_push(struct arm_call_list *l, struct arm_call *c)
{
    c->next = NULL;
    if (l->tail)
        l->tail->next = c;
    else
        l->head = c;
    l->tail = c;
    l->n++;
}

static struct arm_call *list_pop(struct arm_call_list *l)
{
    struct arm_call *c = l->head;
    if (!c)
        return NULL;
    l->head = c->next;
    if (!l->head)
        l->tail = NULL;
    l->n--;
    return c;
}

/* Everything of `from` behind what `l` has. */
static void list_append(struct arm_call_list *l, struct arm_call_list *from)
{
    if (!from->head)
        return;
    if (l->tail)
        l->tail->next = from->head;
    else
        l->head = from->head;
    l->tail = from->tail;
    l->n += from->n;
    *from = (struct arm_call_list){0};
}

/* ---- the end of a request ---- */

static void finish(struct arm_call *c, struct arm_reply *r)
{
    struct arm *arm = c->arm;
    arm_done_fn *done = c->done;
    void *ctx = c->ctx;
    int digit = r->status / 100;
    r->duration_ms = clock_mono(arm->cfg.clock) - c->started;
    if (!c->document)
        arm->stats.replies[digit >= 1 && digit <= 5 ? digit : 0]++;
    arena_free(c->arena);
    done(ctx, r);
}

PRINTF(4, 5)
static void fail(struct arm_call *c, enum arm_failure why, int64_t retry_after_ms, const char *fmt,
                 ...)
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
static void fail_token(struct arm_call *c, int64_t retry_after_ms)
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

/* Tests kill the process here: ARM has the request, or will have it, and has not answered. */
static void request_sent(void)
{
    (void)FAULT_POINT("arm.send.after");
}

/* Or here, or take the answer away: ARM has done it and nobody knows. */
static void pass_reply(struct arm_reply *r)
{
    if (!FAULT_POINT("arm.reply.after"))
        return;
    arm_header_reset(r);
    r->failure = ARM_FAIL_BROKEN;
}

static void answered(struct arm_http_call *http)
{
    struct arm_call *c = CONTAINER_OF(http, struct arm_call, http);
    struct arm *arm = c->arm;
    struct arm_reply *r = http->reply;
    pass_reply(r);
    arm->in_flight--;
    arm_throttle_note(arm->throttle, c->req.subscription, arm_op_of(c->req.method), c->ticket, r);
    if (r->status == 429)
        arm->stats.throttled++;
    if (r->status == 401 && !c->repeated) {
        c->repeated = true;
        arm_identity_drop(&c->identity->token, c->generation);
        arm_reply_free(r);
        arm_call_push(&arm->line, c);
        return;
    }
    finish(c, r);
}

static void transfer(struct arm_call *c, const char *bearer, int64_t now)
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
        .poll = q->poll,
        .done = answered,
        .sent = request_sent,
    };
    arm_http_header(c->arm->http, &c->http, "Authorization", bearer);
    arm_request_headers(c->arm->http, &c->http, q);
    arm_http_start(c->arm->http, &c->http);
}

static void fail_held(struct arm_call *c)
{
    struct arm *arm = c->arm;
    const char *subscription = c->req.subscription;
    int64_t wait = arm_throttle_wait(arm->throttle, subscription, arm_op_of(c->req.method));
    arm->stats.held++;
    fail(c, ARM_FAIL_HELD, wait, "held back: Azure throttles this subscription");
}

/* One step on: to the transfer, to those who wait for the token, or to its end. False: it has to
 * stay in the line. */
static bool proceed(struct arm_call *c)
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
        arm_call_push(&c->identity->waiting, c);
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
    struct arm_call_list stay = {0};
    struct arm_call *c;
    while (arm->in_flight < arm->cfg.max_in_flight && stay.n < LINE_LOOK &&
           (c = list_pop(&arm->line)))
        if (!proceed(c))
            arm_call_push(&stay, c);
    list_append(&stay, &arm->line);
    arm->line = stay;
}

void arm_loop_token_changed(struct arm_identity_token *t)
{
    struct arm_served_identity *id = CONTAINER_OF(t, struct arm_served_identity, token);
    struct arm *arm = t->ctx;
    struct arm_call *c;
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
static void sweep_list(struct arm_call_list *l, int64_t now, bool for_token)
{
    struct arm_call_list rest = {0};
    struct arm_call *c;
    while ((c = list_pop(l))) {
        if (now < c->deadline)
            arm_call_push(&rest, c);
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

static void document_read(struct arm_http_call *http)
{
    struct arm_call *c = CONTAINER_OF(http, struct arm_call, http);
    c->arm->in_flight--;
    finish(c, http->reply);
}

/* Past tokens, buckets and the line: it is nobody's quota. */
static void get_document(struct arm_call *c)
{
    struct arm_origin origin;
    if (!arm_url_chars_ok(c->url) || !arm_origin_parse(c->url, &origin) || !origin.https) {
        fail(c, ARM_FAIL_REFUSED, -1, "not an https URL");
        return;
    }
    c->arm->in_flight++;
    c->http = (struct arm_http_call){
        .method = ARM_GET,
        .url = c->url,
        .timeout_ms = c->deadline - clock_mono(c->arm->cfg.clock),
        .ca_file = c->ca_file,
        .body_max = c->body_max,
        .done = document_read,
    };
    if (c->http.timeout_ms < 1)
        c->http.timeout_ms = 1;
    arm_http_header(c->arm->http, &c->http, "Accept", "application/json");
    arm_http_start(c->arm->http, &c->http);
}

static void admit(struct arm_call *c)
{
    struct arm *arm = c->arm;
    const char *why = NULL;
    if (c->document) {
        get_document(c);
        return;
    }
    int i = arm_config_identity(&arm->cfg, c->req.subscription);
    if (i < 0) {
        fail(c, ARM_FAIL_REFUSED, -1, "no identity is configured for the subscription");
        return;
    }
    c->identity = &arm->identities[i];
    c->url = arm_request_url(c->arena, c->identity->token.cfg->endpoint, &c->req, &why);
    if (c->url)
        arm_call_push(&arm->line, c);
    else
        fail(c, ARM_FAIL_REFUSED, -1, "%s", why);
}

static bool take_inbox(struct arm *arm, struct arm_call_list *out)
{
    pthread_mutex_lock(&arm->lock);
    *out = arm->inbox;
    arm->inbox = (struct arm_call_list){0};
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
        const struct arm_served_identity *id = &arm->identities[i];
        int64_t at = arm_identity_due(&id->token, id->waiting.n > 0);
        if (at < due)
            due = at;
    }
    if (waiting(arm) && arm->swept + SWEEP_MS < due)
        due = arm->swept + SWEEP_MS;
    return due;
}

static void turn(struct arm *arm, struct arm_call_list *in)
{
    struct arm_call *c;
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

static void stop_list(struct arm_call_list *l)
{
    struct arm_call *c;
    while ((c = list_pop(l)))
        fail(c, ARM_FAIL_STOPPED, -1, "the client was stopped");
}

/* A `done` may send again: the inbox is emptied until nobody does. */
static void stop_all(struct arm *arm, struct arm_call_list *in)
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

void *arm_loop(void *ctx)
{
    struct arm *arm = ctx;
    struct arm_call_list in;
    while (take_inbox(arm, &in))
        turn(arm, &in);
    stop_all(arm, &in);
    return NULL;
}
