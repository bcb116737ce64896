#include "core/attr.h"
#include "jobs/step.h"

#include <string.h>
#include <strings.h>

#define POLL_FAILURES_MAX 30
#define CAPACITY_WAIT_MS  (60 * 1000)
#define BACKOFF_MIN_MS    1000
#define BACKOFF_MAX_MS    (5 * 60 * 1000)
#define THROTTLE_WAIT_MS  5000 /* ARM may leave Retry-After out of a 429 */

#define FIELD(t, n, k, m, ...)                                                                     \
    {                                                                                              \
        .name = (n), .kind = (k), .offset = offsetof(struct t, m), __VA_ARGS__                     \
    }
static const struct field step_vars_fields[] = {
    FIELD(step_vars, "absent", FIELD_BOOL, absent),
    FIELD(step_vars, "acceptedAt", FIELD_INT, accepted_at, .max = INT64_MAX, .has_dflt = true),
    FIELD(step_vars, "finalUrl", FIELD_STR, final_url, .max = ARM_URL_MAX),
    FIELD(step_vars, "failures", FIELD_INT, failures, .max = INT64_MAX, .has_dflt = true),
    FIELD(step_vars, "capacity", FIELD_INT, capacity, .max = INT64_MAX, .has_dflt = true),
    FIELD(step_vars, "backoffMs", FIELD_INT, backoff_ms, .max = INT64_MAX, .has_dflt = true),
    FIELD(step_vars, "report", FIELD_STR, report, .max = 64),
    FIELD(step_vars, "kept", FIELD_BOOL, kept),
    FIELD(step_vars, "failed", FIELD_BOOL, failed),
};
const struct schema step_vars_schema = {.name = "stepVars",
                                        .size = sizeof(struct step_vars),
                                        .fields = step_vars_fields,
                                        .n_fields = ARRAY_LEN(step_vars_fields)};

/* ---- building ---- */

const char *step_target_of(const struct work *w, const struct step_def *d, const char *below)
{
    return arena_printf(w->arena, "%s%s?api-version=%s", d->id(w->plan), below, d->api);
}

static bool removes(const struct step_def *d, bool undo)
{
    return undo || d->kind == STEP_REMOVE;
}

bool step_is_stale(const struct work *w, const struct step_def *d)
{
    return (w->vars.changes & d->stale_with) != 0;
}

static void build_send(const struct work *w, const struct step_def *d, const struct step_vars *v,
                       bool undo, struct step_request *out)
{
    out->target = step_target_of(w, d, "");
    if (removes(d, undo)) {
        out->method = ARM_DELETE;
        return;
    }
    if (!v->absent && d->patch && step_is_stale(w, d)) {
        out->method = ARM_PATCH;
        d->patch(w->plan, w->secrets, &out->body);
        return;
    }
    out->method = ARM_PUT;
    /* Only Compute takes the precondition; it closes the gap between look and send. */
    if (d->is_vm && v->absent)
        out->if_none_match = "*";
    d->body(w->plan, w->secrets, &out->body);
}

void step_build(const struct work *w, const struct step_def *d, const struct job_step *row,
                const struct step_vars *v, bool undo, struct step_request *out)
{
    *out = (struct step_request){.method = ARM_GET};
    if (row->poll_url && v->fetch) {
        out->verb = VERB_FETCH;
        out->target = v->final_url;
    } else if (row->poll_url) {
        out->verb = VERB_POLL;
        out->target = row->poll_url;
    } else if (v->go) {
        out->verb = VERB_SEND;
        build_send(w, d, v, undo, out);
    } else if (v->list) {
        out->verb = VERB_LIST;
        out->target = step_target_of(w, d, "/resources");
    } else {
        out->verb = VERB_LOOK;
        out->target = step_target_of(w, d, "");
    }
}

/* ---- what comes next ---- */

void step_next_build(struct reading *r)
{
    r->next->kind = NEXT_BUILD;
}

void step_next_wait(struct reading *r, int64_t ms)
{
    r->next->kind = NEXT_WAIT;
    r->next->due_at = r->w->now + (ms > 0 ? ms : 0);
}

