/* What a look at a resource says: nothing there, ours, a stranger's. */
#include "jobs/step.h"

#include <string.h>
#include <strings.h>

/* ---- resources ---- */

/* The job that made it, as it says; NULL: it says nothing. Tag names are compared without case. */
static const char *maker_of(const struct reading *r)
{
    const char *key;
    json_t *value;
    json_t *tags = json_object_get(r->body, "tags");
    json_object_foreach(tags, key,
                        value) if (strcasecmp(key, TAG_JOB) == 0) return json_string_value(value);
    return NULL;
}

static bool is_ours(const struct reading *r)
{
    const char *maker = maker_of(r);
    return maker && strcasecmp(maker, r->w->vars.owner) == 0;
}

void step_learn_vm_id(struct reading *r)
{
    const char *id = json_path_str(r->body, "properties/vmId");
    if (r->d->is_vm && id && !r->w->vm_id)
        r->w->vm_id = arena_strdup(r->w->arena, id);
    const char *version =
        json_path_str(r->body, "properties/storageProfile/imageReference/exactVersion");
    if (r->d->is_vm && version)
        r->w->image_version = arena_strdup(r->w->arena, version);
}

static const char *provisioning_state(const struct reading *r)
{
    const char *state = json_path_str(r->body, "properties/provisioningState");
    return state ? state : "Succeeded"; /* ARM RPC: missing means so */
}

static void poll_resource(struct reading *r, enum arm_lro_kind kind)
{
    r->row->poll_kind = arm_lro_kind_name(kind);
    r->row->poll_url =
        arena_printf(r->w->arena, "%s%s", r->w->endpoint, step_target_of(r->w, r->d, ""));
    r->v->accepted_at = r->w->now;
    r->v->final_url = NULL;
    step_next_wait(r, r->outcome.retry_after_ms >= 0 ? r->outcome.retry_after_ms : 1000);
}

static void refuse_foreign(struct reading *r)
{
    err_set(&r->next->error, ERR_RESOURCE_FOREIGN,
            "%s exists and was not made by this gateway for this VM", r->d->id(r->w->plan));
    err_remedy(&r->next->error, "Choose another VM name, or remove or rename that resource.");
    step_next_fail(r);
}

/* It is there and ours: adopt, wait for it, or write it again. */
static void look_found_ours(struct reading *r)
{
    const struct work *w = r->w;
    const char *state = provisioning_state(r);
    step_learn_vm_id(r);
    if (strcasecmp(w->vars.owner, w->job->id) == 0 || r->v->absent)
        r->row->created = true;
    if (strcasecmp(state, "Deleting") == 0) {
        step_next_wait_told(r, CONFLICT_WAIT_MS);
        return;
    }
    if (strcasecmp(state, "Failed") == 0 || strcasecmp(state, "Canceled") == 0) {
        if (++r->v->failures > CAPACITY_MAX) {
            err_set(&r->next->error, ERR_UPSTREAM, "%s stays in state %s", r->d->id(w->plan),
                    state);
            step_next_fail(r);
            return;
        }
        r->v->absent = false; /* the next send goes to one that exists */
        r->v->go = true;
        step_next_build(r);
        return;
    }
    if (strcasecmp(state, "Succeeded") != 0) {
        poll_resource(r, ARM_LRO_PROVISIONING);
        return;
    }
    if (step_is_stale(w, r->d) && !r->row->created) {
        r->v->go = true;
        step_next_build(r);
        return;
    }
    r->row->detail = r->row->intent_method ? r->row->detail : "exists already";
    step_next_done(r);
}

void step_read_look_make(struct reading *r)
{
    if (r->outcome.class == ARM_CLASS_MISSING) {
        if (!r->row->intent_method || r->v->absent)
            r->v->absent = true;
        r->v->go = true;
        step_next_build(r);
        return;
    }
    if (!step_succeeded(r)) {
        step_next_by_class(r, FAILURES_MAX);
        return;
    }
    if (is_ours(r)) {
        look_found_ours(r);
        return;
    }
    if (r->d->shares && r->d->shares(r->w->plan)) {
        /* By whoever's hand: it will be made once it is gone. */
        if (strcasecmp(provisioning_state(r), "Deleting") == 0) {
            step_next_wait_told(r, CONFLICT_WAIT_MS);
            return;
        }
        const char *maker = maker_of(r);
        r->v->maker = maker ? arena_strdup(r->w->arena, maker) : NULL;
        r->row->detail = "the existing one is used";
        step_next_done(r);
        return;
    }
    refuse_foreign(r);
}

/* The name may belong to another VM by now: then ours is gone. */
static bool is_another_vm(const struct reading *r)
{
    const char *id = json_path_str(r->body, "properties/vmId");
    return r->d->is_vm && !r->undo && r->w->vm_id && id && strcasecmp(id, r->w->vm_id) != 0;
}

void step_read_look_remove(struct reading *r)
{
    if (r->outcome.class == ARM_CLASS_MISSING) {
        step_next_done(r);
        return;
    }
    if (!step_succeeded(r)) {
        step_next_by_class(r, FAILURES_MAX);
        return;
    }
    if (is_another_vm(r)) {
        step_next_done_kept(r, "another VM has this name by now");
        return;
    }
    if (!is_ours(r)) {
        step_next_done_kept(r, "not made by this gateway");
        return;
    }
    if (strcasecmp(provisioning_state(r), "Deleting") == 0) {
        poll_resource(r, ARM_LRO_ABSENCE);
        return;
    }
    if (r->undo && r->d->undo == UNDO_IF_EMPTY)
        r->v->list = true;
    else
        r->v->go = true;
    step_next_build(r);
}

/* A group that holds something is somebody's by now. */
void step_read_list(struct reading *r)
{
    r->v->list = false;
    if (r->outcome.class == ARM_CLASS_MISSING) {
        step_next_done(r);
        return;
    }
    if (!step_succeeded(r)) {
        step_next_by_class(r, FAILURES_MAX);
        return;
    }
    const json_t *value = json_object_get(r->body, "value");
    if (!json_is_array(value) || json_array_size(value) > 0) {
        step_next_done_kept(r, "the resource group is not empty");
        return;
    }
    r->v->go = true;
    step_next_build(r);
}
