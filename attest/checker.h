/*
 * Inside of content_check: its state while it goes through a log, and what its three parts share.
 */
#ifndef ATTEST_CHECKER_H
#define ATTEST_CHECKER_H

#include "attest/content.h"
#include "attest/hash.h"
#include "attest/quirk.h"

#define FIRMWARE_PCRS 8

struct checker {
    struct attest_result *r;
    struct arena *arena; /* for what was expected and what was found */
    struct content_report report;
    enum pcr_bank bank;
    uint8_t separators[2][DIGEST_MAX]; /* digests of 00000000 and FFFFFFFF */
    size_t size;
    unsigned n_separators[FIRMWARE_PCRS];
    int separator7; /* event of PCR 7's first separator, or ATTEST_NO_INDEX */
    bool seen[SB_VARIABLES];
    bool empty[SB_VARIABLES];
    bool enabled;
    bool authority;
    bool windows;          /* Windows' boot manager wrote to the log */
    uint32_t windows_over; /* bit i: its separator in PCR i was seen */
    int index;             /* of the event at hand */
    const struct log_event *ev;
    struct bytes digest; /* its digest in the bank */
};

/* A failed log.content at the event at hand; its PCR is good for no claim. */
void checker_fail(struct checker *c, const char *reason, const char *expected, const char *found);
/* The same for data that is not of the structure that its type has, which makes the log malformed. */
void checker_malformed(struct checker *c, const char *structure, const char *why);
/* digest_mismatch: the digest of the log against that of `data`. */
void checker_mismatch(struct checker *c, struct bytes data);
bool checker_is_digest_of(struct checker *c, struct bytes data);
/* As a digest_mismatch where it is not. */
void checker_want_digest_of(struct checker *c, struct bytes data);
/* EV_EFI_ACTION: with the quirk of the terminator. */
void checker_action(struct checker *c);
/* unexpected_event_type, with the types that may stand there. */
void checker_unexpected(struct checker *c, const char *allowed);
/* Name of the event's type, "0x00000015" where it has none. */
const char *checker_type(struct checker *c);
/* EFI_ACTION texts are compared without a terminator. */
bool checker_text_is(struct bytes data, const char *text);

void checker_pcr7(struct checker *c);
/* What PCR 7 must hold as a whole, at the end of the log. */
void checker_pcr7_complete(struct checker *c);

/* PCR 8 and above. */
bool checker_has_windows(const struct event_log *log);
void checker_later(struct checker *c);

#endif
