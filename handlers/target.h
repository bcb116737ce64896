/* What a call is about, from its path parameters (subscription, resource group, VM). Any thread. */
#ifndef HANDLERS_TARGET_H
#define HANDLERS_TARGET_H

#include "handlers/call.h"
#include "jobs/jobs.h"

/* The path parameters of a VM's route. */
struct jobs_vm_ref target_vm(const struct call *c);
/* Its ARM id, in the call's arena. */
const char *target_vm_id(struct call *c);
/* The row of the registry with the status as it is now; ERR_NOT_FOUND. */
enum err target_read_vm(struct call *c, struct vm *out) MUST_CHECK;
/* Another policy or baseline applies to it by now than what judged its last report. */
bool target_is_pending(const struct call *c, const struct vm *vm);
/* Reports older than this do not count any more. */
int64_t target_fresh_after(const struct call *c);
/* Who asks, for jobs/. */
struct jobs_origin target_origin(const struct call *c);

#endif
