#include "jobs/run.h"

#include "core/log.h"
#include "jobs/polls.h"

#include <string.h>

/* ---- life ---- */

unsigned run_hash(const char *job_id)
{
    unsigned h = 2166136261u;
    for (; *job_id; job_id++)
        h = (h ^ (unsigned char)*job_id) * 16777619u;
    return h;
}

static unsigned run_bucket(const char *job_id)
{
    return run_hash(job_id) % RUNS_BUCKETS;
}

static struct run *run_find(const struct jobs *j, const char *job_id)
{
    for (struct run *r = j->by_id[run_bucket(job_id)]; r; r = r->hash_next)
        if (strcmp(r->job.id, job_id) == 0 && !r->superseded)
            return r;
    return NULL;
}

struct batch *batch_new(void)
{
    struct batch *b = calloc(1, sizeof *b);
    if (!b)
        abort();
    b->arena = arena_new();
    b->refs = 1;
    return b;
}

void batch_release(struct batch *b)
{
    if (--b->refs > 0)
        return;
    arena_free(b->arena);
    free(b);
}

struct subscription *engine_subscription(struct jobs *j, const char *id)
{
    for (struct subscription *s = j->subscriptions; s; s = s->next)
        if (strcasecmp(s->id, id) == 0)
            return s;
    struct subscription *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    snprintf(s->id, sizeof s->id, "%s", id);
    s->next = j->subscriptions;
    j->subscriptions = s;
    return s;
}

int64_t engine_turn(struct subscription *s, enum arm_op op, int64_t at)
{
    static const int64_t gap_ms[ARM_OPS] = {
        [ARM_OP_READ] = 20, [ARM_OP_WRITE] = 50, [ARM_OP_DELETE] = 50};
    int64_t next = s->last_turn[op] + gap_ms[op];
    s->last_turn[op] = at > next ? at : next;
    return s->last_turn[op];
}

bool run_poke(struct jobs *j, const char *job_id, int64_t due_at, bool canceled)
{
    struct run *r = run_find(j, job_id);
    if (r && due_at < r->poked)
        r->poked = due_at;
    if (r)
        r->canceled |= canceled;
    return r != NULL;
}

static void link_run(struct run *r)
{
    struct jobs *j = r->jobs;
    pthread_mutex_lock(&j->lock);
    struct run *old = run_find(j, r->job.id);
    if (old)
        old->superseded = true; /* its lease was over; the new claim's epoch fences its writes */
    polls_supersede(j, r->job.id);
    struct run **head = &j->by_id[run_bucket(r->job.id)];
    r->hash_next = *head;
    *head = r;
    j->n_runs++;
    pthread_mutex_unlock(&j->lock);
    r->all_next = j->runs;
    if (j->runs)
        j->runs->all_prev = r;
    j->runs = r;
    engine_subscription(j, r->job.subscription_id)->runs++;
}

static void unlink_run(struct run *r)
{
    struct jobs *j = r->jobs;
    pthread_mutex_lock(&j->lock);
    struct run **p = &j->by_id[run_bucket(r->job.id)];
    while (*p != r)
        p = &(*p)->hash_next;
    *p = r->hash_next;
    j->n_runs--;
    pthread_mutex_unlock(&j->lock);
    if (r->all_prev)
        r->all_prev->all_next = r->all_next;
    else
        j->runs = r->all_next;
    if (r->all_next)
        r->all_next->all_prev = r->all_prev;
    engine_subscription(j, r->job.subscription_id)->runs--;
}

static void free_run(struct run *r)
{
    arm_reply_free(r->reply);
    arena_free(r->arena);
    batch_release(r->batch);
    free(r);
}

