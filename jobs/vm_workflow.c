#include "core/attr.h"
#include "jobs/jobs.h"
#include "jobs/workflow.h"

#include <string.h>
#include <strings.h>

static const struct field vm_vars_fields[] = {
    {.name = "owner", .kind = FIELD_STR, .offset = offsetof(struct vm_vars, owner), .max = 64},
    {.name = "name", .kind = FIELD_STR, .offset = offsetof(struct vm_vars, name), .max = 128},
    {.name = "resourceGroup",
     .kind = FIELD_STR,
     .offset = offsetof(struct vm_vars, resource_group),
     .max = 128},
    {.name = "enrollmentKey",
     .kind = FIELD_INT,
     .offset = offsetof(struct vm_vars, enrollment_key),
     .max = INT64_MAX,
     .has_dflt = true},
    {.name = "newVm", .kind = FIELD_BOOL, .offset = offsetof(struct vm_vars, new_vm)},
    {.name = "changes",
     .kind = FIELD_INT,
     .offset = offsetof(struct vm_vars, changes),
     .max = INT64_MAX,
     .has_dflt = true},
    {.name = "partial", .kind = FIELD_BOOL, .offset = offsetof(struct vm_vars, partial)},
    {.name = "looksAgain",
     .kind = FIELD_INT,
     .offset = offsetof(struct vm_vars, looks_again),
     .max = INT64_MAX,
     .has_dflt = true},
};
const struct schema vm_vars_schema = {.name = "vmVars",
                                      .size = sizeof(struct vm_vars),
                                      .fields = vm_vars_fields,
                                      .n_fields = ARRAY_LEN(vm_vars_fields)};

/* ---- ids ---- */

#define ID_OF(member)                                                                              \
    static const char *id_##member(const struct vm_plan *p)                                        \
    {                                                                                              \
        return p->member##_id;                                                                     \
    }
ID_OF(group)
ID_OF(nsg)
ID_OF(vnet)
ID_OF(pip)
ID_OF(nic)
ID_OF(vm)
ID_OF(extension)
ID_OF(disk)

/* ---- put ---- */

static bool wants_group(const struct work *w)
{
    return w->plan->make_group;
}

static bool wants_vnet(const struct work *w)
{
    return w->plan->makes_vnet;
}

static bool wants_pip(const struct work *w)
{
    return w->plan->ip_public;
}

static bool wants_extension(const struct work *w)
{
    return w->plan->monitoring;
}

static bool wants_attestation(const struct work *w)
{
    return w->plan->wait_attestation;
}

static bool always_shared(const struct vm_plan *p)
{
    return true;
}

static bool vnet_shared(const struct vm_plan *p)
{
    return p->vnet_named;
}

const char *jobs_wake_key(struct arena *a, const char *vm_id)
{
    char *key = arena_printf(a, "attestation:%s", vm_id);
    for (char *s = key; *s; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s - 'A' + 'a');
    return key;
}

/* As the VM's status reads: a trusted report that is too old makes nobody healthy. */
static bool is_healthy(const struct work *w)
{
    const struct vm *vm = w->vm;
    return vm && vm->last_report_id && vm->status == VM_HEALTHY &&
           w->now < vm_ages_at(vm, w->max_age_ms);
}

/* The first trusted report ends it well; an untrusted one, or none in time, ends it badly. Either
 * way the VM stays: it is the evidence. */
static void await_attestation(struct work *w, struct job_step *row, struct step_vars *v,
                              struct step_next *out)
{
    const struct vm *vm = w->vm;
    int64_t until = row->started_at + w->plan->attestation_timeout_ms;
    bool reported = vm && vm->last_report_id && vm->last_report_at >= w->job->created_at &&
                    !(v->report && strcmp(v->report, vm->last_report_id) == 0);
    *out = (struct step_next){.kind = NEXT_FAIL, .keep = true};
    if (is_healthy(w)) {
        v->report = vm->last_report_id;
        out->kind = NEXT_DONE;
        return;
    }
    if (reported && (vm->status == VM_UNHEALTHY || vm->status == VM_QUARANTINED)) {
        v->report = vm->last_report_id;
        err_set(&out->error, ERR_ATTESTATION_FAILED, "report %s says %s", vm->last_report_id,
                vm->last_verdict ? vm->last_verdict : vm_status_text(vm->status));
        err_remedy(&out->error, "Read the report's checks; the VM was kept.");
        return;
    }
    if (w->now >= until) {
        err_set(&out->error, ERR_ATTESTATION_TIMEOUT, "no trusted report within %lld seconds",
                (long long)(w->plan->attestation_timeout_ms / 1000));
        err_remedy(&out->error,
                   "See whether tlgate-agent runs in the VM and reaches the gateway; the VM was "
                   "kept. Retry the job to wait again.");
        return;
    }
    out->kind = NEXT_WAIT;
    out->due_at = until;
    out->wake_key = w->vm_id ? jobs_wake_key(w->arena, w->vm_id) : NULL;
}

