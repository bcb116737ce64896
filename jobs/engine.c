#include "jobs/engine.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "jobs/polls.h"

#include <errno.h>
#include <string.h>

#define CLAIM_BATCH            64
#define CLAIM_GAP_MS           5    /* so that jobs that come due together are claimed together */
#define CLAIM_FAIL_MS          1000 /* the store cannot write: ask again */
#define POLL_LONGEST_MS        (11 * 60 * 1000) /* ARM RPC: Retry-After is at most 10 min */
#define SLEEP_MAX_MS           10000
#define QUIET_MS               100 /* an answer waits so long for others */
#define JOB_DEADLINE_MS        (2 * 60 * 60 * 1000)
#define LEASE_DEFAULT_MS       (5 * 60 * 1000) /* longer than any request may take */
#define QUERY_MS               10000
#define QUERY_CACHE_MS         60000
#define IN_FLIGHT_MAX          128
#define SUBSCRIPTION_IN_FLIGHT 32

/* Due times are wall time, since they outlive the process. A clock that is set back must not leave
 * jobs waiting for what has passed: then time goes on from where it was. */
int64_t engine_now(struct jobs *j)
{
    pthread_mutex_lock(&j->now.lock);
    int64_t wall = clock_wall(j->config.clock);
    int64_t mono = clock_mono(j->config.clock);
    int64_t least = j->now.wall + (mono - j->now.mono);
    j->now.wall = wall > least ? wall : least;
    j->now.mono = mono;
    wall = j->now.wall;
    pthread_mutex_unlock(&j->now.lock);
    return wall;
}

int64_t engine_mono(const struct jobs *j)
{
    return clock_mono(j->config.clock);
}

uint32_t engine_random(void)
{
    uint32_t r;
    random_id(&r, sizeof r);
    return r;
}

/* ---- tasks ---- */

static void append_locked(struct jobs *j, struct task *t)
{
    t->next = NULL;
    *j->ready_end = t;
    j->ready_end = &t->next;
}

void engine_push_locked(struct jobs *j, struct task *t)
{
    append_locked(j, t);
    pthread_cond_signal(&j->cond);
}

void engine_push(struct jobs *j, struct task *t)
{
    pthread_mutex_lock(&j->lock);
    engine_push_locked(j, t);
    pthread_mutex_unlock(&j->lock);
}

/* In one go: once the store owes nothing, jobs_stop frees whom the task is of. */
void engine_written(struct jobs *j, struct task *t)
{
    pthread_mutex_lock(&j->lock);
    j->store_writes--;
    engine_push_locked(j, t);
    pthread_mutex_unlock(&j->lock);
}

static struct task *pop_locked(struct jobs *j)
{
    struct task *t = j->ready;
    if (!t)
        return NULL;
    j->ready = t->next;
    if (!j->ready)
        j->ready_end = &j->ready;
    return t;
}

void engine_delay(struct jobs *j, struct task *t, int64_t ms)
{
    t->at = engine_mono(j) + ms;
    struct task **p = &j->delayed;
    while (*p && (*p)->at <= t->at)
        p = &(*p)->next;
    t->next = *p;
    *p = t;
}

void engine_undelay(struct jobs *j, struct task *t)
{
    for (struct task **p = &j->delayed; *p; p = &(*p)->next) {
        if (*p != t)
            continue;
        *p = t->next;
        return;
    }
}

static void run_delayed(struct jobs *j)
{
    struct task *t = j->delayed;
    j->delayed = t->next;
    t->fn(t);
}

void engine_due(struct jobs *j, int64_t due_at)
{
    pthread_mutex_lock(&j->lock);
    if (due_at < j->next_due)
        j->next_due = due_at;
    pthread_cond_signal(&j->cond);
    pthread_mutex_unlock(&j->lock);
}

/* ---- sending ---- */

static void jobs_free(struct jobs *j)
{
    pthread_cond_destroy(&j->cond);
    pthread_mutex_destroy(&j->lock);
    pthread_mutex_destroy(&j->watch_lock);
    pthread_mutex_destroy(&j->now.lock);
    free(j->public_url);
    free(j);
}

