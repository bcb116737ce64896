/*
 * Actions on virtual machines (start, restart, ...), their power state, and the vTPM that follows it.
 */
#ifndef EMULATOR_ACTION_H
#define EMULATOR_ACTION_H

#include "emulator/arm.h"

/* POST .../virtualMachines/{vm}/<action> and GET .../instanceView; false where it is neither. */
bool action_handle(struct arm_call *c);
/* A PUT, PATCH or action on the resource `key` has ended. */
void action_ended(struct emulator *em, const char *key, const char *verb, bool succeeded);
/* The instance view of a VM, a new object. */
json_t *action_instance_view(struct emulator *em, const json_t *vm);

#endif