static const struct step_def put_steps[] = {
    {.name = "resourceGroup",
     .applies = wants_group,
     .id = id_group,
     .api = API_RESOURCES,
     .body = vm_body_group,
     .shares = always_shared,
     .undo = UNDO_IF_EMPTY},
    {.name = "networkSecurityGroup",
     .id = id_nsg,
     .api = API_NETWORK,
     .body = vm_body_nsg,
     .stale_with = CHANGE_PORTS | CHANGE_TAGS},
    {.name = "virtualNetwork",
     .applies = wants_vnet,
     .id = id_vnet,
     .api = API_NETWORK,
     .body = vm_body_vnet,
     .shares = vnet_shared},
    {.name = "publicIpAddress",
     .applies = wants_pip,
     .id = id_pip,
     .api = API_NETWORK,
     .body = vm_body_pip},
    {.name = "networkInterface", .id = id_nic, .api = API_NETWORK, .body = vm_body_nic},
    {.name = "virtualMachine",
     .id = id_vm,
     .api = API_COMPUTE,
     .body = vm_body_vm,
     .patch = vm_body_vm_patch,
     .stale_with = CHANGE_TAGS | CHANGE_MONITORING,
     .is_vm = true},
    {.name = "guestAttestation",
     .applies = wants_extension,
     .id = id_extension,
     .api = API_COMPUTE,
     .body = vm_body_extension,
     .undo = UNDO_UNLESS_NEW_VM},
    {.name = "attestation",
     .kind = STEP_AWAIT,
     .applies = wants_attestation,
     .undo = UNDO_NOTHING,
     .await = await_attestation},
};

static void put_result(const struct work *w, struct buf *out)
{
    const struct vm_plan *p = w->plan;
    struct jw j = jw_over(out);
    jw_open(&j, '{');
    jw_key_str(&j, "resourceId", p->vm_id);
    jw_key_str_opt(&j, "vmId", w->vm_id);
    jw_key(&j, "names");
    jw_open(&j, '{');
    jw_key_str(&j, "networkSecurityGroup", strrchr(p->nsg_id, '/') + 1);
    if (p->makes_vnet)
        jw_key_str(&j, "virtualNetwork", strrchr(p->vnet_id, '/') + 1);
    if (p->ip_public)
        jw_key_str(&j, "publicIpAddress", strrchr(p->pip_id, '/') + 1);
    jw_key_str(&j, "networkInterface", strrchr(p->nic_id, '/') + 1);
    jw_key_str(&j, "osDisk", p->disk_name);
    jw_close(&j, '}');
    if (p->wait_attestation && w->vm) {
        jw_key_str_opt(&j, "reportId", w->vm->last_report_id);
        jw_key_str_opt(&j, "verdict", w->vm->last_verdict);
    }
    jw_close(&j, '}');
}

/* ---- delete: what was made, in reverse, never the resource group ---- */

static bool made(const struct work *w, const char *id)
{
    if (!w->vm || !w->vm->made)
        return false;
    AUTO(json) json_t *v = NULL;
    if (json_parse(BYTES_STR(w->vm->made), &v, NULL))
        return false;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(v, "resources"), i,
                       item) if (json_is_string(item) &&
                                 strcasecmp(json_string_value(item), id) == 0) return true;
    return false;
}

#define MADE(member)                                                                               \
    static bool made_##member(const struct work *w)                                                \
    {                                                                                              \
        return made(w, w->plan->member##_id);                                                      \
    }
MADE(nsg)
MADE(vnet)
MADE(pip)
MADE(nic)
MADE(vm)

#define REMOVE(step, member, version)                                                              \
    {                                                                                              \
        .name = (step), .kind = STEP_REMOVE, .applies = made_##member, .id = id_##member,          \
        .api = (version), .undo = UNDO_NOTHING                                                     \
    }
static const struct step_def delete_steps[] = {
    {.name = "virtualMachine",
     .kind = STEP_REMOVE,
     .id = id_vm,
     .api = API_COMPUTE,
     .is_vm = true,
     .undo = UNDO_NOTHING},
    {.name = "osDisk",
     .kind = STEP_REMOVE,
     .applies = made_vm,
     .id = id_disk,
     .api = API_DISKS,
     .undo = UNDO_NOTHING},
    REMOVE("networkInterface", nic, API_NETWORK),
    REMOVE("publicIpAddress", pip, API_NETWORK),
    REMOVE("networkSecurityGroup", nsg, API_NETWORK),
    REMOVE("virtualNetwork", vnet, API_NETWORK),
};

static void delete_result(const struct work *w, struct buf *out)
{
    struct jw j = jw_over(out);
    jw_open(&j, '{');
    jw_key_str(&j, "resourceId", w->plan->vm_id);
    jw_key_str_opt(&j, "vmId", w->vm_id);
    jw_key(&j, "leftInPlace");
    jw_open(&j, '[');
    for (int i = 0; i < w->job->n_steps; i++)
        if (w->job->steps[i].detail && strncmp(w->job->steps[i].detail, "left in place", 13) == 0)
            jw_str(&j, w->job->steps[i].name);
    jw_close(&j, ']');
    jw_close(&j, '}');
}

static const struct workflow workflows[] = {
    {.kind = KIND_VM_PUT,
     .steps = put_steps,
     .n_steps = ARRAY_LEN(put_steps),
     .cancelable = true,
     .result = put_result},
    {.kind = KIND_VM_DELETE,
     .steps = delete_steps,
     .n_steps = ARRAY_LEN(delete_steps),
     .result = delete_result},
};

const struct workflow *workflow_find(const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(workflows); i++)
        if (strcmp(workflows[i].kind, kind) == 0)
            return &workflows[i];
    return NULL;
}

const struct step_def *workflow_step(const struct workflow *f, const char *name)
{
    for (size_t i = 0; i < f->n_steps; i++)
        if (strcmp(f->steps[i].name, name) == 0)
            return &f->steps[i];
    return NULL;
}
