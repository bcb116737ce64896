/*
 * Replay: does the event log explain the PCR values (PFP 1.05, 3.3)?
 *
 * A verified_log can only be made from a verified_quote: it is a log whose events add up to what the
 * TPM signed, with the mask of the PCRs for which that holds.
 */
#ifndef ATTEST_REPLAY_H
#define ATTEST_REPLAY_H

#include "attest/eventlog.h"
#include "attest/quote.h"

struct verified_log;

/* What the log adds up to in one bank. */
struct log_replay {
    const struct event_log *log;
    enum pcr_bank bank;
    bool ok;          /* every event could be replayed */
    uint32_t touched; /* bit i: the log has an event for PCR i */
    uint8_t values[EVIDENCE_PCRS][64];
};

/* Extends the events in order. What makes that impossible becomes a failed log.replay; the texts of
 * findings live in `a`, here and below. */
void replay_run(const struct event_log *log, enum pcr_bank bank, struct log_replay *out,
                struct arena *a, struct attest_result *r);

/* Compares with `expected` and adds log.replay findings. Returns the mask of the PCRs that the log
 * explains completely. Where a PCR does not add up, locate.h says which event it is likely to be. */
uint32_t replay_compare(const struct log_replay *replay, const struct pcr_set *expected,
                        struct arena *a, struct attest_result *r);

/* The comparison with what the quote signs, of a replay of its bank. NULL where log.replay failed. */
const struct verified_log *replay_verify(const struct verified_quote *q,
                                         const struct log_replay *replay, struct arena *a,
                                         struct attest_result *r);

const struct event_log *replay_log(const struct verified_log *l);
enum pcr_bank replay_bank(const struct verified_log *l);
/* The PCRs that the log explains completely. */
uint32_t replay_proven(const struct verified_log *l);

#endif
