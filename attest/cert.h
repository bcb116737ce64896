/*
 * A certificate of the Secure Boot databases in words. Decoding costs tens of microseconds, so it is
 * for people and for logs seen for the first time, not for every report.
 */
#ifndef ATTEST_CERT_H
#define ATTEST_CERT_H

#include "core/arena.h"
#include "core/buf.h"

#define CERT_FINGERPRINT 32

struct cert_facts {
    uint8_t sha256[CERT_FINGERPRINT]; /* of the DER; set whether it can be decoded or not */
    bool decoded;                     /* else the rest is empty */
    const char *subject;              /* RFC 2253, printable ASCII */
    const char *issuer;
    const char *serial; /* hex */
    const char *key;    /* "RSA-2048", "EC-256", ... */
    int64_t not_before; /* ms since 1970 */
    int64_t not_after;
};

/* SHA-256 of the DER. */
void cert_fingerprint(struct bytes der, uint8_t out[CERT_FINGERPRINT]);
/* SHA-256 of the TBSCertificate, which is all that an EFI_CERT_X509_SHA256 entry of dbx holds (UEFI 2.10,
 * 32.4.1). False where there is none at the start of the DER. */
bool cert_tbs_sha256(struct bytes der, uint8_t out[CERT_FINGERPRINT]);
/* Texts live in the arena. Trailing bytes behind the certificate leave `decoded` false. */
struct cert_facts cert_describe(struct bytes der, struct arena *a);
/* As a JSON object. */
void cert_write(struct jw *w, struct bytes der, struct arena *a);

#endif
