#include "jobs/preflight.h"

#include "core/clock.h"
#include "jobs/step.h"

#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

void findings_add(struct findings *l, enum finding_severity severity, const char *code,
                  const char *pointer, const char *reason, const char *remedy)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 8;
        struct finding *items = arena_array(l->arena, cap, sizeof *items);
        if (l->n > 0)
            memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = (struct finding){
        .code = code, .severity = severity, .pointer = pointer, .reason = reason, .remedy = remedy};
}

/* ---- whose is it ---- */

static bool is_managed(const struct preflight_facts *f)
{
    const struct read_answer *vm = &f->read[READ_VM];
    if (!vm->known || !vm->exists)
        return true;
    if (!f->vm)
        return false;
    const char *id = json_path_str(vm->body, "properties/vmId");
    return !f->vm->vm_id || !id || strcasecmp(f->vm->vm_id, id) == 0;
}

/* ---- the calls that a job would make ---- */

static const struct vm_secrets redacted = {
    .owner = "<job>", .password = REDACTED, .gateway = REDACTED, .token = REDACTED};
static const struct vm_secrets redacted_keys = {
    .owner = "<job>", .gateway = REDACTED, .token = REDACTED};

/* New: everything that is not there. Existing: what differs. */
static bool is_planned(const struct preflight_facts *f, const struct step_def *d, int64_t changes)
{
    if (d->kind != STEP_MAKE)
        return false;
    if (d->undo == UNDO_IF_EMPTY)
        return !f->read[READ_GROUP].exists;
    if (!f->vm || !f->vm->vm_id || !f->read[READ_VM].exists)
        return true;
    if (d->undo == UNDO_UNLESS_NEW_VM)
        return (changes & CHANGE_MONITORING) != 0;
    return (changes & d->stale_with) != 0;
}

static void plan_call(const struct preflight_facts *f, const struct step_def *d, bool exists,
                      struct planned_call *out)
{
    const struct vm_plan *p = f->plan;
    struct vm_secrets s = p->has_password ? redacted : redacted_keys;
    struct buf body = {0};
    bool patch = exists && d->patch;
    if (!p->vtpm)
        s.token = NULL;
    (patch ? d->patch : d->body)(p, &s, &body);
    *out =
        (struct planned_call){.method = patch ? "PATCH" : "PUT",
                              .url = arena_printf(f->arena, "%s?api-version=%s", d->id(p), d->api),
                              .summary = arena_strndup(f->arena, body.data, body.len)};
    buf_free(&body);
}

static void plan_calls(const struct preflight_facts *f, struct jobs_preflight *out)
{
    const struct workflow *flow = workflow_find(KIND_VM_PUT);
    struct work w = {.arena = f->arena, .plan = f->plan, .vm = f->vm};
    bool exists = f->vm && f->vm->vm_id && f->read[READ_VM].exists;
    int64_t changes = exists ? vm_changes(f->arena, f->ref, f->vm->spec, f->spec) : 0;
    out->calls = arena_array(f->arena, flow->n_steps, sizeof *out->calls);
    out->n_calls = 0;
    for (size_t i = 0; i < flow->n_steps; i++) {
        const struct step_def *d = &flow->steps[i];
        if ((!d->applies || d->applies(&w)) && is_planned(f, d, changes))
            plan_call(f, d, exists, &out->calls[out->n_calls++]);
    }
}

/* Stable as long as the same calls would be made; a removal's are also about one VM and no later one. */
static void digest_calls(struct jobs_preflight *p, const char *vm_id)
{
    uint8_t hash[32];
    struct buf all = {0};
    for (size_t i = 0; i < p->n_calls; i++)
        buf_printf(&all, "%s\n%s\n%s\n", p->calls[i].method, p->calls[i].url,
                   p->calls[i].summary ? p->calls[i].summary : "");
    buf_printf(&all, "%s", vm_id);
    EVP_Digest(all.data ? all.data : "", all.len, hash, NULL, EVP_sha256(), NULL);
    hex_encode(BYTES_OF(hash), p->plan_digest);
    buf_free(&all);
}

void preflight_judge(const struct preflight_facts *f, struct jobs_preflight *p)
{
    struct findings l = {.arena = f->arena};
    p->refusal = OK;
    p->info = NULL;
    if (f->spec) {
        preflight_check_spec(f, &l);
        preflight_check_reads(f, &l);
    }
    for (size_t i = 0; i < l.n; i++)
        if (l.items[i].severity == FINDING_ERROR)
            p->refusal = ERR_PREFLIGHT_FAILED;
    if (!is_managed(f)) {
        findings_add(&l, FINDING_ERROR, "not_managed", "#",
                     "a VM of this name exists that this gateway did not make",
                     "Choose another name.");
        p->refusal = ERR_NOT_MANAGED;
        p->info = ARENA_NEW(f->arena, struct err_info);
        err_set(p->info, ERR_NOT_MANAGED, "%s was not made by this gateway", f->plan->vm_id);
    }
    p->findings = l.items;
    p->n_findings = l.n;
    if (!f->spec || !p->wants_calls)
        return;
    plan_calls(f, p);
    digest_calls(p, "");
}

void preflight_plan_delete(const struct work *w, struct jobs_preflight *p)
{
    const struct workflow *flow = workflow_find(KIND_VM_DELETE);
    p->calls = arena_array(w->arena, flow->n_steps, sizeof *p->calls);
    p->n_calls = 0;
    for (size_t i = 0; i < flow->n_steps; i++) {
        const struct step_def *d = &flow->steps[i];
        if (!d->applies || d->applies(w))
            p->calls[p->n_calls++] =
                (struct planned_call){.method = "DELETE", .url = step_target_of(w, d, "")};
    }
    digest_calls(p, w->vm->vm_id ? w->vm->vm_id : "");
}