/* Let go; whoever told of a due time in the meantime is heard now. */
void run_end(struct run *r, int64_t due_at)
{
    struct jobs *j = r->jobs;
    pthread_mutex_lock(&j->lock);
    int64_t due = r->poked < due_at ? r->poked : due_at;
    pthread_mutex_unlock(&j->lock);
    bool superseded = r->superseded;
    unlink_run(r);
    free_run(r);
    if (!superseded)
        engine_due(j, due);
}

void runs_free(struct jobs *j)
{
    while (j->runs) {
        struct run *r = j->runs;
        unlink_run(r);
        free_run(r);
    }
    while (j->subscriptions) {
        struct subscription *s = j->subscriptions;
        j->subscriptions = s->next;
        free(s);
    }
}

/* ---- a visit ---- */

static void await(struct run *r)
{
    struct step_next n;
    if (r->row->state == STEP_PENDING) {
        r->row->state = STEP_RUNNING;
        r->row->attempts++;
    }
    r->def->await(&r->work, r->row, &r->vars, &n);
    run_apply(r, &n);
}

/* The key is committed before the report is looked for, so that none slips between. */
static void await_armed(struct run *r)
{
    struct vm *vm = ARENA_NEW(r->arena, struct vm);
    if (store_get_vm(r->jobs->config.store, r->arena, r->work.plan->vm_id, vm, NULL) == OK)
        r->work.vm = vm;
    await(r);
}

static void arm_await(struct run *r)
{
    struct job_advance *a = run_advance(r);
    a->set |= JOB_SET_WAKE;
    a->wake_key = r->work.vm_id ? jobs_wake_key(r->arena, r->work.vm_id) : NULL;
    if (!r->row->started_at)
        r->row->started_at = r->work.now;
    run_commit(r, await_armed);
}

static bool must_stop(struct run *r, struct step_next *n)
{
    *n = (struct step_next){.kind = NEXT_FAIL};
    if (r->job.state == JOB_CANCELING) {
        err_set(&n->error, ERR_CANCELED, "the job was canceled");
        return true;
    }
    if (r->job.deadline_at && r->work.now >= r->job.deadline_at && r->def->kind != STEP_AWAIT) {
        err_set(&n->error, ERR_DEADLINE_EXCEEDED, "not finished within its time");
        err_remedy(&n->error, "Retry the job, or look at the step that waited.");
        return true;
    }
    return false;
}

static bool find_step(struct run *r)
{
    for (int s = 0; s < r->job.n_steps; s++) {
        enum step_state state = r->job.steps[s].state;
        if (state == STEP_SUCCEEDED || state == STEP_SKIPPED)
            continue;
        run_load_row(r, s);
        return true;
    }
    return false;
}

void run_visit(struct run *r)
{
    struct step_next n;
    r->work.now = engine_now(r->jobs);
    if (r->superseded || r->jobs->stopping) {
        run_end(r, INT64_MAX);
        return;
    }
    if (r->job.undoing) {
        run_undo_next(r);
        return;
    }
    if (!find_step(r)) {
        run_succeed(r);
        return;
    }
    if (must_stop(r, &n)) {
        if (run_load(r))
            run_step_failed(r, &n);
        return;
    }
    if (r->def->kind == STEP_AWAIT) {
        arm_await(r);
        return;
    }
    if (!r->row->started_at)
        r->row->started_at = r->work.now;
    run_request(r);
}

/* ---- beginning ---- */

