/*
 * Enrolment proofs: what entitles a report that the VM's pinned AK did not sign.
 *
 * One table (proof.c): each row looks at what the report brings for it and says whether that proves
 * the vmId. Who the VM is and whether the AK is a TPM's are two questions: a proof answers the first,
 * the AK's certificate or an activated credential the second.
 */
#ifndef HANDLERS_PROOF_H
#define HANDLERS_PROOF_H

#include "attest/attest.h"
#include "handlers/call.h"
#include "handlers/challenge.h"

struct activation;

struct proof_input {
    const struct evidence *evidence;
    const struct challenge *challenge;   /* its own, opened */
    const struct activation *activation; /* NULL: none that is good */
    const char *activation_reason;       /* why it is not; NULL: none was sent */
    const struct vm *vm;                 /* NULL: the vmId is not registered */
    const struct attest_result *result;  /* of this evidence */
};

struct proof {
    enum enroll_proof kind;      /* NONE: no valid one */
    const char *enrollment_hash; /* TOKEN */
    bool decided;                /* see struct enroll_claim */
};

/* True where the report claims any, valid or not. */
bool proof_claimed(const struct evidence *ev);
/*
 * The first valid one in the table's order. What is wrong with those that are not goes into c->err as
 * bad members, as far as the evidence alone shows it: nothing there depends on what is registered.
 */
struct proof proof_find(struct call *c, const struct proof_input *in);

#endif
