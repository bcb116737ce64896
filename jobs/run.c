#include "jobs/engine.h"

#include "core/keyring.h"
#include "core/log.h"
#include "jobs/enrollment.h"

#include <string.h>

#define ROUNDS_MAX      40 /* requests of one visit; more is a loop */
#define RECOMMIT_MS     1000
#define SECRET_PASSWORD "password"

static void visit(struct run *r);
static void request(struct run *r);
static void undo_next(struct run *r);
static void fail(struct run *r, const struct step_next *n);

/* ---- life ---- */

unsigned run_bucket(const char *job_id)
{
    unsigned h = 2166136261u;
    for (; *job_id; job_id++)
        h = (h ^ (unsigned char)*job_id) * 16777619u;
    return h % RUNS_BUCKETS;
}

struct run *run_find(const struct jobs *j, const char *job_id)
{
    for (struct run *r = j->by_id[run_bucket(job_id)]; r; r = r->hash_next)
        if (strcmp(r->job.id, job_id) == 0 && !r->superseded)
            return r;
    return NULL;
}

void batch_release(struct batch *b)
{
    if (--b->refs > 0)
        return;
    arena_free(b->arena);
    free(b);
}

static struct subscription *subscription_of(struct jobs *j, const char *id)
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

static void link_run(struct run *r)
{
    struct jobs *j = r->jobs;
    pthread_mutex_lock(&j->lock);
    struct run *old = run_find(j, r->job.id);
    if (old)
        old->superseded = true; /* its lease was over; the new claim's epoch fences its writes */
    struct run **head = &j->by_id[run_bucket(r->job.id)];
    r->hash_next = *head;
    *head = r;
    j->n_runs++;
    pthread_mutex_unlock(&j->lock);
    r->all_next = j->runs;
    if (j->runs)
        j->runs->all_prev = r;
    j->runs = r;
    subscription_of(j, r->job.subscription_id)->runs++;
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
    subscription_of(j, r->job.subscription_id)->runs--;
}

static void free_run(struct run *r)
{
    arm_reply_free(r->reply);
    arena_free(r->arena);
    batch_release(r->batch);
    free(r);
}

/* Let go; whoever told of a due time in the meantime is heard now. */
static void end(struct run *r, int64_t due_at)
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

/* ---- committing ---- */

static void task_then(struct task *t)
{
    struct run *r = CONTAINER_OF(t, struct run, task);
    r->then(r);
}

static void commit_again(struct task *t);

/* Back on the engine thread. What could not be written is written again until it can be: the answer
 * in hand may be the only trace of what Azure did. */
static void committed(struct task *t)
{
    struct run *r = CONTAINER_OF(t, struct run, task);
    if (r->done.err == ERR_UNAVAILABLE) {
        if (atomic_exchange(&r->jobs->ready_flag, false))
            log_error("jobs: the store cannot write", LOG_S("error", r->done.info.detail));
        r->task.fn = commit_again;
        engine_delay(r->jobs, &r->task, RECOMMIT_MS);
        return;
    }
    if (r->done.err) {
        log_warn("job lost", LOG_S("jobId", r->job.id), LOG_S("code", err_code(r->done.err)),
                 LOG_S("error", r->done.info.detail));
        end(r, INT64_MAX);
        return;
    }
    bool canceling = r->advanced.state == JOB_CANCELING;
    if (r->job.state != r->advanced.state)
        log_info("job", LOG_S("jobId", r->job.id), LOG_S("kind", r->job.kind),
                 LOG_S("state", job_state_text(r->advanced.state)),
                 LOG_S("step", r->row ? r->row->name : ""));
    r->job.state = r->advanced.state;
    if (canceling && !r->job.cancel_requested_at)
        r->job.cancel_requested_at = r->work.now;
    r->then(r);
}

static void on_committed(struct store_done *done)
{
    struct run *r = done->user;
    struct jobs *j = r->jobs;
    pthread_mutex_lock(&j->lock);
    j->store_writes--;
    pthread_mutex_unlock(&j->lock);
    r->task.fn = committed;
    engine_push(j, &r->task);
}

