/*
 * EAT Attestation Results (EAR): a verdict as claims that others understand without this product
 * (draft-ietf-rats-ear-04; the trustworthiness vector is AR4SI's). Claims only; whoever has a key makes a
 * JWT of them. Pure.
 */
#ifndef ATTEST_EAR_H
#define ATTEST_EAR_H

#include "attest/attest.h"

struct ear {
    const char *verifier;  /* URL of the gateway: iss */
    const char *report_id; /* jti */
    const char *vm_id;     /* sub */
    const char *verdict;   /* as in attest_verdict_name */
    const struct attest_finding *findings;
    size_t n_findings;
    const char *const *policy_ids; /* what was appraised by, one or more, as applied */
    size_t n_policy_ids;
    struct bytes nonce;            /* of the challenge; empty: not told */
    int64_t issued_at, expires_at; /* ms since 1970 */
};

/* The profile under which a report was judged, by its checks, as all else here: where the AK's pin stood for
 * its certificate it was `tpm`, else azureTrustedLaunch. */
enum attest_profile ear_profile_of(const struct attest_finding *findings, size_t n);

/* AR4SI, 2.3.4, as far as a boot shows it. 0: no claim. */
struct ear_vector {
    int instance_identity; /* 2 known and sound, 96 known but not to be trusted, 97 unknown, 99 forged */
    int configuration; /* 2 as asked for, 32 Secure Boot is off, 96 not acceptable */
    int executables;   /* 3 what booted was approved, 33 not accounted for, 96 forged */
    int hardware;      /* 2 a vTPM of a known issuer, 97 of an unknown one */
};
struct ear_vector ear_vector_of(const struct attest_finding *findings, size_t n);

/* "affirming", "warning", "contraindicated", "none": the verdict, but never better than the worst
 * entry of the vector (EAR, 3.1). */
const char *ear_status(const char *verdict, const struct ear_vector *v);

/* The claims set, an object. */
void ear_write(struct jw *w, const struct ear *in);

#endif
