/*
 * Trust in an AK: a proof that only this part can make, from a certificate chain or from a pin.
 */
#ifndef ATTEST_TRUST_H
#define ATTEST_TRUST_H

#include "attest/akcert.h"
#include "attest/result.h"

struct trusted_ak;

/* A parsed certificate: from the cache where it was verified before (thread-safe). As akcert_parse. */
struct ak_cert *trust_parse(const struct attest_input *in, struct bytes cert, const char **why);

/*
 * Runs ak.chain and ak.profile. The chain's certificates are material to build with, nothing more:
 * the path must end at an anchor. NULL where a check failed.
 */
const struct trusted_ak *trust_by_chain(const struct attest_input *in, struct ak_cert *cert,
                                        struct arena *a, struct attest_result *r);

/* The key is one of the pins, and the pins are the anchor (PROFILE_TPM). NULL where it is not. */
const struct trusted_ak *trust_by_pin(const struct attest_input *in, const struct ak_loaded *k,
                                      struct arena *a);
/* That key has signed a quote: it is kept for the next one. */
void trust_keep_pinned(const struct attest_input *in, struct ak_loaded *k);

/* Index of the pin that names the key with this digest; n_pins where none does. */
size_t trust_find_pin(const struct attest_input *in, const uint8_t spki_sha256[AK_SPKI_SIZE]);

/* The AK of a kept report that was proven then. Only for attest_review (review.h). */
const struct trusted_ak *trust_of_record(struct arena *a);

const struct ak_key *trusted_ak_key(const struct trusted_ak *t);

#endif
