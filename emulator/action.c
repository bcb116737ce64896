#include "emulator/action.h"
#include "emulator/operation.h"
#include "emulator/resource.h"
#include "emulator/types.h"

/* One row per action: what it waits for, and where the power ends. */
static const struct vm_action {
    const char *name;
    enum arm_async async;
    const char *power; /* state at once; NULL: as it is */
    bool boots;        /* the vTPM goes through a new boot */
    bool stops_tpm;
    const char *policy; /* Compute's bucket */
} actions[] = {
    {"start", ARM_AAO_LOC, "running", true, false, "UpdateVM"},
    {"restart", ARM_AAO_LOC, "running", true, false, "UpdateVM"},
    {"redeploy", ARM_AAO_LOC, "running", true, false, "UpdateVM"},
    {"reapply", ARM_AAO_LOC, NULL, false, false, "UpdateVM"},
    {"powerOff", ARM_AAO_LOC, "stopped", false, true, "UpdateVM"},
    {"deallocate", ARM_AAO_LOC, "deallocated", false, true, "DeleteVM"},
    {"generalize", ARM_SYNC, NULL, false, false, "UpdateVM"},
};

static json_t *vm_state(struct emulator *em, const json_t *body)
{
    return state_get(em->state, STATE_VM, arm_text(body, "properties/vmId"));
}

static json_t *status(const char *code, const char *text, const char *at)
{
    json_t *v = json_pack("{ss ss ss}", "code", code, "level", "Info", "displayStatus", text);
    if (at)
        json_object_set_new(v, "time", json_string(at));
    return v;
}

json_t *action_instance_view(struct emulator *em, const json_t *body)
{
    const json_t *vm = vm_state(em, body);
    const char *power = arm_text(vm, "powerState");
    const char *provisioning = arm_text(body, "properties/provisioningState");
    char lower[64];
    snprintf(lower, sizeof lower, "ProvisioningState/%s",
             strcmp(provisioning, "Succeeded") == 0  ? "succeeded"
             : strcmp(provisioning, "Failed") == 0   ? "failed"
             : strcmp(provisioning, "Deleting") == 0 ? "deleting"
             : strcmp(provisioning, "Creating") == 0 ? "creating"
                                                     : "updating");
    char state[64];
    snprintf(state, sizeof state, "PowerState/%s", power);
    char shown[64];
    snprintf(shown, sizeof shown, "VM %s", power);
    json_t *statuses = json_pack(
        "[o]", status(lower, "Provisioning succeeded", arm_text(body, "properties/timeCreated")));
    if (arm_flag(vm, "generalized"))
        json_array_append_new(statuses, status("OSState/generalized", "VM generalized", NULL));
    if (*power)
        json_array_append_new(statuses, status(state, shown, NULL));
    const char *disk = arm_text(body, "properties/storageProfile/osDisk/name");
    return json_pack("{ss s[{ss s[o]}] ss so}", "hyperVGeneration",
                     *arm_text(vm, "generation") ? arm_text(vm, "generation") : "V2", "disks",
                     "name", disk, "statuses",
                     status("ProvisioningState/succeeded", "Provisioning succeeded",
                            arm_text(body, "properties/timeCreated")),
                     "osName", arm_text(body, "properties/storageProfile/osDisk/osType"),
                     "statuses", statuses);
}

static bool may_act(struct arm_call *c, const struct vm_action *a, const json_t *record,
                    const json_t *vm)
{
    if (json_path_str(record, "op"))
        return arm_error(c, 409, "Conflict",
                         "The request failed due to conflict with a concurrent request. To resolve "
                         "it, please refer to https://aka.ms/activitylog to get more details on "
                         "the conflicting requests.");
    const char *power = arm_text(vm, "powerState");
    bool off = strcmp(power, "running") != 0;
    if (strcmp(a->name, "restart") == 0 && strcmp(power, "deallocated") == 0)
        return arm_error(c, 409, "OperationNotAllowed",
                         "Cannot modify VM '%s' which is deallocated: it has to be started first.",
                         c->at.names[0]);
    if (strcmp(a->name, "generalize") == 0 && !off)
        return arm_error(c, 409, "OperationNotAllowed",
                         "The Virtual Machine %s is not in a valid state for the operation. Power "
                         "it off before it is generalized.",
                         c->at.names[0]);
    if (strcmp(a->name, "start") == 0 && arm_flag(vm, "generalized"))
        return arm_error(c, 409, "OperationNotAllowed",
                         "Starting a VM that was generalized is not allowed.");
    return true;
}

