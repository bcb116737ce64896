/*
 * In test presets every verification is made again with and without known logs, and the program ends
 * where one of them says anything else: so each test of a verdict, an API call or a vector is also one
 * of the claim that no cache can change a verdict. Nothing of it is in other builds.
 */
#ifndef ATTEST_SELFCHECK_H
#define ATTEST_SELFCHECK_H

#include "attest/attest.h"

/* attest_verify without the check. */
enum err verify_evidence(const struct attest_input *in, struct arena *a, struct attest_result *r,
                         struct err_info *e);

#ifdef TLGATE_FAULTS
/* Ends the process unless *r, and *e where err says that it counts, come out the same again. */
void selfcheck_verdict(const struct attest_input *in, enum err err, const struct attest_result *r);
#endif

#endif
