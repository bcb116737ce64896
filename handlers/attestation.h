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

/* The rate per address; RATE_LIMITED in c->err with its headers. */
enum err attestation_admit_peer(struct call *c) MUST_CHECK;

/* Each vmId has three rates of the same size. What anybody could send must not use up what the VM needs:
 * it would silence it. */
enum attestation_budget {
    BUDGET_OWN,     /* signed by the pinned AK for this challenge: the VM's alone */
    BUDGET_PROOF,   /* by another AK, with a proof of the vmId */
    BUDGET_HISTORY, /* by the pinned AK for another nonce: whoever kept it has it */
};
/* Looks whether there is room, as attestation_admit_peer; a report is charged once it is stored, so that
 * one that is sent again and again counts once. */
enum err attestation_admit_vm(struct call *c, const char *vm_id,
                              enum attestation_budget budget) MUST_CHECK;
void attestation_charge_vm(struct call *c, const char *vm_id, enum attestation_budget budget);

/* What a verdict says of a VM: its status, and why, as a JSON array in the arena. quote_only TRUE: the
 * policy takes a report without an event log as good. */
enum vm_status attestation_status(const struct vm *vm, const struct attest_result *r,
                                  enum tri quote_only);
const char *attestation_reasons(struct arena *a, const struct vm *vm, const struct attest_result *r,
                                enum tri quote_only);
/* The evidence proves whose AK signed it, so that it may be pinned. */
bool attestation_ak_proven(const struct attest_result *r);

#endif