static enum err load_work(struct run *r, struct err_info *e)
{
    struct jobs *j = r->jobs;
    struct vm *vm = ARENA_NEW(r->arena, struct vm);
    if (!r->flow)
        return err_set(e, ERR_INTERNAL, "no workflow %s", r->job.kind);
    enum err err =
        json_decode_text(BYTES_STR(r->job.vars), &vm_vars_schema, r->arena, &r->work.vars, e);
    if (err)
        return err;
    err = store_get_vm(j->config.store, r->arena, r->job.resource_id, vm, e);
    if (err && err != ERR_NOT_FOUND)
        return err;
    struct jobs_vm_ref ref = {.subscription = r->job.subscription_id,
                              .resource_group = r->work.vars.resource_group,
                              .name = r->work.vars.name};
    r->work.vm = err ? NULL : vm;
    r->work.vm_id = r->work.vm ? vm->vm_id : NULL;
    r->work.plan = vm_plan_of(r->arena, &ref, spec_load(r->arena, r->job.spec));
    r->work.max_age_ms = j->config.max_age_ms;
    r->work.endpoint = arm_endpoint(j->config.arm, r->job.subscription_id);
    if (!r->work.endpoint)
        return err_set(e, ERR_UPSTREAM_FORBIDDEN, "no identity is configured for subscription %s",
                       r->job.subscription_id);
    return OK;
}

/* A job that was undone and is retried has lost its row. */
static void restore_registry(struct run *r)
{
    const struct vm_plan *p = r->work.plan;
    struct vm_write *v = run_add_vm(r);
    r->work.vars.new_vm = true;
    r->work.vars.looks_again = 0;
    spec_vm_write(r->arena, p, r->job.spec, v);
    struct job_advance *a = &r->advance;
    a->set |= JOB_SET_VARS;
    a->vars = run_encode(r, &vm_vars_schema, &r->work.vars);
}

static void begin_failed(struct run *r, const struct err_info *e)
{
    struct step_next n = {.kind = NEXT_FAIL, .keep = true, .error = *e};
    struct job_advance *a = run_advance(r);
    a->set |= JOB_SET_ERROR;
    a->error = run_error_text(r, &n);
    run_finish(r, JOB_FAILED);
}

bool run_load(struct run *r)
{
    struct err_info e = {0};
    if (r->loaded)
        return true;
    r->loaded = true;
    enum err err = load_work(r, &e);
    r->secrets.owner = r->work.vars.owner;
    if (err)
        begin_failed(r, &e);
    return !err;
}

/* Nine of ten visits ask how far Azure is and are told to come again; neither takes plan or registry,
 * and to read them would cost more than the rest. */
static bool only_polls(const struct run *r)
{
    const struct job *job = &r->job;
    int s = 0;
    while (s < job->n_steps &&
           (job->steps[s].state == STEP_SUCCEEDED || job->steps[s].state == STEP_SKIPPED))
        s++;
    return job->state == JOB_WAITING && !job->undoing && s < job->n_steps &&
           job->steps[s].state == STEP_WAITING && job->steps[s].poll_url &&
           (!job->deadline_at || r->work.now < job->deadline_at);
}

static struct run *run_new(struct jobs *j, struct batch *b, const struct job *job)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->jobs = j;
    r->batch = b;
    r->arena = arena_new();
    r->job = *job;
    r->poked = INT64_MAX;
    r->work = (struct work){
        .arena = r->arena, .job = &r->job, .secrets = &r->secrets, .now = engine_now(j)};
    r->flow = workflow_find(job->kind);
    link_run(r);
    return r;
}

void run_start(struct jobs *j, struct batch *b, const struct job *job)
{
    struct run *r = run_new(j, b, job);
    if (!(r->flow && only_polls(r)) && !run_load(r))
        return;
    bool put = strcmp(r->job.kind, KIND_VM_PUT) == 0;
    if (r->loaded && put && !r->work.vm && !r->job.undoing && r->job.state != JOB_CANCELING) {
        run_advance(r);
        restore_registry(r);
        run_commit(r, run_visit);
        return;
    }
    run_visit(r);
}

void run_resume(struct jobs *j, struct batch *b, const struct job *job, struct arm_reply *reply)
{
    struct run *r = run_new(j, b, job);
    if (r->flow && only_polls(r) && reply && find_step(r)) {
        r->reply = reply;
        r->verb = VERB_POLL;
        run_read(r);
        return;
    }
    arm_reply_free(reply);
    if ((r->flow && only_polls(r)) || run_load(r))
        run_visit(r);
}
