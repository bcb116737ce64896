/*
 * In test presets every verification is made again without all that is known from others (certificates
 * and their paths, loaded keys, logs), and with known logs; the program ends where one of them says
 * anything else: so each test of a verdict, an API call or a vector is also one of the claim that no cache can
 * change a verdict. Nothing of it is in other builds.
 */
#ifndef ATTEST_SELFCHECK_H
#define ATTEST_SELFCHECK_H

#include "attest/attest.h"

/* attest_verify without the check. */
enum err verify_evidence(const struct attest_input *in, struct arena *a, struct attest_result *r,
                         struct err_info *e);

#ifdef TLGATE_FAULTS
/* Which certificates are trusted, before the verification. */
struct trust_set *selfcheck_begin(const struct attest_input *in);
/* Ends the process unless *r comes out the same again. Where other certificates have become trusted since
 * selfcheck_begin, whose result is taken over, that says nothing. */
void selfcheck_verdict(const struct attest_input *in, enum err err, const struct attest_result *r,
                       struct trust_set *began);
#endif

#endif