static void on_enrolled(struct store_done *done)
{
    struct run *r = done->user;
    struct jobs *j = r->jobs;
    r->task.fn = task_then;
    pthread_mutex_lock(&j->lock);
    j->store_writes--;
    pthread_mutex_unlock(&j->lock);
    engine_push(j, &r->task);
}

static void submit_commit(struct run *r)
{
    struct jobs *j = r->jobs;
    r->done = (struct store_done){.fn = on_committed, .user = r};
    pthread_mutex_lock(&j->lock);
    j->store_writes++;
    if (r->advance.set & JOB_RELEASE)
        r->poked = INT64_MAX;
    pthread_mutex_unlock(&j->lock);
    store_advance_job(j->config.store, &r->advance, &r->advanced, &r->done);
}

static void commit_again(struct task *t)
{
    struct run *r = CONTAINER_OF(t, struct run, task);
    submit_commit(r);
}

/* A move that keeps the lease; the parts below add to it. */
static struct job_advance *advance(struct run *r)
{
    r->work.now = engine_now(r->jobs);
    r->advance = (struct job_advance){.job_id = r->job.id,
                                      .epoch = r->job.epoch,
                                      .now = r->work.now,
                                      .set = JOB_SET_LEASE,
                                      .lease_until = r->work.now + LEASE_MS,
                                      .steps = r->commit_rows,
                                      .events = r->events,
                                      .vms = r->vm_writes,
                                      .wipe = r->wipes};
    return &r->advance;
}

static void commit(struct run *r, run_fn *then)
{
    r->then = then;
    submit_commit(r);
}

static const char *encode(struct run *r, const struct schema *s, const void *in)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    json_encode(&w, s, in);
    const char *text = arena_strndup(r->arena, out.data, out.len);
    buf_free(&out);
    return text;
}

static void add_row(struct run *r)
{
    r->row->vars = encode(r, &step_vars_schema, &r->vars);
    r->commit_rows[r->advance.n_steps++] = *r->row;
}

static void add_event(struct run *r, const char *type, const char *data)
{
    r->events[r->advance.n_events++] = (struct event_new){.type = type, .data = data};
}

static void add_step_event(struct run *r)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '{');
    jw_key_str(&w, "step", r->row->name);
    jw_key_str(&w, "state", step_state_text(r->row->state));
    jw_key_str_opt(&w, "detail", r->row->detail);
    jw_close(&w, '}');
    add_event(r, "step", arena_strndup(r->arena, out.data, out.len));
    buf_free(&out);
}

static void add_state(struct run *r, enum job_state state)
{
    struct job_advance *a = &r->advance;
    a->set |= JOB_SET_STATE;
    a->state = state;
    bool hidden = r->job.state == JOB_CANCELING && !job_state_terminal(state);
    if (state != r->job.state && !hidden)
        add_event(r, "state", arena_printf(r->arena, "{\"state\":\"%s\"}", job_state_text(state)));
}

/* The commit's one change of the registry row. */
static struct vm_write *add_vm(struct run *r)
{
    if (!r->advance.n_vms++)
        r->vm_writes[0] = (struct vm_write){.resource_id = r->work.plan->vm_id};
    r->advance.n_vms = 1;
    return &r->vm_writes[0];
}

/* ---- the registry's part ---- */

/* {"owner":...,"resources":[ids]}: what DELETE takes away. The group is not among them. */
static const char *made_text(struct run *r)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    AUTO(json) json_t *old = NULL;
    const char *had = r->work.vm ? r->work.vm->made : NULL;
    if (!had || json_parse(BYTES_STR(had), &old, NULL))
        old = NULL;
    jw_open(&w, '{');
    jw_key_str(&w, "owner", r->work.vars.owner);
    jw_key(&w, "resources");
    jw_open(&w, '[');
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(old, "resources"), i, item)
        jw_str(&w, json_string_value(item));
    for (int s = 0; s < r->job.n_steps; s++) {
        const struct step_def *d = workflow_step(r->flow, r->job.steps[s].name);
        if (!r->job.steps[s].created || d->undo == UNDO_IF_EMPTY || d->kind != STEP_MAKE)
            continue;
        const char *id = d->id(r->work.plan);
        if (!had || !strcasestr(had, arena_printf(r->arena, "\"%s\"", id)))
            jw_str(&w, id);
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    const char *text = arena_strndup(r->arena, out.data, out.len);
    buf_free(&out);
    return text;
}

