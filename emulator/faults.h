/*
 * Faults that a test orders: answers, dropped connections, delays and failing operations, matched by
 * method and path. They apply to every path but /_emulator. The list is state and survives a restart,
 * counters included. The caller holds the lock except in faults_before.
 */
#ifndef EMULATOR_FAULTS_H
#define EMULATOR_FAULTS_H

#include "emulator/context.h"

struct fault_action {
    json_t *rule;      /* the matched action, a reference the caller drops; NULL: none */
    const json_t *lro; /* {"lro","error"} for the operation this call starts */
    int64_t delay_ms;
    bool drop_before;
    bool drop_after;
    bool answered;
};

/* The first rule that this request is due for; its counter goes on. */
struct fault_action faults_match(struct emulator *em, const struct http_request *req);
/* Sleeps, drops or answers as the rule says; sets `answered` where the call is over. */
void faults_before(struct fault_action *fault, struct http_response *resp);

/* Checks and replaces the list. NULL where it is good, else what is wrong. */
const char *faults_set(struct emulator *em, const json_t *list);

#endif
