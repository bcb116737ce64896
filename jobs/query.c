/*
 * Queries: what a request that waits wants to know of Azure. Everything here runs on the engine
 * thread, except the two entry points.
 */
#include "jobs/reads.h"

#include <string.h>
#include <strings.h>

struct query {
    struct jobs *jobs;
    struct jobs_preflight *p;
    struct task task;
    struct task timeout;
    struct arena *arena;
    struct preflight_facts facts;
    struct read *reads[READ_KINDS];
    int64_t began; /* wall */
    bool fresh;    /* answers of before it began do not count */
    bool timed;
    struct query *next;
};

static void leave_reads(struct query *q)
{
    for (int k = 0; k < READ_KINDS; k++)
        if (q->reads[k])
            reads_leave(q->reads[k]);
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
    q->p->info = ARENA_NEW(q->p->arena, struct err_info);
    *q->p->info = *e;
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

/* Lets go of answers that may be kept briefly and are of before the query began; true where there
 * were any. */
static bool drop_kept(struct query *q)
{
    bool dropped = false;
    for (enum read_kind k = 0; k < READ_KINDS; k++) {
        struct read *r = q->reads[k];
        if (!r || preflight_life(k) != READ_BRIEFLY || r->observed_at >= q->began)
            continue;
        reads_leave(r);
        q->reads[k] = NULL;
        q->facts.read[k] = (struct read_answer){0};
        dropped = true;
    }
    if (!q->reads[READ_VMS])
        q->facts.crowded = false;
    return dropped;
}

/* The judgement leaves in the caller's arena, which nobody else uses while its call waits. False:
 * what would be refused is asked for anew first, since it may have been remedied by now. */
static bool judge(struct query *q)
{
    struct jobs_preflight *p = q->p;
    p->observed_at = engine_now(q->jobs);
    for (int k = 0; k < READ_KINDS; k++)
        if (q->reads[k] && q->reads[k]->observed_at < p->observed_at)
            p->observed_at = q->reads[k]->observed_at;
    struct preflight_facts facts = q->facts;
    facts.arena = p->arena;
    p->err = OK;
    preflight_judge(&facts, p);
    if (p->refusal && drop_kept(q)) {
        q->fresh = true;
        return false;
    }
    unlink_query(q);
    complete(q);
    return true;
}

/* Azure's word on the subscription itself is a finding like any other. */
static bool is_foreign_ground(const struct read *r)
{
    return r->state == READ_FAILED &&
           strcasecmp(r->error.upstream_code, "SubscriptionNotFound") == 0;
}

static void ask_singly(struct query *q)
{
    reads_leave(q->reads[READ_VMS]);
    q->reads[READ_VMS] = NULL;
    q->facts.crowded = false;
}

/* True where the query has ended. */
static bool advance_query(struct query *q)
{
    bool waiting = false;
    for (enum read_kind k = 0; k < READ_KINDS; k++) {
        const char *target = q->reads[k] ? NULL : preflight_target(&q->facts, k);
        if (target)
            q->reads[k] = reads_join(q->jobs, &q->facts, k, target, q->fresh);
        struct read *r = q->reads[k];
        if (!r)
            continue;
        q->facts.no_subscription |= is_foreign_ground(r);
        if (k == READ_VMS && r->state == READ_FAILED) {
            ask_singly(q); /* not everybody who may read a VM may list them */
            continue;
        }
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
    return judge(q) || advance_query(q); /* once more at most: by then nothing is of before */
}

void query_read_settled(struct jobs *j)
{
    struct query *next;
    for (struct query *q = j->queries; q; q = next) {
        next = q->next;
        advance_query(q);
    }
}

static enum err open_facts(struct jobs *j, struct arena *a, struct jobs_preflight *p,
                           struct preflight_facts *f, struct err_info *e)
{
    struct vm *vm = ARENA_NEW(p->arena, struct vm);
    enum err err = OK;
    p->plan = vm_plan_of(p->arena, &p->vm, p->spec);
    if (!p->guessed)
        err = store_get_vm(j->config.store, p->arena, p->plan->vm_id, vm, e);
    else if (store_peek_vm(j->config.store, p->arena, p->plan->vm_id, vm))
        p->guessed = false;
    p->row = err || p->guessed ? NULL : vm;
    *f = (struct preflight_facts){
        .arena = a, .ref = &p->vm, .spec = p->spec, .plan = p->plan, .vm = p->row};
    return err == ERR_NOT_FOUND ? OK : err;
}

static void begin(struct task *t)
{
    struct query *q = CONTAINER_OF(t, struct query, task);
    struct jobs *j = q->jobs;
    struct err_info e = {0};
    q->next = j->queries;
    j->queries = q;
    q->began = engine_now(j);
    enum err err = open_facts(j, q->arena, q->p, &q->facts, &e);
    if (err) {
        fail_query(q, err, &e);
        return;
    }
    q->facts.crowded = reads_crowded(j, &q->facts);
    if (advance_query(q))
        return;
    q->timeout.fn = on_timeout;
    q->timed = true;
    engine_delay(j, &q->timeout, j->config.query_timeout_ms);
}

void jobs_query_preflight_vm(struct jobs *j, struct jobs_preflight *p)
{
    struct query *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    p->guessed = false;
    q->jobs = j;
    q->p = p;
    q->arena = arena_new();
    q->task.fn = begin;
    if (atomic_load(&j->stopping)) {
        p->info = ARENA_NEW(p->arena, struct err_info);
        p->err = err_set(p->info, ERR_UNAVAILABLE, "the gateway is stopping");
        complete(q);
        return;
    }
    engine_push(j, &q->task);
}

/* ---- without waiting ---- */

/* Answers of all reads that are needed; false where one of them is not kept. */
static bool find_all_kept(struct jobs *j, struct preflight_facts *f, int64_t *observed_at)
{
    for (enum read_kind k = 0; k < READ_KINDS; k++) {
        const char *target = preflight_target(f, k);
        int64_t at = 0;
        if (!target)
            continue;
        if (!reads_find_kept(j, target, &f->read[k], &at))
            return false;
        if (at < *observed_at)
            *observed_at = at;
    }
    return true;
}

bool jobs_preflight_kept(struct jobs *j, struct jobs_preflight *p)
{
    struct preflight_facts f;
    p->guessed = p->spec && !p->wants_calls && !p->wants_row;
    if (open_facts(j, p->arena, p, &f, NULL))
        return false;
    f.crowded = true;
    p->observed_at = engine_now(j);
    bool known = find_all_kept(j, &f, &p->observed_at);
    if (known) {
        p->err = OK;
        preflight_judge(&f, p);
    }
    for (int k = 0; k < READ_KINDS; k++)
        json_decref(f.read[k].body);
    return known && !p->refusal;
}

/* ---- life ---- */

void query_start(struct jobs *j)
{
    reads_start(j);
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
    reads_stop(j);
}
