/*
 * Azure Attestation in handlers: the providers' keys for one verification, and the wait for a key that
 * is on its way.
 */
#ifndef HANDLERS_MAA_H
#define HANDLERS_MAA_H

#include "attest/attest.h"
#include "handlers/call.h"
#include "jobs/maa_keys.h"

/* What attest_input.maa points to while a token is judged; hand it back with handlers_maa_end. */
struct handlers_maa {
    struct maa_keys_held held;
    struct maa_trust trust;
    struct call *call;
};
void handlers_maa_begin(struct call *c, struct handlers_maa *m);
void handlers_maa_end(struct handlers_maa *m);

/*
 * True where the token names a key that a fetch which is under way may bring: the call is suspended,
 * and `then` runs when the fetch has ended (seconds at most). False: go on at once.
 */
bool handlers_maa_await(struct call *c, struct bytes token, call_fn *then) MUST_CHECK;
/* The token was accepted with a stored report: it counts no more. */
void handlers_maa_used(struct call *c, const struct attest_result *r);

#endif