void step_next_wait_told(struct reading *r, int64_t ms)
{
    step_next_wait(r, ms > r->outcome.retry_after_ms ? ms : r->outcome.retry_after_ms);
}

void step_next_done(struct reading *r)
{
    r->next->kind = NEXT_DONE;
    r->v->failures = 0;
}

void step_next_done_kept(struct reading *r, const char *why)
{
    r->v->kept = true;
    r->row->detail = arena_printf(r->w->arena, "left in place: %s", why);
    step_next_done(r);
}

void step_next_fail(struct reading *r)
{
    r->next->kind = NEXT_FAIL;
    if (r->next->error.code == OK)
        arm_error_read(&r->outcome, &r->next->error, &r->next->reason);
    if (r->next->error.code == OK)
        err_set(&r->next->error, ERR_UPSTREAM, "Azure's answer makes no sense here (status %d)",
                r->outcome.status);
    if (r->next->reason && strcmp(r->next->reason, "resource_group_not_found") == 0 &&
        r->w->plan->make_group)
        err_remedy(&r->next->error,
                   "Somebody removed the group while the job worked in it: see who "
                   "does, then retry the job, which makes it again.");
}

static int64_t jitter(const struct work *w, int64_t below)
{
    return below > 0 ? (int64_t)(w->random % (uint64_t)below) : 0;
}

/* Decorrelated jitter: between the least and three times the last wait. */
static int64_t backoff(const struct work *w, struct step_vars *v)
{
    int64_t last = v->backoff_ms < BACKOFF_MIN_MS ? BACKOFF_MIN_MS : v->backoff_ms;
    int64_t ms = BACKOFF_MIN_MS + jitter(w, last * 3 - BACKOFF_MIN_MS);
    v->backoff_ms = ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
    return v->backoff_ms;
}

void step_next_retry(struct reading *r, int64_t failures_max)
{
    arm_error_read(&r->outcome, &r->next->error, &r->next->reason);
    if (++r->v->failures > failures_max) {
        step_next_fail(r);
        return;
    }
    step_next_wait_told(r, backoff(r->w, r->v));
}

static void next_capacity(struct reading *r)
{
    arm_error_read(&r->outcome, &r->next->error, &r->next->reason);
    if (++r->v->capacity >= CAPACITY_MAX) {
        step_next_fail(r);
        return;
    }
    step_next_wait_told(r, CAPACITY_WAIT_MS * r->v->capacity);
}

/* Never before the time that was told; spread a little behind it so that not all come at once. */
static void next_throttled(struct reading *r, int64_t without)
{
    int64_t told = r->outcome.retry_after_ms;
    r->next->throttled = true;
    step_next_wait(r, (told >= 0 ? told : without) + 10 + jitter(r->w, 500));
}

/* The classes that mean the same wherever they come. */
void step_next_by_class(struct reading *r, int64_t failures_max)
{
    switch (r->outcome.class) {
    case ARM_CLASS_THROTTLED:
        r->next->takes_turns = true;
        next_throttled(r, THROTTLE_WAIT_MS);
        return;
    case ARM_CLASS_CONFLICT:
        next_throttled(r, CONFLICT_WAIT_MS);
        return;
    case ARM_CLASS_TRANSIENT:
        step_next_retry(r, failures_max);
        return;
    case ARM_CLASS_CAPACITY:
        next_capacity(r);
        return;
    case ARM_CLASS_SUCCESS:
    case ARM_CLASS_ACCEPTED:
    case ARM_CLASS_MISSING:
    case ARM_CLASS_AUTH:
    case ARM_CLASS_PERMANENT:
        step_next_fail(r);
        return;
    }
}

bool step_succeeded(const struct reading *r)
{
    return r->outcome.class == ARM_CLASS_SUCCESS || r->outcome.class == ARM_CLASS_ACCEPTED;
}

/* ---- sending and polling ---- */

