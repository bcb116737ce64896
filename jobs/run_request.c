/* Requests: intent first, then the wire, then the answer. */
#include "jobs/run.h"

#include "core/keyring.h"

#include <string.h>

#define ROUNDS_MAX 40 /* requests of one visit; more is a loop */
#define PAUSE_MS   1000

/* ---- requests ---- */

void run_read(struct run *r)
{
    struct step_next next;
    r->work.now = engine_now(r->jobs);
    r->work.random = engine_random();
    if (r->superseded) {
        run_end(r, INT64_MAX);
        return;
    }
    if (r->verb != VERB_POLL || !step_read_pending(&r->work, r->row, &r->vars, r->reply, &next)) {
        if (!run_load(r))
            return;
        step_read(&r->work, r->def, r->row, &r->vars, r->job.undoing, r->verb, r->reply, &next);
    }
    arm_reply_free(TAKE(r->reply));
    run_apply(r, &next);
}

static void read_reply(struct run *r)
{
    atomic_fetch_sub(&r->jobs->in_flight, 1);
    run_read(r);
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
                              .if_none_match = q->if_none_match,
                              .poll = q->verb == VERB_POLL};
    r->then = read_reply;
    r->task.fn = run_task_then;
    atomic_fetch_add(&r->jobs->in_flight, 1);
    engine_send(r->jobs, &req, &r->reply, &r->task);
}

static void build_and_send(struct run *r)
{
    struct step_request q;
    if (r->superseded) {
        run_end(r, INT64_MAX);
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
    enum err err = store_get_secret(c->store, r->arena, r->job.id, RUN_PASSWORD, &sealed, e);
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

/* The token is good from when it may be out. It is the same each time that the job sends the VM. */
static void add_enrollment(struct run *r)
{
    if (!r->secrets.token || !r->work.vars.new_vm)
        return;
    r->enrollment = (struct enrollment_new){.hash = enrollment_text(r->arena, r->token),
                                            .expires_at = r->work.now + ENROLLMENT_MS};
    r->advance.enrollment = &r->enrollment;
}

/* Another job may count on the group that was empty a moment ago, and a VM may even be there by now. */
static void leave_group(struct run *r)
{
    r->vars.go = false;
    r->vars.kept = true;
    r->row->attempts--;
    r->row->detail = "left in place: another VM of this gateway belongs to it";
    run_apply(r, &(struct step_next){.kind = NEXT_DONE});
}

static void commit_intent(struct run *r, bool sends_vm)
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
    run_advance(r);
    run_add_row(r);
    run_add_state(r, JOB_RUNNING);
    if (r->job.undoing && r->def->undo == UNDO_IF_EMPTY) {
        r->advance.unless_vm_below = r->def->id(r->work.plan);
        r->refused = leave_group;
    }
    if (sends_vm)
        add_enrollment(r);
    run_commit(r, build_and_send);
}

/* ARM told when to come again; asking sooner only costs. */
static bool is_held(struct run *r, struct step_next *n)
{
    struct step_request q;
    step_build(&r->work, r->def, r->row, &r->vars, r->job.undoing, &q);
    buf_free(&q.body);
    r->op = arm_op_of(q.method);
    int64_t at = arm_not_before(r->jobs->config.arm, r->job.subscription_id, r->op);
    bool empty = at > r->work.now;
    if (q.verb == VERB_POLL && r->row->poll_not_before > at)
        at = r->row->poll_not_before;
    if (at <= r->work.now)
        return false;
    *n = (struct step_next){.kind = NEXT_WAIT,
                            .due_at = at + 10 + (int64_t)(engine_random() % 500),
                            .throttled = q.verb != VERB_POLL,
                            .takes_turns = empty};
    return true;
}

void run_request(struct run *r)
{
    struct step_next n = {.kind = NEXT_FAIL};
    r->work.now = engine_now(r->jobs);
    if (r->superseded || r->jobs->stopping) {
        run_end(r, INT64_MAX);
        return;
    }
    if (++r->rounds > ROUNDS_MAX) {
        n = (struct step_next){.kind = NEXT_WAIT, .due_at = r->work.now + PAUSE_MS};
        run_apply(r, &n);
        return;
    }
    bool sends_vm = r->def->is_vm && r->def->kind == STEP_MAKE && r->vars.go && !r->job.undoing;
    if (sends_vm && load_secrets(r, &n.error)) {
        run_apply(r, &n);
        return;
    }
    if (is_held(r, &n)) {
        run_apply(r, &n);
        return;
    }
    if (r->vars.go)
        commit_intent(r, sends_vm);
    else
        build_and_send(r);
}
