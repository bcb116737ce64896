/*
 * A thread that keeps the VMs' standing in step with policies and baselines: after a change of the book
 * it goes through all VMs, in small steps with pauses, and has those judged again that something else
 * applies to now. Until it has come to a VM, its boot integrity says policyPending.
 */
#ifndef SERVER_STANDING_H
#define SERVER_STANDING_H

#include "handlers/app.h"

struct standing;

/* The app must outlive it. The first pass begins at once: the book may have changed before a stop. */
struct standing *standing_start(const struct app *app);
void standing_stop(struct standing *s); /* NULL is fine */

#endif
