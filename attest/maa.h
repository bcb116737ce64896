/*
 * Tokens of Azure Attestation about a guest (maa.token): a JWT in which the provider says what it saw
 * of the VM's vTPM. The provider's word, so it counts only from a provider that is configured, by a key
 * of its key set, about this VM and over this challenge; and where the TPM's own evidence says
 * otherwise, it does not count at all.
 *
 * Providers share signing keys (the signature alone does not say which one it was), and anybody may
 * own a provider with a policy of his own: issuers are compared whole, never by suffix.
 */
#ifndef ATTEST_MAA_H
#define ATTEST_MAA_H

#include "attest/jwt.h"
#include "attest/result.h"

/* What a verified token says. Texts are in the arena; NULL where the claim is absent. */
struct maa_claims {
    const char *issuer;
    const char *vm_id; /* as in the token: upper case */
    const char *policy_hash;
    const char *protocol;
    const char *os_type;
    const char *os_distro;
    uint32_t attested_pcrs; /* bit i: PCR i */
    bool secure_boot;
    int64_t issued_at, expires_at; /* ms since 1970 */
    const char *id;                /* jti */
};

/* The form of a token that was sent; see jwt_parse. */
const char *maa_parse(struct bytes token, struct arena *a, struct jwt *out);

/*
 * Runs maa.token. The claims, which only this makes, where every rule holds; NULL where one does not,
 * or the provider's keys are not at hand ("token_keys_unavailable", which decides nothing).
 * r->claims are what the TPM has proven, or NULL.
 */
const struct maa_claims *maa_verify(const struct attest_input *in, const struct jwt *token,
                                    struct arena *a, struct attest_result *r);

/* The member "azureAttestation" of `claims`. */
void maa_write_claims(struct jw *w, const struct maa_claims *c);

#endif
