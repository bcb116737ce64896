/*
 * Queries: live reads for a request that waits. Equal reads share one flight; what changes slowly is
 * kept for query_cache_ms. Everything here runs on the engine thread, except the two entry points.
 */
#include "jobs/engine.h"

#include "jobs/preflight.h"

#include <string.h>
#include <strings.h>

#define READS_MAX       512 /* kept answers; the oldest go first */
#define PAGES_MAX       20
#define RETRY_MS        400
#define RETRIES_MAX     12
#define READ_TIMEOUT_MS 9000

enum read_state { READ_WAITING, READ_DONE, READ_FAILED };

/* One GET that any number of queries wait for. */
struct read {
    struct jobs *jobs;
    struct task task;
    char *subscription;
    char *target;
    enum read_kind kind;
    enum read_state state;
    bool exists;
    json_t *body;
    int64_t observed_at; /* wall */
    int64_t kept_until;  /* wall */
    struct err_info error;
    enum err err;
    int pages;
    int retries;
    int waiters;
    bool listed; /* in the cache: new queries may join */
    struct arm_reply *reply;
    struct read *next;
};

struct read_cache {
    struct read *reads;
    int n;
};

struct query {
    struct jobs *jobs;
    struct jobs_preflight *p;
    struct task task;
    struct task timeout;
    struct arena *arena;
    struct preflight_facts facts;
    struct read *reads[READ_KINDS];
    bool timed;
    struct query *next;
};

static void advance_queries(struct jobs *j);

/* ---- reads ---- */

static void free_read(struct read *r)
{
    json_decref(r->body);
    arm_reply_free(r->reply);
    free(r->subscription);
    free(r->target);
    free(r);
}

static void unlist(struct jobs *j, struct read *r)
{
    struct read **p = &j->cache->reads;
    while (*p && *p != r)
        p = &(*p)->next;
    if (!*p)
        return;
    *p = r->next;
    j->cache->n--;
    r->listed = false;
    if (r->waiters == 0)
        free_read(r);
}

/* What is over, and the oldest where there are too many. Reads under way stay. */
static void trim(struct jobs *j, int64_t now)
{
    struct read *next;
    for (struct read *r = j->cache->reads; r; r = next) {
        next = r->next;
        bool crowded = j->cache->n > READS_MAX;
        if (r->state != READ_WAITING && r->waiters == 0 && (crowded || r->kept_until <= now))
            unlist(j, r);
    }
}

static void send_read(struct read *r, const char *target);

static void resend(struct task *t)
{
    struct read *r = CONTAINER_OF(t, struct read, task);
    send_read(r, r->target);
}

static void settle(struct read *r, enum read_state state)
{
    struct jobs *j = r->jobs;
    r->state = state;
    r->observed_at = engine_now(j);
    r->kept_until = state == READ_DONE && r->exists && preflight_may_cache(r->kind)
                        ? r->observed_at + j->config.query_cache_ms
                        : r->observed_at;
    advance_queries(j);
    trim(j, r->observed_at);
}

/* Throttled and shaky reads are tried again, unless Azure says that it takes longer than anybody
 * waits for a query; the query's own limit ends the rest. */
static void read_refused(struct read *r, const struct arm_outcome *o)
{
    const char *reason = NULL;
    int64_t ms = o->retry_after_ms > RETRY_MS ? o->retry_after_ms : RETRY_MS;
    bool again = o->class == ARM_CLASS_THROTTLED || o->class == ARM_CLASS_CONFLICT ||
                 o->class == ARM_CLASS_TRANSIENT;
    r->err = arm_error_read(o, &r->error, &reason);
    if (!again || ++r->retries > RETRIES_MAX || r->waiters == 0 ||
        ms >= r->jobs->config.query_timeout_ms) {
        settle(r, READ_FAILED);
        return;
    }
    r->task.fn = resend;
    engine_delay(r->jobs, &r->task, ms + (int64_t)(engine_random() % 100));
}

static void merge(struct read *r, json_t *digest)
{
    if (!r->body)
        r->body = json_incref(digest);
    else if (json_is_object(digest))
        json_object_update_missing(r->body, digest);
}

