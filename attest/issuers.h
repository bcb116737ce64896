/*
 * The issuers of AK certificates, for whoever fetches and lists them (`tlgate trust`): which there are,
 * whether one that was downloaded is theirs, and where a certificate says that its issuer is published.
 * Pure: nothing is fetched or written here. Texts and bytes are in the arena.
 */
#ifndef ATTEST_ISSUERS_H
#define ATTEST_ISSUERS_H

#include "attest/attest.h"

#define ISSUERS_BODY_MAX (1024 * 1024) /* of one download */
#define ISSUERS_MAX      32            /* certificates in it */
#define ISSUERS_URLS_MAX 8

struct issuer {
    const char *subject, *issued_by; /* RFC 2253 */
    const char *name;                /* its CN in characters that a file name may have */
    uint8_t sha256[32];
    int64_t not_before, not_after; /* ms since 1970 */
    bool anchor;
    /* Subjects from it to the anchor that it ends at, or NULL; then why, as a reason of ak.chain. */
    const char *path;
    const char *problem;
    struct bytes der;
};

/* What the trust holds, anchors first, judged at `now`. */
struct issuer *issuers_list(struct attest_trust *t, int64_t now, struct arena *a, size_t *n);

/*
 * The certificates in what was downloaded: DER, PKCS #7 (.p7b), or PEM, also where the PEM stands in the
 * middle of something else, such as a page of documentation. Returns how many; 0: it holds none.
 */
size_t issuers_extract(struct bytes body, struct arena *a, struct bytes out[ISSUERS_MAX]);

/*
 * Are these issuers of AKs? Each is judged as one of a set: the path to a pinned root may go through
 * the others. `problem` is NULL where it is one; "not_a_ca" where it may issue nothing.
 */
struct issuer *issuers_judge(struct attest_trust *t, const struct bytes *der, size_t n, int64_t now,
                             struct arena *a);

/* A CRL (DER or PEM) that one of these issuers signed, that is in force at `now`, and not older than one of
 * that issuer in `t` (NULL: none is held): NULL, and its DER and the issuer's place; else what is wrong
 * with it. */
const char *issuers_judge_crl(struct attest_trust *t, struct bytes crl, const struct issuer *by,
                              size_t n, int64_t now, struct arena *a, struct bytes *der,
                              size_t *at);

enum issuer_url { ISSUER_URL_CERTIFICATE, ISSUER_URL_CRL };

/* Where the certificate says that its issuer (RFC 5280, 4.2.2.1) or its issuer's CRL (4.2.1.13) is. */
size_t issuers_urls(struct bytes der, enum issuer_url kind, struct arena *a,
                    const char *out[ISSUERS_URLS_MAX]);

#endif
