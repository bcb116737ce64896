/*
 * Judging a kept report again, by another policy: what a dry run shows, and how a VM's standing follows
 * a change of policy. Exact: the report's claims hold the PCR values that were proven, the store holds
 * the log, and what the log says is worked out anew from them.
 *
 * This is the one place where proofs are made from what is kept (quote_of_record, trust_of_record): the
 * store vouches that attest_write_claims wrote these values from a verified quote.
 */
#ifndef ATTEST_REVIEW_H
#define ATTEST_REVIEW_H

#include "attest/attest.h"

/* A report as it was kept. */
struct attest_record {
    const char *verdict;
    const char *checks;     /* of attest_write_checks */
    const char *claims;     /* of attest_write_claims; "{}": nothing was proven */
    bool has_event_log;     /* the report named one */
    struct bytes event_log; /* its bytes */
};

/*
 * *r as attest_verify would have it now, of `in` only logs, require_secure_boot, allow_quote_only,
 * policy, image and baseline counting. Findings of other checks are those that were kept. Quarantined
 * stays quarantined. ERR_INTERNAL where the record is not what attest_write_* wrote. Any thread.
 */
enum err attest_review(const struct attest_input *in, const struct attest_record *record,
                       struct arena *a, struct attest_result *r, struct err_info *e) MUST_CHECK;

#endif
