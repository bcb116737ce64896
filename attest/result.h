/*
 * Inside of a result: how the checks write into it, and what is claimed. One thread.
 */
#ifndef ATTEST_RESULT_H
#define ATTEST_RESULT_H

#include "attest/attest.h"
#include "attest/claims.h"

struct attest_claims {
    enum attest_profile profile;
    enum pcr_bank bank;
    uint32_t quoted; /* bit i: PCR i is in the quote */
    uint8_t pcrs[EVIDENCE_PCRS][64];
    uint64_t firmware_version;
    bool has_log;
    size_t n_events;
    const struct log_claims *log; /* all unset where there is no log */
    struct attest_log *source;    /* of `log`: the claims of these PCRs in this bank */
    uint32_t proven;              /* bit i: the log explains PCR i, and its events are understood */
};

/* Claims of nothing, in the arena. */
struct attest_claims *result_claims(struct arena *a);

void result_init(struct attest_result *r);
/* A check that failed, was not done, or has a remark. Where the table is full the oldest lines stay,
 * except that a failure always gets in: no number of remarks can crowd it out. */
void result_add(struct attest_result *r, enum attest_check c, enum check_status s,
                const char *reason, int event, int pcr);
void result_fail(struct attest_result *r, enum attest_check c, const char *reason);
void result_fail_at(struct attest_result *r, enum attest_check c, const char *reason, int event,
                    int pcr);
/* As result_fail_at, with what was expected and what was found (see struct attest_finding). */
void result_fail_values(struct attest_result *r, enum attest_check c, const char *reason, int event,
                        int pcr, const char *expected, const char *found);
/* Any line; one that says the same as a line before is dropped. */
void result_put(struct attest_result *r, const struct attest_finding *f);
void result_warn(struct attest_result *r, enum attest_check c, const char *reason);
void result_skip(struct attest_result *r, enum attest_check c, const char *reason);
/* Passed, unless something was found about it. */
void result_pass(struct attest_result *r, enum attest_check c);
/* Bit i: check i has passed, without a remark. */
uint32_t result_passed(const struct attest_result *r);
bool result_has_failed(const struct attest_result *r, enum attest_check c);
/* Puts the findings into the order of the checks. */
void result_sort(struct attest_result *r);

#endif
