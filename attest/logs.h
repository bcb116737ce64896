/*
 * Event logs and what follows from them alone. A VM sends the log of one boot again and again, and
 * VMs of one image boot alike: parse, replay, content check and claims depend on the log's bytes and
 * the bank, not on the quote, so they are made once per log and kept by its SHA-256.
 *
 * An attest_log never changes what it says: verify.c works on one in any case, and whether it was
 * made for this verification or for another one makes no difference to any result. In test presets
 * every verification is made with and without known logs, and the program ends where they differ.
 */
#ifndef ATTEST_LOGS_H
#define ATTEST_LOGS_H

#include "attest/content.h"

/* What a log says in one bank. The findings are those of replay_run and content_check, in their
 * order. Lives as long as its log. */
struct log_view {
    struct log_replay replay;
    const struct attest_finding *replay_findings;
    size_t n_replay_findings;
    struct content_report content;
    const struct attest_finding *content_findings;
    size_t n_content_findings;
};

/* The log that is known by these bytes, first looked for under the digest `likely` (may be empty), or a
 * new one of them. Held until the arena is reset. `known` may be NULL; then it borrows `log`. */
struct attest_log *log_of(struct attest_logs *known, struct bytes likely, struct bytes log,
                          struct arena *a);
/* So that others with the same log find it: only logs that a quote has proven are worth the room. */
void log_remember(struct attest_logs *known, struct attest_log *l);

const struct event_log *log_events(const struct attest_log *l);
/* Of a well-formed log. Any thread. */
const struct log_view *log_view(struct attest_log *l, enum pcr_bank bank);
/* content_claims, which is made once for the PCRs that were asked for first. */
const struct log_claims *log_claims(struct attest_log *l, enum pcr_bank bank, uint32_t pcrs,
                                    struct arena *a);
/* claims_write_log of claims->log, whose text is kept with its source. */
void log_write_claims(struct jw *w, const struct attest_claims *claims);

#endif
