/* What a step, and the job, came to: done, waiting, failed, undone. */
#include "jobs/polls.h"
#include "jobs/run.h"

#include <string.h>

#define TRIES_AGAIN     "tries again: "
#define LOOKS_AGAIN_MAX 2
#define REMOVAL_WAIT_MS 5000

/* ---- ending ---- */

const char *run_error_text(struct run *r, const struct step_next *n)
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
    run_end(r, INT64_MAX);
}

void run_finish(struct run *r, enum job_state state)
{
    atomic_fetch_add(state == JOB_SUCCEEDED  ? &r->jobs->jobs_succeeded
                     : state == JOB_CANCELED ? &r->jobs->jobs_canceled
                                             : &r->jobs->jobs_failed,
                     1);
    r->advance.set &= ~(unsigned)JOB_SET_LEASE;
    run_add_state(r, state);
    run_commit(r, ended);
}

void run_succeed(struct run *r)
{
    struct buf out = {0};
    struct job_advance *a = run_advance(r);
    r->row = NULL;
    r->flow->result(&r->work, &out);
    a->set |= JOB_SET_RESULT;
    a->result = arena_strndup(r->arena, out.data, out.len);
    buf_free(&out);
    struct vm_write *v = run_add_vm(r);
    if (strcmp(r->job.kind, KIND_VM_DELETE) == 0) {
        v->set = VM_DELETE | VM_ONLY_IF_THERE;
    } else {
        spec_vm_write(r->arena, r->work.plan, r->job.spec, v);
        v->set = VM_SET_STATE | VM_SET_SPEC | VM_SET_EXPECT | VM_ONLY_IF_THERE;
        v->state = "ready";
    }
    run_finish(r, JOB_SUCCEEDED);
}

/* The undo is over. What the job made is gone, or said to be left. */
static void finish_undone(struct run *r)
{
    struct job_advance *a = run_advance(r);
    bool put = strcmp(r->job.kind, KIND_VM_PUT) == 0;
    r->row = NULL;
    if (put || r->work.vm) {
        struct vm_write *v = run_add_vm(r);
        v->set = VM_ONLY_IF_THERE |
                 (put && r->work.vars.new_vm && !r->work.vars.partial ? VM_DELETE : VM_SET_STATE);
        v->state = "failed";
    }
    a->set |= JOB_SET_VARS;
    a->vars = run_encode(r, &vm_vars_schema, &r->work.vars);
    run_finish(r, r->job.state == JOB_CANCELING ? JOB_CANCELED : JOB_FAILED);
}

/* ---- undoing ---- */

static void begin_undo(struct run *r, const struct step_next *n)
{
    struct job_advance *a = run_advance(r);
    a->set |= JOB_SET_ERROR | JOB_SET_UNDOING | JOB_SET_STATE;
    a->error = run_error_text(r, n);
    a->undoing = true;
    a->state = JOB_RUNNING;
    r->job.error = a->error;
    r->job.undoing = true;
    if (r->row->state != STEP_PENDING) {
        run_add_row(r);
        run_add_step_event(r);
    }
    run_commit(r, run_undo_next);
}

void run_load_row(struct run *r, int seq)
{
    r->row = &r->job.steps[seq];
    r->def = workflow_step(r->flow, r->row->name);
    r->vars = (struct step_vars){0};
    if (r->row->vars &&
        json_decode_text(BYTES_STR(r->row->vars), &step_vars_schema, r->arena, &r->vars, NULL))
        r->vars = (struct step_vars){0};
}

