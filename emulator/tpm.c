#include "emulator/tpm.h"
#include "core/log.h"
#include "emulator/arm.h"
#include "emulator/operation.h"
#include "emulator/resource.h"

/* What outlives the lock. */
struct boot {
    char vm_id[UUID_SIZE];
    bool secure_boot;
    enum vtpm_os os;
};

/* A VM that starts has its TPM from the first instruction on. */
static bool powered(const json_t *vm)
{
    const char *state = arm_text(vm, "powerState");
    return strcmp(state, "running") == 0 || strcmp(state, "starting") == 0;
}

static enum err look_up(struct emulator *em, const char *vm_id, struct tpm_answer *out,
                        struct boot *boot, struct err_info *e)
{
    operation_tick(em);
    json_t *vm = state_get(em->state, STATE_VM, vm_id);
    const json_t *body = vm ? resource_body(em, arm_text(vm, "resource")) : NULL;
    if (!body)
        return err_set(e, ERR_NOT_FOUND, "there is no VM with the vmId %.40s", vm_id);
    const json_t *properties = json_object_get(body, "properties");
    snprintf(boot->vm_id, sizeof boot->vm_id, "%s", vm_id);
    boot->secure_boot = arm_flag(properties, "securityProfile/uefiSettings/secureBootEnabled");
    boot->os = strcmp(arm_text(properties, "storageProfile/osDisk/osType"), "Windows") == 0
                   ? VTPM_OS_WINDOWS
                   : VTPM_OS_LINUX;
    out->has_tpm = arm_flag(properties, "securityProfile/uefiSettings/vTpmEnabled") && powered(vm);
    out->user_data = json_incref(json_object_get(properties, "userData"));
    if (out->has_tpm && !arm_flag(vm, "tpm")) {
        json_object_set_new(vm, "tpm", json_true());
        state_save(em->state, STATE_VM, vm_id);
    }
    out->vm = json_deep_copy(vm);
    return OK;
}

enum err tpm_of_vm(struct emulator *em, const char *vm_id, struct tpm_answer *out,
                   struct err_info *e)
{
    *out = (struct tpm_answer){0};
    struct boot boot;
    struct arena *arena = arena_new();
    pthread_mutex_lock(&em->lock);
    enum err err = look_up(em, arm_lower(arena, vm_id), out, &boot, e);
    pthread_mutex_unlock(&em->lock);
    arena_free(arena);
    if (err || !out->has_tpm)
        return err;
    const struct vtpm_vm vm = {boot.vm_id, boot.secure_boot, boot.os};
    err = vtpm_ensure(em->tpms, &vm, &out->at, e);
    if (err) {
        json_decref(out->vm);
        json_decref(out->user_data);
    }
    return err;
}

void tpm_reboot(struct emulator *em, const char *vm_id)
{
    struct tpm_answer at = {0};
    struct boot boot;
    pthread_mutex_lock(&em->lock);
    enum err err = look_up(em, vm_id, &at, &boot, NULL);
    pthread_mutex_unlock(&em->lock);
    if (err)
        return;
    json_decref(at.vm);
    json_decref(at.user_data);
    const struct vtpm_vm vm = {boot.vm_id, boot.secure_boot, boot.os};
    struct err_info e = {0};
    if (at.has_tpm && vtpm_reboot(em->tpms, &vm, NULL, &e))
        log_warn("a vTPM did not come up again", LOG_S("vmId", boot.vm_id),
                 LOG_S("detail", e.detail));
}
