/*
 * Endorsement key certificates (TCG EK Credential Profile 2.5): parsed and, over configured anchors,
 * trusted. Pure; any thread.
 */
#ifndef ATTEST_EKCERT_H
#define ATTEST_EKCERT_H

#include "attest/anchors.h"
#include "attest/wire.h"

struct ek_cert {
    X509 *x509;    /* the caller frees with ek_cert_free */
    EVP_PKEY *key; /* x509's */
    uint8_t spki_sha256[32];
};

/* DER with nothing but zero bytes after it (an NV index may be larger); `chain` may be empty. NULL, or
 * the reason (attest/reasons.def). */
const char *ek_cert_verify(const struct attest_anchors *anchors, struct bytes der,
                           const struct bytes *chain, size_t n_chain, int64_t now,
                           struct ek_cert *out);
/* True where the certificate was issued for this VM: its subject's common name is the vmId, or
 * "name:vmId" as swtpm's CA writes it. */
bool ek_cert_names(const struct ek_cert *ek, const char *vm_id);
void ek_cert_free(struct ek_cert *ek);

#endif