/* From the last step back to the first; the current one of them is in state undoing. */
void run_undo_next(struct run *r)
{
    for (int s = r->job.n_steps - 1; s >= 0; s--) {
        run_load_row(r, s);
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
        run_request(r);
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
    r->work.vars.partial |= r->vars.kept && r->def->undo != UNDO_IF_EMPTY; /* no part of the VM */
    r->row->ended_at = r->work.now;
    if (!r->vars.kept && !r->vars.failed)
        r->row->detail = "removed";
    run_advance(r);
    run_add_row(r);
    run_add_step_event(r);
    run_commit(r, run_undo_next);
}

static void undo_failed(struct run *r, const struct step_next *n)
{
    r->row->state = STEP_FAILED;
    r->vars.kept = true;
    r->work.vars.partial = true;
    r->row->detail = arena_printf(r->arena, "could not be removed: %s", n->error.detail);
    run_advance(r);
    run_add_row(r);
    run_add_step_event(r);
    run_commit(r, run_undo_next);
}

/* ---- looking again ---- */

/* What Azure answers where something that the request builds on is not there. */
static bool names_what_is_gone(const struct step_next *n)
{
    const char *code = n->error.upstream_code;
    return strcasecmp(code, "ResourceGroupNotFound") == 0 ||
           strcasecmp(code, "InvalidResourceReference") == 0;
}

/* The first step up to the current one whose resource is used by others as well; -1: there is none. */
static int first_shared(const struct run *r)
{
    for (int s = 0; s <= r->row->seq; s++) {
        const struct step_def *d = workflow_step(r->flow, r->job.steps[s].name);
        if (d->shares && d->shares(r->work.plan) && r->job.steps[s].state == STEP_SUCCEEDED)
            return s;
    }
    return -1;
}

/*
 * What was shared may have been removed by whoever made it, with all that lay in it. The job was allowed to make
 * it, so it begins again there: what is left is found and nothing is made twice.
 */
static bool looks_again(struct run *r, const struct step_next *n)
{
    int first = names_what_is_gone(n) && r->def->kind == STEP_MAKE ? first_shared(r) : -1;
    if (first < 0 || r->work.vars.looks_again >= LOOKS_AGAIN_MAX)
        return false;
    int last = r->row->seq;
    r->work.vars.looks_again++;
    struct job_advance *a = run_advance(r);
    a->set |= JOB_SET_STEP | JOB_SET_VARS;
    a->current_step = r->job.current_step = first;
    a->vars = run_encode(r, &vm_vars_schema, &r->work.vars);
    for (int s = last; s >= first; s--) {
        run_load_row(r, s);
        if (r->row->state == STEP_SKIPPED)
            continue;
        r->row->state = STEP_PENDING;
        r->row->ended_at = 0;
        r->row->intent_method = NULL;
        r->row->detail = "is looked at again: what it builds on was gone";
        r->vars = (struct step_vars){0};
        run_add_row(r);
    }
    run_add_step_event(r);
    run_commit(r, run_visit);
    return true;
}

/* ---- what a step came to ---- */

void run_step_failed(struct run *r, const struct step_next *n)
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
    struct job_advance *a = run_advance(r);
    a->set |= JOB_SET_ERROR;
    a->error = run_error_text(r, n);
    run_add_row(r);
    run_add_step_event(r);
    if (strcmp(r->job.kind, KIND_VM_PUT) == 0) {
        struct vm_write *v = run_add_vm(r);
        spec_vm_write(r->arena, r->work.plan, r->job.spec, v);
        v->set = VM_SET_STATE | VM_SET_SPEC | VM_SET_EXPECT | VM_ONLY_IF_THERE;
        v->state = "ready";
    }
    run_finish(r, JOB_FAILED);
}

/* The one that made it is removing it: once it is gone, it is made again. */
static void wait_for_removal(struct run *r)
{
    struct step_next n = {.kind = NEXT_WAIT, .due_at = r->work.now + REMOVAL_WAIT_MS};
    err_set(&n.error, ERR_UPSTREAM_CONFLICT, "job %s is removing it", r->vars.maker);
    r->row->state = STEP_RUNNING;
    r->row->ended_at = 0;
    r->job.current_step = r->row->seq;
    run_apply(r, &n);
}

static void step_done(struct run *r)
{
    r->row->state = STEP_SUCCEEDED;
    if (r->row->detail && strncmp(r->row->detail, TRIES_AGAIN, strlen(TRIES_AGAIN)) == 0)
        r->row->detail = NULL; /* it did */
    r->row->ended_at = r->work.now;
    atomic_fetch_add(&r->jobs->steps_done, 1);
    struct job_advance *a = run_advance(r);
    a->set |= JOB_SET_STEP;
    a->current_step = r->row->seq + 1;
    r->job.current_step = a->current_step;
    run_add_row(r);
    run_add_step_event(r);
    if (r->def->kind == STEP_MAKE)
        run_add_made(r);
    if (r->job.state == JOB_WAITING)
        run_add_state(r, JOB_RUNNING);
    if (r->def->undo == UNDO_IF_EMPTY && r->vars.maker) {
        a->unless_taken_back_by = r->vars.maker;
        r->refused = wait_for_removal;
    }
    run_commit(r, run_visit);
}