static void add_made(struct run *r)
{
    if (strcmp(r->job.kind, KIND_VM_PUT) != 0)
        return;
    struct vm_write *v = add_vm(r);
    v->set |= VM_SET_MADE | VM_ONLY_IF_THERE;
    v->made = made_text(r);
    bool known = r->work.vm && r->work.vm->vm_id && r->work.vm_id &&
                 strcasecmp(r->work.vm->vm_id, r->work.vm_id) == 0;
    if (r->work.vm_id && !known) {
        v->set |= VM_SET_VM_ID;
        v->vm_id = r->work.vm_id;
    }
}

/* ---- ending ---- */

static const char *error_text(struct run *r, const struct step_next *n)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '{');
    jw_key_str(&w, "code", n->reason ? n->reason : err_code(n->error.code));
    jw_key_str(&w, "detail", n->error.detail);
    if (n->error.remedy[0])
        jw_key_str(&w, "remedy", n->error.remedy);
    if (r->row)
        jw_key_str(&w, "step", r->row->name);
    if (n->error.upstream_code[0] || n->error.upstream_request_id[0]) {
        jw_key(&w, "upstream");
        jw_open(&w, '{');
        if (n->error.upstream_code[0])
            jw_key_str(&w, "code", n->error.upstream_code);
        if (n->error.upstream_request_id[0])
            jw_key_str(&w, "requestId", n->error.upstream_request_id);
        jw_close(&w, '}');
    }
    jw_close(&w, '}');
    const char *text = arena_strndup(r->arena, out.data, out.len);
    buf_free(&out);
    return text;
}

static void ended(struct run *r)
{
    end(r, INT64_MAX);
}

static void finish(struct run *r, enum job_state state)
{
    atomic_fetch_add(state == JOB_SUCCEEDED  ? &r->jobs->jobs_succeeded
                     : state == JOB_CANCELED ? &r->jobs->jobs_canceled
                                             : &r->jobs->jobs_failed,
                     1);
    r->advance.set &= ~(unsigned)JOB_SET_LEASE;
    add_state(r, state);
    commit(r, ended);
}

static void succeed(struct run *r)
{
    struct buf out = {0};
    struct job_advance *a = advance(r);
    r->row = NULL;
    r->flow->result(&r->work, &out);
    a->set |= JOB_SET_RESULT;
    a->result = arena_strndup(r->arena, out.data, out.len);
    buf_free(&out);
    struct vm_write *v = add_vm(r);
    if (strcmp(r->job.kind, KIND_VM_DELETE) == 0) {
        v->set = VM_DELETE | VM_ONLY_IF_THERE;
    } else {
        spec_vm_write(r->arena, r->work.plan, r->job.spec, v);
        v->set = VM_SET_STATE | VM_SET_SPEC | VM_SET_EXPECT | VM_ONLY_IF_THERE;
        v->state = "ready";
    }
    finish(r, JOB_SUCCEEDED);
}

/* The undo is over. What the job made is gone, or said to be left. */
static void finish_undone(struct run *r)
{
    struct job_advance *a = advance(r);
    bool put = strcmp(r->job.kind, KIND_VM_PUT) == 0;
    r->row = NULL;
    if (put || r->work.vm) {
        struct vm_write *v = add_vm(r);
        v->set = VM_ONLY_IF_THERE |
                 (put && r->work.vars.new_vm && !r->work.vars.partial ? VM_DELETE : VM_SET_STATE);
        v->state = "failed";
    }
    a->set |= JOB_SET_VARS;
    a->vars = encode(r, &vm_vars_schema, &r->work.vars);
    finish(r, r->job.state == JOB_CANCELING ? JOB_CANCELED : JOB_FAILED);
}