static void read_accepted(struct reading *r)
{
    struct arm_lro lro;
    enum err err = arm_lro_next(
        r->w->arena, r->w->endpoint,
        removes(r->d, r->undo)                                                 ? ARM_DELETE
        : r->row->intent_method && strcmp(r->row->intent_method, "PATCH") == 0 ? ARM_PATCH
                                                                               : ARM_PUT,
        step_target_of(r->w, r->d, ""), r->reply, &lro, &r->next->error);
    if (err) {
        step_next_fail(r);
        return;
    }
    if (lro.kind == ARM_LRO_NONE) {
        step_next_done(r);
        return;
    }
    r->row->poll_url = lro.url;
    r->row->poll_kind = arm_lro_kind_name(lro.kind);
    r->v->final_url = lro.final_url;
    r->v->accepted_at = r->w->now;
    r->v->failures = 0;
    step_next_wait(r, lro.wait_ms);
}

/* Deleting what others still use: they keep it. A NIC stays reserved for minutes after a failed VM,
 * so this is tried for a while first. */
static bool is_in_use(const struct arm_outcome *o)
{
    return strstr(o->code, "InUse") || strstr(o->code, "CannotBeDeleted") ||
           strcmp(o->code, "NicReservedForAnotherVm") == 0;
}

static void read_send_remove(struct reading *r)
{
    if (r->outcome.class == ARM_CLASS_MISSING || r->outcome.class == ARM_CLASS_SUCCESS) {
        step_next_done(r);
        return;
    }
    if (r->outcome.class == ARM_CLASS_ACCEPTED) {
        read_accepted(r);
        return;
    }
    if (is_in_use(&r->outcome)) {
        if (++r->v->failures <= CAPACITY_MAX)
            step_next_wait_told(r, backoff(r->w, r->v));
        else
            step_next_done_kept(r, r->outcome.code);
        return;
    }
    step_next_by_class(r, FAILURES_MAX);
}

static void read_send_make(struct reading *r)
{
    if (step_succeeded(r)) {
        step_learn_vm_id(r);
        if (r->outcome.status == 201 || r->v->absent)
            r->row->created = true;
        if (r->outcome.class == ARM_CLASS_ACCEPTED)
            read_accepted(r);
        else
            step_next_done(r);
        return;
    }
    /* Somebody was faster, or this very request came twice: look whose it is. */
    if (r->outcome.status == 412 && ++r->v->failures <= CAPACITY_MAX) {
        step_next_build(r);
        return;
    }
    /* A parent that was made a moment ago may not be known everywhere yet. */
    if (r->outcome.class == ARM_CLASS_MISSING) {
        step_next_retry(r, CAPACITY_MAX);
        return;
    }
    step_next_by_class(r, FAILURES_MAX);
}

static void forget_operation(struct reading *r)
{
    r->row->poll_url = NULL;
    r->row->poll_kind = NULL;
    r->row->poll_not_before = 0;
    r->v->final_url = NULL;
}

static void read_polled_end(struct reading *r, const struct arm_lro_status *s)
{
    if (s->has_result)
        step_learn_vm_id(r);
    bool wants = !removes(r->d, r->undo) && r->d->is_vm && !r->w->vm_id && r->v->final_url;
    if (wants) {
        r->v->fetch = true;
        step_next_build(r);
        return;
    }
    forget_operation(r);
    step_next_done(r);
}

static void read_poll_failed(struct reading *r, const struct arm_lro_status *s)
{
    r->outcome = s->outcome;
    forget_operation(r); /* what is next looks at the resource */
    if (r->outcome.class == ARM_CLASS_CAPACITY) {
        next_capacity(r);
        return;
    }
    if (r->outcome.class == ARM_CLASS_TRANSIENT || s->state == ARM_LRO_CANCELED) {
        step_next_retry(r, CAPACITY_MAX);
        return;
    }
    if (removes(r->d, r->undo) && is_in_use(&r->outcome)) {
        step_next_retry(r, CAPACITY_MAX);
        return;
    }
    step_next_fail(r);
}

static void read_status(const struct reading *r, struct arm_lro_status *out)
{
    arm_lro_read(arm_lro_kind_parse(r->row->poll_kind), r->reply, r->w->now - r->v->accepted_at,
                 out);
}

static void poll_again(struct reading *r, const struct arm_lro_status *s)
{
    r->row->last_status = r->reply->status;
    r->v->failures = 0;
    step_next_wait(r, s->wait_ms);
    r->row->poll_not_before = r->next->due_at;
}

