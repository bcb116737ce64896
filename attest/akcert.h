/*
 * The AK certificate (what Azure keeps at NV 0x01C101D0) as parsed, before anything is known of its
 * issuer. Immutable and counted: the trust's cache and several verifying threads may hold one.
 */
#ifndef ATTEST_AKCERT_H
#define ATTEST_AKCERT_H

#include "attest/ak.h"

#include <openssl/x509.h>

AUTO_DEFINE(x509, X509 *, X509_free)

struct ak_cert {
    int refs;
    struct bytes der;
    X509 *x509;
    struct ak_loaded *loaded; /* NULL: the key is of no usable kind */
    struct ak_key key;
    char subject[96];   /* CN; empty where there is not exactly one */
    char policies[128]; /* OIDs of its certificate policies, recorded and not judged; empty: none */
    int64_t not_before, not_after;
    /* why it cannot be an AK certificate; reasons of ak.chain */
    const char *problems[8];
    size_t n_problems;
    bool rsa_only; /* key and signature are RSA with SHA-2, as Azure has them */
    bool only_digital_signature;
};

/* DER, with nothing but zero bytes after it (the NV index may be larger than the certificate).
 * NULL with *why set where it is not well-formed. The caller releases. */
struct ak_cert *akcert_parse(struct bytes in, const char **why);
/* What a problem (or "key_type", "key_usage") is about, in words; in the arena or static. */
void akcert_describe(const struct ak_cert *c, const char *reason, struct arena *a,
                     const char **expected, const char **found);
struct ak_cert *akcert_hold(struct ak_cert *c);
void akcert_release(struct ak_cert *c);
AUTO_DEFINE(akcert, struct ak_cert *, akcert_release)

/* The DER without the padding; empty where the outer header is no certificate's. */
struct bytes akcert_strip(struct bytes in);

/* ms since 1970. */
int64_t x509_not_before(const X509 *x);
int64_t x509_not_after(const X509 *x);
void x509_fingerprint(struct bytes der, uint8_t out[32]);
/* Exactly one certificate, no byte after it. NULL where it is not one. */
X509 *x509_parse(struct bytes der);

#endif