/* ---- undoing ---- */

static void begin_undo(struct run *r, const struct step_next *n)
{
    struct job_advance *a = advance(r);
    a->set |= JOB_SET_ERROR | JOB_SET_UNDOING | JOB_SET_STATE;
    a->error = error_text(r, n);
    a->undoing = true;
    a->state = JOB_RUNNING;
    r->job.error = a->error;
    r->job.undoing = true;
    if (r->row->state != STEP_PENDING) {
        add_row(r);
        add_step_event(r);
    }
    commit(r, undo_next);
}

static void load_row(struct run *r, int seq)
{
    r->row = &r->job.steps[seq];
    r->def = workflow_step(r->flow, r->row->name);
    r->vars = (struct step_vars){0};
    if (r->row->vars &&
        json_decode_text(BYTES_STR(r->row->vars), &step_vars_schema, r->arena, &r->vars, NULL))
        r->vars = (struct step_vars){0};
}

/* From the last step back to the first; the current one of them is in state undoing. */
static void undo_next(struct run *r)
{
    for (int s = r->job.n_steps - 1; s >= 0; s--) {
        load_row(r, s);
        if (r->row->state != STEP_UNDOING &&
            !(step_needs_undo(&r->work, r->def, r->row, &r->vars) && !r->vars.kept))
            continue;
        if (r->row->state != STEP_UNDOING) {
            bool failed = r->row->state == STEP_FAILED;
            r->row->state = STEP_UNDOING;
            r->row->created = true;
            r->row->intent_method = NULL;
            r->row->poll_url = NULL;
            r->row->poll_kind = NULL;
            r->row->poll_not_before = 0;
            r->vars = (struct step_vars){.failed = failed};
        }
        request(r);
        return;
    }
    finish_undone(r);
}

static void undone(struct run *r)
{
    r->row->state = r->vars.failed ? STEP_FAILED : STEP_UNDONE;
    r->row->created = r->vars.kept;
    r->row->intent_method = NULL;
    r->row->poll_url = NULL;
    r->work.vars.partial |= r->vars.kept;
    r->row->ended_at = r->work.now;
    if (!r->vars.kept && !r->vars.failed)
        r->row->detail = "removed";
    advance(r);
    add_row(r);
    add_step_event(r);
    commit(r, undo_next);
}

static void undo_failed(struct run *r, const struct step_next *n)
{
    r->row->state = STEP_FAILED;
    r->vars.kept = true;
    r->work.vars.partial = true;
    r->row->detail = arena_printf(r->arena, "could not be removed: %s", n->error.detail);
    advance(r);
    add_row(r);
    add_step_event(r);
    commit(r, undo_next);
}

/* ---- what a step came to ---- */

static void step_failed(struct run *r, const struct step_next *n)
{
    if (r->row->state != STEP_PENDING) {
        r->row->state = STEP_FAILED;
        r->row->ended_at = r->work.now;
        r->row->detail = arena_strdup(r->arena, n->error.detail);
    }
    if (!n->keep) {
        begin_undo(r, n);
        return;
    }
    struct job_advance *a = advance(r);
    a->set |= JOB_SET_ERROR;
    a->error = error_text(r, n);
    add_row(r);
    add_step_event(r);
    if (strcmp(r->job.kind, KIND_VM_PUT) == 0) {
        struct vm_write *v = add_vm(r);
        spec_vm_write(r->arena, r->work.plan, r->job.spec, v);
        v->set = VM_SET_STATE | VM_SET_SPEC | VM_SET_EXPECT | VM_ONLY_IF_THERE;
        v->state = "ready";
    }
    finish(r, JOB_FAILED);
}

