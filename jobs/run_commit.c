/* What is committed: moves of the job, its rows, events and the registry. */
#include "jobs/run.h"

#include "core/log.h"

#include <string.h>

#define RECOMMIT_MS 1000

/* ---- committing ---- */

void run_task_then(struct task *t)
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
    if (r->done.err == ERR_OPERATION_IN_PROGRESS && r->refused) {
        r->refused(r);
        return;
    }
    if (r->done.err) {
        log_warn("job lost", LOG_S("jobId", r->job.id), LOG_S("code", err_code(r->done.err)),
                 LOG_S("error", r->done.info.detail));
        run_end(r, INT64_MAX);
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
    r->task.fn = committed;
    engine_written(r->jobs, &r->task);
}

static void submit_commit(struct run *r)
{
    struct jobs *j = r->jobs;
    r->done = (struct store_done){.fn = on_committed, .user = r};
    pthread_mutex_lock(&j->lock);
    j->store_writes++;
    r->canceled = false;
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
struct job_advance *run_advance(struct run *r)
{
    r->work.now = engine_now(r->jobs);
    r->refused = NULL;
    r->advance = (struct job_advance){.job_id = r->job.id,
                                      .epoch = r->job.epoch,
                                      .now = r->work.now,
                                      .set = JOB_SET_LEASE,
                                      .lease_until = r->work.now + r->jobs->config.lease_ms,
                                      .steps = r->commit_rows,
                                      .events = r->events,
                                      .vms = r->vm_writes,
                                      .wipe = r->wipes};
    return &r->advance;
}

void run_commit(struct run *r, run_fn *then)
{
    r->then = then;
    submit_commit(r);
}

static void commit_all(struct task *t)
{
    struct jobs *j = CONTAINER_OF(t, struct jobs, later_task);
    struct run *next;
    for (struct run *r = TAKE(j->later); r; r = next) {
        next = r->later_next;
        submit_commit(r);
    }
}

void run_commit_later(struct run *r, run_fn *then)
{
    struct jobs *j = r->jobs;
    r->then = then;
    r->later_next = j->later;
    if (!j->later) {
        j->later_task.fn = commit_all;
        engine_delay(j, &j->later_task, RUN_LATER_MS);
    }
    j->later = r;
}

const char *run_encode(struct run *r, const struct schema *s, const void *in)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    json_encode(&w, s, in);
    const char *text = arena_strndup(r->arena, out.data, out.len);
    buf_free(&out);
    return text;
}

void run_add_row(struct run *r)
{
    r->row->vars = run_encode(r, &step_vars_schema, &r->vars);
    r->commit_rows[r->advance.n_steps++] = *r->row;
}

static void add_event(struct run *r, const char *type, const char *data)
{
    r->events[r->advance.n_events++] = (struct event_new){.type = type, .data = data};
}

void run_add_step_event(struct run *r)
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

void run_add_state(struct run *r, enum job_state state)
{
    struct job_advance *a = &r->advance;
    a->set |= JOB_SET_STATE;
    a->state = state;
    bool hidden = r->job.state == JOB_CANCELING && !job_state_terminal(state);
    if (state != r->job.state && !hidden)
        add_event(r, "state", arena_printf(r->arena, "{\"state\":\"%s\"}", job_state_text(state)));
}

/* The commit's one change of the registry row. */
struct vm_write *run_add_vm(struct run *r)
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

/* What the VM was made of, as policies and baselines name it: "publisher:offer:sku:version", or the id
 * of a gallery version; with the version that Azure chose where "latest" was asked for. */
static const char *image_text(struct run *r)
{
    const struct vm_plan *p = r->work.plan;
    const char *version = r->work.image_version;
    if (!version && p->version && strcasecmp(p->version, "latest") != 0)
        version = p->version;
    if (!p->gallery_version)
        return version && p->publisher
                   ? arena_printf(r->arena, "%s:%s:%s:%s", p->publisher, p->offer, p->sku, version)
                   : NULL;
    const char *last = strrchr(p->gallery_version, '/');
    return version && last ? arena_printf(r->arena, "%.*s/%s", (int)(last - p->gallery_version),
                                          p->gallery_version, version)
                           : p->gallery_version;
}

void run_add_made(struct run *r)
{
    if (strcmp(r->job.kind, KIND_VM_PUT) != 0)
        return;
    struct vm_write *v = run_add_vm(r);
    v->set |= VM_SET_MADE | VM_ONLY_IF_THERE;
    v->made = made_text(r);
    bool known = r->work.vm && r->work.vm->vm_id && r->work.vm_id &&
                 strcasecmp(r->work.vm->vm_id, r->work.vm_id) == 0;
    if (r->work.vm_id && !known) {
        v->set |= VM_SET_VM_ID;
        v->vm_id = r->work.vm_id;
    }
    v->image = image_text(r);
    if (v->image)
        v->set |= VM_SET_IMAGE;
}
