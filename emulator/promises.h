/*
 * Every Retry-After that was sent and what it was about: an operation (by its id, whichever of its URLs is
 * asked), or else a path. A call that comes sooner is noted in the request log as "early"; it is answered as
 * ever. What a start forgets is not missed. The caller holds the lock.
 */
#ifndef EMULATOR_PROMISES_H
#define EMULATOR_PROMISES_H

#include "emulator/arm.h"

/* Is this call before its time? By no more than a clock's grain is in time. */
bool promises_early(struct arm_call *c);
/* Remembers what the answer says; nothing of one that is dropped. */
void promises_note(struct arm_call *c);

#endif
