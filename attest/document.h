/*
 * The attested document of Azure's instance metadata service (/metadata/attested/document): PKCS#7
 * SignedData (RFC 2315) over JSON that names the VM, signed by a certificate of *.metadata.azure.com.
 * It proves which VM asked, over a nonce of ten digits that follows from the challenge
 * (wire_document_nonce). Pure; any thread.
 */
#ifndef ATTEST_DOCUMENT_H
#define ATTEST_DOCUMENT_H

#include "attest/anchors.h"
#include "core/arena.h"

struct attest_document {
    const char *vm_id;
    const char *subscription_id;
    const char *nonce;
    int64_t created, expires; /* ms since 1970 */
};

struct attest_document_input {
    struct bytes der;
    const struct attest_anchors *anchors;
    const char *vm_id;  /* whose it must be; without case */
    struct bytes nonce; /* of the challenge */
    int64_t asked_at;   /* when the challenge was made: no document that is for it is older */
    int64_t now;        /* ms since 1970 */
};

/* Form and signature only; NULL, or the reason. *out lives in the arena. The signer is not trusted. */
const char *attest_document_read(struct bytes der, struct arena *a, struct attest_document *out);
/* NULL where it proves the VM over the challenge; else the reason (attest/reasons.def). */
const char *attest_document_verify(const struct attest_document_input *in, struct arena *a,
                                   struct attest_document *out);

#endif
