/*
 * Policy: what was asked for against what is proven. It takes proofs only, never the evidence.
 */
#ifndef ATTEST_POLICY_H
#define ATTEST_POLICY_H

#include "attest/replay.h"
#include "attest/trust.h"

struct policy_facts {
    const struct trusted_ak *ak; /* NULL: not proven */
    const struct verified_quote *quote;
    const struct verified_log *log;
    const struct attest_claims *claims; /* NULL: nothing is proven */
    bool log_sent;
};

/* Runs `secureBoot` and `policy` and sets verdict and reason. Call it last. */
void policy_decide(const struct attest_input *in, const struct policy_facts *f, struct arena *a,
                   struct attest_result *r);

/* The rules of in->policy, each violated one as a finding of `policy`. Only with ak, quote and, where a
 * log was sent, log proven. */
void policy_check_rules(const struct attest_input *in, const struct policy_facts *f,
                        struct arena *a, struct attest_result *r);

/* The glob of kernelCommandLines, over the whole text: '*' is any text without a blank, '?' any character but a blank,
 * '**' any text. What is not printable is no part of a word either. At most TEXT_MAX and three characters. */
bool policy_glob_matches(const char *glob, const char *text);

#endif
