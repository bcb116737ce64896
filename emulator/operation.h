/*
 * Long-running operations: started with a due time, ended when that has come and somebody asks.
 *
 * State: guid -> {"id","subscription","ns","location","key","element","verb","start","due","end",
 * "status","outcome","error","type"}. A restart changes nothing: what fell due meanwhile is ended by
 * the next call. The caller holds the lock.
 */
#ifndef EMULATOR_OPERATION_H
#define EMULATOR_OPERATION_H

#include "emulator/arm.h"

/* Starts one for the resource `key`, whose record then carries it; `verb` is put, patch, delete or
 * an action's name; `element` the name of an embedded child or NULL. Returns its guid. */
const char *operation_start(struct arm_call *c, const struct arm_type *type, const char *key,
                            const char *element, const char *verb, const char *location);
/* The headers that `async` promises. */
void operation_headers(struct arm_call *c, const char *guid, enum arm_async async);
/* Ends the one that another call overtakes: Canceled, OperationPreempted. */
void operation_preempt(struct emulator *em, const char *guid);
/* Sets provisioningState of a body and of the resources it embeds. */
void operation_mark(const struct arm_type *type, json_t *body, const char *state);
/* Ends what is due. */
void operation_tick(struct emulator *em);
/* Loads what is under way after a start, and forgets what ended over an hour ago. */
void operation_open(struct emulator *em);
/* Answers a poll of .../operations/{guid} and the like; false where the path is none. */
bool operation_poll(struct arm_call *c);

#endif
