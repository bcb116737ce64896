/*
 * The vTPM of an emulated VM: made and booted when it is first asked for, and rebooted with its VM.
 * Everything here is called without the lock, since a vTPM takes a moment.
 */
#ifndef EMULATOR_TPM_H
#define EMULATOR_TPM_H

#include "emulator/context.h"

struct tpm_answer {
    bool has_tpm;
    struct vtpm_at at;
    json_t *vm;        /* the VM's state; the caller's reference */
    json_t *user_data; /* text as it was put (base64) or NULL; the caller's reference */
};

/* ERR_NOT_FOUND: no such VM; ERR_UNAVAILABLE: the vTPM does not start. A VM that is
 * not running has no vTPM to talk to. */
enum err tpm_of_vm(struct emulator *em, const char *vm_id, struct tpm_answer *out,
                   struct err_info *e) MUST_CHECK;

/* The VM was restarted or started: where its vTPM was ever made, it goes through a new boot. */
void tpm_reboot(struct emulator *em, const char *vm_id);

#endif