static void released(struct run *r)
{
    bool now = r->advanced.woken || r->advanced.cancel_requested;
    run_end(r, now && !r->job.undoing ? 0 : r->advance.due_at);
}

static bool password_is_spent(const struct run *r)
{
    return r->def->is_vm && r->def->kind == STEP_MAKE && r->row->poll_url && r->verb == VERB_SEND &&
           r->secrets.password;
}

static int64_t turn_of(struct run *r, int64_t at)
{
    struct subscription *s = engine_subscription(r->jobs, r->job.subscription_id);
    int64_t mono = engine_mono(r->jobs);
    return r->work.now + engine_turn(s, r->op, mono + (at - r->work.now)) - mono;
}

/* It was woken before it could be kept: as from any wait, it comes back by a claim. */
static void let_go(struct run *r)
{
    struct job_advance *a = run_advance(r);
    a->set = (a->set & ~(unsigned)JOB_SET_LEASE) | JOB_RELEASE;
    a->due_at = r->work.now;
    run_commit(r, released);
}

static void kept(struct run *r)
{
    if (r->advanced.woken || r->advanced.cancel_requested || r->job.state != JOB_WAITING) {
        let_go(r);
        return;
    }
    polls_add(r->jobs, &(struct poll_new){.job = &r->job,
                                          .row = r->row,
                                          .accepted_at = r->vars.accepted_at,
                                          .lease_until = r->advance.lease_until,
                                          .due_at = r->advance.not_before,
                                          .now = engine_now(r->jobs),
                                          .canceled = &r->canceled});
    run_end(r, INT64_MAX);
}

/* Whether it only waits from now on, and for so long that it is kept in memory. */
static bool may_keep(const struct run *r, const struct step_next *n)
{
    return n->due_at - r->work.now >= POLLS_WAIT_MIN_MS && r->job.state == JOB_WAITING &&
           !r->job.undoing && r->row->poll_url && polls_room(r->jobs);
}

static void set_wait(struct run *r, int64_t due_at, bool keep)
{
    struct job_advance *a = &r->advance;
    if (keep) {
        a->lease_until = polls_lease_until(r->jobs, &r->job, r->work.now);
        a->not_before = due_at;
        return;
    }
    a->set = (a->set & ~(unsigned)JOB_SET_LEASE) | JOB_RELEASE;
    a->due_at = due_at > r->work.now ? due_at : r->work.now;
}

static void step_waits(struct run *r, const struct step_next *n)
{
    bool only_polled = r->verb == VERB_POLL && r->def->kind != STEP_AWAIT && !n->throttled &&
                       !n->takes_turns && n->error.code == OK;
    bool keep = only_polled && may_keep(r, n);
    int64_t due_at = n->takes_turns ? turn_of(r, n->due_at) : n->due_at;
    if (only_polled)
        due_at = polls_together(due_at, r->work.now);
    bool changed = r->row->state != STEP_WAITING && r->row->state != STEP_UNDOING;
    if (changed)
        r->row->state = STEP_WAITING;
    if (n->error.code != OK)
        r->row->detail = arena_printf(r->arena, TRIES_AGAIN "%s", n->error.detail);
    struct job_advance *a = run_advance(r);
    a->set |= JOB_SET_WAKE;
    a->wake_key = n->wake_key;
    set_wait(r, due_at, keep);
    run_add_row(r);
    if (changed)
        run_add_step_event(r);
    run_add_state(r, JOB_WAITING);
    if (r->def->kind == STEP_MAKE && !r->job.undoing && r->verb == VERB_SEND)
        run_add_made(r);
    if (password_is_spent(r))
        r->wipes[a->n_wipe++] = RUN_PASSWORD;
    if (keep)
        run_commit_later(r, kept);
    else
        run_commit(r, released);
}

static void fail(struct run *r, const struct step_next *n)
{
    if (r->job.undoing)
        undo_failed(r, n);
    else if (!looks_again(r, n))
        run_step_failed(r, n);
}

void run_apply(struct run *r, const struct step_next *n)
{
    if (n->throttled)
        atomic_fetch_add(&r->jobs->arm_throttled, 1);
    else if (n->kind == NEXT_WAIT && n->error.code != OK)
        atomic_fetch_add(&r->jobs->arm_retries, 1);
    switch (n->kind) {
    case NEXT_BUILD:
        run_request(r);
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
