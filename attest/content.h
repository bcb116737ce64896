/*
 * What an event log says, and whether it can be believed (PFP 1.05, 3.3.4 and 10.4).
 *
 * A replay proves digests only. The type of an event is nobody's word (go-attestation, "Verifying TPM
 * Boot Events and Untrusted Metadata"), and its data counts only where the digest is of that data. So
 * for each PCR there is a list of types that may stand in it, and for each type how data and digest
 * hang together; what does not fit is a failed log.content.
 */
#ifndef ATTEST_CONTENT_H
#define ATTEST_CONTENT_H

#include "attest/replay.h"
#include "attest/uefi.h"

struct content_report {
    const char *malformed; /* why an event's data cannot be parsed, or NULL */
    int malformed_event;
    uint32_t unfit; /* bit i: PCR i has lies or events of unknown kind: it is good for no claim */
};

/* Adds log.content findings, whose texts live in `a`. The digests looked at are those of `bank`. */
struct content_report content_check(const struct event_log *log, enum pcr_bank bank,
                                    struct arena *a, struct attest_result *r);

/*
 * What the PCRs of `pcrs` say. Only for a log that passed content_check and only for PCRs that are
 * proven, or as "the log claims" where nobody asks for more (`tlgate eventlog`).
 */
struct log_claims content_claims(const struct event_log *log, enum pcr_bank bank, uint32_t pcrs,
                                 struct arena *a);

/* In PCR 4: whatever its type says, it counts as an image that was started. A separator and an action that is text
 * are none (and content_check wants their digests to be of what they say). */
bool content_is_image(const struct log_event *ev);

/* SB_VARIABLES where it is none of them. The vendor GUID is not looked at. */
enum sb_variable claims_variable_of(const struct uefi_variable *v);

#endif
