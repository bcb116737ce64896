/*
 * Inside of policy_check_rules: what a rule is judged by, and what its two parts share.
 */
#ifndef ATTEST_JUDGING_H
#define ATTEST_JUDGING_H

#include "attest/policy.h"

struct judging {
    const struct attest_policy *p;
    const struct attest_input *in;
    const struct policy_facts *f;
    const struct attest_claims *claims;
    struct arena *a;
    struct attest_result *r;
    bool windows_known; /* what it did not measure is off; set by the rule about its states */
};

/* A finding of `policy`: the rule does not hold. */
void judging_violated(const struct judging *j, const char *reason, int event, int pcr,
                      const char *expected, const char *found);
/* The same for a rule that nothing proves or disproves: rules fail closed. */
void judging_unproven(const struct judging *j, const char *rule, int pcr, const char *what);

/* The part of it that is about signers, SBAT and revocations (policy_signers.c). */
void judging_signers(const struct judging *j);

#endif
