/* Learning baselines from reports. */
#ifndef HANDLERS_BASELINES_H
#define HANDLERS_BASELINES_H

#include "attest/attest.h"
#include "handlers/call.h"

/*
 * A trusted boot of a VM whose image's baseline is still learned: it is written down, then `then` goes
 * on. False: there is nothing to learn, go on yourself. Each VM is looked at once
 * until the book changes, so that a fleet of known images costs a lookup.
 */
bool baselines_learn(struct call *c, const struct vm *vm, const struct attest_result *r,
                     const char *report_id, call_fn *then);

#endif