static void read_page(struct read *r, const struct arm_reply *reply)
{
    AUTO(json) json_t *body = NULL;
    AUTO(json) json_t *digest = NULL;
    if (json_parse(reply->body, &body, &r->error)) {
        r->err = err_set(&r->error, ERR_UPSTREAM, "Azure's answer is not JSON");
        settle(r, READ_FAILED);
        return;
    }
    digest = preflight_digest(r->kind, body);
    merge(r, digest);
    const char *more = json_path_str(body, "nextLink");
    if (r->kind == READ_SIZES && more && *more && ++r->pages < PAGES_MAX) {
        send_read(r, more);
        return;
    }
    r->exists = true;
    settle(r, READ_DONE);
}

static void on_answer(struct task *t)
{
    struct read *r = CONTAINER_OF(t, struct read, task);
    struct arm_reply *reply = TAKE(r->reply); /* settling may free the read */
    struct arm_outcome o;
    arm_classify(reply, &o);
    if (o.class == ARM_CLASS_SUCCESS || o.class == ARM_CLASS_ACCEPTED)
        read_page(r, reply);
    else if (o.class == ARM_CLASS_MISSING || preflight_is_missing(r->kind, o.code))
        settle(r, READ_DONE);
    else
        read_refused(r, &o);
    arm_reply_free(reply);
}

static void send_read(struct read *r, const char *target)
{
    struct arm_request req = {.method = ARM_GET,
                              .subscription = r->subscription,
                              .target = target,
                              .timeout_ms = READ_TIMEOUT_MS};
    r->task.fn = on_answer;
    engine_send(r->jobs, &req, &r->reply,
                &r->task); /* copies the target, so the old reply may go */
}

static struct read *find_read(struct jobs *j, const char *target)
{
    int64_t now = engine_now(j);
    for (struct read *r = j->cache->reads; r; r = r->next)
        if (strcmp(r->target, target) == 0 &&
            (r->state == READ_WAITING || (r->state == READ_DONE && r->kept_until > now)))
            return r;
    return NULL;
}

static struct read *join_read(struct jobs *j, const char *subscription, enum read_kind kind,
                              const char *target)
{
    struct read *r = find_read(j, target);
    if (!r) {
        r = calloc(1, sizeof *r);
        if (!r)
            abort();
        r->jobs = j;
        r->kind = kind;
        r->subscription = strdup(subscription);
        r->target = strdup(target);
        if (!r->subscription || !r->target)
            abort();
        r->listed = true;
        r->next = j->cache->reads;
        j->cache->reads = r;
        j->cache->n++;
        send_read(r, target);
    }
    r->waiters++;
    return r;
}

/* ---- queries ---- */

static void leave_reads(struct query *q)
{
    for (int k = 0; k < READ_KINDS; k++)
        if (q->reads[k])
            q->reads[k]->waiters--;
}

static void unlink_query(struct query *q)
{
    struct query **p = &q->jobs->queries;
    while (*p != q)
        p = &(*p)->next;
    *p = q->next;
    if (q->timed)
        engine_undelay(q->jobs, &q->timeout);
    leave_reads(q);
}

static void complete(struct query *q)
{
    struct jobs_preflight *p = q->p;
    arena_free(q->arena);
    free(q);
    p->done(p);
}

static void fail_query(struct query *q, enum err err, const struct err_info *e)
{
    unlink_query(q);
    q->p->err = err;
    q->p->info = *e;
    complete(q);
}

static void on_timeout(struct task *t)
{
    struct query *q = CONTAINER_OF(t, struct query, timeout);
    struct err_info e;
    q->timed = false;
    err_set(&e, ERR_UPSTREAM_TIMEOUT, "Azure did not answer the preflight within %lld seconds",
            (long long)(q->jobs->config.query_timeout_ms / 1000));
    for (int k = 0; k < READ_KINDS; k++)
        if (q->reads[k] && q->reads[k]->state == READ_WAITING && q->reads[k]->err)
            e = q->reads[k]->error;
    e.code = ERR_UPSTREAM_TIMEOUT;
    fail_query(q, ERR_UPSTREAM_TIMEOUT, &e);
}

/* The judgement is made in the query's own arena; what leaves is copied by being made with the
 * caller's, which nobody else uses while its call waits. */