/* On the ARM client's thread. */
static void on_reply(void *ctx, struct arm_reply *reply)
{
    struct arm_call *call = ctx;
    struct jobs *j = call->jobs;
    pthread_mutex_lock(&j->lock);
    bool last = --j->outstanding == 0 && j->released;
    j->quiet -= call->quiet;
    bool may_wait = call->quiet && j->quiet > 0 && reply->status == 200;
    if (j->abandoned) {
        arm_reply_free(reply);
    } else {
        *call->reply = reply;
        append_locked(j, call->task);
        if (!may_wait)
            pthread_cond_signal(&j->cond);
    }
    pthread_mutex_unlock(&j->lock);
    free(call);
    if (last)
        jobs_free(j);
}

static void send_call(struct jobs *j, const struct arm_request *req, struct arm_reply **reply,
                      struct task *t, bool quiet)
{
    struct arm_call *call = calloc(1, sizeof *call);
    if (!call)
        abort();
    *call = (struct arm_call){.jobs = j, .reply = reply, .task = t, .quiet = quiet};
    pthread_mutex_lock(&j->lock);
    j->outstanding++;
    j->quiet += quiet;
    pthread_mutex_unlock(&j->lock);
    atomic_fetch_add(&j->arm_requests, 1);
    arm_send(j->config.arm, req, on_reply, call);
}

void engine_send(struct jobs *j, const struct arm_request *req, struct arm_reply **reply,
                 struct task *t)
{
    send_call(j, req, reply, t, false);
}

void engine_send_poll(struct jobs *j, struct arm_request *req, struct arm_reply **reply,
                      struct task *t)
{
    req->poll = req->more = true;
    send_call(j, req, reply, t, true);
}

/* ---- claiming ---- */

static void claim_read(struct task *t)
{
    struct jobs *j = CONTAINER_OF(t, struct jobs, claim.task);
    struct batch *b = j->claim.batch;
    int64_t mono = engine_mono(j);
    pthread_mutex_lock(&j->lock);
    j->claim.busy = false;
    pthread_mutex_unlock(&j->lock);
    j->claim.batch = NULL;
    if (j->claim.done.err) {
        if (atomic_exchange(&j->ready_flag, false))
            log_error("jobs: the store does not answer", LOG_S("error", j->claim.done.info.detail));
        j->claim.again_at = mono + CLAIM_FAIL_MS;
        engine_due(j, 0);
        batch_release(b);
        return;
    }
    atomic_store(&j->ready_flag, true);
    j->claim.again_at = mono + CLAIM_GAP_MS;
    b->refs += j->claim.out.n;
    for (int i = 0; i < j->claim.out.n; i++)
        run_start(j, b, &j->claim.out.jobs[i]);
    if (j->claim.out.next_due)
        engine_due(j, j->claim.out.next_due);
    batch_release(b);
}

static void on_claimed(struct store_done *done)
{
    struct jobs *j = done->user;
    j->claim.task.fn = claim_read;
    engine_written(j, &j->claim.task);
}

static unsigned busiest(const struct jobs *j)
{
    unsigned most = 0;
    for (const struct subscription *s = j->subscriptions; s; s = s->next)
        most = s->runs > most ? s->runs : most;
    return most;
}

/* With the lock held; unlocks for the store. */
static void claim(struct jobs *j, int64_t now)
{
    unsigned free_slots = j->config.in_flight_max - j->n_runs;
    unsigned most = busiest(j);
    unsigned share =
        j->config.per_subscription_max > most ? j->config.per_subscription_max - most : 1;
    struct batch *b = batch_new();
    j->claim.busy = true;
    j->claim.batch = b;
    j->claim.in =
        (struct job_claim){.now = now,
                           .lease_until = now + j->config.lease_ms,
                           .limit = (int)(free_slots < CLAIM_BATCH ? free_slots : CLAIM_BATCH),
                           .per_subscription = (int)share};
    j->claim.out = (struct job_claimed){.arena = b->arena};
    j->claim.done = (struct store_done){.fn = on_claimed, .user = j};
    j->next_due = INT64_MAX; /* what comes due from now on is told by the store or by this claim */
    j->store_writes++;
    pthread_mutex_unlock(&j->lock);
    store_claim_jobs(j->config.store, &j->claim.in, &j->claim.out, &j->claim.done);
    pthread_mutex_lock(&j->lock);
}

static bool may_claim(const struct jobs *j, int64_t now, int64_t mono)
{
    return !j->stopping && !j->claim.busy && j->n_runs < j->config.in_flight_max &&
           j->next_due <= now && j->claim.again_at <= mono;
}

