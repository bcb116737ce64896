/*
 * Inside of struct attest_trust: anchors, intermediates, and what was verified with them before.
 *
 * Anchors and intermediates never change after attest_trust_open, so a path that was verified once
 * holds for as long as every certificate on it is valid. All functions lock for themselves.
 */
#ifndef ATTEST_TRUSTSTORE_H
#define ATTEST_TRUSTSTORE_H

#include "attest/akcert.h"
#include "attest/attest.h"

/* A certificate whose path was verified; held for the caller. NULL where it is not in the cache. */
struct ak_cert *truststore_find(struct attest_trust *t, const uint8_t sha256[32]);

/* NULL where a path of valid certificates leads from the leaf to an anchor at the time `at` (ms), else
 * the reason; "issuer_missing" where it cannot be said for want of a certificate. */
const char *truststore_check_path(struct attest_trust *t, struct ak_cert *leaf,
                                  const struct evidence *ev, int64_t at);

#endif