static void step_done(struct run *r)
{
    r->row->state = STEP_SUCCEEDED;
    r->row->ended_at = r->work.now;
    atomic_fetch_add(&r->jobs->steps_done, 1);
    struct job_advance *a = advance(r);
    a->set |= JOB_SET_STEP;
    a->current_step = r->row->seq + 1;
    r->job.current_step = a->current_step;
    add_row(r);
    add_step_event(r);
    if (r->def->kind == STEP_MAKE)
        add_made(r);
    if (r->job.state == JOB_WAITING)
        add_state(r, JOB_RUNNING);
    commit(r, visit);
}

static void released(struct run *r)
{
    bool now = r->advanced.woken || r->advanced.cancel_requested;
    end(r, now && !r->job.undoing ? 0 : r->advance.due_at);
}

static bool password_is_spent(const struct run *r)
{
    return r->def->is_vm && r->def->kind == STEP_MAKE && r->row->poll_url && r->verb == VERB_SEND &&
           r->secrets.password;
}

static void step_waits(struct run *r, const struct step_next *n)
{
    bool changed = r->row->state != STEP_WAITING && r->row->state != STEP_UNDOING;
    if (changed)
        r->row->state = STEP_WAITING;
    if (n->error.code != OK)
        r->row->detail = arena_printf(r->arena, "tries again: %s", n->error.detail);
    struct job_advance *a = advance(r);
    a->set = (a->set & ~(unsigned)JOB_SET_LEASE) | JOB_RELEASE | JOB_SET_WAKE;
    a->due_at = n->due_at > r->work.now ? n->due_at : r->work.now;
    a->wake_key = n->wake_key;
    add_row(r);
    if (changed)
        add_step_event(r);
    add_state(r, JOB_WAITING);
    if (r->def->kind == STEP_MAKE && !r->job.undoing && r->verb == VERB_SEND)
        add_made(r);
    if (password_is_spent(r))
        r->wipes[a->n_wipe++] = SECRET_PASSWORD;
    commit(r, released);
}

static void apply(struct run *r, const struct step_next *n)
{
    if (n->throttled)
        atomic_fetch_add(&r->jobs->arm_throttled, 1);
    else if (n->kind == NEXT_WAIT && n->error.code != OK)
        atomic_fetch_add(&r->jobs->arm_retries, 1);
    switch (n->kind) {
    case NEXT_BUILD:
        request(r);
        return;
    case NEXT_WAIT:
        step_waits(r, n);
        return;
    case NEXT_DONE:
        if (r->job.undoing)
            undone(r);
        else
            step_done(r);
        return;
    case NEXT_FAIL:
        fail(r, n);
        return;
    }
}

static void fail(struct run *r, const struct step_next *n)
{
    if (r->job.undoing)
        undo_failed(r, n);
    else
        step_failed(r, n);
}

/* ---- requests ---- */

static void read_reply(struct run *r)
{
    struct step_next next;
    r->work.now = engine_now(r->jobs);
    r->work.random = engine_random();
    atomic_fetch_sub(&r->jobs->in_flight, 1);
    if (r->superseded) {
        end(r, INT64_MAX);
        return;
    }
    step_read(&r->work, r->def, r->row, &r->vars, r->job.undoing, r->verb, r->reply, &next);
    arm_reply_free(TAKE(r->reply));
    apply(r, &next);
}

static void send_built(struct run *r, const struct step_request *q)
{
    struct arm_request req = {.method = q->method,
                              .subscription = r->job.subscription_id,
                              .target = q->target,
                              .body = buf_bytes(&q->body),
                              .client_request_id =
                                  q->verb == VERB_SEND ? r->row->intent_request_id : NULL,
                              .correlation_id = r->job.id,
                              .traceparent = r->job.traceparent,
                              .if_none_match = q->if_none_match};
    r->then = read_reply;
    r->task.fn = task_then;
    atomic_fetch_add(&r->jobs->in_flight, 1);
    engine_send(r->jobs, &req, &r->reply, &r->task);
}

static void build_and_send(struct run *r)
{
    struct step_request q;
    if (r->superseded) {
        end(r, INT64_MAX);
        return;
    }
    step_build(&r->work, r->def, r->row, &r->vars, r->job.undoing, &q);
    r->verb = q.verb;
    send_built(r, &q);
    buf_free(&q.body);
}