/* ---- the thread ---- */

static void sleep_until(struct jobs *j, int64_t mono, int64_t wake)
{
    struct timespec ts;
    int64_t ms = clock_real_ms(j->config.clock, wake - mono);
    ms = ms < 1 ? 1 : ms > SLEEP_MAX_MS ? SLEEP_MAX_MS : ms;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += ms / 1000;
    ts.tv_nsec += ms % 1000 * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&j->cond, &j->lock, &ts);
}

/* `at`: of what is not in the lists below. */
static int64_t next_wake(const struct jobs *j, int64_t now, int64_t mono, int64_t at)
{
    int64_t wake = mono + SLEEP_MAX_MS;
    if (j->delayed && j->delayed->at < wake)
        wake = j->delayed->at;
    if (at < wake)
        wake = at;
    if (j->quiet && mono + QUIET_MS < wake)
        wake = mono + QUIET_MS;
    bool claims = !j->stopping && !j->claim.busy && j->n_runs < j->config.in_flight_max;
    if (claims && j->next_due != INT64_MAX) {
        int64_t claim = j->next_due > now ? mono + (j->next_due - now) : mono;
        claim = claim < j->claim.again_at ? j->claim.again_at : claim;
        wake = claim < wake ? claim : wake;
    }
    return wake;
}

/* Nothing is under way. A run may be left that waits for a store which cannot write. */
static bool is_idle(const struct jobs *j)
{
    return !j->working && !j->ready && j->outstanding == 0 && j->store_writes == 0;
}

static void *engine_main(void *arg)
{
    struct jobs *j = arg;
    pthread_mutex_lock(&j->lock);
    while (!(j->stopping && (is_idle(j) || j->abandoned))) {
        struct task *t = pop_locked(j);
        int64_t mono = engine_mono(j);
        if (t || (j->delayed && j->delayed->at <= mono)) {
            j->working = true;
            pthread_mutex_unlock(&j->lock);
            if (t)
                t->fn(t);
            else
                run_delayed(j);
            pthread_mutex_lock(&j->lock);
            j->working = false;
            continue;
        }
        pthread_mutex_unlock(&j->lock);
        int64_t watch_at = watch_expire(j, mono), poll_at = polls_run(j, mono);
        pthread_mutex_lock(&j->lock);
        if (j->ready)
            continue;
        int64_t now = engine_now(j);
        if (may_claim(j, now, mono)) {
            claim(j, now);
            continue;
        }
        sleep_until(j, mono, next_wake(j, now, mono, watch_at < poll_at ? watch_at : poll_at));
    }
    pthread_cond_broadcast(&j->cond);
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* ---- what the store tells ---- */

/* The engine's own commits come here too: of a job that it holds, the due time counts when it lets
 * go. */
static void told_due(struct jobs *j, const char *job_id, int64_t due_at, bool canceled)
{
    pthread_mutex_lock(&j->lock);
    bool is_kept = polls_wake(j, job_id);
    if (!run_poke(j, job_id, due_at, canceled) && !is_kept && due_at < j->next_due) {
        j->next_due = due_at;
        pthread_cond_signal(&j->cond);
    }
    pthread_mutex_unlock(&j->lock);
}

/* On the store's writer thread. */
static void on_changed(void *ctx, const char *job_id, enum job_state state, int64_t due_at)
{
    struct jobs *j = ctx;
    bool ended = job_state_terminal(state);
    watch_changed(j, job_id, ended);
    if (!ended)
        told_due(j, job_id, due_at, state == JOB_CANCELING);
}

/* ---- start and stop ---- */

static void apply_defaults(struct jobs_config *c)
{
    if (!c->clock)
        c->clock = &clock_system;
    if (!c->job_deadline_ms)
        c->job_deadline_ms = JOB_DEADLINE_MS;
    if (!c->lease_ms)
        c->lease_ms = LEASE_DEFAULT_MS;
    if (!c->query_timeout_ms)
        c->query_timeout_ms = QUERY_MS;
    if (!c->query_cache_ms)
        c->query_cache_ms = QUERY_CACHE_MS;
    if (!c->in_flight_max)
        c->in_flight_max = IN_FLIGHT_MAX;
    if (!c->per_subscription_max)
        c->per_subscription_max = SUBSCRIPTION_IN_FLIGHT;
}

static enum err recover(struct jobs *j, struct err_info *e)
{
    struct store_waiter w;
    int64_t now = engine_now(j);
    struct job_recover in = {.now = now, .latest = now + POLL_LONGEST_MS};
    struct job_recovered out = {0};
    store_recover_jobs(j->config.store, &in, &out, store_waiter_init(&w));
    enum err err = store_wait(&w, e);
    if (!err && out.jobs > 0)
        log_info("jobs resumed", LOG_I("jobs", out.jobs));
    return err;
}

static void init_sync(struct jobs *j)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&j->cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&j->lock, NULL);
    pthread_mutex_init(&j->watch_lock, NULL);
    pthread_mutex_init(&j->now.lock, NULL);
    j->now.wall = clock_wall(j->config.clock);
    j->now.mono = clock_mono(j->config.clock);
}