static void judge(struct query *q)
{
    struct jobs_preflight *p = q->p;
    unlink_query(q);
    p->observed_at = engine_now(q->jobs);
    for (int k = 0; k < READ_KINDS; k++)
        if (q->reads[k] && q->reads[k]->observed_at < p->observed_at)
            p->observed_at = q->reads[k]->observed_at;
    q->facts.arena = p->arena;
    p->err = OK;
    preflight_judge(&q->facts, p);
    complete(q);
}

/* Azure's word on the subscription itself is a finding like any other. */
static bool is_foreign_ground(const struct read *r)
{
    return r->state == READ_FAILED &&
           strcasecmp(r->error.upstream_code, "SubscriptionNotFound") == 0;
}

/* True where the query has ended. */
static bool advance_query(struct query *q)
{
    bool waiting = false;
    for (enum read_kind k = 0; k < READ_KINDS; k++) {
        const char *target = q->reads[k] ? NULL : preflight_target(&q->facts, k);
        if (target)
            q->reads[k] = join_read(q->jobs, q->p->vm.subscription, k, target);
        struct read *r = q->reads[k];
        if (!r)
            continue;
        q->facts.no_subscription |= is_foreign_ground(r);
        if (r->state == READ_FAILED && !q->facts.no_subscription) {
            fail_query(q, r->err, &r->error);
            return true;
        }
        waiting |= r->state == READ_WAITING;
        q->facts.read[k] = (struct read_answer){
            .known = r->state == READ_DONE, .exists = r->exists, .body = r->body};
    }
    if (waiting)
        return false;
    judge(q);
    return true;
}

/* A query may join new reads (READ_IMAGE after READ_VERSIONS) and end, so start over after each. */
static void advance_queries(struct jobs *j)
{
    struct query *next;
    for (struct query *q = j->queries; q; q = next) {
        next = q->next;
        advance_query(q);
    }
}

static void begin(struct task *t)
{
    struct query *q = CONTAINER_OF(t, struct query, task);
    struct jobs *j = q->jobs;
    struct jobs_preflight *p = q->p;
    struct vm *vm = ARENA_NEW(p->arena, struct vm);
    struct err_info e = {0};
    q->next = j->queries;
    j->queries = q;
    q->facts = (struct preflight_facts){.arena = q->arena,
                                        .ref = &p->vm,
                                        .spec = p->spec,
                                        .plan = vm_plan_of(p->arena, &p->vm, p->spec)};
    enum err err = store_get_vm(j->config.store, p->arena, q->facts.plan->vm_id, vm, &e);
    if (err && err != ERR_NOT_FOUND) {
        fail_query(q, err, &e);
        return;
    }
    q->facts.vm = err ? NULL : vm;
    q->timeout.fn = on_timeout;
    q->timed = true;
    engine_delay(j, &q->timeout, j->config.query_timeout_ms);
    advance_query(q);
}

void jobs_query_preflight_vm(struct jobs *j, struct jobs_preflight *p)
{
    struct query *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    q->jobs = j;
    q->p = p;
    q->arena = arena_new();
    q->task.fn = begin;
    if (atomic_load(&j->stopping)) {
        p->err = err_set(&p->info, ERR_UNAVAILABLE, "the gateway is stopping");
        complete(q);
        return;
    }
    engine_push(j, &q->task);
}

/* ---- life ---- */

void query_start(struct jobs *j)
{
    j->cache = calloc(1, sizeof *j->cache);
    if (!j->cache)
        abort();
}

/* The thread has ended: what was asked and never begun is still a task. */
static void begin_all(struct jobs *j)
{
    for (struct task *t = j->ready; t; t = j->ready) {
        j->ready = t->next;
        if (t->fn != begin)
            continue;
        struct query *q = CONTAINER_OF(t, struct query, task);
        q->next = j->queries;
        j->queries = q;
    }
}

void query_stop(struct jobs *j)
{
    struct err_info e;
    err_set(&e, ERR_UNAVAILABLE, "the gateway is stopping");
    begin_all(j);
    while (j->queries) {
        struct query *q = j->queries;
        q->timed = false;
        fail_query(q, ERR_UNAVAILABLE, &e);
    }
    while (j->cache->reads) {
        struct read *r = j->cache->reads;
        j->cache->reads = r->next;
        free_read(r);
    }
    free(j->cache);
    j->cache = NULL;
}
