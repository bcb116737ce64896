/* What challenges and reports have in common. */
#ifndef HANDLERS_ATTESTATION_H
#define HANDLERS_ATTESTATION_H

#include "attest/attest.h"
#include "core/json.h"
#include "handlers/call.h"

/* PCRs that a guest is asked to quote: firmware, boot manager, Secure Boot state. Those above hold
 * what the operating system measures, partly without an event in the firmware's log: they are asked for
 * where a policy of the gateway looks at them, from every guest alike. */
#define ATTESTATION_PCR_COUNT 8

/* The rates per address and per vmId; RATE_LIMITED in c->err with its headers. That of a vmId is for
 * what the VM itself sends: counted for anybody who names it, it would let strangers silence it. */
enum err attestation_admit_peer(struct call *c) MUST_CHECK;
enum err attestation_admit_vm(struct call *c, const char *vm_id) MUST_CHECK;

/* What a verdict says of a VM: its status, and why, as a JSON array in the arena. quote_only TRUE: the
 * policy takes a report without an event log as good. */
enum vm_status attestation_status(const struct vm *vm, const struct attest_result *r,
                                  enum tri quote_only);
const char *attestation_reasons(struct arena *a, const struct vm *vm, const struct attest_result *r,
                                enum tri quote_only);
/* The evidence proves whose AK signed it, so that it may be pinned. */
bool attestation_ak_proven(const struct attest_result *r);

#endif
