/*
 * Which event is it? Where a PCR does not add up, one changed, added or moved event is the usual
 * reason, and then it can be found: with that one put right the replay gives the quoted value, which
 * no chance does. A removed event cannot be found, since its digest is nowhere.
 */
#ifndef ATTEST_LOCATE_H
#define ATTEST_LOCATE_H

#include "attest/hash.h"
#include "attest/replay.h"

#define REPLAY_LOCALITY_LEN 17
#define LOCATE_EXTENDS_MAX  4096 /* two milliseconds, whatever the log */

/* Shared by all PCRs of a log. */
struct locate_budget {
    size_t extends;
};

struct located {
    const char *reason; /* NULL: no single event explains it, or the budget is spent */
    int event;          /* or ATTEST_NO_INDEX */
};

struct located locate_event(const struct log_replay *replay, unsigned pcr, const uint8_t *want,
                            struct locate_budget *budget);

/* Parts of a replay that both use. */
bool replay_is_locality(const struct log_event *ev);
void replay_start(unsigned pcr, size_t size, uint8_t *value);
void replay_extend(enum pcr_bank bank, uint8_t *value, struct bytes digest);

#endif
