/*
 * The quote (TPM2_Quote, TPM 2.0 Part 3, 18.4): who vouches for which PCR values, now.
 *
 * A trusted_ak can only be made by a certificate chain that ends at an anchor, or by a pin that is
 * itself the anchor (trust.h, akcert.h). A verified_quote can only be made here, when magic, type,
 * nonce, selection, PCR digest and signature all hold; it says nothing about whether the AK is
 * trusted. Both live in the arena.
 */
#ifndef ATTEST_QUOTE_H
#define ATTEST_QUOTE_H

#include "attest/ak.h"
#include "attest/result.h"

struct verified_quote;

/* Values of one bank. Where it comes from decides whether it is proven. */
struct pcr_set {
    enum pcr_bank bank;
    uint32_t mask;
    uint8_t values[EVIDENCE_PCRS][64];
};

struct quote_input {
    const struct attest_input *in;
    const struct tpm_attest *attest;
    const struct tpm_signature *signature;
    const struct ak_key *key;        /* NULL: no usable key */
    struct ak_loaded *loaded;        /* NULL: no usable key */
    const struct tpm_public *public; /* NULL: none sent */
    struct bytes qualified;          /* what `public` signs as if it is an endorsement primary */
    bool pinned_by_key;              /* the pin is a bare key: nothing is known of its TPM object */
};

/*
 * Runs every quote.* check into *r. NULL unless all of them hold that it stands for. Values for PCRs
 * that the quote does not select are not well-formed evidence: they are added to *e.
 */
const struct verified_quote *quote_verify(const struct quote_input *q, struct arena *a,
                                          struct attest_result *r, struct err_info *e);

/* Of values that a quote proved when its report was kept. Only for attest_review (review.h), where the
 * store is the witness; its signer is that of trust_of_record. */
const struct verified_quote *quote_of_record(const struct pcr_set *pcrs, struct arena *a);

const struct pcr_set *quote_pcrs(const struct verified_quote *q);
/* The key whose signature was verified. */
const struct ak_key *quote_signer(const struct verified_quote *q);

#endif