static enum err load_token(struct run *r, struct err_info *e)
{
    return enrollment_token(r->jobs->config.keyring, (uint32_t)r->work.vars.enrollment_key,
                            r->job.id, r->work.plan->vm_id, r->token, e);
}

/* Token and password, only when a VM is about to be sent. */
static enum err load_secrets(struct run *r, struct err_info *e)
{
    const struct jobs_config *c = &r->jobs->config;
    const struct vm_plan *p = r->work.plan;
    r->secrets.gateway = c->public_url;
    if (p->vtpm) {
        enum err err = load_token(r, e);
        if (err)
            return err;
        r->secrets.token = r->token;
    }
    if (!p->has_password || !r->vars.absent) /* Azure takes no password for one that exists */
        return OK;
    struct bytes sealed;
    struct bytes clear;
    enum err err = store_get_secret(c->store, r->arena, r->job.id, SECRET_PASSWORD, &sealed, e);
    if (err == ERR_NOT_FOUND) {
        err_set(e, ERR_INVALID_STATE, "the password was forgotten after its first use");
        err_remedy(e, "Submit the VM again.");
        return ERR_INVALID_STATE;
    }
    if (!err)
        err = keyring_open_sealed(c->keyring, r->arena, sealed, BYTES_STR(r->job.id), &clear, e);
    if (!err)
        r->secrets.password = arena_strndup(r->arena, (const char *)clear.data, clear.len);
    return err;
}

static void commit_intent(struct run *r)
{
    struct step_request q;
    char id[UUID_SIZE];
    uuid_v4(id);
    step_build(&r->work, r->def, r->row, &r->vars, r->job.undoing, &q);
    buf_free(&q.body);
    r->row->intent_method = arm_method_name(q.method);
    r->row->intent_url = q.target;
    r->row->intent_request_id = arena_strdup(r->arena, id);
    r->row->intent_at = r->work.now;
    r->row->attempts++;
    if (r->row->state != STEP_UNDOING)
        r->row->state = STEP_RUNNING;
    advance(r);
    add_row(r);
    add_state(r, JOB_RUNNING);
    commit(r, build_and_send);
}

/* ARM told when to come again; asking sooner only costs. */
static bool is_held(struct run *r, struct step_next *n)
{
    struct step_request q;
    step_build(&r->work, r->def, r->row, &r->vars, r->job.undoing, &q);
    buf_free(&q.body);
    int64_t at = arm_not_before(r->jobs->config.arm, r->job.subscription_id, arm_op_of(q.method));
    if (q.verb == VERB_POLL && r->row->poll_not_before > at)
        at = r->row->poll_not_before;
    if (at <= r->work.now)
        return false;
    *n = (struct step_next){.kind = NEXT_WAIT,
                            .due_at = at + 10 + (int64_t)(engine_random() % 500),
                            .throttled = q.verb != VERB_POLL};
    return true;
}

static void request(struct run *r)
{
    struct step_next n = {.kind = NEXT_FAIL};
    r->work.now = engine_now(r->jobs);
    if (r->superseded || r->jobs->stopping) {
        end(r, INT64_MAX);
        return;
    }
    if (++r->rounds > ROUNDS_MAX) {
        n = (struct step_next){.kind = NEXT_WAIT, .due_at = r->work.now + RECOMMIT_MS};
        apply(r, &n);
        return;
    }
    bool sends_vm = r->def->is_vm && r->def->kind == STEP_MAKE && r->vars.go && !r->job.undoing;
    if (sends_vm && load_secrets(r, &n.error)) {
        apply(r, &n);
        return;
    }
    if (is_held(r, &n)) {
        apply(r, &n);
        return;
    }
    if (r->vars.go)
        commit_intent(r);
    else
        build_and_send(r);
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
    apply(r, &n);
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
    struct job_advance *a = advance(r);
    a->set |= JOB_SET_WAKE;
    a->wake_key = r->work.vm_id ? jobs_wake_key(r->arena, r->work.vm_id) : NULL;
    if (!r->row->started_at)
        r->row->started_at = r->work.now;
    commit(r, await_armed);
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
        load_row(r, s);
        return true;
    }
    return false;
}

