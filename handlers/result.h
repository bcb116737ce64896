/*
 * Signed attestation results: a report as an EAR in a JWT (ES256, a key of KEY_RESULTS), so that others
 * can rely on a verdict without asking back. Any thread.
 */
#ifndef HANDLERS_RESULT_H
#define HANDLERS_RESULT_H

#include "attest/attest.h"
#include "handlers/call.h"

/* In the arena; NULL where the result would have expired (attestation.result_ttl). */
const char *result_sign(struct call *c, const struct report *report,
                        const struct attest_finding *findings, size_t n, struct bytes nonce);
/* The same of a stored report, whose checks are read again. ERR_*: they are not readable. */
enum err result_sign_stored(struct call *c, const struct report *report,
                            const char **out) MUST_CHECK;

#endif