enum err jobs_start(const struct jobs_config *config, struct jobs **out, struct err_info *e)
{
    struct jobs *j = calloc(1, sizeof *j);
    if (!j)
        abort();
    j->config = *config;
    apply_defaults(&j->config);
    j->public_url = strdup(config->public_url);
    if (!j->public_url)
        abort();
    j->config.public_url = j->public_url;
    j->ready_end = &j->ready;
    atomic_init(&j->watch_until, INT64_MAX);
    init_sync(j);
    enum err err = recover(j, e);
    if (err) {
        jobs_free(j);
        return err;
    }
    query_start(j);
    polls_start(j);
    atomic_store(&j->ready_flag, true);
    store_watch(j->config.store, on_changed, j);
    if (pthread_create(&j->thread, NULL, engine_main, j)) {
        store_watch(j->config.store, NULL, NULL);
        query_stop(j);
        polls_free(j);
        jobs_free(j);
        return err_set(e, ERR_INTERNAL, "cannot start the engine thread");
    }
    pthread_setname_np(j->thread, "jobs");
    *out = j;
    return OK;
}

/* Lets requests on the wire come home; past the limit only for the store, which always answers. */
static void drain(struct jobs *j, int64_t drain_ms)
{
    int64_t until = engine_mono(j) + drain_ms;
    pthread_mutex_lock(&j->lock);
    atomic_store(&j->stopping, true);
    pthread_cond_broadcast(&j->cond);
    while (!is_idle(j) && engine_mono(j) < until) {
        pthread_mutex_unlock(&j->lock);
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000000}, NULL);
        pthread_mutex_lock(&j->lock);
    }
    j->abandoned = true;
    pthread_cond_broadcast(&j->cond);
    while (j->store_writes > 0) {
        pthread_mutex_unlock(&j->lock);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
}

void jobs_stop(struct jobs *j, int64_t drain_ms)
{
    if (!j)
        return;
    atomic_store(&j->ready_flag, false);
    drain(j, drain_ms);
    pthread_join(j->thread, NULL);
    store_watch(j->config.store, NULL, NULL);
    query_stop(j);
    polls_free(j);
    runs_free(j);
    if (j->claim.batch) /* claimed, but nobody began: the next start does */
        batch_release(j->claim.batch);
    pthread_mutex_lock(&j->lock);
    j->released = true; /* from here on the last late answer frees */
    bool last = j->outstanding == 0;
    pthread_mutex_unlock(&j->lock);
    if (last)
        jobs_free(j);
}

/* ---- small things ---- */

void jobs_wake(struct jobs *j)
{
    engine_due(j, 0);
}

bool jobs_ready(const struct jobs *j)
{
    return atomic_load(&j->ready_flag);
}

void jobs_counts(const struct jobs *j, struct jobs_counts *out)
{
    *out = (struct jobs_counts){.steps_done = atomic_load(&j->steps_done),
                                .jobs_succeeded = atomic_load(&j->jobs_succeeded),
                                .jobs_failed = atomic_load(&j->jobs_failed),
                                .jobs_canceled = atomic_load(&j->jobs_canceled),
                                .arm_requests = atomic_load(&j->arm_requests),
                                .arm_retries = atomic_load(&j->arm_retries),
                                .arm_throttled = atomic_load(&j->arm_throttled),
                                .in_flight = atomic_load(&j->in_flight)};
}