static void visit(struct run *r)
{
    struct step_next n;
    r->work.now = engine_now(r->jobs);
    if (r->superseded || r->jobs->stopping) {
        end(r, INT64_MAX);
        return;
    }
    if (r->job.undoing) {
        undo_next(r);
        return;
    }
    if (!find_step(r)) {
        succeed(r);
        return;
    }
    if (must_stop(r, &n)) {
        step_failed(r, &n);
        return;
    }
    if (r->def->kind == STEP_AWAIT) {
        arm_await(r);
        return;
    }
    if (!r->row->started_at)
        r->row->started_at = r->work.now;
    request(r);
}

/* ---- beginning ---- */

static enum err load_work(struct run *r, struct err_info *e)
{
    struct jobs *j = r->jobs;
    struct vm *vm = ARENA_NEW(r->arena, struct vm);
    r->flow = workflow_find(r->job.kind);
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
    r->work.endpoint = arm_endpoint(j->config.arm, r->job.subscription_id);
    if (!r->work.endpoint)
        return err_set(e, ERR_UPSTREAM_FORBIDDEN, "no identity is configured for subscription %s",
                       r->job.subscription_id);
    return OK;
}

/* A job that was undone and is retried has lost its row and its enrolment. */
static void restore_registry(struct run *r)
{
    const struct vm_plan *p = r->work.plan;
    struct vm_write *v = add_vm(r);
    r->work.vars.new_vm = true;
    spec_vm_write(r->arena, p, r->job.spec, v);
    struct job_advance *a = &r->advance;
    a->set |= JOB_SET_VARS;
    a->vars = encode(r, &vm_vars_schema, &r->work.vars);
}

/* Its token is the same as ever; where it is known already the refusal does not matter. */
static void restored(struct run *r)
{
    struct enrollment_put *in = ARENA_NEW(r->arena, struct enrollment_put);
    struct err_info e;
    if (!r->work.plan->vtpm || load_token(r, &e)) {
        visit(r);
        return;
    }
    *in = (struct enrollment_put){.hash = enrollment_text(r->arena, r->token),
                                  .resource_id = r->work.plan->vm_id,
                                  .expires_at = r->work.now + ENROLLMENT_MS,
                                  .now = r->work.now,
                                  .audit = {.principal_id = r->job.created_by_id,
                                            .principal = r->job.created_by,
                                            .action = "enrollment.restore",
                                            .resource_id = r->work.plan->vm_id,
                                            .request_id = r->job.request_id,
                                            .traceparent = r->job.traceparent}};
    r->then = visit;
    r->done = (struct store_done){.fn = on_enrolled, .user = r};
    pthread_mutex_lock(&r->jobs->lock);
    r->jobs->store_writes++;
    pthread_mutex_unlock(&r->jobs->lock);
    store_put_enrollment(r->jobs->config.store, in, NULL, &r->done);
}

static void begin_failed(struct run *r, const struct err_info *e)
{
    struct step_next n = {.kind = NEXT_FAIL, .keep = true, .error = *e};
    struct job_advance *a = advance(r);
    a->set |= JOB_SET_ERROR;
    a->error = error_text(r, &n);
    finish(r, JOB_FAILED);
}

void run_start(struct jobs *j, struct batch *b, const struct job *job)
{
    struct err_info e = {0};
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
    link_run(r);
    if (load_work(r, &e)) {
        begin_failed(r, &e);
        return;
    }
    r->secrets.owner = r->work.vars.owner;
    bool put = strcmp(r->job.kind, KIND_VM_PUT) == 0;
    if (put && !r->work.vm && !r->job.undoing && r->job.state != JOB_CANCELING) {
        advance(r);
        restore_registry(r);
        commit(r, restored);
        return;
    }
    visit(r);
}