static void act(struct arm_call *c, const struct vm_action *a)
{
    const struct arm_target *t = &c->at;
    const json_t *record = resource_record(c->em, t->key);
    const json_t *body = json_object_get(record, "body");
    json_t *vm = vm_state(c->em, body);
    if (!may_act(c, a, record, vm))
        return;
    const char *vm_id = arm_text(body, "properties/vmId");
    bool was_off = strcmp(arm_text(vm, "powerState"), "running") != 0;
    if (a->power)
        json_object_set_new(vm, "powerState", json_string(a->power));
    if (strcmp(a->name, "generalize") == 0)
        json_object_set_new(vm, "generalized", json_true());
    state_save(c->em->state, STATE_VM, vm_id);
    if (a->stops_tpm)
        vtpm_stop(c->em->tpms, vm_id);
    /* Starting what runs already is no boot. */
    if (a->boots && arm_flag(vm, "tpm") && (was_off || strcmp(a->name, "start") != 0))
        c->reboot = arena_strdup(c->arena, vm_id);
    c->resp->status = 200;
    if (a->async == ARM_SYNC)
        return;
    const char *guid =
        operation_start(c, t->type, t->key, NULL, a->name, arm_text(body, "location"));
    operation_headers(c, guid, a->async);
    c->resp->status = 202;
}

static bool version_known(const struct arm_call *c)
{
    for (const char *const *v = c->at.type->versions; *v; v++)
        if (strcmp(*v, c->api_version) == 0)
            return true;
    return false;
}

static void instance_view(struct arm_call *c, const json_t *body)
{
    if (arm_compute_bucket(c, "LowCostGet", c->at.key, (struct bucket_size){36, 12.0 / 60},
                           (struct bucket_size){24000, 8000.0 / 60}))
        http_reply_json(c->resp, 200, action_instance_view(c->em, body));
}

static void run(struct arm_call *c, const json_t *body)
{
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (strcasecmp(actions[i].name, c->at.action) != 0)
            continue;
        if (arm_compute_bucket(c, actions[i].policy, c->at.key, (struct bucket_size){12, 4.0 / 60},
                               (struct bucket_size){1500, 500.0 / 60}))
            act(c, &actions[i]);
        return;
    }
    arm_error(c, 404, "NotFound", "The action '%s' is not known.", c->at.action);
}

bool action_handle(struct arm_call *c)
{
    bool post = strcmp(c->req->method, "POST") == 0;
    bool view = c->at.action && strcasecmp(c->at.action, "instanceView") == 0 &&
                strcmp(c->req->method, "GET") == 0;
    if (c->at.type != &arm_type_virtual_machine || !c->at.action || (!post && !view))
        return false;
    const json_t *body = resource_body(c->em, c->at.id);
    if (!version_known(c))
        arm_error(c, 400, "InvalidApiVersionParameter", "The api-version '%s' is invalid.",
                  c->api_version);
    else if (!resource_group_usable(c))
        return true;
    else if (!body)
        arm_error(c, 404, "ResourceNotFound",
                  "The Resource 'Microsoft.Compute/virtualMachines/%s' under resource group '%s' "
                  "was not found. For more details please go to "
                  "https://aka.ms/ARMResourceNotFoundFix",
                  c->at.names[0], c->at.group);
    else if (view)
        instance_view(c, body);
    else
        run(c, body);
    return true;
}

void action_ended(struct emulator *em, const char *key, const char *verb, bool succeeded)
{
    json_t *vm = vm_state(em, json_object_get(resource_record(em, key), "body"));
    if (!succeeded || strcmp(verb, "put") != 0 ||
        strcmp(arm_text(vm, "powerState"), "starting") != 0)
        return;
    json_object_set_new(vm, "powerState", json_string("running"));
    state_save(em->state, STATE_VM, arm_text(resource_record(em, key), "body/properties/vmId"));
}