bool step_read_pending(struct work *w, struct job_step *row, struct step_vars *v,
                       const struct arm_reply *reply, struct step_next *out)
{
    struct arm_lro_status s;
    struct reading r = {.w = w, .row = row, .v = v, .reply = reply, .next = out};
    read_status(&r, &s);
    if (s.state != ARM_LRO_IN_PROGRESS)
        return false;
    *out = (struct step_next){0};
    poll_again(&r, &s);
    return true;
}

static void read_poll(struct reading *r)
{
    struct arm_lro_status s;
    read_status(r, &s);
    switch (s.state) {
    case ARM_LRO_IN_PROGRESS:
        poll_again(r, &s);
        return;
    case ARM_LRO_SUCCEEDED:
        read_polled_end(r, &s);
        return;
    case ARM_LRO_FAILED:
    case ARM_LRO_CANCELED:
        read_poll_failed(r, &s);
        return;
    case ARM_LRO_GONE:
        forget_operation(r);
        step_next_retry(r, FAILURES_MAX);
        return;
    case ARM_LRO_UNKNOWN:
        r->outcome = s.outcome;
        if (r->outcome.class == ARM_CLASS_PERMANENT || r->outcome.class == ARM_CLASS_MISSING) {
            forget_operation(r);
            step_next_retry(r, FAILURES_MAX);
            return;
        }
        if (r->outcome.class == ARM_CLASS_AUTH) {
            step_next_retry(r,
                            FAILURES_MAX); /* the resource is being made: do not give up at once */
            return;
        }
        step_next_by_class(r, POLL_FAILURES_MAX);
        return;
    }
}

static void read_fetch(struct reading *r)
{
    r->v->fetch = false;
    if (!step_succeeded(r)) {
        if (r->outcome.class == ARM_CLASS_MISSING || r->outcome.class == ARM_CLASS_PERMANENT) {
            forget_operation(r);
            step_next_retry(r, FAILURES_MAX);
            return;
        }
        step_next_by_class(r, POLL_FAILURES_MAX);
        return;
    }
    step_learn_vm_id(r);
    forget_operation(r);
    step_next_done(r);
}

static void read_by_verb(struct reading *r, enum step_verb verb)
{
    switch (verb) {
    case VERB_LOOK:
        if (r->removing)
            step_read_look_remove(r);
        else
            step_read_look_make(r);
        return;
    case VERB_SEND:
        r->v->go = false;
        if (r->removing)
            read_send_remove(r);
        else
            read_send_make(r);
        return;
    case VERB_POLL:
        read_poll(r);
        return;
    case VERB_FETCH:
        read_fetch(r);
        return;
    case VERB_LIST:
        step_read_list(r);
        return;
    }
}

void step_read(struct work *w, const struct step_def *d, struct job_step *row, struct step_vars *v,
               bool undo, enum step_verb verb, const struct arm_reply *reply, struct step_next *out)
{
    *out = (struct step_next){.kind = NEXT_FAIL};
    struct reading r = {.w = w,
                        .d = d,
                        .row = row,
                        .v = v,
                        .undo = undo,
                        .removing = removes(d, undo),
                        .reply = reply,
                        .next = out};
    arm_classify(reply, &r.outcome);
    if (reply->body.len > 0 && json_parse(reply->body, &r.body, NULL))
        r.body = NULL;
    row->last_status = reply->status;
    read_by_verb(&r, verb);
    if (out->kind == NEXT_WAIT)
        row->poll_not_before = out->due_at;
    json_decref(r.body);
}

bool step_needs_undo(const struct work *w, const struct step_def *d, const struct job_step *row,
                     const struct step_vars *v)
{
    if (d->kind != STEP_MAKE || d->undo == UNDO_NOTHING || row->state == STEP_UNDONE)
        return false;
    if (d->undo == UNDO_UNLESS_NEW_VM && w->vars.new_vm)
        return false;
    if (row->created)
        return true;
    /* Sent, and the answer never came: the look and our tag will tell. */
    return row->intent_method && v->absent;
}
