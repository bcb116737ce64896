#include "arm/client.h"

#include "arm/config.h"
#include "arm/request.h"

#include <signal.h>

static enum err start_thread(struct arm *arm, struct err_info *e)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&arm->thread, NULL, arm_loop, arm);
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
        t->changed = arm_loop_token_changed;
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

static struct arm_call *new_call(struct arm *arm, int64_t timeout_ms, arm_done_fn *done, void *ctx)
{
    struct arena *a = arena_new();
    struct arm_call *c = ARENA_NEW(a, struct arm_call);
    c->arm = arm;
    c->arena = a;
    c->done = done;
    c->ctx = ctx;
    c->started = clock_mono(arm->cfg.clock);
    c->deadline = c->started + (timeout_ms > 0 ? timeout_ms : arm->cfg.timeout_ms);
    return c;
}

static void hand_over(struct arm *arm, struct arm_call *c, bool more)
{
    pthread_mutex_lock(&arm->lock);
    arm_call_push(&arm->inbox, c);
    bool wake = !arm->waking && !more;
    arm->waking |= wake;
    pthread_mutex_unlock(&arm->lock);
    if (wake)
        arm_http_wake(arm->http);
}

void arm_flush(struct arm *arm)
{
    pthread_mutex_lock(&arm->lock);
    bool wake = arm->inbox.n && !arm->waking;
    arm->waking |= wake;
    pthread_mutex_unlock(&arm->lock);
    if (wake)
        arm_http_wake(arm->http);
}

void arm_send(struct arm *arm, const struct arm_request *req, arm_done_fn *done, void *ctx)
{
    struct arm_call *c = new_call(arm, req->timeout_ms, done, ctx);
    c->req = arm_request_copy(c->arena, req);
    hand_over(arm, c, req->more);
}

void arm_get_document(struct arm *arm, const struct arm_fetch *f, arm_done_fn *done, void *ctx)
{
    struct arm_call *c = new_call(arm, f->timeout_ms, done, ctx);
    c->document = true;
    c->url = arena_strdup(c->arena, f->url);
    c->ca_file = arena_strdup(c->arena, f->ca_file);
    c->body_max = f->body_max;
    hand_over(arm, c, false);
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
